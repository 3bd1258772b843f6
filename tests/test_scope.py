"""The scope in which layers inside a block take their weights from the call around them."""

import copy
import gc
import pickle
import threading
import weakref

import keras
import numpy as np
import pytest
from keras import layers

import keras_hypernet as kh
from tests.backend import numpy_of
from tests.conformance_blocks import Twice


def flat(layer, rng, rows):
    total = sum(int(np.prod(v.shape)) for v in layer.trainable_variables)
    return rng.normal(size=(rows, total)).astype("float32")


def built():
    layer = Twice()
    layer.build((None, 4))
    return layer


def assigned(layer, weights):
    """The layer's outputs for each row of weights, assigned to it, as a function of data."""
    layer = built()

    def function(x):
        parts = []
        for row, data in zip(weights, np.split(x, len(weights))):
            kernel, bias = row[:16].reshape(4, 4), row[16:]
            layer.set_weights([kernel, bias])
            parts.append(numpy_of(layer(data)))
        return np.concatenate(parts)

    return function


def test_two_around_one_layer(rng):
    layer, x = built(), rng.normal(size=(4, 4)).astype("float32")
    plain = numpy_of(layer(x))
    first, second = (kh.Hyper(layer, copy=False) for _ in range(2))
    w, v = flat(layer, rng, 2), flat(layer, rng, 4)
    for hyper, weights in ((first, w), (second, v), (first, w)):
        expected = assigned(layer, weights)(x)
        np.testing.assert_allclose(numpy_of(hyper(x, weights)), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(numpy_of(layer(x)), plain)  # which works as before
    call = layer.dense.call
    kh.Hyper(layer, copy=False)
    assert layer.dense.call is call


def test_dropping_them_frees_the_layer(rng):
    layer = built()
    hyper = kh.Hyper(layer, copy=False)
    hyper(np.ones((4, 4), "float32"), flat(layer, rng, 2))
    leaf = weakref.ref(layer.dense)
    del layer, hyper
    gc.collect()
    assert leaf() is None


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_have_calls_of_their_own(copied, rng):
    layer, x = built(), rng.normal(size=(4, 4)).astype("float32")
    hyper = kh.Hyper(layer, copy=False)
    w = flat(layer, rng, 2)
    hyper(x, w)
    other = copied(layer)
    other.set_weights([np.ones((4, 4)), np.ones(4)])
    assert np.abs(numpy_of(other(x)) - numpy_of(layer(x))).max() > 1e-3
    np.testing.assert_allclose(numpy_of(copied(hyper)(x, w)), numpy_of(hyper(x, w)), rtol=1e-6)


def test_an_exception_closes_it(rng):
    class Fails(Twice):
        fails = False

        def call(self, x):
            y = super().call(x)
            if self.fails:
                raise RuntimeError("in the middle")
            return y

    layer = Fails()
    layer.build((None, 4))
    hyper, x, w = kh.Hyper(layer, copy=False), np.ones((4, 4), "float32"), flat(layer, rng, 2)
    plain, expected = numpy_of(layer(x)), numpy_of(hyper(x, w))
    layer.fails = True
    with pytest.raises(RuntimeError, match="in the middle"):
        hyper(x, w)
    layer.fails = False
    np.testing.assert_array_equal(numpy_of(layer(x)), plain)
    np.testing.assert_array_equal(numpy_of(hyper(x, w)), expected)


def test_one_inside_another(rng):
    class Outer(layers.Layer):
        """Calls a block on weights of its own, beside a layer that takes them from around."""

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense, self.inner = layers.Dense(20, name="weights"), kh.Hyper(Twice())

        def build(self, shape):
            self.dense.build(shape)
            self.inner.spec(shape)

        def call(self, x):
            return self.inner(x, self.dense(x))

    layer, x = Outer(), rng.normal(size=(4, 4)).astype("float32")
    layer.build((None, 4))
    w = flat(layer, rng, 2)
    found = numpy_of(kh.Hyper(layer, copy=False)(x, w))
    for i, row in enumerate(w):
        layer.dense.set_weights([row[:80].reshape(4, 20), row[80:]])
        own = slice(2 * i, 2 * i + 2)
        np.testing.assert_allclose(numpy_of(layer(x[own])), found[own], rtol=1e-4, atol=1e-5)


def test_two_threads_at_once(rng):
    """A block waits in one thread while the other one calls it with other weights."""
    barrier = threading.Barrier(2, timeout=30)

    class Waits(Twice):
        waiting = False

        def call(self, x):
            y = self.dense(x)
            if Waits.waiting:
                barrier.wait()
            return self.dense(y)

    layer, x = Waits(), rng.normal(size=(4, 4)).astype("float32")
    layer.build((None, 4))
    hyper = kh.Hyper(layer, copy=False)
    weights = [flat(layer, rng, 2), flat(layer, rng, 4)]
    expected = [numpy_of(hyper(x, w)) for w in weights]
    Waits.waiting, found = True, [None, None]

    def run(i):
        found[i] = numpy_of(hyper(x, weights[i]))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_rematerialized_layers_are_refused_and_those_around_them_are_not(rng):
    x, w = np.ones((4, 4), "float32"), flat(built(), rng, 2)
    with keras.RematScope(mode="full"):
        block = Twice(name="block")
    with pytest.raises(ValueError, match="'block' is rematerialized"):
        kh.Hyper(block)(x, w)
    block = built()
    with keras.RematScope(mode="full"):
        hyper = kh.Hyper(block)
    z, data = keras.Input((2,)), keras.Input((4,))
    model = keras.Model([z, data], hyper(data, layers.Dense(20)(z)))
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.fit([np.ones((4, 2)), x], x, verbose=0)
    assert any(np.abs(a - b).max() > 0 for a, b in zip(before, model.get_weights()))


def test_data_of_any_structure(rng):
    class OnDict(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.first, self.second = layers.Dense(3), layers.Dense(3)

        def build(self, shapes):
            self.first.build(shapes["a"])
            self.second.build(shapes["b"][0])

        def call(self, x, scale=None):
            y = self.first(x["a"]) + self.second(x["b"][0]) * self.first(x["b"][1])
            return {"y": y * scale, "x": x["a"]}

    def draw(*shape):
        return rng.normal(size=shape).astype("float32")

    layer = OnDict()
    x = {"a": draw(4, 2), "b": [draw(4, 5), draw(4, 2)]}
    layer.build({"a": (None, 2), "b": [(None, 5), (None, 2)]})
    hyper, w, scale = kh.Hyper(layer, copy=False), flat(layer, rng, 2), draw(4, 1)
    found = hyper(x, w, scale=scale)
    symbolic = keras.tree.map_structure(lambda t: keras.KerasTensor((None, *t.shape[1:])), x)
    spec = kh.Hyper(layer, copy=False)(
        symbolic, keras.KerasTensor((None, w.shape[1])), scale=keras.KerasTensor((None, 1))
    )
    assert spec["y"].shape == (None, 3)
    for row in range(2):
        start = 0
        for variable in layer.trainable_variables:
            size = int(np.prod(variable.shape))
            variable.assign(w[row, start : start + size].reshape(variable.shape))
            start += size
        own = slice(2 * row, 2 * row + 2)
        data = keras.tree.map_structure(lambda t, own=own: t[own], x)
        expected = numpy_of(layer(data, scale=scale[own])["y"])
        np.testing.assert_allclose(numpy_of(found["y"])[own], expected, rtol=1e-4, atol=1e-5)
