"""`target_weights` and `describe`, and what Keras itself prints of a model."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_hypernet as kh
from keras_hypernet.models import graph_reader
from tests import reference as ref
from tests.backend import numpy_of

SIZES = [(3, 6), (6, 2)]


def applied(weights, x):
    """A target's output from its named weights."""
    flat = []
    for i in range(len(SIZES)):
        kernel, bias = weights[f"layer_{i}/kernel"], weights[f"layer_{i}/bias"]
        flat.append(np.concatenate([kernel.reshape(len(x), -1), bias], axis=1))
    return ref.mlp_rows(x, flat, SIZES)


@pytest.mark.parametrize("contraction", ["materialize", "project"])
def test_weights_of_a_built_model(contraction, rng):
    model = kh.build(4, 3, SIZES, hidden_sizes=[5], contraction=contraction)
    z, x = rng.normal(size=(7, 4)).astype("float32"), rng.normal(size=(7, 3)).astype("float32")
    weights = kh.target_weights(model, z)
    assert {name: w.shape for name, w in weights.items()} == {
        "layer_0/kernel": (7, 3, 6),
        "layer_0/bias": (7, 6),
        "layer_1/kernel": (7, 6, 2),
        "layer_1/bias": (7, 2),
    }
    expected = model.predict([z, x], verbose=0)
    np.testing.assert_allclose(applied(weights, x), expected, rtol=1e-4, atol=1e-6)
    for name, w in kh.target_weights(model, {"conditioning": z}).items():
        np.testing.assert_array_equal(w, weights[name])


def test_computed_conditioning(rng):
    image = keras.Input((4, 4, 1), name="image")
    other = keras.Input((2,), name="other")
    z = keras.layers.concatenate([keras.layers.Flatten()(image), other])
    model = kh.build(conditioning=z, input_size=3, target_layer_sizes=SIZES, hidden_sizes=[5])
    images = rng.normal(size=(7, 4, 4, 1)).astype("float32")
    others = rng.normal(size=(7, 2)).astype("float32")
    x = rng.normal(size=(7, 3)).astype("float32")
    expected = model.predict([images, others, x], verbose=0)
    for given in ([images, others], {"other": others, "image": images}):
        weights = kh.target_weights(model, given)
        np.testing.assert_allclose(applied(weights, x), expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"\['image', 'other'\].*\(7, 4, 4, 1\)"):
        kh.target_weights(model, images)
    with pytest.raises(ValueError, match="one array for each"):
        kh.target_weights(model, {"image": images})


def test_tasks_and_shared_and_nested(rng):
    ids, x = keras.Input((), dtype="int32", name="ids"), keras.Input((3,), name="x")
    weights = kh.TaskWeights(kh.WeightGenerator({"a/kernel": (3, 3), "a/bias": (3,)}), 4)(ids)
    y = kh.Hyper(keras.layers.Dense(3))(kh.Hyper(keras.layers.Dense(3))(x, weights), weights)
    inner = keras.Model([ids, x], y, name="inner")
    first = kh.target_weights(inner, np.array([1, 3]))
    assert first["a/kernel"].shape == (2, 3, 3)

    n, features = keras.Input((), dtype="int32", name="n"), keras.Input((5,))
    z = keras.layers.Dense(3)(features)
    outer = keras.Model([features, n], inner({"x": z, "ids": n}))
    nested = kh.target_weights(outer, np.array([1, 3]))
    for name, w in first.items():
        np.testing.assert_array_equal(nested[name], w)
    assert [row["generator"] for row in kh.describe(outer)] == ["inner/" + weights_name(inner)]


def weights_name(model):
    return next(layer.name for layer in model.layers if isinstance(layer, kh.TaskWeights))


