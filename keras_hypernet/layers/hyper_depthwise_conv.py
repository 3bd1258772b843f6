"""The base of the depthwise convolutions on generated weights."""

from keras_hypernet.layers.hyper_conv import HyperConvolution
from keras_hypernet.ops.depthwise_conv import depthwise_conv


class HyperDepthwiseConv(HyperConvolution):
    """Every channel with its own windows."""

    def units(self, channels):
        return channels * self.twin_layer().depth_multiplier

    def kernel_shapes(self, channels):
        twin = self.twin_layer()
        return {"kernel": (*twin.kernel_size, channels, twin.depth_multiplier)}

    def regularizer_of(self, name):
        return "depthwise_regularizer" if name == "kernel" else super().regularizer_of(name)

    def convolve(self, x, tensors):
        return depthwise_conv(x, tensors["kernel"], **self.window_options)
