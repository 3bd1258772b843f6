"""The rows of the table for the generators beyond `WeightGenerator`, and `Hypernetwork`."""

import keras
import numpy as np

import keras_hypernet as kh
from tests import reference as ref
from tests.case import Case

SHAPES = [(3, 4), (4,), (2, 2, 1, 3), (3,)]  # an MLP's and a CNN's layer
SPEC = kh.WeightSpec.from_shapes(SHAPES)
TOTAL = SPEC.total
CONDITIONS = 4


def options(**other):
    """Of perceptrons whose outputs are large enough to compare well."""
    return {
        "hidden_sizes": [6],
        # A zero bias puts a dead layer exactly on the kink of the next one.
        "bias_initializer": keras.initializers.RandomNormal(stddev=0.5),
        "head_kernel_initializer": "glorot_uniform",
        "head_bias_initializer": keras.initializers.RandomNormal(stddev=0.5),
        **other,
    }


def moved(generator, shape=(None, 5)):
    """A generator away from its start, where all conditions are the same."""
    generator.build(shape)
    rng = np.random.default_rng(5)
    values = [w + rng.normal(size=w.shape) * 0.4 for w in generator.get_weights()]
    generator.set_weights(values)
    return generator


def draw(**shapes):
    """`(rows, rng) -> [dict of inputs]`; ids where there is no shape, one row for `(1, ...)`."""

    def inputs(rows, rng):
        found = {}
        for name, shape in shapes.items():
            if shape is None:
                found[name] = rng.integers(CONDITIONS, size=rows).astype("int32")
            else:
                lead = (rows,) if len(shape) < 3 or shape[0] is None else ()
                shape = shape[1:] if not lead or shape[0] is None else shape
                found[name] = rng.normal(size=(*lead, *shape)).astype("float32")
        return found

    return inputs


def one(**shapes):
    """As the single call argument of a generator."""
    return lambda rows, rng: [draw(**shapes)(rows, rng)]


def several(**shapes):
    """As the inputs of a model."""
    return lambda rows, rng: list(draw(**shapes)(rows, rng).values())


def model(layer, **shapes):
    """A model whose inputs are the generator's."""

    def make():
        inputs = {
            name: keras.Input((), dtype="int32") if shape is None else keras.Input(shape)
            for name, shape in shapes.items()
        }
        tensors = list(inputs.values())
        return keras.Model(tensors if len(tensors) > 1 else tensors[0], layer()(inputs))

    return make


def vectors(rows, rng):
    return [rng.normal(size=(rows, 5)).astype("float32")]


def plain_model(layer):
    def make():
        z = keras.Input((5,))
        return keras.Model(z, layer()(z))

    return make


def applied_model(layer, **shapes):
    """A model that applies the weights to an MLP."""

    def make():
        inputs = {
            name: keras.Input((), dtype="int32") if shape is None else keras.Input(shape)
            for name, shape in shapes.items()
        }
        x = keras.Input((3,))
        y = kh.Hyper(keras.layers.Dense(4))(x, layer()(inputs))
        return keras.Model([*inputs.values(), x], y)

    return make


# Chunked.


def chunked(spec=SPEC, size=11, **other):
    return kh.ChunkedWeightGenerator(spec, size, 3, **options(**other))


def chunked_reference(values, given, table=None, make=ref.mlp, output_first=True):
    embeddings, *values, base = values if table is None else (table, *values)
    embeddings = embeddings if embeddings.ndim == 3 else embeddings[None]
    made = ref.chunks(values, embeddings, given.get("noise"), given.get("condition"), make)
    flat = made.reshape(len(made), -1)[:, :TOTAL]
    if output_first:
        flat = np.stack([ref.output_first(row, SHAPES) for row in flat])
    return flat + base


def given_embeddings(values, given):
    return chunked_reference(values, given, given["chunk_embeddings"], output_first=False)


def conditional_embeddings(values, given):
    table, *values = values
    return chunked_reference(values, given, table[given["condition_id"]])


