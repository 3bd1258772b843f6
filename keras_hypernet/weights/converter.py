"""`convert_weights`: generated weights as one tensor, as tensors, or sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from keras import ops

from keras_hypernet.utils import checks
from keras_hypernet.utils.types import Tensor, TensorsByName, Weights
from keras_hypernet.weights.forms import (
    FACTORS,
    as_tensors,
    materialize,
    packed,
    split_weights,
)
from keras_hypernet.weights.spec import WeightSpec

if TYPE_CHECKING:
    from keras_hypernet.weights.spec import SpecLike

FORMS = ("flat", "tensors", "samples")


def convert_weights(
    weights: Weights | Sequence[TensorsByName | Sequence[Tensor]], spec: SpecLike, form: str
) -> Weights | list[TensorsByName]:
    """Generated weights in another form, whatever form they have.

    Args:
        weights: Flat weights `(rows, total)`, or factored ones; a dict `{name: (rows, *shape)}`;
            or a list with a dict `{name: shape}`, or a list of tensors, for each sample.
        spec: The `WeightSpec` of the target, or a list of shapes.
        form: `"flat"`, `"tensors"` (a dict) or `"samples"` (a list with a dict per sample, which
            has no axis of rows: for a known number of rows).

    Returns:
        The weights in that form.

    Raises:
        ValueError: if the form is unknown, tensors do not fit the spec, or the number of rows is
            not known where samples are wanted.

    Example:

    >>> flat = np.zeros((5, 8), "float32")
    >>> samples = kh.convert_weights(flat, [(3, 2), (2,)], "samples")
    >>> len(samples), keras.ops.shape(samples[0]["layer_0/kernel"])
    (5, (3, 2))
    >>> keras.ops.shape(kh.convert_weights(samples, [(3, 2), (2,)], "flat"))
    (5, 8)
    """
    spec = WeightSpec.of(spec)
    checks.choice("form", form, FORMS)
    flat = _flat(weights, spec)
    if form == "flat":
        return flat
    tensors = split_weights(flat, spec)
    if form == "tensors":
        return tensors
    rows = flat.shape[0]
    if not isinstance(rows, int):
        raise ValueError(
            "`weights` must have a known number of rows to be taken apart sample by sample. "
            f"Received: shape {tuple(flat.shape)}"
        )
    return [{name: tensor[i] for name, tensor in tensors.items()} for i in range(rows)]


def _flat(weights, spec):
    if isinstance(weights, (list, tuple)):
        samples = [
            spec.in_order(sample, f"weights[{i}]")
            for i, sample in enumerate(checks.non_empty_list("weights", weights))
        ]
        tensors = [ops.stack(values) for values in zip(*samples)]
        return packed("weights", tensors, spec)
    if isinstance(weights, dict) and set(weights) != set(FACTORS):
        return packed("weights", weights, spec)
    split_weights(weights, spec)  # raises on what does not fit
    return materialize(as_tensors(weights))
