"""Initializations by their names, and of generators that exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras

from keras_hypernet.initializers.bias_hyper_init import BiasHyperInit
from keras_hypernet.initializers.hyper_fan import HyperFanHarmonic, HyperFanIn, HyperFanOut
from keras_hypernet.initializers.initialization import Initialization
from keras_hypernet.utils import checks

if TYPE_CHECKING:
    from keras_hypernet.initializers.initialization import InitializationLike

# Those of this package alone: a class of someone else is given as an object.
INITIALIZATIONS = {
    "bias_hyper_init": BiasHyperInit,
    "hyper_fan_harmonic": HyperFanHarmonic,
    "hyper_fan_in": HyperFanIn,
    "hyper_fan_out": HyperFanOut,
}


def initialize(generator: keras.layers.Layer, initialization: InitializationLike) -> None:
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
    for part, own in generator.starting_parts(initialization):
        part.check_start(own)
        _check_base(part, own)
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
        config, own_config = initialization.get_config(), own.get_config()
        if config["seed"] is None:
            config["seed"] = own_config["seed"]
        if config == own_config:
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
        made = keras.saving.deserialize_keras_object(identifier)
        rule = f"be an initialization, its config or one of {tuple(INITIALIZATIONS)}"
        checks.require_kind(Initialization, "initialization", rule, made)
        return made
    return INITIALIZATIONS[checks.choice("initialization", identifier, tuple(INITIALIZATIONS))]()


def serialize(initialization):
    return initialization and keras.saving.serialize_keras_object(initialization)
