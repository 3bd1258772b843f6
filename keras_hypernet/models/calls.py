"""Calls of operations in a graph, and the tensors between them."""

import dataclasses
import inspect

import keras
from keras import ops, tree

from keras_hypernet.utils import keras_internals


class Value:
    """A tensor of one run of a model: an input (`call` is `None`), or an output of a call."""

    __slots__ = ("call",)

    def __init__(self, call=None):
        self.call = call


@dataclasses.dataclass(eq=False)
class Call:
    """A call of an operation, with `Value`s for tensors.

    Args:
        operation: The layer or other operation.
        args, kwargs: What it is called with.
        around: The `ModelCall`s that it is in, the outermost first.
        order: Its place among the calls as models list their operations: one pair for each model
            around it, and one in the innermost.
        context: Arguments that the models around it hand on to it: `training`.
    """

    operation: object
    args: tuple
    kwargs: dict
    around: tuple
    order: tuple
    context: dict = dataclasses.field(default_factory=dict)
    outputs: list = dataclasses.field(default_factory=list)

    @property
    def path(self):
        """Names of the nested models around it."""
        return tuple(call.operation.name for call in self.around)

    @property
    def name(self):
        return "/".join((*self.path, self.operation.name))

    @property
    def arguments(self):
        """`(the first argument, the others by name)`."""
        return first_argument(self.operation, self.args, self.kwargs)

    @property
    def weights(self):
        """What a hyper layer takes for weights."""
        return self.arguments[1]["weights"]


@dataclasses.dataclass(eq=False)
class ModelCall(Call):
    """A call of a nested model.

    `fed` and `masks` have one entry per input, `others` are the other arguments. `inputs`, `output`
    (a nest) and `members`, the calls in it, are those inside.
    """

    inputs: list = dataclasses.field(default_factory=list)
    output: object = None
    members: list = dataclasses.field(default_factory=list)

    def __post_init__(self):
        self.model = self.operation
        given = model_arguments(self.operation, self.args, self.kwargs)
        self.fed, self.masks, self.others = given


class Entry:
    """What an input of a nested model makes of a tensor that it is fed, as Keras does."""

    def __init__(self, symbol):
        self.name, self.dtype = symbol.name, symbol.dtype

    def __call__(self, tensor, mask=None):
        if tensor is None:
            return None
        if keras.backend.standardize_dtype(tensor.dtype) != self.dtype:
            tensor = ops.cast(tensor, self.dtype)
        if mask is not None:
            keras_internals.set_mask(tensor, mask)
        return tensor


def values_in(nest):
    return [value for value in tree.flatten(nest) if isinstance(value, Value)]


def origin(value):
    """The value that a value is, before it was handed into nested models."""
    while value.call is not None and isinstance(value.call.operation, Entry):
        (value,) = value.call.args
    return value


def made_by(value):
    """The call that makes a value, wherever it was handed into a nested model; or `None`."""
    return origin(value).call


def filled(nest, tensors):
    """A nest with tensors in place of its `Value`s."""
    return tree.map_structure(lambda x: tensors[x] if isinstance(x, Value) else x, nest)


def without_weights(call):
    """The arguments of a hyper layer, its weights left out."""
    first, others = call.arguments
    return first, {name: given for name, given in others.items() if name != "weights"}


def first_argument(layer, args, kwargs):
    """`(the first argument of a layer's call, the others by name)`."""
    signature = inspect.signature(layer.call)
    # Such as `training`, which every layer takes, and its call may leave to those inside.
    context = set(kwargs) & keras_internals.context_arguments(layer) - set(signature.parameters)
    named = {name: value for name, value in kwargs.items() if name not in context}
    bound = signature.bind(*args, **named).arguments
    (_, first), *others = bound.items()
    others = {**dict(others), **{name: kwargs[name] for name in context}}
    for name, parameter in signature.parameters.items():
        if parameter.kind == parameter.VAR_KEYWORD:
            others.update(others.pop(name, {}))
        elif parameter.kind == parameter.VAR_POSITIONAL and others.pop(name, ()):
            raise ValueError(
                f"The layer {layer.name!r} of class {type(layer).__name__} takes arguments without "
                "names, which cannot be passed on: give its `call` named ones."
            )
    return first, others


def model_arguments(model, args, kwargs):
    """`([what each input of a nested model is fed], [its mask], the other arguments by name)`."""
    fed, others = first_argument(model, args, kwargs)
    wished = keras_internals.functional(model).input
    if isinstance(wished, dict) and isinstance(fed, dict):
        fed = {name: fed[name] for name in wished}
    fed, mask = tree.flatten(fed), others.pop("mask", None)
    masks = [] if mask is None else tree.flatten(mask)
    masks += [None] * (len(fed) - len(masks))  # Keras, too, lets the last ones be left out
    return fed, masks, {name: value for name, value in others.items() if value is not None}
