"""More conditions for a hypernetwork that has learned some."""

import numpy as np

from keras_hypernet import checks
from keras_hypernet.rewrite import copy_values


def with_conditions(layer, num_conditions):
    """A new layer of the same kind with more conditions, and the values of the old one."""
    num_conditions = checks.positive_int("num_conditions", num_conditions)
    present = layer.num_conditions
    if not layer.built:
        raise ValueError(f"The layer must be built: call it on data first. Received: {layer.name}")
    if present is None or num_conditions < present:
        raise ValueError(
            f"`num_conditions` must not be below the present number ({present}). "
            f"Received: num_conditions={num_conditions}"
        )
    larger = type(layer).from_config(_resized(layer.get_config(), num_conditions))
    larger.build_from_config(layer.get_build_config())
    copy_values(layer, larger, _grown)
    return larger


def _grown(value, fresh):
    """A value with the further rows that a fresh one has: rows of conditions come first."""
    return value if value.shape == fresh.shape else np.concatenate([value, fresh[len(value) :]])


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
