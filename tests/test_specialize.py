"""`specialize`: plain Keras models of one condition, which need this package for nothing."""

import json
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from keras import layers

import keras_hypernet as kh
from tests import features
from tests.backend import BACKEND, numpy_of
from tests.whole_models import (
    SIZE,
    assert_close,
    called_twice,
    dicts,
    dicts_data,
    encoder,
    floats,
    nested,
    padded_ids,
    predict,
    residual_cnn,
    settle,
)

only = {
    backend: pytest.mark.skipif(backend != BACKEND, reason=f"a feature of {backend}")
    for backend in ("jax", "tensorflow", "torch")
}


def nested_with_a_mask():
    """A nested model that is given a mask beside its data."""
    x = keras.Input((4, 3))
    inner = keras.Model(x, layers.Dense(2)(x))
    ids = keras.Input((4,), dtype="int32")
    return keras.Model(ids, inner(layers.Embedding(5, 3, mask_zero=True)(ids)))


@pytest.mark.filterwarnings("ignore:.*does not support masking:UserWarning")  # Keras' models
def test_a_nested_model_that_is_given_a_mask(rng):
    model, ids = nested_with_a_mask(), rng.integers(5, size=(6, 4)).astype("int32")
    hyper = kh.hypernetize(model, SIZE, select="*dense*", mode="delta")
    plain = kh.specialize(hyper, vector(rng))
    assert_close(predict(plain, ids), predict(model, ids))


def partly_frozen():
    """Of a layer's weights the bias is frozen, of another layer all, of a block a sublayer."""
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, name="hidden"),
            layers.Dense(4, name="all"),
            layers.Dense(2, name="out"),
        ]
    )
    model.get_layer("hidden").bias.trainable = False
    model.get_layer("all").trainable = False
    return model


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("select", ["*kernel", "*hidden/*", None])
def test_what_was_frozen_is_frozen_in_the_plain_model(select, inside, rng):
    model = partly_frozen()
    if inside:
        x = keras.Input((3,))
        model = keras.Model(x, model(x))
    hyper = kh.hypernetize(model, SIZE, select=select)
    plain = kh.specialize(hyper, vector(rng))
    expected = [v.trainable for v in model.weights]
    assert [v.trainable for v in plain.weights] == expected


@pytest.mark.parametrize("frozen", ["all", "part"])
def test_a_frozen_wrapped_layer_stays_frozen(frozen, rng, tmp_path):
    layer = layers.MultiHeadAttention(2, 2)
    data = keras.Input((4, 3))
    layer(data, data)
    if frozen == "part":
        layer.query_dense.trainable = False
    z, x = keras.Input((SIZE,)), keras.Input((4, 3))
    weights = kh.WeightGenerator(kh.WeightSpec.from_layer(layer), ())(z)
    model = keras.Model([z, x], kh.Hyper(layer, shared=True)(x, weights, value=x))
    model.trainable = frozen == "part"
    expected = 6 if frozen == "part" else 0
    model.save(tmp_path / "model.keras")
    for each in (model, keras.saving.load_model(tmp_path / "model.keras")):
        plain = kh.specialize(each, vector(rng))
        assert len(plain.trainable_variables) == expected
        assert len(plain.layers[-1].trainable_variables) == expected


def vector(rng, rows=1, size=SIZE):
    return rng.normal(size=(rows, size)).astype("float32")


def small(name="small"):
    """One of each: a twin, kept state, a shared layer, a layer without weights, a skip."""
    x = keras.Input((6, 6, 1), name="image")
    conv = layers.Conv2D(2, 3, padding="same", name="conv")
    y = layers.BatchNormalization(name="bn")(conv(layers.Concatenate()([x, x])[..., :1]))
    y = layers.Add(name="skip")([y, layers.Conv2D(2, 1, name="one")(x)])
    y = layers.Dense(3, kernel_regularizer="l2", name="head")(layers.Flatten(name="flat")(y))
    return keras.Model(x, y, name=name)


def small_pair(rng, **arguments):
    """`(hyper, condition, plain)`"""
    hyper = kh.hypernetize(settle(small(), rng), SIZE, **arguments)
    z = vector(rng)
    return hyper, z, kh.specialize(hyper, z)


