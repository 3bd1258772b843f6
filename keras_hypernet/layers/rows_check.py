"""Tries out whether a layer keeps its batch in front: a row alone gives what it gives in a batch.

The rows rule holds inside a block where the batch stays the first axis, or is merged with others
behind it. A block that moves it elsewhere would mix the weights of rows up in silence.
"""

import contextlib
import dataclasses
from functools import partial

import keras
import numpy as np
from keras import ops, tree

from keras_hypernet.layers.scope import Scope
from keras_hypernet.utils import keras_internals
from keras_hypernet.utils.functional_call import outputs_with

# Five data rows for a row of weights, no usual number of heads: on TensorFlow, Keras adds a bias
# with one long axis to the first axis of that length.
_ROWS, _BATCH = 2, 10
_SEQUENCES = (8, None, 64)  # sizes of axes to try; `None` is those that are known, and 8
_TOLERANCES = {"float64": 1e-3, "float32": 1e-3, "float16": 3e-2, "bfloat16": 1e-1}


def options(args, kwargs):
    """What a call asks for beside data and numbers, which may be others each time, in words."""

    def option(x):
        plain = x is None or isinstance(x, (bool, str))
        return x if plain else None if _is_tensor(x) else type(x).__name__

    asked = {name: x for name, x in kwargs.items() if name != "training"}  # is never tried out
    return str(tree.map_structure(option, [list(args), asked]))


def check(hyper, per_row, args, kwargs):
    """Raises where a layer mixes rows up.

    Args:
        hyper: The `Hyper` around the layer.
        per_row: Names of the tensors that have rows.
        args, kwargs: What the layer is called with, of which only shapes and dtypes count.
    """
    with keras_internals.eagerly():
        trial = Trial(hyper, per_row)
        error = failed = None
        for size in _SEQUENCES:
            data = _drawn(args, kwargs, size)
            alone = [{} for _ in range(_ROWS)]
            try:
                outputs = [
                    trial.alone(i, calls, *_of_row(data, i)) for i, calls in enumerate(alone)
                ]
            except Exception as raised:  # the layer does not take data of these sizes
                error = raised
                continue
            calls = {}
            try:
                together = trial.batch(calls, *data)
            except Exception as raised:
                failed = (alone[0], calls, raised)
                continue
            trial.compare(outputs, alone, together, calls)
            return
    if failed:
        trial.refuse(*failed)
    raise ValueError(
        f"{_where(hyper)} could not be tried out with weights per row on small random data: "
        f"{type(error).__name__}: {error}. Give `check_rows=False` if each row of its data goes "
        "through it by itself."
    ) from error


