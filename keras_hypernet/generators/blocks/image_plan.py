"""The plan of the transposed convolutions that grow a small image into one of a wanted size.

A transposed convolution of `n` pixels with kernel `k` and stride `s` makes `(n - 1) * s + k`, of
which a part at either end is cropped.
"""

import dataclasses
import math

from keras_hypernet.utils import checks

SMALLEST_TO_DOUBLE = 4  # an image is doubled only where the result is larger than this


@dataclasses.dataclass(frozen=True)
class ConvPlan:
    """One transposed convolution: each field is a pair, for width and height.

    `crop` has a pair `(start, end)` per axis.
    """

    kernel_size: tuple
    strides: tuple
    crop: tuple
    size: tuple  # of what is left after the crop


def plan(image_size, kernel_sizes):
    """Sizes before the first transposed convolution, and a `ConvPlan` for each.

    Args:
        image_size: `(width, height)` after the last one.
        kernel_sizes: A pair for each.
    """
    starts, axes = [], []
    for size, kernels in zip(image_size, zip(*kernel_sizes)):
        start, steps = _plan_axis(size, kernels)
        starts.append(start)
        axes.append(steps)
    return tuple(starts), [ConvPlan(*zip(*pair)) for pair in zip(*axes)]


def _plan_axis(size, kernels):
    """Size before the first, and `(kernel, stride, crop, size)` of each, in one axis."""
    steps = []
    for i, kernel in reversed(list(enumerate(kernels))):
        stride = 1 if size <= SMALLEST_TO_DOUBLE else 2
        needed = stride + (size % 2 if stride > 1 else 0)
        if kernel < needed:
            raise ValueError(
                f"`kernel_size` must be at least {needed} in transposed convolution {i + 1}, "
                f"which makes {size} pixels of {size // stride}: a smaller one leaves holes. "
                f"Received: {kernel}"
            )
        before = size // stride
        surplus = (before - 1) * stride + kernel - size
        start = (surplus + 1) // 2
        steps.append((kernel, stride, (start, surplus - start), size))
        size = before
    return size, steps[::-1]


def image_shape_of(image_shape):
    """`(width, height, channels)` from that or from `(width, height)`."""
    shape = checks.positive_ints("image_shape", image_shape)
    if len(shape) not in (2, 3):
        raise ValueError(
            "`image_shape` must be (width, height) or (width, height, channels). "
            f"Received: image_shape={image_shape!r}"
        )
    return (*shape, 1)[:3]


def check_pixels(image_shape, total):
    """Raises on an image with fewer pixels than there are weights."""
    pixels = math.prod(image_shape)
    if pixels < total:
        raise ValueError(
            f"`image_shape` must have a pixel for each of the {total} weights of the spec. "
            f"Received: image_shape={image_shape}, which has {pixels}, {total - pixels} too few"
        )


def kernel_sizes_of(kernel_size, count):
    """`count` pairs from an integer, a pair, or a list of either."""
    if not isinstance(kernel_size, (list, tuple)) or _is_pair(kernel_size):
        return (_pair("kernel_size", kernel_size),) * count
    if len(kernel_size) != count:
        raise ValueError(
            "`kernel_size` must be an integer, a pair (width, height), or a list with one of "
            f"these for each of the {count} transposed convolutions (as many as `filters`). "
            f"Received: kernel_size={kernel_size!r}"
        )
    return tuple(_pair(f"kernel_size[{i}]", size) for i, size in enumerate(kernel_size))


def _is_pair(value):
    return len(value) == 2 and not any(isinstance(entry, (list, tuple)) for entry in value)


def _pair(argument, value):
    if not isinstance(value, (list, tuple)):
        return (checks.positive_int(argument, value),) * 2
    if len(value) != 2:
        raise ValueError(
            f"`{argument}` must be an integer or a pair (width, height). "
            f"Received: {argument}={value!r}"
        )
    return checks.positive_ints(argument, value)
