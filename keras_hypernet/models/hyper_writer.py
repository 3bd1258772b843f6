"""`HyperWriter`: a model's graph with hyper layers where weights are generated."""

import keras

from keras_hypernet.layers.held_layer import freezable, freezable_copy
from keras_hypernet.models.calls import Entry, filled
from keras_hypernet.models.graph_writer import GraphWriter
from keras_hypernet.utils import keras_internals, keras_saving
from keras_hypernet.utils.copying import USE_ITSELF, copy_or_itself
from keras_hypernet.utils.naming import free_name


class HyperWriter(GraphWriter):
    """Writes graphs with the hyper layers of some target layers, and copies of the other layers.

    A nested model takes the weights of its target layers beside its own inputs. One that shares
    layers with another part of the graph is inlined: its layers are called where it was.

    Args:
        graph: The `CallGraph` of the model.
        target_layers: List of `TargetLayer`s.
        frozen: Whether nothing of the model is trained any more, nor its statistics moved.
        copied: Whether its other layers are copied, and not used themselves.
        replaced: `{id(layer): the layer in its place}`, which is left as it is.
        inlined: Ids of more nested models that are inlined.
    """

    def __init__(
        self, graph, target_layers=(), frozen=False, replaced=None, copied=True, inlined=()
    ):
        super().__init__(graph)
        self.frozen, self.copied = frozen, copied
        self.replaced = replaced or {}
        self.target_layers = {id(target.layer): target for target in target_layers}
        self.inlined = sharing_models(graph) | set(inlined)
        self.names = inlined_names(graph, self.inlined)
        for target in target_layers:
            target.hyper.name = self.names.get(id(target.layer), target.hyper.name)
        for layer, new in self.replaced.items():
            new.name = self.names.get(layer, new.name)

    def call(self, call, tensors):
        target = self.target_layers.get(id(call.operation))
        if target is not None:
            first, others = filled(call.arguments, tensors)
            return target.hyper(first, tensors[target], **{**others, **self.handed_on(call)})
        if id(call.operation) in self.inlined:
            entries = [call.inputs[i].call for i in self.remaining_inputs(call)]
            fed = {c.outputs[0]: c.operation(*filled(c.args, tensors)) for c in entries}
            return self.outputs(call, {**tensors, **fed})
        return super().call(call, tensors)

    def copy(self, operation):
        return self.replaced.get(id(operation)) or super().copy(operation)

    def new_copy(self, operation):
        name = self.names.get(id(operation), operation.name)
        if not self.copied:
            return self._given(operation, name)
        try:
            copy = freezable_copy(operation) if self.frozen else copy_or_itself(operation)
        except ValueError as error:
            raise ValueError(f"{error}. {USE_ITSELF}") from error
        if copy is operation:
            return self._given(operation, name)
        copy.name = name
        return copy

    def _given(self, operation, name):
        """A layer of the given model itself."""
        if name != operation.name:
            raise ValueError(
                "A layer that is not copied must have a name of its own, where nested models share "
                f"layers with the rest of `model`. Received: {operation.name!r} more than once"
            )
        return freezable(operation) if self.frozen else operation

    def copy_values(self):
        """Gives the new layers the values and the state of the given ones."""
        try:
            super().copy_values()
        except ValueError as error:
            raise ValueError(f"{error}. {USE_ITSELF}") from error
        new = [copy for _, copy in self.copies.values()]
        hidden = [target.hyper for target in self.target_layers.values() if target.is_hidden]
        for layer in [*new, *hidden]:
            if self.frozen and isinstance(layer, keras.layers.Layer):
                layer.trainable = False

    def other_inputs(self, place):
        inside = {id(c.operation): None for c in self.graph.calls if place in c.around}
        return [self.target_layers[layer] for layer in inside if layer in self.target_layers]

    def name_of(self, place):
        return self.names.get(id(place.model), place.model.name)


def sharing_models(graph):
    """Ids of the nested models that share layers with another part of the graph.

    A file has the values of such a layer once, and a model loaded from it has the layer twice.
    """
    places = {}  # id(layer) -> (layer, {ids of the models around it, from the outermost})
    for call in graph.calls:
        if isinstance(call.operation, keras.layers.Layer):
            around = tuple(id(outer.model) for outer in call.around)
            places.setdefault(id(call.operation), (call.operation, set()))[1].add(around)
    return {
        nested
        for layer, found in places.values()
        if len({around[-1:] for around in found}) > 1 and keras_saving.is_saved(layer)
        for around in found
        for nested in around
    }


def inlined_names(graph, inlined):
    """`{id(operation): its name}` in a model whose nested models are inlined, if any are."""
    if not inlined:
        return {}
    symbols = keras_internals.functional(graph.model).inputs
    names, taken = {}, {keras_internals.producer(symbol).name for symbol in symbols}
    for call in graph.calls:
        operation, around = call.operation, {id(outer.model) for outer in call.around}
        in_graph = around <= inlined and id(operation) not in inlined
        if in_graph and id(operation) not in names and not isinstance(operation, Entry):
            names[id(operation)] = free_name(operation.name, taken)
    return names
