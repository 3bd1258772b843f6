"""The rule of `Conv1D`, `Conv2D` and `Conv3D`."""

from functools import partial

from keras import layers, ops

from keras_hypernet.layers import named_weights
from keras_hypernet.layers.rules.rule import Rule, register_rule
from keras_hypernet.ops import rows
from keras_hypernet.ops.conv import conv
from keras_hypernet.ops.low_rank import last_axis, low_rank, matmul
from keras_hypernet.utils import keras_internals


class WindowRule(Rule):
    """Windows over data, a bias and an activation. A subclass gives `convolve`."""

    def channel_axis(self, layer):
        return 1 if layer.data_format == "channels_first" else layer.rank + 1

    def window_options(self, layer):
        """The arguments that all operations take."""
        names = ("strides", "padding", "dilation_rate", "data_format")
        return {name: getattr(layer, name) for name in names}

    def apply(self, layer, x, tensors):
        y = self.convolve(layer, ops.cast(x, layer.compute_dtype), tensors)
        if "bias" in tensors:
            y = rows.add(y, tensors["bias"], [self.channel_axis(layer)])
        return layer.activation(y)

    def convolve(self, layer, x, tensors):
        raise NotImplementedError

    def matmul(self, layer):
        """A product along the channels of data."""
        return partial(matmul, axis=self.channel_axis(layer))


class ConvRule(WindowRule):
    """Channels in groups, each output seeing all channels of its group."""

    updated_by_default = True

    def adapted_kernels(self, layer):
        return {"kernel": keras_internals.kernel_shape(layer)}

    def update_shapes(self, layer, name, shape, rank):
        # With groups, `down` would need channels for each of them.
        if name == "kernel" and layer.groups == 1:
            return last_axis(shape, rank)
        return super().update_shapes(layer, name, shape, rank)

    def convolve(self, layer, x, tensors):
        def linear(x, kernel):
            return conv(x, kernel, groups=layer.groups, **self.window_options(layer))

        kernel = tensors["kernel"]
        if named_weights.is_update(kernel):
            axis, up = self.channel_axis(layer), self.matmul(layer)
            return low_rank(x, kernel, whole=linear, down=linear, up=up, axis=axis)
        return linear(x, kernel)


for _layer in (layers.Conv1D, layers.Conv2D, layers.Conv3D):
    register_rule(_layer, ConvRule)
