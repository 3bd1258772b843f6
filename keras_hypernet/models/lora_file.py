"""`save_lora`: one condition's updates of low rank as KerasHub's own file of an adapter."""

from __future__ import annotations

import os
from collections import Counter

import h5py
import keras
import numpy as np
from keras import ops

from keras_hypernet.layers.changed_layer import ChangedLayer
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.layers.tensor_plan import LOW_RANK
from keras_hypernet.models.backbone_layers import layers_of_backbone
from keras_hypernet.models.calls import filled, origin, values_in
from keras_hypernet.models.graph_reader import CallGraph, check_functional, condition_of, run
from keras_hypernet.models.lora_factors import keras_factors
from keras_hypernet.utils import checks, keras_internals
from keras_hypernet.utils.files import written_whole
from keras_hypernet.utils.types import Nest

SUFFIX = ".lora.h5"


def save_lora(
    model: keras.Model,
    conditioning: Nest,
    path: str | os.PathLike[str],
    backbone: keras.Model | None = None,
) -> list[str]:
    """Writes one condition's updates of low rank in KerasHub's own format of adapters.

    The reader has a stock backbone with the same base, and neither this package nor the
    hypernetwork: `backbone.load_lora_weights(path)` gives it the outputs that `model` has for the
    condition. Where layers with other names than `backbone.default_lora_layer_names()` are updated,
    the reader first calls `backbone.enable_lora(rank, target_layer_names=names)`: that call, with
    the rank of the file and the names, is then printed.

    `alpha / rank` is folded in. Keras factors a kernel into all of its axes but the last, and the
    last. So the rank of an `EinsumDense` with several output axes is there up to their product
    (without the last) times the rank here, and at most the size of the last axis. The file's rank
    is the smallest that has every update up to float32 rounding. Kernels that are not updated, of
    layers with the same names, have factors of zero. What else is trained in the backbone, such as
    its base without `freeze`, is not in the file.

    The file is written beside and renamed: an old one is whole until then. Folders around it are
    made.

    Args:
        model: Hypernetwork made by `hypernetize(backbone, mode="low_rank")`.
        conditioning: Values of the inputs that the updates depend on, each with one row: an array
            where that is one input, else a list in the order of the model's inputs, or a dict by
            input name.
        path: Path of the file, which must end in `.lora.h5`.
        backbone: The backbone, or another one of its class and config: KerasHub numbers its layers
            in an order that `model` does not show. `None` for a model that `hypernetize` made in
            this process of a KerasHub backbone or task.

    Returns:
        Names of layers, for `target_layer_names` of `enable_lora`.

    Raises:
        ValueError: if the model has no updates of low rank, or other generated weights or adapters
            beside them; one is of a layer that is not in the backbone or has no `enable_lora`;
            the backbone is not known; `conditioning` does not fit or has more than one row; or
            `path` does not end so. Nothing is written then.
        TypeError: on arguments of other types.

    Example:

    >>> import tempfile
    >>> backbone = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="query")])
    >>> model = kh.hypernetize(backbone, conditioning_size=2, mode="low_rank", freeze="all")
    >>> path = tempfile.mkdtemp() + "/user.lora.h5"
    >>> kh.save_lora(model, np.ones((1, 2)), path, backbone=backbone)
    ['query']

    Reference: Hu et al., 2021 (https://arxiv.org/abs/2106.09685).
    """
    path = checks.path("path", path)
    if not str(path).endswith(SUFFIX):
        raise ValueError(
            f"`path` must end in {SUFFIX!r}, as KerasHub's files of adapters do. "
            f"Received: path={str(path)!r}"
        )
    check_functional(model)
    graph = CallGraph(model)
    calls = _updated(graph)
    layers = layers_of_backbone(model, backbone)
    plans = {plan.name: plan for call in calls for plan in call.operation.generated}
    updated = layers.updated({name: plan.shape for name, plan in plans.items()})
    names = layers.names(updated.values())
    every = layers.named(names)
    given = condition_of(graph, conditioning)
    tensors = run(graph.calls_before([call.weights for call in calls]), given, training=False)
    factors = {}  # {index of a layer: Keras' factors of its update}
    for call in calls:
        for name, update in call.operation.changes(filled(call.weights, tensors)).items():
            factors[updated[name].index] = keras_factors(
                _finite_row(name, update), plans[name].equation
            )
    rank = max(1, *(len(b) for _, b in factors.values()))
    with written_whole(path) as partial, h5py.File(partial, "w") as file:
        file["lora/vars/rank"] = rank
        for layer in every:
            (*rows, last), group = layer.shape, f"lora/{layer.index}/vars/lora_kernel"
            a, b = factors.get(layer.index) or (np.zeros((*rows, 0)), np.zeros((0, last)))
            missing = rank - len(b)
            file[f"{group}_a"] = np.float32(np.pad(a, [(0, 0)] * len(rows) + [(0, missing)]))
            file[f"{group}_b"] = np.float32(np.pad(b, [(0, missing), (0, 0)]))
    if not {layer.name for layer in updated.values()} <= layers.default_names:
        print(
            f"Before `backbone.load_lora_weights({str(path)!r})` the reader calls "
            f"`backbone.enable_lora({rank}, target_layer_names={names})`."
        )
    return names


def _updated(graph):
    """The calls of the layers with updates; a graph that a file cannot hold raises."""
    weights = graph.calls_of(HyperLayer)
    plans = [p for call in weights for p in getattr(call.operation, "generated", ())]
    if not any(plan.mode == LOW_RANK for plan in plans):
        raise ValueError(
            "`model` must have generated updates of low rank: `kh.hypernetize(backbone, ..., "
            f"mode='low_rank')`. Received: model={graph.model!r}"
        )
    others = [
        call.name
        for call in weights
        if not isinstance(call.operation, ChangedLayer)
        or any(plan.mode != LOW_RANK for plan in call.operation.generated)
    ]
    if others:
        raise ValueError(
            "`model` must have no generated weights but updates of low rank: a file of an adapter "
            f"holds nothing else. Received, of other kinds: {checks.few(others)}"
        )
    makers = {id(c.operation) for c in graph.calls_before([call.weights for call in weights])}
    adapted = [
        inner.path
        for layer, _ in graph.layers()
        if id(layer) not in makers
        for inner in keras_internals.layers_in(layer)
        if getattr(inner, "lora_enabled", False)
    ]
    if adapted:
        raise ValueError(
            "`model` must have no adapters of its own, for a stock backbone has none. Give "
            "`hypernetize` one with merged kernels: `backbone.save_weights` merges them, and a "
            f"stock backbone loads that. Received, with `enable_lora`: {checks.few(adapted)}"
        )
    # A layer that is called more than once, as in a nested model, has one update all the same.
    calls = {(id(c.operation), *map(origin, values_in(c.weights))): c for c in weights}
    counts = Counter(plan.name for c in calls.values() for plan in c.operation.generated)
    several = [name for name, count in counts.items() if count > 1]
    if several:
        raise ValueError(
            "`model` must have one update of each kernel. Received, with more than one: "
            f"{checks.few(several)}"
        )
    return list(calls.values())


def _finite_row(name, update):
    """The arrays of an update of one condition, without their axis of rows."""
    row = {n: ops.convert_to_numpy(ops.cast(tensor, "float32"))[0] for n, tensor in update.items()}
    if not all(np.isfinite(array).all() for array in row.values()):
        raise ValueError(
            "`model` must generate finite updates for `conditioning`. Received: one of "
            f"{name} with values that are not"
        )
    return row
