"""A dense layer whose kernel is divided by its largest singular value."""

import keras
from keras import ops

from keras_hypernet.utils import backend

POWER_ITERATIONS = 3


class SpectralDense(keras.layers.Layer):
    """`y = x @ (kernel / sigma) + bias`, with sigma by power iteration (Miyato et al., 2018).

    The kernel itself is never assigned: `call` normalizes, in training and in inference, and only
    the vector of the power iteration is state. So it is the same on every backend.

    Args:
        units: Size of the output.
        use_bias: Whether to add a bias.
        kernel_initializer, bias_initializer: As in `keras.layers.Dense`.
        kernel_regularizer, bias_regularizer: As in `keras.layers.Dense`.
        **kwargs: `name` and `dtype`.

    Call arguments:
        x: `(batch, in)`.

    Returns:
        `(batch, units)`.
    """

    def __init__(
        self,
        units,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units = units
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)

    def build(self, x_shape):
        # Without autocast: a norm is taken in full precision.
        self.kernel = self.add_weight(
            name="kernel",
            shape=(x_shape[-1], self.units),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            autocast=False,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.units,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
            )
        self.direction = self.add_weight(
            name="direction",
            shape=(1, self.units),
            initializer="random_normal",
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
        )

    def call(self, x, training=None):
        kernel = ops.convert_to_tensor(self.kernel)
        fixed = ops.stop_gradient(kernel)
        right = ops.convert_to_tensor(self.direction)
        for _ in range(POWER_ITERATIONS):
            left = ops.normalize(backend.matmul(right, ops.transpose(fixed)))  # (1, in)
            right = ops.normalize(backend.matmul(left, fixed))  # (1, units)
        if training:
            self.direction.assign(right)
        sigma = backend.matmul(backend.matmul(left, kernel), ops.transpose(right))  # (1, 1)
        kernel = kernel / ops.maximum(sigma, keras.config.epsilon())
        y = backend.matmul(x, ops.cast(kernel, self.compute_dtype))
        return y if self.bias is None else y + self.bias

    def compute_output_shape(self, x_shape):
        return (*x_shape[:-1], self.units)
