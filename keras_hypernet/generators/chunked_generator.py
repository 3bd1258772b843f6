"""The base of generators that make a target of chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import keras

from keras_hypernet.conditioning import inputs
from keras_hypernet.generators.chunk_set import ChunkSet
from keras_hypernet.generators.generator import Generator
from keras_hypernet.initializers.fresh import fresh
from keras_hypernet.initializers.initialization import InitializationLike
from keras_hypernet.utils import checks
from keras_hypernet.utils.types import Config, InitializerLike, RegularizerLike

if TYPE_CHECKING:
    from keras_hypernet.generators.options import GeneratorArguments
    from keras_hypernet.weights.spec import SpecLike

CHUNK_EMBEDDINGS = ("shared", "conditional", "given")


class ChunkedGenerator(Generator):
    """A generator that makes sets of chunks, each chunk with an embedding of its own.

    Args:
        spec: The `WeightSpec` of the target.
        sets: `{name: (generator of a chunk, number, embedding size)}`; an embedding is given in a
            call under that name.
        chunk_embeddings: `"shared"` by all conditions, `"conditional"` or `"given"`.
        num_conditions: Number of conditions.
        conditional_statistics: Whether each has statistics of batch normalization of its own.
        chunk_embeddings_initializer: Of the embeddings. `None` is N(0, 1), the field's convention.
        chunk_embeddings_regularizer: Of the embeddings.
        initialization, **kwargs: Arguments of a `Generator`.
    """

    def __init__(
        self,
        spec: SpecLike,
        sets: dict,
        chunk_embeddings: str,
        num_conditions: int | None,
        chunk_embeddings_initializer: InitializerLike,
        chunk_embeddings_regularizer: RegularizerLike,
        conditional_statistics: bool = False,
        initialization: InitializationLike = None,
        **kwargs: Unpack[GeneratorArguments],
    ) -> None:
        checks.choice("chunk_embeddings", chunk_embeddings, CHUNK_EMBEDDINGS)
        if chunk_embeddings == "given":
            _refuse_of_own(chunk_embeddings_initializer, chunk_embeddings_regularizer)
        super().__init__(
            spec, num_conditions=num_conditions, initialization=initialization, **kwargs
        )
        if chunk_embeddings_initializer is None and chunk_embeddings != "given":
            chunk_embeddings_initializer = keras.initializers.RandomNormal(stddev=1.0)
        self.chunk_embeddings = chunk_embeddings
        self.conditional_statistics = checks.boolean(
            "conditional_statistics", conditional_statistics
        )
        of_embeddings = checks.from_keras(
            chunk_embeddings_initializer=chunk_embeddings_initializer,
            chunk_embeddings_regularizer=chunk_embeddings_regularizer,
        )
        self.initializer, self.regularizer = of_embeddings.values()
        self.sets = {
            name: ChunkSet(
                generator,
                number,
                embedding_size,
                chunk_embeddings=chunk_embeddings,
                num_conditions=self.num_conditions,
                initializer=fresh(self.initializer),
                regularizer=self.regularizer,
                dtype=self.dtype_policy,
            )
            for name, (generator, number, embedding_size) in sets.items()
        }
        self._check_num_conditions()
        for chunks in self.sets.values():
            for part, _ in chunks.generator.starting_parts():
                part.initialization = None  # the target's tensors start, not a chunk's
            self.adopt(chunks.generator)

    def _check_num_conditions(self):
        conditional = self.chunk_embeddings == "conditional"
        if conditional and self.num_conditions is None:
            raise ValueError(
                "`num_conditions` must be given where chunk embeddings are conditional. "
                "Received: num_conditions=None"
            )
        if self.conditional_statistics and not self._takes_ids_inside:
            raise ValueError(
                "`conditional_statistics=True` needs `batch_normalization=True` and "
                f"`num_conditions`. Received: num_conditions={self.num_conditions}"
            )
        if self.num_conditions is not None and not conditional and not self._takes_ids_inside:
            raise ValueError(
                '`num_conditions` is for `chunk_embeddings="conditional"` and for '
                "`conditional_statistics=True`: nothing else here belongs to a condition. "
                f"Received: num_conditions={self.num_conditions}"
            )

    @property
    def _takes_ids_inside(self):
        """Whether a generator of chunks has something of its own per condition."""
        return any(chunks.generator.num_conditions for chunks in self.sets.values())

    @property
    def num_chunks(self) -> int:
        """Number of chunks; what the last one has too much is dropped."""
        return sum(chunks.number for chunks in self.sets.values())

    @property
    def embedded(self):
        """The sets whose chunks have embeddings, by the name of these as an input."""
        return {name: chunks for name, chunks in self.sets.items() if chunks.embedding_size}

    @property
    def own_inputs(self):
        return tuple(self.embedded)

    @property
    def needs_vectors(self):
        return len(self.embedded) < len(self.sets)

    @property
    def conditional_variables(self):
        found = [chunks.embeddings for chunks in self.embedded.values()]
        found = found if self.chunk_embeddings == "conditional" else []
        inside = (chunks.generator.conditional_variables for chunks in self.sets.values())
        return sum(inside, found)

    def check_conditioning(self, conditioning):
        super().check_conditioning(conditioning)
        given = inputs.as_dict(conditioning)
        for name, chunks in self.embedded.items():
            if name not in given and self.chunk_embeddings == "given":
                raise ValueError(
                    "This generator has no chunk embeddings of its own and needs the input "
                    f"`{name}`. Received: {sorted(given)}"
                )
            if name in given:
                _check_embeddings(name, given, chunks)

    def knows_condition(self, given):
        if "condition_id" in given:
            return True
        return not self._takes_ids_inside and all(name in given for name in self.embedded)

    @property
    def starts_from_base(self):
        return True

    def given_initializers(self):
        found = set()
        for chunks in self.sets.values():
            parts = chunks.generator.starting_parts()
            found = found.union(*(part.given_initializers() for part, _ in parts))
        return found

    def build(self, conditioning_shape):
        super().build(conditioning_shape)
        for chunks in self.sets.values():
            chunks.build_for(self.input_sizes)

    def generate(self, conditioning, training):
        """Inputs -> `{name of a set: (rows, number, outputs)}`."""
        given = inputs.as_dict(conditioning)
        return {
            name: chunks.generate(given, given.get(name), training=training)
            for name, chunks in self.sets.items()
        }

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "chunk_embeddings": self.chunk_embeddings,
            "num_conditions": self.num_conditions,
            "chunk_embeddings_initializer": keras.initializers.serialize(self.initializer),
            "chunk_embeddings_regularizer": keras.regularizers.serialize(self.regularizer),
        }


def _refuse_of_own(initializer, regularizer):
    for name, value in (("initializer", initializer), ("regularizer", regularizer)):
        if value is not None:
            raise ValueError(
                f"`chunk_embeddings_{name}` is of embeddings that the generator has, and with "
                '`chunk_embeddings="given"` it has none: leave it out. '
                f"Received: chunk_embeddings_{name}={value!r}"
            )


def _check_embeddings(name, given, chunks):
    if chunks.chunk_embeddings == "conditional" and "condition_id" in given:
        raise ValueError(
            f"Either `condition_id` or `{name}` says what the chunk embeddings are: give one of "
            "them."
        )
    expected, received = (chunks.number, chunks.embedding_size), tuple(given[name].shape)
    if received[1:] != expected:
        raise ValueError(
            f"`{name}` must be (rows, chunks, size) = (rows, {expected[0]}, {expected[1]}). "
            f"Received: shape {received}"
        )
