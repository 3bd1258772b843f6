"""`BiasHyperInit`: the target starts as an ordinary network, the same for every condition."""

from __future__ import annotations

import keras
import numpy as np

from keras_hypernet.initializers import drawing
from keras_hypernet.initializers.fresh import fresh
from keras_hypernet.initializers.initialization import Initialization
from keras_hypernet.initializers.pieces import Samples
from keras_hypernet.utils import checks
from keras_hypernet.utils.activations import of_hidden
from keras_hypernet.utils.types import Config, InitializerLike
from keras_hypernet.weights.weight_tensor import INITIALIZERS


@keras.saving.register_keras_serializable(package="keras_hypernet")
class BiasHyperInit(Initialization):
    """Starts the target as the ordinary network that Keras would start, for every condition.

    `weights = features @ 0 + start`: the head's kernel is zero, and its bias is one draw of the
    target's weights by their own initializers. The conditions part with the first step, which the
    head's kernel takes, and the hidden layers train from the second on.

    Where one head makes many chunks, or has no bias, its bias cannot be the start. The start is
    then a frozen random base that is added to what is generated. It is drawn by NumPy from a seed
    whenever the generator is made, equal on all backends: it is no variable, is in no file and
    counts as no parameter.

    Hidden layers start by their activation: with He's initializer for ReLU and its like, and biases
    uniform in +-1, so that units bend at different conditions; with Glorot's and no biases for
    others.

    Args:
        initializers: Dict of Keras initializers for tensors of the target, by name, or for roles
            (`kernel`, `bias`, `scale`, `offset`, `embedding`, `other`). For tensors that are not in
            it, the initializer that the spec has (of a layer, its own; of `build`, by the
            activation), else Keras' default for the role: Glorot's uniform for kernels, 1 for
            scales, uniform for embeddings, 0 for the rest.
        seed: Seed of the base. By default the same code makes the same base, so that weights fit
            however they are moved from model to model. Give members of an ensemble, and generators
            whose tensors have equal names and shapes, seeds of their own.

    Raises:
        ValueError: on names that are neither a tensor of the target nor a role, and on
            initializers of a base that NumPy cannot draw, which are custom ones.

    Example:

    >>> start = kh.BiasHyperInit({"kernel": "he_normal"})
    >>> generator = kh.WeightGenerator([(3, 4), (4,)], initialization=start)

    Reference: Beck et al., 2022, Hypernetworks in Meta-Reinforcement Learning
    (https://arxiv.org/abs/2210.11348).
    """

    has_base = True

    def __init__(
        self,
        initializers: dict[str, InitializerLike] | None = None,
        seed: int | None = None,
    ) -> None:
        given = {} if initializers is None else initializers
        checks.require_kind(dict, "initializers", "be a dict by name or role", given)
        checks.names("initializers", given)
        self.initializers = {
            name: checks.initializer(f"initializers[{name!r}]", initializer)
            for name, initializer in given.items()
        }
        self.seed = checks.seed("seed", seed)

    @property
    def by_name(self):
        return {"initializers": self.initializers}

    def of_perceptron(self, generator, spec, sizes, based=False):
        slots = self.of_trunk(generator.trunk, generator.activation, generator.use_bias)
        head = generator.head
        slots.append((head, "kernel", keras.initializers.Zeros()))
        if generator.use_bias:
            samples = Samples(spec, [self.initializer_of(tensor) for tensor in spec])
            slots.append((head, "bias", keras.initializers.Zeros() if based else samples))
        return slots

    def of_chunks(self, chunks, spec, sizes):
        return self.of_perceptron(chunks.generator, spec, sizes, based=True)

    def of_image(self, generator):
        last = generator.convs[-1].conv
        slots = [(last, "kernel", keras.initializers.Zeros())]
        if generator.use_bias:
            slots.append((last, "bias", keras.initializers.Zeros()))
        return slots

    def of_trunk(self, trunk, activation, use_bias):
        """Slots of hidden layers."""
        slots = []
        for layer in trunk:
            kernel, bias = of_hidden(activation)
            slots.append((layer.dense, "kernel", kernel))
            if use_bias:
                slots.append((layer.dense, "bias", bias))
        return slots

    def base(self, spec):
        """One draw of the target's weights by NumPy, `(total,)`."""
        drawn = [
            drawing.draw(tensor, i, self.initializer_of(tensor), self.seed or 0)
            for i, tensor in enumerate(spec)
        ]
        return np.concatenate([np.ravel(values) for values in drawn])

    def initializer_of(self, tensor):
        """A new initializer for a tensor of the target."""
        given = self.initializers.get(tensor.name, self.initializers.get(tensor.role))
        given = tensor.initializer if given is None else given
        if given is None:
            return keras.initializers.get(INITIALIZERS[tensor.role])
        return fresh(given)

    def arguments(self):
        return {**self.get_config(), "initializers": self.initializers}  # a subclass has more

    def get_config(self) -> Config:
        serialize = keras.initializers.serialize
        return {
            "initializers": {name: serialize(i) for name, i in self.initializers.items()},
            "seed": self.seed,
        }
