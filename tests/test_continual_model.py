"""`ContinualModel`: a recorded run, every kind of model, memory, tasks, files, mistakes."""

import json

import keras
import numpy as np
import pytest
from keras import ops

import keras_hypernet as kh
from keras_hypernet.continual.entropy import entropies_of
from tests import features
from tests.backend import BACKEND, assert_torch_compiles, numpy_of
from tests.continual_cases import (
    MODELS,
    built,
    by_hand,
    compiled,
    continual,
    fit,
    hypernetized,
    learn,
    nested,
    plain,
    tasks,
    with_own_chunks,
)
from tests.hypnettorch import VECTORS, as_recorded, of_embedding, of_perceptron

KINDS = ["weights", "copy"][BACKEND == "jax" :]  # what compiles for long, once
# Where each model is compiled for long, few kinds stand for the others.
FEW = ("with statistics", "own chunks", *["build", "nested"] * (BACKEND == "tensorflow"))
HERE = {n: make for n, make in MODELS.items() if BACKEND == "torch" or n in FEW}
every_model = pytest.mark.parametrize("make", HERE.values(), ids=HERE)
every_kind = pytest.mark.parametrize("targets", KINDS)


def weights_of(model):
    return [numpy_of(v) for v in model.weights]


def generated(model, count=3):
    ids = ops.arange(count, dtype="int32")
    return numpy_of(model.generated(ids, training=False))


def assert_equal(first, second, atol=1e-6):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


# The recorded run.


@every_kind
@pytest.mark.parametrize("tasks_per_call", [None, 1])
def test_recorded_run_of_three_tasks(targets, tasks_per_call):
    with np.load(VECTORS / "hypercl_trace.npz") as stored:
        arrays = dict(stored)
    config = json.loads(str(arrays.pop("config")))
    layers = [(3, 4), (4, 2)]
    spec = kh.WeightSpec.from_layer_sizes(layers)
    # Recorded kernels are (out, in).
    numbers = np.arange(spec.total)
    torch = kh.WeightSpec.from_shapes({f"t{i}": s for i, s in enumerate(config["target_shapes"])})
    order = np.concatenate([np.ravel(piece.T) for piece in torch.split(numbers).values()])

    ids, x = keras.Input((), dtype="int32"), keras.Input((3,))
    generator = kh.WeightGenerator(spec, activation="tanh", **as_recorded([8]))
    hyper = kh.Hypernetwork(generator, num_conditions=3, embedding_size=4)
    apply = kh.ApplyGeneratedWeights(layers, shared=True)
    model = keras.Model([ids, x], apply(x, hyper(ids)))
    model = kh.ContinualModel(
        model, 3, beta=config["beta"], targets=targets, tasks_per_call=tasks_per_call
    )
    compiled(model, keras.optimizers.SGD(config["lr"]))
    places = of_embedding(hyper.embedding) | of_perceptron(generator)

    def recorded(start, name):
        value = arrays[f"{start}.{name}"]
        return value[order] if name.startswith("out_") else value

    for name, place in places.items():
        place.put(recorded("param_init", name))
    for task in range(3):
        model.begin_task(f"task {task}")
        data = arrays[f"data.x{task}"], arrays[f"data.y{task}"]
        history = fit(model, data, batch_size=16, epochs=config["steps_per_task"])
        np.testing.assert_allclose(history["task_loss"], arrays["loss_task"][task], rtol=2e-5)
        retention = arrays["loss_reg"][task]
        np.testing.assert_allclose(history["retention_loss"], retention, rtol=2e-4, atol=1e-8)
        total = arrays["loss_task"][task] + config["beta"] * retention
        np.testing.assert_allclose(history["loss"], total, rtol=2e-5)
        for name, place in places.items():
            expected = recorded(f"param_after_task{task}", name)
            actual = place.get(numpy_of(place.variable), expected.shape)
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5, err_msg=name)


# Every kind of model.


@every_model
def test_generated_weights_are_those_of_target_weights(make):
    model = continual(make())
    found = generated(model)
    for task in range(3):
        ids = np.array([task], "int32")
        condition = ids if model.embedding is None else numpy_of(model.embedding(ids))
        expected = kh.target_weights(model.model, condition)
        actual = model.weight_spec.split(found[task])
        assert {n.rpartition("/")[2] for n in actual} == {n.rpartition("/")[2] for n in expected}
        values = sorted(np.concatenate([np.ravel(a) for a in expected.values()]))
        np.testing.assert_allclose(sorted(found[task]), values, rtol=1e-5, atol=1e-6)


