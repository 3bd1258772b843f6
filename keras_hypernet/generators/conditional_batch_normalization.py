"""Batch normalization with statistics of their own for every condition."""

import keras
from keras import ops


class ConditionalBatchNormalization(keras.layers.Layer):
    """Batch normalization in which each row belongs to a condition.

    Scale and offset are shared. In training a row is normalized by the mean and variance of the
    batch's rows of its condition, and these move the condition's own averages; otherwise by the
    averages of its condition. A condition with one row in a batch has no variance there: its
    normalized values are 0.

    Args:
        num_conditions: Number of sets of statistics.
        momentum, epsilon: As in `keras.layers.BatchNormalization`.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        x: `(rows, size)`.
        condition_id: `(rows,)` or `(1,)`, integers.
        training: Whether the batch's own statistics are used, and move the averages.

    Returns:
        `(rows, size)`.
    """

    def __init__(self, num_conditions, momentum, epsilon, **kwargs):
        super().__init__(**kwargs)
        self.num_conditions = num_conditions
        self.momentum = momentum
        self.epsilon = epsilon
        self.gamma_initializer = keras.initializers.Ones()
        self.beta_initializer = keras.initializers.Zeros()

    def build(self, x_shape, condition_id_shape=None):
        size, sets = x_shape[-1], (self.num_conditions, x_shape[-1])
        state = {"trainable": False, "autocast": False}
        self.gamma = self.add_weight(
            shape=(size,), initializer=self.gamma_initializer, name="gamma"
        )
        self.beta = self.add_weight(shape=(size,), initializer=self.beta_initializer, name="beta")
        self.moving_mean = self.add_weight(
            shape=sets, initializer="zeros", name="moving_mean", **state
        )
        self.moving_variance = self.add_weight(
            shape=sets, initializer="ones", name="moving_variance", **state
        )

    def call(self, x, condition_id, training=None):
        full = ops.cast(x, keras.backend.result_type(x.dtype, "float32"))
        ids = condition_id + ops.zeros_like(x[:, 0], dtype=condition_id.dtype)  # (rows,)
        if training and self.trainable:
            mean, variance = self._of_batch(full, ids)
        else:
            mean, variance = self.moving_mean, self.moving_variance
        # Under a policy of half precision the averages are in half precision, too.
        mean, variance = (ops.cast(sets, full.dtype) for sets in (mean, variance))
        mean, variance = (ops.take(sets, ids, axis=0) for sets in (mean, variance))
        full = (full - mean) * ops.rsqrt(variance + self.epsilon)
        return ops.cast(full, x.dtype) * self.gamma + self.beta

    def _of_batch(self, x, ids):
        """Mean and variance of the rows of each condition, `(conditions, size)`, remembered."""
        counts = ops.segment_sum(ops.ones_like(x[:, :1]), ids, self.num_conditions)
        divisor = ops.maximum(counts, 1.0)
        mean = ops.segment_sum(x, ids, self.num_conditions) / divisor
        squares = ops.square(x - ops.take(mean, ids, axis=0))
        variance = ops.segment_sum(squares, ids, self.num_conditions) / divisor
        share = ops.where(counts > 0, 1.0 - self.momentum, 0.0)
        for average, found in ((self.moving_mean, mean), (self.moving_variance, variance)):
            average.assign(average + share * (ops.stop_gradient(found) - average))
        return mean, variance

    def compute_output_shape(self, x_shape, condition_id_shape=None):
        return x_shape
