"""`sine`: an activation that Keras does not have."""

from __future__ import annotations

import dataclasses
import math

import keras
from keras import ops

from keras_hypernet.utils import backend, checks


@keras.saving.register_keras_serializable(package="keras_hypernet")
@dataclasses.dataclass(frozen=True)
class Sine:
    """What `sine` makes: sines of one frequency are equal."""

    frequency: float

    def __call__(self, x):
        x = checks.array("x", x)
        dtype = keras.backend.standardize_dtype(x.dtype)
        # A large angle rounded to half precision would be off by a good part of a radian.
        y = ops.sin(self.frequency * ops.cast(x, backend.full_precision(dtype)))
        return ops.cast(y, dtype) if keras.backend.is_float_dtype(dtype) else y

    def get_config(self):
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config):
        return sine(**config)


def sine(frequency: float = 1.0) -> Sine:
    """A sine as activation, for networks that represent images, sounds and other signals.

    `y = sin(frequency * x)`: what `activation=` of any layer, of `build` and of generators takes.

    Args:
        frequency: Positive number, `omega_0` in the field. 30 is usual for coordinates in
            [-1, 1]; kernels then start uniformly in `+-1 / inputs` in the first layer, and in
            `+-sqrt(6 / inputs) / frequency` in the others.

    Returns:
        A function of a tensor, with the attribute `frequency`. Keras saves it with a model, and
        loads it without `custom_objects`. Sines of one frequency are equal.

    Raises:
        ValueError, TypeError: if the frequency is not a positive finite number, and so also where
            `sine` itself is given as an activation, in place of `sine()`.

    Example:

    >>> layer = keras.layers.Dense(8, activation=kh.sine(30.0))
    >>> layer.activation.frequency
    30.0

    Reference: Sitzmann et al., 2020, Implicit Neural Representations with Periodic Activation
    Functions (https://arxiv.org/abs/2006.09661).
    """
    if len(getattr(frequency, "shape", ())) > 0:
        raise TypeError(
            "`frequency` must be a number: as an activation give `kh.sine()` or "
            f"`kh.sine(30.0)`, not `kh.sine`. Received: {type(frequency).__name__}"
        )
    return Sine(checks.positive_number("frequency", frequency))


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
