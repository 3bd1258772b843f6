"""`ChunkedDeconvWeightGenerator`: one small image generator makes a target chunk by chunk."""

import math

import keras

from keras_hypernet.generators import options
from keras_hypernet.generators.blocks import image_plan
from keras_hypernet.generators.deconv_weight_generator import DeconvWeightGenerator
from keras_hypernet.generators.equal_chunks import EqualChunksGenerator, check_chunk_size


@keras.saving.register_keras_serializable(package="keras_hypernet")
class ChunkedDeconvWeightGenerator(EqualChunksGenerator):
    """Generates a target chunk by chunk, each chunk the pixels of one image.

    `chunk_j = image([noise, embedding_j, condition])`, by the transposed convolutions of
    `DeconvWeightGenerator`; the weights are the pixels of the images one after another, the
    surplus of the last one dropped. All images are made in one batched pass. The generator with the
    fewest parameters, for very large targets; it is slow on a CPU.

    Args:
        spec: The `WeightSpec` of the target, or a list of shapes, or a dict of names to shapes.
        image_shape: `(width, height)` or `(width, height, channels)`: its pixels are one chunk.
        filters, kernel_size, attention: As in `DeconvWeightGenerator`.
        chunk_embedding_size: Width of a chunk's embedding.
        chunk_embeddings: `"shared"` by all conditions; `"conditional"`, one set per condition,
            selected by `condition_id`; or `"given"` as an input in every call.
        num_conditions: Number of conditions that have chunk embeddings of their own.
        output_first: Whether kernels are laid out in the chunks with their output axis first.
            `False`, the plain order of the flat vector, keeps neighbours of a kernel neighbours.
        chunk_embeddings_initializer: Of the embeddings. `None` is N(0, 1).
        chunk_embeddings_regularizer: Of the embeddings.
        initialization: As in `DeconvWeightGenerator`.
        unknown: What an id does that no condition has: see `ConditionEmbedding`.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer, and the other arguments
            of `DeconvWeightGenerator`.

    Call arguments:
        conditioning: `(rows, size)`, floating. Or a dict of any of `noise (rows, n)`, `condition
            (rows, c)`, `condition_id (rows,)` and `chunk_embeddings (rows, chunks, size)`, which
            takes the place of the learned ones. Each may have one row for all.
        training: Whether batch normalization acts as in training.

    Returns:
        Flat weights `(rows, total)`.

    Raises:
        TypeError: on arguments or inputs of another type.
        ValueError: if an image has more pixels than there are weights, both `condition_id` and
            conditional `chunk_embeddings` are given, what the generator needs is missing, or as
            `DeconvWeightGenerator`.

    Example:

    >>> generator = kh.ChunkedDeconvWeightGenerator([(30, 40), (40,)], (8, 8), [8], attention=[0])
    >>> keras.ops.shape(generator(np.ones((5, 2), "float32")))
    (5, 1240)
    >>> generator.num_chunks
    20

    Reference: von Oswald et al., 2020 (https://arxiv.org/abs/1906.00695).
    """

    def __init__(
        self,
        spec,
        image_shape,
        filters=(1024, 512, 256, 128),
        kernel_size=5,
        attention="auto",
        chunk_embedding_size=8,
        chunk_embeddings="shared",
        num_conditions=None,
        output_first=False,
        chunk_embeddings_initializer=None,
        chunk_embeddings_regularizer=None,
        initialization="bias_hyper_init",
        **kwargs,
    ):
        image_shape = image_plan.image_shape_of(image_shape)
        chunk_size = check_chunk_size("pixels of `image_shape`", math.prod(image_shape), spec)
        layer, arguments = options.of_layer(kwargs, DeconvWeightGenerator)

        def image(dtype):
            return DeconvWeightGenerator(
                [(chunk_size,)],
                image_shape,
                filters,
                kernel_size,
                attention,
                initialization=None,
                dtype=dtype,
                **arguments,
            )

        super().__init__(
            spec,
            chunk_size,
            chunk_embedding_size,
            output_first,
            image,
            chunk_embeddings=chunk_embeddings,
            num_conditions=num_conditions,
            chunk_embeddings_initializer=chunk_embeddings_initializer,
            chunk_embeddings_regularizer=chunk_embeddings_regularizer,
            initialization=initialization,
            **layer,
        )

    def initializers(self, initialization):
        return initialization.of_image(self.chunks.generator)

    def get_config(self):
        return {**options.of_generator(self.chunks.generator), **super().get_config()}
