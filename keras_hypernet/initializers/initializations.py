"""What all ways to initialize a generator do alike."""

import abc

import keras

from keras_hypernet.utils import checks
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
    def from_config(cls, config):
        return cls(**config)


def initialize(generator, initialization):
    """Draws the variables of a built generator once more.

    Args:
        generator: A generator, such as `WeightGenerator` or `Hypernetwork`; the generators inside
            are initialized too. Embeddings of conditions are left as they are: they have variance
            1 at first, and `initialize_embeddings` draws them with another.
        initialization: `BiasHyperInit`, `HyperFanIn`, `HyperFanOut` or `HyperFanHarmonic`, or the
            name of one, such as `"hyper_fan_in"`. A frozen base is part of a generator: where there
            is one, only the start that it was made with can be drawn once more.

    Raises:
        ValueError: if the generator is not built, or cannot be initialized so.

    Example:

    >>> generator = kh.WeightGenerator([(3, 4), (4,)], hidden_sizes=[32])
    >>> weights = generator(np.ones((5, 2), "float32"))
    >>> kh.initialize(generator, kh.HyperFanOut())
    """
    initialization = checks.instance("initialization", get(initialization), Initialization)
    if not hasattr(generator, "initializers"):
        raise TypeError(
            "`generator` must be a generator of this package, such as `WeightGenerator`. "
            f"Received: {type(generator).__name__}"
        )
    if not getattr(generator, "built", False):
        raise ValueError(
            "`generator` must be built: call it on data first, or give it the initialization as "
            f"its argument. Received: generator={generator}"
        )
    for part, start in generator.starting_parts(initialization):
        part.check_start(start)
        _check_base(part, start)
    draws = [
        (getattr(layer, variable), initializer)
        for layer, variable, initializer in generator.initializers(initialization)
    ]
    values = [initializer(variable.shape, dtype=variable.dtype) for variable, initializer in draws]
    for (variable, _), value in zip(draws, values):
        variable.assign(value)


def _check_base(generator, initialization):
    """Raises where weights would start with a base too many, or without one."""
    if not generator.starts_from_base:
        return
    own = generator.initialization
    has_base = own is not None and own.has_base
    if initialization.has_base and has_base:
        config, kept = initialization.get_config(), own.get_config()
        if config["seed"] is None:
            config["seed"] = kept["seed"]
        if config == kept:
            return
    if initialization.has_base or has_base:
        raise ValueError(
            f"`{type(initialization).__name__}` cannot be the start of a generator that was made "
            f"with `initialization={own and type(own).__name__}`: the frozen base, which one of "
            "them has, or both have differently, is made with the generator. Give the start there. "
            f"Received: {generator.name}"
        )


def get(identifier):
    """An initialization from an object, its name, its config or `None`."""
    if identifier is None or isinstance(identifier, Initialization):
        return identifier
    if isinstance(identifier, dict):
        return keras.saving.deserialize_keras_object(identifier)
    known = {_snake_case(c.__name__): c for c in _concrete(Initialization)}
    checks.choice("initialization", identifier, tuple(sorted(known)))
    return known[identifier]()


def serialize(initialization):
    return initialization and keras.saving.serialize_keras_object(initialization)


def _concrete(parent):
    for child in parent.__subclasses__():
        yield from [*_concrete(child)] or [child]


def _snake_case(name):
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")
