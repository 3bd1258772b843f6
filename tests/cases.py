"""The table of public layers: one row each, and `test_battery.py` checks every row alike."""

import keras
import numpy as np

import keras_hypernet as kh
from tests import reference as ref
from tests.case import Case, arrays, ids
from tests.composed_cases import COMPOSED_CASES
from tests.encoding_cases import ENCODINGS
from tests.generator_cases import GENERATOR_CASES, moved


def factored(rows, rng, k, total):
    return {
        "features": rng.normal(size=(rows, k)).astype("float32"),
        "basis": rng.normal(size=(k, total)).astype("float32"),
        "offset": rng.normal(size=total).astype("float32"),
    }


def hidden_regularizer():
    return keras.regularizers.L2(1e-3)


# Generators.

SHAPES = [(3, 4), (4,)]
TOTAL = 16
Z = np.ones((2, 5), "float32")


def generator(**options):
    # Not the zero default head: its outputs would not depend on the condition.
    options = {
        "hidden_sizes": [6, 7],
        # A zero bias puts a dead layer exactly on the kink of the next one.
        "bias_initializer": keras.initializers.RandomNormal(stddev=0.5),
        "head_kernel_initializer": "glorot_uniform",
        "head_bias_initializer": keras.initializers.RandomNormal(stddev=0.5),
        **options,
    }
    return kh.WeightGenerator(SHAPES, **options)


def generator_model(**options):
    def make():
        z = keras.Input((5,))
        return keras.Model(z, generator(**options)(z))

    return make


def with_batch_normalization(values, z):
    kernel, bias, scale, shift, mean, variance, head, head_bias = values
    z = (z @ kernel + bias - mean) / np.sqrt(variance + 1e-5) * scale + shift
    return ref.scaled(np.tanh(z)) @ head + head_bias


def without_bias(values, z):
    hidden, head, base = values
    return ref.scaled(ref.relu(z @ hidden)) @ head + base


def half_scaled(values, z):
    return ref.mlp(values, z, scale=0.5)


def spectral(values, z):
    kernel, bias, direction, head, head_bias = values
    right = direction
    for _ in range(3):
        left = right @ kernel.T
        left = left / np.linalg.norm(left)
        right = left @ kernel
        right = right / np.linalg.norm(right)
    spectral_norm = (left @ kernel @ right.T).item()
    return ref.scaled(ref.relu(z @ kernel / spectral_norm + bias)) @ head + head_bias


def spectral_generator():
    """With a converged power iteration, where the gradient is that of the spectral norm."""
    layer = generator(hidden_sizes=[6], spectral_normalization=True)
    layer.build((None, 5))
    kernel, bias, direction, *head = layer.get_weights()
    direction = np.linalg.svd(ref.cast(kernel))[2][:1]
    layer.set_weights([kernel, bias, direction, *head])
    return layer


def as_factored(values, z):
    return {
        "features": ref.features_of(values, z),
        "basis": values[-2],
        "offset": values[-1],
    }


def factored_model(sizes=(3, 4), contraction="project"):
    def make():
        z, x = keras.Input((5,)), keras.Input((sizes[0],))
        weights = generator(factored=True)(z)
        return keras.Model(
            [z, x], kh.Hyper(keras.layers.Dense(sizes[1]), contraction=contraction)(x, weights)
        )

    return make


