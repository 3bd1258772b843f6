"""`ConditioningFeatures`: the hidden layers that the heads of a model share."""

import functools

import keras

from keras_hypernet.generators import options
from keras_hypernet.generators.blocks.hidden_layer import checked_scale
from keras_hypernet.utils import backend, checks
from keras_hypernet.utils.activations import of_hidden
from keras_hypernet.utils.naming import unique_name
from keras_hypernet.utils.trainable_flags import CompositeLayer


@keras.saving.register_keras_serializable(package="keras_hypernet")
class ConditioningFeatures(CompositeLayer):
    """Dense layers: a condition -> the features that several heads mix.

    Args:
        hidden_sizes: Widths of the layers.
        feature_scale: Factor of the output; `None` is `1 / sqrt(last width)`, as in
            `WeightGenerator`.
        activation: Of all layers: name, callable or `None`.
        dropout: Rate of the dropout after each activation, in [0, 1).
        seed: Seed of the dropout.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        conditioning: `(rows, size)`, floating.

    Returns:
        `(rows, last width)`.
    """

    num_conditions = None  # it has nothing of its own for a condition

    def __init__(
        self, hidden_sizes, feature_scale=None, activation="relu", dropout=0.0, seed=None, **kwargs
    ):
        super().__init__(**kwargs)
        self.hidden_sizes = checks.positive_ints("hidden_sizes", hidden_sizes)
        self.feature_scale = checked_scale(feature_scale, self.hidden_sizes)
        self.activation = checks.activation("activation", activation)
        self.dropout = checks.fraction("dropout", dropout)
        self.seed = checks.seed("seed", seed)
        self.hidden_layers = [
            keras.layers.Dense(size, dtype=self.dtype_policy, name=unique_name("hidden"))
            for size in self.hidden_sizes
        ]
        for layer, variable, initializer in self.initializers():
            setattr(layer, f"{variable}_initializer", initializer)
        self.drop = None
        if self.dropout:
            self.drop = keras.layers.Dropout(
                self.dropout, seed=self.seed, dtype=self.dtype_policy, name=unique_name("dropout")
            )

    def initializers(self):
        """`[(layer, variable, initializer)]`: it starts by its activation."""
        slots = []
        for layer in self.hidden_layers:
            kernel, bias = of_hidden(self.activation)
            slots += [(layer, "kernel", kernel), (layer, "bias", bias)]
        return slots

    @property
    def first(self):
        """The first step, affine."""
        return functools.partial(backend.dense, self.hidden_layers[0])

    def after_first(self, y, condition_id=None, training=None):
        """From what `first` made, `(rows, size)`, to features."""
        for i, layer in enumerate(self.hidden_layers):
            y = self.activation(backend.dense(layer, y) if i else y)
            y = y if self.drop is None else self.drop(y, training=training)
        return y * self.feature_scale

    def build(self, conditioning_shape):
        shape = conditioning_shape
        for layer in self.hidden_layers:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def call(self, conditioning, training=None):
        return self.after_first(self.first(conditioning), training=training)

    def compute_output_shape(self, conditioning_shape):
        return (*conditioning_shape[:-1], self.hidden_sizes[-1])

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_sizes": list(self.hidden_sizes),
            "feature_scale": self.feature_scale,
            "activation": keras.activations.serialize(self.activation),
            "dropout": self.dropout,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**options.with_feature_scale(config))
