"""Random Keras models with generated weights, and continual models."""

import ast
import re

import keras
import numpy as np
from keras import layers

import keras_hypernet as kh
from keras_hypernet.utils.naming import unique_name
from tests import continual_cases
from tests.conformance_blocks import PreNorm, SqueezeAndExcite, Twice
from tests.fuzz import Case, all_layers, as_numpy, assert_close, call, flags, functional
from tests.fuzz_generators import OF_HIDDEN, PERCEPTRON, POLICIES, TOLERANCES, Made, layer_sizes
from tests.fuzz_layers import BATCH, CONTRACTIONS

SIZE = 3

PENALTY = {"kernel_regularizer": ["l2"], "use_bias": [False], "activation": ["tanh", "relu"]}


def scaled(x):
    return x * 2.0 - 1.0


def residual(layer, x):
    return layers.Add()([x, layer(x)])


def twice(draw, x):
    layer = layers.Dense(x.shape[-1], activation="tanh", **draw.options({"use_bias": [False]}))
    return layer(layer(x))


def nested(draw, x):
    """A model in a model, which may be called twice."""
    inner = keras.Input(x.shape[1:])
    y = layers.Dense(x.shape[-1], activation="tanh")(inner)
    y = layers.LayerNormalization()(y) if draw.chance(0.5) else y
    model = keras.Model(inner, y)
    return model(model(x)) if draw.chance(0.3) else model(x)


def sequential(draw, x):
    shape = keras.Input(x.shape[1:])
    return keras.Sequential([shape, layers.Dense(4, activation="relu"), layers.Dense(3)])(x)


def attend(draw, x):
    """Attention to itself."""
    options = draw.options({"dropout": [0.2], "use_bias": [False], "output_shape": [3]}, 0.2)
    return layers.MultiHeadAttention(2, 2, **options)(x, x)


def normalize_groups(draw, x):
    return layers.GroupNormalization(draw.pick([1, -1]))(x)


# Blocks by what they take: `(draw, x) -> y` of the same number of axes.
ANY = {
    "dense": lambda d, x: layers.Dense(d.integer(2, 4), **d.options(PENALTY))(x),
    "batch norm": lambda d, x: layers.BatchNormalization(momentum=0.5)(x),
    "layer norm": lambda d, x: layers.LayerNormalization(**d.options({"scale": [False]}))(x),
    "rms norm": lambda d, x: layers.RMSNormalization()(x),
    "prelu": lambda d, x: layers.PReLU()(x),
    "dropout": lambda d, x: layers.Dropout(0.3)(x),
    "activation": lambda d, x: layers.Activation("tanh")(x),
    "residual": lambda d, x: residual(layers.Dense(x.shape[-1]), x),
    "operations": lambda d, x: scaled(x),
    "ops": lambda d, x: keras.ops.tanh(keras.ops.concatenate([x, -x], axis=-1)),
    "twice": twice,
    "nested": nested,
    "sequential": sequential,
}
SEQUENCE = {
    **ANY,
    "einsum": lambda d, x: layers.EinsumDense("abc,cd->abd", (x.shape[1], 3), bias_axes="d")(x),
    "conv1d": lambda d, x: layers.Conv1D(3, 2, padding="same", **d.options(PENALTY))(x),
    "depthwise": lambda d, x: layers.DepthwiseConv1D(2, padding="same")(x),
    "transpose": lambda d, x: layers.Conv1DTranspose(3, 2, padding="same")(x),
    "block": lambda d, x: PreNorm(heads=1)(x),
    "nested block": lambda d, x: Twice(nested=d.chance(0.5))(x),
    "time": lambda d, x: layers.TimeDistributed(layers.Dense(3))(x),
    "attention": attend,
    "group norm": normalize_groups,
}
RECURRENT = {
    "lstm": lambda d, x: layers.LSTM(3, recurrent_initializer="he_normal", return_sequences=True)(
        x
    ),
    "both ways": lambda d, x: layers.Bidirectional(
        layers.GRU(2, recurrent_initializer="he_normal", return_sequences=True)
    )(x),
}
IMAGE = {
    **ANY,
    "conv2d": lambda d, x: layers.Conv2D(
        3, d.integer(1, 3), padding="same", strides=d.integer(1, 2), **d.options(PENALTY)
    )(x),
    "depthwise": lambda d, x: layers.DepthwiseConv2D(2, padding="same")(x),
    "separable": lambda d, x: layers.SeparableConv2D(3, 2, padding="same")(x),
    "transpose": lambda d, x: layers.Conv2DTranspose(2, 2, strides=2)(x),
    "block": lambda d, x: SqueezeAndExcite()(x),
    "pool": lambda d, x: layers.MaxPooling2D(2, padding="same")(x),
    "group norm": normalize_groups,
}
STARTS = {
    "vector": ((4,), ANY, lambda d, x: x),
    "series": ((5, 3), SEQUENCE, lambda d, x: layers.GlobalAveragePooling1D()(x)),
    "image": ((6, 5, 2), IMAGE, lambda d, x: layers.GlobalMaxPooling2D()(x)),
    "ids": ((4,), SEQUENCE, lambda d, x: x[:, 0]),
}


