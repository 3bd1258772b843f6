"""`HyperWrapper`: any Keras layer or model on one set of generated weights."""

from __future__ import annotations

import inspect

import keras
from keras import ops, tree

from keras_hypernet.layers import named_weights
from keras_hypernet.layers.hyper_layer import HyperLayer, Untracked
from keras_hypernet.utils import checks, keras_internals, keras_saving
from keras_hypernet.utils.copying import build_as, build_of, copy_built
from keras_hypernet.utils.functional_call import functional_call
from keras_hypernet.utils.naming import give_unique_path
from keras_hypernet.utils.trainable_flags import flags_of, set_flags
from keras_hypernet.utils.types import Config, Nest, Tensor, Weights


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperWrapper(HyperLayer):
    """Runs a layer, whatever its class, with generated weights in place of its parameters.

    `y = layer(x)` with the parameters `weights`, one set for the whole batch: for recurrent,
    composite and custom layers and for subclassed models, which have no hyper layer of their own.
    State, such as moving averages and seeds, is the wrapper's and moves; losses are added.

    Args:
        layer: A built Keras layer or model. It is kept out of sight: its parameters are neither
            trained nor saved. The wrapper takes the layer for itself.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer. `dtype` is that of
            `layer` by default.

    Call arguments:
        x: The layer's first argument.
        weights: The layer's parameters in the order of `layer.weights`: flat `(1, total)`, each
            row-major, or factored, or a dict of tensors `(1, *shape)` by the names in
            `wrapper.tensor_names`; floating.
        *args, **kwargs: The layer's further arguments.

    Returns:
        What the layer returns, in the wrapper's `dtype` where that is another one.

    Raises:
        TypeError: if `layer` is not a Keras layer, or weights are not floating.
        ValueError: if `layer` is not built or has no parameters, if there is more than one row of
            weights, or if shapes do not fit.

    Example:

    >>> layer = keras.layers.LSTM(4)
    >>> layer.build((None, 7, 3))
    >>> y = kh.HyperWrapper(layer)(np.ones((2, 7, 3), "float32"), np.ones((1, 128), "float32"))
    >>> keras.ops.shape(y)
    (2, 4)

    Reference: Ha et al., 2016, HyperNetworks (https://arxiv.org/abs/1609.09106).
    """

    def __init__(self, layer: keras.layers.Layer, **kwargs: Tensor) -> None:
        checks.instance("layer", layer, keras.layers.Layer)
        shared = checks.boolean("shared", kwargs.pop("shared", True))
        if not shared:
            raise ValueError(
                "`shared` must be True, or left out: a wrapped layer takes one set of weights for "
                "the whole batch, and the hyper layers of Keras' own layers one for each row. "
                "Received: shared=False"
            )
        if not layer.built:
            raise ValueError(
                "`layer` must be built: call it on data, or call its `build` method, first. "
                f"Received: layer={layer!r}"
            )
        parameters = [variable for _, variable in keras_internals.parameters(layer)]
        if not parameters:
            raise ValueError(f"`layer` must have weights to generate. Received: layer={layer!r}")
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = keras_internals.float_policy(layer.dtype_policy)
        self.call = self._called_like(layer)  # type: ignore[method-assign]
        super().__init__(shared=True, **kwargs)
        self._wrapped = Untracked((layer, parameters))
        self._shapes = {f"{i}_{v.name}": tuple(v.shape) for i, v in enumerate(parameters)}
        owned = {id(variable) for variable in parameters}
        self.state = [v for v in layer.variables if id(v) not in owned]

    @HyperLayer.trainable.setter
    def trainable(self, value):
        changed = bool(value) != self.trainable
        HyperLayer.trainable.fset(self, value)
        if changed:  # Keras hands it down to the layers that it sees
            self.wrapped_layer().trainable = value

    def wrapped_layer(self):
        """The layer inside. Its parameters have no meaning."""
        return self._wrapped.value[0]

    @property
    def tensor_names(self):
        """Names of the layer's parameters, in order."""
        return list(self._shapes)

    def check_weights(self, weights):
        named_weights.check_weights(weights, self.tensor_names)

    def check_shapes(self, x_shape, weights_shape):
        named_weights.check_shapes(weights_shape, self._shapes, _no_update)
        self.check_rows(None, named_weights.row_counts(weights_shape, self._shapes))

    def build(self, x_shape, weights_shape, **others):
        self.check_shapes(x_shape, weights_shape)

    def _called_like(self, layer):
        """`call` with the further arguments of a layer's, which Keras looks at one by one."""

        def call(x, weights, *args, **kwargs):
            return type(self).call(self, x, weights, *args, **kwargs)

        call.__signature__ = _signature(layer)
        return call

    def call(self, x: Nest, weights: Weights, *args: Tensor, **kwargs: Tensor) -> Nest:
        layer, parameters = self._wrapped.value
        tensors = named_weights.tensors_of(weights, self._shapes, one_row=True)
        replaced = [(v, tensor[0]) for v, tensor in zip(parameters, tensors.values())]
        y = functional_call(layer, replaced, lambda: layer(x, *args, **kwargs), owner=self)
        return self._in_own_dtype(y)

    def _in_own_dtype(self, outputs):
        """What the layer returns (or KerasTensors of it); as it is with the layer's own policy."""
        if self.compute_dtype == self.wrapped_layer().compute_dtype:
            return outputs

        def cast(y):
            if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(y.dtype)):
                return y
            if keras.utils.is_keras_tensor(y):
                return keras.KerasTensor(y.shape, dtype=self.compute_dtype)
            return ops.cast(y, self.compute_dtype)

        return tree.map_structure(cast, outputs)

    def tensors_by_name(self, weights):
        tensors = named_weights.tensors_of(weights, self._shapes, one_row=True)
        return {f"{self.name}/{name}": tensor for name, tensor in tensors.items()}

    def plain_layers(self, weights):
        tensors = self.tensors_by_name(weights).values()
        values = [ops.convert_to_numpy(tensor[0]) for tensor in tensors]
        layer = copy_built(self.wrapped_layer())
        if not self.trainable:
            layer.trainable = False
        return [(layer, values, self.state)]

    # Saving: the state that is variables is the wrapper's, and the rest is still the layer's.

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

    def compute_output_shape(self, x_shape, weights_shape=None, **others):
        others = {name.removesuffix("_shape"): shape for name, shape in others.items()}
        x, others = tree.map_shape_structure(keras.KerasTensor, (x_shape, others))
        return tree.map_structure(lambda y: y.shape, self.compute_output_spec(x, None, **others))

    def compute_output_spec(self, x, weights, *args, **kwargs):
        return self._in_own_dtype(self.wrapped_layer().compute_output_spec(x, *args, **kwargs))

    def compute_mask(self, inputs, previous_mask):
        return self.wrapped_layer().compute_mask(inputs, previous_mask)

    def get_config(self) -> Config:
        config = super().get_config()
        del config["shared"]
        layer = keras.saving.serialize_keras_object(self.wrapped_layer())
        layer.pop("build_config", None)  # Keras would take the layer as built by it
        return {
            **config,
            "layer": layer,
            "layer_build": build_of(self.wrapped_layer()),
            # Some layers, such as `Sequential`, forget it in their own config.
            "layer_trainable": self.wrapped_layer().trainable,
            "layer_flags": flags_of(self.wrapped_layer()),
            "tensor_names": self.tensor_names,
        }

    @classmethod
    def from_config(cls, config: Config) -> HyperWrapper:
        config = dict(config)
        layer = keras.saving.deserialize_keras_object(config.pop("layer"))
        give_unique_path(layer)  # its state keeps its path, and may be loaded twice
        build_as(layer, config.pop("layer_build"))
        layer.trainable = config.pop("layer_trainable", layer.trainable)
        set_flags(layer, config.pop("layer_flags"))
        names = config.pop("tensor_names")
        wrapper = cls(layer, **config)
        # A variable without a name of its own is called differently in each process.
        wrapper._shapes = dict(zip(names, wrapper._shapes.values(), strict=True))
        return wrapper


def _signature(layer):
    """The signature of a layer's `call`, with weights behind its first argument."""
    _, *others = inspect.signature(layer.call).parameters.values()
    names = [parameter.name for parameter in others]
    if {"x", "weights"} & set(names):
        raise ValueError(
            "`layer` must not have call arguments named `x` or `weights` behind its first, as the "
            f"wrapper has. Received: {layer.name!r} of class {type(layer).__name__} with {names}"
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


def _no_update(name, shape, rank):
    raise ValueError(f"A wrapped layer takes no update of low rank. Received: one of its {name}")
