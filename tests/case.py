"""A row of the table of public layers."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer, arrays to call it with, its mathematics in NumPy, and a model around it."""

    id: str
    layer: Callable  # () -> layer
    inputs: Callable  # (rows, rng) -> call inputs
    reference: Callable  # (values of layer.weights, *inputs) -> outputs
    model: Callable  # () -> functional model
    model_inputs: Callable  # (rows, rng) -> its inputs
    bad: tuple = ()  # (what is wrong, call that raises, exception, part of its message)


def arrays(*shapes, scale=1.0):
    """`(rows, rng) -> arrays`; the first axis of every shape is a multiple of the rows."""

    def draw(rows, rng):
        return [(rng.normal(size=(rows * n, *s)) * scale).astype("float32") for n, *s in shapes]

    return draw


def ids(num_conditions):
    return lambda rows, rng: [rng.integers(num_conditions, size=rows).astype("int32")]
