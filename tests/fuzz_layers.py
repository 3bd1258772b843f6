"""Random hyper layers on weights in every form, beside the Keras layers that they mirror."""

import keras
import numpy as np
from keras import layers, tree

import keras_hypernet as kh
from tests.conformance import BATCH, Row, Trial, floats
from tests.conformance_blocks import PreNorm
from tests.conformance_conv import inputs_last
from tests.conformance_core import ids, mask
from tests.fuzz import Case, functional
from tests.fuzz_generators import POLICIES, TOLERANCES, Made, layer_sizes

ACTIVATIONS = {"activation": ["relu", "tanh", keras.activations.softplus]}
BIAS = {"use_bias": [False]}
PENALTIES = {"kernel_regularizer": ["l2"], "bias_regularizer": ["l1"]}
SEPARATE = {"depthwise_regularizer": ["l2"], "bias_regularizer": ["l1"]}


def sizes(draw, number, low=1, high=4):
    return tuple(draw.integer(low, high) for _ in range(number))


def windows(draw, rank, *, equal=False, transposed=False, causal=False):
    """Arguments of a convolution, and a shape on which they fit, channels last."""

    def axes(low, high):
        return (draw.integer(low, high),) * rank if equal else sizes(draw, rank, low, high)

    kernel, options = axes(1, 3), {}
    strides, dilation = draw.pick([((1,) * rank, axes(1, 2)), (axes(1, 3), (1,) * rank)])
    if transposed:
        dilation = (1,) * rank
    options = {"kernel_size": kernel, "strides": strides, "dilation_rate": dilation}
    options["padding"] = draw.pick(["valid", "same", *["causal"] * causal])
    if transposed and draw.chance(0.3):
        options["output_padding"] = tuple(draw.integer(0, s - 1) for s in strides)
    shape = tuple((k - 1) * d + draw.integer(1, 3) for k, d in zip(kernel, dilation))
    return options, shape


def convolution(name, rank, *, filters=True, **kind):
    def make(draw):
        options, shape = windows(draw, rank, **kind)
        groups, channels = 1, draw.integer(1, 3)
        if name in ("Conv1D", "Conv2D", "Conv3D") and draw.chance(0.3):
            groups = options["groups"] = draw.pick([2, 3])
        shape = (*shape, channels * groups)
        if draw.chance(0.25):
            options["data_format"] = "channels_first"
            shape = (shape[-1], *shape[:-1])
        if filters:
            options["filters"] = groups * draw.integer(1, 3)
        if "Separable" in name or "Depthwise" in name:
            options["depth_multiplier"] = draw.integer(1, 2)
        options |= draw.options({**ACTIVATIONS, **BIAS}, 0.3)
        options |= draw.options(PENALTIES if kind.get("equal") is None else SEPARATE, 0.1)
        extra = {"multiply": inputs_last} if "Transpose" in name else {}
        return Row("", getattr(layers, name), options, floats(shape), **extra)

    return make


def dense(draw):
    options = draw.options({**ACTIVATIONS, **BIAS}, 0.3) | draw.options(PENALTIES, 0.1)
    shape = sizes(draw, draw.integer(1, 3))
    return Row("", layers.Dense, {"units": draw.integer(1, 5), **options}, floats(shape))


EQUATIONS = [
    ("ab,bc->ac", 5, (4,), [None, "c"]),
    ("abc,cd->abd", (None, 5), (3, 4), [None, "d"]),
    ("abc,cde->abde", (3, 2, 5), (3, 4), [None, "de", "e"]),
    ("abc,cde->adbe", (2, 3, 5), (3, 4), [None, "de"]),
    ("abcd,cde->abe", (3, 5), (3, 2, 4), [None, "e"]),
    ("...x,xy->...y", 5, (2, 3, 4), [None, "y"]),
    ("ab...,bc->ac...", 5, (4, 3), [None, "c"]),
    ("abc,cd->ad", 5, (3, 4), [None, "d"]),
]


