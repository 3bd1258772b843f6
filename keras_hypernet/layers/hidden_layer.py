"""`HiddenLayer`: a hyper layer around a Keras layer whose parameters nobody sees."""

from __future__ import annotations

import inspect

import keras
from keras import ops

from keras_hypernet.layers.hyper_layer import HyperLayer, Untracked
from keras_hypernet.layers.rules import has_own_rule
from keras_hypernet.utils import checks, keras_internals, keras_saving
from keras_hypernet.utils.copying import (
    USE_ITSELF,
    assign,
    build_as,
    build_of,
    copy_built,
    copy_of,
    copy_values,
    layer_of,
    without_build,
)
from keras_hypernet.utils.naming import give_unique_path
from keras_hypernet.utils.quantized_parts import quantization_of, quantize_parts
from keras_hypernet.utils.trainable_flags import flags_of, set_flags
from keras_hypernet.utils.types import Config, Tensor


class HiddenLayer(HyperLayer):
    """Holds a Keras layer out of sight: its parameters are neither trained nor saved.

    State, such as moving averages and seeds, is tracked in `state`, and moves.

    Args:
        layer: The Keras layer.
        copy: Whether a built layer is copied.
        **kwargs: Those of a hyper layer, `name`, `trainable` and `autocast`.
    """

    def __init__(self, layer: keras.layers.Layer, copy: bool = True, **kwargs: Tensor) -> None:
        checks.instance("layer", layer, keras.layers.Layer)
        copy = checks.boolean("copy", copy)
        check_parts(layer)
        dtype = keras_internals.float_policy(layer.dtype_policy)
        _check_dtype(kwargs.pop("dtype", None), dtype, layer)
        signature = _signature(layer)
        if layer.built and copy:
            try:
                layer = self.copied(layer)
            except ValueError as error:
                raise ValueError(f"{error}. {USE_ITSELF}") from error
        elif not layer.built:
            give_unique_path(layer)
        self.call = self._called_like(layer, signature)  # type: ignore[method-assign]
        kwargs = {"name": layer.name, "trainable": layer.trainable, **kwargs}
        kwargs["autocast"] = kwargs.get("autocast", True) and layer.autocast
        super().__init__(dtype=dtype, **kwargs)
        self.supports_masking = layer.supports_masking
        self.hold(layer)
        if not self.trainable:
            layer.trainable = False

    # How the layer inside is held.

    @staticmethod
    def copied(layer):
        """A copy with the layer's state, under a path of its own."""
        return _copied(layer)

    @staticmethod
    def build_layer(layer, build):
        """Builds a layer by a function."""
        build_without_values(layer, build)

    def hold(self, layer):
        self._wrapped = Untracked(layer)
        self.state = []

    def hold_state(self):
        """Tracks the state of the layer, once that is built."""
        self.state = keras_internals.state_of(self.wrapped_layer())

    def wrapped_layer(self) -> keras.layers.Layer:
        """The layer inside. Its parameters have no meaning, unless it was not copied."""
        return self._wrapped.value

    @HyperLayer.trainable.setter
    def trainable(self, value):
        changed = bool(value) != self.trainable
        HyperLayer.trainable.fset(self, value)
        if changed:  # Keras hands it down to the layers that it sees
            self.wrapped_layer().trainable = value

    def _called_like(self, layer, signature):
        """`call` with the arguments of the layer's, which Keras looks at one by one."""

        def call(x, weights, *args, **kwargs):
            return type(self).call(self, x, weights, *args, **kwargs)

        call.__signature__, call.__doc__ = signature, layer.call.__doc__
        return call

    def compute_mask(self, inputs, previous_mask):
        return self.wrapped_layer().compute_mask(inputs, previous_mask)

    def plain_layer(self):
        """A copy of the layer, but for its parameters' values, that is trained as this one."""
        inner = self.wrapped_layer()
        layer = copy_of(inner) if has_own_rule(inner) else copy_built(inner)
        layer.name = self.name
        if not self.trainable:
            layer.trainable = False
        return layer

    # Saving: the state that is variables is this layer's, and the rest is still the wrapped one's.

    def save_own_variables(self, store):
        super().save_own_variables(store)
        layer = self.wrapped_layer()
        for path, arrays in keras_saving.arrays_of(layer, left_out=layer.variables).items():
            for key, array in arrays.items():
                store[_name(path, key)] = array

    def load_own_variables(self, store):
        saved = {name: store[name] for name in set(store.keys())}
        state = {name: array for name, array in saved.items() if _PATH not in name}
        super().load_own_variables(state)
        if len(state) == len(saved):
            return
        arrays = keras_saving.arrays_of(self.wrapped_layer())
        for name in saved.keys() - state.keys():
            path, key = _path_and_key(name)
            arrays.setdefault(path, {})[key] = saved[name]
        keras_saving.load_arrays(self.wrapped_layer(), arrays)
        super().load_own_variables(state)  # which a layer may have computed from other arrays

    def save_assets(self, folder):
        keras_saving.save_assets(self.wrapped_layer(), folder)

    def load_assets(self, folder):
        if folder is not None:
            keras_saving.load_assets(self.wrapped_layer(), folder)

    def get_config(self) -> Config:
        inner = self.wrapped_layer()
        layer = without_build(keras.saving.serialize_keras_object(inner))
        return {
            **super().get_config(),
            "layer": layer,
            "layer_build": build_of(inner) if inner.built else None,
            "layer_name": inner.name,
            # Some layers, such as `Sequential`, forget it in their own config.
            "layer_trainable": inner.trainable,
            "layer_flags": flags_of(inner),
            "layer_quantized": quantization_of(inner),
        }

    @classmethod
    def from_config(cls, config: Config) -> HiddenLayer:
        config = dict(config)
        layer = layer_of(config.pop("layer"))
        build, trainable = config.pop("layer_build"), config.pop("layer_trainable")
        layer.name = config.pop("layer_name")
        give_unique_path(layer)  # its state keeps its path, and may be loaded twice
        if build is not None:
            cls.build_layer(layer, lambda: build_as(layer, build))
        quantize_parts(layer, config.pop("layer_quantized", {}))  # before its weights are read
        layer.trainable = trainable
        set_flags(layer, config.pop("layer_flags"))
        return cls(layer, copy=False, **config)