def random_model(draw, recurrent=False):
    """A small model and data for it."""
    start = draw.named("start", list(STARTS) if not recurrent else ["series", "ids"])
    shape, blocks, end = STARTS[start]
    blocks = {**blocks, **(RECURRENT if recurrent else {})}
    dtype = "int32" if start == "ids" else "float32"
    x = keras.Input(shape, dtype=dtype)
    inputs, data = [x], [draw.floats(BATCH, *shape)]
    if start == "ids":
        data = [draw.rng.integers(0, 5, size=data[0].shape).astype("int32")]
        x = layers.Embedding(5, 3, mask_zero=draw.chance(0.3))(x)
    names = [draw.pick(list(blocks)) for _ in range(draw.integer(1, 4))]
    draw.note(blocks=names)
    for name in names:
        x = blocks[name](draw, x)
    x = end(draw, x)
    if draw.chance(0.2):
        draw.note(second_input=True)
        inputs.append(keras.Input((2,)))
        data.append(draw.floats(BATCH, 2))
        x = layers.Concatenate()([x, layers.Dense(2, activation="tanh")(inputs[1])])
    outputs = layers.Dense(2)(x)
    if draw.chance(0.2):
        draw.note(outputs="dict")
        outputs = {"a": outputs, "b": layers.Dense(1)(outputs)}
    model = functional(inputs, outputs)
    freezable = [layer for layer in all_layers(model)[:-3] if layer.weights]
    if freezable and draw.chance(0.4):
        chosen = draw.pick(freezable)
        chosen.trainable = False
        draw.note(frozen_before=chosen.path)
    return model, data


SELECT = {
    "kernels": "*/kernel",
    "biases": ["*/bias"],
    "class": layers.Dense,
    "function": lambda variable: len(variable.shape) == 1,
    "all": "*",
}


def hypernetize_case(draw):
    """A random model that is hypernetized, beside itself with the weights of each row."""
    try:
        return _hypernetize_case(draw)
    except Redraw:
        return hypernetize_case(draw)


