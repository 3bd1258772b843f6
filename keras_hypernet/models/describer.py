"""`describe`: what generates what in a model."""

from __future__ import annotations

import keras

from keras_hypernet.generators.generator import Generator
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.models.graph_reader import CallGraph, check_functional
from keras_hypernet.models.kernel_count import kernel_count
from keras_hypernet.utils.tables import Table, Tabular, shortened

COLUMNS = (
    "generator",
    "target",
    "shapes",
    "form",
    "contraction",
    "parameters",
    "weights",
    "parameters per weight",
)


class Description(Tabular, list):
    """Rows of `describe`, one dict per generator; shows itself as a table.

    `kernels` is `(generated or updated, all)` of the target's kernels.
    """

    def __init__(self, rows, kernels):
        super().__init__(rows)
        self.kernels = kernels

    def _table(self):
        rows = [COLUMNS]
        for row in self:
            cells = {
                **row,
                "target": shortened(row["target"].split(", "), ", "),
                "shapes": shortened([str(s).replace(" ", "") for s in row["shapes"]], " "),
                "parameters": f"{row['parameters']:,}",
                "weights": f"{row['weights']:,}",
                "parameters per weight": f"{1 / row['compression']:.3g}",
            }
            rows.append([str(cells[column]) for column in COLUMNS])
        generated, every = self.kernels
        return Table(rows, footer=f"  {generated} of {every} kernels generated or updated")


def describe(model: keras.Model) -> Description:
    """A table of the generators of a functional model.

    Args:
        model: Functional model with generators, such as `build` returns; they may sit in nested
            models.

    Returns:
        List of dicts that prints as a table, one row per generator: `generator` and `target`
        (names of the generator and of the layer that its weights go to, through whatever stands
        between them), `shapes` of the tensors, `form` (flat or factored, and whether a frozen base
        is added), `contraction` that static shapes choose, `parameters` of the generator,
        `weights` that it generates for one condition, and `compression`: weights divided by
        parameters. The table has parameters per weight in its place. A last line, `kernels` of the
        list, says how many of the target's kernels are generated or updated, of all that it has.

    Raises:
        ValueError: if the model is not functional.

    Example:

    >>> kh.describe(kh.build(4, 3, [(3, 8)], hidden_sizes=[64]))  # doctest: +ELLIPSIS
    generator     target  shapes      form  contraction  parameters  weights  parameters per weight
    weight_gen_0  ...     (3,8) (8,)  flat  materialize  2,400       32       75
    1 of 1 kernels generated or updated
    """
    check_functional(model)
    return describe_graph(CallGraph(model))


def describe_graph(graph):
    """`describe` of a `CallGraph`."""
    uses = {}  # name of a generator -> {layer that takes its weights: contraction}
    for hyper in graph.calls_of(HyperLayer):
        for name, contraction, weights in hyper.operation.contractions_of(hyper.weights):
            for call in graph.calls_before(weights, Generator):
                where = _inside(hyper.path, call.path)
                uses.setdefault(call.name, {})["/".join((*where, name))] = contraction
    rows = []
    for call in graph.calls_of(Generator):
        row = _row(call, uses.get(call.name, {}))
        if row not in rows:
            rows.append(row)
    return Description(rows, kernel_count(graph))


def _inside(path, outer):
    """A path of nested models, without those that another one begins with."""
    return path[len(outer) :] if path[: len(outer)] == outer else path


def _form(call):
    form = "factored" if len(call.outputs) > 1 else "flat"
    parts = call.operation.starting_parts()
    return form if all(part.base is None for part, _ in parts) else f"{form} + frozen base"


def _row(call, uses):
    generator = call.operation
    parameters = generator.count_params()
    return {
        "generator": call.name,
        "target": ", ".join(uses) or "-",
        "shapes": generator.spec.shapes,
        "form": _form(call),
        "contraction": ", ".join(dict.fromkeys(filter(None, uses.values()))) or "-",
        "parameters": parameters,
        "weights": generator.spec.total,
        "compression": generator.spec.total / parameters,
    }
