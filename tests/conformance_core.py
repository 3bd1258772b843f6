"""Rows of the conformance table: everything but convolutions."""

import numpy as np
from keras import layers

from tests.conformance import Row, floats


def ids(*shape, dtype="int32", low=0):
    return lambda batch, rng: [rng.integers(low, 5, size=(batch, *shape)).astype(dtype)]


def mask(*shape):
    """A mask with at least one position that counts."""

    def draw(batch, rng):
        drawn = rng.random(size=(batch, *shape)) < 0.6
        drawn[..., 0] = True
        return drawn

    return draw


def einsum(equation, output_shape, *shape, bias_axes=None, product=None, **arguments):
    arguments = {"equation": equation, "output_shape": output_shape, **arguments}
    extra = {}
    if product:
        extra["multiply"] = lambda name, down, up: np.einsum(product, down, up)
    return Row(
        f"einsum {equation} bias {bias_axes} {shape}",
        layers.EinsumDense,
        {**arguments, "bias_axes": bias_axes},
        floats(shape),
        **extra,
    )


def attention(name, *shapes, call=None, **arguments):
    arguments = {"num_heads": 2, "key_dim": 3, **arguments}
    data = floats(*shapes)
    return Row(f"attention {name}", layers.MultiHeadAttention, arguments, data, call or {})


Q, V, K = (3, 4), (5, 6), (5, 7)

ROWS = [
    Row("dense", layers.Dense, {"units": 3, "activation": "tanh"}, floats((4,))),
    Row("dense without bias", layers.Dense, {"units": 3, "use_bias": False}, floats((2, 4))),
    Row("dense inner axes", layers.Dense, {"units": 3}, floats((2, 3, 4))),
    einsum("ab,bc->ac", 5, 4, bias_axes="c", activation="tanh"),
    einsum("abc,cd->abd", (None, 5), 3, 4, bias_axes="d"),
    einsum("abc,cde->abde", (3, 2, 5), 3, 4, bias_axes="de"),
    einsum("abc,cde->adbe", (2, 3, 5), 3, 4, bias_axes="de"),
    einsum("abc,cde->aedb", (5, 2, 3), 3, 4, bias_axes="d"),
    einsum("abcd,cde->abe", (3, 5), 3, 2, 4, bias_axes="e"),
    einsum("...x,xy->...y", 5, 4, bias_axes="y"),
    einsum("...x,xy->...y", 5, 2, 3, 4, bias_axes="y"),
    einsum("ab...,bc->ac...", 5, 4, 3, bias_axes="c"),
    einsum("abc,bcd->abd", (3, 5), 3, 4, bias_axes="bd", product="bcr,brd->bcd"),
    einsum("abc,dbc->adb", (5, 3), 3, 4, product="bcr,brd->dbc"),
    einsum("abc,cd->ad", 5, 3, 4, bias_axes="d"),
    Row("embedding", layers.Embedding, {"input_dim": 5, "output_dim": 3}, ids(4)),
    Row("embedding of one id", layers.Embedding, {"input_dim": 5, "output_dim": 3}, ids(low=-5)),
    Row(
        "embedding of float ids",
        layers.Embedding,
        {"input_dim": 5, "output_dim": 3, "mask_zero": True},
        ids(2, 3, dtype="float32"),
    ),
    Row("layer norm", layers.LayerNormalization, {}, floats((3, 4))),
    Row("layer norm axes", layers.LayerNormalization, {"axis": [1, 3]}, floats((3, 2, 4))),
    Row("layer norm all", layers.LayerNormalization, {"axis": [-2, -1]}, floats((3, 4))),
    Row("layer norm scale", layers.LayerNormalization, {"center": False}, floats((4,))),
    Row("layer norm offset", layers.LayerNormalization, {"scale": False}, floats((4,))),
    Row("layer norm rms", layers.LayerNormalization, {"rms_scaling": True}, floats((3, 4))),
    Row("group norm", layers.GroupNormalization, {"groups": 2}, floats((3, 4))),
    Row("group norm first", layers.GroupNormalization, {"groups": 2, "axis": 1}, floats((4, 3))),
    Row("group norm all", layers.GroupNormalization, {"groups": -1}, floats((5, 3, 4))),
    Row(
        "group norm offset", layers.GroupNormalization, {"groups": 1, "scale": False}, floats((4,))
    ),
    Row("batch norm", layers.BatchNormalization, {}, floats((3, 4))),
    Row("batch norm train", layers.BatchNormalization, {}, floats((3, 4)), {"training": True}),
    Row(
        "batch norm train first",
        layers.BatchNormalization,
        {"axis": 1, "center": False, "momentum": 0.5},
        floats((4, 3)),
        {"training": True},
    ),
    Row(
        "batch norm mask",
        layers.BatchNormalization,
        {},
        floats((3, 4)),
        {"training": True, "mask": mask(3)},
    ),
    Row(
        "batch norm renorm",
        layers.BatchNormalization,
        {"renorm": True, "renorm_clipping": {"rmax": 1.5, "dmax": 0.5}},
        floats((3, 4)),
        {"training": True},
    ),
    Row(
        "batch norm frozen",
        layers.BatchNormalization,
        {"trainable": False},
        floats((3, 4)),
        {"training": True},
    ),
    Row("rms norm", layers.RMSNormalization, {}, floats((3, 4))),
    Row("rms norm axes", layers.RMSNormalization, {"axis": [1, 2], "epsilon": 0.1}, floats((3, 4))),
    Row("prelu", layers.PReLU, {}, floats((3, 4))),
    Row("prelu shared axes", layers.PReLU, {"shared_axes": [1, 2]}, floats((3, 2, 4))),
    attention("self", Q, Q),
    Row(
        "attention of groups",
        layers.GroupQueryAttention,
        {"head_dim": 2, "num_query_heads": 4, "num_key_value_heads": 2},
        floats(Q, (5, 4)),
    ),
    attention(
        "all",
        Q,
        V,
        K,
        value_dim=2,
        output_shape=5,
        use_gate=True,
        use_bias=False,
        # On JAX the fused product of Keras takes no `value_dim` of its own.
        call={"return_attention_scores": True},
    ),
    attention("gate and heads out", Q, V, output_shape=(2, 5), use_gate=True),
    attention("causal", Q, Q, call={"use_causal_mask": True}),
    attention(
        "scores",
        Q,
        V,
        call={
            "return_attention_scores": True,
            "use_causal_mask": True,
            "attention_mask": mask(3, 5),
        },
    ),
    attention("window", Q, V, sliding_window=2, call={"use_causal_mask": True}),
    attention("axes", (3, 2, 4), (5, 2, 4), attention_axes=[1]),
    attention("two axes", (3, 2, 4), (3, 2, 4), call={"return_attention_scores": True}),
    attention(
        "masks",
        Q,
        V,
        K,
        dropout=0.5,
        call={
            "query_mask": mask(3),
            "value_mask": mask(5),
            "key_mask": mask(5),
            "attention_mask": mask(3, 5),
        },
    ),
]
