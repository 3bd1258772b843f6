"""Batch normalization with statistics of their own for every condition."""

import keras
from keras import ops

from keras_hypernet.conditioning.ids import are_known, rows_of, wide


class ConditionalBatchNormalization(keras.layers.Layer):
    """Batch normalization in which each row belongs to a condition.

    Scale and offset are shared. In training a row is normalized by the mean and variance of the
    batch's rows of its condition, and these move the condition's own averages; otherwise by the
    averages of its condition. A condition with one row in a batch has no variance there: its
    normalized values are 0. A row of no condition is normalized by the mean of all averages.

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
        condition_id = wide(condition_id)
        ids = condition_id + ops.zeros_like(x[:, 0], dtype=condition_id.dtype)  # (rows,)
        # Under a policy of half precision the averages are in half precision, too.
        averages = [ops.cast(v, full.dtype) for v in (self.moving_mean, self.moving_variance)]
        moves = training and self.trainable
        sets = self._of_batch(full, ids) if moves else averages
        mean, variance = (
            rows_of(table, ids, ops.mean(average, axis=0)) for table, average in zip(sets, averages)
        )
        full = (full - mean) * ops.rsqrt(variance + self.epsilon)
        return ops.cast(full, x.dtype) * self.gamma + self.beta

    def _of_batch(self, x, ids):
        """Mean and variance of the rows of each condition, `(conditions, size)`, remembered."""
        last = self.num_conditions  # of rows that belong to no condition
        ids = ops.where(are_known(ids, last), ids, last)

        def sums(x):  # (rows, size) -> (conditions, size)
            return ops.segment_sum(x, ids, last + 1)[:last]

        counts = sums(ops.ones_like(x[:, :1]))
        divisor = ops.maximum(counts, 1.0)
        mean = sums(x) / divisor
        squares = ops.square(x - rows_of(mean, ids))
        variance = sums(squares) / divisor
        share = ops.where(counts > 0, 1.0 - self.momentum, 0.0)
        for average, found in ((self.moving_mean, mean), (self.moving_variance, variance)):
            average.assign(average + share * (ops.stop_gradient(found) - average))
        return mean, variance

    def compute_output_shape(self, x_shape, condition_id_shape=None):
        return x_shape
