"""`ConditionEmbedding`: ids of conditions -> learned vectors."""

import keras
from keras import ops

from keras_hypernet import _compat, checks
from keras_hypernet.naming import unique_name
from keras_hypernet.trainable_flags import CompositeLayer


@keras.saving.register_keras_serializable(package="keras_hypernet")
class ConditionEmbedding(CompositeLayer):
    """One learned vector per condition: `vector = table[id]`.

    Args:
        num_conditions: Number of conditions; ids are `0 ... num_conditions - 1`.
        size: Width of a vector.
        embeddings_initializer: Of the table. `None` is N(0, 1), the field's convention.
        embeddings_regularizer: Of the table.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        ids: `(batch,)`, of an integer dtype: `keras.Input((), dtype="int32")` in a model.

    Returns:
        `(batch, size)`.

    Raises:
        TypeError: if ids are not of an integer dtype.
        ValueError: if ids have another rank, or are out of range where their values can be read:
            in direct calls, and everywhere on PyTorch unless it compiles. In a traced call they
            cannot be read: there an id that is too large gives NaN on JAX, an error on TensorFlow
            and the last row under its XLA; a negative one counts from the end.

    Example:

    >>> embedding = kh.ConditionEmbedding(num_conditions=10, size=8)
    >>> keras.ops.shape(embedding(np.array([3, 3, 7])))
    (3, 8)

    Reference: von Oswald et al., 2020 (https://arxiv.org/abs/1906.00695): task embeddings.
    """

    def __init__(
        self,
        num_conditions,
        size,
        embeddings_initializer=None,
        embeddings_regularizer=None,
        **kwargs,
    ):
        num_conditions = checks.positive_int("num_conditions", num_conditions)
        size = checks.positive_int("size", size)
        if embeddings_initializer is None:
            embeddings_initializer = keras.initializers.RandomNormal(stddev=1.0)
        super().__init__(**kwargs)
        self.num_conditions = num_conditions
        self.size = size
        self.embeddings_initializer = checks.initializer(
            "embeddings_initializer", embeddings_initializer
        )
        self.embeddings_regularizer = checks.regularizer(
            "embeddings_regularizer", embeddings_regularizer
        )
        self.table = keras.layers.Embedding(
            num_conditions,
            size,
            embeddings_initializer=self.embeddings_initializer,
            embeddings_regularizer=self.embeddings_regularizer,
            dtype=self.dtype_policy,
            name=unique_name("table"),
        )

    def __call__(self, ids, *args, **kwargs):
        check_ids(ids, self.num_conditions)
        return super().__call__(ids, *args, **kwargs)

    def build(self, ids_shape):
        checks.rank("ids", ids_shape, 1)
        self.table.build(ids_shape)

    def call(self, ids):
        return self.table(ids)

    def compute_output_shape(self, ids_shape):
        return (*ids_shape, self.size)

    def get_config(self):
        return {
            **super().get_config(),
            "num_conditions": self.num_conditions,
            "size": self.size,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
            "embeddings_regularizer": keras.regularizers.serialize(self.embeddings_regularizer),
        }


def check_ids(ids, num_conditions, argument="ids"):
    """Ids are integers `(batch,)`, in range where their values can be read."""
    checks.tensor(argument, ids)
    checks.int_tensor(argument, ids)
    checks.rank(argument, ids.shape, 1, hint=" In a model: `keras.Input((), dtype='int32')`.")
    if not _compat.is_concrete(ids) or 0 in tuple(ids.shape):
        return
    values = ops.convert_to_numpy(ids)
    if values.min() < 0 or values.max() >= num_conditions:
        raise ValueError(
            f"`{argument}` must be in 0 ... {num_conditions - 1} "
            f"(num_conditions={num_conditions}). "
            f"Received: ids from {values.min()} to {values.max()}"
        )
