"""Copies of layers: a new one from a config, built and with the values of the given one."""

import inspect
import warnings

import keras
import numpy as np
from keras import tree

from keras_hypernet.utils import keras_internals, keras_saving
from keras_hypernet.utils.naming import give_unique_path, named_variables
from keras_hypernet.utils.trainable_flags import flags_of, set_flags

USE_ITSELF = "`copy=False` uses the layer itself."


def copy_of(operation):
    """A new layer or operation with the same config; its variables are drawn anew.

    What is called and no file could hold, such as an activation of one's own, is the given one's.
    """
    try:
        with warnings.catch_warnings():
            # Keras warns of what a file would have of a lambda, and this is no file.
            warnings.filterwarnings("ignore", "The object being serialized includes a `lambda`")
            config = without_build(operation.get_config())
        return _made_anew(operation, config)
    except Exception as error:
        raise ValueError(
            f"`model` must have layers that their config can make anew. {operation.name!r} of "
            f"class {type(operation).__name__} cannot: {error}"
        ) from error


def _made_anew(operation, config):
    """A layer or operation from its config, or else from what that is the config of."""
    kind = type(operation)
    try:
        return kind.from_config(dict(config))
    except Exception:
        inside = operation.wrapped_layer() if hasattr(operation, "wrapped_layer") else None
        found = {name: getattr(operation, name, None) for name in config}
        found = {**found, **({"layer": inside} if inside is not None else {})}
        parts = {name: _part(value) for name, value in found.items() if _is_part(value)}
        if not parts:
            raise
        config.update(parts)
    try:
        return kind.from_config(dict(config))
    except Exception:  # some of Keras, such as `Lambda` and wrappers, take configs alone there
        return kind(**config)


def _is_part(value):
    """Whether a value is a layer, or is called, and no class or method."""
    return callable(value) and not isinstance(value, type) and not inspect.ismethod(value)


def _part(value):
    return copy_of(value) if isinstance(value, keras.layers.Layer) else value


def layer_of(config):
    """A layer from its config, or as it is."""
    made = isinstance(config, keras.layers.Layer)
    return config if made else keras.saving.deserialize_keras_object(config)


def copy_or_itself(operation):
    """A copy; or a layer or operation itself that no config makes anew and that has no variables.

    What has no state does the same in two models.
    """
    try:
        return copy_of(operation)
    except ValueError:
        if getattr(operation, "variables", ()):
            raise
        return operation


def without_build(config):
    """A config in which no layer says how it was built: the layer around it builds it.

    Keras would build layers of a wrapper before that has a path of its own.
    """
    if isinstance(config, dict):
        serialized = "class_name" in config
        return {
            name: without_build(entry)
            for name, entry in config.items()
            if not (serialized and name == "build_config")
        }
    return type(config)(map(without_build, config)) if type(config) in (list, tuple) else config


def copy_built(layer, own_path=False):
    """A new layer with the same config, built, with the same values.

    `own_path` says whether the paths of its variables get a number of this process.
    """
    copy = copy_of(layer)
    copy.name = layer.name  # which some configs forget
    if own_path:
        give_unique_path(copy)
    build_as(copy, build_of(layer))
    copy_values(layer, copy)
    return copy


def check_made_anew(layer):
    """Raises where a layer's config does not make it anew, with variables of the same shapes."""
    try:
        with keras_internals.uninitialized():
            copy = copy_of(layer)
            if layer.built and not copy.built:
                build_as(copy, build_of(layer))
    except Exception as error:
        raise ValueError(
            f"{layer.name!r} of class {type(layer).__name__} cannot be made anew: {error}"
        ) from error
    check_same(_aligned(layer, copy), copy.variables, layer)
    _check_arguments(layer, copy)


