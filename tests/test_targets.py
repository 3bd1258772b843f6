"""Target networks, their chunkings against those of hypnettorch, and chunk plans for a budget."""

import doctest
import functools
import json
import math
import pathlib
import re

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_hypernet as kh
from keras_hypernet import targets
from keras_hypernet.chunking.chunk_plan import ChunkPlan
from keras_hypernet.targets.parts import Convolutions
from tests.backend import BACKEND

# Chunk plans are pure Python: what they hold on one backend they hold on all.
pure_python = pytest.mark.skipif(BACKEND == "jax", reason="large models are slow to make on JAX")

VECTORS = json.loads((pathlib.Path(__file__).parent / "vectors/chunkings.json").read_text())
SMALL = {"input_shape": (8, 8, 1), "num_classes": 3}
SMALL_RESNET = {"n": 1, "filters": (2, 2, 4, 6), **SMALL}
SMALL_WRN = {"n": 1, "k": 1, "filters": (6, 4, 6, 10), **SMALL}
WRN_28_10 = json.dumps({"cls": "WRN", "n": 4, "k": 10, "use_bias": False, "use_fc_bias": True})


@functools.cache
def spec_of_net(text):
    """Spec of a network that the reference names, in our own terms."""
    net = json.loads(text)
    use_bias = net.get("use_bias", True)
    options = {
        "n": net["n"],
        "filters": net.get("num_feature_maps", (16, 16, 32, 64)),
        "input_shape": net.get("in_shape", (32, 32, 3)),
        "num_classes": net.get("num_classes", 10),
        "normalization": "batch" if net.get("use_batch_norm", True) else None,
        "use_bias": use_bias,
    }
    if net["cls"] == "ResNet":
        model = targets.resnet(**options, width=net.get("k", 1))
    else:
        use_output_bias = net.get("use_fc_bias", use_bias)
        model = targets.wide_resnet(**options, k=net["k"], use_output_bias=use_output_bias)
    return kh.WeightSpec.from_model(model)


def chunking(net, kwargs):
    spec, gcd = spec_of_net(json.dumps(net)), kwargs.get("gcd_chunking", False)
    if net["cls"] == "ResNet":
        return kh.resnet_chunking(spec, gcd)
    return kh.wide_resnet_chunking(
        spec,
        gcd,
        normalization=not kwargs.get("ignore_bn_weights", True),
        output=not kwargs.get("ignore_out_weights", True),
    )


def in_keras_layout(shapes):
    """PyTorch's shapes, in any order -> Keras' shapes, sorted."""
    turned = {1: lambda c: (c,), 2: lambda o, i: (i, o), 4: lambda o, i, h, w: (h, w, i, o)}
    return sorted(turned[len(shape)](*shape) for shape in shapes)


def generated_values(plan):
    return sum(kind.number * kind.spec.total for kind in plan.kinds.values())


def case_id(entry):
    return "-".join(str(v) for v in (*entry["net"].values(), *entry["kwargs"].values()))


# Chunkings.


@pytest.mark.parametrize("entry", VECTORS, ids=case_id)
@pure_python
def test_networks_and_chunkings_are_those_of_the_reference(entry):
    plan = chunking(entry["net"], entry["kwargs"])
    if "error" in entry:  # the reference fails without a bias in the output layer
        assert "output/bias" not in spec_of_net(json.dumps(entry["net"]))
        assert [kind.number for kind in plan.kinds.values()] == [1, 3, 3, 3, 1, 1, 1]
        return
    spec = spec_of_net(json.dumps(entry["net"]))
    assert spec.total == entry["net_num_params"]
    assert sorted(spec.shapes) == in_keras_layout(entry["net_param_shapes"])
    assert sorted(plan.spec.shapes) == in_keras_layout(entry["assembled_shapes"])
    kinds = list(plan.kinds.values())
    assert [sorted(kind.spec.shapes) for kind in kinds] == [
        in_keras_layout(shapes) for shapes in entry["chunk_shapes"]
    ]
    assert [kind.number for kind in kinds] == entry["num_per_chunk"]
    assert plan.num_chunks == entry["total_chunks"]
    assert plan.chunk_outputs == entry["chunk_outputs_total"]
    assert generated_values(plan) == entry["generated_values"]


