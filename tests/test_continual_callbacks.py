"""`AccuracyMatrix` and `ContinualCheckpoint`: numbers by hand, killed runs, mistakes."""

import os
import pathlib
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import keras_hypernet as kh
from tests.backend import BACKEND, numpy_of
from tests.continual_cases import built, compiled, continual, fit, learn, tasks

ROOT = pathlib.Path(__file__).parent.parent


# The matrix.


@pytest.fixture
def matrix():
    matrix = kh.AccuracyMatrix(dict.fromkeys("abc"))
    matrix.rows = {
        "initial": [0.5, 0.4, 0.6],
        "after a": [0.9, 0.5, 0.55],
        "after b": [0.95, 0.8, 0.7],
        "after c": [0.7, 0.85, 0.9],
    }
    return matrix


def test_numbers_by_hand(matrix):
    assert matrix.accuracies.shape == (3, 3)
    assert matrix.trained == 3
    assert matrix.average_accuracy == pytest.approx((0.7 + 0.85 + 0.9) / 3)
    assert matrix.forgetting == pytest.approx(((0.95 - 0.7) + (0.8 - 0.85)) / 2)
    assert matrix.backward_transfer == pytest.approx(((0.7 - 0.9) + (0.85 - 0.8)) / 2)
    assert matrix.forward_transfer == pytest.approx(((0.5 - 0.4) + (0.7 - 0.6)) / 2)


def test_numbers_before_the_end(matrix):
    del matrix.rows["after c"]
    assert np.isnan(matrix.accuracies[2]).all()
    assert matrix.average_accuracy == pytest.approx((0.95 + 0.8) / 2)
    assert matrix.forgetting == pytest.approx(0.9 - 0.95)
    assert matrix.backward_transfer == pytest.approx(0.05)
    assert matrix.forward_transfer == pytest.approx(0.1)
    del matrix.rows["after b"]
    assert matrix.average_accuracy == pytest.approx(0.9)
    assert np.isnan([matrix.forgetting, matrix.backward_transfer, matrix.forward_transfer]).all()
    matrix.rows.clear()
    assert np.isnan([matrix.average_accuracy, matrix.forgetting]).all()
    assert np.isnan(matrix.initial).all()


def test_a_task_that_was_trained_without_it_is_left_out(matrix):
    del matrix.rows["after b"]
    assert np.isnan(matrix.accuracies[1]).all()
    assert matrix.average_accuracy == pytest.approx((0.7 + 0.9) / 2)
    assert matrix.forgetting == pytest.approx(0.9 - 0.7)
    assert matrix.backward_transfer == pytest.approx(0.7 - 0.9)
    assert matrix.forward_transfer == pytest.approx(0.55 - 0.6)


def test_table(matrix):
    assert str(matrix) == (
        "  accuracy in %  a      b      c\n"
        "  initial        50.00  40.00  60.00\n"
        "  after a        90.00  50.00  55.00\n"
        "  after b        95.00  80.00  70.00\n"
        "  after c        70.00  85.00  90.00\n"
        "average accuracy 81.67, forgetting 10.00, backward transfer -7.50, forward transfer 10.00"
    )


def test_picture(matrix, tmp_path):
    plt = pytest.importorskip("matplotlib.pyplot")
    matrix.plot(tmp_path / "matrix.png")
    assert plt.imread(tmp_path / "matrix.png").std() > 0.1


def test_rows_are_those_of_evaluate(capsys, tmp_path):
    model = continual()
    data = tasks()
    matrix = kh.AccuracyMatrix(data, batch_size=7)
    start = [accuracy(model, slot, data) for slot in range(3)]
    for i, name in enumerate(data):
        model.begin_task(name)
        fit(model, data[name], epochs=2, callbacks=[matrix])
        expected = [accuracy(model, slot, data) for slot in range(3)]
        np.testing.assert_allclose(matrix.accuracies[i], expected, atol=1e-6)
        assert f"after {name}: a {100 * expected[0]:.2f} %" in capsys.readouterr().out
    np.testing.assert_allclose(matrix.initial, start, atol=1e-6)

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    again = kh.AccuracyMatrix(data, verbose=0)
    fit(loaded, data["c"], callbacks=[again])
    np.testing.assert_allclose(again.accuracies[:2], matrix.accuracies[:2])
    np.testing.assert_allclose(again.initial, matrix.initial)


def accuracy(model, slot, data):
    x, y = list(data.values())[slot]
    with model.at_slot(slot):
        return np.mean(model.predict(x, verbose=0).argmax(axis=-1) == y)


def test_data_with_weights_and_datasets():
    x, y = tasks()["a"]

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return x[i * 10 : i * 10 + 10], y[i * 10 : i * 10 + 10]

    model = continual()
    learn(model, "a")
    weighted = kh.AccuracyMatrix({"a": (x, y, np.ones(20))}, verbose=0)
    batched = kh.AccuracyMatrix({"a": Batches()}, verbose=0)
    for matrix in (weighted, batched):
        model.scores = {}
        fit(model, (x, y), epochs=0, callbacks=[matrix])
        assert matrix.accuracies[0, 0] == pytest.approx(accuracy(model, 0, tasks()))


# Checkpoints.


