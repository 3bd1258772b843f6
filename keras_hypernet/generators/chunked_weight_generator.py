"""`ChunkedWeightGenerator`: one small perceptron makes a target chunk by chunk."""

import keras

from keras_hypernet.generators import options
from keras_hypernet.generators.equal_chunks import EqualChunksGenerator, check_chunk_size
from keras_hypernet.generators.weight_generator import WeightGenerator


@keras.saving.register_keras_serializable(package="keras_hypernet")
class ChunkedWeightGenerator(EqualChunksGenerator):
    """Generates a target chunk by chunk with one small perceptron.

    `chunk_j = mlp([noise, embedding_j, condition])`; the weights are the chunks one after another,
    the surplus of the last one dropped. Each chunk has a learned embedding. All chunks are made in
    one batched pass; inputs are not repeated for them, so that beside its output a pass keeps the
    hidden activations of the perceptron (`rows x chunks x width`) and nothing else of that size. It
    has about as many parameters as a chunk has weights, times the last hidden width: for large
    targets of any kind.

    Args:
        spec: The `WeightSpec` of the target, or a list of shapes, or a dict of names to shapes.
        chunk_size: Number of weights in a chunk; borders of tensors do not matter.
        chunk_embedding_size: Width of a chunk's embedding.
        chunk_embeddings: `"shared"` by all conditions; `"conditional"`, one set per condition,
            selected by `condition_id`; or `"given"` as an input in every call.
        num_conditions: Number of conditions that have chunk embeddings or statistics of their own.
        conditional_statistics: Whether each condition has statistics of the batch normalization
            of its own, selected by `condition_id`. `False` is one set for all.
        output_first: Whether kernels are laid out in the chunks with their output axis first, so
            that the inputs of one unit come from different columns of the head. `False` is the
            plain order of the flat vector.
        chunk_embeddings_initializer: Of the embeddings. `None` is N(0, 1).
        chunk_embeddings_regularizer: Of the embeddings.
        initialization: How the generator starts: `BiasHyperInit`, `HyperFanIn`, `HyperFanOut` or
            `HyperFanHarmonic`, or the name of one. With `BiasHyperInit` a frozen random base is
            added to the chunks. `None` is Keras' defaults for the variables, and uniform in +-0.01
            for the head's kernel.
        unknown: What an id does that no condition has: see `ConditionEmbedding`.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer, and those of
            `WeightGenerator` for the perceptron: `hidden_sizes`, `activation`, `feature_scale`...

    Call arguments:
        conditioning: `(rows, size)`, floating. Or a dict of any of `noise (rows, n)`, `condition
            (rows, c)`, `condition_id (rows,)` and `chunk_embeddings (rows, chunks, size)`, which
            takes the place of the learned ones. Each may have one row for all.
        training: Whether batch normalization and dropout act as in training.

    Returns:
        Flat weights `(rows, total)`.

    Raises:
        TypeError: if the chunk size is no integer, or an input has another dtype.
        ValueError: if the chunk size is below one or above the number of weights, an embedding
            size is below one, both `condition_id` and conditional `chunk_embeddings` are given,
            or what the generator needs is missing.

    Example:

    >>> generator = kh.ChunkedWeightGenerator([(30, 40), (40,)], chunk_size=100, hidden_sizes=[16])
    >>> keras.ops.shape(generator(np.ones((5, 2), "float32")))
    (5, 1240)
    >>> generator.num_chunks, generator.count_params()
    (13, 1980)

    Reference: von Oswald et al., 2020 (https://arxiv.org/abs/1906.00695).
    """

    def __init__(
        self,
        spec,
        chunk_size,
        chunk_embedding_size=8,
        chunk_embeddings="shared",
        num_conditions=None,
        conditional_statistics=False,
        output_first=True,
        chunk_embeddings_initializer=None,
        chunk_embeddings_regularizer=None,
        initialization="bias_hyper_init",
        **kwargs,
    ):
        chunk_size = check_chunk_size("chunk_size", chunk_size, spec)
        layer, arguments = options.of_layer(kwargs, WeightGenerator)
        arguments |= options.of_statistics(conditional_statistics, num_conditions, arguments)
        super().__init__(
            spec,
            chunk_size,
            chunk_embedding_size,
            output_first,
            lambda dtype: WeightGenerator(
                [(chunk_size,)], initialization=None, dtype=dtype, **arguments
            ),
            chunk_embeddings=chunk_embeddings,
            num_conditions=num_conditions,
            conditional_statistics=conditional_statistics,
            chunk_embeddings_initializer=chunk_embeddings_initializer,
            chunk_embeddings_regularizer=chunk_embeddings_regularizer,
            initialization=initialization,
            **layer,
        )

    @classmethod
    def from_config(cls, config):
        return cls(**options.with_feature_scale(config))

    def get_config(self):
        return {
            **options.of_generator(self.chunks.generator),
            **super().get_config(),
            "conditional_statistics": self.conditional_statistics,
            "chunk_size": self.chunk_size,
        }
