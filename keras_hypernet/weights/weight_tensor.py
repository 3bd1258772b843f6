"""`WeightTensor`: one tensor of a target."""

from __future__ import annotations

import dataclasses
import math

import keras

from keras_hypernet.utils import checks
from keras_hypernet.weights import fans


@dataclasses.dataclass(frozen=True)
class WeightTensor:
    """One tensor of a target: its name, shape, role, fans, layout and place in the flat vector.

    `layer` is the name up to the last slash. `fan_in` and `fan_out` are those of the
    layer's kernel (a bias has its kernel's), or `None` where a layer has no kernel. `layout` says
    which axes of a kernel are its inputs and outputs. `initializer` is the Keras initializer that
    it has as an ordinary weight, `None` for the usual one of its role; specs that differ only
    there are equal.
    """

    name: str
    shape: tuple
    role: str
    fan_in: int | None
    fan_out: int | None
    offset: int
    layout: str = "keras"
    initializer: object = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def size(self):
        return math.prod(self.shape)

    @property
    def layer(self):
        return self.name.rpartition("/")[0]

    @property
    def is_matrix(self):
        """Whether it is a kernel with an axis of inputs and one of outputs."""
        return self.role == "kernel" and len(self.shape) > 1

    @property
    def input_axis(self):
        """The axis of a kernel's inputs."""
        return fans.LAYOUTS[self.layout][0] if self.is_matrix else None

    @property
    def output_axes(self):
        """The axes with an entry for each output (of a table, each row), together in order."""
        if self.is_matrix:
            return fans.LAYOUTS[self.layout][1]
        if not self.shape:
            return ()
        return (0,) if self.role == "embedding" else (-1,)

    @property
    def outputs(self):
        """Number of outputs."""
        return math.prod(self.shape[axis] for axis in self.output_axes)


FIELDS = ("name", "shape", "role", "fan_in", "fan_out", "layout", "initializer")


def fields_of(tensor):
    """What `WeightSpec` is made of, of one tensor."""
    return {field: getattr(tensor, field) for field in FIELDS}


def config_of(tensor):
    """The fields of a tensor as JSON has them."""
    fields = {**fields_of(tensor), "shape": list(tensor.shape)}
    initializer = fields.pop("initializer")
    if initializer is not None:
        fields["initializer"] = keras.initializers.serialize(initializer)
    return fields


def complete(given):
    """The fields of a tensor, checked, what was left out inferred."""
    if not isinstance(given, dict) or not {"name", "shape"} <= set(given):
        raise ValueError(
            "`tensors` must be a list of dicts with the keys `name` and `shape`. "
            f"Received: {given!r}"
        )
    checks.known_keys("tensors", given, FIELDS)
    name, shape = checks.name("name", given["name"]), given["shape"]
    shape = checks.shape(f"shape of {name}", shape)
    role = given.get("role")
    role = checks.choice("role", fans.role_of_name(name) if role is None else role, fans.ROLES)
    layout = checks.choice("layout", given.get("layout", "keras"), tuple(fans.LAYOUTS))
    fan_in, fan_out = _fans(given)
    if fan_in is None and role == "kernel" and layout == "other":
        raise ValueError(
            "`fan_in` and `fan_out` must be given for a kernel of `layout='other'`, which does not "
            f"say them. Received: {given!r}"
        )
    if fan_in is None and role in ("kernel", "embedding"):
        fan_in, fan_out = fans.of_shape(shape, layout if role == "kernel" else "keras")
    initializer = checks.initializer(f"initializer of {name}", given.get("initializer"))
    return dict(zip(FIELDS, (name, shape, role, fan_in, fan_out, layout, initializer)))


def _fans(given):
    """The given fans, both or none: a mean over tensors may be no integer."""
    fan_in, fan_out = given.get("fan_in"), given.get("fan_out")
    if (fan_in is None) != (fan_out is None):
        raise ValueError(
            "`fan_in` and `fan_out` must be given together, or neither. "
            f"Received: fan_in={fan_in!r}, fan_out={fan_out!r}"
        )
    for argument, value in (("fan_in", fan_in), ("fan_out", fan_out)):
        if value is not None:
            checks.positive_number(argument, value)
    return fan_in, fan_out