def with_statistics(values, given, own=True):
    """Conditional embeddings, and statistics of each row's condition or of all of them."""
    table, *values = values
    ids = given["condition_id"]
    chosen = ids if own else ...

    def make(values, z):
        kernel, bias, scale, shift, mean, variance, head, head_bias = values
        z = (z @ kernel + bias - mean[chosen]) / np.sqrt(variance[chosen] + 1e-3) * scale + shift
        return ref.scaled(ref.relu(z)) @ head + head_bias

    return chunked_reference(values, given, table[ids], make)


def with_one_set_of_statistics(values, given):
    return with_statistics(values, given, own=False)


def normalized(values, given):
    kernel, bias, scale, shift, mean, variance, head, head_bias = values
    ids = given["condition_id"]
    z = given["condition"] @ kernel + bias
    z = (z - mean[ids]) / np.sqrt(variance[ids] + 1e-3) * scale + shift
    return ref.scaled(np.tanh(z)) @ head + head_bias


def joined(values, given):
    return ref.mlp(values, ref.side_by_side(given["noise"], given["condition"]))


Z = np.ones((2, 5), "float32")
IDS = np.array([0, 1])


def conditional(**other):
    return chunked(chunk_embeddings="conditional", num_conditions=CONDITIONS, **other)


def perceptron(spec, **other):
    return kh.WeightGenerator(spec, **options(**other))


def of_chunks(spec, **other):
    """Chunks of a chunk."""
    return kh.ChunkedWeightGenerator(spec, 4, 2, **options(**other))


def with_ids(spec):
    return of_chunks(spec, chunk_embeddings="conditional", num_conditions=CONDITIONS)


def any_generator(make=perceptron, **other):
    return kh.ChunkedWeightGenerator(SPEC, 11, 3, generator=make, **other)


def chunks_of_chunks(values, given, ids=None):
    def make(values, z):
        inside, *values = values
        inside = inside[None] if ids is None else inside[given[ids]]
        made = ref.chunks(values, inside, condition=z).reshape(len(z), -1)[:, :11]
        return np.stack([ref.output_first(row, [(11,)]) for row in made])

    return chunked_reference(values, given, make=make)


def owned():
    generator = perceptron([(11,)])
    kh.Hypernetwork(generator, 3)
    return generator


def built():
    generator = perceptron([(11,)])
    generator.build((None, 8))
    return generator


SMALL_INPUTS = kh.HyperFanIn(condition_variance=1e-4)
OF_A_PERCEPTRON = ValueError, "is of the perceptron, and `generator`"
ANY_GENERATOR_BAD = (
    ("a number", lambda: any_generator(3), TypeError, "`generator` must be a Generator"),
    ("a layer", lambda: any_generator(keras.layers.Dense(11)), TypeError, "`generator`"),
    ("makes none", lambda: any_generator(lambda spec: None), TypeError, "`generator`"),
    (
        "other weights",
        lambda: any_generator(lambda spec: perceptron([(3, 4)])),
        ValueError,
        "`chunk_size=11` weights.*of 12 weights",
    ),
    ("built", lambda: any_generator(built()), ValueError, "not built yet.*built=True"),
    ("owned", lambda: any_generator(owned()), ValueError, "belongs to another layer"),
    (
        "ids in front",
        lambda: any_generator(lambda spec: kh.Hypernetwork(perceptron(spec), 3)),
        TypeError,
        "without embeddings of conditions",
    ),
    (
        "needs embeddings",
        lambda: any_generator(lambda spec: of_chunks(spec, chunk_embeddings="given")),
        ValueError,
        "one vector for a chunk.*needs the input `chunk_embeddings`",
    ),
    (
        "other conditions",
        lambda: any_generator(with_ids, chunk_embeddings="conditional", num_conditions=3),
        ValueError,
        rf"that of the generator \({CONDITIONS}\)",
    ),
    ("perceptron's", lambda: any_generator(hidden_sizes=[3]), *OF_A_PERCEPTRON),
    ("statistics", lambda: any_generator(conditional_statistics=True), *OF_A_PERCEPTRON),
    (
        "hyperfan",
        lambda: any_generator(of_chunks, initialization="hyper_fan_in")(Z),
        ValueError,
        "`HyperFanIn` is for chunks of a `WeightGenerator`",
    ),
)