@every_model
def test_learns_saves_and_goes_on_alike(make, tmp_path):
    model = continual(make(), tasks_per_step=1, seed=3)
    learn(model, epochs=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.task_names == ("a", "b", "c")
    assert loaded.count_params() == model.count_params()
    x = tasks()["a"][0]
    for name in "abc":
        before = model.predict(x, task=name, verbose=0)
        assert_equal([loaded.predict(x, task=name, verbose=0)], [before])
    histories = [fit(m, tasks()["c"], epochs=2) for m in (model, loaded)]
    assert_equal(weights_of(model), weights_of(loaded))
    for key, values in histories[0].items():
        np.testing.assert_allclose(histories[1][key], values, atol=1e-6)
    np.testing.assert_allclose(generated(model), generated(loaded), atol=1e-6)


@every_kind
def test_retention_keeps_the_weights_of_old_tasks(targets):
    changes = {}
    for beta in (0, 100):
        keras.utils.set_random_seed(3)
        model = continual(beta=beta, targets=targets)
        learn(model, "a", epochs=3)
        before = generated(model, 1)
        learn(model, "b", epochs=10)
        changes[beta] = np.square(generated(model, 1) - before).sum()
    assert changes[0] > 30 * changes[100]


@every_kind
def test_targets_are_those_of_the_moment_the_task_begins(targets):
    model = continual(targets=targets)
    learn(model, "ab", epochs=2)
    expected = generated(model, 2)
    model.begin_task("c")
    assert numpy_of(model.retention_loss()) == pytest.approx(0, abs=1e-10)
    fit(model, tasks()["c"], epochs=3)
    change = np.square(generated(model, 2) - expected).sum(axis=-1).mean()
    np.testing.assert_allclose(numpy_of(model.retention_loss()), change, rtol=1e-3)


def test_each_task_is_compiled_anew_though_a_function_of_before_is_kept():
    model, kept = continual(), []
    for name in "abc":
        model.begin_task(name)
        history = fit(model, tasks()[name], epochs=2)
        kept.append(model.train_function)  # JAX takes one trace for equal functions
        assert (history["retention_loss"][-1] > 0) == (name != "a")


def test_a_frozen_copy_does_not_grow_with_the_tasks():
    def stored(targets, num_tasks):
        model = kh.ContinualModel(built(), num_tasks, targets=targets)
        embeddings = 2 * num_tasks * 4  # of the tasks, and their copy
        return model.count_params() - embeddings * (targets == "copy")

    assert stored("copy", 3) == stored("copy", 50)
    assert stored("weights", 50) > stored("weights", 3)


def test_the_loss_is_the_same_in_calls_of_few_tasks():
    results = []
    for per_call in (None, 1):
        keras.utils.set_random_seed(3)
        # A running scale counts calls.
        model = continual(built(running_scale=False), tasks_per_call=per_call)
        history = learn(model, epochs=2)
        results.append([*weights_of(model), np.array(history["loss"])])
    assert_equal(*results, atol=1e-5)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="JAX always compiles, PyTorch in a slow test")
@pytest.mark.parametrize(
    "options", [{"targets": "weights"}, {"targets": "copy", "tasks_per_call": 1}], ids=str
)
def test_under_the_compiler(options):
    histories = []
    for jit_compile in (True, False):
        keras.utils.set_random_seed(3)
        # Not Adam, which makes whole steps of rounding errors where gradients are zero.
        optimizer = keras.optimizers.SGD(0.1)
        model = continual(optimizer=optimizer, jit_compile=jit_compile, seed=0, **options)
        histories.append(learn(model, epochs=2))
    assert histories[0]["retention_loss"][-1] > 1e-8
    for key, values in histories[0].items():
        np.testing.assert_allclose(histories[1][key], values, rtol=1e-3, atol=1e-7, err_msg=key)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "torch", reason="the other backends compile in every test")
@pytest.mark.parametrize("per_call", [None, 1])
def test_retention_loss_under_torch_compile(per_call, fresh_compiler):
    model = continual(tasks_per_call=per_call)
    learn(model)
    used = model.generated.conditional_variables + model.generated.unconditional_variables
    used = [variable for variable in used if variable.trainable]  # not the running scale's state
    assert_torch_compiles(lambda: 1e3 * model.retention_loss(), used)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"][BACKEND == "jax" :])