GENERATOR_BAD = (
    ("no spec", lambda: kh.WeightGenerator([]), ValueError, "must not be empty"),
    ("spec of a wrong type", lambda: kh.WeightGenerator(3), TypeError, "`spec`"),
    ("hidden_sizes an int", lambda: generator(hidden_sizes=8), TypeError, "hidden_sizes"),
    ("hidden size 0", lambda: generator(hidden_sizes=[0]), ValueError, r"hidden_sizes\[0\]"),
    ("unknown activation", lambda: generator(activation="rellu"), ValueError, "activation"),
    ("dropout 1", lambda: generator(dropout=1.0), ValueError, r"`dropout` must be in \[0, 1\)"),
    ("momentum 2", lambda: generator(momentum=2), ValueError, "`momentum`"),
    ("epsilon 0", lambda: generator(epsilon=0), ValueError, "`epsilon`"),
    ("rank 3", lambda: generator()(Z[None]), ValueError, "must have 2 axes"),
    ("rank 1", lambda: generator()(keras.KerasTensor((5,))), ValueError, "must have 2 axes"),
    ("integers", lambda: generator()(np.ones((2, 5), "int32")), TypeError, "ConditionEmbedding"),
    ("a list", lambda: generator()([1.0, 2.0]), TypeError, "must be a tensor"),
    (
        "another width",
        lambda: [layer := generator(), layer(Z), layer(Z[:, :4])],
        ValueError,
        "`conditioning` must have 5 entries",
    ),
    ("unknown width", lambda: generator()(keras.Input((None,))), ValueError, "must be known"),
)

GENERATORS = [
    Case(
        "WeightGenerator",
        generator,
        arrays((1, 5)),
        ref.mlp,
        generator_model(
            kernel_regularizer=hidden_regularizer(), head_kernel_regularizer="l1", seed=3
        ),
        arrays((1, 5)),
        GENERATOR_BAD,
    ),
    Case(
        "WeightGenerator default start",
        lambda: moved(kh.WeightGenerator(SHAPES, [6, 7])),
        arrays((1, 5)),
        ref.mlp,
        generator_model(
            bias_initializer=None, head_kernel_initializer=None, head_bias_initializer=None
        ),
        arrays((1, 5)),
    ),
    Case(
        "WeightGenerator feature scale",
        lambda: generator(initialization=None, feature_scale=0.5),
        arrays((1, 5)),
        half_scaled,
        generator_model(initialization=None, feature_scale=0.5),
        arrays((1, 5)),
    ),
    Case(
        "WeightGenerator linear",
        lambda: generator(hidden_sizes=()),
        arrays((1, 5)),
        ref.mlp,
        generator_model(hidden_sizes=()),
        arrays((1, 5)),
    ),
    Case(
        "WeightGenerator without bias",
        lambda: generator(hidden_sizes=[6], use_bias=False),
        arrays((1, 5)),
        without_bias,
        generator_model(hidden_sizes=[6], use_bias=False, dropout=0.2, seed=1),
        arrays((1, 5)),
    ),
    Case(
        "WeightGenerator batch normalization",
        lambda: generator(
            hidden_sizes=[6],
            activation="tanh",
            batch_normalization=True,
            momentum=0.9,
            epsilon=1e-5,
        ),
        arrays((1, 5)),
        with_batch_normalization,
        generator_model(batch_normalization=True, momentum=0.9, epsilon=1e-5),
        arrays((1, 5)),
    ),
    Case(
        "WeightGenerator spectral normalization",
        spectral_generator,
        arrays((1, 5)),
        spectral,
        generator_model(spectral_normalization=True),
        arrays((1, 5)),
    ),
    Case(
        "WeightGenerator factored",
        lambda: generator(factored=True),
        arrays((1, 5)),
        as_factored,
        factored_model(),
        arrays((1, 5), (1, 3)),
    ),
]

# Hyper layers.


def hyper_model(layer, x_shape, weights_shape):
    def make():
        x, weights = keras.Input(x_shape), keras.Input(weights_shape)
        return keras.Model([x, weights], layer()(x, weights))

    return make


def factored_inputs(x_shape, k, total):
    def draw(rows, rng):
        x = rng.normal(size=(rows, *x_shape)).astype("float32")
        return [x, factored(rows, rng, k, total)]

    return draw


X = np.ones((4, 3), "float32")


def dense_bad(message, x, weights, exception=ValueError, **options):
    def call():
        kh.Hyper(keras.layers.Dense(2), **options)(x, weights)

    return call, exception, message


