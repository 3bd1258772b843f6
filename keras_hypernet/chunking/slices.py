"""`Unit`: tensors of one layer that can be cut into slices together."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Unit:
    """Tensors of one layer whose slices belong together, such as a kernel and its bias.

    Args:
        tensors: `{name in a chunk: name in the target}`.
        axes: `{name in a chunk: axis along which it is cut}`; empty for a scalar.
        family: `((name in a chunk, shape of one slice, axis), ...)`. Slices of units of one family
            have equal shapes, so that chunks of equally many slices are of one kind.
        size: Number of slices.
    """

    tensors: dict
    axes: dict
    family: tuple
    size: int


def units_of(spec):
    """The units of all layers, in the order of the spec."""
    for layer in spec.layers.values():
        left = list(layer)
        while left:
            main = max(left, key=lambda tensor: tensor.size)
            size = _entries(main)
            unit = [tensor for tensor in left if tensor is main or _follows(tensor, size)]
            left = [tensor for tensor in left if tensor not in unit]
            yield _unit(unit, size)


def values_in_slice(family):
    return sum(math.prod(shape) for _, shape, _ in family)


def shape_of_chunk(family_entry, slices):
    _, shape, axis = family_entry
    shape = list(shape)
    if axis is not None:
        shape[axis] *= slices
    return tuple(shape)


def _unit(tensors, size):
    names = {tensor.name.rpartition("/")[2]: tensor for tensor in tensors}
    axes = {name: _output_axis(t) for name, t in names.items() if t.shape}
    family = []
    for name, tensor in names.items():
        shape = list(tensor.shape)
        if name in axes:
            shape[axes[name]] //= size
        family.append((name, tuple(shape), axes.get(name)))
    return Unit({name: t.name for name, t in names.items()}, axes, tuple(family), size)


def _entries(tensor):
    return tensor.shape[_output_axis(tensor)] if tensor.shape else 1


def _follows(tensor, size):
    """Whether a tensor can be cut into as many slices as its layer's main one."""
    if not tensor.shape:
        return False
    entries = _entries(tensor)
    return entries == size or (size > 1 and entries % size == 0)


def _output_axis(tensor):
    """The (first) axis with an entry for each output, or each row of a table."""
    return tensor.output_axes[0] if tensor.output_axes else -1
