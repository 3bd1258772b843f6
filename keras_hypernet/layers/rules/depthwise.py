"""The rule of `DepthwiseConv1D` and `DepthwiseConv2D`."""

from keras import layers

from keras_hypernet.layers.rules.convolution import WindowRule
from keras_hypernet.layers.rules.rule import register_rule
from keras_hypernet.ops.depthwise_conv import depthwise_conv


class DepthwiseRule(WindowRule):
    """Every channel with its own windows."""

    def convolve(self, layer, x, tensors):
        return depthwise_conv(x, tensors["kernel"], **self.window_options(layer))


for _layer in (layers.DepthwiseConv1D, layers.DepthwiseConv2D):
    register_rule(_layer, DepthwiseRule)
