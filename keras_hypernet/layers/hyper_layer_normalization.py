"""`HyperLayerNormalization`: `keras.layers.LayerNormalization` on generated weights."""

import keras
from keras import ops

from keras_hypernet.layers.hyper_normalization import HyperNormalization


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperLayerNormalization(HyperNormalization):
    """Layer normalization whose scale and offset are generated, one set per row.

    `y[b] = (x[b] - mean(x[b])) / sqrt(var(x[b]) + epsilon) * gamma[g] + beta[g]` with
    `g = b // (batch // rows)`.

    Example:

    >>> x, weights = np.ones((4, 3), "float32"), np.ones((2, 3 + 3), "float32")
    >>> y = kh.HyperLayerNormalization()(x, weights)
    >>> keras.ops.shape(y)
    (4, 3)
    """

    twin = keras.layers.LayerNormalization

    @property
    def tensor_names(self):
        return ["gamma"] if self.twin_layer().rms_scaling else self.switched_on()

    def normalize(self, x):
        twin = self.twin_layer()
        extra = {"rms_scaling": True} if twin.rms_scaling else {}
        return ops.layer_normalization(x, axis=twin.axis, epsilon=twin.epsilon, **extra)
