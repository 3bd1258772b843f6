"""The only place that touches a backend or a private part of Keras."""

import keras


def is_concrete(tensor):
    """Whether the values of a tensor can be read now: not while a graph is built or traced."""
    if isinstance(tensor, keras.KerasTensor):
        return False
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return not isinstance(tensor, jax.core.Tracer)
    if backend == "tensorflow":
        import tensorflow as tf

        return not (tf.is_tensor(tensor) and tf.is_symbolic_tensor(tensor))
    if backend == "torch":
        import torch

        if torch.compiler.is_compiling():
            return False
        return not (torch.is_tensor(tensor) and tensor.device.type == "meta")
    return True


def parameters(layer):
    """`[(owner, variable)]` of what a layer and its sublayers made as trainable, each once.

    The order is that of `layer.weights`. Freezing a weight does not make it state, though
    `trainable_variables` leaves it out.
    """
    owners = {}
    for owner in layers_in(layer):
        for variable in owner._trainable_variables:
            owners.setdefault(id(variable), owner)
    return [(owners[id(v)], v) for v in layer.weights if id(v) in owners]


def layers_in(layer):
    """A layer and all layers inside it."""
    return list(layer._flatten_layers())


def split(tensor, sizes):
    """Cuts the last axis of a tensor into pieces of the given sizes.

    `keras.ops.split` reads the sizes back from a tensor on PyTorch, which neither exports nor
    compiles, and needs a static axis on TensorFlow.
    """
    if len(sizes) == 1:
        return [tensor]
    backend = keras.backend.backend()
    if not isinstance(tensor, keras.KerasTensor):
        if backend == "torch":
            import torch

            return torch.split(tensor, sizes, dim=-1)
        if backend == "tensorflow":
            import tensorflow as tf

            return tf.split(tensor, sizes, axis=-1)
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    return keras.ops.split(tensor, ends, axis=-1)


def calls_in(model, operation):
    """The calls of an operation in a functional model: `[(args, kwargs, outputs)]`."""
    nodes = {id(node) for level in model._nodes_by_depth.values() for node in level}
    return [
        (node.arguments.args, node.arguments.kwargs, node.outputs)
        for node in operation._inbound_nodes
        if id(node) in nodes
    ]


def producer(tensor):
    """The layer that made a KerasTensor."""
    return tensor._keras_history.operation


def without_autocast():
    """A scope in which variables have the values that they store, not a copy in half precision."""
    from keras.src.backend.common.variables import AutocastScope

    return AutocastScope(None)
