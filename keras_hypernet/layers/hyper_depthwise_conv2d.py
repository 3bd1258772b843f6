"""`HyperDepthwiseConv2D`: `keras.layers.DepthwiseConv2D` on generated weights."""

import keras

from keras_hypernet.layers.hyper_depthwise_conv import HyperDepthwiseConv


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperDepthwiseConv2D(HyperDepthwiseConv):
    """A 2D convolution of each channel by itself, its weights generated, one set per row.

    `y[b, p, q, c, m] = activation(sum over i, j of x[b, p + i, q + j, c] * kernel[g, i, j, c, m] +
    bias[g, c, m])` with `g = b // (batch // rows)`; the output has its `(c, m)` on one axis.

    Example:

    >>> x = np.ones((4, 8, 8, 2), "float32")
    >>> weights = np.ones((2, 3 * 3 * 2 * 2 + 4), "float32")  # for x[:2] and for x[2:]
    >>> y = kh.HyperDepthwiseConv2D(3, depth_multiplier=2)(x, weights)
    >>> keras.ops.shape(y)
    (4, 6, 6, 4)
    """

    twin = keras.layers.DepthwiseConv2D
