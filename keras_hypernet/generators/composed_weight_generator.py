"""`ComposedWeightGenerator`: several generators and plain tensors make one target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self, Unpack

import keras
from keras import ops

from keras_hypernet.chunking.assembly import Assembly, entries_from_config
from keras_hypernet.conditioning import inputs
from keras_hypernet.generators.composition_checks import (
    PLAIN,
    check_generators,
    check_initializers,
    check_part_inputs,
    check_plain,
    common_num_conditions,
    entries_by_name,
)
from keras_hypernet.generators.generator import Generator
from keras_hypernet.generators.plain_weights import PlainWeights
from keras_hypernet.initializers.bias_hyper_init import BiasHyperInit
from keras_hypernet.utils import checks
from keras_hypernet.utils.types import (
    AssemblyLike,
    Conditioning,
    Config,
    FullShape,
    InitializerLike,
    RegularizerLike,
    Tensor,
)
from keras_hypernet.weights.forms import cast, materialize, split_weights
from keras_hypernet.weights.spec import WeightSpec

if TYPE_CHECKING:
    from keras_hypernet.generators.options import GeneratorArguments
    from keras_hypernet.initializers.initialization import InitializationLike
    from keras_hypernet.weights.spec import SpecLike


@keras.saving.register_keras_serializable(package="keras_hypernet")
class ComposedWeightGenerator(Generator):
    """Puts a target together from several generators, shared tensors and tensors per condition.

    `weights = assembly(generators(inputs), shared, conditional[condition_id])`. Shared and
    conditional tensors are plain variables that start as an ordinary layer's would, by their role.
    For targets whose parts are made differently, such as generated kernels with shared norms.

    Args:
        spec: The `WeightSpec` of the target, or a list of shapes, or a dict of names to shapes.
        generators: Dict `{part: generator}`. They belong to this layer: give them to no other. A
            part may be a composed generator itself, or a `Hypernetwork`, which has learned vectors
            of its own.
        shared: Plain tensors that all conditions share: a `WeightSpec` or what makes one.
        conditional: Plain tensors of which each condition has its own, selected by `condition_id`.
        num_conditions: Number of conditions; by default that of the parts.
        assembly: `{target tensor: piece}`. Pieces are called `part/tensor`, and plain tensors by
            their names. A tensor made of several has `{"join": [pieces], "axis": axis}`. Or a
            function registered with Keras, `{piece: (rows, *shape)} -> {target tensor: (rows,
            *shape)}`. By default each tensor is the piece of its name, a part's name left out.
        part_inputs: Dict `{part: inputs}` of which of `noise` and `condition` a part gets, in
            place of both: `["noise"]`, or `[]` for a part that depends on chunk embeddings only. A
            `Hypernetwork` gets noise if it has a `noise_size`, and the condition in place of its
            own vector only where there are no ids, or it is said here.
        initializers: Dict of Keras initializers for plain tensors, by name or role (`kernel`,
            `bias`, `scale`, ...). By default as in `BiasHyperInit`: a scale starts at 1.
        shared_regularizer, conditional_regularizer: Of the plain tensors.
        initialization: How the generators inside start, in place of their own `initialization`.
            Tensors are named as the target's, or as pieces.
        unknown: What an id does that no condition has, in all parts: see `ConditionEmbedding`. By
            default `"mean"` if that is what a part does.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        conditioning: `(rows, size)`, floating. Or a dict of any of `noise (rows, n)`, `condition
            (rows, c)` and `condition_id (rows,)`, which selects the conditional tensors and goes
            to the parts that have conditions; `<part>/chunk_embeddings` goes to one part. Each
            may have one row for all.
        training: Whether batch normalization and dropout act as in training.

    Returns:
        Flat weights `(rows, total)`.

    Raises:
        TypeError: if a part is no generator, or an input has another dtype.
        ValueError: if there is no part at all, parts have different numbers of conditions, the
            assembly does not cover the target (the tensor is named), or an input is missing.

    Example:

    >>> generator = kh.ComposedWeightGenerator(
    ...     {"dense/kernel": (3, 4), "norm/gamma": (4,), "out/bias": (2,)},
    ...     generators={"body": kh.WeightGenerator({"dense/kernel": (3, 4)}, hidden_sizes=[8])},
    ...     shared={"norm/gamma": (4,)},
    ...     conditional={"out/bias": (2,)},
    ...     num_conditions=5,
    ... )
    >>> conditioning = {"condition": np.ones((2, 3), "float32"), "condition_id": np.array([4, 0])}
    >>> keras.ops.shape(generator(conditioning))
    (2, 18)

    Reference: Ehret et al., hypnettorch, 2021 (https://github.com/chrhenning/hypnettorch).
    """

    def __init__(
        self,
        spec: SpecLike,
        generators: dict[str, Generator] | None = None,
        shared: dict[str, FullShape] | Sequence[FullShape] | None = None,
        conditional: dict[str, FullShape] | Sequence[FullShape] | None = None,
        num_conditions: int | None = None,
        assembly: AssemblyLike | None = None,
        part_inputs: dict[str, str] | None = None,
        initializers: dict[str, InitializerLike] | None = None,
        shared_regularizer: RegularizerLike = None,
        conditional_regularizer: RegularizerLike = None,
        initialization: InitializationLike = None,
        **kwargs: Unpack[GeneratorArguments],
    ) -> None:
        generators = check_generators({} if generators is None else generators)
        if not generators and shared is None and conditional is None:
            raise ValueError(
                "There must be `generators`, `shared` or `conditional` tensors. Received: none"
            )
        regularizers = {"shared": shared_regularizer, "conditional": conditional_regularizer}
        start = BiasHyperInit(initializers)
        check_plain(
            {"shared": shared, "conditional": conditional}, regularizers, start.initializers
        )
        num_conditions = common_num_conditions(num_conditions, generators, conditional)
        if any(generator.unknown == "mean" for generator in generators.values()):
            kwargs = {"unknown": "mean", **kwargs}
        super().__init__(spec, num_conditions=num_conditions, **kwargs)
        self.plain_initialization = start
        self.generators = generators
        self.plain = {}
        for name, tensors in zip(PLAIN, (shared, conditional)):
            if tensors is not None:
                self.plain[name] = self._plain(
                    name, WeightSpec.of(tensors, name), regularizers[name]
                )
        check_initializers(self.plain_initialization.initializers, self.plain)
        self.part_inputs = check_part_inputs({} if part_inputs is None else part_inputs, generators)
        sources = self._sources()
        entries = entries_by_name(self.spec, sources) if assembly is None else assembly
        self.assembly = Assembly(self.spec, sources, entries)
        self._check_plain_are_used()
        self.start_with(initialization)
        for part in (*generators.values(), *self.plain.values()):
            self.adopt(part)

    def _plain(self, name, spec, regularizer):
        return PlainWeights(
            spec,
            self.plain_initialization,
            checks.regularizer(f"{name}_regularizer", regularizer),
            self.num_conditions if name == "conditional" else None,
            self.dtype_policy,
        )

    def _check_plain_are_used(self):
        """A plain tensor that goes nowhere would never be trained."""
        names = [name for plain in self.plain.values() for name in plain.spec.names]
        unused = [name for name in names if name not in self.assembly.used]
        if unused and not self.assembly.function:
            raise ValueError(
                f"`assembly` must use every plain tensor. Received tensors that it does not: "
                f"{unused}"
            )

    def _sources(self):
        """`{piece: shape}`."""
        sources = {}
        for part, generator in (*self.generators.items(), *self.plain.items()):
            for tensor in generator.spec:
                name = tensor.name if part in self.plain else f"{part}/{tensor.name}"
                if name in sources:
                    raise ValueError(
                        "Pieces must have names of their own: parts `part/tensor`, plain tensors "
                        f"their names. Received twice: {name!r}"
                    )
                sources[name] = tensor.shape
        return sources

    @property
    def own_inputs(self):
        return [
            f"{part}/{name}"
            for part, generator in self.generators.items()
            for name in generator.accepted_inputs
            if name not in (*inputs.VECTORS, "condition_id")
        ]

    @property
    def needs_vectors(self):
        return False

    @property
    def ids_beside_vectors(self):
        return "conditional" in self.plain or any(
            generator.ids_beside_vectors or generator.has_vectors
            for generator in self.generators.values()
        )

    @property
    def conditional_variables(self):
        parts = (*self.generators.values(), *self.plain.values())
        return [variable for part in parts for variable in part.conditional_variables]

    def knows_condition(self, given):
        if "condition_id" in given:
            return True
        return "conditional" not in self.plain and all(
            generator.num_conditions is None or generator.knows_condition(self._of(part, given))
            for part, generator in self.generators.items()
        )

    def check_conditioning(self, conditioning):
        super().check_conditioning(conditioning)
        given = inputs.as_dict(conditioning)
        for part, generator in self.generators.items():
            try:
                generator.check_conditioning(self._of(part, given))
            except (TypeError, ValueError) as error:
                raise type(error)(f"Part {part!r}: {error}") from error

    def _of(self, part, given):
        """The inputs of a part, or their shapes."""
        generator = self.generators[part]
        wanted = self.part_inputs.get(part)
        if wanted is None:
            embeds = generator.has_vectors and "condition_id" in given
            not_wanted = ("condition",) if embeds else ()
            accepted = generator.accepted_inputs
            wanted = [n for n in inputs.VECTORS if n in accepted and n not in not_wanted]
        own = {name: given[name] for name in wanted if name in given}
        start = f"{part}/"
        own.update((n.removeprefix(start), x) for n, x in given.items() if n.startswith(start))
        if generator.num_conditions is not None and not generator.knows_condition(own):
            own.update((n, x) for n, x in given.items() if n == "condition_id")
        return own

    def starting_parts(self, initialization=None):
        starts = {} if initialization is None else self._starts(initialization)
        parts = self.generators.items()
        return [pair for name, part in parts for pair in part.starting_parts(starts.get(name))]

    def _pieces_by_name(self):
        """`{name of a piece, or of a target tensor: [pieces that generators make]}`."""
        made = [f"{part}/{t.name}" for part, g in self.generators.items() for t in g.spec]
        entries = {target: entry["join"] for target, entry in self.assembly.entries.items()}
        of_targets = {
            target: [piece for piece in pieces if piece in made]
            for target, pieces in entries.items()
        }
        known = {target: pieces for target, pieces in of_targets.items() if pieces}
        return {**{piece: [piece] for piece in made}, **known}

    def _starts(self, initialization):
        """The initialization of each part, by its own names."""
        pieces = self._pieces_by_name()
        initialization.check_names(pieces)
        return {
            part: initialization.renamed(
                {
                    name: [p.removeprefix(f"{part}/") for p in found if p.startswith(f"{part}/")]
                    for name, found in pieces.items()
                },
                i,
            )
            for i, part in enumerate(self.generators)
        }

    def build(self, conditioning_shape: FullShape | dict[str, FullShape]) -> None:
        given = inputs.as_dict(conditioning_shape)
        for part, generator in self.generators.items():
            if not generator.built:
                generator.build(self._of(part, given))
        for plain in self.plain.values():
            plain.build({})
        super().build(conditioning_shape)

    def call(self, conditioning: Conditioning, training: bool | None = None) -> Tensor:
        given = inputs.as_dict(conditioning)
        made = [
            materialize(generator(self._of(part, given), training=training))
            for part, generator in self.generators.items()
        ]
        made += [plain.call(given) for plain in self.plain.values()]
        # A part may have a dtype policy of its own.
        made = [cast(flat, self.compute_dtype) for flat in made]
        made, pieces = inputs.share_rows(made, witnesses=given.values()), {}
        for part, flat in zip((*self.generators, *self.plain), made):
            spec = (self.generators.get(part) or self.plain[part]).spec
            start = "" if part in self.plain else f"{part}/"
            tensors = split_weights(flat, spec)
            pieces.update((start + name, tensor) for name, tensor in tensors.items())
        return ops.concatenate(self.assembly(pieces), axis=-1)

    def get_config(self) -> Config:
        plain = {name: self.plain[name].spec.get_config() for name in self.plain}
        regularizers = {name: self.plain[name].regularizer for name in self.plain}
        serialize = keras.regularizers.serialize
        config = super().get_config()
        del config["initialization"]  # the generators'
        return {
            **config,
            "generators": {
                part: keras.saving.serialize_keras_object(generator)
                for part, generator in self.generators.items()
            },
            **{name: plain.get(name) for name in PLAIN},
            "num_conditions": self.num_conditions,
            "assembly": self.assembly.get_config(),
            "part_inputs": {part: list(names) for part, names in self.part_inputs.items()},
            "initializers": self.plain_initialization.get_config()["initializers"],
            **{f"{name}_regularizer": serialize(regularizers.get(name)) for name in PLAIN},
        }

    @classmethod
    def from_config(cls, config: Config) -> Self:
        generators = {
            part: keras.saving.deserialize_keras_object(generator)
            for part, generator in config["generators"].items()
        }
        assembly = entries_from_config(config["assembly"])
        return cls(**{**config, "generators": generators, "assembly": assembly})
