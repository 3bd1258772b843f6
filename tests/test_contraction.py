"""All orders of contraction against a NumPy loop over samples."""

import itertools

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

import keras_hypernet as kh
from keras_hypernet.ops import contractions
from keras_hypernet.ops.dense import dense
from tests import reference as ref
from tests.backend import BACKEND, gradients, numpy_of
from tests.cases import factored

sizes = st.integers(1, 5)


@st.composite
def targets(draw):
    """A dense layer's arguments, its data and its weights in one of the forms."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, group = draw(sizes), draw(st.integers(1, 3))
    inner = draw(st.lists(st.integers(1, 3), max_size=2))
    inputs, units, use_bias = draw(sizes), draw(sizes), draw(st.booleans())
    total = (inputs + use_bias) * units
    x = rng.normal(size=(rows * group, *inner, inputs)).astype("float32")
    if draw(st.booleans()):
        order = draw(st.sampled_from(contractions.CONTRACTIONS))
        weights = factored(rows, rng, draw(sizes), total)
    else:
        order = draw(st.sampled_from(["auto", "materialize"]))
        weights = rng.normal(size=(rows, total)).astype("float32")
    shared = rows == 1 and draw(st.booleans())
    arguments = {"use_bias": use_bias, "contraction": order, "shared": shared}
    return (units, arguments), x, weights


@given(targets())
def test_any_target_equals_the_loop_over_samples(target):
    (units, arguments), x, weights = target
    arguments = dict(arguments)
    layer = kh.Hyper(keras.layers.Dense(units, use_bias=arguments.pop("use_bias")), **arguments)
    y = ref.dense_rows(*ref.cast([x, weights]), units, layer.wrapped_layer().use_bias)
    np.testing.assert_allclose(numpy_of(layer(x, weights)), y, rtol=1e-4, atol=1e-4)


@given(targets())
def test_any_target_has_the_gradients_of_the_loop(target):
    (units, arguments), x, weights = target
    arguments = dict(arguments)
    layer = kh.Hyper(keras.layers.Dense(units, use_bias=arguments.pop("use_bias")), **arguments)
    arrays = ref.cast([x, weights])
    y = ref.dense_rows(*arrays, units, layer.wrapped_layer().use_bias)
    seeds = np.cos(np.arange(y.size)).reshape(y.shape)
    layer(x, weights)
    _, found = gradients(layer, [x, weights], seeds)
    tensors = [arrays[0], *keras.tree.flatten(arrays[1])]
    # Multilinear: the central difference along any direction is exact.
    for tensor, gradient in zip(tensors, found, strict=True):
        direction = np.sin(1.0 + np.arange(tensor.size)).reshape(tensor.shape)
        tensor += direction
        above = np.sum(ref.dense_rows(*arrays, units, len(layer.tensor_names) > 1) * seeds)
        tensor -= 2 * direction
        below = np.sum(ref.dense_rows(*arrays, units, len(layer.tensor_names) > 1) * seeds)
        tensor += direction
        size = np.linalg.norm(gradient) * np.linalg.norm(direction)
        expected = (above - below) / 2
        assert np.sum(gradient * direction) == pytest.approx(expected, abs=1e-4 * size + 1e-4)


@given(
    st.lists(sizes, min_size=2, max_size=4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from(contractions.CONTRACTIONS),
    st.integers(0, 99),
)
def test_any_perceptron_equals_the_loop_over_samples(widths, rows, group, order, seed):
    rng = np.random.default_rng(seed)
    layers = list(itertools.pairwise(widths))
    x = rng.normal(size=(rows * group, widths[0])).astype("float32")
    weights = [factored(rows, rng, 2, i * o + o) for i, o in layers]
    y = kh.ApplyGeneratedWeights(layers, "tanh", contraction=order)(x, weights)
    expected = ref.mlp_rows(ref.cast(x), ref.cast(weights), layers, np.tanh)
    np.testing.assert_allclose(numpy_of(y), expected, rtol=1e-4, atol=1e-4)


def test_the_smallest_intermediate_wins():
    assert contractions.choose(128, 64, 256) == "materialize"
    assert contractions.choose(512, 10, 32) == "project"
    assert contractions.choose(16, 512, 64) == "outer"
    assert contractions.choose(64, 64, 256, positions=1024) == "materialize"
    assert contractions.choose(784, 400, 10, positions=None) == "materialize"
    assert contractions.choose(512, 512, 32) == "project"


def test_auto_sees_the_positions_that_share_a_row(rng):
    layer = kh.Hyper(keras.layers.Dense(64))
    weights = factored(2, rng, 32, 65 * 64)
    layer(np.ones((2, 64), "float32"), weights)
    assert layer.chosen_contraction() != "materialize"
    shapes = {"features": (2, 32), "basis": (32, 65 * 64), "offset": (65 * 64,)}
    assert layer.chosen_contraction((512, 64), shapes) == "materialize"
    unknown = {**shapes, "features": (None, 32)}
    assert layer.chosen_contraction((None, 64), unknown) == layer.chosen_contraction()


@pytest.mark.parametrize("order", ["materialize", "project", "outer"])
def test_rows_are_grouped_in_order(order):
    """Data row b uses weight row b // (batch // rows), also with inner axes."""
    kernels = np.array([1.0, 10.0, 100.0], "float32")
    weights = {
        "features": kernels[:, None],
        "basis": np.ones((1, 1), "float32"),
        "offset": np.zeros(1, "float32"),
    }
    layer = kh.Hyper(keras.layers.Dense(1, use_bias=False), contraction=order)
    y = numpy_of(layer(np.ones((6, 1), "float32"), weights))
    np.testing.assert_allclose(y[:, 0], [1, 1, 10, 10, 100, 100])
    y = numpy_of(layer(np.ones((6, 2, 1), "float32"), weights))
    np.testing.assert_allclose(y[:, 0, 0], [1, 1, 10, 10, 100, 100])
    np.testing.assert_allclose(y[:, 1, 0], [1, 1, 10, 10, 100, 100])


