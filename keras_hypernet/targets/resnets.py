"""`resnet`: the residual network for small images, as a target."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import keras
from keras import layers

from keras_hypernet.targets import parts
from keras_hypernet.utils import checks
from keras_hypernet.utils.types import Shape


def resnet(
    n: int = 5,
    filters: Sequence[int] = (16, 16, 32, 64),
    width: int = 1,
    input_shape: Shape = (32, 32, 3),
    num_classes: int = 10,
    normalization: str = "batch",
    use_bias: bool = True,
    name: str = "resnet",
) -> keras.Model:
    """A residual network for small images, with `6 * n + 2` layers, that returns logits.

    A 3x3 convolution, three groups of `n` blocks of two 3x3 convolutions, the mean over all
    pixels, and a dense layer. Groups 2 and 3 halve the image. The shortcuts have no parameters:
    they keep every second pixel and add channels of zeros.

    The layers with weights are `conv_0`, `group_1_block_0_conv_0`, `group_1_block_0_conv_1`, ...,
    `output`, and the normalization of each convolution: `norm_0`, `group_1_block_0_norm_0`, ...

    Args:
        n: Number of blocks in a group.
        filters: Channels of the first convolution and of the three groups, never fewer than
            before.
        width: What the groups' channels are multiplied by (not the first convolution's).
        input_shape: `(height, width, channels)` of an image.
        num_classes: Size of the output.
        normalization: What follows each convolution: `"batch"`, `"layer"` (over the channels of
            each pixel; without a state) or `None`.
        use_bias: Whether the convolutions and the dense layer have biases.
        name: Name of the model.

    Returns:
        A functional `keras.Model`, `(batch, height, width, channels)` to `(batch, num_classes)`.

    Raises:
        ValueError: if a size is out of range, `filters` does not have four entries or gets
            smaller, or the normalization is unknown.
        TypeError: if a size is not an integer.

    Example:

    >>> model = kh.targets.resnet(n=5)
    >>> kh.WeightSpec.from_model(model).total
    465290

    Reference: He et al., 2016 (https://arxiv.org/abs/1512.03385), section 4.2.
    """
    num_classes = checks.positive_int("num_classes", num_classes)
    n, width = checks.positive_int("n", n), checks.positive_int("width", width)
    name = name if name is None else checks.name("name", name)
    channels = parts.channels(filters, width)
    if any(before > after for before, after in itertools.pairwise(channels)):
        raise ValueError(
            "`filters`, times `width`, must not get smaller: shortcuts only add channels. "
            f"Received: filters={filters!r} with width={width}"
        )
    net = parts.Convolutions(use_bias, normalization)
    images = parts.images(input_shape)
    x = net.norm(net.conv(images, "conv_0", channels[0]), "norm_0")
    x = parts.relu(x, "relu_0")
    for group, block, strides in parts.blocks(n):
        x = _block(net, x, f"group_{group}_block_{block}", channels[group], strides)
    outputs = parts.classified(x, num_classes, net.use_bias)
    return keras.Model(images, outputs, name=name)


def _block(net, x, name, filters, strides):
    shortcut = parts.subsampled(x, f"{name}_subsample", strides)
    shortcut = _with_channels(shortcut, f"{name}_channels", filters)
    x = net.conv(x, f"{name}_conv_0", filters, strides)
    x = parts.relu(net.norm(x, f"{name}_norm_0"), f"{name}_relu_0")
    x = net.norm(net.conv(x, f"{name}_conv_1", filters), f"{name}_norm_1")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return parts.relu(x, f"{name}_relu_1")


def _with_channels(x, name, filters):
    """The image with channels of zeros after its own."""
    missing = filters - x.shape[-1]
    if not missing:
        return x
    # Read as channels-first, the image's last two axes are its width and its channels: the layer
    # then pads channels, and needs no custom code to be loaded again.
    return layers.ZeroPadding2D(((0, 0), (0, missing)), data_format="channels_first", name=name)(x)
