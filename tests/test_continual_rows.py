"""`ContinualModel` on batches with rows of several tasks: rehearsal."""

import keras
import numpy as np
import pytest

import keras_hypernet as kh
from tests.backend import BACKEND, numpy_of
from tests.continual_cases import (
    MODELS,
    built,
    compiled,
    continual,
    dict_inputs,
    fit,
    hypernetized,
    learn,
    low_rank,
    tasks,
)

HEADS = [[0, 1], [3, 2, 5], [4]]
MAKERS = {
    "build": built,
    "low rank": low_rank,
    "dict inputs": dict_inputs,
    "with statistics": MODELS["with statistics"],
    "own ids": lambda: own_ids(),
}
HERE = {n: make for n, make in MAKERS.items() if BACKEND == "torch" or n == "own ids"}
SHARED = ("shared", "by hand", "own chunks", "task weights")[: 4 if BACKEND == "torch" else 1]


def own_ids():
    """A model that takes ids, whose rows have weights of their own."""
    ids, x = keras.Input((), dtype="int32", name="task"), keras.Input((3,), name="x")
    vectors = kh.ConditionEmbedding(3, 4)(ids)
    return keras.Model([ids, x], built()([vectors, x]))


def with_heads(heads=HEADS, **options):
    return continual(kh.build(4, 3, [(3, 5), (5, 6)], hidden_sizes=(8,)), heads=heads, **options)


