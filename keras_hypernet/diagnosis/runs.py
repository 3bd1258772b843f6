"""`Runs`: what a model generates for conditions, computed on copies of all values."""

import contextlib
import math

import keras
import numpy as np
from keras import ops

from keras_hypernet.conditioning.running_scale import RunningScale
from keras_hypernet.diagnosis.plain import PlainTarget
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.layers.planned_weights import PlannedWeights
from keras_hypernet.layers.tensor_plan import LOW_RANK
from keras_hypernet.models.calls import filled
from keras_hypernet.models.graph_reader import run
from keras_hypernet.models.weight_reader import ChangedWeights, generated_weights
from keras_hypernet.models.weight_sources import unique_names
from keras_hypernet.utils import keras_internals
from keras_hypernet.utils.functional_call import outputs_with
from keras_hypernet.utils.observing import observing
from keras_hypernet.weights import forms
from keras_hypernet.weights.weight_tensor import role_of_name

AT_ONCE = 2**24  # generated numbers that are in memory at a time
SAMPLE = 256  # inputs and outputs of a large kernel that are looked at


class Runs:
    """Runs of a `Subject`. No variable of the model is assigned to.

    Args:
        subject: The `Subject`.
        whole: Whether all entries of large tensors are kept, and not a sample.

    `tensors` is `[(name, role, size)]` of all generated tensors, in the order of what `weights`
    returns, and `shapes` are theirs by name; both are known after the first run. `single` is
    whether all conditions have the same row of weights.
    """

    def __init__(self, subject, whole=False):
        self.subject, self.whole = subject, whole
        self.graph = subject.graph
        self.made = generated_weights(self.graph)
        self.variables = list(subject.model.trainable_variables)
        self.calls = self.graph.calls_before([made.values for made in self.made])
        self.tensors, self.shapes = [], {}
        self.progress, self.generated = None, 0
        self.single = False
        self.settled = self._settled()
        self.plain_target = PlainTarget(self.graph, self.made)

    @contextlib.contextmanager
    def shown(self, verbose):
        """Shows how many sets of weights there are so far: 1, 0, or `"auto"` where that is long."""
        if verbose == "auto":
            verbose = self.at_once() == 1
        if verbose:
            self.progress = keras.utils.Progbar(None, unit_name="set of weights")
        yield self
        if verbose:
            self.progress.update(self.generated, finalize=True)

    # Generated weights.

    def weights(self, conditions=None, values=()):
        """`[(rows, entries)]` of each tensor that is generated, of which some may be left out.

        Args:
            conditions: `{Value: array}`; `None` is those of the subject, which a `ContinualModel`
                embeds anew, from the values of the variables.
            values: Of the trainable variables, in their order; empty are those they have.
        """
        embeds = conditions is None and self.subject.embeds
        conditions = self.subject.conditions if conditions is None else conditions
        rows = len(next(iter(conditions.values())))
        at_once = self.at_once()
        found = []
        for start in range(0, rows, at_once):
            part = {v: array[start : start + at_once] for v, array in conditions.items()}
            if embeds:
                part["ids"] = self.subject.ids[start : start + at_once]
            number = len(next(iter(part.values())))
            for some, kept in self._parts(part, number):
                ids = some.pop("ids", None)
                found.append([tensor[:kept] for tensor in self._weights(some, values, ids)])
                self.generated += kept
                if self.progress:
                    self.progress.update(self.generated)
        return [np.concatenate(parts) for parts in zip(*found)]

    def at_once(self):
        """For how many conditions weights are in memory at a time."""
        return max(1, AT_ONCE // max(1, sum(made.total for made in self.made)))

    def _parts(self, conditions, number):
        """Conditions in parts of the rows that the model's inputs have for ever, if they do."""
        static = {self.subject.static_rows(value) for value in self.subject.conditions} - {None}
        if not static:
            return [(conditions, number)]
        (size,) = static

        def filled(array):
            return np.resize(array, (size, *array.shape[1:]))

        return [
            ({v: filled(a[i : i + size]) for v, a in conditions.items()}, min(size, number - i))
            for i in range(0, number, size)
        ]

    def _weights(self, conditions, values, ids):
        def function():
            given = tensors_of(conditions)
            if ids is not None:
                given = dict.fromkeys(given, self.subject.tasks.embedding(ids))
            tensors = run(self.calls, given, training=False)
            return [self.sampled(tensor) for tensor in self.named(tensors)]

        pairs = [*self.settled, *zip(self.variables, values)]
        named = outputs_with(pairs, function)
        rows = len(next(iter(conditions.values())))
        self.single = rows > 1 and all(len(tensor) == 1 for tensor in named)
        return [flat_rows(tensor, rows) for tensor in named]

    def named(self, tensors):
        """The generated tensors, from tensors of `Value`s; learns their names once."""
        named = [made.tensors(tensors) for made in self.made]
        if not self.tensors:
            names = unique_names([made.call for made in self.made], named)
            for made, own, its in zip(self.made, names, named):
                changed = isinstance(made, ChangedWeights)
                roles = map(role_of_name, its) if changed else made.spec.roles
                shapes = [tuple(tensor.shape[1:]) for tensor in its.values()]
                self.tensors += zip(own, roles, map(math.prod, shapes))
                self.shapes.update(zip(own, shapes))
        return [tensor for its in named for tensor in its.values()]

    def sampled(self, tensor):
        """Some entries of a large tensor: for each row those of some inputs and some outputs."""
        shape = tuple(tensor.shape)
        inputs, outputs = matrix_shape(shape[1:])
        if self.whole or inputs * outputs <= SAMPLE**2:
            return tensor
        found = ops.reshape(tensor, (shape[0], inputs, outputs))
        for axis, size in ((1, inputs), (2, outputs)):
            found = ops.take(found, _places(size), axis=axis)
        # What is not finite must be seen wherever it is.
        broken = ops.sum(ops.reshape(tensor, (shape[0], -1)) * 0.0, axis=1)
        return found + ops.reshape(broken, (-1, 1, 1))

    def zero_products(self):
        """Names of the tensors whose updates are products of two factors that are both zero."""
        planned = [made for made in self.made if isinstance(made.call.operation, PlannedWeights)]
        if not any(plan.mode == LOW_RANK for made in planned for plan in made.layer.generated):
            return []
        some = self._parts(self.subject.conditions, self.subject.different)[0][0]

        def function():
            given = tensors_of(some)
            tensors = run(self.calls, given, training=False)
            return [
                (plan.name, [ops.convert_to_numpy(forms.materialize(part)) for part in parts])
                for made in planned
                for plan, parts in made.layer.pieces(filled(made.values, tensors))
                if plan.mode == LOW_RANK and len(parts) > 1
            ]

        found = outputs_with(self.settled, function)
        return [name for name, parts in found if not any(part.any() for part in parts)]

    def hidden(self):
        """`[(layer, its output)]` of the hidden layers of generators, for the conditions."""
        calls = [call for call in self.calls if not isinstance(call.operation, HyperLayer)]
        given = tensors_of(self.subject.conditions)
        if any(self.subject.static_rows(value) not in (None, 1) for value in given):
            return []
        single = any(self.subject.static_rows(value) == 1 for value in given)
        found = []
        for i in range(len(next(iter(given.values()))) if single else 1):
            some = {v: a[i : i + 1] for v, a in given.items()} if single else given

            def function(some=some):
                with observing() as seen:
                    tensors = run(calls, some, training=False)
                return [*seen, *_units(calls, tensors)]

            found += outputs_with(self.settled, function)
        return [(layer, ops.convert_to_numpy(output)) for layer, output in found]

    def _settled(self):
        """`[(variable, value)]` of scales that no batch was seen by, after the first one."""
        layers = keras_internals.layers_in(self.subject.network)
        scales = [layer for layer in layers if isinstance(layer, RunningScale)]
        scales = [scale for scale in scales if not float(ops.convert_to_numpy(scale.batches))]
        if not scales:
            return []
        variables = [v for scale in scales for v in (scale.mean_square, scale.batches)]

        def function():
            for some, _ in self._parts(self.subject.conditions, self.subject.different):
                run(self.calls, tensors_of(some), True)
            return [ops.copy(variable.value) for variable in variables]

        return list(zip(variables, outputs_with([], function)))


def matrix_shape(shape):
    """`(inputs, outputs)` of a tensor."""
    return math.prod(shape[:-1]), shape[-1] if shape else 1


def sample_shape(shape):
    """The shape of what is looked at of a matrix."""
    return shape if math.prod(shape) <= SAMPLE**2 else tuple(min(SAMPLE, n) for n in shape)


def _places(size):
    """Indices of some of so many rows or columns, the same ones at every call."""
    chosen = np.random.default_rng(size).permutation(size)[:SAMPLE]
    return np.sort(chosen).astype("int32")


def tensors_of(arrays):
    """`{Value: tensor}` of arrays."""
    return {value: ops.convert_to_tensor(array) for value, array in arrays.items()}


def flat_rows(tensor, rows):
    """`(rows, size)` of a tensor `(rows or 1, *shape)`."""
    array = ops.convert_to_numpy(ops.cast(tensor, "float32"))
    array = array.reshape(len(array), -1)
    return np.broadcast_to(array, (rows, array.shape[1])) if len(array) == 1 else array


def _units(calls, tensors):
    """`[(layer, its output)]` of Keras' own layers with activations, in front of weights."""
    kinds = (keras.layers.Dense, keras.layers.Activation, keras.layers.ReLU)
    return [
        (call.operation, tensors[call.outputs[0]])
        for call in calls
        if isinstance(call.operation, kinds) and call.outputs
    ]