CHUNKED_BAD = (
    ("chunk size 0", lambda: chunked(size=0), ValueError, "`chunk_size` must be a positive"),
    ("chunk size a float", lambda: chunked(size=8.0), TypeError, "`chunk_size`"),
    ("chunk too large", lambda: chunked(size=32), ValueError, r"number of weights \(31\)"),
    (
        "embedding size 0",
        lambda: kh.ChunkedWeightGenerator(SPEC, 5, 0),
        ValueError,
        "`chunk_embedding_size`",
    ),
    ("mode", lambda: chunked(chunk_embeddings="own"), ValueError, "`chunk_embeddings`"),
    (
        "no conditions",
        lambda: chunked(chunk_embeddings="conditional"),
        ValueError,
        "`num_conditions` must be given",
    ),
    ("conditions for nothing", lambda: chunked(num_conditions=2), ValueError, "`num_conditions`"),
    ("factored", lambda: chunked(factored=True), ValueError, "`factored`"),
    ("unknown argument", lambda: chunked(units=3), ValueError, "`units`"),
    (
        "typo",
        lambda: chunked(hidden_size=[3]),
        ValueError,
        "`hidden_size` .* nearest is 'hidden_sizes'",
    ),
    ("no input", lambda: chunked()({}), ValueError, "There must be an input"),
    ("no id", lambda: conditional()({"condition": Z}), ValueError, "needs `condition_id`"),
    (
        "id out of range",
        lambda: conditional()({"condition": Z, "condition_id": np.array([0, 4])}),
        ValueError,
        r"`condition_id` must be in 0 \.\.\. 3",
    ),
    (
        "id and embeddings",
        lambda: conditional()(
            {"condition_id": IDS, "chunk_embeddings": np.ones((2, 3, 3), "float32")}
        ),
        ValueError,
        "Either `condition_id` or `chunk_embeddings`",
    ),
    (
        "embeddings missing",
        lambda: chunked(chunk_embeddings="given")({"condition": Z}),
        ValueError,
        "needs the input `chunk_embeddings`",
    ),
    (
        "shape of embeddings",
        lambda: chunked()({"condition": Z, "chunk_embeddings": np.ones((2, 3, 4), "float32")}),
        ValueError,
        r"\(rows, 3, 3\)",
    ),
    (
        "unknown input",
        lambda: chunked()({"conditions": Z}),
        ValueError,
        r"takes the inputs.*\['conditions'\]",
    ),
    (
        "rows",
        lambda: chunked()({"condition": Z, "noise": np.ones((3, 2), "float32")}),
        ValueError,
        "equal numbers of rows",
    ),
    (
        "noise missing",
        lambda: [
            layer := chunked(),
            layer({"condition": Z, "noise": Z}),
            layer({"condition": Z}),
        ],
        ValueError,
        "made for `noise` of width 5, which is missing",
    ),
    (
        "noise too wide",
        lambda: [
            layer := chunked(),
            layer({"condition": Z, "noise": Z}),
            layer({"condition": Z, "noise": Z[:, :4]}),
        ],
        ValueError,
        "`noise` must have 5 entries",
    ),
    (
        "noise not wanted",
        lambda: [layer := chunked(), layer(Z), layer({"condition": Z, "noise": Z})],
        ValueError,
        r"made without \['noise'\]",
    ),
)

