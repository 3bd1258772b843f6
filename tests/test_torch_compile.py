"""`torch.compile` of hypernetized models, one for every family of layers."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_hypernet as kh
from tests.backend import BACKEND, assert_model_torch_compiles, numpy_of, tensors_of
from tests.conformance_blocks import Twice, Windows
from tests.whole_models import SIZE, padded_ids, settle


def dense():
    x = keras.Input((3, 4))
    y = layers.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d")(x)
    return keras.Model(x, layers.Dense(2)(layers.PReLU(shared_axes=[1])(y)))


def convolutions():
    x = keras.Input((5, 2))
    y = layers.DepthwiseConv1D(2, padding="same")(layers.Conv1D(3, 2, activation="relu")(x))
    return keras.Model(x, layers.SeparableConv1D(3, 2, strides=2)(y))


def transposed_convolutions():
    x = keras.Input((3, 3, 2))
    return keras.Model(x, layers.Conv2DTranspose(4, 2, strides=2, activation="relu")(x))


def normalizations():
    x = keras.Input((3, 4))
    y = layers.BatchNormalization()(layers.LayerNormalization()(x))
    return keras.Model(x, layers.GroupNormalization(2)(layers.RMSNormalization()(y)))


def attention():
    ids = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True)(ids)
    return keras.Model(ids, layers.MultiHeadAttention(2, 3)(x, x))


def blocks():
    x = keras.Input((4, 2))
    y = layers.TimeDistributed(layers.Dense(4, activation="tanh"))(Windows()(x))
    return keras.Model(x, Twice(nested=True)(y))


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "torch", reason="a feature of torch")
@pytest.mark.parametrize(
    "family", [dense, convolutions, transposed_convolutions, normalizations, attention, blocks]
)
def test_compiled(family, rng, fresh_compiler):
    model = settle(family(), rng)
    hyper = kh.hypernetize(model, SIZE)
    shape = model.input_shape[1:]
    x = padded_ids(rng, 8) if family is attention else rng.normal(size=(8, *shape))
    z = rng.normal(size=(4, SIZE)).astype("float32")
    x = x if family is attention else x.astype("float32")
    # Keras' own batch normalization and attention are no single graph either.
    whole = family not in (normalizations, attention, blocks)
    assert_model_torch_compiles(hyper, [z, x], whole)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "torch", reason="a feature of torch")
def test_updates_in_given_blocks_compiled(rng, fresh_compiler):
    model = settle(blocks(), rng)
    options = {"mode": "low_rank", "rank": 2, "copy": False, "freeze": "base"}
    hyper = kh.hypernetize(model, SIZE, generate="up", **options)
    x, z = (
        rng.normal(size=(n, *shape)).astype("float32") for n, shape in ((8, (4, 2)), (4, (SIZE,)))
    )
    assert_model_torch_compiles(hyper, [z, x])


MODES = {
    "replace": {},
    "delta": {"mode": "delta"},
    "low rank": {"mode": "low_rank", "rank": 2},
    "shared": {"shared": True},
    "given": {"generator": kh.WeightGenerator},
    "given delta": {"generator": kh.WeightGenerator, "mode": "delta"},
}


@pytest.mark.skipif(BACKEND != "torch", reason="a feature of torch")
@pytest.mark.parametrize("mode", MODES)
def test_a_single_graph(mode, rng, fresh_compiler):
    import torch

    x = keras.Input((6, 6, 2))
    y = layers.Conv2D(3, 3, strides=2, padding="same", activation="relu")(x)
    y = layers.Conv2DTranspose(2, 3, strides=2)(layers.LayerNormalization()(y))
    y = layers.Dense(2, kernel_regularizer="l2")(Twice()(layers.Flatten()(y)))
    hyper = kh.hypernetize(keras.Model(x, y), SIZE, **MODES[mode])
    rows = 1 if mode == "shared" else 4
    shapes = (rows, SIZE), (4, 6, 6, 2)
    inputs = tensors_of([rng.normal(size=shape).astype("float32") for shape in shapes])
    # What is traced runs as it is: only whether it can be traced whole is asked here.
    traced = torch.compile(lambda: hyper(inputs), fullgraph=True, backend="eager")
    np.testing.assert_allclose(numpy_of(traced()), numpy_of(hyper(inputs)), rtol=1e-4, atol=1e-5)
