"""Reading a functional model: its calls in one list, those of nested models in their place."""

import numbers

import keras
import numpy as np
from keras import ops, tree

from keras_hypernet.conditioning.ids import as_ids
from keras_hypernet.generators.generator import Generator
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.models.calls import Call, Entry, ModelCall, Value, filled, values_in
from keras_hypernet.utils import checks, keras_internals


class CallGraph:
    """All calls of a functional model, each after those it depends on.

    Args:
        model: A functional or sequential model.

    `calls` is the list; a nested model that is called twice has its calls twice. `inputs`, `output`
    (a nest) and `members`, the calls that are in no nested model, are what a `ModelCall` has, too.
    """

    def __init__(self, model):
        self.model = model
        self.calls = []
        self.inputs = [Value() for _ in keras_internals.functional(model).inputs]
        self.members, self.output = self._read(model, self.inputs)

    def _read(self, model, inputs, around=(), order=(), context=None):
        """`(calls in a model, its output)`."""
        model, members = keras_internals.functional(model), []
        known = dict(zip(map(id, model.inputs), inputs))
        places = {id(operation): i for i, operation in enumerate(model.operations)}

        def values(nest):
            return tree.map_structure(lambda x: known.get(id(x), x), nest)

        for number, (operation, args, kwargs, outputs) in enumerate(keras_internals.nodes(model)):
            nested = keras_internals.functional(operation) is not None
            call = (ModelCall if nested else Call)(
                operation,
                values(args),
                values(kwargs),
                around,
                order=(*order, (places[id(operation)], number)),
                context=_context_of(operation, context or {}),
            )
            call.outputs = self._enter(call) if nested else [Value(call) for _ in outputs]
            members.append(call)
            self.calls.append(call)
            known.update(zip(map(id, outputs), call.outputs, strict=True))
        return members, values(model.output)

    def _enter(self, call):
        """Reads what is inside a nested model; returns its outputs."""
        symbols = keras_internals.functional(call.model).inputs
        inside = {"around": (*call.around, call), "order": call.order}
        for symbol, value, mask in zip(symbols, call.fed, call.masks, strict=True):
            entry = Call(Entry(symbol), (value,), {"mask": mask}, **inside)
            entry.outputs = [Value(entry)]
            self.calls.append(entry)
            call.inputs += entry.outputs
        context = _context_of(call.model, call.others) | call.context
        call.members, call.output = self._read(call.model, call.inputs, **inside, context=context)
        return tree.flatten(call.output)

    def calls_of(self, kind):
        """The calls of the operations of a class, as a model lists its operations."""
        found = [call for call in self.calls if isinstance(call.operation, kind)]
        return sorted(found, key=lambda call: call.order)

    def layers(self):
        """`[(layer, the calls around its first one)]`, nested models left out."""
        found = {}
        for call in self.calls:
            if isinstance(call.operation, keras.layers.Layer) and not isinstance(call, ModelCall):
                found.setdefault(id(call.operation), (call.operation, call.around))
        return list(found.values())

    def conditioning(self):
        """`[(input of the model, its `Value`)]` that generated weights depend on."""
        taken = [[call.args, call.kwargs] for call in self.calls_of(Generator)]
        found = before([taken, [call.weights for call in self.calls_of(HyperLayer)]])
        symbols = keras_internals.functional(self.model).inputs
        return [pair for pair in zip(symbols, self.inputs) if pair[1] in found]

    def calls_before(self, nest, *stop):
        """The calls that values are made by, up to those of some classes."""
        made_by = {value.call for value in before(nest, until(*stop))}
        return [call for call in self.calls if call in made_by]


def _context_of(operation, arguments):
    """Those of some arguments that a call of a layer hands on to all layers inside."""
    is_layer = isinstance(operation, keras.layers.Layer)
    names = keras_internals.context_arguments(operation) if is_layer else ()
    return {name: value for name, value in arguments.items() if name in names}


def everything(call):
    return call.args, call.kwargs


def until(*stop):
    """What calls take; nothing for those of some classes."""
    return lambda call: () if isinstance(call.operation, stop) else everything(call)


def before(nest, taken=everything):
    """The `Value`s that values are made of, themselves too.

    `taken` is a function of a call: the values it takes, as far as they are wanted.
    """
    found, waiting = set(), values_in(nest)
    while waiting:
        value = waiting.pop()
        if value not in found:
            found.add(value)
            waiting += [] if value.call is None else values_in(taken(value.call))
    return found


def run(calls, tensors, training=None):
    """`{Value: tensor}` of calls, each run once, and of what is given."""
    tensors = dict(tensors)
    for call in calls:
        args, kwargs = filled((call.args, call.kwargs), tensors)
        kwargs = {**kwargs, **call.context}
        if training is not None and isinstance(call.operation, keras.layers.Layer):
            kwargs["training"] = training
        outputs = tree.flatten(call.operation(*args, **kwargs))
        tensors.update(zip(call.outputs, outputs, strict=True))
    return tensors