def einsum(draw):
    equation, output_shape, shape, bias = draw.pick(EQUATIONS)
    options = {"equation": equation, "output_shape": output_shape, "bias_axes": draw.pick(bias)}
    return Row("", layers.EinsumDense, {**options, **draw.options(ACTIVATIONS)}, floats(shape))


def embedding(draw):
    options = {"input_dim": 5, "output_dim": draw.integer(1, 4)}
    options |= draw.options({"mask_zero": [True], "embeddings_regularizer": ["l2"]})
    data = ids(*sizes(draw, draw.integer(0, 2)), dtype=draw.pick(["int32", "float32"]))
    return Row("", layers.Embedding, options, data)


def normalization(name, *, axis=True, switches=True, more=None):
    def make(draw):
        shape = sizes(draw, draw.integer(1, 3), 2)
        options = draw.options({"epsilon": [0.1], **(more or {})})
        if axis is True and draw.chance(0.5):
            options["axis"] = draw.integer(1, len(shape))
        if axis == "several" and draw.chance(0.5):
            # The last ones: with others, Keras itself fails or is wrong on PyTorch.
            options["axis"] = list(range(-draw.integer(1, len(shape)), 0))
        if switches and draw.chance(0.4):
            options[draw.pick(["center", "scale"])] = False
        if name == "GroupNormalization":
            along = shape[options.get("axis", -1) - ("axis" in options)]
            options["groups"] = draw.pick([1, -1, along])
        extra = {"multiply": inputs_last} if "Transpose" in name else {}
        return Row("", getattr(layers, name), options, floats(shape), **extra)

    return make


BATCH_NORMALIZATION = {"momentum": [0.5], "gamma_regularizer": ["l2"]}
LAYER_NORMALIZATION = {"beta_regularizer": ["l2"]}


def prelu(draw):
    shape = sizes(draw, draw.integer(1, 3))
    shared = [a for a in range(1, len(shape) + 1) if draw.chance(0.3)]
    return Row("", layers.PReLU, {"shared_axes": shared or None}, floats(shape))


def attention(draw):
    options = {"num_heads": draw.integer(1, 3), "key_dim": draw.integer(1, 3)}
    options |= draw.options(
        {
            "output_shape": [5, (2, 3)],
            "use_gate": [True],
            "use_bias": [False],
            "dropout": [0.3],
            "kernel_regularizer": ["l2"],
        }
    )
    steps, seen = draw.integer(1, 4), draw.integer(2, 4)  # Keras warns of a softmax over one
    shapes, arguments = [(steps, draw.integer(1, 4)), (seen, draw.integer(1, 4))], {}
    if draw.chance(0.3):
        shapes.append((seen, draw.integer(1, 4)))
    if draw.chance(0.3):
        options["value_dim"], arguments["return_attention_scores"] = 2, True
    arguments |= draw.options(
        {
            "use_causal_mask": [True],
            "attention_mask": [mask(steps, seen)],
            "query_mask": [mask(steps)],
            "value_mask": [mask(seen)],
            "return_attention_scores": [True],
        },
        0.2,
    )
    draw.note(shapes=shapes)
    return Row("", layers.MultiHeadAttention, options, floats(*shapes), arguments)


def sequence(draw):
    """A block of several layers, one after another."""
    size, kinds = draw.integer(2, 4), draw.integer(1, 3)
    makers = {
        "dense": lambda dtype: layers.Dense(size, activation="tanh", dtype=dtype),
        "norm": lambda dtype: layers.LayerNormalization(dtype=dtype),
        "prelu": lambda dtype: layers.PReLU(dtype=dtype),
        "activation": lambda dtype: layers.Activation("softplus", dtype=dtype),
        "time": lambda dtype: layers.TimeDistributed(layers.Dense(size, dtype=dtype), dtype=dtype),
    }
    names = ["dense", *(draw.pick(list(makers)) for _ in range(kinds))]
    draw.note(layers=names)

    def block(dtype=None):
        return keras.Sequential([makers[name](dtype) for name in names])

    return Row("", block, {}, floats((draw.integer(1, 3), draw.integer(1, 4))))


