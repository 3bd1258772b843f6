"""The base of the transposed convolutions on generated weights."""

from keras_hypernet.layers.hyper_conv import HyperConvolution
from keras_hypernet.ops.conv_transpose import conv_transpose


class HyperConvTranspose(HyperConvolution):
    """Every entry of the data spread over a window."""

    def kernel_shapes(self, channels):
        twin = self.twin_layer()
        return {"kernel": (*twin.kernel_size, twin.filters, channels)}

    def convolve(self, x, tensors):
        output_padding = self.twin_layer().output_padding
        options = self.window_options
        return conv_transpose(x, tensors["kernel"], output_padding=output_padding, **options)
