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

    Biases of this size put the bends of the units where conditions of size 1 are.
    """
    return _kernel(activation), keras.initializers.RandomUniform(-1.0, 1.0)


def of_target(activation, fan_in, first=False, last=False):
    """Kernel and bias initializers of a target's dense layer with an activation."""
    frequency = frequency_of(activation)
    if frequency is None:
        return _kernel(None if last else activation), keras.initializers.Zeros()
    limit = 1 / fan_in if first else math.sqrt(6 / fan_in) / frequency
    return _uniform(limit), _uniform(1 / math.sqrt(fan_in))


def _kernel(activation):
    name = getattr(activation, "__name__", None)
    return keras.initializers.get("he_normal" if name in RECTIFIERS else "glorot_uniform")


def _uniform(limit):
    return keras.initializers.RandomUniform(-limit, limit)
