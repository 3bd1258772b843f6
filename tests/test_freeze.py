"""`hypernetize(freeze=...)`: what is trained, what a step changes, what files and copies keep."""

import re

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_hypernet as kh
from tests.backend import BACKEND
from tests.whole_models import SIZE, Batches, compiled, settle

ROWS = 4


def mixed():
    """A layer to select, and one of each kind of the others; `block` has a norm inside."""
    x = data = keras.Input((5, 4), name="data")
    y = layers.Dense(4, name="one")(x)
    y = layers.MultiHeadAttention(2, 2, name="attention")(y, y)
    y = layers.BatchNormalization(name="norm")(y)
    inner = [keras.Input((5, 4)), layers.Dense(3, name="two"), Block(name="block")]
    y = keras.Sequential(inner, name="nested")(y)
    y = layers.LSTM(2, name="lstm")(y)
    return keras.Model(data, layers.Dense(2, name="head")(y), name="mixed")


@keras.saving.register_keras_serializable(package="tests")
class Block(layers.Layer):
    """A custom layer of layers, whose config does not say which of them are trained."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(3, name="dense")
        self.inner_norm = layers.BatchNormalization(center=False, scale=False, name="inner_norm")

    def build(self, x_shape):
        self.dense.build(x_shape)
        self.inner_norm.build(x_shape)

    def call(self, x, training=None):
        return self.inner_norm(self.dense(x), training=training)


def conditioned(mode="delta", freeze=None, select="one/kernel", **options):
    """A hypernetized model with a layer of the user's own in front."""
    conditions = keras.Input((SIZE,), name="conditions")
    return kh.hypernetize(
        settle(mixed(), np.random.default_rng(1)),
        conditioning=layers.Dense(3, name="front")(conditions),
        mode=mode,
        select=select,
        freeze=freeze,
        **options,
    )


def name_of(path):
    """A path without the numbers and prefixes that a process gives."""
    return re.sub(r"^(own|nested)/", "", re.sub(r"_\d+(?=/|$)", "", path))


def trained(model):
    return {name_of(v.path) for v in model.trainable_variables}


def names(*groups):
    return {f"{layer}/{name}" for layer, found in groups for name in found.split()}


GENERATOR = names(
    ("front", "kernel bias"),
    ("conditioning_features/hidden", "kernel bias"),
    ("one_generator/head", "kernel bias"),
)
BASE = {"one/kernel"}
KEPT = {"one/bias"}
OTHERS = names(
    *[(f"attention/{part}", "kernel bias") for part in ("query", "key", "value")],
    ("attention/attention_output", "kernel bias"),
    ("norm", "gamma beta"),
    ("two", "kernel bias"),
    ("block/dense", "kernel bias"),
    ("lstm/lstm_cell", "kernel recurrent_kernel bias"),
    ("head", "kernel bias"),
)
ALL_TRAINED = GENERATOR | KEPT | OTHERS
EXPECTED = {
    ("replace", None): GENERATOR | OTHERS | {"one_weights/bias"},
    ("replace", "all"): GENERATOR,
    ("delta", None): ALL_TRAINED | BASE,
    ("delta", "base"): ALL_TRAINED,
    ("delta", "all"): GENERATOR,
    ("low_rank", None): ALL_TRAINED | BASE,
    ("low_rank", "base"): ALL_TRAINED,
    ("low_rank", "all"): GENERATOR,
}


def values(model):
    return {id(v): np.array(ops.convert_to_numpy(v)) for v in model.weights}


def step(model, rng):
    """Two steps of training: a generator of changes starts at zero, and its trunk moves second."""
    inputs = [rng.normal(size=(ROWS, *shape)).astype("float32") for shape in ((SIZE,), (5, 4))]
    y = rng.normal(size=(ROWS, 2)).astype("float32")
    compiled(model).fit(Batches(inputs, y), verbose=0)
    return inputs


@pytest.mark.parametrize(("mode", "freeze"), EXPECTED)
def test_what_is_trained_and_what_a_step_changes(mode, freeze, rng, tmp_path):
    model, expected = conditioned(mode, freeze), EXPECTED[mode, freeze]
    assert trained(model) == expected
    before = values(model)
    inputs = step(model, rng)
    after = values(model)
    changed = {name_of(v.path) for v in model.weights if (before[id(v)] != after[id(v)]).any()}
    statistics = {n for n in changed if "moving_" in n}
    assert changed - statistics == expected
    assert len(statistics) == (0 if freeze == "all" else 4)

    for again in (
        keras.models.clone_model(model),
        keras.Model.from_config(model.get_config()),
        saved_and_loaded(model, tmp_path),
    ):
        assert trained(again) == expected
    step(again, rng)  # the loaded one
    for old, new in zip(model.weights, again.weights, strict=True):
        if freeze == "all" and name_of(old.path) not in expected:
            np.testing.assert_array_equal(after[id(old)], ops.convert_to_numpy(new))
    if BACKEND != "jax":
        check_specialized(model, inputs, freeze)


def saved_and_loaded(model, tmp_path):
    """Keras warns where the variables of a loaded optimizer are not those of the saved one."""
    model.save(tmp_path / "model.keras")
    return keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)


