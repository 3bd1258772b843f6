"""`HyperConv3D`: `keras.layers.Conv3D` on generated weights."""

import keras

from keras_hypernet.layers.hyper_conv import HyperConv


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperConv3D(HyperConv):
    """A 3D convolution whose kernel and bias are generated, one set per row.

    `y[b, p, q, r] = activation(sum over i, j, k of x[b, p + i, q + j, r + k] @ kernel[g, i, j, k] +
    bias[g])` with `g = b // (batch // rows)`. A kernel may be an update of low rank where `groups`
    is 1.

    Example:

    >>> x = np.ones((4, 4, 4, 4, 2), "float32")
    >>> weights = np.ones((2, 2 * 2 * 2 * 2 * 5 + 5), "float32")  # for x[:2] and for x[2:]
    >>> y = kh.HyperConv3D(5, 2)(x, weights)
    >>> keras.ops.shape(y)
    (4, 3, 3, 3, 5)
    """

    twin = keras.layers.Conv3D
