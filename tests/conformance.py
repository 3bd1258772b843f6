"""Hyper layers against a loop over rows of the Keras layer that they mirror."""

import dataclasses
import json
from collections.abc import Callable

import keras
import numpy as np
from keras import ops, tree

from keras_hypernet import Hyper
from tests.backend import BACKEND, is_float, numpy_of, tensors_of

BATCH = 4


@dataclasses.dataclass(frozen=True)
class Row:
    """A Keras layer with some arguments, and data to call it with."""

    id: str
    layer: type
    arguments: dict
    data: Callable  # (batch, rng) -> call inputs [x, *others]
    call: dict = dataclasses.field(default_factory=dict)  # a value may be `(batch, rng) -> array`
    slow: bool = False
    # (name, down, up) -> their product for one row of weights
    multiply: Callable = lambda name, down, up: np.tensordot(down, up, 1)


def floats(*shapes):
    """`(batch, rng) -> arrays` with the batch in front of each shape."""
    return lambda batch, rng: [rng.normal(size=(batch, *s)).astype("float32") for s in shapes]


def values_of(variables):
    return [v.value for v in variables]


def symbolic(nest):
    return tree.map_structure(
        lambda x: keras.KerasTensor(x.shape, str(x.dtype)) if isinstance(x, np.ndarray) else x, nest
    )


class Trial:
    """A row of the table with data, rows of weights, and its Keras layer."""

    def __init__(self, row, rows, rng):
        self.row, self.rows = row, rows
        self.inputs = row.data(BATCH, rng)
        self.arrays = {n: v(BATCH, rng) for n, v in row.call.items() if callable(v)}
        self.call = {n: v for n, v in row.call.items() if not callable(v)}
        self.twin = row.layer(**row.arguments)
        self.twin(*symbolic(self.inputs), **self.call, **symbolic(self.arrays))
        state = [v for v in self.twin.weights if v.name.startswith(("moving_", "renorm_"))]
        for variable in state:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        self.variables = [v for v in self.twin.weights if not any(v is s for s in state)]
        self.shapes = [tuple(v.shape) for v in self.variables]
        total = sum(int(np.prod(shape)) for shape in self.shapes)
        self.weights = rng.normal(size=(rows, total)).astype("float32")
        self.run_twin = Run(self.of_twin)

    def layer(self, **options):
        """The hyper layer and its symbolic outputs, with the state of the Keras layer."""
        dtype = {n: options.pop(n) for n in ("dtype",) if n in options}
        layer = Hyper(self.row.layer(**self.row.arguments, **dtype), **options)
        return layer, self.built(layer)

    def built(self, layer):
        x, weights, *others = symbolic([self.inputs[0], self.weights, *self.inputs[1:]])
        outputs = layer(x, weights, *others, **self.call, **symbolic(self.arrays))
        for own, its in zip(layer.non_trainable_variables, self.state(), strict=True):
            own.assign(its)
        return outputs

    def state(self):
        """Variables of the Keras layer that are not its weights."""
        ours = {id(v) for v in self.variables}
        return [v for v in self.twin.non_trainable_variables if id(v) not in ours]

    def pieces(self, weights):
        """Flat weights -> tensors `(rows, *shape)`."""
        pieces, start = [], 0
        for shape in self.shapes:
            end = start + int(np.prod(shape))
            pieces.append(ops.reshape(weights[:, start:end], (weights.shape[0], *shape)))
            start = end
        return pieces

    def of(self, layer):
        """A hyper layer as a function of data, weights and call arguments that are arrays."""

        def function(inputs, weights, arrays):
            call = {**self.call, **arrays}
            state = values_of(layer.non_trainable_variables)
            return layer.stateless_call([], state, inputs[0], weights, *inputs[1:], **call)

        return function

    def of_twin(self, inputs, weights, arrays):
        """The same for the Keras layer and a single row of weights."""
        twin = self.twin
        values = {id(v): v.value for v in twin.variables}
        values |= {id(v): piece[0] for v, piece in zip(self.variables, self.pieces(weights))}
        trainable, other = (
            [values[id(v)] for v in variables]
            for variables in (twin.trainable_variables, twin.non_trainable_variables)
        )
        y, after = twin.stateless_call(trainable, other, *inputs, **{**self.call, **arrays})
        after = dict(zip(map(id, twin.non_trainable_variables), after))
        return y, [after[id(v)] for v in self.state()]

    def reference(self, weights, seeds=None):
        """What a `Run` gives, from the Keras layer, row by row with each row's weights."""
        n, found = BATCH // self.rows, []
        # Statistics are those of the whole batch.
        whole = isinstance(self.twin, keras.layers.BatchNormalization)
        for row in range(self.rows):
            own = slice(row * n, (row + 1) * n)
            rows = slice(None) if whole else own
            if seeds is not None:
                row_seeds = np.zeros_like(seeds)
                row_seeds[own] = seeds[own]
                row_seeds = row_seeds[rows]
            inputs, arrays = cut([self.inputs, self.arrays], rows)
            (y, state), gradients = self.run_twin(
                inputs, weights[row : row + 1], arrays, None if seeds is None else row_seeds
            )
            found.append((cut(y, own) if whole else y, gradients))
        outputs = tree.map_structure(lambda *parts: np.concatenate(parts), *(y for y, _ in found))
        if seeds is None:
            return (outputs, state), None
        *of_inputs, of_weights = zip(*(gradients for _, gradients in found))
        of_inputs = [sum(parts) if whole else np.concatenate(parts) for parts in of_inputs]
        return (outputs, state), [*of_inputs, np.concatenate(of_weights)]

    # Weights in other forms, each with the flat weights that it means.

    def named(self, layer, rng):
        """Tensors by name, the first one with a single row for all."""
        tensors = [ops.convert_to_numpy(piece) for piece in self.pieces(self.weights)]
        weights = dict(zip(layer.tensor_names, tensors, strict=True))
        first = layer.tensor_names[0]
        weights[first] = weights[first][:1]
        return weights, self.flat(weights.values())

    def factored(self, layer, rng):
        total = self.weights.shape[1]
        features = rng.normal(size=(self.rows, 3)).astype("float32")
        basis = rng.normal(size=(3, total)).astype("float32")
        offset = rng.normal(size=total).astype("float32")
        weights = {"features": features, "basis": basis, "offset": offset}
        return weights, features @ basis + offset

    def updated(self, layer, rng, rank=2):
        """Updates of low rank where the layer takes them."""
        weights, meant, _ = {}, [], self.shapes
        named = zip(layer.tensor_names, self.shapes, self.pieces(self.weights))
        for name, shape, piece in named:
            weights[name] = ops.convert_to_numpy(piece)
            meant.append(weights[name])
            try:
                down, up = layer.update_shapes(name, shape, rank)
            except ValueError:
                continue
            down = rng.normal(size=(self.rows, *down)).astype("float32")
            up = rng.normal(size=(self.rows, *up)).astype("float32")
            base = rng.normal(size=shape).astype("float32")
            weights[name] = {"base": base, "down": down, "up": up}
            changes = [self.row.multiply(name, d, u) for d, u in zip(down, up)]
            meant[-1] = base + np.stack(changes)
        return weights, self.flat(meant)

    def flat(self, tensors):
        tensors = [np.broadcast_to(t, (self.rows, *t.shape[1:])) for t in tensors]
        return np.concatenate([t.reshape(self.rows, -1) for t in tensors], axis=1)


