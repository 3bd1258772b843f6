"""`Initialization`: the base of the ways to initialize a generator."""

from __future__ import annotations

import abc
from typing import Self, TypeAlias

from keras_hypernet.utils import checks
from keras_hypernet.utils.types import Config
from keras_hypernet.weights.weight_tensor import ROLES, check_tensor_names

PART = 1000  # seeds from one part to the next: more than a part takes


class Initialization(abc.ABC):
    """Gives the variables of a generator their initializers, all together.

    Subclasses say, as lists of `(layer, variable name, initializer)`, how to initialize a
    perceptron (`of_perceptron`) and one that makes many equal chunks (`of_chunks`).
    """

    has_base = False  # whether a target starts from a frozen base where a head cannot hold it

    @property
    def by_name(self):
        """`{argument: dict by names of tensors or roles}`."""
        return {}

    @abc.abstractmethod
    def of_perceptron(self, generator, spec, sizes, based=False):
        """For a `WeightGenerator` whose output is `spec` and whose inputs have `sizes`.

        Sizes are `{"noise": n, "chunk": e, "condition": c}`, as far as there are such inputs.
        `based`: what it makes is added to a base.
        """

    @abc.abstractmethod
    def of_chunks(self, chunks, spec, sizes):
        """For a `ChunkSet` that makes all of `spec`, from noise and condition of `sizes`."""

    @abc.abstractmethod
    def of_image(self, generator):
        """For a `DeconvWeightGenerator`."""

    def for_inputs(self, scale):
        """This, for conditions that are so much larger."""
        return self

    def check_names(self, names):
        """Raises on names that are neither one of these tensors nor a role."""
        for argument, entries in self.by_name.items():
            check_tensor_names(argument, entries, names)

    def renamed(self, names, part):
        """A copy for a part with other tensors: `names` is `{tensor: [their names for it]}`.

        Entries for tensors that are not in `names` are left out. Each of the parts, by its number,
        has a seed of its own: with one seed for all, parts of one shape would start equal.
        """
        arguments = {"seed": checks.next_seed(self.seed, PART * part)}
        for argument, entries in self.by_name.items():
            roles = {name: x for name, x in entries.items() if name in ROLES}
            tensors = {new: x for name, x in entries.items() for new in names.get(name, ())}
            arguments[argument] = {**roles, **tensors}
        return self.copy(**arguments)

    def only(self, names, part):
        """A copy for a part that has no other tensors than these."""
        return self.renamed({name: [name] for name in names}, part)

    def arguments(self):
        """Those of the constructor; unlike a config, with objects that cannot be serialized."""
        return self.get_config()

    def copy(self, **arguments):
        """A copy with these arguments in place of its own."""
        return type(self)(**{**self.arguments(), **arguments})

    @classmethod
    def from_config(cls, config: Config) -> Self:
        return cls(**config)


# Itself, the name of one, or none.
InitializationLike: TypeAlias = Initialization | str | None