# What hypnettorch 0.0.4 gives beyond the vectors.
GCD_CASES = [
    ({"cls": "ResNet", "n": 5}, {}, [1, 1, 11, 22, 36, 1], 19754, None),
    (
        {"cls": "ResNet", "n": 5, "use_bias": False, "num_feature_maps": [8, 16, 32, 64]},
        {},
        [1, 2, 22, 44, 72, 1],
        9576,
        462760,
    ),
    ({"cls": "ResNet", "n": 1, "k": 2}, {}, [1, 2, 6, 12, 8, 1], None, 293418),
    (json.loads(WRN_28_10), {}, [1, 71, 15, 15, 1, 1, 1], 2586032, None),
    (
        json.loads(WRN_28_10),
        {"ignore_bn_weights": False, "ignore_out_weights": False},
        [1, 71, 15, 15, 1, 1, 1, 1],
        2594714,
        36512794,
    ),
]


@pytest.mark.parametrize(("net", "kwargs", "numbers", "outputs", "generated"), GCD_CASES)
@pure_python
def test_gcd_chunkings_are_those_of_the_reference(net, kwargs, numbers, outputs, generated):
    plan = chunking(net, {**kwargs, "gcd_chunking": True})
    assert [kind.number for kind in plan.kinds.values()] == numbers
    assert outputs in (None, plan.chunk_outputs)
    assert generated in (None, generated_values(plan))


@pytest.mark.parametrize("gcd", [False, True])
@pure_python
def test_resnet_chunking_uses_every_chunk_once_in_the_order_of_the_layers(gcd):
    spec = kh.WeightSpec.from_model(targets.resnet(n=2, filters=(4, 4, 8, 12), **SMALL))
    plan = kh.resnet_chunking(spec, gcd)
    used = plan.assembly.used
    assert len(used) == sum(kind.number * len(kind.spec) for kind in plan.kinds.values())
    assert {len(tensors) for tensors in used.values()} == {1}
    for tensor in ("kernel", "bias", "gamma", "beta"):
        pieces = [name for name in used if name.endswith(f"/{tensor}")]
        counted = {}
        for piece in pieces:  # in the order of the target's layers
            kind, index, _ = piece.split("/")
            counted.setdefault(kind, []).append(int(index))
        assert all(indices == list(range(len(indices))) for indices in counted.values())
    for name, tensor in zip(spec.names, spec, strict=True):
        entry = plan.assembly.entries[name]
        assert len(entry["join"]) == 1 or entry["axis"] == -1
        if gcd and "conv_" in name:
            assert len(entry["join"]) == tensor.shape[-1] // 4


def test_resnet_chunk_has_the_normalization_of_its_convolution():
    plan = kh.resnet_chunking(targets.resnet(**SMALL_RESNET))
    assert list(plan.kinds) == [
        "first",
        *("group_1_first", "group_1", "group_2_first", "group_2", "group_3_first", "group_3"),
        "output",
    ]
    assert plan.kinds["group_2"].spec.names == ["kernel", "bias", "gamma", "beta"]
    assert plan.kinds["group_2"].embedding_size == 8
    entries = plan.get_config()["assembly"]
    assert entries["group_2_block_0_conv_1/bias"] == "group_2/0/bias"
    assert entries["group_2_block_0_norm_1/gamma"] == "group_2/0/gamma"


@pure_python
def test_wide_resnet_chunking_joins_inputs_and_takes_the_rest_from_the_first_chunk():
    model = targets.wide_resnet(n=1, k=1, filters=(4, 4, 8, 8), use_bias=True, **SMALL)
    plan = kh.wide_resnet_chunking(model, normalization=True, output=True)
    kinds = ["first", "group_1", "group_2", "group_3", "skip_2", "skip_3", "output"]
    assert list(plan.kinds) == kinds
    entries = plan.get_config()["assembly"]
    assert entries["group_2_block_0_conv_1/kernel"] == {
        "join": ["group_2/1/kernel", "group_2/2/kernel"],
        "axis": -2,
    }
    assert entries["group_2_block_0_conv_1/bias"] == "group_2/1/bias"
    assert entries["group_2_block_0_norm_1/beta"] == "group_2/1/beta"
    assert entries["group_2_block_0_skip/kernel"] == "skip_2/0/kernel"
    assert plan.spec.names == kh.WeightSpec.from_model(model).names


