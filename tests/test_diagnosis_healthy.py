"""Nothing above `look` is found in models with which nothing is wrong, and nothing raises.

`SEEDS=5` in the environment takes five seeds in place of one, and looks at each model without data,
and after longer training, too.
"""

import os

import keras
import pytest

from keras_hypernet.diagnosis.diagnoser import diagnose
from tests.healthy_cases import HEALTHY

SEEDS = range(int(os.environ.get("SEEDS", "1")))
THOROUGH = len(SEEDS) > 1
QUICK = (
    "full",
    "chunked",
    "hypernetwork",
    "factored layer by layer",
    "build uncompiled",
    "noise",
    "nested",
    "several",
    "perceptron low rank",
    "continual build after ab",
)


def found(diagnosis):
    return [(each.check, each.where, each.measured) for each in diagnosis.at("bad")]


def assert_healthy(row, seed, thorough=THOROUGH):
    keras.utils.set_random_seed(seed)
    model = row.make()
    conditioning, inputs, y = drawn = row.drawn(model, seed)
    assert not found(diagnose(model, conditioning, inputs, y))
    if thorough and seed == 0:
        assert not found(diagnose(model, conditioning))
        assert not found(diagnose(model, conditioning, inputs))
    if model.compiled:
        row.train(model, drawn, epochs=3 if thorough else 1)
        assert not found(diagnose(model, conditioning, inputs, y))


def test_ids_are_unique_and_the_quick_ones_are_rows():
    ids = [row.id for row in HEALTHY]
    assert len(set(ids)) == len(ids)
    assert set(QUICK) <= set(ids)


@pytest.mark.parametrize("row", [r for r in HEALTHY if r.id in QUICK], ids=lambda row: row.id)
def test_nothing_is_found(row):
    assert_healthy(row, seed=0, thorough=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("row", HEALTHY, ids=lambda row: row.id)
def test_nothing_is_found_in_any_row(row, seed):
    if row.slow and seed:
        pytest.skip("takes long")
    assert_healthy(row, seed)