def test_mixed_precision(policy, tmp_path):
    model = continual(built(dtype=policy), optimizer=keras.optimizers.Adam(0.01))
    history = learn(model, "ab")
    assert np.isfinite(history["loss"]).all()
    assert np.isfinite(numpy_of(model.retention_loss()))
    assert keras.backend.standardize_dtype(model.memory.targets.dtype) == "float32"
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded.begin_task("c")
    assert np.isfinite(fit(loaded, tasks()["c"])["loss"]).all()


# Tasks.


def test_a_task_begins_with_a_fresh_optimizer():
    model = continual(optimizer=keras.optimizers.Adagrad(0.1, initial_accumulator_value=0.3))
    learn(model, "a")
    model.optimizer.learning_rate = 0.01
    model.begin_task("b")
    assert float(numpy_of(model.optimizer.iterations)) == 0
    assert float(numpy_of(model.optimizer.learning_rate)) == pytest.approx(0.1)
    for slot in model.optimizer.variables[2:]:
        np.testing.assert_allclose(numpy_of(slot), 0.3, rtol=1e-6)


@pytest.mark.parametrize(
    "make", [built, with_own_chunks][BACKEND == "jax" :], ids=lambda make: make.__name__
)
@pytest.mark.parametrize("options", [{"keep_optimizer": True}, {"hold_conditions": True}], ids=str)
def test_rows_of_other_tasks_are_held(make, options):
    optimizer = keras.optimizers.AdamW(0.05, weight_decay=0.1)
    model = continual(make(), optimizer=optimizer, **options)
    for i, name in enumerate("abc"):
        model.begin_task(name)
        before = [numpy_of(v) for v in model.generated.conditional_variables]
        fit(model, tasks()[name], epochs=2)
        for old, variable in zip(before, model.generated.conditional_variables):
            moved = np.any((numpy_of(variable) != old).reshape(3, -1), axis=1)
            assert moved.tolist() == [row == i for row in range(3)]
    steps = float(numpy_of(model.optimizer.iterations))
    assert steps == (18 if model.keep_optimizer else 6)


def test_vectors_of_old_tasks_are_trained_and_of_later_ones_not():
    model = continual(optimizer=keras.optimizers.AdamW(0.05, weight_decay=0.1))
    learn(model, "a")
    model.begin_task("b")
    before = numpy_of(model.embedding.table.embeddings)
    fit(model, tasks()["b"], epochs=2)
    moved = np.any(numpy_of(model.embedding.table.embeddings) != before, axis=1)
    assert moved.tolist() == [True, True, False]


def test_evaluates_and_predicts_named_tasks():
    model = continual()
    learn(model, epochs=2)
    for name, (x, y) in tasks().items():
        logs = model.evaluate(x, y, task=name, return_dict=True, verbose=0)
        logits = model.predict(x, task=name, verbose=0)
        plain_model = model.specialize(name)
        np.testing.assert_allclose(plain_model.predict(x, verbose=0), logits, atol=1e-5)
        with model.at_task(name):
            np.testing.assert_allclose(numpy_of(model(x)), logits, atol=1e-5)
        assert logs["accuracy"] == pytest.approx(np.mean(logits.argmax(-1) == y))
        assert logs["loss"] == pytest.approx(logs["task_loss"])
        assert logs["retention_loss"] == 0
    x, _ = tasks()["a"]
    assert model.task == "c"
    np.testing.assert_allclose(
        model.predict(x, verbose=0), model.predict(x, task="c", verbose=0), atol=1e-6
    )


def test_one_task_of_a_model_with_heads_takes_what_it_took():
    model = continual(kh.build(4, 3, [(3, 4)]), heads=[[0, 1], [3, 2], [1, 2]])
    model.begin_task("first")
    assert keras.utils.is_keras_tensor(model.specialize("first").input)


def test_what_is_frozen_stays_frozen_in_a_file(tmp_path):
    hidden, out = keras.layers.Dense(4, trainable=False), keras.layers.Dense(2, name="out")
    target = keras.Sequential([keras.Input((3,)), hidden, out])
    model = continual(kh.hypernetize(target, 4, select="out/*"))
    model.model.layers[1].trainable = False
    model.embedding.trainable = False
    model.compile("adam", "mse")
    model.begin_task("first")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    flags = [[v.trainable for v in each.weights] for each in (model, loaded)]
    assert flags[0] == flags[1]
    assert 0 < sum(flags[0]) < len(flags[0]) - 2