@pure_python
def test_wide_resnet_chunking_leaves_out_what_is_not_wanted():
    model = targets.wide_resnet(**SMALL_WRN)
    names = [name for name in kh.WeightSpec.from_model(model).names if "norm_" not in name]
    assert kh.wide_resnet_chunking(model, output=True).spec.names == names
    without = [name for name in names if not name.startswith("output/")]
    assert kh.wide_resnet_chunking(model).spec.names == without


@pytest.mark.parametrize("use_output_bias", [True, False])
def test_wide_resnet_chunking_has_the_output_layer_with_or_without_bias(use_output_bias):
    model = targets.wide_resnet(**SMALL_WRN, use_output_bias=use_output_bias)
    output = kh.wide_resnet_chunking(model, output=True).kinds["output"]
    assert output.spec.names == ["kernel", "bias"][: 1 + use_output_bias]


def mlp():
    return keras.Sequential([keras.Input((6,)), layers.Dense(4), layers.Dense(3)])


def with_shape(model, name, shape):
    tensors = kh.WeightSpec.from_model(model).get_config()["tensors"]
    return kh.WeightSpec([{**t, "shape": shape} if t["name"] == name else t for t in tensors])


def without(model, layer):
    tensors = kh.WeightSpec.from_model(model).get_config()["tensors"]
    return kh.WeightSpec([t for t in tensors if not t["name"].startswith(f"{layer}/")])


def test_chunkings_refuse_other_networks():
    resnet, wrn = targets.resnet(**SMALL_RESNET), targets.wide_resnet(**SMALL_WRN)
    for chunk in (kh.resnet_chunking, kh.wide_resnet_chunking):
        with pytest.raises(ValueError, match="no tensor 'conv_0/kernel'"):
            chunk(mlp())
        with pytest.raises(TypeError, match="`model` must be a built Keras model"):
            chunk("resnet")
        with pytest.raises(ValueError, match="no tensor 'group_3_block_0_conv_1/kernel'"):
            chunk(without(resnet, "group_3_block_0_conv_1"))
        with pytest.raises(ValueError, match="must have 6 inputs and 6 outputs"):
            chunk(with_shape(resnet, "group_3_block_0_conv_1/kernel", (3, 3, 5, 6)))
    with pytest.raises(ValueError, match=r"Received unknown: \['group_1_block_0_skip'"):
        kh.resnet_chunking(wrn)
    with pytest.raises(ValueError, match=r"Missing: \['group_2_block_0_skip'"):
        kh.wide_resnet_chunking(resnet)


# Networks.


@pytest.mark.parametrize(
    ("network", "options", "chunk"),
    [
        (targets.resnet, SMALL_RESNET, kh.resnet_chunking),
        (targets.wide_resnet, {**SMALL_WRN, "dropout": 0.3}, kh.wide_resnet_chunking),
    ],
)
@pytest.mark.parametrize("normalization", ["batch", "layer", None])
def test_networks_save_and_load(network, options, chunk, normalization, tmp_path, rng):
    model = network(**options, normalization=normalization)
    x = rng.normal(size=(5, 8, 8, 1)).astype("float32")
    before = model.predict(x, verbose=0)
    assert before.shape == (5, 3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(loaded.predict(x, verbose=0), before, rtol=1e-5, atol=1e-6)
    assert chunk(loaded) == chunk(model)
    norms = {type(layer).__name__ for layer in model.layers if "norm_" in layer.name}
    wanted = {"batch": {"BatchNormalization"}, "layer": {"LayerNormalization"}, None: set()}
    assert norms == wanted[normalization]


@pytest.mark.parametrize(
    ("network", "options"),
    [(targets.resnet, SMALL_RESNET), (targets.wide_resnet, {**SMALL_WRN, "dropout": 0.3})],
)
def test_networks_train(network, options, rng):
    model = network(**options)
    x, y = rng.normal(size=(8, 8, 8, 1)).astype("float32"), np.arange(8) % 3
    before = [np.array(w) for w in model.get_weights()]
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, batch_size=4, verbose=0)
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    frozen = [v.path for v, is_new in zip(model.weights, changed, strict=True) if not is_new]
    assert not frozen
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_resnet_has_the_layers_that_its_depth_says():
    for n in (1, 3):
        spec = kh.WeightSpec.from_model(targets.resnet(n=n, width=2, **SMALL))
        kernels = [t for t in spec if t.role == "kernel"]
        assert len(kernels) == 6 * n + 2
        assert [t.shape[-1] for t in kernels[: 2 * n + 1]] == [16] + [32] * (2 * n)
        assert kernels[-1].shape == (128, 3)


