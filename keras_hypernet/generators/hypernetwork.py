"""`Hypernetwork`: ids, condition vectors and noise in front of a generator."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Self, Unpack

import keras
from keras import ops

from keras_hypernet.conditioning import inputs
from keras_hypernet.conditioning.condition_embedding import ConditionEmbedding
from keras_hypernet.conditioning.ids import look_up, rows_of
from keras_hypernet.generators.generator import Generator, check_inside, conditions_around
from keras_hypernet.utils import checks, keras_internals, naming
from keras_hypernet.utils.functional_call import functional_call, replacements
from keras_hypernet.utils.types import (
    Conditioning,
    Config,
    InitializerLike,
    RegularizerLike,
    Shape,
    Tensor,
    Weights,
)
from keras_hypernet.weights.forms import factored_shapes, materialize, specs_of
from keras_hypernet.weights.layer_tensors import tensor_of_variable
from keras_hypernet.weights.spec import WeightSpec

if TYPE_CHECKING:
    from keras_hypernet.generators.options import GeneratorArguments
    from keras_hypernet.initializers.initialization import InitializationLike

GROUPS = ("unconditional", "conditional")


@keras.saving.register_keras_serializable(package="keras_hypernet")
class Hypernetwork(Generator):
    """A generator together with the learned vectors of its conditions.

    `weights = generator([noise, condition])`, with `condition = embedding[condition_id]` where
    an id is given. What belongs to single conditions (their vectors, conditional chunk
    embeddings, conditional tensors) has a row for each; the rest is shared.

    Args:
        generator: The generator. It belongs to this layer: give it to no other.
        num_conditions: Number of conditions; by default that of the generator.
        embedding_size: Width of a condition's vector; 8 by default. 0 for none, where the
            generator itself has something per condition.
        noise_size: Width of the noise; 0 for none.
        embeddings_initializer: Of the vectors. `None` is N(0, 1), the field's convention.
        embeddings_regularizer: Of the vectors.
        initialization: How the generator inside starts, in place of its own `initialization`.
        once_per_condition: Whether ids run the generator over all conditions, and select among
            their weights, whatever the size of the batch. Batch normalization and dropout inside
            then see conditions, each once and equally, instead of samples. `"auto"` does so where
            there are fewer conditions than the generator has features (its last hidden width), or
            where it has none: then it pays.
        factored: Whether to return `{"features", "basis", "offset"}` in place of their product, as
            in `WeightGenerator`. Once per condition, features are `one_hot(ids)` and the basis is
            the weights of all conditions; else they are the generator's own.
        unknown: What an id does that no condition has, in all parts: see `ConditionEmbedding`. Its
            mean is that of the vectors, or of the weights where the generator runs once per
            condition. By default that of the generator.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        conditioning: Ids `(rows,)`, of an integer dtype, an integer or a list of integers; or
            condition vectors `(rows, size)`; or a dict of `condition_id` or `condition`,
            `noise (rows, noise_size)` and other inputs of the generator. Each may have one row for
            all. Both id and vector only go to a composed generator, where the id selects plain
            tensors and the vector feeds the parts.
        variables: Dict of tensors to run with in place of variables: all `"unconditional"` or all
            `"conditional"` ones, flat `(1, total)` in the order of `unconditional_spec` and
            `conditional_spec`; or single ones by the names in these. A hypernetwork can so be the
            target of another one. Freeze variables that are always given
            (`variable.trainable = False`): they have no gradient.
        factored: Overrides the constructor's `factored` for this call.
        training: Whether the generator acts as in training.

    Returns:
        Flat weights `(rows, total)`, or with `factored=True` the dict `{"features": (rows, k),
        "basis": (k, total), "offset": (total,)}`.

    Raises:
        TypeError: if the generator is none, or an input has another dtype.
        ValueError: if the generator has another number of conditions, noise is missing, not
            wanted or of another width, both id and vector are given, ids are out of range where
            their values can be read, or weights cannot be factored.

    Example:

    >>> generator = kh.WeightGenerator([(3, 4), (4,)], hidden_sizes=[32])
    >>> hyper = kh.Hypernetwork(generator, num_conditions=10)
    >>> keras.ops.shape(hyper(np.array([7, 7, 2])))
    (3, 16)

    Reference: von Oswald et al., 2020 (https://arxiv.org/abs/1906.00695).
    """

    embeds_ids = True

    def __init__(
        self,
        generator: Generator,
        num_conditions: int | None = None,
        embedding_size: int | None = None,
        noise_size: int = 0,
        embeddings_initializer: InitializerLike = None,
        embeddings_regularizer: RegularizerLike = None,
        initialization: InitializationLike = None,
        once_per_condition: bool | str = False,
        factored: bool = False,
        **kwargs: Unpack[GeneratorArguments],
    ) -> None:
        check_inside(generator)
        own, num_conditions = generator.num_conditions, conditions_around(generator, num_conditions)
        default = 0 if num_conditions is None else 8
        embedding_size = default if embedding_size is None else embedding_size
        embedding_size = checks.count("embedding_size", embedding_size)
        _check_vectors(
            num_conditions,
            embedding_size,
            embeddings_initializer=embeddings_initializer,
            embeddings_regularizer=embeddings_regularizer,
        )
        if num_conditions is not None and own is None and embedding_size == 0:
            raise ValueError(
                "`embedding_size` may be 0 only where the generator has something per condition: "
                "else all conditions would be equal. Received: embedding_size=0"
            )
        noise_size = checks.count("noise_size", noise_size)
        factored = checks.boolean("factored", factored)
        if isinstance(once_per_condition, str):
            checks.choice("once_per_condition", once_per_condition, (False, True, "auto"))
        else:
            once_per_condition = checks.boolean("once_per_condition", once_per_condition)
        if once_per_condition and (num_conditions is None or noise_size):
            raise ValueError(
                "`once_per_condition` is for weights that depend on ids alone: it needs "
                "`num_conditions`, and `noise_size=0`. Received: "
                f"once_per_condition={once_per_condition!r}, num_conditions={num_conditions}, "
                f"noise_size={noise_size}"
            )
        kwargs = {"unknown": generator.unknown, **kwargs}
        super().__init__(generator.spec, num_conditions=num_conditions, **kwargs)
        self.generator = generator
        self.embedding_size = embedding_size
        self.noise_size = noise_size
        self.once_per_condition = once_per_condition
        self.factored = factored
        self.embedding = None
        if num_conditions is not None and embedding_size:
            self.embedding = ConditionEmbedding(
                num_conditions,
                embedding_size,
                embeddings_initializer=embeddings_initializer,
                embeddings_regularizer=embeddings_regularizer,
                dtype=self.dtype_policy,
                name="embedding",
            )
            self.adopt(self.embedding)
        generator.start_with(initialization)
        self.adopt(generator)

    # What there is.

    @property
    def weight_spec(self) -> WeightSpec:
        """The `WeightSpec` of the weights that are generated."""
        return self.spec

    @property
    def conditional_variables(self) -> list[keras.Variable]:
        """Trainable variables with a row for every condition."""
        return self._trainable_where(conditional=True)

    @property
    def unconditional_variables(self) -> list[keras.Variable]:
        """Trainable variables that all conditions share."""
        return self._trainable_where(conditional=False)

    def _trainable_where(self, conditional):
        tables = [] if self.embedding is None else [self.embedding.table.embeddings]
        wanted = {id(v) for v in [*tables, *self.generator.conditional_variables]}
        return [v for _, v in keras_internals.parameters(self) if (id(v) in wanted) == conditional]

    def named_variables(self) -> dict[str, keras.Variable]:
        """`{name: trainable variable}`, by names that are the same in every process.

        `variables=` and the arguments of `output_regularizer` take tensors by these names.
        """
        wanted = {id(v) for _, v in keras_internals.parameters(self)}
        return {n: v for n, v in naming.named_variables(self).items() if id(v) in wanted}

    @property
    def conditional_spec(self) -> WeightSpec:
        """The `WeightSpec` of the conditional variables: their names, shapes and roles."""
        return self._spec_of(self.conditional_variables)

    @property
    def unconditional_spec(self) -> WeightSpec:
        """The `WeightSpec` of the unconditional variables: their names, shapes and roles."""
        return self._spec_of(self.unconditional_variables)

    def _spec_of(self, variables):
        wanted = {id(v) for v in variables}
        names = {id(v): name for name, v in self.named_variables().items()}
        return WeightSpec(
            [
                dataclasses.replace(tensor_of_variable(owner, v), name=names[id(v)])
                for owner, v in keras_internals.parameters(self)
                if id(v) in wanted
            ]
        )

    @property
    def has_vectors(self):
        return self.embedding is not None

    @property
    def ids_beside_vectors(self):
        return self.generator.ids_beside_vectors

    @property
    def accepted_inputs(self):
        ids = () if self.num_conditions is None else ("condition_id",)
        noise = ("noise",) if self.noise_size else ()
        others = [n for n in self.generator.accepted_inputs if n not in ("noise", "condition_id")]
        return (*noise, *ids, *others)

    def starting_parts(self, initialization=None):
        return self.generator.starting_parts(initialization)

    # Inputs.

    def __call__(self, conditioning, *args, **kwargs):
        given = inputs.by_name(conditioning)
        self._check_form(given, self._is(kwargs.get("factored")))
        return super().__call__(given, *args, **kwargs)

    def _check_form(self, given, factored):
        """Raises where weights of such inputs cannot be factored."""
        flat = self.generator.features_size(1) is None
        if factored and flat and not self.runs_once_per_condition(given):
            raise ValueError(
                "`factored=True` needs a `WeightGenerator` inside, or `once_per_condition=True` "
                f"and ids alone. Received: {type(self.generator).__name__}, the inputs "
                f"{sorted(given)}, once_per_condition={self.once_per_condition!r}"
            )

    def check_conditioning(self, conditioning):
        given = inputs.as_dict(conditioning)
        if "condition_id" in given and self.num_conditions is None:
            raise ValueError(
                "Ids need conditions: give the hypernetwork its `num_conditions`. "
                f"Received: {sorted(given)}"
            )
        inputs.check(conditioning, self.accepted_inputs, self.num_conditions, self.unknown)
        if self.noise_size and "noise" not in given:
            raise ValueError(
                f"`noise` of width {self.noise_size} is missing. Received: {sorted(given)}"
            )
        if self.noise_size:
            checks.last_axis("noise", given["noise"].shape, self.noise_size)
        if "condition" in given and "condition_id" in given and not self.ids_beside_vectors:
            raise ValueError(
                "Either `condition_id` or `condition` says what the condition is: give one of "
                "them. (Both only where a composed generator has tensors per condition.)"
            )
        if self.embedding is not None:
            if not {"condition", "condition_id"} & set(given):
                raise ValueError(
                    f"`condition_id` or `condition` is missing. Received: {sorted(given)}"
                )
            if "condition" in given:
                checks.last_axis("condition", given["condition"].shape, self.embedding_size)
        self.generator.check_conditioning(self._inside(given, self._vector_stand_in))

    def knows_condition(self, given):
        return "condition_id" in given or self.generator.knows_condition(given)

    def _vector_stand_in(self, ids):
        shape = (ids.shape[0], self.embedding_size)
        return inputs.stand_in("condition", shape, self.compute_dtype)

    def _inside(self, given, embed):
        """The generator's own inputs; `embed` makes condition vectors of ids."""
        inside = {name: x for name, x in given.items() if name != "condition_id"}
        if "condition_id" in given:
            ids = given["condition_id"]
            if self.embedding is not None and "condition" not in given:
                inside["condition"] = embed(ids)
            if self.generator.num_conditions is not None:
                inside["condition_id"] = ids
        return inside

    def build(
        self,
        conditioning_shape: Shape | dict[str, Shape],
        variables_shape: dict[str, Shape] | None = None,
    ) -> None:
        shapes = inputs.shapes_by_name(conditioning_shape)
        if self.embedding is not None:
            self.embedding.build((None,))
            shapes.setdefault("condition", (None, self.embedding_size))
        if not self.generator.built:
            if self.generator.num_conditions is None:
                shapes.pop("condition_id", None)
            self.generator.build(shapes)

    def call(
        self,
        conditioning: Conditioning,
        variables: dict[str, Tensor] | None = None,
        factored: bool | None = None,
        training: bool | None = None,
    ) -> Weights:
        def run():
            return self._generated(inputs.by_name(conditioning), self._is(factored), training)

        if variables is None:
            return run()
        groups = {name: getattr(self, f"{name}_variables") for name in GROUPS}
        pairs = replacements(variables, groups, self.named_variables())
        return functional_call(self, pairs, run)

    def _generated(self, given, factored, training):
        if not self.runs_once_per_condition(given):
            inside = self._inside(given, self.embedding)
            if factored:
                return self.generator(inside, factored=True, training=training)
            return materialize(self.generator(inside, training=training))
        ids, number = given["condition_id"], self.num_conditions
        every = {"condition_id": ops.arange(number, dtype="int32")}
        every = self._inside(every, lambda ids: self.embedding.table(ids))
        weights = materialize(self.generator(every, training=training))  # (conditions, total)
        if not factored:
            return rows_of(weights, ids)
        return {
            "basis": weights,
            "features": look_up(lambda ids: ops.one_hot(ids, number), number, ids),
            "offset": ops.zeros((self.spec.total,)),
        }

    def runs_once_per_condition(self, given: Conditioning) -> bool:
        """Whether inputs of these names run the generator over conditions, rather than rows."""
        if not self.once_per_condition or set(given) != {"condition_id"}:
            return False
        features = self.generator.features_size(self.embedding_size)
        auto = features is None or self.num_conditions < features
        return auto or self.once_per_condition is True

    def _is(self, factored):
        return self.factored if factored is None else checks.boolean("factored", factored)

    def compute_output_shape(
        self,
        conditioning_shape: Shape | dict[str, Shape],
        variables_shape: dict[str, Shape] | None = None,
    ) -> Shape | dict[str, Shape]:
        return self._output_shape(inputs.shapes_by_name(conditioning_shape), self.factored)

    def compute_output_spec(self, conditioning, variables=None, factored=None, training=None):
        shapes = {name: x.shape for name, x in inputs.by_name(conditioning).items()}
        return specs_of(self._output_shape(shapes, self._is(factored)), self.compute_dtype)

    def _output_shape(self, shapes, factored):
        rows, features = inputs.rows(shapes), self.num_conditions
        if not factored:
            return rows, self.spec.total
        if not self.runs_once_per_condition(shapes):
            condition = shapes.get("condition", (rows, self.embedding_size))
            features = self.generator.features_size(self.noise_size + condition[-1])
        return factored_shapes(rows, features, self.spec.total)

    def get_config(self) -> Config:
        config = super().get_config()
        del config["spec"], config["initialization"]  # the generator's
        table = {} if self.embedding is None else self.embedding.get_config()
        names = ("embeddings_initializer", "embeddings_regularizer")
        return {
            **config,
            "generator": keras.saving.serialize_keras_object(self.generator),
            "num_conditions": self.num_conditions,
            "embedding_size": self.embedding_size,
            "noise_size": self.noise_size,
            "once_per_condition": self.once_per_condition,
            "factored": self.factored,
            **{name: table.get(name) for name in names},
        }

    @classmethod
    def from_config(cls, config: Config) -> Self:
        generator = keras.saving.deserialize_keras_object(config["generator"])
        return cls(**{**config, "generator": generator})


def _check_vectors(num_conditions, embedding_size, **given):
    """What is of the conditions' vectors has no meaning without these."""
    if num_conditions is None:
        given, needed = {**given, "embedding_size": embedding_size or None}, "`num_conditions`"
    elif embedding_size == 0:
        needed = "an `embedding_size` above 0"
    else:
        return
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"`{name}` is of the vectors of conditions, which need {needed}: give it, or leave "
                f"`{name}` out. Received: {name}={value!r}, num_conditions={num_conditions}, "
                f"embedding_size={embedding_size}"
            )
