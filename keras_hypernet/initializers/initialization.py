"""What all ways to initialize a generator do alike."""

import abc

import keras

from keras_hypernet import checks, fans


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

    def seeded(self):
        """This, with a seed from which its base can be drawn again."""
        return self

    def for_inputs(self, scale):
        """This, for conditions that are so much larger."""
        return self

    def check_names(self, spec):
        """Raises on names that are neither a tensor of a spec nor a role."""
        for argument, entries in self.by_name.items():
            checks.known_tensors(argument, entries, spec)

    def only(self, names):
        """A copy that names no other tensors than these."""
        config = self.get_config()
        for argument, entries in self.by_name.items():
            config[argument] = {n: x for n, x in entries.items() if n in names or n in fans.ROLES}
        return type(self)(**config)

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def initialize(generator, initialization):
    """Draws the variables of a built generator once more.

    Args:
        generator: A generator, such as `WeightGenerator` or `Hypernetwork`; the generators inside
            are initialized too. Embeddings of conditions are left as they are: they have variance
            1 at first, and `initialize_embeddings` draws them with another.
        initialization: `HyperFanIn`, `HyperFanOut`, `HyperFanHarmonic` or `BiasHyperInit`, or the
            name of one, such as `"hyper_fan_in"`.

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
    draws = [
        (getattr(layer, variable), initializer)
        for layer, variable, initializer in generator.initializers(initialization)
    ]
    values = [initializer(variable.shape, dtype=variable.dtype) for variable, initializer in draws]
    for (variable, _), value in zip(draws, values):
        variable.assign(value)


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
