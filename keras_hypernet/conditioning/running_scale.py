"""`RunningScale`: conditions of any size -> conditions of size 1."""

from __future__ import annotations

import warnings
from typing import Unpack

import keras
import numpy as np
from keras import ops

from keras_hypernet.utils import backend, checks
from keras_hypernet.utils.naming import give_unique_path
from keras_hypernet.utils.types import LayerArguments, Shape, Tensor

TOGETHER = 0.02  # spread of conditions, in their size, below which they are hard to tell apart


def is_scaled(conditioning, asked):
    """Whether a conditioning gets a `RunningScale`: as asked for, or where it is data."""
    return _is_data(conditioning) if asked is None else asked


def _is_data(tensor):
    """Whether no trained layer makes a KerasTensor: its size is what it is."""
    sources = keras.utils.get_source_inputs(tensor)
    if any(tensor is source for source in sources):
        return True
    return not keras.Model(sources, tensor, name="conditioning").trainable_variables


@keras.saving.register_keras_serializable(package="keras_hypernet")
class RunningScale(keras.layers.Layer):
    """Divides its input by one number: the root mean square of all that it saw in training.

    `y = x / sqrt(mean of x ** 2)`, the mean over all entries, and over all batches in training so
    far, this one included. Before training it returns its input. So a generator gets vectors of
    size 1, whether conditions are of size 0.01 or 30. It keeps the ratios between entries and takes
    no offset away: for entries of different units, or far from 0, put `keras.layers.Normalization`
    in front, which is adapted to the data. It warns where it can read that conditions lie together,
    far from 0.

    Args:
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        x: `(rows, ...)`, floating.
        training: Whether the mean takes the batch in.

    Returns:
        A tensor of the shape of `x`.

    Raises:
        TypeError: on input that is no tensor, or not floating.

    Example:

    >>> scale = kh.RunningScale()
    >>> x = np.array([[3.0, -3.0]], "float32")
    >>> [float(y) for y in scale(x, training=True)[0]]
    [1.0, -1.0]
    >>> [float(y) for y in scale(2 * x)[0]]
    [2.0, -2.0]

    Source: root-mean-square normalization (Zhang and Sennrich, 2019,
    https://arxiv.org/abs/1910.07467), by a mean over the data in place of one over each row, which
    would take the size of a scalar away.
    """

    def __init__(self, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        give_unique_path(self)
        self._looked = False
        self.supports_masking = True

    def __call__(self, x, *args, **kwargs):
        checks.tensor("x", x)
        checks.float_tensor("x", x, " Ids go to `ConditionEmbedding`.")
        checks.data_axes("x", x.shape)
        return super().__call__(x, *args, **kwargs)

    def build(self, x_shape: Shape) -> None:
        def state(name):
            return self.add_weight(
                shape=(),
                initializer="zeros",
                trainable=False,
                dtype="float32",
                autocast=False,
                name=name,
            )

        self.mean_square = state("mean_square")
        self.batches = state("batches")

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        self._look(x)
        if training and self.trainable:
            batches = self.batches + 1
            found = ops.mean(ops.square(ops.cast(ops.stop_gradient(x), "float32")))
            mean_square = self.mean_square + (found - self.mean_square) / batches
            self.batches.assign(batches)
            self.mean_square.assign(mean_square)
        else:
            mean_square = ops.convert_to_tensor(self.mean_square)
        scale = ops.where(mean_square > 0, ops.rsqrt(ops.maximum(mean_square, 1e-30)), 1.0)
        return x * ops.cast(scale, x.dtype)

    def _look(self, x):
        """Warns, once, of conditions that one number cannot part."""
        if self._looked or not backend.is_concrete(x):
            return
        self._looked = True
        values = ops.convert_to_numpy(ops.cast(x, "float32"))
        size = float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0
        # From one row, not from a mean, which is rounded: 0 of one condition in all rows.
        spread = float(np.max(np.std(values - values[:1], axis=0))) if values.size else 0.0
        if 0 < spread < TOGETHER * size:
            warnings.warn(
                f"{self.name}: conditions differ by {spread:.2g} only, about values of size "
                f"{size:.2g}: a generator hardly tells them apart. Put "
                "`keras.layers.Normalization`, adapted to them, in front.",
                stacklevel=2,
            )

    def compute_output_shape(self, x_shape: Shape) -> Shape:
        return x_shape
