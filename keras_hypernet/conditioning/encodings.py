"""Encodings of conditions and coordinates as points on circles: `[cos(angles), sin(angles)]`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

import keras
import numpy as np
from keras import ops

from keras_hypernet.utils import backend, checks
from keras_hypernet.utils.naming import give_unique_path
from keras_hypernet.utils.types import Config, LayerArguments, Shape


class _CircleEncoding(keras.layers.Layer):
    """`[cos(a), sin(a)]` of angles `a` that a subclass computes, `angles` of them per vector."""

    def __init__(self, **kwargs: Unpack[LayerArguments]) -> None:
        # An angle rounded to half precision would be off by a good part of a radian: the inputs
        # keep their dtype, and only what is returned has that of the policy.
        super().__init__(autocast=False, **kwargs)
        self.supports_masking = True
        self.inputs_size = None

    def __call__(self, inputs, *args, **kwargs):
        checks.tensor("inputs", inputs)
        hint = " Cast other numbers with `keras.ops.cast`; for ids there is `ConditionEmbedding`."
        checks.float_tensor("inputs", inputs, hint=hint)
        self._check_shape(inputs.shape)
        return super().__call__(inputs, *args, **kwargs)

    def _check_shape(self, shape):
        hint = "; scalars `(rows,)` become `(rows, 1)` by `inputs[:, None]`"
        checks.data_axes("inputs", shape, hint)
        checks.last_axis("inputs", shape, self.inputs_size)

    def build(self, input_shape):
        self._check_shape(input_shape)
        checks.known_last_axis("inputs", input_shape)
        self.inputs_size = input_shape[-1]

    def call(self, inputs):
        x = ops.cast(inputs, backend.full_precision(self.compute_dtype))
        angles = self.angles(x)
        outputs = ops.concatenate([ops.cos(angles), ops.sin(angles)], axis=-1)
        return ops.cast(outputs, self.compute_dtype)


@keras.saving.register_keras_serializable(package="keras_hypernet")
class UnitNormEncoding(_CircleEncoding):
    """Each number as a point on the unit circle, so that its size is no longer its norm.

    `y = [cos(pi u / 2), sin(pi u / 2)]` with `u = (c - low) / (high - low)` for every entry `c`:
    from (1, 0) at `low` to (0, 1) at `high`, with norm 1 everywhere.

    A piecewise linear generator (ReLU) whose biases start at zero makes weights proportional to
    its condition: `c / 100` gives weights a hundredth as large. Behind this layer it does not, as
    the norm of the encoding is `sqrt(size)` for every condition:
    `kh.build(conditioning=kh.UnitNormEncoding()(c), ...)`.

    Nothing is clipped: outside `low ... high` the point goes on around the circle, and conditions
    that are `4 * (high - low)` apart get the same one.

    Args:
        low, high: What the conditions lie between: numbers, or lists with one for each entry.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        inputs: `(rows, ..., size)`, floating.

    Returns:
        `(rows, ..., 2 * size)`: the cosines of all entries, then the sines. They are computed in
        float32 or wider, and have the compute dtype.

    Raises:
        ValueError: if `low` is not below `high`, if these have not one number for each entry, and
            on inputs of one axis or with an unknown last one.
        TypeError: on bounds that are not numbers, and inputs that are not floating.

    Example:

    >>> angle = np.array([[0.0], [90.0], [180.0]], "float32")
    >>> y = kh.UnitNormEncoding(low=0, high=180)(angle)
    >>> np.round(keras.ops.convert_to_numpy(y), 2)
    array([[ 1.  ,  0.  ],
           [ 0.71,  0.71],
           [-0.  ,  1.  ]], dtype=float32)

    Reference: Ortiz et al., 2024, Magnitude Invariant Parametrizations Improve Hypernetwork
    Learning (https://arxiv.org/abs/2304.07645).
    """

    def __init__(
        self,
        low: float | Sequence[float] = 0.0,
        high: float | Sequence[float] = 1.0,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        low, high = (checks.number_or_numbers(n, x) for n, x in (("low", low), ("high", high)))
        if len({len(x) for x in (low, high) if isinstance(x, tuple)}) > 1:
            raise ValueError(
                "`low` and `high` must have equally many entries, or be numbers. "
                f"Received: low={low}, high={high}"
            )
        if not np.all(np.less(low, high)):
            raise ValueError(
                "`low` must be below `high`, for each entry; leave out what never changes. "
                f"Received: low={low}, high={high}"
            )
        super().__init__(**kwargs)
        self.low = low
        self.high = high
        self.turns = tuple(np.atleast_1d(math.pi / 2 / np.subtract(high, low)).tolist())

    def _check_shape(self, shape):
        super()._check_shape(shape)
        for argument, value in (("low", self.low), ("high", self.high)):
            if isinstance(value, tuple) and shape[-1] not in (None, len(value)):
                raise ValueError(
                    f"`{argument}` must be a number, or have one for each of the {shape[-1]} "
                    "entries on the last axis of `inputs`. "
                    f"Received: {argument}={value}, shape {tuple(shape)}"
                )

    def angles(self, x):
        low, turns = (ops.convert_to_tensor(value, x.dtype) for value in (self.low, self.turns))
        return (x - low) * turns

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        size = input_shape[-1]
        return (*input_shape[:-1], None if size is None else 2 * size)

    def get_config(self) -> Config:
        bounds = {"low": self.low, "high": self.high}
        bounds = {n: list(x) if isinstance(x, tuple) else x for n, x in bounds.items()}
        return {**super().get_config(), **bounds}


@keras.saving.register_keras_serializable(package="keras_hypernet")
class FourierFeatures(_CircleEncoding):
    """Waves of random frequencies, of which a network can make functions that change fast.

    `y = [cos(2 pi c @ B), sin(2 pi c @ B)]` with `B (size, num_frequencies)` from N(0, scale^2),
    drawn once and never trained. For few numbers: scalars, low-dimensional conditions, or the
    coordinates that a target network takes,
    `kh.build(..., data_input=kh.FourierFeatures(64)(points))`.

    Args:
        num_frequencies: Columns of `B`; the output is twice as wide.
        scale: Standard deviation of the frequencies, sigma in the field, in periods per unit of
            the inputs. The larger, the finer what is learned, and the more it overfits; for
            coordinates in [0, 1] it is chosen between 1 and 100, for conditions about 1.
        seed: Of the draw: `None` or an integer. Files hold the frequencies themselves.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        inputs: `(rows, ..., size)`, floating.

    Returns:
        `(rows, ..., 2 * num_frequencies)`: all cosines, then all sines. They are computed in
        float32 or wider, and have the compute dtype.

    Raises:
        ValueError, TypeError: on arguments that are not positive, on inputs that are not floating,
            and on inputs of one axis or with an unknown last one.

    Example:

    >>> points = np.zeros((4, 100, 2), "float32")
    >>> keras.ops.shape(kh.FourierFeatures(num_frequencies=32, scale=10.0)(points))
    (4, 100, 64)

    Reference: Tancik et al., 2020, Fourier Features Let Networks Learn High Frequency Functions in
    Low Dimensional Domains (https://arxiv.org/abs/2006.10739).
    """

    def __init__(
        self,
        num_frequencies: int,
        scale: float = 1.0,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        num_frequencies = checks.positive_int("num_frequencies", num_frequencies)
        scale = checks.positive_number("scale", scale)
        seed = checks.seed("seed", seed)
        super().__init__(**kwargs)
        self.num_frequencies = num_frequencies
        self.scale = scale
        self.seed = seed
        give_unique_path(self)

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        self.frequencies = self.add_weight(
            shape=(self.inputs_size, self.num_frequencies),
            initializer=keras.initializers.RandomNormal(stddev=self.scale, seed=self.seed),
            trainable=False,
            autocast=False,
            name="frequencies",
        )

    def angles(self, x):
        frequencies = ops.cast(self.frequencies, x.dtype)
        # Not a matrix product: on a GPU, JAX and TensorFlow round its factors to ten bits.
        return 2 * math.pi * ops.sum(x[..., None] * frequencies, axis=-2)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], 2 * self.num_frequencies)

    def get_config(self) -> Config:
        own = {"num_frequencies": self.num_frequencies, "scale": self.scale, "seed": self.seed}
        return {**super().get_config(), **own}
