"""How many of a model's kernels are generated or updated."""

import keras

from keras_hypernet.generators.generator import Generator
from keras_hypernet.layers.apply_generated_weights import ApplyGeneratedWeights
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.layers.inside import Inside
from keras_hypernet.layers.layer_weights import LayerWeights
from keras_hypernet.layers.planned_weights import PlannedWeights
from keras_hypernet.layers.split_weights import SplitWeights
from keras_hypernet.models.calls import ModelCall, made_by, values_in
from keras_hypernet.weights.weight_tensor import role_of_name


def kernel_count(graph):
    """`(generated or updated kernels, all kernels of the target)` of a `CallGraph`.

    What makes weights or a conditioning is no part of the target.
    """
    makes = [[call.args, call.kwargs] for call in graph.calls_of(Generator)]
    makes += [call.weights for call in graph.calls_of(HyperLayer)]
    calls = graph.calls_before(makes)
    before = {id(c.operation) for c in calls if not isinstance(c.operation, HyperLayer)}
    generated, every = {}, {}
    for call in graph.calls:
        layer = call.operation
        maker = isinstance(layer, (Generator, LayerWeights, SplitWeights))
        if not isinstance(layer, keras.layers.Layer) or maker or id(layer) in before:
            continue
        if isinstance(call, ModelCall):  # its layers are calls of the graph
            continue
        made, kept = _kernels(call)
        generated[id(layer)] = made
        every[id(layer)] = made + kept
    return sum(generated.values()), sum(every.values())


def _kernels(call):
    """`(generated kernels, others)` of a layer that is called."""
    layer = call.operation
    if not isinstance(layer, HyperLayer):
        return 0, _count(_names(Inside(layer))) if layer.built else 0
    if isinstance(layer, ApplyGeneratedWeights):
        return len(layer.dense_layers), 0
    maker = made_by(values_in(call.weights)[0])
    planned = layer if isinstance(layer, PlannedWeights) else maker and maker.operation
    every = _count(_names(layer.inside()))
    if not isinstance(planned, PlannedWeights):
        return every, 0
    made = _count(plan.local for plan in planned.generated)
    return made, every - made


def _names(inside):
    return {p.name for p in (*inside.parameters, *inside.adapted)}


def _count(names):
    return sum(role_of_name(name) == "kernel" for name in names)
