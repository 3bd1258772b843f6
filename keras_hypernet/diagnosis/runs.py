"""`Runs`: what a model generates for conditions, computed on copies of all values."""

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


class Runs:
    """Runs of a `Subject`. No variable of the model is assigned to.

    `tensors` is `[(name, role, size)]` of all generated tensors, in the order of what `weights`
    returns, and `shapes` are theirs by name; both are known after the first run. `single` is
    whether all conditions have the same row of weights.
    """

    def __init__(self, subject):
        self.subject = subject
        self.graph = subject.graph
        self.made = generated_weights(self.graph)
        self.variables = list(subject.model.trainable_variables)
        self.calls = self.graph.calls_before([made.values for made in self.made])
        self.tensors, self.shapes = [], {}
        self.single = False
        self.settled = self._settled()
        self.plain_target = PlainTarget(self.graph, self.made)

    # Generated weights.

    def weights(self, conditions=None, values=()):
        """`[(rows, size)]` of each tensor that is generated.

        Args:
            conditions: `{Value: array}`; `None` is those of the subject, which a `ContinualModel`
                embeds anew, from the values of the variables.
            values: Of the trainable variables, in their order; empty are those they have.
        """
        embeds = conditions is None and self.subject.embeds
        conditions = self.subject.conditions if conditions is None else conditions
        rows = len(next(iter(conditions.values())))
        total = sum(size for *_, size in self.tensors)  # 0 before they are known
        at_once = max(1, AT_ONCE // total) if total else rows
        found = []
        for start in range(0, rows, at_once):
            part = {v: array[start : start + at_once] for v, array in conditions.items()}
            if embeds:
                part["ids"] = self.subject.ids[start : start + at_once]
            number = len(next(iter(part.values())))
            for some, kept in self._parts(part, number):
                ids = some.pop("ids", None)
                found.append([tensor[:kept] for tensor in self._weights(some, values, ids)])
        return [np.concatenate(parts) for parts in zip(*found)]

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
            return self.named(tensors)

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
