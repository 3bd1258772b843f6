"""`HyperEmbedding`: `keras.layers.Embedding` on generated weights."""

import keras
from keras import ops

from keras_hypernet.layers import named_weights
from keras_hypernet.layers.hyper_twin import HyperTwin
from keras_hypernet.ops import low_rank, rows
from keras_hypernet.utils import backend
from keras_hypernet.weights import forms


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperEmbedding(HyperTwin):
    """A table of embeddings that is generated, one table per row.

    `y[b, ...] = embeddings[g, x[b, ...]]` with `g = b // (batch // rows)`. An id that is not in
    the table does what it does in Keras on the backend, and never reads the table of another row.

    Example:

    >>> x, weights = np.array([[0, 1], [2, 2]]), np.ones((2, 3 * 5), "float32")
    >>> y = kh.HyperEmbedding(3, 5)(x, weights)
    >>> keras.ops.shape(y)
    (2, 2, 5)
    """

    twin = keras.layers.Embedding
    tensors = ("embeddings",)

    def weight_shapes(self, x_shape):
        twin = self.twin_layer()
        return {"embeddings": (twin.input_dim, twin.output_dim)}

    def updates(self, name, shape, rank):
        return low_rank.last_axis(shape, rank)

    def apply(self, x, tensors):
        if keras.backend.standardize_dtype(x.dtype) not in ("int32", "int64"):
            x = ops.cast(x, "int32")
        table = tensors["embeddings"]
        if named_weights.is_update(table):
            table = forms.cast(table, self.compute_dtype)  # as the twin, it has no autocast
            y = low_rank.matmul(_look_up(table["down"], x), table["up"])
            return y + ops.take(table["base"], x, axis=0)
        return _look_up(table, x)

    def compute_mask(self, x, mask=None):
        return self.twin_layer().compute_mask(x)


def _look_up(tables, ids):  # (rows, entries, size), (batch, ...) -> (batch, ..., size)
    if rows.is_shared(tables):
        return ops.take(tables[0], ids, axis=0)
    ids = ops.where(ids < 0, ids + tables.shape[1], ids)
    return rows.ungroup(backend.take_per_row(tables, rows.group(ids, rows.count(tables))))
