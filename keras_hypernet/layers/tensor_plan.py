"""`TensorPlan`: how one tensor of a target layer comes to be."""

from __future__ import annotations

import dataclasses
from types import NoneType

import keras
from keras import ops

from keras_hypernet.utils import backend
from keras_hypernet.weights import forms
from keras_hypernet.weights.weight_tensor import FIELDS, WeightTensor

MODES = ("replace", "delta", "low_rank")
LOW_RANK = "low_rank"
# {`generate`: (what of an update is generated, what is trained for all conditions)}
GENERATE = {
    "both": (("down", "up"), ()),
    "up": (("up",), ("down",)),
    "scale": (("scale",), ("down", "up")),
}


@dataclasses.dataclass(frozen=True)
class TensorPlan:
    """One tensor of a target layer: generated, generated in part, or an ordinary variable.

    Args:
        tensor: The `WeightTensor`, by its path in the target model.
        local: Its name in its layer.
        mode: `None` for an ordinary variable. `"replace"`: a generated tensor, `1 +` it for a
            scale that starts as ones. `"delta"`: the layer's tensor + a generated one.
            `"low_rank"`: the layer's tensor + `factor * down @ up`.
        down, up, equation: For `"low_rank"`: shapes of the two factors, and the einsum equation
            of their product.
        generate, factor: For `"low_rank"`: what of an update is generated, `"both"` factors,
            `"up"`, or a `"scale"` between them; and the number that it is multiplied by.
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
    generate: str = "both"
    factor: float = 1.0
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
        """The number that what is generated is added to where there is no trained tensor."""
        is_ones = isinstance(self.tensor.initializer, (NoneType, keras.initializers.Ones))
        return 1.0 if self.mode == "replace" and self.tensor.role == "scale" and is_ones else 0.0

    def parts(self):
        """The tensors that are generated for this one."""
        if self.mode == LOW_RANK:
            return [self._factor(name) for name in GENERATE[self.generate][0]]
        if self.mode != "delta" and not self.addend:
            return [self.tensor]
        # What is added to a trained tensor, or to ones, starts at 0.
        role = "offset" if self.tensor.role == "scale" else self.tensor.role
        return [dataclasses.replace(self.tensor, role=role, initializer="zeros")]

    def trained_factors(self):
        """`{"down" or "up": its WeightTensor}` of what all conditions have in common."""
        trained = GENERATE[self.generate][1] if self.mode == LOW_RANK else ()
        return {name: self._factor(name) for name in trained}

    @property
    def factor_shapes(self):
        """The shapes of what an update of low rank is made of."""
        return {"down": self.down, "scale": self.down[-1:], "up": self.up}

    def _factor(self, name):
        rank = self.down[-1]
        fan_in, fan_out = self.tensor.fan_in, self.tensor.fan_out
        if name == "scale":
            return WeightTensor(f"{self.name}.scale", (rank,), role="offset", initializer="zeros")
        down = name == "down"
        # Of two generated factors, or of one beside a trained one, the second starts at zero.
        starts = down or self.generate == "scale"
        return WeightTensor(
            f"{self.name}.{name}",
            self.down if down else self.up,
            role="kernel",
            fan_in=fan_in if down else rank,
            fan_out=fan_out if down else fan_out or self.up[-1],
            initializer="lecun_normal" if starts else "zeros",
        )

    def is_zero(self, changes):
        """Whether the change is zero because one thing that it is made of is.

        Args:
            changes: `{name of a part: values at the start}`.
        """
        zero = [not changes[part.name].any() for part in self.parts()]
        if len(zero) > 1 and all(zero):
            raise ValueError(
                f"`generator` starts both factors of the update of {self.name} at zero, from where "
                f"no gradient leads away: let `{self.name}.down` start otherwise."
            )
        return any(zero)

    def update(self, base, generated, trained):
        """The update of low rank.

        Args:
            base: What it is added to.
            generated: Flat pieces of its `parts`.
            trained: `{name: tensor}` of its `trained_factors`.
        """
        names = GENERATE[self.generate][0]
        shapes = self.factor_shapes
        made = {n: rows_of(piece, shapes[n]) for n, piece in zip(names, generated)}
        if self.factor != 1.0:
            made[names[-1]] = made[names[-1]] * self.factor
        trained = {name: ops.expand_dims(tensor, 0) for name, tensor in trained.items()}
        return {"base": base, **made, **trained}

    def update_shapes(self, rows):
        """The shapes of `update`, for a number of rows."""
        generated, trained = GENERATE[self.generate]
        counts = dict.fromkeys(generated, rows) | dict.fromkeys(trained, 1)
        shapes = {name: (n, *self.factor_shapes[name]) for name, n in counts.items()}
        return {"base": self.shape, **shapes}

    def full(self, entry):  # -> (rows, *shape)
        """The tensor itself, from a flat or factored piece or as it is."""
        return rows_of(entry, self.shape)


def rows_of(piece, shape):
    """Flat or factored weights of one tensor -> `(rows, *shape)`."""
    flat = forms.materialize(piece)
    return backend.reshape(flat, (ops.shape(flat)[0], *shape))
