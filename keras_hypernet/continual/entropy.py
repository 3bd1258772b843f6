"""The entropy of predictions: how sure a model is."""

import numpy as np


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
