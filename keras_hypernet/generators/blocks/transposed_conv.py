"""A transposed convolution of a generator."""

import keras

from keras_hypernet.generators.blocks.self_attention import SelfAttention2D
from keras_hypernet.initializers.fresh import fresh
from keras_hypernet.utils.naming import unique_name
from keras_hypernet.utils.observing import observed


class TransposedConv(keras.layers.Layer):
    """Transposed convolution, crop, batch normalization, activation, self-attention.

    Args:
        filters: Channels of the output.
        plan: The `ConvPlan`.
        activation: Keras activation function, or `None`.
        use_bias: Whether there is a bias.
        batch_normalization: `None`, or a dict with the `momentum` and `epsilon`.
        attention: Whether a self-attention is the last step.
        kernel_initializer, bias_initializer: Of the convolution and of the self-attention.
        kernel_regularizer, bias_regularizer: Of the convolution and of the self-attention.
        dtype: Dtype policy.

    Call arguments:
        x: `(rows, width, height, channels)`.
        training: Whether batch normalization acts as in training.

    Returns:
        `(rows, *plan.size, filters)`.
    """

    def __init__(
        self,
        filters,
        plan,
        activation=None,
        use_bias=True,
        batch_normalization=None,
        attention=False,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        dtype=None,
    ):
        super().__init__(dtype=dtype, name=unique_name("transposed_conv"))
        self.filters = filters
        self.plan = plan
        self.activation = activation
        parts = {
            "kernel_initializer": fresh(kernel_initializer),
            "kernel_regularizer": kernel_regularizer,
            "bias_initializer": fresh(bias_initializer),
            "bias_regularizer": bias_regularizer,
            "dtype": self.dtype_policy,
        }
        self.conv = keras.layers.Conv2DTranspose(
            filters,
            plan.kernel_size,
            strides=plan.strides,
            padding="valid",
            data_format="channels_last",
            use_bias=use_bias,
            **parts,
            name="conv",
        )
        self.batch_normalization = self.attention = None
        if batch_normalization:
            self.batch_normalization = keras.layers.BatchNormalization(
                **batch_normalization, dtype=self.dtype_policy, name="batch_normalization"
            )
        if attention:
            self.attention = SelfAttention2D(filters, **parts)

    def build(self, x_shape):
        self.conv.build(x_shape)
        for step in (self.batch_normalization, self.attention):
            if step is not None:
                step.build(self.compute_output_shape(x_shape))

    def call(self, x, training=None):
        x = self._crop(self.conv(x))
        if self.batch_normalization is not None:
            x = self.batch_normalization(x, training=training)
        if self.activation is not None:
            x = observed(self, self.activation(x))
        return x if self.attention is None else self.attention(x)

    def _crop(self, x):
        (left, _), (top, _) = self.plan.crop
        width, height = self.plan.size
        return x[:, left : left + width, top : top + height]

    def compute_output_shape(self, x_shape):
        return (x_shape[0], *self.plan.size, self.filters)
