"""Weights of leaves that are quantized or have adapters: what their rules add to their own call."""

from keras import ops

from keras_hypernet.layers import named_weights


def check_not_replaced(name, inside, per_row, weights_shape):
    """Raises where weights per row would take the place of a quantized or adapted kernel.

    Args:
        name: Of the layer.
        inside: What it has `Inside`.
        per_row: Names of the tensors that have rows.
        weights_shape: Shapes of weights in any form.
    """
    given = weights_shape if named_weights.is_named(weights_shape) else {}
    found = [
        f"{name}/{p.name}"
        for p in inside.adapted
        if p.name in per_row and not named_weights.is_update(given.get(p.name))
    ]
    if found:
        raise ValueError(
            f"{', '.join(found)}: a kernel that is quantized or has an adapter takes updates, and "
            "no weights in its place. Use `kh.hypernetize(mode='delta')` or 'low_rank'."
        )


def over_adapted(inside, tensors, per_row):
    """Tensors by name, of which those of adapted leaves are what is added to their own call.

    That call has their own bias: of a given one it is the difference.
    """
    tensors = dict(tensors)
    for kernel in inside.adapted:
        own = [p for p in inside.of_leaf[id(kernel.leaf)] if p.name in tensors]
        if not any(p.name in per_row or named_weights.is_update(tensors[p.name]) for p in own):
            continue
        tensors.setdefault(kernel.name, {"base": kernel.leaf.base()})
        for p in own:
            if p is not kernel:
                bias = tensors[p.name]
                tensors[p.name] = bias - ops.cast(p.own(), bias.dtype)
    return tensors


def is_added(inside, p, tensors):
    """Whether a parameter is of an adapted leaf that its rule runs."""
    if p is None or not p.leaf.adapted:
        return False
    own = inside.of_leaf[id(p.leaf)]
    return any(named_weights.is_update(tensors.get(other.name)) for other in own)
