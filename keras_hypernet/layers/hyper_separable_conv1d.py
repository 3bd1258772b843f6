"""`HyperSeparableConv1D`: `keras.layers.SeparableConv1D` on generated weights."""

import keras

from keras_hypernet.layers.hyper_separable_conv import HyperSeparableConv


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperSeparableConv1D(HyperSeparableConv):
    """A 1D convolution by channels, then across them, its weights generated, one set per row.

    `y[b] = activation(depthwise(x[b], depthwise_kernel[g]) @ pointwise_kernel[g] + bias[g])` with
    `g = b // (batch // rows)`, where `depthwise` gives each channel its own windows.

    Example:

    >>> x = np.ones((4, 8, 2), "float32")
    >>> weights = np.ones((2, 3 * 2 + 2 * 5 + 5), "float32")  # for x[:2] and for x[2:]
    >>> y = kh.HyperSeparableConv1D(5, 3)(x, weights)
    >>> keras.ops.shape(y)
    (4, 6, 5)
    """

    twin = keras.layers.SeparableConv1D
