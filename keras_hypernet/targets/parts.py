"""The layers that `resnet` and `wide_resnet` are made of, under fixed names."""

import keras
from keras import layers

from keras_hypernet.utils import checks

STRIDES = {1: 1, 2: 2, 3: 2}  # of the first block of each group
NORMALIZATIONS = ("batch", "layer", None)
CHANNELS_LAST = "channels_last"


class Convolutions:
    """Calls named layers that have the same options throughout a network."""

    def __init__(self, use_bias, normalization):
        self.use_bias = checks.boolean("use_bias", use_bias)
        self.normalization = checks.choice("normalization", normalization, NORMALIZATIONS)

    def conv(self, x, name, filters, strides=1):
        """A 3x3 convolution that keeps the image's size, or halves it."""
        padding = "same"
        if strides > 1:
            # "same" would pad one side only. One pixel all around centres the windows on the
            # pixels that a subsampling shortcut keeps.
            x = layers.ZeroPadding2D(1, data_format=CHANNELS_LAST, name=f"{name}_pad")(x)
            padding = "valid"
        return _conv(x, name, filters, 3, strides, padding, self.use_bias)

    def skip(self, x, name, filters, strides=1):
        """A 1x1 convolution without bias."""
        return _conv(x, name, filters, 1, strides, "valid", use_bias=False)

    def norm(self, x, name):
        """The normalization of the channels, with its scale and offset."""
        if self.normalization == "batch":
            x = layers.BatchNormalization(axis=-1, momentum=0.9, epsilon=1e-5, name=name)(x)
        if self.normalization == "layer":
            x = layers.LayerNormalization(axis=-1, epsilon=1e-5, name=name)(x)
        return x


def _conv(x, name, filters, size, strides, padding, use_bias):
    return layers.Conv2D(
        filters,
        size,
        strides,
        padding,
        use_bias=use_bias,
        kernel_initializer="he_normal",
        data_format=CHANNELS_LAST,
        name=name,
    )(x)


def relu(x, name):
    return layers.ReLU(name=name)(x)


def subsampled(x, name, strides):
    """Every `strides`-th pixel."""
    if strides == 1:
        return x
    return layers.AveragePooling2D(1, strides, data_format=CHANNELS_LAST, name=name)(x)


def classified(x, num_classes, use_bias):
    """The means over all pixels, and a dense layer's logits of them."""
    x = layers.GlobalAveragePooling2D(data_format=CHANNELS_LAST, name="pool")(x)
    return layers.Dense(num_classes, use_bias=use_bias, name="output")(x)


def images(input_shape):
    shape = checks.shape("input_shape", input_shape)
    if len(shape) != 3:
        raise ValueError(
            "`input_shape` must be (height, width, channels). "
            f"Received: input_shape={input_shape!r}"
        )
    return keras.Input(shape, name="images")


def channels(filters, width):
    """Channels of the first convolution and of the three groups, the groups' times `width`."""
    filters = checks.positive_ints("filters", filters)
    if len(filters) != 4:
        raise ValueError(
            "`filters` must have four entries: the first convolution's and the three groups'. "
            f"Received: filters={filters!r}"
        )
    return filters[0], *(width * group for group in filters[1:])


def blocks(n):
    """`(group, block, strides)` of three groups of `n` blocks; groups 2 and 3 halve the image."""
    for group, strides in STRIDES.items():
        for block in range(n):
            yield group, block, 1 if block else strides


def skip_is_convolved(strides, before, channels):
    """Whether the skip of a wide residual block is a convolution: it does not fit as it is."""
    return strides != 1 or before != channels
