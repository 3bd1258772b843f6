"""`WeightTensor`: one tensor of a target."""

from __future__ import annotations

import dataclasses
import math

from keras_hypernet import checks, fans


@dataclasses.dataclass(frozen=True)
class WeightTensor:
    """One tensor of a target: its name, shape, role, fans and place in the flat vector.

    `layer` is the name up to the last slash. `fan_in` and `fan_out` are those of the
    layer's kernel (a bias has its kernel's), or `None` where a layer has no kernel.
    """

    name: str
    shape: tuple
    role: str
    fan_in: int | None
    fan_out: int | None
    offset: int

    @property
    def size(self):
        return math.prod(self.shape)

    @property
    def layer(self):
        return self.name.rpartition("/")[0]


def fields_of(tensor):
    """What `WeightSpec` is made of, of one tensor."""
    return {
        "name": tensor.name,
        "shape": tensor.shape,
        "role": tensor.role,
        "fan_in": tensor.fan_in,
        "fan_out": tensor.fan_out,
    }


def complete(given):
    """The fields of a tensor, checked, what was left out inferred."""
    if not isinstance(given, dict) or not {"name", "shape"} <= set(given):
        raise ValueError(
            "`tensors` must be a list of dicts with the keys `name` and `shape`. "
            f"Received: {given!r}"
        )
    name, shape = given["name"], checks.shape("shape", given["shape"])
    if not isinstance(name, str) or not name:
        raise ValueError(f"A tensor's name must be a non-empty string. Received: name={name!r}")
    role = given.get("role") or fans.role_of_name(name)
    if role not in fans.ROLES:
        raise ValueError(f"`role` must be one of {fans.ROLES}. Received: role={role!r}")
    fan_in, fan_out = given.get("fan_in"), given.get("fan_out")
    if fan_in is None and role in ("kernel", "embedding"):
        fan_in, fan_out = fans.of_shape(shape, given.get("layout", "keras"))
    return {"name": name, "shape": shape, "role": role, "fan_in": fan_in, "fan_out": fan_out}
