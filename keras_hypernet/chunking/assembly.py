"""`Assembly`: which piece of what was generated goes to which tensor of a target."""

import difflib

import keras
from keras import ops

from keras_hypernet.utils import checks


class Assembly:
    """Puts named pieces together into the tensors of a spec.

    Args:
        spec: The `WeightSpec` of the target.
        sources: `{piece name: shape}` of all pieces that there are.
        entries: `{target tensor: piece}`, where a tensor made of several pieces has
            `{"join": [pieces], "axis": axis}`. Or a function registered with Keras,
            `{piece: (rows, *shape)} -> {target tensor: (rows, *shape)}`.

    Raises:
        ValueError: if a tensor of the target gets no piece, pieces of another shape, or too few
            or too many of them.
    """

    def __init__(self, spec, sources, entries):
        self.spec = spec
        self.function, self.entries = None, {}
        self.used = {}  # {piece: [tensors that it goes to]}; nothing is known of a function
        if callable(entries):
            self.function = check_registered("assembly", entries)
            return
        if not isinstance(entries, dict):
            raise TypeError(
                "`assembly` must be a dict {target tensor: piece} or a registered function. "
                f"Received: {type(entries).__name__}"
            )
        missing = [name for name in spec.names if name not in entries]
        unknown = [name for name in entries if name not in spec]
        if missing or unknown:
            raise ValueError(
                "`assembly` must cover the tensors of the target, each once. "
                f"Not covered: {missing}. Not in the target: {unknown}"
            )
        self.entries = {name: _normalized(name, entries[name]) for name in spec.names}
        for tensor in spec:
            _check_entry(tensor, self.entries[tensor.name], sources)
            for piece in self.entries[tensor.name]["join"]:
                self.used.setdefault(piece, []).append(tensor.name)

    def __call__(self, pieces):
        """`{piece: (rows, *shape)}` -> list of `(rows, size)`, one per tensor of the target."""
        if self.function:
            tensors = self.spec.in_order(self.function(pieces))
        else:
            tensors = [_joined(pieces, self.entries[name]) for name in self.spec.names]
        return [ops.reshape(t, (-1, size)) for t, size in zip(tensors, self.spec.sizes)]

    def get_config(self):
        if self.function:
            return keras.saving.serialize_keras_object(self.function)
        single = {name: e["join"][0] for name, e in self.entries.items() if len(e["join"]) == 1}
        return {name: single.get(name, entry) for name, entry in self.entries.items()}


def entries_from_config(config):
    """What `Assembly` takes as `entries`, from its config."""
    if isinstance(config, dict) and "class_name" in config:
        return keras.saving.deserialize_keras_object(config)
    return config


def check_registered(argument, function):
    """A function that a config can name."""
    if isinstance(function, type) or not hasattr(function, "__name__"):
        raise TypeError(
            f"`{argument}` must be a function, where it is no dict. "
            f"Received: {function!r} of type {type(function).__name__}"
        )
    registered = keras.saving.get_registered_object(keras.saving.get_registered_name(function))
    if registered is not function:
        raise ValueError(
            f"`{argument}` must be a function registered with "
            "`@keras.saving.register_keras_serializable()`, so that it can be saved. "
            f"Received: {function}"
        )
    return function


def _normalized(target, entry):
    if isinstance(entry, str):
        return {"join": [entry], "axis": 0}
    if isinstance(entry, dict):
        checks.known_keys(f"assembly[{target!r}]", entry, ("join", "axis"))
    pieces = entry.get("join") if isinstance(entry, dict) else None
    if not isinstance(pieces, (list, tuple)) or not pieces or not _are_names(pieces):
        raise ValueError(
            "An entry of `assembly` must be a piece's name or "
            f'{{"join": [pieces], "axis": axis}}. Received for {target!r}: {entry!r}'
        )
    return {"join": list(pieces), "axis": checks.integer("axis", entry.get("axis", 0))}


def _are_names(pieces):
    return all(isinstance(piece, str) for piece in pieces)


def _check_entry(tensor, entry, sources):
    """The pieces of a tensor, joined, have its shape."""
    for piece in entry["join"]:
        if piece not in sources:
            near = difflib.get_close_matches(str(piece), sources, n=3)
            raise ValueError(
                f"`assembly` names the piece {piece!r} for {tensor.name!r}, which there is not. "
                f"Nearest: {near}"
            )
    shapes = [tuple(sources[piece]) for piece in entry["join"]]
    axis, rank = entry["axis"], len(tensor.shape)
    if len(shapes) == 1 and shapes[0] == tensor.shape:
        return
    fits = all(len(shape) == rank for shape in shapes) and -rank <= axis < rank
    if fits:
        rest = [_without(shape, axis) for shape in [*shapes, tensor.shape]]
        fits = len(set(rest)) == 1
    if not fits:
        raise ValueError(
            f"In `assembly` the pieces of {tensor.name!r} must have its shape {tensor.shape} but "
            f"for axis {axis}, along which they are joined. "
            f"Received: {dict(zip(entry['join'], shapes))}"
        )
    given, wanted = sum(shape[axis] for shape in shapes), tensor.shape[axis]
    if given != wanted:
        fault = "do not cover it" if given < wanted else "overlap"
        raise ValueError(
            f"In `assembly` the pieces of {tensor.name!r} {fault}: they have {given} of its "
            f"{wanted} entries on axis {axis}. Received: {dict(zip(entry['join'], shapes))}"
        )


def _without(shape, axis):
    axis %= len(shape)
    return shape[:axis] + shape[axis + 1 :]


def _joined(pieces, entry):
    if len(entry["join"]) == 1:
        return pieces[entry["join"][0]]
    axis = entry["axis"] + (1 if entry["axis"] >= 0 else 0)  # rows come first
    return ops.concatenate([pieces[piece] for piece in entry["join"]], axis=axis)
