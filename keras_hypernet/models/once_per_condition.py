"""`OncePerCondition`: predictions of a model that generates the weights of a condition once."""

import math
import threading

import keras
import numpy as np
from keras import ops, tree

from keras_hypernet.layers.weight_table import WeightTable
from keras_hypernet.models.calls import values_in
from keras_hypernet.models.graph_reader import CallGraph
from keras_hypernet.models.graph_writer import new_input
from keras_hypernet.models.table_writer import TableWriter, asks_for_factors, is_shared

AT_ONCE = 2**28  # bytes of generated weights that are in memory at a time


class OncePerCondition:
    """Two models on the layers of a given one: of its generator, and of all else, with tables.

    Weights are generated anew for each prediction, from the present values of the variables.

    Args:
        model: Functional model.
    """

    def __init__(self, model):
        self.graph = CallGraph(model)
        found = self.graph.conditioning()
        self.places = [self.graph.inputs.index(value) for _, value in found]
        names = ("run_eagerly", "jit_compile", "steps_per_execution")
        self.options = {name: getattr(model, name) for name in names}
        self.target, self.capacity = None, 0
        self.lock = threading.Lock()  # the tables are those of one call
        writer = TableWriter(self.graph, copied=False)
        self.possible = _is_possible(writer)
        if self.possible:
            conditions = {value: new_input(symbol) for symbol, value in found}
            self.stored = list(writer.stored(conditions).values())
            self.source = self._model(list(conditions.values()), self.stored)
            self.largest = AT_ONCE // sum(4 * math.prod(rows.shape[1:]) for rows in self.stored)

    def conditions(self, arrays):
        """Those of the arrays of all inputs that conditions are."""
        return [arrays[i] for i in self.places]

    def predict(self, arrays, distinct, **kwargs):
        """Outputs for data, or `None` where weights are random, or no row for each condition.

        Args:
            arrays: One per input of the model.
            distinct: What `distinct_rows` returns.
            **kwargs: Of `keras.Model.predict`.
        """
        with self.lock:
            return self._predict(arrays, *distinct, **kwargs)

    def _predict(self, arrays, first, number, **kwargs):
        capacity = min(len(first), max(1, self.largest))
        if capacity > self.capacity:
            self._make_target(2 ** math.ceil(math.log2(capacity)))  # seldom a new one
        found = []
        for start in range(0, len(first), capacity):
            tables = self._generated(arrays, first[start : start + capacity], kwargs["batch_size"])
            if tables is None:
                return None
            for layer, rows in zip(self.layers, tables):
                fill = np.zeros((self.capacity - len(rows), *rows.shape[1:]), rows.dtype)
                layer.table.assign(np.concatenate([rows, fill]))
            chosen = slice(None)  # all, most often, without a copy
            if capacity < len(first):
                chosen = np.flatnonzero((number >= start) & (number < start + capacity))
            data = [arrays[i][chosen] for i in self.remaining]
            row = (number[chosen] - start).astype("int32")
            outputs = self.target.predict([row, *data], **kwargs)
            if capacity < len(first) and {len(y) for y in tree.flatten(outputs)} != {len(row)}:
                return None  # what has no row for each row of data cannot be put in order
            found.append((chosen, outputs))
        return found[0][1] if len(found) == 1 else _joined(found)

    def _make_target(self, capacity):
        writer = TableWriter(self.graph, copied=False)
        row = keras.Input((), dtype="int32")
        stored = dict(zip(writer.all_tables, self.stored))
        data, layers, outputs = writer.with_tables(row, capacity, stored)
        self.target, self.remaining = self._model([row, *data.values()], outputs), list(data)
        self.layers, self.capacity = list(layers.values()), capacity

    def _model(self, inputs, outputs):
        """A model that runs as the given one does."""
        model = keras.Model(inputs, outputs)
        for name, value in self.options.items():
            setattr(model, name, value)
        return model

    def _generated(self, arrays, chosen, batch_size):
        """What tables store for some conditions; `None` where they cannot."""
        given = [array[chosen] for array in self.conditions(arrays)]
        seeds = [v for v in self.source.variables if not keras.backend.is_float_dtype(v.dtype)]
        before = [np.array(ops.convert_to_numpy(seed)) for seed in seeds]
        made = tree.flatten(self.source.predict(given, batch_size=batch_size, verbose=0))
        drawn = [bool((ops.convert_to_numpy(v) != x).any()) for v, x in zip(seeds, before)]
        for seed, value in zip(seeds, before):
            seed.assign(value)
        rows = all(len(array) == len(chosen) for array in made)
        return made if rows and not any(drawn) else None


def _is_possible(writer):
    """Whether weights may be looked up, and are not as it is."""
    values = values_in([table.values for table in writer.all_tables])
    looked_up = all(v.call and isinstance(v.call.operation, WeightTable) for v in values)
    calls = [*writer.weights, *writer.calls_before_tables()]
    others = any(asks_for_factors(c.operation) or is_shared(c) for c in calls)
    # Inlined layers need names of their own, which those of the model have already.
    return bool(values) and not looked_up and not others and not writer.inlined


def distinct_rows(arrays):
    """`(index of the first of each, number of each row)` of arrays, by their rows together."""
    number = len(arrays[0])
    columns = [np.ascontiguousarray(a).reshape(number, -1).view(np.uint8) for a in arrays]
    rows = np.ascontiguousarray(np.concatenate(columns, axis=1))
    rows = rows.view(np.dtype((np.void, rows.shape[1]))).reshape(-1)
    _, first, numbers = np.unique(rows, return_index=True, return_inverse=True)
    return first, numbers.reshape(-1)


def _joined(parts):
    """`[(indices, outputs of these rows)]` -> outputs of all rows, in their order."""
    order = np.argsort(np.concatenate([chosen for chosen, _ in parts]))
    return tree.map_structure(
        lambda *outputs: np.concatenate(outputs)[order], *(outputs for _, outputs in parts)
    )
