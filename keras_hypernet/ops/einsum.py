"""A product of data and a kernel by an equation, with one kernel per row.

Written as transpositions around one batched matmul: products of many indices are up to 40 times
slower as an einsum on TensorFlow.
"""

import math
import string

from keras import ops

from keras_hypernet.ops import rows
from keras_hypernet.utils import backend


class Equation:
    """An equation `x,kernel->y` with its indices sorted by what happens to them.

    Args:
        equation: As in `keras.layers.EinsumDense`; an ellipsis stands for axes of the data. The
            first axis of `x` and `y` is the batch.
        rank: Of the data, where there is an ellipsis.

    `positions` are indices of the data alone, `paired` those of data, kernel and output,
    `contracted` those that the product sums, `free` those of kernel and output.
    """

    def __init__(self, equation, rank=None):
        x, kernel, y = equation.replace("->", ",").replace(" ", "").split(",")
        if "..." in equation:
            unused = [c for c in string.ascii_letters if c not in equation]
            elided = "".join(unused[: rank - len(x.replace("...", ""))])
            x, y = x.replace("...", elided), y.replace("...", elided)
        if not x or not y or x[0] != y[0] or x[0] in kernel:
            raise ValueError(
                "`equation` must have the batch as the first axis of the data and of the output, "
                f"and not in the kernel. Received: equation={equation!r}"
            )
        self.x, self.kernel, self.y = x, kernel, y
        self.positions = "".join(c for c in x[1:] if c not in kernel)
        self.paired = "".join(c for c in kernel if c in x and c in y)
        self.contracted = "".join(c for c in kernel if c in x and c not in y)
        self.free = "".join(c for c in kernel if c not in x)

    def __str__(self):
        return f"{self.x},{self.kernel}->{self.y}"

    def of_low_rank(self):
        """Three equations: of `x` and `down`, of what that gives and `up`, of `down` and `up`."""
        rank = next(c for c in string.ascii_letters if c not in self.x + self.kernel + self.y)
        down = self.paired + self.contracted + rank
        up = self.paired + rank + self.free
        narrow = self.x[0] + self.positions + self.paired + rank
        return (
            f"{self.x},{down}->{narrow}",
            f"{narrow},{up}->{self.y}",
            f"{down},{up}->{self.kernel}",
        )

    def update_shapes(self, shape, rank):
        """Shapes of `down` and `up` for a kernel of a shape."""
        sizes = dict(zip(self.kernel, shape))
        paired = [sizes[c] for c in self.paired]
        down = (*paired, *(sizes[c] for c in self.contracted), rank)
        return down, (*paired, rank, *(sizes[c] for c in self.free))


def einsum(equation, x, kernel):
    """`x` and a kernel `(rows, *shape)` -> `y`, by the rows rule.

    Args:
        equation: An `Equation`.
        x: `(batch, ...)`.
        kernel: `(rows, *shape)`.
    """
    if rows.is_shared(kernel):
        return ops.einsum(str(equation), x, kernel[0])
    e = equation
    sizes = {**dict(zip(e.x, ops.shape(x))), **dict(zip(e.kernel, ops.shape(kernel)[1:]))}
    paired, positions, contracted, free = (
        math.prod([sizes[c] for c in group])
        for group in (e.paired, e.positions, e.contracted, e.free)
    )
    number = rows.count(kernel)
    n = rows.per_row(sizes[e.x[0]], number)
    x = _transposed(x, e.x, e.x[0] + e.paired + e.positions + e.contracted)
    kernel = _transposed(kernel, "." + e.kernel, "." + e.paired + e.contracted + e.free)
    if e.paired:
        x = backend.reshape(x, (number, n, paired, positions * contracted))
        x = ops.transpose(x, (0, 2, 1, 3))
    x = backend.reshape(x, (number, paired, n * positions, contracted))
    y = backend.matmul(x, backend.reshape(kernel, (number, paired, contracted, free)))
    if e.paired:
        y = backend.reshape(y, (number, paired, n, positions * free))
        y = ops.transpose(y, (0, 2, 1, 3))
    made = e.x[0] + e.paired + e.positions + e.free
    y = backend.reshape(y, [sizes[c] for c in made])
    return _transposed(y, made, e.y)


def _transposed(tensor, axes, wished):
    if axes == wished:
        return tensor
    return ops.transpose(tensor, [axes.index(c) for c in wished])