def silenced(model):
    """The model with zeros for what the blocks' 3x3 convolutions compute."""
    for layer in model.layers:
        if re.fullmatch(r"group_\d_block_\d_conv_\d", layer.name):
            layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
    return model


def conv_0(model, x):
    first = keras.Model(model.input, model.get_layer("conv_0").output)
    return np.maximum(ops.convert_to_numpy(first(x)), 0)


@pytest.mark.parametrize("filters", [(2, 2, 4, 6), (4, 4, 4, 4)])
def test_resnet_shortcuts_keep_every_second_pixel_and_add_zeros(filters, rng):
    options = {**SMALL_RESNET, "filters": filters, "normalization": None}
    model = silenced(targets.resnet(**options))
    x = rng.normal(size=(4, 8, 8, 1)).astype("float32")
    kept = conv_0(model, x)[:, ::4, ::4].mean((1, 2))
    kernel, bias = model.get_layer("output").get_weights()
    expected = np.pad(kept, ((0, 0), (0, filters[3] - filters[0]))) @ kernel + bias
    np.testing.assert_allclose(ops.convert_to_numpy(model(x)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("filters", [(6, 4, 6, 10), (4, 4, 4, 4), (6, 4, 4, 8)])
def test_wide_resnet_skips_are_convolutions_where_the_image_changes(filters, rng):
    options = {**SMALL_WRN, "filters": filters, "normalization": None}
    model = silenced(targets.wide_resnet(**options))
    x = rng.normal(size=(4, 8, 8, 1)).astype("float32")
    expected, names = conv_0(model, x), [layer.name for layer in model.layers]
    for group in (1, 2, 3):
        expected = expected[:, :: 1 if group == 1 else 2, :: 1 if group == 1 else 2]
        name = f"group_{group}_block_0_skip"
        assert (name in names) == (group > 1 or filters[group] != filters[group - 1])
        if name in names:
            (kernel,) = model.get_layer(name).get_weights()
            expected = np.maximum(expected @ kernel[0, 0], 0)
    kernel, bias = model.get_layer("output").get_weights()
    expected = expected.mean((1, 2)) @ kernel + bias
    np.testing.assert_allclose(ops.convert_to_numpy(model(x)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("filters", [(4, 4, 4, 4), (6, 4, 4, 8), (4, 8, 4, 4)])
@pytest.mark.parametrize("gcd", [False, True])
def test_wide_resnet_chunking_has_every_skip_of_the_network(filters, gcd):
    model = targets.wide_resnet(**{**SMALL_WRN, "filters": filters})
    skips = [layer.name for layer in model.layers if layer.name.endswith("_skip")]
    plan = kh.wide_resnet_chunking(model, gcd, normalization=True, output=True)
    assert plan.spec == kh.WeightSpec.from_model(model)
    assert [f"{name}/kernel" for name in skips] == [n for n in plan.spec.names if "skip" in n]
    made = [kind for kind in plan.kinds if kind.startswith("skip_")]
    assert made == [f"skip_{name[len('group_')]}" for name in skips]
    for kind in made:
        group = int(kind[-1])
        assert plan.kinds[kind].spec.shapes == [(1, 1, filters[group - 1], filters[group])]


@pytest.mark.parametrize("filters", [(2, 2, 4, 6), (4, 4, 4, 4), (2, 4, 4, 4)])
def test_resnet_shortcuts_have_no_parameters(filters):
    spec = kh.WeightSpec.from_model(targets.resnet(**{**SMALL_RESNET, "filters": filters}))
    assert len([t for t in spec if t.role == "kernel"]) == 6 + 2
    assert kh.resnet_chunking(spec).spec == spec


@pytest.mark.parametrize("size", [7, 8])
def test_strided_convolutions_are_centred_on_the_pixels_that_shortcuts_keep(size, rng):
    image = keras.Input((size, size, 1))
    model = keras.Model(image, Convolutions(False, None).conv(image, "conv", 1, strides=2))
    model.set_weights([np.eye(9)[4].reshape(3, 3, 1, 1)])
    x = rng.normal(size=(2, size, size, 1)).astype("float32")
    np.testing.assert_allclose(ops.convert_to_numpy(model(x)), x[:, ::2, ::2], rtol=1e-5)


def test_wide_resnet_drops_out_in_training_only(rng):
    x = rng.normal(size=(4, 8, 8, 1)).astype("float32")
    for dropout, differs in ((0.0, False), (0.5, True)):
        model = targets.wide_resnet(**SMALL_WRN, normalization=None, dropout=dropout)
        calm, trained = (ops.convert_to_numpy(model(x, training=t)) for t in (False, True))
        assert (np.abs(calm - trained).max() > 1e-4) == differs
        between = [layer.name for layer in model.layers if layer.name.endswith("_dropout")]
        assert len(between) == (3 if differs else 0)


@pytest.mark.parametrize(
    ("network", "options", "error", "message"),
    [
        (targets.resnet, {"n": 0}, ValueError, "`n` must be a positive integer"),
        (targets.resnet, {"n": 1.5}, TypeError, "`n` must be a positive integer"),
        (targets.resnet, {"width": 0}, ValueError, "`width` must be a positive integer"),
        (targets.resnet, {"filters": (16, 32, 64)}, ValueError, "`filters` must have four"),
        (targets.resnet, {"filters": (16, 8, 8, 8)}, ValueError, "must not get smaller"),
        (targets.resnet, {"normalization": "group"}, ValueError, "`normalization` must be one"),
        (targets.resnet, {"input_shape": (32, 32)}, ValueError, "`input_shape` must be"),
        (targets.resnet, {"num_classes": 0}, ValueError, "`num_classes` must be a positive"),
        (targets.wide_resnet, {"k": 0}, ValueError, "`k` must be a positive integer"),
        (targets.wide_resnet, {"dropout": 1.0}, ValueError, r"`dropout` must be in \[0, 1\)"),
    ],
)
def test_networks_refuse_bad_arguments(network, options, error, message):
    with pytest.raises(error, match=message):
        network(**options)


# Plans for a budget.


def cnn():
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(12, 3, name="a"),
            layers.BatchNormalization(name="norm"),
            layers.Conv2D(12, 3, name="b"),
            layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise"),
            layers.Conv2DTranspose(6, 3, name="transposed"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1, name="out"),
        ],
        name="cnn",
    )


def text_model():
    return keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            layers.Embedding(60, 8, name="table"),
            layers.GRU(6, name="gru"),
            layers.Dense(4, name="out"),
        ],
        name="text",
    )


