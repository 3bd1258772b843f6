"""Hypernetworks inside larger graphs."""

import copy

import keras
import numpy as np
import pytest
from keras import ops

import keras_hypernet as kh
from keras_hypernet.utils.naming import unique_name
from tests.backend import BACKEND, numpy_of


def small(name=None, **options):
    return kh.build(
        **{"conditioning_size": 4, "input_size": 3, **options},
        target_layer_sizes=[(3, 6), (6, 2)],
        hidden_sizes=[5],
        name=name,
    )


def data(rng, rows=8):
    c, x = rng.normal(size=(rows, 4)), rng.normal(size=(rows, 3))
    return [c.astype("float32"), x.astype("float32")], rng.normal(size=(rows, 2)).astype("float32")


def assert_trains_and_reloads(model, inputs, y, tmp_path):
    model.compile(keras.optimizers.Adam(0.01), "mse")
    before = [ops.convert_to_numpy(v) for v in model.trainable_variables]
    history = model.fit(inputs, y, epochs=15, batch_size=5, verbose=0).history["loss"]
    assert history[-1] < history[0]
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert np.any(ops.convert_to_numpy(variable) != old), variable.path
    assert len({v.path for v in model.variables}) == len(model.variables)
    expected = model.predict(inputs, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for a, b in zip(
        keras.tree.flatten(loaded.predict(inputs, verbose=0)),
        keras.tree.flatten(expected),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    assert len({v.path for v in loaded.variables}) == len(loaded.variables)


def test_conditioning_computed_by_a_cnn(rng, tmp_path):
    image, x = keras.Input((8, 8, 1)), keras.Input((3,))
    features = keras.layers.Conv2D(4, 3, activation="relu")(image)
    features = keras.layers.GlobalAveragePooling2D()(features)
    hyper = small(conditioning=features, data_input=x, conditioning_size=None, input_size=None)
    model = keras.Model(hyper.inputs, keras.layers.Dense(2)(hyper.output))
    (_, x), y = data(rng)
    images = rng.normal(size=(8, 8, 8, 1)).astype("float32")
    assert_trains_and_reloads(model, [images, x], y, tmp_path)


def test_two_hypernetworks_share_a_trunk(rng, tmp_path):
    z, x = keras.Input((4,)), keras.Input((3,))
    trunk = keras.layers.Dense(5, activation="tanh")(z)
    one = small("one", conditioning=trunk, data_input=x, conditioning_size=5)
    two = small("two", conditioning=trunk, data_input=x, conditioning_size=5)
    model = keras.Model([z, x], [one.output, two.output])
    inputs, y = data(rng)
    assert_trains_and_reloads(model, inputs, [y, -y], tmp_path)


def test_called_as_a_model_in_a_model(rng, tmp_path):
    z, x = keras.Input((4,)), keras.Input((3,))
    y = small()([z, keras.layers.Dense(3)(x)]) + small()({"conditioning": z, "data_input": x})
    inputs, target = data(rng)
    assert_trains_and_reloads(keras.Model([z, x], y), inputs, target, tmp_path)


def test_one_generator_for_two_layers(rng, tmp_path):
    z, x = keras.Input((4,)), keras.Input((3,))
    weights = kh.WeightGenerator([(3, 3), (3,)], hidden_sizes=[5])(z)
    y = kh.Hyper(keras.layers.Dense(3, activation="tanh"))(x, weights)
    y = kh.Hyper(keras.layers.Dense(3))(y, weights)
    model = keras.Model([z, x], keras.layers.Dense(2)(y))
    inputs, target = data(rng)
    assert_trains_and_reloads(model, inputs, target, tmp_path)


def test_masks_pass_through(rng):
    tokens, z = keras.Input((6,), dtype="int32"), keras.Input((4,))
    x = keras.layers.Embedding(9, 3, mask_zero=True)(tokens)
    dense = kh.Hyper(keras.layers.Dense(3))(x, kh.build_weight_generator(z, 3, 3))
    y = kh.ApplyGeneratedWeights([(3, 3)])(dense, [kh.build_weight_generator(z, 3, 3)])
    # Without its mask, the mean would depend on the padding.
    model = keras.Model([tokens, z], keras.layers.GlobalAveragePooling1D()(y))
    conditioning = rng.normal(size=(1, 4)).astype("float32")
    short = model([np.array([[1, 2, 3, 0, 0, 0]]), conditioning])
    whole = model([np.array([[1, 2, 3, 1, 2, 3]]), conditioning])
    np.testing.assert_allclose(numpy_of(short), numpy_of(whole), rtol=1e-5)


@keras.saving.register_keras_serializable(package="keras_hypernet_tests")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hyper = small()
        self.generator = kh.WeightGenerator([(2, 2), (2,)], hidden_sizes=[5], factored=True)
        self.dense = kh.Hyper(keras.layers.Dense(2))

    def call(self, inputs):
        return self.dense(self.hyper(inputs), self.generator(inputs[0]))


def test_in_a_subclassed_model(rng, tmp_path):
    model = Subclassed()
    inputs, y = data(rng)
    model([inputs[0][:1], inputs[1][:1]])  # built on one row, trained on more
    assert_trains_and_reloads(model, inputs, y, tmp_path)


def test_a_subclassed_model_that_fit_builds(rng, tmp_path):
    inputs, y = data(rng)
    model = Subclassed()
    model.compile("adam", "mse")
    model.fit(inputs, y, batch_size=3, verbose=0)
    assert len(model.trainable_variables) == 12


def test_clone(rng):
    model, (inputs, _) = small("hyper"), data(rng)
    clone = keras.models.clone_model(model)
    assert [layer.name for layer in clone.layers] == [layer.name for layer in model.layers]
    assert not {v.path for v in clone.variables} & {v.path for v in model.variables}
    clone.set_weights(model.get_weights())
    expected = model.predict(inputs, verbose=0)
    np.testing.assert_array_equal(clone.predict(inputs, verbose=0), expected)


def test_deepcopy(rng):
    model, (inputs, _) = small("hyper"), data(rng)
    twin = copy.deepcopy(model)
    expected = model.predict(inputs, verbose=0)
    np.testing.assert_array_equal(twin.predict(inputs, verbose=0), expected)
    twin.set_weights([w + 1 for w in twin.get_weights()])
    np.testing.assert_array_equal(model.predict(inputs, verbose=0), expected)


def test_stateless_call(rng):
    model, (inputs, _) = small(batch_normalization=True), data(rng)
    trainable = [ops.convert_to_tensor(v) + 0.1 for v in model.trainable_variables]
    state = [ops.convert_to_tensor(v) for v in model.non_trainable_variables]
    y, new_state = model.stateless_call(trainable, state, inputs, training=True)
    assert any(np.any(numpy_of(a) != numpy_of(b)) for a, b in zip(state, new_state, strict=True))
    for variable, old in zip(model.non_trainable_variables, state, strict=True):
        np.testing.assert_array_equal(numpy_of(variable.value), numpy_of(old))
    model.set_weights([w + 0.1 if w.trainable else w for w in model.weights])
    np.testing.assert_allclose(numpy_of(model(inputs, training=True)), numpy_of(y), rtol=1e-5)


def two_in_one_graph(one=None, two=None):
    one, two = one or small(), two or small()
    z, x = keras.Input((4,)), keras.Input((3,))
    return keras.Model([z, x], one([z, x]) + two([z, x]))


def test_no_two_hypernetworks_share_a_variable_path(rng, tmp_path):
    """On PyTorch colliding paths are never zeroed: the second gradient is twice the first."""
    one = small()
    for name in ("a", "b"):
        small(name).save(tmp_path / f"{name}.keras")
    keras.utils.clear_session()  # Keras starts its own numbering again
    loaded = [keras.saving.load_model(tmp_path / f"{name}.keras") for name in ("a", "b")]
    inputs, y = data(rng)
    for pair in ((None, None), (one, small("other")), loaded):
        model = two_in_one_graph(*pair)
        paths = [v.path for v in model.variables]
        assert len(set(paths)) == len(paths)
        if BACKEND == "torch":
            assert gradients_of_two_steps_are_equal(model, inputs, y)
            model.save(tmp_path / "two.keras")
            again = keras.saving.load_model(tmp_path / "two.keras")
            assert gradients_of_two_steps_are_equal(again, inputs, y)


def gradients_of_two_steps_are_equal(model, inputs, y):
    model.compile(keras.optimizers.SGD(0.0), "mse")
    found = []
    for _ in range(2):
        model.train_on_batch(inputs, y)
        found.append([v.value.grad.clone().numpy() for v in model.trainable_variables])
    return all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def target(*between):
    layers = [keras.layers.Dense(4, name="hidden"), *between, keras.layers.Dense(2, name="out")]
    return keras.Sequential([keras.Input((3,)), *layers])


HYPERNETIZED = [
    {"mode": "delta"},
    {"mode": "low_rank", "rank": 1},
    {"select": ["*/kernel", "*/gamma"]},
    {"generator": lambda spec: kh.ChunkedWeightGenerator(spec, 5, batch_normalization=True)},
]


def twice_in_one_graph(model, other):
    """The sum of two models of one file."""
    other.name = "other"
    inputs = [keras.Input(x.shape[1:]) for x in model.inputs]
    return keras.Model(inputs, model(inputs) + other(inputs))


@pytest.mark.parametrize("options", HYPERNETIZED)
def test_one_file_loaded_twice_trains_both_alike(options, rng, tmp_path):
    path = tmp_path / "model.keras"
    norms = [] if "rank" in options else [keras.layers.BatchNormalization(name="norm")]
    kh.hypernetize(target(*norms), 4, **options).save(path)
    members = [keras.saving.load_model(path) for _ in range(2)]
    again = kh.hypernetize(target(*norms), 4, **options)
    paths = [v.path for member in (*members, again) for v in member.variables]
    assert len(set(paths)) == len(paths)
    model = twice_in_one_graph(*members)
    model.compile(keras.optimizers.SGD(0.001), "mse")
    inputs, y = data(rng)
    model.fit(inputs, y, epochs=4, verbose=0)
    for one, other in zip(*(member.get_weights() for member in members), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.skipif(BACKEND != "torch", reason="other backends do not go by paths")
def test_paths_of_keras_that_train_wrongly_are_refused(rng, tmp_path):
    """A layer that is not generated is Keras' own, and has the path that its name says."""
    path = tmp_path / "model.keras"
    kh.hypernetize(target(), 4, select="hidden/*").save(path)
    one, other = [keras.saving.load_model(path) for _ in range(2)]
    inputs, y = data(rng)
    model = twice_in_one_graph(one, other)
    model.predict(inputs, verbose=0)  # without training it is right
    for jit_compile in (False, True):
        model.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=jit_compile)
        before = model.get_weights()
        with pytest.raises(ValueError, match=r"more than once: \['out/kernel', 'out/bias'\]"):
            model.fit(inputs, y, verbose=0)
        for value, old in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(value, old)

    def renamed(layer):  # as the message says
        return type(layer).from_config({**layer.get_config(), "name": f"other_{layer.name}"})

    third = keras.models.clone_model(other, clone_function=renamed)
    third.set_weights(other.get_weights())
    model = twice_in_one_graph(one, third)
    model.compile(keras.optimizers.SGD(0.05), "mse")
    model.fit(inputs, y, epochs=4, verbose=0)
    for first, second in zip(one.get_weights(), third.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)


def test_names_in_paths_are_numbered_per_process():
    names = [unique_name("head"), unique_name("head")]
    keras.utils.clear_session()
    names.append(unique_name("head"))
    assert len(set(names)) == 3
    assert names[0].startswith("head_")


def test_names_in_no_path_are_numbered_per_session():
    """As Keras' own: a script gives the same names again after `clear_session`."""
    found = []
    for _ in range(2):
        keras.utils.clear_session()
        model, second = (kh.hypernetize(target(), 4) for _ in range(2))
        assert model.name != second.name
        found.append([model.name, second.name, *(layer.name for layer in model.layers)])
    assert found[0] == found[1]
    path = {name for v in model.variables for name in v.path.split("/")}
    assert not path & {model.name, *(x.name for x in model.inputs)}


@pytest.mark.parametrize("how", ["made", "loaded", "hypernetized"])
def test_models_from_before_and_after_a_cleared_session_train_in_one_graph(how, rng, tmp_path):
    small("file").save(tmp_path / "file.keras")
    made = {
        "made": lambda: small("made"),
        "loaded": lambda: keras.saving.load_model(tmp_path / "file.keras"),
        "hypernetized": lambda: kh.hypernetize(target(keras.layers.BatchNormalization()), 4),
    }[how]
    before = made()
    keras.utils.clear_session()
    after = made()
    model = twice_in_one_graph(before, after)
    paths = [v.path for v in model.variables]
    assert len(set(paths)) == len(paths)
    if BACKEND == "torch":
        inputs, y = data(rng)
        assert gradients_of_two_steps_are_equal(model, inputs, y)


def test_kinds_of_which_one_got_a_single_row(rng):
    """A row for all and a row for each give a row for each."""
    spec = kh.WeightSpec.from_shapes([(3, 4), (4,), (5, 6), (6,)])
    plan = kh.plan_chunks(spec, 10**6, hidden_sizes=[4], embedding_size=2)
    generator = kh.StructuredWeightGenerator(plan, chunk_embeddings="given", hidden_sizes=[4])
    names = [n for n in generator.accepted_inputs if n.startswith("chunk_embeddings/")]
    assert len(names) > 1
    rows = dict(zip(names, [1, *[3] * (len(names) - 1)]))
    given = {
        name: rng.normal(size=(rows[name], plan.kinds[name.partition("/")[2]].number, 2)).astype(
            "float32"
        )
        for name in names
    }
    full = {name: np.broadcast_to(x, (3, *x.shape[1:])) for name, x in given.items()}
    np.testing.assert_allclose(
        ops.convert_to_numpy(generator(given)), ops.convert_to_numpy(generator(full)), rtol=1e-5
    )
