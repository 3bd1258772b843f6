"""More conditions for a layer that has learned some."""

from functools import partial

import numpy as np

from keras_hypernet.utils import checks
from keras_hypernet.utils.copying import copy_values

STARTS = ("initializer", "mean")


def with_conditions(layer, num_conditions, start="initializer"):
    """A new layer of the same kind with more conditions, and the values of the old one.

    Args:
        layer: The layer: a generator or an embedding of conditions.
        num_conditions: New number of conditions, not below the old one.
        start: What new conditions start at: what the layer's initializers give, or the mean of the
            old ones.
    """
    check(layer, num_conditions, start)
    larger = type(layer).from_config(_resized(layer.get_config(), int(num_conditions)))
    larger.build_from_config(layer.get_build_config())
    copy_values(layer, larger, partial(_grown, start=start))
    return larger


def check(layer, num_conditions, start):
    """Raises on what `with_conditions` does not take."""
    num_conditions = checks.positive_int("num_conditions", num_conditions)
    checks.choice("start", start, STARTS)
    present = layer.num_conditions
    if present is None:
        raise ValueError(
            f"The layer {layer.name!r} has no conditions, which `num_conditions` could be more of. "
            f"Received: num_conditions={num_conditions}"
        )
    if not layer.built:
        raise ValueError(f"The layer must be built: call it on data first. Received: {layer.name}")
    if num_conditions < present:
        raise ValueError(
            f"`num_conditions` must not be below the present number ({present}). "
            f"Received: num_conditions={num_conditions}"
        )


def _grown(value, fresh, start):
    """A value with the further rows that a fresh one has: rows of conditions come first."""
    if value.shape == fresh.shape:
        return value
    further = fresh[len(value) :]
    if start == "mean":
        further = np.broadcast_to(value.astype("float64").mean(axis=0), further.shape)
    return np.concatenate([value, further.astype(value.dtype)])


def _resized(config, num_conditions):
    """A config in which everything that has conditions has so many."""
    if isinstance(config, (list, tuple)):
        return [_resized(entry, num_conditions) for entry in config]
    if not isinstance(config, dict):
        return config
    resized = {name: _resized(value, num_conditions) for name, value in config.items()}
    if resized.get("num_conditions") is not None:
        resized["num_conditions"] = num_conditions
    return resized