@pytest.mark.parametrize("options", [{}, {"targets": "copy"}, {"tasks_per_call": 1}])
def test_trains_beside_a_frozen_kernel(options):
    """PyTorch refuses the gradient of what was assigned in place, though it did not change."""
    model = continual(kh.build(4, 3, [(3, 2)], hidden_sizes=(4,)), **options)
    kernel = model.trainable_variables[0]
    kernel.trainable = False
    model.compile("adam", "mse")
    before, x = numpy_of(kernel), np.ones((8, 3), "float32")
    for name in ("first", "second", "third"):
        model.begin_task(name)
        model.fit(x, np.ones((8, 2)), epochs=2, verbose=0)
    np.testing.assert_array_equal(numpy_of(kernel), before)


def test_a_config_with_the_old_name_of_an_option_loads():
    config = continual(hold_conditions=True).get_config()
    config["hold_embeddings"] = config.pop("hold_conditions")
    assert kh.ContinualModel.from_config(config).hold_conditions


# What the graph is read for.


@keras.saving.register_keras_serializable(package="tests")
class Counting(keras.layers.Dense):
    """Counts how often it is called."""

    calls = 0

    def call(self, inputs, training=None):
        Counting.calls += 1
        return super().call(inputs, training=training)


def behind_an_encoder(make=built):
    """A model whose conditioning is computed, in a nested model, by layers that train."""
    z, x = keras.Input((4,), name="z"), keras.Input((3,), name="x")
    inside = keras.Input((4,))
    y = keras.layers.Reshape((4, 1))(Counting(4, name="counting")(inside))
    y = keras.layers.Flatten()(keras.layers.BatchNormalization(momentum=0.5)(y))
    encoder = keras.Model(inside, keras.layers.Dropout(0.5, seed=3)(y), name="encoder")
    return keras.Model([z, x], make()([encoder(z), x]))


def test_what_computes_the_conditioning_runs_once_for_all_weights():
    model = continual(behind_an_encoder(lambda: hypernetized(normalized=True)))
    before = Counting.calls
    generated(model)
    assert Counting.calls == before + 1


def test_an_encoder_of_the_conditioning_trains_and_is_remembered():
    model = continual(behind_an_encoder(), targets="copy")
    inner = model.model.get_layer("encoder")
    start = [numpy_of(v) for v in inner.weights]
    learn(model, "ab")
    assert all(np.any(numpy_of(v) != old) for v, old in zip(inner.weights, start))
    expected = generated(model, 2)
    assert_equal([generated(model, 2)], [expected], atol=0)  # no dropout in inference
    model.begin_task("c")
    assert numpy_of(model.retention_loss(training=False)) == pytest.approx(0, abs=1e-10)
    assert numpy_of(model.retention_loss(training=True)) > 1e-6  # dropout, and the batch's moments
    fit(model, tasks()["c"])
    change = np.square(generated(model, 2) - expected).sum(axis=-1).mean()
    np.testing.assert_allclose(numpy_of(model.retention_loss(False)), change, rtol=1e-3)


def test_names_of_what_generates_weights():
    model = continual(behind_an_encoder(nested))
    names = list(model.generated.named_variables())
    assert names == list(continual(behind_an_encoder(nested)).generated.named_variables())
    assert names[:3] == [
        "task_embedding/table/embeddings",
        "functional/encoder/counting/kernel",
        "functional/encoder/counting/bias",
    ]
    found = model.generated.named_variables().values()
    seeds = {id(v) for v in model.generated.variables if "seed" in v.path}
    assert {id(v) for v in model.generated.variables} - seeds == {id(v) for v in found}


def test_a_hypernetized_model_with_nested_models():
    inside = keras.Input((3,))
    inner = keras.Model(inside, keras.layers.Dense(3, activation="tanh")(inside), name="inner")
    x = keras.Input((3,))
    target = keras.Model(x, keras.layers.Dense(2)(inner(inner(x))))
    model = continual(kh.hypernetize(target, conditioning_size=4, hidden_sizes=(8,)))
    learn(model, "ab")
    plain_model, (x, _) = model.specialize("a"), tasks()["a"]
    expected = model.predict(x, task="a", verbose=0)
    np.testing.assert_allclose(plain_model.predict(x, verbose=0), expected, atol=1e-5)