def check_specialized(model, inputs, freeze):
    """A plain model of one condition has Keras' own layers, held as they were."""
    plain = kh.specialize(model, inputs[0][:1])
    assert isinstance(plain.get_layer("attention"), layers.MultiHeadAttention)
    assert bool(plain.trainable_variables) == (freeze != "all")
    expected = model([x[:1] for x in inputs])
    found = plain(inputs[1][:1])
    np.testing.assert_allclose(
        ops.convert_to_numpy(found), ops.convert_to_numpy(expected), rtol=1e-4, atol=1e-5
    )


def plain_mlp():
    parts = [keras.Input((4,)), layers.Dense(3, name="one"), layers.BatchNormalization(name="norm")]
    return keras.Sequential([*parts, layers.Dense(2, name="two")])


@pytest.mark.parametrize("mode", ["replace", "delta"])
def test_all_of_a_model_that_is_selected_as_a_whole(mode, rng):
    model = kh.hypernetize(plain_mlp(), SIZE, mode=mode, freeze="all")
    assert not [v.path for v in model.trainable_variables if "generator" not in v.path][2:]
    statistics = [v for v in model.weights if "moving_" in v.path]
    before = [np.array(ops.convert_to_numpy(v)) for v in statistics]
    data = [rng.normal(size=(ROWS, n)).astype("float32") for n in (SIZE, 4, 2)]
    compiled(model).fit(Batches(data[:2], data[2]), verbose=0)
    assert len(statistics) == 2
    for variable, value in zip(statistics, before):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)
    if mode == "replace":  # nothing stands between a generator and its layer where nothing is added
        between = [layer.name for layer in model.layers if type(layer).__name__ == "LayerWeights"]
        assert between == ["norm_weights"]


@pytest.mark.parametrize("initialization", ["bias_hyper_init", None])
def test_gates_and_a_given_generator_are_trained(initialization):
    """There are gates only where changes do not start at zero."""
    model = kh.hypernetize(
        plain_mlp(),
        SIZE,
        generator=lambda spec: kh.ChunkedWeightGenerator(
            spec, 5, 2, hidden_sizes=[3], initialization=initialization
        ),
        mode="delta",
        freeze="all",
    )
    own = {name for name in trained(model) if "chunked_weight_generator" not in name}
    gated = ("one", "norm", "two") if initialization is None else ()
    assert own == {f"{name}/gates" for name in gated}
    generator = next(x for x in model.layers if isinstance(x, kh.ChunkedWeightGenerator))
    assert all(v.trainable for v in generator.trainable_variables)
    assert len(generator.trainable_variables) + len(gated) == len(model.trainable_variables)


def test_statistics_in_a_wrapped_block_are_held(rng, tmp_path):
    for freeze in (None, "all"):
        x = keras.Input((3,))
        block = keras.Model(x, Block(name="block")(x))
        options = {"shared": True, "select": "*/dense/*", "freeze": freeze}
        model = kh.hypernetize(block, SIZE, **options)
        for again in (model, saved_and_loaded(model, tmp_path)):
            state = [v for v in again.get_layer("block").variables if "moving" in v.path]
            before = [np.array(ops.convert_to_numpy(v)) for v in state]
            inputs = [rng.normal(size=(n, 3)).astype("float32") for n in (1, ROWS)]
            compiled(again).fit(Batches(inputs, inputs[1]), verbose=0)
            same = [np.array_equal(a, ops.convert_to_numpy(v)) for a, v in zip(before, state)]
            assert same == [freeze == "all"] * 2


def test_a_wrapper_hands_its_flag_down_to_what_it_wraps():
    layer = Block()
    layer.build((None, 3))
    wrapper = kh.Hyper(layer, shared=True, copy=False)
    layer.inner_norm.trainable = False
    wrapper.trainable = True  # as it was: nothing changes inside
    assert [x.trainable for x in (layer, layer.dense, layer.inner_norm)] == [True, True, False]
    for flag in (False, True):
        wrapper.trainable = flag
        assert [x.trainable for x in (layer, layer.dense, layer.inner_norm)] == [flag] * 3


def test_masks_go_through_a_layer_that_is_held(rng):
    ids = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True, name="table")(ids)
    x = layers.MultiHeadAttention(2, 2, name="attention")(x, x)
    x = layers.LSTM(3, name="lstm")(x)
    given = keras.Model(ids, layers.Dense(2, name="head")(x))
    model = kh.hypernetize(given, SIZE, mode="delta", select="head/*", freeze="all")
    data = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 0, 0, 0, 0]], "int32")
    found = model([rng.normal(size=(2, SIZE)).astype("float32"), data])
    np.testing.assert_allclose(
        ops.convert_to_numpy(found), ops.convert_to_numpy(given(data)), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("value", [True, False, "Base", "everything", 1, ("all",)])
def test_other_values_are_refused(value):
    with pytest.raises(ValueError, match=r"`freeze` must be one of.*None.*'base'.*'all'"):
        kh.hypernetize(plain_mlp(), SIZE, mode="delta", freeze=value)
