"""`load_condition`: generated weights in a plain model, and the way back."""

from __future__ import annotations

from functools import partial

import keras
import numpy as np
from keras import ops

from keras_hypernet.layers.changed_layer import ChangedLayer
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.layers.scope import set_function
from keras_hypernet.models.calls import filled, origin, values_in
from keras_hypernet.models.graph_reader import (
    CallGraph,
    check_functional,
    conditions_of,
    number_of,
    run,
)
from keras_hypernet.models.weight_reader import target_weights
from keras_hypernet.utils import checks, keras_internals
from keras_hypernet.utils.naming import give_unique_path
from keras_hypernet.utils.types import Nest
from keras_hypernet.weights.forms import materialize

# What Keras and KerasHub compile, with all that a layer's call does.
COMPILED = ("train_function", "test_function", "predict_function", "generate_function")


def load_condition(target: keras.Model, model: keras.Model, conditioning: Nest) -> LoadedCondition:
    """Puts what a hypernetwork generates for a condition into a plain model, by path.

    With one condition its weights are merged: each variable of `target` at the path of a generated
    weight gets the value of this weight. So `target` may be what the hypernetwork was made of, a
    model around that, such as the `CausalLM` around a backbone, or one with the same layers.

    With several conditions, of a model in mode `"low_rank"` or `"delta"`, nothing is merged. The
    layers of `target` at these paths add what is generated for each row: in a batch, data row `b`
    has condition `b // (batch // rows)`, through `CausalLM.generate` with its cache too.

    A model has what was loaded last: another condition replaces it, and nothing is compiled anew
    for other conditions of the same number. Call `target` itself meanwhile: what another model
    around its layers has compiled does not know of it. Everything is checked before anything
    changes.

    Args:
        target: Built Keras model with the layers that weights are generated for.
        model: Functional model with generated weights, such as `hypernetize` returns.
        conditioning: Values of the inputs that the generated weights depend on, a row for each
            condition: an array where that is one input, else a list in the order of the model's
            inputs, or a dict by input name.

    Returns:
        An object whose `restore()` gives `target` what it had before anything was loaded. As a
        context manager, `with kh.load_condition(...):`, it does so at the end. With
        `copy=False` the hypernetwork has the layers of `target`: use it once they are restored.

    Raises:
        ValueError: if `target` has not each path once, in the same shape, `conditioning` does not
            fit, or several conditions are given to a model that generates whole weights.
        TypeError: on arguments of other types.

    Example:

    >>> plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, name="dense")])
    >>> hyper = kh.hypernetize(plain, conditioning_size=2, mode="low_rank", rank=1)
    >>> with kh.load_condition(plain, hyper, np.ones((1, 2))):
    ...     y = plain.predict(np.ones((5, 3)), verbose=0)  # with the weights of this condition
    >>> y.shape
    (5, 4)
    """
    checks.built_model("target", target)
    check_functional(model)
    graph = CallGraph(model)
    given = conditions_of(graph, conditioning)
    several = number_of(given) > 1
    loaded = (ConditionPerRow if several else MergedCondition)(target, model, graph)
    loaded.load(given, conditioning)
    return loaded


class LoadedCondition:
    """What `load_condition` put into a model: the base of both ways.

    Args:
        target, model: As in `load_condition`.
        graph: The `CallGraph` of the model.
    """

    def __init__(self, target, model, graph):
        self.target, self.model, self.graph = target, model, graph
        self.variables = []  # those at the paths of what is generated

    def restore(self) -> None:
        """Gives the model what it had before."""
        if any(_loaded_in(v) is not self for v in self.variables):
            raise ValueError(
                "`restore` was called, or another condition loaded, since this one was loaded into "
                f"{self.target.name!r}: restore what was loaded last."
            )
        self.take_out()
        for variable in self.variables:
            variable.loaded_condition = None

    def __enter__(self) -> LoadedCondition:
        return self

    def __exit__(self, *error: object) -> None:
        self.restore()

    def replace_others(self):
        """Takes out what was loaded before, and stands in its place."""
        for variable in self.variables:
            other = _loaded_in(variable)
            if other is not None and other is not self:
                other.restore()
        for variable in self.variables:
            variable.loaded_condition = self

    def take_out(self):
        raise NotImplementedError


class MergedCondition(LoadedCondition):
    """One condition, merged into variables."""

    def load(self, given, conditioning):
        weights = target_weights(self.model, conditioning)
        self.variables = _variables_at(
            self.target, {name: array.shape[1:] for name, array in weights.items()}
        )
        if any(_loaded_in(v) for v in self.variables):
            self.replace_others()  # the model may have the same variables
            weights = target_weights(self.model, conditioning)
        self.replace_others()
        self.before = [np.array(ops.convert_to_numpy(v)) for v in self.variables]
        for variable, array in zip(self.variables, weights.values()):
            variable.assign(array[0])

    def take_out(self):
        for variable, value in zip(self.variables, self.before):
            variable.assign(value)


