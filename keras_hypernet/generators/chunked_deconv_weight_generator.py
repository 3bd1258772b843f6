"""`ChunkedDeconvWeightGenerator`: one small image generator makes a target chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import keras

from keras_hypernet.generators import options
from keras_hypernet.generators.blocks import image_plan
from keras_hypernet.generators.chunked_weight_generator import (
    ChunkedWeightGenerator,
    check_chunk_size,
)
from keras_hypernet.generators.deconv_weight_generator import DeconvWeightGenerator
from keras_hypernet.utils.types import Config, InitializerLike, RegularizerLike

if TYPE_CHECKING:
    from keras_hypernet.generators.options import DeconvArguments
    from keras_hypernet.initializers.initialization import InitializationLike
    from keras_hypernet.weights.spec import SpecLike


@keras.saving.register_keras_serializable(package="keras_hypernet")
class ChunkedDeconvWeightGenerator(ChunkedWeightGenerator):
    """Generates a target chunk by chunk, each chunk the pixels of one image.

    A `ChunkedWeightGenerator` of a `DeconvWeightGenerator`: the weights are the pixels of the
    images one after another, the surplus of the last one dropped. The generator with the fewest
    parameters, for very large targets; it is slow on a CPU.

    Args:
        spec: The `WeightSpec` of the target, or a list of shapes, or a dict of names to shapes.
        image_shape: `(width, height)` or `(width, height, channels)`: its pixels are one chunk.
        filters, kernel_size, attention: As in `DeconvWeightGenerator`.
        chunk_embedding_size, chunk_embeddings, num_conditions: As in `ChunkedWeightGenerator`.
        output_first: Whether kernels are laid out in the chunks with their output axis first.
            `False`, the plain order of the flat vector, keeps neighbours of a kernel neighbours.
        chunk_embeddings_initializer, chunk_embeddings_regularizer: As in `ChunkedWeightGenerator`.
        initialization: As in `DeconvWeightGenerator`.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer, `unknown`, and the other
            arguments of `DeconvWeightGenerator`.

    Call arguments:
        conditioning, training: As in `ChunkedWeightGenerator`.

    Returns:
        Flat weights `(rows, total)`.

    Raises:
        TypeError: on arguments or inputs of another type.
        ValueError: if an image has more pixels than there are weights, or as
            `DeconvWeightGenerator` and `ChunkedWeightGenerator`.

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
        spec: SpecLike,
        image_shape: Sequence[int],
        filters: Sequence[int] = (1024, 512, 256, 128),
        kernel_size: int | Sequence[int] = 5,
        attention: str | Sequence[int] | None = "auto",
        chunk_embedding_size: int = 8,
        chunk_embeddings: str = "shared",
        num_conditions: int | None = None,
        output_first: bool = False,
        chunk_embeddings_initializer: InitializerLike = None,
        chunk_embeddings_regularizer: RegularizerLike = None,
        initialization: InitializationLike = "bias_hyper_init",
        **kwargs: Unpack[DeconvArguments],
    ) -> None:
        image_shape = image_plan.image_shape_of(image_shape)
        chunk_size = check_chunk_size("image_shape", math.prod(image_shape), spec)
        layer, arguments = options.of_layer(kwargs, DeconvWeightGenerator)
        arguments |= {"kernel_size": kernel_size, "attention": attention}
        super().__init__(
            spec,
            chunk_size,
            chunk_embedding_size,
            chunk_embeddings,
            num_conditions,
            output_first=output_first,
            chunk_embeddings_initializer=chunk_embeddings_initializer,
            chunk_embeddings_regularizer=chunk_embeddings_regularizer,
            initialization=initialization,
            generator=lambda spec: DeconvWeightGenerator(
                spec, image_shape, filters, dtype=layer.get("dtype"), **arguments
            ),
            **layer,
        )

    def get_config(self) -> Config:
        config = super().get_config()
        del config["chunk_size"], config["generator"]  # the image's
        return {**config, **options.of_generator(self.chunks.generator)}
