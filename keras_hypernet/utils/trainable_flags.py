"""Which parts of a layer are trained: read from a layer, and given to one made from its config."""

from __future__ import annotations

import functools
from typing import Unpack

import keras

from keras_hypernet.utils import checks, keras_internals
from keras_hypernet.utils.naming import named
from keras_hypernet.utils.quantized_parts import quantization_of, quantize_parts
from keras_hypernet.utils.types import Config, LayerArguments


def flags_of(layer):
    """`{name: flag}` of the sublayers and variables whose `trainable` is not that around them.

    Names are as in `naming.named_variables`; those of sublayers end in a slash.
    """
    return {name: own for name, _, own, around in _walk(layer, "") if own != around}


def set_flags(layer, flags):
    """Gives a built layer the flags that `flags_of` read, and its own one to all else inside."""
    unknown = set(flags)
    layer.trainable = layer.trainable  # down to everything inside
    for name, part, _, around in _walk(layer, ""):
        part.trainable = flags.get(name, around)
        unknown.discard(name)
    if unknown:
        raise ValueError(
            f"`trainable_parts` must have names of parts of {layer.name!r}. "
            f"Received: {sorted(unknown)}"
        )


def _walk(layer, prefix):
    """`(name, part, its flag, the flag around it)`, each layer before what is in it."""
    for name, variable in named(keras_internals.trained_variables(layer)):
        yield prefix + name, variable, variable.trainable, layer.trainable
    for name, inner in named(keras_internals.sublayers(layer)):
        yield f"{prefix}{name}/", inner, inner.trainable, layer.trainable
        yield from _walk(inner, f"{prefix}{name}/")


class CompositeLayer(keras.layers.Layer):
    """A layer of parts, whose config says which of them are trained, and which are quantized.

    Keras' own config has but the flag of the whole layer, so that a file would forget which
    sublayers were frozen. `keras.Model.quantize` quantizes sublayers, of which it has nothing.

    Args:
        trainable_parts: What `flags_of` read of a layer with the same arguments.
        quantized_parts: What `quantization_of` read of it.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.
    """

    def __new__(cls, *args, **kwargs):
        layer = super().__new__(cls, *args, **kwargs)
        build = layer.build

        @functools.wraps(build)
        def build_with_parts(*args, **kwargs):
            build(*args, **kwargs)
            quantize_parts(layer, layer.quantized_parts)
            layer.quantized_parts = {}
            if layer.trainable_parts or layer.starts_frozen:
                set_flags(layer, layer.trainable_parts)
            layer.trainable_parts, layer.starts_frozen = {}, False

        layer.build = build_with_parts
        return layer

    def __init__(
        self,
        trainable_parts: dict[str, bool] | None = None,
        quantized_parts: dict[str, Config] | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        quantized_parts = checks.configs("quantized_parts", quantized_parts)
        super().__init__(**kwargs)
        self.quantized_parts = quantized_parts
        self.trainable_parts = checks.flags("trainable_parts", trainable_parts)
        self.starts_frozen = not self.trainable  # its parts, made later, do not know it

    def get_config(self) -> Config:
        flags = flags_of(self)
        if self.starts_frozen:
            flags = {name: flag for name, flag in flags.items() if not flag}
        flags |= self.trainable_parts
        quantized = quantization_of(self) | self.quantized_parts
        return {
            **super().get_config(),
            **({"trainable_parts": flags} if flags else {}),
            **({"quantized_parts": quantized} if quantized else {}),
        }
