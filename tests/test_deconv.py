"""`DeconvWeightGenerator`: values of its predecessor, its plan, its parts."""

import json
import math
import pathlib

import keras
import numpy as np
import pytest
from keras import ops

import keras_hypernet as kh
from keras_hypernet.generators.blocks import image_plan
from keras_hypernet.generators.blocks.self_attention import SelfAttention2D
from keras_hypernet.generators.deconv_weight_generator import DeconvWeightGenerator
from tests import features
from tests.backend import BACKEND, compiled, gradients, numpy_of
from tests.reference import transposed_conv

VECTORS = pathlib.Path(__file__).parent / "vectors"
SHAPES = [(10, 20), (20,), (3, 7)]
SPREAD = keras.initializers.RandomNormal(stddev=0.3)


def small(**options):
    """Without a base: all of a weight is made by its layers."""
    own = {"image_shape": (9, 6), "filters": (8, 9), "attention": (0, 1), "initialization": None}
    options = {**own, **options}
    return DeconvWeightGenerator([(5, 9), (8,)], **options)


def assert_close(actual, expected, **tolerance):
    actual = numpy_of(actual)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, **tolerance)


def set_dense(layer, weight, bias):
    layer.set_weights([weight.reshape(len(weight), -1).T, bias])


def set_attention(layer, stored, prefix):
    for name in ("query", "key", "value"):
        weight, bias = (stored[f"{prefix}{name}_{part}"] for part in ("weight", "bias"))
        set_dense(getattr(layer, name), weight, bias)
    layer.gamma.assign(stored[f"{prefix}gamma"][0])


# What it computes.


def predecessor():
    stored = np.load(VECTORS / "deconv_predecessor_16x16.npz")
    config = json.loads(str(stored["config"]))
    layer = DeconvWeightGenerator(
        SHAPES,
        (16, 16),
        config["num_filters"],
        attention=config["sa_units"],
        initialization=None,
    )
    layer.build((None, config["input_dim"]))
    set_dense(layer.first, stored["param.fc_weight"], stored["param.fc_bias"])
    for i, conv in enumerate(layer.convs):
        conv.conv.kernel.assign(stored[f"param.tconv_weight_{i}"].transpose(2, 3, 1, 0))
        conv.conv.bias.assign(stored[f"param.tconv_bias_{i}"])
    attentions = [layer.dense_attention, *(conv.attention for conv in layer.convs[:-1])]
    for i, attention in enumerate(attentions):
        set_attention(attention, stored, f"param.sa{i}.")
    return layer, stored


def test_values_of_the_predecessor():
    layer, stored = predecessor()
    expected = stored["call0.out.image_f64"].reshape(2, -1)[:, :241]
    assert_close(layer(stored["call0.in.x"]), expected, atol=1e-5)
    assert_close(compiled(layer)(stored["call0.in.x"]), expected, atol=1e-5)


def test_attention_of_the_predecessor():
    stored = np.load(VECTORS / "selfattn_v2_c8.npz")
    x = stored["call0.in.x"].transpose(0, 2, 3, 1)
    layer = SelfAttention2D(8)
    layer.build(x.shape)
    set_attention(layer, stored, "param.")
    assert_close(layer(x), stored["call0.out.y_f64"].transpose(0, 2, 3, 1), atol=1e-5)


def test_new_attention_returns_its_input(rng):
    x = rng.normal(size=(2, 3, 4, 16)).astype("float32")
    assert_close(SelfAttention2D(16)(x), x)


@pytest.mark.parametrize("kernel_size", [3, (5, 4), [(2, 3), (4, 2)]])
def test_values_with_several_kernels(kernel_size, rng):
    layer = small(
        image_shape=(7, 10, 3),
        kernel_size=kernel_size,
        attention=(),
        activation="tanh",
        batch_normalization=True,
        bias_initializer=SPREAD,
    )
    z = rng.normal(size=(4, 3)).astype("float32")
    layer(z)
    layer.set_weights([w + rng.uniform(0.1, 0.5, w.shape) for w in layer.get_weights()])

    def normalized(y, normalization):
        scale, shift, mean, variance = map(numpy_of, normalization.weights)
        return np.tanh((y - mean) / np.sqrt(variance + 1e-3) * scale + shift)

    kernel, bias = map(numpy_of, layer.first.weights)
    y = normalized(z @ kernel + bias, layer.dense.batch_normalization)
    y = y.reshape(4, *layer.start_shape).transpose(0, 2, 3, 1)
    for conv in layer.convs:
        plan = conv.plan
        y = transposed_conv(y, numpy_of(conv.conv.kernel), plan.strides, plan.crop, plan.size)
        y = y + numpy_of(conv.conv.bias)
        if conv.batch_normalization is not None:
            y = normalized(y, conv.batch_normalization)
    assert layer.convs[-1].batch_normalization is None
    assert_close(layer(z), y.transpose(0, 3, 1, 2).reshape(4, -1)[:, :53], rtol=1e-4, atol=1e-5)


