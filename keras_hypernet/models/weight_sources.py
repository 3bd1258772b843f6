"""`WeightSource`: a call that makes generated weights."""

from collections import Counter

from keras_hypernet.generators.generator import Generator
from keras_hypernet.layers.planned_weights import PlannedWeights
from keras_hypernet.models.calls import filled, origin, values_in
from keras_hypernet.models.graph_reader import before, until
from keras_hypernet.weights.forms import FACTORS, materialize, pack_weights, split_weights

SOURCES = (Generator, PlannedWeights)


class WeightSource:
    """A call of a generator, or of the layer of `PlannedWeights` that takes what it makes.

    `spec` is the `WeightSpec` of its weights, `values` what they are read from.
    """

    def __init__(self, call):
        self.call, self.layer = call, call.operation
        if isinstance(self.layer, PlannedWeights):
            self.values = self.layer.generated_of(call)
            self.spec = self.layer.target_spec
        else:
            factored = len(call.outputs) > 1
            self.values = dict(zip(FACTORS, call.outputs)) if factored else call.outputs[0]
            self.spec = self.layer.spec

    @property
    def total(self):
        """How many weights there are for a condition."""
        return self.spec.total

    def tensors(self, tensors):
        """`{name: tensor (rows, *shape)}` of its weights, from tensors of `Value`s."""
        made = filled(self.values, tensors)
        if isinstance(self.layer, PlannedWeights):
            return self.layer.tensors(made)
        return split_weights(made, self.spec)

    def flat(self, tensors):  # (rows, total)
        if isinstance(self.layer, PlannedWeights):
            return pack_weights(self.tensors(tensors), self.spec)
        return materialize(filled(self.values, tensors))


def weight_sources(graph):
    """The `WeightSource`s of a model: no generator behind another one."""
    behind = set()
    for call in graph.calls_of(PlannedWeights):
        behind |= sources_of(call.operation.generated_of(call))
    found = {}
    for call in graph.calls_of(SOURCES):
        if call not in behind:
            # A layer of a nested model that is called twice may have the same weights there.
            planned = isinstance(call.operation, PlannedWeights)
            given = call.operation.generated_of(call) if planned else call.outputs
            key = (id(call.operation), *map(origin, values_in(given)))
            found.setdefault(key, WeightSource(call))
    return list(found.values())


def sources_of(weights):
    """The nearest calls that make weights, in no order."""
    calls = {value.call for value in before(weights, until(*SOURCES))}
    return {call for call in calls if call and isinstance(call.operation, SOURCES)}


def unique_names(calls, names):
    """Names of what each call makes: equal ones get the name of their call before them.

    Where that is one layer, called more than once, its number, too.
    """
    calls_of, tensors_of = Counter(c.name for c in calls), Counter(n for own in names for n in own)
    numbers, found = Counter(), []
    for call, own in zip(calls, names, strict=True):
        where = call.name
        if calls_of[where] > 1:
            where = f"{where}/{numbers[call.name]}"
            numbers[call.name] += 1
        found.append([n if tensors_of[n] == 1 else f"{where}/{n}" for n in own])
    return found
