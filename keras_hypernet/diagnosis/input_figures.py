"""`InputFigures`: what each input of a conditioning is, and what it does to weights."""

import numpy as np

from keras_hypernet.diagnosis import measures

SCALES = (0.5, 2.0)  # that conditions are multiplied by, for the slope
ROUNDING = 1e-6  # of float32, by the size of a number


class InputFigures:
    """Figures of the inputs that weights are generated from.

    Args:
        subject, runs: The `Subject` and its `Runs`.
        parts: The `Parts` of its graph.
        after: Values of the variables after a step, or `None`.
    """

    def __init__(self, subject, runs, parts, after):
        self.subject, self.runs, self.parts, self.after = subject, runs, parts, after

    def rows(self):
        return [self.row(value, name) for value, name in self.subject.names.items()]

    def row(self, value, name):
        """The figures of one input."""
        array = self.subject.conditions[value]
        row = {
            "name": name,
            "is_noise": self.parts.is_noise(value, name),
            "ids": array.dtype.kind in "iub",
            "equal": bool(len(array) > 1 and (array == array[:1]).all()),
        }
        if row["ids"]:
            return {**row, **self._reached(value, array, np.roll(array, 1, axis=0))}
        center = array.mean(axis=0)
        row["size"] = measures.size(array)
        row["together"] = measures.ratio(measures.size(array - center), measures.size(array))
        # Another condition's, or the same with noise where there is no other.
        other = np.roll(array, 1, axis=0) if len(array) > 1 else array + measures.size(array)
        row.update(self._reached(value, array, other))
        row["slope"] = self._slope(value, array) if row["change"] else None
        sizes = [measures.size(each) for each in array]
        row["range"] = measures.ratio(max(sizes), min(sizes)) or float("inf")
        return row

    def _reached(self, value, array, other):
        """What another value of an input changes, now or after a step."""
        change, curvature = self._effect(value, array, other)
        after = None
        if self.after is not None and not change:
            after, curvature = self._effect(value, array, other, self.after)
        return {"change": change, "curvature": curvature, "change_after": after}

    def _effect(self, value, array, other, values=()):
        """`(change of weights by their size, second difference by the first)` of an input."""
        middle = (array + other) / 2 if array.dtype.kind == "f" else array
        ends = self._with(value, [array, middle, other], values)
        first = measures.size(ends[2] - ends[0])
        second = measures.size(ends[2] - 2 * ends[1] + ends[0])
        whole = measures.size(ends[0])
        if not first > ROUNDING * whole:
            return 0.0, None
        return first / whole, second / first if first > 100 * ROUNDING * whole else None

    def _slope(self, value, array):
        # What does not depend on the condition, such as a start, is part of it.
        scaled = self._with(value, [array * scale for scale in SCALES])
        return measures.slope([measures.size(weights) for weights in scaled], SCALES)

    def _with(self, value, arrays, values=()):
        """`[weights (rows, total)]` with each of several arrays for one input, in a single run."""
        given = self.subject.conditions
        number, rows = len(arrays), len(arrays[0])
        conditions = {v: np.concatenate([array] * number) for v, array in given.items()}
        conditions[value] = np.concatenate(arrays).astype(given[value].dtype)
        weights = measures.joined(self.runs.weights(conditions, values))
        return [weights[i * rows : (i + 1) * rows] for i in range(number)]
