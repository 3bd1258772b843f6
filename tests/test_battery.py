"""What every public layer must do: each test runs over every row of the table in `cases.py`."""

import contextlib
import copy
import json

import keras
import numpy as np
import pytest
from keras import ops, tree

import keras_hypernet as kh
from keras_hypernet.utils import keras_internals
from tests import features
from tests import reference as ref
from tests.backend import BACKEND, compiled, gradients, is_float, numpy_of, tensors_of
from tests.cases import CASES
from tests.rule_cases import HYPER_CASES


def over(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.id)


every_case = over(CASES)
# A class has one row or more; its first one stands for it where that costs much.
FIRST_ROWS = {case.id.split()[0]: case for case in reversed([*CASES, *HYPER_CASES])}
every_class = over(list(FIRST_ROWS.values()))
# Wrapped layers are compared with Keras', row by row, in `test_conformance.py`. JAX compiles
# every row for long.
every_layer = every_class if BACKEND == "jax" else over([*CASES, *HYPER_CASES])
every_mistake = pytest.mark.parametrize(
    ("call", "exception", "message"),
    [
        pytest.param(*mistake[1:], id=f"{case.id}: {mistake[0]}")
        for case in [*CASES, *HYPER_CASES]
        for mistake in case.bad
    ],
)


# On JAX every operation is compiled, which takes long; and it has no float16 attention on CPU, for
# Keras' layer neither.
POLICIES = ["mixed_bfloat16"] if BACKEND == "jax" else ["mixed_float16", "mixed_bfloat16"]
# With float16 the loss is scaled, which TensorFlow takes long to trace: once is enough.
TRAINED_POLICIES = POLICIES if BACKEND == "torch" else POLICIES[:1]


def values_of(layer):
    """The variables of a layer, then the frozen bases of the generators in it."""
    parts = layer.starting_parts() if hasattr(layer, "starting_parts") else []
    bases = [part.base for part, _ in parts if part.starts_from_base]
    values = [*layer.weights, *(0.0 if base is None else base for base in bases)]
    return [ref.cast(ops.convert_to_numpy(v)) for v in values]


def assert_close(actual, expected, **tolerance):
    tree.assert_same_structure(actual, expected)
    for a, e in zip(tree.flatten(actual), tree.flatten(expected), strict=True):
        assert a.shape == e.shape
        np.testing.assert_allclose(a, e, **tolerance)


def shapes_of(nest):
    return tree.map_structure(lambda x: tuple(x.shape), nest)


def model_data(case, rows, rng):
    model = case.model()
    y = rng.normal(size=(rows, *model.output.shape[1:])).astype("float32")
    return model, inputs_of_model(case, rows, rng), y


def inputs_of_model(case, rows, rng):
    inputs = case.model_inputs(rows, rng)
    return inputs if len(inputs) > 1 else inputs[0]


def test_the_table_has_every_public_layer():
    public = {n for n in kh.__all__ if isinstance(getattr(kh, n), type)}
    layers = {n for n in public if issubclass(getattr(kh, n), keras.layers.Layer)}
    elsewhere = {"ContinualModel", "HyperModel"}  # `test_continual_model.py`, `test_predict.py`
    assert layers - elsewhere == set(FIRST_ROWS)


@every_case
def test_values(case, rng):
    layer, inputs = case.layer(), case.inputs(6, rng)
    layer(*inputs)
    # Away from zeros and ones, where a scale or a bias would not be noticed.
    layer.set_weights([w + rng.uniform(0.1, 0.5, w.shape) for w in layer.get_weights()])
    outputs = numpy_of(layer(*inputs))
    expected = case.reference(values_of(layer), *ref.cast(inputs))
    assert_close(outputs, expected, rtol=1e-4, atol=1e-5)


@every_case
def test_values_compiled(case, rng):
    layer, inputs = case.layer(), tensors_of(case.inputs(6, rng))
    eager = numpy_of(layer(*inputs))
    assert_close(numpy_of(compiled(layer)(*inputs)), eager, rtol=1e-4, atol=1e-5)


