"""Arguments of a generator inside another one."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TypedDict

import keras

from keras_hypernet.utils import checks
from keras_hypernet.utils.types import (
    ActivationLike,
    InitializerLike,
    LayerArguments,
    RegularizerLike,
)

TRAINED = ("trainable", "trainable_parts", "quantized_parts")
LAYER = ("name", "dtype", *TRAINED, "autocast", "activity_regularizer", "unknown")
OF_OUTER = ("build_config", *TRAINED)
OWN = (*LAYER, "initialization", "spec", "num_conditions", "factored")


class GeneratorArguments(LayerArguments, total=False):
    """What generators take."""

    unknown: str


class BuildArguments(TypedDict, total=False):
    """What `build` hands on to its generators."""

    use_bias: bool
    dropout: float
    batch_normalization: bool
    momentum: float
    epsilon: float
    spectral_normalization: bool
    feature_scale: float | None
    kernel_initializer: InitializerLike
    bias_initializer: InitializerLike
    kernel_regularizer: RegularizerLike
    bias_regularizer: RegularizerLike
    head_kernel_initializer: InitializerLike
    head_bias_initializer: InitializerLike
    head_kernel_regularizer: RegularizerLike
    head_bias_regularizer: RegularizerLike
    seed: int | keras.random.SeedGenerator | None


class PerceptronArguments(GeneratorArguments, BuildArguments, total=False):
    """What a generator of chunks hands on to its perceptron."""

    hidden_sizes: Sequence[int]
    activation: ActivationLike


class DeconvArguments(GeneratorArguments, total=False):
    """What a generator of chunks hands on to its transposed convolutions."""

    activation: ActivationLike
    use_bias: bool
    batch_normalization: bool
    momentum: float
    epsilon: float
    kernel_initializer: InitializerLike
    bias_initializer: InitializerLike
    kernel_regularizer: RegularizerLike
    bias_regularizer: RegularizerLike


def arguments_of(generator_class):
    """The arguments of a generator class that one inside another may be given."""
    parameters = inspect.signature(generator_class).parameters.values()
    return [p.name for p in parameters if p.kind != p.VAR_KEYWORD and p.name not in OWN]


def of_layer(kwargs, inside):
    """Keyword arguments -> those of the outer layer, and those of the generator class inside."""
    if "factored" in kwargs:
        raise ValueError(
            "`factored` is for a `WeightGenerator`: weights that are put together from chunks are "
            "flat. Received: factored=" + repr(kwargs["factored"])
        )
    known = [*LAYER, *arguments_of(inside)]
    for name in kwargs:
        if name not in known:
            hint = checks.nearest(name, known)
            raise ValueError(f"`{name}` is no argument of this generator.{hint} There are: {known}")
    layer = {name: value for name, value in kwargs.items() if name in LAYER}
    return layer, {name: value for name, value in kwargs.items() if name not in LAYER}


def of_statistics(conditional, num_conditions, arguments):
    """What a perceptron with these arguments gets so that conditions have their own statistics."""
    own = checks.boolean("conditional_statistics", conditional) and arguments.get(
        "batch_normalization"
    )
    return {"num_conditions": num_conditions} if own else {}


def with_feature_scale(config):
    """A config, older files' without a `feature_scale` included: they have none."""
    older = config.get("hidden_sizes") and "feature_scale" not in config
    return {**config, "feature_scale": 1.0} if older else config


def of_generator(generator):
    """The arguments of a generator inside, as the outer one's config has them."""
    return {name: value for name, value in generator.get_config().items() if name not in OWN}


def serialized(generator):
    """A generator inside, to be made anew: the outer one builds it, and says what is trained."""
    return _as_made(keras.saving.serialize_keras_object(generator))


def _as_made(config):
    if isinstance(config, dict):
        return {name: _as_made(x) for name, x in config.items() if name not in OF_OUTER}
    return [_as_made(x) for x in config] if isinstance(config, list) else config
