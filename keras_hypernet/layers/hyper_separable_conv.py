"""The base of the separable convolutions on generated weights."""

from keras import ops

from keras_hypernet.layers.hyper_conv import HyperConvolution
from keras_hypernet.ops import rows
from keras_hypernet.ops.conv import conv
from keras_hypernet.ops.depthwise_conv import depthwise_conv


class HyperSeparableConv(HyperConvolution):
    """Every channel with its own windows, then all channels of a position."""

    tensors = ("depthwise_kernel", "pointwise_kernel", "bias")

    def kernel_shapes(self, channels):
        twin = self.twin_layer()
        ones = (1,) * twin.rank
        return {
            "depthwise_kernel": (*twin.kernel_size, channels, twin.depth_multiplier),
            "pointwise_kernel": (*ones, channels * twin.depth_multiplier, twin.filters),
        }

    def convolve(self, x, tensors):
        depthwise, pointwise = tensors["depthwise_kernel"], tensors["pointwise_kernel"]
        options = self.window_options
        if rows.is_shared(depthwise) and rows.is_shared(pointwise):
            return ops.separable_conv(x, depthwise[0], pointwise[0], **options)
        x = depthwise_conv(x, depthwise, **options)
        ones = (1,) * self.twin_layer().rank
        return conv(x, pointwise, ones, "valid", ones, 1, options["data_format"])
