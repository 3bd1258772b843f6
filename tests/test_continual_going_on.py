"""Tasks that go on after others: what is trained then, and what is kept."""

import keras
import numpy as np
import pytest

import keras_hypernet as kh
from tests.backend import BACKEND, numpy_of
from tests.continual_cases import built, continual, fit, hypernetized, learn, tasks, with_own_chunks

COMPILES = BACKEND != "torch"  # for long, so once
every_kind = pytest.mark.parametrize("targets", ["weights", "copy"][COMPILES:])


def generated(model, ids=(0, 1, 2)):
    return numpy_of(model.generated(np.array(ids, "int32"), training=False))


def other_data(rows=40):
    """Data of a task whose classes are turned round."""
    x, y = tasks(rows=rows)["a"]
    return x, 1 - y


@every_kind
@pytest.mark.parametrize("per_call", [None, 1][COMPILES:])
def test_an_old_task_is_trained_and_all_others_are_kept(targets, per_call):
    changes = {}
    for beta in (0, 100):
        keras.utils.set_random_seed(3)
        model = continual(beta=beta, targets=targets, tasks_per_call=per_call)
        learn(model, epochs=2)
        before = generated(model)
        model.continue_task("a")
        assert (model.task, model.task_names) == ("a", ("a", "b", "c"))
        start = model.evaluate(*other_data(), verbose=0)[0]
        history = fit(model, other_data(), epochs=10)
        assert (history["retention_loss"][-1] > 0) == (beta > 0)
        assert model.evaluate(*other_data(), verbose=0)[0] < start
        changes[beta] = np.square(generated(model) - before).sum(axis=-1)
    assert np.all(changes[100][0] > 10 * changes[100][1:])  # the task may change, others may not
    assert np.all(changes[0][1:] > 20 * changes[100][1:])


@every_kind
def test_targets_are_those_of_the_others_and_later_the_new_ones(targets):
    model = continual(targets=targets)
    learn(model, epochs=2)
    expected = generated(model)
    model.continue_task("b")
    assert float(numpy_of(model.retention_loss())) == pytest.approx(0, abs=1e-10)
    fit(model, tasks()["a"], epochs=3)
    changes = np.square(generated(model) - expected).sum(axis=-1)
    retention = float(numpy_of(model.retention_loss()))
    assert retention == pytest.approx(changes[[0, 2]].mean(), rel=1e-3)
    model.continue_task("c")  # what "b" has learned is now kept
    assert float(numpy_of(model.retention_loss())) == pytest.approx(0, abs=1e-10)
    expected = generated(model)
    fit(model, tasks()["a"], epochs=3)
    changes = np.square(generated(model) - expected).sum(axis=-1)
    retention = float(numpy_of(model.retention_loss()))
    assert retention == pytest.approx(changes[[0, 1]].mean(), rel=1e-3)


@pytest.mark.parametrize(
    "make", [built, with_own_chunks][COMPILES:], ids=lambda make: make.__name__
)
@pytest.mark.parametrize("hold", [True, False])
def test_rows_of_the_task_are_trained_again(make, hold):
    optimizer = keras.optimizers.AdamW(0.05, weight_decay=0.1)
    model = continual(make(), optimizer=optimizer, hold_conditions=hold)
    learn(model, "ab")
    model.continue_task("a")
    before = [numpy_of(v) for v in model.generated.conditional_variables]
    fit(model, tasks()["a"])
    for old, variable in zip(before, model.generated.conditional_variables):
        moved = np.any((numpy_of(variable) != old).reshape(3, -1), axis=1)
        assert moved.tolist() == [True, not hold, False]


def test_masks_are_those_of_the_others():
    heads = [[0, 1], [2, 3, 4], [1, 5]]
    model = continual(kh.build(4, 3, [(3, 5), (5, 6)], hidden_sizes=(8,)), heads=heads)
    learn(model, epochs=2)
    expected = generated(model)
    model.continue_task("a")
    fit(model, tasks()["a"], epochs=3)
    masks = kh.head_masks(model.weight_spec, heads)
    changes = (masks * np.square(generated(model) - expected)).sum(axis=-1)
    retention = float(numpy_of(model.retention_loss()))
    assert retention == pytest.approx(changes[1:].mean(), rel=1e-3)


