"""Calling the operations of a functional model once more, on other tensors."""

import inspect

import keras
import numpy as np
from keras import tree

from keras_hypernet import _compat


def walk(model, tensors, call):
    """Calls the operations of a model in order.

    Args:
        model: A functional or sequential model.
        tensors: `{id(KerasTensor of the model): new tensor}` for its inputs; what comes out of
            the calls is added.
        call: Function of an operation, its args and its kwargs, on new tensors, to outputs.

    Returns:
        The outputs, in the model's structure.
    """

    def new(tensor):
        return tensors.get(id(tensor), tensor)

    for operation, args, kwargs, outputs in _compat.nodes(model):
        results = call(operation, tree.map_structure(new, args), tree.map_structure(new, kwargs))
        for old, result in zip(outputs, tree.flatten(results), strict=True):
            tensors[id(old)] = result
    return tree.map_structure(new, _compat.functional(model).output)


def layers_of_graph(model):
    """The layers in the graph of a model, each once, those of nested models in their place."""
    found = {}
    for operation, *_ in _compat.nodes(model):
        if _compat.functional(operation) is not None:
            found.update({id(layer): layer for layer in layers_of_graph(operation)})
        elif isinstance(operation, keras.layers.Layer):
            found[id(operation)] = operation
    return list(found.values())


def first_argument(layer, args, kwargs):
    """`(the first argument of a layer's call, the others by name)`."""
    bound = inspect.signature(layer.call).bind(*args, **kwargs)
    (_, first), *others = bound.arguments.items()
    return first, dict(others)


def copy_of(operation):
    """A new layer or operation with the same config; its variables are drawn anew."""
    try:
        return operation.__class__.from_config(operation.get_config())
    except Exception as error:
        raise ValueError(
            f"`model` must have layers that their config can make anew. {operation.name!r} of "
            f"class {type(operation).__name__} cannot: {error}"
        ) from error


def copy_built(layer):
    """A new layer with the same config, built, with the same values."""
    copy = copy_of(layer)
    if not copy.built:
        copy.build_from_config(layer.get_build_config())
    copy_values(layer, copy)
    return copy


def copy_values(layer, copy):
    """Gives a layer the values of another one's variables."""
    assign(list(layer.variables), list(copy.variables), layer)


def assign(values, variables, layer):
    """Sets variables, state of random generators included, to values."""
    if [tuple(v.shape) for v in values] != [tuple(v.shape) for v in variables]:
        raise ValueError(
            f"The layer {layer.name!r} of class {type(layer).__name__} made anew from its config "
            f"has other variables: {[v.path for v in variables]}"
        )
    for value, variable in zip(values, variables):
        variable.assign(value_of(value))


def value_of(variable):
    """A copy of a variable's value: JAX frees what a variable held when it is trained."""
    return np.array(keras.ops.convert_to_numpy(variable))


def input_like(tensor, name=None):
    """A new input of a model, like another one."""
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name or tensor.name)


def nested_inputs(model, fed):
    """The tensors that a nested model is fed, in the order of its inputs."""
    wished = _compat.functional(model).input
    if isinstance(wished, dict) and isinstance(fed, dict):
        fed = {name: fed[name] for name in wished}
    return tree.flatten(fed)
