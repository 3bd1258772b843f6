"""Embeddings of conditions, weights per task, and what happens inside a generator."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_hypernet as kh
from tests import reference as ref
from tests.backend import compiled, numpy_of


def test_embeddings_start_standard_normal():
    layer = kh.ConditionEmbedding(2000, 10)
    table = numpy_of(layer(np.arange(2000)))
    assert table.mean() == pytest.approx(0, abs=0.02)
    assert table.std() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_ids_of_any_integer_dtype(dtype):
    layer = kh.ConditionEmbedding(4, 3)
    ids = np.array([3, 0, 3])
    np.testing.assert_array_equal(numpy_of(layer(ids.astype(dtype))), numpy_of(layer(ids)))


def test_ids_are_not_read_where_they_cannot_be():
    layer = kh.ConditionEmbedding(4, 3)
    ids = ops.convert_to_tensor(np.array([0, 3], "int32"))
    expected = numpy_of(layer(ids))
    np.testing.assert_array_equal(numpy_of(compiled(layer)(ids)), expected)


def tasks(num_conditions, **options):
    """Conditions differ at the start."""
    options = {"initialization": None, **options}
    generator = kh.WeightGenerator([(3, 4), (4,)], hidden_sizes=[6, 5], **options)
    return kh.TaskWeights(generator, num_conditions)


@pytest.mark.parametrize(("num_conditions", "features"), [(4, 4), (5, 5), (9, 5)])
def test_the_generator_runs_over_the_smaller_of_tasks_and_features(num_conditions, features):
    layer = tasks(num_conditions)
    weights = layer(np.array([0, 2, 2]))
    assert tuple(weights["features"].shape) == (3, features)
    assert tuple(weights["basis"].shape) == (features, 16)
    assert layer.runs_once_per_condition(["condition_id"]) == (num_conditions < 5)


@pytest.mark.parametrize("num_conditions", [4, 9])
def test_a_generator_may_have_another_dtype(num_conditions):
    generator = kh.WeightGenerator([(3, 4)], hidden_sizes=[6, 5], dtype="float32")
    layer = kh.TaskWeights(generator, num_conditions, dtype="mixed_bfloat16")
    weights = layer(np.array([0, 1]))
    assert {keras.backend.standardize_dtype(w.dtype) for w in weights.values()} == {"bfloat16"}


def test_linear_generators_have_as_many_features_as_the_embedding():
    generator = kh.WeightGenerator([(3, 4)], hidden_sizes=())
    layer = kh.TaskWeights(generator, 7, embedding_size=8)
    assert layer.runs_once_per_condition(["condition_id"])
    assert layer(np.array([1]))["basis"].shape[0] == 7


def test_both_ways_generate_the_same_weights(rng):
    few, many = tasks(4), tasks(9)
    ids = np.array([0, 3, 3, 1])
    few(ids)
    many(ids)
    *generator, table = few.get_weights()
    rest = rng.normal(size=(5, table.shape[1]))
    many.set_weights([*generator, np.concatenate([table, rest])])
    once = ref.flat_weights(numpy_of(few(ids)))
    np.testing.assert_allclose(once, ref.flat_weights(numpy_of(many(ids))), rtol=1e-4, atol=1e-6)


def test_the_weights_of_a_task_do_not_depend_on_its_batch():
    """Batch normalization sees every task once, whichever ids are in the batch."""
    layer = tasks(4, batch_normalization=True)
    alone = ref.flat_weights(numpy_of(layer(np.array([2]), training=True)))
    among = ref.flat_weights(numpy_of(layer(np.array([2, 0, 1, 1]), training=True)))
    np.testing.assert_allclose(alone[0], among[0], rtol=1e-4, atol=1e-6)


def test_dropout_is_one_mask_per_task():
    layer = tasks(4, dropout=0.5, seed=1, activation="sigmoid")
    rows = ref.flat_weights(numpy_of(layer(np.array([2, 2, 2, 0]), training=True)))
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[0], rows[2])
    again = ref.flat_weights(numpy_of(layer(np.array([2]), training=True)))
    assert np.any(again[0] != rows[0])


def test_dropout_acts_in_training_only_and_before_the_activation():
    generator = kh.WeightGenerator(
        [(50,)],
        hidden_sizes=[50],
        activation="sigmoid",
        dropout=0.5,
        kernel_initializer="zeros",
        head_kernel_initializer="identity",
        bias_initializer=keras.initializers.Constant(3.0),
        initialization=None,
        feature_scale=1.0,
    )
    z = np.ones((1, 2), "float32")
    at_rest = 1 / (1 + np.exp(-3.0))
    np.testing.assert_allclose(numpy_of(generator(z)), at_rest, rtol=1e-6)
    found = set(np.round(numpy_of(generator(z, training=True)).ravel(), 5))
    # Dropped to 0 or scaled to 6, then through the sigmoid.
    assert found == {0.5, round(1 / (1 + np.exp(-6.0)), 5)}


def test_a_seed_repeats_dropout():
    z = np.ones((4, 2), "float32")
    same = []
    for _ in range(2):
        generator = kh.WeightGenerator(
            [(9,)],
            dropout=0.5,
            seed=3,
            head_kernel_initializer="ones",
            kernel_initializer="ones",
            initialization=None,
        )
        same.append(numpy_of(generator(z, training=True)))
    np.testing.assert_array_equal(*same)


@pytest.mark.parametrize("steps", [1, 30])
def test_spectral_norm_after_training_steps(steps, rng):
    generator = kh.WeightGenerator([(4,)], hidden_sizes=[64], spectral_normalization=True)
    z = keras.Input((48,))
    model = keras.Model(z, generator(z))
    kernel = generator.trunk[0].dense.kernel
    kernel.assign(rng.normal(size=(48, 64)))  # its norm is about 15
    model.compile(keras.optimizers.SGD(0.01), "mse")
    x, y = rng.normal(size=(8, 48)), rng.normal(size=(8, 4))
    for _ in range(steps):
        model.train_on_batch(x.astype("float32"), y.astype("float32"))
    hidden = generator.trunk[0].dense
    effective = numpy_of(hidden(np.eye(48, dtype="float32"))) - numpy_of(hidden.bias.value)
    norm = np.linalg.norm(effective, 2)
    assert norm == pytest.approx(1, abs=0.35 if steps == 1 else 0.03)
    stored = np.linalg.norm(numpy_of(kernel.value), 2)
    assert stored > 10  # the variable itself is never normalized


def test_spectral_norm_of_a_zero_kernel_is_finite():
    generator = kh.WeightGenerator(
        [(4,)], hidden_sizes=[6], spectral_normalization=True, kernel_initializer="zeros"
    )
    assert np.isfinite(numpy_of(generator(np.ones((2, 3), "float32")))).all()


def test_regularizers_of_trunk_and_head_are_losses():
    generator = kh.WeightGenerator(
        [(3,)],
        hidden_sizes=[2],
        kernel_initializer="ones",
        bias_initializer="ones",
        head_kernel_initializer="ones",
        head_bias_initializer="ones",
        kernel_regularizer=keras.regularizers.L1(1.0),
        bias_regularizer=keras.regularizers.L1(10.0),
        head_kernel_regularizer=keras.regularizers.L1(100.0),
        head_bias_regularizer=keras.regularizers.L1(1000.0),
    )
    generator(np.ones((1, 5), "float32"))
    assert sorted(float(numpy_of(loss)) for loss in generator.losses) == [10, 20, 600, 3000]


def test_factored_can_be_asked_of_a_call():
    generator = kh.WeightGenerator([(3, 4)], hidden_sizes=[5])
    z = np.ones((2, 3), "float32")
    flat, parts = numpy_of(generator(z)), numpy_of(generator(z, factored=True))
    np.testing.assert_allclose(ref.flat_weights(parts), flat, rtol=1e-5, atol=1e-7)
    symbolic = generator(keras.Input((3,)), factored=True)
    assert symbolic["basis"].shape == (5, 12)


def test_kept_factors_survive_training():
    """They are copies: a variable's own tensor moves or dies in the next step of `fit`."""
    generator = kh.WeightGenerator([(3, 4)], hidden_sizes=[5], factored=True)
    z, x = keras.Input((2,)), keras.Input((3,))
    weights = generator(z)
    model = keras.Model([z, x], kh.Hyper(keras.layers.Dense(4, use_bias=False))(x, weights))
    inputs = [np.ones((4, 2), "float32"), np.ones((4, 3), "float32")]
    kept = generator(inputs[0])
    before = {k: np.array(v) for k, v in numpy_of(kept).items()}
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.fit(inputs, np.ones((4, 4)), epochs=3, verbose=0)
    for name, value in numpy_of(kept).items():
        np.testing.assert_array_equal(value, before[name])
    assert np.any(numpy_of(generator(inputs[0]))["basis"] != before["basis"])


