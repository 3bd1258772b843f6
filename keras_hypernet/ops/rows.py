"""The rows rule: data row `b` uses weight row `b // (batch // rows)`.

A tensor of weights is `(rows, *shape)`. A row count that is 1 when the graph is built is one set
for the whole batch, and the ordinary operation serves it.
"""

import math
import operator

from keras import ops

from keras_hypernet.utils import backend


def is_shared(tensor):
    """Whether a tensor of weights is known to have a single row."""
    return backend.known_rows(tensor) == 1


def count(tensor):
    """The number of rows: an integer, or a scalar tensor where it is dynamic."""
    return ops.shape(tensor)[0]


def per_row(batch, rows):
    """Data rows that share a row of weights."""
    if ops.is_tensor(rows):
        return batch // ops.maximum(rows, 1)
    return batch // max(rows, 1)  # an empty batch has no rows either


def group(x, rows):  # (batch, ...) -> (rows, batch // rows, ...)
    """Data by the row of weights that serves it."""
    # Never -1: it would hide rows that do not divide.
    batch, *inner = ops.shape(x)
    return backend.reshape(x, (rows, per_row(batch, rows), *inner))


def ungroup(x):  # (rows, n, ...) -> (rows * n, ...)
    rows, n, *inner = ops.shape(x)
    return backend.reshape(x, (rows * n, *inner))


def apply(function, x, tensor, axes):
    """`function(x, tensor)` where a tensor of weights lies along axes of the data.

    Args:
        function: Of the data and the tensor, which broadcast against each other.
        x: `(batch, ...)`.
        tensor: `(rows, *shape)`.
        axes: For each axis of `shape` the axis of the data, batch being 0, in ascending order.
    """
    number, *sizes = ops.shape(tensor)
    sizes = dict(zip(axes, sizes))
    inner = [sizes.get(axis, 1) for axis in range(1, len(x.shape))]
    tensor = backend.reshape(tensor, (number, *inner))
    if is_shared(tensor) or _one_each(x, tensor):
        return function(x, tensor)
    return ungroup(function(group(x, number), ops.expand_dims(tensor, 1)))


def _one_each(x, tensor):
    """Whether every row of data is known to have its own row of weights."""
    batch = x.shape[0]
    return isinstance(batch, int) and batch == tensor.shape[0]


def add(x, tensor, axes):
    """A tensor of weights added along axes of the data."""
    last = len(x.shape) - 1
    if list(axes) == [last] and last > 2:
        # As positions: XLA on a CPU broadcasts along one axis in the middle faster than along two.
        batch, *inner, channels = ops.shape(x)
        flat = backend.reshape(x, (batch, math.prod(inner), channels))
        return backend.reshape(add(flat, tensor, [2]), (batch, *inner, channels))
    # Not `ops.add`: on TensorFlow it takes what has one long axis for a bias of the last axis, or
    # of the first one of that length.
    return apply(operator.add, x, ops.cast(tensor, x.dtype), axes)