def cut(nest, rows):
    return tree.map_structure(lambda x: x[rows], nest)


def draw_seeds(rng):
    """What the outputs are weighted by: as many for each data row as any output has."""
    return rng.normal(size=(BATCH, 2048)).astype("float32")


class Run:
    """A function of data, weights and other arrays, as float64 arrays; on JAX compiled once.

    `run(inputs, weights, arrays, seeds) -> found, gradients`: with seeds the gradients of the sum
    of weighted outputs for floating data and weights, else `None`.
    """

    def __init__(self, function):
        self.function = function
        self.plain, self.differentiated = function, self._differentiated
        if BACKEND == "jax":
            import jax

            options = {"compiler_options": {"xla_backend_optimization_level": 0}}
            self.plain = jax.jit(function, **options)
            gradient = jax.value_and_grad(self._loss, has_aux=True)
            self.differentiated = jax.jit(gradient, **options)

    def __call__(self, inputs, weights, arrays, seeds=None):
        arguments = tensors_of([inputs, weights, arrays])
        if seeds is None:
            return numpy_of(self.plain(*arguments)), None
        floating = {i: x for i, x in enumerate(inputs) if is_float(x)}
        chosen = tensors_of([*floating.values(), weights])
        others = [None if i in floating else x for i, x in enumerate(arguments[0])]
        (_, found), gradients = self.differentiated(chosen, others, arguments[2], seeds)
        return numpy_of(found), [numpy_of(g) for g in gradients]

    def _loss(self, chosen, others, arrays, seeds):
        *floating, weights = chosen
        floating = iter(floating)
        inputs = [next(floating) if x is None else x for x in others]
        found = self.function(inputs, weights, arrays)
        total = 0.0
        for y in tree.flatten(found[0]):
            y = ops.reshape(y, (y.shape[0], -1))
            total = total + ops.sum(y * ops.convert_to_tensor(seeds[:, : y.shape[1]]))
        return total, found

    def _differentiated(self, chosen, *others):
        if BACKEND == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                tape.watch(chosen)
                total, found = self._loss(chosen, *others)
            # Float ids have no gradient.
            gradients = tape.gradient(total, chosen, unconnected_gradients="zero")
            return (total, found), [tf.convert_to_tensor(g) for g in gradients]
        import torch

        chosen = [x.clone().requires_grad_() for x in chosen]
        total, found = self._loss(chosen, *others)
        gradients = torch.autograd.grad(total, chosen, materialize_grads=True)
        return (total, tree.map_structure(lambda x: x.detach(), found)), gradients


def compiled_dynamic(function, *arguments):
    """On TensorFlow: compiled by XLA with the batch and the rows of weights unknown."""
    import tensorflow as tf

    tensors = tensors_of(arguments)
    signature = tree.map_structure(lambda t: tf.TensorSpec([None, *t.shape[1:]], t.dtype), tensors)
    return numpy_of(tf.function(function, input_signature=signature, jit_compile=True)(*tensors))


def assert_close(actual, expected, tolerance):
    tree.assert_same_structure(actual, expected)
    for a, e in zip(tree.flatten(actual), tree.flatten(expected), strict=True):
        assert a.shape == e.shape
        size = max(1.0, np.max(np.abs(e), initial=0))  # rounding is relative to what is summed
        np.testing.assert_allclose(a, e, rtol=tolerance, atol=tolerance * size)


def assert_fits(spec, output):
    """A symbolic output has the shape of an output, as far as it says one."""
    assert len(spec.shape) == len(output.shape)
    assert all(s in (None, n) for s, n in zip(spec.shape, output.shape)), (spec.shape, output.shape)


def config_of(layer):
    return json.dumps(layer.get_config())
