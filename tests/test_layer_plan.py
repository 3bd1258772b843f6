"""`LayerPlan`: layers of one kind, how deep they lie, and what each head makes."""

import math

import numpy as np
import pytest

import keras_hypernet as kh
from keras_hypernet.chunking.layer_plan import LayerPlan, kinds_of
from tests.backend import BACKEND

# {what is special: {layer: (the kind, its depth)}}; an entry has the size of its kernel, where it
# differs.
LAYERS = {
    "blocks": {
        "block_0/attention/query": ("query", 0),
        "block_0/attention/value": ("value", 0),
        "block_1/attention/query": ("query", 1),
        "block_1/attention/value": ("value", 1),
        "block_10/attention/query": ("query", 2),
        "block_10/attention/value": ("value", 2),
    },
    "names that do not repeat": {"first": ("a", 0), "second": ("b", 0), "third/layer": ("c", 0)},
    "no number at first": {"dense": ("a", 0), "dense_1": ("a", 1), "dense_2": ("a", 2)},
    "layers of other widths": {
        "dense": ("in", 0, 3),
        "dense_1": ("hidden", 0),
        "dense_2": ("hidden", 1),
        "dense_3": ("out", 0, 4),
    },
    "a block of another width": {
        "block_0/query": ("a", 0),
        "block_1/query": ("b", 0, 3),
        "block_2/query": ("a", 1),
    },
    "one kernel alone": {
        "embedding": ("embedding", 0),
        "block_1/query": ("query", 0),
        "block_2/query": ("query", 1),
        "logits": ("logits", 0),
    },
    "blocks without one of the kernels": {
        "block_0/query": ("query", 0),
        "block_1/query": ("query", 1),
        "block_1/value": ("value", 1),
        "block_2/query": ("query", 2),
        "block_2/value": ("value", 2),
    },
    "numbers that count on": {
        "block/attention/query": ("query", 0),
        "block/dense": ("up", 0),
        "block/dense_1": ("down", 0),
        "block_1/attention_1/query": ("query", 1),
        "block_1/dense_2": ("up", 1),
        "block_1/dense_3": ("down", 1),
        "block_2/attention_2/query": ("query", 2),
        "block_2/dense_4": ("up", 2),
        "block_2/dense_5": ("down", 2),
    },
    "two attentions": {
        "decoder/attention/query": ("self", 0),
        "decoder/attention_1/query": ("cross", 0),
        "decoder_1/attention_2/query": ("self", 1),
        "decoder_1/attention_3/query": ("cross", 1),
    },
    "numbers inside names": {
        "conv2_block1_1_conv": ("one", 0),
        "conv2_block1_2_conv": ("two", 0, 3),
        "conv2_block2_1_conv": ("one", 1),
        "conv2_block2_2_conv": ("two", 1, 3),
        "conv3_block1_1_conv": ("wide", 0, 4),
        "conv3_block2_1_conv": ("wide", 1, 4),
    },
    "a number that means something else": {
        "block1_0_conv": ("shortcut", 0),
        "block1_3_conv": ("last", 0),
        "block2_3_conv": ("last", 1),
        "block3_3_conv": ("last", 2),
    },
    "equal numbers in each block": {
        "block_1/dense_0": ("first", 0),
        "block_1/dense_1": ("second", 0),
        "block_2/dense_0": ("first", 1),
        "block_2/dense_1": ("second", 1),
    },
    "two stacks": {
        "encoder_0/query": ("encoder", 0),
        "encoder_1/query": ("encoder", 1),
        "decoder_0/query": ("decoder", 0),
        "decoder_1/query": ("decoder", 1),
    },
    "numbers of two forms": {"layer1": ("a", 0), "layer_1": ("a", 1), "layer2": ("a", 2)},
    "a name that begins as another": {"b_1/w": ("a", 0), "b_11/w": ("a", 1), "bb_1/w": ("b", 0)},
}


def spec_of(layers):
    shapes = {layer: entry[2:] or (2,) for layer, entry in layers.items()}
    return kh.WeightSpec.from_shapes({f"{n}/kernel": (5, *size) for n, size in shapes.items()})


@pytest.mark.parametrize("name", LAYERS)
def test_kinds_and_depths(name):
    layers = LAYERS[name]
    expected = {}
    for layer, (kind, depth, *_) in layers.items():
        expected.setdefault(kind, {})[layer] = depth
    found = kinds_of(spec_of(layers))
    assert sorted(found.values(), key=str) == sorted(expected.values(), key=str)
    assert all(first == next(iter(kind)) for first, kind in found.items())


