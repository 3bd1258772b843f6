"""The base of all generators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, Unpack

import keras
import numpy as np
from keras import ops

from keras_hypernet.conditioning import capacity, inputs
from keras_hypernet.conditioning.ids import UNKNOWN, IdWatch
from keras_hypernet.initializers import initializations
from keras_hypernet.utils import backend, checks, keras_internals, naming
from keras_hypernet.utils.files import some_of
from keras_hypernet.utils.trainable_flags import CompositeLayer
from keras_hypernet.utils.types import Config, LayerArguments
from keras_hypernet.weights import forms
from keras_hypernet.weights.spec import WeightSpec

if TYPE_CHECKING:
    from keras_hypernet.initializers.initialization import InitializationLike
    from keras_hypernet.weights.spec import SpecLike

BASE = "base"  # entry of a file: some of the numbers of a base, to know it by


class Generator(CompositeLayer):
    """A layer that maps a conditioning to the weights of a target.

    A conditioning is a tensor `(rows, size)`, or a dict of the inputs that the generator is made
    for: `noise`, `condition`, and where it has something of its own per condition, `condition_id`.

    Args:
        spec: The `WeightSpec` of the target, or a list of shapes, or a dict of names to shapes.
        num_conditions: Number of conditions that the generator keeps something of its own for.
        initialization: How the generator starts: an `Initialization`, its name, or `None` for the
            initializers of the variables alone.
        unknown: What an id does that no condition has: see `ConditionEmbedding`.
    """

    embeds_ids = False  # whether it is of a class with embeddings of conditions in front

    def __init__(
        self,
        spec: SpecLike,
        num_conditions: int | None = None,
        initialization: InitializationLike = None,
        unknown: str = "error",
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        spec = WeightSpec.of(spec)
        if num_conditions is not None:
            num_conditions = checks.positive_int("num_conditions", num_conditions)
        checks.choice("unknown", unknown, UNKNOWN)
        if unknown == "mean" and num_conditions is None:
            raise ValueError(
                "`unknown` is for generators that take ids, which have `num_conditions`. "
                "Received: unknown='mean', num_conditions=None"
            )
        super().__init__(**kwargs)
        self.spec = spec
        self.unknown = unknown
        self.watch = None if num_conditions is None else IdWatch(num_conditions, self.name)
        self.num_conditions = num_conditions
        self.initialization = initializations.get(initialization)
        self.base = None
        self.input_sizes = {}  # of the vectors it was built for
        self.owned = False  # whether it is part of another layer

    @property
    def accepted_inputs(self):
        """Names of the inputs that a call takes."""
        ids = () if self.num_conditions is None else ("condition_id",)
        return (*inputs.VECTORS, *ids, *self.own_inputs)

    @property
    def own_inputs(self):
        """Names of the inputs beside vectors and ids."""
        return ()

    @property
    def needs_vectors(self):
        """Whether a call needs noise or a condition."""
        return True

    @property
    def starts_from_base(self):
        """Whether no variable of this generator can hold a start for every weight."""
        return False

    def initializers(self, initialization):
        """`[(layer, variable, initializer)]` that an initialization gives this generator."""
        parts = self.starting_parts(initialization)
        return [slot for part, start in parts for slot in part.initializers(start)]

    def given_initializers(self):
        """`{(id of a layer, variable)}` whose initializers were given, one by one."""
        return set()

    def starting_parts(self, initialization=None):
        """`[(generator inside, or itself, what an initialization is to it)]`."""
        return [(self, initialization)]

    def check_start(self, initialization):
        """Raises on an initialization that names other tensors than there are."""
        initialization.check_names(self.spec.names)

    def start_with(self, initialization):
        """Takes an initialization, or `None` for its own, before it is built."""
        initialization = initializations.get(initialization)
        if initialization is None:
            return
        parts = self.starting_parts(initialization)
        for part, start in parts:
            if part.built:
                raise ValueError(
                    "`initialization` must be given before a generator is built; `kh.initialize` "
                    f"draws a built one once more. Received: {part.name}"
                )
            part.check_start(start)
        for part, start in parts:
            part.initialization = start

    @property
    def first(self):
        """The first step, affine: what it makes of a sum is the sum of what it makes."""
        return _identity

    def after_first(self, y, condition_id=None, training=None):
        """From what `first` made of the joined inputs, `(rows, size)`, to flat weights."""
        ids = {} if condition_id is None else {"condition_id": condition_id}
        return forms.materialize(self({"condition": y, **ids}, training=training))

    def features_size(self, conditioning_size):
        """Number of features in factored weights; `None` where weights are flat."""
        return None

    @property
    def ids_beside_vectors(self):
        """Whether an id has a meaning beside a condition vector."""
        return False

    @property
    def has_vectors(self):
        """Whether it has learned vectors of conditions in front."""
        return False

    @property
    def conditional_variables(self) -> list[keras.Variable]:
        """Trainable variables with a row for every condition."""
        return []

    def __call__(self, conditioning, *args, **kwargs):
        if not self.owned and not inputs.as_dict(conditioning):
            raise ValueError(
                "There must be an input in `conditioning`, for the number of rows. Received: {}"
            )
        conditioning = inputs.with_ids(conditioning)
        self.check_conditioning(conditioning)
        naming.check_paths()
        ids = inputs.as_dict(conditioning).get("condition_id")
        if ids is not None and not self.owned and self.unknown == "error":
            self.watch.notice(ids)
        weights = super().__call__(conditioning, *args, **kwargs)
        # Parts may have another dtype policy, and Keras' own layers make float32 of some float64.
        return forms.cast(weights, self.compute_dtype)

    def adopt(self, part):
        """Makes a generator, or an embedding of conditions, a part of this one.

        It is then this one that says what unknown ids do, and that watches for them.
        """
        for layer in keras_internals.layers_in(part):
            if hasattr(layer, "unknown"):
                layer.owned, layer.unknown = True, self.unknown

    def check_conditioning(self, conditioning):
        """Raises on an input that this generator does not take, before anything is built."""
        inputs.check(conditioning, self.accepted_inputs, self.num_conditions, self.unknown)
        given = inputs.as_dict(conditioning)
        if self.needs_vectors and not set(given) & set(inputs.VECTORS):
            raise ValueError(
                f"This generator needs `noise` or a `condition`. Received: {sorted(given)}"
            )
        if self.num_conditions is not None and not self.knows_condition(given):
            raise ValueError(
                f"This generator has {self.num_conditions} conditions and needs `condition_id`. "
                f"Received: {sorted(given)}"
            )
        if self.built:
            inputs.check_sizes(conditioning, self.input_sizes)

    def knows_condition(self, given):
        """Whether inputs say what the generator's own tensors per condition are."""
        return "condition_id" in given

    def with_conditions(self, num_conditions: int, start: str = "initializer") -> Self:
        """A new layer with room for more conditions and the values of this one.

        It has this one's name. `kh.with_conditions` puts it into a model around it.

        Args:
            num_conditions: New number of conditions, not below the old one.
            start: What a new condition has at first. `"initializer"`: what initializers give.
                `"mean"`: the mean of the old conditions, in all that there is a row of for each:
                vectors, chunk embeddings, tensors, and statistics of batch normalization.
        """
        return capacity.with_conditions(self, num_conditions, start)

    def build(self, conditioning_shape):
        self.input_sizes = inputs.sizes(inputs.as_dict(conditioning_shape))
        if self.initialization is None:
            return
        self.check_start(self.initialization)
        if self.initialization.has_base and self.starts_from_base:
            base = self.initialization.base(self.spec)
            self.base = keras_internals.constant(base) if base.any() else None
        given = self.given_initializers()
        for layer, variable, initializer in self.initializers(self.initialization):
            if (id(layer), variable) not in given:
                setattr(layer, f"{variable}_initializer", initializer)

    def plus_base(self, weights):
        """Flat weights `(rows, total)`, the frozen base added where there is one."""
        if self.base is None:
            return weights
        return weights + ops.convert_to_tensor(backend.in_graph(self.base), weights.dtype)

    def base_sample(self):
        """A few of the numbers of the frozen base, to know it by; `None` where there is none."""
        if self.base is None:
            return None
        return ops.convert_to_numpy(some_of(self.base, 32))

    def check_base(self, of_file):
        """Raises where the base that weights were saved with, known by a sample, is another one."""
        own = self.base_sample()
        both = own is not None and of_file is not None
        equal = both and np.allclose(own, of_file, rtol=1e-4, atol=1e-6)
        if not equal and (own is not None or of_file is not None):
            raise ValueError(
                "Weights are what a generator adds to its frozen base, and must be loaded into one "
                "with the same base: give it the `initialization` of the one that was saved (with "
                "its `seed`, if it had one; `None` if it had no base), or load the whole model as "
                f"`.keras`. Received: {self.name}, {'with' if own is not None else 'without'} a "
                f"base, a file {'with' if of_file is not None else 'without'} one"
            )

    def save_own_variables(self, store):
        super().save_own_variables(store)
        if self.base is not None:
            store[BASE] = self.base_sample()

    def load_own_variables(self, store):
        values = dict(store)  # by its keys
        self.check_base(values.pop(BASE, None))
        super().load_own_variables(values)

    def compute_output_shape(self, conditioning_shape):
        return (inputs.rows(inputs.as_dict(conditioning_shape)), self.spec.total)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "spec": self.spec.get_config(),
            "initialization": initializations.serialize(self.initialization),
            **({} if self.num_conditions is None else {"unknown": self.unknown}),
        }


