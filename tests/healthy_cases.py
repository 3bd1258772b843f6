"""Models with which nothing is wrong: a diagnosis finds nothing above `look` in them."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
from keras import layers, tree

import keras_hypernet as kh
from tests import continual_cases
from tests.conformance_blocks import PreNorm, SqueezeAndExcite
from tests.whole_models import WHOLE

SIZE, ROWS, TASKS, POINTS = 4, 32, 4, 7  # of conditionings, of data, of ids, of points
SIZES = [(5, 16), (16, 16), (16, 4)]
SPEC = kh.WeightSpec.from_layer_sizes(SIZES)


@dataclasses.dataclass(frozen=True)
class Healthy:
    """A compiled model, and what it learns.

    Args:
        id: Of the row in test reports.
        make: Function that returns the model.
        data: Function of a random generator that returns `(conditioning, inputs)`.
        learn: Function of the model and `(conditioning, inputs, y)` that trains it for an epoch;
            `None` is `fit`.
        slow: Whether it takes long.
    """

    id: str
    make: Callable
    data: Callable
    learn: Callable | None = None
    slow: bool = False

    def drawn(self, model, seed=0):
        """`(conditioning, inputs, y)`."""
        rng = np.random.default_rng(seed)
        conditioning, inputs = self.data(rng)
        rows = len((tree.flatten(inputs) or tree.flatten(conditioning))[0])
        return conditioning, inputs, targets(model, rng, rows)

    def train(self, model, drawn, epochs=1):
        for _ in range(epochs):
            (self.learn or fit)(model, *drawn)


def targets(model, rng, rows):
    """Targets of the shapes of a model's outputs; classes for a `ContinualModel`."""
    if isinstance(model, kh.ContinualModel):
        return rng.integers(2, size=rows).astype("int32")
    return tree.map_structure(
        lambda out: rng.normal(size=(rows, *[n or POINTS for n in out.shape[1:]])).astype(
            "float32"
        ),
        model.output,
    )


def fit(model, conditioning, inputs, y):
    """An epoch, in batches of groups where there are fewer conditions than rows."""
    if isinstance(conditioning, dict):
        model.fit({**conditioning, **inputs}, y, batch_size=16, verbose=0)
        return
    arrays = [*as_list(conditioning), *as_list(inputs)]
    number, rows = len(arrays[0]), len(arrays[-1])
    if rows == number:
        arrays = arrays[0] if len(arrays) == 1 else arrays
        model.fit(arrays, y, batch_size=16, verbose=0)
    elif number == 1:
        for _ in range(2):
            model.train_on_batch(arrays, y)
    else:
        model.fit(kh.GroupedDataset(conditioning, inputs, y, 2), verbose=0)


def as_list(nest):
    """Arrays as a list; an empty dict is none."""
    return list(nest) if isinstance(nest, (list, tuple, dict)) else [nest]


# What they are made of.


def vectors(rows=ROWS, size=SIZE, scale=1.0):
    return lambda rng: (scale * rng.normal(size=(rows, size))).astype("float32")


def ids(rows=ROWS):
    return lambda rng: (np.arange(rows) % TASKS).astype("int32")


def both(conditions, *shapes):
    """A data function of conditions and of floating data."""

    def draw(rng):
        found = [rng.normal(size=(ROWS, *shape)).astype("float32") for shape in shapes or [(5,)]]
        return conditions(rng), found if len(found) > 1 else found[0]

    return draw


VECTORS, IDS = both(vectors()), both(ids())


def compiled(model, optimizer=None, loss="mse", **options):
    model.compile(optimizer or keras.optimizers.Adam(3e-3), loss, **options)
    return model


def applied(generator, given=None, apply=None, **options):
    """A perceptron with the weights of a generator that is made for `SPEC`."""
    given = given or {"condition": keras.Input((SIZE,), name="condition")}
    x = keras.Input((5,), name="x")
    single = list(given) == ["condition"] or isinstance(
        generator, (kh.Hypernetwork, kh.TaskWeights)
    )
    weights = generator(*given.values() if single and len(given) == 1 else [given])
    y = (apply or kh.ApplyGeneratedWeights(SIZES))(x, weights)
    return compiled(keras.Model([*given.values(), x], y), **options)


def id_input():
    return {"condition_id": keras.Input((), dtype="int32", name="condition_id")}


