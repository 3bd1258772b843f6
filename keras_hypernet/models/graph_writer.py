"""Writing a model's graph once more, with hyper layers where weights are generated."""

import keras
from keras import tree

from keras_hypernet.layers.held_layer import freezable_copy, layer_inside
from keras_hypernet.models.graph_walk import (
    first_argument,
    input_like,
    layers_of_graph,
    nested_inputs,
    walk,
)
from keras_hypernet.utils import keras_internals, keras_saving
from keras_hypernet.utils.copying import copy_of, copy_values
from keras_hypernet.utils.naming import free_name, session_name


class GraphWriter:
    """Writes graphs with the hyper layers of some target layers, and copies of the other layers.

    A nested model becomes one inner model whose inputs are its own and the weights of its target
    layers, and which is called wherever the nested model was. One that shares layers with another
    part of the graph is opened: its layers are called where it was.

    Args:
        model: The functional or sequential model.
        targets: List of `TargetLayer`s.
        held: Whether nothing of the model is trained any more, nor its statistics moved.
        replaced: `{id(layer): the layer in its place}`, which is left as it is.
    """

    def __init__(self, model, targets, held=False, replaced=None):
        self.held = held
        self.replaced = replaced or {}
        self.targets = {id(target.layer): target for target in targets}
        self.copies = {}  # id(layer) -> (layer, its copy)
        self.inner = {}  # id(nested model) -> (inner model, ids of the layers it takes weights for)
        self.opened = sharing_models(model)
        self.names = names_in_one_graph(model, self.opened)
        for target in targets:
            target.hyper.name = self.names.get(id(target.layer), target.hyper.name)
        for layer, new in self.replaced.items():
            new.name = self.names.get(layer, new.name)

    def outputs(self, model, inputs, weights, training=None):
        """The outputs of a model on new inputs.

        Args:
            model: Functional or sequential model.
            inputs: New tensors for its inputs, in order.
            weights: `{id(target layer): its weights}`.
            training: What the model was called with.
        """

        def call(operation, args, kwargs, new):
            args, kwargs = new((args, kwargs))
            if training is not None and isinstance(operation, keras.layers.Layer):
                kwargs = {**kwargs, "training": training}
            if id(operation) in self.targets:
                first, others = first_argument(operation, args, kwargs)
                hyper = self.targets[id(operation)].hyper
                return hyper(first, weights[id(operation)], **others)
            if id(operation) in self.opened:
                fed, others = first_argument(operation, args, kwargs)
                fed = nested_inputs(operation, fed)
                return self.outputs(operation, fed, weights, others.get("training"))
            if keras_internals.functional(operation) is not None:
                return self._call_nested(operation, args, kwargs, weights)
            return self._copy(operation)(*args, **kwargs)

        tensors = {id(old): new for old, new in zip(model.inputs, inputs, strict=True)}
        return walk(model, tensors, call)

    def copy_values(self):
        """Gives the new layers the values and the state of the given ones."""
        for layer, copy in self.copies.values():
            if isinstance(layer, keras.layers.Layer):
                copy_values(layer_inside(layer), layer_inside(copy))
                self._hold(copy)
        for target in self.targets.values():
            target.assign_state()
            self._hold(target.hyper)

    def _hold(self, layer):
        if self.held:
            layer.trainable = False

    def _copy(self, operation):
        if id(operation) in self.replaced:
            return self.replaced[id(operation)]
        if id(operation) not in self.copies:
            copy = freezable_copy(operation) if self.held else copy_of(operation)
            copy.name = self.names.get(id(operation), copy.name)
            self.copies[id(operation)] = (operation, copy)
        return self.copies[id(operation)][1]

    def _call_nested(self, model, args, kwargs, weights):
        if id(model) not in self.inner:
            self.inner[id(model)] = self._inner(model, weights)
        inner, needed = self.inner[id(model)]
        fed, others = first_argument(model, args, kwargs)
        given = tree.flatten([weights[layer] for layer in needed])
        return inner([*nested_inputs(model, fed), *given], **others)

    def _inner(self, model, weights):
        needed = [id(layer) for layer in layers_of_graph(model) if id(layer) in self.targets]
        inputs = [input_like(tensor) for tensor in model.inputs]
        taken = [tree.map_structure(_weights_input, weights[layer]) for layer in needed]
        outputs = self.outputs(model, inputs, dict(zip(needed, taken)))
        name = self.names.get(id(model), model.name)
        return keras.Model([*inputs, *tree.flatten(taken)], outputs, name=name), needed


def sharing_models(model):
    """Ids of the nested models that share layers with another part of the graph.

    A file has the values of such a layer once, and a model loaded from it has the layer twice.
    """
    places = {}  # id(layer) -> (layer, {ids of the models around it, from the outermost})

    def collect(inner, around):
        for operation, *_ in keras_internals.nodes(inner):
            if isinstance(operation, keras.layers.Layer):
                places.setdefault(id(operation), (operation, set()))[1].add(around)
            if keras_internals.functional(operation) is not None:
                collect(operation, (*around, id(operation)))

    collect(model, ())
    return {
        nested
        for layer, found in places.values()
        if len({around[-1:] for around in found}) > 1 and keras_saving.is_saved(layer)
        for around in found
        for nested in around
    }


def names_in_one_graph(model, opened):
    """`{id(operation): its name}` in a model whose nested models are opened, if there are any."""
    names, taken = {}, set()

    def collect(inner):
        for operation, *_ in keras_internals.nodes(inner):
            if id(operation) in opened:
                collect(operation)
            elif id(operation) not in names:
                names[id(operation)] = free_name(operation.name, taken)

    if opened:
        taken.update(keras_internals.producer(tensor).name for tensor in model.inputs)
        collect(model)
    return names


def _weights_input(tensor):
    return input_like(tensor, name=session_name("weights"))
