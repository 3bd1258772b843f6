"""The entropy of predictions: how sure a model is."""

import numpy as np

from keras_hypernet.continual.heads import PADDING


def surest(outputs, from_logits):
    """Finds the task of each row whose prediction is the surest for its number of classes.

    Args:
        outputs: Predictions of every task `(rows, ..., its outputs)`.
        from_logits: Whether they are logits, rather than probabilities.

    Returns:
        `(outputs (rows, tasks, ..., most), tasks (rows, ...), entropies (rows, tasks, ...))`.
    """
    entropies = np.stack([entropies_of(x, from_logits) for x in outputs], axis=1)
    sizes = [x.shape[-1] for x in outputs]
    at_random = np.log(np.maximum(sizes, 2))  # one output is one of two classes
    relative = entropies / at_random.reshape(-1, *[1] * (entropies.ndim - 2))
    missing = PADDING if from_logits else 0
    outputs = np.stack([_padded(x, max(sizes), missing) for x in outputs], axis=1)
    return outputs, relative.argmin(axis=1), entropies


def _padded(outputs, size, value):
    width = [(0, 0)] * (outputs.ndim - 1) + [(0, size - outputs.shape[-1])]
    return np.pad(outputs, width, constant_values=value)


def entropies_of(outputs, from_logits):  # (..., outputs) -> (...)
    outputs = outputs.astype("float64")
    if outputs.shape[-1] == 1:  # one output is one of two classes
        if from_logits:
            outputs = np.concatenate([outputs, np.zeros_like(outputs)], axis=-1)
        else:
            outputs = np.concatenate([outputs, 1 - outputs], axis=-1)
    if from_logits:
        outputs = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
        outputs /= outputs.sum(axis=-1, keepdims=True)
    return -np.sum(outputs * np.log(np.maximum(outputs, 1e-300)), axis=-1)
