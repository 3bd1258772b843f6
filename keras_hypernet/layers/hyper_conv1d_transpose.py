"""`HyperConv1DTranspose`: `keras.layers.Conv1DTranspose` on generated weights."""

import keras

from keras_hypernet.layers.hyper_conv_transpose import HyperConvTranspose


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperConv1DTranspose(HyperConvTranspose):
    """A transposed 1D convolution whose kernel and bias are generated, one set per row.

    Where strides are `s`, `x[b, p] @ transpose(kernel[g, i])` adds to `y[b, s * p + i]`, with
    `g = b // (batch // rows)`; then the bias of row `g` and the activation follow.

    Example:

    >>> x = np.ones((4, 8, 2), "float32")
    >>> weights = np.ones((2, 3 * 5 * 2 + 5), "float32")  # for x[:2] and for x[2:]
    >>> y = kh.HyperConv1DTranspose(5, 3, strides=2)(x, weights)
    >>> keras.ops.shape(y)
    (4, 17, 5)
    """

    twin = keras.layers.Conv1DTranspose
