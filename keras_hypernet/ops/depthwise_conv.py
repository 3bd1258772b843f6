"""A depthwise convolution with one kernel per row."""

import math

from keras import ops

from keras_hypernet.ops import rows, windows
from keras_hypernet.utils import backend


def depthwise_conv(x, kernel, strides, padding, dilation_rate, data_format):
    """Applies row `g` of the kernels to the data rows of group `g`.

    Args:
        x: `(batch, *spatial, in)`, or with channels first; the rows of the kernels divide the
            batch. One or two spatial axes.
        kernel: `(rows, *window, in, multiplier)`.
        strides, dilation_rate: One integer per spatial axis.
        padding: `"valid"` or `"same"`.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        `(batch, *spatial, in * multiplier)`, or with channels first, as `keras.ops.depthwise_conv`.
    """
    if rows.is_shared(kernel):
        options = {"dilation_rate": dilation_rate, "data_format": data_format}
        return ops.depthwise_conv(x, kernel[0], strides, padding, **options)
    if windows.prefer_groups(kernel):
        number, *window, inputs, multiplier = ops.shape(kernel)
        kernel = backend.reshape(kernel, (number, *window, 1, inputs * multiplier))
        return windows.by_groups(x, kernel, strides, padding, dilation_rate, data_format)
    x = windows.channels_last(x, data_format)
    x = windows.pad(x, kernel.shape[1:-2], strides, padding, dilation_rate)
    y = _by_slices(x, kernel, strides, dilation_rate)
    return windows.from_channels_last(y, data_format)


def _by_slices(x, kernel, strides, dilation_rate):
    """The sum over the window of slices times entries of the kernels, which XLA makes one loop."""
    number, *window, inputs, multiplier = ops.shape(kernel)
    slices = windows.slices(x, window, strides, dilation_rate)
    batch, *spatial, _ = ops.shape(slices[0])
    positions = rows.per_row(batch, number) * math.prod(spatial)
    kernel = backend.reshape(kernel, (number, math.prod(window), inputs, multiplier))
    y = 0
    for at, x in enumerate(slices):
        x = backend.reshape(x, (number, positions, inputs, 1))
        y = y + x * kernel[:, at : at + 1]  # (rows, positions, in, multiplier)
    return backend.reshape(y, (batch, *spatial, inputs * multiplier))
