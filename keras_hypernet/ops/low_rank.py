"""Updates of low rank: a linear map by `base + down @ up` that is never multiplied out."""

from keras import ops

from keras_hypernet.ops import rows
from keras_hypernet.ops.dense import dense, shared_dense
from keras_hypernet.utils import backend


def last_axis(shape, rank):
    """Shapes of `down` and `up` for a kernel whose last axis is its output."""
    return (*shape[:-1], rank), (rank, shape[-1])


def low_rank(x, update, whole, down, up, axis=-1):
    """`whole(x, base) + up(scale * down(x))`, or `base(x) + whole(x, change)`.

    Args:
        x: The data.
        update: `{"base": tensor, "down": (rows, ...), "up": (rows, ...)}`, and `"scale": (rows,
            rank)` where the factors have one between them. A base that is no tensor is a function
            of the data, with all that follows but the activation; there may be a `"change": (rows,
            ...)` in place of the factors, or nothing.
        whole, down, up: Functions of data and a tensor `(rows, ...)`: what the layer does with a
            kernel, with the first factor, and with the second one.
        axis: Of the rank in what `down` returns.
    """
    base = update["base"]
    product = base(x) if callable(base) else whole(x, ops.expand_dims(base, 0))
    if "change" in update:
        return product + whole(x, update["change"])
    if "down" not in update:
        return product
    narrow = down(x, update["down"])
    if "scale" in update:
        axis = axis % len(narrow.shape)
        narrow = rows.apply(ops.multiply, narrow, update["scale"], [axis])
    return product + up(narrow, update["up"])


def matmul(x, kernel, axis=-1):  # (batch, ..., in), (rows, in, out) -> (batch, ..., out)
    """Data times a kernel along an axis of the data."""
    if axis % len(x.shape) != len(x.shape) - 1:
        y = matmul(backend.moveaxis(x, axis, -1), kernel)
        return backend.moveaxis(y, -1, axis)
    inputs, units = kernel.shape[1:]
    product = shared_dense if rows.is_shared(kernel) else dense
    flat = backend.reshape(kernel, (ops.shape(kernel)[0], inputs * units))
    return product(x, flat, inputs, units, use_bias=False)