CHUNKED = [
    Case(
        "WeightGenerator dict",
        lambda: kh.WeightGenerator(SPEC, **options()),
        one(noise=(1, 1, 2), condition=(5,)),
        joined,
        model(lambda: kh.WeightGenerator(SPEC, **options()), noise=(2,), condition=(5,)),
        several(noise=(2,), condition=(5,)),
    ),
    Case(
        "WeightGenerator statistics per condition",
        lambda: kh.WeightGenerator(
            SPEC,
            **options(activation="tanh", batch_normalization=True, num_conditions=CONDITIONS),
        ),
        one(condition=(5,), condition_id=None),
        normalized,
        model(
            lambda: kh.WeightGenerator(
                SPEC, **options(batch_normalization=True, num_conditions=CONDITIONS)
            ),
            condition=(5,),
            condition_id=None,
        ),
        several(condition=(5,), condition_id=None),
        (
            (
                "conditions for nothing",
                lambda: kh.WeightGenerator(SPEC, num_conditions=2),
                ValueError,
                "batch_normalization=True",
            ),
            (
                "only an id",
                lambda: kh.WeightGenerator(SPEC, batch_normalization=True, num_conditions=2)(
                    {"condition_id": IDS}
                ),
                ValueError,
                "needs `noise` or a `condition`",
            ),
        ),
    ),
    Case(
        "ChunkedWeightGenerator",
        chunked,
        one(condition=(5,)),
        chunked_reference,
        applied_model(
            lambda: chunked([(3, 4), (4,)], chunk_embeddings_regularizer="l2"), condition=(5,)
        ),
        several(condition=(5,), x=(3,)),
        CHUNKED_BAD,
    ),
    Case(
        "ChunkedWeightGenerator default start",
        lambda: moved(kh.ChunkedWeightGenerator(SPEC, 11, 3, hidden_sizes=[6])),
        vectors,
        lambda values, z: chunked_reference(values, {"condition": z}),
        plain_model(lambda: kh.ChunkedWeightGenerator(SPEC, 11, 3, hidden_sizes=[6])),
        vectors,
    ),
    Case(
        "ChunkedWeightGenerator without base",
        lambda: chunked(initialization=None, feature_scale=0.5),
        one(condition=(5,)),
        lambda values, given: chunked_reference(
            values, given, make=lambda values, z: ref.mlp(values, z, scale=0.5)
        ),
        model(lambda: chunked(initialization=None, feature_scale=0.5), condition=(5,)),
        several(condition=(5,)),
    ),
    Case(
        "ChunkedWeightGenerator conditional",
        conditional,
        one(noise=(2,), condition=(1, 1, 5), condition_id=None),
        conditional_embeddings,
        model(conditional, noise=(2,), condition=(5,), condition_id=None),
        several(noise=(2,), condition=(5,), condition_id=None),
    ),
    Case(
        "ChunkedWeightGenerator ids only",
        conditional,
        one(condition_id=None),
        conditional_embeddings,
        model(conditional, condition_id=None),
        several(condition_id=None),
    ),
    Case(
        "ChunkedWeightGenerator statistics per condition",
        lambda: conditional(batch_normalization=True, conditional_statistics=True),
        one(condition=(5,), condition_id=None),
        with_statistics,
        model(
            lambda: conditional(
                batch_normalization=True, conditional_statistics=True, dropout=0.1, seed=1
            ),
            condition=(5,),
            condition_id=None,
        ),
        several(condition=(5,), condition_id=None),
        bad=(
            (
                "statistics of nothing",
                lambda: conditional(conditional_statistics=True),
                ValueError,
                "`conditional_statistics=True` needs",
            ),
        ),
    ),
    Case(
        "ChunkedWeightGenerator one set of statistics",
        lambda: conditional(batch_normalization=True),
        one(condition=(5,), condition_id=None),
        with_one_set_of_statistics,
        model(lambda: conditional(batch_normalization=True), condition=(5,), condition_id=None),
        several(condition=(5,), condition_id=None),
    ),
    Case(
        "ChunkedWeightGenerator of a given perceptron",
        lambda: moved(any_generator()),
        vectors,
        lambda values, z: chunked_reference(values, {"condition": z}),
        plain_model(lambda: any_generator(perceptron([(11,)]), initialization=SMALL_INPUTS)),
        vectors,
        ANY_GENERATOR_BAD,
    ),
    Case(
        "ChunkedWeightGenerator of chunks per condition",
        lambda: moved(any_generator(with_ids)),
        one(condition=(5,), condition_id=None),
        lambda values, given: chunks_of_chunks(values, given, ids="condition_id"),
        model(lambda: any_generator(with_ids), condition=(5,), condition_id=None),
        several(condition=(5,), condition_id=None),
    ),
    Case(
        "ChunkedWeightGenerator given",
        lambda: chunked(chunk_embeddings="given", output_first=False),
        one(condition=(5,), chunk_embeddings=(None, 3, 3)),
        given_embeddings,
        model(lambda: chunked(chunk_embeddings="given"), condition=(5,), chunk_embeddings=(3, 3)),
        several(condition=(5,), chunk_embeddings=(None, 3, 3)),
    ),
]

