import json

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_hypernet as kh


@pytest.fixture
def spec():
    return kh.WeightSpec.from_shapes([(3, 4), (4,), (3, 3, 2, 5), (5,), ()])


def test_places_of_plain_shapes(spec):
    assert spec.names == [
        "layer_0/kernel",
        "layer_0/bias",
        "layer_1/kernel",
        "layer_1/bias",
        "layer_1/scalar",
    ]
    assert spec.roles == ["kernel", "bias", "kernel", "bias", "other"]
    assert spec.offsets == [0, 12, 16, 106, 111]
    assert spec.sizes == [12, 4, 90, 5, 1]
    assert spec.total == 112
    assert (spec[0].fan_in, spec[0].fan_out) == (3, 4)
    assert (spec["layer_1/kernel"].fan_in, spec["layer_1/kernel"].fan_out) == (18, 45)
    assert (spec["layer_1/bias"].fan_in, spec["layer_1/bias"].fan_out) == (18, 45)
    assert len(spec) == 5
    assert "layer_0/bias" in spec
    assert "layer_2/bias" not in spec


def test_several_tensors_of_a_kind_in_one_layer():
    spec = kh.WeightSpec.from_shapes([(2,), (2, 3), (3,), (3,), (3,)])
    assert spec.names == [
        "layer_0/bias",
        "layer_1/kernel",
        "layer_1/bias",
        "layer_1/bias_1",
        "layer_1/bias_2",
    ]
    assert spec[0].fan_in is None
    assert set(spec.roles[2:]) == {"bias"}


def test_names_say_the_roles():
    names = ["a/gamma", "a/beta", "b/embeddings", "c/depthwise_kernel", "c/alpha"]
    spec = kh.WeightSpec.from_shapes(dict.fromkeys(names, (2, 2)))
    assert spec.roles == ["scale", "offset", "embedding", "kernel", "other"]
    spec = kh.WeightSpec.from_shapes({"a/x": (2,)}, roles=["bias"])
    assert spec.roles == ["bias"]


def test_split_and_pack_are_the_places_in_memory(spec, rng):
    flat = rng.normal(size=(6, 112))
    parts = spec.split(flat)
    np.testing.assert_array_equal(parts["layer_0/kernel"][2, 1, 3], flat[2, 1 * 4 + 3])
    np.testing.assert_array_equal(parts["layer_1/bias"], flat[:, 106:111])
    assert parts["layer_1/scalar"].shape == (6,)
    np.testing.assert_array_equal(spec.pack(parts), flat)
    np.testing.assert_array_equal(spec.pack(list(parts.values())), flat)
    np.testing.assert_array_equal(spec.pack(spec.split(flat[0])), flat[0])


def test_split_and_pack_by_layer(spec, rng):
    flat = rng.normal(size=(2, 3, 112))
    layers = spec.split_layers(flat)
    assert list(layers) == ["layer_0", "layer_1"]
    np.testing.assert_array_equal(layers["layer_0"], flat[..., :16])
    np.testing.assert_array_equal(spec.pack_layers(layers), flat)
    assert spec.layers["layer_1"].offsets == [0, 90, 95]
    assert spec.layers["layer_0"].total == 16


@given(
    st.lists(st.lists(st.integers(1, 4), max_size=4).map(tuple), min_size=1, max_size=6),
    st.lists(st.integers(0, 3), max_size=2).map(tuple),
)
def test_any_shapes_survive_packing_and_json(shapes, lead):
    spec = kh.WeightSpec.from_shapes(shapes)
    flat = np.arange(np.prod(lead) * spec.total).reshape(*lead, spec.total)
    parts = spec.split(flat)
    assert [part.shape for part in parts.values()] == [(*lead, *shape) for shape in shapes]
    np.testing.assert_array_equal(spec.pack(parts), flat)
    np.testing.assert_array_equal(spec.pack_layers(spec.split_layers(flat)), flat)
    copy = kh.WeightSpec.from_json(spec.to_json())
    assert copy == spec
    assert hash(copy) == hash(spec)
    assert kh.WeightSpec.of(json.loads(json.dumps(spec.get_config()))) == spec


def test_layers_of_keras():
    layers = keras.layers
    cases = [
        (layers.Dense(4), (None, 3), [("kernel", 3, 4), ("bias", 3, 4)]),
        (layers.Conv2D(5, (2, 3)), (None, 8, 8, 4), [("kernel", 24, 30), ("bias", 24, 30)]),
        (layers.Conv2D(6, 3, groups=2), (None, 8, 8, 4), [("kernel", 18, 54), ("bias", 18, 54)]),
        (layers.Conv2DTranspose(5, 2), (None, 8, 8, 4), [("kernel", 16, 20), ("bias", 16, 20)]),
        (
            layers.DepthwiseConv2D(3, depth_multiplier=2),
            (None, 8, 8, 4),
            [("kernel", 9, 18), ("bias", 9, 18)],
        ),
        (
            layers.SeparableConv1D(5, 3),
            (None, 8, 4),
            [("kernel", 3, 3), ("kernel", 4, 5), ("bias", 3, 3)],
        ),
        (
            layers.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de"),
            (None, 7, 5),
            [("kernel", 5, 6), ("bias", 5, 6)],
        ),
        (
            layers.EinsumDense("abde,dec->abc", (None, 5)),
            (None, 7, 2, 3),
            [("kernel", 6, 5)],
        ),
        (
            layers.BatchNormalization(),
            (None, 4),
            [("scale", None, None), ("offset", None, None)],
        ),
        (layers.Embedding(10, 4), (None,), [("embedding", 10, 4)]),
    ]
    for layer, shape, expected in cases:
        layer.build(shape)
        for trainable in (True, False):
            layer.trainable = trainable  # frozen weights are still weights to generate
            spec = kh.WeightSpec.from_layer(layer)
            assert [(t.role, t.fan_in, t.fan_out) for t in spec] == expected, layer
            assert spec.names == [w.path for w in layer.weights if "moving" not in w.name]