def test_attention_of_one_pixel(rng):
    """It gets no warning, and its variables a gradient."""
    generator = kh.ChunkedDeconvWeightGenerator([(2, 2)], (1, 1), [8, 8], attention=[0, 1])
    z = rng.normal(size=(3, 2)).astype("float32")
    assert np.isfinite(numpy_of(generator(z))).all()
    outputs = numpy_of(generator(z))
    for part in gradients(generator, [z], np.ones(outputs.shape)):
        assert all(np.isfinite(gradient).all() for gradient in part)


def test_surplus_pixels_are_dropped(rng):
    z = rng.normal(size=(2, 3)).astype("float32")
    outputs = []
    for total in (54, 50):
        layer = DeconvWeightGenerator([(total,)], (9, 6), [8], attention=(), initialization=None)
        layer.build(z.shape)
        layer.set_weights(outputs[0][0] if outputs else layer.get_weights())
        outputs.append((layer.get_weights(), numpy_of(layer(z))))
    np.testing.assert_array_equal(outputs[1][1], outputs[0][1][:, :50])


def test_noise_and_condition_are_joined(rng):
    noise, condition = (rng.normal(size=(2, n)).astype("float32") for n in (1, 2))
    layer = small()
    expected = numpy_of(layer({"noise": noise, "condition": condition}))
    joined = ops.concatenate([noise, condition], axis=-1)
    assert_close(layer.after_first(layer.first(joined)), expected, rtol=1e-6)
    one_row = numpy_of(layer({"noise": noise[:1], "condition": condition}))
    np.testing.assert_allclose(one_row[0], expected[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_any_number_of_rows(rows):
    assert tuple(small()(np.ones((rows, 3), "float32")).shape) == (rows, 53)


# The plan.


def stored_plans():
    plans = json.loads((VECTORS / "deconv_layer_plans.json").read_text())["plans"]
    return [pytest.param(plan, id=str(plan["hyper_img_shape"])) for plan in plans]


@pytest.mark.parametrize("stored", stored_plans())
def test_plan_of_the_predecessor(stored):
    count, kernel_size = stored["num_layers"] - 1, stored["kernel_size"]
    kernels = image_plan.kernel_sizes_of(kernel_size, count)
    start, convs = image_plan.plan(stored["hyper_img_shape"][:2], kernels)
    assert list(start) == stored["fc_spatial"]
    assert [list(conv.strides) for conv in convs] == stored["strides"]
    assert [list(conv.size) for conv in convs] == stored["layer_output_sizes"]
    crops = [
        [(p, p - q) for p, q in zip(*pads)]
        for pads in zip(stored["paddings"], stored["output_paddings"])
    ]
    assert [list(conv.crop) for conv in convs] == crops


def test_every_plan_makes_its_image():
    for size in range(1, 60):
        for kernel in range(3, 8):
            (before, _), convs = image_plan.plan((size, size), [(kernel, kernel)] * 3)
            for conv in convs:
                (start, end), stride = conv.crop[0], conv.strides[0]
                assert start >= 0
                assert end >= 0
                before = (before - 1) * stride + kernel - start - end
                assert before == conv.size[0]
            assert before == size


@pytest.mark.parametrize(
    ("kernel_size", "stride"), [(1, 1), (4, 1), (5, 1), (2, 2), (3, 2), (4, 2), (5, 2)]
)
def test_keras_makes_the_whole_transposed_convolution(kernel_size, stride, rng):
    x = rng.normal(size=(1, 3, 1, 2)).astype("float32")
    layer = keras.layers.Conv2DTranspose(
        4, (kernel_size, 1), (stride, 1), padding="valid", data_format="channels_last"
    )
    length = 2 * stride + kernel_size
    assert tuple(layer(x).shape) == (1, length, 1, 4)
    expected = transposed_conv(
        x, numpy_of(layer.kernel), (stride, 1), [(0, 0), (0, 0)], (length, 1)
    )
    assert_close(layer(x), expected, rtol=1e-5, atol=1e-6)


# Its variables.


def test_gradients_reach_every_variable(rng):
    layer = small(bias_initializer=SPREAD, activation="tanh", batch_normalization=True)
    z = rng.normal(size=(4, 3)).astype("float32")
    outputs = numpy_of(layer(z))
    seeds = rng.normal(size=outputs.shape)
    gammas = [layer.dense_attention.gamma, layer.convs[0].attention.gamma]
    for gamma in gammas:
        gamma.assign(0.5)
    of_variables, _ = gradients(layer, [z], seeds)
    assert len(of_variables) == len(layer.trainable_variables)
    for variable, gradient in zip(layer.trainable_variables, of_variables):
        if "key/bias" in variable.path:  # adds one number to all scores of a pixel
            np.testing.assert_allclose(gradient, 0, atol=1e-4)
        else:
            assert np.abs(gradient).max() > 1e-6, variable.path


def test_gradients_are_finite_differences(rng):
    layer = small(bias_initializer=SPREAD, activation="tanh")
    z = rng.normal(size=(2, 3)).astype("float32")
    layer(z)
    for attention in (layer.dense_attention, layer.convs[0].attention):
        attention.gamma.assign(0.5)
    seeds = rng.normal(size=(2, 53))
    of_variables, (of_z,) = gradients(layer, [z], seeds)

    def loss(z):
        return (numpy_of(layer(z.astype("float32"))) * seeds).sum()

    step = rng.normal(size=z.shape)
    slope = (loss(z + 1e-2 * step) - loss(z - 1e-2 * step)) / 2e-2
    np.testing.assert_allclose((of_z * step).sum(), slope, rtol=1e-2)
    for variable, gradient in zip(layer.trainable_variables, of_variables):
        before, step = numpy_of(variable), rng.normal(size=variable.shape)
        step = step / np.linalg.norm(step)
        sums = []
        for sign in (1, -1):
            variable.assign(before + sign * 2e-2 * step)
            sums.append(loss(z))
        variable.assign(before)
        slope = (sums[0] - sums[1]) / 4e-2
        np.testing.assert_allclose(
            (gradient * step).sum(), slope, rtol=2e-2, atol=2e-3, err_msg=variable.path
        )


def test_equal_shapes_get_unequal_weights():
    layer = small(filters=(8, 8, 8), kernel_initializer=keras.initializers.RandomNormal())
    layer.build((None, 3))
    first, second = (numpy_of(conv.conv.kernel) for conv in layer.convs[:2])
    assert np.abs(first - second).max() > 1e-3
    attention = layer.dense_attention
    assert np.abs(numpy_of(attention.query.kernel) - numpy_of(attention.key.kernel)).max() > 1e-3


def test_variables_of_two_generators_have_unequal_paths():
    layers = [small(batch_normalization=True) for _ in range(2)]
    paths = []
    for layer in layers:
        layer.build((None, 3))
        paths += [variable.path.split("/", 1)[1] for variable in layer.weights]
    assert len(set(paths)) == len(paths)


def test_without_bias_only_attention_and_normalization_have_some():
    layer = small(use_bias=False)
    layer.build((None, 3))
    biases = [v.path for v in layer.weights if "bias" in v.path]
    assert len(biases) == 6
    assert all("attention" in path for path in biases)


def test_regularizers_reach_all_layers():
    layer = small(kernel_regularizer="l2", bias_regularizer="l1", bias_initializer="ones")
    layer(np.ones((1, 3), "float32"))
    kernels = sum((numpy_of(v) ** 2).sum() for v in layer.weights if v.name == "kernel")
    biases = sum(np.abs(numpy_of(v)).sum() for v in layer.weights if v.name == "bias")
    np.testing.assert_allclose(
        sum(numpy_of(loss) for loss in layer.losses), 0.01 * (kernels + biases), rtol=1e-4
    )


# As a Keras layer.


def model_of(layer):
    z = keras.Input((3,))
    return keras.Model(z, layer(z))


def full(**options):
    return small(
        image_shape=(4, 4, 4),
        kernel_size=[(3, 4), 2],
        attention=[1],
        activation="tanh",
        batch_normalization=True,
        momentum=0.9,
        epsilon=1e-4,
        kernel_initializer="he_normal",
        bias_initializer="ones",
        kernel_regularizer="l2",
        bias_regularizer="l1",
        **options,
    )


@pytest.mark.parametrize("make", [small, full])
def test_config_round_trip(make):
    config = make(name="own").get_config()
    again = DeconvWeightGenerator.from_config(json.loads(json.dumps(config))).get_config()
    assert again == config


@pytest.mark.parametrize("make", [small, full])
def test_saved_and_loaded(make, rng, tmp_path):
    model, z = model_of(make()), rng.normal(size=(3, 3)).astype("float32")
    assert model.output.shape == (None, 53)
    for variable in model.variables:
        variable.assign(numpy_of(variable) + rng.uniform(0.1, 0.5, variable.shape))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(numpy_of(loaded(z)), numpy_of(model(z)))


def test_learns(rng):
    model = model_of(small(batch_normalization=True))
    jit_compile = BACKEND != "torch"
    model.compile(keras.optimizers.Adam(1e-2), "mse", jit_compile=jit_compile)
    z, y = (rng.normal(size=(8, n)).astype("float32") for n in (3, 53))
    losses = model.fit(z, y, batch_size=8, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]


def test_mixed_precision():
    layer = small(dtype="mixed_bfloat16", batch_normalization=True)
    weights = layer(np.ones((2, 3), "float32"))
    assert keras.backend.standardize_dtype(weights.dtype) == "bfloat16"
    assert {v.dtype for v in layer.weights} == {"float32"}


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a SavedModel")
def test_served_with_any_number_of_rows(rng, tmp_path):
    import tensorflow as tf

    model = model_of(small())
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    for rows in (1, 5):
        z = rng.normal(size=(rows, 3)).astype("float32")
        np.testing.assert_allclose(served.serve(z), numpy_of(model(z)), rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(BACKEND != "torch", reason="torch.export")
@features.with_export
def test_torch_export_with_a_dynamic_batch(rng, tmp_path):
    import torch

    model = model_of(small())
    batch = torch.export.Dim("batch", min=1, max=512)
    model.export(
        tmp_path / "model.pt2", format="torch", verbose=False, dynamic_shapes=(({0: batch},),)
    )
    exported = torch.export.load(tmp_path / "model.pt2").module()
    for rows in (2, 5):
        z = rng.normal(size=(rows, 3)).astype("float32")
        outputs = exported(torch.as_tensor(z)).detach().numpy()
        np.testing.assert_allclose(outputs, numpy_of(model(z)), rtol=1e-4, atol=1e-6)


def test_defaults():
    layer = DeconvWeightGenerator([(16, 16)], (16, 16))
    assert layer.filters == (1024, 512, 256, 128)
    assert layer.attention == (1, 3)
    assert layer.start_shape == (1024, 4, 4)
    assert [conv.filters for conv in layer.convs] == [512, 256, 128, 1]
    assert [conv.attention is not None for conv in layer.convs] == [True, False, True, False]


@pytest.mark.parametrize(
    ("options", "exception", "message"),
    [
        ({"image_shape": (7, 7)}, ValueError, "which has 49, 4 too few"),
        ({"image_shape": (64,)}, ValueError, "`image_shape` must be"),
        ({"image_shape": 8}, TypeError, "`image_shape` must be"),
        ({"image_shape": (8, 8.0)}, TypeError, r"`image_shape\[1\]`"),
        ({"filters": ()}, ValueError, "`filters` must not be empty"),
        ({"filters": 8}, TypeError, "`filters` must be a list"),
        ({"filters": (8, 0)}, ValueError, r"`filters\[1\]`"),
        ({"kernel_size": 0}, ValueError, "`kernel_size` must be a positive integer"),
        ({"kernel_size": 3.0}, TypeError, "`kernel_size` must be a positive integer"),
        ({"kernel_size": 1}, ValueError, "at least 3 in transposed convolution 2"),
        ({"kernel_size": [3, 3, 3]}, ValueError, "each of the 2 transposed convolutions"),
        ({"kernel_size": [3, (3, 3, 3)]}, ValueError, r"`kernel_size\[1\]` must be an integer"),
        ({"attention": 1}, TypeError, "`attention` must be a list"),
        ({"attention": (2,)}, ValueError, "from 0 to 1"),
        ({"attention": (-1,)}, ValueError, "must not be negative"),
        ({"attention": (1.0,)}, TypeError, r"`attention\[0\]`"),
        ({"attention": (1, 1)}, ValueError, "must not repeat"),
        ({"filters": (8, 7)}, ValueError, "8 filters or more"),
        ({"activation": "no"}, ValueError, "`activation`"),
        ({"momentum": 1}, ValueError, "`momentum`"),
        ({"epsilon": 0}, ValueError, "`epsilon`"),
        ({"num_conditions": 2}, TypeError, "num_conditions"),
    ],
)
def test_mistakes(options, exception, message):
    with pytest.raises(exception, match=message):
        small(**options)


def test_pixels_of_all_channels_count():
    assert math.prod(small(image_shape=(3, 6, 3)).image_shape) == 54
