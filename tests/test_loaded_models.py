"""A model that is loaded in a new process, where Keras gives names that it has already."""

import collections
import itertools

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_hypernet as kh
from keras_hypernet.utils import naming
from tests.whole_models import assert_close, settle

USERS = 3


def automatic(conditioning):
    """Layers and operations, before the weights and behind them, with names that Keras gives."""
    target = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Dense(6)])
    features = ops.concatenate([ops.reshape(conditioning, (-1, 2, 2))[:, 0], conditioning], axis=-1)
    hyper = kh.hypernetize(target, conditioning=ops.cast(features, "float32"), hidden_sizes=[6])
    return kh.HyperModel(hyper.inputs, ops.concatenate([hyper.outputs[0], hyper.outputs[0]]))


def of_vectors():
    return automatic(keras.Input((4,), name="conditioning"))


def of_ids():
    return automatic(kh.ConditionEmbedding(USERS, 4)(keras.Input((), dtype="int32", name="user")))


def of_tasks():
    """A model in which an operation takes outputs before that of a head does."""
    user, x = keras.Input((), dtype="int32", name="user"), keras.Input((4,))
    target = keras.Sequential([keras.Input((2,)), layers.Dense(6)])
    vectors = kh.ConditionEmbedding(USERS, 4)(user)
    hyper = kh.hypernetize(target, conditioning=vectors, hidden_sizes=[6])
    return keras.Model([user, x], hyper([user, ops.take(x, [0, 2], axis=-1)]))


def predicted(model, given):
    rows = [np.repeat(given, 4, axis=0), np.ones((4 * len(given), 4), "float32")]
    return model.predict(rows, batch_size=4, verbose=0)


def tabulated(model, given):
    return predicted(kh.tabulate(model, given), np.arange(len(given)))


def specialized(model, given):
    return kh.specialize(model, given[1:2]).predict(np.ones((1, 4)), verbose=0)


def continual(model, given):
    """A plain network for a task, with the outputs of its head taken."""
    tasks = kh.ContinualModel(model, USERS, heads=[[0, 1], [2, 3], [4, 5]])
    tasks.begin_task("a")
    return tasks.specialize("a").predict(np.ones((1, 4)), verbose=0)


USES = {
    "predict": (of_vectors, predicted),
    "predict ids": (of_ids, predicted),
    "specialize": (of_vectors, specialized),
    "tabulate": (of_vectors, tabulated),
    "target_weights": (
        of_vectors,
        lambda model, given: list(kh.target_weights(model, given).values()),
    ),
    "diagnose": (of_vectors, lambda model, given: len(kh.diagnose(model, given).findings)),
    "with_conditions": (
        of_ids,
        lambda model, given: predicted(kh.with_conditions(model, 5), given),
    ),
    "ContinualModel": (of_tasks, continual),
    "hypernetize": (
        of_vectors,
        lambda model, given: kh.hypernetize(kh.specialize(model, given[:1]), 2).count_params(),
    ),
}


@pytest.fixture
def new_process(monkeypatch):
    """A function after which names are given as in a new process."""

    def start():
        keras.utils.clear_session()
        monkeypatch.setattr(naming, "_numbers", collections.defaultdict(itertools.count))

    return start


@pytest.mark.parametrize("use", USES)
def test_it_is_used_as_the_saved_one(use, rng, tmp_path, new_process):
    make, function = USES[use]
    new_process()
    model = settle(make(), rng)
    given = (
        np.arange(USERS)
        if make is not of_vectors
        else rng.normal(size=(USERS, 4)).astype("float32")
    )
    model.save(tmp_path / "model.keras")
    expected = function(model, given)
    new_process()
    found = function(keras.saving.load_model(tmp_path / "model.keras"), given)
    assert_close(found, expected)