def scalars():
    return kh.WeightSpec.from_shapes(
        {"a/scale": (), "b/scale": (), "b/kernel": (5, 8), "gate": (), "vector": (30,), "w": (7,)}
    )


TARGETS = {
    "mlp": mlp,
    "cnn": cnn,
    "text": text_model,
    "scalars": scalars,
    "resnet": lambda: targets.resnet(n=2, **SMALL),
    "wrn_28_10": lambda: spec_of_net(WRN_28_10),
}


def counted(plan, hidden_sizes=(), input_size=0, use_bias=True):
    """Number of parameters, counted apart from the package: one array after another."""
    total = 0
    for kind in plan.get_config()["kinds"].values():
        width = kind["embedding_size"] + input_size
        for units in (*hidden_sizes, sum(math.prod(s) for s in kind["shapes"].values())):
            total += width * units + (units if use_bias else 0)
            width = units
        total += kind["number"] * kind["embedding_size"]
    return total


def check_pieces(plan, rng):
    """Random tensors of the target, cut as the plan joins them, are the chunks of all kinds."""
    whole = {t.name: rng.normal(size=t.shape) for t in plan.spec}
    pieces = {}
    for name, entry in plan.assembly.entries.items():
        parts = [whole[name]]
        if len(entry["join"]) > 1:
            parts = np.split(whole[name], len(entry["join"]), axis=entry["axis"])
        pieces |= dict(zip(entry["join"], parts, strict=True))
    assert {p: v.shape for p, v in pieces.items()} == {
        f"{kind}/{i}/{t.name}": t.shape
        for kind, chunks in plan.kinds.items()
        for i in range(chunks.number)
        for t in chunks.spec
    }


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "heads",
    [{}, {"hidden_sizes": (4,)}, {"input_size": 3}, {"input_size": 3, "use_bias": False}],
    ids=str,
)
@pure_python
def test_plans_keep_to_every_budget_down_to_the_smallest(target, heads, rng):
    target = TARGETS[target]()
    with pytest.raises(ValueError, match="`budget` must be at least") as caught:
        kh.plan_chunks(target, 1, **heads)
    least = int(re.search(r"at least (\d+)", str(caught.value))[1])
    with pytest.raises(ValueError, match=f"at least {least}, the fewest"):
        kh.plan_chunks(target, least - 1, **heads)
    for budget in (least, int(1.3 * least), 3 * least, 100 * least):
        plan = kh.plan_chunks(target, budget, **heads)
        assert counted(plan, **heads) <= budget
        assert sum(plan.parameters(**heads).values()) == counted(plan, **heads)
        assert plan == kh.plan_chunks(target, budget, **heads)
        assert generated_values(plan) == plan.spec.total  # nothing is wasted
        check_pieces(plan, rng)


