"""`HyperConv1D`: `keras.layers.Conv1D` on generated weights."""

import keras

from keras_hypernet.layers.hyper_conv import HyperConv


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperConv1D(HyperConv):
    """A 1D convolution whose kernel and bias are generated, one set per row.

    `y[b, p] = activation(sum over i of x[b, p + i] @ kernel[g, i] + bias[g])` with
    `g = b // (batch // rows)`. A kernel may be an update of low rank where `groups` is 1.

    Example:

    >>> x = np.ones((4, 8, 2), "float32")
    >>> weights = np.ones((2, 3 * 2 * 5 + 5), "float32")  # for x[:2] and for x[2:]
    >>> y = kh.HyperConv1D(5, 3)(x, weights)
    >>> keras.ops.shape(y)
    (4, 6, 5)
    """

    twin = keras.layers.Conv1D