# Structured.

TARGET = {"a/kernel": (6, 4), "b/kernel": (6, 8), "b/bias": (8,)}
ASSEMBLY = {
    "a/kernel": "half/0/kernel",
    "b/kernel": {"join": ["half/1/kernel", "half/2/kernel"], "axis": -1},
    "b/bias": "bias/0/bias",
}


def kinds(**other):
    return {
        "half": {"shapes": {"kernel": (6, 4)}, "number": 3, "embedding_size": 2},
        "bias": {"shapes": {"bias": (8,)}, "embedding_size": 0},
        **other,
    }


def chunk_plan(assembly=ASSEMBLY, **other):
    return kh.ChunkPlan(TARGET, kinds(**other), assembly)


@keras.saving.register_keras_serializable(package="tests")
def assemble(pieces):
    """The assembly of the plan as a function."""
    halves = [pieces[f"half/{i}/kernel"] for i in range(3)]
    return {
        "b/bias": pieces["bias/0/bias"],
        "a/kernel": halves[0],
        "b/kernel": keras.ops.concatenate(halves[1:], axis=-1),
    }


def structured(assembly=ASSEMBLY, **other):
    other = {"kinds": {"bias": {"hidden_sizes": []}}, **other}
    return kh.StructuredWeightGenerator(chunk_plan(assembly), **options(**other))


def structured_reference(values, given):
    table, *values, base = values
    table = table[None] if table.ndim == 2 else table[given["condition_id"]]
    halves = ref.chunks(values[:4], table, condition=given["condition"])
    halves = halves.reshape(len(halves), 3, 6, 4)
    bias = ref.mlp(values[4:], given["condition"])
    b = np.concatenate([halves[:, 1], halves[:, 2]], axis=-1)
    flat = np.concatenate([halves[:, 0].reshape(-1, 24), b.reshape(-1, 48), bias], axis=1)
    return flat + base


def structured_conditional(**other):
    return structured(chunk_embeddings="conditional", num_conditions=CONDITIONS, **other)


def without(name):
    return {key: entry for key, entry in ASSEMBLY.items() if key != name}


PLAN_BAD = (
    ("not covered", lambda: chunk_plan(without("a/kernel")), ValueError, r"Not covered: \['a/ker"),
    (
        "covered in part",
        lambda: chunk_plan({**ASSEMBLY, "b/kernel": {"join": ["half/1/kernel"], "axis": -1}}),
        ValueError,
        "'b/kernel' do not cover it: they have 4 of its 8",
    ),
    (
        "overlap",
        lambda: chunk_plan({**ASSEMBLY, "b/kernel": {"join": ["half/1/kernel"] * 3, "axis": 1}}),
        ValueError,
        "'b/kernel' overlap: they have 12 of its 8",
    ),
    (
        "shape",
        lambda: chunk_plan({**ASSEMBLY, "a/kernel": "bias/0/bias"}),
        ValueError,
        "'a/kernel' must have its shape",
    ),
    (
        "unknown piece",
        lambda: chunk_plan({**ASSEMBLY, "a/kernel": "half/3/kernel"}),
        ValueError,
        "'half/3/kernel' for 'a/kernel'",
    ),
    ("unknown target", lambda: chunk_plan({**ASSEMBLY, "c": "half/0/kernel"}), ValueError, "'c'"),
    (
        "entry",
        lambda: chunk_plan({**ASSEMBLY, "a/kernel": {"axis": 0}}),
        ValueError,
        "An entry of `assembly`",
    ),
    ("a closure", lambda: chunk_plan(lambda pieces: pieces), ValueError, "registered"),
    ("a list", lambda: chunk_plan(["half/0/kernel"]), TypeError, "`assembly` must be a dict"),
    (
        "no embedding for several",
        lambda: chunk_plan(half={"shapes": {"kernel": (6, 4)}, "number": 3, "embedding_size": 0}),
        ValueError,
        "may be 0 only for a kind with one chunk",
    ),
    ("number 0", lambda: chunk_plan(half={**kinds()["half"], "number": 0}), ValueError, "number"),
    ("no kinds", lambda: kh.ChunkPlan(TARGET, {}, ASSEMBLY), ValueError, "`kinds`"),
    ("list of shapes", lambda: chunk_plan(half={"shapes": [(6, 4)]}), TypeError, "shapes"),
    ("unknown key", lambda: chunk_plan(half={"shape": (6, 4)}), ValueError, "must be a dict with"),
    ("a slash", lambda: chunk_plan(**{"a/b": {"shapes": {"k": (2,)}}}), ValueError, "slash"),
    ("no plan", lambda: kh.StructuredWeightGenerator(SPEC), TypeError, "`plan`"),
    ("unknown kind", lambda: structured(kinds={"quarter": {}}), ValueError, "quarter"),
    ("kinds a list", lambda: structured(kinds=["bias"]), TypeError, "`kinds` must be a dict"),
    ("no vector", lambda: structured_conditional()({"condition_id": IDS}), ValueError, "needs `no"),
    ("no id", lambda: structured_conditional()({"condition": Z}), ValueError, "condition_id"),
    (
        "id and embeddings",
        lambda: structured_conditional()(
            {
                "condition": Z,
                "condition_id": IDS,
                "chunk_embeddings/half": np.ones((2, 3, 2), "float32"),
            }
        ),
        ValueError,
        "Either `condition_id` or `chunk_embeddings/half`",
    ),
)

