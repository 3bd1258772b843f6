"""`WeightSource`: a call that makes generated weights."""

from collections import Counter

from keras_hypernet.generators.generator import Generator
from keras_hypernet.layers.layer_weights import LayerWeights
from keras_hypernet.models.calls import filled
from keras_hypernet.models.graph_reader import before, until
from keras_hypernet.weights.forms import FACTORS, materialize, pack_weights, split_weights
from keras_hypernet.weights.spec import WeightSpec

SOURCES = (Generator, LayerWeights)


class WeightSource:
    """A call of a generator, or of the `LayerWeights` that takes what a generator makes.

    `spec` is the `WeightSpec` of its weights, `values` what they are read from.
    """

    def __init__(self, call):
        self.call, self.layer = call, call.operation
        if isinstance(self.layer, LayerWeights):
            self.values, _ = call.arguments
            self.spec = WeightSpec([plan.tensor for plan in self.layer.generated])
        else:
            factored = len(call.outputs) > 1
            self.values = dict(zip(FACTORS, call.outputs)) if factored else call.outputs[0]
            self.spec = self.layer.spec

    def tensors(self, tensors):
        """`{name: tensor (rows, *shape)}` of its weights, from tensors of `Value`s."""
        made = filled(self.values, tensors)
        if isinstance(self.layer, LayerWeights):
            return self.layer.tensors(made)
        return split_weights(made, self.spec)

    def flat(self, tensors):  # (rows, total)
        if isinstance(self.layer, LayerWeights):
            return pack_weights(self.tensors(tensors), self.spec)
        return materialize(filled(self.values, tensors))


def weight_sources(graph):
    """The `WeightSource`s of a model: no generator whose weights a `LayerWeights` takes."""
    behind = set()
    for call in graph.calls_of(LayerWeights):
        behind |= sources_of(call.args)
    return [WeightSource(call) for call in graph.calls_of(SOURCES) if call not in behind]


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