DENSE_BAD = (
    (
        "contraction",
        lambda: kh.Hyper(keras.layers.Dense(2), contraction="fast"),
        ValueError,
        "contraction",
    ),
    ("width", *dense_bad("must have 8 entries", X, np.ones((4, 7), "float32"))),
    ("rank of weights", *dense_bad("must have 2 axes", X, np.ones((8,), "float32"))),
    ("rank of x", *dense_bad("min_ndim=2", X[0], np.ones((1, 8), "float32"))),
    ("rows", *dense_bad("must divide", X, np.ones((3, 8), "float32"))),
    ("no rows", *dense_bad("must divide", X, np.ones((0, 8), "float32"))),
    ("more rows than data", *dense_bad("must divide", X[:2], np.ones((4, 8), "float32"))),
    (
        "more rows than data with points",
        *dense_bad("must divide", np.ones((2, 10, 3), "float32"), np.ones((4, 8), "float32")),
    ),
    ("int weights", *dense_bad("floating", X, np.ones((4, 8), "int32"), TypeError)),
    ("no tensor", *dense_bad("must be a tensor", X, "weights", TypeError)),
    (
        "no weights",
        lambda: kh.Hyper(keras.layers.Dense(2))([X, X]),
        TypeError,
        r"layer\(x, weights\)",
    ),
    ("x no tensor", *dense_bad("must be a tensor", "x", np.ones((4, 8), "float32"), TypeError)),
    (
        "project flat",
        *dense_bad("factored", X, np.ones((4, 8), "float32"), contraction="project"),
    ),
    ("shared with rows", *dense_bad("single row", X, np.ones((2, 8), "float32"), shared=True)),
    (
        "keys",
        *dense_bad("a dict of", X, {"features": X, "basis": X}),
    ),
    (
        "features and basis",
        *dense_bad(
            "`features` must have 5 entries",
            X,
            {
                "features": np.ones((4, 6), "float32"),
                "basis": np.ones((5, 8), "float32"),
                "offset": np.ones(8, "float32"),
            },
        ),
    ),
    (
        "offset",
        *dense_bad(
            "`offset` must have 8 entries",
            X,
            {
                "features": np.ones((4, 5), "float32"),
                "basis": np.ones((5, 8), "float32"),
                "offset": np.ones(7, "float32"),
            },
        ),
    ),
)

HYPER_DENSE = [
    Case(
        "Hyper dense",
        lambda: kh.Hyper(keras.layers.Dense(2, activation="tanh")),
        arrays((1, 3), (1, 8)),
        lambda values, x, w: ref.dense_rows(x, w, 2, activation=np.tanh),
        hyper_model(lambda: kh.Hyper(keras.layers.Dense(2, activation="tanh")), (3,), (8,)),
        arrays((1, 3), (1, 8)),
        DENSE_BAD,
    ),
    Case(
        "Hyper dense without bias",
        lambda: kh.Hyper(keras.layers.Dense(2, use_bias=False)),
        arrays((3, 5, 3), (1, 6)),
        lambda values, x, w: ref.dense_rows(x, w, 2, use_bias=False),
        hyper_model(lambda: kh.Hyper(keras.layers.Dense(2, use_bias=False)), (5, 3), (6,)),
        arrays((1, 5, 3), (1, 6)),
    ),
    *(
        Case(
            f"Hyper dense {contraction}",
            lambda contraction=contraction: kh.Hyper(
                keras.layers.Dense(2), contraction=contraction
            ),
            factored_inputs((3,), 5, 8),
            lambda values, x, w: ref.dense_rows(x, w, 2),
            factored_model(contraction=contraction),
            arrays((1, 5), (1, 3)),
        )
        for contraction in ("auto", "materialize", "project", "outer")
    ),
    Case(
        "Hyper dense project without bias",
        lambda: kh.Hyper(keras.layers.Dense(2, use_bias=False), contraction="project"),
        factored_inputs((4, 3), 5, 6),
        lambda values, x, w: ref.dense_rows(x, w, 2, use_bias=False),
        factored_model(contraction="outer"),
        arrays((1, 5), (1, 3)),
    ),
]

# Several layers.

SIZES = [(3, 4), (4, 2)]


def apply_inputs(rows, rng):
    x = rng.normal(size=(rows, 3)).astype("float32")
    return [x, [rng.normal(size=(rows, n)).astype("float32") for n in (16, 10)]]


