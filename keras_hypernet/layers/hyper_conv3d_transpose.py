"""`HyperConv3DTranspose`: `keras.layers.Conv3DTranspose` on generated weights."""

import keras

from keras_hypernet.layers.hyper_conv_transpose import HyperConvTranspose


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperConv3DTranspose(HyperConvTranspose):
    """A transposed 3D convolution whose kernel and bias are generated, one set per row.

    Where strides are `s`, `x[b, p, q, r] @ transpose(kernel[g, i, j, k])` adds to
    `y[b, s * p + i, s * q + j, s * r + k]`, with `g = b // (batch // rows)`; then the bias of row
    `g` and the activation follow.

    Example:

    >>> x = np.ones((4, 4, 4, 4, 2), "float32")
    >>> weights = np.ones((2, 2 * 2 * 2 * 5 * 2 + 5), "float32")  # for x[:2] and for x[2:]
    >>> y = kh.HyperConv3DTranspose(5, 2, strides=2)(x, weights)
    >>> keras.ops.shape(y)
    (4, 8, 8, 8, 5)
    """

    twin = keras.layers.Conv3DTranspose
