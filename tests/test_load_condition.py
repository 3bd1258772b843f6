"""`load_condition`: generated weights in a plain model, one condition merged or several per row."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_hypernet as kh
from tests.backend import numpy_of
from tests.whole_models import SIZE, assert_close, blocks, encoder, floats, padded_ids, settle

ROWS = 4


def predict(model, inputs):
    """Compiled, so that what was compiled before must not be used."""
    return model.predict(inputs, verbose=0)


def pair(make, rng, **options):
    """A plain model, its hypernetwork, conditions, and the outputs of both."""
    model = settle(make(), rng)
    options = {"mode": "low_rank", "freeze": "all", "copy": False, **options}
    hyper = kh.hypernetize(model, SIZE, **options)
    for variable in hyper.trainable_variables:
        if all(variable is not v for v in model.variables):
            variable.assign(0.2 * rng.normal(size=variable.shape))
    return model, hyper, rng.normal(size=(ROWS, SIZE)).astype("float32")


def named():
    x = keras.Input((3, 4))
    y = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    return keras.Model(x, layers.Dense(2, name="head")(layers.Dense(4, name="first")(x + y)))


def adapted_block():
    model = blocks()
    model.get_layer("first").enable_lora(1)
    return model


def quantized():
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, name="one"), layers.Dense(2, name="two")]
    )
    model.quantize("int8")
    return model


CASES = {
    "named": (named, floats((3, 4)), {}),
    "named delta": (named, floats((3, 4)), {"mode": "delta"}),
    "blocks": (blocks, floats((3, 4)), {}),
    "blocks of a copy": (blocks, floats((3, 4)), {"copy": True}),
    "encoder": (encoder, padded_ids, {}),
    "scale": (blocks, floats((3, 4)), {"generate": "scale", "alpha": 2.0}),
    "adapter": (adapted_block, floats((3, 4)), {}),
    "quantized": (quantized, floats((6,)), {}),
}
MERGED = {
    **{n: case for n, case in CASES.items() if n not in ("adapter", "quantized")},
    "replace": (encoder, padded_ids, {"mode": "replace", "freeze": None, "copy": True}),
}

QUICK = ("named", "quantized")


def slow(name):
    return pytest.param(name, marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [n if n in QUICK else slow(n) for n in CASES])
def test_several_conditions_one_per_row(name, rng):
    make, draw, options = CASES[name]
    model, hyper, z = pair(make, rng, **options)
    x = draw(rng, ROWS)
    before, expected = predict(model, x), predict(hyper, [z, x])
    assert np.abs(before - expected).max() > 1e-3
    variables, weights = model.variables, [np.array(w) for w in model.get_weights()]
    loaded = kh.load_condition(model, hyper, z)
    assert_close(predict(model, x), expected)
    assert_close(ops.convert_to_numpy(model(ops.convert_to_tensor(x))), expected)
    # Other conditions of the same number, and of another one: each for a group of rows.
    loaded = kh.load_condition(model, hyper, z[::-1])
    assert_close(predict(model, x), predict(hyper, [z[::-1], x]))
    loaded = kh.load_condition(model, hyper, z[:2])
    assert_close(predict(model, x), predict(hyper, [np.repeat(z[:2], 2, axis=0), x]))
    assert len(model.get_weights()) == len(weights)  # as `EarlyStopping` takes them
    loaded.restore()
    assert_close(predict(model, x), before)
    assert [id(v) for v in model.variables] == [id(v) for v in variables]
    for value, old in zip(model.get_weights(), weights):
        np.testing.assert_array_equal(value, old)


@pytest.mark.parametrize("name", [n if n in QUICK else slow(n) for n in MERGED])
def test_one_condition_merged(name, rng):
    make, draw, options = MERGED[name]
    model, hyper, z = pair(make, rng, **options)
    x = draw(rng, 2)
    before = predict(model, x)
    expected = [predict(hyper, [np.repeat(z[i : i + 1], 2, axis=0), x]) for i in (0, 1)]
    with kh.load_condition(model, hyper, z[:1]):
        assert_close(predict(model, x), expected[0])
    assert_close(predict(model, x), before)
    first = kh.load_condition(model, hyper, z[:1])
    second = kh.load_condition(model, hyper, z[1:2])  # in place of the first
    assert_close(predict(model, x), expected[1])
    with pytest.raises(ValueError, match="restore what was loaded last"):
        first.restore()
    second.restore()
    assert_close(predict(model, x), before)


def test_it_goes_into_a_model_around_and_into_one_with_the_same_layers(rng):
    model, hyper, z = pair(named, rng)
    x = floats((3, 4))(rng, ROWS)
    expected = predict(hyper, [z, x])
    inputs = keras.Input((3, 4))
    around = keras.Model(inputs, layers.Rescaling(2.0)(model(inputs)))
    twin = named()
    twin.set_weights(model.get_weights())
    for target, factor in ((around, 2.0), (twin, 1.0)):
        with kh.load_condition(target, hyper, z):
            assert_close(predict(target, x), factor * expected)
        with kh.load_condition(target, hyper, z[1:2]):
            assert_close(predict(target, x)[1], factor * expected[1])
    assert_close(predict(hyper, [z, x]), expected)


def test_rows_are_in_no_file_and_their_model_trains(rng, tmp_path):
    model, hyper, z = pair(blocks, rng)
    x = floats((3, 4))(rng, ROWS)
    with kh.load_condition(model, hyper, z):
        model.save_weights(tmp_path / "loaded.weights.h5")
        model.trainable = True
        for variable in model.weights:
            variable.trainable = True
        model.compile("sgd", "mse")
        model.fit(x, np.zeros((ROWS, 3, 2)), verbose=0)
    twin = blocks()
    twin.load_weights(tmp_path / "loaded.weights.h5")


def test_refused(rng):
    model, hyper, z = pair(named, rng)
    x = floats((3, 4))(rng, ROWS)
    before = predict(model, x)
    other, wide = (
        keras.Sequential([keras.Input((n,)), layers.Dense(4, name="first")], name="chain")
        for n in (4, 5)
    )
    narrow = kh.hypernetize(other, SIZE, mode="low_rank")
    for target in (other, wide):
        for rows in (z, z[:1]):
            with pytest.raises(ValueError, match=r"a variable for each.*It lacks: .*attention/"):
                kh.load_condition(target, hyper, rows)
    with pytest.raises(ValueError, match=r"Other shapes: .*is \(5, 4\), here \(4, 4\)"):
        kh.load_condition(wide, narrow, z)
    whole = kh.hypernetize(other, SIZE)
    with pytest.raises(ValueError, match=r"must have a single row.*'first'"):
        kh.load_condition(other, whole, z)
    single = kh.hypernetize(other, SIZE, mode="low_rank", shared=True)
    with pytest.raises(ValueError, match="must have a single row"):
        kh.load_condition(other, single, z)
    with pytest.raises(ValueError, match="a row for each condition"):
        kh.load_condition(model, hyper, z[:0])
    with pytest.raises(ValueError, match="must have generated weights"):
        kh.load_condition(model, model, z)
    with pytest.raises((TypeError, ValueError), match="`target`"):
        kh.load_condition(layers.Dense(2), hyper, z)
    quant = quantized()
    quant_hyper = kh.hypernetize(quant, SIZE, mode="low_rank", copy=False)
    with pytest.raises(ValueError, match="quantized or has an adapter"):
        kh.load_condition(quant, quant_hyper, z[:1])
    assert_close(predict(model, x), before)
    loaded = kh.load_condition(model, hyper, z)
    with pytest.raises(ValueError, match="must divide the rows of `x`"):
        model(x[:3])
    again = kh.load_condition(model, hyper, z)
    with pytest.raises(ValueError, match="restore what was loaded last"):
        loaded.restore()
    again.restore()
    with pytest.raises(ValueError, match="`restore` was called"):
        again.restore()


def test_weights_that_a_layer_has_twice(rng):
    """A layer that is called with two sets of weights has no set of its own."""
    inner = kh.hypernetize(blocks(), SIZE, mode="low_rank")
    a, b, x = keras.Input((SIZE,)), keras.Input((SIZE,)), keras.Input((3, 4))
    outer = keras.Model([a, b, x], inner([a, x]) + inner([b, x]))
    z = rng.normal(size=(2, SIZE))
    with pytest.raises(ValueError, match="one set of generated weights for each layer"):
        kh.load_condition(blocks(), outer, [z, z])


def test_models_inside_and_around(rng):
    """What they compile meanwhile is not what they do afterwards."""
    model, hyper, z = pair(named, rng)
    x = floats((3, 4))(rng, ROWS)
    inputs = keras.Input((3, 4))
    outer = keras.Model(inputs, layers.Rescaling(2.0)(model(inputs)))
    before, expected = predict(model, x), predict(hyper, [z, x])
    for _ in range(2):
        with kh.load_condition(outer, hyper, z):
            assert_close(predict(model, x), expected)
            assert_close(predict(outer, x), 2.0 * expected)
            assert_close(predict(hyper, [z, x]), expected)
        assert_close(predict(model, x), before)
        assert_close(predict(outer, x), 2.0 * before)


@pytest.mark.parametrize("generate", ["up", "both"])
def test_again_after_training(generate, rng):
    """Nothing of the hypernetwork is left in what was compiled."""
    model, hyper, z = pair(named, rng, copy=True, generate=generate)
    x = floats((3, 4))(rng, ROWS)
    kh.load_condition(model, hyper, z)
    first = predict(model, x)
    hyper.compile(keras.optimizers.SGD(0.1), "mse")
    hyper.fit([z, x], np.ones((ROWS, 3, 2)), verbose=0)
    expected = keras.Model.predict(hyper, [z, x], verbose=0)
    assert np.abs(first - expected).max() > 1e-4
    kh.load_condition(model, hyper, z)
    assert_close(predict(model, x), expected)


def test_a_base_that_is_not_the_targets(rng):
    """As one that was trained in a copy: one and several conditions would come to other models."""
    model, hyper, z = pair(named, rng, copy=True, freeze=None)
    x = floats((3, 4))(rng, ROWS)
    before = predict(model, x)
    for rows in (z[:1], z):
        with pytest.raises(ValueError, match=r"beside what is generated.*Others: .*attention/"):
            kh.load_condition(model, hyper, rows)
    assert_close(predict(model, x), before)
    replaced = kh.hypernetize(model, SIZE, select="*/kernel")
    replaced.get_layer("first_weights").ordinary["bias"].assign(np.ones(4))
    with pytest.raises(ValueError, match=r"Others: \['first/bias'\]"):
        kh.load_condition(model, replaced, z[:1])


def test_blocks_do_not_nest(rng):
    model, hyper, z = pair(named, rng)
    x = floats((3, 4))(rng, ROWS)
    before = predict(model, x)
    with kh.load_condition(model, hyper, z[:1]):
        first = predict(model, x)
        for rows in (z, z[1:2]):
            with pytest.raises(ValueError, match="conditions do not nest"):
                kh.load_condition(model, hyper, rows)
        assert_close(predict(model, x), first)
    assert_close(predict(model, x), before)

    def fails():
        with kh.load_condition(model, hyper, z) as loaded:
            loaded.restore()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):  # an error in a block is what it was
        fails()
    assert_close(predict(model, x), before)


def test_a_chain_is_saved_and_copied_while_rows_are_loaded(rng, tmp_path):
    chain = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="a")], name="chain")
    hyper = kh.hypernetize(chain, SIZE, mode="low_rank", freeze="all")
    with kh.load_condition(chain, hyper, rng.normal(size=(2, SIZE))):
        assert [layer.name for layer in chain.layers] == ["a"]
        chain.save(tmp_path / "chain.keras")
        keras.models.clone_model(chain)
    keras.saving.load_model(tmp_path / "chain.keras")


@pytest.mark.parametrize("how", ["int8", "adapter"])
def test_a_target_that_nothing_can_be_merged_into(how, rng):
    model, hyper, z = pair(named, rng, copy=True)
    x = floats((3, 4))(rng, ROWS)
    dense = model.get_layer("first")
    dense.quantize("int8") if how == "int8" else dense.enable_lora(1)
    with pytest.raises(ValueError, match=r"Quantized or with an adapter: .*first/"):
        kh.load_condition(model, hyper, z[:1])
    with kh.load_condition(model, hyper, z):
        several = predict(model, x)
    tolerance = 0.1 if how == "int8" else 1e-5
    assert_close(several, predict(hyper, [z, x]), tolerance, tolerance)


# Text of several users at a time.


def generated(lm, token_ids, prompt):
    padding_mask = np.zeros_like(token_ids)
    padding_mask[:, :prompt] = 1
    inputs = {"token_ids": token_ids.copy(), "padding_mask": padding_mask}
    return lm.generate(inputs, stop_token_ids=None)["token_ids"]


SIZES = {"vocabulary_size": 30, "num_layers": 2, "hidden_dim": 8, "intermediate_dim": 16}


def gpt2(models):
    return models.GPT2Backbone(num_heads=2, max_sequence_length=8, **SIZES), models.GPT2CausalLM


def gemma(models):
    heads = {"num_query_heads": 2, "num_key_value_heads": 1, "head_dim": 4}
    return models.GemmaBackbone(**heads, **SIZES), models.GemmaCausalLM


def llama(models):
    heads = {"num_query_heads": 2, "num_key_value_heads": 1}
    return models.LlamaBackbone(**heads, **SIZES), models.LlamaCausalLM


@pytest.fixture(scope="module")
def models():
    reason = 'pip install "keras-hypernet[keras-hub]"'
    return pytest.importorskip("keras_hub", reason=reason, exc_type=ImportError).models


@pytest.mark.parametrize(
    ("make", "sampler"),
    [
        (gpt2, "greedy"),
        pytest.param(gpt2, "beam", marks=pytest.mark.slow),
        pytest.param(gemma, "greedy", marks=pytest.mark.slow),
        pytest.param(llama, "greedy", marks=pytest.mark.slow),
    ],
)
def test_different_users_generate_in_one_batch(make, sampler, models, rng):
    backbone, task = make(models)
    lm = task(settle(backbone, rng))
    _, hyper, _ = pair(lambda: backbone, rng, rank=2)
    lm.compile(sampler=sampler)
    token_ids = np.zeros((ROWS, 8), "int32")
    token_ids[:, :3] = [1, 2, 3]
    users = 3 * rng.normal(size=(ROWS, SIZE))
    before = generated(lm, token_ids, 3)
    one_by_one = []
    for user in users:
        with kh.load_condition(lm, hyper, user[None]):
            one_by_one.append(generated(lm, token_ids[:1], 3)[0])
    assert len({tuple(row) for row in one_by_one}) > 1
    for order in (slice(None), slice(None, None, -1)):
        loaded = kh.load_condition(lm, hyper, users[order])
        function = lm.generate_function
        found = generated(lm, token_ids, 3)
        np.testing.assert_array_equal(found, np.stack(one_by_one)[order])
    assert function is lm.generate_function  # nothing was compiled anew
    loaded.restore()
    np.testing.assert_array_equal(generated(lm, token_ids, 3), before)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("mode", ["low_rank", "delta"])
@pytest.mark.parametrize("how", ["int8", "adapter"])
def test_rows_over_adapted_layers_with_biases(how, mode, rng):
    options = {"bias_initializer": "ones", "activation": "tanh"}
    target = keras.Sequential([keras.Input((3,)), layers.Dense(4, **options), layers.Dense(2)])
    target.layers[1].bias.assign([1.0, -2.0])
    if how == "int8":
        target.quantize("int8")
    else:
        for layer in target.layers:
            layer.enable_lora(1)
    select = None if mode == "low_rank" else ["*/kernel", "*/bias"]
    model = kh.hypernetize(target, SIZE, mode=mode, copy=False, select=select)
    base = {id(variable) for variable in target.variables}
    for variable in model.trainable_variables:
        if id(variable) not in base:
            variable.assign(0.3 * rng.normal(size=variable.shape))
    z, x = (rng.normal(size=(4, size)).astype("float32") for size in (SIZE, 3))
    expected = numpy_of(model([z, x]))
    with kh.load_condition(target, model, z):
        np.testing.assert_allclose(numpy_of(target(x)), expected, rtol=1e-5, atol=1e-5)
    assert np.abs(numpy_of(target(x)) - expected).max() > 1e-2
