"""`save_lora`: one condition as KerasHub's file of an adapter, read by a stock backbone."""

import gc
import weakref

import h5py
import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_hypernet as kh
from keras_hypernet.models.lora_factors import keras_factors
from keras_hypernet.utils.keras_internals import layers_in, own_variables
from tests.backend import BACKEND, numpy_of
from tests.whole_models import SIZE

CONDITION = np.array([[0.5, -1.0, 2.0]], "float32")
DEFAULT = ["query_dense", "value_dense", "query", "value"]


@keras.saving.register_keras_serializable(package="tests")
class Backbone(keras.Model):
    """What KerasHub's backbones do with an adapter and its file, for tests without KerasHub."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.made = True

    def __setattr__(self, name, value):
        if BACKEND == "torch" and not hasattr(self, "made"):
            object.__setattr__(self, name, value)  # as in KerasHub: no attribute counts as a layer
        else:
            super().__setattr__(name, value)

    def default_lora_layer_names(self):
        return DEFAULT

    def enable_lora(self, rank, target_layer_names=None):
        names = target_layer_names or self.default_lora_layer_names()
        self.rank, self.enabled = rank, []
        for i, layer in enumerate(x for x in layers_in(self)[1:] if x.weights):
            if layer.name in names and hasattr(layer, "enable_lora"):
                layer.enable_lora(rank)
                self.enabled.append(i)

    def load_lora_weights(self, path):
        with h5py.File(path) as file:
            rank = int(file["lora/vars/rank"][()])
            if not hasattr(self, "enabled"):
                self.enable_lora(rank)
            assert self.rank == rank
            found = [x for x in layers_in(self)[1:] if x.weights]
            for i in self.enabled:
                for name in ("lora_kernel_a", "lora_kernel_b"):
                    getattr(found[i], name).assign(file[f"lora/{i}/vars/{name}"][()])


class Reversed(Backbone):
    """A backbone whose layers are attributes in another order than that of its graph."""

    def __init__(self):
        self.last = layers.Dense(4, name="dense")
        self.second = layers.Dense(4, name="value", activation="relu")
        self.first = layers.Dense(4, name="query", activation="tanh")
        x = keras.Input((4,))
        super().__init__(x, self.last(self.second(self.first(x))))


def chain(*made, shape=(4,)):
    x = keras.Input(shape)
    y = x
    for layer in made:
        y = layer(y)
    return Backbone(x, y)


def dense(**options):
    first = layers.Dense(6, name="query", activation="relu", **options)
    return chain(first, layers.Dense(4, name="b"))


def attention():
    x = keras.Input((5, 4))
    y = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    return Backbone(x, layers.Dense(4, name="out")(y))


def einsums():
    """Kernels with several output axes, several inputs, and the inputs last."""
    return chain(
        layers.EinsumDense("abc,cde->abde", (5, 2, 3), name="several"),
        layers.EinsumDense("abde,fde->abf", (5, 4), name="inputs_last"),
        layers.EinsumDense("abf,bfg->abg", (5, 3), name="paired"),
        shape=(5, 4),
    )


def convolutions():
    return chain(
        layers.Conv2D(3, 2, strides=2, name="first"),
        layers.Conv2D(4, 2, padding="same", name="second"),
        layers.Flatten(),
        layers.Dense(2, name="head"),
        shape=(5, 5, 2),
    )


def quantized():
    made = settled(dense())
    made.quantize("int8")
    return made


BACKBONES = {
    "dense": dense,
    "attention": attention,
    "einsums": einsums,
    "convolutions": convolutions,
    "attributes in another order": Reversed,
    "half precision": lambda: dense(dtype="mixed_bfloat16"),
    "quantized": quantized,
}
OPTIONS = {
    "alpha": {"alpha": 12.0},
    "up": {"generate": "up"},
    "scale": {"generate": "scale", "alpha": 3.0},
    "gates": {"generator": lambda spec: kh.WeightGenerator(spec, initialization=None)},
    "in chunks": {"generator": lambda spec: kh.ChunkedWeightGenerator(spec, 10)},
    "given layers": {"copy": False},
    "two rows divide": {"rank": 1},
}


def settled(model, scale=0.3):
    """The model with random values."""
    rng = np.random.default_rng(1)
    for variable in model.weights:
        if keras.backend.is_float_dtype(variable.dtype):
            change = scale * rng.normal(size=variable.shape)
            variable.assign(numpy_of(variable) + change)
    return model


def adapted(backbone, scale=0.3, **options):
    options = {"mode": "low_rank", "rank": 2, "freeze": "all", **options}
    hyper = kh.hypernetize(backbone, SIZE, **options)
    rng = np.random.default_rng(2)
    for variable in hyper.trainable_variables:
        variable.assign(numpy_of(variable) + scale * rng.normal(size=variable.shape))
    return hyper


def outputs(model, *inputs):
    given = [ops.convert_to_tensor(x) for x in inputs]
    return numpy_of(model(given if len(given) > 1 else given[0], training=False))


def data_of(model, rows=2):
    rng = np.random.default_rng(3)
    shape = [n or 5 for n in model.inputs[0].shape[1:]]
    return rng.normal(size=(rows, *shape)).astype("float32")


def rank_of(path):
    with h5py.File(path) as file:
        return int(file["lora/vars/rank"][()])


def assert_read(hyper, given, reader, path, names, rtol=1e-5):
    """A stock backbone gives the outputs of a hypernetwork, and gave others before."""
    x = data_of(given)
    want = outputs(hyper, np.repeat(CONDITION, len(x), 0), x)
    before = outputs(reader, x)
    reader.enable_lora(rank_of(path), target_layer_names=names)
    reader.load_lora_weights(path)
    atol = rtol * np.abs(want).max()
    np.testing.assert_allclose(outputs(reader, x), want, rtol=0, atol=atol)
    assert np.abs(before - want).max() > 10 * atol


def stock(make, given):
    """Another backbone with the same values."""
    made = make()
    made.set_weights([numpy_of(v) for v in given.weights])
    return made


QUICK = [("attention", True), ("quantized", False)]


@pytest.mark.parametrize(
    ("name", "copy"),
    [
        pytest.param(name, copy, marks=[] if (name, copy) in QUICK else pytest.mark.slow)
        for name in BACKBONES
        for copy in (True, False)
    ],
)
def test_a_stock_backbone_reads_it(name, copy, tmp_path, capsys):
    make, path = BACKBONES[name], tmp_path / "user.lora.h5"
    given = settled(make())
    hyper = adapted(given, copy=copy)
    names = kh.save_lora(hyper, CONDITION, path)
    printed = capsys.readouterr().out
    assert f"enable_lora({rank_of(path)}, target_layer_names={names})" in printed
    rtol = 0.02 if name == "half precision" else 1e-5
    assert_read(hyper, given, stock(make, given), path, names, rtol)


@pytest.mark.parametrize("name", OPTIONS)
def test_updates_of_every_kind(name, tmp_path):
    given, path = settled(dense()), tmp_path / "user.lora.h5"
    hyper = adapted(given, **OPTIONS[name])
    names = kh.save_lora(hyper, CONDITION, path)
    assert rank_of(path) == OPTIONS[name].get("rank", 2)
    assert_read(hyper, given, stock(dense, given), path, names)


def updates_of(path):
    """`{index: update}` that a file has."""
    with h5py.File(path) as file:
        return {
            int(index): numpy_of(f["vars/lora_kernel_a"][()] @ f["vars/lora_kernel_b"][()])
            for index, f in file["lora"].items()
            if index != "vars"
        }


# Equations of `down` and `up`, and the axes of their product.
EQUATIONS = ["aY,Yb->ab", "aY,Ybc->abc", "aY,Ybc->bac", "abY,Yc->abc", "aY,Ybc->bca", "cY,Yab->abc"]
EQUATIONS += ["aY,aYb->ab", "abY,aYc->abc", "abY,aYcd->cabd", "aY,aY->a", "abY,bY->ab", "Y,Yab->ab"]


@pytest.mark.parametrize("equation", EQUATIONS)
@pytest.mark.parametrize("kind", ["full", "scaled", "lower", "zero", "large"])
def test_factors_have_the_rank_of_the_matrix(equation, kind, rng):
    terms, _ = equation.split("->")
    sizes = {"a": 4, "b": 3, "c": 5, "d": 2, "Y": 2}
    if kind == "large":
        sizes["Y"] = 9
    down, up = [rng.normal(size=[sizes[c] for c in t]).astype("float32") for t in terms.split(",")]
    update = {"down": down, "up": up}
    if kind == "scaled":
        update["scale"] = rng.normal(size=sizes["Y"]).astype("float32")
    if kind == "lower":
        down[..., 1] = down[..., 0]
    if kind == "zero":
        up[:] = 0
    want = np.einsum(equation, numpy_of(down) * update.get("scale", 1), numpy_of(up))
    a, b = keras_factors(update, equation)
    np.testing.assert_allclose(a @ b, want, rtol=1e-6, atol=1e-6)
    matrix = want.reshape(-1, want.shape[-1])
    assert len(b) == a.shape[-1] == np.linalg.matrix_rank(matrix, rtol=1e-6)


def test_a_large_kernel_takes_no_large_decomposition(rng, monkeypatch):
    sizes, svd = [], np.linalg.svd
    monkeypatch.setattr(np.linalg, "svd", lambda x, **o: sizes.append(x.shape) or svd(x, **o))
    down, up = rng.normal(size=(3000, 4)), rng.normal(size=(4, 8, 64))
    a, b = keras_factors({"down": down, "up": up}, "aY,Ybc->abc")
    assert sizes == [(32, 64)]
    np.testing.assert_allclose(a @ b, np.einsum("aY,Ybc->abc", down, up), atol=1e-10)


def test_kernels_of_the_same_names_have_zeros(tmp_path, capsys):
    def make():
        chained = [layers.Dense(4, name=name) for name in ("query", "value", "b")]
        inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="query")], name="inner")
        return chain(*chained, inner)

    given, path = settled(make()), tmp_path / "user.lora.h5"
    hyper = adapted(given, select="query/kernel")
    assert sorted(kh.save_lora(hyper, CONDITION, path)) == ["query", "value"]
    assert not capsys.readouterr().out
    found = [np.any(update) for update in updates_of(path).values()]
    assert sorted(found) == [False, False, True]
    # So it is loaded without a word about names.
    x, reader = data_of(given), stock(make, given)
    reader.load_lora_weights(path)
    want = outputs(hyper, np.repeat(CONDITION, 2, 0), x)
    np.testing.assert_allclose(outputs(reader, x), want, rtol=1e-5, atol=1e-5)


def test_an_update_of_nothing_has_rank_one(tmp_path):
    given, path = settled(dense()), tmp_path / "user.lora.h5"
    names = kh.save_lora(kh.hypernetize(given, SIZE, mode="low_rank"), CONDITION, path)
    assert rank_of(path) == 1
    assert not any(np.any(update) for update in updates_of(path).values())
    reader, x = stock(dense, given), data_of(given)
    reader.enable_lora(1, target_layer_names=names)
    reader.load_lora_weights(path)
    np.testing.assert_allclose(outputs(reader, x), outputs(given, x), rtol=1e-6, atol=1e-6)


def test_the_order_is_that_of_the_backbone(tmp_path):
    """KerasHub counts attributes in their order, but not on PyTorch."""
    order = ["query", "value", "dense"]
    order = order if BACKEND == "torch" else order[::-1]
    given, path = Reversed(), tmp_path / "user.lora.h5"
    for copy in (True, False):
        hyper = adapted(given, copy=copy, select="value/kernel")
        assert kh.save_lora(hyper, CONDITION, path) == ["query", "value"]
        assert order == [layer.name for layer in layers_in(given)[1:] if layer.weights]
        found = updates_of(path)
        assert [i for i in found if np.any(found[i])] == [order.index("value")]


def test_a_hypernetwork_holds_no_backbone():
    given = settled(dense())
    hyper, dead = adapted(given), weakref.ref(given)
    del given
    gc.collect()
    assert dead() is None, hyper.name


def by_ids(given):
    ids = keras.Input((), dtype="int32", name="user")
    return adapted_to(given, conditioning=kh.ConditionEmbedding(3, 4)(ids))


def adapted_to(given, **options):
    hyper = kh.hypernetize(given, mode="low_rank", rank=2, freeze="all", **options)
    return settled(hyper)


def test_users(tmp_path):
    """Ids, users that were added, and one file for each."""
    given, x = settled(dense()), data_of(dense())
    users = kh.with_conditions(by_ids(given), 5, start="mean")
    for user in (0, 4):
        path = tmp_path / f"{user}.lora.h5"
        names = kh.save_lora(users, {"user": np.array([user])}, path)
        reader, want = stock(dense, given), outputs(users, np.array([user, user]), x)
        reader.set_weights([numpy_of(v) for v in base_of(users, reader)])
        reader.enable_lora(rank_of(path), target_layer_names=names)
        reader.load_lora_weights(path)
        np.testing.assert_allclose(outputs(reader, x), want, rtol=1e-5, atol=1e-5)


def base_of(hyper, reader):
    """The variables of a hypernetwork that are those of a backbone, by the ends of their paths."""
    ends = ["/".join(v.path.split("/")[-2:]) for v in reader.weights]
    return [next(v for v in hyper.weights if v.path.endswith(end)) for end in ends]


def test_a_backbone_inside(tmp_path):
    """A task is known by its backbone; of another model around it, the backbone is given."""

    class Task(keras.Model):
        def __init__(self, backbone):
            x = keras.Input((4,))
            super().__init__(x, layers.Dense(3, name="head")(backbone(x)))
            self.backbone = backbone

    backbone, path = settled(dense()), tmp_path / "user.lora.h5"
    task = settled(Task(backbone))
    around = keras.Model(backbone.input, layers.Dense(3, name="head")(backbone.output))
    for model, known in ((task, True), (around, False)):
        hyper = adapted(model, select=["*query/kernel", "*b/kernel"])
        if not known:
            with pytest.raises(ValueError, match=r"`backbone` must be given.*backbone=None"):
                kh.save_lora(hyper, CONDITION, path)
        for given in [None] * known + [backbone, stock(dense, backbone), task]:
            names = kh.save_lora(hyper, CONDITION, path, backbone=given)
            assert names == ["b", "query"]
        plain = kh.specialize(hyper, CONDITION)
        reader = stock(dense, backbone)
        reader.enable_lora(rank_of(path), names)
        reader.load_lora_weights(path)
        head = next(x for x in layers_in(model) if x.name == "head")
        want = outputs(plain, x := data_of(backbone))
        np.testing.assert_allclose(numpy_of(head(reader(x))), want, rtol=1e-5, atol=1e-5)
        with pytest.raises(ValueError, match=r"head/kernel \(not in the backbone\)"):
            kh.save_lora(adapted(model), CONDITION, path, backbone=backbone)


def test_a_loaded_hypernetwork_needs_the_backbone(tmp_path):
    given, path = settled(dense()), tmp_path / "user.lora.h5"
    hyper = adapted(given)
    hyper.save(tmp_path / "hyper.keras")
    loaded = keras.saving.load_model(tmp_path / "hyper.keras", safe_mode=True)
    with pytest.raises(ValueError, match=r"`backbone` must be given.*in this process"):
        kh.save_lora(loaded, CONDITION, path)
    names = kh.save_lora(loaded, CONDITION, path, backbone=dense())
    assert_read(hyper, given, stock(dense, given), path, names)


def test_adapters_are_merged_before(tmp_path):
    """The way that the error names, for a backbone that has an adapter already."""
    given = settled(dense())
    given.enable_lora(2, ["b"])
    settled(given)
    with pytest.raises(ValueError, match=r"no adapters of its own.*save_weights"):
        kh.save_lora(adapted(given, copy=False), CONDITION, tmp_path / "user.lora.h5")
    given.save_weights(tmp_path / "merged.weights.h5")
    merged = dense()
    merged.load_weights(tmp_path / "merged.weights.h5")
    x = data_of(given)
    np.testing.assert_allclose(outputs(merged, x), outputs(given, x), rtol=1e-5, atol=1e-5)
    hyper, path = adapted(merged), tmp_path / "user.lora.h5"
    assert_read(hyper, merged, stock(dense, merged), path, kh.save_lora(hyper, CONDITION, path))


def plain():
    return keras.Sequential([keras.Input((4,)), layers.Dense(4, name="query")])


def constrained():
    """A layer of the same name as one that is updated, with a constraint."""
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="query")], name="inner")
    return chain(layers.Dense(4, name="query", kernel_constraint="non_neg"), inner)


def tables():
    """A table of embeddings."""
    x = keras.Input((3,), dtype="int32")
    return Backbone(x, layers.Dense(2, name="b")(layers.Embedding(5, 4, name="table")(x)))


def transposed():
    return chain(layers.Conv1DTranspose(3, 2, name="up"), layers.Dense(2, name="b"), shape=(5, 2))


def twice():
    """Two updates of one kernel, by hand: the same layer on other weights."""
    hyper = adapted(plain(), copy=False)
    z, more, x = keras.Input((SIZE,)), keras.Input((SIZE,)), keras.Input((4,))
    changed = hyper.layers[-1]
    one, other = (kh.WeightGenerator(changed.generated_spec)(c) for c in (z, more))
    return keras.Model([z, more, x], changed(changed(x, weights=one), weights=other))


def both():
    given = chain(layers.Dense(4, name="query"), layers.Dense(4, name="b"))
    inner = adapted(given, select="query/kernel")
    return kh.hypernetize(inner, SIZE, mode="delta", select="b/bias")


def of_another_mode():
    return kh.hypernetize(settled(dense()), SIZE, mode="delta")


def infinite():
    hyper = adapted(dense())
    hyper.trainable_variables[0].assign(np.inf * numpy_of(hyper.trainable_variables[0]))
    return hyper


def other():
    return chain(layers.Dense(6, name="query"), layers.Dense(5, name="b"))


def renamed():
    return chain(layers.Dense(6, name="query"), layers.Dense(4, name="c"))


def refusal(make, match, condition=CONDITION, path="user.lora.h5", error=ValueError, **more):
    return make, match, condition, path, error, more


REFUSED = {
    "no updates": refusal(of_another_mode, "must have generated updates of low rank"),
    "not generated": refusal(dense, "must have generated updates of low rank"),
    "no model": refusal(lambda: layers.Dense(2), "`model` must be a functional model"),
    "others beside": refusal(both, "no generated weights but updates of low rank"),
    "two of one": refusal(twice, "one update of each kernel.*query/kernel"),
    "a path": refusal(lambda: adapted(dense()), r"must end in '\.lora\.h5'", path="user.h5"),
    "no path": refusal(lambda: adapted(dense()), "`path` must be a path", path=3, error=TypeError),
    "no row": refusal(lambda: adapted(dense()), "one row", np.zeros((0, SIZE))),
    "two rows": refusal(lambda: adapted(dense()), r"one row.*\(2, 3\)", np.zeros((2, SIZE))),
    "two inputs": refusal(lambda: adapted(dense()), "one array for each", [CONDITION] * 2),
    "infinite": refusal(infinite, "finite updates.*query/kernel"),
    "no backbone": refusal(lambda: adapted(plain()), "`backbone` must be given"),
    "a table": refusal(
        lambda: adapted(tables(), select="table/*"),
        r"table/embeddings \(KerasHub's file has ker",
    ),
    "no enable_lora": refusal(
        lambda: adapted(transposed()), r"up/kernel \(a `Conv1DTranspose` has no `enable_lora`"
    ),
    "a constraint": refusal(
        lambda: adapted(constrained(), select="inner/*/kernel"), "names of those.*a constraint"
    ),
    "another shape": refusal(
        lambda: adapted(dense()), r"b/kernel \(of shape \(6, 5\) in the", backbone=other
    ),
    "another name": refusal(
        lambda: adapted(dense()), r"b/kernel \(not in the backbone\)", backbone=renamed
    ),
    "no model for it": refusal(
        lambda: adapted(dense()), "`backbone` must be a Model", error=TypeError, backbone=lambda: 3
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name, tmp_path):
    make, match, condition, path, error, more = REFUSED[name]
    model, more = make(), {argument: value() for argument, value in more.items()}
    old = tmp_path / path if isinstance(path, str) else path
    if isinstance(path, str):
        old.write_text("old")
    with np.errstate(all="ignore"), pytest.raises(error, match=match):
        kh.save_lora(model, condition, old, **more)
    files = list(tmp_path.iterdir())
    assert [file.read_text() for file in files] == ["old"] * isinstance(path, str)


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path, hyper = tmp_path / "new" / "user.lora.h5", adapted(dense())
    kh.save_lora(hyper, CONDITION, path)
    kh.save_lora(hyper, CONDITION, str(path))  # an old file is replaced
    before = path.read_bytes()

    def full(*arguments):
        raise OSError("full")

    monkeypatch.setattr(h5py.Group, "__setitem__", full)
    with pytest.raises(OSError, match="full"):
        kh.save_lora(hyper, CONDITION, path)
    assert path.read_bytes() == before
    assert [x.name for x in path.parent.iterdir()] == [path.name]


# KerasHub itself.

SMALL = {"vocabulary_size": 30, "num_layers": 2, "hidden_dim": 8, "intermediate_dim": 16}
HEADS = {"num_heads": 2, "max_sequence_length": 6}
GROUPED = {"num_query_heads": 4, "num_key_value_heads": 2}
IMAGE = {"image_shape": (8, 8, 3), "patch_size": 4, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
HUB = {  # {class of KerasHub: its arguments}
    "GPT2Backbone": {**SMALL, **HEADS},
    "GemmaBackbone": {**SMALL, **GROUPED, "head_dim": 4},
    "BertBackbone": {**SMALL, **HEADS},
    "LlamaBackbone": {**SMALL, **GROUPED},
    "ViTBackbone": {**IMAGE, "num_layers": 2},
    "BartBackbone": {**SMALL, **HEADS},  # whose attributes are in another order than its graph
}


def hub(name):
    """A new backbone of a class of KerasHub."""
    module = pytest.importorskip("keras_hub", reason="needs keras-hub")
    return getattr(module.models, name)(**HUB[name])


def hub_data(backbone, rng, rows=2):
    """`{name of an input: data}`, in the order of the inputs."""
    found = {}
    for x in backbone.inputs:
        shape = (rows, *(n or 5 for n in x.shape[1:]))
        if x.dtype == "float32":
            found[x.name] = rng.normal(size=shape).astype("float32")
        else:
            ids = rng.integers(1, 30, size=shape)
            found[x.name] = ids if "token" in x.name else np.ones_like(ids)
    return found


QUICK_HUB = [("BertBackbone", "default names"), ("GPT2Backbone", "all")]


@pytest.mark.parametrize(
    ("name", "kernels"),
    [
        pytest.param(name, kernels, marks=[] if (name, kernels) in QUICK_HUB else pytest.mark.slow)
        for name in HUB
        for kernels in ("default names", "all")
    ],
)
def test_keras_hub_reads_it(name, kernels, rng, tmp_path, capsys):
    given, path = settled(hub(name), 0.1), tmp_path / "user.lora.h5"
    select = ["*/query/kernel", "*/value/kernel"] if kernels == "default names" else None
    hyper = adapted(given, 0.1, select=select, copy=False, alpha=4.0, check_rows=False)
    data = hub_data(given, rng)
    x = data if isinstance(given.input, dict) else next(iter(data.values()))
    want = in_order(hyper([np.repeat(CONDITION, 2, 0), *data.values()], training=False))
    names = kh.save_lora(hyper, CONDITION, path)
    printed, reader = capsys.readouterr().out, stock(lambda: hub(name), given)
    before = in_order(reader(x, training=False))
    if select is None:
        assert f"target_layer_names={names}" in printed
        reader.enable_lora(rank_of(path), target_layer_names=names)
    else:
        assert sorted(names) == ["query", "value"]
        assert not printed
    reader.load_lora_weights(path)
    found = in_order(reader(x, training=False))
    for got, expected, old in zip(found, want, before, strict=True):
        atol = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(got, expected, rtol=0, atol=atol)
        assert np.abs(old - expected).max() > 100 * atol
    updates, found = updates_of(path), [x for x in layers_in(given)[1:] if x.weights]
    kernels = {v.path: (i, v) for i, x in enumerate(found) for v in own_variables(x)}
    for name, weights in kh.target_weights(hyper, CONDITION).items():
        index, kernel = kernels[name]
        merged = numpy_of(kernel) + updates[index]
        np.testing.assert_allclose(merged, weights[0], rtol=1e-6, atol=1e-6)
    reader.save_lora_weights(tmp_path / "again.lora.h5")
    assert contents(tmp_path / "again.lora.h5") == contents(path)


def in_order(nest):
    return keras.tree.flatten(numpy_of(nest))


def contents(path):
    """`{path in a file: (shape, kind, values)}`."""
    found = {}

    def visit(name, entry):
        if isinstance(entry, h5py.Dataset):
            found[name] = (entry.shape, entry.dtype.kind, entry[()].tolist())

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def test_keras_hub_refuses_what_does_not_fit(tmp_path):
    """A file of another backbone, and one of another rank: errors of KerasHub."""
    path, given = tmp_path / "user.lora.h5", hub("GPT2Backbone")
    kh.save_lora(adapted(given, copy=False, check_rows=False), CONDITION, path)
    with pytest.raises((KeyError, ValueError)):
        hub("GemmaBackbone").load_lora_weights(path)
    reader = hub("GPT2Backbone")
    reader.enable_lora(rank_of(path) + 1)
    with pytest.raises(ValueError, match="Both ranks must match"):
        reader.load_lora_weights(path)