def by_ids(make):
    return lambda: applied(make(), id_input())


def perceptron(units=(16, 16, 4), activation="relu"):
    model = keras.Sequential([keras.Input((5,))])
    for size in units[:-1]:
        model.add(layers.Dense(size, activation))
    model.add(layers.Dense(units[-1]))
    return model


def hyper(model=perceptron, optimizer=None, **options):
    if "conditioning" not in options:
        options = {"conditioning_size": SIZE, **options}
    return lambda: compiled(kh.hypernetize(model(), **options), optimizer and optimizer())


def built(**options):
    return kh.build(SIZE, 5, SIZES, **{"hidden_sizes": (32,), **options})


# Generators, each with its default start.


def one_chunk(spec):
    """All tensors in one kind, under names of its own."""
    pieces = {name: name.replace("/", "_") for name in spec.names}
    shapes = {piece: spec[name].shape for name, piece in pieces.items()}
    return kh.ChunkPlan(
        spec,
        {"all": {"shapes": shapes}},
        {name: f"all/0/{piece}" for name, piece in pieces.items()},
    )


def full(spec=SPEC, **options):
    return kh.WeightGenerator(spec, **{"hidden_sizes": [32], **options})


def in_chunks(spec=SPEC, size=60, **options):
    return kh.ChunkedWeightGenerator(spec, size, **{"hidden_sizes": [32], **options})


def composed(spec=SPEC):
    first, *rest = spec.names
    parts = {
        "p": full(kh.WeightSpec([spec[first]])),
        "q": in_chunks(kh.WeightSpec([spec[name] for name in rest])),
    }
    return kh.ComposedWeightGenerator(spec, parts)


GENERATORS = {
    "full": full,
    "two hidden layers": lambda spec=SPEC: full(spec, hidden_sizes=[32, 32]),
    "linear": lambda spec=SPEC: full(spec, hidden_sizes=()),
    "factored": lambda spec=SPEC: full(spec, factored=True),
    "no bias": lambda spec=SPEC: full(spec, use_bias=False),
    "spectral": lambda spec=SPEC: full(spec, spectral_normalization=True),
    "normalized": lambda spec=SPEC: full(spec, batch_normalization=True),
    "dropout": lambda spec=SPEC: full(spec, dropout=0.1, seed=1),
    "tanh": lambda spec=SPEC: full(spec, activation="tanh"),
    "hyper_fan_in": lambda spec=SPEC: full(spec, initialization="hyper_fan_in"),
    "hyper_fan_out": lambda spec=SPEC: full(spec, initialization="hyper_fan_out"),
    "hyper_fan_harmonic": lambda spec=SPEC: full(spec, initialization="hyper_fan_harmonic"),
    "chunked": in_chunks,
    "chunks of chunks": lambda spec=SPEC: kh.ChunkedWeightGenerator(
        spec, 100, generator=lambda s: kh.ChunkedWeightGenerator(s, 30)
    ),
    "structured": lambda spec=SPEC: kh.StructuredWeightGenerator(
        one_chunk(spec), hidden_sizes=[32]
    ),
    "layerwise": lambda spec=SPEC: kh.LayerwiseWeightGenerator(spec, hidden_sizes=[32]),
    "factors": lambda spec=SPEC: kh.LayerwiseWeightGenerator(
        spec, hidden_sizes=[32], heads="factor"
    ),
    "deconv": lambda spec=SPEC: kh.DeconvWeightGenerator(spec, (24, 24), [8, 8]),
    "chunked deconv": lambda spec=SPEC: kh.ChunkedDeconvWeightGenerator(
        spec, (8, 8), [8], attention=()
    ),
    "composed": composed,
    "perturbed": lambda spec=SPEC: kh.PerturbedWeightGenerator(full(spec), sigma=0.01),
}
OF_IDS = {
    "hypernetwork": lambda: kh.Hypernetwork(full(), TASKS),
    "task weights": lambda: kh.TaskWeights(full(), TASKS),
    "chunks for tasks": lambda: kh.Hypernetwork(in_chunks(), TASKS),
    "own chunks": lambda: in_chunks(chunk_embeddings="conditional", num_conditions=TASKS),
}


