import keras
import numpy as np
import pytest
from keras import ops

import keras_hypernet as kh
from tests import reference as ref
from tests.backend import BACKEND

SIZES = [(128, 64), (64, 32)]


def data(rng, rows=5, points=()):
    conditioning = rng.normal(size=(rows, 64)).astype("float32")
    return conditioning, rng.normal(size=(rows, *points, 128)).astype("float32")


def by_hand(model, conditioning, x, activation=ref.relu):
    """The model's output from its variables, in NumPy."""
    weights, sizes = [], []
    for layer in model.layers:
        if isinstance(layer, kh.WeightGenerator):
            values = ref.cast([ops.convert_to_numpy(w) for w in layer.weights])
            weights.append(ref.mlp(values, ref.cast(conditioning)))
            sizes.append(layer.spec.shapes[0])
    return ref.mlp_rows(ref.cast(x), weights, sizes, activation)


def test_the_specified_model(rng):
    model = kh.build(
        conditioning_size=64,
        input_size=128,
        target_layer_sizes=SIZES,
        hidden_sizes=[256, 256],
        activation="relu",
    )
    assert isinstance(model, keras.Model)
    assert [(x.name, x.shape) for x in model.inputs] == [
        ("conditioning", (None, 64)),
        ("data_input", (None, 128)),
    ]
    assert model.output.shape == (None, 32)
    generators = [layer for layer in model.layers if isinstance(layer, kh.WeightGenerator)]
    assert [layer.name for layer in generators] == ["weight_gen_0", "weight_gen_1"]
    assert sum(isinstance(layer, kh.ApplyGeneratedWeights) for layer in model.layers) == 1
    conditioning, x = data(rng)
    expected = by_hand(model, conditioning, x)
    for inputs in (
        [conditioning, x],
        (conditioning, x),
        {"data_input": x, "conditioning": conditioning},
    ):
        outputs = model.predict(inputs, verbose=0)
        np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-5)


def test_the_target_starts_as_an_ordinary_network():
    model = kh.build(64, 128, SIZES, hidden_sizes=[16])
    for i, stddev in enumerate([np.sqrt(2 / 128), np.sqrt(2 / (64 + 32))]):  # He's, Glorot's
        head = model.get_layer(f"weight_gen_{i}").head
        size_in, size_out = SIZES[i]
        assert head.kernel.shape == (16, size_in * size_out + size_out)
        assert not ops.convert_to_numpy(head.kernel).any()
        kernel, bias = np.split(ops.convert_to_numpy(head.bias), [size_in * size_out])
        assert kernel.std() == pytest.approx(stddev, rel=0.05)
        assert not bias.any()


def test_without_initialization_heads_start_small_and_biases_at_zero():
    generator = kh.build(64, 128, SIZES, initialization=None).get_layer("weight_gen_0")
    kernel = ops.convert_to_numpy(generator.head.kernel)
    assert kernel.shape == (256, 128 * 64 + 64)
    assert np.abs(kernel).max() <= 0.01
    assert kernel.std() == pytest.approx(0.01 / np.sqrt(3), rel=0.02)
    assert not ops.convert_to_numpy(generator.head.bias).any()


@pytest.mark.parametrize("running_scale", [True, False])
def test_a_running_scale_is_in_front(running_scale, rng):
    model = kh.build(64, 128, SIZES, [16], running_scale=running_scale)
    assert any(isinstance(x, kh.RunningScale) for x in model.layers) == running_scale
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape) * 0.1)
    conditioning, x = data(rng)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.fit([30 * conditioning, x], np.zeros((5, 32)), verbose=0)
    size = 30 * np.sqrt(np.mean(conditioning**2)) if running_scale else 1
    outputs = model.predict([30 * conditioning, x], verbose=0)
    expected = by_hand(model, 30 * conditioning / size, x)
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_other_initializers_and_generator_options():
    model = kh.build(
        3,
        2,
        [(2, 2)],
        hidden_sizes=[4],
        head_kernel_initializer="zeros",
        head_bias_initializer=keras.initializers.Constant(0.5),
        kernel_initializer="ones",
        hidden_activation="tanh",
        dropout=0.5,
    )
    y = model([np.ones((1, 3), "float32"), np.ones((1, 2), "float32")])
    np.testing.assert_allclose(ops.convert_to_numpy(y), [[1.5, 1.5]])
    generator = model.get_layer("weight_gen_0")
    assert generator.dropout == 0.5
    assert generator.activation is keras.activations.tanh
    np.testing.assert_array_equal(generator.get_weights()[0], 1)