ARGUMENTS = [
    {},
    {"mode": "delta"},
    {"mode": "low_rank", "rank": 1},
    {"select": "head/*"},
    {"shared": True},
]


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_a_plain_model_is_left(arguments, rng, tmp_path):
    model = settle(small(), rng)
    hyper = kh.hypernetize(model, SIZE, **arguments)
    z, x = vector(rng), rng.normal(size=(5, 6, 6, 1)).astype("float32")
    plain = kh.specialize(hyper, z)
    tiled = z if arguments.get("shared") else np.repeat(z, 5, axis=0)
    expected = predict(hyper, [tiled, x])
    assert_close(predict(plain, x), expected)
    assert "keras_hypernet" not in plain.to_json()
    assert "keras_hypernet" not in repr([type(layer) for layer in plain.layers])
    named = {layer.name for layer in model.layers}
    assert {layer.name for layer in plain.layers} == named
    assert plain.count_params() == model.count_params()
    # Ordinary in every other way: it is saved, and it trains.
    plain.save(tmp_path / "plain.keras")
    loaded = keras.saving.load_model(tmp_path / "plain.keras", safe_mode=True)
    assert_close(predict(loaded, x), expected)
    plain.compile("sgd", "mse", jit_compile=BACKEND != "torch")
    loss = plain.fit(x, np.zeros((5, 3)), verbose=0).history["loss"][0]
    assert np.isfinite(loss)
    assert_close(predict(hyper, [tiled, x]), expected)


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (residual_cnn, floats((8, 8, 2))),
        (encoder, padded_ids),
        (dicts, dicts_data),
        (nested, floats((4,), (4,))),
        (called_twice, floats((4, 4))),
    ],
)
def test_names_stay(make, data, rng):
    model = make()
    plain = kh.specialize(kh.hypernetize(model, SIZE, mode="delta"), vector(rng))
    assert {layer.name for layer in plain.layers} == {layer.name for layer in model.layers}
    found = keras.tree.map_structure(lambda tensor: tuple(tensor.shape), plain.output)
    assert found == keras.tree.map_structure(lambda tensor: tuple(tensor.shape), model.output)


def test_a_built_model(rng):
    model = kh.build(2, 3, [(3, 5), (5, 2)], hidden_sizes=[6])
    z, x = vector(rng, size=2), vector(rng, 4, 3)
    plain = kh.specialize(model, z)
    assert_close(predict(plain, x), predict(model, [np.repeat(z, 4, axis=0), x]))
    assert [type(layer) for layer in plain.layers[1:]] == [layers.Dense] * 2
    weights = kh.target_weights(model, z)
    assert_close(list(weights.values()), [v[None] for v in map(numpy_of, plain.weights)])


def test_the_weights_that_are_baked_in(rng):
    hyper, z, plain = small_pair(rng)
    weights = kh.target_weights(hyper, z)
    baked = {v.path: v for v in plain.trainable_variables}
    assert set(weights) == set(baked)
    for path, value in weights.items():
        np.testing.assert_allclose(value[0], numpy_of(baked[path].value), rtol=1e-6, atol=1e-7)


def test_a_hyper_model_in_a_larger_one(rng):
    inner = kh.hypernetize(settle(small(), rng), SIZE)
    code, image = keras.Input((2,), name="code"), keras.Input((6, 6, 1), name="image")
    z = layers.Dense(SIZE, name="encoder")(code)
    scaled = layers.Rescaling(0.5, name="scaled")(image)
    y = layers.Dense(2, name="after")(inner([z, scaled]))
    outer = keras.Model([code, image], y)
    given, x = vector(rng, 3, 2), rng.normal(size=(3, 6, 6, 1)).astype("float32")
    expected = predict(outer, [given, x])
    assert len(kh.target_weights(outer, given)) == 8
    for i in range(3):
        plain = kh.specialize(outer, {"code": given[i : i + 1]})
        assert "keras_hypernet" not in plain.to_json()
        assert "encoder" not in plain.to_json()
        assert_close(predict(plain, x[i : i + 1]), expected[i : i + 1])


def test_a_nested_hyper_model_used_for_two_conditions(rng):
    inner = kh.hypernetize(settle(small(), rng), SIZE)
    a, b = keras.Input((SIZE,), name="a"), keras.Input((SIZE,), name="b")
    image = keras.Input((6, 6, 1))
    outer = keras.Model([a, b, image], inner([a, image]) - inner([b, image]))
    za, zb = vector(rng), vector(rng)
    x = rng.normal(size=(1, 6, 6, 1)).astype("float32")
    plain = kh.specialize(outer, [za, zb])
    assert_close(predict(plain, x), predict(outer, [za, zb, x]))
    assert np.abs(predict(kh.specialize(outer, [za, za]), x)).max() < 1e-6


def test_refused(rng):
    hyper, z, plain = small_pair(rng)
    with pytest.raises(ValueError, match=r"`conditioning` must have one row.*\(2, 3\)"):
        kh.specialize(hyper, np.repeat(z, 2, axis=0))
    with pytest.raises(ValueError, match="must have generated weights"):
        kh.specialize(plain, z)
    with pytest.raises(ValueError, match="must be a functional model"):
        kh.specialize(layers.Dense(2), z)
    with pytest.raises(ValueError, match=r"one array for each of the inputs \['conditioning'\]"):
        kh.specialize(hyper, {"image": z})