def pre_norm(draw):
    heads = draw.integer(1, 2)
    return Row("", PreNorm, {"heads": heads}, floats((draw.integer(2, 4), 2 * heads)))


RULES = {
    "sequence": sequence,
    "pre-norm": pre_norm,
    "dense": dense,
    "einsum": einsum,
    "embedding": embedding,
    "attention": attention,
    "prelu": prelu,
    "layer norm": normalization("LayerNormalization", axis="several", more=LAYER_NORMALIZATION),
    "group norm": normalization("GroupNormalization"),
    "batch norm": normalization("BatchNormalization", more=BATCH_NORMALIZATION),
    "rms norm": normalization("RMSNormalization", axis="several", switches=False),
    "conv1d": convolution("Conv1D", 1, causal=True),
    "conv2d": convolution("Conv2D", 2),
    "conv3d": convolution("Conv3D", 3),
    "depthwise1d": convolution("DepthwiseConv1D", 1, filters=False, equal=True),
    "depthwise2d": convolution("DepthwiseConv2D", 2, filters=False, equal=True),
    "separable1d": convolution("SeparableConv1D", 1, equal=True),
    "separable2d": convolution("SeparableConv2D", 2, equal=True),
    "transpose1d": convolution("Conv1DTranspose", 1, transposed=True),
    "transpose2d": convolution("Conv2DTranspose", 2, transposed=True),
    "transpose3d": convolution("Conv3DTranspose", 3, transposed=True),
}
FORMS = ["generated", "generated", "generated", "weights", "factored", "named", "updated"]
CONTRACTIONS = ["auto", "materialize", "project", "outer"]


def rule_case(draw):
    """A Keras layer that has a rule, with weights in some form."""
    row = RULES[draw.named("rule", list(RULES))](draw)
    draw.note(**row.arguments)
    dtype = draw.named("dtype", POLICIES)
    rows = draw.named("rows", [1, 2, 4])
    options = {"dtype": dtype}
    if rows == 1 and draw.chance(0.5):
        options["shared"] = True
    form = draw.named("form", FORMS)
    if row.layer is layers.Dense:
        dense = FORMS.index(form) > 2 and form != "factored"
        dense |= "kernel_regularizer" in row.arguments or "bias_regularizer" in row.arguments
        options["contraction"] = draw.named("contraction", CONTRACTIONS[: 2 if dense else None])
    trial = Trial(row, rows, draw.rng)
    layer = _hyper(row, options)
    made = None
    if form == "generated":
        spec = layer.spec(*[x.shape for x in trial.inputs])
        factored = options.get("contraction") in ("project", "outer") or draw.chance(0.5)
        made = Made(draw, spec, rows, factored, dtype=dtype)
        if options.get("contraction") in ("project", "outer") and not _gives_factors(made):
            layer = _hyper(row, {**options, "contraction": "auto"})
        weights, conditions, leaves = made(), made.arrays, list(made.symbols.values())
    else:
        named = _hyper(row, {})
        named.spec(*[x.shape for x in trial.inputs])
        arrays, meant = trial.weights, trial.weights
        if form != "weights":
            arrays, meant = getattr(trial, form)(named, draw.rng)
        weights = tree.map_structure(lambda x: _input(x, rows), arrays)
        leaves = tree.flatten(weights)
        conditions = {t.name: x for t, x in zip(leaves, tree.flatten(arrays), strict=True)}
    xs = [keras.Input(x.shape[1:], dtype=str(x.dtype)) for x in trial.inputs]
    masks = {n: keras.Input(x.shape[1:], dtype=str(x.dtype)) for n, x in trial.arrays.items()}
    outputs = layer(xs[0], weights, *xs[1:], **trial.call, **masks)
    data = {t.name: x for t, x in zip(xs, trial.inputs)}
    data |= {masks[n].name: x for n, x in trial.arrays.items()}
    model = functional([*leaves, *xs, *masks.values()], outputs)

    def by_rows(case):
        for own, its in zip(_state(layer), trial.state(), strict=True):
            its.assign(own.value)
        flat = meant if made is None else flat_of(kh.target_weights(case.model, case.conditions))
        flat = np.broadcast_to(flat, (rows, flat.shape[1]))
        (y, _), _ = trial.reference(flat.astype("float32"))
        return [np.asarray(part, "float32") for part in tree.flatten(y)]

    return Case(
        model,
        data,
        conditions,
        by_rows,
        rows,
        specialized=form in ("generated", "weights", "named"),
        random=made is not None and made.random,
        tolerance=TOLERANCES.get(dtype, 1e-4),
        described=made is not None,
    )


