"""Blocks that cannot take weights per row are refused by name; those that can are not."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_hypernet as kh
from keras_hypernet.layers import rows_check
from tests.backend import compiled, numpy_of


class Block(layers.Layer):
    """A dense layer, and what a test does with it."""

    def __init__(self, size=3, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(size)

    def build(self, shape):
        self.dense.build(shape)


class TimeMajor(Block):
    def call(self, x):
        return ops.transpose(self.dense(ops.transpose(x, (1, 0, 2))), (1, 0, 2))


class Shifted(Block):
    def call(self, x):
        return ops.roll(self.dense(ops.roll(x, 1, axis=0)), -1, axis=0)


class PositionsFirst(Block):
    def call(self, x):
        batch, steps, size = ops.shape(x)
        merged = ops.reshape(ops.transpose(x, (1, 0, 2)), (batch * steps, size))
        y = ops.reshape(self.dense(merged), (steps, batch, -1))
        return ops.transpose(y, (1, 0, 2))


class OwnProduct(Block):
    """Uses the kernel without a call of the layer that has it."""

    def call(self, x):
        return ops.matmul(x, self.dense.kernel) + self.dense.bias


class Tied(layers.Layer):
    """Uses a table once by a call, and once without."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.table = layers.Embedding(5, 3)

    def build(self, shape):
        self.table.build(shape)

    def call(self, ids):
        return ops.matmul(self.table(ids), ops.transpose(self.table.embeddings))