def test_one_initializer_gives_two_generators_different_weights():
    initializer = keras.initializers.RandomNormal()
    model = kh.build(
        3,
        4,
        [(4, 4), (4, 4)],
        hidden_sizes=[5, 5],
        kernel_initializer=initializer,
        head_kernel_initializer=initializer,
    )
    kernels = [w for w in model.get_weights() if w.ndim == 2]
    for i, one in enumerate(kernels):
        for other in kernels[:i]:
            assert one.shape != other.shape or np.any(one != other)


@pytest.mark.parametrize("hidden_sizes", [(), [16], (8, np.int64(12))])
def test_hidden_sizes(hidden_sizes, rng):
    model = kh.build(64, 128, SIZES, hidden_sizes=hidden_sizes)
    conditioning, x = data(rng)
    outputs = model.predict([conditioning, x], verbose=0)
    expected = by_hand(model, conditioning, x)
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("contraction", ["auto", "materialize", "project", "outer"])
@pytest.mark.parametrize(
    ("activation", "function"),
    [("tanh", np.tanh), (keras.activations.relu, ref.relu), (None, ref.identity)],
)
def test_contractions_and_activations(contraction, activation, function, rng):
    model = kh.build(64, 128, SIZES, [16], activation, contraction=contraction)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape) * 0.1)
    conditioning, x = data(rng)
    outputs = model.predict([conditioning, x], verbose=0)
    expected = by_hand(model, conditioning, x, function)
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-3)


def test_data_points_share_their_row(rng):
    model = kh.build(64, (None, 128), SIZES, hidden_sizes=[16])
    assert model.input_shape == [(None, 64), (None, None, 128)]
    assert model.output_shape == (None, None, 32)
    conditioning, x = data(rng, points=(7,))
    outputs = model.predict([conditioning, x], batch_size=2, verbose=0)
    expected = by_hand(model, conditioning, x)
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("contraction", ["auto", "materialize", "project", "outer"])
def test_conditioning_rows_divide_data_rows(contraction, rng):
    model = kh.build(64, 128, SIZES, hidden_sizes=[16], contraction=contraction)
    conditioning, _ = data(rng, 3)
    _, x = data(rng, 12)
    outputs = ops.convert_to_numpy(model([conditioning, x]))
    expected = by_hand(model, np.repeat(conditioning, 4, axis=0), x)
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-5)


def test_weights_are_flat_where_many_points_share_them():
    for size, conditioning in ((128, None), ((None, 128), None), (128, keras.Input((64,), 1))):
        model = kh.build(64, size, SIZES, hidden_sizes=[16], name="m", conditioning=conditioning)
        forms = {row["form"] for row in kh.describe(model)}
        assert forms == ({"factored"} if size == 128 and conditioning is None else {"flat"})


def test_one_condition_for_the_whole_batch(rng):
    conditioning = keras.Input(batch_shape=(1, 64))
    model = kh.build(conditioning=conditioning, input_size=128, target_layer_sizes=SIZES)
    assert model.layers[-1].shared
    one, x = data(rng)
    outputs = ops.convert_to_numpy(model([one[:1], x]))
    expected = by_hand(model, np.repeat(one[:1], 5, axis=0), x)
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-5)


def test_given_tensors(rng):
    image, x = keras.Input((8, 8, 1), name="image"), keras.Input((128,), name="x")
    features = keras.layers.Flatten()(image)
    model = kh.build(
        conditioning=features,
        data_input=x,
        conditioning_size=64,
        target_layer_sizes=SIZES,
        hidden_sizes=[16],
        name="hyper",
    )
    assert [tensor.name for tensor in model.inputs] == ["image", "x"]
    assert model.name == "hyper"
    names = [layer.name for layer in model.layers]
    assert {"hyper_weight_gen_0", "hyper_weight_gen_1"} < set(names)
    conditioning, data_rows = data(rng)
    outputs = model.predict([conditioning.reshape(5, 8, 8, 1), data_rows], verbose=0)
    expected = by_hand(model, conditioning, data_rows)
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-5)


def test_one_input_for_both():
    x = keras.Input((4,), name="x")
    model = kh.build(conditioning=x, data_input=x, target_layer_sizes=[(4, 2)], hidden_sizes=[3])
    assert [tensor.name for tensor in model.inputs] == ["x"]
    assert model(np.ones((5, 4), "float32")).shape == (5, 2)


