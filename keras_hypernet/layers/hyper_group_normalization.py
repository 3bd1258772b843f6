"""`HyperGroupNormalization`: `keras.layers.GroupNormalization` on generated weights."""

import keras

from keras_hypernet.layers.hyper_normalization import HyperNormalizationByTwin


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperGroupNormalization(HyperNormalizationByTwin):
    """Group normalization whose scale and offset are generated, one set per row.

    `y[b] = normalized(x[b]) * gamma[g] + beta[g]` with `g = b // (batch // rows)`, where groups of
    channels of a data row are normalized together. (Groups of channels have nothing to do with
    rows that share weights.)

    Example:

    >>> x, weights = np.ones((4, 7, 6), "float32"), np.ones((2, 6 + 6), "float32")
    >>> y = kh.HyperGroupNormalization(3)(x, weights)
    >>> keras.ops.shape(y)
    (4, 7, 6)
    """

    twin = keras.layers.GroupNormalization
