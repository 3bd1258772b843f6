"""`HyperWrapper`: any Keras layer or model on one set of generated weights."""

import keras
from keras import ops, tree

from keras_hypernet import _compat, checks
from keras_hypernet.functional_call import functional_call
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.layers.hyper_twin import Held
from keras_hypernet.named_weights import check_shapes, row_counts, tensors_of
from keras_hypernet.named_weights import check_weights as check_named
from keras_hypernet.rewrite import build_as, copy_built


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

    def __init__(self, layer, **kwargs):
        checks.instance("layer", layer, keras.layers.Layer)
        kwargs.pop("shared", None)
        if not layer.built:
            raise ValueError(
                "`layer` must be built: call it on data, or call its `build` method, first. "
                f"Received: layer={layer!r}"
            )
        parameters = [variable for _, variable in _compat.parameters(layer)]
        if not parameters:
            raise ValueError(f"`layer` must have weights to generate. Received: layer={layer!r}")
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = layer.dtype_policy
        super().__init__(shared=True, **kwargs)
        self._held = Held((layer, parameters))
        self._shapes = {f"{i}_{v.name}": tuple(v.shape) for i, v in enumerate(parameters)}
        owned = {id(variable) for variable in parameters}
        self.state = [v for v in layer.variables if id(v) not in owned]

    def wrapped_layer(self):
        """The layer inside. Its parameters have no meaning."""
        return self._held.layer[0]

    @property
    def tensor_names(self):
        """Names of the layer's parameters, in order."""
        return list(self._shapes)

    def check_weights(self, weights):
        check_named(weights, self.tensor_names)

    def check_shapes(self, x_shape, weights_shape):
        check_shapes(weights_shape, self._shapes, _no_update)
        self.check_rows(None, row_counts(weights_shape, self._shapes))

    def build(self, x_shape, weights_shape, **others):
        self.check_shapes(x_shape, weights_shape)

    def call(self, x, weights, *args, **kwargs):
        layer, parameters = self._held.layer
        tensors = tensors_of(weights, self._shapes, one_row=True)
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

    def plain_layers(self, weights):
        tensors = tensors_of(weights, self._shapes, one_row=True)
        values = [ops.convert_to_numpy(tensor[0]) for tensor in tensors.values()]
        return [(copy_built(self.wrapped_layer()), values, self.state)]

    def compute_output_shape(self, x_shape, weights_shape=None, **others):
        others = {name.removesuffix("_shape"): shape for name, shape in others.items()}
        x, others = tree.map_shape_structure(keras.KerasTensor, (x_shape, others))
        return tree.map_structure(lambda y: y.shape, self.compute_output_spec(x, None, **others))

    def compute_output_spec(self, x, weights, *args, **kwargs):
        return self._in_own_dtype(self.wrapped_layer().compute_output_spec(x, *args, **kwargs))

    def compute_mask(self, inputs, previous_mask):
        return self.wrapped_layer().compute_mask(inputs, previous_mask)

    def get_config(self):
        config = super().get_config()
        del config["shared"]
        layer = self.wrapped_layer()
        return {
            **config,
            "layer": keras.saving.serialize_keras_object(layer),
            "layer_build": layer.get_build_config(),
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        layer = keras.saving.deserialize_keras_object(config.pop("layer"))
        build = config.pop("layer_build")
        build_as(layer, build)
        return cls(layer, **config)


def _no_update(name, shape, rank):
    raise ValueError(f"A wrapped layer takes no update of low rank. Received: one of its {name}")
