"""`ChunkedWeightGenerator`: one small generator makes a target chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Self, Unpack

import keras
from keras import ops

from keras_hypernet.conditioning import inputs
from keras_hypernet.generators import options
from keras_hypernet.generators.chunked_generator import ChunkedGenerator
from keras_hypernet.generators.generator import check_inside, conditions_around, made_of
from keras_hypernet.generators.weight_generator import WeightGenerator
from keras_hypernet.utils import checks
from keras_hypernet.utils.types import (
    Conditioning,
    Config,
    InitializerLike,
    RegularizerLike,
    Tensor,
)
from keras_hypernet.weights.forms import from_output_first
from keras_hypernet.weights.spec import WeightSpec
from keras_hypernet.weights.weight_tensor import ROLES

if TYPE_CHECKING:
    from keras_hypernet.generators.chunk_set import ChunkSet
    from keras_hypernet.generators.generator import Generator
    from keras_hypernet.generators.options import PerceptronArguments
    from keras_hypernet.initializers.initialization import InitializationLike
    from keras_hypernet.weights.spec import SpecLike

ZEROS = dict.fromkeys(ROLES, "zeros")


@keras.saving.register_keras_serializable(package="keras_hypernet")
class ChunkedWeightGenerator(ChunkedGenerator):
    """Generates a target chunk by chunk with one small generator, by default a perceptron.

    `chunk_j = generator([noise, embedding_j, condition])`; the weights are the chunks one after
    another, the surplus of the last one dropped. Each chunk has a learned embedding. All chunks are
    made in one batched pass; where the generator's first step is a layer, inputs are not repeated
    for them, so that beside its output a pass keeps the hidden activations of the perceptron
    (`rows x chunks x width`) and nothing else of that size. It has about as many parameters as a
    chunk has weights, times the last hidden width: for large targets of any kind.

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
        generator: What makes a chunk in place of the perceptron: a function of the `WeightSpec` of
            one chunk, such as `lambda spec: kh.DeconvWeightGenerator(spec, ...)`, or a generator of
            `chunk_size` weights, which then belongs to this layer. It gets noise, chunk embedding
            and condition joined as its `condition`, and `condition_id` where it has conditions.
            The `initialization` here takes the place of its own: one of hyperfan only for a
            `WeightGenerator`.
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
        TypeError: if the chunk size is no integer, `generator` makes none, or an input has another
            dtype.
        ValueError: if the chunk size is below one or above the number of weights, an embedding
            size is below one, both `condition_id` and conditional `chunk_embeddings` are given,
            what the generator needs is missing, or `generator` makes one of other weights or other
            conditions, that is built or owned already, or that needs other inputs.

    Example:

    >>> generator = kh.ChunkedWeightGenerator([(30, 40), (40,)], chunk_size=100, hidden_sizes=[16])
    >>> keras.ops.shape(generator(np.ones((5, 2), "float32")))
    (5, 1240)
    >>> generator.num_chunks, generator.count_params()
    (13, 1980)
    >>> image = lambda spec: kh.DeconvWeightGenerator(spec, (10, 10), [8], attention=[])
    >>> generator = kh.ChunkedWeightGenerator([(30, 40), (40,)], chunk_size=100, generator=image)

    Reference: von Oswald et al., 2020 (https://arxiv.org/abs/1906.00695).
    """

    def __init__(
        self,
        spec: SpecLike,
        chunk_size: int,
        chunk_embedding_size: int = 8,
        chunk_embeddings: str = "shared",
        num_conditions: int | None = None,
        conditional_statistics: bool = False,
        output_first: bool = True,
        chunk_embeddings_initializer: InitializerLike = None,
        chunk_embeddings_regularizer: RegularizerLike = None,
        initialization: InitializationLike = "bias_hyper_init",
        generator: Generator | Callable[[WeightSpec], Generator] | None = None,
        **kwargs: Unpack[PerceptronArguments],
    ) -> None:
        spec = WeightSpec.of(spec)
        chunk_size = check_chunk_size("chunk_size", chunk_size, spec)
        embedding_size = checks.positive_int("chunk_embedding_size", chunk_embedding_size)
        output_first = checks.boolean("output_first", output_first)
        layer, arguments = options.of_layer(kwargs, WeightGenerator)
        if generator is None:
            arguments |= options.of_statistics(conditional_statistics, num_conditions, arguments)
            generator = partial(WeightGenerator, dtype=layer.get("dtype"), **arguments)
        elif arguments or conditional_statistics:
            name = next(iter(arguments), "conditional_statistics")
            raise ValueError(
                f"`{name}` is of the perceptron, and `generator` says what makes a chunk: give it "
                f"to that, or leave one of them out. Received: generator={generator!r}"
            )
        of_chunk = _of_a_chunk(generator, chunk_size)
        number = -(-spec.total // chunk_size)
        super().__init__(
            spec,
            {"chunk_embeddings": (of_chunk, number, embedding_size)},
            chunk_embeddings=chunk_embeddings,
            num_conditions=conditions_around(of_chunk, num_conditions),
            conditional_statistics=conditional_statistics,
            chunk_embeddings_initializer=chunk_embeddings_initializer,
            chunk_embeddings_regularizer=chunk_embeddings_regularizer,
            initialization=initialization,
            **{"unknown": of_chunk.unknown, **layer},
        )
        self.chunk_size = chunk_size
        self.chunk_embedding_size = embedding_size
        self.output_first = output_first

    @property
    def chunks(self) -> ChunkSet:
        """The set of all chunks."""
        return self.sets["chunk_embeddings"]

    def initializers(self, initialization):
        generator = self.chunks.generator
        if isinstance(generator, WeightGenerator):
            return initialization.of_chunks(self.chunks, self.spec, self.input_sizes)
        if not initialization.has_base:
            raise ValueError(
                f"`{type(initialization).__name__}` is for chunks of a `WeightGenerator`, whose "
                "weights come from one linear head. Use `BiasHyperInit` for this generator. "
                f"Received: {type(generator).__name__}"
            )
        # What is added to the base starts at zero.
        return generator.initializers(initialization.copy(initializers=ZEROS))

    def call(self, conditioning: Conditioning, training: bool | None = None) -> Tensor:
        chunks = self.generate(conditioning, training)["chunk_embeddings"]
        flat = ops.reshape(chunks, (-1, self.num_chunks * self.chunk_size))
        flat = flat[:, : self.spec.total]
        flat = from_output_first(flat, self.spec) if self.output_first else flat
        return self.plus_base(flat)

    @classmethod
    def from_config(cls, config: Config) -> Self:
        if "generator" in config:
            generator = keras.saving.deserialize_keras_object(config["generator"])
            return cls(**{**config, "generator": generator})
        return cls(**options.with_feature_scale(config))  # of an older file

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "chunk_size": self.chunk_size,
            "chunk_embedding_size": self.chunk_embedding_size,
            "output_first": self.output_first,
            "generator": options.serialized(self.chunks.generator),
        }


def check_chunk_size(argument, size, spec):
    """A chunk has at least one weight and at most those of the target."""
    size, total = checks.positive_int(argument, size), WeightSpec.of(spec).total
    if size > total:
        raise ValueError(
            f"`{argument}` must not be more than the target's number of weights ({total}). "
            f"Received: {size} weights in a chunk"
        )
    return size


def _of_a_chunk(generator, size):
    """The generator of one chunk, from a function of its spec or from itself."""
    generator = made_of(generator, WeightSpec.of([(size,)]))
    check_inside(generator)
    if generator.built or generator.spec.total != size:
        raise ValueError(
            f"`generator` must be one that is not built yet, of `chunk_size={size}` weights: make "
            "it of the spec that it is given. Received: "
            f"{generator.name}, of {generator.spec.total} weights, built={generator.built}"
        )
    given = {"condition": inputs.stand_in("condition", (None, None), generator.compute_dtype)}
    if generator.num_conditions is not None:
        given["condition_id"] = inputs.stand_in("condition_id", (None,), "int32")
    try:
        generator.check_conditioning(given)
    except (TypeError, ValueError) as error:
        raise type(error)(
            "`generator` must do with one vector for a chunk, its `condition`, and with ids where "
            f"it has conditions: {error}"
        ) from error
    return generator
