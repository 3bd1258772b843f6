"""Reading the functional graph of a model with generators."""

import keras

from keras_hypernet import _compat
from keras_hypernet.generators.generator import Generator
from keras_hypernet.layers.hyper_layer import HyperLayer


def check_functional(model):
    if not isinstance(model, keras.Model) or not hasattr(model, "operations"):
        raise ValueError(
            "`model` must be a functional model, such as `build` returns: only a graph says what "
            "feeds its generators. Call the generators of another model directly. "
            f"Received: model={model!r}"
        )


def generators(model):
    """`[(generator, its conditioning, the tensors of its weights)]` of a model, as KerasTensors.

    A conditioning is a KerasTensor or a dict of them.
    """
    return [
        (operation, args[0] if args else kwargs["conditioning"], outputs)
        for operation in model.operations
        if isinstance(operation, Generator)
        for args, kwargs, outputs in _compat.calls_in(model, operation)
    ]


def hyper_layers(model):
    """`[(hyper layer, its weights as KerasTensors)]` of a model."""
    return [
        (operation, args[1] if len(args) > 1 else kwargs["weights"])
        for operation in model.operations
        if isinstance(operation, HyperLayer)
        for args, kwargs, _ in _compat.calls_in(model, operation)
    ]


def nested_models(model):
    """`[(functional model in the graph, {its input's name: KerasTensor it is fed})]`."""
    found = []
    for operation in model.operations:
        if isinstance(operation, keras.Model) and hasattr(operation, "operations"):
            for args, kwargs, _ in _compat.calls_in(model, operation):
                fed = args[0] if args else kwargs["inputs"]
                names = [tensor.name for tensor in operation.inputs]
                if isinstance(fed, dict):
                    fed = [fed[name] for name in names]
                found.append((operation, dict(zip(names, keras.tree.flatten(fed)))))
    return found


def conditioning_inputs(model):
    """The inputs of a model that its generators depend on, in the model's order."""
    calls = [conditioning for _, conditioning, _ in generators(model)]
    tensors = keras.tree.flatten(calls)
    for nested, fed in nested_models(model):
        tensors += [fed[tensor.name] for tensor in conditioning_inputs(nested)]
    sources = {id(x) for tensor in tensors for x in keras.utils.get_source_inputs(tensor)}
    return [tensor for tensor in model.inputs if id(tensor) in sources]


def evaluate(tensors, values):
    """Values of a nest of KerasTensors, given values of the inputs they depend on by name."""
    return keras.tree.map_structure(lambda tensor: _evaluate(tensor, values), tensors)


def _evaluate(tensor, values):
    sources = keras.utils.get_source_inputs(tensor)
    if any(tensor is source for source in sources):
        return values[tensor.name]
    model = keras.Model(sources, tensor)
    return model([values[source.name] for source in sources], training=False)
