"""A layer run on given tensors in place of its variables."""

import math

import keras
from keras import ops

from keras_hypernet.utils import backend, checks, keras_internals


def functional_call(layer, replaced, function, owner=None, hidden=None):
    """What `function()`, which calls the layer or its parts, returns with other variables.

    An inner scope hides the outer one, in which `fit` keeps the current values: so every variable
    is passed on, and state and losses that came up inside are written back.

    Args:
        layer: The built layer whose variables the function reads.
        replaced: `[(variable, tensor)]`.
        function: Callable without arguments.
        owner: The layer that losses are added to; `None` is `layer`.
        hidden: `{id(variable): function that computes its value}` of variables whose tensors the
            function has otherwise; where that is `None`, it must neither read nor assign to them.
    """
    outputs, losses = run(layer, replaced, function, hidden)
    for loss in losses:
        (owner or layer).add_loss(loss)
    return outputs


def run(layer, replaced, function, hidden=None):
    """`(outputs, losses)` of a functional call."""
    variables, values, state = _read(layer, replaced, hidden)
    outputs, new, losses = _pure(variables, state, function, hidden)(*values)
    before = {id(value) for value in values}
    for variable, value in zip(state, new):
        # What is assigned in place, though it did not change, has no gradient on PyTorch.
        if id(value) not in before:
            variable.assign(value)
    return outputs, losses


def run_in_turn(layer, replaced, function, number):
    """Sum of `function(i)` for `i` below a number, each computed by itself.

    Nothing inside is kept for the gradient: it is computed once more there. A loop of the backend
    keeps a compiler from computing several at a time.

    Args:
        layer, replaced: As in `functional_call`.
        function: From a scalar integer tensor to a scalar of float32.
        number: Number of turns.
    """
    variables, values, state = _read(layer, replaced)
    in_state = {id(v) for v in state}
    fixed = [v for v in variables if id(v) not in in_state]
    # Copies: no loop should read variables themselves.
    now = {id(v): ops.copy(value) for v, value in zip(variables, values)}
    values, initial = [now[id(v)] for v in fixed], [now[id(v)] for v in state]

    def one(values, now, i):
        pure = _pure([*fixed, *state], state, lambda: function(i))
        return pure(*values, *now)[:2]

    total, new = backend.sum_in_turn(one, values, initial, number)
    for variable, value in zip(state, new):
        variable.assign(value)
    return total


def _read(layer, replaced, hidden=None):
    """`(variables, their values in a call, those that it may change)`."""
    given = {id(variable): tensor for variable, tensor in replaced}
    variables = [v for v in layer.variables if id(v) not in (hidden or {})]
    with keras_internals.without_autocast():
        # Given ones may have no value of their own.
        now = {id(v): v.value for v in variables if id(v) not in given} | given
    values = [now[id(v)] for v in variables]
    inside = [layer] if isinstance(layer, keras.layers.Layer) else layer.layers
    fixed = {id(v) for each in inside for _, v in keras_internals.parameters(each)} | given.keys()
    return variables, values, [v for v in variables if id(v) not in fixed]


def outputs_with(values, function, hidden=None, collect_losses=False):
    """What `function()` returns where variables have the values of `[(variable, tensor)]`.

    What it assigns to variables is forgotten.
    """
    with _Scope(values, hidden, collect_losses=collect_losses):
        return function()


def spec_of_call(layer, *args, **kwargs):
    """KerasTensors of what a layer's `call` returns for KerasTensors."""

    def call(*args, **kwargs):
        # On PyTorch, Keras casts variables there only where a scope has their values.
        values = [(v, ops.zeros(v.shape, v.dtype)) for v in layer.variables]
        return outputs_with(values, lambda: layer.call(*args, **kwargs))

    operation = keras.Operation()
    operation.call = call
    return operation.compute_output_spec(*args, **kwargs)


def _pure(variables, state, function, hidden=None):
    """A function from values of variables to `(outputs, new state, losses)`."""

    def pure(*values):
        with _Scope(zip(variables, values), hidden, collect_losses=True) as scope:
            outputs = function()
        return outputs, [scope.get_current_value(v) for v in state], list(scope.losses)

    return pure


class _Scope(keras.StatelessScope):
    """A scope in which variables have other values, and some must not be used at all."""

    def __init__(self, values, hidden=None, **kwargs):
        super().__init__(values, **kwargs)
        self.hidden = hidden or {}

    def get_current_value(self, variable):
        if id(variable) not in self.hidden:
            return super().get_current_value(variable)
        compute = self.hidden[id(variable)]
        if compute is None:
            raise _error_of_hidden(variable)
        return compute()

    def add_update(self, update):
        if id(update[0]) in self.hidden:
            raise _error_of_hidden(update[0])
        super().add_update(update)


def _error_of_hidden(variable):
    return ValueError(
        f"{variable.path} is read or assigned to past the call of its layer, where its weights are "
        "not those of the variable: they have a row for each sample, or are an update of a kernel "
        "that is quantized or has an adapter. Give `shared=True`, for one condition a batch, or "
        "leave it out (`select`)."
    )


def replacements(tensors, groups, named, argument="variables"):
    """`[(variable, tensor)]` from tensors by name.

    Args:
        tensors: `{name: tensor}`, where a name is that of a group, whose variables the tensor
            `(1, total)` has one after another, or that of a single variable.
        groups: `{name: [variables]}`.
        named: `{name: variable}`; those in no group cannot be replaced.
        argument: What an error calls the tensors.
    """
    if not isinstance(tensors, dict):
        raise TypeError(
            f"`{argument}` must be a dict of tensors by name. Received: {type(tensors).__name__}. "
            'Several inputs are one dict: `{"condition_id": ids, "noise": noise}`.'
        )
    replaceable = {id(variable) for group in groups.values() for variable in group}
    named = {name: variable for name, variable in named.items() if id(variable) in replaceable}
    pairs = []
    for name, tensor in tensors.items():
        entry = f"{argument}[{name!r}]"
        if name in groups:
            pairs += zip(groups[name], _cut(entry, tensor, groups[name]))
        elif name in named:
            _check_shape(entry, tensor, (tuple(named[name].shape),))
            pairs.append((named[name], tensor))
        else:
            raise ValueError(
                f"`{argument}` must have names of {[*groups, *named]}. "
                f"Received: {name!r}.{checks.nearest(name, [*groups, *named])}"
            )
    if len({id(variable) for variable, _ in pairs}) < len(pairs):
        raise ValueError(f"`{argument}` must have each one once. Received: {list(tensors)}")
    return pairs


def _cut(argument, tensor, variables):
    """A flat tensor -> one tensor for each variable."""
    sizes = [math.prod(variable.shape) for variable in variables]
    _check_shape(argument, tensor, ((1, sum(sizes)), (sum(sizes),)))
    pieces = backend.split(ops.reshape(tensor, (sum(sizes),)), sizes) if sizes else []
    return [ops.reshape(piece, v.shape) for piece, v in zip(pieces, variables)]


def _check_shape(argument, tensor, allowed):
    checks.tensor(argument, tensor)
    if not any(_fits(tuple(tensor.shape), shape) for shape in allowed):
        raise ValueError(
            f"`{argument}` must have the shape {allowed[0]}: one set for the whole batch. "
            f"Received: shape {tuple(tensor.shape)}"
        )


def _fits(received, shape):
    same_rank = len(received) == len(shape)
    return same_rank and all(r in (n, None) for r, n in zip(received, shape))