def check_parts(layer):
    """Raises where a layer or one inside it, as far as it has them now, cannot be given weights."""
    foreign = keras_internals.foreign_layer(layer)
    if foreign is not None:
        raise ValueError(
            "`layer` must have Keras' own weights, and no layer inside with those of another "
            f"library. Received: {layer.name!r} with {type(foreign).__name__}"
        )
    traced = keras_internals.traced_layer(layer)
    if traced is not None:
        raise ValueError(
            f"The layer {traced.name!r} in {layer.name!r} has a `tf.function` as its `call`, which "
            "would keep the weights that it was traced with: take the decorator away, and put it "
            "on what calls the model."
        )
    again = keras_internals.rematerialized(layer)
    if again is not None:
        raise ValueError(
            f"The layer {again.name!r} in {layer.name!r} is rematerialized: it would be computed "
            "again without its generated weights. Make the layer outside of the "
            "`keras.RematScope`, and the `kh.Hyper` around it inside."
        )


def build_without_values(layer, build):
    """Builds a layer; what a rule of this package is for gets no values for its parameters."""
    with keras.RematScope(mode=None):  # it is for the layer around
        if not has_own_rule(layer):
            build()
            return
        with keras_internals.uninitialized() as made:
            build()
    parameters = {id(v) for _, v in keras_internals.parameters(layer)}
    keras_internals.initialize([v for v in made if id(v) not in parameters])


def _copied(layer):
    """A copy with the layer's state, under a path of its own."""
    with keras.RematScope(mode=None):  # it is for the layer around the copy
        copy = copy_of(layer)
    give_unique_path(copy)
    build_without_values(copy, lambda: build_as(copy, build_of(layer)))
    if has_own_rule(layer):
        assign(keras_internals.state_of(layer), keras_internals.state_of(copy), layer)
        set_flags(copy, flags_of(layer))
    else:
        copy_values(layer, copy)
        for _, variable in keras_internals.parameters(copy):
            # Nothing may read them: what is computed again for a gradient would, in silence.
            variable.assign(ops.full(variable.shape, float("nan"), variable.dtype))
    return copy


def _check_dtype(given, policy, layer):
    if given is not None and keras.dtype_policies.get(given).name != policy.name:
        raise ValueError(
            f"`dtype` is that of `layer`: give it to that one. Received: dtype={given!r}, and "
            f"{layer.name!r} has {policy.name!r}"
        )


def _signature(layer):
    """The signature of a layer's `call`, with weights behind its first argument."""
    _, *others = inspect.signature(layer.call).parameters.values()
    names = [parameter.name for parameter in others]
    if {"x", "weights"} & set(names):
        raise ValueError(
            "`layer` must not have call arguments named `x` or `weights` behind its first, as the "
            f"layer around it has. Received: {layer.name!r} of class {type(layer).__name__} with "
            f"{names}"
        )
    own = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in ("x", "weights")]
    return inspect.Signature([*own, *others])


_PATH = "|"  # A file takes "/" for a group.


def _name(path, key):
    """The name of an array that a part of the layer saves under a key."""
    return f"{path.replace('/', _PATH)}{_PATH}{key}"


def _path_and_key(name):
    path, _, key = name.rpartition(_PATH)
    return path.replace(_PATH, "/"), key