SMALL_PARTS = {"hidden_sizes": [6], "kinds": {"bias": {"hidden_sizes": []}}}

STRUCTURED = [
    Case(
        "StructuredWeightGenerator",
        structured,
        one(condition=(5,)),
        structured_reference,
        model(lambda: structured(kernel_regularizer="l2"), condition=(5,)),
        several(condition=(5,)),
        PLAN_BAD,
    ),
    Case(
        "StructuredWeightGenerator default start",
        lambda: moved(kh.StructuredWeightGenerator(chunk_plan(), **SMALL_PARTS)),
        vectors,
        lambda values, z: structured_reference(values, {"condition": z}),
        plain_model(lambda: kh.StructuredWeightGenerator(chunk_plan(), **SMALL_PARTS)),
        vectors,
    ),
    Case(
        "StructuredWeightGenerator without base",
        lambda: structured(initialization=None),
        one(condition=(5,)),
        structured_reference,
        model(lambda: structured(initialization=None), condition=(5,)),
        several(condition=(5,)),
    ),
    Case(
        "StructuredWeightGenerator conditional",
        structured_conditional,
        one(condition=(5,), condition_id=None),
        structured_reference,
        model(lambda: structured_conditional(assembly=assemble), condition=(5,), condition_id=None),
        several(condition=(5,), condition_id=None),
    ),
    Case(
        "StructuredWeightGenerator function",
        lambda: structured(assembly=assemble),
        one(condition=(5,)),
        structured_reference,
        model(lambda: structured(assembly=assemble), condition=(5,)),
        several(condition=(5,)),
    ),
    Case(
        "StructuredWeightGenerator given",
        lambda: structured(chunk_embeddings="given"),
        lambda rows, rng: [
            {
                "condition": rng.normal(size=(rows, 5)).astype("float32"),
                "chunk_embeddings/half": rng.normal(size=(rows, 3, 2)).astype("float32"),
            }
        ],
        lambda values, given: structured_reference(
            [given["chunk_embeddings/half"], *values], {**given, "condition_id": slice(None)}
        ),
        model(structured, condition=(5,)),
        several(condition=(5,)),
    ),
]

# Images.


def deconv(**other):
    start = keras.initializers.RandomNormal(stddev=0.5)
    return {
        "filters": [3, 2],
        "kernel_size": [3, (4, 3)],
        "attention": (),
        "kernel_initializer": start,
        "bias_initializer": start,
        **other,
    }


