"""A hidden layer of a generator."""

import math

import keras

from keras_hypernet.generators.blocks.conditional_batch_normalization import (
    ConditionalBatchNormalization,
)
from keras_hypernet.generators.blocks.spectral_dense import SpectralDense
from keras_hypernet.utils import backend, checks
from keras_hypernet.utils.naming import unique_name
from keras_hypernet.utils.observing import observed


class HiddenLayer(keras.layers.Layer):
    """Dense, batch normalization, dropout, activation, in this order.

    Args:
        units: Width of the layer.
        activation: Keras activation function.
        dropout: Rate of the dropout; 0 is none.
        batch_normalization: `None`, or a dict with the `momentum` and `epsilon`.
        num_conditions: Number of sets of the batch normalization's statistics, or `None`.
        spectral_normalization: Whether the kernel is divided by its spectral norm.
        seed: Seed of the dropout.
        scale: Factor of the output.
        dtype: Dtype policy.
        **dense: Arguments of the dense layer.

    Call arguments:
        x: `(batch, in)`.
        condition_id: `(batch,)` or `(1,)`, where there are `num_conditions`.
        training: Whether batch normalization and dropout act as in training.

    Returns:
        `(batch, units)`.
    """

    def __init__(
        self,
        units,
        activation,
        dropout=0.0,
        batch_normalization=None,
        num_conditions=None,
        spectral_normalization=False,
        seed=None,
        scale=1.0,
        dtype=None,
        **dense,
    ):
        super().__init__(dtype=dtype, name=unique_name("hidden"))
        self.units = units
        self.activation = activation
        self.scale = scale
        self.num_conditions = num_conditions
        common = {"dtype": self.dtype_policy}
        dense_class = SpectralDense if spectral_normalization else keras.layers.Dense
        self.dense = dense_class(units, **dense, **common, name="dense")
        self.batch_normalization = self.dropout = None
        if batch_normalization:
            self.batch_normalization = _normalization(num_conditions)(
                **batch_normalization, **common, name="batch_normalization"
            )
        if dropout:
            self.dropout = keras.layers.Dropout(dropout, seed=seed, **common, name="dropout")

    def build(self, x_shape):
        self.dense.build(x_shape)
        for step in (self.batch_normalization, self.dropout):
            if step is not None:
                step.build((x_shape[0], self.units))

    def call(self, x, condition_id=None, training=None):
        y = backend.dense(self.dense, x, training=training)
        return self.after_dense(y, condition_id, training)

    def after_dense(self, x, condition_id=None, training=None):
        """The steps after the first one, on what it made."""
        if self.batch_normalization is not None:
            ids = () if self.num_conditions is None else (condition_id,)
            x = self.batch_normalization(x, *ids, training=training)
        if self.dropout is not None:
            x = self.dropout(x, training=training)
        x = observed(self, self.activation(x))
        return x if self.scale == 1 else x * self.scale

    def compute_output_shape(self, x_shape):
        return (x_shape[0], self.units)


def checked_scale(scale, hidden_sizes):
    if scale is None:
        return 1 / math.sqrt(hidden_sizes[-1]) if hidden_sizes else None
    if not hidden_sizes:
        raise ValueError(
            "`feature_scale` is of the last hidden layer, and `hidden_sizes` has none: give some, "
            f"or leave it out. Received: feature_scale={scale!r}, hidden_sizes=()"
        )
    return checks.positive_number("feature_scale", scale)


def _normalization(num_conditions):
    if num_conditions is None:
        return keras.layers.BatchNormalization
    return lambda **options: ConditionalBatchNormalization(num_conditions, **options)
