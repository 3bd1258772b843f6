"""Writing a model's graph once more, with hyper layers where weights are generated."""

import keras
from keras import tree

from keras_hypernet import _compat
from keras_hypernet.naming import unique_name
from keras_hypernet.rewrite import (
    copy_of,
    copy_values,
    first_argument,
    input_like,
    layers_of_graph,
    nested_inputs,
    walk,
)


class GraphWriter:
    """Writes graphs with the hyper layers of some target layers, and copies of the other layers.

    A nested model becomes one inner model whose inputs are its own and the weights of its target
    layers, and which is called wherever the nested model was.

    Args:
        targets: List of `TargetLayer`s.
    """

    def __init__(self, targets):
        self.targets = {id(target.layer): target for target in targets}
        self.copies = {}  # id(layer) -> (layer, its copy)
        self.inner = {}  # id(nested model) -> (inner model, ids of the layers it takes weights for)

    def outputs(self, model, inputs, weights):
        """The outputs of a model on new inputs.

        Args:
            model: Functional or sequential model.
            inputs: New tensors for its inputs, in order.
            weights: `{id(target layer): its weights}`.
        """

        def call(operation, args, kwargs, new):
            args, kwargs = new((args, kwargs))
            if id(operation) in self.targets:
                first, others = first_argument(operation, args, kwargs)
                hyper = self.targets[id(operation)].hyper
                return hyper(first, weights[id(operation)], **others)
            if _compat.functional(operation) is not None:
                return self._call_nested(operation, args, kwargs, weights)
            return self._copy(operation)(*args, **kwargs)

        tensors = {id(old): new for old, new in zip(model.inputs, inputs, strict=True)}
        return walk(model, tensors, call)

    def copy_values(self):
        """Gives the new layers the values and the state of the given ones."""
        for layer, copy in self.copies.values():
            if isinstance(layer, keras.layers.Layer):
                copy_values(layer, copy)
        for target in self.targets.values():
            target.assign_state()

    def _copy(self, operation):
        if id(operation) not in self.copies:
            self.copies[id(operation)] = (operation, copy_of(operation))
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
        return keras.Model([*inputs, *tree.flatten(taken)], outputs, name=model.name), needed


def _weights_input(tensor):
    return input_like(tensor, name=unique_name("weights"))
