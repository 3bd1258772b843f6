"""`GraphWriter`: a model's graph once more, on other layers."""

import keras
from keras import tree

from keras_hypernet.layers.held_layer import layer_inside
from keras_hypernet.models.calls import ModelCall, filled
from keras_hypernet.models.graph_reader import before, everything
from keras_hypernet.utils import keras_internals
from keras_hypernet.utils.copying import copy_or_itself, copy_values
from keras_hypernet.utils.naming import session_name


class GraphWriter:
    """The base of what calls copies of a model's layers as the model does.

    A nested model is written once, as a model, and called wherever the given one was. A subclass
    says which layers stand for others, and what a nested model takes and is called.

    Args:
        graph: The `CallGraph` of the model.
    """

    def __init__(self, graph):
        keras_internals.count_names(_names(graph.model))
        self.graph = graph
        self.inlined = set()  # ids of nested models whose layers are called where they were
        self.copies = {}  # id(operation) -> (operation, its copy)
        self.models = {}  # what tells nested models apart -> what `write` returns
        self.data = None  # the `Values` that are written; `None` is all

    def write(self, place, tensors):
        """Writes the model of a place as one of its own.

        Args:
            place: The `CallGraph`, or a `ModelCall` in it.
            tensors: What there is around it: `{key: tensors}`.

        Returns:
            `(model, indices of the inputs that it takes, keys of what else it takes)`.
        """
        symbols = keras_internals.functional(place.model).inputs
        remaining, keys = self.remaining_inputs(place), self.other_inputs(place)
        new = {place.inputs[i]: new_input(symbols[i]) for i in remaining}
        new.update((key, tree.map_structure(_numbered_input, tensors[key])) for key in keys)
        inputs, name = _alone(tree.flatten(list(new.values()))), self.name_of(place)
        return keras.Model(inputs, self.outputs(place, new), name=name), remaining, keys

    def outputs(self, place, tensors):
        """The outputs of a place, from `{Value: tensor}` of its inputs, which gets all others."""
        for call in self.wanted(place):
            made = tree.flatten(self.call(call, tensors))
            tensors.update(zip(call.outputs, made, strict=True))
        return filled(place.output, tensors)

    def call(self, call, tensors):
        """What is called in place of a call."""
        if isinstance(call, ModelCall) and self.rewrites(call):
            return self.call_model(call, tensors)
        args, kwargs = filled((call.args, call.kwargs), tensors)
        return self.copy(call.operation)(*args, **kwargs, **self.handed_on(call))

    def call_model(self, call, tensors):
        """Calls the model that is written for a nested one."""
        key = self.key_of(call)
        if key not in self.models:
            self.models[key] = self.inside(call).write(call, tensors)
        model, remaining, keys = self.models[key]
        inputs = filled([call.fed[i] for i in remaining], tensors) + [tensors[key] for key in keys]
        masks = filled([call.masks[i] for i in remaining], tensors)
        others = {**filled(call.others, tensors), **self.handed_on(call)}
        if any(mask is not None for mask in masks):
            others["mask"] = masks
        return model(_alone(tree.flatten(inputs)), **others)

    def handed_on(self, call):
        """Arguments that the calls around a layer, which are written no more, hand on to it."""
        inlined = call.around and id(call.around[-1].model) in self.inlined
        return call.context if inlined else {}

    def copy(self, operation):
        """The copy of a layer or operation, one for all its calls."""
        if id(operation) not in self.copies:
            self.copies[id(operation)] = (operation, self.new_copy(operation))
        return self.copies[id(operation)][1]

    def copy_values(self):
        """Gives the copies the values and the state of the given layers."""
        for layer, copy in self.copies.values():
            given, new = layer_inside(layer), layer_inside(copy)
            if isinstance(layer, keras.layers.Layer) and given is not new:
                copy_values(given, new)

    def write_only(self, outputs):
        """Leaves out what outputs are not made of."""
        self.data = before(outputs, self._with_places)

    def _with_places(self, call):
        """What a call takes; nested models are called as a whole."""
        taken = [self.taken_by(call)]
        for outer in call.around:
            taken += [outer.outputs, outer.others if self.rewrites(outer) else everything(outer)]
        return taken

    def wanted(self, place):
        """The calls of a place that are written."""
        return [c for c in place.members if any(map(self._is_written, c.outputs))]

    def remaining_inputs(self, place):
        """Indices of the inputs that a written model still takes."""
        return [i for i, value in enumerate(place.inputs) if self._is_written(value)]

    def _is_written(self, value):
        return self.data is None or value in self.data

    # What a subclass may say.

    def new_copy(self, operation):
        return copy_or_itself(operation)

    def taken_by(self, call):
        """What a call takes that is written."""
        return everything(call)

    def other_inputs(self, place):
        """Keys of the tensors around a nested model that it takes, too."""
        return []

    def name_of(self, place):
        return place.model.name

    def rewrites(self, call):
        """Whether a nested model is written anew, rather than copied as a whole."""
        return True

    def is_copied(self, model):
        """Whether a nested model can be copied as a whole."""
        try:
            self.copy(model)
        except ValueError:
            return False
        return True

    def key_of(self, call):
        """What nested models of which one is written have in common."""
        return id(call.model)

    def inside(self, call):
        """The writer of a nested model."""
        return self


def new_input(symbol, name=None):
    """An input of a new model like a KerasTensor: of its shape, dtype, kind and name.

    It may be left out where the KerasTensor is such an input.
    """
    producer = keras_internals.producer(symbol)
    return keras.Input(
        batch_shape=symbol.shape,
        dtype=symbol.dtype,
        sparse=symbol.sparse,
        ragged=symbol.ragged,
        name=name or producer.name,  # without one, a tensor is called differently
        optional=getattr(producer, "optional", False),
    )


def _names(model):
    """Names of all operations of a model, and of those in it."""
    for operation in getattr(keras_internals.functional(model), "operations", ()):
        yield operation.name
        if isinstance(operation, keras.Model):
            yield from _names(operation)


def _numbered_input(symbol):
    return new_input(symbol, name=session_name("generated_weights"))


def _alone(inputs):
    return inputs[0] if len(inputs) == 1 else inputs
