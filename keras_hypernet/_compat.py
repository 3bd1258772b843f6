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