def apply_model():
    x, first, second = keras.Input((3,)), keras.Input((16,)), keras.Input((10,))
    y = kh.ApplyGeneratedWeights(SIZES, activation="tanh")(x, [first, second])
    return keras.Model([x, first, second], y)


def apply_bad(message, weights, x=X, **options):
    def call():
        kh.ApplyGeneratedWeights(SIZES, **options)(x, weights)

    return call, ValueError, message


FIRST, SECOND = np.ones((4, 16), "float32"), np.ones((4, 10), "float32")

APPLY_BAD = (
    (
        "chain",
        lambda: kh.ApplyGeneratedWeights([(3, 4), (5, 2)]),
        ValueError,
        "layer 1 takes 5 inputs but layer 0 gives 4",
    ),
    ("no layers", lambda: kh.ApplyGeneratedWeights([]), ValueError, "must not be empty"),
    ("one too few", *apply_bad("one entry per target layer", [FIRST])),
    ("width", *apply_bad("must have 10 entries", [FIRST, FIRST])),
    ("width of one for all", *apply_bad("must have 26 entries", FIRST)),
    ("x", *apply_bad("must have 3 entries", [FIRST, SECOND], X[:, :2])),
    ("contraction", *apply_bad("factored", [FIRST, SECOND], contraction="outer")),
    ("rows", *apply_bad("must divide", [FIRST[:3], SECOND])),
)

APPLY = [
    Case(
        "ApplyGeneratedWeights",
        lambda: kh.ApplyGeneratedWeights(SIZES, activation="tanh"),
        apply_inputs,
        lambda values, x, w: ref.mlp_rows(x, w, SIZES, np.tanh),
        apply_model,
        lambda rows, rng: [apply_inputs(rows, rng)[0], *apply_inputs(rows, rng)[1]],
        APPLY_BAD,
    ),
    Case(
        "ApplyGeneratedWeights one for all",
        lambda: kh.ApplyGeneratedWeights(SIZES),
        factored_inputs((3,), 5, 26),
        lambda values, x, w: ref.mlp_rows(x, np.split(ref.flat_weights(w), [16], axis=1), SIZES),
        hyper_model(lambda: kh.ApplyGeneratedWeights(SIZES), (3,), (26,)),
        arrays((1, 3), (1, 26)),
    ),
]

# Conditions.


def ids_bad(make):
    return (
        ("float ids", lambda: make()(np.ones(3, "float32")), TypeError, "integer dtype"),
        ("symbolic float ids", lambda: make()(keras.Input(())), TypeError, "integer dtype"),
        ("rank 2", lambda: make()(np.ones((3, 1), "int32")), ValueError, "must have 1 axis"),
        ("too large", lambda: make()(np.array([0, 4])), ValueError, r"0 \.\.\. 3"),
        ("negative", lambda: make()(np.array([-1, 0])), ValueError, "from -1 to 0"),
        ("a list", lambda: make()([0.5, 1]), TypeError, "must be a tensor"),
    )


def embedding(**options):
    return kh.ConditionEmbedding(4, 3, **options)


def embedding_model():
    i = keras.Input((), dtype="int32")
    return keras.Model(i, embedding(embeddings_regularizer="l2")(i))


def tasks(**options):
    return kh.TaskWeights(generator(**options), 4, embedding_size=5)


def tasks_model(**options):
    def make():
        i, x = keras.Input((), dtype="int32"), keras.Input((3,))
        return keras.Model([i, x], kh.Hyper(keras.layers.Dense(4))(x, tasks(**options)(i)))

    return make


def once_per_task(values, i):
    *generator_values, table = values
    return {
        "features": np.eye(4)[i],
        "basis": ref.mlp(generator_values, table),
        "offset": np.zeros(TOTAL),
    }


def looked_up(values, i):
    *generator_values, table = values
    return as_factored(generator_values, table[i])


def hyper_model(**options):
    def make():
        i, x = keras.Input((), dtype="int32"), keras.Input((3,))
        return keras.Model([i, x], kh.Hyper(keras.layers.Dense(4))(x, by_ids(**options)(i)))

    return make