def test_dtype_of_all_layers():
    model = kh.build(4, 3, [(3, 2)], hidden_sizes=[5], dtype="mixed_bfloat16")
    assert model.output.dtype == "bfloat16"
    assert {str(v.dtype) for v in model.variables} == {"float32"}


def test_wiring_by_hand_is_what_build_does(rng):
    z, x = keras.Input((64,)), keras.Input((128,))
    weights = [
        kh.build_weight_generator(z, *pair, hidden_sizes=[16], name=f"layer{i}")
        for i, pair in enumerate(SIZES)
    ]
    assert [w.shape for w in weights] == [(None, 128 * 64 + 64), (None, 64 * 32 + 32)]
    model = keras.Model([z, x], kh.apply_generated_weights(x, weights, SIZES))
    assert model.get_layer("layer1_weight_gen").spec.total == 64 * 32 + 32
    built = kh.build(64, 128, SIZES, hidden_sizes=[16], running_scale=False)
    built.set_weights(model.get_weights())
    inputs = list(data(rng))
    np.testing.assert_allclose(
        model.predict(inputs, verbose=0), built.predict(inputs, verbose=0), rtol=1e-3, atol=1e-5
    )


def test_generated_weights_lie_kernel_first_and_row_major():
    z, x = keras.Input((1,)), keras.Input((2,))
    weights = kh.build_weight_generator(z, 2, 3, hidden_sizes=())
    model = keras.Model([z, x], kh.apply_generated_weights(x, [weights], [(2, 3)]))
    model.set_weights([np.arange(9.0).reshape(1, 9), np.zeros(9)])
    y = model.predict([np.ones((1, 1)), np.array([[1.0, 10.0]])], verbose=0)
    np.testing.assert_allclose(y, [[0 + 30 + 6, 1 + 40 + 7, 2 + 50 + 8]])


def bad(message, exception=ValueError, **arguments):
    good = {"conditioning_size": 4, "input_size": 3, "target_layer_sizes": [(3, 8), (8, 1)]}
    return pytest.param({**good, **arguments}, exception, message, id=message)


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        bad("layer 1 takes 32 inputs but layer 0 gives 64", target_layer_sizes=[(3, 64), (32, 1)]),
        bad(r"must take `input_size` inputs.*input_size=5", input_size=5),
        bad("`target_layer_sizes` must not be empty", target_layer_sizes=[]),
        bad("`target_layer_sizes` must be a list", TypeError, target_layer_sizes=None),
        bad("`target_layer_sizes` must be a list. Rec.*'ab'", TypeError, target_layer_sizes="ab"),
        bad("must be a list of pairs", target_layer_sizes=[(3, 8, 1)]),
        bad(r"must be a list of pairs.*\[0\]=3", target_layer_sizes=[3, 8]),
        bad(r"must be a list of pairs.*\[0\]='38'", target_layer_sizes=["38"]),
        bad(r"target_layer_sizes\[0\]\[1\]=0", target_layer_sizes=[(3, 0)]),
        bad(r"target_layer_sizes\[0\]\[1\]=-2", target_layer_sizes=[(3, -2)]),
        bad(r"target_layer_sizes\[0\]\[1\]=2.0", TypeError, target_layer_sizes=[(3, 2.0)]),
        bad(r"target_layer_sizes\[0\]\[1\]=True", target_layer_sizes=[(3, True)]),
        bad(r"target_layer_sizes\[0\]\[1\]=None", TypeError, target_layer_sizes=[(3, None)]),
        bad(r"target_layer_sizes\[0\]\[1\]='2'", TypeError, target_layer_sizes=[(3, "2")]),
        bad("conditioning_size=0", conditioning_size=0),
        bad("conditioning_size=True", conditioning_size=True),
        bad("conditioning_size=4.0", TypeError, conditioning_size=4.0),
        bad("conditioning_size=None, conditioning=None", conditioning_size=None),
        bad(r"`conditioning_size` must be an integer", conditioning_size=(2, 4)),
        bad("input_size=None, data_input=None", input_size=None),
        bad("input_size='3'", TypeError, input_size="3"),
        bad("input_size=-1", input_size=(-1, 3)),
        bad(r"input_size=\[\]", TypeError, input_size=[]),
        bad("input_size=None of type", TypeError, input_size=(2, None)),
        bad("`hidden_sizes` must be a list", TypeError, hidden_sizes=256),
        bad("`hidden_sizes` must be a list.*None", TypeError, hidden_sizes=None),
        bad(r"hidden_sizes\[1\]=0", hidden_sizes=[4, 0]),
        bad(r"hidden_sizes\[0\]=4.5", TypeError, hidden_sizes=[4.5]),
        bad("`activation` must be", activation="rellu"),
        bad("`hidden_activation` must be", hidden_activation="rellu"),
        bad("`contraction` must be one of", contraction="fast"),
        bad("must be a KerasTensor", TypeError, conditioning=np.ones((2, 4))),
        bad("must be the last axis of `conditioning`", conditioning=keras.KerasTensor((2, 5))),
        bad("must have two or more axes", data_input=keras.KerasTensor((3,))),
        bad("must be known", input_size=None, data_input=keras.KerasTensor((2, None))),
        bad("floating", TypeError, conditioning=keras.KerasTensor((2, 4), "int32")),
        bad("dropout", dropout=2.0),
        bad("`factored` and `spec` are chosen", TypeError, factored=True),
        bad("give a KerasTensor as", TypeError, conditioning_size=keras.KerasTensor((2, 4))),
        bad("`conditioning` must have 2 axes.*Flatten", conditioning=keras.KerasTensor((2, 4, 4))),
    ],
)
def test_bad_arguments(arguments, exception, message):
    with pytest.raises(exception, match=message):
        kh.build(**arguments)