def test_statistics_of_the_task_move_on():
    model = continual(hypernetized(normalized=True))
    learn(model, epochs=2)
    of_task = {}
    for name in "abc":
        with model.at_task(name):
            of_task[name] = [numpy_of(v) for v in model._statistics()]
    model.continue_task("a")
    for now, before in zip(model._statistics(), of_task["a"], strict=True):
        np.testing.assert_array_equal(numpy_of(now), before)
    fit(model, (tasks()["a"][0] + 3, tasks()["a"][1]))
    assert np.abs(numpy_of(model._statistics()[0]) - of_task["a"][0]).max() > 1e-3
    for name in "bc":
        with model.at_task(name):
            for now, before in zip(model._statistics(), of_task[name], strict=True):
                np.testing.assert_array_equal(numpy_of(now), before)


def test_the_optimizer_is_fresh_unless_it_is_kept():
    for keep, steps in ((False, 0), (True, 6)):
        model = continual(keep_optimizer=keep)
        learn(model, "ab")
        model.continue_task("a")
        assert float(numpy_of(model.optimizer.iterations)) == steps


def test_new_tasks_begin_after_an_old_one():
    model = continual()
    learn(model, "ab")
    model.continue_task("a")
    fit(model, tasks()["a"])
    expected = generated(model, (0, 1))
    learn(model, "c")
    assert model.task_names == ("a", "b", "c")
    assert model.task_sequence == ("a", "b", "a", "c")
    changes = np.square(generated(model, (0, 1)) - expected).sum(axis=-1)
    assert float(numpy_of(model.retention_loss())) == pytest.approx(changes.mean(), rel=1e-3)


def test_the_present_task_may_be_continued_too():
    model = continual()
    learn(model, "ab")
    model.continue_task("b")
    assert model.task_sequence == ("a", "b", "b")
    assert fit(model, tasks()["b"])["retention_loss"][0] >= 0


@every_kind
def test_a_file_in_the_middle_goes_on(targets, tmp_path):
    model = continual(hypernetized(normalized=True), targets=targets, tasks_per_step=1, seed=3)
    learn(model)
    model.continue_task("a")
    fit(model, tasks()["a"])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert (loaded.task, loaded.task_sequence) == ("a", ("a", "b", "c", "a"))
    histories = [fit(each, tasks()["a"], epochs=2) for each in (model, loaded)]
    np.testing.assert_allclose(*(h["loss"] for h in histories), rtol=1e-5)
    assert histories[0]["retention_loss"][-1] > 0
    for each in (model, loaded):
        each.continue_task("b")
    for first, second in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_allclose(numpy_of(first), numpy_of(second), atol=1e-6)


def test_files_of_before_load(tmp_path):
    """Their config has names of tasks in place of a sequence, their weights no present task."""
    model = continual()
    learn(model, "ab")
    config = model.get_config()
    config["progress"]["task_names"] = list(config["progress"].pop("task_sequence"))
    loaded = kh.ContinualModel.from_config(config)
    assert (loaded.task, loaded.task_names) == ("b", ("a", "b"))
    store = {}
    model.save_own_variables(store)
    del store["present"]
    loaded.load_own_variables(store)
    model.save_weights(tmp_path / "model.weights.h5")
    loaded.load_weights(tmp_path / "model.weights.h5")
    x, _ = tasks()["a"]
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)


def test_weights_alone_are_those_of_the_same_present_task(tmp_path):
    model, other = continual(), continual()
    for each in (model, other):
        learn(each, "ab")
    model.continue_task("a")
    model.save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(ValueError, match=r"trains its task 0.*trains its task 1"):
        other.load_weights(tmp_path / "model.weights.h5")
    with model.at_task("b"), pytest.raises(ValueError, match="leave `at_task`"):
        model.load_weights(tmp_path / "model.weights.h5")
    other.continue_task("a")
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(generated(model), generated(other))


