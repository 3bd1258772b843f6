"""Which parts of a layer are quantized: read from it, and given to one made from its config."""

import keras

from keras_hypernet.utils.naming import named_layers

# Those that need no data: Keras finds out the values of the other ones by them.
MODES = ("int8", "int4", "float8")


def quantization_of(layer):
    """`{name: {"mode", "config"}}` of the quantized layers inside a layer.

    Names are those of `naming.named_layers`.
    """
    found = {}
    for name, inner in named_layers(layer):
        mode = inner.quantization_mode
        if inner is layer or mode is None:
            continue
        if mode not in MODES:
            raise ValueError(
                f"The layer {inner.name!r} in {layer.name!r} is quantized to {mode!r}, which a "
                f"file cannot make anew inside of it. Quantize to one of {list(MODES)}."
            )
        config = getattr(inner, "quantization_config", None)
        found[name] = {
            "mode": mode,
            "config": config and keras.saving.serialize_keras_object(config),
        }
    return found


def quantize_parts(layer, parts):
    """Quantizes layers inside a built layer, as `quantization_of` read it."""
    inside = dict(named_layers(layer))
    for name, how in parts.items():
        if name not in inside:
            raise ValueError(
                f"`quantized_parts` must have names of layers in {layer.name!r}. Received: {name!r}"
            )
        if inside[name].quantization_mode is None:
            config = how["config"] and keras.saving.deserialize_keras_object(how["config"])
            inside[name].quantize(how["mode"], config=config or None)
