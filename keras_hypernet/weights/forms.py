"""The forms of generated weights: flat `(rows, total)`, or factored.

Factored weights are a dict `{"features": (rows, k), "basis": (k, total), "offset": (total,)}`
that means `offset + features @ basis`: everything affine in few weight vectors. The weights of a
single layer may also come tensor by tensor: `named_weights.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
from keras import ops

from keras_hypernet.utils import backend, checks
from keras_hypernet.utils.types import Tensor, TensorsByName, Weights
from keras_hypernet.weights.spec import WeightSpec

if TYPE_CHECKING:
    from keras_hypernet.weights.spec import SpecLike

# In this order in every dict: trees sort the keys of some dicts and of others not, which depends on
# the backend, and files name tensors by their place.
FACTORS = ("basis", "features", "offset")


def is_factored(weights):
    """Whether weights (or the shapes of weights) are factored; refuses anything but two forms."""
    if not isinstance(weights, dict):
        return False
    if set(weights) != set(FACTORS):
        raise ValueError(
            f"Factored `weights` must have exactly the keys {FACTORS}. "
            f"Received: {tuple(sorted(weights))}"
        )
    return True


def check_weights(weights):
    """Generated weights are floating tensors, flat or factored."""
    tensors = weights.items() if is_factored(weights) else [("weights", weights)]
    for name, tensor in tensors:
        if not hasattr(tensor, "dtype") or not hasattr(tensor, "shape"):
            raise TypeError(
                f"`{name}` must be a tensor, or `weights` a dict of {FACTORS}. "
                f"Received: {type(tensor).__name__}"
            )
        checks.float_tensor(name, tensor)


def shapes_of(weights):
    """Static shapes of weights in any form, or of a list of them."""
    if isinstance(weights, dict):
        return {name: shapes_of(tensor) for name, tensor in weights.items()}
    if isinstance(weights, (list, tuple)):
        return [shapes_of(tensor) for tensor in weights]
    return tuple(weights.shape)


def check_shapes(shapes, total):
    """Shapes of weights, flat or factored, that give `total` weights a row."""
    if not is_factored(shapes):
        shapes = {"weights": shapes}
    for name, shape in shapes.items():
        checks.rank(name, shape, 1 if name == "offset" else 2)
        if name != "features":
            checks.last_axis(name, shape, total)
    if "features" in shapes:
        checks.last_axis("features", shapes["features"], shapes["basis"][0])


def specs_of(shapes, dtype):
    """KerasTensors of such shapes, in their form."""
    if isinstance(shapes, dict):
        return {name: keras.KerasTensor(shape, dtype=dtype) for name, shape in shapes.items()}
    return keras.KerasTensor(shapes, dtype=dtype)


def factored_shapes(rows, features, total):
    """Shapes of factored weights."""
    return {"basis": (features, total), "features": (rows, features), "offset": (total,)}


def row_count(shapes):
    """Static number of rows, or `None`, from the shapes of weights."""
    return (shapes["features"] if is_factored(shapes) else shapes)[0]


def materialize(weights):
    """Weights of any form -> flat `(rows, total)`."""
    if not is_factored(weights):
        return weights
    return backend.matmul(weights["features"], weights["basis"]) + weights["offset"]


def plus(weights, addend):
    """Flat or factored weights plus a number, or a tensor `(total,)`."""
    if isinstance(weights, dict):
        return {**weights, "offset": weights["offset"] + addend}
    return weights + addend


def one_row(weights):
    """Flat or factored weights that have a single row, with shapes that say so."""
    if is_factored(weights):
        return {**weights, "features": one_row(weights["features"])}
    return backend.reshape(weights, (1, *weights.shape[1:]))


def split_weights(weights: Weights, spec: SpecLike) -> TensorsByName:
    """Cuts generated weights into the tensors of their spec.

    Args:
        weights: Flat weights `(rows, total)`, or factored ones.
        spec: The `WeightSpec` of the target, or a list of shapes.

    Returns:
        Dict `{name: (rows, *shape)}`.

    Raises:
        ValueError: if the width is not the spec's total.

    Example:

    >>> weights = kh.split_weights(np.zeros((5, 8), "float32"), [(3, 2), (2,)])
    >>> keras.ops.shape(weights["layer_0/kernel"])
    (5, 3, 2)
    """
    spec = WeightSpec.of(spec)
    weights = as_tensors(weights)
    check_shapes(shapes_of(weights), spec.total)
    pieces = backend.split(materialize(weights), spec.sizes)
    return {
        tensor.name: backend.reshape(piece, (-1, *tensor.shape))
        for tensor, piece in zip(spec, pieces)
    }


def pack_weights(tensors: dict[str, Tensor] | Sequence[Tensor], spec: SpecLike) -> Tensor:
    """Joins the tensors of a target into flat weights: the inverse of `split_weights`.

    Args:
        tensors: Dict `{name: (rows, *shape)}`, or a list in the spec's order. (NumPy arrays
            without rows go through `spec.pack`.)
        spec: The `WeightSpec` of the target, or a list of shapes.

    Returns:
        Flat weights `(rows, total)`.

    Raises:
        ValueError: if a tensor is missing, unknown, or has another shape or other rows.

    Example:

    >>> tensors = [np.zeros((5, 3, 2), "float32"), np.zeros((5, 2), "float32")]
    >>> keras.ops.shape(kh.pack_weights(tensors, [(3, 2), (2,)]))
    (5, 8)
    """
    return packed("tensors", tensors, WeightSpec.of(spec))


def packed(argument, tensors, spec):
    """What `pack_weights` returns; an error calls the tensors by the argument."""
    flat, tensors = [], spec.in_order(tensors, argument)
    rows = {tensor.shape[0] for tensor in tensors if len(tensor.shape)} - {None}
    if len(rows) > 1:
        raise ValueError(f"`{argument}` must have equal rows. Received: {sorted(rows)}")
    for tensor, value in zip(spec, tensors):
        value = as_tensors(value)
        checks.rank(tensor.name, value.shape, 1 + len(tensor.shape))
        flat.append(backend.reshape(value, (-1, tensor.size)))
    return ops.concatenate(flat, axis=-1)


def split_layers(weights, totals):
    """Cuts weights of any form into one set per layer, each in the same form."""
    if not is_factored(weights):
        return list(backend.split(weights, totals))
    basis = backend.split(weights["basis"], totals)
    offset = backend.split(weights["offset"], totals)
    return [
        {"basis": b, "features": weights["features"], "offset": o} for b, o in zip(basis, offset)
    ]


def layer_shapes(shapes, totals):
    """Shapes of what `split_layers` returns."""
    if not is_factored(shapes):
        return [(shapes[0], total) for total in totals]
    return [factored_shapes(*shapes["features"], n) for n in totals]


def from_output_first(flat, spec):
    """Flat weights whose kernels have their output axes first -> the order of the spec."""
    if not any(tensor.is_matrix for tensor in spec):
        return flat
    pieces = []
    for tensor, piece in zip(spec, backend.split(flat, spec.sizes)):
        before, after = _around_outputs(tensor) if tensor.is_matrix else (1, 1)
        if before > 1:
            piece = backend.reshape(piece, (-1, tensor.outputs, before, after))
            piece = backend.reshape(ops.transpose(piece, (0, 2, 1, 3)), (-1, tensor.size))
        pieces.append(piece)
    return ops.concatenate(pieces, axis=-1)


def _around_outputs(tensor):
    """Number of entries on the axes before those of the outputs, and after them."""
    rank = len(tensor.shape)
    axes = [axis % rank for axis in tensor.output_axes] or [0]
    return math.prod(tensor.shape[: axes[0]]), math.prod(tensor.shape[axes[-1] + 1 :])


def cast(weights, dtype):
    """Weights of any form in a dtype; what has it already stays as it is."""
    if isinstance(weights, dict):
        return {name: cast(tensor, dtype) for name, tensor in weights.items()}
    has_it = keras.backend.standardize_dtype(weights.dtype) == dtype
    return weights if has_it else ops.cast(weights, dtype)


def as_tensors(weights):
    """Weights of any form, as tensors of the backend."""
    if isinstance(weights, dict):
        return {name: checks.array(name, tensor) for name, tensor in weights.items()}
    return checks.array("weights", weights)
