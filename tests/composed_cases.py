"""The rows of the table for what holds generators: composed, perturbed, `Hypernetwork`."""

import keras
import numpy as np

import keras_hypernet as kh
from tests import reference as ref
from tests.case import Case
from tests.generator_cases import CONDITIONS, IDS, Z, model, one, options, several

# Composed.

TARGET = {
    "body/kernel": (6, 4),
    "norm/gamma": (4,),
    "static/kernel": (3, 4),
    "out/kernel": (4, 5),
    "out/bias": (2,),
}
ASSEMBLY = {
    "body/kernel": {"join": ["noisy/layer_0/kernel", "nested/inner/kernel"], "axis": 0},
    "norm/gamma": "norm/gamma",
    "static/kernel": "static/layer_0/kernel",
    "out/kernel": {"join": ["nested/own", "wide"], "axis": -1},
    "out/bias": "out/bias",
}


def parts():
    """A part of noise, one of nothing, and a composed one with conditions of its own."""
    inner = kh.WeightGenerator({"inner/kernel": (4, 4)}, **options())
    nested = kh.ComposedWeightGenerator(
        {"inner/kernel": (4, 4), "own": (4, 2)},
        generators={"part": inner},
        conditional={"own": (4, 2)},
        num_conditions=CONDITIONS,
    )
    return {
        "noisy": kh.WeightGenerator([(2, 4)], factored=True, **options(hidden_sizes=())),
        "static": kh.ChunkedWeightGenerator([(3, 4)], 5, 2, output_first=False, **options()),
        "nested": nested,
    }


def composed(**other):
    return kh.ComposedWeightGenerator(
        TARGET,
        **{
            "generators": parts(),
            "shared": {"norm/gamma": (4,), "wide": (4, 3)},
            "conditional": {"out/bias": (2,)},
            "assembly": ASSEMBLY,
            "part_inputs": {"noisy": ["noise"], "static": [], "nested": ["condition"]},
            "initializers": {"out/bias": "random_normal"},
            **other,
        },
    )


def composed_reference(values, given):
    ids, rows = given["condition_id"], len(given["condition_id"])
    noisy, table, static = values[:2], values[2], values[3:7]
    inner, own, shared, biases, base = values[7:11], *values[11:]
    top = ref.mlp(noisy, given["noise"]).reshape(-1, 2, 4)
    below = ref.mlp(inner, given["condition"]).reshape(-1, 4, 4)
    static = ref.chunks(static, table[None]).reshape(1, -1)[:, :12] + base
    gamma, wide = shared[:, :4], shared[:, 4:].reshape(1, 4, 3)
    out = [own[ids].reshape(rows, 4, 2), np.repeat(wide, rows, axis=0)]
    flat = [
        np.concatenate([top, below], axis=1).reshape(rows, -1),
        np.repeat(gamma, rows, axis=0),
        np.repeat(static, rows, axis=0),
        np.concatenate(out, axis=2).reshape(rows, -1),
        biases[ids],
    ]
    return np.concatenate(flat, axis=1)


@keras.saving.register_keras_serializable(package="tests")
def twice(pieces):
    """The same shared tensor in two places."""
    return {"a": pieces["t"], "b": 2 * pieces["t"]}


def only_plain(**other):
    return kh.ComposedWeightGenerator(
        {"a/gamma": (3,), "b/bias": (2,)},
        shared={"a/gamma": (3,)},
        conditional={"b/bias": (2,)},
        num_conditions=CONDITIONS,
        **other,
    )


def of_vectors(**other):
    """Two parts with learned vectors of their own, one with noise, beside one of the condition."""
    perceptrons = {name: kh.WeightGenerator({name: (2, 4)}, **options()) for name in "abc"}
    return kh.ComposedWeightGenerator(
        dict.fromkeys("abc", (2, 4)),
        generators={
            "vectors": kh.Hypernetwork(perceptrons["a"], CONDITIONS, 3),
            "noisy": kh.Hypernetwork(perceptrons["b"], CONDITIONS, 5, noise_size=2),
            "direct": perceptrons["c"],
        },
        **{"part_inputs": {"direct": ["condition"]}, **other},
    )