def layer_by_layer(make):
    """A `Hyper` for each layer, with a generator of its own."""
    z, x = keras.Input((SIZE,), name="condition"), keras.Input((5,), name="x")
    y = x
    for i, (inputs, outputs) in enumerate(SIZES):
        spec = kh.WeightSpec.from_layer_sizes([(inputs, outputs)])
        activation = "relu" if i < len(SIZES) - 1 else None
        y = kh.Hyper(layers.Dense(outputs, activation))(y, make(spec)(z))
    return compiled(keras.Model([z, x], y))


def with_noise():
    given = {name: keras.Input((SIZE,), name=name) for name in ("noise", "condition")}
    return applied(kh.Hypernetwork(full(initialization="hyper_fan_in"), noise_size=SIZE), given)


def ids_and_noise():
    given = {"noise": keras.Input((SIZE,), name="noise"), **id_input()}
    return applied(kh.Hypernetwork(full(), TASKS, noise_size=SIZE), given)


def with_embedding(trainable=True, **options):
    condition, x = id_input()["condition_id"], keras.Input((5,), name="x")
    vectors = kh.ConditionEmbedding(TASKS, 4)(condition)
    return compiled(
        kh.build(None, None, SIZES, (32,), conditioning=vectors, data_input=x, **options)
    )


def hyper_of_ids():
    vectors = kh.ConditionEmbedding(TASKS, 4)(id_input()["condition_id"])
    return compiled(kh.hypernetize(perceptron(), conditioning=vectors))


def encoded(layer):
    z = keras.Input((SIZE,), name="condition")
    return compiled(kh.build(None, 5, SIZES, (32,), conditioning=layer(z)))


def of_its_own_data():
    """The network reads what its weights are generated from: there is no other input."""
    x = keras.Input((5,), name="x")
    return compiled(keras.Model(x, kh.ApplyGeneratedWeights(SIZES)(x, full()(x))))


def nested():
    z, x = keras.Input((SIZE,), name="z"), keras.Input((5,), name="x")
    first = kh.build(SIZE, 5, [(5, 16), (16, 16)], hidden_sizes=(32,), name="first")
    weights = kh.build_weight_generator(z, 16, 4, hidden_sizes=(32,))
    y = kh.apply_generated_weights(layers.Activation("relu")(first([z, x])), [weights], [(16, 4)])
    return compiled(keras.Model([z, x], y))


def several():
    """Dicts of inputs, of outputs and of losses."""
    a, b = keras.Input((5,), name="a"), keras.Input((6, 4), name="b")
    y = layers.GlobalAveragePooling1D()(layers.Conv1D(8, 3, activation="relu")(b))
    joint = layers.Dense(16, "relu")(layers.Concatenate()([a, y]))
    outputs = {"one": layers.Dense(4, name="one")(joint), "two": layers.Dense(8, name="two")(joint)}
    return keras.Model({"a": a, "b": b}, outputs)


def several_hyper():
    model = kh.hypernetize(several(), conditioning_size=SIZE)
    model.compile("adam", {"one": "mse", "two": "mae"}, loss_weights={"one": 1.0, "two": 0.5})
    return model


def several_data(rng):
    shapes = {"a": (5,), "b": (6, 4)}
    inputs = {n: rng.normal(size=(ROWS, *s)).astype("float32") for n, s in shapes.items()}
    return {"conditioning": vectors()(rng)}, inputs


def cnn():
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    y = skip = layers.Activation("relu")(layers.BatchNormalization()(y))
    y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(y))
    y = layers.Activation("relu")(layers.Add()([y, skip]))
    y = layers.DepthwiseConv2D(3, activation="relu")(y)
    return keras.Model(x, layers.Dense(4)(layers.GlobalAveragePooling2D()(y)))


def attention():
    x = keras.Input((6, 8))
    y = layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)])
    y = layers.LayerNormalization()(y)
    y = layers.Dense(8)(layers.Dense(16, activation="gelu")(y))
    return keras.Model(x, layers.Dense(4)(layers.GlobalAveragePooling1D()(y)))


def recurrent():
    x = keras.Input((6, 8))
    return keras.Model(x, layers.Dense(4)(layers.LSTM(8)(x)))


def tokens():
    x = keras.Input((6,), dtype="int32")
    y = layers.GlobalAveragePooling1D()(layers.Embedding(9, 8)(x))
    return keras.Model(x, layers.Dense(4)(layers.Dense(16, "relu")(y)))