def test_wide_resnet_in_a_tenth_of_its_weights():
    spec = spec_of_net(WRN_28_10)
    plan = kh.plan_chunks(spec, 0.1)
    assert counted(plan) <= 0.1 * spec.total
    assert plan.spec == spec
    assert {kind.embedding_size for kind in plan.kinds.values()} == {8}
    convs = [kind for kind in plan.kinds.values() if kind.spec[0].shape[:-1] == (3, 3, 640)]
    assert len(convs) == 1
    assert convs[0].number * convs[0].spec.total == 7 * 3 * 3 * 640 * 640


def test_a_large_budget_makes_a_kind_of_the_layers_of_equal_shapes():
    plan = kh.plan_chunks(targets.resnet(n=2, **SMALL), 10**9)
    kernels = {name: kind.number for name, kind in plan.kinds.items() if "kernel" in name}
    assert kernels["kernel_3x3x16x16"] == 4
    assert kernels["kernel_3x3x64x64"] == 3
    assert kernels["kernel_64x3"] == 1
    assert plan.kinds["gamma_16"].number == 5
    assert plan.kinds["kernel_64x3"].spec.names == ["kernel", "bias"]
    assert {kind.embedding_size for kind in plan.kinds.values()} == {8}


def test_layers_that_differ_in_outputs_become_one_kind():
    shapes = {"a/kernel": (64, 64), "b/kernel": (64, 96), "c/kernel": (64, 30)}
    spec = kh.WeightSpec.from_shapes(shapes)
    assert len(kh.plan_chunks(spec, 10**6).kinds) == 3
    assert len(kh.plan_chunks(spec, 0.2).kinds) == 1


def test_kinds_are_cut_together_where_that_alone_saves():
    shapes = {f"a{i}/gain": (4,) for i in range(20)} | {f"b{i}/gain": (6,) for i in range(40)}
    spec, options = kh.WeightSpec.from_shapes(shapes), {"hidden_sizes": (64,), "embedding_size": 8}
    whole = kh.plan_chunks(spec, 10**6, **options)
    assert [kind.number for kind in whole.kinds.values()] == [20, 40]
    # Either kind in halves would cost more: 8 for each new chunk, 65 for each output less.
    plan = kh.plan_chunks(spec, counted(whole, (64,)) - 1, **options)
    assert [(name, kind.number) for name, kind in plan.kinds.items()] == [("gain_2", 160)]


def test_tensors_are_cut_along_their_outputs():
    entries = kh.plan_chunks(cnn(), 900).assembly.entries
    axes = {name: entry["axis"] for name, entry in entries.items() if len(entry["join"]) > 1}
    assert {axes[f"cnn/{layer}/kernel"] for layer in ("a", "b")} == {-1}
    assert {axes[f"cnn/{layer}/kernel"] for layer in ("depthwise", "transposed")} == {-2}
    assert {axis for name, axis in axes.items() if name.endswith("/bias")} == {-1}
    table = kh.plan_chunks(text_model(), 600).assembly.entries["text/table/embeddings"]
    assert table["axis"] == 0
    assert len(table["join"]) > 1


def test_tensors_that_cannot_be_cut_alike_are_chunks_of_their_own():
    plan = kh.plan_chunks(kh.WeightSpec.from_shapes({"w": (4, 6), "b": (6,), "v": (5,)}), 900)
    assert [kind.spec.names for kind in plan.kinds.values()] == [["w", "b"], ["v"]]
    kinds = kh.plan_chunks(scalars(), 10**6).kinds
    assert kinds["scale"].number == 2
    assert kinds["gate"].number == 1


