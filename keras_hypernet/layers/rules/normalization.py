"""The rules of normalizations: `y[b] = normalized(x[b]) * gamma[g] + beta[g]`."""

import inspect

import keras
from keras import layers, ops

from keras_hypernet.layers.rules.rule import Rule, register_rule
from keras_hypernet.ops import rows
from keras_hypernet.utils import keras_internals
from keras_hypernet.utils.functional_call import functional_call


class NormalizationRule(Rule):
    """Normalized data times a scale plus an offset, along axes of the data.

    Statistics are those that the layer takes: of a batch whichever weights its rows use.
    """

    def axes(self, layer, rank):
        """Axes of the data, in the order in which the layer's weights have them."""
        axis = layer.axis
        return [a % rank for a in sorted(axis if isinstance(axis, (list, tuple)) else [axis])]

    def normalize(self, layer, x, **kwargs):
        """What the layer returns with a scale of one and an offset of zero."""
        values = {"gamma": ops.ones, "beta": ops.zeros}
        found = [(getattr(layer, name, None), make) for name, make in values.items()]
        neutral = [(v, make(v.shape)) for v, make in found if isinstance(v, keras.Variable)]
        return functional_call(layer, neutral, lambda: type(layer).call(layer, x, **kwargs))

    def apply(self, layer, x, tensors, training=None, **kwargs):
        taken = inspect.signature(type(layer).call).parameters
        if "training" in taken:
            kwargs["training"] = training
        if "mask" in taken and kwargs.get("mask") is None:
            kwargs["mask"] = keras_internals.mask_of(x)
        y, axes = self.normalize(layer, x, **kwargs), self.axes(layer, len(x.shape))
        for name, tensor in tensors.items():
            tensor = ops.cast(tensor, y.dtype)
            if name == "beta":
                y = rows.add(y, tensor, axes)
            else:
                y = rows.apply(ops.multiply, y, tensor, axes)
        return y


class LayerNormalizationRule(NormalizationRule):
    """Statistics of each data row."""

    def normalize(self, layer, x):
        extra = {"rms_scaling": True} if layer.rms_scaling else {}
        return ops.layer_normalization(x, axis=layer.axis, epsilon=layer.epsilon, **extra)


class RMSNormalizationRule(NormalizationRule):
    """The root mean square of each data row, and no offset."""

    def normalize(self, layer, x):
        return ops.rms_normalization(x, axis=layer.axis, epsilon=layer.epsilon)


register_rule(layers.LayerNormalization, LayerNormalizationRule)
register_rule(layers.RMSNormalization, RMSNormalizationRule)
register_rule(layers.BatchNormalization, NormalizationRule)
register_rule(layers.GroupNormalization, NormalizationRule)
