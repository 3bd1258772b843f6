"""`HyperConv2D`: `keras.layers.Conv2D` on generated weights."""

import keras

from keras_hypernet.layers.hyper_conv import HyperConv


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperConv2D(HyperConv):
    """A 2D convolution whose kernel and bias are generated, one set per row.

    `y[b, p, q] = activation(sum over i, j of x[b, p + i, q + j] @ kernel[g, i, j] + bias[g])` with
    `g = b // (batch // rows)`. A kernel may be an update of low rank where `groups` is 1.

    Example:

    >>> x = np.ones((4, 8, 8, 2), "float32")
    >>> weights = np.ones((2, 3 * 3 * 2 * 5 + 5), "float32")  # for x[:2] and for x[2:]
    >>> y = kh.HyperConv2D(5, 3)(x, weights)
    >>> keras.ops.shape(y)
    (4, 6, 6, 5)
    """

    twin = keras.layers.Conv2D
