"""`TableWriter`: a model's graph with tables of weights in place of what generates them."""

from keras import ops, tree

from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.layers.layer_weights import LayerWeights
from keras_hypernet.layers.named_weights import is_factored
from keras_hypernet.layers.weight_table import WeightTable
from keras_hypernet.models.calls import (
    Value,
    filled,
    made_by,
    origin,
    values_in,
    without_weights,
)
from keras_hypernet.models.graph_reader import run
from keras_hypernet.models.hyper_writer import HyperWriter
from keras_hypernet.utils.naming import free_name
from keras_hypernet.weights import forms


class Table(Value):
    """Weights that are looked up, in place of generated ones.

    Args:
        values: `Value` or factored dict of them, of what is stored.
        name: Of the layer that has the table.
        shape: Of what is stored for a condition, where factored weights do not say it.
        via: The `LayerWeights` that makes the weights of a layer of it, or `None`.
    """

    __slots__ = ("name", "shape", "values", "via")

    def __init__(self, values, name, shape=None, via=None):
        super().__init__()
        self.values, self.name, self.shape, self.via = values, name, shape, via

    def rows(self, tensors):
        """What is stored, `(conditions, *shape)`, from tensors of `Value`s."""
        made = forms.materialize(filled(self.values, tensors))
        return made if self.shape is None else ops.reshape(made, (-1, *self.shape))


class TableWriter(HyperWriter):
    """Writes graphs in which hyper layers take weights from tables.

    Tables are looked up beside the outermost model, and nested ones take what is looked up. A
    nested model that is called with several conditions is inlined.

    Args:
        graph: The `CallGraph`.
        copied: Whether layers are copied, and not used themselves.
    """

    def __init__(self, graph, copied=True):
        self.tables = {}  # what is stored -> `Table`
        self.changing = _after([value for _, value in graph.conditioning()], graph)
        self.taken = {operation.name for operation in graph.model.operations}
        self.weights = {c: self._looked_up(c) for c in graph.calls_of(HyperLayer)}
        super().__init__(graph, copied=copied, inlined=self._with_several_conditions(graph))
        self.write_only(graph.output)

    @property
    def all_tables(self):
        return list(self.tables.values())

    def stored(self, conditions):
        """`{Table: what it stores, (conditions, *shape)}`, from tensors of conditioning inputs."""
        values = [table.values for table in self.all_tables]
        tensors = run(self.graph.calls_before(values), conditions, training=False)
        return {table: table.rows(tensors) for table in self.all_tables}

    def layers(self, number, stored):
        """`{Table: its new layer}` for a number of conditions."""
        return {
            table: WeightTable(number, tuple(rows.shape)[1:], name=table.name)
            for table, rows in stored.items()
        }

    def looked_up(self, layers, row):
        """`{Table: weights}` of rows."""
        found = {table: layer(row) for table, layer in layers.items()}
        return {t: self.copy(t.via)(rows) if t.via else rows for t, rows in found.items()}

    def call(self, call, tensors):
        if call not in self.weights:
            return super().call(call, tensors)
        first, others = filled(without_weights(call), tensors)
        weights = filled(self.weights[call], tensors)
        return self.copy(call.operation)(first, weights, **{**others, **self.handed_on(call)})

    def taken_by(self, call):
        if call not in self.weights:
            return super().taken_by(call)
        others = [v for v in values_in(self.weights[call]) if not isinstance(v, Table)]
        return [without_weights(call), others]

    def other_inputs(self, place):
        return self._tables_in(place)

    def _tables_in(self, place):
        inside = [nest for call, nest in self.weights.items() if place in call.around]
        return list(dict.fromkeys(v for v in values_in(inside) if isinstance(v, Table)))

    def _with_several_conditions(self, graph):
        """Ids of nested models whose calls have tables of their own, and of the models around."""
        first, found = {}, set()
        for call in graph.calls:
            for outer in call.around:
                tables = first.setdefault(id(outer.model), self._tables_in(outer))
                if tables != self._tables_in(outer):
                    found |= {id(o.model) for o in (*outer.around, outer)}
        return found

    def _looked_up(self, call):
        """The weights of a hyper layer, with `Table`s in place of what depends on conditions."""
        weights = call.weights
        makers = {made_by(value) for value in values_in(weights)} - {None}
        via = next((m for m in makers if isinstance(m.operation, LayerWeights)), None)
        if via is not None and not self.changing.isdisjoint(via.outputs):
            return self._table(via.arguments[0], call, via=via.operation)
        return self._cut(weights, call)

    def _cut(self, nest, call, shape=None):
        if isinstance(nest, Value):
            return self._table(nest, call) if nest in self.changing else nest
        if isinstance(nest, dict) and is_factored(nest):
            changes = not self.changing.isdisjoint(values_in(nest))
            return self._table(nest, call, shape) if changes else nest
        if isinstance(nest, dict):
            shapes = call.operation.inside().shapes
            return {n: self._cut(entry, call, shapes.get(n)) for n, entry in nest.items()}
        if isinstance(nest, (list, tuple)):
            return [self._cut(entry, call) for entry in nest]
        return nest

    def _table(self, values, call, shape=None, via=None):
        key = (id(via), *map(origin, tree.flatten(values)))
        if key not in self.tables:
            name = free_name(f"{call.operation.name}_table", self.taken)
            self.tables[key] = Table(values, name, shape, via)
        return self.tables[key]


def _after(values, graph):
    """The `Value`s that depend on values, themselves too."""
    found = set(values)
    for call in graph.calls:
        if not found.isdisjoint(values_in((call.args, call.kwargs))):
            found.update(call.outputs)
    return found