def test_float_ids_are_refused():
    ids, x = keras.Input((), dtype="int32", name="ids"), keras.Input((3,))
    weights = kh.TaskWeights(kh.WeightGenerator([(3, 3), (3,)]), 4)(ids)
    model = keras.Model([ids, x], kh.Hyper(keras.layers.Dense(3))(x, weights))
    with pytest.raises(TypeError, match=r"ids.* must have an integer dtype"):
        kh.target_weights(model, np.array([0.0, 1.7]))


def test_equal_names_get_their_generators_names(rng):
    z, x = keras.Input((4,), name="z"), keras.Input((3,))
    one = kh.build(conditioning=z, data_input=x, target_layer_sizes=[(3, 2)], name="one")
    two = kh.build(conditioning=z, data_input=x, target_layer_sizes=[(3, 2)], name="two")
    model = keras.Model([z, x], one.output + two.output)
    given = rng.normal(size=(5, 4)).astype("float32")
    weights = kh.target_weights(model, given)
    assert set(weights) == {
        f"{name}_weight_gen_0/layer_0/{tensor}"
        for name in ("one", "two")
        for tensor in ("kernel", "bias")
    }
    alone = kh.target_weights(one, given)["layer_0/kernel"]
    np.testing.assert_array_equal(weights["one_weight_gen_0/layer_0/kernel"], alone)


def test_one_generator_called_twice(rng):
    a, b, x = keras.Input((4,), name="a"), keras.Input((4,), name="b"), keras.Input((3,))
    generator = kh.WeightGenerator([(3, 3)], name="gen")
    layer = kh.Hyper(keras.layers.Dense(3, use_bias=False))
    model = keras.Model([a, b, x], layer(layer(x, generator(a)), generator(b)))
    given = [rng.normal(size=(2, 4)).astype("float32") for _ in range(2)]
    weights = kh.target_weights(model, given)
    for i, z in enumerate(given):
        expected = ops.convert_to_numpy(generator(z)).reshape(2, 3, 3)
        np.testing.assert_allclose(weights[f"gen/{i}/layer_0/kernel"], expected, rtol=1e-5)


def abs_between(z, x):
    return kh.Hyper(keras.layers.Dense(1, use_bias=False))(
        x, ops.abs(kh.WeightGenerator([(3, 1)])(z))
    )


def several_operations_between(z, x):
    weights = kh.WeightGenerator([(4, 2)], name="gen")(z)
    weights = keras.layers.LayerNormalization()(ops.concatenate([weights, weights[:, :1]], axis=-1))
    return kh.Hyper(keras.layers.Dense(3, name="target"))(x[:, :2], weights)


def sum_of_two(z, x):
    weights = [kh.WeightGenerator([(3, 1), (1,)], name=name)(z) for name in ("one", "two")]
    return kh.Hyper(keras.layers.Dense(1, name="target"))(x, weights[0] * weights[1])


def operation_and_layer_in_nested_models(z, x):
    c = keras.Input((4,))
    weights = keras.Model(c, ops.exp(kh.WeightGenerator([(3, 2), (2,)])(c)), name="hyper")
    w, data = keras.Input((8,)), keras.Input((3,))
    applied = keras.Model(
        [w, data], kh.Hyper(keras.layers.Dense(2, name="target"))(data, 2 * w), name="applied"
    )
    return applied([weights(z), x])


def factored_between(z, x):
    weights = kh.WeightGenerator([(3, 2), (2,)], hidden_sizes=[5])(z, factored=True)
    return kh.Hyper(keras.layers.Dense(2))(
        x, {**weights, "features": ops.tanh(weights["features"])}
    )


def mlp_between(z, x):
    layers = [(3, 2), (2, 1)]
    weights = kh.WeightGenerator(kh.WeightSpec.from_layer_sizes(layers))(z)
    return kh.ApplyGeneratedWeights(layers)(x, ops.abs(weights))