@every_case
def test_gradients_are_the_finite_differences_of_the_reference(case, rng):
    layer, inputs = case.layer(), case.inputs(4, rng)
    outputs = numpy_of(layer(*inputs))
    seeds = tree.map_structure(lambda x: rng.normal(size=x.shape), outputs)
    of_variables, of_inputs = gradients(layer, inputs, seeds)
    values, flat = values_of(layer), tree.flatten(ref.cast(inputs))

    def loss():
        found = case.reference(values, *tree.pack_sequence_as(inputs, flat))
        pairs = zip(tree.flatten(found), tree.flatten(seeds), strict=True)
        return sum(np.sum(out * seed) for out, seed in pairs)

    # Behind the variables are the bases, which no gradient is for.
    trainable = [v for v, w in zip(values, layer.weights) if w.trainable]
    floating = [x for x in flat if x.dtype.kind == "f"]
    step = 1e-6
    for array, gradient in zip(trainable + floating, of_variables + of_inputs, strict=True):
        direction = rng.normal(size=array.shape)
        array += step * direction
        above = loss()
        array -= 2 * step * direction
        below = loss()
        array += step * direction
        expected = (above - below) / (2 * step)
        size = np.linalg.norm(gradient) * np.linalg.norm(direction)
        assert np.sum(gradient * direction) == pytest.approx(expected, abs=1e-4 * size + 1e-5)
        assert size > 0


@every_layer
def test_symbolic_outputs_are_what_comes_out(case, rng):
    inputs = case.inputs(6, rng)
    symbolic = tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype.name), inputs)
    shapes = shapes_of(inputs)
    for policy in ("float32", "mixed_bfloat16"):
        with policy_of(policy):
            layer = case.layer()
        specs, outputs = layer(*symbolic), layer(*inputs)
        tree.assert_same_structure(specs, outputs)
        assert layer.compute_output_shape(*shapes) == shapes_of(outputs)
        for spec, out in zip(tree.flatten(specs), tree.flatten(outputs), strict=True):
            assert spec.shape == tuple(out.shape)
            assert spec.dtype == keras.backend.standardize_dtype(out.dtype)


@every_case
def test_config_round_trip(case, rng):
    layer, inputs = case.layer(), case.inputs(6, rng)
    expected = numpy_of(layer(*inputs))
    config = json.dumps(layer.get_config())
    other = type(layer).from_config(json.loads(config))
    other(*inputs)
    assert json.dumps(other.get_config()) == config == json.dumps(layer.get_config())
    other.set_weights(layer.get_weights())
    assert_close(numpy_of(other(*inputs)), expected, rtol=1e-6)