def mixed(seed=1, rows=24):
    """`(ids, x, y)` of rows of three tasks."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 3, rows).astype("int32")
    arrays = [rng.normal(size=(rows, 3)).astype("float32"), rng.integers(0, 2, rows)]
    return ids, arrays[0], arrays[1].astype("int32")


def given(model, ids, x):
    """Inputs by name, or in the order of the model inside."""
    if isinstance(model.model.input, dict):
        return {model.inputs_of_tasks.condition: ids, model.inputs_of_tasks.data[0]: x}
    return [ids, x]


def task_by_task(model, ids, x):
    every = [model.predict(x, task=name, verbose=0) for name in model.task_names]
    return [every[i][row] for row, i in enumerate(ids)]


@pytest.mark.parametrize("make", HERE.values(), ids=HERE)
def test_each_row_is_of_its_own_task(make, tmp_path):
    model = continual(make(), task_statistics=False)
    learn(model, epochs=2)
    ids, x, y = mixed()
    expected = np.array(task_by_task(model, ids, x))
    inputs = given(model, ids, x)
    np.testing.assert_allclose(model.predict(inputs, verbose=0, batch_size=7), expected, atol=1e-5)
    np.testing.assert_allclose(numpy_of(model(inputs)), expected, atol=1e-5)
    logs = model.evaluate(inputs, y, verbose=0, return_dict=True)
    assert logs["accuracy"] == pytest.approx(np.mean(expected.argmax(axis=-1) == y))
    assert fit(model, (inputs, y))["retention_loss"][0] > 0
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    histories = [fit(each, (inputs, y), epochs=2)["loss"] for each in (model, loaded)]
    np.testing.assert_allclose(histories[0], histories[1], rtol=1e-4)


@pytest.mark.parametrize("name", SHARED)
def test_a_model_whose_rows_share_their_weights_is_refused(name):
    model = continual(MODELS[name]())
    model.begin_task("a")
    _, x, y = mixed()
    with pytest.raises(ValueError, match="single row when `shared=True`"):
        fit(model, ([np.zeros(len(x), "int32"), x], y))


@pytest.mark.parametrize("number", [1, 3])
def test_the_first_fit_may_have_ids(number):
    """Keras builds what is compiled with ids of its own."""
    model = continual(num_tasks=number)
    model.begin_task("a")
    _, x, y = mixed()
    assert np.isfinite(fit(model, ([np.zeros(len(x), "int32"), x], y))["loss"][0])


def test_rows_of_the_present_task_train_as_without_ids():
    results = []
    for with_ids in (False, True):
        keras.utils.set_random_seed(3)
        # Not Adam, which makes whole steps of rounding errors where gradients are zero.
        model = continual(optimizer=keras.optimizers.SGD(0.1))
        learn(model, "ab")
        x, y = tasks()["b"]
        history = fit(model, ([np.ones(len(x), "int32"), x] if with_ids else x, y), epochs=2)
        results.append([*history["loss"], *history["retention_loss"], *history["accuracy"]])
    np.testing.assert_allclose(*results, rtol=1e-4)


def test_rehearsal_keeps_old_tasks_without_a_regularizer():
    data, accuracies = tasks(rows=40), {}
    for rehearsed in (False, True):
        keras.utils.set_random_seed(3)
        model = continual(beta=0, optimizer=keras.optimizers.Adam(0.1))
        for name in "ab":
            model.begin_task(name)
            names = "ab"[: "ab".index(name) + 1] if rehearsed else name
            arrays = [data[n] for n in names]
            ids = np.repeat(["ab".index(n) for n in names], 40).astype("int32")
            x, y = (np.concatenate(parts) for parts in zip(*arrays))
            fit(model, ([ids, x], y), epochs=5, batch_size=20, shuffle=True)
        accuracies[rehearsed] = model.evaluate(*data["a"], task="a", verbose=0)[1]
    assert accuracies[True] > max(0.9, accuracies[False] + 0.05), accuracies


@pytest.mark.parametrize("hold", [True, False])
def test_the_regularizer_and_vectors_are_those_of_the_present_task(hold):
    model = continual(hold_conditions=hold)
    learn(model, "ab")
    model.continue_task("a")
    expected = numpy_of(model.generated(np.array([1], "int32"), training=False))
    table = model.embedding.table.embeddings
    before = numpy_of(table)
    ids, x, y = mixed()
    fit(model, ([ids % 2, x], y), epochs=2)
    moved = np.any(numpy_of(table) != before, axis=1)
    assert moved.tolist() == [True, not hold, False]
    changes = numpy_of(model.generated(np.array([1], "int32"), training=False)) - expected
    retention = float(numpy_of(model.retention_loss()))
    assert retention == pytest.approx(np.square(changes).sum(), rel=1e-3)


def test_heads_of_rows(tmp_path):
    model = with_heads()
    learn_heads(model)
    model.save(tmp_path / "model.keras")
    ids, x, _ = mixed()
    y = (np.arange(len(ids)) % np.array([2, 3, 1])[ids]).astype("int32")
    for each in (model, keras.saving.load_model(tmp_path / "model.keras")):
        outputs = each.predict([ids, x], verbose=0)
        assert outputs.shape == (len(ids), 3)
        losses = []
        for row, (own, label) in enumerate(zip(task_by_task(each, ids, x), y)):
            np.testing.assert_allclose(outputs[row, : len(own)], own, atol=1e-5)
            assert np.all(outputs[row, len(own) :] == -3e4)
            losses.append(np.log(np.exp(own).sum()) - own[label])
        logs = each.evaluate([ids, x], y, verbose=0, return_dict=True)
        assert logs["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
        assert logs["accuracy"] == pytest.approx(np.mean(outputs.argmax(axis=-1) == y))
        assert np.isfinite(fit(each, ([ids, x], y), epochs=2)["loss"]).all()


def learn_heads(model):
    for name, (x, y) in tasks().items():
        model.begin_task(name)
        fit(model, (x, y if name != "c" else 0 * y))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"run_eagerly": True}, {"jit_compile": False}], ids=str)
def test_all_of_it_without_a_compiler(options):
    model = kh.ContinualModel(kh.build(4, 3, [(3, 6)]), 3, beta=1.0, heads=HEADS)
    compiled(model, **options)
    learn_heads(model)
    model.continue_task("a")
    ids, x, _ = mixed()
    history = fit(model, ([ids, x], np.zeros(len(ids), "int32")), epochs=2)
    assert history["retention_loss"][-1] > 0
    outputs = model.predict([ids, x], verbose=0)
    for row, own in zip(outputs, task_by_task(model, ids, x)):
        np.testing.assert_allclose(row[: len(own)], own, atol=1e-5)


def test_heads_of_one_size_take_any_loss():
    model = with_heads([[0, 1], [3, 2], [4, 0]])
    model.compile("sgd", "mse")
    model.begin_task("a")
    _, x, _ = mixed()
    ids = np.zeros(len(x), "int32")
    outputs = model.predict([ids, x], verbose=0)
    np.testing.assert_allclose(outputs, model.predict(x, verbose=0), atol=1e-6)
    logs = model.evaluate([ids, x], outputs, verbose=0, return_dict=True)
    assert logs["loss"] == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize(
    "loss",
    [
        "mse",
        "sparse_categorical_crossentropy",
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        keras.losses.SparseCategoricalCrossentropy(),
    ],
    ids=["mse", "probabilities by name", "smoothed", "probabilities"],
)
def test_losses_that_would_count_missing_outputs_are_refused(loss):
    model = with_heads()
    model.compile("sgd", loss)
    model.begin_task("a")
    _, x, y = mixed()
    with pytest.raises(ValueError, match="`loss` must be `SparseCategoricalCrossentropy"):
        model.evaluate([np.zeros(len(x), "int32"), x], np.eye(3)[y], verbose=0)


def test_mixed_precision_has_the_padding():
    inner = kh.build(4, 3, [(3, 5), (5, 6)], hidden_sizes=(8,), dtype="mixed_float16")
    model = continual(inner, heads=HEADS)
    learn_heads(model)
    ids, x, _ = mixed()
    assert np.all(np.isfinite(model.predict([ids, x], verbose=0)))
    assert np.isfinite(fit(model, ([ids, x], np.zeros(len(ids), "int32")))["loss"][0])


def test_a_dataset_with_ids_and_validation():
    model = continual()
    learn(model, "ab")
    ids, x, y = mixed()
    ids = ids % 2

    class Buffer(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, i):
            part = slice(i * 8, i * 8 + 8)
            return (ids[part], x[part]), y[part]

    history = model.fit(Buffer(), validation_data=([ids, x], y), verbose=0).history
    expected = model.evaluate([ids, x], y, verbose=0, return_dict=True)
    assert history["val_loss"][0] == pytest.approx(expected["loss"], rel=1e-5)


def test_several_data_inputs():
    z, a, b = keras.Input((4,), name="z"), keras.Input((3,), name="a"), keras.Input((3,), name="b")
    model = continual(keras.Model([a, z, b], built()([z, keras.layers.Add()([a, b])])))
    for name in "abc":
        model.begin_task(name)
    ids, x, _ = mixed()
    expected = [model.predict([x, 2 * x], task=n, verbose=0) for n in "abc"]
    expected = np.array(expected)[ids, np.arange(len(ids))]
    for inputs in ([x, ids, 2 * x], {"z": ids, "b": 2 * x, "a": x}):
        np.testing.assert_allclose(model.predict(inputs, verbose=0), expected, atol=1e-5)


def test_points_of_rows():
    model = kh.ContinualModel(kh.build(4, (None, 3), [(3, 6)]), 3, heads=HEADS)
    compiled(model)
    for name in "abc":
        model.begin_task(name)
    ids, x = mixed()[0], np.random.default_rng(0).normal(size=(24, 5, 3)).astype("float32")
    outputs = model.predict([ids, x], verbose=0)
    for row, own in enumerate(task_by_task(model, ids, x)):
        np.testing.assert_allclose(outputs[row, :, : own.shape[-1]], own, atol=1e-5)


def run(method, ids, *labels, make=built, **options):
    model = continual(make())
    for name in "ab":
        model.begin_task(name)
    _, x, _ = mixed()
    getattr(model, method)([ids, x], *labels, verbose=0, **options)


LABELS = np.zeros(24, "int32")


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_mistakes(method):
    labels = [] if method == "predict" else [LABELS]
    for wrong in (LABELS + 2, LABELS - 1):  # "c" has not begun
        with pytest.raises(ValueError, match=r"`inputs\['conditioning'\]` must be indices.*'b'"):
            run(method, wrong, *labels)
    with pytest.raises(TypeError, match=r"`inputs\['conditioning'\]` must have an integer dtype"):
        run(method, np.ones((24, 4), "float32"), *labels)
    with pytest.raises(ValueError, match="task_statistics=False"):
        run(method, LABELS, *labels, make=lambda: hypernetized(normalized=True))
    if method != "fit":
        with pytest.raises(ValueError, match="Either `task`"):
            run(method, LABELS, *labels, task="a")


def test_an_inferred_task_is_of_rows_without_ids():
    with pytest.raises(ValueError, match="Either `task`"):
        run("predict", LABELS, infer_task=True)
