"""Dtype policies: an output has the compute dtype of its own layer, whatever is inside."""

import keras
import numpy as np
import pytest
from keras import layers, ops, tree

import keras_hypernet as kh
from keras_hypernet.layers.hyper_layer import HyperLayer
from tests import reference as ref
from tests.backend import BACKEND, numpy_of
from tests.cases import CASES
from tests.conformance_blocks import Twice
from tests.generator_cases import CONDITIONS, IDS, Z, options
from tests.test_battery import assert_close, every_layer, policy_of

# Without a switch of its own JAX has no float64; Keras' layers then make float32.
no_float64 = pytest.mark.skipif(BACKEND == "jax", reason="JAX has no float64 unless asked for")
FLOAT64 = pytest.param("float64", marks=no_float64)
# JAX compiles every operation.
HALVES = ["bfloat16"] if BACKEND == "jax" else ["float16", "bfloat16"]


def dtypes_of(outputs):
    return {keras.backend.standardize_dtype(y.dtype) for y in tree.flatten(outputs)}


def symbolic(inputs):
    return tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype.name), inputs)


def as_float32(outputs):
    return numpy_of(tree.map_structure(lambda y: ops.cast(y, "float32"), outputs))


# Mixed policies are in `test_battery.py`.
@every_layer
@pytest.mark.parametrize("policy", [*HALVES, FLOAT64])
def test_whole_policies(case, policy, rng):
    with policy_of(policy):
        layer = case.layer()
    inputs = case.inputs(6, rng)
    outputs = layer(*inputs)
    assert dtypes_of(outputs) == dtypes_of(layer(*symbolic(inputs))) == {policy}
    assert all(np.isfinite(y).all() for y in tree.flatten(as_float32(outputs)))


def with_policy(layer, policy):
    """The layer made anew with another policy, its parts with the one that they have."""
    return type(layer).from_config({**layer.get_config(), "dtype": policy})


WITH_PARTS = [c for c in CASES if {"generator", "generators"} & set(c.layer().get_config())]
PAIRS = [("mixed_bfloat16", "float32"), ("float32", "mixed_bfloat16")]
if BACKEND != "jax":
    PAIRS += [
        ("mixed_float16", "float32"),
        ("bfloat16", "float16"),
        ("float64", "float32"),
        ("float32", "float64"),
    ]


@pytest.mark.parametrize("case", WITH_PARTS, ids=lambda case: case.id)
@pytest.mark.parametrize(("policy", "of_parts"), PAIRS)
def test_parts_of_another_policy(case, policy, of_parts, rng):
    inputs, full = case.inputs(6, rng), case.layer()
    expected = numpy_of(full(*inputs))
    with policy_of(of_parts):
        layer = case.layer()
    layer = with_policy(layer, policy)
    layer(*inputs)
    layer.set_weights(full.get_weights())
    outputs, dtype = layer(*inputs), policy.removeprefix("mixed_")
    assert dtypes_of(outputs) == dtypes_of(layer(*symbolic(inputs))) == {dtype}
    assert_close(as_float32(outputs), expected, rtol=0.05, atol=0.1)


# Models whose layers have several policies, as Keras advises: the last one in full precision.

HALF = "mixed_bfloat16"


def several_policies(policy=HALF):
    return keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            layers.Embedding(7, 4, dtype=policy),
            layers.Conv1D(3, 2, kernel_regularizer="l2", dtype=policy, name="conv"),
            layers.LayerNormalization(dtype=policy, name="norm"),
            layers.Flatten(dtype=policy),
            layers.Dense(2, dtype="float32", name="logits"),
        ]
    )


def ids_of(rng):
    return rng.integers(7, size=(4, 5)).astype("int32")


def small(spec):
    return kh.WeightGenerator(spec, hidden_sizes=[4], dtype="float32")


every_mode = pytest.mark.parametrize(
    ("mode", "generator"),
    [("replace", None), ("delta", small), ("low_rank", None), ("low_rank", small)],
)


def assert_symbols_are_what_comes_out(model, inputs):
    """Shapes and dtypes of all tensors inside a functional model."""
    symbols = tree.flatten([operation.output for operation in model.operations])
    for symbol, found in zip(symbols, keras.Model(model.inputs, symbols)(inputs), strict=True):
        assert dtypes_of(found) == {symbol.dtype}, symbol
        assert all(n in (None, m) for n, m in zip(symbol.shape, found.shape, strict=True)), symbol


