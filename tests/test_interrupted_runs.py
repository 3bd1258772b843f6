"""Keras' own checkpoints: a run that goes on from one ends as a run that nothing stopped."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_hypernet as kh
from tests.whole_models import SIZE, PreNorm, compiled, predict

ROWS = 4
FROZEN = [
    pytest.param(("delta", "base", True), marks=pytest.mark.slow),
    pytest.param(("low_rank", "base", True), marks=pytest.mark.slow),
    ("low_rank", "all", False),
]


def adapted(mode, freeze, copy=True):
    """A block and a layer with statistics, adapted: the same base and start in every process."""
    keras.utils.set_random_seed(3)
    chain = [PreNorm(name="block"), layers.Dense(3, name="dense"), layers.BatchNormalization()]
    base = keras.Sequential([keras.Input((3, 4)), *chain, layers.Dense(2, name="head")])
    return compiled(kh.hypernetize(base, SIZE, mode=mode, freeze=freeze, copy=copy))


def data():
    rng = np.random.default_rng(1)
    x = [rng.normal(size=(2 * ROWS, *shape)).astype("float32") for shape in ((SIZE,), (3, 4))]
    return x, rng.normal(size=(2 * ROWS, 3, 2)).astype("float32")


def fit(model, *callbacks, epochs=4):
    options = {"batch_size": ROWS, "shuffle": False, "verbose": 0}
    return model.fit(*data(), epochs=epochs, callbacks=list(callbacks), **options)


def state(model):
    variables = [*model.weights, *model.optimizer.variables]
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


class StoppedError(Exception):
    pass


class Stop(keras.callbacks.Callback):
    """Stops a run in the middle of its third epoch, as if it was killed."""

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 5:
            raise StoppedError


@pytest.mark.parametrize("options", FROZEN)
def test_backup_and_restore(options, tmp_path):
    fit(whole := adapted(*options))
    with pytest.raises(StoppedError):
        fit(adapted(*options), keras.callbacks.BackupAndRestore(tmp_path), Stop())
    again = adapted(*options)
    history = fit(again, keras.callbacks.BackupAndRestore(tmp_path))
    assert history.epoch == [2, 3]
    for one, another in zip(state(again), state(whole), strict=True):
        np.testing.assert_allclose(one, another, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "file"),
    [
        pytest.param(("delta", "base", True), "best.keras", marks=pytest.mark.slow),
        (("low_rank", "base", False), "best.keras"),
        pytest.param(("low_rank", "base", True), "best.weights.h5", marks=pytest.mark.slow),
        (("low_rank", "all", False), "best.weights.h5"),
    ],
)
def test_model_checkpoint(options, file, tmp_path):
    fit(whole := adapted(*options))
    checkpoint = keras.callbacks.ModelCheckpoint(
        tmp_path / file, monitor="loss", save_best_only=True, save_weights_only="weights" in file
    )
    fit(model := adapted(*options), checkpoint, epochs=2)
    assert [path.name for path in tmp_path.iterdir()] == [file]
    if file.endswith(".keras"):
        again = keras.saving.load_model(tmp_path / file)
    else:
        again = adapted(*options)
        again.optimizer.build(again.trainable_variables)  # Keras skips one that is not built
        again.load_weights(tmp_path / file)
    assert [v.trainable for v in again.weights] == [v.trainable for v in model.weights]
    x, _ = data()
    np.testing.assert_allclose(predict(again, x), predict(model, x), rtol=1e-5, atol=1e-6)
    fit(again, epochs=2)  # with the optimizer of the file
    for one, another in zip(state(again), state(whole), strict=True):
        np.testing.assert_allclose(one, another, rtol=1e-5, atol=1e-6)


def test_a_checkpoint_of_the_generator_alone(tmp_path):
    """What `ModelCheckpoint` does for whole models, for the file without the base."""
    model, best, path = adapted("low_rank", "all"), [], tmp_path / "best"

    def save(epoch, logs):
        if not best or logs["loss"] < best[-1]:
            best.append(logs["loss"])
            kh.save_generator(model, path)

    fit(model, keras.callbacks.LambdaCallback(on_epoch_end=save))
    kh.load_generator(again := adapted("low_rank", "all"), path)
    x, _ = data()
    np.testing.assert_allclose(predict(again, x), predict(model, x), rtol=1e-5, atol=1e-6)