def _hypernetize_case(draw):
    shared = draw.named("shared", [False, False, True])
    policy = draw.named("dtype", POLICIES)
    keras.config.set_dtype_policy(policy)
    try:
        source, data = random_model(draw, recurrent=shared and draw.chance(0.5))
    finally:
        keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(1)
    for variable in source.weights:
        if keras.backend.is_float_dtype(variable.dtype):
            value = as_numpy(variable) + draw.rng.uniform(0.1, 0.4, variable.shape)
            variable.assign(value)
    mode = draw.named("mode", ["replace", "delta", "low_rank"])
    options = {"mode": mode, "shared": shared}
    options["copy"] = draw.named("copy", [True, True, False])
    if mode == "low_rank":
        options["rank"] = draw.integer(1, 2)
        options |= draw.options({"generate": ["up", "scale"], "alpha": [2.0]})
    else:
        select = draw.named("select", [None, None, *SELECT])
        if select:
            options["select"] = SELECT[select]
    freeze = draw.named("freeze", [None, None, "all", *["base"][: mode != "replace"]])
    options["freeze"] = freeze
    rows = 1 if shared else draw.named("rows", [1, 2, 4])
    symbol, random = keras.Input((SIZE,)), False
    conditions = {symbol.name: draw.floats(rows, SIZE)}
    how = draw.named("conditioning", ["default", "default", "computed", "generator"])
    if how == "computed":
        dense = layers.Dense(2, activation="tanh", name=unique_name("conditioning_features"))
        options["conditioning"] = dense(symbol)
    elif how == "generator":
        made = {}

        def generator(spec):
            made["made"] = Made(draw, spec, rows, draw.chance(0.5), dtype=policy)
            raise Stop

        try:
            _hypernetized(source, SIZE, generator=generator, **options)
        except Stop:
            made = made["made"]
        options |= {"conditioning": made.argument, "generator": made.generator}
        conditions, random = made.arrays, made.random
    else:
        options["conditioning"] = symbol
        options["hidden_sizes"] = draw.pick([(), (4,), (3, 4)])
    before = flags(source)
    trained = {v.path: tuple(v.shape) for v in source.trainable_variables}
    model = _hypernetized(source, **options)
    copied = type(model).__name__ != "GivenLayersModel"
    assert not copied or flags(source) == before, "the given model's flags changed"
    selected = set(kh.target_weights(model, conditions))
    base = mode != "replace" and freeze is None
    held = set(trained) if freeze == "all" else set() if base else selected
    _check_flags(model, [shape for path, shape in trained.items() if path not in held])
    own = {v.path: v for v in source.variables if v.path in selected}
    assert set(own) == selected, sorted(selected - set(own))
    data_names = [x.name for x in model.inputs][-len(data) :]

    def each_row(case):
        """The given model's outputs, and losses, with the weights of each row."""
        kept, each = [as_numpy(v) for v in own.values()], BATCH // rows
        generated = kh.target_weights(case.model, case.conditions)
        for row in range(rows):
            for name, tensor in generated.items():
                own[name].assign(tensor[min(row, len(tensor) - 1)])
            outputs = call(source, [x[row * each : (row + 1) * each] for x in data])
            yield outputs, sum(float(as_numpy(loss)) for loss in source.losses)
        for variable, value in zip(own.values(), kept):
            variable.assign(value)

    return Case(
        model,
        dict(zip(data_names, data)),
        conditions,
        lambda case: [np.concatenate(parts) for parts in zip(*(y for y, _ in each_row(case)))],
        rows,
        random=random,
        tolerance=TOLERANCES.get(policy, 1e-4),
        described=mode == "replace" and how != "generator",
        # What is not generated has another path in the given model, sometimes.
        kept=f"^(?!.*({OF_GENERATOR}))",
        penalty=None
        if how == "generator" or base or freeze == "all"  # what is frozen is not penalized
        else lambda case: np.mean([loss for _, loss in each_row(case)]),
    )


def _hypernetized(source, *args, **options):
    """With what an error asks for, where some kernels take no update, or none of the rank."""
    try:
        return kh.hypernetize(source, *args, **options)
    except ValueError as error:
        message = str(error)
    if advice := re.search(r"leave them out with `select=(\[.*?\])`", message):
        return _hypernetized(source, *args, **options, select=ast.literal_eval(advice[1]))
    if "`rank` must not be above" in message:
        return _hypernetized(source, *args, **{**options, "rank": None})
    if "both factors of the update" in message:
        raise Redraw
    if "has a regularizer" in message and not options["copy"]:
        return _hypernetized(source, *args, **{**options, "copy": True})
    return kh.hypernetize(source, *args, **options)  # raises again


OF_GENERATOR = "generator|hypernetwork|task_weights|conditioning_features|/gates|_(down|up)$"


def _check_flags(model, expected):
    """What is not generated is trained as before, or not at all."""
    kept = [v for v in model.variables if not re.search(OF_GENERATOR, v.path)]
    found = sorted(tuple(v.shape) for v in kept if v.trainable)
    expected = sorted(expected)
    assert found == expected, f"trained beside the generator {found}, before {expected}"


class Redraw(Exception):
    """Raised where a generator that was drawn makes nothing that could be trained."""


class Stop(Exception):
    """Raised where only the spec was wanted."""


BUILD = {
    "activation": ["tanh", None],
    "contraction": CONTRACTIONS,
    "hidden_activation": ["tanh"],
    "dtype": ["mixed_bfloat16"],
    "name": ["net"],
    **{n: v for n, v in PERCEPTRON.items() if n not in ("activation", "hidden_sizes")},
}