class ConditionPerRow(LoadedCondition):
    """Several conditions, one for each row or group of rows of a batch, in the layers' calls."""

    def load(self, given, conditioning):
        calls = self._calls()
        values = [values_in(call.weights) for call in calls]
        tensors = run(self.graph.calls_before(values), given, training=False)
        weights = [materialize(filled(call.weights, tensors)) for call in calls]
        plans = [plan for call in calls for plan in call.operation.generated]
        self.variables = _variables_at(self.target, {p.name: p.shape for p in plans})
        self.key = (id(self.model), [tuple(rows.shape) for rows in weights])
        other = _loaded_in(self.variables[0])
        same = isinstance(other, ConditionPerRow) and other.target is self.target
        if same and other.key == self.key:
            self.rows, self.layers = other.rows, other.layers
            for variable in self.variables:
                variable.loaded_condition = self
        else:
            self._put_in(calls, [tuple(rows.shape) for rows in weights])
        for variable, rows in zip(self.rows.variables, weights):
            variable.assign(rows)

    def _calls(self):
        """A call of each layer that is changed."""
        found = {}
        for call in self.graph.calls_of(HyperLayer):
            if not isinstance(call.operation, ChangedLayer) or call.operation.shared:
                raise ValueError(
                    "`conditioning` must have a single row, for weights that are merged, unless "
                    "`model` was made with mode='low_rank' or 'delta' and without `shared=True`. "
                    f"Received: several rows for {call.name!r}"
                )
            first = found.setdefault(id(call.operation), call)
            if _sources(first) != _sources(call):
                raise ValueError(
                    "`model` must have one set of generated weights for each layer. Received: "
                    f"{call.name!r}, which is called with several"
                )
        return list(found.values())

    def _put_in(self, calls, shapes):
        self.rows = RowsOfWeights(shapes)
        owners = {
            id(variable): layer
            for layer in keras_internals.layers_in(self.target)
            for variable in keras_internals.own_variables(layer)
        }
        self.layers = [owners[id(variable)] for variable in self.variables]
        functions = []
        for call, rows in zip(calls, self.rows.variables):
            functions += call.operation.leaf_calls(partial(ops.convert_to_tensor, rows))
        self.replace_others()
        keras_internals.attach(self.target, self.rows)
        for layer, function in zip(self.layers, functions, strict=True):
            set_function(layer, function)
        _forget_compiled(self.target)

    def take_out(self):
        for layer in self.layers:
            set_function(layer, None)
        keras_internals.detach(self.target, self.rows)
        _forget_compiled(self.target)


class RowsOfWeights(keras.layers.Layer):
    """Variables that no file has, as a part of the model whose compiled functions read them."""

    def __init__(self, shapes):
        super().__init__(trainable=False)
        give_unique_path(self)
        for i, shape in enumerate(shapes):
            self.add_weight(shape, initializer="zeros", trainable=False, name=f"rows_{i}")
        self.built = True

    def save_own_variables(self, store):
        pass

    def load_own_variables(self, store):
        pass


def _variables_at(target, shapes):
    """The variables of a model at paths, each once and in its shape."""
    found = {}
    for variable in target.variables:
        found.setdefault(variable.path, []).append(variable)
    counts = {name: len(found.get(name, [])) for name in shapes}
    missing = [name for name, count in counts.items() if count == 0]
    repeated = [name for name, count in counts.items() if count > 1]
    other = [
        f"{name} is {tuple(found[name][0].shape)}, here {tuple(shape)}"
        for name, shape in shapes.items()
        if counts[name] == 1 and not _fits(found[name][0], shape)
    ]
    parts = {"It lacks": missing, "More than once": repeated, "Other shapes": other}
    if missing or repeated or other:
        raise ValueError(
            "`target` must have a variable for each generated weight, at its path. "
            + " ".join(f"{what}: {checks.few(x)}." for what, x in parts.items() if x)
            + f" Received: target={target.name!r}"
        )
    return [found[name][0] for name in shapes]


def _fits(variable, shape):
    # A quantized kernel may be packed into another shape.
    floating = keras.backend.is_float_dtype(variable.dtype)
    return not floating or tuple(variable.shape) == tuple(shape)


def _loaded_in(variable):
    return getattr(variable, "loaded_condition", None)


def _sources(call):
    """Where the weights of a hyper layer come from."""
    return [origin(value) for value in values_in(call.weights)]


def _forget_compiled(model):
    """Lets a model compile its functions anew, with what its layers do now."""
    for name in COMPILED:
        if getattr(model, name, None) is not None:
            setattr(model, name, None)
