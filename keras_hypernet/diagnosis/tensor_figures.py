"""`TensorFigures`: what each generated tensor is, beside the plain one."""

import numpy as np

from keras_hypernet.diagnosis import measures
from keras_hypernet.diagnosis.runs import sample_shape


class TensorFigures:
    """Figures of generated tensors.

    Args:
        names: `[(name, role, size)]`.
        shapes: `{name of a kernel: (inputs, outputs)}`.
        now: `[(rows, size)]`.
        plain: The same of the plain target, or `None`.
    """

    def __init__(self, names, shapes, now, plain):
        self.names, self.shapes, self.now, self.plain = names, shapes, now, plain

    def rows(self):
        found = []
        for i, (name, role, _) in enumerate(self.names):
            now = self.now[i]
            sizes = [measures.size(row) for row in now]
            plain = None if self.plain is None else measures.size(self.plain[i])
            row = {
                "name": name,
                "role": role,
                "size": measures.size(now),
                "smallest": min(sizes),
                "plain": plain,
                "spread": None if plain is None else measures.ratio(measures.size(now), plain),
                "sensitivity": measures.sensitivity(now),
                "entries": now.shape[1],
                "one_sign": measures.one_sign(now),
                "plain_one_sign": self.plain is not None and measures.one_sign(self.plain[i]),
                "finite": bool(np.isfinite(now).all()),
            }
            if role == "kernel":
                row.update(self._repeats(name, now[0], i))
            found.append(row)
        return found

    def _repeats(self, name, values, i):
        """How many rows and columns of a kernel repeat others, beside the plain one."""
        shape = self.shapes.get(name)
        if shape is None or min(shape) < 8:
            return {"repeated": None}
        shape = sample_shape(shape)
        matrix = values.reshape(shape)
        share = max(measures.repeated(matrix, axis) for axis in (0, 1))
        if self.plain is not None and share:
            matrix = self.plain[i][0].reshape(shape)
            share -= max(measures.repeated(matrix, axis) for axis in (0, 1))
        return {"repeated": share}