def made_of(generator, spec, argument="generator"):
    """What a function of a spec returns, or what is no function, as it is."""
    if isinstance(generator, keras.layers.Layer) or not callable(generator):
        return generator
    if isinstance(generator, type):
        is_class = issubclass(generator, Generator)
        rule = "be a generator, a class of these or a function of a `WeightSpec`"
        checks.require(is_class, argument, rule, generator, TypeError)
    checks.takes(argument, generator, "a `WeightSpec`")
    return generator(spec)


def check_inside(generator, argument="generator", may_embed=False):
    """A generator that another one may have inside: free, and without embeddings of ids."""
    checks.instance(argument, generator, Generator)
    if generator.embeds_ids and not may_embed:
        raise TypeError(
            f"`{argument}` must be one without embeddings of conditions in front of it: put the "
            f"`kh.Hypernetwork` around all others. Received: {type(generator).__name__}"
        )
    if generator.owned:
        raise ValueError(
            f"`{argument}` belongs to another layer already: a saved model could not be loaded. "
            f"Make one for each. Received: {generator.name}"
        )


def conditions_around(generator, num_conditions=None):
    """The number of conditions of a generator around another one: its own, where it has any."""
    own = generator.num_conditions
    if num_conditions is None:
        return own
    num_conditions = checks.positive_int("num_conditions", num_conditions)
    if own not in (None, num_conditions):
        raise ValueError(
            f"`num_conditions` must be that of the generator ({own}). "
            f"Received: num_conditions={num_conditions}"
        )
    return num_conditions


def _identity(x, training=None):
    return x
