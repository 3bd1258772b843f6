"""`Subject`: a model that is diagnosed, some of its conditions, and a batch of data."""

import dataclasses

import keras
import numpy as np
from keras import ops, tree

from keras_hypernet.continual.model_of_tasks import ModelOfTasks
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.models.calls import values_in
from keras_hypernet.models.graph_reader import (
    CallGraph,
    before,
    check_functional,
    conditions_of,
    number_of,
)
from keras_hypernet.models.once_per_condition import distinct_rows
from keras_hypernet.utils import checks

CONDITIONS = 8  # at most so many conditions are looked at
ROWS = 32  # and about so many rows of data


@dataclasses.dataclass
class Batch:
    """Some rows of data: `{Value: array}` of a graph's inputs, and what a loss is given.

    `conditions` says for each of its conditions which one of the given ones it is.
    """

    inputs: dict
    x: object
    y: object
    conditions: np.ndarray


class Subject:
    """A model, read once.

    Args:
        model: Functional model with generated weights, or a `ContinualModel`.
        conditioning: Conditions as `target_weights` takes them; of a `ContinualModel`, names of
            tasks or their ids.
        inputs: Data for the other inputs, or `None`.
        y: Targets of a loss, or `None`.

    `graph` is its `CallGraph`, `conditions` are `{Value: array}` of at most `CONDITIONS` different
    conditions, `chosen` which of the given ones they are, `names` their inputs' names, `unused` the
    names of inputs that nothing depends on, `batch` is a `Batch`, or `None` without data. `broken`
    is `[(argument, its first row with a number that is not finite)]`, of all rows.
    """

    def __init__(self, model, conditioning, inputs=None, y=None):
        self.model = model
        self.tasks = model if isinstance(model, ModelOfTasks) else None
        self.network = model.model if self.tasks else model
        check_functional(self.network)
        self.graph = CallGraph(self.network)
        self.unused = _unused(self.graph)
        if self.tasks:
            ids = _ids_of_tasks(model, conditioning)
            conditioning = ids if model.embedding is None else _vectors(model, ids)
        else:
            ids, conditioning = None, _without(conditioning, self.unused, self.graph)
        checks.require(conditioning is not None, "conditioning", "be given", conditioning)
        given = conditions_of(self.graph, conditioning)
        every = {value: ops.convert_to_numpy(tensor) for value, tensor in given.items()}
        self.broken = _broken("conditioning", every.values())
        number = number_of(every)
        first, _ = distinct_rows(list(every.values()))
        first = np.sort(first)
        self.chosen = chosen = first[_spread(len(first), CONDITIONS)]
        self.ids = None if ids is None else ids[chosen]
        self.conditions = {value: array[chosen] for value, array in every.items()}
        self.number, self.different = number, len(first)
        symbols = dict(zip(self.graph.inputs, self.network.inputs))
        self.symbols = {value: symbols[value] for value in self.graph.inputs}
        self.shared = any(call.operation.shared for call in self.graph.calls_of(HyperLayer))
        self.names = {value: symbols[value].name for value in self.conditions}
        self.batch = None
        if inputs is not None or not self._others():  # conditions may be all that there is
            self.batch = self._batch(every, {} if inputs is None else inputs, y)
        elif y is not None:
            raise ValueError(
                "`y` is of data: give the data as `inputs`, too. Received: y, and inputs=None"
            )

    @property
    def embeds(self):
        """Whether the conditions are vectors that this model learned for its tasks."""
        return self.tasks is not None and self.tasks.embedding is not None

    @property
    def steps(self):
        """Number of steps that the model's optimizer has made."""
        optimizer = self.optimizer
        return 0 if optimizer is None else int(ops.convert_to_numpy(optimizer.iterations))

    @property
    def optimizer(self):
        return getattr(self.model, "optimizer", None)

    @property
    def compiled(self):
        return bool(getattr(self.model, "compiled", False))

    def static_rows(self, value):
        """The number of rows that an input has for ever, or `None`."""
        rows = self.symbols[value].shape[0]
        # Where data are conditions, too, the model itself makes one condition of them.
        single = self.shared and value in self.conditions and bool(self._others())
        return 1 if rows is None and single else rows

    def _batch(self, every, inputs, y):
        data = self.data(inputs)
        rows = {len(array) for array in data.values()} or {number_of(every)}
        if len(rows) != 1 or rows == {0}:
            raise ValueError(
                "`inputs` must have rows, as many in all inputs. Received: "
                f"{ {self.symbols[v].name: a.shape for v, a in data.items()} }"
            )
        (rows,) = rows
        given = [] if y is None else tree.flatten(y)
        targets = [checks.numpy_array("y", array) for array in given]
        self.broken += _broken("inputs", data.values()) + _broken("y", targets)
        groups, own = self._groups(every, rows)
        values = {v: a[own] for v, a in data.items()}
        if self.tasks:
            conditions = np.array([self.tasks.task_state.slot], "int32")
        else:
            conditions = groups
            values.update((value, array[groups]) for value, array in every.items())
        if targets:
            of_conditions = {} if self.tasks else {number_of(every): groups}
            chosen = [_rows_of(array, {**of_conditions, rows: own}) for array in targets]
            y = tree.pack_sequence_as(y, chosen)
        return Batch(values, inputs, y, conditions)

    def _others(self):
        """`{Value: symbol}` of the inputs that are no conditions, and that something depends on."""
        others = {v: s for v, s in self.symbols.items() if v not in self.conditions}
        return {v: s for v, s in others.items() if s.name not in self.unused}

    def data(self, inputs):
        """`{Value: array}` of the inputs that are no conditions."""
        wanted = self._others()
        names = [symbol.name for symbol in wanted.values()]
        if isinstance(inputs, dict):
            given = {n: a for n, a in inputs.items() if n not in self.unused}
        else:
            listed = isinstance(inputs, (list, tuple))
            several = listed and (len(names) != 1 or hasattr(inputs[0], "shape"))
            arrays = list(inputs) if several else [inputs]
            given = dict(zip(names, arrays)) if len(arrays) == len(names) else {}
        if set(given) != set(names):
            raise ValueError(
                f"`inputs` must have one array for each of the inputs {names}, as an array, a list "
                "of arrays in this order or a dict of them. Received: "
                f"{tree.map_structure(lambda a: getattr(a, 'shape', type(a).__name__), inputs)}"
            )
        return {value: _array(symbol, given[symbol.name]) for value, symbol in wanted.items()}

    def _groups(self, every, rows):
        """`(rows of the conditions, rows of the data)` that a batch takes."""
        static = {self.static_rows(value) for value in self.conditions} | {None}
        if self.tasks or static == {1, None}:
            return np.array([0]), _spread(rows, ROWS)
        number = number_of(every)
        if rows % number:
            raise ValueError(
                "`conditioning` must have a number of rows that divides that of `inputs` (data row "
                "b uses the condition b // (rows of inputs // rows of conditioning)). "
                f"Received: {number} conditions and {rows} rows of inputs"
            )
        size = rows // number
        known = [self.static_rows(v) for v in self.symbols if self.static_rows(v) is not None]
        groups = min(known) if known else min(number, ROWS if size == 1 else CONDITIONS)
        groups = _spread(number, groups)
        within = _spread(size, max(1, 2 * ROWS // len(groups)) if not known else size)
        return groups, (groups[:, None] * size + within).reshape(-1)


def _spread(number, wanted):
    """Indices of at most so many of a number, evenly spread."""
    return np.unique(np.linspace(0, number - 1, min(number, wanted)).round().astype(int))


def _broken(argument, arrays):
    """`[(argument, row)]` of the first number that is not finite, or nothing."""
    for array in arrays:
        if array.dtype.kind in "fc" and array.size and not np.isfinite(array).all():
            return [(argument, int(np.argwhere(~np.isfinite(array))[0][0]))]
    return []


def _array(symbol, given):
    given = np.asarray(checks.numpy_array(f"inputs[{symbol.name!r}]", given))
    if given.ndim == len(symbol.shape) - 1 and symbol.shape[-1] == 1:  # as Keras does
        given = given[..., None]
    if not checks.fits(given.shape, (None, *symbol.shape[1:])):
        raise ValueError(
            f"`inputs` must fit the input {symbol.name!r}, of shape {tuple(symbol.shape)}. "
            f"Received: shape {given.shape}"
        )
    return given.astype(keras.backend.standardize_dtype(symbol.dtype))


def _unused(graph):
    """Names of the inputs that no output depends on."""
    used = before(values_in(graph.output))
    network = graph.model
    return [s.name for s, v in zip(network.inputs, graph.inputs) if v not in used]


def _without(conditioning, unused, graph):
    """A conditioning without inputs that nothing depends on."""
    if isinstance(conditioning, dict):
        return {name: array for name, array in conditioning.items() if name not in unused}
    names = [s.name for s, _ in graph.conditioning()]
    order = [s.name for s in graph.model.inputs if s.name in names or s.name in unused]
    if isinstance(conditioning, (list, tuple)) and len(conditioning) == len(order) > len(names):
        return [array for name, array in zip(order, conditioning) if name in names]
    return conditioning


def _rows_of(y, places):
    """A tensor of the rows of targets, from `{number of rows: indices}`."""
    if not y.shape or len(y) not in places:
        raise ValueError(
            "`y` must have a row for each row of `inputs`, or for each condition: "
            f"{' or '.join(map(str, places))}. Received: shape {y.shape}"
        )
    return ops.convert_to_tensor(y[places[len(y)]])


def _vectors(model, ids):
    return ops.convert_to_numpy(model.embedding(ids))


def _ids_of_tasks(model, conditioning):
    names = [conditioning] if isinstance(conditioning, str) else conditioning
    if isinstance(names, (list, tuple)) and names and all(isinstance(n, str) for n in names):
        if not model.task_names:
            raise ValueError(
                "`conditioning` must have names of tasks, and none has begun: call "
                f"`begin_task(name)` first, or give ids. Received: {names}"
            )
        unknown = [name for name in names if name not in model.task_names]
        if unknown:
            raise ValueError(
                f"`conditioning` must have names of the tasks {list(model.task_names)}, or ids of "
                f"them. Received: {unknown}"
            )
        return np.array([model.task_names.index(name) for name in names], "int32")
    ids = np.atleast_1d(checks.numpy_array("conditioning", conditioning))
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or not _are_tasks(ids, model.num_tasks):
        raise ValueError(
            "`conditioning` of a `ContinualModel` must be names of tasks or ids (rows,) below "
            f"`num_tasks={model.num_tasks}`. Received: {conditioning!r}"
        )
    return ids.astype("int32")


def _are_tasks(ids, number):
    return ids.size and 0 <= ids.min() <= ids.max() < number
