"""What a user may expect of any Keras model: exported, distributed, compiled, quantized."""

import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from keras import ops

import keras_hypernet as kh
from tests import features
from tests.backend import BACKEND, assert_model_torch_compiles, numpy_of
from tests.test_hypernetwork import GENERATORS, mlp_data, mlp_model

only = {
    backend: pytest.mark.skipif(backend != BACKEND, reason=f"a feature of {backend}")
    for backend in ("jax", "tensorflow", "torch")
}


def model_and_data(rng, rows=8, groups=None, **options):
    model = kh.build(4, 3, [(3, 6), (6, 2)], hidden_sizes=[5], **options)
    conditioning = rng.normal(size=(groups or rows, 4)).astype("float32")
    return model, [conditioning, rng.normal(size=(rows, 3)).astype("float32")]


@pytest.mark.parametrize("contraction", ["materialize", "project", "outer"])
@only["tensorflow"]
def test_saved_model_serves_any_rows_that_divide(contraction, rng, tmp_path):
    import tensorflow as tf

    model, _ = model_and_data(rng, contraction=contraction)
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    for rows, groups in ((1, 1), (8, 8), (8, 4), (9, 1)):
        _, inputs = model_and_data(rng, rows, groups)
        expected = numpy_of(model(inputs))
        np.testing.assert_allclose(served.serve(inputs), expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError):
        served.serve(model_and_data(rng, 6, 4)[1])


@only["jax"]
def test_saved_model_from_jax_serves_equal_rows(rng, tmp_path):
    import tensorflow as tf

    model, _ = model_and_data(rng)
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    for rows in (1, 8):
        _, inputs = model_and_data(rng, rows)
        expected = numpy_of(model(inputs))
        np.testing.assert_allclose(served.serve(inputs), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("contraction", ["materialize", "project", "outer"])
@only["torch"]
@features.with_export
def test_torch_export_with_a_dynamic_batch(contraction, rng, tmp_path):
    import torch

    model, _ = model_and_data(rng, contraction=contraction)
    batch = torch.export.Dim("batch", min=1, max=512)
    model.export(
        tmp_path / "model.pt2",
        format="torch",
        verbose=False,
        dynamic_shapes=(([{0: batch}, {0: batch}],),),
    )
    exported = torch.export.load(tmp_path / "model.pt2").module()
    for rows in (2, 8):
        _, inputs = model_and_data(rng, rows)
        expected = numpy_of(model(inputs))
        outputs = exported([torch.as_tensor(x) for x in inputs]).detach().numpy()
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("contraction", ["materialize", "project", "outer"])
def test_many_steps_per_execution(contraction, rng):
    if BACKEND == "torch":
        pytest.skip("Keras refuses steps_per_execution on PyTorch")
    model, inputs = model_and_data(rng, rows=40, contraction=contraction)
    model.compile(keras.optimizers.Adam(0.01), "mse", steps_per_execution=3)
    y = rng.normal(size=(40, 2)).astype("float32")
    history = model.fit(inputs, y, batch_size=6, epochs=15, verbose=0).history["loss"]
    assert history[-1] < history[0]


def test_training_repeats_from_a_seed(rng):
    """Two runs from one seed are equal: nothing depends on names, ids or dict order."""
    found = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        model, inputs = model_and_data(np.random.default_rng(0), dropout=0.2)
        model.compile("adam", "mse")
        model.fit(inputs, np.ones((8, 2)), epochs=2, verbose=0)
        found.append(model.predict(inputs, verbose=0))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    "contraction", ["materialize", pytest.param("project", marks=pytest.mark.slow)]
)
def test_quantized_to_int8(contraction, rng):
    model, inputs = model_and_data(rng, contraction=contraction)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    expected = model.predict(inputs, verbose=0)
    model.quantize("int8")
    outputs = model.predict(inputs, verbose=0)
    assert np.abs(outputs - expected).max() < 0.05 * np.abs(expected).max()


def run(code, *flags, **environment):
    """Runs code in a process of its own, with flags of Python; what it prints."""
    result = subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(code)],
        env={**os.environ, "KERAS_BACKEND": BACKEND, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["-O", "-OO"])
