"""`sine`: its numbers, and wherever an activation may be given."""

import copy
import json
import pickle

import keras
import numpy as np
import pytest
from keras import layers

import keras_hypernet as kh
from keras_hypernet.utils import keras_internals
from tests.backend import compiled, gradients, numpy_of, tensors_of
from tests.test_dtypes import FLOAT64

SINE = kh.sine(3.0)
NONE = [np.zeros((1, 2), "float32"), np.zeros((1, 3), "float32")]


def test_values(rng):
    x = rng.normal(size=(5, 4)).astype("float32")
    np.testing.assert_allclose(numpy_of(SINE(x)), np.sin(3 * x), atol=1e-6)
    np.testing.assert_allclose(numpy_of(compiled(SINE)(tensors_of(x))), np.sin(3 * x), atol=1e-6)
    np.testing.assert_allclose(numpy_of(kh.sine()(x)), np.sin(x), atol=1e-6)
    np.testing.assert_allclose(numpy_of(SINE([0, 1])), np.sin([0, 3]), atol=1e-6)
    _, (found,) = gradients(layers.Activation(SINE), [x], np.ones((5, 4)))
    np.testing.assert_allclose(found, 3 * np.cos(3 * x), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", FLOAT64])
def test_it_keeps_the_dtype_and_rounds_once(dtype):
    x = keras.ops.cast(np.linspace(-1, 1, 41), dtype)
    found = kh.sine(30.0)(x)
    assert keras.backend.standardize_dtype(found.dtype) == keras.backend.standardize_dtype(x.dtype)
    full = "float64" if dtype == "float64" else "float32"
    x, found = (numpy_of(keras.ops.cast(y, full)) for y in (x, found))
    error = {"float16": 5e-4, "bfloat16": 4e-3, "float32": 1e-5, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(found, np.sin(30 * x), atol=error)


def test_sines_of_one_frequency_are_equal():
    assert kh.sine(30) == kh.sine(np.float32(30.0)) == kh.sine(30.0)
    assert len({kh.sine(30), kh.sine(30.0), kh.sine(3)}) == 2
    assert kh.sine(30) != kh.sine(3)
    assert kh.sine(1) not in (keras.activations.relu, 1.0, None)
    for made in (copy.deepcopy(SINE), pickle.loads(pickle.dumps(SINE))):
        assert made == SINE
        assert made.frequency == 3.0


def test_config_round_trip():
    config = keras.activations.serialize(kh.sine(np.float32(30)))
    config = json.loads(json.dumps(config))
    assert config["registered_name"] == "keras_hypernet>Sine"
    for read in (keras.activations.deserialize, keras.activations.get):
        assert read(config) == kh.sine(30.0)
    assert layers.Activation.from_config(layers.Activation(SINE).get_config()).activation == SINE


@pytest.mark.parametrize("frequency", [0, -1.0, np.nan, np.inf])
def test_frequencies_are_positive(frequency):
    with pytest.raises(ValueError, match="`frequency` must be"):
        kh.sine(frequency)
    config = keras.activations.serialize(SINE)
    config["config"]["frequency"] = frequency
    with pytest.raises((ValueError, TypeError), match="`frequency` must be"):
        keras.activations.deserialize(config)


def test_what_makes_sines_is_not_one():
    """`activation=kh.sine` would be taken, as it is callable."""
    for call in (
        lambda: layers.Dense(3, activation=kh.sine)(np.ones((2, 2))),
        lambda: kh.build(2, 3, [(3, 4), (4, 1)], activation=kh.sine)(NONE),
    ):
        with pytest.raises(TypeError, match=r"give `kh\.sine\(\)`"):
            call()


# Where activations are given.


def on_data(layer, *shape, weights=None):
    def make():
        z, x = keras.Input((2,)), keras.Input(shape)
        made = layer()
        spec = made.spec(x.shape) if weights is None else weights
        return keras.Model([z, x], made(x, kh.WeightGenerator(spec, hidden_sizes=[4])(z)))

    return make


def generating(generator):
    def make():
        z = keras.Input((2,))
        return keras.Model(z, generator()(z))

    return make


def network():
    x = keras.Input((3,))
    y = layers.Dense(4, activation=SINE, name="first")(x)
    y = layers.Dense(4, activation=SINE, name="second")(y)  # the same object in one file
    return keras.Model(x, layers.Dense(2, name="last")(y), name="network")


def hypernetized(**options):
    return lambda: kh.hypernetize(network(), conditioning_size=2, hidden_sizes=[4], **options)


def by_block():
    block = keras.Sequential([layers.Dense(4, activation=SINE), layers.Dense(2)])
    block.build((None, 3))
    return kh.Hyper(block, shared=True)


SPEC = [(3, 4), (4,)]
IMAGE = {"image_shape": (4, 4), "filters": (8, 2), "kernel_size": 3, "activation": SINE}
SIZES = [(3, 4), (4, 2)]
MODELS = {
    "Keras": network,
    "build": lambda: kh.build(
        2, 3, SIZES, hidden_sizes=[4], activation=SINE, hidden_activation=SINE
    ),
    "apply_generated_weights": on_data(
        lambda: kh.ApplyGeneratedWeights(SIZES, activation=SINE),
        3,
        weights=kh.WeightSpec.from_layer_sizes(SIZES),
    ),
    "Dense": on_data(lambda: kh.Hyper(layers.Dense(4, activation=SINE)), 3),
    "Conv2DTranspose": on_data(
        lambda: kh.Hyper(layers.Conv2DTranspose(4, 3, activation=SINE)), 5, 5, 3
    ),
    "blocks": lambda: shared(by_block()),
    "WeightGenerator": generating(lambda: kh.WeightGenerator(SPEC, activation=SINE)),
    "ChunkedWeightGenerator": generating(
        lambda: kh.ChunkedWeightGenerator(SPEC, 5, hidden_sizes=[3], activation=SINE)
    ),
    "DeconvWeightGenerator": generating(lambda: kh.DeconvWeightGenerator(SPEC, **IMAGE)),
    "replace": hypernetized(),
    "delta": hypernetized(mode="delta"),
    "low_rank": hypernetized(mode="low_rank"),
    "with a generator": lambda: kh.hypernetize(
        network(),
        conditioning_size=2,
        generator=lambda spec: kh.WeightGenerator(spec, hidden_sizes=[4], activation=SINE),
    ),
}


def shared(wrapper):
    z, x = keras.Input(batch_shape=(1, 2)), keras.Input((3,))
    weights = kh.WeightGenerator([(26,)], hidden_sizes=[4])(z)
    return keras.Model([z, x], wrapper(x, weights))


def arrays_for(model, rng):
    shapes = [[n if n is not None else 4 for n in tensor.shape] for tensor in model.inputs]
    arrays = [rng.normal(size=shape).astype("float32") for shape in shapes]
    return arrays if len(arrays) > 1 else arrays[0]


@pytest.mark.parametrize("name", MODELS)
def test_saved_and_loaded_wherever_it_is_given(name, rng, tmp_path):
    model = MODELS[name]()
    inputs = arrays_for(model, rng)
    expected = numpy_of(model(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(numpy_of(loaded(inputs)), expected)
    copied = keras.models.clone_model(model)
    copied.set_weights(model.get_weights())
    np.testing.assert_allclose(numpy_of(copied(inputs)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["build", "Dense", "blocks", "replace", "low_rank"])
def test_baked_into_a_plain_model(name, rng, tmp_path):
    model = MODELS[name]()
    z, x = arrays_for(model, rng)
    assert len(kh.describe(model)) > 0
    plain = kh.specialize(model, z[:1])
    expected = numpy_of(model([z[:1], x]))
    np.testing.assert_allclose(numpy_of(plain(x)), expected, rtol=1e-4, atol=1e-5)
    plain.save(tmp_path / "plain.keras")
    loaded = keras.saving.load_model(tmp_path / "plain.keras", safe_mode=True)
    np.testing.assert_array_equal(numpy_of(loaded(x)), numpy_of(plain(x)))
    found = [getattr(x, "activation", None) for x in keras_internals.layers_in(loaded)]
    assert SINE in found


def test_builders_can_read_the_frequency():
    model = MODELS["build"]()
    assert model.get_layer("weight_gen_0").activation.frequency == 3.0
    (target,) = [x for x in model.layers if isinstance(x, kh.ApplyGeneratedWeights)]
    assert target.activation.frequency == 3.0
    hyper = kh.hypernetize(network(), conditioning_size=2)
    assert hyper.get_layer("first").wrapped_layer().activation == SINE
