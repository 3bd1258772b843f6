"""`SplitWeights`: the weights of several layers, cut into those of each."""

import keras

from keras_hypernet.utils import checks
from keras_hypernet.weights import forms


@keras.saving.register_keras_serializable(package="keras_hypernet")
class SplitWeights(keras.layers.Layer):
    """Cuts what one generator makes for several layers into a list, in the form it has.

    Args:
        totals: Number of weights of each layer.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        weights: Flat `(rows, total)` or factored.

    Returns:
        List of weights.
    """

    def __init__(self, totals, **kwargs):
        super().__init__(**kwargs)
        self.totals = checks.positive_ints("totals", totals)

    def call(self, weights):
        return forms.split_layers(weights, self.totals)

    def compute_output_shape(self, weights_shape):
        return forms.layer_shapes(weights_shape, self.totals)

    def get_config(self):
        return {**super().get_config(), "totals": list(self.totals)}