def test_embeddings_get_smaller_only_where_cutting_is_not_enough():
    def sizes(plan):
        return {kind.embedding_size for kind in plan.kinds.values()}

    with pytest.raises(ValueError, match="at least") as caught:
        kh.plan_chunks(cnn(), 1, embedding_size=8)
    least = int(re.search(r"at least (\d+)", str(caught.value))[1])
    assert sizes(kh.plan_chunks(cnn(), least)) == {8}
    assert sizes(kh.plan_chunks(cnn(), least, embedding_size=8)) == {8}
    smaller = kh.plan_chunks(cnn(), least - 1)
    assert min(sizes(smaller)) == 1  # of what cannot be cut, as there are no other inputs
    with pytest.raises(ValueError, match=f"at least {least},"):
        kh.plan_chunks(cnn(), least - 1, embedding_size=8)
    assert sizes(kh.plan_chunks(cnn(), least, embedding_size=3)) == {3}


def test_single_chunks_may_do_without_embeddings_if_there_are_other_inputs():
    spec = kh.WeightSpec.from_shapes({"a/kernel": (10, 1)})
    plan = kh.plan_chunks(spec, 30, input_size=2)
    assert plan.kinds["kernel_10x1"].embedding_size == 0
    plan = kh.plan_chunks(spec, 31, input_size=2, use_bias=False)
    assert plan.kinds["kernel_10x1"].embedding_size == 1
    assert kh.plan_chunks(spec, 21).kinds["kernel_10x1"].embedding_size == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"budget": 0}, ValueError, "`budget` must be a positive integer or a fraction"),
        ({"budget": -5}, ValueError, "Received: budget=-5 of type int"),
        ({"budget": 0.0}, ValueError, "`budget` must be a positive integer or a fraction"),
        ({"budget": 1.5}, ValueError, "`budget` must be a positive integer or a fraction"),
        ({"budget": float("nan")}, ValueError, "`budget` must be a positive integer"),
        ({"budget": True}, ValueError, "Received: budget=True of type bool"),
        ({"budget": "0.1"}, TypeError, "`budget` must be a positive integer or a fraction"),
        ({"budget": None}, TypeError, "`budget` must be a positive integer or a fraction"),
        ({"target": [(3, 4)]}, TypeError, "`target` must be a built Keras model"),
        ({"target": layers.Dense(3)}, ValueError, "must be built"),
        ({"embedding_size": 0}, ValueError, "`embedding_size` must be a positive integer"),
        ({"hidden_sizes": 4}, TypeError, "`hidden_sizes` must be a list"),
        ({"hidden_sizes": (0,)}, ValueError, r"`hidden_sizes\[0\]` must be a positive integer"),
        ({"input_size": -1}, ValueError, "`input_size` must not be negative"),
    ],
)
def test_plan_chunks_refuses_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        kh.plan_chunks(**{"target": scalars(), "budget": 1000, **options})


def test_budgets_of_one_whole():
    spec = kh.WeightSpec.from_layer_sizes([(64, 64), (64, 64), (64, 64)])
    assert counted(kh.plan_chunks(spec, 1.0)) <= spec.total
    assert kh.plan_chunks(spec, np.int64(2000)) == kh.plan_chunks(spec, 2000)
    with pytest.raises(ValueError, match=r"budget=1, 1 parameters"):
        kh.plan_chunks(spec, 1)


# Tables.


def test_table_says_what_the_plan_does(capsys):
    spec = kh.WeightSpec.from_shapes({"a/kernel": (6, 8), "b/kernel": (6, 8), "c/gain": ()})
    plan = kh.plan_chunks(spec, 10**4, hidden_sizes=(3,), input_size=2)
    assert capsys.readouterr().out == ""
    table = plan.table(hidden_sizes=(3,), input_size=2)
    rows = [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()]
    parameters = plan.parameters((3,), 2)
    assert parameters == {"kernel_6x8": 33 + 192 + 16, "gain": 33 + 4 + 8}
    assert rows[1:] == [
        ["kernel_6x8", "a and 1 more", "kernel (6, 8)", "2", "8", "241", "96", "0.40x"],
        ["gain", "c", "gain ()", "1", "8", "45", "1", "0.02x"],
        ["total", "3", "3", "286", "97", "0.34x"],
    ]
    kh.plan_chunks(spec, 10**4, hidden_sizes=(3,), input_size=2, verbose=True)
    assert capsys.readouterr().out == table + "\n"


@keras.saving.register_keras_serializable(package="test_targets")
def doubled(pieces):
    return {"a/kernel": 2 * pieces["half/0/kernel"]}