def check_functional(model):
    if isinstance(model, keras.Sequential):
        raise _not_generated(model)
    if not isinstance(model, keras.Model) or not hasattr(model, "operations"):
        raise ValueError(
            "`model` must be a functional model, such as `build` and `hypernetize` return: only a "
            "graph says what feeds its generators. Call the generators of another model directly; "
            "a `ContinualModel` has `specialize(name)` of its own. "
            f"Received: model={model!r}"
        )


def _not_generated(model):
    return ValueError(
        "`model` must have generated weights in its graph. Make them first: "
        f"`kh.hypernetize(model, conditioning_size)`. Received: model={model!r}"
    )


def conditions_of(graph, conditioning):
    """`{Value: its tensor}` of the inputs that generated weights depend on, from an argument."""
    inputs = graph.conditioning()
    if not inputs:
        raise _not_generated(graph.model)
    names = [symbol.name for symbol, _ in inputs]
    if len(names) == 1:
        conditioning = _of_numbers(inputs[0][0], conditioning)
    if isinstance(conditioning, dict):
        given = dict(conditioning)
    else:
        values = conditioning if isinstance(conditioning, (list, tuple)) else [conditioning]
        given = dict(zip(names, values)) if len(values) == len(names) else {}
    if set(given) != set(names):
        shapes = tree.map_structure(lambda x: getattr(x, "shape", type(x).__name__), conditioning)
        raise ValueError(
            f"`conditioning` must have one array for each of the inputs {names}, as an array, a "
            f"list of arrays in this order or a dict of them. Received: {shapes}"
        )
    return {value: _tensor(symbol, given[symbol.name]) for symbol, value in inputs}


def _of_numbers(symbol, conditioning):
    """An array of a number or of lists of them, where they fit an input; or what it was."""
    if keras.backend.is_int_dtype(symbol.dtype):
        return as_ids(conditioning)
    leaves = tree.flatten(conditioning)
    plain = [isinstance(x, numbers.Real) and not isinstance(x, bool) for x in leaves]
    if isinstance(conditioning, dict) or not leaves or not all(plain):
        return conditioning
    try:
        found = np.asarray(conditioning, symbol.dtype)
    except ValueError:  # lists of unlike lengths
        return conditioning
    rank = len(symbol.shape)
    if found.ndim in (0, rank - 1):  # a single condition, of one number or without its row
        found = found.reshape((1,) * (rank - found.ndim) + found.shape)
    return found if checks.fits(found.shape, symbol.shape) else conditioning


def condition_of(graph, conditioning):
    """The same of a single condition."""
    given = conditions_of(graph, conditioning)
    shapes = [tuple(tensor.shape) for tensor in given.values()]
    if any(shape[:1] != (1,) for shape in shapes):
        raise ValueError(
            "`conditioning` must have one row: a single condition is baked in or saved. "
            f"Received: shapes {shapes}"
        )
    return given


def number_of(conditions):
    """The number of conditions that `conditions_of` found."""
    shapes = [tuple(tensor.shape) for tensor in conditions.values()]
    rows = {shape[:1] for shape in shapes}
    if len(rows) != 1 or rows in ({()}, {(0,)}):
        raise ValueError(
            "`conditioning` must have a row for each condition, as many in all inputs. "
            f"Received: shapes {shapes}"
        )
    return rows.pop()[0]


def check_finite(weights):
    """Raises on weights that are not finite, such as those of a condition with NaN."""
    for tensor in tree.flatten(weights):
        if not ops.convert_to_numpy(ops.all(ops.isfinite(tensor))):
            raise ValueError(
                "`conditioning` must be one for which `model` generates finite weights. "
                f"Received: NaN or infinity among weights of the shape {tuple(tensor.shape)}"
            )


def check_rows(rows, number, name):
    """Raises where a layer gets another number of rows of weights than there are conditions."""
    if rows != number:
        raise ValueError(
            "`model` must generate a row of weights for each condition. Received: "
            f"{rows} rows for {name!r} and {number} conditions"
        )


def _tensor(symbol, given):
    takes_ids = keras.backend.is_int_dtype(symbol.dtype)
    given = checks.array("conditioning", as_ids(given) if takes_ids else given)
    if keras.utils.is_keras_tensor(given):
        raise TypeError(
            "`conditioning` must be an array, for the values of weights are read. Received: the "
            f"KerasTensor {given}"
        )
    if takes_ids:
        checks.int_tensor(f"conditioning[{symbol.name!r}]", given)
    if len(given.shape) == len(symbol.shape) - 1 and symbol.shape[-1] == 1:  # as Keras does
        given = given[..., None]
    shape = tuple(given.shape)
    if not checks.fits(shape, symbol.shape):
        raise ValueError(
            f"`conditioning` must fit the input {symbol.name!r}, of shape "
            f"{(None, *symbol.shape[1:])}, with a row for each condition: `np.array([vector])` for "
            f"one vector. A list has an array for each input. Received: shape {shape}"
        )
    return ops.cast(given, symbol.dtype)