class Trial:
    """A layer on random weights, of which some have rows."""

    def __init__(self, hyper, per_row):
        self.hyper, self.layer = hyper, hyper.wrapped_layer()
        self.rng = np.random.default_rng(0)
        self.inside = hyper.inside()
        self.tensors = {}
        for p, tensor in zip(self.inside.parameters, hyper.parameter_tensors()):
            count = _ROWS if p.name in per_row else 1
            self.tensors[p.name] = self._weights(tensor, count, p.variable.dtype)
        updatable = self.inside.updatable
        self.leaves = {id(updatable[n].leaf): updatable[n].leaf for n in per_row & set(updatable)}
        self.updates = {
            p.name: self._update(p, p.name in per_row)
            for p in self.inside.adapted
            if id(p.leaf) in self.leaves
        }
        dtypes = {each.compute_dtype for each in keras_internals.layers_in(self.layer)}
        self.tolerance = max(_TOLERANCES.get(dtype, 0) for dtype in dtypes)

    def _weights(self, tensor, count, dtype):
        drawn = self.rng.normal(size=(count, *tensor.shape))
        if tensor.role == "kernel":
            drawn = drawn / np.sqrt(max(1, tensor.fan_in or 1))
        else:
            drawn = 0.5 * drawn + (tensor.role == "scale")
        return ops.convert_to_tensor(drawn, dtype)

    def _update(self, p, has_rows):
        """An update, or none, of a kernel that is quantized or has an adapter."""
        shapes = p.update_shapes(p.name, 1) if has_rows else ()
        dtype = p.leaf.layer.compute_dtype
        factors = dict(zip(("down", "up"), shapes))
        drawn = {n: self.rng.normal(size=(_ROWS, *shape)) for n, shape in factors.items()}
        return {
            "base": p.leaf.base(_values(p.leaf.layer.variables)),
            **{name: ops.convert_to_tensor(factor, dtype) for name, factor in drawn.items()},
        }

    def alone(self, row, calls, args, kwargs):
        """The layer itself, on the weights of a row. `calls` gets those of leaves."""
        tensors = {n: t[row] if len(t) > 1 else t[0] for n, t in self.tensors.items()}
        updates = {
            name: {n: x if callable(x) else x[row : row + 1] for n, x in update.items()}
            for name, update in self.updates.items()
        }
        of_row = {n: t[row : row + 1] if len(t) > 1 else t for n, t in self.tensors.items()}
        plain = {
            key: partial(self.hyper.run_leaf, leaf, {**of_row, **updates})
            if leaf.adapted
            else partial(type(leaf.layer).call, leaf.layer)
            for key, leaf in self.leaves.items()
        }
        return self._run(tensors, plain, calls, args, kwargs)

    def batch(self, calls, args, kwargs):
        """All rows at once, each leaf by its rule. `calls` gets those of leaves."""
        single = {name: tensor[0] for name, tensor in self.tensors.items() if len(tensor) == 1}
        by_rule = {
            key: partial(self.hyper.run_leaf, leaf, {**self.tensors, **self.updates})
            for key, leaf in self.leaves.items()
        }
        return self._run(single, by_rule, calls, args, kwargs)

    def _run(self, tensors, functions, calls, args, kwargs):
        scoped = {
            id(leaf.layer): partial(_noted, calls.setdefault(leaf.name, []), functions[key])
            for key, leaf in self.leaves.items()
        }
        parameters = self.inside.parameters
        values = [(p.variable, tensors[p.name]) for p in parameters if p.name in tensors]
        hidden = {id(p.variable): None for p in parameters if p.name not in tensors}
        state = _values(keras_internals.state_of(self.layer))
        call = partial(self.layer, *args, **{**kwargs, "training": False})
        with Scope(scoped):
            outputs = outputs_with([*values, *state], call, hidden)
        return tree.map_structure(ops.convert_to_numpy, outputs)

    def compare(self, outputs, alone, together, calls):
        """Raises where all rows at once do not give what each gives alone."""
        same = self._equal(together, outputs) and all(
            self._equal(both.outputs, [one.outputs for one in ones])
            for name, found in calls.items()
            for both, *ones in zip(found, *(its[name] for its in alone))
            if both.outputs is not None
        )
        if not same or self._without_batch(alone[0], calls):
            self.refuse(alone[0], calls)

    def _equal(self, together, alone):
        return all(map(self._same, *map(tree.flatten, (together, *alone))))

    def _same(self, together, *rows):
        together, rows = np.asarray(together), [np.asarray(row) for row in rows]
        if together.ndim == 0 or together.shape == rows[0].shape:
            return True  # nothing of a batch
        parts = np.concatenate(rows)
        if parts.shape != together.shape:
            return False
        together, parts = together.astype("float64"), parts.astype("float64")
        size = max(1.0, np.abs(parts).max(initial=0))
        return np.allclose(together, parts, rtol=0, atol=self.tolerance * size, equal_nan=True)

    def _without_batch(self, alone, together):
        """The first leaf that is called on data without the batch in front, and their size."""
        for leaf in self.leaves.values():
            pairs = zip(alone.get(leaf.name, []), together.get(leaf.name, []))
            for one, both in pairs:
                if both.size * (_BATCH // _ROWS) != one.size * _BATCH:
                    return leaf, both.size
        return None

    def refuse(self, alone, together, error=None):
        found = self._without_batch(alone, together)
        reason = f" ({type(error).__name__}: {error})" if error else ""
        if found is not None:
            leaf, size = found
            raise ValueError(
                f"{self.hyper.name}/{leaf.name} is called on data without the batch in front, "
                f"where weights per row have no meaning: on {size} entries for a batch of "
                f"{_BATCH}. Leave it out (`select`), as a tensor of one row, or give "
                "`shared=True`, for one condition a batch."
            ) from error
        raise ValueError(
            f"{_where(self.hyper)} does not give for a row in a batch what it gives for the row "
            f"alone, with weights per row{reason}: it must keep the batch in front of the data, "
            "and use its weights by calling the layers that have them. Give `shared=True`, for "
            "one condition a batch, or leave it out (`select`); or `check_rows=False` if this is "
            "not so."
        ) from error


@dataclasses.dataclass
class Call:
    """A call of a leaf: entries of its data, and outputs, unless they cannot be read there."""

    size: int
    outputs: object = None


def _noted(calls, function, *args, **kwargs):
    x = args[0] if args else next(iter(kwargs.values()))
    first = tree.flatten(x)[0]
    call = Call(first.shape[0] if len(first.shape) else 1)
    calls.append(call)
    outputs = function(*args, **kwargs)
    with contextlib.suppress(Exception):  # in a loop of the backend
        call.outputs = tree.map_structure(ops.convert_to_numpy, outputs)
    return outputs


def _values(variables):
    """`[(variable, its value)]`, or ones where that cannot be read now."""
    return [
        (v, v.value if keras_internals.is_readable(v) else ops.ones(v.shape, v.dtype))
        for v in variables
    ]


def _where(hyper):
    layer = hyper.wrapped_layer()
    return f"The layer {hyper.name!r} of class {type(layer).__name__}"


def _drawn(args, kwargs, size):
    """Random data in place of tensors, where axes have other sizes, and the batch its own."""
    rng = np.random.default_rng(1)
    tensors = [x for x in tree.flatten((args, kwargs)) if _is_tensor(x)]
    first = tensors[0]
    batch = first.shape[0] if len(first.shape) else None
    # Axes between the batch and the last are of positions.
    positions = {n for x in tensors for n in x.shape[1:-1] if n is not None and size and n > size}

    def draw(x):
        if not _is_tensor(x):
            return x
        shape = [(size or 8) if n is None or n in positions else n for n in x.shape]
        if shape and (x.shape[0] is None or x.shape[0] == batch):
            shape[0] = _BATCH
        dtype = keras.backend.standardize_dtype(x.dtype)
        if dtype == "bool":
            return np.ones(shape, "bool")
        floating = keras.backend.is_float_dtype(dtype)
        drawn = rng.normal(size=shape) if floating else rng.integers(0, 2, shape)
        return ops.convert_to_tensor(drawn, dtype)

    return tree.map_structure(draw, (args, kwargs))


def _of_row(data, row):
    """The data that a row of weights is for."""
    n = _BATCH // _ROWS

    def cut(x):
        has_batch = _is_tensor(x) and len(x.shape) and x.shape[0] == _BATCH
        return x[row * n : (row + 1) * n] if has_batch else x

    return tree.map_structure(cut, data)


def _is_tensor(x):
    return hasattr(x, "dtype") and hasattr(x, "shape")
