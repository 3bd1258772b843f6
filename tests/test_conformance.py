"""Every hyper layer is its Keras layer with each row's weights, in all forms of weights."""

import json

import keras
import numpy as np
import pytest
from keras import layers, ops, tree

import keras_hypernet as kh
from keras_hypernet.utils import keras_internals
from tests import features
from tests.backend import BACKEND, compiled, numpy_of
from tests.conformance import (
    Run,
    Trial,
    assert_close,
    assert_fits,
    compiled_dynamic,
    config_of,
    draw_seeds,
    floats,
)
from tests.conformance_blocks import ROWS as BLOCKS
from tests.conformance_conv import ROWS as CONV
from tests.conformance_core import ROWS as CORE

pytestmark = pytest.mark.filterwarnings("ignore:You passed `rms_scaling=True`")

every_row = pytest.mark.parametrize(
    "row",
    [
        pytest.param(
            row,
            id=row.id,
            marks=[features.takes(row.layer, **row.arguments), *[pytest.mark.slow] * row.slow],
        )
        for row in [*CORE, *CONV, *BLOCKS]
    ],
)


@every_row
@pytest.mark.parametrize("rows", [pytest.param(4, marks=pytest.mark.slow), 2])
def test_values_and_gradients(row, rows, rng):
    trial = Trial(row, rows, rng)
    layer, outputs = trial.layer()
    seeds = draw_seeds(rng)
    expected, of_reference = trial.reference(trial.weights, seeds)
    found, gradients = Run(trial.of(layer))(trial.inputs, trial.weights, trial.arrays, seeds)
    assert_close(found, expected, 1e-5)
    assert_close(gradients, of_reference, 1e-4)
    tree.map_structure(assert_fits, outputs, found[0])
    spec = layer.spec(*(x.shape for x in trial.inputs))
    assert [tensor.shape for tensor in spec] == trial.shapes


@every_row
def test_one_row(row, rng):
    trial = Trial(row, 1, rng)
    expected, _ = trial.reference(trial.weights)
    for shared in (True, False):
        layer, _ = trial.layer(shared=shared)
        found, _ = Run(trial.of(layer))(trial.inputs, trial.weights, trial.arrays)
        assert_close(found, expected, 1e-5)


@every_row
def test_forms_of_weights_and_a_copy_from_the_config(row, rng):
    lost = set(row.arguments) - set(row.layer(**row.arguments).get_config())
    if lost:
        pytest.skip(f"Keras' own config has no {lost}")
    trial = Trial(row, 2, rng)
    layer, _ = trial.layer()
    copy = type(layer).from_config(json.loads(config_of(layer)))
    assert config_of(copy) == config_of(layer)
    trial.built(copy)
    run = Run(trial.of(copy))
    for form in (trial.named, trial.factored, trial.updated):
        weights, meant = form(copy, rng)
        expected, _ = trial.reference(meant)
        found, _ = run(trial.inputs, weights, trial.arrays)
        assert_close(found, expected, 1e-5)


@every_row
@pytest.mark.skipif(BACKEND != "tensorflow", reason="everything above is compiled on JAX")
def test_compiled_with_unknown_rows(row, rng):
    trial = Trial(row, 2, rng)
    layer, _ = trial.layer()
    found = compiled_dynamic(trial.of(layer), trial.inputs, trial.weights, trial.arrays)
    assert_close(found, trial.reference(trial.weights)[0], 1e-5)


# What the table does not show.


def batch_norm(**arguments):
    make = layers.BatchNormalization
    return kh.Hyper(make(**arguments)), make(**arguments)


def test_batch_normalization_takes_the_mask_of_its_data_and_can_be_frozen_later(rng):
    x, weights = rng.normal(size=(4, 3, 2)).astype("float32"), np.ones((2, 4), "float32")
    weights[:, 2:] = 0
    layer, twin = batch_norm(momentum=0.5)
    masked = keras.layers.Masking()
    x[:, 2] = 0
    y, expected = layer(masked(x), weights, training=True), twin(masked(x), training=True)
    assert_close(*map(numpy_of, (y, expected)), 1e-5)
    for own, its in zip(layer.weights, twin.weights[2:], strict=True):
        assert_close(numpy_of(own), numpy_of(its), 1e-5)
    assert [v.path.rpartition("/")[2] for v in layer.weights] == ["moving_mean", "moving_variance"]
    layer.trainable = False
    before = layer.get_weights()
    twin.trainable = False
    y, expected = layer(x, weights, training=True), twin(x, training=True)
    assert_close(*map(numpy_of, (y, expected)), 1e-5)
    np.testing.assert_array_equal(before, layer.get_weights())


def test_embedding_masks_and_ids_outside_of_the_table(rng):
    layer = kh.Hyper(layers.Embedding(3, 1, mask_zero=True))
    weights = np.array([[1, 2, 3], [4, 5, 6]], "float32")
    x = np.array([[0, 2], [-1, 1]], "int32")
    y = layer(x, weights)
    np.testing.assert_array_equal(ops.convert_to_numpy(y)[..., 0], [[1, 3], [6, 5]])
    np.testing.assert_array_equal(ops.convert_to_numpy(keras_internals.mask_of(y)), x != 0)
    for outside in (3, -4, 5):
        x[0, 0] = outside
        if BACKEND == "jax":
            assert np.isnan(layer(x, weights)[0, 0, 0])
        else:
            with pytest.raises(Exception, match=r"(?i)range|indices"):
                layer(x, weights)
        if BACKEND == "tensorflow":
            assert compiled(layer)(x, weights)[0, 0, 0] in (0, 1, 2, 3)