@every_mode
@pytest.mark.parametrize("policy", [HALF, FLOAT64])
def test_hypernetized_layers_keep_their_policies(mode, generator, policy, rng):
    target, x = several_policies(policy), ids_of(rng)
    hyper = kh.hypernetize(target, 3, mode=mode, generator=generator)
    z = rng.normal(size=(4, 3)).astype("float32")
    assert_symbols_are_what_comes_out(hyper, [z, x])
    for layer in hyper.layers:
        if isinstance(layer, HyperLayer):
            assert layer.dtype_policy == target.get_layer(layer.name).dtype_policy
    y = numpy_of(hyper([z, x]))
    if mode != "replace":
        assert_close(y, numpy_of(target(x)), rtol=0.02, atol=0.02)
    plain = kh.specialize(hyper, z[:1])
    assert dtypes_of(plain(x)) == {"float32"}
    assert_close(numpy_of(plain(x)), numpy_of(hyper([z[:1], x])), rtol=0.02, atol=0.02)
    assert all(len(w) == 4 for w in kh.target_weights(hyper, z).values())


@pytest.mark.parametrize("targets", ["weights", "copy"])
def test_tasks_of_a_model_of_several_policies(targets, rng):
    model = kh.hypernetize(several_policies(), 3, mode="delta")
    model = kh.ContinualModel(model, num_tasks=2, targets=targets)
    model.compile("adam", "mse")
    for name in ("first", "second"):
        model.begin_task(name)
        history = model.fit(ids_of(rng), np.ones((4, 2)), verbose=0).history
        assert np.isfinite(history["loss"][0])
    assert dtypes_of(model(ids_of(rng))) == {"float32"}


@pytest.mark.parametrize("policy", ["float16", "bfloat16", HALF])
def test_statistics_per_condition_move_in_half_precision(policy):
    generator = kh.WeightGenerator(
        [(3,)], **options(batch_normalization=True, num_conditions=CONDITIONS), dtype=policy
    )
    for training in (True, False):
        weights = generator({"condition": Z, "condition_id": IDS}, training=training)
        assert dtypes_of(weights) == {policy.removeprefix("mixed_")}
    mean, _ = (v for v in generator.variables if v.name.startswith("moving_"))
    assert np.abs(as_float32(mean)[IDS]).sum() > 0 == np.abs(as_float32(mean)[2:]).sum()


@no_float64
def test_float64_is_computed_in_float64(rng):
    x, rows = rng.normal(size=(4, 3, 6)), 2
    for layer in (
        kh.Hyper(keras.layers.Dense(5, dtype="float64")),
        kh.Hyper(
            keras.layers.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d", dtype="float64")
        ),
    ):
        weights = rng.normal(size=(rows, layer.spec(x.shape).total))
        expected = ref.dense_rows(x, weights, 5)
        np.testing.assert_allclose(numpy_of(layer(x, weights)), expected, rtol=1e-12, atol=1e-12)
    basis, features = rng.normal(size=(4, 35)), rng.normal(size=(rows, 4))
    factored = {"basis": basis, "features": features, "offset": rng.normal(size=35)}
    flat = features @ basis + factored["offset"]
    for contraction in ("materialize", "project", "outer"):
        layer = kh.Hyper(keras.layers.Dense(5, dtype="float64"), contraction=contraction)
        expected = ref.dense_rows(x, flat, 5)
        np.testing.assert_allclose(numpy_of(layer(x, factored)), expected, rtol=1e-12, atol=1e-12)


def test_an_update_of_several_dtypes(rng):
    """Of an embedding, which casts no argument: nor does its twin."""
    layer, ids = kh.Hyper(keras.layers.Embedding(5, 3, dtype=HALF)), np.array([[0, 4], [2, 2]])
    base, down, up = (rng.normal(size=s).astype("float32") for s in [(5, 3), (2, 5, 1), (2, 1, 3)])
    half = ops.cast(base, "bfloat16")
    y = layer(ids, {"embeddings": {"base": half, "down": down, "up": up}})
    assert dtypes_of(y) == {"bfloat16"}
    expected = [(base + d @ u)[i] for d, u, i in zip(down, up, ids)]
    assert_close(as_float32(y), np.stack(expected), rtol=0.05, atol=0.05)


def test_shapes_of_a_block_have_its_dtype():
    block = Twice(nested=True, dtype=HALF)
    hyper = kh.Hyper(block)
    weights = keras.KerasTensor((None, hyper.spec((None, 5, 3)).total))
    assert hyper(keras.KerasTensor((None, 5, 3)), weights).dtype == "bfloat16"


def test_a_wrapped_layer_keeps_its_policy(rng):
    x, weights = rng.normal(size=(4, 6, 4)), rng.normal(size=(1, 81))
    x, weights = x.astype("float32"), weights.astype("float32")
    for policy, dtype in (("float32", "float32"), (HALF, "bfloat16")):
        wrapper = kh.Hyper(layers.GRU(3, return_state=True, dtype=policy), shared=True)
        assert dtypes_of(wrapper(x, weights)) == dtypes_of(wrapper(*symbolic([x, weights])))
        assert dtypes_of(wrapper(x, weights)) == {dtype}
        shapes = [tuple(y.shape) for y in wrapper(x, weights)]
        assert list(wrapper.compute_output_shape(x.shape, weights.shape)) == shapes