def test_a_run_goes_on_from_its_file(tmp_path):
    checkpoint = kh.ContinualCheckpoint(tmp_path / "run.keras")
    assert checkpoint.load() is None
    model, data = continual(seed=0), tasks()
    seen = []
    for name, epoch in checkpoint.tasks(model, data):
        seen.append((name, epoch))
        epochs = 1 if name == "b" else 2
        fit(model, data[name], epochs=epochs, initial_epoch=epoch, callbacks=[checkpoint])
        if name == "b":
            break
    assert seen == [("a", 0), ("b", 0)]
    loaded = kh.ContinualCheckpoint(checkpoint.filepath).load()
    assert list(checkpoint.tasks(loaded, data))[:1] == [("b", 1)]
    assert [p.name for p in tmp_path.iterdir()] == ["run.keras"]


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    checkpoint = kh.ContinualCheckpoint(tmp_path / "run.keras")
    model = continual()
    learn(model, "a")
    checkpoint.save(model)
    before = checkpoint.filepath.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        checkpoint.save(model)
    assert checkpoint.filepath.read_bytes() == before
    assert checkpoint.load().task_names == ("a",)


def test_a_broken_file_is_refused_and_a_folder_made(tmp_path):
    checkpoint = kh.ContinualCheckpoint(tmp_path / "new" / "run.keras")
    model = continual()
    list(zip(checkpoint.tasks(model, ["a"]), "a"))
    assert checkpoint.load().task_names == ("a",)
    checkpoint.filepath.write_bytes(b"half a file")
    with pytest.raises(ValueError, match="not a whole"):
        checkpoint.load()


def test_every_few_epochs(tmp_path, monkeypatch):
    checkpoint = kh.ContinualCheckpoint(tmp_path / "run.keras", every=2)
    model = continual()
    model.begin_task("a")
    saved = []
    monkeypatch.setattr(checkpoint, "save", lambda model: saved.append(model.epochs_done))
    fit(model, tasks()["a"], epochs=5, callbacks=[checkpoint])
    assert saved == [2, 4, 5]


def start(file, out, pause):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.continual_run", file, out],
        cwd=ROOT,
        env={**os.environ, "PAUSE": str(pause), "KERAS_BACKEND": BACKEND},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_ten_times_killed_a_run_ends_as_without(tmp_path):
    process = start(tmp_path / "whole.keras", tmp_path / "whole.npz", pause=0)
    process.communicate()
    assert process.returncode == 0

    rng, kills = np.random.default_rng(), 0
    while not (tmp_path / "killed.npz").exists():
        # As long as it has been killed less than ten times, too slow to come to the end.
        pause = 0.2 if kills < 10 else 0
        process = start(tmp_path / "killed.keras", tmp_path / "killed.npz", pause)
        assert process.stdout.readline() == "training\n"
        if kills < 10:
            time.sleep(rng.uniform(0, 1.5))
            assert process.poll() is None
            process.kill()
            kills += 1
        process.communicate()
    assert (kills, process.returncode) == (10, 0)
    whole, killed = (np.load(tmp_path / f"{name}.npz") for name in ("whole", "killed"))
    assert len(whole.files) > 20
    for name in whole.files:
        np.testing.assert_allclose(killed[name], whole[name], atol=1e-6, err_msg=name)


# Mistakes.


def plain_model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    return compiled(model)


def trained(model, callback, name="a"):
    model.begin_task(name)
    return fit(model, tasks()["a"], callbacks=[callback])


def no_accuracy():
    model = kh.ContinualModel(built(), 3)
    model.compile("adam", "mse")
    return model


MISTAKES = {
    "another suffix": (lambda: kh.ContinualCheckpoint("a.h5"), ValueError, "`.keras`"),
    "every": (lambda: kh.ContinualCheckpoint("a.keras", every=0), ValueError, "every"),
    "a plain model to save": (
        lambda: fit(plain_model(), tasks()["a"], callbacks=[kh.ContinualCheckpoint("a.keras")]),
        TypeError,
        "ContinualModel",
    ),
    "other tasks": (
        lambda: list(kh.ContinualCheckpoint("a.keras").tasks(begun("b"), ["a", "b"])),
        ValueError,
        r"tasks \['b'\]",
    ),
    "no data": (lambda: kh.AccuracyMatrix([1]), TypeError, "data"),
    "a plain model to evaluate": (
        lambda: fit(plain_model(), tasks()["a"], callbacks=[kh.AccuracyMatrix(tasks())]),
        TypeError,
        "ContinualModel",
    ),
    "a task without data": (
        lambda: trained(continual(), kh.AccuracyMatrix(tasks()), name="z"),
        ValueError,
        r"Missing: \['z'\]",
    ),
    "another order": (
        lambda: trained(continual(), kh.AccuracyMatrix(tasks()), name="b"),
        ValueError,
        "order",
    ),
    "more tasks than room": (
        lambda: trained(continual(), kh.AccuracyMatrix(tasks(4))),
        ValueError,
        "num_tasks",
    ),
    "no such metric": (
        lambda: trained(continual(), kh.AccuracyMatrix(tasks(), metric="auc")),
        ValueError,
        "metric",
    ),
}


def begun(name):
    model = continual()
    model.begin_task(name)
    return model


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    call, exception, message = MISTAKES[name]
    with pytest.raises(exception, match=message):
        call()


def test_other_models_scores_are_not_taken_over():
    matrix = kh.AccuracyMatrix(tasks(), verbose=0)
    first, second = continual(), continual()
    for model in (first, second):
        trained(model, matrix)
    assert first.scores["accuracy"] != {}
    np.testing.assert_allclose(matrix.accuracies[0, 0], accuracy(second, 0, tasks()), atol=1e-6)
    assert numpy_of(second.task_state.active) == 0
