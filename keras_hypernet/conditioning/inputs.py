"""The inputs of a generator: a tensor, or a dict of the tensors it was made for.

`noise (rows, n)`, `condition (rows, c)`, `condition_id (rows,)` and `chunk_embeddings
(rows, chunks, e)`; a tensor alone is the condition. Any of them may have one row for all.
"""

import keras
from keras import ops

from keras_hypernet.conditioning.ids import as_ids, check_ids
from keras_hypernet.utils import checks

VECTORS = ("noise", "condition")  # in the order in which they are joined


def as_dict(conditioning):
    """Inputs (or their shapes) by name."""
    return dict(conditioning) if isinstance(conditioning, dict) else {"condition": conditioning}


def with_ids(conditioning):
    """Inputs with their ids as an array, where they are an integer or a list of integers."""
    if not isinstance(conditioning, dict) or "condition_id" not in conditioning:
        return conditioning
    return {**conditioning, "condition_id": as_ids(conditioning["condition_id"])}


def stand_in(name, shape, dtype):
    """What is checked in place of an input that is not made yet."""
    # Its name given, or Keras would count it, which breaks the graph of `torch.compile`.
    return keras.KerasTensor(shape, dtype, name=name)


def label(conditioning, name):
    """What an error calls an input: its key, or the argument where it is given alone."""
    return name if isinstance(conditioning, dict) else "conditioning"


def check(conditioning, accepted, num_conditions=None, unknown="error"):
    """Raises unless inputs are known, have their dtypes and ranks, and equal rows (or one)."""
    inputs = as_dict(conditioning)
    refused = [name for name in inputs if name not in accepted]
    if refused:
        hint = checks.nearest(refused[0], accepted)
        raise ValueError(f"This generator takes the inputs {accepted}. Received: {refused}.{hint}")
    for name, tensor in inputs.items():
        if name == "condition_id":
            check_ids(tensor, num_conditions, unknown, argument=name)
            continue
        argument = label(conditioning, name)
        checks.tensor(argument, tensor)
        hint = ""
        if name == "condition":
            hint = " For integer ids use `ConditionEmbedding` or `Hypernetwork`"
            hint += "; where this generator takes them, `{'condition_id': ids}`."
        checks.float_tensor(argument, tensor, hint=hint)
        rank = 2 if name in VECTORS else 3
        more = rank == 2 and len(tensor.shape) > 2
        hint = " Flatten or pool what has more, such as an image." if more else ""
        checks.rank(argument, tensor.shape, rank, hint=hint)
    counts = {name: _known(tensor.shape[0]) for name, tensor in inputs.items()}
    if len(set(counts.values()) - {None, 1}) > 1:
        raise ValueError(f"Inputs must have equal numbers of rows, or one row. Received: {counts}")


def sizes(shapes):
    """`{name: width}` of the vectors among input shapes, each known."""
    found = {name: shapes[name] for name in VECTORS if name in shapes}
    for name, shape in found.items():
        checks.rank(name, shape, 2)
        checks.known_last_axis(name, shape)
    return {name: shape[-1] for name, shape in found.items()}


def check_sizes(conditioning, expected):
    """Raises unless the vectors are the ones that a generator was built with."""
    inputs = as_dict(conditioning)
    for name, size in expected.items():
        if name not in inputs:
            raise ValueError(
                f"This generator was made for `{name}` of width {size}, which is missing. "
                f"Received: {sorted(inputs)}"
            )
        checks.last_axis(label(conditioning, name), inputs[name].shape, size)
    extra = [name for name in VECTORS if name in inputs and name not in expected]
    if extra:
        raise ValueError(f"This generator was made without {extra}. Received: {sorted(inputs)}")


def rows(shapes):
    """Static number of rows of inputs together, or `None`."""
    counts = {_known(shape[0]) for shape in shapes.values()} - {1}
    if None in counts:
        return None
    return counts.pop() if counts else 1


def join(inputs, embeddings=None):
    """`[noise, embeddings, condition]` side by side, as far as there are such, `(rows, width)`."""
    parts = [inputs.get("noise"), embeddings, inputs.get("condition")]
    parts = [part for part in parts if part is not None]
    if len(parts) == 1:
        return parts[0]
    return ops.concatenate(share_rows(parts), axis=-1)


def share_rows(tensors, witnesses=()):
    """Tensors `(rows or 1, size)` -> `(rows, size)` each; other inputs may tell the rows."""
    everything = [*tensors, *witnesses]
    counts = {_known(tensor.shape[0]) for tensor in everything}
    if not tensors or (len(counts) == 1 and None not in counts):
        return list(tensors)
    dtype = tensors[0].dtype
    none = sum(ops.zeros_like(_column(tensor), dtype=dtype) for tensor in everything)  # (rows, 1)
    return [tensor + none for tensor in tensors]


def dynamic_rows(inputs):
    """Number of rows of inputs together, as the graph sees it."""
    columns = [_column(tensor) for tensor in inputs.values()]
    if len(columns) > 1:
        columns = [sum(ops.zeros_like(column, dtype="float32") for column in columns)]
    return ops.shape(columns[0])[0]


def _column(tensor):
    """Something `(rows, 1)` of a tensor `(rows, ...)`."""
    while len(tensor.shape) > 2:
        tensor = tensor[:, 0]
    return tensor[:, :1] if len(tensor.shape) == 2 else tensor[:, None]


def _known(size):
    """A size, or `None` where it is not known: while a graph is traced it may be a symbol."""
    return size if isinstance(size, int) else None


def shapes_by_name(conditioning_shape):
    """Shapes of inputs by name: one axis alone is that of ids."""
    shapes = as_dict(conditioning_shape)
    if len(shapes.get("condition", (None, None))) == 1:  # given alone, these are ids
        shapes["condition_id"] = shapes.pop("condition")
    return shapes


def by_name(conditioning):
    """Inputs by name: a tensor alone is ids where it has integers."""
    if isinstance(conditioning, dict):
        return with_ids(conditioning)
    conditioning = as_ids(conditioning)
    checks.tensor("conditioning", conditioning, ", or an id or a list of ids, which are integers")
    dtype = checks.dtype_of("conditioning", conditioning)
    if keras.backend.is_int_dtype(dtype):
        return {"condition_id": conditioning}
    if len(conditioning.shape) == 1:
        raise TypeError(
            "Ids must have an integer dtype, in a model `keras.Input((), dtype='int32')`, and "
            f"vectors two axes. Received: dtype={dtype}, shape {tuple(conditioning.shape)}"
        )
    return {"condition": conditioning}