def _state(layer):
    return layer.non_trainable_variables


def _gives_factors(made):
    return made.factored


def _hyper(row, options):
    options = dict(options)
    layer = row.layer(**row.arguments, dtype=options.pop("dtype", None))
    return kh.Hyper(layer, **options)


def _input(x, rows):
    """Tensors that have rows get an Input without their number, the others one of their shape."""
    if len(x) in (1, rows) and x.ndim > 1:
        return keras.Input(x.shape[1:])
    return keras.Input(batch_shape=x.shape)


def flat_of(tensors):
    tensors = list(tensors.values())
    rows = max(len(t) for t in tensors)
    return np.concatenate([t.reshape(rows, -1).astype("float32") for t in tensors], axis=1)


WRAPPED = {
    "lstm": (lambda: layers.LSTM(3, return_sequences=True), (4, 2)),
    "gru": (lambda: layers.GRU(2, reset_after=False), (4, 2)),
    "bidirectional": (lambda: layers.Bidirectional(layers.SimpleRNN(2)), (4, 2)),
    "time distributed": (lambda: layers.TimeDistributed(layers.Dense(3)), (4, 2)),
    "blocks": (lambda: keras.Sequential([layers.Dense(3), layers.LayerNormalization()]), (4,)),
    "batch norm": (lambda: layers.BatchNormalization(), (4,)),
    "rnn of cells": (lambda: layers.RNN([layers.LSTMCell(2), layers.GRUCell(3)]), (4, 2)),
    "dropout inside": (lambda: layers.GRU(2, dropout=0.3), (4, 2)),
    "frozen": (lambda: layers.Dense(3, trainable=False), (4,)),
}


def shared_case(draw):
    """Any layer on one row of weights."""
    make, shape = WRAPPED[draw.named("wrapped", list(WRAPPED))]
    layer, plain, x = make(), make(), draw.floats(BATCH, *shape)
    for each in (layer, plain):
        each.build((None, *shape))
    made = Made(draw, kh.WeightSpec.from_layer(layer), 1, draw.chance(0.5), dtype="float32")
    data = keras.Input(shape)
    wrapper = kh.Hyper(layer, shared=True)
    model = functional([*made.symbols.values(), data], wrapper(data, made()))

    def assigned(case):
        values = kh.target_weights(case.model, case.conditions).values()
        parameters = [v for v in plain.weights if not v.name.startswith(("moving_", "seed"))]
        for variable, value in zip(parameters, values, strict=True):
            variable.assign(value[0])
        others = [v for v in plain.variables if not any(v is p for p in parameters)]
        for own, its in zip(others, wrapper.state, strict=True):
            own.assign(its)
        return [np.asarray(keras.ops.convert_to_numpy(plain(x)))]

    return Case(model, {data.name: x}, made.arrays, assigned, 1, random=made.random)


