"""Blocks and layers of users in `Hyper`: right, or refused, and never wrong in silence."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_hypernet as kh
from tests.backend import numpy_of
from tests.conformance import assert_close

X = (4, 3, 3)


def drawn(hyper, shape, rows, rng):
    """Weights by name, a row of them or more for each tensor."""
    spec = hyper.spec(shape)
    rows = rows if isinstance(rows, dict) else dict.fromkeys(hyper.tensor_names, rows)
    pairs = zip(hyper.tensor_names, spec, strict=True)
    return {n: rng.normal(size=(rows.get(n, 1), *t.shape)).astype("float32") for n, t in pairs}


def by_hand(layer, x, weights, rows, **kwargs):
    """What the layer gives with each row's weights assigned, one after another."""
    layer(x, **kwargs)
    found = []
    for row, part in enumerate(np.split(x, rows)):
        values = [value[row % len(value)] for value in weights.values()]
        for variable, value in zip(layer.trainable_variables, values, strict=True):
            variable.assign(value)
        found.append(numpy_of(layer(part, **kwargs)))
    return np.concatenate(found)


# Subclasses with the `call` of their base, which does something else.


class OwnKernel(layers.Dense):
    @property
    def kernel(self):
        return 2 * super().kernel


class OwnConvolution(layers.Conv1D):
    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel / ops.std(kernel))


class Tied(layers.Layer):
    """Reads the table of the layer inside it, past its call."""

    def build(self, shape):
        self.dense = layers.Dense(shape[-1], use_bias=False, name="dense")
        self.dense.build(shape)

    def call(self, x):
        return ops.matmul(self.dense(x), ops.transpose(self.dense.kernel))


@pytest.mark.parametrize("make", [lambda: OwnKernel(2), lambda: OwnConvolution(2, 2), Tied])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("update", [True, False])
def test_with_one_row_the_call_of_the_layer_itself_runs(make, shared, update, rng):
    x = rng.normal(size=X).astype("float32")
    hyper = kh.Hyper(make(), shared=shared)
    weights = drawn(hyper, X, 1, rng)
    meant = dict(weights)
    if update:
        name = hyper.tensor_names[0]
        base = weights[name][0]
        shapes = hyper.update_shapes(name, base.shape, 1)
        down, up = (rng.normal(size=(1, *shape)).astype("float32") for shape in shapes)
        weights[name] = {"base": base, "down": down, "up": up}
        meant[name] = base + down @ up
    assert_close(numpy_of(hyper(x, weights)), by_hand(make(), x, meant, 1), 1e-4)


# What is read past the call of its layer has no meaning with weights per row.


class Reads(layers.Layer):
    """Uses the kernel inside it past its layer's call, where `where` says."""

    def __init__(self, where, **kwargs):
        super().__init__(**kwargs)
        self.where = where

    def build(self, shape):
        self.dense = layers.Dense(shape[-1], name="dense")
        self.dense.build(shape)

    def call(self, x, training=None):
        kernel = self.dense.kernel
        if self.where == "a loss":
            self.add_loss(ops.sum(ops.square(kernel)))
        if self.where == "training" and training:
            return ops.matmul(x, kernel)
        if self.where == "assigning" and training:
            kernel.assign(ops.zeros(kernel.shape))
        return self.dense(x)

    def get_config(self):
        return {**super().get_config(), "where": self.where}


@pytest.mark.parametrize("where", ["a loss", "training", "assigning"])
def test_weights_per_row_are_not_read_past_the_call_of_their_layer(where, rng):
    x = rng.normal(size=X).astype("float32")
    for check_rows in (True, False):
        hyper = kh.Hyper(Reads(where), check_rows=check_rows)
        weights = drawn(hyper, X, {"dense/kernel": 2}, rng)
        with pytest.raises(ValueError, match=r"dense/kernel is read or assigned to.*`shared=True`"):
            hyper(x, weights, training=True)
        weights["dense/kernel"] = weights["dense/kernel"][:1]
        hyper(x, weights, training=True)
