"""Hyper layers against a loop over rows of the Keras layer that they mirror."""

import dataclasses
import json
from collections.abc import Callable

import keras
import numpy as np
from keras import ops, tree

from tests.backend import BACKEND, is_float, numpy_of, tensors_of, weighted_sum

BATCH = 4


@dataclasses.dataclass(frozen=True)
class Row:
    """A hyper layer with some arguments, and data to call it with."""

    id: str
    hyper: type
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
        self.call = {n: v(BATCH, rng) if callable(v) else v for n, v in row.call.items()}
        self.twin = row.hyper.twin(**row.arguments)
        self.twin(*symbolic(self.inputs), **symbolic(self.call))
        state = [v for v in self.twin.weights if v.name.startswith(("moving_", "renorm_"))]
        for variable in state:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        self.variables = [v for v in self.twin.weights if not any(v is s for s in state)]
        self.shapes = [tuple(v.shape) for v in self.variables]
        self.weights = self.drawn(rng)

    def drawn(self, rng):
        total = sum(int(np.prod(shape)) for shape in self.shapes)
        return rng.normal(size=(self.rows, total)).astype("float32")

    def layer(self, **options):
        """The hyper layer and its symbolic outputs, with the state of the Keras layer."""
        layer = self.row.hyper(**self.row.arguments, **options)
        return layer, self.built(layer)

    def built(self, layer):
        x, weights, *others = symbolic([self.inputs[0], self.weights, *self.inputs[1:]])
        outputs = layer(x, weights, *others, **symbolic(self.call))
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

    def loop(self, inputs, weights):
        """Outputs row by row with each row's weights, and the state after that."""
        twin, outputs, n = self.twin, [], BATCH // self.rows
        # Statistics are those of the whole batch.
        whole = isinstance(twin, keras.layers.BatchNormalization)
        pieces = self.pieces(weights)
        for row in range(self.rows):
            own = slice(row * n, (row + 1) * n)
            values = {id(v): v.value for v in twin.variables}
            values |= {id(v): piece[row] for v, piece in zip(self.variables, pieces)}
            trainable, other = (
                [values[id(v)] for v in variables]
                for variables in (twin.trainable_variables, twin.non_trainable_variables)
            )
            rows = slice(None) if whole else own
            call = {n: v[rows] if isinstance(v, np.ndarray) else v for n, v in self.call.items()}
            y, after = twin.stateless_call(trainable, other, *(x[rows] for x in inputs), **call)
            outputs.append(tree.map_structure(lambda t: t[own], y) if whole else y)
        after = dict(zip(map(id, twin.non_trainable_variables), after))
        y = tree.map_structure(lambda *parts: ops.concatenate(parts, axis=0), *outputs)
        return y, [after[id(v)] for v in self.state()]

    def of(self, layer):
        """The same function of a hyper layer."""

        def function(inputs, weights):
            state = values_of(layer.non_trainable_variables)
            return layer.stateless_call([], state, inputs[0], weights, *inputs[1:], **self.call)

        return function

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
                down, up = layer.updates(name, shape, rank)
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


def evaluate(function, inputs, weights):
    """A function of data and weights, compiled on JAX, as float64 arrays."""
    if BACKEND == "jax":
        import jax

        function = jax.jit(function)
    return numpy_of(function(tensors_of(inputs), tensors_of(weights)))


def with_gradients(function, inputs, weights):
    """`(outputs, state), gradients` of a random sum of outputs for floating data and weights."""
    flat = tensors_of([*inputs, weights])
    places = [i for i, x in enumerate(flat) if is_float(x)]

    def loss(chosen):
        filled = list(flat)
        for place, value in zip(places, chosen, strict=True):
            filled[place] = value
        found = function(filled[:-1], filled[-1])
        rng = np.random.default_rng(3)
        seeds = tree.map_structure(lambda y: rng.normal(size=tuple(y.shape)), found[0])
        return weighted_sum(found[0], seeds), found

    chosen = [flat[i] for i in places]
    if BACKEND == "jax":
        import jax

        (_, found), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(chosen)
    elif BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(chosen)
            total, found = loss(chosen)
        # Float ids have no gradient.
        gradients = tape.gradient(total, chosen, unconnected_gradients="zero")
        gradients = map(tf.convert_to_tensor, gradients)
    else:
        import torch

        chosen = [x.clone().requires_grad_() for x in chosen]
        total, found = loss(chosen)
        gradients = torch.autograd.grad(total, chosen, materialize_grads=True)
        found = tree.map_structure(lambda x: x.detach(), found)
    return numpy_of(found), [numpy_of(g) for g in gradients]


def compiled_dynamic(function, inputs, weights):
    """On TensorFlow: compiled by XLA with the batch and the rows of weights unknown."""
    import tensorflow as tf

    tensors = tensors_of([inputs, weights])
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
