"""`RunningScale`: conditions of any size -> conditions of size 1."""

import keras
from keras import ops

from keras_hypernet import checks
from keras_hypernet.naming import give_unique_path


@keras.saving.register_keras_serializable(package="keras_hypernet")
class RunningScale(keras.layers.Layer):
    """Divides its input by one number: the root mean square of all that it saw in training.

    `y = x / sqrt(mean of x ** 2)`, the mean over all entries of all batches in training so far, this
    one included. Before training it returns its input. So a generator gets vectors of size 1,
    whether conditions are of size 0.01 or 30. It keeps the ratios between entries and takes no
    offset away: for entries of different units, or far from 0, put `keras.layers.Normalization` in
    front, which is adapted to the data.

    Args:
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        x: `(rows, ...)`, floating.
        training: Whether the mean takes the batch in.

    Returns:
        A tensor of the shape of `x`.

    Raises:
        TypeError: on input that is no tensor, or not floating.

    Example:

    >>> scale = kh.RunningScale()
    >>> x = np.array([[3.0, -3.0]], "float32")
    >>> [float(y) for y in scale(x, training=True)[0]]
    [1.0, -1.0]
    >>> [float(y) for y in scale(2 * x)[0]]
    [2.0, -2.0]

    Source: root-mean-square normalization (Zhang and Sennrich, 2019,
    https://arxiv.org/abs/1910.07467), by a mean over the data in place of one over each row, which
    would take the size of a scalar away.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        give_unique_path(self)
        self.supports_masking = True

    def __call__(self, x, *args, **kwargs):
        checks.tensor("x", x)
        checks.float_tensor("x", x)
        return super().__call__(x, *args, **kwargs)

    def build(self, x_shape):
        def state(name, initializer):
            return self.add_weight(
                shape=(),
                initializer=initializer,
                trainable=False,
                dtype="float32",
                autocast=False,
                name=name,
            )

        self.mean_square = state("mean_square", "ones")
        self.batches = state("batches", "zeros")

    def call(self, x, training=None):
        if training and self.trainable:
            batches = self.batches + 1
            found = ops.mean(ops.square(ops.cast(x, "float32")))
            mean_square = self.mean_square + (found - self.mean_square) / batches
            self.batches.assign(batches)
            self.mean_square.assign(mean_square)
        else:
            mean_square = ops.convert_to_tensor(self.mean_square)
        scale = ops.where(mean_square > 0, ops.rsqrt(ops.maximum(mean_square, 1e-30)), 1.0)
        return x * ops.cast(scale, x.dtype)

    def compute_output_shape(self, x_shape):
        return x_shape
