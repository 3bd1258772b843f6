"""Figures of arrays: how large, how unlike, how many directions."""

import numpy as np


def size(array):
    """Root mean square; 0 of nothing."""
    array = np.asarray(array, "float64")
    return float(np.sqrt(np.mean(np.square(array)))) if array.size else 0.0


def ratio(one, other):
    """A size by another one; `None` where that is zero."""
    return one / other if other else None


def joined(tensors):
    """`[(rows, size)]` -> `(rows, all of them)`."""
    return np.concatenate(tensors, axis=1)


def sensitivity(rows):
    """Variance over rows by the second moment: 0 where all rows are equal."""
    rows = np.asarray(rows, "float64")
    moment = np.mean(np.square(rows))
    return float(np.mean(np.var(rows, axis=0)) / moment) if moment else 0.0


def directions(rows):
    """Effective number of directions that rows differ in: `(sum s)^2 / sum s^2` of variances `s`.

    The participation ratio of the covariance's eigenvalues; 0 for equal rows.
    """
    rows = np.asarray(rows, "float64")
    rows = rows - rows.mean(axis=0)
    gram = rows @ rows.T
    total = np.trace(gram)
    return float(total**2 / np.sum(np.square(gram))) if total > 0 else 0.0


def slope(sizes, factors):
    """Slope of log size against log factor; `None` where a size is zero or not finite."""
    if not all(0 < size < float("inf") for size in sizes):
        return None
    return float(np.polyfit(np.log(factors), np.log(sizes), 1)[0])


def repeated(matrix, axis):
    """Share of the vectors along an axis of a matrix that are near another one of them.

    Near is a cosine of 0.99 or more.
    """
    vectors = np.asarray(matrix, "float64")
    vectors = vectors.T if axis else vectors
    vectors = vectors[:256]  # a sample is enough
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.where(lengths > 0, lengths, 1)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    return float(np.mean(cosines.max(axis=1) > 0.99)) if len(vectors) > 1 else 0.0


def one_sign(array):
    """Whether no two numbers have unlike signs, and one is not zero."""
    return bool((np.min(array) >= 0 or np.max(array) <= 0) and np.any(array))


def distance(value):
    """How many times a size is off 1, up or down."""
    return max(value, 1 / value) if value else float("inf")


def farthest(values):
    """The known value that is farthest from 1; `None` of none."""
    known = [value for value in values if value is not None]
    return max(known, key=distance) if known else None


def largest(values):
    """The largest known value; `None` of none."""
    return max((value for value in values if value is not None), default=None)
