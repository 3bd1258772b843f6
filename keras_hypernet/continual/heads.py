"""Heads: the outputs that are a task's own, as many as it has."""

import itertools

import keras
import numpy as np
from keras import ops

from keras_hypernet.utils import checks

PADDING = -3e4  # a logit that no softmax sees, and that float16 has
LOSSES = (keras.losses.SparseCategoricalCrossentropy, keras.losses.CategoricalCrossentropy)


def check_heads(heads, outputs):
    """Lists of indices of outputs, one per task, as tuples; of numbers, outputs one after another.

    Args:
        heads: Lists of indices, or for each task the number of its outputs.
        outputs: Number of all outputs.
    """
    heads = checks.non_empty_list("heads", heads)
    if not any(isinstance(head, (list, tuple)) for head in heads):
        sizes = checks.positive_ints("heads", heads)
        ends = list(itertools.accumulate(sizes))
        if ends[-1] > outputs:
            raise ValueError(
                f"`heads` must be numbers of outputs that sum to {outputs} at most: each task has "
                f"its own. Received: heads={list(sizes)}, of the sum {ends[-1]}"
            )
        heads = [list(range(end - size, end)) for size, end in zip(sizes, ends)]
    found = []
    for i, head in enumerate(heads):
        head = checks.non_empty_list(f"heads[{i}]", head)
        head = tuple(checks.count(f"heads[{i}]", index) for index in head)
        if len(set(head)) < len(head) or max(head) >= outputs:
            raise ValueError(
                f"`heads[{i}]` must have different indices of the {outputs} outputs. "
                f"Received: {list(head)}"
            )
        found.append(head)
    return tuple(found)


def heads_of_model(heads, num_tasks, model):
    """Heads of the tasks that a model with one output has room for."""
    if len(model.outputs) != 1:
        raise ValueError(f"`heads` are of a model with one output. Received: {len(model.outputs)}")
    heads = check_heads(heads, model.outputs[0].shape[-1])
    if len(heads) != num_tasks:
        raise ValueError(
            f"`heads` must have an entry for each of the {num_tasks} tasks. Received: {len(heads)}"
        )
    return heads


def heads_of_rows(outputs, heads, ids):
    """The outputs of each row's own task, padded to the most that a task has.

    Args:
        outputs: `(rows, ..., all outputs)`.
        heads: Indices of the outputs of every task.
        ids: Tasks of the rows `(rows,)`, or `(1,)` of all.

    Returns:
        `(rows, ..., outputs)`; `PADDING` where a task has fewer.
    """
    largest = max(map(len, heads))
    table = np.array([[*head, *[-1] * (largest - len(head))] for head in heads], "int32")
    wanted = ops.take(ops.convert_to_tensor(table), ids, axis=0)  # (rows or 1, outputs)
    wanted = ops.reshape(wanted, (-1, *[1] * (len(outputs.shape) - 2), largest))
    found = ops.take_along_axis(outputs, ops.maximum(wanted, 0), axis=-1)
    return ops.where(wanted < 0, ops.cast(PADDING, found.dtype), found)


def takes_labels(loss):
    """Whether a loss is one of integer labels, of which none is left out."""
    if isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
        return loss.get_config().get("ignore_class") is None
    function = keras.losses.sparse_categorical_crossentropy
    return isinstance(loss, str) and keras.losses.get(loss) is function


def check_loss(loss, heads):
    """The loss of rows of several tasks must not see the padding of heads of unlike sizes."""
    if len(set(map(len, heads))) == 1:
        return
    config = loss.get_config() if isinstance(loss, LOSSES) else {}
    if not config.get("from_logits") or config.get("label_smoothing"):
        raise ValueError(
            "`loss` must be `SparseCategoricalCrossentropy(from_logits=True)`, or the categorical "
            "one without label smoothing, where rows are of tasks with unlike many outputs: others "
            f"would count the outputs that a task does not have. Received: loss={loss!r}"
        )
