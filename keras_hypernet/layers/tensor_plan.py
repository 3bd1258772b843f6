"""`TensorPlan`: how one tensor of a target layer comes to be."""

from __future__ import annotations

import dataclasses
import math
from types import NoneType

import keras
from keras import ops

from keras_hypernet.layers.named_weights import multiplied
from keras_hypernet.utils import backend
from keras_hypernet.weights import forms

MODES = ("replace", "delta", "low_rank")
LOW_RANK = "low_rank"


@dataclasses.dataclass(frozen=True)
class TensorPlan:
    """One tensor of a target layer: generated, generated in part, or an ordinary variable.

    Args:
        name: Its path in the target model.
        local: Its name in its layer.
        shape, role, fan_in, fan_out, layout: As in a `WeightSpec`.
        initializer: Serialized initializer that it has as an ordinary weight, or `None`.
        mode: `None` for an ordinary variable. `"replace"`: a generated tensor, `1 +` it for a
            scale that starts as ones. `"delta"`: base + a generated tensor. `"low_rank"`: base +
            `down @ up`.
        down, up, equation: For `"low_rank"`: shapes of the two factors, and the einsum equation
            of their product.
        regularizer: Serialized regularizer or `None`.
        constraint, trainable: Of an ordinary variable: its serialized constraint or `None`, and
            whether it is trained.
    """

    name: str
    local: str
    shape: tuple
    role: str
    fan_in: int | None = None
    fan_out: int | None = None
    mode: str | None = None
    down: tuple | None = None
    up: tuple | None = None
    equation: str | None = None
    regularizer: dict | None = None
    constraint: dict | None = None
    trainable: bool = True
    layout: str = "keras"
    initializer: dict | None = None

    def __post_init__(self):
        for field in ("shape", "down", "up"):
            value = getattr(self, field)
            object.__setattr__(self, field, value if value is None else tuple(value))

    def get_config(self):
        config = dataclasses.asdict(self)
        return {n: list(v) if isinstance(v, tuple) else v for n, v in config.items()}

    @property
    def size(self):
        return math.prod(self.shape)

    @property
    def addend(self):
        """The number that a change is added to where there is no trained base."""
        return 1.0 if self.mode == "replace" and self._is_ones else 0.0

    @property
    def _is_ones(self):
        initializer = keras.initializers.get(self.initializer)
        return self.role == "scale" and isinstance(initializer, (NoneType, keras.initializers.Ones))

    def parts(self):
        """The tensors of a `WeightSpec` that are generated for this one."""
        fans = {"fan_in": self.fan_in, "fan_out": self.fan_out}
        if self.mode == LOW_RANK:
            rank = {"fan_in": self.down[-1], "fan_out": self.fan_out or self.up[-1]}
            down = {"shape": self.down, "initializer": "lecun_normal", **fans}
            up = {"shape": self.up, "initializer": "zeros", **rank}
            return [
                {"name": f"{self.name}.{factor}", "role": "kernel", **part}
                for factor, part in (("down", down), ("up", up))
            ]
        # What is added to a base, or to ones, starts at 0.
        added = self.mode == "delta" or self.addend
        role = "offset" if added and self.role == "scale" else self.role
        initializer = "zeros" if added else self.initializer
        part = {"name": self.name, "shape": self.shape, "role": role, "layout": self.layout}
        return [{**part, **fans, "initializer": initializer}]

    def part_sizes(self):
        return [math.prod(part["shape"]) for part in self.parts()]

    def update(self, base, down, up):
        """The update of low rank, from its flat pieces."""
        return {
            "base": backend.reshape(base, self.shape),
            "down": rows_of(down, self.down),
            "up": rows_of(up, self.up),
        }

    def tensor(self, entry):  # -> (rows, *shape)
        """The tensor itself, multiplied out."""
        if self.mode == LOW_RANK:
            return multiplied(entry, self.equation)
        return rows_of(entry, self.shape)


def rows_of(piece, shape):
    """Flat or factored weights of one tensor -> `(rows, *shape)`."""
    flat = forms.materialize(piece)
    return backend.reshape(flat, (ops.shape(flat)[0], *shape))
