"""A hidden layer of a generator."""

import keras

from keras_hypernet.generators.spectral_dense import SpectralDense
from keras_hypernet.naming import unique_name


class HiddenLayer(keras.layers.Layer):
    """Dense, batch normalization, dropout, activation, in this order.

    Args:
        units: Width of the layer.
        activation: Keras activation function.
        dropout: Rate of the dropout; 0 is none.
        batch_normalization: `None`, or a dict with the `momentum` and `epsilon`.
        spectral_normalization: Whether the kernel is divided by its spectral norm.
        seed: Seed of the dropout.
        dtype: Dtype policy.
        **dense: Arguments of the dense layer.

    Call arguments:
        x: `(batch, in)`.
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
        spectral_normalization=False,
        seed=None,
        dtype=None,
        **dense,
    ):
        super().__init__(dtype=dtype, name=unique_name("hidden"))
        self.units = units
        self.activation = activation
        dense_class = SpectralDense if spectral_normalization else keras.layers.Dense
        common = {"dtype": self.dtype_policy}
        self.steps = [dense_class(units, **dense, **common, name="dense")]
        if batch_normalization:
            normalization = keras.layers.BatchNormalization(
                **batch_normalization, **common, name="batch_normalization"
            )
            self.steps.append(normalization)
        if dropout:
            self.steps.append(keras.layers.Dropout(dropout, seed=seed, **common, name="dropout"))

    def build(self, x_shape):
        for step in self.steps:
            step.build(x_shape)
            x_shape = (x_shape[0], self.units)

    def call(self, x, training=None):
        for step in self.steps:
            x = step(x, training=training)
        return self.activation(x)

    def compute_output_shape(self, x_shape):
        return (x_shape[0], self.units)
