"""`wide_resnet`: the wide residual network, as a target."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from keras_hypernet.targets import parts
from keras_hypernet.utils import checks
from keras_hypernet.utils.types import Shape


def wide_resnet(
    n: int = 4,
    k: int = 10,
    filters: Sequence[int] = (16, 16, 32, 64),
    input_shape: Shape = (32, 32, 3),
    num_classes: int = 10,
    dropout: float = 0.0,
    normalization: str = "batch",
    use_bias: bool = False,
    use_output_bias: bool = True,
    name: str = "wide_resnet",
) -> keras.Model:
    """A wide residual network, WRN-(6n+4)-k, that returns logits.

    A 3x3 convolution, three groups of `n` pre-activation blocks of two 3x3 convolutions, the mean
    over all pixels, and a dense layer. Groups 2 and 3 halve the image. Where a group halves it or
    changes the number of channels, its first block's skip connection is a 1x1 convolution without
    bias.

    The layers with weights are `conv_0`, `group_1_block_0_conv_0`, `group_1_block_0_conv_1`, ...,
    `group_1_block_0_skip`, ..., `output`, and the normalizations: `norm_0` is the next one after
    `conv_0`, `group_1_block_0_norm_0` after `group_1_block_0_conv_0`, ...

    Args:
        n: Number of blocks in a group.
        k: What the groups' channels are multiplied by (not the first convolution's).
        filters: Channels of the first convolution and of the three groups.
        input_shape: `(height, width, channels)` of an image.
        num_classes: Size of the output.
        dropout: Rate of the dropout between the two convolutions of a block, in `[0, 1)`.
        normalization: `"batch"`, `"layer"` (over the channels of each pixel; without a state) or
            `None`.
        use_bias: Whether the 3x3 convolutions have biases.
        use_output_bias: Whether the dense layer has a bias.
        name: Name of the model.

    Returns:
        A functional `keras.Model`, `(batch, height, width, channels)` to `(batch, num_classes)`.

    Raises:
        ValueError: if a size or the rate is out of range, `filters` does not have four entries,
            or the normalization is unknown.
        TypeError: if a size is not an integer.

    Example:

    >>> model = kh.targets.wide_resnet(n=1, k=1)
    >>> kh.WeightSpec.from_model(model).total
    77850

    Reference: Zagoruyko and Komodakis, 2016 (https://arxiv.org/abs/1605.07146).
    """
    n, k = checks.positive_int("n", n), checks.positive_int("k", k)
    dropout = checks.fraction("dropout", dropout)
    use_output_bias = checks.boolean("use_output_bias", use_output_bias)
    num_classes = checks.positive_int("num_classes", num_classes)
    name = name if name is None else checks.name("name", name)
    channels = parts.channels(filters, k)
    net = parts.Convolutions(use_bias, normalization)
    images = parts.images(input_shape)
    x = net.conv(images, "conv_0", channels[0])
    active = parts.relu(net.norm(x, "norm_0"), "relu_0")
    for group, block, strides in parts.blocks(n):
        name_of_block = f"group_{group}_block_{block}"
        x = _block(net, x, active, name_of_block, channels[group], strides, dropout)
        active = parts.relu(net.norm(x, f"{name_of_block}_norm_1"), f"{name_of_block}_relu_1")
    outputs = parts.classified(active, num_classes, use_output_bias)
    return keras.Model(images, outputs, name=name)


def _block(net, x, active, name, filters, strides, dropout):
    """A block on `x`, of which `active` is normalized and rectified."""
    skip = x
    if parts.skip_is_convolved(strides, x.shape[-1], filters):
        skip = net.skip(active, f"{name}_skip", filters, strides)
    y = net.conv(active, f"{name}_conv_0", filters, strides)
    y = parts.relu(net.norm(y, f"{name}_norm_0"), f"{name}_relu_0")
    if dropout:
        y = layers.Dropout(dropout, name=f"{name}_dropout")(y)
    y = net.conv(y, f"{name}_conv_1", filters)
    return layers.Add(name=f"{name}_add")([y, skip])