# Without this package, and outside of Keras.

LOADS = """
    import sys

    class Refuse:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "keras_hypernet":
                raise ImportError(name)

    sys.meta_path.insert(0, Refuse())
    import keras
    import numpy as np

    model = keras.saving.load_model(sys.argv[1] + "/plain.keras", safe_mode=True)
    expected = np.load(sys.argv[1] + "/expected.npz")
    found = model.predict(expected["x"], verbose=0)
    np.testing.assert_allclose(found, expected["y"], rtol=1e-4, atol=1e-5)
    assert not any(name.startswith("keras_hypernet") for name in sys.modules)
    print("loaded")
"""


@pytest.mark.slow
def test_it_loads_without_this_package(rng, tmp_path):
    _, _, plain = small_pair(rng)
    x = rng.normal(size=(2, 6, 6, 1)).astype("float32")
    plain.save(tmp_path / "plain.keras")
    np.savez(tmp_path / "expected.npz", x=x, y=predict(plain, x))
    run = [sys.executable, "-c", textwrap.dedent(LOADS), str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.strip() == "loaded", done.stderr


def exported(rng):
    """Plain models to export, each with data and what it gives."""
    _, _, plain = small_pair(rng)
    built = kh.specialize(kh.build(2, 3, [(3, 5), (5, 2)], hidden_sizes=[6]), vector(rng, size=2))
    for model, shape in ((plain, (6, 6, 1)), (built, (3,))):
        x = rng.normal(size=(4, *shape)).astype("float32")
        yield model, x, predict(model, x)


@pytest.mark.skipif(BACKEND == "torch", reason="TensorFlow's format")
def test_saved_model(rng, tmp_path):
    import tensorflow as tf

    for model, x, expected in exported(rng):
        model.export(tmp_path / model.name, verbose=False)
        served = tf.saved_model.load(tmp_path / model.name)
        np.testing.assert_allclose(served.serve(x), expected, rtol=1e-4, atol=1e-5)


@only["torch"]
def test_torch_export(rng):
    import torch

    for model, x, expected in exported(rng):
        program = torch.export.export(model.eval(), (torch.as_tensor(x),)).module()
        found = program(torch.as_tensor(x)).detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_config_is_keras_own(rng):
    _, _, plain = small_pair(rng)

    def modules(config):
        if isinstance(config, dict):
            found = [config["module"]] if "module" in config else []
            return found + [m for value in config.values() for m in modules(value)]
        return [m for value in config for m in modules(value)] if isinstance(config, list) else []

    names = set(modules(json.loads(plain.to_json())))
    assert all(name is None or name.partition(".")[0] == "keras" for name in names), names


def test_new_names_are_free(rng):
    """A layer on two sets of weights becomes two; the second takes no other layer's name."""
    a, b, x = keras.Input((2,)), keras.Input((2,)), keras.Input((3,))
    generator = kh.WeightGenerator([(3, 3), (3,)], hidden_sizes=[4])
    layer = kh.Hyper(keras.layers.Dense(3, name="twice"))
    y = layer(layer(x, generator(a)), generator(b))
    model = keras.Model([a, b, x], layers.Dense(3, name="twice_1")(y))
    given, data = [vector(rng, size=2), vector(rng, size=2)], vector(rng, size=3)
    plain = kh.specialize(model, given)
    assert [layer.name for layer in plain.layers[1:]] == ["twice", "twice_2", "twice_1"]
    assert_close(predict(plain, data), predict(model, [*given, data]))


@features.with_unused_inputs
def test_nested_models_of_which_not_all_is_used(rng):
    """One output of a hyper model, all inputs of a plain one, and one layer in both."""
    shared = layers.Dense(3, name="shared")
    z, a, b = keras.Input((2,), name="z"), keras.Input((3,), name="a"), keras.Input((3,), name="b")
    weights = kh.WeightGenerator([(3, 3), (3,)], initialization="hyper_fan_in")(z)
    hyper = keras.Model(
        [z, a, b], [kh.Hyper(keras.layers.Dense(3))(a, weights), shared(b)], name="hyper"
    )
    c, d = keras.Input((3,), name="c"), keras.Input((3,), name="d")
    unused = keras.Model([c, d], shared(c), name="unused")
    code, x, y = keras.Input((2,)), keras.Input((3,), name="x"), keras.Input((3,), name="y")
    outer = keras.Model([code, x, y], unused([hyper([code, x, y])[0], y * 2.0]))
    given, data = vector(rng, size=2), [vector(rng, size=3), vector(rng, size=3)]
    plain = kh.specialize(outer, given)
    assert [tensor.name for tensor in plain.inputs] == ["x", "y"]
    assert_close(predict(plain, data), predict(outer, [given, *data]))
    assert {"hyper", "unused"} <= {layer.name for layer in plain.layers}
