"""The layout of kernels belongs to the spec: whoever needs the axis of the outputs asks it."""

import json

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_hypernet as kh
from keras_hypernet.targets.resnets import resnet
from keras_hypernet.weights.forms import from_output_first
from tests.backend import numpy_of

# All with as many inputs as outputs, so that a wrong axis would fit.
LAYERS = {
    "dense": (lambda: layers.Dense(3), (2, 3)),
    "conv": (lambda: layers.Conv2D(3, 2), (2, 4, 4, 3)),
    "transposed": (lambda: layers.Conv2DTranspose(3, 2), (2, 4, 4, 3)),
    "transposed 1d": (lambda: layers.Conv1DTranspose(3, 3), (2, 4, 3)),
    "depthwise": (lambda: layers.DepthwiseConv2D(2), (2, 4, 4, 3)),
    "multiplied": (lambda: layers.DepthwiseConv1D(2, depth_multiplier=3), (2, 4, 3)),
    "einsum": (lambda: layers.EinsumDense("ab,bc->ac", 3, bias_axes="c"), (2, 3)),
    "einsum, outputs first": (lambda: layers.EinsumDense("ab,cb->ac", 3, bias_axes="c"), (2, 3)),
    "einsum, two inputs": (lambda: layers.EinsumDense("abd,cbd->ac", 3, bias_axes="c"), (2, 3, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_head_depends_on_its_mask_and_on_nothing_else(name, rng):
    make, shape = LAYERS[name]
    layer, x = make(), rng.normal(size=shape).astype("float32")
    layer.build(shape)
    spec = kh.WeightSpec.from_layer(layer)
    flat = rng.normal(size=spec.total).astype("float32")

    def outputs(weights):
        layer.set_weights(list(spec.split(weights).values()))
        return numpy_of(layer(x))

    before = outputs(flat)
    for mask, head in zip(kh.head_masks(spec, [[1], [0, 2]]), ([1], [0, 2])):
        others = [i for i in range(before.shape[-1]) if i not in head]
        after = outputs(np.where(mask, flat, flat + 1))
        np.testing.assert_allclose(after[..., head], before[..., head], rtol=1e-5)
        assert (np.abs(after - before)[..., others] > 1e-3).any(tuple(range(before.ndim - 1))).all()
        after = outputs(np.where(mask, flat + 1, flat))
        np.testing.assert_allclose(after[..., others], before[..., others], rtol=1e-5)


def test_a_layer_whose_kernel_does_not_have_the_outputs_is_refused():
    layer = layers.EinsumDense("abc,bd->adc", (4, 3))
    layer.build((2, 4, 3))
    spec = kh.WeightSpec.from_layer(layer)
    assert spec[0].layout == "other"
    with pytest.raises(ValueError, match="last layer of `spec`"):
        kh.head_masks(spec, [[0]])


def turned(spec):
    """The spec of the same target in PyTorch's layout."""
    turn = {1: lambda c: (c,), 2: lambda i, o: (o, i), 4: lambda h, w, i, o: (o, i, h, w)}
    shapes = {t.name: turn[len(t.shape)](*t.shape) for t in spec}
    return kh.WeightSpec.from_shapes(shapes, spec.roles, layout="torch")


SQUARE = kh.WeightSpec.from_shapes([(3, 3), (3,), (2, 2, 3, 3), (3,), (3, 3), (3,)])


def as_keras(tensor, array):
    return array.T if array.ndim == 2 else array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def test_masks_of_torch_are_those_of_keras_turned():
    heads = [[0], [1, 2]]
    for ours, theirs in zip(kh.head_masks(SQUARE, heads), kh.head_masks(turned(SQUARE), heads)):
        theirs = turned(SQUARE).split(theirs)
        for name, mask in SQUARE.split(ours).items():
            np.testing.assert_array_equal(as_keras(SQUARE[name], theirs[name]), mask, name)


@pytest.mark.parametrize("spec", [SQUARE, kh.WeightSpec.from_shapes([(2, 5), (3, 2, 4, 6)])])
def test_chunks_with_outputs_first_hold_the_same_weights_in_every_layout(spec, rng):
    flat = rng.normal(size=(2, spec.total)).astype("float32")
    ours = spec.split(numpy_of(from_output_first(ops.convert_to_tensor(flat), spec)))
    theirs = numpy_of(from_output_first(ops.convert_to_tensor(flat), turned(spec)))
    theirs = turned(spec).split(theirs)
    for name, array in ours.items():
        for row in range(2):
            turned_back = as_keras(spec[name], theirs[name][row])
            pairs = zip(*(np.moveaxis(a, -1, 0) for a in (turned_back, array[row])))
            for ours_of_output, theirs_of_output in pairs:  # inside them the order is its own
                found, wanted = np.sort(theirs_of_output, None), np.sort(ours_of_output, None)
                np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("layout", ["keras", "torch", "transposed", "depthwise"])
def test_outputs_come_first_in_chunks_of_every_layout(layout):
    shape = (2, 3, 4, 5)
    spec = kh.WeightSpec.from_shapes({"a/kernel": shape}, layout=layout)
    flat = ops.convert_to_tensor(np.arange(spec.total, dtype="float32")[None])
    whole = spec.split(numpy_of(from_output_first(flat, spec)))["a/kernel"][0]
    first = {"keras": [3], "torch": [0], "transposed": [2], "depthwise": [2, 3]}[layout]
    order = [*first, *(axis for axis in range(4) if axis not in first)]
    np.testing.assert_array_equal(whole.transpose(order).ravel(), np.arange(spec.total))


def test_fans_are_of_the_kernel_not_of_its_layout():
    spec = kh.WeightSpec.from_shapes([(3, 5), (5,), (2, 3, 4, 6)])
    assert [(t.fan_in, t.fan_out) for t in spec] == [(3, 5), (3, 5), (24, 36)]
    assert [(t.fan_in, t.fan_out) for t in turned(spec)] == [(3, 5), (3, 5), (24, 36)]


def test_starts_have_the_variance_of_the_fans_in_every_layout():
    spec = kh.WeightSpec.from_shapes([(2000, 4), (5, 5, 80, 8)])
    for start in (spec, turned(spec)):
        plain = kh.ComposedWeightGenerator(
            start, shared=start, initializers={"kernel": keras.initializers.HeNormal(seed=3)}
        )
        made = start.split(numpy_of(plain({"noise": np.ones((1, 1), "float32")}))[0])
        for tensor in start:
            assert np.var(made[tensor.name]) == pytest.approx(2 / tensor.fan_in, rel=0.2)


def test_chunks_are_cut_along_the_outputs_of_every_layout():
    shapes = {"a/kernel": (6, 6), "a/bias": (6,)}
    cut = {"keras": (6, 1), "torch": (1, 6), "transposed": (1, 6)}
    for layout, shape in cut.items():
        spec = kh.WeightSpec.from_shapes(shapes, layout=layout)
        plan = kh.plan_chunks(spec, budget=60, embedding_size=4)
        (kind,) = plan.kinds.values()
        assert kind.spec.shapes == [shape, (1,)], layout
        assert kind.spec[0].layout == layout
    layer = layers.Conv2DTranspose(6, 1)
    layer.build((None, 4, 4, 6))
    (kind,) = kh.plan_chunks(layer, budget=60, embedding_size=4).kinds.values()
    assert kind.spec.shapes == [(1, 1, 1, 6), (1,)]


@pytest.mark.parametrize("gcd", [False, True])
def test_networks_are_chunked_alike_in_every_layout(gcd):
    model = resnet(n=1, filters=(2, 2, 4, 6), input_shape=(8, 8, 1), normalization=None)
    spec = kh.WeightSpec.from_model(model)
    for chunking in (kh.resnet_chunking, kh.wide_resnet_chunking):
        if chunking is kh.wide_resnet_chunking:
            options = {"n": 1, "k": 1, "filters": (6, 4, 6, 10), "input_shape": (8, 8, 1)}
            spec = kh.WeightSpec.from_model(kh.targets.wide_resnet(**options))
        ours, theirs = chunking(spec, gcd), chunking(turned(spec), gcd)
        assert list(ours.kinds) == list(theirs.kinds)
        for kind, turned_kind in zip(ours.kinds.values(), theirs.kinds.values()):
            assert kind.number == turned_kind.number
            assert turned(kind.spec).shapes == turned_kind.spec.shapes


def test_a_spec_keeps_its_layout():
    spec = turned(SQUARE)
    assert spec != SQUARE
    assert kh.WeightSpec.from_json(spec.to_json()) == spec
    assert all(layer[0].layout == "torch" for layer in spec.layers.values())
    assert "layout" not in repr(SQUARE)
    assert repr(spec).splitlines()[1].endswith("layout")
    assert repr(spec).splitlines()[2].endswith("torch")
    old = json.loads(SQUARE.to_json())
    for tensor in old["tensors"]:
        del tensor["layout"]
    assert kh.WeightSpec.from_config(old) == SQUARE
    plan = kh.ChunkPlan(
        spec, {"all": {"shapes": dict(zip("abcdef", spec.shapes))}}, dict(zip(spec.names, PIECES))
    )
    assert [t.layout for t in plan.kinds["all"].spec] == ["torch"] * 6
    assert kh.ChunkPlan.from_config(plan.get_config()) == plan
    generator = kh.WeightGenerator(spec)
    assert kh.WeightGenerator.from_config(generator.get_config()).spec == spec


PIECES = [f"all/0/{letter}" for letter in "abcdef"]


@pytest.mark.parametrize("mode", ["replace", "delta"])
def test_generated_weights_of_a_model_keep_the_layouts_of_its_layers(mode):
    model = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            layers.DepthwiseConv2D(2, name="depthwise"),
            layers.Conv2DTranspose(3, 2, name="up"),
        ]
    )
    model = kh.hypernetize(
        model, conditioning_size=2, mode=mode, freeze="base" if mode == "delta" else None
    )
    spec = kh.ContinualModel(model, num_tasks=2).weight_spec
    assert [t.layout for t in spec] == ["depthwise", "keras", "transposed", "keras"]
    mask = spec.split(kh.head_masks(spec, [[1]])[0])
    kernel = next(mask[name] for name in spec.names if name.endswith("up/kernel"))
    assert kernel[:, :, 1].all()
    assert not kernel[:, :, [0, 2]].any()


def test_heads_are_of_a_model_whose_last_layer_makes_its_outputs():
    inputs = keras.Input((3,))
    outputs = layers.Reshape((2, 3))(layers.Dense(6)(inputs))
    model = kh.hypernetize(keras.Model(inputs, outputs), conditioning_size=2)
    with pytest.raises(ValueError, match=r"`heads`.* of the 3 entries"):
        kh.ContinualModel(model, num_tasks=2, heads=[[0], [1]])
