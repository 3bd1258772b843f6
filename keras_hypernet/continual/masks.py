"""`head_masks`: which weights of a target the outputs of a task depend on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np

from keras_hypernet.continual.heads import check_heads
from keras_hypernet.layers.hyper import Hyper
from keras_hypernet.models.calls import made_by, values_in
from keras_hypernet.utils.types import Tensor
from keras_hypernet.weights.spec import WeightSpec

if TYPE_CHECKING:
    from keras_hypernet.weights.spec import SpecLike


def head_masks(spec: SpecLike, heads: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
    """Marks, for each task, the weights that its outputs (its head) depend on.

    All weights but those of the last layer, and of these the ones that lead to the task's outputs.
    `output_regularizer` takes them as `mask`, so that the heads of other tasks may change.

    Args:
        spec: The `WeightSpec` of the target, or a list of shapes. Its last layer is the output's:
            a kernel, `(..., outputs)` or as its layout says, and a bias `(outputs,)` or none.
        heads: For each task, a list of the indices of its outputs; or the number of its outputs,
            which then follow those of the tasks before.

    Returns:
        Array `(tasks, total)` of bools.

    Raises:
        ValueError: if the last layer is none of outputs or has several kernels, or heads are empty
            or out of range.

    Example:

    >>> kh.head_masks([(2, 3), (3,)], heads=[[0, 1], [2]]).astype(int)
    array([[1, 1, 0, 1, 1, 0, 1, 1, 0],
           [0, 0, 1, 0, 0, 1, 0, 0, 1]])

    Reference: von Oswald et al., 2020 (https://arxiv.org/abs/1906.00695).
    """
    spec = WeightSpec.of(spec)
    last = [tensor for tensor in spec if tensor.layer == list(spec)[-1].layer]
    kernel, outputs = last[0], last[0].outputs
    no_kernel = not (kernel.is_matrix and kernel.output_axes)
    several = [tensor.role for tensor in last].count("kernel") > 1
    if no_kernel or several or any(tensor.outputs != outputs for tensor in last):
        raise ValueError(
            "The last layer of `spec` must be that of the outputs, one kernel `(..., outputs)` (or "
            "with the outputs where its layout says) and a bias `(outputs,)`: in a recurrent or "
            "separable layer an output depends on the weights of others. "
            f"Received: {[(t.name, t.shape, t.layout) for t in last]}"
        )
    checked = check_heads(heads, outputs)
    masks = np.ones((len(checked), spec.total), bool)
    for mask, head in zip(masks, checked):
        wanted = np.isin(np.arange(outputs), head)
        for tensor in last:
            part = slice(tensor.offset, tensor.offset + tensor.size)
            mask[part] = _along_outputs(wanted, tensor).ravel()
    return masks


def _along_outputs(values, tensor):  # (outputs,) -> shape of the tensor
    rank = len(tensor.shape)
    axes = [axis % rank for axis in tensor.output_axes]
    shape = [size if axis in axes else 1 for axis, size in enumerate(tensor.shape)]
    return np.broadcast_to(values.reshape(shape), tensor.shape)


def masks_of_model(spec, heads, graph):
    """`head_masks` for the weights of a model, whose last layer must make its output."""
    (output,) = values_in(graph.output)
    last = made_by(output)
    if last is not None and _is_softmax(last.operation):
        raise ValueError(
            "With `heads`, `model` must return logits: a softmax over the outputs of all tasks "
            "makes each depend on all. Give the loss `from_logits=True`, and the last layer no "
            "activation."
        )
    made, returned = list(spec)[-1].outputs, graph.model.outputs[0].shape[-1]
    if made != returned:
        raise ValueError(
            "With `heads`, the last layer of `model` with weights must have an output for each of "
            f"the {returned} entries on the last axis of what the model returns. Received: a "
            f"layer {list(spec)[-1].layer!r} with {made}"
        )
    return head_masks(spec, heads)


def _is_softmax(layer):
    """Whether the layer that makes a model's outputs, hyper layer or not, ends in a softmax."""
    layer = layer.wrapped_layer() if isinstance(layer, Hyper) else layer
    activation = getattr(layer, "activation", None)
    return isinstance(layer, keras.layers.Softmax) or activation is keras.activations.softmax
