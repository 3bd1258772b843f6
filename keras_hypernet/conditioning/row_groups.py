"""Which data rows belong to which condition, with groups padded to one size."""

import numpy as np

from keras_hypernet.utils import checks


class RowGroups:
    """Groups of data rows, one for each condition that has any.

    Args:
        sizes: Data rows of every condition.
        order: Data rows in the order of their conditions.
    """

    def __init__(self, sizes, order):
        starts = np.cumsum(sizes) - sizes
        self.conditions = np.flatnonzero(sizes)
        self.size = int(sizes.max())
        self.padded_rows = len(self.conditions) * self.size
        self._sizes, self._starts = sizes[self.conditions], starts[self.conditions]
        self._order = order

    def rows(self, chosen):
        """`(data rows of chosen groups, which of them are no pads)`, flat."""
        sizes, starts = self._sizes[chosen, None], self._starts[chosen, None]
        places = np.arange(self.size)
        # Pad rows repeat rows of their group: finite, with statistics near those of the group.
        rows = self._order[starts + places % sizes]  # (chosen, size)
        return rows.reshape(-1), (places < sizes).reshape(-1)

    def places(self):
        """The place of every data row among the rows of all groups."""
        rows, real = self.rows(np.arange(len(self.conditions)))
        found = np.empty(len(self._order), int)
        found[rows[real]] = np.flatnonzero(real)
        return found


def made(conditions, rows, group_sizes, condition_ids):
    """Groups of given sizes, of given ids, or of one size."""
    if group_sizes is not None and condition_ids is not None:
        raise ValueError(
            "`group_sizes` and `condition_ids` say the same: give one of them. Received: both"
        )
    if group_sizes is not None:
        return _of_sizes(conditions, rows, group_sizes)
    if condition_ids is not None:
        return _of_ids(conditions, rows, condition_ids)
    return _equal(conditions, rows)


def _equal(conditions, rows):
    """Groups of one size, in order."""
    if rows % conditions:
        raise ValueError(
            "The rows of `conditioning` must divide the rows of `data`. "
            f"Received: {conditions} and {rows}. "
            "Groups of unequal size need `group_sizes` or `condition_ids`."
        )
    return RowGroups(np.full(conditions, rows // conditions), np.arange(rows))


def _of_sizes(conditions, rows, group_sizes):
    """Groups of given sizes, in order."""
    sizes = _integers("group_sizes", group_sizes, conditions, "conditioning")
    if sizes.min() < 0:
        raise ValueError(f"`group_sizes` must not be negative. Received: {sizes.min()}")
    if sizes.sum() != rows:
        raise ValueError(
            f"`group_sizes` must add up to the rows of `data` ({rows}). "
            f"Received: sizes that add up to {sizes.sum()}"
        )
    return RowGroups(sizes, np.arange(rows))


def _of_ids(conditions, rows, condition_ids):
    """Groups from the condition of every data row."""
    ids = _integers("condition_ids", condition_ids, rows, "data")
    if ids.min() < 0 or ids.max() >= conditions:
        raise ValueError(
            f"`condition_ids` must be rows of `conditioning`, from 0 to {conditions - 1}. "
            f"Received: ids from {ids.min()} to {ids.max()}"
        )
    return RowGroups(np.bincount(ids, minlength=conditions), np.argsort(ids, kind="stable"))


def _integers(argument, value, count, other):
    found = checks.numpy_array(argument, value)
    if found.dtype.kind not in "iu":
        raise TypeError(f"`{argument}` must be integers. Received: dtype={found.dtype}")
    if found.shape != (count,):
        raise ValueError(
            f"`{argument}` must have one integer for each row of `{other}` ({count}). "
            f"Received: shape {found.shape}"
        )
    return found.astype("int64")