def build_case(draw):
    pairs, rows = layer_sizes(draw), draw.named("rows", [1, 2, 4])
    options = draw.options(BUILD, 0.2)
    options["hidden_sizes"] = draw.named("hidden_sizes", [(), (4,), (3, 5)])
    if not options["hidden_sizes"]:
        options = {name: value for name, value in options.items() if name not in OF_HIDDEN}
    shape = draw.named("points", [(), (3,), (None,)])
    x = draw.floats(BATCH, *(n or 2 for n in shape), pairs[0][0])
    z = draw.floats(rows, SIZE)
    model = kh.build(SIZE, (*shape, pairs[0][0]), pairs, **options)
    activation = keras.activations.get(options.get("activation", "relu"))

    def by_rows(case):
        weights = kh.target_weights(case.model, case.conditions)
        parts, each = [], BATCH // rows
        for row in range(rows):
            y = x[row * each : (row + 1) * each]
            tensors = [w[row].astype("float32") for w in weights.values()]
            for i, (kernel, bias) in enumerate(zip(tensors[::2], tensors[1::2])):
                y = y @ kernel + bias
                y = as_numpy(activation(y)) if i < len(pairs) - 1 else y
            parts.append(y)
        return [np.concatenate(parts)]

    names = [tensor.name for tensor in model.inputs]
    tolerance = TOLERANCES.get(options.get("dtype"), 1e-4)
    return Case(model, {names[1]: x}, {names[0]: z}, by_rows, rows, tolerance=tolerance)


CONTINUAL = {
    "beta": [0.0, 2.0],
    "targets": ["copy"],
    "tasks_per_step": [1],
    "tasks_per_call": [1, 2],
    "heads": [[[0], [1], [0]], [[0, 1]] * 3, [[0], [1, 0], [1]]],
    "task_statistics": [False],
    "keep_optimizer": [True],
    "seed": [1],
}


def continual_case(draw):
    """A continual model that learns some tasks and goes on from its file as it is."""
    kind = draw.named("model", list(continual_cases.MODELS))
    options = draw.options(CONTINUAL, 0.3)
    if kind == "nested":  # its last weights do not make what it returns
        options.pop("heads", None)
    optimizer = draw.pick(["sgd", "adam", "rmsprop"])
    inner = continual_cases.MODELS[kind]()
    model = kh.ContinualModel(inner, num_tasks=3, **options)
    model.compile(optimizer, "mse", run_eagerly=True)
    names = [str(i) for i in range(draw.named("tasks", [0, 1, 2, 3]))]
    x = draw.floats(BATCH, 3)
    heads = model.heads or [range(model(x).shape[-1])] * 3
    targets = {name: draw.floats(BATCH, len(head)) for name, head in zip(names, heads)}
    fit = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    for name in names:
        model.begin_task(name)
        model.fit(x, targets[name], epochs=draw.integer(1, 2), **fit)
    if names and draw.named("goes on", [False, True]):
        model.continue_task(names[0])
        model.fit(x, targets[names[0]], **fit)
    path = draw.folder / "continual.keras"
    model.save(path)
    loaded = keras.saving.load_model(path, safe_mode=True)
    path.unlink()
    assert loaded.task_sequence == model.task_sequence
    assert flags(loaded) == flags(model), "other trainable flags"
    for name in names:
        assert_close(
            [loaded.predict(x, task=name, verbose=0)], [model.predict(x, task=name, verbose=0)]
        )
        assert_close(
            [call(model.specialize(name), [x])[0]], [model.predict(x, task=name, verbose=0)], 1e-4
        )
    if names:
        histories = [m.fit(x, targets[model.task], **fit).history["loss"] for m in (model, loaded)]
        assert_close([np.array(histories[1])], [np.array(histories[0])], 1e-5)
    if 0 < len(names) < 3:
        next_targets = draw.floats(BATCH, len(heads[len(names)]))
        for each in (model, loaded):
            each.begin_task("next")
            each.fit(x, next_targets, **fit)
        assert_close([loaded.predict(x, verbose=0)], [model.predict(x, verbose=0)], 1e-5)