def of_vectors_reference(values, given):
    one, table, two, noisy, three = values[:4], values[4], values[5:9], values[9], values[10:]
    ids = given["condition_id"]
    parts = [
        ref.mlp(one, table[ids]),
        ref.mlp(two, ref.side_by_side(given["noise"], noisy[ids])),
        ref.mlp(three, given["condition"]),
    ]
    return np.concatenate(parts, axis=1)


SMALL = {"a": (3,), "b": (3,)}

COMPOSED_BAD = (
    ("nothing", lambda: kh.ComposedWeightGenerator(SMALL), ValueError, "There must be"),
    (
        "no generator",
        lambda: composed(generators={"noisy": keras.layers.Dense(3)}),
        TypeError,
        r"generators\['noisy'\]",
    ),
    ("a list", lambda: composed(generators=list(parts().values())), TypeError, "`generators`"),
    (
        "a slash",
        lambda: composed(generators={"a/b": parts()["noisy"]}),
        ValueError,
        "without a slash",
    ),
    (
        "conditions differ",
        lambda: composed(num_conditions=5),
        ValueError,
        "same number of conditions",
    ),
    (
        "conditions missing",
        lambda: kh.ComposedWeightGenerator(SMALL, conditional=SMALL),
        ValueError,
        "`num_conditions` must be given",
    ),
    (
        "conditions for nothing",
        lambda: kh.ComposedWeightGenerator(SMALL, shared=SMALL, num_conditions=3),
        ValueError,
        "of which there are none",
    ),
    (
        "not covered",
        lambda: kh.ComposedWeightGenerator(SMALL, shared={"a": (3,)}),
        ValueError,
        r"Not covered: \['b'\]",
    ),
    (
        "twice the name",
        lambda: only_plain(generators={"a": kh.WeightGenerator({"gamma": (3,)})}),
        ValueError,
        "Received twice: 'a/gamma'",
    ),
    (
        "ambiguous",
        lambda: kh.ComposedWeightGenerator(
            {"gamma": (3,)}, shared={"gamma": (3,), "a/gamma": (3,)}
        ),
        ValueError,
        r"\['gamma', 'a/gamma'\]",
    ),
    ("unknown part", lambda: composed(part_inputs={"no": []}), ValueError, "part_inputs.*only"),
    (
        "unknown input",
        lambda: composed(part_inputs={"noisy": ["condition_id"]}),
        ValueError,
        "part_inputs",
    ),
    ("initializer", lambda: composed(initializers={"no": "ones"}), ValueError, r"\['no'\]"),
    ("no id", lambda: only_plain()({"condition": Z}), ValueError, "needs `condition_id`"),
    (
        "id out of range",
        lambda: only_plain()({"condition_id": np.array([4])}),
        ValueError,
        "condition_id",
    ),
    (
        "noise missing",
        lambda: composed()({"condition": Z, "condition_id": IDS}),
        ValueError,
        "Part 'noisy': This generator needs `noise`",
    ),
    (
        "a tensor that goes nowhere",
        lambda: kh.ComposedWeightGenerator(SMALL, shared={**SMALL, "c": (2,)}),
        ValueError,
        r"does not: \['c'\]",
    ),
    ("inputs a string", lambda: composed(part_inputs={"noisy": "noise"}), TypeError, "a list of"),
    (
        "one generator for two parts",
        lambda: [part := inside(), composed(generators={"a": part, "b": part})],
        ValueError,
        "one for each part",
    ),
    (
        "one generator twice",
        lambda: [part := inside(), kh.Hypernetwork(part, 3), kh.TaskWeights(part, 3)],
        ValueError,
        "belongs to another layer",
    ),
)

