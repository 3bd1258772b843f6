"""`ContinualModel` with tasks of unlike many outputs: each has its own number, exactly."""

import keras
import numpy as np
import pytest

import keras_hypernet as kh
from tests.backend import BACKEND, numpy_of
from tests.continual_cases import compiled, fit

SIZES = {"two": 2, "five": 5, "three": 3}
HEADS = ((0, 1), (2, 3, 4, 5, 6), (7, 8, 9))
OVERLAPPING = [[1, 0], [4, 2, 0, 3, 1], [2, 3, 9]]


def wide(**options):
    return kh.build(4, 3, [(3, 5), (5, 10)], hidden_sizes=(8,), **options)


def continual(model=None, heads=None, **options):
    heads = list(SIZES.values()) if heads is None else heads
    model = wide() if model is None else model
    return compiled(kh.ContinualModel(model, 3, heads=heads, **options))


def data(rows=20):
    """`{name: (x, y)}`: labels of each task's own number of classes, which a plane or two tell."""
    rng = np.random.default_rng(5)
    found = {}
    for name, size in SIZES.items():
        x = rng.normal(size=(rows, 3)).astype("float32")
        found[name] = x, (x @ rng.normal(size=(3, size))).argmax(axis=1).astype("int32")
    return found


def learn(model, epochs=1, **options):
    for name, arrays in data().items():
        model.begin_task(name)
        history = fit(model, arrays, epochs=epochs, **options)
    return history


def inner_outputs(model, name, x):
    condition = np.repeat(model.task_conditioning(name), len(x), axis=0)
    return model.model.predict([condition, x], verbose=0)


def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def test_numbers_are_heads_one_after_another():
    assert continual().heads == HEADS
    assert continual(heads=[3, 3, 3]).heads == ((0, 1, 2), (3, 4, 5), (6, 7, 8))
    spec = [(4, 10), (10,)]
    np.testing.assert_array_equal(
        kh.head_masks(spec, list(SIZES.values())), kh.head_masks(spec, HEADS)
    )


@pytest.mark.parametrize("heads", [None, OVERLAPPING][BACKEND != "torch" :])
def test_outputs_loss_and_metrics_are_of_the_head_alone(heads, tmp_path):
    model = continual(heads=heads)
    learn(model, epochs=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.heads == model.heads
    for head, (name, (x, y)) in zip(model.heads, data().items(), strict=True):
        expected = inner_outputs(model, name, x)[:, list(head)]
        for each in (model, loaded):
            np.testing.assert_allclose(each.predict(x, task=name, verbose=0), expected, atol=1e-5)
            with each.at_task(name):
                np.testing.assert_allclose(numpy_of(each(x)), expected, atol=1e-5)
                np.testing.assert_allclose(each.predict_on_batch(x), expected, atol=1e-5)
            logs = each.evaluate(x, y, task=name, return_dict=True, verbose=0)
            loss = -log_softmax(expected)[np.arange(len(y)), y].mean()
            assert logs["loss"] == pytest.approx(loss, rel=1e-4)
            assert logs["accuracy"] == pytest.approx(np.mean(expected.argmax(axis=-1) == y))
        plain = model.specialize(name)
        np.testing.assert_allclose(plain.predict(x, verbose=0), expected, atol=1e-5)


def test_losses_that_count_all_outputs_count_those_of_the_head():
    model = kh.ContinualModel(wide(), 3, heads=list(SIZES.values()))
    for loss in (
        keras.losses.MeanSquaredError(),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2),
    ):
        model.compile("sgd", loss)
        for slot, size in enumerate(SIZES.values()):
            x, y = np.ones((4, 3), "float32"), np.eye(size, dtype="float32")[np.zeros(4, int)]
            with model.at_slot(slot):
                outputs = model.predict(x, verbose=0)
                found = model.evaluate(x, y, verbose=0, return_dict=True)["loss"]
            assert outputs.shape == (4, size)
            assert found == pytest.approx(float(numpy_of(loss(y, outputs))), rel=1e-5)


def test_training_moves_what_makes_the_head_alone():
    model = continual(beta=0)
    compiled(model, "sgd")
    model.begin_task("two")
    last = [v for v in model.trainable_variables if v.shape[-1] == 5 * 10 + 10]
    before = [numpy_of(v) for v in last]
    fit(model, data()["two"])
    columns = np.arange(50).reshape(5, 10)
    for old, variable in zip(before, last, strict=True):
        moved = (numpy_of(variable) != old).reshape(-1, 60).any(axis=0)
        assert moved[columns[:, :2]].any()
        assert not moved[columns[:, 2:]].any()


def test_the_retention_loss_sees_the_heads_of_old_tasks():
    model = continual(beta=1.0)
    learn(model, epochs=2)
    old = numpy_of(model.memory.targets)
    ids = np.arange(2, dtype="int32")
    squares = np.square(numpy_of(model.generated(ids, training=False)) - old)
    expected = (squares * kh.head_masks(model.weight_spec, HEADS)[:2]).sum(axis=-1).mean()
    assert expected > 1e-8
    assert float(numpy_of(model.retention_loss())) == pytest.approx(expected, rel=1e-3)