def build_of(layer):
    """A config of how a layer was built: by a call, if it was called on KerasTensors."""
    call = keras_internals.first_call(layer)
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
    if not keras_internals.has_build(layer) and shape and not tree.is_nested(shape[0]):
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
    variables = _aligned(layer, copy)
    values = [value_of(variable) for variable in variables]
    if fit is not None:
        values = [fit(value, value_of(new)) for value, new in zip(values, copy.variables)]
    check_same(values, copy.variables, layer)
    if fit is None:
        _check_arguments(layer, copy)
    try:
        keras_saving.copy_state(layer, copy, fit)
    except Exception as error:
        raise ValueError(
            "A layer must be one that can be saved, for a copy of it is given what a file holds. "
            f"{layer.name!r} of class {type(layer).__name__} cannot: {error}"
        ) from error
    # Files hold no state of random generators, and adapters as one with their kernel.
    assign(values, copy.variables, layer)
    set_flags(copy, flags_of(layer))
    for given, variable in zip(variables, copy.variables):
        if variable.trainable != given.trainable:  # no config says it of single variables
            variable.trainable = given.trainable


def _aligned(layer, copy):
    """The variables of a layer in the order of those of its copy.

    A layer that was quantized after it was built has them in another order than one made anew.
    """
    given = named_variables(layer)
    names = {id(v): name for name, v in named_variables(copy).items()}
    if set(names.values()) != set(given):
        return layer.variables
    named = {id(v) for v in given.values()}
    others = iter([v for v in layer.variables if id(v) not in named])
    return [given[names[id(v)]] if id(v) in names else next(others) for v in copy.variables]


def check_same(values, variables, layer):
    """Raises where variables of a copy have not the shapes of those of its layer."""
    if [tuple(v.shape) for v in values] != [tuple(v.shape) for v in variables]:
        raise ValueError(
            f"The layer {layer.name!r} of class {type(layer).__name__} made anew from its config "
            f"has other variables: {[v.path for v in variables]}. Where its call has an optional "
            "argument, put it into a functional model with `keras.Input(shape, optional=True)`"
        )


def _check_arguments(layer, copy):
    """Raises where a copy was made with other arguments, which the layer's config leaves out."""
    for given, new in zip(keras_internals.layers_in(layer), keras_internals.layers_in(copy)):
        found = _plain_arguments(new)
        for name, leaves in _plain_arguments(given).items():
            if found.get(name, leaves) != leaves:
                where = "" if given is layer else f" in {given.name!r}"
                raise ValueError(
                    f"The layer {layer.name!r} of class {type(layer).__name__} made anew from its "
                    f"config has {name}={getattr(new, name)!r}{where}, and not "
                    f"{getattr(given, name)!r}: `get_config` must have all that `__init__` takes"
                )


# Arguments that are drawn where none is given, or that a copy may have otherwise.
_NOT_COMPARED = ("name", "trainable", "contraction", "seed")


def _plain_arguments(layer):
    """`{name: leaves}` of what `__init__` takes, where the layer has numbers or words of it."""
    names = inspect.signature(type(layer).__init__).parameters
    found = {n: tree.flatten(getattr(layer, n, None)) for n in names if n not in _NOT_COMPARED}
    return {name: leaves for name, leaves in found.items() if all(map(_is_plain, leaves))}


def _is_plain(leaf):
    return leaf is None or isinstance(leaf, (bool, int, float, str))


def assign(values, variables, layer):
    """Sets variables, state of random generators included, to values."""
    check_same(values, variables, layer)
    for value, variable in zip(values, variables):
        variable.assign(value_of(value))


def assign_parts(layer, parameters, state, trainable=()):
    """Sets a built layer's parameters and the rest of its variables to values.

    `trainable` are the flags of the parameters, where they are not those of the layer.
    """
    owned = [variable for _, variable in keras_internals.parameters(layer)]
    assign(parameters, owned, layer)
    assign(state, keras_internals.state_of(layer), layer)
    for variable, flag in zip(owned, trainable):
        variable.trainable = variable.trainable and flag


def value_of(variable):
    """A copy of a variable's value: JAX frees what a variable held when it is trained."""
    return np.array(keras.ops.convert_to_numpy(variable))
