"""In which order to contract factored dense weights.

For `y = x @ (offset + features @ basis)` with `features (rows, k)` there are three orders. They
do about the same multiply-adds; what differs is the intermediate that is written, and read
again by the gradient. Numbers of floats per data position, with `n` positions per row of weights:

    materialize   in * out / n    the weights of every row, then a batched matmul
    project       k * out         `x @ basis` as one matmul, then mixed by the features
    outer         k * in          features times inputs, then one matmul

The smallest wins. `_COST` says what a float of each kind costs on each backend, relative to
`materialize`, read off `benchmarks/contraction.py` on two CPU cores: the outer product is written
at the speed of memory, the projection by a matmul at the speed of arithmetic.
"""

import math

import keras

from keras_hypernet.utils import checks

CONTRACTIONS = ("auto", "materialize", "project", "outer")

_COST = {
    "jax": {"materialize": 1.0, "project": 1.0, "outer": 1.5},
    "tensorflow": {"materialize": 1.0, "project": 1.0, "outer": 1.3},
    "torch": {"materialize": 1.0, "project": 1.0, "outer": 1.2},
}


def choose(inputs, outputs, features, positions=1):
    """The cheapest order, from static sizes and the backend.

    Args:
        inputs, outputs: Sizes of the dense layer.
        features: Number of features `k` of its factored weights.
        positions: Data positions that share a row of weights; `None` where it is not known,
            which counts as many.
    """
    floats = {
        "materialize": 0 if positions is None else inputs * outputs / positions,
        "project": features * outputs,
        "outer": features * inputs,
    }
    cost = _COST.get(keras.backend.backend(), _COST["jax"])
    return min(floats, key=lambda order: floats[order] * cost[order])


def positions(x_shape, rows):
    """Data positions that share a row of weights; `None` where shapes do not say it.

    Where neither the batch nor the rows are known, each sample has its own row.
    """
    if None in x_shape[1:-1] or (x_shape[0] is None and rows is not None):
        return None
    per_row = max(1, x_shape[0] // rows) if x_shape[0] and rows else 1
    return per_row * math.prod(x_shape[1:-1])


def check(contraction):
    """A known contraction."""
    return checks.choice("contraction", contraction, CONTRACTIONS)


def check_form(contraction, factored):
    """Flat weights are already materialized."""
    if not factored and contraction not in ("auto", "materialize"):
        raise ValueError(
            "`contraction` must be 'auto' or 'materialize' for flat weights: only factored ones "
            f"(`factored=True` in the generator) can be applied as {contraction!r}. "
            f"Received: contraction={contraction!r}"
        )
