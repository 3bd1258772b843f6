"""`ConditioningFeatures`: the hidden layers that the heads of a model share."""

import keras

from keras_hypernet.generators import options
from keras_hypernet.generators.blocks.hidden_layer import checked_scale
from keras_hypernet.initializers.fresh import fresh
from keras_hypernet.utils import checks
from keras_hypernet.utils.activations import of_hidden
from keras_hypernet.utils.naming import unique_name
from keras_hypernet.utils.trainable_flags import CompositeLayer


@keras.saving.register_keras_serializable(package="keras_hypernet")
class ConditioningFeatures(CompositeLayer):
    """Dense layers with ReLU: a condition -> the features that several heads mix.

    Args:
        hidden_sizes: Widths of the layers.
        feature_scale: Factor of the output; `None` is `1 / sqrt(last width)`, as in
            `WeightGenerator`.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        conditioning: `(rows, size)`, floating.

    Returns:
        `(rows, last width)`.
    """

    def __init__(self, hidden_sizes, feature_scale=None, **kwargs):
        super().__init__(**kwargs)
        self.hidden_sizes = checks.positive_ints("hidden_sizes", hidden_sizes)
        self.feature_scale = checked_scale(feature_scale, self.hidden_sizes)
        kernel, bias = of_hidden(keras.activations.relu)
        self.hidden_layers = [
            keras.layers.Dense(
                size,
                activation="relu",
                kernel_initializer=fresh(kernel),
                bias_initializer=fresh(bias),
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
        return features * self.feature_scale

    def compute_output_shape(self, conditioning_shape):
        return (*conditioning_shape[:-1], self.hidden_sizes[-1])

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_sizes": list(self.hidden_sizes),
            "feature_scale": self.feature_scale,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**options.with_feature_scale(config))
