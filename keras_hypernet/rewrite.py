"""Calling the operations of a functional model once more, on other tensors."""

import inspect

import keras
import numpy as np
from keras import tree

from keras_hypernet import _compat
from keras_hypernet.trainable_flags import flags_of, set_flags


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

    for operation, args, kwargs, outputs in _compat.nodes(model):
        if needed is not None and not any(id(tensor) in needed for tensor in outputs):
            continue
        results = call(operation, args, kwargs, new)
        for old, result in zip(outputs, tree.flatten(results), strict=True):
            tensors[id(old)] = result
    return new(_compat.functional(model).output)


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
    signature = inspect.signature(layer.call)
    # Such as `training`, which every layer takes, and its call may leave to those inside.
    context = set(kwargs) & _compat.context_arguments(layer) - set(signature.parameters)
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
    build_as(copy, build_of(layer))
    copy_values(layer, copy)
    return copy


def build_of(layer):
    """A config of how a layer was built: by a call, if it was called on KerasTensors."""
    call = _compat.first_call(layer)
    if call is None:
        return {"build": layer.get_build_config()}
    return {"call": keras.saving.serialize_keras_object(tree.map_structure(_symbol_config, call))}


def build_as(layer, config):
    """Builds a layer made anew from its config, as `build_of` the old one says.

    A call also makes what a `build` leaves to it.
    """
    if "call" in config:
        args, kwargs = _symbols(keras.saving.deserialize_keras_object(config["call"]))
        layer(*args, **kwargs)
        return
    shape = (config["build"] or {}).get("input_shape")
    if not _compat.has_build(layer) and shape and not tree.is_nested(shape[0]):
        layer(keras.Input(tuple(shape)[1:]))
    elif not layer.built:
        layer.build_from_config(config["build"])


_SYMBOL = "keras_tensor"


def _symbol_config(leaf):
    symbolic = keras.utils.is_keras_tensor(leaf)
    return {_SYMBOL: {"shape": list(leaf.shape), "dtype": leaf.dtype}} if symbolic else leaf


def _symbols(nest):
    """The nest, with KerasTensors where their configs were."""
    if isinstance(nest, dict):
        if _SYMBOL in nest:
            return keras.KerasTensor(**nest[_SYMBOL])
        return {name: _symbols(entry) for name, entry in nest.items()}
    return type(nest)(map(_symbols, nest)) if isinstance(nest, (list, tuple)) else nest


def copy_values(layer, copy, fit=None):
    """Gives a layer the state of another one, variables or not, and trains the same ones.

    Args:
        layer: The layer that has the values.
        copy: One made of its config.
        fit: Function of a value and of the copy's present one that returns what the copy gets;
            `None` where their shapes are equal.
    """
    values = [value_of(variable) for variable in layer.variables]
    if fit is not None:
        values = [fit(value, value_of(new)) for value, new in zip(values, copy.variables)]
    check_same(values, copy.variables, layer)
    try:
        _compat.copy_state(layer, copy, fit)
    except Exception as error:
        raise ValueError(
            "A layer must be one that can be saved, for a copy of it is given what a file holds. "
            f"{layer.name!r} of class {type(layer).__name__} cannot: {error}"
        ) from error
    # Files hold no state of random generators, and adapters as one with their kernel.
    assign(values, copy.variables, layer)
    set_flags(copy, flags_of(layer))
    for given, variable in zip(layer.variables, copy.variables):
        if variable.trainable != given.trainable:  # no config says it of single variables
            variable.trainable = given.trainable


def check_same(values, variables, layer):
    """Raises where variables of a copy have not the shapes of those of its layer."""
    if [tuple(v.shape) for v in values] != [tuple(v.shape) for v in variables]:
        raise ValueError(
            f"The layer {layer.name!r} of class {type(layer).__name__} made anew from its config "
            f"has other variables: {[v.path for v in variables]}"
        )


def assign(values, variables, layer):
    """Sets variables, state of random generators included, to values."""
    check_same(values, variables, layer)
    for value, variable in zip(values, variables):
        variable.assign(value_of(value))


def assign_parts(layer, parameters, state, trainable=()):
    """Sets a built layer's parameters and the rest of its variables to values.

    `trainable` are the flags of the parameters, where they are not those of the layer.
    """
    owned = [variable for _, variable in _compat.parameters(layer)]
    ids = {id(variable) for variable in owned}
    assign(parameters, owned, layer)
    assign(state, [v for v in layer.variables if id(v) not in ids], layer)
    for variable, flag in zip(owned, trainable):
        variable.trainable = variable.trainable and flag


def value_of(variable):
    """A copy of a variable's value: JAX frees what a variable held when it is trained."""
    return np.array(keras.ops.convert_to_numpy(variable))


def input_like(tensor, name=None):
    """A new input of a model, like another one."""
    name = name or _compat.producer(tensor).name  # without one, a tensor is called differently
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)


def nested_inputs(model, fed):
    """The tensors that a nested model is fed, in the order of its inputs."""
    wished = _compat.functional(model).input
    if isinstance(wished, dict) and isinstance(fed, dict):
        fed = {name: fed[name] for name in wished}
    return tree.flatten(fed)
