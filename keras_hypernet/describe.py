"""`describe`: what generates what in a model."""

from keras_hypernet import _compat, graph
from keras_hypernet.tables import format_table

COLUMNS = (
    "generator",
    "target",
    "shapes",
    "form",
    "contraction",
    "parameters",
    "weights",
    "compression",
)


class Description(list):
    """Rows of `describe`, one dict per generator; prints as a table."""

    def __repr__(self):
        rows = [COLUMNS]
        for row in self:
            cells = {
                **row,
                "target": _shortened(row["target"].split(", "), ", "),
                "shapes": _shortened([str(s).replace(" ", "") for s in row["shapes"]], " "),
                "parameters": f"{row['parameters']:,}",
                "weights": f"{row['weights']:,}",
                "compression": f"{row['compression']:.3g}x",
            }
            rows.append([str(cells[column]) for column in COLUMNS])
        return format_table(rows)

    __str__ = __repr__


def _shortened(words, separator):
    """The first words, and how many there are where these are not all."""
    if len(words) <= 4:
        return separator.join(words)
    return separator.join([*words[:3], f"... {len(words)} in all"])


def describe(model):
    """A table of the generators of a functional model.

    Args:
        model: Functional model with generators, such as `build` returns; they may sit in nested
            models.

    Returns:
        List of dicts that prints as a table, one row per generator: `generator` and `target`
        (names of the generator and of the layer that its weights go to), `shapes` of the tensors,
        `form` (flat or factored), `contraction` that static shapes choose, `parameters` of the
        generator, `weights` that it generates for one condition, and `compression`: weights
        divided by parameters.

    Raises:
        ValueError: if the model is not functional.

    Example:

    >>> kh.describe(kh.build(4, 3, [(3, 8)], hidden_sizes=[64]))  # doctest: +ELLIPSIS
    generator     target  shapes      form  contraction  parameters  weights  compression
    weight_gen_0  ...     (3,8) (8,)  flat  materialize  2,400       32       0.0133x
    """
    graph.check_functional(model)
    return Description(_rows(model))


def _uses(model):
    """`[(KerasTensor that weights come from, their target's name, contraction)]` of a model."""
    found = [
        (graph.origin(tensors)[0], name, order)
        for layer, weights in graph.hyper_layers(model)
        for name, order, tensors in layer.targets(weights)
    ]
    for nested, fed in graph.nested_models(model):
        outside = {id(tensor): fed[tensor.name] for tensor in nested.inputs}
        for tensor, name, order in _uses(nested):
            if id(tensor) in outside:
                origin = graph.origin(outside[id(tensor)])[0]
                found.append((origin, f"{nested.name}/{name}", order))
    return found


def _rows(model, path=""):
    targets = {}
    for tensor, name, order in _uses(model):
        targets.setdefault(id(_compat.producer(tensor)), {})[name] = order
    rows = []
    for generator, _, weights in graph.generators(model):
        consumers = targets.get(id(generator), {})
        parameters = generator.count_params()
        row = {
            "generator": path + generator.name,
            "target": ", ".join(consumers) or "-",
            "shapes": generator.spec.shapes,
            "form": "factored" if len(weights) > 1 else "flat",
            "contraction": ", ".join(dict.fromkeys(filter(None, consumers.values()))) or "-",
            "parameters": parameters,
            "weights": generator.spec.total,
            "compression": generator.spec.total / parameters,
        }
        if row not in rows:
            rows.append(row)
    for nested, _ in graph.nested_models(model):
        rows += [row for row in _rows(nested, f"{path}{nested.name}/") if row not in rows]
    return rows
