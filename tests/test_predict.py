"""`predict` of a `HyperModel`: each condition's weights are generated once."""

import concurrent.futures

import keras
import numpy as np
import pytest
from keras import layers

import keras_hypernet as kh
from keras_hypernet.models import once_per_condition
from tests.backend import BACKEND
from tests.whole_models import SIZE, assert_close, dicts, encoder, floats, padded_ids, settle

ROWS, USERS = 100, 5


@keras.saving.register_keras_serializable(package="tests")
class RowsSeen(layers.Layer):
    """Notes how many rows come by in a step that is run, though not in one that is traced."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seen = self.add_weight((), initializer="zeros", trainable=False, name="seen")
        self.built = True

    def call(self, x):
        self.seen.assign(self.seen + keras.ops.cast(keras.ops.shape(x)[0], "float32"))
        return x


def counted(make, **options):
    """A hypernetwork, and the layer that counts rows in front of its generator."""
    z, counter = keras.Input((SIZE,), name="z"), RowsSeen()
    hyper = kh.hypernetize(make(), conditioning=counter(z), **options)
    return hyper, counter


def rows_of(rng, data):
    """Conditions and data: few conditions, in no order."""
    users = rng.normal(size=(USERS, SIZE)).astype("float32")
    x = data(rng, ROWS)
    return users[rng.integers(USERS, size=ROWS)], [x[n] for n in sorted(x)] if isinstance(
        x, dict
    ) else [x]


def plainly(model, inputs):
    """As a model of Keras predicts."""
    return keras.Model.predict(model, inputs, verbose=0)


CASES = {
    "replace": (encoder, padded_ids, {}),
    "film": (encoder, padded_ids, {"select": ["*/gamma", "*/beta"]}),
    "low rank": (encoder, padded_ids, {"mode": "low_rank"}),
    "the layers themselves": (encoder, padded_ids, {"mode": "delta", "copy": False}),
    "dicts": (
        dicts,
        lambda rng, rows: dict(zip(("series", "vector"), floats((4, 5), (3,))(rng, rows))),
        {},
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        name
        if name in ("low rank", "several inputs")
        else pytest.param(name, marks=pytest.mark.slow)
        for name in CASES
    ],
)
def test_each_condition_is_generated_once(name, rng, tmp_path):
    make, data, options = CASES[name]
    model, counter = counted(make, **options)
    settle(model, rng)
    z, x = rows_of(rng, data)
    inputs = [z, *x]
    expected = plainly(model, inputs)
    counter.seen.assign(0)
    assert_close(model.predict(inputs, verbose=0), expected)
    assert float(counter.seen.value) == USERS
    named = {symbol.name: array for symbol, array in zip(model.inputs, inputs)}
    assert_close(model.predict(named, batch_size=7, verbose=0), expected)
    # After training, weights are others.
    for variable in model.trainable_variables:
        variable.assign(1.5 * variable)
    trained = plainly(model, inputs)
    assert np.abs(keras.tree.flatten(trained)[0] - keras.tree.flatten(expected)[0]).max() > 1e-3
    assert_close(model.predict(inputs, verbose=0), trained)


@pytest.mark.slow
def test_it_is_so_after_fit_and_in_a_file(rng, tmp_path):
    model, _ = counted(encoder, mode="low_rank")
    settle(model, rng)
    z, x = rows_of(rng, padded_ids)
    model.predict([z, *x], verbose=0)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit([z, *x], np.ones((ROWS, 2)), verbose=0)
    expected = plainly(model, [z, *x])
    assert_close(model.predict([z, *x], verbose=0), expected)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(loaded) is kh.HyperModel
    assert_close(loaded.predict([z, *x], verbose=0), expected)
    larger = keras.models.clone_model(model)
    assert type(larger) is kh.HyperModel


def test_groups_of_conditions_where_memory_is_short(rng, monkeypatch):
    model, counter = counted(encoder, mode="low_rank")
    settle(model, rng)
    z, x = rows_of(rng, padded_ids)
    expected = plainly(model, [z, *x])
    total = sum(p.generated_spec.total for p in model.layers if hasattr(p, "generated_spec"))
    monkeypatch.setattr(once_per_condition, "AT_ONCE", 2 * 4 * total)
    counter.seen.assign(0)
    assert_close(model.predict([z, *x], verbose=0), expected)
    assert float(counter.seen.value) == USERS


@pytest.mark.slow
def test_quantized_after_a_prediction_and_from_threads(rng):
    model = settle(kh.hypernetize(encoder(), SIZE, mode="low_rank"), rng)
    z, x = rows_of(rng, padded_ids)
    other = [np.roll(z, 1, axis=0), *x]
    before, of_other = model.predict([z, *x], verbose=0), plainly(model, other)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda given: model.predict(given, verbose=0), [[z, *x], other] * 3))
    for first, second in zip(found[::2], found[1::2]):
        assert_close(first, before)
        assert_close(second, of_other)
    for layer in model.layers:
        if isinstance(layer, layers.Dense):
            layer.quantize("int8")
    model.compile()
    assert_close(model.predict([z, *x], verbose=0), plainly(model, [z, *x]))


class Seen(keras.callbacks.Callback):
    def on_predict_begin(self, logs=None):
        self.predicted = self.model


def test_where_it_is_as_in_any_model(rng):
    """A batch, many conditions, callbacks, steps, a dataset, random weights: as Keras does."""
    model, counter = counted(encoder, mode="low_rank")
    settle(model, rng)
    z, x = rows_of(rng, padded_ids)
    every = rng.normal(size=(ROWS, SIZE)).astype("float32")

    def seen(inputs, **arguments):
        counter.seen.assign(0)
        found = model.predict(inputs, verbose=0, **arguments)
        assert_close(found[:8], plainly(model, [inputs[0][:8], inputs[1][:8]]))
        return float(counter.seen.value) - 8

    assert seen([z, *x], batch_size=ROWS) >= ROWS - 8
    assert seen([every, *x]) >= ROWS - 8
    callback = Seen()
    assert seen([z, *x], callbacks=[callback]) >= ROWS - 8
    assert callback.predicted is model
    assert model.predict([z, *x], steps=1, batch_size=8, verbose=0).shape == (8, 2)
    grouped = kh.GroupedDataset(z[:10], np.repeat(x[0][:10], 2, axis=0), None, 5)
    assert model.predict(grouped, verbose=0).shape == (20, 2)


def of_two_widths():
    """A model with inputs of 3 entries and of one."""
    target = keras.Sequential([keras.Input((1,)), layers.Dense(2)])
    return kh.hypernetize(target, SIZE)


def test_inputs_in_another_order_are_told():
    model = of_two_widths()
    z, x = np.ones((4, SIZE)), np.ones((4, 1))
    names = [symbol.name for symbol in model.inputs]
    for use in (model, lambda inputs: model.predict(inputs, verbose=0)):
        assert use([z, x]).shape == (4, 2)
        assert use(dict(zip(names, [z, x]))).shape == (4, 2)
        with pytest.raises(ValueError, match=r"in this order: conditioning \(None, 3\)"):
            use([x, z])
    assert of_two_widths().predict([z, x[:, 0]], verbose=0).shape == (4, 2)  # as Keras takes it


def test_unequal_numbers_of_rows_are_told():
    model = of_two_widths()
    for inputs in ([np.ones((1, SIZE)), np.ones((4, 1))], {"conditioning": np.ones((1, SIZE))}):
        if isinstance(inputs, dict):
            inputs[model.inputs[1].name] = np.ones((4, 1))
        with pytest.raises(ValueError, match=r"np.repeat.*\[1, 4\] rows"):
            model.predict(inputs, verbose=0)


class Scaled(kh.HyperModel):
    def call(self, inputs, training=None, mask=None):
        return 2.0 * super().call(inputs, training=training, mask=mask)


def wired(model_class=kh.HyperModel, conditions=lambda z: z, outputs=lambda y: y):
    z, x = keras.Input((SIZE,), name="z"), keras.Input((3,), name="x")
    weights = kh.WeightGenerator([(3, 2), (2,)], initialization="hyper_fan_in")(conditions(z))
    return model_class([z, x], outputs(kh.Hyper(layers.Dense(2))(x, weights)))


def few_conditions(rng):
    z = np.repeat(rng.normal(size=(20, SIZE)), ROWS // 20, axis=0).astype("float32")
    return [z, rng.normal(size=(ROWS, 3)).astype("float32")]


def test_calls_of_a_subclass(rng):
    model, inputs = wired(Scaled), few_conditions(rng)
    assert_close(model.predict(inputs, verbose=0), plainly(model, inputs))


def test_weights_without_a_row_for_each_condition(rng):
    model = wired(conditions=lambda z: keras.ops.mean(z, axis=0, keepdims=True))
    inputs = few_conditions(rng)
    assert_close(model.predict(inputs, verbose=0), plainly(model, inputs))
    with pytest.raises(ValueError, match=r"a row of weights for each condition.*1 rows for 'dense"):
        kh.tabulate(model, inputs[0][:2])


def test_outputs_without_a_row_for_each_row(rng, monkeypatch):
    model = wired(outputs=lambda y: keras.ops.reshape(y, (-1,)))
    monkeypatch.setattr(once_per_condition, "AT_ONCE", 200)
    inputs = few_conditions(rng)
    found = model.predict(inputs, verbose=0)
    assert found.shape == (2 * ROWS,)
    assert_close(found, plainly(model, inputs))


def test_another_policy_meanwhile(rng):
    model, inputs = wired(), few_conditions(rng)
    expected = plainly(model, inputs)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = model.predict(inputs, verbose=0)
        tables = kh.tabulate(model, inputs[0])
    finally:
        keras.config.set_dtype_policy("float32")
    assert_close(found, expected)
    assert_close(tables.predict([np.arange(ROWS), inputs[1]], verbose=0), expected)


def test_errors_are_of_the_model_itself(rng):
    model, (z, x) = wired(), few_conditions(rng)
    with pytest.raises(ValueError, match=r"incompatible.*\(32, 2\)"):  # a batch, and no condition
        model.predict([z, x[:, :2]], verbose=0)


def test_a_layer_that_does_something_else_after_compile(rng):
    model = wired(outputs=layers.Activation("relu", name="act"))
    inputs = few_conditions(rng)
    model.predict(inputs, verbose=0)
    model.get_layer("act").activation = keras.activations.tanh
    model.compile("sgd", "mse")
    assert_close(model.predict(inputs, verbose=0), plainly(model, inputs))


def test_random_weights_are_drawn_for_every_row(rng):
    z, x = keras.Input((SIZE,)), keras.Input((3,))
    generator = kh.PerturbedWeightGenerator(kh.WeightGenerator([(3, 2), (2,)]), sigma=1.0)
    model = kh.HyperModel([z, x], kh.Hyper(layers.Dense(2))(x, generator(z)))
    inputs = [np.ones((ROWS, SIZE), "float32"), np.ones((ROWS, 3), "float32")]
    found = model.predict(inputs, verbose=0)
    assert len(np.unique(found[:, 0].round(4))) > ROWS / 2


def test_models_of_this_package_are_hyper_models(rng):
    model = kh.build(2, 3, [(3, 4)])
    assert type(model) is kh.HyperModel
    ids, x = keras.Input((), dtype="int32"), keras.Input((3,))
    weights = kh.Hypernetwork(kh.WeightGenerator([(3, 4), (4,)]), num_conditions=10)(ids)
    model = keras.Model([ids, x], kh.Hyper(layers.Dense(4))(x, weights))
    larger = kh.with_conditions(model, 12)
    assert type(larger) is kh.HyperModel
    users = rng.integers(12, size=ROWS)
    given = [users, rng.normal(size=(ROWS, 3)).astype("float32")]
    assert_close(larger.predict(given, verbose=0), plainly(larger, given))


@pytest.mark.skipif(BACKEND == "torch", reason="raises in both ways")
@pytest.mark.filterwarnings("ignore:.*not in 0 ... 9:UserWarning")
def test_unknown_ids_get_what_they_get_in_any_model(rng):
    ids, x = keras.Input((), dtype="int32"), keras.Input((3,))
    weights = kh.Hypernetwork(kh.WeightGenerator([(3, 4), (4,)]), num_conditions=10)(ids)
    model = kh.HyperModel([ids, x], kh.Hyper(layers.Dense(4))(x, weights))
    given = [np.arange(ROWS) % 12, rng.normal(size=(ROWS, 3)).astype("float32")]
    assert_close(model.predict(given, verbose=0), plainly(model, given))