def test_heads_of_a_nested_model_with_a_softmax_are_refused():
    x = keras.Input((3,))
    inside = keras.Input((3,))
    inner = keras.Model(inside, keras.layers.Dense(3, activation="softmax")(inside))
    model = kh.hypernetize(keras.Model(x, inner(x)), 2)
    with pytest.raises(ValueError, match="must return logits"):
        kh.ContinualModel(model, 3, heads=[[0], [1], [2]])


LAYERS_OF_OTHER_OUTPUTS = {
    "separable": ((5, 3), lambda: keras.layers.SeparableConv1D(3, 2)),
    "recurrent": ((4, 2), lambda: keras.layers.SimpleRNN(3)),
    "softmax": ((3,), lambda: keras.layers.Dense(3, activation="softmax")),
}


@pytest.mark.parametrize("name", LAYERS_OF_OTHER_OUTPUTS)
def test_heads_of_outputs_that_depend_on_each_other_are_refused(name):
    shape, make = LAYERS_OF_OTHER_OUTPUTS[name]
    target = keras.Sequential([keras.Input(shape), make()])
    model = kh.hypernetize(target, 2, shared=True)
    with pytest.raises(ValueError, match=r"one kernel|must return logits"):
        kh.ContinualModel(model, 3, heads=[[0], [1], [2]])


def test_heads():
    heads = [[0, 1], [3, 2], [4, 5]]
    sizes = [(3, 5), (5, 6)]
    model = continual(kh.build(4, 3, sizes, hidden_sizes=(8,)), heads=heads)
    learn(model, epochs=2)
    x, _ = tasks()["a"]
    for slot, name in enumerate("abc"):
        inner = model.model.predict(
            [np.repeat(model.task_conditioning(name), len(x), axis=0), x], verbose=0
        )
        outputs = model.predict(x, task=name, verbose=0)
        np.testing.assert_allclose(outputs, inner[:, heads[slot]], atol=1e-5)
        plain_model = model.specialize(name)
        np.testing.assert_allclose(plain_model.predict(x, verbose=0), outputs, atol=1e-5)
        assert "keras_hypernet" not in plain_model.to_json()
    before = numpy_of(model.memory.targets)[:2]
    squares = np.square(generated(model, 2) - before) * kh.head_masks(model.weight_spec, heads)[:2]
    np.testing.assert_allclose(
        numpy_of(model.retention_loss()), squares.sum(axis=-1).mean(), rtol=1e-3
    )


def test_every_task_has_its_own_statistics():
    model = continual(hypernetized(normalized=True))
    start = [numpy_of(v) for v in model._statistics()]
    found = {}
    for name in "abc":
        model.begin_task(name)
        assert_equal([numpy_of(v) for v in model._statistics()], start)
        fit(model, tasks()[name], epochs=3)
        found[name] = [numpy_of(v) for v in model._statistics()]
    x = tasks()["a"][0]
    for name, values in found.items():
        with model.at_task(name):
            assert_equal([numpy_of(v) for v in model._statistics()], values)
        outputs = model.predict(x, task=name, verbose=0)
        plain_model = model.specialize(name)
        np.testing.assert_allclose(plain_model.predict(x, verbose=0), outputs, atol=1e-5)
    assert np.abs(found["a"][0] - found["b"][0]).max() > 1e-3
    assert_equal([numpy_of(v) for v in model._statistics()], found["c"])


def test_shared_statistics_move_on():
    model = continual(hypernetized(normalized=True), task_statistics=False)
    learn(model, "a", epochs=3)
    moved = [numpy_of(v) for v in model.model.non_trainable_variables]
    model.begin_task("b")
    assert_equal([numpy_of(v) for v in model.model.non_trainable_variables], moved)
    assert not model.task_state.statistics


@pytest.mark.parametrize("from_logits", [True, False])
def test_unknown_tasks_are_those_of_least_entropy(from_logits):
    model = continual()
    learn(model, epochs=5)
    x, _ = tasks()["b"]
    if not from_logits:
        model.call = lambda inputs, training=None, call=model.call: ops.softmax(call(inputs))
        model.make_predict_function(force=True)
    found, entropies = model.infer_task(x, from_logits=from_logits, verbose=0)
    outputs = model.predict(x, infer_task=True, from_logits=from_logits, verbose=0)
    every = np.stack([model.predict(x, task=n, verbose=0) for n in "abc"], axis=1).astype("float64")
    p = np.exp(every) / np.exp(every).sum(-1, keepdims=True) if from_logits else every
    np.testing.assert_allclose(entropies, -(p * np.log(p)).sum(-1), rtol=1e-4, atol=1e-6)
    assert found.tolist() == entropies.argmin(axis=1).tolist()
    np.testing.assert_allclose(outputs, every[np.arange(len(x)), found], rtol=1e-5)


