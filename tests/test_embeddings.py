"""Starting embeddings anew, and generated weights in other forms."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_hypernet as kh
from tests.backend import numpy_of

SPEC = kh.WeightSpec.from_shapes([(3, 2), (2,)])


def chunked(**options):
    return kh.ChunkedWeightGenerator(SPEC, 3, 5, hidden_sizes=[4], **options)


def hypernetwork(generator=None):
    hyper = kh.Hypernetwork(generator or kh.WeightGenerator(SPEC), 6, embedding_size=40)
    hyper(np.array([0]))
    return hyper


def table_of(hyper):
    return numpy_of(hyper.embedding.table.embeddings)


# Embeddings.


def test_all_conditions_are_drawn():
    hyper = hypernetwork()
    kh.initialize_embeddings(hyper, mean=3.0, stddev=0.5, seed=1)
    assert table_of(hyper).mean() == pytest.approx(3.0, abs=0.1)
    assert table_of(hyper).std() == pytest.approx(0.5, rel=0.1)
    first = table_of(hyper)
    kh.initialize_embeddings(hyper, mean=3.0, stddev=0.5, seed=1)
    np.testing.assert_array_equal(table_of(hyper), first)


def test_chosen_conditions_are_drawn():
    hyper = hypernetwork()
    before = table_of(hyper)
    kh.initialize_embeddings(hyper, function=lambda i: np.full(40, i), conditions=[1, 4])
    after = table_of(hyper)
    np.testing.assert_array_equal(after[[1, 4]], np.repeat([[1], [4]], 40, axis=1))
    np.testing.assert_array_equal(after[[0, 2, 3, 5]], before[[0, 2, 3, 5]])


def test_an_initializer_gives_each_condition_its_own():
    hyper = hypernetwork()
    kh.initialize_embeddings(hyper, initializer="random_uniform")
    table = table_of(hyper)
    assert np.abs(table).max() <= 0.05
    assert len(np.unique(table)) > 200
    kh.initialize_embeddings(hyper, initializer=keras.initializers.Constant(2.0))
    assert np.all(table_of(hyper) == 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: kh.ConditionEmbedding(6, 40),
        lambda: kh.TaskWeights(kh.WeightGenerator(SPEC), 6, embedding_size=40),
    ],
)
def test_other_layers_with_conditions(make):
    layer = make()
    layer(np.array([0]))
    kh.initialize_embeddings(layer, stddev=0.0)
    tables = [v for v in layer.weights if tuple(v.shape) == (6, 40)]
    assert len(tables) == 1
    assert np.all(numpy_of(tables[0]) == 0)


def test_shared_chunks_are_drawn():
    generator = chunked()
    generator(np.ones((1, 2), "float32"))
    kh.initialize_embeddings(generator, "chunks", function=lambda j, i: np.full(5, j))
    expected = np.repeat([[0], [1], [2]], 5, axis=1)
    np.testing.assert_array_equal(numpy_of(generator.chunks.embeddings), expected)


def test_chunks_of_chosen_conditions_are_drawn():
    hyper = hypernetwork(chunked(chunk_embeddings="conditional", num_conditions=6))
    table, before = table_of(hyper), numpy_of(hyper.generator.chunks.embeddings)
    kh.initialize_embeddings(
        hyper, "chunks", function=lambda j, i: np.full(5, 10 * i + j), conditions=[3]
    )
    after = numpy_of(hyper.generator.chunks.embeddings)
    np.testing.assert_array_equal(after[3], np.repeat([[30], [31], [32]], 5, axis=1))
    np.testing.assert_array_equal(after[[0, 1, 2, 4, 5]], before[[0, 1, 2, 4, 5]])
    np.testing.assert_array_equal(table_of(hyper), table)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda h: kh.initialize_embeddings(h, "tasks"), "`which`"),
        (lambda h: kh.initialize_embeddings(h, "chunks"), "embeddings of chunks"),
        (lambda h: kh.initialize_embeddings(h, conditions=[6]), r"0 \.\.\. 5"),
        (lambda h: kh.initialize_embeddings(h, stddev=-1.0), "`stddev`"),
        (lambda h: kh.initialize_embeddings(h, function=lambda i: np.ones(3)), r"shape \(40,\)"),
        (
            lambda h: kh.initialize_embeddings(h, initializer="ones", function=lambda i: i),
            "give one of them",
        ),
        (lambda h: kh.initialize_embeddings(kh.Hypernetwork(chunked(), 3)), "must be built"),
        (lambda h: kh.initialize_embeddings(h, conditions=2), "`conditions` must be a list"),
        (lambda h: kh.initialize_embeddings(None), "`layer` must be a Layer"),
    ],
)
def test_embeddings_that_cannot_be(call, message):
    hyper = hypernetwork()
    before = table_of(hyper)
    with pytest.raises((TypeError, ValueError), match=message):
        call(hyper)
    np.testing.assert_array_equal(table_of(hyper), before)


def test_shared_chunks_have_no_conditions_to_choose():
    generator = chunked()
    generator(np.ones((1, 2), "float32"))
    with pytest.raises(ValueError, match="all conditions share"):
        kh.initialize_embeddings(generator, "chunks", conditions=[0])


# Noise that is drawn inside.


def perturbed(**options):
    return kh.PerturbedWeightGenerator(
        kh.WeightGenerator([(40, 50)], hidden_sizes=[4]), sigma=0.3, **options
    )


def test_noise_is_drawn_for_every_row_and_call():
    layer, z = perturbed(seed=3), np.ones((6, 2), "float32")
    one, other = (numpy_of(layer(z)) for _ in range(2))
    assert (one - other).std() == pytest.approx(0.3 * 2**0.5, rel=0.05)
    assert (one[0] - one[1]).std() == pytest.approx(0.3 * 2**0.5, rel=0.05)
    again = perturbed(seed=3)
    again(z)  # builds
    again.generator.set_weights(layer.generator.get_weights())
    np.testing.assert_allclose(numpy_of(again(z)), other, atol=1e-6)


def test_noise_in_training_only():
    layer, z = perturbed(when="training"), np.ones((6, 2), "float32")
    plain = numpy_of(layer.generator(z))
    np.testing.assert_array_equal(numpy_of(layer(z)), plain)
    assert (numpy_of(layer(z, training=True)) - plain).std() == pytest.approx(0.3, rel=0.05)


def test_drawn_noise_feeds_the_generator_too():
    layer = perturbed(noise_size=3)
    weights = numpy_of(layer({"condition": np.ones((4, 2), "float32")}))
    assert layer.generator.input_sizes == {"noise": 3, "condition": 2}
    assert np.all(np.isfinite(weights))


def test_a_model_with_drawn_noise_learns_saves_and_loads(tmp_path, rng):
    z, x = keras.Input((2,)), keras.Input((40,))
    layer = perturbed(noise_size=3)
    model = keras.Model([z, x], kh.Hyper(keras.layers.Dense(50, use_bias=False))(x, layer(z)))
    model.compile("adam", "mse")
    data = [rng.normal(size=(20, n)).astype("float32") for n in (2, 40)]
    model.fit(data, np.zeros((20, 50)), batch_size=8, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    copy = loaded.get_layer(layer.name)
    for one, other in zip(layer.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    one, other = (loaded.predict(data, verbose=0) for _ in range(2))
    assert np.abs(one - other).max() > 0.1


# Forms of weights.


def test_every_form_becomes_every_form(rng):
    flat = rng.normal(size=(5, 8)).astype("float32")
    tensors = kh.convert_weights(flat, SPEC, "tensors")
    samples = kh.convert_weights(flat, SPEC, "samples")
    assert [t.shape for t in tensors.values()] == [(5, 3, 2), (5, 2)]
    assert len(samples) == 5
    np.testing.assert_array_equal(numpy_of(samples[3]["layer_0/bias"]), flat[3, 6:])
    factored = {
        "features": rng.normal(size=(5, 2)).astype("float32"),
        "basis": rng.normal(size=(2, 8)).astype("float32"),
        "offset": rng.normal(size=8).astype("float32"),
    }
    product = factored["features"] @ factored["basis"] + factored["offset"]
    as_lists = [list(sample.values()) for sample in samples]
    for weights, expected in [
        (flat, flat),
        (tensors, flat),
        (samples, flat),
        (as_lists, flat),
        (factored, product),
    ]:
        for form in ("flat", "tensors", "samples"):
            there = kh.convert_weights(weights, SPEC, form)
            back = kh.convert_weights(there, SPEC, "flat")
            np.testing.assert_allclose(numpy_of(back), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("weights", "form", "message"),
    [
        (np.ones((5, 8)), "list", "`form`"),
        (np.ones((5, 7)), "tensors", "8 entries"),
        ([], "flat", "must not be empty"),
        ([[np.ones((3, 2))]], "flat", "one entry per tensor"),
        ({"layer_0/kernel": np.ones((5, 3, 2))}, "flat", "layer_0/bias"),
        (keras.KerasTensor((None, 8)), "samples", "known number of rows"),
    ],
)
def test_weights_that_do_not_fit(weights, form, message):
    with pytest.raises(ValueError, match=message):
        kh.convert_weights(weights, SPEC, form)


# Other generators once per task.


@pytest.mark.parametrize(
    "make",
    [
        chunked,
        lambda: chunked(chunk_embeddings="conditional", num_conditions=6),
        lambda: kh.DeconvWeightGenerator(SPEC, (3, 3), [8], attention=()),
        lambda: kh.WeightGenerator(SPEC, batch_normalization=True, num_conditions=6),
    ],
)
def test_any_generator_runs_once_per_task(make, rng, tmp_path):
    ids, x = keras.Input((), dtype="int32"), keras.Input((3,))
    tasks = kh.TaskWeights(make(), 6)
    model = keras.Model([ids, x], kh.Hyper(keras.layers.Dense(2))(x, tasks(ids)))
    i, data = np.array([5, 0, 5], "int32"), rng.normal(size=(3, 3)).astype("float32")
    inside = {"condition": tasks.embedding(i), "condition_id": i}
    if tasks.generator.num_conditions is None:
        del inside["condition_id"]
    expected = kh.Hyper(keras.layers.Dense(2))(data, ops.convert_to_tensor(tasks.generator(inside)))
    np.testing.assert_allclose(numpy_of(model([i, data])), numpy_of(expected), atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(numpy_of(loaded([i, data])), numpy_of(model([i, data])))


def test_once_per_task_has_the_generators_conditions():
    inside = chunked(chunk_embeddings="conditional", num_conditions=6)
    with pytest.raises(ValueError, match=r"that of the generator \(6\)"):
        kh.TaskWeights(inside, 5)


# Reading models.


def test_a_model_with_several_inputs_of_its_generator_is_read(rng):
    noise, ids, x = (
        keras.Input((2,), name="noise"),
        keras.Input((), dtype="int32", name="ids"),
        keras.Input((3,)),
    )
    generator = chunked(chunk_embeddings="conditional", num_conditions=6)
    hyper = kh.Hypernetwork(generator, noise_size=2, name="hyper")
    y = kh.Hyper(keras.layers.Dense(2, name="dense"))(
        x, hyper({"condition_id": ids, "noise": noise})
    )
    model = keras.Model([noise, ids, x], y)
    i, z = np.array([5, 2]), rng.normal(size=(2, 2)).astype("float32")
    weights = kh.target_weights(model, {"noise": z, "ids": i})
    expected = SPEC.split(numpy_of(hyper({"condition_id": i, "noise": z})))
    for name, array in expected.items():
        np.testing.assert_allclose(weights[name], array, rtol=1e-6)
    (row,) = kh.describe(model)
    assert row["generator"] == "hyper"
    assert row["target"] == "dense"
    assert row["parameters"] == hyper.count_params()