def apply_case(draw):
    """`ApplyGeneratedWeights` on one generator for all layers, or one for each."""
    pairs, rows = layer_sizes(draw), draw.named("rows", [1, 2, 4])
    options = draw.options({"activation": ["tanh", None], "contraction": CONTRACTIONS}, 0.4)
    if rows == 1 and draw.chance(0.5):
        options["shared"] = True
    dtype = draw.named("dtype", POLICIES)
    apply = kh.ApplyGeneratedWeights(pairs, dtype=dtype, **options)
    spec = kh.WeightSpec.from_layer_sizes(pairs)
    specs = list(spec.layers.values()) if draw.named("each", [True, False]) else [spec]
    made = [Made(draw, s, rows, draw.chance(0.5), dtype=dtype) for s in specs]
    if not all(map(_gives_factors, made)) and options.get("contraction") in ("project", "outer"):
        apply = kh.ApplyGeneratedWeights(pairs, dtype=dtype, **{**options, "contraction": "auto"})
    x = draw.floats(BATCH, *sizes(draw, draw.integer(0, 1)), pairs[0][0])
    data = keras.Input(x.shape[1:])
    weights = [m() for m in made]
    y = apply(
        data, weights if len(specs) > 1 or (draw.chance(0.3) and len(pairs) == 1) else weights[0]
    )
    model = functional([*(s for m in made for s in m.symbols.values()), data], y)

    def by_rows(case):
        weights = kh.target_weights(case.model, case.conditions)
        parts, each = [], BATCH // rows
        for row in range(rows):
            y = x[row * each : (row + 1) * each]
            tensors = [v[min(row, len(v) - 1)].astype("float32") for v in weights.values()]
            for i, (kernel, bias) in enumerate(zip(tensors[::2], tensors[1::2])):
                y = y @ kernel + bias
                if i < len(pairs) - 1:
                    y = np.asarray(keras.ops.convert_to_numpy(apply.activation(y)))
            parts.append(y)
        return [np.concatenate(parts)]

    conditions = {name: array for m in made for name, array in m.arrays.items()}
    return Case(
        model,
        {data.name: x},
        conditions,
        by_rows,
        rows,
        random=any(m.random for m in made),
        tolerance=TOLERANCES.get(dtype, 1e-4),
    )


def embedding_case(draw):
    """A `ConditionEmbedding` in front of a generator that is called twice, for two layers."""
    size, rows = draw.integer(1, 4), draw.named("rows", [1, 2, 4])
    number, dtype = draw.integer(1, 4), draw.named("dtype", POLICIES)
    embedding = kh.ConditionEmbedding(
        number, size, **draw.options({"embeddings_regularizer": ["l2"]}), dtype=dtype
    )
    generator = kh.ChunkedWeightGenerator([(3, 3), (3,)], 5, hidden_sizes=[4], dtype=dtype)
    first, second = (keras.Input((), dtype="int32") for _ in range(2))
    x, layer = (
        draw.floats(BATCH, 3),
        kh.Hyper(keras.layers.Dense(3, activation="tanh", dtype=dtype)),
    )
    data = keras.Input((3,))
    y = layer(layer(data, generator(embedding(first))), generator(embedding(second)))
    model = functional([first, second, data], y)
    found = draw.rng.integers(number, size=(2, rows)).astype("int32")
    conditions = {first.name: found[0], second.name: found[1]}

    def one_by_one(case):
        made, each, parts = kh.target_weights(case.model, case.conditions), BATCH // rows, []
        for row in range(rows):
            kernel, bias, *others = [w[row].astype("float32") for w in made.values()]
            y = np.tanh(x[row * each : (row + 1) * each] @ kernel + bias)
            parts.append(np.tanh(y @ others[0] + others[1]))
        return [np.concatenate(parts)]

    return Case(
        model,
        {data.name: x},
        conditions,
        one_by_one,
        rows,
        tolerance=TOLERANCES.get(dtype, 1e-4),
        described=False,
    )