def test_the_outputs_of_each_task_are_computed_once_to_infer_it():
    model = continual()
    learn(model)
    x, _ = tasks()["a"]
    asked, predict = [], model.predict

    def noted(x, task=None, **options):
        asked.append(task)
        return predict(x, task=task, **options)

    for infer in (model.infer_task, lambda x, **options: predict(x, infer_task=True, **options)):
        model.predict = noted
        infer(x, batch_size=7, verbose=0)
        assert asked == ["a", "b", "c"]
        asked.clear()


def test_entropy_of_one_output_is_that_of_two_classes():
    logits = np.array([[[0.3]], [[-2.0]]])
    p = 1 / (1 + np.exp(-logits))
    expected = -(p * np.log(p) + (1 - p) * np.log(1 - p))[..., 0]
    np.testing.assert_allclose(entropies_of(logits, from_logits=True), expected)
    np.testing.assert_allclose(entropies_of(p, from_logits=False), expected)


def test_data_as_datasets_validation_and_callbacks():
    model = continual()
    x, y = tasks()["a"]

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, i):
            return x[i * 8 : i * 8 + 8], y[i * 8 : i * 8 + 8]

    model.begin_task("a")
    history = model.fit(Batches(), validation_data=(x, y), epochs=2, verbose=0).history
    assert {"val_loss", "val_task_loss", "val_accuracy", "retention_loss"} <= set(history)
    for inputs in ([x, x, x], {"z": x}):
        with pytest.raises(ValueError, match="`inputs` must be the data"):
            model(inputs)


@pytest.mark.parametrize("heads", [None, [[0], [0, 1], [1]]])
@features.with_export
def test_exports(heads, tmp_path):
    # Keras exports any model to PyTorch's format with a batch of one.
    model = continual(heads=heads)
    for name in "ab":
        model.begin_task(name)
    x = tasks()["a"][0][: 1 if BACKEND == "torch" else 4]
    model(x)
    with model.at_task("a"):
        if BACKEND == "torch":
            import torch

            model.export(tmp_path / "model.pt2", format="torch", verbose=False)
            served = torch.export.load(tmp_path / "model.pt2").module()(torch.as_tensor(x))
        else:
            tf = pytest.importorskip("tensorflow")
            model.export(tmp_path / "model", verbose=False)
            loaded = tf.saved_model.load(tmp_path / "model")
            served = loaded.serve(x)
    served = served.detach().numpy() if BACKEND == "torch" else np.asarray(served)
    np.testing.assert_allclose(served, model.predict(x, task="a", verbose=0), atol=1e-5)


def test_several_data_inputs():
    z, a, b = keras.Input((4,), name="z"), keras.Input((3,), name="a"), keras.Input((3,), name="b")
    model = keras.Model([z, a, b], built()([z, keras.layers.Add()([a, b])]))
    x, y = tasks()["a"]
    for inputs in ([x, x], (x, x), {"b": x, "a": x}):
        continually = continual(model if inputs == [x, x] else keras.models.clone_model(model))
        continually.begin_task("a")
        continually.fit(inputs, y, verbose=0)
        assert continually.predict(inputs, verbose=0).shape == (20, 2)


def test_epochs_of_the_first_task_cost_no_regularizer():
    history = learn(continual(), "a")
    assert history["retention_loss"] == [0]
    assert history["loss"] == pytest.approx(history["task_loss"])


# Mistakes.


def half_generated():
    return kh.hypernetize(plain(), conditioning_size=4, select=["*/bias"])


def two_conditions():
    a, b, x = keras.Input((2,), name="a"), keras.Input((2,), name="b"), keras.Input((3,))
    z = keras.layers.Concatenate()([a, b])
    return keras.Model([a, b, x], built()([z, x]))


def constant():
    x = keras.Input((3,))
    return keras.Model(x, keras.layers.Dense(2)(x))


