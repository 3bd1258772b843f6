"""`Hyper` with one row: any layer on it, beside the layer with these values assigned."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import keras_hypernet as kh
from tests.backend import compiled, gradients, numpy_of
from tests.conformance import config_of
from tests.whole_models import Batches, Subclassed, assert_close
from tests.whole_models import compiled as compiled_model


def recurrent():
    return layers.Bidirectional(layers.LSTM(3, return_sequences=True))


def composite():
    return keras.Sequential([layers.Dense(5, activation="tanh"), layers.LayerNormalization()])


LAYERS = {"recurrent": recurrent, "composite": composite, "subclassed": Subclassed}


def built(name):
    layer = LAYERS[name]()
    layer.build((None, 6, 4))
    return layer


def flat(arrays):
    return np.concatenate([np.reshape(a, (1, -1)) for a in arrays], axis=1).astype("float32")


def data(rng):
    return rng.normal(size=(4, 6, 4)).astype("float32")


def other_values(layer, rng):
    return [rng.normal(size=v.shape).astype("float32") for v in layer.trainable_variables]


class Features(keras.layers.Layer):
    """A constant matrix beside a trained bias."""

    def build(self, shape):
        self.matrix = self.add_weight((shape[-1], 3), trainable=False, name="matrix")
        self.bias = self.add_weight((3,), name="bias")

    def call(self, x):
        return keras.ops.cos(keras.ops.matmul(x, self.matrix) + self.bias)

    def compute_output_shape(self, shape):
        return (*shape[:-1], 3)


def test_a_constant_in_a_wrapped_layer_lets_what_is_before_it_train(rng):
    target = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5), Features()])
    hyper = kh.hypernetize(target, 2, mode="delta", shared=True)
    hyper.compile("sgd", "mse")
    x, z = rng.normal(size=(6, 4)).astype("float32"), np.ones((1, 2), "float32")
    dataset = kh.GroupedDataset(z, x, np.ones((6, 3)), conditions_per_batch=1)
    before = hyper.get_weights()
    hyper.fit(dataset, verbose=0)
    assert any(np.any(a != b) for a, b in zip(before, hyper.get_weights()))


@pytest.mark.parametrize("name", LAYERS)
def test_values_and_gradients(name, rng):
    layer, x = built(name), data(rng)
    wrapper, values = kh.Hyper(built(name), shared=True), other_values(layer, rng)
    for variable, value in zip(layer.trainable_variables, values):
        variable.assign(value)
    expected = numpy_of(layer(x))
    weights = flat(values)
    assert_close(numpy_of(wrapper(x, weights)), expected)
    named = {n: v[None] for n, v in zip(wrapper.tensor_names, values, strict=True)}
    assert_close(numpy_of(wrapper(x, named)), expected)
    assert_close(numpy_of(compiled(wrapper)(x, weights)), expected)
    seeds = rng.normal(size=expected.shape)
    of_variables, (of_x,) = gradients(layer, [x], seeds)
    _, (of_data, of_weights) = gradients(wrapper, [x, weights], seeds)
    assert_close(of_data, of_x)
    assert_close(of_weights, flat(of_variables).astype("float64"))


@pytest.mark.parametrize("name", LAYERS)
def test_it_is_made_anew_trained_and_loaded(name, rng, tmp_path):
    wrapper, x = kh.Hyper(built(name), name="wrapped", shared=True), data(rng)
    config = config_of(wrapper)
    assert config_of(kh.Hyper.from_config(json.loads(config))) == config
    total = sum(int(np.prod(v.shape)) for v in wrapper.wrapped_layer().trainable_variables)
    z, series = keras.Input((2,)), keras.Input((6, 4))
    weights = kh.WeightGenerator([(total,)], hidden_sizes=[3])(z)
    model = keras.Model([z, series], wrapper(series, weights))
    owned = {id(v) for v in wrapper.wrapped_layer().trainable_variables}
    assert not owned & {id(v) for v in model.variables}
    inputs = [rng.normal(size=(1, 2)).astype("float32"), x]
    y = rng.normal(size=numpy_of(model(inputs)).shape).astype("float32")
    losses = compiled_model(model).fit(Batches(inputs, y, 5), epochs=2, verbose=0).history["loss"]
    assert losses[1] < losses[0]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert_close(numpy_of(loaded(inputs)), numpy_of(model(inputs)), rtol=1e-6, atol=1e-6)


def test_state_moves_and_losses_are_added(rng):
    layer, x = built("subclassed"), data(rng)
    wrapper = kh.Hyper(built("subclassed"), shared=True)
    weights = flat(numpy_of(layer.trainable_variables))
    assert_close(numpy_of(wrapper(x, weights, training=True)), numpy_of(layer(x, training=True)))
    for found, expected in zip(wrapper.state, layer.norm.non_trainable_variables, strict=True):
        assert_close(numpy_of(found), numpy_of(expected))
    # Its weight regularizer is the generator's owner's concern; what `call` adds is the layer's.
    assert_close(numpy_of(wrapper.losses[-1]), numpy_of(layer.losses[0]))


def test_mixed_precision(rng):
    layer = layers.GRU(3, dtype="mixed_float16")
    layer.build((None, 6, 4))
    wrapper = kh.Hyper(layer, dtype="mixed_float16", shared=True)
    y = wrapper(data(rng), flat(numpy_of(layer.trainable_variables)))
    assert keras.backend.standardize_dtype(y.dtype) == "float16"
    assert np.isfinite(numpy_of(y)).all()


class Nameless(layers.Layer):
    """A layer that its config does not make anew."""

    def __init__(self, inner):
        super().__init__(name="nameless")
        self.inner = inner

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return self.inner(x)

    def compute_output_shape(self, shape):
        return self.inner.compute_output_shape(shape)


def test_a_layer_that_cannot_be_copied_is_used_itself(rng):
    layer = Nameless(layers.Dense(3))
    layer.build((None, 4))
    message = r"(?s)'nameless' of class Nameless cannot.*copy=False"
    with pytest.raises(ValueError, match=message):
        kh.Hyper(layer)
    x, weights = rng.normal(size=(4, 4)).astype("float32"), np.ones((2, 15), "float32")
    found = numpy_of(kh.Hyper(layer, copy=False)(x, weights))
    assert_close(found, x.sum(axis=1, keepdims=True) + np.ones(3))


def dense():
    layer = layers.Dense(2)
    layer.build((None, 4))
    return layer


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: kh.Hyper("dense", shared=True), TypeError, "`layer`"),
        (lambda x: kh.Hyper(layers.Flatten())(x, x), ValueError, "must have weights"),
        (
            lambda x: kh.Hyper(dense(), shared=True)(x, np.ones((2, 10), "float32")),
            ValueError,
            "single",
        ),
        (lambda x: kh.Hyper(dense(), shared=True)(x, np.ones((1, 9), "float32")), ValueError, "10"),
        (
            lambda x: kh.Hyper(dense(), shared=True)(x, np.ones((1, 10), "int32")),
            TypeError,
            "int32",
        ),
    ],
)
def test_refused(call, error, message, rng):
    with pytest.raises(error, match=message):
        call(data(rng))


def test_a_wrapped_sequential_stays_frozen():
    layer = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization()])
    wrapper = kh.Hyper(layer, shared=True, copy=False)
    wrapper.trainable = False
    assert not layer.trainable
    copy = kh.Hyper.from_config(wrapper.get_config())
    assert not copy.wrapped_layer().trainable
    assert not copy.wrapped_layer().layers[0].trainable
