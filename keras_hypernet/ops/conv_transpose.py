"""A transposed convolution with one kernel per row.

Outputs at distances that the stride divides see the same entries of the kernel. So with strides
`s` there are `prod(s)` phases of outputs, each an ordinary convolution of the data with a part of
the kernel; nothing is multiplied by the zeros that a stride inserts.
"""

import itertools
import math

from keras import ops

from keras_hypernet.ops import rows, windows
from keras_hypernet.ops.conv import by_slices
from keras_hypernet.utils import backend


def conv_transpose(x, kernel, strides, padding, output_padding, dilation_rate, data_format):
    """Applies row `g` of the kernels to the data rows of group `g`.

    Args:
        x: `(batch, *spatial, in)`, or with channels first; the rows of the kernels divide the
            batch. One to three spatial axes.
        kernel: `(rows, *window, out, in)`.
        strides, dilation_rate: One integer per spatial axis.
        padding: `"valid"` or `"same"`.
        output_padding: `None`, an integer, or one per spatial axis.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        `(batch, *spatial, out)`, or with channels first, as `keras.ops.conv_transpose`.
    """
    if rows.is_shared(kernel):
        options = {"data_format": data_format, "dilation_rate": dilation_rate}
        return ops.conv_transpose(x, kernel[0], strides, padding, output_padding, **options)
    if windows.prefer_groups(kernel):

        def row(pair):
            options = {"data_format": data_format, "dilation_rate": dilation_rate}
            return ops.conv_transpose(*pair, strides, padding, output_padding, **options)

        # Keras has no transposed convolution in groups, but PyTorch makes one of the mapping.
        return rows.ungroup(ops.vectorized_map(row, (rows.group(x, rows.count(kernel)), kernel)))
    window, rank = kernel.shape[1:-2], len(strides)
    if output_padding is None or isinstance(output_padding, int):
        output_padding = (output_padding,) * rank
    options = zip(window, strides, dilation_rate, output_padding)
    pads = [_padding(*axis, padding) for axis in options]
    axes = [_phases(*axis) for axis in zip(window, strides, dilation_rate, pads)]
    x = windows.channels_last(x, data_format)
    spatial = ops.shape(x)[1:-1]
    kernel = ops.swapaxes(ops.flip(kernel, tuple(range(1, rank + 1))), -1, -2)
    outputs = [_phase(x, kernel, phase) for phase in itertools.product(*axes)]
    outputs = [ops.zeros_like(outputs[0]) if y is None else y for y in outputs]
    y = _interleave(outputs, strides)
    cuts = []
    for size, width, s, d, (left, right) in zip(spatial, window, strides, dilation_rate, pads):
        start = windows.extent(width, d) - 1 - left
        cuts.append(slice(start, (size - 1) * s + 1 + right))
    return windows.from_channels_last(y[(slice(None), *cuts)], data_format)


def _padding(width, stride, dilation, extra, padding):
    """Zeros left and right of the data, with `stride - 1` zeros between its entries."""
    covered = windows.extent(width, dilation)
    if padding == "valid":
        return covered - 1, max(covered, stride) - 1 if extra is None else covered - 1 + extra
    total = stride + covered - 2 if extra is None else covered + covered % 2 - 2 + extra
    left = min(total // 2 + total % 2, covered - 1)
    return left, total - left


def _phases(width, stride, dilation, pads):
    """For each phase along an axis: its entries of the flipped kernel, their dilation, its pads.

    `None` where no entry of the kernel meets an output of the phase. Entry `t` of the kernel takes
    the data at `i` to the output at `stride * i + dilation * t`.
    """
    common = math.gcd(stride, dilation)
    step = stride // common
    found = []
    for phase in range(stride):
        entries = [t for t in range(width) if dilation * t % stride == phase]
        if not entries:
            found.append(None)
            continue
        first, last = dilation * entries[0] // stride, dilation * entries[-1] // stride
        taken = slice(width - 1 - entries[-1], width - entries[0], step)
        found.append((taken, dilation // common, (last, pads[1] // stride - first)))
    return found


def _phase(x, kernel, axes):
    """The outputs of one phase, or `None` where all are zero."""
    if None in axes:
        return None
    taken, dilation_rate, pads = zip(*axes)
    x = windows.pad_spatial(x, pads)
    strides = (1,) * len(pads)
    return by_slices(x, kernel[(slice(None), *taken)], strides, dilation_rate)


def _interleave(phases, strides):  # prod(strides) times (batch, *n, c) -> (batch, *(n * s), c)
    if len(phases) == 1:
        return phases[0]
    batch, *spatial, channels = ops.shape(phases[0])
    rank = len(strides)
    y = backend.reshape(ops.concatenate(phases, axis=-1), (batch, *spatial, *strides, channels))
    order = [axis for i in range(1, rank + 1) for axis in (i, i + rank)]
    y = ops.transpose(y, (0, *order, 2 * rank + 1))
    return backend.reshape(y, (batch, *(n * s for n, s in zip(spatial, strides)), channels))
