"""`tabulate`: the weights of known conditions in tables, and no generator."""

from __future__ import annotations

import keras

from keras_hypernet.models.backbone_layers import hand_on_backbone
from keras_hypernet.models.given_layers_model import GivenLayersModel
from keras_hypernet.models.graph_reader import (
    CallGraph,
    check_finite,
    check_functional,
    check_rows,
    conditions_of,
    number_of,
)
from keras_hypernet.models.table_writer import TableWriter
from keras_hypernet.utils import checks, keras_internals
from keras_hypernet.utils.naming import free_name
from keras_hypernet.utils.types import Nest


def tabulate(model: keras.Model, conditioning: Nest, copy: bool = True) -> keras.Model:
    """A model that looks up the weights of known conditions: same outputs, no generator.

    What is generated for each condition is stored: whole weights, or of updates of low rank what
    is generated of the factors. For each row of data the new model takes the number of its
    condition, and the rows rule holds as before. `specialize` bakes a single condition in.

    Args:
        model: Functional model with generated weights, such as `hypernetize` or `build` returns.
        conditioning: Values of the inputs that the generated weights depend on, a row for each
            condition: an array where that is one input, else a list in the order of the model's
            inputs, or a dict by input name.
        copy: Whether layers are copied. If not, those of the given model are used, as in
            `hypernetize`: a large backbone is in memory once.

    Returns:
        A functional model with an input `row`, `(rows,)` of integers, in place of the
        conditioning: condition `i` is row `i` of the given ones. The tables are trained unless they
        are frozen. It is saved, and exported as SavedModel and ONNX, as any Keras model.
        A row that there is not is an error, or NaN where XLA compiles.

    Raises:
        ValueError: if the model is not functional, has no generated weights, `conditioning` does
            not fit its inputs or has no or unequal rows, its weights are not finite, or layers
            cannot be copied.
        TypeError: on arguments of other types.

    Example:

    >>> model = kh.build(conditioning_size=2, input_size=3, target_layer_sizes=[(3, 4)])
    >>> tables = kh.tabulate(model, conditioning=np.random.normal(size=(100, 2)))
    >>> y = tables([np.array([7, 0]), np.ones((2, 3))])  # conditions 7 and 0
    >>> keras.ops.shape(y)
    (2, 4)
    """
    check_functional(model)
    copy = checks.boolean("copy", copy)
    graph = CallGraph(model)
    given = conditions_of(graph, conditioning)
    number = number_of(given)
    writer = TableWriter(graph, copied=copy)
    stored = writer.stored(given)
    for table, rows in stored.items():
        check_rows(rows.shape[0], number, table.layer.name)
        check_finite(rows)
    symbols, remaining = keras_internals.functional(model).inputs, writer.remaining_inputs(graph)
    left_out = [symbol for i, symbol in enumerate(symbols) if i not in remaining]
    taken = {operation.name for operation in model.operations}
    taken -= {keras_internals.producer(symbol).name for symbol in left_out}
    row = keras.Input((), dtype="int32", name=free_name("row", taken))
    data, layers, outputs = writer.with_tables(row, number, stored)
    inputs = []
    for i, value in enumerate(graph.inputs):
        if value in given and row not in inputs:
            inputs.append(row)
        if i in data:
            inputs.append(data[i])
    writer.copy_values()
    for table, layer in layers.items():
        layer.table.assign(stored[table])
    model_class = keras.Model if copy else GivenLayersModel
    tables = model_class(inputs if len(inputs) > 1 else row, outputs, name=model.name)
    hand_on_backbone(model, tables)
    return tables
