"""`sine`: an activation that Keras does not have."""

import dataclasses

import keras
from keras import ops

from keras_hypernet import _compat, checks


@keras.saving.register_keras_serializable(package="keras_hypernet")
@dataclasses.dataclass(frozen=True)
class Sine:
    """What `sine` makes: sines of one frequency are equal."""

    frequency: float

    def __call__(self, x):
        x = checks.array("x", x)
        dtype = keras.backend.standardize_dtype(x.dtype)
        # A large angle rounded to half precision would be off by a good part of a radian.
        y = ops.sin(self.frequency * ops.cast(x, _compat.full_precision(dtype)))
        return ops.cast(y, dtype) if keras.backend.is_float_dtype(dtype) else y

    def get_config(self):
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config):
        return sine(**config)


def sine(frequency=1.0):
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
