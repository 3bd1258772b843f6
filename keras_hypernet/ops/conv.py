"""A convolution with one kernel per row."""

import math
from functools import partial

import keras
from keras import ops

from keras_hypernet.ops import rows, windows
from keras_hypernet.utils import backend

AT_ONCE = 1_000_000  # entries of the slices that are cut out of data at a time


def conv(x, kernel, strides, padding, dilation_rate, groups, data_format):
    """Applies row `g` of the kernels to the data rows of group `g`, as `keras.ops.conv` would.

    Args:
        x: `(batch, *spatial, in)`, or with channels first; the rows of the kernels divide the
            batch. One to three spatial axes.
        kernel: `(rows, *window, in // groups, out)`.
        strides, dilation_rate: One integer per spatial axis.
        padding: `"valid"`, `"same"` or, along one axis, `"causal"`.
        groups: Groups of channels.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        `(batch, *spatial, out)`, or with channels first.
    """
    window = kernel.shape[1:-2]
    grouped = windows.prefer_groups(kernel)
    if rows.is_shared(kernel) or grouped:
        if padding == "causal":
            x = windows.channels_last(x, data_format)
            x = windows.pad(x, window, strides, padding, dilation_rate)
            x, padding = windows.from_channels_last(x, data_format), "valid"
        if rows.is_shared(kernel):
            options = {"dilation_rate": dilation_rate, "data_format": data_format}
            return ops.conv(x, kernel[0], strides, padding, **options)
        return windows.by_groups(x, kernel, strides, padding, dilation_rate, data_format)
    x = windows.channels_last(x, data_format)
    x = windows.pad(x, window, strides, padding, dilation_rate)
    convolve = by_slices if groups == 1 else _split_channels(by_slices, groups)
    return windows.from_channels_last(convolve(x, kernel, strides, dilation_rate), data_format)


def by_slices(x, kernel, strides, dilation_rate):
    """Valid windows, cut out and laid side by side, times the kernels: one matmul per row."""
    block = _rows_at_once(x, kernel, strides, dilation_rate)
    if block is None:
        return _matmul_of_slices((x, kernel), strides, dilation_rate)
    matmul = partial(_matmul_of_slices, strides=strides, dilation_rate=dilation_rate)
    blocks = kernel.shape[0] // block
    # In the gradient slices are cut out anew: to keep them is to write them to memory.
    y = ops.map(keras.remat(matmul), (rows.group(x, blocks), rows.group(kernel, blocks)))
    return rows.ungroup(y)


def _matmul_of_slices(pair, strides, dilation_rate):
    x, kernel = pair
    number, *window, inputs, outputs = ops.shape(kernel)
    x = ops.concatenate(windows.slices(x, window, strides, dilation_rate), axis=-1)
    batch, *spatial, _ = ops.shape(x)
    size = math.prod(window) * inputs
    positions = rows.per_row(batch, number) * math.prod(spatial)
    y = backend.matmul(
        backend.reshape(x, (number, positions, size)),
        backend.reshape(kernel, (number, size, outputs)),
    )
    return backend.reshape(y, (batch, *spatial, outputs))


def _rows_at_once(x, kernel, strides, dilation_rate):
    """How many rows of kernels have slices that stay in the cache; `None` where all may go at once.

    A divisor of their number.
    """
    number, *window, inputs, _ = kernel.shape
    if not (backend.compiled_by_jax_for_cpu(x) and isinstance(number, int)):
        return None
    spatial = windows.sizes(x, window, strides, dilation_rate)
    entries = x.shape[0] * math.prod([*spatial, *window, inputs])
    if not isinstance(entries, int) or entries <= AT_ONCE:
        return None
    fitting = max(AT_ONCE * number // entries, 1)
    return max(block for block in range(1, fitting + 1) if number % block == 0)


def _split_channels(convolve, groups):
    """A convolution in groups of channels, as one with a row of kernels per row and group."""

    def split(x, kernel, *options):
        number, *window, inputs, outputs = ops.shape(kernel)
        outputs = outputs // groups
        kernel = backend.reshape(kernel, (number, *window, inputs, groups, outputs))
        kernel = rows.ungroup(backend.moveaxis(kernel, -2, 1))
        x = rows.group(x, number)
        n, *spatial = ops.shape(x)[1:-1]
        x = backend.reshape(x, (number, n, *spatial, groups, inputs))
        x = backend.reshape(backend.moveaxis(x, -2, 1), (number * groups * n, *spatial, inputs))
        y = convolve(x, kernel, *options)
        spatial = ops.shape(y)[1:-1]
        y = backend.reshape(y, (number, groups, n, *spatial, outputs))
        y = backend.moveaxis(y, 1, -2)
        return backend.reshape(y, (number * n, *spatial, groups * outputs))

    return split