# The running scale.


def batches(*sizes, rows=3):
    """Batches of root mean squares of these sizes."""
    return [size * np.array([[1, -1], [1, 1], [-1, 1]], "float32")[:rows] for size in sizes]


def after(*sizes, **options):
    """A running scale that saw batches of these sizes in training."""
    layer = kh.RunningScale(**options)
    layer.build((None, 2))
    for x in batches(*sizes):
        layer(x, training=True)
    return layer


@pytest.mark.parametrize(
    ("sizes", "scale"),
    [((), 1), ((4,), 4), ((3, 4), 12.5**0.5), ((1, 2, 2), 3**0.5), ((0,), 1), ((0, 2), 2**0.5)],
)
def test_a_running_scale_is_of_all_batches_in_training(sizes, scale):
    layer, (x,) = after(*sizes), batches(5)
    for _ in range(2):
        np.testing.assert_allclose(numpy_of(layer(x, training=False)), x / scale, rtol=1e-6)


@pytest.mark.parametrize("size", [1e-10, 1e-3, 1, 30, 1e15])
def test_the_first_batch_in_training_has_size_one(size):
    (x,) = batches(size)
    np.testing.assert_allclose(numpy_of(kh.RunningScale()(x, training=True)), x / size, rtol=1e-5)


def test_zeros_stay_zeros():
    (x,) = batches(0)
    assert not numpy_of(kh.RunningScale()(x, training=True)).any()


