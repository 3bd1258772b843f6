"""`with_conditions`: a model with room for more conditions."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import tree

from keras_hypernet.conditioning import capacity
from keras_hypernet.conditioning.condition_embedding import ConditionEmbedding
from keras_hypernet.generators.generator import Generator
from keras_hypernet.models.backbone_layers import hand_on_backbone
from keras_hypernet.models.given_layers_model import GivenLayersModel
from keras_hypernet.models.graph_reader import CallGraph
from keras_hypernet.models.graph_writer import new_input
from keras_hypernet.models.hyper_model import HyperModel
from keras_hypernet.models.hyper_writer import HyperWriter
from keras_hypernet.utils import checks, keras_internals

FREEZE = (None, "all")


def with_conditions(
    model: keras.Model,
    num_conditions: int,
    start: str = "initializer",
    freeze: str | None = None,
    layers: Sequence[str] | None = None,
    copy: bool = True,
) -> keras.Model:
    """A model with room for more conditions, such as new users, and the values of a given one.

    The given model is left as it is; the new one has copies of its layers, under their names, and
    is to be compiled. Old conditions get the same outputs from both.

    With `freeze="all"` and a new optimizer, training on new conditions leaves the old ones exactly
    as they are, vectors and outputs: a row of a table has a gradient only where its id is in the
    batch, and momentum only where it had one. Weight decay and regularizers of the vectors move
    all rows: leave them out.

    Args:
        model: Functional model that takes ids: `Hypernetwork`, `TaskWeights`, `ConditionEmbedding`
            or other layers with `num_conditions` in its graph, or in that of a nested model.
        num_conditions: New number of conditions, not below the old one.
        start: What a new condition has at first. `"initializer"`: what initializers give.
            `"mean"`: the mean of the old conditions, in all that there is a row of for each:
            vectors, chunk embeddings, tensors, and statistics of batch normalization. What is
            generated of it may be worse than no change, until it is trained.
        freeze: `None`: all is trained as in the given model. `"all"`: nothing is but what belongs
            to conditions, vectors for one; no statistics move, those of conditions included.
        layers: Names of the layers that get more conditions; `None` is all, which must have the
            same number of them.
        copy: Whether the other layers are copied. If not, those of the given model are used, as in
            `hypernetize`: a large base is in memory once, and what `freeze` holds is held in both.

    Returns:
        A `HyperModel`: a functional model with the inputs, outputs and names of the given one.

    Raises:
        ValueError: if the model is not functional or has no such layers, they have several numbers
            of conditions, or the new number is below the old one.
        TypeError: on arguments of other types.

    Example:

    >>> ids, x = keras.Input((), dtype="int32"), keras.Input((3,))
    >>> weights = kh.Hypernetwork(kh.WeightGenerator([(3, 4), (4,)]), num_conditions=10)(ids)
    >>> model = keras.Model([ids, x], kh.Hyper(keras.layers.Dense(4))(x, weights))
    >>> larger = kh.with_conditions(model, 12, start="mean", freeze="all")
    >>> [tuple(variable.shape) for variable in larger.trainable_variables]
    [(12, 8)]

    Reference: von Oswald et al., 2020 (https://arxiv.org/abs/1906.00695): one vector per task.
    """
    checks.instance("model", model, keras.Model)
    if keras_internals.functional(model) is None:
        raise ValueError(
            "`model` must be a functional model, for its graph is written anew. For another one, "
            f"call `with_conditions` of its layers. Received: model={model!r}"
        )
    checks.choice("freeze", freeze, FREEZE)
    copy = checks.boolean("copy", copy)
    graph = CallGraph(model)
    chosen = _chosen(graph, layers)
    for layer in chosen:
        capacity.check(layer, num_conditions, start)
    larger = {id(x): capacity.with_conditions(x, num_conditions, start) for x in chosen}
    writer = HyperWriter(graph, frozen=freeze == "all", replaced=larger, copied=copy)
    inputs = tree.map_structure(new_input, keras_internals.functional(model).input)
    outputs = writer.outputs(graph, dict(zip(graph.inputs, tree.flatten(inputs))))
    writer.copy_values()
    if freeze == "all":
        for layer in larger.values():
            _train_only(layer, {id(v) for v in layer.conditional_variables})
    enlarged = (HyperModel if copy else GivenLayersModel)(inputs, outputs, name=model.name)
    hand_on_backbone(model, enlarged)
    return enlarged


def _chosen(graph, names):
    """The layers that get more conditions."""
    found = [
        layer
        for layer, _ in graph.layers()
        if isinstance(layer, (ConditionEmbedding, Generator)) and layer.num_conditions is not None
    ]
    numbers = {layer.name: layer.num_conditions for layer in found}
    if not numbers:
        raise ValueError(
            "`model` must have layers with `num_conditions` in its graph, such as "
            f"`kh.ConditionEmbedding`. Received: model={graph.model!r}"
        )
    if names is None and len(set(numbers.values())) > 1:
        raise ValueError(
            "`layers` must say which layers get more conditions, for they have several numbers of "
            f"them: {numbers}. Received: layers=None"
        )
    names = numbers if names is None else names
    known = isinstance(names, (list, tuple, dict)) and all(
        isinstance(name, str) and name in numbers for name in names
    )
    if not known or not names:
        raise ValueError(
            f"`layers` must be a list of names of layers with conditions, among {list(numbers)}. "
            f"Received: layers={names!r}"
        )
    return [layer for layer in found if layer.name in names]


def _train_only(layer, wanted):
    """Freezes everything in a layer but some variables, and the layers around these."""
    inside = any(id(variable) in wanted for variable in layer.weights)
    layer.trainable = inside
    if inside:
        for variable in keras_internals.trained_variables(layer):
            variable.trainable = id(variable) in wanted
        for inner in keras_internals.sublayers(layer):
            _train_only(inner, wanted)