def attention_inputs(rng):
    ids = np.array([[1, 2, 0], [3, 1, 2], [1, 0, 0], [2, 2, 2]])
    table = keras.layers.Embedding(4, 4, mask_zero=True)
    return table, ids


def test_attention_uses_the_masks_of_its_data_as_keras_does(rng):
    table, ids = attention_inputs(rng)
    twin = keras.layers.MultiHeadAttention(2, 3)
    layer = kh.Hyper(layers.MultiHeadAttention(2, 3))
    expected = twin(table(ids), table(ids[:, :2]))
    weights = np.concatenate([ops.convert_to_numpy(w).reshape(1, -1) for w in twin.weights], axis=1)
    for rows in (1, 4):
        y = layer(table(ids), np.repeat(weights, rows, 0), table(ids[:, :2]))
        assert_close(*map(numpy_of, (y, expected)), 1e-5)
        np.testing.assert_array_equal(
            *map(ops.convert_to_numpy, (keras_internals.mask_of(y), ids != 0))
        )
    x, w = keras.Input((3,), dtype="int32"), keras.Input((weights.shape[1],))
    model = keras.Model([x, w], layer(table(x), w, table(x[:, :2])))
    found = model([ids, np.repeat(weights, 4, 0)])
    assert_close(*map(numpy_of, (found, expected)), 1e-5)


def test_attention_drops_scores_in_training(rng):
    layer = kh.Hyper(layers.MultiHeadAttention(2, 3, dropout=0.9, seed=3))
    x = np.ones((4, 5, 3), "float32")
    weights = rng.normal(size=(2, layer.spec(x.shape, x.shape).total)).astype("float32")
    quiet, noisy = (numpy_of(layer(x, weights, x, training=on)) for on in (False, True))
    assert np.abs(quiet - noisy).max() > 0.1


def test_attention_penalizes_its_weights_and_activities(rng):
    x = rng.normal(size=(4, 3, 2)).astype("float32")
    arguments = {"kernel_regularizer": "l2", "bias_regularizer": "l1", "activity_regularizer": "l2"}
    twin = keras.layers.MultiHeadAttention(2, 3, **arguments)
    layer = kh.Hyper(layers.MultiHeadAttention(2, 3, **arguments))
    twin(x, x)
    weights = np.concatenate([ops.convert_to_numpy(w).reshape(1, -1) for w in twin.weights], axis=1)
    layer(x, np.repeat(weights, 2, 0), x)
    found, expected = (float(sum(map(numpy_of, its.losses))) for its in (layer, twin))
    assert found == pytest.approx(expected, rel=1e-5)


def test_penalties_of_updates(rng):
    layer = kh.Hyper(
        layers.EinsumDense("abc,bcd->abd", (3, 5), kernel_regularizer=keras.regularizers.L2(1.0))
    )
    x, base = floats((3, 4))(4, rng)[0], floats((4, 5))(3, rng)[0]
    down, up = floats((3, 4, 2), (3, 2, 5))(2, rng)
    for rows in (1, 2):
        layer(x, {"kernel": {"base": base, "down": down, "up": up[:rows]}})
        kernel = base + down @ up[:rows]
        expected = np.mean(np.sum(kernel**2, axis=(1, 2, 3)))
        assert float(numpy_of(layer.losses[0])) == pytest.approx(expected, rel=1e-5)


X3, W3, W8 = (np.ones(shape, "float32") for shape in ((4, 3, 2), (2, 4), (2, 8)))


def attention(*args):
    return kh.Hyper(layers.MultiHeadAttention(2, 3))(*args)


@pytest.mark.parametrize(
    ("layer", "x", "message"),
    [
        (layers.LayerNormalization(scale=False, center=False), X3, "must have weights"),
        (layers.LayerNormalization(), keras.Input((2, None)), "None"),
        (layers.GroupNormalization(5), X3, "groups"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_bad_input(layer, x, message):
    with pytest.raises(ValueError, match=message):
        kh.Hyper(layer)(x, W3)


@pytest.mark.parametrize(
    ("call", "exception", "message"),
    [
        (lambda: attention(X3, W3), TypeError, "value"),
        (lambda: attention(X3, W3, X3, "key"), (TypeError, ValueError), "key"),
        (lambda: attention(X3, W3, X3), ValueError, "68 entries"),
        (lambda: kh.Hyper(layers.EinsumDense("ab,cb->ca", 2))(W3, W8), ValueError, "the batch"),
        (lambda: attention(X3, W3, X3, X3[:, :2]), ValueError, "equal"),
    ],
)
def test_bad_input_of_attention(call, exception, message):
    with pytest.raises(exception, match=message):
        call()
