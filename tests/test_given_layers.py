"""`hypernetize(copy=False)`: the layers of the given model itself; updates of what is not plain."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_hypernet as kh
from keras_hypernet.utils import keras_internals
from tests.backend import BACKEND, numpy_of
from tests.conformance_blocks import PreNorm, Twice, Windows, registered
from tests.whole_models import SIZE, Batches, blocks, compiled, nested, predict, settle

ROWS = 4


@registered
class Forgetful(PreNorm):
    """A block whose config does not make it anew."""

    def __init__(self, heads, needed, **kwargs):
        super().__init__(heads, **kwargs)

    def get_config(self):
        return {**super().get_config()}


@registered
class Defaulted(PreNorm):
    """A block whose config forgets an argument, so that a copy has its default."""

    def __init__(self, heads, scale=1.0, **kwargs):
        super().__init__(heads, **kwargs)
        self.scale = scale

    def call(self, x):
        return self.scale * super().call(x)


class Shift(layers.Layer):
    """Takes what every layer takes."""

    def build(self, shape):
        self.offset = self.add_weight(shape[-1:], name="offset")

    def call(self, x):
        return x + self.offset


@registered
class Unlike(PreNorm):
    """A block whose copy is made with other arguments, that mean the same or are set later."""

    def __init__(self, heads, seed=None, fill=float("nan"), axes=(1, 2), **kwargs):
        super().__init__(heads, **kwargs)
        self.seed = id(self) if seed is None else seed
        self.fill, self.axes = fill, axes
        self.shift = Shift()

    def build(self, shape):
        super().build(shape)
        self.shift.build(shape)

    def call(self, x):
        return self.shift(super().call(x))

    def get_config(self):
        return {**super().get_config(), "fill": self.fill, "axes": list(self.axes)}


FORGETFUL = {
    "an argument": (Forgetful, {"needed": 1}),
    "an option": (Defaulted, {"scale": 0.5}),
}


def floats(rng, *shape):
    return rng.normal(size=shape).astype("float32")


def model_of(block, rng):
    x = keras.Input((3, 4))
    y = layers.Dense(2, name="head")(layers.Flatten()(block(layers.Dense(4, name="first")(x))))
    return settle(keras.Model(x, y), rng)


def data_of(rng, rows=ROWS):
    return floats(rng, rows, SIZE), floats(rng, rows, 3, 4)


def values(variables):
    return [np.array(ops.convert_to_numpy(v)) for v in variables]


def two_steps(hyper, rng, inputs=None):
    z, x = data_of(rng) if inputs is None else inputs
    y = np.ones((len(x), *hyper.output.shape[1:]), "float32")
    compiled(hyper).fit(Batches([z, x], y), verbose=0)


MODES = {
    "replace": {"select": "*/kernel"},
    "delta": {"mode": "delta", "select": "*/kernel", "freeze": "base"},
    "low_rank": {"mode": "low_rank", "freeze": "all"},
    "up": {"mode": "low_rank", "generate": "up", "freeze": "base", "alpha": 8},
    "scale": {"mode": "low_rank", "generate": "scale", "freeze": "all"},
}


@pytest.mark.parametrize("mode", MODES)
def test_the_given_layers_are_used(mode, rng, tmp_path):
    given = model_of(PreNorm(name="block"), rng)
    z, x = data_of(rng)
    before, own = predict(given, x), {id(v) for v in given.variables}
    hyper = kh.hypernetize(given, SIZE, copy=False, **MODES[mode])
    assert_equal(predict(given, x), before)
    if mode != "replace":  # the base is there once, under its own path
        assert own <= {id(v) for v in hyper.variables}
        assert_equal(predict(hyper, [z, x]), before)
    frozen = [v for v in given.variables if not v.trainable]
    held, moving = values(frozen), values(hyper.trainable_variables)
    two_steps(hyper, rng)
    for a, b in zip(held, values(frozen), strict=True):
        np.testing.assert_array_equal(a, b)
    moved = [not np.array_equal(a, b) for a, b in zip(moving, values(hyper.trainable_variables))]
    assert all(moved), [v.path for v, m in zip(hyper.trainable_variables, moved) if not m]
    # What is loaded into the given model is so in the hypernetwork.
    after = predict(hyper, [z, x])
    other = model_of(PreNorm(name="block"), rng)
    other.save_weights(tmp_path / "other.weights.h5")
    given.load_weights(tmp_path / "other.weights.h5")
    assert_equal(predict(given, x), predict(other, x))
    assert np.abs(predict(hyper, [z, x]) - after).max() > 1e-3
    hyper.save(tmp_path / "hyper.keras")
    loaded = keras.saving.load_model(tmp_path / "hyper.keras", safe_mode=True)
    assert_equal(predict(loaded, [z, x]), predict(hyper, [z, x]))
    assert [v.trainable for v in loaded.variables] == [v.trainable for v in hyper.variables]


@pytest.mark.parametrize(
    ("generate", "copy"), [("both", True), ("up", False), ("scale", True), ("scale", False)]
)
def test_a_frozen_model_is_updated_by_what_is_trained_beside_it(generate, copy, rng):
    given = model_of(PreNorm(name="block"), rng)
    given.trainable = False
    hyper = kh.hypernetize(given, SIZE, mode="low_rank", generate=generate, copy=copy)
    own = {"both": 0, "up": 1, "scale": 2}[generate]
    factors = [v for v in hyper.trainable_variables if v.path.endswith(("_down", "_up"))]
    assert len(factors) == 8 * own
    before, held = values(hyper.trainable_variables), values(hyper.non_trainable_variables)
    two_steps(hyper, rng)
    changed = [np.any(a != b) for a, b in zip(before, values(hyper.trainable_variables))]
    assert all(changed)
    for v, a, b in zip(
        hyper.non_trainable_variables, held, values(hyper.non_trainable_variables), strict=True
    ):
        assert np.array_equal(a, b) or "running_scale" in v.path


def assert_equal(one, other):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("freeze", "copy"), [("base", False), ("all", True)])
def test_a_frozen_base_has_no_state_in_the_optimizer(freeze, copy, rng):
    given = model_of(PreNorm(name="block"), rng)
    options = {"mode": "low_rank", "freeze": freeze, "copy": copy}
    hyper = kh.hypernetize(given, SIZE, **options)
    kernels = [tuple(v.shape) for v in given.variables if v.name == "kernel"]
    names = {v.path for v in hyper.trainable_variables}
    assert not [name for name in names if name.endswith(("query/kernel", "head/kernel"))]
    compiled(hyper)
    two_steps(hyper, rng)
    # Two moments for every trained variable, the rate and the number of steps.
    assert len(hyper.optimizer.variables) == 2 * len(hyper.trainable_variables) + 2
    assert len(kernels) == 8
    assert kh.describe(hyper).kernels == (8, 8)


@pytest.mark.parametrize(("make", "kernels"), [(nested, 4), (blocks, 9)])
@pytest.mark.parametrize("copy", [True, False])
def test_kernels_are_counted_once(make, kernels, copy):
    hyper = kh.hypernetize(make(), SIZE, mode="low_rank", rank=1, copy=copy)
    assert kh.describe(hyper).kernels == (kernels, kernels)


@pytest.mark.parametrize("forgotten", FORGETFUL)
def test_a_block_that_its_config_does_not_make_anew(forgotten, rng, tmp_path):
    block_class, forgets = FORGETFUL[forgotten]
    given = model_of(block_class(2, **forgets, name="block"), rng)
    z, x = data_of(rng)
    before = predict(given, x)
    for options in ({"mode": "low_rank"}, {"mode": "low_rank", "select": "head/kernel"}):
        with pytest.raises(ValueError, match=r"(?s)'block' of class.*`copy=False`"):
            kh.hypernetize(given, SIZE, **options)
        hyper = kh.hypernetize(given, SIZE, copy=False, freeze="all", **options)
        assert_equal(predict(hyper, [z, x]), before)
        two_steps(hyper, rng)
        path = tmp_path / "hyper.keras"
        path.write_text("what was there")
        with pytest.raises(ValueError, match=r"(?s)'block' of class.*`kh.save_generator"):
            hyper.save(path)
        assert path.read_text() == "what was there"
        after = predict(hyper, [z, x])
        kh.save_generator(hyper, tmp_path / "generator.npz")
        again = kh.hypernetize(given, SIZE, copy=False, freeze="all", **options)
        assert np.abs(predict(again, [z, x]) - after).max() > 1e-4
        kh.load_generator(again, tmp_path / "generator.npz")
        assert_equal(predict(again, [z, x]), after)


def test_a_copy_may_have_other_names_seeds_and_flags(rng):
    given = model_of(Unlike(2, name="block"), rng)
    given.get_layer("block").shift.trainable = False
    z, x = data_of(rng)
    hyper = kh.hypernetize(given, SIZE, mode="low_rank", freeze="base")
    assert_equal(predict(hyper, [z, x]), predict(given, x))
    two_steps(hyper, rng)


def adapted(model):
    for layer in (model.get_layer("block").dense, model.get_layer("head")):
        layer.enable_lora(2)
        layer.lora_kernel_b.assign(0.3 * np.ones(layer.lora_kernel_b.shape))


ADAPTED = {mode: lambda model, mode=mode: model.quantize(mode) for mode in ("int8", "int4")}
ADAPTED |= {"float8": lambda model: model.quantize("float8"), "adapter": adapted}


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("mode", ["low_rank", "delta"])
@pytest.mark.parametrize(
    "name", ["int8", pytest.param("int4", marks=pytest.mark.slow), "float8", "adapter"]
)
def test_updates_over_quantized_kernels_and_adapters(name, mode, shared, rng):
    given = model_of(Twice(name="block"), rng)
    ADAPTED[name](given)
    z, x = data_of(rng)
    z = z[:1] if shared else z
    before = predict(given, x)
    message = r"'(block|head)' of class .*other variables.*`copy=False`"
    select = None
    if (name, mode) == ("adapter", "delta"):  # its factors take no rows
        select = ["*/kernel", "*/bias"]
    with pytest.raises(ValueError, match=message):
        kh.hypernetize(given, SIZE, mode=mode, select=select)
    options = {"mode": mode, "freeze": "all", "shared": shared, "select": select}
    hyper = kh.hypernetize(given, SIZE, copy=False, **options)
    assert kh.describe(hyper).kernels == (3, 3)
    assert_equal(predict(hyper, [z, x]), before)
    frozen = values(given.variables)
    for variable in hyper.trainable_variables:
        variable.assign(0.3 * rng.normal(size=variable.shape))
    made = predict(hyper, [z, x])
    assert np.abs(made - before).max() > 1e-2
    if not shared:
        one = [predict(hyper, [z[i : i + 1], x[i : i + 1]]) for i in range(ROWS)]
        assert_equal(np.concatenate(one), made)
        if (name, BACKEND) != ("float8", "tensorflow"):  # Keras' own has no gradient there, eagerly
            two_steps(hyper, rng)
    for a, b in zip(frozen, values(given.variables), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="quantized or has an adapter"):
        kh.target_weights(hyper, z)
    table = kh.tabulate(hyper, z, copy=False)
    found = predict(table, [np.arange(len(z), dtype="int32"), x])
    assert_equal(found, predict(hyper, [z, x]))


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("name", ["int8", "adapter"])
def test_changes_of_blocks_with_several_adapted_layers(name, rng):
    given = model_of(PreNorm(2, name="block"), rng)
    select = None
    if name == "int8":
        given.quantize("int8")
    else:
        for layer in keras_internals.layers_in(given.get_layer("block")):
            if isinstance(layer, (layers.Dense, layers.EinsumDense)):
                layer.enable_lora(2)
        select = ["*/kernel", "*/bias"]
    z, x = data_of(rng)
    hypers = [
        kh.hypernetize(given, SIZE, mode="delta", copy=False, select=select, shared=shared)
        for shared in (False, True)
    ]
    assert_equal(predict(hypers[0], [z, x]), predict(given, x))
    for variable in hypers[0].trainable_variables:
        if "generator" in variable.path:
            variable.assign(0.3 * rng.normal(size=variable.shape))
    hypers[1].set_weights(hypers[0].get_weights())
    one = [predict(hypers[1], [z[i : i + 1], x[i : i + 1]]) for i in range(ROWS)]
    assert_equal(np.concatenate(one), predict(hypers[0], [z, x]))


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("mode", ["low_rank", pytest.param("delta", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["int8", "float8"])
def test_what_is_quantized_afterwards_is_saved_and_loaded(name, mode, rng, tmp_path):
    given = model_of(PreNorm(2, name="block"), rng)
    z, x = data_of(rng)
    hyper = settle(kh.hypernetize(given, SIZE, mode=mode), rng)
    hyper.quantize(name)
    expected = predict(hyper, [z, x])
    for i in range(2):  # one that was loaded is saved, too
        hyper.save(tmp_path / f"{i}.keras")
        hyper = keras.saving.load_model(tmp_path / f"{i}.keras", safe_mode=True)
        assert_equal(predict(hyper, [z, x]), expected)
        assert len([c for c in keras_internals.layers_in(hyper) if c.quantization_mode]) > 6
    if (name, BACKEND) != ("float8", "tensorflow"):  # Keras' own has no gradient there, eagerly
        two_steps(hyper, rng)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("name", ["int8", "adapter"])
def test_quantized_and_adapted_kernels_are_not_replaced(name, rng):
    given = model_of(Twice(name="block"), rng)
    ADAPTED[name](given)
    every = [{}, {"shared": True}] if name == "int8" else []
    for options in (*every, {"select": "*/kernel"}, {"select": "head/kernel"}):
        with pytest.raises(ValueError, match=r"kernel.*'delta' or 'low_rank'"):
            kh.hypernetize(given, SIZE, copy=False, **options)
    z, x = data_of(rng)
    hypers = [
        kh.hypernetize(given, SIZE, copy=False, select="*/bias", shared=b) for b in (False, True)
    ]
    weights = kh.target_weights(hypers[0], z[:1])
    for hyper in hypers:
        hyper.set_weights(hypers[0].get_weights())
    found = [predict(hyper, [z[:1], x[:1]]) for hyper in hypers]
    for path, value in weights.items():
        next(v for v in given.variables if v.path == path).assign(numpy_of(value)[0])
    for outputs in found:  # those of the generated biases in place of the layers' own
        assert_equal(outputs, predict(given, x[:1]))


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("kind", ["dense", "einsum", "embedding", "conv"])
@pytest.mark.parametrize("name", ["int8", pytest.param("int4", marks=pytest.mark.slow), "adapter"])
@pytest.mark.parametrize("mode", ["low_rank", "delta"])
def test_an_update_enters_before_the_activation(mode, kind, name, rng, tmp_path):
    make, shape = {
        "dense": (lambda a: layers.Dense(6, activation=a), (3, 4)),
        "einsum": (
            lambda a: layers.EinsumDense("abc,cde->abde", (3, 2, 3), "gelu" and a, "de"),
            (3, 4),
        ),
        "embedding": (lambda a: layers.Embedding(7, 6), (3,)),
        "conv": (lambda a: layers.Conv1D(6, 2, activation=a), (4, 3)),
    }[kind]
    if kind == "conv" and name != "adapter":
        pytest.skip("Keras does not quantize it")
    ids = kind == "embedding"
    inputs = keras.Input(shape, dtype="int32" if ids else "float32")
    data = rng.integers(0, 7, (4, *shape)) if ids else floats(rng, 4, *shape)
    gelu = None if ids else "gelu"
    one, plain = make(gelu), make(None)
    model, linear = (keras.Model(inputs, layer(inputs)) for layer in (one, plain))
    settle(model, rng)
    linear.set_weights(model.get_weights())
    for layer in (one, plain):
        layer.enable_lora(2) if name == "adapter" else layer.quantize(name)
    if name != "adapter":
        linear.set_weights(model.get_weights())
    options = {"mode": mode, "select": lambda v: v.name in ("kernel", "embeddings")}
    if mode == "low_rank":
        options["rank"] = 2
    elif not ids:
        options["select"] = lambda v: v.name in ("kernel", "bias")
    hyper = kh.hypernetize(model, SIZE, copy=False, **options)
    changed = next(x for x in hyper.layers if type(x).__name__ == "ChangedLayer")
    weights = 0.3 * floats(rng, 2, changed.generated_spec.total)
    expected = []
    for row, x in zip(weights, np.split(data, 2)):
        parts, bias = iter(changed.generated_spec.split(row).values()), 0
        for plan in changed.generated:
            if plan.local == "bias":
                bias = next(parts)
            else:
                change = next(parts)
                change = change if mode == "delta" else np.tensordot(change, next(parts), 1)
        y = numpy_of(linear(x)) + product(kind, x, change) + bias
        expected.append(y if ids else numpy_of(keras.activations.gelu(ops.convert_to_tensor(y))))
    found = numpy_of(changed(ops.convert_to_tensor(data), weights))
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-4, atol=1e-4)
    if name != "adapter":  # a plain layer of Keras: its config says how it is quantized
        copied = kh.hypernetize(model, SIZE, **options)
        copied.save(tmp_path / "hyper.keras")
        loaded = keras.saving.load_model(tmp_path / "hyper.keras", safe_mode=True)
        z = floats(rng, 4, SIZE)
        assert_equal(predict(loaded, [z, data]), predict(model, data))


def product(kind, x, change):
    if kind == "embedding":
        return change[x]
    if kind == "conv":
        return np.stack([np.tensordot(x[:, i : i + 2], change, 2) for i in range(3)], 1)
    return np.tensordot(x, change, 1)


@registered
class ReadsItsKernel(layers.Layer):
    """A block that calls a dense layer, and reads its kernel besides."""

    def build(self, shape):
        self.dense = layers.Dense(shape[-1], name="dense")
        self.dense.build(shape)

    def call(self, x):
        return self.dense(x) + x @ ops.transpose(self.dense.kernel)

    def compute_output_shape(self, shape):
        return shape


def test_a_block_that_reads_an_updated_kernel(rng):
    given = model_of(ReadsItsKernel(name="block"), rng)
    z, x = data_of(rng)
    with pytest.raises(ValueError, match="`shared=True`"):
        kh.hypernetize(given, SIZE, mode="low_rank")
    hyper = kh.hypernetize(given, SIZE, mode="low_rank", shared=True)
    for variable in hyper.trainable_variables:
        variable.assign(0.3 * rng.normal(size=variable.shape))
    assert_equal(predict(hyper, [z[:1], x]), predict(kh.specialize(hyper, z[:1]), x))


def test_statistics_of_given_layers_move(rng):
    x = keras.Input((4, 2))
    given = settle(keras.Model(x, Windows(name="windows")(x)), rng)
    hyper = kh.hypernetize(given, SIZE, mode="low_rank", freeze="base", copy=False, rank=1)
    state = [v for v in given.variables if "moving" in v.path]
    before = values(state)
    two_steps(hyper, rng, (floats(rng, ROWS, SIZE), floats(rng, ROWS, 4, 2)))
    assert all((a != b).any() for a, b in zip(before, values(state), strict=True))


def test_nested_models_and_names_that_are_not_their_own(rng):
    inside = keras.Input((4,))
    inner = keras.Model(inside, layers.Dense(4, name="dense")(inside), name="inner")
    x = keras.Input((4,))
    shared = layers.Dense(4, name="shared")
    plain = settle(keras.Model(x, layers.Dense(2, name="head")(inner(inner(x)))), rng)
    z, data = floats(rng, 4, SIZE), floats(rng, 4, 4)
    hyper = kh.hypernetize(plain, SIZE, mode="low_rank", copy=False, rank=2)
    assert_equal(predict(hyper, [z, data]), predict(plain, data))
    deep = keras.Model(inside, shared(layers.Dense(4, name="dense")(inside)), name="deep")
    both = settle(keras.Model(x, layers.Dense(4, name="dense")(shared(deep(x)))), rng)
    with pytest.raises(ValueError, match=r"not copied must have a name of its own.*dense"):
        kh.hypernetize(both, SIZE, mode="low_rank", copy=False, select="shared/kernel")


REFUSED = {
    "rank 0": ({"rank": 0}, "`rank` must be"),
    "a rank above a kernel": (
        {"rank": 3},
        r"`rank` must not be above.*head/kernel of shape \(12, 2",
    ),
    "what is generated": ({"generate": "down"}, "`generate` must be one of.*'both'.*'up'.*'scale'"),
    "alpha": ({"alpha": 0}, "`alpha` must be"),
    "generate elsewhere": ({"mode": "delta", "generate": "up"}, "`generate` is of mode='low_rank'"),
    "alpha elsewhere": ({"mode": "replace", "alpha": 2.0}, "`alpha` is of mode='low_rank'"),
    "copy": ({"copy": 1}, "`copy` must be"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, rng):
    given = model_of(PreNorm(name="block"), rng)
    arguments, message = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=message):
        kh.hypernetize(given, SIZE, **{"mode": "low_rank", **arguments})


def test_a_model_that_has_generated_weights_is_not_taken_apart(rng):
    hyper = kh.hypernetize(model_of(PreNorm(name="block"), rng), SIZE, mode="low_rank")
    with pytest.raises(ValueError, match="`copy=False` is for a plain model"):
        kh.hypernetize(hyper, SIZE, mode="low_rank", copy=False)


def test_a_regularizer_would_count_twice(rng):
    x = keras.Input((4,))
    given = keras.Model(x, layers.Dense(3, kernel_regularizer="l2", name="dense")(x))
    with pytest.raises(ValueError, match=r"dense/kernel has a regularizer.*`freeze='base'`"):
        kh.hypernetize(given, SIZE, mode="delta", copy=False)
    z, data = floats(rng, 4, SIZE), floats(rng, 4, 4)
    for options in ({}, {"copy": False, "freeze": "base"}):
        hyper = kh.hypernetize(given, SIZE, mode="delta", **options)
        hyper([z, data])
        assert len(hyper.losses) == 1
        kernel = ops.convert_to_numpy(given.layers[1].kernel)
        np.testing.assert_allclose(numpy_of(hyper.losses[0]), 0.01 * (kernel**2).sum(), rtol=1e-5)
