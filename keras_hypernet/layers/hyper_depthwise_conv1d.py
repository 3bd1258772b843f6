"""`HyperDepthwiseConv1D`: `keras.layers.DepthwiseConv1D` on generated weights."""

import keras

from keras_hypernet.layers.hyper_depthwise_conv import HyperDepthwiseConv


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperDepthwiseConv1D(HyperDepthwiseConv):
    """A 1D convolution of each channel by itself, its weights generated, one set per row.

    `y[b, p, c, m] = activation(sum over i of x[b, p + i, c] * kernel[g, i, c, m] + bias[g, c, m])`
    with `g = b // (batch // rows)`; the output has its `(c, m)` on one axis.

    Example:

    >>> x = np.ones((4, 8, 2), "float32")
    >>> weights = np.ones((2, 3 * 2 * 2 + 4), "float32")  # for x[:2] and for x[2:]
    >>> y = kh.HyperDepthwiseConv1D(3, depth_multiplier=2)(x, weights)
    >>> keras.ops.shape(y)
    (4, 6, 4)
    """

    twin = keras.layers.DepthwiseConv1D