def by_ids(hidden_sizes=(6,), **options):
    return kh.Hypernetwork(generator(hidden_sizes=hidden_sizes), 4, 5, **options)


def chunks_by_ids(**options):
    return kh.Hypernetwork(kh.ChunkedWeightGenerator([(3, 4), (4,)], 5), 4, 5, **options)


Z = np.ones((2, 5), "float32")
ONCE_BAD = (
    (
        "noise",
        lambda: by_ids(once_per_condition=True, noise_size=2),
        ValueError,
        "`once_per_condition` is for weights that depend on ids alone.*noise_size=2",
    ),
    (
        "no conditions",
        lambda: kh.Hypernetwork(generator(), once_per_condition="auto"),
        ValueError,
        "needs `num_conditions`",
    ),
    ("a name", lambda: by_ids(once_per_condition="always"), ValueError, "`once_per_condition`"),
)
NO_HEAD = ValueError, "`factored=True` needs a `WeightGenerator`"
FACTORED_BAD = (
    ("factored a name", lambda: by_ids(factored="no"), TypeError, "`factored`"),
    ("factored in a call", lambda: by_ids()(np.array([0]), factored=1), TypeError, "`factored`"),
    ("no head", lambda: chunks_by_ids()(np.array([0]), factored=True), *NO_HEAD),
    ("vectors", lambda: chunks_by_ids(once_per_condition=True, factored=True)(Z), *NO_HEAD),
)


def ids_and_data(rows, rng):
    return [*ids(4)(rows, rng), *arrays((1, 3))(rows, rng)]


CONDITIONS = [
    Case(
        "ConditionEmbedding",
        embedding,
        ids(4),
        lambda values, i: values[0][i],
        embedding_model,
        ids(4),
        (
            ("no conditions", lambda: kh.ConditionEmbedding(0, 3), ValueError, "num_conditions"),
            ("size a float", lambda: kh.ConditionEmbedding(4, 3.0), TypeError, "`size`"),
            *ids_bad(embedding),
        ),
    ),
    Case(
        "TaskWeights once per task",
        tasks,
        ids(4),
        once_per_task,
        tasks_model(),
        ids_and_data,
        (
            ("no generator", lambda: kh.TaskWeights(3, 4), TypeError, "`generator`"),
            ("nested", lambda: kh.TaskWeights(tasks(), 4), TypeError, "`generator`"),
            ("no tasks", lambda: kh.TaskWeights(generator(), 0), ValueError, "num_conditions"),
            *ids_bad(tasks),
        ),
    ),
    Case(
        "Hypernetwork once per condition",
        lambda: by_ids(once_per_condition=True),
        ids(4),
        lambda values, i: ref.flat_weights(once_per_task(values, i)),
        hyper_model(once_per_condition=True),
        ids_and_data,
        (*ONCE_BAD, *FACTORED_BAD),
    ),
    Case(
        "TaskWeights looked up",
        lambda: tasks(hidden_sizes=[6, 3]),
        ids(4),
        looked_up,
        tasks_model(hidden_sizes=[6, 3], factored=True),
        ids_and_data,
    ),
]


def of_size_one(values, x):
    mean_square, batches = values
    return x / np.sqrt(mean_square) if batches else x


def scaled_model():
    z = keras.Input((5,))
    return keras.Model(z, generator()(kh.RunningScale()(z)))


RUNNING_SCALE = [
    Case(
        "RunningScale",
        kh.RunningScale,
        arrays((1, 2, 3)),
        of_size_one,
        scaled_model,
        arrays((1, 5)),
        (
            ("integers", lambda: kh.RunningScale()(np.ones((2, 5), "int32")), TypeError, "float"),
            ("a list", lambda: kh.RunningScale()([1.0, 2.0]), TypeError, "must be a tensor"),
            ("an argument", lambda: kh.RunningScale(axis=0), ValueError, "axis"),
        ),
    ),
]

CASES = [
    *(*GENERATORS, *GENERATOR_CASES, *COMPOSED_CASES, *HYPER_DENSE, *APPLY, *CONDITIONS),
    *(*ENCODINGS, *RUNNING_SCALE),
]