def test_numpy_integers_are_sizes():
    two = np.int32(2)
    model = kh.build(two, np.int64(3), [(np.uint8(3), two)], hidden_sizes=[two])
    assert model.output_shape == (None, 2)


@pytest.mark.parametrize(
    ("call", "exception", "message"),
    [
        (lambda z, x, w: kh.build_weight_generator(z, 0, 2), ValueError, "`target_in`"),
        (lambda z, x, w: kh.build_weight_generator(z, 2, "2"), TypeError, "`target_out`"),
        (lambda z, x, w: kh.build_weight_generator(np.ones((2, 4)), 2, 2), TypeError, "Keras"),
        (
            lambda z, x, w: kh.build_weight_generator(keras.Input((2, 4)), 2, 2),
            ValueError,
            "must have 2 axes",
        ),
        (
            lambda z, x, w: kh.apply_generated_weights(x, [w], [(3, 2), (2, 1)]),
            ValueError,
            r"`weight_generators` must have one entry per target layer \(2\). Received: 1",
        ),
        (lambda z, x, w: kh.apply_generated_weights(x, w, [(3, 2)]), TypeError, "be a list"),
        (lambda z, x, w: kh.apply_generated_weights(x, [], [(3, 2)]), ValueError, "not be empty"),
        (
            lambda z, x, w: kh.apply_generated_weights(x, [w], [(3, 4)]),
            ValueError,
            "must have 16 entries",
        ),
        (
            lambda z, x, w: kh.apply_generated_weights(z, [w], [(3, 2)]),
            ValueError,
            "`data_input` must have 3 entries",
        ),
        (
            lambda z, x, w: kh.apply_generated_weights(x, [w], [(3, 2)], activation="no"),
            ValueError,
            "`activation`",
        ),
        (
            lambda z, x, w: kh.apply_generated_weights(np.ones((2, 3)), [w], [(3, 2)]),
            TypeError,
            "`data_input`",
        ),
    ],
)
def test_bad_wiring(call, exception, message):
    z, x = keras.Input((4,)), keras.Input((3,))
    weights = kh.build_weight_generator(z, 3, 2)
    with pytest.raises(exception, match=message):
        call(z, x, weights)


def test_rows_that_do_not_divide_are_refused(rng):
    model = kh.build(64, (None, 128), SIZES, hidden_sizes=[16])
    conditioning, _ = data(rng, 4)
    _, x = data(rng, 2, points=(10,))
    with pytest.raises(ValueError, match="4 rows of weights, 2 rows of data"):
        model([conditioning, x])
    two_inputs = keras.Input(batch_shape=(4, 64)), keras.Input(batch_shape=(6, 128))
    with pytest.raises(ValueError, match="4 rows of weights, 6 rows of data"):
        kh.build(conditioning=two_inputs[0], data_input=two_inputs[1], target_layer_sizes=SIZES)


def test_a_failed_call_builds_nothing():
    generator = kh.WeightGenerator([(2, 2)])
    with pytest.raises(TypeError):
        generator(np.ones((2, 3), "int32"))
    assert not generator.built
    layer = kh.Hyper(keras.layers.Dense(2))
    with pytest.raises(ValueError, match="must divide"):
        layer(np.ones((3, 2), "float32"), np.ones((2, 6), "float32"))
    assert not layer.built
    assert BACKEND in ("jax", "tensorflow", "torch")