def block():
    x = keras.Input((6, 8))
    return keras.Model(x, layers.Dense(4)(layers.GlobalAveragePooling1D()(PreNorm()(x))))


def squeezed():
    x = keras.Input((6, 6, 8))
    y = SqueezeAndExcite(8)(layers.Conv2D(8, 3, activation="relu")(x))
    return keras.Model(x, layers.Dense(4)(layers.GlobalAveragePooling2D()(y)))


KINDS = {
    "perceptron": (perceptron, (5,)),
    "cnn": (cnn, (8, 8, 3)),
    "attention": (attention, (6, 8)),
    "block": (block, (6, 8)),
    "squeeze": (squeezed, (6, 6, 8)),
}
MODES = {
    "replace": {},
    "delta": {"mode": "delta"},
    "delta of a frozen base": {"mode": "delta", "freeze": "base"},
    "low rank": {"mode": "low_rank", "rank": 2},
    "low rank of a frozen model": {"mode": "low_rank", "rank": 2, "freeze": "all"},
    "low rank up": {"mode": "low_rank", "rank": 2, "generate": "up"},
    "low rank scale": {"mode": "low_rank", "rank": 2, "generate": "scale"},
    "shared": {"shared": True},
    "gates": {"select": ["*/bias"]},
}


def in_policy(policy, make):
    def made():
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            return make()
        finally:
            keras.config.set_dtype_policy(before)

    return made


def token_data(rng):
    return vectors()(rng), rng.integers(9, size=(ROWS, 6)).astype("int32")


def whole(row):
    def data(rng):
        conditions = row.conditions(rng, 8)
        return conditions, row.data(rng, 8)

    return Healthy(
        f"whole {row.name}",
        lambda: compiled(row.hyper(row.make())),
        data,
        slow=row.slow,
    )


# Learning tasks one after another.


def continual(learned="", inside=None, **options):
    def make():
        model = inside() if inside else continual_cases.built()
        model = continual_cases.continual(model, **options)
        if learned:
            continual_cases.learn(model, learned, epochs=2)
        return model

    return make


def task_data(conditions, learn_first=None):
    def draw(rng):
        return conditions, continual_cases.tasks()["a"][0]

    return draw


def learn_task(model, conditioning, inputs, y):
    if not model.task_names:
        model.begin_task("a")
    model.fit(inputs, y, batch_size=8, shuffle=False, verbose=0)


def fit_once(model, *drawn):
    """Keras itself fails on JAX in the second `fit` of an optimizer that averages weights."""
    if int(model.optimizer.iterations) == 0:
        fit(model, *drawn)


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.01),
    "momentum": lambda: keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
    "adamw": lambda: keras.optimizers.AdamW(1e-3, clipnorm=1.0),
    "lion": lambda: keras.optimizers.Lion(1e-4),
    "rmsprop": lambda: keras.optimizers.RMSprop(1e-3),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-3)),
    "schedule": lambda: keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, 100)),
    "averaged": lambda: keras.optimizers.Adam(1e-3, use_ema=True),
    "accumulated": lambda: keras.optimizers.Adam(1e-3, gradient_accumulation_steps=2),
}