BETWEEN = {
    abs_between: {"layer_0/kernel": (3, 1)},
    several_operations_between: {"target/kernel": (2, 3), "target/bias": (3,)},
    sum_of_two: {"target/kernel": (3, 1), "target/bias": (1,)},
    operation_and_layer_in_nested_models: {"layer_0/kernel": (3, 2), "layer_0/bias": (2,)},
    factored_between: {"layer_0/kernel": (3, 2), "layer_0/bias": (2,)},
    mlp_between: {t.name: t.shape for t in kh.WeightSpec.from_layer_sizes([(3, 2), (2, 1)])},
}


@pytest.mark.parametrize("wire", BETWEEN, ids=lambda wire: wire.__name__)
def test_what_stands_between_a_generator_and_a_layer(wire, rng):
    z, x = keras.Input((4,), name="z"), keras.Input((3,), name="x")
    model = keras.Model([z, x], wire(z, x))
    given, data = (rng.normal(size=(1, n)).astype("float32") for n in (4, 3))
    weights = kh.target_weights(model, given)
    assert {name: w.shape[1:] for name, w in weights.items()} == BETWEEN[wire]
    plain = kh.specialize(model, given)
    for array, variable in zip(weights.values(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(array[0], variable, rtol=1e-5, atol=1e-6)
    expected = ops.convert_to_numpy(model([given, data]))
    np.testing.assert_allclose(ops.convert_to_numpy(plain(data)), expected, rtol=1e-5, atol=1e-6)
    for row in kh.describe(model):
        assert row["target"] != "-"
        assert row["contraction"] != "-"


def test_a_generator_that_is_used_as_it_is_and_changed(rng):
    z, x = keras.Input((4,), name="z"), keras.Input((3,), name="x")
    weights = kh.WeightGenerator([(3, 3)], name="gen")(z)
    first, second = (
        kh.Hyper(keras.layers.Dense(3, use_bias=False, name=name)) for name in ("first", "second")
    )
    model = keras.Model([z, x], second(first(x, weights), ops.abs(weights)))
    found = kh.target_weights(model, rng.normal(size=(2, 4)).astype("float32"))
    assert set(found) == {"gen/layer_0/kernel", "second/layer_0/kernel"}
    expected = np.abs(found["gen/layer_0/kernel"])
    np.testing.assert_array_equal(found["second/layer_0/kernel"], expected)
    assert [row["target"] for row in kh.describe(model)] == ["first, second"]


@keras.saving.register_keras_serializable(package="tests")
class Encoder(keras.layers.Dense):
    """Counts how often it is called."""

    calls = 0

    def call(self, inputs, training=None):
        Encoder.calls += 1
        return super().call(inputs, training=training)


def deep_target():
    """Six layers, two of them in a nested model."""
    inside = keras.Input((3,))
    inner = keras.Model(inside, keras.layers.Dense(3)(keras.layers.Dense(4)(inside)), name="inner")
    dense = [keras.layers.Dense(3, activation="tanh") for _ in range(4)]
    return keras.Sequential([keras.Input((3,)), *dense[:2], inner, *dense[2:]])


def encoded(nested_encoder=False):
    """A hypernetized model with a layer that computes its conditioning."""
    z = keras.Input((4,), name="z")
    encoder = Encoder(4, name="encoder")
    if nested_encoder:
        inside = keras.Input((4,))
        encoder = keras.Model(inside, keras.layers.Dense(4)(encoder(inside)), name="nested_encoder")
    return kh.hypernetize(deep_target(), conditioning=encoder(z), mode="delta")


def built_by_layers():
    z, x = keras.Input((4,), name="z"), keras.Input((3,), name="x")
    sizes = [(3, 3)] * 6
    return kh.build(conditioning=Encoder(4)(z), data_input=x, target_layer_sizes=sizes)


def in_a_larger_model():
    z, x = keras.Input((4,)), keras.Input((3,))
    return keras.Model([z, x], encoded()([z, x]))


ENCODED = [encoded, lambda: encoded(nested_encoder=True), built_by_layers, in_a_larger_model]


@pytest.mark.parametrize("make", ENCODED)
@pytest.mark.parametrize("read", [kh.target_weights, kh.specialize])
def test_what_computes_the_conditioning_runs_once_for_all_weights(read, make, rng):
    model, z = make(), rng.normal(size=(1, 4)).astype("float32")
    before = Encoder.calls
    read(model, z)
    assert Encoder.calls == before + 1


def with_ids():
    ids, x = keras.Input((), dtype="int32"), keras.Input((3,))
    weights = kh.Hypernetwork(kh.WeightGenerator([(3, 2), (2,)]), num_conditions=3)(ids)
    return keras.Model([ids, x], kh.Hyper(keras.layers.Dense(2), shared=True)(x, weights))


CALLS = {
    "describe": (encoded, kh.describe),
    "target_weights": (encoded, lambda model: kh.target_weights(model, np.ones((2, 4)))),
    "specialize": (encoded, lambda model: kh.specialize(model, np.ones((1, 4)))),
    "hypernetize": (deep_target, lambda model: kh.hypernetize(model, 4)),
    "with_conditions": (with_ids, lambda model: kh.with_conditions(model, 5)),
    "ContinualModel": (with_ids, lambda model: kh.ContinualModel(model, 3, heads=[[0], [1], [0]])),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_model_is_read_once(name, monkeypatch):
    (make, call), graphs, read = CALLS[name], [], graph_reader.CallGraph.__init__
    model = make()
    monkeypatch.setattr(
        graph_reader.CallGraph, "__init__", lambda self, model: graphs.append(read(self, model))
    )
    call(model)
    assert len(graphs) == 1


@pytest.mark.filterwarnings("ignore:.*does not support masking:UserWarning")  # Keras' models
def test_a_nested_model_takes_its_inputs_as_keras_does(rng):
    """Another dtype, a mask of its own, and `training` that its call says."""
    ids, inside = keras.Input((1,), dtype="int32", name="ids"), keras.Input((1,))
    noisy = keras.layers.Dropout(0.5, seed=1)(keras.layers.Dense(4)(inside))
    encoder = keras.Model(inside, noisy, name="encoder")
    steps = keras.Input((5, 3))
    pooled = keras.Model(steps, keras.layers.GlobalAveragePooling1D()(steps), name="pooled")
    given, data = keras.Input((5, 3), name="given"), keras.Input((3,))
    mask = ops.any(ops.greater(given, 0), axis=-1)
    z = ops.concatenate([encoder(ids, training=False), pooled(given, mask=mask)], axis=-1)
    weights = kh.WeightGenerator([(3, 2), (2,)], initialization="hyper_fan_in")(z)
    model = keras.Model([ids, given, data], kh.Hyper(keras.layers.Dense(2))(data, weights))
    rows = [np.arange(4, dtype="int32")[:, None], rng.normal(size=(4, 5, 3)).astype("float32")]
    flat = keras.Model(model.inputs[:2], weights)(rows, training=False)
    found = kh.target_weights(model, rows)
    expected = kh.split_weights(flat, [(3, 2), (2,)])
    for a, b in zip(found.values(), expected.values(), strict=True):
        np.testing.assert_allclose(a, ops.convert_to_numpy(b), rtol=1e-5, atol=1e-6)


def test_models_that_cannot_be_read():
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    functional = keras.Model(plain.inputs, plain.outputs)
    with pytest.raises(ValueError, match="must have generated weights"):
        kh.target_weights(functional, np.ones((1, 3)))
    for read in (kh.describe, lambda model: kh.target_weights(model, np.ones((1, 3)))):
        with pytest.raises(ValueError, match="must be a functional model"):
            read(keras.layers.Dense(2))
    assert kh.describe(functional) == []


def test_description():
    model = kh.build(4, 3, [(3, 100), (100, 2)], hidden_sizes=[5])
    assert kh.describe(model) == [
        {
            "generator": "weight_gen_0",
            "target": f"{model.layers[-1].name}/layer_0",
            "shapes": [(3, 100), (100,)],
            "form": "factored",
            "contraction": "outer",
            "parameters": 25 + 6 * 400,
            "weights": 400,
            "compression": 400 / 2425,
        },
        {
            "generator": "weight_gen_1",
            "target": f"{model.layers[-1].name}/layer_1",
            "shapes": [(100, 2), (2,)],
            "form": "factored",
            "contraction": "project",
            "parameters": 25 + 6 * 202,
            "weights": 202,
            "compression": 202 / 1237,
        },
    ]
    lines = str(kh.describe(model)).splitlines()
    assert lines[0].split() == [*list(kh.describe(model)[0])[:-1], "parameters", "per", "weight"]
    assert lines[1].endswith("(3,100) (100,)  factored  outer        2,425       400      6.06")
    flat = kh.describe(kh.build(4, 3, [(3, 2)], hidden_sizes=[64]))
    assert [(row["form"], row["contraction"]) for row in flat] == [("flat", "materialize")]


def test_summary_and_plot(tmp_path):
    model = kh.build(4, 3, [(3, 100), (100, 2)], hidden_sizes=[5], name="hyper")
    lines = []
    model.summary(line_length=120, print_fn=lambda line, **_: lines.append(line))
    text = "\n".join(lines)
    assert "hyper_weight_gen_0" in text
    assert "(WeightGenerator)" in text
    assert "hyper_apply_generated_weights" in text
    running_scale = 2
    assert f"Total params: {running_scale + 25 + 6 * 400 + 25 + 6 * 202:,}" in text
    assert (
        " hyper_weight_gen_0 -> hyper_apply_generated_weights/layer_0: 400 weights per condition "
        "(factored: offset + features @ basis)"
    ) in text.splitlines()
    dot = keras.utils.model_to_dot(model, show_shapes=True, show_layer_names=True).to_string()
    for name in ("conditioning", "data_input", "hyper_weight_gen_1"):
        assert name in dot
    assert dot.count("->") == 6


def test_a_table_of_many_layers_is_short():
    layers = [(3, 4), *[(4, 4)] * 20]
    spec = kh.WeightSpec.from_layer_sizes(layers)
    z, x = keras.Input((2,)), keras.Input((3,))
    weights = kh.WeightGenerator(spec, hidden_sizes=[5])(z)
    model = keras.Model([z, x], kh.ApplyGeneratedWeights(layers)(x, weights))
    text = str(kh.describe(model))
    assert "(3,4) (4,) (4,4) ... 42 in all" in text
    assert "... 21 in all" in text
    assert max(map(len, text.splitlines())) < 250


@pytest.mark.parametrize(
    ("size", "written", "rows"),
    [
        (1, 0.5, [[0.5]]),
        (1, [0.5], [[0.5]]),
        (1, [[0.5], [2]], [[0.5], [2.0]]),
        (2, [0.5, 2], [[0.5, 2.0]]),
        (2, ((0.5, 2), (1, 1)), [[0.5, 2.0], [1.0, 1.0]]),
    ],
)
def test_conditions_as_people_write_them(size, written, rows):
    model, rows = kh.build(size, 3, [(3, 2)]), np.array(rows, "float32")
    for found, expected in zip(
        kh.target_weights(model, written).values(), kh.target_weights(model, rows).values()
    ):
        np.testing.assert_array_equal(numpy_of(found), numpy_of(expected))
    if len(rows) == 1:
        x = np.ones((4, 3), "float32")
        plain = kh.specialize(model, written)
        np.testing.assert_array_equal(numpy_of(plain(x)), numpy_of(kh.specialize(model, rows)(x)))


@pytest.mark.parametrize("written", [[0.5, 1.0, 2.0], [[0.5], [1.0, 2.0]], True, [], "a", [None]])
def test_what_is_no_condition(written):
    with pytest.raises((TypeError, ValueError), match="`conditioning` must"):
        kh.target_weights(kh.build(2, 3, [(3, 2)]), written)
