"""A dense layer with one set of weights per row.

Flat dense weights are the kernel `(in, out)`, row-major, then the bias `(out,)`: read as one
matrix `(in + 1, out)`, they take inputs with a one appended. So no order has to cut the bias from
the kernel, which would copy the largest tensor, forwards and backwards.
"""

import math

from keras import ops

from keras_hypernet.ops.rows import per_row
from keras_hypernet.utils import backend
from keras_hypernet.weights.forms import is_factored, materialize


def dense(x, weights, inputs, units, use_bias, contraction="materialize"):
    """Applies row `g` of the weights to the data rows of group `g`.

    Args:
        x: `(batch, ..., in)`; the rows of the weights divide the batch.
        weights: Flat or factored weights of `in * units (+ units)`.
        inputs, units: Sizes of the layer.
        use_bias: Whether the weights end in a bias.
        contraction: `"materialize"`, `"project"` or `"outer"`.

    Returns:
        `(batch, ..., units)`.
    """
    rows = ops.shape(weights["features"] if is_factored(weights) else weights)[0]
    lead = ops.shape(x)[:-1]
    positions = per_row(lead[0], rows) * math.prod(lead[1:])
    grouped = backend.reshape(x, (rows, positions, inputs))
    if contraction == "materialize":
        many = len(lead) > 1 or (isinstance(positions, int) and positions > 1)
        y = _materialize(grouped, materialize(weights), inputs, units, use_bias, many)
    else:
        flat = _with_one(grouped) if use_bias else grouped
        flat = backend.reshape(flat, (rows * positions, inputs + int(use_bias)))
        features = _per_position(weights["features"], rows, positions)
        order = {"project": _project, "outer": _outer}[contraction]
        y = order(flat, features, weights["basis"], units)
        y = y + backend.matmul(
            flat, backend.reshape(weights["offset"], (inputs + int(use_bias), units))
        )
    return backend.reshape(y, (*lead, units))


def shared_dense(x, weights, inputs, units, use_bias):
    """The same with a single row of weights: the ordinary dense layer."""
    flat = backend.reshape(materialize(weights), ((inputs + int(use_bias)) * units,))
    # Of data in one batch: with more axes the gradient of the kernel takes up to ten times as long.
    *lead, _ = ops.shape(x)
    x = backend.reshape(x, (math.prod(lead), inputs))
    y = backend.matmul(x, backend.reshape(flat[: inputs * units], (inputs, units)))
    y = y + flat[inputs * units :] if use_bias else y
    return backend.reshape(y, (*lead, units))


def _with_one(x):  # (..., in) -> (..., in + 1)
    return ops.concatenate([x, ops.ones_like(x[..., :1])], axis=-1)


def _per_position(features, rows, positions):  # (rows, k) -> (rows * positions, k)
    if isinstance(positions, int) and positions == 1:
        return features
    size = ops.shape(features)[-1]
    features = ops.broadcast_to(ops.expand_dims(features, 1), (rows, positions, size))
    return backend.reshape(features, (rows * positions, size))


def _materialize(x, flat, inputs, units, use_bias, many):  # (rows, n, in) -> (rows, n, out)
    rows = ops.shape(flat)[0]
    if use_bias and many:
        # With many positions a row, it is the inputs that must not be copied.
        kernel, bias = backend.split(flat, [inputs * units, units])
        y = backend.matmul(x, backend.reshape(kernel, (rows, inputs, units)))
        return y + ops.expand_dims(bias, 1)
    x = _with_one(x) if use_bias else x
    matmul = backend.vectors_times_matrices if x.shape[1] == 1 else backend.matmul
    return matmul(x, backend.reshape(flat, (rows, inputs + int(use_bias), units)))


def _project(x, features, basis, units):  # (m, in), (m, k), (k, in * out) -> (m, out)
    m, inputs = ops.shape(x)
    k = ops.shape(basis)[0]
    basis = ops.transpose(backend.reshape(basis, (k, inputs, units)), (1, 0, 2))
    projected = backend.matmul(x, backend.reshape(basis, (inputs, k * units)))
    projected = backend.reshape(projected, (m, k, units))
    return ops.squeeze(backend.matmul(ops.expand_dims(features, 1), projected), 1)


def _outer(x, features, basis, units):  # (m, in), (m, k), (k, in * out) -> (m, out)
    m, inputs = ops.shape(x)
    k = ops.shape(basis)[0]
    products = ops.expand_dims(features, 2) * ops.expand_dims(x, 1)  # (m, k, in)
    products = backend.reshape(products, (m, k * inputs))
    return backend.matmul(products, backend.reshape(basis, (k * inputs, units)))
