"""The rules of `Embedding` and `ReversibleEmbedding`: `y[b, ...] = embeddings[g, x[b, ...]]`."""

import keras
from keras import layers, ops

from keras_hypernet.layers import named_weights
from keras_hypernet.layers.rules.rule import Rule, register_rule
from keras_hypernet.ops import low_rank, rows
from keras_hypernet.utils import backend, keras_internals


class EmbeddingRule(Rule):
    """A table looked up; an id never reads the table of another row."""

    def update_shapes(self, layer, name, shape, rank):
        return low_rank.last_axis(shape, rank)

    def adapted_kernels(self, layer):
        return {"embeddings": (layer.input_dim, layer.output_dim)}

    def apply(self, layer, x, tensors):
        if keras.backend.standardize_dtype(x.dtype) not in ("int32", "int64"):
            x = ops.cast(x, "int32")
        table = tensors["embeddings"]
        if named_weights.is_update(table):
            # Keras' layer has no autocast.
            table = named_weights.cast(table, layer.compute_dtype)
            return low_rank.low_rank(x, table, whole=_look_up, down=_look_up, up=low_rank.matmul)
        return _look_up(x, table)


class ReversibleEmbeddingRule(EmbeddingRule):
    """A table looked up, or with `reverse=True` data times its rows."""

    def adapted_kernels(self, layer):
        return {}

    def apply(self, layer, x, tensors, reverse=False):
        if not reverse:
            y = super().apply(layer, x, tensors)
            mask = layer.compute_mask(x)
            if mask is not None:
                keras_internals.set_mask(y, mask)
            return y
        dtype = layer.reverse_dtype or layer.compute_dtype
        name = "embeddings" if layer.tie_weights else "reverse_embeddings"
        x, table = ops.cast(x, dtype), named_weights.cast(tensors[name], dtype)
        if layer.tie_weights:
            table = _transposed(table)
        if named_weights.is_update(table):
            product = low_rank.matmul
            logits = low_rank.low_rank(x, table, whole=product, down=product, up=product)
        else:
            logits = low_rank.matmul(x, table)
        cap = layer.logit_soft_cap
        return logits if cap is None else ops.tanh(logits / cap) * cap


def _look_up(ids, tables):  # (batch, ...), (rows, entries, size) -> (batch, ..., size)
    if rows.is_shared(tables):
        return ops.take(tables[0], ids, axis=0)
    ids = ops.where(ids < 0, ids + tables.shape[1], ids)
    return rows.ungroup(backend.take_per_row(tables, rows.group(ids, rows.count(tables))))


def _transposed(table):
    """A table, or an update of one, with entries and sizes swapped."""
    if not named_weights.is_update(table):
        return ops.transpose(table, (0, 2, 1))
    down, up = (ops.transpose(table[name], (0, 2, 1)) for name in ("up", "down"))
    return {**table, "base": ops.transpose(table["base"]), "down": down, "up": up}


register_rule(layers.Embedding, EmbeddingRule)
if hasattr(layers, "ReversibleEmbedding"):
    register_rule(layers.ReversibleEmbedding, ReversibleEmbeddingRule)
