"""The calls of a functional model in one list, those of nested models in their place."""

import dataclasses
import inspect

import keras
from keras import tree

from keras_hypernet.models.graph_walk import first_argument, nested_inputs
from keras_hypernet.utils import keras_internals


class Value:
    """A tensor of one run of a model: an input (`call` is `None`), or an output of a call."""

    __slots__ = ("call",)

    def __init__(self, call=None):
        self.call = call


@dataclasses.dataclass(eq=False)
class Call:
    """A call of an operation, with `Value`s for tensors.

    `path` are the names of the nested models that it is in, the outermost first; `order` is its
    place among the calls as a model lists its operations.
    """

    operation: object
    args: tuple
    kwargs: dict
    path: tuple
    order: tuple
    outputs: list = dataclasses.field(default_factory=list)

    @property
    def name(self):
        return "/".join((*self.path, self.operation.name))

    def argument(self, name):
        """An argument of the layer's call, by its name in `call`."""
        bound = inspect.signature(self.operation.call).bind(*self.args, **self.kwargs)
        return bound.arguments[name]


class CallGraph:
    """All calls of a functional model, each after those it depends on, and their values.

    Args:
        model: Functional model.

    `calls` is the list. A nested model that is called twice has its calls twice.
    """

    def __init__(self, model):
        self.calls = []
        self.inputs = {tensor.name: Value() for tensor in model.inputs}
        known = {id(x): value for x, value in zip(model.inputs, self.inputs.values())}
        self._open(model, known, (), ())
        self._known = {}  # Value -> its tensor

    def _open(self, model, known, path, order):
        def values(nest):
            return tree.map_structure(lambda x: known.get(id(x), x), nest)

        places = {id(o): i for i, o in enumerate(keras_internals.functional(model).operations)}
        for number, (operation, args, kwargs, outputs) in enumerate(keras_internals.nodes(model)):
            place = (*order, places[id(operation)], number)
            inner = keras_internals.functional(operation)
            if inner is not None:
                fed, _ = first_argument(operation, args, kwargs)
                fed = values(nested_inputs(operation, fed))
                inside = {id(x): value for x, value in zip(inner.inputs, fed)}
                self._open(inner, inside, (*path, operation.name), place)
                made = [inside[id(x)] for x in inner.outputs]
            else:
                call = Call(operation, values(args), values(kwargs), path, place)
                made = call.outputs = [Value(call) for _ in outputs]
                self.calls.append(call)
            known.update((id(x), value) for x, value in zip(outputs, made, strict=True))

    def calls_of(self, kind):
        """The calls of the operations of a class, as a model lists its operations."""
        found = [call for call in self.calls if isinstance(call.operation, kind)]
        return sorted(found, key=lambda call: call.order)

    def before(self, nest, stop=()):
        """`(calls, inputs' names)` that values are made of, not what calls of a class take.

        The calls are in the order of the graph.
        """
        found, names, waiting = set(), set(), values_in(nest)
        of_inputs = {value: name for name, value in self.inputs.items()}
        while waiting:
            value = waiting.pop()
            if value.call is None:
                names.add(of_inputs[value])
            elif value.call not in found:
                found.add(value.call)
                if not isinstance(value.call.operation, stop):
                    waiting += values_in([value.call.args, value.call.kwargs])
        return [call for call in self.calls if call in found], names

    def feed(self, tensors):
        """Gives inputs their tensors, by name."""
        self._known = {self.inputs[name]: tensor for name, tensor in tensors.items()}

    def tensors_of(self, nest):
        """The tensors of values, in inference; each call is run once."""
        wanted = [value for value in values_in(nest) if value not in self._known]
        for call in self.before(wanted)[0]:
            if not set(call.outputs) <= set(self._known):
                self._run(call)
        return tree.map_structure(self._tensor, nest)

    def _tensor(self, value):
        return self._known[value] if isinstance(value, Value) else value

    def _run(self, call):
        args, kwargs = tree.map_structure(self._tensor, (call.args, call.kwargs))
        layer = isinstance(call.operation, keras.layers.Layer)
        if layer and "training" in inspect.signature(call.operation.call).parameters:
            kwargs = {**kwargs, "training": False}
        outputs = tree.flatten(call.operation(*args, **kwargs))
        self._known.update(zip(call.outputs, outputs, strict=True))


def values_in(nest):
    return [value for value in tree.flatten(nest) if isinstance(value, Value)]
