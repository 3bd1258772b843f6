"""`HyperBatchNormalization`: `keras.layers.BatchNormalization` on generated weights."""

import keras

from keras_hypernet.layers.hyper_normalization import HyperNormalizationByTwin


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperBatchNormalization(HyperNormalizationByTwin):
    """Batch normalization whose scale and offset are generated, one set per row.

    `y[b] = (x[b] - mean) / sqrt(variance + epsilon) * gamma[g] + beta[g]` with
    `g = b // (batch // rows)`. The statistics are those of the whole batch, whichever weights its
    rows use; the moving ones are state of this layer, as in Keras.

    Example:

    >>> x, weights = np.ones((4, 3), "float32"), np.ones((2, 3 + 3), "float32")
    >>> y = kh.HyperBatchNormalization()(x, weights, training=True)
    >>> keras.ops.shape(y)
    (4, 3)
    """

    twin = keras.layers.BatchNormalization
    more = """
        training: Whether to normalize by the statistics of the batch, and to move the moving ones.
            A layer that is not trainable never does.
        mask: Positions that count in the statistics; that of `x` by default."""

    def call(self, x, weights, training=None, mask=None):
        return super().call(x, weights, training=training, mask=mask)