COMPOSED = [
    Case(
        "ComposedWeightGenerator",
        composed,
        one(noise=(3,), condition=(5,), condition_id=None),
        composed_reference,
        model(
            lambda: composed(conditional_regularizer="l2", shared_regularizer="l1"),
            noise=(3,),
            condition=(5,),
            condition_id=None,
        ),
        several(noise=(3,), condition=(5,), condition_id=None),
        COMPOSED_BAD,
    ),
    Case(
        "ComposedWeightGenerator of learned vectors",
        of_vectors,
        one(noise=(2,), condition=(5,), condition_id=None),
        of_vectors_reference,
        model(of_vectors, noise=(2,), condition=(5,), condition_id=None),
        several(noise=(2,), condition=(5,), condition_id=None),
    ),
    Case(
        "ComposedWeightGenerator plain",
        only_plain,
        one(condition_id=None),
        lambda values, given: np.concatenate(
            [np.repeat(values[0], len(given["condition_id"]), 0), values[1][given["condition_id"]]],
            axis=1,
        ),
        model(only_plain, condition_id=None),
        several(condition_id=None),
    ),
    Case(
        "ComposedWeightGenerator function",
        lambda: kh.ComposedWeightGenerator(
            SMALL, conditional={"t": (3,)}, num_conditions=CONDITIONS, assembly=twice
        ),
        one(condition_id=None),
        lambda values, given: np.concatenate([values[0], 2 * values[0]], 1)[given["condition_id"]],
        model(
            lambda: kh.ComposedWeightGenerator(
                SMALL, conditional={"t": (3,)}, num_conditions=CONDITIONS, assembly=twice
            ),
            condition_id=None,
        ),
        several(condition_id=None),
    ),
]

# Perturbed.

SHAPES = [(3, 4), (4,)]


def inside(**other):
    return kh.WeightGenerator(SHAPES, **options(**other))


def perturbed(**other):
    return kh.PerturbedWeightGenerator(inside(), **{"noise_size": 6, "sigma": 0.3, **other})


def processed(**other):
    """With layers before and after in place of the first entries and of the noise."""
    return kh.PerturbedWeightGenerator(
        inside(),
        input_layer=keras.layers.Dense(4, activation="tanh", name="before"),
        output_layer=keras.layers.Multiply(),
        **other,
    )


def processed_reference(values, given):
    hidden, bias, head, head_bias, kernel, offset = values
    z = ref.side_by_side(np.tanh(given["noise"] @ kernel + offset), given["condition"])
    return ref.mlp([hidden, bias, head, head_bias], z) * given["noise"]


def owned():
    generator = inside()
    kh.PerturbedWeightGenerator(generator)
    return generator


PERTURBED_BAD = (
    ("no generator", lambda: kh.PerturbedWeightGenerator(3), TypeError, "`generator`"),
    ("noise_size", lambda: perturbed(noise_size=17), ValueError, r"number of weights \(16\)"),
    ("noise_size -1", lambda: perturbed(noise_size=-1), ValueError, "`noise_size`"),
    ("sigma", lambda: perturbed(sigma=-0.1), ValueError, "`sigma`"),
    ("when", lambda: perturbed(when="never"), ValueError, "`when`"),
    ("both", lambda: processed(noise_size=3), ValueError, "`noise_size` or `input_layer`"),
    ("a callback", lambda: perturbed(output_layer=lambda x: x), TypeError, "`output_layer`"),
    ("nothing", lambda: perturbed()({}), ValueError, "There must be an input"),
    ("two owners", lambda: kh.Hypernetwork(owned(), 3), ValueError, "belongs to another layer"),
    (
        "noise width",
        lambda: perturbed()({"noise": np.ones((2, 6), "float32")}),
        ValueError,
        "`noise` must be as wide as the weights.*, 16.*`output_layer`",
    ),
    ("integers", lambda: perturbed()({"noise": np.ones((2, 16), "int32")}), TypeError, "floating"),
)

PERTURBED = [
    Case(
        "PerturbedWeightGenerator",
        perturbed,
        one(noise=(16,), condition=(1, 1, 5)),
        lambda values, given: (
            ref.mlp(values, ref.side_by_side(given["noise"][:, :6], given["condition"]))
            + 0.3 * given["noise"]
        ),
        model(perturbed, noise=(16,), condition=(5,)),
        several(noise=(16,), condition=(5,)),
        PERTURBED_BAD,
    ),
    Case(
        "PerturbedWeightGenerator without noise input",
        lambda: kh.PerturbedWeightGenerator(inside(), when="training"),
        one(condition=(5,)),
        lambda values, given: ref.mlp(values, given["condition"]),
        model(
            lambda: kh.PerturbedWeightGenerator(inside(), when="training", seed=1), condition=(5,)
        ),
        several(condition=(5,)),
    ),
    Case(
        "PerturbedWeightGenerator layers",
        processed,
        one(noise=(16,), condition=(5,)),
        processed_reference,
        model(processed, noise=(16,), condition=(5,)),
        several(noise=(16,), condition=(5,)),
    ),
]