def image(values, z, shape, start_shape):
    kernel, bias, *convs = values
    y = ref.relu(z @ kernel + bias).reshape(-1, *start_shape).transpose(0, 2, 3, 1)
    pairs = list(zip(convs[::2], convs[1::2]))
    plan = DECONV_PLANS[shape]
    for i, ((kernel, bias), step) in enumerate(zip(pairs, plan)):
        y = ref.transposed_conv(y, kernel, *step) + bias
        y = y if i == len(pairs) - 1 else ref.relu(y)
    return y.transpose(0, 3, 1, 2).reshape(len(y), -1)


# By hand: strides, (crop at the start, at the end) for each axis, size.
DECONV_PLANS = {
    (6, 6): [((1, 1), ((1, 1), (1, 1)), (3, 3)), ((2, 2), ((1, 1), (1, 0)), (6, 6))],
    (4, 3): [((1, 1), ((1, 1), (1, 1)), (4, 3)), ((1, 1), ((2, 1), (1, 1)), (4, 3))],
}


def deconv_reference(values, z):
    *values, base = values
    return image(values, z, (6, 6), (3, 3, 3))[:, :TOTAL] + base


def chunked_deconv_reference(values, z):
    embeddings, *values, base = values
    made = ref.chunks(
        values,
        embeddings[None],
        condition=z,
        make=lambda values, z: image(values, z, (4, 3), (3, 4, 3)),
    )
    return made.reshape(len(made), -1)[:, :TOTAL] + base


IMAGES = [
    Case(
        "DeconvWeightGenerator",
        lambda: moved(kh.DeconvWeightGenerator(SPEC, (6, 6), **deconv())),
        vectors,
        deconv_reference,
        plain_model(
            lambda: kh.DeconvWeightGenerator(
                SPEC, (4, 5, 2), **deconv(filters=[8, 8], attention=[0, 1])
            )
        ),
        vectors,
        (
            (
                "too few pixels",
                lambda: kh.DeconvWeightGenerator(SPEC, (5, 5), **deconv()),
                ValueError,
                "25, 6 too few",
            ),
            (
                "num_conditions",
                lambda: kh.DeconvWeightGenerator(SPEC, (6, 6), num_conditions=3, **deconv()),
                TypeError,
                "num_conditions",
            ),
        ),
    ),
    Case(
        "DeconvWeightGenerator without base",
        lambda: kh.DeconvWeightGenerator(SPEC, (6, 6), **deconv(initialization=None)),
        vectors,
        deconv_reference,
        plain_model(
            lambda: kh.DeconvWeightGenerator(
                SPEC, (4, 5, 2), **deconv(filters=[8, 8], attention=[0, 1], initialization=None)
            )
        ),
        vectors,
    ),
    Case(
        "ChunkedDeconvWeightGenerator",
        lambda: moved(kh.ChunkedDeconvWeightGenerator(SPEC, (4, 3), **deconv())),
        vectors,
        chunked_deconv_reference,
        plain_model(
            lambda: kh.ChunkedDeconvWeightGenerator(
                SPEC,
                (4, 3),
                **deconv(filters=[8, 8], attention=[1], batch_normalization=True),
                output_first=True,
            )
        ),
        vectors,
        (
            (
                "too many pixels",
                lambda: kh.ChunkedDeconvWeightGenerator(SPEC, (6, 6), **deconv()),
                ValueError,
                r"number of weights \(31\)",
            ),
            (
                "embedding size 0",
                lambda: kh.ChunkedDeconvWeightGenerator(
                    SPEC, (4, 3), chunk_embedding_size=0, **deconv()
                ),
                ValueError,
                "`chunk_embedding_size`",
            ),
        ),
    ),
]

IMAGES += [
    Case(
        "ChunkedDeconvWeightGenerator without base",
        lambda: kh.ChunkedDeconvWeightGenerator(SPEC, (4, 3), **deconv(initialization=None)),
        vectors,
        chunked_deconv_reference,
        plain_model(
            lambda: kh.ChunkedDeconvWeightGenerator(SPEC, (4, 3), **deconv(initialization=None))
        ),
        vectors,
    ),
]

# Layer by layer.

