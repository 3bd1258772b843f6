"""The initializers that layers of an activation train best with."""

import math

import keras
from keras import ops

RECTIFIERS = (
    "elu",
    "gelu",
    "hard_silu",
    "leaky_relu",
    "mish",
    "relu",
    "relu6",
    "silu",
)


def frequency_of(activation):
    """The frequency of a sine; `None` for other activations."""
    if activation is ops.sin:
        return 1.0
    return getattr(activation, "frequency", None)


def of_hidden(activation):
    """Kernel and bias initializers of a generator's hidden layer.

    Units that bend at one point get biases that put it where conditions of size 1 are.
    """
    bends = _is_rectifier(activation)
    return _kernel(activation), _uniform(1.0) if bends else keras.initializers.Zeros()


def of_target(activation, fan_in, first=False, last=False):
    """Kernel and bias initializers of a target's dense layer with an activation."""
    frequency = frequency_of(activation)
    if frequency is None:
        return _kernel(None if last else activation), keras.initializers.Zeros()
    limit = 1 / fan_in if first else math.sqrt(6 / fan_in) / frequency
    return _uniform(limit), _uniform(1 / math.sqrt(fan_in))


def _kernel(activation):
    return keras.initializers.get("he_normal" if _is_rectifier(activation) else "glorot_uniform")


def _is_rectifier(activation):
    return getattr(activation, "__name__", None) in RECTIFIERS


def _uniform(limit):
    return keras.initializers.RandomUniform(-limit, limit)
