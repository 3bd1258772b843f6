"""Ids of conditions: what an id that no condition has does.

Where values can be read, such an id is an error, or gets the mean of all conditions if that was
asked for. Inside a graph it always gets the mean: never NaN, and never the row of another
condition. `IdWatch` notices it there, for a warning afterwards.
"""

import warnings

import keras
import numpy as np
from keras import ops

from keras_hypernet.utils import backend, checks, keras_internals

UNKNOWN = ("error", "mean")


UNKNOWN_HINT = (
    "; `kh.with_conditions` makes room for new ids, and with `unknown='mean'` others get the mean "
    "of all conditions"
)


def as_ids(value):
    """Ids `(batch,)` of a single integer or a list of integers; another value as it is."""
    entries = list(value) if isinstance(value, (list, tuple)) else [value]
    if entries and all(map(_is_integer, entries)):
        found = np.array([int(entry) for entry in entries])
        return found.astype("int32") if np.all(found == found.astype("int32")) else found
    return value


def _is_integer(value):
    """Whether a value is an integer or an array without axes that has one."""
    if isinstance(value, bool) or keras.utils.is_keras_tensor(value):
        return False
    if isinstance(value, (int, np.integer)):
        return -(2**63) <= value < 2**63
    if getattr(value, "shape", None) != () or not hasattr(value, "dtype"):
        return False
    dtype = keras.backend.standardize_dtype(value.dtype)
    return keras.backend.is_int_dtype(dtype) and backend.is_concrete(value)


def check_ids(ids, num_conditions, unknown="error", argument="ids", hint=UNKNOWN_HINT):
    """Ids are integers `(batch,)`, in range where their values can be read."""
    checks.tensor(argument, ids)
    checks.int_tensor(argument, ids)
    checks.rank(argument, ids.shape, 1, hint=" In a model: `keras.Input((), dtype='int32')`.")
    if unknown == "error" and backend.is_concrete(ids) and not _all_known(ids, num_conditions):
        values = ops.convert_to_numpy(ids)
        raise ValueError(
            f"`{argument}` must be in 0 ... {num_conditions - 1} "
            f"(num_conditions={num_conditions}){hint}. "
            f"Received: ids from {values.min()} to {values.max()}"
        )


def _all_known(ids, number):
    values = ops.convert_to_numpy(ids)
    return values.size == 0 or (values.min() >= 0 and values.max() < number)


def wide(ids):
    """Ids in a dtype that has room for every number of conditions, and that all operations take."""
    dtype = keras.backend.standardize_dtype(ids.dtype)
    return ids if dtype in ("int32", "int64") else ops.cast(ids, "int32")


def are_known(ids, number):
    """Whether there are conditions of such ids."""
    ids = wide(ids)
    return ops.logical_and(ids >= 0, ids < number)


def look_up(lookup, number, ids, mean=None):
    """`lookup(ids)`, `(rows, ...)`, with the mean over all conditions for ids that there are not.

    Args:
        lookup: From ids to rows.
        number: Number of conditions.
        ids: `(rows,)`.
        mean: Tensor `(...)` in place of the mean of `lookup`.
    """
    ids = wide(ids)
    if backend.is_concrete(ids) and _all_known(ids, number):
        return lookup(ids)
    known = are_known(ids, number)
    rows = lookup(ops.where(known, ids, ops.zeros_like(ids)))
    if mean is None:
        mean = ops.mean(lookup(ops.arange(number, dtype=ids.dtype)), axis=0)
    known = ops.reshape(known, (-1, *[1] * (len(rows.shape) - 1)))
    return ops.where(known, rows, ops.cast(ops.stop_gradient(mean), rows.dtype))


def rows_of(table, ids, mean=None):  # (number, ...), (rows,) -> (rows, ...)
    """`look_up` in a table."""
    table = ops.convert_to_tensor(table)
    return look_up(lambda ids: ops.take(table, ids, axis=0), table.shape[0], ids, mean)


class IdWatch(keras.layers.Layer):
    """Notices unknown ids in calls that are compiled, and warns of them afterwards.

    Keras reads `metrics` after each epoch of `fit` and after `evaluate`; in `predict` the callback
    `UnknownIds` does.

    Args:
        num_conditions: Number of conditions.
        owner: Name of the layer that takes the ids.
    """

    def __init__(self, num_conditions, owner):
        super().__init__(name="id_watch")
        self.num_conditions = num_conditions
        self.owner = owner
        # State that is no weight: in no file, and in no number of parameters.
        self.seen = keras.random.SeedGenerator(0)
        self.built = True

    def notice(self, ids):
        """To be called with the ids of every call."""
        if not keras_internals.assigns_in_graph(ids):
            return
        unknown = ops.any(ops.logical_not(are_known(ids, self.num_conditions)))
        state = self.seen.state
        state.assign(ops.maximum(state.value, ops.cast(unknown, state.dtype)))

    @property
    def metrics(self):
        self.report()
        return []

    def report(self):
        """Warns if there were unknown ids since the last time."""
        state = self.seen.state
        if keras_internals.is_readable(state) and ops.convert_to_numpy(state).any():
            state.assign(np.zeros(state.shape))
            warnings.warn(
                f"{self.owner!r} was given ids that are not in 0 ... {self.num_conditions - 1}: "
                "they got the mean of all conditions. Say `unknown='mean'` if that is meant.",
                stacklevel=2,
            )


class UnknownIds(keras.callbacks.Callback):
    """Warns at the end of `predict`, as `fit` and `evaluate` do, of ids that no condition has.

    Such ids are an error where their values can be read. In compiled calls they cannot: there they
    get the mean of all conditions.

    Raises:
        UserWarning: as a warning, where there were such ids.

    Example:

    >>> ids = keras.Input((), dtype="int32")
    >>> model = keras.Model(ids, kh.ConditionEmbedding(10, 4)(ids))
    >>> model.predict(np.array([3, 7]), callbacks=[kh.UnknownIds()], verbose=0).shape
    (2, 4)
    """

    def on_predict_end(self, logs=None):
        for layer in keras_internals.layers_in(self.model):
            if isinstance(layer, IdWatch):
                layer.report()
