"""Draws of Keras' initializers by NumPy: the same numbers on every backend."""

import math
import re
import zlib

import keras
import numpy as np

from keras_hypernet.initializers.pieces import in_order_of_keras, in_order_of_tensor
from keras_hypernet.weights.weight_tensor import fans_of


def draw(tensor, position, initializer, seed):
    """A tensor of a target as an initializer draws it: an array of its shape.

    A stream of its own for each position and name. Numbers that Keras appends to names are left
    out, so that the same code makes the same numbers however often it runs.
    """
    name = re.sub(r"_\d+(?=/|$)", "", tensor.name)
    rng = Stream([seed, zlib.crc32(f"{position}/{name}".encode())])
    drawn = _draw(tensor, initializer, in_order_of_keras(tensor), rng)
    return in_order_of_tensor(tensor, np.asarray(drawn, "float32"))


class Stream:
    """Random numbers from the bits of Philox, which no version of NumPy changes."""

    def __init__(self, key):
        self.bits = np.random.Philox(key=key)

    def uniform(self, low, high, shape):
        bits = self.bits.random_raw(math.prod(shape)).reshape(shape)
        return low + (high - low) * ((bits >> np.uint64(11)) * 2.0**-53)

    def normal(self, mean, stddev, shape):
        radius = np.sqrt(-2 * np.log1p(-self.uniform(0, 1, shape)))
        return mean + stddev * radius * np.cos(self.uniform(0, 2 * np.pi, shape))

    def truncated(self, mean, stddev, shape):
        """Normal numbers within two standard deviations."""
        numbers = self.normal(0, 1, shape)
        while (outside := np.abs(numbers) > 2).any():
            numbers[outside] = self.normal(0, 1, (int(outside.sum()),))
        return mean + stddev * numbers


def _draw(tensor, initializer, shape, rng):
    for known, drawn in DRAWS.items():
        if _draws_as(initializer, known):
            return drawn(initializer, shape, rng)
    raise ValueError(
        f"The frozen base of {tensor.name!r} is drawn by NumPy, which knows Keras' own "
        "initializers only. Give the tensor one of these "
        f"(`initialization=kh.BiasHyperInit({{{tensor.name!r}: ...}})`). Received: {initializer!r}"
    )


def _draws_as(initializer, known):
    """Whether it is one of these, and no subclass that draws otherwise."""
    return isinstance(initializer, known) and type(initializer).__call__ is known.__call__


def _scaled(initializer, shape, rng):
    fan_in, fan_out = _fans(initializer, shape)
    fan = {"fan_in": fan_in, "fan_out": fan_out}.get(initializer.mode, (fan_in + fan_out) / 2)
    stddev = math.sqrt(initializer.scale / max(1.0, fan))
    if initializer.distribution == "uniform":
        return rng.uniform(-math.sqrt(3) * stddev, math.sqrt(3) * stddev, shape)
    if initializer.distribution == "untruncated_normal":
        return rng.normal(0.0, stddev, shape)
    return rng.truncated(0.0, stddev / TRUNCATED_STDDEV, shape)


def _fans(initializer, shape):
    """Fans as the initializer counts them, which a layer may have told it the axes for."""
    # A Keras that lacks these attributes counts by the shape alone.
    axes = [getattr(initializer, name, None) for name in ("input_axes", "output_axes")]
    if None in axes:
        return fans_of(shape)
    return [math.prod(shape[axis] for axis in each) for each in axes]


TRUNCATED_STDDEV = 0.87962566103423978  # of a normal distribution cut at 2


def _orthogonal(initializer, shape, rng):
    rows, columns = math.prod(shape[:-1]), shape[-1]
    tall, wide = max(rows, columns), min(rows, columns)
    q, r = np.linalg.qr(rng.normal(0.0, 1.0, (tall, wide)))
    q = q * np.sign(np.diag(r))
    return initializer.gain * (q if rows >= columns else q.T).reshape(shape)


# Nothing here runs on a backend: a layer may be built while a graph is traced.
DRAWS = {
    keras.initializers.Zeros: lambda i, shape, rng: np.zeros(shape),
    keras.initializers.Ones: lambda i, shape, rng: np.ones(shape),
    keras.initializers.Constant: lambda i, shape, rng: np.broadcast_to(i.value, shape),
    keras.initializers.Identity: lambda i, shape, rng: i.gain * np.eye(*shape),
    keras.initializers.VarianceScaling: _scaled,
    keras.initializers.RandomUniform: lambda i, shape, rng: rng.uniform(i.minval, i.maxval, shape),
    keras.initializers.TruncatedNormal: lambda i, shape, rng: rng.truncated(
        i.mean, i.stddev, shape
    ),
    keras.initializers.RandomNormal: lambda i, shape, rng: rng.normal(i.mean, i.stddev, shape),
    keras.initializers.Orthogonal: _orthogonal,
}