def test_without_asserts_and_docstrings(flag):
    code = """
    import keras, numpy as np, tempfile, keras_hypernet as kh

    for name in dir(kh):
        getattr(kh, name)
    layers = [keras.layers.Dense(3, "relu"), keras.layers.LayerNormalization()]
    plain = keras.Sequential([keras.Input((4,)), *layers])
    for mode in ("replace", "delta"):
        model = kh.hypernetize(plain, 2, mode=mode)
        model.compile("sgd", "mse")
        model.fit([np.ones((4, 2)), np.ones((4, 4))], np.ones((4, 3)), verbose=0)
        path = tempfile.mkdtemp() + "/model.keras"
        model.save(path)
        keras.saving.load_model(path).summary()
        kh.specialize(model, np.ones((1, 2)))
        print(kh.describe(model))
    assert False
    """
    assert "kernels generated or updated" in run(code, flag)


TRAIN = """
import keras, numpy as np, keras_hypernet as kh

def trained():
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    model = kh.build(4, 3, [(3, 6), (6, 2)], hidden_sizes=[8])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    inputs = [rng.normal(size=(20, 4)), rng.normal(size=(20, 3))]
    model.fit(inputs, rng.normal(size=(20, 2)), batch_size=8, epochs=2, shuffle=False, verbose=0)
    return model, model.predict(inputs, batch_size=4, verbose=0)

"""


@pytest.mark.slow
@only["jax"]
@pytest.mark.parametrize(
    "distribution",
    [
        "keras.distribution.DataParallel(devices=devices)",
        """keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")""",
    ],
    ids=["DataParallel", "LayoutMap"],
)
def test_two_devices_train_as_one(distribution):
    code = (
        TRAIN
        + f"""
_, alone = trained()
devices = keras.distribution.list_devices("cpu")
assert len(devices) == 2
mesh = keras.distribution.DeviceMesh((1, 2), ["batch", "model"], devices)
layout = keras.distribution.LayoutMap(mesh)
layout[r".*weight_gen_\\d+/head_\\d+/kernel"] = (None, "model")
layout[r".*weight_gen_\\d+/head_\\d+/bias"] = ("model",)
distribution = {distribution}
with distribution.scope():
    model, together = trained()
    sharding = model.get_layer("weight_gen_0").head.kernel.value.sharding
    print(sharding.is_fully_replicated)
np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)
"""
    )
    printed = run(code, XLA_FLAGS="--xla_force_host_platform_device_count=2")
    assert printed.split()[-1] == str("DataParallel" in distribution)


@pytest.mark.slow
@only["tensorflow"]
def test_mirrored_strategy_trains_as_one_device():
    code = (
        """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""
        + TRAIN
        + """
_, alone = trained()
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    _, together = trained()
assert strategy.num_replicas_in_sync == 2
np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
"""
    )
    run(code)


@pytest.mark.slow
@only["torch"]
@pytest.mark.parametrize("contraction", ["materialize", "project"])
def test_torch_compile(contraction, rng, fresh_compiler):
    assert_model_torch_compiles(*model_and_data(rng, 16, contraction=contraction), whole=True)


@pytest.mark.slow
@only["torch"]
def test_fit_under_torch_compile(rng, fresh_compiler):
    ids, x = keras.Input((), dtype="int32"), keras.Input((3,))
    generator = kh.WeightGenerator([(3, 2), (2,)], batch_normalization=True, dropout=0.1)
    model = keras.Model(
        [ids, x], kh.Hyper(keras.layers.Dense(2))(x, kh.TaskWeights(generator, 4)(ids))
    )
    inputs = [np.arange(16) % 4, rng.normal(size=(16, 3)).astype("float32")]
    eager = model.predict(inputs, verbose=0)
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=True)
    np.testing.assert_allclose(model.predict(inputs, verbose=0), eager, rtol=1e-4, atol=1e-6)
    y = rng.normal(size=(16, 2)).astype("float32")
    history = model.fit(inputs, y, batch_size=8, epochs=10, verbose=0).history["loss"]
    assert history[-1] < history[0]


def test_a_wheel_needs_only_keras_and_numpy():
    """What the package imports, besides what its backend brings."""
    code = "import sys, keras; before = set(sys.modules); import keras_hypernet; " + (
        "print({m.split('.')[0] for m in set(sys.modules) - before} - {'keras_hypernet'})"
    )
    printed = run(code)
    assert printed.strip().splitlines()[-1] in ("set()", "{'keras'}")
    assert ops.shape(np.zeros(2)) == (2,)


@pytest.mark.slow
@only["torch"]
@pytest.mark.parametrize("name", sorted(GENERATORS.keys() - {"chunked", "deconv", "statistics"}))
def test_torch_compile_of_other_generators(name, rng, fresh_compiler):
    model, _ = mlp_model(GENERATORS[name])
    # What Keras draws is no part of a graph.
    assert_model_torch_compiles(model, mlp_data(rng)[0], whole=name != "perturbed")