def test_tensors_decide_too():
    """Equal shapes under other names, of other roles or beside others are of other kinds."""
    tensors = [("a_0/kernel", "kernel"), ("a_1/kernel", "other"), ("a_2/table", "kernel")]
    tensors += [("a_3/kernel", "kernel"), ("a_3/more", "kernel"), ("a_4/kernel", "kernel")]
    spec = kh.WeightSpec([{"name": n, "shape": (2, 3), "role": role} for n, role in tensors])
    assert [list(kind) for kind in kinds_of(spec).values()] == [
        ["a_0", "a_4"],
        ["a_1"],
        ["a_2"],
        ["a_3"],
    ]


def test_tensors_without_a_layer():
    assert kinds_of(kh.WeightSpec.from_shapes({"w": (2, 3), "b": (3,)})) == {"": {"": 0}}


@pytest.mark.parametrize("heads", ["kind", "factor"])
@pytest.mark.parametrize("name", LAYERS)
def test_heads_make_each_value_once(heads, name):
    spec = spec_of(LAYERS[name])
    spec = kh.WeightSpec(
        [
            {"name": f"{t.name}.{factor}", "shape": shape}
            for t in spec
            for factor, shape in (("down", (5, 2)), ("up", (2, t.shape[1])), ("scale", (2,)))
        ]
    )
    plan = LayerPlan(spec, heads)
    assert sum(head.spec.total * head.number for head in plan.heads) == spec.total
    for i, head in enumerate(plan.heads):
        cuts = plan.cuts(i)
        assert [start for _, start, _ in cuts] == [0, *(stop for *_, stop in cuts[:-1])]
        assert cuts[-1][2] == head.number
    assert sum(plan.numbers) == len(spec) if heads == "factor" else len(spec.layers)


def updates(layers, kernels, rank):
    """Low-rank updates, `{kernel: (in, out)}` in each layer."""
    return {
        f"block_{i}/{kernel}/kernel.{factor}": shape
        for i in range(layers)
        for kernel, (inputs, outputs) in kernels.items()
        for factor, shape in (("down", (inputs, rank)), ("up", (rank, outputs)))
    }


@pytest.mark.parametrize(("heads", "published"), [("kind", 54_525_952), ("factor", 33_554_432)])
def test_parameters_of_published_heads(heads, published):
    """Rank 8, q and v of 32 layers of width 4096: 55 and 34 millions in Text-to-LoRA."""
    spec = updates(32, {"query": (4096, 4096), "value": (4096, 1024)}, rank=8)
    generator = kh.LayerwiseWeightGenerator(spec, hidden_sizes=[512], heads=heads)
    assert 512 * generator.head_outputs == published


@pytest.mark.parametrize("heads", ["kind", "factor"])
def test_parameters_follow_the_formula(heads):
    kernels, rank, width, trunk, layers = {"q": (8, 8), "v": (8, 4), "o": (2, 8)}, 3, 5, 6, 4
    spec = updates(layers, kernels, rank)
    generator = kh.LayerwiseWeightGenerator(
        spec, hidden_sizes=[7, trunk], heads=heads, embedding_size=width
    )
    generator.build((None, 9))
    combined = sum if heads == "kind" else max
    outputs = sum(rank * combined(sizes) for sizes in kernels.values())
    factors = 0 if heads == "kind" else 2
    inputs = 9 + width * (2 if heads == "kind" else 3)
    assert generator.head_outputs == outputs
    assert generator.count_params() == (
        width * (layers + len(kernels) + factors)
        + (inputs + 1) * 7
        + (7 + 1) * trunk
        + (trunk + 1) * outputs
    )


def largest(jaxpr):
    for equation in jaxpr.eqns:
        yield from (math.prod(v.aval.shape) for v in equation.outvars)
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from largest(inner)


@pytest.mark.skipif(BACKEND != "jax", reason="reads the traced program")
@pytest.mark.parametrize("heads", ["kind", "factor"])
def test_nothing_larger_than_weights_and_features_is_made(heads):
    import jax

    spec = updates(6, {"q": (16, 16), "v": (16, 4)}, rank=2)
    generator = kh.LayerwiseWeightGenerator(spec, hidden_sizes=[8], heads=heads)
    z = np.ones((50, 40), "float32")
    generator(z)
    weights, features = 50 * generator.spec.total, 50 * sum(generator.plan.numbers) * 8

    def loss(variables, z):
        return (generator.stateless_call(variables, [], z)[0] ** 2).sum()

    variables = [v.value for v in generator.trainable_variables]
    traced = jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(variables, z)
    assert max(largest(traced.jaxpr)) == max(weights, features)
