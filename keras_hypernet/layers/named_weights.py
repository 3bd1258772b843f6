"""The weights of one layer tensor by tensor: `{"kernel": ..., "bias": ...}`.

An entry is a tensor `(rows, *shape)`, where a single row serves the whole batch; or the factored
weights of that tensor; or an update of low rank, `{"base": shape, "down": (rows, ..., rank),
"up": (rows, rank, ...)}`, which means `base + down @ up` and is never multiplied out here. With a
`"scale": (rows, rank)` it means `base + down @ diag(scale) @ up`. Over a kernel that is quantized
or has an adapter, the base is a function of the data, and the update may be a whole tensor,
`{"base": function, "change": (rows, *shape)}`. So some tensors of a layer may be generated for
every row while others are ordinary weights.
"""

import math
import string

import keras
from keras import ops

from keras_hypernet.ops import rows
from keras_hypernet.utils import backend, checks
from keras_hypernet.weights import forms

UPDATE = ("base", "down", "scale", "up")


def is_named(weights):
    """Whether weights (or their shapes) are given tensor by tensor."""
    return isinstance(weights, dict) and not is_factored(weights)


def is_factored(entry):
    """Whether weights, an entry of them, or the shapes of one, are factored."""
    return isinstance(entry, dict) and set(entry) == set(forms.FACTORS)


def is_update(entry):
    """Whether an entry (or its shapes) is an update."""
    return isinstance(entry, dict) and "base" in entry


def rows_in(update):
    """Names of what has rows in an update."""
    return [name for name in (*UPDATE[1:], "change") if name in update]


def is_single(entry):
    """Whether an entry is a tensor that is known to have one row."""
    return not isinstance(entry, dict) and rows.is_shared(entry)


def check_weights(weights, names):
    """Floating tensors in one of the forms."""
    if not is_named(weights):
        forms.check_weights(weights)
        return
    if not set(weights) & set(names):
        raise ValueError(
            f"`weights` must be a tensor, or a dict of {list(names)}, or of {forms.FACTORS} if "
            f"they are factored. Received: {sorted(weights)}"
        )
    checks.exact_keys("weights", weights, names)
    for name, entry in weights.items():
        if is_update(entry):
            keys = [key for key in UPDATE if key != "scale" or key in entry]
            checks.exact_keys(f"weights[{name!r}]", entry, keys)
            for tensor in entry.values():
                forms.check_weights(tensor)
        else:
            forms.check_weights(entry)


def check_shapes(received, shapes, updates):
    """Shapes of weights in any form that fit the layer's `shapes`.

    Args:
        received: Shapes of weights.
        shapes: `{name: shape}` of the layer's tensors.
        updates: Function from a name, a shape and a rank to the shapes of an update's factors.
    """
    if not is_named(received):
        forms.check_shapes(received, sum(map(math.prod, shapes.values())))
        return
    for name, shape in shapes.items():
        entry, argument = received[name], f"weights[{name!r}]"
        if is_update(entry):
            down, up = updates(name, shape, entry["down"][-1])
            _check_shape(f"{argument}['base']", entry["base"], shape)
            _check_shape(f"{argument}['down']", entry["down"][1:], down)
            _check_shape(f"{argument}['up']", entry["up"][1:], up)
            if "scale" in entry:
                _check_shape(f"{argument}['scale']", entry["scale"][1:], entry["down"][-1:])
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
    """`{name: static numbers of rows}` of weights of any form; `None` where one is dynamic."""
    if not is_named(shapes):
        return {name: [forms.row_count(shapes)] for name in names}
    return {name: _row_counts(entry) for name, entry in shapes.items()}


def _row_counts(entry):
    if is_update(entry):
        return [entry[name][0] for name in rows_in(entry)]
    return [forms.row_count(entry)]


def tensors_of(weights, shapes, single=(), factored=()):
    """Weights in any form -> `{name: tensor (rows, *shape), update or factored entry}`.

    Args:
        weights: Weights of a layer; tensor by tensor, they may be those of some tensors.
        shapes: `{name: shape}` of the layer's tensors.
        single: Names of those that have a single row, though shapes may not say so.
        factored: Names of those that may stay factored, where they have rows.
    """
    sizes = [math.prod(shape) for shape in shapes.values()]
    if is_named(weights):
        pieces = weights
    elif factored and is_factored(weights):
        pieces = dict(zip(shapes, forms.split_layers(weights, sizes)))
    else:
        pieces = dict(zip(shapes, backend.split(forms.materialize(weights), sizes)))
    tensors = {}
    for name in [*filter(pieces.__contains__, shapes), *(n for n in pieces if n not in shapes)]:
        piece = pieces[name]
        stays = name in factored and name not in single and is_factored(piece)
        if is_update(piece):
            if name in single:
                piece = {**piece, **{n: forms.one_row(piece[n]) for n in rows_in(piece)}}
        elif not stays:
            piece = forms.materialize(piece)
            count = 1 if name in single else ops.shape(piece)[0]
            piece = backend.reshape(piece, (count, *shapes[name]))
        tensors[name] = piece
    return tensors


def multiplied(update, equation):
    """An update of low rank -> the tensor `(rows, *shape)`, by the equation of its product."""
    factors, product = equation.split("->")
    down, up = factors.split(",")
    row = next(c for c in string.ascii_letters if c not in equation)
    axes, tensors = [], []
    scale = [c for c in down if c in up and c not in product]
    for letters, name in zip((down, *scale, up), UPDATE[1:]):
        if name not in update:
            continue
        shared = rows.is_shared(update[name])
        axes.append(letters if shared else row + letters)
        tensors.append(update[name][0] if shared else update[name])
    made = row + product if any(row in letters for letters in axes) else product
    change = ops.einsum(f"{','.join(axes)}->{made}", *tensors)
    change = change if made != product else ops.expand_dims(change, 0)
    return ops.expand_dims(update["base"], 0) + change


def cast(entry, dtype):
    """An entry in a dtype; the base of an update may be a function."""
    if not is_update(entry):
        return forms.cast(entry, dtype)
    return {n: x if callable(x) else forms.cast(x, dtype) for n, x in entry.items()}


def mean_over_rows(regularizer, tensor):
    """A penalty of one set of weights, mean over sets `(rows, *shape)`; of none it is 0.

    As Keras' own, which is of variables, it is not in half precision.
    """
    tensor = ops.cast(tensor, keras.backend.result_type(tensor.dtype, "float32"))
    if tensor.shape[0] == 0:  # which PyTorch cannot map over
        return ops.zeros(())
    count = ops.shape(tensor)[0]
    if ops.is_tensor(count):
        count = ops.cast(ops.maximum(count, 1), tensor.dtype)
    return ops.sum(ops.vectorized_map(regularizer, tensor)) / count
