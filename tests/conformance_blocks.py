"""Rows of the conformance table: blocks, models and layers of users."""

import keras
import numpy as np
from keras import layers, ops

import keras_hypernet as kh
from tests.conformance import Row, floats


def registered(cls):
    return keras.saving.register_keras_serializable(package="tests")(cls)


@registered
class PreNorm(layers.Layer):
    """A pre-norm Transformer block: attention and a list of dense layers, each with a skip."""

    def __init__(self, heads=2, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.rate = heads, dropout
        dtype = self.dtype_policy
        self.norms = {n: layers.LayerNormalization(dtype=dtype) for n in ("attention", "dense")}
        self.dropout = layers.Dropout(dropout, seed=3, dtype=dtype)

    def build(self, shape):
        size, dtype = shape[-1], self.dtype_policy
        self.attention = layers.MultiHeadAttention(self.heads, size // self.heads, dtype=dtype)
        wide = layers.Dense(2 * size, activation="gelu", dtype=dtype)
        self.dense_layers = [wide, layers.Dense(size, dtype=dtype)]
        self.attention.build(shape, shape)
        for norm in self.norms.values():
            norm.build(shape)
        wide.build(shape)
        self.dense_layers[1].build((*shape[:-1], 2 * size))

    def call(self, x, attention_mask=None, training=None):
        y = self.norms["attention"](x)
        x = x + self.attention(y, y, attention_mask=attention_mask)
        y = self.norms["dense"](x)
        for dense in self.dense_layers:
            y = dense(y)
        return x + self.dropout(y, training=training)

    def compute_output_shape(self, shape, *others):
        return shape

    def get_config(self):
        return {**super().get_config(), "heads": self.heads, "dropout": self.rate}


@registered
class SqueezeAndExcite(layers.Layer):
    """Channels scaled by what two dense layers make of their means."""

    def __init__(self, units=2, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape):
        self.squeeze = layers.Dense(self.units, activation="relu", dtype=self.dtype_policy)
        self.excite = layers.Dense(shape[-1], activation="sigmoid", dtype=self.dtype_policy)
        self.squeeze.build((None, shape[-1]))
        self.excite.build((None, self.units))

    def call(self, x):
        means = ops.mean(x, axis=(1, 2))
        return x * self.excite(self.squeeze(means))[:, None, None, :]

    def get_config(self):
        return {**super().get_config(), "units": self.units}

    def compute_output_shape(self, shape):
        return shape


@registered
class Twice(layers.Layer):
    """One dense layer, called twice, and one block that calls another."""

    def __init__(self, nested=False, **kwargs):
        super().__init__(**kwargs)
        self.nested = nested

    def build(self, shape):
        self.dense = layers.Dense(shape[-1], activation="tanh", dtype=self.dtype_policy)
        self.dense.build(shape)
        self.others = (Twice(dtype=self.dtype_policy),) if self.nested else ()
        for other in self.others:
            other.build(shape)

    def call(self, x):
        x = self.dense(inputs=self.dense(x))
        for other in self.others:
            x = other(x)
        return x

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "nested": self.nested}


@registered
class Windows(layers.Layer):
    """Positions in windows of two behind the batch, which a dense layer takes as one batch."""

    def build(self, shape):
        self.dense = layers.Dense(3, dtype=self.dtype_policy)
        self.norm = layers.BatchNormalization(dtype=self.dtype_policy)
        self.dense.build((None, 2 * shape[-1]))
        self.norm.build((None, 3))

    def call(self, x, training=None):
        batch, steps, size = ops.shape(x)
        windows = ops.reshape(x, (batch * (steps // 2), 2 * size))
        y = self.norm(self.dense(windows), training=training)
        return ops.reshape(y, (batch, steps // 2, 3))

    def compute_output_shape(self, shape):
        return (shape[0], shape[1] // 2, 3)


@registered
class TwoInputs(keras.Model):
    """A subclassed model with two inputs, of which the second is made a row of the first."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = layers.Dense(3), layers.Conv1D(3, 2, padding="same")

    def build(self, x_shape, other_shape):
        self.first.build(x_shape)
        self.second.build(other_shape)

    def call(self, x, other):
        return ops.tanh(self.first(x)) + ops.sum(self.second(other), axis=1)

    def get_config(self):
        return {}


@registered
class Scale(layers.Layer):
    """A layer of a user, for which there is a rule."""

    def build(self, shape):
        self.scale = self.add_weight(shape[-1:], initializer="ones", name="scale")

    def call(self, x, power=1):
        return x * self.scale**power


class ScaleRule(kh.Rule):
    def apply(self, layer, x, tensors, power=1):
        return self.combine(ops.multiply, x, tensors["scale"] ** power, axes=[-1])


kh.register_rule(Scale, ScaleRule)


def lower(batch, rng):
    return np.tril(np.ones((batch, 3, 3), "bool"))


ROWS = [
    Row("pre-norm block", PreNorm, {}, floats((3, 4)), {"attention_mask": lower}),
    Row("squeeze and excite", SqueezeAndExcite, {}, floats((3, 2, 4))),
    Row("shared leaf", Twice, {}, floats((3, 4))),
    Row("block in a block", Twice, {"nested": True}, floats((4,))),
    Row("windows", Windows, {}, floats((4, 2))),
    Row("two inputs", TwoInputs, {}, floats((4,), (5, 2))),
    Row("rule of a user", Scale, {}, floats((3, 4)), {"power": 2}),
    Row(
        "time distributed",
        lambda: layers.TimeDistributed(layers.Dense(3, activation="tanh")),
        {},
        floats((3, 4)),
    ),
    Row(
        "sequence",
        lambda: keras.Sequential([layers.Dense(3), layers.LayerNormalization(), layers.PReLU()]),
        {},
        floats((4,)),
    ),
]
