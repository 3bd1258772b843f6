"""`save_generator` and `load_generator`: what is trained, in a file without what is frozen."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import keras_hypernet as kh
from tests.backend import BACKEND
from tests.whole_models import SIZE, Batches, Subclassed, blocks, compiled, nested, predict

ROWS = 4


def numbered(model):
    """The model with values that are the same in every process and on every backend."""
    rng = np.random.default_rng(5)
    for variable in model.weights:
        if keras.backend.is_float_dtype(variable.dtype):
            low = 0.5 if "variance" in variable.path else -0.5
            variable.assign(rng.uniform(low, 1, size=variable.shape))
    return model


def cnn():
    chain = [
        layers.Conv2D(3, 3, use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Flatten(),
    ]
    return keras.Sequential([keras.Input((4, 4, 2)), *chain, layers.Dense(4), layers.Dense(2)])


def adapted(make, mode, freeze=None, **options):
    return lambda: kh.hypernetize(numbered(make()), SIZE, mode=mode, freeze=freeze, **options)


def in_chunks(spec):
    return kh.ChunkedWeightGenerator(spec, chunk_size=10, hidden_sizes=[4])


def of_tasks():
    ids, x = keras.Input((), dtype="int32"), keras.Input((3,))
    generator = kh.WeightGenerator([(3, 2), (2,)], [5], batch_normalization=True)
    weights = kh.TaskWeights(generator, num_conditions=3)(ids)
    return keras.Model([ids, x], kh.Hyper(layers.Dense(2))(x, weights))


def by_frequencies():
    x = keras.Input((2,))
    return keras.Model(x, layers.Dense(2)(kh.FourierFeatures(3)(x)))


def built_by_a_call():
    model = Subclassed()
    model(np.zeros((2, 4), "float32"))
    return model


def dropping():
    """A block that draws, and has statistics."""
    chain = [layers.Dense(4), layers.Dropout(0.5), layers.BatchNormalization()]
    block = keras.Sequential([keras.Input((3,)), *chain], name="block")
    z, x = keras.Input((SIZE,)), keras.Input((3,))
    hyper = kh.Hyper(block)
    return keras.Model([z, x], hyper(x, kh.WeightGenerator(hyper.spec((None, 3)), [4])(z)))


MODELS = {
    "replace": adapted(cnn, "replace"),
    **{f"delta {freeze}": adapted(cnn, "delta", freeze) for freeze in (None, "base")},
    **{f"low_rank {freeze}": adapted(cnn, "low_rank", freeze) for freeze in (None, "base", "all")},
    "nested": adapted(nested, "delta", "base"),
    "blocks": adapted(blocks, "low_rank", "base", rank=2),
    "chunks": adapted(cnn, "low_rank", "all", generator=in_chunks),
    "build": lambda: kh.build(SIZE, 3, [(3, 4), (4, 2)], hidden_sizes=[5]),
    "tasks": of_tasks,
    "frequencies": by_frequencies,
    "dropping": dropping,
    "subclassed": built_by_a_call,
}


def made(name):
    """A model, in a process that has made others before, so that numbers of layers differ."""
    layers.Dense(1), layers.Conv2D(1, 1), kh.build(1, 1, [(1, 1)]), keras.Sequential()
    return MODELS[name]()


def data(model):
    rng = np.random.default_rng(1)

    def draw(x):
        shape = (ROWS, *x.shape[1:])
        floating = keras.backend.is_float_dtype(x.dtype)
        return rng.normal(size=shape).astype("float32") if floating else np.zeros(ROWS, x.dtype)

    if not getattr(model, "inputs", None):  # subclassed
        return [rng.normal(size=(ROWS, 4)).astype("float32")]
    return [draw(x) for x in model.inputs]


def outputs(model):
    inputs = data(model)
    return predict(model, inputs if len(inputs) > 1 else inputs[0])


def fit(model, **options):
    """Two steps: a generator of changes starts at zero, and its trunk moves second."""
    inputs = data(model)
    y = np.random.default_rng(2).normal(size=outputs(model).shape)
    model = compiled(model, optimizer=keras.optimizers.SGD(0.1))
    model.fit(Batches(inputs, y.astype("float32")), verbose=0, **options)
    return model


def values(model):
    return [np.array(keras.ops.convert_to_numpy(v)) for v in model.weights]


def arrays(path):
    with np.load(path) as file:
        return {n.removeprefix("values/"): x for n, x in file.items() if n.startswith("values/")}


# What is saved and no step moves: random numbers, and biases in front of batch normalization.
HELD = ("frequencies", "hidden/dense/bias")


QUICK = ("low_rank all", "blocks", "build")  # the others take the same ways
every_model = pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in MODELS]
)


@every_model
def test_a_file_has_what_moves_and_no_more(name, tmp_path):
    model, path = made(name), tmp_path / "generator.npz"
    before = values(model)
    kh.save_generator(fit(model), path)
    weights = zip(before, values(model), model.weights)
    moved = {b.tobytes() for a, b, v in weights if np.any(a != b) and "seed" not in v.path}
    found = {x.tobytes(): name for name, x in arrays(path).items()}
    assert moved <= set(found)
    assert all(found[x].endswith(HELD) for x in set(found) - moved)


@every_model
def test_a_loaded_model_is_the_one_saved(name, tmp_path):
    model, path = fit(made(name)), tmp_path / "generator.npz"
    expected = outputs(model)
    kh.save_generator(model, path)
    keras.utils.clear_session()
    other = made(name)
    assert np.any(outputs(other) != expected)
    assert kh.load_generator(other, path) is None
    np.testing.assert_allclose(outputs(other), expected, rtol=1e-5, atol=1e-6)
    if name != "dropping":
        for one, another in zip(values(fit(model)), values(fit(other)), strict=True):
            np.testing.assert_allclose(one, another, rtol=1e-4, atol=1e-5)


def test_a_model_from_a_file_has_the_same_names(tmp_path):
    for name in ("low_rank base", "nested", "blocks", "tasks"):
        model = made(name)
        model.save(tmp_path / "model.keras")
        kh.save_generator(fit(model), tmp_path / "generator")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        kh.load_generator(loaded, tmp_path / "generator")
        np.testing.assert_allclose(outputs(loaded), outputs(model), rtol=1e-5, atol=1e-6)


OTHER_BACKEND = {"jax": "torch", "torch": "tensorflow", "tensorflow": "jax"}.get(BACKEND)
CROSSING = ["low_rank base", "blocks", "chunks", "build"]


def load_here(folder):
    for name in CROSSING:
        model = MODELS[name]()
        kh.load_generator(model, pathlib.Path(folder) / name)
        np.save(pathlib.Path(folder) / f"{name}.npy", outputs(model))


@pytest.mark.slow
@pytest.mark.parametrize("backend", [BACKEND, OTHER_BACKEND])
def test_another_process_and_backend(backend, tmp_path):
    expected = {}
    for name in CROSSING:
        model = fit(made(name))
        expected[name] = outputs(model)
        kh.save_generator(model, tmp_path / name)
    code = "import sys; from tests.test_generator_file import load_here; load_here(sys.argv[1])"
    environment = {**os.environ, "KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=True)
    for name in CROSSING:
        found = np.load(tmp_path / f"{name}.npy")
        np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-5)


DTYPES = ["bfloat16", "float16", *(["float64"] if BACKEND != "jax" else [])]


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype, tmp_path):
    """Every dtype survives, and a model of another one takes the values."""

    def build(dtype):
        z, x = keras.Input((SIZE,), dtype=dtype), keras.Input((3,), dtype=dtype)
        generator = kh.WeightGenerator([(3, 2), (2,)], [4], dtype=dtype)
        return keras.Model([z, x], kh.Hyper(layers.Dense(2, dtype=dtype))(x, generator(z)))

    model, path = numbered(build(dtype)), tmp_path / "generator"
    kh.save_generator(model, path)
    other, float32 = build(dtype), build("float32")
    for loaded in (other, float32):
        kh.load_generator(loaded, path)
        for one, another in zip(loaded.weights, model.weights, strict=True):
            one = keras.ops.convert_to_numpy(one).astype("float32")
            np.testing.assert_array_equal(
                one, keras.ops.convert_to_numpy(another).astype("float32")
            )
    assert {v.dtype for v in other.weights} == {dtype}


# Frozen bases.


def beside_quantized(where, quantize):
    """A frozen base with a layer that may be quantized, of which another layer is adapted."""
    first = layers.Dense(8, activation="gelu", name="first")
    second = layers.Dense(8, name="second")
    x, inner = keras.Input((2, 8)), keras.Input((8,) if where == "block" else (2, 8))
    if where == "layers":
        y = second(first(x))
    else:
        block = keras.Sequential([inner, first, second], name="block")
        y = (layers.TimeDistributed(block) if where == "block" else block)(x)
    model = numbered(keras.Model(x, y))
    if quantize:
        first.quantize(quantize)
    options = {"mode": "low_rank", "freeze": "base", "rank": 2}
    return kh.hypernetize(model, SIZE, select="*second/kernel", **options)


@pytest.mark.parametrize(
    ("where", "quantize"),
    [
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("layers", "int8"), ("layers", "int4"), ("nested", "int8"))
        ),
        ("block", "int8"),
    ],
)
def test_a_quantized_base_is_not_in_the_file(where, quantize, tmp_path):
    model, path = fit(beside_quantized(where, quantize)), tmp_path / "generator"
    kh.save_generator(model, path)
    found = arrays(path)
    assert not [name for name in found if name.endswith(("/kernel_scale", "/base"))]
    assert {x.dtype.name for x in found.values()} == {"float32"}
    assert sum(x.size for x in found.values()) == 2 + 4 * 32 + 33 * 32 + 8 + 8
    other = beside_quantized(where, quantize)
    kh.load_generator(other, path)
    np.testing.assert_allclose(outputs(other), outputs(model), rtol=1e-5, atol=1e-6)


def test_a_float_generator_goes_onto_a_quantized_base(tmp_path):
    def make(quantize):
        model = numbered(keras.Sequential([keras.Input((8,)), layers.Dense(8), layers.Dense(8)]))
        model.layers[0].trainable = False
        if quantize:
            model.layers[0].quantize("int8")
        options = {"select": f"*{model.layers[1].name}/kernel", "freeze": "all"}
        return kh.hypernetize(model, SIZE, mode="low_rank", **options)

    model, path = fit(make(False)), tmp_path / "generator"
    kh.save_generator(model, path)
    other = make(True)
    kh.load_generator(other, path)
    np.testing.assert_allclose(outputs(other), outputs(model), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("mode", ["replace", "low_rank"])
def test_quantized_generators_are_refused(mode, tmp_path):
    path, before = tmp_path / "generator", tmp_path / "before"
    model = kh.hypernetize(numbered(cnn()), SIZE, mode=mode)
    kh.save_generator(model, before)
    model.quantize("int8")
    with pytest.raises(ValueError, match=r"generators that are not quantized.*head"):
        kh.save_generator(model, path)
    assert not path.exists()
    with pytest.raises(ValueError, match="generators that are not quantized"):
        kh.load_generator(model, before)


def test_another_frozen_base_is_refused(tmp_path):
    def made(mode="replace", **options):
        generator = lambda spec: kh.ChunkedWeightGenerator(spec, 10, name="chunks")  # noqa: E731
        return kh.hypernetize(numbered(cnn()), SIZE, mode=mode, generator=generator, **options)

    path = tmp_path / "generator"
    kh.save_generator(made(), path)
    other = made(initialization=kh.BiasHyperInit(seed=3))
    before = values(other)
    with pytest.raises(ValueError, match=r"the same base.*Received: chunks"):
        kh.load_generator(other, path)
    for one, another in zip(values(other), before, strict=True):
        np.testing.assert_array_equal(one, another)
    kh.load_generator(made(), path)


def test_what_a_layer_makes_of_its_variables_is_made_again(tmp_path):
    def make(scale):
        norm = layers.Normalization()
        norm.adapt(scale * np.arange(12, dtype="float32").reshape(4, 3))
        z = keras.Input((3,))
        return keras.Model(z, kh.WeightGenerator([(2, 2)], [4])(norm(z)))

    kh.save_generator(model := make(1), tmp_path / "generator")
    kh.load_generator(other := make(5), tmp_path / "generator")
    np.testing.assert_allclose(outputs(other), outputs(model), rtol=1e-5, atol=1e-6)


# What is refused.


def built(hidden=5, sizes=((3, 4), (4, 2)), **options):
    return kh.build(SIZE, sizes[0][0], list(sizes), hidden_sizes=[hidden], **options)


def frozen_part():
    model = built()
    model.layers[1].trainable = False
    return model


def plain():
    return keras.Sequential([keras.Input((3,)), layers.Dense(2, name="dense")])


OTHERS = {
    "wider": (lambda: built(hidden=6), r"Other shapes: .*kernel is \(3, 5\), here \(3, 6\)"),
    "more layers": (lambda: built(sizes=((3, 4), (4, 4), (4, 2))), "It lacks: "),
    "fewer layers": (lambda: built(sizes=((3, 4),)), "The model lacks: "),
    "frozen": (frozen_part, r"Frozen in the model: \['running_scale/mean_square', "),
    "another": (plain, r"It lacks: .*The model lacks: .* and 6 more"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_structure_is_refused_by_name(name, tmp_path):
    kh.save_generator(built(), tmp_path / "generator")
    make, message = OTHERS[name]
    other = make()
    before = values(other)
    with pytest.raises(ValueError, match=message):
        kh.load_generator(other, tmp_path / "generator")
    for one, another in zip(values(other), before, strict=True):
        np.testing.assert_array_equal(one, another)


def test_the_nearest_name_is_said(tmp_path):
    def make(name):
        return keras.Sequential([keras.Input((3,)), layers.Dense(2, name=name)])

    kh.save_generator(make("encoder"), tmp_path / "generator")
    with pytest.raises(ValueError, match="The nearest is 'encodes/"):
        kh.load_generator(make("encodes"), tmp_path / "generator")


def rewritten(path, **changed):
    with np.load(path) as file:
        contents = {**file, **changed}
    with open(path, "wb") as file:
        np.savez(file, **contents)


def flip(path):
    """Another bit in the numbers."""
    whole, numbers = path.read_bytes(), max(arrays(path).values(), key=np.size).tobytes()
    path.write_bytes(whole.replace(numbers, bytes([numbers[0] ^ 1]) + numbers[1:]))


def replace_by(path, save, *contents, **named):
    with open(path, "wb") as file:
        save(file, *contents, **named)


SPOILED = {
    "text": lambda path: path.write_text("no file of this kind"),
    "nothing": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one byte less": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "another bit": flip,
    "weights": lambda path: (
        built().save(path.with_suffix(".keras")) or os.replace(path.with_suffix(".keras"), path)
    ),
    "one array": lambda path: replace_by(path, np.save, np.ones(3)),
    "other arrays": lambda path: replace_by(path, np.savez, kernel=np.ones(3)),
    "objects": lambda path: rewritten(path, metadata=np.array([{}], dtype=object)),
    "other metadata": lambda path: rewritten(path, metadata=np.array("[1]")),
    "a later format": lambda path: rewritten(path, metadata=np.array('{"format": 2}')),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_file_that_is_none_is_refused(name, tmp_path):
    path, other = tmp_path / "generator", built()
    kh.save_generator(built(), path)
    SPOILED[name](path)
    before = values(other)
    match = "format 1.*Received: format 2" if "format" in name else "a whole file of"
    with pytest.raises(ValueError, match=match):
        kh.load_generator(other, path)
    for one, another in zip(values(other), before, strict=True):
        np.testing.assert_array_equal(one, another)


def all_frozen():
    model = built()
    model.trainable = False
    return model


def unbuilt():
    return keras.Sequential([layers.Dense(2)])


def continual():
    return kh.ContinualModel(kh.build(4, 2, [(2, 1)]), num_tasks=2)


MODELS_REFUSED = {
    "all frozen": (all_frozen, ValueError, "something that is trained"),
    "not built": (unbuilt, ValueError, "`model` must be built"),
    "with more": (continual, ValueError, "no more than its layers.*ContinualModel"),
    "a layer": (lambda: layers.Dense(2), TypeError, "`model` must be a Model"),
}


@pytest.mark.parametrize("name", MODELS_REFUSED)
def test_models_refused(name, tmp_path):
    make, error, message = MODELS_REFUSED[name]
    kh.save_generator(built(), tmp_path / "generator")
    for function in (kh.save_generator, kh.load_generator):
        with pytest.raises(error, match=message):
            function(make(), tmp_path / "generator")
    assert [path.name for path in tmp_path.iterdir()] == ["generator"]


def test_paths(tmp_path):
    model = built()
    for path in (tmp_path / "new" / "a.npz", str(tmp_path / "b.generator"), tmp_path / "c"):
        kh.save_generator(model, path)
        kh.save_generator(model, path)  # an old file is replaced
        kh.load_generator(model, path)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["b.generator", "c", "new"]
    for function in (kh.save_generator, kh.load_generator):
        with pytest.raises(TypeError, match=r"`path` must be a path.*path=3"):
            function(model, 3)
        with pytest.raises(ValueError, match="not a folder"):
            function(model, tmp_path)
    with pytest.raises(FileNotFoundError, match="must be a file that exists"):
        kh.load_generator(model, tmp_path / "none")


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "generator"
    kh.save_generator(built(), path)
    before = path.read_bytes()

    def full(file, **arrays):
        file.write(b"half")
        raise OSError("full")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="full"):
        kh.save_generator(built(), path)
    assert path.read_bytes() == before
    assert [x.name for x in tmp_path.iterdir()] == ["generator"]


def test_in_a_callback(tmp_path):
    model, path = built(), tmp_path / "generator"

    def save(epoch, logs):
        kh.save_generator(model, path)

    fit(model, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=save)])
    kh.load_generator(other := built(), path)
    np.testing.assert_allclose(outputs(other), outputs(model), rtol=1e-5, atol=1e-6)


def frozen_base(seed):
    keras.utils.set_random_seed(seed)
    base = keras.Sequential([keras.Input((4,)), layers.Dense(8, name="a"), layers.Dense(2)])
    return kh.hypernetize(base, SIZE, mode="low_rank", freeze="all", hidden_sizes=[4])


def test_another_base_is_told(tmp_path):
    kh.save_generator(frozen_base(0), tmp_path / "adapters.npz")
    kh.load_generator(frozen_base(0), tmp_path / "adapters.npz")
    rounded = frozen_base(0)
    for variable in rounded.non_trainable_variables:
        variable.assign(keras.ops.cast(keras.ops.cast(variable, "bfloat16"), variable.dtype))
    kh.load_generator(rounded, tmp_path / "adapters.npz")
    other = frozen_base(1)
    with pytest.warns(UserWarning, match=r"frozen weights of `model`.*a/.*kernel"):
        kh.load_generator(other, tmp_path / "adapters.npz")


def test_a_file_of_before_knows_no_base(tmp_path):
    path = tmp_path / "adapters.npz"
    kh.save_generator(frozen_base(0), path)
    with np.load(path) as file:
        arrays = dict(file)
    arrays["metadata"] = np.array('{"format": 1, "version": "0.1.0"}')
    np.savez(path, **arrays)
    kh.load_generator(frozen_base(1), path)