def test_a_checkpoint_goes_through_tasks_that_come_again(tmp_path):
    checkpoint, data = kh.ContinualCheckpoint(tmp_path / "run.keras"), tasks()
    order = ["a", "b", "a", "c"]
    whole = continual(seed=0)
    weights = whole.get_weights()
    for name in order:
        start = whole.continue_task if name in whole.task_names else whole.begin_task
        start(name)
        fit(whole, data[name], epochs=2)

    model, seen = continual(seed=0), []
    model.set_weights(weights)
    for stop in ((2, 1), (3, 2), (None, 2)):  # after so many tasks, and epochs of the last
        for name, epoch in checkpoint.tasks(model, order):
            seen.append((name, epoch))
            last = len(model.task_sequence) == stop[0]
            options = {"initial_epoch": epoch, "callbacks": [checkpoint]}
            fit(model, data[name], epochs=stop[1] if last else 2, **options)
            if last:
                break
        model = checkpoint.load()
    assert seen == [("a", 0), ("b", 0), ("b", 1), ("a", 0), ("a", 2), ("c", 0)]
    for first, second in zip(whole.weights, model.weights, strict=True):
        np.testing.assert_allclose(numpy_of(first), numpy_of(second), atol=1e-5)


def test_the_matrix_has_a_row_for_each_time():
    matrix = kh.AccuracyMatrix(dict.fromkeys("abc"))
    matrix.sequence = ("a", "b", "a")
    matrix.rows = {
        "initial": [0.5, 0.4, 0.6],
        "after a": [0.9, 0.5, 0.55],
        "after b": [0.6, 0.8, 0.7],
        "after a (2)": [0.95, 0.7, 0.65],
    }
    assert matrix.trained == 2
    assert matrix.accuracies.shape == (4, 3)
    assert np.isnan(matrix.accuracies[3]).all()
    assert matrix.average_accuracy == pytest.approx((0.95 + 0.7) / 2)
    assert matrix.forgetting == pytest.approx(0.8 - 0.7)
    assert matrix.backward_transfer == pytest.approx(0.7 - 0.8)
    assert matrix.forward_transfer == pytest.approx(0.5 - 0.4)
    matrix.sequence = ("a", "b", "a", "c")
    matrix.rows["after c"] = [0.9, 0.75, 0.9]
    assert matrix.forgetting == pytest.approx(((0.95 - 0.9) + (0.8 - 0.75)) / 2)
    assert matrix.backward_transfer == pytest.approx(((0.9 - 0.95) + (0.75 - 0.8)) / 2)
    assert matrix.forward_transfer == pytest.approx(((0.5 - 0.4) + (0.65 - 0.6)) / 2)
    assert "after a (2)    95.00" in str(matrix)


def test_rows_of_the_matrix_are_not_written_over(tmp_path):
    model, data = continual(), tasks()
    matrix = kh.AccuracyMatrix(data, verbose=0)
    for name in "aba":
        start = model.continue_task if name in model.task_names else model.begin_task
        start(name)
        fit(model, data[name], epochs=2, callbacks=[matrix])
        if name == "b":
            before = matrix.accuracies[:2]
    np.testing.assert_array_equal(matrix.accuracies[:2], before)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    again = kh.AccuracyMatrix(data, verbose=0)
    fit(loaded, data["a"], epochs=0, callbacks=[again])
    np.testing.assert_allclose(again.accuracies[:3], matrix.accuracies[:3], atol=1e-6)


def test_a_name_that_looks_like_a_second_time_has_a_row_of_its_own():
    matrix = kh.AccuracyMatrix(dict.fromkeys(["a", "a (2)"]))
    matrix.sequence = ("a", "a", "a (2)")
    assert matrix.accuracies.shape == (3, 2)


@pytest.mark.parametrize(
    ("name", "exception", "message"),
    [
        ("z", ValueError, r"`name` must be one of the tasks \['a', 'b'\].*begin_task"),
        ("", ValueError, "name"),
        (0, TypeError, "name"),
    ],
)
def test_a_failed_call_changes_nothing(name, exception, message):
    model = continual()
    learn(model, "ab")
    before = [numpy_of(v) for v in [*model.weights, *model.optimizer.variables]]
    function = model.train_function
    with pytest.raises(exception, match=message):
        model.continue_task(name)
    with model.at_task("a"), pytest.raises(ValueError, match="To continue a task, leave"):
        model.continue_task("a")
    after = [numpy_of(v) for v in [*model.weights, *model.optimizer.variables]]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
    assert (model.task, model.train_function) == ("b", function)
