"""`SelfAttention2D`: every pixel of an image attends to all its pixels."""

import keras
from keras import ops

from keras_hypernet.initializers.fresh import fresh
from keras_hypernet.utils import backend, checks
from keras_hypernet.utils.naming import unique_name

AUTO = (1, 3)
REDUCTION = 8  # the query and the key have this many times fewer channels than the image


class SelfAttention2D(keras.layers.Layer):
    """Adds to each pixel `gamma` times the values of all pixels, mixed by attention.

    `A = softmax_j(query_i . key_j)`, `y = gamma * A value + x`. `gamma` is zero at first, so that
    a new layer returns its input.

    Args:
        channels: Channels of the image, `REDUCTION` or more.
        kernel_initializer, bias_initializer: Of query, key and value.
        kernel_regularizer, bias_regularizer: Of query, key and value.
        dtype: Dtype policy.

    Call arguments:
        x: `(rows, width, height, channels)`.

    Returns:
        `(rows, width, height, channels)`.
    """

    def __init__(
        self,
        channels,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        dtype=None,
    ):
        super().__init__(dtype=dtype, name=unique_name("attention"))

        def dense(units, name):
            return keras.layers.Dense(
                units,
                kernel_initializer=fresh(kernel_initializer),
                bias_initializer=fresh(bias_initializer),
                kernel_regularizer=kernel_regularizer,
                bias_regularizer=bias_regularizer,
                dtype=self.dtype_policy,
                name=name,
            )

        self.query = dense(channels // REDUCTION, "query")
        self.key = dense(channels // REDUCTION, "key")
        self.value = dense(channels, "value")

    def build(self, x_shape):
        rows, width, height, channels = x_shape
        for layer in (self.query, self.key, self.value):
            layer.build((rows, width * height, channels))
        self.gamma = self.add_weight(name="gamma", shape=(), initializer="zeros")

    def call(self, x):
        width, height, channels = x.shape[1:]
        pixels = ops.reshape(x, (-1, width * height, channels))
        keys = ops.transpose(self.key(pixels), (0, 2, 1))
        scores = backend.matmul(self.query(pixels), keys)  # (rows, pixels, pixels)
        # Keras warns of a softmax over one number, which is one.
        attention = scores - scores + 1 if width * height == 1 else ops.softmax(scores, axis=-1)
        mixed = backend.matmul(attention, self.value(pixels))
        return self.gamma * ops.reshape(mixed, (-1, width, height, channels)) + x

    def compute_output_shape(self, x_shape):
        return x_shape


def check_places(attention, filters):
    """Indices of layers with enough filters, each once, as a tuple."""
    if isinstance(attention, str) and attention == "auto":
        return tuple(i for i in AUTO if i < len(filters) and filters[i] >= REDUCTION)
    if not isinstance(attention, (list, tuple)):
        raise TypeError(
            "`attention` must be a list of indices into `filters`, empty for none. "
            f"Received: attention={attention!r} of type {type(attention).__name__}"
        )
    indices = tuple(checks.count(f"attention[{i}]", index) for i, index in enumerate(attention))
    if len(set(indices)) < len(indices):
        raise ValueError(f"`attention` must not repeat. Received: attention={attention!r}")
    for index in indices:
        if index >= len(filters):
            raise ValueError(
                f"`attention` must be indices into the {len(filters)} `filters`, from 0 to "
                f"{len(filters) - 1} (the last layer has none). Received: attention={attention!r}"
            )
        if filters[index] < REDUCTION:
            raise ValueError(
                f"`attention` needs {REDUCTION} filters or more where it follows a layer. "
                f"Received: filters[{index}]={filters[index]}"
            )
    return indices
