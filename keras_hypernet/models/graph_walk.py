"""Calling the operations of a functional model once more, on other tensors."""

import inspect

import keras
from keras import tree

from keras_hypernet.utils import keras_internals


def walk(model, tensors, call, needed=None):
    """Calls the operations of a model in order.

    Args:
        model: A functional or sequential model.
        tensors: `{id(KerasTensor of the model): new tensor}` for its inputs; what comes out of
            the calls is added.
        call: Function of an operation, its args, its kwargs, and a function from the model's
            tensors to new ones; it returns outputs.
        needed: Ids of tensors; operations that make none of them are left out. `None` is all.

    Returns:
        The outputs, in the model's structure.
    """

    def new(nest):
        return tree.map_structure(lambda tensor: tensors.get(id(tensor), tensor), nest)

    for operation, args, kwargs, outputs in keras_internals.nodes(model):
        if needed is not None and not any(id(tensor) in needed for tensor in outputs):
            continue
        results = call(operation, args, kwargs, new)
        for old, result in zip(outputs, tree.flatten(results), strict=True):
            tensors[id(old)] = result
    return new(keras_internals.functional(model).output)


def layers_of_graph(model):
    """The layers in the graph of a model, each once, those of nested models in their place."""
    found = {}
    for operation, *_ in keras_internals.nodes(model):
        if keras_internals.functional(operation) is not None:
            found.update({id(layer): layer for layer in layers_of_graph(operation)})
        elif isinstance(operation, keras.layers.Layer):
            found[id(operation)] = operation
    return list(found.values())


def first_argument(layer, args, kwargs):
    """`(the first argument of a layer's call, the others by name)`."""
    signature = inspect.signature(layer.call)
    # Such as `training`, which every layer takes, and its call may leave to those inside.
    context = set(kwargs) & keras_internals.context_arguments(layer) - set(signature.parameters)
    named = {name: value for name, value in kwargs.items() if name not in context}
    bound = signature.bind(*args, **named).arguments
    (_, first), *others = bound.items()
    others = {**dict(others), **{name: kwargs[name] for name in context}}
    for name, parameter in signature.parameters.items():
        if parameter.kind == parameter.VAR_KEYWORD:
            others.update(others.pop(name, {}))
        elif parameter.kind == parameter.VAR_POSITIONAL and others.pop(name, ()):
            raise ValueError(
                f"The layer {layer.name!r} of class {type(layer).__name__} takes arguments without "
                "names, which cannot be passed on: give its `call` named ones."
            )
    return first, others


def input_like(tensor, name=None):
    """A new input of a model, like another one."""
    name = (
        name or keras_internals.producer(tensor).name
    )  # without one, a tensor is called differently
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)


def nested_inputs(model, fed):
    """The tensors that a nested model is fed, in the order of its inputs."""
    wished = keras_internals.functional(model).input
    if isinstance(wished, dict) and isinstance(fed, dict):
        fed = {name: fed[name] for name in wished}
    return tree.flatten(fed)
