"""Derivatives of derivatives in a loss, as those who train differential equations have them."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_hypernet as kh
from tests.backend import BACKEND, compiled, numpy_of

STEP = 1e-3
LOSSES = {"jax": "_loss_of_jax", "tensorflow": "_loss_of_tensorflow", "torch": "_loss_of_torch"}


@pytest.fixture(autouse=True)
def float64():
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    if BACKEND == "jax":
        import jax

        with jax.enable_x64(True):
            yield
    else:
        yield
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)


@keras.saving.register_keras_serializable("tests")
def wave(x):
    """Smooth; the `tanh` of Keras makes float32 of float64 on JAX."""
    return x * ops.exp(-ops.square(x))


def dense(contraction):
    sizes = [(2, 4), (4, 3), (3, 1)]
    return kh.build(2, 2, sizes, (), activation=wave, contraction=contraction)


def convolution(mode):
    layers = [
        keras.Input((5, 5, 2)),
        keras.layers.Conv2D(3, 3, padding="same", activation=wave),
        keras.layers.Conv2D(2, 3, strides=2, activation=wave),
        keras.layers.Flatten(),
        keras.layers.Dense(1),
    ]
    return kh.hypernetize(keras.Sequential(layers), conditioning_size=2, mode=mode, hidden_sizes=())


def perceptron(mode):
    layers = [keras.Input((2,)), keras.layers.Dense(4, wave), keras.layers.Dense(1)]
    return kh.hypernetize(keras.Sequential(layers), conditioning_size=2, mode=mode, hidden_sizes=())


MODELS = {
    **{name: (dense, name) for name in ("auto", "materialize", "project", "outer")},
    "perceptron, low rank": (perceptron, "low_rank"),
    "convolution": (convolution, "replace"),
    "convolution, delta": (convolution, "delta"),
    "convolution, low rank": (convolution, "low_rank"),
}


# `loss(variables, inputs)`, the mean square of the second derivative of the model along `which`,
# and its gradient for the variables.


def _loss_of_jax(model, which):
    import jax

    state = [v.value for v in model.non_trainable_variables]

    def loss(variables, inputs):
        def output(x):
            given = [x if i == which else value for i, value in enumerate(inputs)]
            return ops.sum(model.stateless_call(variables, state, given)[0])

        slope = jax.grad(output)
        curvature = jax.grad(lambda x: ops.sum(slope(x)))
        return (curvature(inputs[which]) ** 2).mean()  # not Keras' own, which is in float32

    return jax.jit(jax.value_and_grad(loss))


def _loss_of_tensorflow(model, which):
    import tensorflow as tf

    def loss(variables, inputs):
        with tf.GradientTape() as of_variables:
            with tf.GradientTape() as second:
                second.watch(inputs[which])
                with tf.GradientTape() as first:
                    first.watch(inputs[which])
                    output = tf.reduce_sum(model(inputs))
                slope = first.gradient(output, inputs[which])
            curvature = second.gradient(slope, inputs[which])
            value = tf.reduce_mean(tf.square(curvature))
        trained = [v.value for v in model.trainable_variables]
        zero = tf.UnconnectedGradients.ZERO
        return value, of_variables.gradient(value, trained, unconnected_gradients=zero)

    return compiled(loss)


def _loss_of_torch(model, which):
    import torch

    def loss(variables, inputs):
        x = inputs[which].requires_grad_()
        slope = torch.autograd.grad(model(inputs).sum(), x, create_graph=True)[0]
        curvature = torch.autograd.grad(slope.sum(), x, create_graph=True)[0]
        value = curvature.square().mean()
        trained = [v.value for v in model.trainable_variables]
        found = torch.autograd.grad(value, trained, allow_unused=True)
        return value, [torch.zeros_like(v) if g is None else g for g, v in zip(found, trained)]

    return loss


@pytest.mark.parametrize("which", [0, 1], ids=["condition", "data"])
@pytest.mark.parametrize("name", MODELS)
def test_second_derivatives_in_the_loss(name, which, rng):
    build, option = MODELS[name]
    model = build(option)
    for v in model.trainable_variables:  # changes start at zero, with nothing to derive
        v.assign(rng.normal(size=v.shape) * 0.2)
    arrays = [rng.normal(size=(3, *x.shape[1:])) for x in model.inputs]
    function = globals()[LOSSES[BACKEND]](model, which)

    def loss(values):
        """The loss and its gradient, with the variables at these values."""
        for v, value in zip(model.trainable_variables, values):
            v.assign(value)
        inputs = [ops.convert_to_tensor(x, "float64") for x in arrays]
        value, found = function([v.value for v in model.trainable_variables], inputs)
        return float(numpy_of(value)), numpy_of(list(found))

    values = numpy_of([v.value for v in model.trainable_variables])
    way = [0.1 * rng.normal(size=v.shape) for v in values]
    near = {i: loss([v + i * STEP * d for v, d in zip(values, way)])[0] for i in (-2, -1, 1, 2)}
    slope = (8 * (near[1] - near[-1]) - (near[2] - near[-2])) / (12 * STEP)
    value, gradient = loss(values)
    assert value > 1e-6
    along = sum(np.sum(g * d) for g, d in zip(gradient, way))
    np.testing.assert_allclose(along, slope, rtol=1e-6)
