"""`hypernetize`: whole models, selections, modes, what a model does beside its outputs, errors."""

import keras
import numpy as np
import pytest
from keras import layers, ops, tree

import keras_hypernet as kh
from keras_hypernet.generators.generator import Generator
from tests.backend import BACKEND
from tests.whole_models import (
    SIZE,
    WHOLE,
    Batches,
    assert_close,
    compiled,
    predict,
    settle,
    weights_of,
)


def rows_of_table():
    return [
        pytest.param(whole, id=whole.name, marks=[pytest.mark.slow] if whole.slow else [])
        for whole in WHOLE
    ]


def floats(rng, *shape):
    return rng.normal(size=shape).astype("float32")


@pytest.mark.parametrize("whole", rows_of_table())
def test_a_whole_model(whole, rng, tmp_path):
    model = settle(whole.make(), rng)
    z, data = whole.conditions(rng, 4), whole.data(rng, 4)
    given, plain_outputs = weights_of(model), predict(model, data)
    hyper, x = whole.hyper(model), tree.flatten(data)
    assert [tuple(i.shape[1:]) for i in hyper.inputs[1:]] == [a.shape[1:] for a in x]
    tree.assert_same_structure(predict(hyper, [z, *x]), plain_outputs)

    # Trains.
    y = tree.map_structure(lambda a: floats(rng, *a.shape), plain_outputs)
    generators = generators_of(hyper)
    before = [weights_of(generator) for generator in generators]
    loss = {name: "mse" for name in y} if isinstance(y, dict) else "mse"
    history = compiled(hyper, loss).fit(Batches([z, *x], y), verbose=0)
    assert np.isfinite(history.history["loss"][0])
    for generator, values in zip(generators, before):
        assert any((a != b).any() for a, b in zip(values, weights_of(generator))), generator.name

    # Is saved.
    expected = predict(hyper, [z, *x])
    hyper.save(tmp_path / "hyper.keras")
    loaded = keras.saving.load_model(tmp_path / "hyper.keras", safe_mode=True)
    assert_close(predict(loaded, [z, *x]), expected, rtol=1e-6, atol=1e-6)

    # Every row is what the model with this condition says.
    own, others = x[: whole.own_conditions], x[whole.own_conditions :]
    for i in (0, 3):
        conditions = [z[:1] if whole.shared else z[i : i + 1], *[c[i : i + 1] for c in own]]
        plain = kh.specialize(hyper, conditions)
        rows = [a[i : i + 1] for a in others]
        found = predict(plain, rows if len(rows) > 1 else rows[0])
        assert_close(found, tree.map_structure(lambda a, i=i: a[i : i + 1], expected))

    # Leaves the given model alone.
    for a, b in zip(weights_of(model), given, strict=True):
        np.testing.assert_array_equal(a, b)
    assert_close(predict(model, data), plain_outputs, rtol=0, atol=0)


def generators_of(model):
    return [layer for layer in model.layers if isinstance(layer, Generator)]
