"""A target cut into equal chunks, whatever its tensors are."""

from keras import ops

from keras_hypernet.generators.chunked_generator import ChunkedGenerator
from keras_hypernet.utils import checks
from keras_hypernet.weights.forms import from_output_first
from keras_hypernet.weights.spec import WeightSpec


class EqualChunksGenerator(ChunkedGenerator):
    """Equal chunks one after another, the surplus of the last one dropped.

    Args:
        spec: The `WeightSpec` of the target, or what makes one.
        chunk_size: Number of weights in a chunk.
        chunk_embedding_size: Width of a chunk's embedding.
        output_first: Whether kernels stand in the chunks with their output axis first.
        make_generator: Dtype policy -> the generator of one chunk.
        **kwargs: Arguments of a `ChunkedGenerator`.
    """

    def __init__(
        self, spec, chunk_size, chunk_embedding_size, output_first, make_generator, **kwargs
    ):
        spec = WeightSpec.of(spec)
        size = checks.positive_int("chunk_embedding_size", chunk_embedding_size)
        output_first = checks.boolean("output_first", output_first)
        number = -(-spec.total // chunk_size)
        super().__init__(
            spec,
            lambda dtype: {"chunk_embeddings": (make_generator(dtype), number, size)},
            **kwargs,
        )
        self.chunk_size = chunk_size
        self.chunk_embedding_size = size
        self.output_first = output_first

    @property
    def chunks(self):
        """The set of all chunks."""
        return self.sets["chunk_embeddings"]

    def initializers(self, initialization):
        return initialization.of_chunks(self.chunks, self.spec, self.input_sizes)

    def call(self, conditioning, training=None):
        chunks = self.generate(conditioning, training)["chunk_embeddings"]
        flat = ops.reshape(chunks, (-1, self.num_chunks * self.chunk_size))
        flat = flat[:, : self.spec.total]
        flat = from_output_first(flat, self.spec) if self.output_first else flat
        return self.plus_base(flat)

    def get_config(self):
        return {
            **super().get_config(),
            "chunk_embedding_size": self.chunk_embedding_size,
            "output_first": self.output_first,
        }


def check_chunk_size(argument, size, spec):
    """A chunk has at least one weight and at most those of the target."""
    size, total = checks.positive_int(argument, size), WeightSpec.of(spec).total
    if size > total:
        raise ValueError(
            f"`{argument}` must not be more than the target's number of weights ({total}). "
            f"Received: {argument}={size}"
        )
    return size
