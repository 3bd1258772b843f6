"""`BiasHyperInit`: the target starts as an ordinary network, the same for every condition."""

import keras

from keras_hypernet import checks
from keras_hypernet.initializers.fresh import fresh
from keras_hypernet.initializers.initialization import Initialization
from keras_hypernet.initializers.pieces import Samples

DEFAULTS = {
    "kernel": "glorot_uniform",
    "bias": "zeros",
    "scale": "ones",
    "offset": "zeros",
    "embedding": "uniform",
    "other": "zeros",
}


@keras.saving.register_keras_serializable(package="keras_hypernet")
class BiasHyperInit(Initialization):
    """Initializes the head with a zero kernel, and its bias with one start of the target.

    So every condition starts with the same weights, drawn by the target's own initializers, and
    the conditions part as the head's kernel is trained. Hidden layers keep their initializers.

    Args:
        initializers: Dict of Keras initializers for tensors of the target, by name, or for roles.
            Roles that are not in it have Keras' defaults: Glorot's uniform for kernels, 1 for
            scales, uniform for embeddings, 0 for the rest.

    Raises:
        ValueError: on names that are neither a tensor of the target nor a role, without a bias in
            the head, and for generators that make more than one chunk with one head: their
            chunks would all start equal.

    Example:

    >>> start = kh.BiasHyperInit({"kernel": "he_normal"})
    >>> generator = kh.WeightGenerator([(3, 4), (4,)], initialization=start)

    Reference: Beck et al., 2022, Hypernetworks in Meta-Reinforcement Learning
    (https://arxiv.org/abs/2210.11348).
    """

    def __init__(self, initializers=None):
        initializers = {} if initializers is None else initializers
        if not isinstance(initializers, dict):
            raise TypeError(
                "`initializers` must be a dict by name or role. "
                f"Received: initializers={initializers!r}"
            )
        checks.names("initializers", initializers)
        self.initializers = {
            name: checks.initializer(f"initializers[{name!r}]", initializer)
            for name, initializer in initializers.items()
        }

    def of_perceptron(self, generator, spec, sizes):
        if not generator.use_bias:
            raise ValueError(
                "`BiasHyperInit` puts the start into the bias of the head: the generator must "
                "have `use_bias=True`."
            )
        checks.known_tensors("initializers", self.initializers, spec)
        samples = Samples(spec, [self.initializer_of(tensor) for tensor in spec])
        head = generator.head
        return [(head, "kernel", keras.initializers.Zeros()), (head, "bias", samples)]

    def of_chunks(self, chunks, spec, sizes):
        raise ValueError(
            "`BiasHyperInit` would start all chunks equal, which are made by one head. Use "
            "`HyperFanIn`, or a `WeightGenerator` or `StructuredWeightGenerator`."
        )

    def initializer_of(self, tensor):
        """A new initializer for a tensor of the target."""
        given = self.initializers.get(tensor.name, self.initializers.get(tensor.role))
        if given is None:
            return keras.initializers.get(DEFAULTS[tensor.role])
        return fresh(given)

    def get_config(self):
        serialize = keras.initializers.serialize
        return {"initializers": {name: serialize(i) for name, i in self.initializers.items()}}