class WithPositions(layers.Layer):
    """A table of positions, which is called on data without the batch."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.tokens, self.positions = layers.Embedding(5, 3), layers.Embedding(6, 3)

    def build(self, shape):
        self.tokens.build(shape)
        self.positions.build(shape)

    def call(self, ids):
        return self.tokens(ids) + self.positions(ops.arange(ids.shape[1]))


class OwnWeight(Block):
    """A weight of its own beside a layer."""

    def build(self, shape):
        super().build(shape)
        self.gain = self.add_weight(shape[-1:], initializer="ones", name="gain")

    def call(self, x):
        return self.dense(x * self.gain)


class AlongTheBatch(Block):
    """Subtracts the mean of the batch, which is legal: rows are not those of weights there."""

    def call(self, x):
        return self.dense(x - ops.mean(x, axis=0, keepdims=True))


FLOATS, IDS = ((None, 4, 3), "float32"), ((None, 4), "int32")
REFUSED = {
    "time major": (TimeMajor, FLOATS, r"time_major\S*/dense is called on data without the batch"),
    "shifted": (Shifted, FLOATS, r"shifted.* of class Shifted.*alone"),
    "positions first": (PositionsFirst, FLOATS, r"positions_first.*alone"),
    "own product": (OwnProduct, FLOATS, r"own_product.*alone"),
    "tied": (Tied, IDS, r"tied.*alone"),
    "positions": (WithPositions, IDS, r"with_positions\S*/embedding_1 is called on data without"),
    "own weight": (OwnWeight, FLOATS, r"own_weight\S*/gain: .*`shared=True`.*leave it out"),
    "mean of the batch": (AlongTheBatch, FLOATS, r"along_the_batch.*`check_rows=False`"),
    "spectral norm": (
        lambda: layers.SpectralNormalization(layers.Dense(3)),
        FLOATS,
        "is read or assigned to past the call",
    ),
}


def model_of(layer, x, **options):
    """A model of a block on generated weights, and the `Hyper` around it."""
    z, x = keras.Input((2,)), keras.Input(x[0][1:], dtype=x[1])
    hyper = kh.Hyper(layer, **options)
    total = hyper.spec(x.shape).total
    return keras.Model([z, x], hyper(x, layers.Dense(total)(z))), hyper


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "spectral norm"])
def test_refused_by_name(name):
    make, x, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        model_of(make(), x)
    hyper = kh.Hyper(make())
    total = hyper.spec((4, *x[0][1:])).total
    data, weights = np.ones((4, *x[0][1:]), x[1]), np.ones((2, total), "float32")
    with pytest.raises(ValueError, match=message):
        hyper(data, weights)
    shared = kh.Hyper(make(), shared=True)
    assert ops.shape(shared(data, weights[:1]))[0] == 4


def test_a_kernel_that_is_assigned_to_is_refused():
    hyper = kh.Hyper(REFUSED["spectral norm"][0]())
    x, weights = np.ones((4, 3), "float32"), np.ones((2, 12), "float32")
    hyper(x, weights)
    with pytest.raises(ValueError, match=REFUSED["spectral norm"][2]):
        hyper(x, weights, training=True)


def test_a_tensor_without_rows_is_left_out():
    """What is refused for rows takes one row."""
    z, ids = keras.Input((2,)), keras.Input((4,), dtype="int32")
    model = keras.Model(ids, WithPositions(name="block")(ids))
    with pytest.raises(ValueError, match=r"block/embedding_\d is called on data without"):
        kh.hypernetize(model, 2)
    tables = [v.path for v in model.variables]
    hyper = kh.hypernetize(model, conditioning=z, select=tables[0])
    x, z = np.array([[1, 2, 3, 4], [0, 1, 0, 1]]), np.ones((2, 2), "float32")
    found = numpy_of(hyper([z, x]))
    for row in range(2):
        plain = kh.specialize(hyper, z[row : row + 1])
        np.testing.assert_allclose(numpy_of(plain(x[row : row + 1]))[0], found[row], rtol=1e-5)


def test_the_way_out_is_taken_at_ones_own_risk():
    x, weights = np.ones((4, 4, 3), "float32"), np.ones((2, 12), "float32")
    kh.Hyper(TimeMajor(), check_rows=False)(x, weights)
    z, data = keras.Input((2,)), keras.Input((4, 3))
    model = keras.Model(data, TimeMajor(name="block")(data))
    kh.hypernetize(model, conditioning=z, check_rows=False)


class Counting(Block):
    """Counts how often it is called."""

    calls = 0

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dropout = layers.Dropout(0.5, seed=3)
        self.norm = layers.BatchNormalization()

    def build(self, shape):
        super().build(shape)
        self.norm.build((*shape[:-1], 3))

    def call(self, x, training=None):
        Counting.calls += 1
        return self.norm(self.dropout(self.dense(x), training=training), training=training)


keras.saving.register_keras_serializable(package="tests")(Counting)


def test_tried_out_once_and_nothing_of_it_is_left(tmp_path, monkeypatch):
    tried = []
    check = rows_check.check
    monkeypatch.setattr(
        rows_check, "check", lambda hyper, *args: (tried.append(hyper.name), check(hyper, *args))
    )
    model, hyper = model_of(Counting(name="counting"), FLOATS)
    assert tried == ["counting"]
    before = [v.numpy() if hasattr(v, "numpy") else np.array(v) for v in hyper.state]
    fresh = Counting()
    fresh.build((None, 4, 3))
    for value, variable in zip(before, fresh.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(value, ops.convert_to_numpy(variable))
    x, z = np.ones((4, 4, 3), "float32"), np.ones((2, 2), "float32")
    compiled(model)([z, x])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    keras.models.clone_model(loaded)
    np.testing.assert_allclose(numpy_of(loaded([z, x])), numpy_of(model([z, x])), rtol=1e-6)
    assert tried == ["counting"]
    kh.Hyper(Counting(), shared=True)(x, np.ones((1, 18), "float32"))
    assert tried == ["counting"]


def test_rows_of_further_arguments():
    """Tensors of any argument have the rows of the data."""
    x = keras.Input((3, 4))
    attention = kh.Hyper(layers.MultiHeadAttention(2, 2))
    total = attention.spec(x.shape, x.shape).total
    weights, mask = keras.Input((total,)), keras.Input((3, 3), dtype="bool")
    attention(x, weights, value=x, attention_mask=mask)


def test_data_of_unknown_sizes():
    z, image = keras.Input((2,)), keras.Input((None, None, 3))
    block = keras.Sequential(
        [keras.Input((None, None, 3)), *(layers.Conv2D(4, 5, strides=2) for _ in range(3))]
    )
    hyper = kh.Hyper(block)
    total = hyper.spec(image.shape).total
    y = hyper(image, layers.Dense(total)(z))
    assert y.shape == (None, None, None, 4)