def test_a_running_scale_that_is_not_trainable_is_held():
    layer = after(2)
    layer.trainable = False
    before = layer.get_weights()
    (x,) = batches(6)
    np.testing.assert_allclose(numpy_of(layer(x, training=True)), x / 2, rtol=1e-6)
    np.testing.assert_array_equal(layer.get_weights(), before)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_running_scale_in_fit_and_in_a_file(jit_compile, tmp_path):
    z = keras.Input((2,))
    model = keras.Model(z, keras.layers.Dense(1)(kh.RunningScale()(z)))
    jit_compile = jit_compile and keras.backend.backend() != "torch"
    model.compile("sgd", "mse", jit_compile=jit_compile)
    x = np.concatenate(batches(3, 4))
    model.fit(x, x[:, :1], batch_size=3, shuffle=False, epochs=2, verbose=0)
    scale = model.layers[1]
    np.testing.assert_allclose([numpy_of(v) for v in scale.variables], [12.5, 4], rtol=1e-6)
    expected = numpy_of(model(x))
    model.evaluate(x, x[:, :1], verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(numpy_of(loaded(x)), expected)
    assert loaded.layers[1].get_weights() == scale.get_weights()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float16"])
def test_a_running_scale_counts_in_float32(policy):
    layer = kh.RunningScale(dtype=policy)
    for x in batches(*[300] * 3):  # whose square float16 does not hold
        y = layer(x, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype
    np.testing.assert_allclose(numpy_of(y), x / 300, rtol=1e-2)
    assert {v.dtype for v in layer.variables} == {"float32"}
    np.testing.assert_allclose(numpy_of(layer.mean_square), 90000, rtol=1e-2)
