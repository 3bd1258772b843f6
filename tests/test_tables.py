"""`tabulate`: weights of known conditions in tables, in Keras, in files and outside of Keras."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_hypernet as kh
from keras_hypernet.generators.generator import Generator
from keras_hypernet.models.graph_reader import CallGraph
from tests.backend import BACKEND
from tests.whole_models import (
    SIZE,
    WHOLE,
    assert_close,
    floats,
    padded_ids,
    predict,
    residual_cnn,
    settle,
)

CONDITIONS = 5
ROWS = np.array([4, 0, 1, 1, 3, 2])
QUICK = ("residual cnn low rank", "nested delta")


def slow(name):
    return pytest.param(name, marks=pytest.mark.slow)


def cnn():
    x = keras.Input((6, 6, 1), name="image")
    y = layers.Conv2D(2, 3, padding="same", activation="relu", name="conv")(x)
    y = layers.BatchNormalization(name="norm")(y)
    return keras.Model(x, layers.Dense(3, name="head")(layers.Flatten()(y)), name="cnn")


def of_vectors(hyper, data, size=SIZE):
    """A model, values of its conditioning for all conditions, and a function of data for rows."""
    return hyper, lambda rng: [rng.normal(size=(CONDITIONS, size)).astype("float32")], data


def two_conditions():
    """A nested hypernetwork that is called with two conditionings, one layer beside it in both."""
    inner = kh.hypernetize(cnn(), SIZE, mode="delta")
    a, b = keras.Input((SIZE,), name="a"), keras.Input((SIZE,), name="b")
    image = keras.Input((6, 6, 1), name="image")
    outer = keras.Model([a, b, image], inner([a, image]) - 2.0 * inner([b, image]))
    draw = floats((SIZE,), (SIZE,))
    return outer, lambda rng: draw(rng, CONDITIONS), floats((6, 6, 1))


def condition_in_the_data():
    """What the weights are generated from is data, too."""
    z, x = keras.Input((SIZE,), name="z"), keras.Input((3,), name="x")
    weights = kh.WeightGenerator([(3, 2), (2,)])(z)
    y = kh.Hyper(layers.Dense(2))(x, weights)
    return of_vectors(keras.Model([x, z], layers.Concatenate()([y, z])), floats((3,)))


def of_ids():
    ids, x = keras.Input((), dtype="int32", name="user"), keras.Input((3,))
    generator = kh.ChunkedWeightGenerator([(3, 2), (2,)], chunk_size=5)
    weights = kh.Hypernetwork(generator, num_conditions=9)(ids)
    model = keras.Model([ids, x], kh.Hyper(layers.Dense(2))(x, 1.5 * weights))
    return model, lambda rng: [np.array([8, 1, 0, 5, 3], "int32")], floats((3,))


def by_name():
    """Weights by name: generated, factored, an update, and an ordinary one."""
    z, x = keras.Input((SIZE,), name="z"), keras.Input((3,), name="x")

    def made(*shape, **options):
        return kh.WeightGenerator([shape], **options)(z)

    layer, other = kh.Hyper(layers.Dense(4)), kh.Hyper(layers.Dense(2))
    bias = np.ones((1, 2), "float32")
    layer.spec(x.shape), other.spec((None, 4))
    down, up = ops.reshape(made(3, 2), (-1, 3, 2)), ops.reshape(made(2, 4), (-1, 2, 4))
    update = {"base": ops.ones((3, 4)), "down": down, "up": up}
    y = layer(x, {"kernel": update, "bias": made(4)})
    y = other(y, {"kernel": made(4, 2, factored=True, hidden_sizes=[3]), "bias": bias})
    return of_vectors(keras.Model([z, x], y), floats((3,)))


MODELS = {
    "build": lambda: of_vectors(
        kh.build(2, 3, [(3, 5), (5, 2)], hidden_sizes=[6]), floats((3,)), size=2
    ),
    "contracted": lambda: of_vectors(
        kh.build(2, 30, [(30, 20)], hidden_sizes=[2], contraction="outer"), floats((30,)), size=2
    ),
    "film": lambda: of_vectors(
        kh.hypernetize(cnn(), SIZE, select=["*/gamma", "*/beta"]), floats((6, 6, 1))
    ),
    "scale": lambda: of_vectors(
        kh.hypernetize(cnn(), SIZE, mode="low_rank", generate="scale", freeze="all"),
        floats((6, 6, 1)),
    ),
    "chunks": lambda: of_vectors(
        kh.hypernetize(
            cnn(), SIZE, generator=lambda spec: kh.ChunkedWeightGenerator(spec, chunk_size=20)
        ),
        floats((6, 6, 1)),
    ),
    "two conditions": two_conditions,
    "condition in the data": condition_in_the_data,
    "ids": of_ids,
    "by name": by_name,
}


def _names(model):
    return [symbol.name for symbol in model.inputs]


@pytest.mark.parametrize("name", [slow(n) if n in ("chunks", "build") else n for n in MODELS])
def test_a_table_gives_what_the_generator_does(name, rng, tmp_path):
    model, draw, data = MODELS[name]()
    settle(model, rng)
    conditions, x = draw(rng), data(rng, len(ROWS))
    tables = kh.tabulate(model, conditions)
    x = x if isinstance(x, list) else [x]
    if name == "condition in the data":  # whose place is the second
        given, taken = [*x, conditions[0][ROWS]], [*x, ROWS, conditions[0][ROWS]]
    else:
        given, taken = [*(c[ROWS] for c in conditions), *x], [ROWS, *x]
    expected = predict(model, given)
    assert_close(predict(tables, taken), expected)
    assert np.abs(expected - np.roll(expected, 2, axis=0)).max() > 1e-3
    assert "row" in _names(tables)
    assert not CallGraph(tables).calls_of(Generator)
    tables.save(tmp_path / "tables.keras")
    loaded = keras.saving.load_model(tmp_path / "tables.keras", safe_mode=True)
    assert_close(loaded.predict(taken, batch_size=4, verbose=0), expected)


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(w, id=w.name, marks=[] if w.name in QUICK else pytest.mark.slow)
        for w in WHOLE
        if not w.slow
    ],
)
def test_whole_models(whole, rng):
    model = whole.make()
    hyper = settle(whole.hyper(model), rng)
    conditions = [rng.normal(size=(CONDITIONS, SIZE)).astype("float32")]
    own = floats((2,))(rng, CONDITIONS)
    rows = ROWS[:1] if whole.shared else ROWS
    data = whole.data(rng, len(ROWS))
    data = list(data.values()) if isinstance(data, dict) else data
    data = data if isinstance(data, list) else [data]
    if whole.own_conditions:
        conditions, data = [*conditions, own], data[whole.own_conditions :]
    if isinstance(whole.data(rng, 1), dict):
        names = [symbol.name for symbol in hyper.inputs[1:]]
        given = whole.data(rng, len(ROWS))
        data = [given[name] for name in names]
    tables = kh.tabulate(hyper, conditions)
    expected = predict(hyper, [*(c[rows] for c in conditions), *data])
    assert_close(predict(tables, [rows, *data]), expected)


def test_groups_of_rows_one_condition_and_training(rng):
    hyper = settle(kh.hypernetize(cnn(), SIZE, mode="low_rank", rank=1, freeze="all"), rng)
    z, x = floats((SIZE,), (6, 6, 1))(rng, 4)
    tables = kh.tabulate(hyper, z)
    grouped = predict(tables, [np.array([1, 3]), x])
    assert_close(grouped, predict(hyper, [z[[1, 1, 3, 3]], x]))
    single = kh.tabulate(hyper, z[:1])
    assert_close(predict(single, [np.zeros(4, "int32"), x]), predict(hyper, [z[[0] * 4], x]))
    # The tables alone are trained, and only the rows that were in the batch.
    assert {v.path.split("/")[-1] for v in tables.trainable_variables} == {"table"}
    before = [np.array(ops.convert_to_numpy(v)) for v in tables.variables]
    tables.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=BACKEND == "jax")
    tables.fit([np.array([2, 2, 2, 2]), x], np.ones((4, 3)), verbose=0)
    for variable, old in zip(tables.variables, before):
        new = ops.convert_to_numpy(variable)
        moved = {i for i in range(len(old)) if (new[i] != old[i]).any()} if old.ndim else set()
        assert moved <= ({2} if variable.path.endswith("/table") else set())


def test_the_layers_themselves(rng, tmp_path):
    model = cnn()
    hyper = settle(kh.hypernetize(model, SIZE, mode="delta", copy=False), rng)
    z, x = floats((SIZE,), (6, 6, 1))(rng, 4)
    with pytest.raises(TypeError, match=r"`copy` must be"):
        kh.tabulate(hyper, z, copy="no")
    tables = kh.tabulate(hyper, z, copy=False)
    assert any(v is model.get_layer("conv").kernel for v in tables.variables)
    model.get_layer("conv").kernel.assign(np.ones((3, 3, 1, 2)))
    assert_close(predict(tables, [np.arange(4), x]), predict(hyper, [z, x]))


def test_mixed_precision(rng):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        hyper = settle(kh.hypernetize(cnn(), SIZE), rng)
        z, x = floats((SIZE,), (6, 6, 1))(rng, 4)
        tables = kh.tabulate(hyper, z)
    finally:
        keras.config.set_dtype_policy("float32")
    found, expected = tables([np.arange(4), x]), hyper([z, x])
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
    found, expected = (ops.convert_to_numpy(ops.cast(y, "float32")) for y in (found, expected))
    np.testing.assert_allclose(found, expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("copy", [True, False])
def test_a_block_that_contracts_factors(copy, rng):
    """Its own state comes along."""
    chain = [layers.Dense(4), layers.BatchNormalization(), layers.Dense(2)]
    block = keras.Sequential([keras.Input((3,)), *chain])
    z, x = keras.Input((SIZE,)), keras.Input((3,))
    shapes = [tuple(v.shape) for v in block.trainable_variables]
    weights = kh.WeightGenerator(shapes, factored=True, initialization="hyper_fan_in")(z)
    hyper = kh.Hyper(block, contraction="project")
    model = keras.Model([z, x], hyper(x, weights))
    settle(model, rng)
    z, x = floats((SIZE,), (3,))(rng, CONDITIONS)
    tables = kh.tabulate(model, z, copy=copy)
    assert_close(predict(tables, [np.arange(CONDITIONS), x]), predict(model, [z, x]))


def test_tables_of_what_is_frozen_are_frozen(rng):
    model = kh.build(2, 3, [(3, 4)])
    model.get_layer("weight_gen_0").trainable = False
    assert not kh.tabulate(model, np.ones((5, 2))).trainable_variables


@pytest.mark.parametrize("row", [5, -1])
def test_a_row_that_there_is_not(row, rng):
    tables = kh.tabulate(kh.build(2, 3, [(3, 4)]), np.ones((5, 2)))
    rows, x = np.array([0, row]), np.ones((2, 3), "float32")
    with pytest.raises(ValueError, match=rf"`row` must be in 0 ... 4.*to {max(rows)}"):
        tables([rows, x])
    if BACKEND == "torch":
        return
    tables.compile(jit_compile=True)
    found = tables.predict([rows, x], verbose=0)
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[0]).all()
    if BACKEND == "tensorflow":
        tables.compile(jit_compile=False)
        with pytest.raises(Exception, match=r"indices.* = 5 is not in \[0, 5\)"):
            tables.predict([rows, x], verbose=0)


def test_refused(rng):
    model = kh.build(2, 3, [(3, 4)])
    z, x = np.ones((5, 2), "float32"), np.ones((4, 3), "float32")
    with pytest.raises(ValueError, match=r"must have a row for each condition.*\(0, 2\)"):
        kh.tabulate(model, z[:0])
    with pytest.raises(ValueError, match=r"one array for each of the inputs \['conditioning'\]"):
        kh.tabulate(model, [z, z])
    with pytest.raises(ValueError, match=r"must fit the input 'conditioning'.*\(None, 2\).*\(2,\)"):
        kh.tabulate(model, [z[0]])
    with pytest.raises(ValueError, match=r"must fit the input 'conditioning'.*\(5, 1\)"):
        kh.tabulate(model, z[:, :1])
    again = kh.tabulate(kh.tabulate(model, z), np.array([4, 0]))
    assert [symbol.name for symbol in again.inputs] == ["row", "data_input"]
    with pytest.raises(ValueError, match="must have generated weights"):
        kh.tabulate(kh.specialize(model, z[:1]), z)
    with pytest.raises(ValueError, match="must be a functional model"):
        kh.tabulate(layers.Dense(2), z)
    tables = kh.tabulate(model, z)
    with pytest.raises(ValueError, match="must divide the rows of `x`"):
        tables([np.array([0, 1, 2]), x])
    outer, draw, _ = two_conditions()
    a, b = draw(rng)
    with pytest.raises(ValueError, match=r"as many in all inputs.*\(5, 3\), \(4, 3\)"):
        kh.tabulate(outer, [a, b[:4]])


# Outside of Keras.


def block():
    """A block of a Transformer that Keras exports everywhere.

    To ONNX it exports no exact GELU from TensorFlow, and from PyTorch no layer normalization with a
    batch of any size.
    """
    ids = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 8, name="tokens")(ids)
    x = x + layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = x + layers.Dense(8)(layers.Dense(12, activation="relu")(x))
    return keras.Model(ids, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)), name="block")


def of_a_model(make, **options):
    return lambda: kh.hypernetize(make(), SIZE, **options)


SERVED = {
    "cnn": (of_a_model(cnn), floats((6, 6, 1))),
    "low rank cnn": (of_a_model(residual_cnn, mode="low_rank"), floats((8, 8, 2))),
    "low rank block": (of_a_model(block, mode="low_rank", rank=2), padded_ids),
    "build": (lambda: kh.build(SIZE, 3, [(3, 5), (5, 2)]), floats((3,))),
}
QUICK_TO_SERVE = ("low rank block", "build")
served = pytest.mark.parametrize("name", [n if n in QUICK_TO_SERVE else slow(n) for n in SERVED])


def to_serve(name, rng):
    """A model, its tables, and a function of data for rows."""
    make, data = SERVED[name]
    model = settle(make(), rng)
    return model, kh.tabulate(model, rng.normal(size=(CONDITIONS, SIZE))), data


@pytest.mark.skipif(BACKEND == "torch", reason="TensorFlow's format")
@served
def test_exports_saved_model(name, rng, tmp_path):
    import tensorflow as tf

    _, tables, data = to_serve(name, rng)
    tables.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    for rows in (ROWS, ROWS[:1]):
        x = data(rng, len(rows))
        found = served.serve([rows.astype("int32"), x])
        assert_close(np.array(found), predict(tables, [rows, x]))


def in_onnxruntime(model, path):
    """A function that runs a model outside of Keras."""
    onnxruntime = pytest.importorskip("onnxruntime", reason='pip install "keras-hypernet[onnx]"')
    with warnings.catch_warnings():  # those of Keras' exporters
        warnings.simplefilter("ignore")
        model(
            [np.zeros([n or 1 for n in i.shape], i.dtype) for i in model.inputs]
        )  # Keras asks for it
        model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path)

    def run(arrays):
        inputs = session.get_inputs()
        types = {"tensor(int32)": "int32", "tensor(float)": "float32"}
        given = {i.name: a.astype(types[i.type]) for i, a in zip(inputs, arrays, strict=True)}
        return session.run(None, given)[0]

    return run


@pytest.mark.skipif(BACKEND == "jax", reason="exported from PyTorch and TensorFlow")
@served
def test_exports_onnx(name, rng, tmp_path):
    _, tables, data = to_serve(name, rng)
    run = in_onnxruntime(tables, str(tmp_path / "tables.onnx"))
    for rows in (ROWS, ROWS[:1], ROWS[:2]):
        x = data(rng, len(rows))
        assert_close(run([rows, x]), predict(tables, [rows, x]))
    with pytest.raises(Exception, match=r"(?i)indices|index"):
        run([np.array([5]), data(rng, 1)])


def windows():
    """Convolutions whose windows, strides and groups ask for sizes of the data."""
    x = keras.Input((7, 7, 4))
    y = layers.Conv2D(4, 3, strides=2, padding="same", groups=2, activation="relu")(x)
    y = layers.SeparableConv2D(6, 3, padding="same")(y)
    y = layers.Conv2DTranspose(2, 3, strides=2, padding="same")(y)
    return keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(y)), name="windows")


def in_chunks(spec):
    """A generator with a frozen base."""
    return kh.ChunkedWeightGenerator(spec, 20)


GENERATED = {
    "windows": (of_a_model(windows), floats((7, 7, 4))),
    "windows delta": (of_a_model(windows, mode="delta"), floats((7, 7, 4))),
    "chunks": (of_a_model(cnn, generator=in_chunks), floats((6, 6, 1))),
    **{
        contraction: (
            lambda c=contraction: kh.build(SIZE, 3, [(3, 5), (5, 2)], contraction=c),
            floats((3,)),
        )
        for contraction in ("project", "outer")
    },
}
QUICK_TO_EXPORT = ("cnn", "windows", "chunks")


@pytest.mark.skipif(BACKEND == "jax", reason="exported from PyTorch and TensorFlow")
@pytest.mark.parametrize(
    "name", [n if n in QUICK_TO_EXPORT else slow(n) for n in [*SERVED, *GENERATED]]
)
def test_exports_onnx_with_generators(name, rng, tmp_path):
    """Many conditions in a batch; on PyTorch Keras says that all inputs have one batch."""
    make, data = {**SERVED, **GENERATED}[name]
    model = settle(make(), rng)
    run = in_onnxruntime(model, str(tmp_path / "model.onnx"))
    groups = [(3, 6), (1, 6)] if BACKEND == "tensorflow" else []
    for rows, batch in [(6, 6), (1, 1), *groups]:
        given = [floats((SIZE,))(rng, rows), data(rng, batch)]
        assert_close(run(given), predict(model, given))
