"""Many chunks of one kind from one generator."""

import keras
from keras import ops

from keras_hypernet.conditioning import inputs
from keras_hypernet.conditioning.ids import rows_of
from keras_hypernet.utils.naming import unique_name


class ChunkSet(keras.layers.Layer):
    """Generates `number` chunks: `chunk_j = generator([noise, embedding_j, condition])`.

    The first step of the generator is affine, so what it makes of the vectors and of the
    embeddings, each once, is added. Where it is a layer, inputs are never repeated for every chunk.

    Args:
        generator: The generator of one chunk, or of its features; it belongs to this layer.
        number: Number of chunks.
        embedding_size: Width of a chunk's embedding; 0 is none, for a single chunk.
        chunk_embeddings: `"shared"` by all conditions, `"conditional"`, one set for each of them,
            or `"given"` in every call.
        num_conditions: Number of conditions.
        initializer, regularizer: Of the embeddings.
        dtype: Dtype policy.
    """

    def __init__(
        self,
        generator,
        number,
        embedding_size,
        chunk_embeddings,
        num_conditions,
        initializer,
        regularizer,
        dtype,
    ):
        super().__init__(dtype=dtype, name=unique_name("chunks"))
        self.generator = generator
        self.number = number
        self.embedding_size = embedding_size
        self.chunk_embeddings = chunk_embeddings
        self.num_conditions = num_conditions
        self.embeddings_initializer = initializer
        self.regularizer = regularizer
        self.embeddings = None

    def build_for(self, sizes):
        """Builds for vectors of these sizes, `{"noise": n, "condition": c}`."""
        self.sizes = dict(sizes)
        self.generator.build((None, sum(sizes.values()) + self.embedding_size))
        if self.embedding_size and self.chunk_embeddings != "given":
            lead = (self.num_conditions,) if self.chunk_embeddings == "conditional" else ()
            self.embeddings = self.add_weight(
                name="embeddings",
                shape=(*lead, self.number, self.embedding_size),
                initializer=self.embeddings_initializer,
                regularizer=self.regularizer,
            )
        self.built = True

    def generate(self, given, embeddings=None, training=None):
        """Inputs by name, and embeddings in place of the own -> `(rows, number, outputs)`."""
        y = self._first(given, embeddings, training)  # (rows or 1, number, first size)
        ids = None
        if self.generator.num_conditions is not None:
            ids = given["condition_id"][:, None]  # (rows or 1, 1)
            y = y + ops.zeros_like(ids, dtype=y.dtype)[:, :, None]
            ids = ops.reshape(ids + ops.zeros_like(y[:, :, 0], dtype=ids.dtype), (-1,))
        y = ops.reshape(y, (-1, y.shape[-1]))
        y = self.generator.after_first(y, condition_id=ids, training=training)
        return ops.reshape(y, (-1, self.number, y.shape[-1]))

    def _first(self, given, embeddings, training):
        vectors = {name: given[name] for name in inputs.VECTORS if name in given}
        embeddings = self._embeddings(given, embeddings)
        first = self.generator.first
        if embeddings is None:
            return first(inputs.join(vectors), training=training)[:, None]
        embeddings = ops.reshape(embeddings, (-1, self.embedding_size))  # (sets * number, e)
        if not vectors:
            y = first(embeddings, training=training)
            return ops.reshape(y, (-1, self.number, y.shape[-1]))
        of_rows = inputs.join(vectors, ops.zeros((1, self.embedding_size), embeddings.dtype))
        nothing = {n: ops.zeros((1, size), embeddings.dtype) for n, size in self.sizes.items()}
        of_chunks = inputs.join(nothing, embeddings)
        nothing = inputs.join(nothing, ops.zeros((1, self.embedding_size), embeddings.dtype))
        y = first(ops.concatenate([nothing, of_chunks, of_rows], axis=0), training=training)
        end = 1 + ops.shape(embeddings)[0]
        of_chunks = y[1:end] - y[:1]  # without bias
        of_chunks = ops.reshape(of_chunks, (-1, self.number, y.shape[-1]))
        return of_chunks + y[end:][:, None]

    def _embeddings(self, given, embeddings):
        """`(rows or 1, number, e)`, or `None`."""
        if embeddings is not None or self.embedding_size == 0:
            return embeddings
        if self.chunk_embeddings == "conditional":
            return rows_of(self.embeddings, given["condition_id"])
        return ops.convert_to_tensor(self.embeddings)[None]
