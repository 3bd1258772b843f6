"""`HyperRMSNormalization`: `keras.layers.RMSNormalization` on generated weights."""

import keras
from keras import ops

from keras_hypernet.layers.hyper_normalization import HyperNormalization


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperRMSNormalization(HyperNormalization):
    """Root mean square normalization whose scale is generated, one per row.

    `y[b] = x[b] / sqrt(mean(x[b] ** 2) + epsilon) * scale[g]` with `g = b // (batch // rows)`.

    Example:

    >>> x, weights = np.ones((4, 3), "float32"), np.ones((2, 3), "float32")
    >>> y = kh.HyperRMSNormalization()(x, weights)
    >>> keras.ops.shape(y)
    (4, 3)
    """

    twin = keras.layers.RMSNormalization
    tensors = ("scale",)

    def normalize(self, x):
        twin = self.twin_layer()
        return ops.rms_normalization(x, axis=twin.axis, epsilon=twin.epsilon)
