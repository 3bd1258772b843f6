"""Encodings of conditions and coordinates: their numbers, and their place in models."""

import keras
import numpy as np
import pytest

import keras_hypernet as kh
from keras_hypernet.utils import keras_internals
from tests.backend import BACKEND, assert_model_torch_compiles, numpy_of
from tests.encoding_cases import on_circles
from tests.test_dtypes import FLOAT64


def test_bounds_are_the_ends_of_a_quarter():
    layer = kh.UnitNormEncoding(low=[-1, 10], high=np.array([1.0, 20.0]))
    found = numpy_of(layer(np.array([[-1.0, 20.0], [1.0, 10.0], [0.0, 15.0]])))
    half = np.sqrt(0.5)
    expected = [[1, 0, 0, 1], [0, 1, 1, 0], [half] * 4]  # cosines of both, then sines
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_every_norm_is_one_outside_the_bounds_too(rng):
    layer = kh.UnitNormEncoding(low=0, high=0.5)
    c = rng.normal(size=(50, 3), scale=[0.01, 1, 100]).astype("float32")
    found = numpy_of(layer(c)).reshape(50, 2, 3)
    np.testing.assert_allclose(np.square(found).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(found[:, 0], np.cos(np.pi * c), atol=1e-3)


def test_conditions_four_ranges_apart_are_alike(rng):
    layer, c = kh.UnitNormEncoding(-1, 1), rng.normal(size=(5, 2)).astype("float32")
    np.testing.assert_allclose(numpy_of(layer(c)), numpy_of(layer(c + 8)), atol=1e-5)
    assert np.abs(numpy_of(layer(c)) - numpy_of(layer(c + 4))).max() > 1


def test_a_failed_call_changes_nothing():
    layer = kh.UnitNormEncoding(low=[0, 0], high=1)
    for width in (3, 1):
        with pytest.raises(ValueError, match="`low` must be a number, or have one for each"):
            layer(np.zeros((2, width), "float32"))
    assert tuple(layer(np.zeros((2, 2), "float32")).shape) == (2, 4)


def test_frequencies_are_normal_and_follow_the_seed():
    def drawn(seed):
        layer = kh.FourierFeatures(5000, scale=7.0, seed=seed)
        layer.build((None, 2))
        return numpy_of(layer.frequencies.value)

    frequencies = drawn(3)
    assert frequencies.mean() == pytest.approx(0, abs=0.3)
    assert frequencies.std() == pytest.approx(7, rel=0.03)
    np.testing.assert_array_equal(frequencies, drawn(3))
    assert np.any(frequencies != drawn(4))
    assert np.any(drawn(None) != drawn(None))


def encodings(**options):
    return {
        "UnitNormEncoding": kh.UnitNormEncoding(1000, 1001, **options),
        "FourierFeatures": kh.FourierFeatures(8, scale=30.0, seed=1, **options),
    }


@pytest.mark.parametrize("name", encodings())
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", FLOAT64])
def test_angles_are_not_in_half_precision(name, policy, rng):
    """Rounded to bfloat16, all conditions between 1000 and 1001 would be one."""
    given = "float64" if policy == "float64" else "float32"
    x = (rng.uniform(size=(20, 2)) + (1000 if name == "UnitNormEncoding" else 0)).astype(given)
    layer = encodings(dtype=policy)[name]
    found, x = layer(x), x.astype("float64")
    if name == "UnitNormEncoding":
        expected = on_circles(np.pi / 2 * (x - 1000))
    else:
        expected = on_circles(2 * np.pi * x @ numpy_of(layer.frequencies.value))
    assert keras.backend.standardize_dtype(found.dtype) == policy.removeprefix("mixed_")
    found = numpy_of(keras.ops.cast(found, given))
    np.testing.assert_allclose(found, expected, atol=1e-10 if given == "float64" else 4e-3)


@pytest.mark.parametrize("name", encodings())
def test_masks_go_through(name):
    x = keras.layers.Masking()(np.array([[[0.5], [0.0]]], "float32"))
    found = encodings()[name](x)
    np.testing.assert_array_equal(keras_internals.mask_of(found), [[True, False]])


# In models.


def norms_of_weights(conditions, **options):
    model = kh.build(
        input_size=3,
        target_layer_sizes=[(3, 4), (4, 2)],
        hidden_sizes=[16, 16],
        head_kernel_initializer="he_normal",
        initialization=None,
        running_scale=False,
        **options,
    )
    tensors = kh.target_weights(model, conditions)
    rows = [numpy_of(tensor).reshape(len(conditions), -1) for tensor in tensors.values()]
    return np.linalg.norm(np.concatenate(rows, axis=-1), axis=-1)


def test_weights_are_not_proportional_to_an_encoded_condition():
    conditions = np.logspace(-3, 0, 7, dtype="float32")[:, None]
    proportional = norms_of_weights(conditions, conditioning_size=1) / conditions[:, 0]
    np.testing.assert_allclose(proportional, proportional[0], rtol=1e-3)
    c = keras.Input((1,))
    encoded = norms_of_weights(conditions, conditioning=kh.UnitNormEncoding()(c))
    assert encoded.max() / encoded.min() < 4


def encoded_model(**options):
    """Both encodings, each at its place."""
    c, points = keras.Input((2,), name="c"), keras.Input((None, 2), name="points")
    return kh.build(
        conditioning=kh.UnitNormEncoding([0, -1], [1, 1])(c),
        data_input=kh.FourierFeatures(4, scale=2.0)(points),
        target_layer_sizes=[(8, 6), (6, 1)],
        hidden_sizes=[5],
        **options,
    )


def data(rng, rows=6, points=7):
    c = rng.uniform(size=(rows, 2)).astype("float32")
    return [c, rng.uniform(size=(rows, points, 2)).astype("float32")]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_build_between_encodings_trains_and_is_saved(policy, rng, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model, inputs = encoded_model(), data(rng)
    finally:
        keras.config.set_dtype_policy("float32")
    (features,) = [x for x in model.layers if isinstance(x, kh.FourierFeatures)]
    drawn = numpy_of(features.frequencies.value)
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=BACKEND != "torch")
    losses = model.fit(inputs, np.ones((6, 7, 1)), epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    np.testing.assert_array_equal(numpy_of(features.frequencies.value), drawn)
    expected = numpy_of(keras.ops.cast(model(inputs), "float32"))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(numpy_of(keras.ops.cast(loaded(inputs), "float32")), expected)


def test_reading_a_model_with_encodings(rng):
    model, (c, points) = encoded_model(), data(rng)
    assert [row["weights"] for row in kh.describe(model)] == [8 * 6 + 6, 6 * 1 + 1]
    plain = kh.specialize(model, c[:1])
    expected = numpy_of(model([np.repeat(c[:1], 6, axis=0), points]))
    np.testing.assert_allclose(numpy_of(plain(points)), expected, rtol=1e-4, atol=1e-5)


def painter():
    points = keras.Input((None, 2))
    x = kh.FourierFeatures(4)(points)
    x = keras.layers.Dense(6, activation=kh.sine(2.0), name="first")(x)
    return keras.Model(points, keras.layers.Dense(1, name="last")(x), name="painter")


@pytest.mark.parametrize("mode", ["replace", "delta", "low_rank"])
def test_hypernetized_models_keep_their_frequencies(mode, rng, tmp_path):
    plain, (c, points) = painter(), data(rng)
    hyper = kh.hypernetize(plain, conditioning_size=2, mode=mode)
    assert not any("frequencies" in name for name in kh.target_weights(hyper, c))
    if mode != "replace":  # it starts as the given model
        expected = numpy_of(plain(points))
        np.testing.assert_allclose(numpy_of(hyper([c, points])), expected, rtol=1e-4, atol=1e-5)
    hyper.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    expected = numpy_of(hyper([c, points]))
    np.testing.assert_array_equal(numpy_of(loaded([c, points])), expected)
    baked = kh.specialize(loaded, c[:1])
    np.testing.assert_allclose(numpy_of(baked(points))[0], expected[0], rtol=1e-4, atol=1e-5)
    assert baked.get_layer("first").activation == kh.sine(2.0)


def test_all_tasks_of_a_continual_model_have_the_same_frequencies(rng):
    points = keras.Input((2,))
    model = kh.build(
        conditioning_size=3,
        data_input=kh.FourierFeatures(4)(points),
        target_layer_sizes=[(8, 1)],
        hidden_sizes=[5],
    )
    learner = kh.ContinualModel(model, num_tasks=2)
    learner.compile("adam", "mse")
    x = rng.normal(size=(8, 2)).astype("float32")
    (drawn,) = (v for v in model.non_trainable_variables if "frequencies" in v.path)
    before = numpy_of(drawn.value)
    for task in ("a", "b"):
        learner.begin_task(task)
        learner.fit(x, x[:, :1], epochs=1, verbose=0)
        np.testing.assert_array_equal(numpy_of(drawn.value), before)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "torch", reason="a feature of torch")
def test_torch_compiles_encodings_into_one_graph(rng):
    assert_model_torch_compiles(encoded_model(activation=kh.sine(3.0)), data(rng), whole=True)
