"""Updates of low rank: a linear map by `base + down @ up` that is never multiplied out."""

from keras import ops

from keras_hypernet.ops.dense import dense, shared_dense
from keras_hypernet.ops.rows import is_shared
from keras_hypernet.utils import backend


def last_axis(shape, rank):
    """Shapes of `down` and `up` for a kernel whose last axis is its output."""
    return (*shape[:-1], rank), (rank, shape[-1])


def low_rank(linear, x, update, axis=-1):
    """`linear(x, base + down @ up)`.

    Args:
        linear: Function of data and a kernel `(rows, ..., out)`, linear in the kernel.
        x: The data.
        update: `{"base": (..., out), "down": (rows, ..., rank), "up": (rows, rank, out)}`.
        axis: Of the output channels in what `linear` returns.
    """
    narrow = ops.moveaxis(linear(x, update["down"]), axis, -1)
    change = ops.moveaxis(matmul(narrow, update["up"]), -1, axis)
    return linear(x, ops.expand_dims(update["base"], 0)) + change


def matmul(x, kernel):  # (batch, ..., in), (rows, in, out) -> (batch, ..., out)
    inputs, units = kernel.shape[1:]
    product = shared_dense if is_shared(kernel) else dense
    flat = backend.reshape(kernel, (ops.shape(kernel)[0], inputs * units))
    return product(x, flat, inputs, units, use_bias=False)
