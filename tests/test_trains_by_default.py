"""Who gives no option gets what trains."""

import keras
import numpy as np
import pytest

import keras_hypernet as kh

WIDTH, ROWS = 16, 256


def sizes(depth):
    return [(1, WIDTH), *[(WIDTH, WIDTH)] * (depth - 2), (WIDTH, 1)]


def problem(size=1.0):
    """Conditions of a size, data, and a smooth function of both."""
    rng = np.random.default_rng(3)
    c, x = rng.normal(size=(ROWS, 2)), rng.uniform(-1, 1, size=(ROWS, 1))
    y = np.sin(2 * x + np.tanh(c[:, :1])) + np.tanh(c[:, 1:]) * x
    return [(size * c).astype("float32"), x.astype("float32")], y.astype("float32")


def learns(model, data, rate=1e-3):
    inputs, y = data
    model.compile(keras.optimizers.Adam(rate), "mse")
    losses = model.fit(inputs, y, epochs=30, batch_size=32, verbose=0).history["loss"]
    assert losses[-1] < y.var() / 4, losses


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_ten_layers_from_build(activation):
    keras.utils.set_random_seed(1)
    learns(kh.build(2, 1, sizes(10), [64], activation=activation), problem())


@pytest.mark.parametrize("size", [1e-2, 30.0])
def test_conditions_of_any_size(size):
    keras.utils.set_random_seed(2)
    learns(kh.build(2, 1, sizes(4)), problem(size))


def perceptron(depth):
    model = keras.Sequential([keras.Input((1,))])
    for _, units in sizes(depth)[:-1]:
        model.add(keras.layers.Dense(units, "relu", kernel_initializer="he_normal"))
    model.add(keras.layers.Dense(1))
    return model


@pytest.mark.parametrize("rate", [1e-3, 1e-2])
def test_six_layers_hypernetized(rate):
    keras.utils.set_random_seed(3)
    learns(kh.hypernetize(perceptron(6), conditioning_size=2), problem(), rate)


def test_five_layers_from_chunks():
    keras.utils.set_random_seed(4)
    condition, x = keras.Input((2,)), keras.Input((1,))
    spec = kh.WeightSpec.from_layer_sizes(sizes(5))
    weights = kh.ChunkedWeightGenerator(spec, chunk_size=200, hidden_sizes=[64])(condition)
    y = kh.ApplyGeneratedWeights(sizes(5))(x, weights)
    learns(keras.Model([condition, x], y), problem())


def test_conditions_that_lie_together():
    """The default cannot know what they are; it warns, and the layer that it names mends it."""
    (c, x), y = problem()
    c = c + 1000
    with pytest.warns(UserWarning, match=r"Put `keras.layers.Normalization`"):
        kh.build(2, 1, sizes(2))([c, x])
    keras.utils.set_random_seed(6)
    conditions, normalization = keras.Input((2,)), keras.layers.Normalization()
    normalization.adapt(c)
    conditioning = normalization(conditions)
    model = kh.build(None, 1, sizes(4), conditioning=conditioning)
    learns(model, ([c, x], y))


@pytest.mark.parametrize("rows", [1, 3, 24])
def test_one_condition_in_all_rows_is_no_warning(rows):
    """The mean of equal numbers is another number, by rounding."""
    for c in np.random.default_rng(3).normal(size=(10, 2)).astype("float32"):
        kh.build(2, 1, sizes(2))([np.repeat(c[None], rows, axis=0), np.ones((rows, 1), "float32")])


def test_a_sine_network():
    keras.utils.set_random_seed(5)
    learns(kh.build(2, 1, sizes(4), activation=kh.sine(6.0)), problem())


def encoder(kind):
    """A conditioning, and the layer that makes it."""
    if kind == "embedding":
        return kh.ConditionEmbedding(4, 2)(keras.Input((), dtype="int32"))
    vectors = keras.Input((2,))
    if kind == "input":
        return vectors
    dense = keras.layers.Dense(2)
    dense.trainable = kind == "trained"
    return dense(vectors)


@pytest.mark.parametrize(
    ("kind", "scaled"),
    [("input", True), ("frozen", True), ("trained", False), ("embedding", False)],
)
def test_conditions_that_are_data_are_scaled(kind, scaled):
    target = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    for model in (
        kh.build(None, 1, [(1, 1)], [4], conditioning=encoder(kind)),
        kh.hypernetize(target, conditioning=encoder(kind)),
    ):
        assert any(isinstance(layer, kh.RunningScale) for layer in model.layers) == scaled
    asked = kh.build(None, 1, [(1, 1)], [4], conditioning=encoder(kind), running_scale=not scaled)
    assert any(isinstance(layer, kh.RunningScale) for layer in asked.layers) != scaled
