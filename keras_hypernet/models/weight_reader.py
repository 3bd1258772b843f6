"""`target_weights`: what a hypernetwork generates, by name."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_hypernet.generators.generator import Generator
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.layers.planned_weights import PlannedWeights
from keras_hypernet.layers.split_weights import SplitWeights
from keras_hypernet.models.calls import Entry, filled
from keras_hypernet.models.graph_reader import (
    CallGraph,
    before,
    check_functional,
    conditions_of,
    run,
    until,
)
from keras_hypernet.models.weight_sources import SOURCES, sources_of, unique_names, weight_sources
from keras_hypernet.utils.types import Nest


def target_weights(model: keras.Model, conditioning: Nest) -> dict[str, np.ndarray]:
    """The weights that a model generates for given conditions, by name.

    Args:
        model: Functional model with generators, such as `build` returns; they may sit in nested
            models.
        conditioning: Values of the inputs that the generators depend on: an array where that is
            one input, else a list in the order of the model's inputs, or a dict by input name.

    Returns:
        Dict `{name: array (rows, *shape)}`, whatever form the weights have in the graph. Names are
        the paths of the target's variables for a model made by `hypernetize`, else those of the
        generators' specs (`layer_0/kernel`, `layer_0/bias`, ... for `build`); where two generators
        have the same ones, each is prefixed with its generator's name and the names of the nested
        models around it.

    Raises:
        ValueError: if the model is not functional, has no generators, or `conditioning` does not
            fit its inputs.

    Example:

    >>> model = kh.build(conditioning_size=2, input_size=3, target_layer_sizes=[(3, 4)])
    >>> weights = kh.target_weights(model, np.zeros((5, 2), "float32"))
    >>> {name: array.shape for name, array in weights.items()}
    {'layer_0/kernel': (5, 3, 4), 'layer_0/bias': (5, 4)}
    """
    check_functional(model)
    graph = CallGraph(model)
    given = conditions_of(graph, conditioning)
    found = generated_weights(graph)
    tensors = run(graph.calls_before([made.values for made in found]), given, training=False)
    named = [made.tensors(tensors) for made in found]
    names = unique_names([made.call for made in found], named)
    return {
        name: ops.convert_to_numpy(tensor)
        for own, made in zip(names, named)
        for name, tensor in zip(own, made.values())
    }


class ChangedWeights:
    """The weights of a hyper layer, where operations change what was generated for it.

    They have the generator's names where there is one and it makes as many weights.
    """

    def __init__(self, call):
        self.call, self.values = call, call.weights

    @property
    def total(self):
        """How many weights there are for a condition."""
        return sum(call.operation.spec.total for call in sources_of(self.values))

    def tensors(self, tensors):
        named = self.call.operation.tensors_by_name(filled(self.values, tensors))
        shapes = [tuple(tensor.shape)[1:] for tensor in named.values()]
        layers = [call.operation for call in sources_of(self.values)]
        specs = [layer.spec for layer in layers if isinstance(layer, Generator)]
        if len(specs) == 1 and specs[0].shapes == shapes:
            return dict(zip(specs[0].names, named.values()))
        return named


def generated_weights(graph):
    """All generated weights, as they are where they are applied."""
    as_they_are, changed = set(), {}
    for call in graph.calls_of(HyperLayer):
        if isinstance(call.operation, PlannedWeights):
            continue  # is a source itself
        if _is_changed(call.weights):
            changed[call] = sources_of(call.weights)
        else:
            as_they_are |= sources_of(call.weights)
    only_changed = {source for found in changed.values() for source in found} - as_they_are
    sources = [made for made in weight_sources(graph) if made.call not in only_changed]
    return sources + [ChangedWeights(call) for call in changed]


def _is_changed(weights):
    """Whether something stands between weights and the calls that make them."""
    calls = {value.call for value in before(weights, until(*SOURCES))} - {None}
    return any(not isinstance(c.operation, (*SOURCES, SplitWeights, Entry)) for c in calls)
