"""`load_condition`: generated weights in a plain model, and the way back."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops, tree

from keras_hypernet.layers.changed_layer import ChangedLayer
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.layers.loaded_rows import LoadedRows
from keras_hypernet.models.calls import filled, origin, values_in
from keras_hypernet.models.graph_reader import (
    CallGraph,
    check_finite,
    check_functional,
    check_rows,
    conditions_of,
    number_of,
    run,
)
from keras_hypernet.models.plain_target import (
    check_mergeable,
    check_same,
    forget_compiled,
    loaded_in,
    variables_at,
)
from keras_hypernet.models.weight_reader import target_weights
from keras_hypernet.utils import checks, keras_internals
from keras_hypernet.utils.types import Nest
from keras_hypernet.weights.forms import materialize


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
    around its layers compiles meanwhile or has compiled does not know of changes, on TensorFlow
    until `compile()`. Everything is checked before anything changes.

    Args:
        target: Built Keras model with the layers that weights are generated for.
        model: Functional model with generated weights, such as `hypernetize` returns.
        conditioning: Values of the inputs that the generated weights depend on, a row for each
            condition: an array where that is one input, else a list in the order of the model's
            inputs, or a dict by input name.

    Returns:
        An object whose `restore()` gives `target` what it had before anything was loaded; of
        merged weights, what was trained meanwhile is lost. As a context manager, `with
        kh.load_condition(...):`, it does so at the end. With `copy=False` the hypernetwork has the
        layers of `target`: use it once they are restored.

    Raises:
        ValueError: if `target` has not each path once, in the same shape, or other values than
            `model` in what is not generated; if a weight to be merged is quantized or has an
            adapter; `conditioning` does not fit, or its weights are not finite; several conditions
            are given to a model that generates whole weights; or a `with` block holds another
            condition in `target`.
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
        self.entered = False  # whether a `with` block holds it

    def restore(self) -> None:
        """Gives the model what it had before."""
        if not self.is_loaded:
            raise ValueError(
                "`restore` was called, or another condition loaded, since this one was loaded into "
                f"{self.target.name!r}: restore what was loaded last."
            )
        self.take_out()
        for variable in self.variables:
            variable.loaded_condition = None

    @property
    def is_loaded(self) -> bool:
        """Whether the model has this one now."""
        return all(loaded_in(variable) is self for variable in self.variables)

    def __enter__(self) -> LoadedCondition:
        self.entered = True
        return self

    def __exit__(self, *error: object) -> None:
        self.entered = False
        if self.is_loaded:  # and was not restored in the block
            self.restore()

    def check_free(self):
        """Raises where a block holds another condition in the same place."""
        if any(other.entered for other in self.others()):
            raise ValueError(
                "`target` must have no condition that a `with` block holds, for conditions do not "
                f"nest: leave the block first. Received: target={self.target.name!r}"
            )

    def others(self):
        """What was loaded before, of which the model has something."""
        found = {id(x): x for x in map(loaded_in, self.variables) if x is not None}
        return [other for other in found.values() if other is not self]

    def replace_others(self):
        """Takes out what was loaded before, and stands in its place."""
        for other in self.others():
            other.restore()
        for variable in self.variables:
            variable.loaded_condition = self

    def take_out(self):
        raise NotImplementedError


class MergedCondition(LoadedCondition):
    """One condition, merged into variables."""

    def load(self, given, conditioning):
        weights = target_weights(self.model, conditioning)
        check_finite(weights)
        shapes = {name: array.shape[1:] for name, array in weights.items()}
        self.variables = variables_at(self.target, shapes)
        check_mergeable(self.target, self.variables)
        check_same(self.target, self.graph)
        self.check_free()
        others = self.others()
        self.replace_others()
        if others:  # the model may have the same variables
            weights = target_weights(self.model, conditioning)
        self.before = {id(v): np.array(ops.convert_to_numpy(v)) for v in self.variables}
        try:
            for variable, array in zip(self.variables, weights.values()):
                variable.assign(array[0])
        except BaseException:
            self.restore()
            raise

    def take_out(self):
        for variable in self.variables:
            variable.assign(self.before[id(variable)])


class ConditionPerRow(LoadedCondition):
    """Several conditions, one for each row or group of rows of a batch, in the layers' calls."""

    def load(self, given, conditioning):
        calls, changes = self._calls(), {}
        values = [values_in(call.weights) for call in calls]
        tensors = run(self.graph.calls_before(values), given, training=False)
        for call in calls:
            weights = materialize(filled(call.weights, tensors))
            check_rows(weights.shape[0], number_of(given), call.name)
            check_finite(weights)
            changes.update(call.operation.changes(weights))
        shapes = {p.name: p.shape for call in calls for p in call.operation.generated}
        self.variables = variables_at(self.target, shapes)
        check_same(self.target, self.graph)
        self.check_free()
        ids = [id(variable) for variable in self.variables]
        of_layers = self._of_layers(dict(zip(ids, changes.values())))
        self.key = tree.map_structure(lambda x: (x.shape, str(x.dtype)), changes)
        other = next(iter(self.others()), None)
        same = isinstance(other, ConditionPerRow) and other.model is self.model
        if same and other.target is self.target and other.key == self.key:
            self.loaded = other.loaded
            for variable in self.variables:
                variable.loaded_condition = self
            for loaded, (_, of_layer) in zip(self.loaded, of_layers):
                loaded.rows.assign(of_layer)
        else:
            self.loaded = [LoadedRows(layer, of_layer) for layer, of_layer in of_layers]
            self.replace_others()
            for loaded in self.loaded:
                loaded.put_in()
            forget_compiled(self.target)

    def _of_layers(self, changes):
        """`[(layer of the target, {id(variable): change})]`, from `{id(variable): change}`."""
        found = []
        for layer in keras_internals.layers_in(self.target):
            own = [id(v) for v in keras_internals.own_variables(layer) if id(v) in changes]
            if own:
                found.append((layer, {variable: changes[variable] for variable in own}))
        return found

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

    def take_out(self):
        for loaded in self.loaded:
            loaded.take_out()
        forget_compiled(self.target)


def _sources(call):
    """Where the weights of a hyper layer come from."""
    return [origin(value) for value in values_in(call.weights)]
