"""The rule of `SeparableConv1D` and `SeparableConv2D`."""

from keras import layers, ops

from keras_hypernet.layers.rules.convolution import WindowRule
from keras_hypernet.layers.rules.rule import register_rule
from keras_hypernet.ops import rows
from keras_hypernet.ops.conv import conv
from keras_hypernet.ops.depthwise_conv import depthwise_conv


class SeparableRule(WindowRule):
    """Every channel with its own windows, then all channels of a position."""

    def convolve(self, layer, x, tensors):
        depthwise, pointwise = tensors["depthwise_kernel"], tensors["pointwise_kernel"]
        options = self.window_options(layer)
        if rows.is_shared(depthwise) and rows.is_shared(pointwise):
            return ops.separable_conv(x, depthwise[0], pointwise[0], **options)
        x = depthwise_conv(x, depthwise, **options)
        ones = (1,) * layer.rank
        return conv(x, pointwise, ones, "valid", ones, 1, options["data_format"])


for _layer in (layers.SeparableConv1D, layers.SeparableConv2D):
    register_rule(_layer, SeparableRule)
