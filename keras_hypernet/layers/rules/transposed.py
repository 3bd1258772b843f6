"""The rule of `Conv1DTranspose`, `Conv2DTranspose` and `Conv3DTranspose`."""

from keras import layers

from keras_hypernet.layers.rules.convolution import WindowRule
from keras_hypernet.layers.rules.rule import register_rule
from keras_hypernet.ops.conv_transpose import conv_transpose


class TransposedRule(WindowRule):
    """Every entry of the data spread over a window."""

    def convolve(self, layer, x, tensors):
        options = self.window_options(layer)
        return conv_transpose(x, tensors["kernel"], output_padding=layer.output_padding, **options)


for _layer in (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose):
    register_rule(_layer, TransposedRule)
