"""A diagnosis leaves a model as it was, and all that is drawn at random afterwards."""

import random

import keras
import numpy as np
import pytest

import keras_hypernet as kh
from keras_hypernet.diagnosis.diagnoser import diagnose
from keras_hypernet.utils import keras_internals
from tests.backend import BACKEND
from tests.healthy_cases import HEALTHY, SIZE, VECTORS, Healthy, compiled

ROWS = {row.id: row for row in HEALTHY}


def regular():
    """Dropout, statistics and a regularizer, in the generator and in the target."""
    layers = keras.layers
    target = keras.Sequential([keras.Input((5,)), layers.Dense(8, kernel_regularizer="l2")])
    for layer in (layers.BatchNormalization(), layers.Dropout(0.3, seed=2), layers.Dense(4)):
        target.add(layer)
    options = {"batch_normalization": True, "dropout": 0.2, "seed": 1}
    generator = lambda spec: kh.WeightGenerator(spec, [8], **options)  # noqa: E731
    return kh.hypernetize(target, SIZE, generator=generator)


ROWS["regular"] = Healthy(
    "regular",
    lambda: compiled(regular(), keras.optimizers.Adam(1e-2, use_ema=True), metrics=["mae"]),
    VECTORS,
)
NAMES = (
    "regular",
    "build",
    "build groups",
    "build uncompiled",
    "optimizer accumulated",
    "optimizer scaled",
    "perceptron low rank",
    "chunks for tasks",
    "continual with statistics",
    "continual with statistics after ab",
)
QUICK = ("regular", "build", "continual with statistics after ab")


def values(variables):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def state(model):
    """All that a model has, and what random numbers come from."""
    optimizer, loss = getattr(model, "optimizer", None), keras_internals.compiled_loss(model)
    own = {
        "variables": values(model.variables),
        "optimizer": values(optimizer.variables if optimizer else []),
        "built": [optimizer and optimizer.built, loss and loss.built, model.built],
        "metrics": [
            [m.name for m in model.metrics],
            values(v for m in model.metrics for v in m.variables),
        ],
        "functions": [
            id(getattr(model, f"{name}_function")) for name in ("train", "test", "predict")
        ],
        "losses": len(model.losses),
        "trainable": [variable.trainable for variable in model.variables],
        "layers": len(keras_internals.layers_in(model)),
        "random": random.getstate(),
        "numpy": np.random.get_state()[1:],
    }
    if isinstance(model, kh.ContinualModel):
        own["tasks"] = [model.task_names, model.task_sequence, model.task_state.slot]
    if BACKEND == "torch":
        import torch

        own["torch"] = torch.random.get_rng_state().numpy()
        own["gradients"] = [v.value.grad is None for v in model.trainable_variables]
    return own


def assert_equal(one, other, name="state"):
    assert type(one) is type(other), name
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_equal(one[key], other[key], key)
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), name
        for a, b in zip(one, other):
            assert_equal(a, b, name)
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other, err_msg=name)
    else:
        assert one == other, name


def losses(model, drawn, steps=3):
    """Of some steps; the model may be a `ContinualModel`."""
    conditioning, inputs, y = drawn
    if isinstance(model, kh.ContinualModel):
        given = inputs
    else:
        given = [*(conditioning if isinstance(conditioning, list) else [conditioning]), inputs]
    found = [model.train_on_batch(given, y, return_dict=True) for _ in range(steps)]
    return [{name: float(value) for name, value in logs.items()} for logs in found]


def made(name):
    keras.utils.set_random_seed(3)
    model = ROWS[name].make()
    if isinstance(model, kh.ContinualModel) and not model.task_names:
        model.begin_task("a")
    return model, ROWS[name].drawn(model)


def assert_nothing_changes(name, trained):
    model, drawn = made(name)
    if trained:
        losses(model, drawn, 2)
    conditioning, inputs, y = drawn
    for given in ((conditioning, inputs, y), (conditioning, inputs), (conditioning,)):
        before = state(model)
        diagnose(model, *given)
        assert_equal(before, state(model))


def after_steps(name, diagnosed):
    """Losses of steps before and after a diagnosis, weights at the end, and a random number."""
    model, drawn = made(name)
    found = []
    for _ in range(2):
        if diagnosed:
            diagnose(model, *drawn)
        found += losses(model, drawn)
    return found, values(model.variables), float(keras.random.uniform(()))


def assert_trains_alike(name):
    assert_equal(after_steps(name, False), after_steps(name, True))


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("name", QUICK)
def test_nothing_changes(name, trained):
    assert_nothing_changes(name, trained)


@pytest.mark.parametrize("name", ["regular"])
def test_training_goes_on_bit_for_bit(name):
    assert_trains_alike(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in QUICK])
def test_nothing_changes_in_other_models(name):
    assert_nothing_changes(name, False)
    if name != "build uncompiled":
        assert_nothing_changes(name, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n for n in NAMES if n not in ("regular", "build groups", "build uncompiled")]
)
def test_training_of_other_models_goes_on_bit_for_bit(name):
    assert_trains_alike(name)
