"""`TensorPlan`: how one tensor of a target layer comes to be."""

from __future__ import annotations

import dataclasses
from types import NoneType

import keras
from keras import ops

from keras_hypernet.layers.named_weights import multiplied
from keras_hypernet.utils import backend
from keras_hypernet.weights import forms
from keras_hypernet.weights.weight_tensor import FIELDS, WeightTensor

MODES = ("replace", "delta", "low_rank")
LOW_RANK = "low_rank"


@dataclasses.dataclass(frozen=True)
class TensorPlan:
    """One tensor of a target layer: generated, generated in part, or an ordinary variable.

    Args:
        tensor: The `WeightTensor`, by its path in the target model.
        local: Its name in its layer.
        mode: `None` for an ordinary variable. `"replace"`: a generated tensor, `1 +` it for a
            scale that starts as ones. `"delta"`: base + a generated tensor. `"low_rank"`: base +
            `down @ up`.
        down, up, equation: For `"low_rank"`: shapes of the two factors, and the einsum equation
            of their product.
        regularizer: Serialized regularizer or `None`.
        constraint, trainable: Of an ordinary variable: its serialized constraint or `None`, and
            whether it is trained.
    """

    tensor: WeightTensor
    local: str
    mode: str | None = None
    down: tuple | None = None
    up: tuple | None = None
    equation: str | None = None
    regularizer: dict | None = None
    constraint: dict | None = None
    trainable: bool = True

    def get_config(self):
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        config = {**own.pop("tensor").get_config(), **own}
        return {n: list(v) if isinstance(v, tuple) else v for n, v in config.items()}

    @classmethod
    def of(cls, plan):
        """A plan from itself or from its config."""
        if isinstance(plan, cls):
            return plan
        config = {n: tuple(v) if isinstance(v, list) else v for n, v in plan.items()}
        tensor = {name: config.pop(name) for name in FIELDS if name in config}
        return cls(WeightTensor.of(tensor), **config)

    @property
    def name(self):
        return self.tensor.name

    @property
    def shape(self):
        return self.tensor.shape

    @property
    def size(self):
        return self.tensor.size

    @property
    def addend(self):
        """The number that a change is added to where there is no trained base."""
        is_ones = isinstance(self.tensor.initializer, (NoneType, keras.initializers.Ones))
        return 1.0 if self.mode == "replace" and self.tensor.role == "scale" and is_ones else 0.0

    def parts(self):
        """The tensors that are generated for this one."""
        if self.mode == LOW_RANK:
            return [self._factor("down"), self._factor("up")]
        if self.mode != "delta" and not self.addend:
            return [self.tensor]
        # What is added to a base, or to ones, starts at 0.
        role = "offset" if self.tensor.role == "scale" else self.tensor.role
        return [dataclasses.replace(self.tensor, role=role, initializer="zeros")]

    def _factor(self, factor):
        down = factor == "down"
        fan_out = self.tensor.fan_out
        return WeightTensor(
            f"{self.name}.{factor}",
            self.down if down else self.up,
            role="kernel",
            fan_in=self.tensor.fan_in if down else self.down[-1],
            fan_out=fan_out if down else fan_out or self.up[-1],
            initializer="lecun_normal" if down else "zeros",
        )

    def part_sizes(self):
        return [part.size for part in self.parts()]

    def update(self, base, down, up):
        """The update of low rank, from its flat pieces."""
        return {
            "base": backend.reshape(base, self.shape),
            "down": rows_of(down, self.down),
            "up": rows_of(up, self.up),
        }

    def full(self, entry):  # -> (rows, *shape)
        """The tensor itself, multiplied out."""
        if self.mode == LOW_RANK:
            return multiplied(entry, self.equation)
        return rows_of(entry, self.shape)


def rows_of(piece, shape):
    """Flat or factored weights of one tensor -> `(rows, *shape)`."""
    flat = forms.materialize(piece)
    return backend.reshape(flat, (ops.shape(flat)[0], *shape))