# {layer: (shapes of its factors, depth, kind)}: two blocks, and a kernel that is alone.
UPDATED = {
    "block_0/query": (((5, 2), (2, 4)), 0, 0),
    "block_0/out": (((4, 2), (2, 4)), 0, 1),
    "block_1/query": (((5, 2), (2, 4)), 1, 0),
    "block_1/out": (((4, 2), (2, 4)), 1, 1),
    "logits": (((3, 2), (2, 2)), 0, 2),
}
UPDATES = kh.WeightSpec(
    [
        {
            "name": f"{layer}/kernel.{factor}",
            "shape": shape,
            "role": "kernel",
            "initializer": {"down": "lecun_normal", "up": "zeros"}[factor],
        }
        for layer, (shapes, *_) in UPDATED.items()
        for factor, shape in zip(("down", "up"), shapes)
    ]
)


def layerwise(**other):
    other = {"hidden_sizes": [6], "embedding_size": 3, **other}
    return kh.LayerwiseWeightGenerator(UPDATES, **other)


def layerwise_reference(values, given, by_factor=False):
    """One layer, or one factor, after the other."""
    given = given if isinstance(given, dict) else {"condition": given}
    *values, base = values
    tables, values = values[: 2 + by_factor], values[2 + by_factor :]
    trunk, heads = values[:2], values[2:]
    # Of a kind: the head of what all factors have, and of what the longer one has beyond it.
    heads_of_kind = [(0, 1), (2,), (3, 4)] if by_factor else [(0,), (1,), (2,)]
    made = []
    for shapes, depth, kind in UPDATED.values():
        sizes = [np.prod(shape) for shape in shapes]
        for factor, size in enumerate(sizes if by_factor else [sum(sizes)]):
            rows = [table[i][None] for table, i in zip(tables, (depth, kind, factor))]
            x = ref.side_by_side(given.get("noise"), *rows, given.get("condition"))
            features = ref.scaled(ref.relu(x @ trunk[0] + trunk[1]))
            whole = [features @ heads[2 * i] + heads[2 * i + 1] for i in heads_of_kind[kind]]
            made.append(np.concatenate(whole, axis=1)[:, :size])
    return np.concatenate(made, axis=1) + base


LAYERWISE = [
    Case(
        "LayerwiseWeightGenerator",
        lambda: moved(layerwise()),
        vectors,
        layerwise_reference,
        plain_model(lambda: layerwise(dropout=0.1, embeddings_regularizer="l2")),
        vectors,
        (
            ("heads", lambda: layerwise(heads="layer"), ValueError, r"`heads` must be one of \("),
            ("no trunk", lambda: layerwise(hidden_sizes=()), ValueError, "`hidden_sizes` must not"),
            (
                "no size",
                lambda: layerwise(hidden_sizes=(4, 0)),
                ValueError,
                r"`hidden_sizes\[1\]` must be a positive",
            ),
            ("no embeddings", lambda: layerwise(embedding_size=0), ValueError, "`embedding_size`"),
            ("dropout", lambda: layerwise(dropout=1.0), ValueError, "`dropout` must be in"),
            ("scale", lambda: layerwise(feature_scale=0), ValueError, "`feature_scale`"),
            ("no tensors", lambda: kh.LayerwiseWeightGenerator({}), ValueError, "`spec`"),
            ("no vector", lambda: layerwise()({"condition_id": IDS}), ValueError, "condition_id"),
        ),
    ),
    Case(
        "LayerwiseWeightGenerator factor",
        lambda: moved(layerwise(heads="factor")),
        vectors,
        lambda values, z: layerwise_reference(values, z, by_factor=True),
        plain_model(lambda: layerwise(heads="factor")),
        vectors,
    ),
    Case(
        "LayerwiseWeightGenerator without base",
        lambda: layerwise(initialization=None),
        one(noise=(2,), condition=(5,)),
        layerwise_reference,
        model(lambda: layerwise(initialization=None, heads="factor"), noise=(2,), condition=(5,)),
        several(noise=(2,), condition=(5,)),
    ),
]

GENERATOR_CASES = [*CHUNKED, *STRUCTURED, *IMAGES, *LAYERWISE]
