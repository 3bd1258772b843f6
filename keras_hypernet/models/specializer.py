"""`specialize`: one condition baked into a plain Keras model."""

from __future__ import annotations

import keras

from keras_hypernet.layers.held_layer import layer_inside
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.layers.planned_weights import PlannedWeights
from keras_hypernet.models.calls import filled, made_by, values_in, without_weights
from keras_hypernet.models.graph_reader import (
    CallGraph,
    before,
    check_finite,
    check_functional,
    condition_of,
    everything,
    run,
)
from keras_hypernet.models.graph_writer import GraphWriter
from keras_hypernet.utils.copying import assign_parts, copy_or_itself
from keras_hypernet.utils.naming import HYPER
from keras_hypernet.utils.types import Nest


def specialize(model: keras.Model, conditioning: Nest) -> keras.Model:
    """Bakes one condition into a plain Keras model: same outputs, no hypernetwork left.

    Args:
        model: Functional model with generated weights, such as `hypernetize` or `build` returns;
            hyper layers may sit in nested models.
        conditioning: Values of the inputs that the generated weights depend on, each with one
            row: an array where that is one input, else a list in the order of the model's inputs,
            or a dict by input name. An id may be an integer.

    Returns:
        A functional model of Keras' own layers with the inputs that remain, the model's outputs
        and the layers' names. Its name is that of the model that `hypernetize` was given. It needs
        this package neither to load nor to export.

    Raises:
        ValueError: if the model is not functional, has no generated weights, or `conditioning` does
            not fit its inputs or has more than one row, or its weights are not finite.

    Example:

    >>> model = kh.build(conditioning_size=2, input_size=3, target_layer_sizes=[(3, 4)])
    >>> plain = kh.specialize(model, np.zeros((1, 2), "float32"))
    >>> plain.count_params()
    16
    """
    check_functional(model)
    graph = CallGraph(model)
    given = condition_of(graph, conditioning)
    weights = [call.weights for call in graph.calls_of(HyperLayer)]
    baked = run(graph.calls_before(weights), given, training=False)
    check_finite(filled(weights, baked))
    plain, *_ = PlainWriter(graph, baked, graph).write(graph, {})
    return plain


class PlainWriter(GraphWriter):
    """Writes one model of a graph, with plain layers in place of hyper layers.

    Args:
        graph: The `CallGraph`.
        baked: `{Value: tensor}` of the generated weights.
        place: The graph, or the `ModelCall` of the nested model that is written.
        name: Of the new model; `None` is that of the model that `hypernetize` was given.
    """

    def __init__(self, graph, baked, place, name=None):
        super().__init__(graph)
        self.baked = baked
        self.name = name or place.model.name.removeprefix(HYPER)
        self.hyper_models = {
            id(outer.model) for call in graph.calls_of(HyperLayer) for outer in call.around
        }
        self.write_only(place.output)
        self.taken = {operation.name for operation in place.model.operations}
        self.names = set()  # of what was made for generated weights
        self.plain = {}  # hyper layer and its weights -> what `plain_layers` returns

    def write(self, place, tensors):
        written = super().write(place, tensors)
        self.copy_values()
        return written

    def call(self, call, tensors):
        if not isinstance(call.operation, HyperLayer):
            return super().call(call, tensors)
        x, others = filled(without_weights(call), tensors)
        for layer, *_ in self._plain_layers(call):
            x = layer(x, **others)
        return x

    def copy_values(self):
        super().copy_values()
        for layers in self.plain.values():
            for layer, *values in layers:
                assign_parts(layer, *values)

    def taken_by(self, call):
        hyper = isinstance(call.operation, HyperLayer)
        return without_weights(call) if hyper else everything(call)

    def new_copy(self, operation):
        return copy_or_itself(layer_inside(operation))

    def name_of(self, place):
        return self.name

    def rewrites(self, call):
        return id(call.model) in self.hyper_models or not self.is_copied(call.model)

    def key_of(self, call):
        """The model, and what it generates its weights from."""
        hyper = [c.weights for c in self.graph.calls_of(HyperLayer) if call in c.around]
        conditioning = before(hyper)
        fed = [x for value, x in zip(call.inputs, call.fed) if value in conditioning]
        return (id(call.model), *fed)

    def inside(self, call):
        return PlainWriter(self.graph, self.baked, call, self._free(call.model.name))

    def _plain_layers(self, call):
        key = (id(call.operation), *values_in(call.weights))
        if key not in self.plain:
            plain = call.operation.plain_layers(filled(call.weights, self.baked))
            for layer, *_ in plain:
                layer.name = self._free(layer.name)
            flags = _trainable_flags(call)
            self.plain[key] = [(*parts, flags) for parts in plain]
        return self.plain[key]

    def _free(self, name):
        """The name, or where it was given away, one that no layer of the plain model has."""
        free, i = name, 1
        while free in self.names or (free != name and free in self.taken):
            free, i = f"{name}_{i}", i + 1
        self.names.add(free)
        return free


def _trainable_flags(call):
    """Which of a layer's weights the given model trained, where that is known; else `()`."""
    for maker in (call, made_by(values_in(call.weights)[0])):
        if maker is not None and isinstance(maker.operation, PlannedWeights):
            return maker.operation.trainable_flags
    return ()
