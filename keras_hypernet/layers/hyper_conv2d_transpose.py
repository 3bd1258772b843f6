"""`HyperConv2DTranspose`: `keras.layers.Conv2DTranspose` on generated weights."""

import keras

from keras_hypernet.layers.hyper_conv_transpose import HyperConvTranspose


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperConv2DTranspose(HyperConvTranspose):
    """A transposed 2D convolution whose kernel and bias are generated, one set per row.

    Where strides are `s`, `x[b, p, q] @ transpose(kernel[g, i, j])` adds to
    `y[b, s * p + i, s * q + j]`, with `g = b // (batch // rows)`; then the bias of row `g` and the
    activation follow.

    Example:

    >>> x = np.ones((4, 8, 8, 2), "float32")
    >>> weights = np.ones((2, 3 * 3 * 5 * 2 + 5), "float32")  # for x[:2] and for x[2:]
    >>> y = kh.HyperConv2DTranspose(5, 3, strides=2)(x, weights)
    >>> keras.ops.shape(y)
    (4, 17, 17, 5)
    """

    twin = keras.layers.Conv2DTranspose
