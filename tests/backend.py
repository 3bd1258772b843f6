"""Gradients and compiled calls on whichever backend runs."""

import keras
import numpy as np
from keras import ops, tree

BACKEND = keras.backend.backend()


def numpy_of(nest):
    return tree.map_structure(lambda x: np.asarray(ops.convert_to_numpy(x), "float64"), nest)


def tensors_of(nest):
    return tree.map_structure(ops.convert_to_tensor, nest)


def is_float(x):
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(x.dtype))


def weighted_sum(outputs, seeds):
    pairs = zip(tree.flatten(outputs), tree.flatten(seeds), strict=True)
    return sum(ops.sum(out * ops.convert_to_tensor(seed, out.dtype)) for out, seed in pairs)


def gradients(layer, inputs, seeds):
    """Of `sum(layer(*inputs) * seeds)`, for trainable variables and floating inputs."""
    flat = [ops.convert_to_tensor(x) for x in tree.flatten(inputs)]
    places = [i for i, x in enumerate(flat) if is_float(x)]

    def rebuilt(chosen):
        filled = list(flat)
        for place, value in zip(places, chosen, strict=True):
            filled[place] = value
        return tree.pack_sequence_as(inputs, filled)

    chosen = [flat[i] for i in places]
    if BACKEND == "jax":
        import jax

        state = [v.value for v in layer.non_trainable_variables]

        def loss(variables, values):
            outputs, _ = layer.stateless_call(variables, state, *rebuilt(values))
            return weighted_sum(outputs, seeds)

        variables = [v.value for v in layer.trainable_variables]
        found = jax.grad(loss, argnums=(0, 1))(variables, chosen)
    elif BACKEND == "tensorflow":
        import tensorflow as tf

        variables = [v.value for v in layer.trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(chosen)
            total = weighted_sum(layer(*rebuilt(chosen)), seeds)
        found = [
            [tf.convert_to_tensor(g) for g in part]
            for part in tape.gradient(total, (variables, chosen))
        ]
    else:
        import torch

        chosen = [x.detach().clone().requires_grad_() for x in chosen]
        variables = [v.value for v in layer.trainable_variables]
        total = weighted_sum(layer(*rebuilt(chosen)), seeds)
        grads = torch.autograd.grad(total, variables + chosen)
        found = (grads[: len(variables)], grads[len(variables) :])
    return [[np.asarray(ops.convert_to_numpy(g), "float64") for g in part] for part in found]


def compiled(function):
    """The function under the backend's compiler (on PyTorch: as it is)."""
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    return function


def assert_torch_compiles(call, variables, state=(), whole=False):
    """`call()` and its gradients for the variables are those without `torch.compile`.

    The state, seeds for one, is each time what it was. `whole` asks for a single graph.
    """
    import torch

    before = [numpy_of(v) for v in state]

    def outputs_and_gradients(call):
        for variable, value in zip(state, before):
            variable.assign(value)
        outputs = call()
        found = torch.autograd.grad(ops.sum(ops.square(outputs)), [v.value for v in variables])
        return numpy_of([outputs.detach(), *found])

    expected = outputs_and_gradients(call)
    received = outputs_and_gradients(torch.compile(call, fullgraph=whole))
    for got, want in zip(received, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * max(1, np.abs(want).max()))


def assert_model_torch_compiles(model, inputs, whole=False):
    """The same of a model in training."""
    inputs, variables = tensors_of(inputs), model.trainable_variables
    call = lambda: model(inputs, training=True)  # noqa: E731
    assert_torch_compiles(call, variables, model.non_trainable_variables, whole)