def test_perceptrons():
    spec = kh.WeightSpec.from_layer_sizes([(3, 8), (8, 1)])
    assert spec == kh.WeightSpec.from_shapes([(3, 8), (8,), (8, 1), (1,)])
    with pytest.raises(ValueError, match="must chain"):
        kh.WeightSpec.from_layer_sizes([(3, 8), (9, 1)])


def test_order_is_that_of_keras():
    layer = keras.layers.Bidirectional(keras.layers.GRU(2))
    layer.build((None, 5, 3))
    assert kh.WeightSpec.from_layer(layer).names == [v.path for v in layer.trainable_variables]


def test_models_of_keras():
    x = keras.Input((8,))
    shared = keras.layers.Dense(8, name="shared")
    inner = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, name="in")], name="inner")
    y = inner(keras.layers.BatchNormalization(name="norm")(shared(shared(x))))
    model = keras.Model(x, keras.layers.Dropout(0.5)(y))
    spec = kh.WeightSpec.from_model(model)
    assert spec.names == [v.path for v in model.trainable_variables]
    assert spec.total == sum(v.numpy().size for v in model.trainable_variables)
    assert list(spec.layers) == [p.rpartition("/")[0] for p in dict.fromkeys(spec.names)][::2]


def test_repr_is_a_table():
    spec = kh.WeightSpec.from_shapes({"dense/kernel": (3, 2), "dense/bias": (2,)})
    assert repr(spec).splitlines() == [
        "WeightSpec: 2 tensors, 1 layer, 8 weights",
        "  name          role    shape   fans    offset  size",
        "  dense/kernel  kernel  (3, 2)  3 -> 2  0       6",
        "  dense/bias    bias    (2,)    3 -> 2  6       2",
    ]


@pytest.mark.parametrize(
    ("make", "exception", "message"),
    [
        (lambda: kh.WeightSpec([]), ValueError, "`tensors` must not be empty"),
        (lambda: kh.WeightSpec("ab"), TypeError, "`tensors` must be a list"),
        (lambda: kh.WeightSpec([{"name": "a"}]), ValueError, "`name` and `shape`"),
        (lambda: kh.WeightSpec([{"name": "", "shape": ()}]), ValueError, "non-empty string"),
        (lambda: kh.WeightSpec.from_shapes([(3, 0)]), ValueError, r"shapes\[1\]"),
        (lambda: kh.WeightSpec.from_shapes([(3, None)]), TypeError, "positive integer"),
        (lambda: kh.WeightSpec.from_shapes([3]), TypeError, "list of shapes, such as"),
        (lambda: kh.WeightSpec.from_shapes({}), ValueError, "must not be empty"),
        (lambda: kh.WeightSpec.from_shapes([(3,)], roles=["x"]), ValueError, "`role`"),
        (lambda: kh.WeightSpec.from_shapes([(3,)], roles=[]), ValueError, "one role per shape"),
        (
            lambda: kh.WeightSpec([{"name": "a", "shape": (1,)}] * 2),
            ValueError,
            "must be unique. Received repeated",
        ),
        (
            lambda: kh.WeightSpec.from_shapes({"a/x": (1,), "b/x": (1,), "a/y": (1,)}),
            ValueError,
            "stand together",
        ),
        (lambda: kh.WeightSpec.from_layer(keras.layers.Dense(2)), ValueError, "must be built"),
        (
            lambda: kh.WeightSpec.from_model(
                keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.1)])
            ),
            ValueError,
            "must have weights",
        ),
    ],
)
def test_bad_specs(make, exception, message):
    with pytest.raises(exception, match=message):
        make()


def test_bad_arrays(spec):
    with pytest.raises(ValueError, match="the spec's 112 weights"):
        spec.split(np.zeros((2, 111)))
    with pytest.raises(ValueError, match="one entry per tensor"):
        spec.pack([np.zeros((3, 4))])
    parts = spec.split(np.zeros(112))
    with pytest.raises(ValueError, match=r"layer_0/bias is \(4,\)"):
        spec.pack({**parts, "layer_0/bias": np.zeros(5)})
    with pytest.raises(ValueError, match=r"Missing: \['layer_0/bias'\]"):
        spec.pack({k: v for k, v in parts.items() if k != "layer_0/bias"})
    with pytest.raises(ValueError, match=r"unknown: \['layer_9'\]"):
        spec.pack_layers({"layer_9": np.zeros(3)})