@pytest.mark.parametrize("order", ["materialize", "project", "outer"])
@pytest.mark.parametrize("x_shape", [(2, 10, 3), (2, 3), (6, 3)])
def test_rows_that_do_not_divide_are_never_a_silent_result(order, x_shape):
    """With shapes that are not static: four rows of weights, two (or six) of data."""
    if BACKEND != "tensorflow":
        pytest.skip("shapes are always static when a layer is called")
    import tensorflow as tf

    layer = kh.Hyper(keras.layers.Dense(2), contraction=order)
    free = tf.TensorSpec((None,) * len(x_shape))
    weights = factored(4, np.random.default_rng(0), 5, 8)
    layer.build((None, *x_shape[1:]), _shapes())
    specs = {k: tf.TensorSpec((None,) * v.ndim) for k, v in weights.items()}
    call = tf.function(layer, input_signature=[free, specs])
    call(np.ones((8, *x_shape[1:]), "float32"), weights)
    with pytest.raises(tf.errors.InvalidArgumentError):
        call(np.ones(x_shape, "float32"), weights)


def _shapes():
    return {"features": (None, 5), "basis": (5, 8), "offset": (8,)}


def test_one_row_runs_the_ordinary_operation(rng):
    x = rng.normal(size=(6, 4, 3)).astype("float32")
    flat = rng.normal(size=(1, 8)).astype("float32")
    dense = keras.layers.Dense(2)
    dense.build((None, 3))
    dense.set_weights([flat[0, :6].reshape(3, 2), flat[0, 6:]])
    for layer in (kh.Hyper(keras.layers.Dense(2)), kh.Hyper(keras.layers.Dense(2), shared=True)):
        np.testing.assert_allclose(
            numpy_of(layer(x, flat)), numpy_of(dense(x)), rtol=1e-6, atol=1e-6
        )


def test_a_layer_built_on_one_row_takes_more(rng):
    layer = kh.Hyper(keras.layers.Dense(2))
    x, flat = rng.normal(size=(6, 3)).astype("float32"), rng.normal(size=(6, 8)).astype("float32")
    layer(x[:1], flat[:1])
    expected = ref.dense_rows(*ref.cast([x, flat]), 2)
    np.testing.assert_allclose(numpy_of(layer(x, flat)), expected, rtol=1e-5, atol=1e-5)


def test_integer_data_is_taken_as_dense_takes_it():
    x, flat = np.arange(6).reshape(2, 3), np.ones((2, 8), "float32")
    expected = ref.dense_rows(x, flat, 2)
    np.testing.assert_allclose(numpy_of(kh.Hyper(keras.layers.Dense(2))(x, flat)), expected)


@pytest.mark.skipif(BACKEND != "jax", reason="there the product has derivatives of its own")
def test_derivatives_of_every_kind(rng):
    import jax

    inputs = [rng.normal(size=shape).astype("float32") for shape in ((3, 4), (3, 4 * 2 + 2))]
    directions = [rng.normal(size=array.shape).astype("float32") for array in inputs]

    def ours(x, flat):
        return ops.tanh(dense(x, flat, 4, 2, use_bias=True))

    def plain(x, flat):
        kernel = ops.reshape(flat[:, :8], (3, 4, 2))
        return ops.tanh(ops.einsum("gi,gio->go", x, kernel) + flat[:, 8:])

    def derivatives(function):
        loss = lambda x, flat: function(x, flat).sum()  # noqa: E731
        return [
            jax.jvp(function, inputs, directions),
            jax.jacrev(function, (0, 1))(*inputs),
            jax.hessian(loss, (0, 1))(*inputs),  # forward over reverse
            jax.jacrev(jax.grad(loss, (0, 1)), (0, 1))(*inputs),
            jax.vmap(lambda x: function(x, inputs[1]))(np.stack([inputs[0], directions[0]])),
        ]

    found, expected = jax.tree.leaves(derivatives(ours)), jax.tree.leaves(derivatives(plain))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
