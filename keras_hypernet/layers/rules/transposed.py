"""The rule of `Conv1DTranspose`, `Conv2DTranspose` and `Conv3DTranspose`."""

import string

from keras import layers

from keras_hypernet.layers import named_weights
from keras_hypernet.layers.rules.convolution import WindowRule
from keras_hypernet.layers.rules.rule import register_rule
from keras_hypernet.ops.conv_transpose import conv_transpose
from keras_hypernet.ops.low_rank import low_rank


class TransposedRule(WindowRule):
    """Every entry of the data spread over a window."""

    updated_by_default = True

    def update_shapes(self, layer, name, shape, rank):
        if name != "kernel":
            return super().update_shapes(layer, name, shape, rank)
        return (shape[-1], rank), (*shape[:-1], rank)  # the inputs come last

    def update_equation(self, layer, name, shape):
        outputs = string.ascii_letters[: len(shape) - 1]
        return f"YZ,{outputs}Z->{outputs}Y"

    def convolve(self, layer, x, tensors):
        def linear(x, kernel):
            options = self.window_options(layer)
            return conv_transpose(x, kernel, output_padding=layer.output_padding, **options)

        kernel = tensors["kernel"]
        if named_weights.is_update(kernel):
            axis, down = self.channel_axis(layer), self.matmul(layer)
            return low_rank(x, kernel, whole=linear, down=down, up=linear, axis=axis)
        return linear(x, kernel)


for _layer in (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose):
    register_rule(_layer, TransposedRule)
