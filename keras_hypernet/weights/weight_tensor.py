"""`WeightTensor`: one tensor of a target."""

from __future__ import annotations

import dataclasses
import math

import keras

from keras_hypernet.utils import checks
from keras_hypernet.utils.types import FullShape

# Roles of tensors, and the initializers that Keras gives them where a layer says nothing else.
INITIALIZERS = {
    "kernel": "glorot_uniform",
    "bias": "zeros",
    "scale": "ones",
    "offset": "zeros",
    "embedding": "uniform",
    "other": "zeros",
}
ROLES = tuple(INITIALIZERS)

# Axis of a kernel's inputs and axes of its outputs; the others are its window.
LAYOUTS = {
    "keras": (-2, (-1,)),  # (*window, in, out)
    "torch": (1, (0,)),  # (out, in, *window)
    "transposed": (-1, (-2,)),  # (*window, out, in)
    "depthwise": (-2, (-2, -1)),  # (*window, channels, multiplier)
    "other": (None, ()),  # no axis has the outputs alone
}

_ROLE_OF_NAME = {
    "kernel": "kernel",
    "depthwise_kernel": "kernel",
    "pointwise_kernel": "kernel",
    "recurrent_kernel": "kernel",
    "bias": "bias",
    "gamma": "scale",
    "scale": "scale",
    "beta": "offset",
    "offset": "offset",
    "embeddings": "embedding",
    "embedding": "embedding",
}


@dataclasses.dataclass(frozen=True)
class WeightTensor:
    """One tensor of a target: what a `WeightSpec` is made of.

    Args:
        name: Unique in its spec.
        shape: A tuple, `()` for a scalar.
        role: One of `kernel`, `bias`, `scale`, `offset`, `embedding`, `other`; `None` is what the
            last part of the name says.
        fan_in, fan_out: Those of the layer's kernel (a bias has its kernel's). `None` is what the
            shape and the layout say, and stays `None` where a layer has no kernel.
        layout: Which axes of a kernel are its inputs and outputs: see `WeightSpec.from_shapes`.
        initializer: Keras initializer that the tensor has as an ordinary weight; `None` is the
            usual one of its role. Specs that differ only there are equal.
        offset: Where it begins in the flat vector. Its spec says it.

    Raises:
        ValueError, TypeError: for unknown roles and layouts, shapes with an entry below one, one
            fan without the other, and a kernel of the layout `"other"` without fans.
    """

    name: str
    shape: FullShape
    role: str | None = None
    fan_in: float | None = None
    fan_out: float | None = None
    layout: str = "keras"
    initializer: keras.initializers.Initializer | None = dataclasses.field(
        default=None, compare=False, repr=False
    )
    offset: int = 0

    def __post_init__(self):
        name = checks.name("name", self.name)
        shape = checks.shape(f"shape of {name}", self.shape)
        role = role_of_name(name) if self.role is None else self.role
        checks.choice("role", role, ROLES)
        checks.choice("layout", self.layout, tuple(LAYOUTS))
        initializer = checks.initializer(f"initializer of {name}", self.initializer)
        for field, value in (("shape", shape), ("role", role), ("initializer", initializer)):
            object.__setattr__(self, field, value)
        self._complete_fans()

    def _complete_fans(self):
        fans = {"fan_in": self.fan_in, "fan_out": self.fan_out}
        if (self.fan_in is None) != (self.fan_out is None):
            raise ValueError(
                "`fan_in` and `fan_out` must be given together, or neither. "
                f"Received: fan_in={self.fan_in!r}, fan_out={self.fan_out!r}"
            )
        if self.fan_in is not None:
            for argument, value in fans.items():
                checks.positive_number(argument, value)  # a mean over tensors may be no integer
            return
        if self.role == "kernel" and self.layout == "other":
            raise ValueError(
                "`fan_in` and `fan_out` must be given for a kernel of `layout='other'`, which does "
                f"not say them. Received: {self.name} of shape {self.shape}"
            )
        if self.role in ("kernel", "embedding"):
            layout = self.layout if self.role == "kernel" else "keras"
            for field, value in zip(fans, fans_of(self.shape, layout)):
                object.__setattr__(self, field, value)

    @classmethod
    def of(cls, given):
        """A tensor from itself or from its config."""
        if isinstance(given, cls):
            return given
        if not isinstance(given, dict) or not {"name", "shape"} <= set(given):
            raise ValueError(
                "`tensors` must be a list of dicts with the keys `name` and `shape`. "
                f"Received: {given!r}"
            )
        checks.known_keys("tensors", given, FIELDS)
        return cls(**given)

    def get_config(self):
        config = {field: getattr(self, field) for field in FIELDS}
        config["shape"] = list(self.shape)
        if config.pop("initializer") is not None:
            config["initializer"] = keras.initializers.serialize(self.initializer)
        return config

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def layer(self) -> str:
        """The name up to the last slash."""
        return self.name.rpartition("/")[0]

    @property
    def is_matrix(self) -> bool:
        """Whether it is a kernel with an axis of inputs and one of outputs."""
        return self.role == "kernel" and len(self.shape) > 1

    @property
    def input_axis(self) -> int | None:
        """The axis of a kernel's inputs."""
        return LAYOUTS[self.layout][0] if self.is_matrix else None

    @property
    def output_axes(self) -> tuple[int, ...]:
        """The axes with an entry for each output (of a table, each row), together in order."""
        if self.is_matrix:
            return LAYOUTS[self.layout][1]
        if not self.shape:
            return ()
        return (0,) if self.role == "embedding" else (-1,)

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return math.prod([self.shape[axis] for axis in self.output_axes])  # for `torch.compile`


# What a config has; the spec says the offset.
FIELDS = ("name", "shape", "role", "fan_in", "fan_out", "layout", "initializer")


def role_of_name(name):
    """Role of a tensor called `name`: its last part, without a number."""
    return _ROLE_OF_NAME.get(name.rpartition("/")[2].rstrip("_0123456789"), "other")


def fans_of(shape, layout="keras"):
    """Fans of a kernel of a layout: without its outputs, and without its inputs."""
    size = math.prod(shape)
    input_axis, output_axes = LAYOUTS[layout]
    if len(shape) < 2:
        return size, size
    return size // math.prod(shape[axis] for axis in output_axes), size // shape[input_axis]


def order_of_keras(layout, rank):
    """The axes of a kernel in the order that Keras' initializers expect."""
    if layout == "torch" and rank > 1:
        return (*range(2, rank), 1, 0)
    return tuple(range(rank))


def check_tensor_names(argument, received, names, of="the target's tensors"):
    """Names among those of some tensors, or roles."""
    known = [*names, *ROLES]
    unknown = [name for name in received if name not in known]
    if unknown:
        raise ValueError(
            f"`{argument}` must have names of {of}, or roles: {known}. "
            f"Received: {unknown}.{checks.nearest(unknown[0], known)}"
        )
