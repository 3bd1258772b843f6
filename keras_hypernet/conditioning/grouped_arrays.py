"""What a `GroupedDataset` is made of: nests of arrays, as Keras takes them in `fit`."""

import keras
import numpy as np
from keras import ops, tree

from keras_hypernet.utils import checks


def arrays(argument, value):
    """A nest of NumPy arrays: dicts and tuples. A list of numbers is an array, not a nest."""
    if isinstance(value, dict):
        return {key: arrays(f"{argument}[{key!r}]", entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)) and any(map(_has_axes, tree.flatten(value))):
        # TensorFlow makes one tensor of a list in a batch.
        return tuple(arrays(f"{argument}[{i}]", entry) for i, entry in enumerate(value))
    value = ops.convert_to_numpy(value) if ops.is_tensor(value) else value
    return checks.numpy_array(argument, value)


def count_rows(argument, nest):
    """The rows of all arrays of a nest."""
    rows = _rows(nest)
    if not rows or 0 in rows:
        raise ValueError(f"`{argument}` must have rows. Received: {_shapes(nest)}")
    if len(set(rows)) > 1:
        raise ValueError(
            f"All arrays of `{argument}` must have as many rows. Received: {_shapes(nest)}"
        )
    return rows[0]


def paired(conditioning, data):
    """One nest of inputs: the dict of two dicts, else `(conditioning, ..., data, ...)`."""
    if isinstance(conditioning, dict) != isinstance(data, dict):
        raise ValueError(
            "`conditioning` and `data` must both be dicts by input name, or neither of them. "
            f"Received: {type(conditioning).__name__} and {type(data).__name__}. For inputs by "
            "name, give {name: array} for both."
        )
    if not isinstance(data, dict):
        return (*_as_tuple(conditioning), *_as_tuple(data))
    both = sorted(conditioning.keys() & data.keys(), key=str)
    if both:
        raise ValueError(
            "`conditioning` and `data` must have different names of inputs. "
            f"Received: {both} in both"
        )
    return {**conditioning, **data}


def targets(y, sample_weight, rows):
    """`(y, sample_weight)` as nests of one structure, or `None`."""
    found = {"y": y, "sample_weight": sample_weight}
    found = {k: None if v is None else arrays(k, v) for k, v in found.items()}
    for name, nest in found.items():
        if nest is not None and set(_rows(nest)) != {rows}:
            raise ValueError(
                f"`{name}` must have one row per row of `data` ({rows}). Received: {_shapes(nest)}"
            )
    y, sample_weight = found.values()
    if y is None and sample_weight is not None:
        raise ValueError(
            "`sample_weight` weighs the loss of `y`, which must be given with it. Received: y=None"
        )
    if y is None or sample_weight is None:
        return y, sample_weight
    if not tree.is_nested(sample_weight):
        return y, tree.map_structure(lambda _: sample_weight, y)
    try:
        tree.assert_same_structure(y, sample_weight)
    except ValueError as error:
        raise ValueError(
            "`sample_weight` must be an array, or have one array for each array of `y` in a nest "
            f"like `y`. Received: {_shapes(sample_weight)} for {_shapes(y)}"
        ) from error
    return y, sample_weight


def padded_weights(y, sample_weight, factor):
    """Sample weights times a factor, in the structure of `y`; ones where none are given."""
    dtype = keras.config.floatx()
    if sample_weight is None:
        # As many axes as `y`: Keras drops the last one for a loss that has one less.
        sample_weight = tree.map_structure(lambda a: np.ones((len(a), *[1] * (a.ndim - 1))), y)
    return tree.map_structure(lambda a: (a * factor).astype(dtype), sample_weight)


def _has_axes(value):
    return len(getattr(value, "shape", ())) > 0


def _as_tuple(nest):
    return nest if isinstance(nest, tuple) else (nest,)


def _rows(nest):
    return [len(a) if a.ndim else 0 for a in tree.flatten(nest)]


def _shapes(nest):
    """Shapes of arrays in their nest, for an error."""
    if isinstance(nest, dict):
        return {key: _shapes(entry) for key, entry in nest.items()}
    return [_shapes(entry) for entry in nest] if isinstance(nest, tuple) else nest.shape
