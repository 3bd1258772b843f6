"""The weights of one layer tensor by tensor: `{"kernel": ..., "bias": ...}`.

An entry is a tensor `(rows, *shape)`, where a single row serves the whole batch; or the factored
weights of that tensor; or an update of low rank, `{"base": shape, "down": (rows, ..., rank),
"up": (rows, rank, ...)}`, which means `base + down @ up` and is never multiplied out here. So some
tensors of a layer may be generated for every row while others are ordinary weights.
"""

import math
import string

from keras import ops

from keras_hypernet.ops.rows import is_shared
from keras_hypernet.utils import backend, checks
from keras_hypernet.weights import forms

UPDATE = ("base", "down", "up")


def is_named(weights, names):
    """Whether weights (or their shapes) are given by the names of a layer's tensors."""
    return isinstance(weights, dict) and bool(set(weights) & set(names))


def is_update(entry):
    """Whether an entry (or its shapes) is an update of low rank."""
    return isinstance(entry, dict) and set(entry) == set(UPDATE)


def check_weights(weights, names):
    """Floating tensors in one of the forms."""
    if not is_named(weights, names):
        forms.check_weights(weights)
        return
    checks.exact_keys("weights", weights, names)
    for entry in weights.values():
        if is_update(entry):
            for tensor in entry.values():
                forms.check_weights(tensor)
        else:
            forms.check_weights(entry)


def check_shapes(received, shapes, updates):
    """Shapes of weights in any form that fit the layer's `shapes`.

    Args:
        received: Shapes of weights.
        shapes: `{name: shape}` of the layer's tensors.
        updates: Function from a name and a rank to the shapes of an update's `down` and `up`.
    """
    if not is_named(received, shapes):
        forms.check_shapes(received, sum(map(math.prod, shapes.values())))
        return
    for name, shape in shapes.items():
        entry, argument = received[name], f"weights[{name!r}]"
        if is_update(entry):
            down, up = updates(name, shape, entry["down"][-1])
            _check_shape(f"{argument}['base']", entry["base"], shape)
            _check_shape(f"{argument}['down']", entry["down"][1:], down)
            _check_shape(f"{argument}['up']", entry["up"][1:], up)
        elif isinstance(entry, dict):
            forms.check_shapes(entry, math.prod(shape))
        else:
            _check_shape(argument, entry[1:], shape, "(rows, *shape) with the shape ")


def _check_shape(argument, received, expected, form=""):
    fits = len(received) == len(expected) and all(
        r in (None, e) for r, e in zip(received, expected)
    )
    if not fits:
        raise ValueError(
            f"`{argument}` must be {form}{tuple(expected)}. Received: {tuple(received)}"
        )


def row_counts(shapes, names):
    """Static numbers of rows in weights of any form; `None` where one is dynamic."""
    if not is_named(shapes, names):
        return [forms.row_count(shapes)]
    counts = []
    for entry in shapes.values():
        if is_update(entry):
            counts += [entry["down"][0], entry["up"][0]]
        else:
            counts.append(forms.row_count(entry))
    return counts


def tensors_of(weights, shapes, one_row=False):
    """Weights in any form -> `{name: tensor (rows, *shape), or an update}`.

    Args:
        weights: Weights of a layer.
        shapes: `{name: shape}` of the layer's tensors.
        one_row: Whether there is a single row, though shapes may not say so.
    """
    if is_named(weights, shapes):
        pieces = weights
    else:
        flat = forms.materialize(weights)
        pieces = dict(zip(shapes, backend.split(flat, [math.prod(s) for s in shapes.values()])))
    tensors = {}
    for name, shape in shapes.items():
        if is_update(pieces[name]):
            tensors[name] = pieces[name]
        else:
            piece = forms.materialize(pieces[name])
            rows = 1 if one_row else ops.shape(piece)[0]
            tensors[name] = backend.reshape(piece, (rows, *shape))
    return tensors


def multiplied(update, equation):
    """An update of low rank -> the tensor `(rows, *shape)`, by the equation of its product."""
    factors, product = equation.split("->")
    row = next(c for c in string.ascii_letters if c not in equation)
    axes, tensors = [], []
    for letters, name in zip(factors.split(","), ("down", "up")):
        shared = is_shared(update[name])
        axes.append(letters if shared else row + letters)
        tensors.append(update[name][0] if shared else update[name])
    made = row + product if any(row in letters for letters in axes) else product
    change = ops.einsum(f"{','.join(axes)}->{made}", *tensors)
    change = change if made != product else ops.expand_dims(change, 0)
    return ops.expand_dims(update["base"], 0) + change
