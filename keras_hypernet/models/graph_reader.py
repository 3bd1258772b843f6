"""Reading the functional graph of a model with generators."""

import keras
from keras import tree

from keras_hypernet.generators.generator import Generator
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.layers.layer_weights import LayerWeights
from keras_hypernet.layers.split_weights import SplitWeights
from keras_hypernet.models.graph_walk import nested_inputs
from keras_hypernet.utils import keras_internals


def check_functional(model):
    if not isinstance(model, keras.Model) or not hasattr(model, "operations"):
        raise ValueError(
            "`model` must be a functional model, such as `build` returns: only a graph says what "
            "feeds its generators. Call the generators of another model directly. "
            f"Received: model={model!r}"
        )


def _calls(model, kind):
    """`[(operation, args, kwargs, output KerasTensors)]` of the operations of a class."""
    return [
        (operation, *call)
        for operation in model.operations
        if isinstance(operation, kind)
        for call in keras_internals.calls_in(model, operation)
    ]


def generators(model):
    """`[(generator, its conditioning, the tensors of its weights)]` of a model, as KerasTensors.

    A conditioning is a KerasTensor or a dict of them.
    """
    return [
        (operation, args[0] if args else kwargs["conditioning"], outputs)
        for operation, args, kwargs, outputs in _calls(model, Generator)
    ]


def hyper_layers(model):
    """`[(hyper layer, its weights as KerasTensors)]` of a model."""
    return [
        (operation, args[1] if len(args) > 1 else kwargs["weights"])
        for operation, args, kwargs, _ in _calls(model, HyperLayer)
    ]


def layer_weights(model):
    """`[(LayerWeights, what is generated for it, the weights)]` of a model, as KerasTensors."""
    return [
        (operation, args[0] if args else kwargs["generated"], outputs)
        for operation, args, kwargs, outputs in _calls(model, LayerWeights)
    ]


def plain_generators(model):
    """Those of `generators` whose weights go through no `LayerWeights`."""
    used = {id(t) for _, generated, _ in layer_weights(model) for t in origin(generated)}
    return [call for call in generators(model) if id(call[2][0]) not in used]


def has_hyper_layers(model):
    """Whether a model has layers on generated weights, in nested models too."""
    return any(isinstance(layer, HyperLayer) for layer in keras_internals.layers_in(model))


def origin(weights):
    """The KerasTensors of which weights are cut or made up: those of a generator, mostly."""
    tensors = tree.flatten(weights)
    operation, args, kwargs = keras_internals.call_of(tensors[0])
    if isinstance(operation, (LayerWeights, SplitWeights)):
        return origin(args[0] if args else next(iter(kwargs.values())))
    return tensors


def nested_models(model):
    """`[(functional model in the graph, {its input's name: KerasTensor it is fed})]`."""
    return [
        (operation, fed_to(operation, args, kwargs))
        for operation, args, kwargs, _ in _calls(model, keras.Model)
        if hasattr(operation, "operations")
    ]


def fed_to(model, args, kwargs):
    """What a call of a model feeds its inputs: `{name of an input: tensor}`."""
    fed = args[0] if args else kwargs["inputs"]
    return {x.name: tensor for x, tensor in zip(model.inputs, nested_inputs(model, fed))}


def conditioning_inputs(model):
    """The inputs of a model that its generated weights depend on, in the model's order."""
    calls = [conditioning for _, conditioning, _ in generators(model)]
    tensors = tree.flatten([calls, [weights for _, weights in hyper_layers(model)]])
    for nested, fed in nested_models(model):
        tensors += [fed[tensor.name] for tensor in conditioning_inputs(nested)]
    sources = {id(x) for tensor in tensors for x in keras.utils.get_source_inputs(tensor)}
    return [tensor for tensor in model.inputs if id(tensor) in sources]


def evaluate(tensors, values):
    """Values of a nest of KerasTensors, given values of the inputs they depend on by name."""
    return tree.map_structure(lambda tensor: _evaluate(tensor, values), tensors)


def _evaluate(tensor, values):
    sources = keras.utils.get_source_inputs(tensor)
    if any(tensor is source for source in sources):
        return values[tensor.name]
    model = keras.Model(sources, tensor)
    return model([values[source.name] for source in sources], training=False)