HEALTHY = [
    *[Healthy(name, lambda m=make: applied(m()), VECTORS) for name, make in GENERATORS.items()],
    *[Healthy(name, by_ids(make), IDS) for name, make in OF_IDS.items()],
    *[
        Healthy(f"{name} layer by layer", lambda m=GENERATORS[name]: layer_by_layer(m), VECTORS)
        for name in ("full", "linear", "factored", "chunked", "layerwise")
    ],
    *[
        Healthy(f"{name} hypernetized", hyper(generator=GENERATORS[name]), VECTORS)
        for name in ("full", "chunked", "layerwise", "factors", "deconv", "composed")
    ],
    Healthy("build", lambda: compiled(built()), VECTORS),
    Healthy(
        "build deep",
        lambda: compiled(kh.build(SIZE, 5, [(5, 16), *[(16, 16)] * 8, (16, 4)], (64,))),
        VECTORS,
    ),
    Healthy("build linear", lambda: compiled(built(hidden_sizes=())), VECTORS),
    Healthy("build tanh", lambda: compiled(built(activation="tanh")), VECTORS),
    Healthy("build sine", lambda: compiled(built(activation=kh.sine(6.0))), VECTORS),
    Healthy("build small conditions", lambda: compiled(built()), both(vectors(scale=1e-2))),
    Healthy("build large conditions", lambda: compiled(built()), both(vectors(scale=30.0))),
    Healthy("build groups", lambda: compiled(built()), both(vectors(8))),
    Healthy("build one condition", lambda: compiled(built()), both(vectors(1))),
    Healthy("build two conditions", lambda: compiled(built()), both(vectors(2))),
    Healthy(
        "build positive conditions",
        lambda: compiled(built()),
        both(lambda rng: rng.uniform(size=(ROWS, SIZE)).astype("float32")),
    ),
    Healthy(
        "build one hot",
        lambda: compiled(built()),
        both(lambda rng: np.eye(SIZE, dtype="float32")[np.arange(ROWS) % SIZE]),
    ),
    Healthy("build scalar", lambda: compiled(kh.build(1, 5, SIZES, (32,))), both(vectors(size=1))),
    Healthy(
        "build scalar from 0",
        lambda: compiled(kh.build(1, 5, SIZES, (32,))),
        both(lambda rng: np.linspace(0, 1, ROWS, dtype="float32")[:, None]),
    ),
    Healthy(
        "build points",
        lambda: compiled(kh.build(SIZE, (None, 5), SIZES, (32,))),
        both(vectors(), (POINTS, 5)),
    ),
    Healthy("build uncompiled", built, VECTORS),
    Healthy("unit norm", lambda: encoded(kh.UnitNormEncoding()), VECTORS),
    Healthy("fourier", lambda: encoded(kh.FourierFeatures(8)), VECTORS),
    Healthy("encoder of one's own", lambda: encoded(layers.Dense(8, "relu")), VECTORS),
    Healthy(
        "noise", with_noise, lambda rng: ([vectors()(rng), vectors()(rng)], vectors(size=5)(rng))
    ),
    Healthy(
        "ids and noise",
        ids_and_noise,
        lambda rng: ([vectors()(rng), ids()(rng)], vectors(size=5)(rng)),
    ),
    Healthy("embedding", with_embedding, IDS),
    Healthy("embedding hypernetized", hyper_of_ids, IDS),
    Healthy("nested", nested, VECTORS),
    Healthy("of its own data", of_its_own_data, lambda rng: (vectors(size=5)(rng), {})),
    Healthy("several", several_hyper, several_data),
    *[
        Healthy(
            f"{kind} {mode}",
            hyper(make, **options),
            both(vectors(1 if mode == "shared" else ROWS), shape),
        )
        for kind, (make, shape) in KINDS.items()
        for mode, options in MODES.items()
    ],
    Healthy("recurrent", hyper(recurrent, shared=True), both(vectors(1), (6, 8))),
    Healthy("tokens", hyper(tokens), token_data),
    Healthy("tokens low rank", hyper(tokens, mode="low_rank", rank=2), token_data),
    *[
        Healthy(
            f"optimizer {name}",
            lambda o=o: compiled(built(), o()),
            VECTORS,
            learn=fit_once if name == "averaged" else None,
        )
        for name, o in OPTIMIZERS.items()
    ],
    *[
        Healthy(f"{policy} {name}", in_policy(policy, make), data)
        for policy in ("mixed_float16", "mixed_bfloat16")
        for name, make, data in (
            ("build", lambda: compiled(built()), VECTORS),
            ("low rank", hyper(mode="low_rank", rank=2), VECTORS),
            ("chunked", lambda: applied(in_chunks()), VECTORS),
        )
    ],
    *[whole(row) for row in WHOLE if row.name != "built" and row.name != "dicts"],
    *[
        Healthy(
            f"continual {name}{' after ' + learned if learned else ''}",
            continual(learned, inside),
            task_data(given),
            learn_task,
        )
        for name, inside in continual_cases.MODELS.items()
        for learned, given in (("", [0, 1, 2]), ("ab", ["a", "b"]))
    ],
    Healthy(
        "continual heads",
        continual(
            "ab", lambda: kh.build(4, 3, [(3, 5), (5, 6)], hidden_sizes=(8,)), heads=[2, 2, 2]
        ),
        task_data([0, 1]),
        learn_task,
    ),
]