def test_table_of_a_plan_with_unused_chunks_or_a_function():
    shapes = {"a/kernel": (6, 8)}
    kinds = {"half": {"shapes": {"kernel": (6, 8)}, "number": 2}}
    plan = ChunkPlan(shapes, kinds, {"a/kernel": "half/1/kernel"})
    assert "448         48       0.11x" in plan.table(use_bias=True)
    assert plan.parameters(use_bias=False) == {"half": 8 * 48 + 16}
    table = ChunkPlan(shapes, kinds, doubled).table().splitlines()
    assert re.split(r"\s{2,}", table[1].strip())[-2:] == ["-", "-"]


@pytest.mark.parametrize("name", ["resnet", "wide_resnet"])
def test_examples_in_docstrings_run(name):
    names = {"kh": kh, "np": np, "keras": keras}
    tests = doctest.DocTestFinder(recurse=False).find(getattr(targets, name), name, globs=names)
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(tests[0])
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("target", ["cnn", "scalars"])
@pytest.mark.parametrize("heads", [{"hidden_sizes": (4,)}, {"input_size": 3, "use_bias": False}])
@pure_python
def test_a_generator_has_the_parameters_that_its_plan_counts(target, heads):
    spec = kh.WeightSpec.of(TARGETS[target]()) if target == "scalars" else None
    spec = spec or kh.WeightSpec.from_model(TARGETS[target]())
    for budget in (10**9, 2500):
        plan = kh.plan_chunks(spec, budget, num_conditions=3, **heads)
        inputs = {"condition_id": np.array([0, 0])}
        if "input_size" in heads:
            inputs["condition"] = np.ones((2, heads["input_size"]), "float32")
        options = {name: value for name, value in heads.items() if name != "input_size"}
        generator = kh.StructuredWeightGenerator(
            plan, "conditional", num_conditions=3, **{"hidden_sizes": (), **options}
        )
        assert tuple(generator(inputs).shape) == (2, spec.total)
        counted = plan.parameters(num_conditions=3, **heads)
        assert generator.count_params() == sum(counted.values()) <= budget


@pure_python
def test_economical_ensemble_of_wide_resnets():
    """Kernels from linear generators, norm tensors shared, output tensors of every member."""
    members, sizes = 5, [10, 7, 14, 14, 14, 7, 7, 7]
    spec = spec_of_net(WRN_28_10)
    plan = kh.wide_resnet_chunking(spec).with_embedding_sizes(sizes)
    rest = [tensor for tensor in spec if tensor.name not in plan.spec]
    norm = {t.name: t.shape for t in rest if t.role in ("scale", "offset")}
    output = {t.name: t.shape for t in rest if t.name not in norm}
    kernels = kh.StructuredWeightGenerator(
        plan,
        chunk_embeddings="conditional",
        num_conditions=members,
        hidden_sizes=(),
        use_bias=False,
        initialization=None,  # no base: kernels are mixtures of templates, and nothing else
    )
    hyper = kh.Hypernetwork(
        kh.ComposedWeightGenerator(
            spec, generators={"kernels": kernels}, shared=norm, conditional=output
        ),
        embedding_size=0,
    )
    weights = ops.convert_to_numpy(hyper(np.array([3])))
    assert weights.shape == (1, 36479194)
    templates = sum(
        size * kind.spec.total for size, kind in zip(sizes, plan.kinds.values(), strict=True)
    )
    coefficients = sum(
        size * kind.number for size, kind in zip(sizes, plan.kinds.values(), strict=True)
    )
    plain = sum(math.prod(shape) for shape in norm.values())
    plain += members * sum(math.prod(shape) for shape in output.values())
    assert hyper.count_params() == templates + members * coefficients + plain
    compression = members * spec.total / hyper.count_params()
    assert compression == pytest.approx(4.86, abs=0.01)
    tensors = spec.split(weights[0])
    for name in norm:
        np.testing.assert_array_equal(tensors[name], float(spec[name].role == "scale"))
    mixed = kernels.kind("group_2")
    table = ops.convert_to_numpy(mixed.embeddings)[3]
    first = (table[0] @ ops.convert_to_numpy(mixed.generator.head.kernel)).reshape(3, 3, 160, 320)
    joined = plan.assembly.entries
    target = next(name for name in joined if joined[name]["join"][0] == "group_2/0/kernel")
    np.testing.assert_allclose(tensors[target][:, :, :160], first, rtol=1e-4, atol=1e-5)