# Hypernetwork.


def hypernetwork(generator=inside, **other):
    return kh.Hypernetwork(
        generator(), **{"num_conditions": CONDITIONS, "embedding_size": 5, **other}
    )


def hypernetwork_reference(values, given):
    *generator, table = values
    z = ref.side_by_side(given.get("noise"), table[given["condition_id"]])
    return ref.mlp(generator, z)


HYPERNETWORK_BAD = (
    ("no generator", lambda: kh.Hypernetwork(3), TypeError, "`generator`"),
    ("nested", lambda: kh.Hypernetwork(hypernetwork()), TypeError, "Hypernetwork"),
    ("no conditions", lambda: hypernetwork(num_conditions=0), ValueError, "`num_conditions`"),
    (
        "other conditions",
        lambda: hypernetwork(only_plain, num_conditions=3),
        ValueError,
        r"that of the generator \(4\)",
    ),
    ("embedding size 0", lambda: hypernetwork(embedding_size=0), ValueError, "`embedding_size`"),
    ("noise size", lambda: hypernetwork(noise_size=-1), ValueError, "`noise_size`"),
    ("id out of range", lambda: hypernetwork()(np.array([0, 4])), ValueError, r"0 \.\.\. 3"),
    (
        "id and vector",
        lambda: hypernetwork()({"condition": Z, "condition_id": IDS}),
        ValueError,
        "Either `condition_id` or `condition`",
    ),
    ("nothing", lambda: hypernetwork()({}), ValueError, "There must be an input"),
    (
        "only noise",
        lambda: hypernetwork(noise_size=5)({"noise": Z}),
        ValueError,
        "`condition_id` or `condition` is missing",
    ),
    ("float ids", lambda: hypernetwork()(keras.Input(())), TypeError, "integer dtype"),
    ("a list", lambda: hypernetwork()([0.5, 1]), TypeError, "must be a tensor"),
    (
        "noise missing",
        lambda: hypernetwork(noise_size=2)(IDS),
        ValueError,
        "`noise` of width 2 is missing",
    ),
    (
        "noise width",
        lambda: hypernetwork(noise_size=2)({"condition_id": IDS, "noise": Z}),
        ValueError,
        "`noise` must have 2 entries",
    ),
    (
        "noise not wanted",
        lambda: hypernetwork()({"condition_id": IDS, "noise": Z}),
        ValueError,
        r"\['noise'\]",
    ),
    (
        "vector width",
        lambda: hypernetwork()(Z[:, :4]),
        ValueError,
        "`condition` must have 5 entries",
    ),
    (
        "ids without conditions",
        lambda: kh.Hypernetwork(inside())(IDS),
        ValueError,
        r"its `num_conditions`.*\['condition_id'\]",
    ),
)

HYPERNETWORK = [
    Case(
        "Hypernetwork",
        hypernetwork,
        one(condition_id=None),
        hypernetwork_reference,
        model(lambda: hypernetwork(embeddings_regularizer="l2"), condition_id=None),
        several(condition_id=None),
        HYPERNETWORK_BAD,
    ),
    Case(
        "Hypernetwork noise",
        lambda: hypernetwork(noise_size=2),
        one(noise=(2,), condition_id=None),
        hypernetwork_reference,
        model(lambda: hypernetwork(noise_size=2), noise=(2,), condition_id=None),
        several(noise=(2,), condition_id=None),
    ),
    Case(
        "Hypernetwork vector",
        lambda: kh.Hypernetwork(inside()),
        one(condition=(5,)),
        lambda values, given: ref.mlp(values, given["condition"]),
        model(lambda: kh.Hypernetwork(inside(), noise_size=1), noise=(1,), condition=(5,)),
        several(noise=(1,), condition=(5,)),
    ),
]

COMPOSED_CASES = [*COMPOSED, *PERTURBED, *HYPERNETWORK]