MISTAKES = {
    "a plain model": (lambda: kh.ContinualModel(plain(), 3), "kh.hypernetize"),
    "no conditions": (lambda: kh.ContinualModel(constant(), 3), "one input"),
    "two conditions": (lambda: kh.ContinualModel(two_conditions(), 3), r"depend on \['a', 'b'\]"),
    "trained weights that are not generated": (
        lambda: kh.ContinualModel(half_generated(), 3),
        "must be generated",
    ),
    "no room": (lambda: kh.ContinualModel(by_hand(), 4), "number of conditions of the model"),
    "negative beta": (lambda: kh.ContinualModel(built(), 3, beta=-1), "beta"),
    "targets": (lambda: kh.ContinualModel(built(), 3, targets="all"), "targets"),
    "no tasks": (lambda: kh.ContinualModel(built(), 0), "num_tasks"),
    "moving held rows": (
        lambda: kh.ContinualModel(built(), 3, keep_optimizer=True, hold_conditions=False),
        "hold_conditions",
    ),
    "few heads": (lambda: kh.ContinualModel(built(), 3, heads=[[0], [1]]), "each of the 3 tasks"),
    "heads out of range": (lambda: kh.ContinualModel(built(), 1, heads=[[2]]), r"heads\[0\]"),
    "tasks_per_call": (lambda: kh.ContinualModel(built(), 3, tasks_per_call=0), "tasks_per_call"),
    "evaluating no task": (lambda: learned().evaluate(*tasks()["a"], task="z"), "one of the tasks"),
    "predicting no task": (lambda: learned().predict(tasks()["a"][0], task="z"), "Received: 'z'"),
    "training no task": (lambda: fit(continual(), tasks()["a"]), "begin_task"),
    "inferring no task": (lambda: continual().infer_task(tasks()["a"][0]), "begin_task"),
    "predicting an inferred task without tasks": (
        lambda: continual().predict(tasks()["a"][0], infer_task=True),
        "begin_task",
    ),
    "predicting a named and an inferred task": (
        lambda: learned().predict(tasks()["a"][0], task="a", infer_task=True),
        "Either `task`.*or `infer_task=True`",
    ),
    "logits of a named task": (
        lambda: learned().predict(tasks()["a"][0], task="a", from_logits=False),
        "`from_logits` is for inferred tasks",
    ),
}


def inside(action):
    model = continual()
    learn(model, "ab")
    with model.at_task("a"):
        action(model)


def weights_of_others(path):
    model = continual()
    model.begin_task("a")
    model.save_weights(path)
    model.begin_task("b")
    model.load_weights(path)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda model: model.begin_task("c"), "To begin a task, leave `at_task`"),
        (lambda model: fit(model, tasks()["a"]), "To train, leave `at_task`"),
    ],
)
def test_another_task_is_active_for_use_alone(action, message):
    with pytest.raises(ValueError, match=message):
        inside(action)


def test_a_model_that_cannot_be_saved_leaves_the_file_that_there_is(tmp_path):
    for name, save in {"a.keras": "save", "a.weights.h5": "save_weights"}.items():
        path = tmp_path / name
        path.write_text("what was there")
        with pytest.raises(ValueError, match="To save, leave `at_task`"):
            inside(lambda model, path=path, save=save: getattr(model, save)(path))
        assert path.read_text() == "what was there"


def test_weights_without_names_are_those_of_as_many_tasks(tmp_path):
    with pytest.raises(ValueError, match="1 tasks, and this one has 2"):
        weights_of_others(tmp_path / "model.weights.h5")


def learned():
    model = continual()
    model.begin_task("a")
    return model


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    call, message = MISTAKES[name]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("names", "wrong", "exception", "message"),
    [
        ("ab", "a", ValueError, "must be new"),
        ("abc", "d", ValueError, "none is free"),
        ("ab", 3, TypeError, "name"),
    ],
)
def test_a_failed_begin_changes_nothing(names, wrong, exception, message):
    model = continual()
    learn(model, names)
    before = [*weights_of(model), *(numpy_of(v) for v in model.optimizer.variables)]
    function = model.train_function
    with pytest.raises(exception, match=message):
        model.begin_task(wrong)
    after = [*weights_of(model), *(numpy_of(v) for v in model.optimizer.variables)]
    assert_equal(before, after, atol=0)
    assert model.task_names == tuple(names)
    assert model.train_function is function