def test_the_matrix_and_validation_are_of_each_head():
    model, arrays = continual(hypernetized_wide(), task_statistics=False), data()
    matrix = kh.AccuracyMatrix(arrays, verbose=0)
    for i, (name, (x, y)) in enumerate(arrays.items()):
        model.begin_task(name)
        history = fit(model, (x, y), epochs=2, callbacks=[matrix], validation_data=(x, y))
        expected = []
        for slot, (x_of, y_of) in enumerate(arrays.values()):
            with model.at_slot(slot):
                outputs = model.predict(x_of, verbose=0)
            assert outputs.shape[-1] == list(SIZES.values())[slot]
            expected.append(np.mean(outputs.argmax(axis=-1) == y_of))
        np.testing.assert_allclose(matrix.accuracies[i], expected, atol=1e-6)
        assert history["val_accuracy"][-1] == pytest.approx(expected[i], abs=1e-6)


def hypernetized_wide():
    target = keras.Sequential([keras.Input((3,)), keras.layers.Dense(10)])
    return kh.hypernetize(target, conditioning_size=4, hidden_sizes=(8,))


def test_functions_are_compiled_once_for_each_number_of_outputs():
    model = continual()
    learn(model)
    x, y = data()["two"]

    def functions():
        found = []
        for name in SIZES:
            model.predict(x, task=name, verbose=0)
            model.evaluate(x, y, task=name, verbose=0)
            found += [model.predict_function, model.test_function]
        return found

    first = functions()
    assert len({id(f) for f in first}) == 2 * len(SIZES)
    assert [id(f) for f in functions()] == [id(f) for f in first]
    compiled(model)
    assert not {id(f) for f in functions()} & {id(f) for f in first}


def test_inferred_tasks_are_the_surest_for_their_number_of_classes():
    model = continual()
    learn(model, epochs=3)
    x, _ = data()["five"]
    every = [model.predict(x, task=name, verbose=0) for name in SIZES]
    p = [np.exp(log_softmax(outputs.astype("float64"))) for outputs in every]
    entropies = np.stack([-(q * np.log(q)).sum(axis=-1) for q in p], axis=1)
    found, given = model.infer_task(x, verbose=0)
    np.testing.assert_allclose(given, entropies, rtol=1e-4)
    np.testing.assert_array_equal(found, (entropies / np.log([2, 5, 3])).argmin(axis=1))
    outputs = model.predict(x, infer_task=True, verbose=0)
    assert outputs.shape == (len(x), 5)
    for row, task in enumerate(found):
        size = every[task].shape[-1]
        np.testing.assert_allclose(outputs[row, :size], every[task][row], rtol=1e-5)
        assert np.all(outputs[row, size:] == -3e4)


def test_a_killed_run_goes_on_with_its_heads(tmp_path):
    checkpoint, arrays = kh.ContinualCheckpoint(tmp_path / "run.keras"), data()
    model = continual()
    for name, _ in zip(["two", "five"], checkpoint.tasks(model, arrays), strict=False):
        fit(model, arrays[name], callbacks=[checkpoint])
    loaded = checkpoint.load()
    assert loaded.heads == HEADS
    histories = [fit(each, arrays["five"], epochs=2)["loss"] for each in (model, loaded)]
    np.testing.assert_allclose(histories[0], histories[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("heads", "exception", "message"),
    [
        ([2, 5, 4], ValueError, "`heads` must be numbers of outputs that sum to 10 at most"),
        ([2, 5], ValueError, "each of the 3 tasks"),
        ([2, 0, 3], ValueError, r"heads\[1\]"),
        ([2, [3], 3], TypeError, r"heads\[0\]"),
        ([2.0, 5, 3], TypeError, r"heads\[0\]"),
        (10, TypeError, "heads"),
    ],
    ids=str,
)
def test_mistakes(heads, exception, message):
    with pytest.raises(exception, match=message):
        kh.ContinualModel(wide(), 3, heads=heads)


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "object"])
def test_labels_that_a_head_has_not_are_refused(loss):
    """On JAX the loss of one would be zero."""
    model = kh.ContinualModel(kh.build(2, 3, [(3, 5)]), 2, heads=[2, 3])
    if loss == "object":
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    model.begin_task("a")
    x, before = np.ones((4, 3), "float32"), model.get_weights()
    for run in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=r"`y` must be labels .* 2 outputs.* from 0 to 2"):
            run(x, np.array([0, 1, 2, 0]), verbose=0)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    model.begin_task("b")
    model.fit(x, np.array([0, 1, 2, 0]), verbose=0)
    with pytest.raises(ValueError, match="2 outputs"):
        model.evaluate(x, np.array([0, 1, 2, 0]), task="a", verbose=0)
