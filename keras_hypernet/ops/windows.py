"""Windows sliding over data `(batch, *spatial, channels)`, as in the convolutions of Keras.

Windows, strides and dilation rates are static; sizes of the data may be dynamic.

A row of kernels for each group of data can be written as slices of the data beside the kernels, or
as a convolution with a group of channels per row. `_GROUPED` says where the second is the faster
one, forwards and backwards on two CPU cores. On JAX `benchmarks/per_row.py` has it at 1.9
(depthwise) to 790 times the time, and TensorFlow compiles with XLA too; on PyTorch it took a third
to a half of the time of slices.
"""

import itertools

import keras
from keras import ops

from keras_hypernet.ops import rows
from keras_hypernet.utils import backend

_GROUPED = {"jax": False, "tensorflow": False, "torch": True}


def prefer_groups(kernel):
    """Whether to give each row of kernels a group of channels."""
    # No rows would be no channels, and PyTorch compiles and exports no unknown number of them.
    possible = backend.known_rows(kernel) and not backend.torch_compiles()
    return possible and _GROUPED.get(keras.backend.backend(), False)


def by_groups(x, kernel, strides, padding, dilation_rate, data_format):
    """A convolution with groups of channels for each row of kernels.

    Args:
        x: `(batch, *spatial, channels)`, or with channels first.
        kernel: `(rows, *window, in, out)`, in as many groups as fit `channels`.
        strides, padding, dilation_rate: As in `keras.ops.conv`.
        data_format: Of the data.
    """
    number = rows.count(kernel)
    last, axes = data_format == "channels_last", tuple(range(3, len(x.shape) + 1))
    # To (n, rows, channels, *spatial), and back.
    there = (1, 0, axes[-1], 2, *axes[:-1]) if last else (1, 0, 2, *axes)
    back = (1, 0, *axes, 2) if last else there
    x = ops.transpose(rows.group(x, number), there)
    n, _, channels, *spatial = ops.shape(x)
    x = backend.reshape(x, (n, number * channels, *spatial))
    # Put in memory as PyTorch keeps kernels, (rows * out, in, *window), or each convolution and
    # each gradient would do it, out of an order that takes several times as long.
    *window, inputs, outputs = kernel.shape[1:]
    kernel = ops.moveaxis(kernel, (-1, -2), (1, 2))
    kernel = backend.reshape(kernel, (number * outputs, inputs, *window))
    kernel = ops.moveaxis(kernel, (0, 1), (-1, -2))
    options = {"dilation_rate": dilation_rate, "data_format": "channels_first"}
    y = ops.conv(x, kernel, strides, padding, **options)
    _, channels, *spatial = ops.shape(y)
    y = backend.reshape(y, (n, number, channels // number, *spatial))
    return rows.ungroup(ops.transpose(y, back))


def extent(size, dilation):
    """What a window covers of an axis."""
    return (size - 1) * dilation + 1


def channels_last(x, data_format):
    """Data in either format with its channels last."""
    return x if data_format == "channels_last" else backend.moveaxis(x, 1, -1)


def from_channels_last(x, data_format):
    """The other way round."""
    return x if data_format == "channels_last" else backend.moveaxis(x, -1, 1)


def pad(x, window, strides, padding, dilation_rate):
    """Pads data so that valid windows give what the padding asks for.

    Args:
        x: `(batch, *spatial, channels)`.
        window, strides, dilation_rate: One integer per spatial axis.
        padding: `"valid"`, `"same"` or `"causal"`.
    """
    if padding == "valid":
        return x
    pads = []
    for size, *axis in zip(ops.shape(x)[1:-1], window, strides, dilation_rate):
        total = extent(axis[0], axis[2]) - 1 if padding == "causal" else _same(size, *axis)
        left = total if padding == "causal" else total // 2
        pads.append((left, total - left))
    return pad_spatial(x, pads)


def pad_spatial(x, pads):
    """Pads the spatial axes by `(left, right)` each; a negative right crops."""
    crop = [right if isinstance(right, int) and right < 0 else None for _, right in pads]
    pads = [(left, right if cut is None else 0) for (left, right), cut in zip(pads, crop)]
    if any(ops.is_tensor(side) or side != 0 for sides in pads for side in sides):
        x = backend.pad(x, ((0, 0), *pads, (0, 0)))
    return x[(slice(None), *(slice(None, cut) for cut in crop))] if any(crop) else x


def sizes(x, window, strides, dilation_rate):
    """How many positions the window has along each spatial axis."""
    axes = zip(ops.shape(x)[1:-1], window, strides, dilation_rate)
    return [
        (size - extent(width, dilation)) // stride + 1 for size, width, stride, dilation in axes
    ]


def slices(x, window, strides, dilation_rate):
    """What each position of the window sees: `prod(window)` times `(batch, *out, channels)`."""
    out = sizes(x, window, strides, dilation_rate)
    if any(isinstance(size, int) and size < 1 for size in out):
        raise ValueError(
            "The window must fit into the data. "
            f"Received: data of shape {tuple(x.shape)} (padded, channels last), "
            f"window={tuple(window)}, dilation_rate={tuple(dilation_rate)}"
        )
    found = []
    for position in itertools.product(*map(range, window)):
        axes = zip(position, out, strides, dilation_rate)
        cuts = (slice(at * d, at * d + (size - 1) * s + 1, s) for at, size, s, d in axes)
        found.append(x[(slice(None), *cuts)])
    return found


def _same(size, width, stride, dilation):
    """Zeros on both sides together of an axis, for `ceil(size / stride)` windows."""
    covered = extent(width, dilation)
    if stride == 1:
        return covered - 1
    total = ((size + stride - 1) // stride - 1) * stride + covered - size
    return backend.not_negative(total)
