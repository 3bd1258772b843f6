"""`ConditioningFeatures`: the hidden layers that the heads of a model share."""

import keras

from keras_hypernet import checks
from keras_hypernet.naming import unique_name
from keras_hypernet.trainable_flags import CompositeLayer


@keras.saving.register_keras_serializable(package="keras_hypernet")
class ConditioningFeatures(CompositeLayer):
    """Dense layers with ReLU: a condition -> the features that several heads mix.

    Args:
        hidden_sizes: Widths of the layers.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        conditioning: `(rows, size)`, floating.

    Returns:
        `(rows, last width)`.
    """

    def __init__(self, hidden_sizes, **kwargs):
        super().__init__(**kwargs)
        self.hidden_sizes = checks.positive_ints("hidden_sizes", hidden_sizes)
        self.hidden_layers = [
            keras.layers.Dense(
                size,
                activation="relu",
                kernel_initializer="he_uniform",
                dtype=self.dtype_policy,
                name=unique_name("hidden"),
            )
            for size in self.hidden_sizes
        ]

    def build(self, conditioning_shape):
        shape = conditioning_shape
        for layer in self.hidden_layers:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def call(self, conditioning):
        features = conditioning
        for layer in self.hidden_layers:
            features = layer(features)
        return features

    def compute_output_shape(self, conditioning_shape):
        return (*conditioning_shape[:-1], self.hidden_sizes[-1])

    def get_config(self):
        return {**super().get_config(), "hidden_sizes": list(self.hidden_sizes)}
