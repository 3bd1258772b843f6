"""A product of data and a kernel by an equation, with one kernel per row.

Written as transpositions around one batched matmul: products of many indices are up to 40 times
slower as an einsum on TensorFlow.
"""

import math
import re
import string

from keras import ops

from keras_hypernet.ops import rows
from keras_hypernet.utils import backend

# An ellipsis stands on one side of the data's axes, and on the same side of the output's.
_FORM = re.compile(r"(\.{3})?([a-zA-Z]+)(\.{3})?,([a-zA-Z]+)->(?(1)\.{3})([a-zA-Z]+)(?(3)\.{3})")


class Equation:
    """An equation `x,kernel->y` with its indices sorted by what happens to them.

    Args:
        equation: As in `keras.layers.EinsumDense`; an ellipsis stands for axes of the data. The
            first axis of `x` and `y` is the batch.
        rank: Of the data; by default the least that there can be.

    `positions` are indices of the data alone, `paired` those of data, kernel and output,
    `contracted` those that the product sums, `free` those of kernel and output, `elided` those
    that the ellipsis stands for.
    """

    def __init__(self, equation, rank=None):
        left, x, right, kernel, y = _parsed(equation)
        rank = len(x) + bool(left or right) if rank is None else rank
        if rank < len(x) or (rank > len(x) and not (left or right)):
            raise ValueError(
                f"`x` must have {len(x)} axes{' or more' if left or right else ''}, as "
                f"`equation` says. Received: {rank} axes, equation={equation!r}"
            )
        unused = [c for c in string.ascii_letters if c not in equation]
        self.elided = "".join(unused[: rank - len(x)])
        if left:
            x, y = self.elided + x, self.elided + y
        else:
            x, y = x + self.elided, y + self.elided
        if x[0] != y[0] or x[0] in kernel:
            raise ValueError(
                "`equation` must have the batch as the first axis of the data and of the output, "
                f"and not in the kernel. Received: equation={equation!r}"
            )
        for name, letters, others in (("output", y, x + kernel), ("kernel", kernel, x + y)):
            if unknown := sorted(set(letters) - set(others)):
                raise ValueError(
                    f"`equation` must have each axis of the {name} in another tensor too. "
                    f"Received: equation={equation!r} with {unknown} in the {name} alone"
                )
        self.x, self.kernel, self.y = x, kernel, y
        self.positions = "".join(c for c in x[1:] if c not in kernel)
        self.paired = "".join(c for c in kernel if c in x and c in y)
        self.contracted = "".join(c for c in kernel if c in x and c not in y)
        self.free = "".join(c for c in kernel if c not in x)

    def __str__(self):
        return f"{self.x},{self.kernel}->{self.y}"

    def weight_shapes(self, x_shape, output_shape, bias_axes=None):
        """Shapes of the kernel and, where there is one, of the bias of an `EinsumDense`.

        Args:
            x_shape: Shape of the data.
            output_shape: Sizes of the output's axes without the batch and what is elided. `None`
                is an axis of any size.
            bias_axes: Letters of the output's axes that the bias has; `None` where there is none.

        Returns:
            The shapes in a list. A size that is not known is `None`.
        """
        sizes = (output_shape,) if isinstance(output_shape, int) else tuple(output_shape)
        inner = [c for c in self.y[1:] if c not in self.elided]
        if len(sizes) != len(inner):
            raise ValueError(
                f"`output_shape` must have the sizes of the axes {inner}, without the batch and "
                f"what is elided. Received: output_shape={output_shape}, equation='{self}'"
            )
        of_x, of_y = dict(zip(self.x, x_shape)), dict(zip(inner, sizes))
        for axis, size in of_y.items():
            if size is not None and size != of_x.get(axis, size):
                raise ValueError(
                    "`output_shape` must have the size of the data on axes that both have. "
                    f"Received: {size} on axis {axis!r}, of which `x` has {of_x[axis]}, "
                    f"output_shape={output_shape}, equation='{self}'"
                )
        shapes = [tuple({**of_x, **of_y}[c] for c in self.kernel)]
        if bias_axes is not None:
            if not bias_axes or set(bias_axes) - set(inner):
                raise ValueError(
                    f"`bias_axes` must be one or more of the output's axes {inner}, and must not "
                    f"have the batch. Received: bias_axes={bias_axes!r}, equation='{self}'"
                )
            first = min(self.y.index(c) for c in bias_axes)
            shapes.append(tuple(of_y[c] if c in bias_axes else 1 for c in self.y[first:]))
        return shapes

    def output_shape(self, x_shape, kernel_shape):
        """The shape of `x,kernel->y`."""
        sizes = {**dict(zip(self.x, x_shape)), **dict(zip(self.kernel, kernel_shape))}
        return tuple(sizes[c] for c in self.y)

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


def _parsed(equation):
    """`(left ellipsis, x, right ellipsis, kernel, y)`."""
    found = _FORM.fullmatch(equation)
    left, x, right, *others = found.groups() if found else (None, "", None)
    if not x or (left and right) or (right and len(x) < 2):
        raise ValueError(
            "`equation` must be in the form 'x,kernel->y', '...x,kernel->...y' or "
            "'x...,kernel->y...' (with two or more letters before the dots), without spaces. "
            f"Received: equation={equation!r}"
        )
    return left, x, right, *others


def einsum(equation, x, kernel):
    """`x` and a kernel `(rows, *shape)` -> `y`, by the rows rule.

    Args:
        equation: An `Equation`.
        x: `(batch, ...)`.
        kernel: `(rows, *shape)`.
    """
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