@every_layer
def test_saved_and_loaded(case, rng, tmp_path):
    model, inputs, _ = model_data(case, 6, rng)
    expected = numpy_of(model(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(numpy_of(loaded(inputs)), expected)
    model.save_weights(tmp_path / "model.weights.h5")
    other = case.model()
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(numpy_of(other(inputs)), expected)


QUICK_TO_QUANTIZE = ("WeightGenerator", "ConditioningFeatures", "Hypernetwork")


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.id, marks=() if name in QUICK_TO_QUANTIZE else pytest.mark.slow)
        for name, case in FIRST_ROWS.items()
        if name != "Hyper"
    ],
)
def test_quantized_saved_and_loaded(case, rng, tmp_path):
    model, inputs, _ = model_data(case, 6, rng)
    expected = numpy_of(model(inputs))
    model.quantize("int8")
    quantized = [x for x in keras_internals.layers_in(model) if x.quantization_mode]
    outputs = numpy_of(model(inputs))
    scale = max(np.abs(y).max() for y in tree.flatten(expected))
    for y, e in zip(tree.flatten(outputs), tree.flatten(expected), strict=True):
        np.testing.assert_allclose(y, e, atol=(0.15 if quantized else 1e-6) * scale)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    again = [x for x in keras_internals.layers_in(loaded) if x.quantization_mode]
    assert len(again) == len(quantized)
    assert_close(numpy_of(loaded(inputs)), outputs, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # Keras, where a load fails
@pytest.mark.parametrize("start", [kh.BiasHyperInit(seed=3), kh.BiasHyperInit()])
def test_files_of_weights_are_for_their_base(start, rng, tmp_path):
    """Added to another base, or to none, the same numbers make other weights."""

    def model(initialization):
        z = keras.Input((5,))
        generator = kh.ChunkedWeightGenerator(
            [(3, 4)], 5, hidden_sizes=[3], initialization=initialization
        )
        return keras.Model(z, generator(z))

    saved, z = model(start), rng.normal(size=(2, 5)).astype("float32")
    saved.save_weights(tmp_path / "model.weights.h5")
    others = (kh.BiasHyperInit(seed=4), kh.BiasHyperInit({"kernel": "he_normal"}), None)
    for other in others:
        with pytest.raises(ValueError, match=r"same base.*a file with one"):
            model(other).load_weights(tmp_path / "model.weights.h5")
    loaded = model(start)
    loaded.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(numpy_of(loaded(z)), numpy_of(saved(z)))
    model(None).save_weights(tmp_path / "none.weights.h5")
    with pytest.raises(ValueError, match="a file without one"):
        loaded.load_weights(tmp_path / "none.weights.h5")


def flags_of(layer):
    return [variable.trainable for variable in layer.variables]


def freezings(layer):
    """Ways to freeze a layer, in whole or in part."""
    inside = keras_internals.layers_in(layer)[1:]
    yield "all", lambda: setattr(layer, "trainable", False)
    if inside and layer.trainable_variables:
        yield "a sublayer", lambda: setattr(inside[len(inside) // 2], "trainable", False)
        yield (
            "all but one",
            lambda: [
                setattr(part, "trainable", part is inside[-1]) for part in (layer, inside[-1])
            ],
        )
        yield "a variable", lambda: setattr(layer.trainable_variables[-1], "trainable", False)


@every_layer
def test_what_is_frozen_stays_frozen(case, rng, tmp_path):
    model = case.model()
    (layer,) = [x for x in model.layers if type(x).__module__.startswith("keras_hypernet")][-1:]
    for how, freeze in freezings(layer):
        layer.trainable = True
        freeze()
        expected = flags_of(model)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        for each in (loaded, keras.models.clone_model(loaded), copy.deepcopy(loaded)):
            assert flags_of(each) == expected, how


@every_class
def test_what_is_frozen_stays_frozen_in_a_config(case, rng):
    layer, inputs = case.layer(), case.inputs(6, rng)
    layer(*inputs)
    for how, freeze in freezings(layer):
        layer.trainable = True
        freeze()
        again = type(layer).from_config(layer.get_config())
        again = type(layer).from_config(again.get_config())  # of a layer that is not built yet
        again(*inputs)
        assert flags_of(again) == flags_of(layer), how


@every_layer
def test_paths_are_never_shared(case, rng):
    """PyTorch would train two variables of one path wrongly."""
    layer, inputs = case.layer(), case.inputs(6, rng)
    layers = [layer, *(type(layer).from_config(layer.get_config()) for _ in range(2))]
    paths = []
    for each in layers:
        each(*inputs)
        paths += [variable.path for variable in each.variables]
    assert len(set(paths)) == len(paths)


@every_layer
def test_fit(case, rng):
    model, inputs, y = model_data(case, 24, rng)
    # On TensorFlow, XLA takes long; the twins are compiled in `test_conformance.py`.
    first = case in CASES and case in FIRST_ROWS.values()
    jit = BACKEND == "jax" or (BACKEND == "tensorflow" and first)
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=jit)
    check_fit(model, inputs, y, epochs=12)


@every_class
@pytest.mark.skipif(BACKEND == "jax", reason="slow op by op, and eager calls are tested above")
def test_fit_eagerly(case, rng):
    model, inputs, y = model_data(case, 24, rng)
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False, run_eagerly=True)
    check_fit(model, inputs, y, epochs=2)


def check_fit(model, inputs, y, epochs):
    before = [ops.convert_to_numpy(v) for v in model.trainable_variables]
    if not before:
        pytest.skip("a hyper layer alone has nothing to train")
    history = model.fit(inputs, y, batch_size=12, epochs=epochs, verbose=0).history["loss"]
    assert history[-1] < history[0]
    for variable, old in zip(model.trainable_variables, before, strict=True):
        # A softmax does not see what is added to all its entries: the gradient is rounding only.
        rounding = variable.path.endswith("key/bias")
        assert rounding or np.any(ops.convert_to_numpy(variable) != old), variable.path


@every_layer
@pytest.mark.parametrize("policy", POLICIES)
def test_mixed_precision(case, policy, rng):
    inputs = case.inputs(6, rng)
    full = case.layer()
    expected = numpy_of(full(*inputs))
    with policy_of(policy):
        mixed = case.layer()
    mixed(*inputs)
    mixed.set_weights(full.get_weights())
    outputs = mixed(*inputs)
    assert {str(v.dtype) for v in mixed.weights} <= {"float32"}
    for out in tree.flatten(outputs):
        assert keras.backend.standardize_dtype(out.dtype) == policy.removeprefix("mixed_")
    outputs = tree.map_structure(lambda x: ops.cast(x, "float32"), outputs)
    assert_close(numpy_of(outputs), expected, rtol=0.05, atol=0.1)


@every_class
@pytest.mark.parametrize("policy", TRAINED_POLICIES)
def test_fit_in_mixed_precision(case, policy, rng):
    with policy_of(policy):
        model, inputs, y = model_data(case, 6, rng)
    if not model.trainable_variables:
        pytest.skip("a hyper layer alone has nothing to train")
    model.compile("adam", "mse")
    history = model.fit(inputs, y, batch_size=4, verbose=0).history  # the last batch is a short one
    assert np.isfinite(history["loss"][0])


@contextlib.contextmanager
def policy_of(policy):
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy("float32")


@every_class
def test_any_batch_size(case, rng):
    model = case.model()
    inputs = inputs_of_model(case, 7, rng)
    whole = model.predict(inputs, batch_size=7, verbose=0)
    for batch_size in (1, 3):  # 3 leaves a last batch of one
        parts = model.predict(inputs, batch_size=batch_size, verbose=0)
        np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)
    empty = model(tree.map_structure(lambda x: x[:0], inputs))
    assert tuple(empty.shape) == (0, *whole.shape[1:])


@every_case
def test_nan_passes_through(case, rng):
    inputs = case.inputs(4, rng)
    floating = [x for x in tree.flatten(inputs) if is_float(x)]
    for x in floating:
        x[0] = np.nan
    outputs = tree.flatten(numpy_of(case.layer()(*inputs)))
    assert any(np.isnan(out).any() for out in outputs) == bool(floating)


@every_class
@features.with_export
def test_export(case, rng, tmp_path):
    # Keras exports any model to PyTorch's format with a batch of one.
    model, inputs, _ = model_data(case, 1 if BACKEND == "torch" else 4, rng)
    expected = numpy_of(model(inputs))
    if BACKEND == "torch":
        import torch

        model.export(tmp_path / "model.pt2", format="torch", verbose=False)
        tensors = tree.map_structure(torch.as_tensor, inputs)
        outputs = torch.export.load(tmp_path / "model.pt2").module()(tensors)
        outputs = outputs.detach().numpy()
    else:
        import tensorflow as tf

        model.export(tmp_path / "model", verbose=False)
        served = tf.saved_model.load(tmp_path / "model")
        outputs = served.serve(inputs)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


@every_mistake
def test_bad_input(call, exception, message):
    with pytest.raises(exception, match=message):
        call()
