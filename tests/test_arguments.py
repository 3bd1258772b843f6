"""Arguments of all public names: each has an effect, and a wrong type is refused by name."""

import inspect
import itertools
import re

import keras
import numpy as np
import pytest

import keras_hypernet as kh
from tests.argument_cases import (
    BASE,
    NAMES,
    OTHER,
    START,
    Row,
    chunked,
    continual,
    generator,
    hyper,
    model,
    parameters,
    plan,
    public,
    result,
    tasks_by_id,
    text_of,
    with_plain,
)


def made(values):
    """Arguments with those made that are functions."""
    return {n: v() if inspect.isfunction(v) else v for n, v in values.items()}


def as_row(name, argument, parameter):
    """The row of an argument: from the tables, or from its default."""
    for key in ((name, argument), argument):
        if key in OTHER:
            value = OTHER[key]
            return value if isinstance(value, Row) else Row(value)
    default = BASE[name]().get(argument, parameter.default)
    if isinstance(default, bool):
        return Row(not default)
    if isinstance(default, float):
        return Row(default / 2 or 0.25)
    if argument.endswith("_initializer"):
        return Row("zeros" if default == "ones" else "ones")
    if argument.endswith("_regularizer"):
        return Row("l2")
    return None


def label(parameter):
    stars = {parameter.VAR_KEYWORD: "**", parameter.VAR_POSITIONAL: "*"}
    return stars.get(parameter.kind, "") + parameter.name


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_has_an_effect(name):
    before = result(name, BASE[name]())
    assert result(name, BASE[name]()) == before  # else every value would seem to change it
    for parameter in parameters(name).values():
        argument = label(parameter)
        row = as_row(name, argument, parameter)
        assert row is not None, f"{argument} of {name} needs another value in OTHER"
        base = {**BASE[name](), **made(row.both)}
        other = {**BASE[name](), **made(row.both), **made(row.other)}
        value = made({argument: row.value})
        other |= value[argument] if argument.startswith("**") else value
        expected = result(name, base) if row.both else before
        try:
            found = result(name, other)
        except (TypeError, ValueError) as error:
            found = re.search(rf"\b{argument}\b", str(error)) and "refused by name"
        assert found not in (expected, None), f"{argument} of {name} changes nothing"


# Arguments of wrong types.

WRONG = {
    "boolean": ["yes", 1, 0, 0.0, [True], np.ones(1)],
    "seed": ["x", 1.5, -1, True, [1], 2**31, float("nan")],
    "number": ["1", True, float("nan"), float("inf"), [1.0], 1j],
    "size": [-1, 1.5, "3", True, {}, float("nan")],
    "name": ["", 5, True, b"x", ["a"]],
    "0 or 1": ["yes", 2, -1, 1.0, None],
}
GOOD = {
    "boolean": [np.True_],
    "seed": [np.int64(3), np.uint8(3), None],
    "number": [np.float32(0.25), np.float64(0.25)],
    "size": [],
    "name": [],
    "0 or 1": [True],
}
KINDS = {
    "boolean": {"hold_conditions", "training", "flash_attention", "running_scale"},
    "number": {"alpha", "beta", "feature_scale", "mean", "stddev", "sigma"},
    "name": {"metric", "name"},
    "size": {
        "chunk_size",
        "condition",
        "conditioning_size",
        "conditions_per_batch",
        "embedding_size",
        "every",
        "input_dim",
        "input_size",
        "key_dim",
        "num_conditions",
        "num_frequencies",
        "num_heads",
        "num_tasks",
        "output_dim",
        "rank",
        "size",
        "target_in",
        "target_out",
        "tasks_per_call",
        "tasks_per_step",
        "units",
    },
}
# Models, arrays, choices, dicts... have tests where they are used.
OTHERS = {
    *("activation", "activity_regularizer", "assembly", "attention", "attention_axes", "axis"),
    *("bias_axes", "budget", "changes", "chunk_embeddings", "conditional", "conditioning"),
    *("conditions", "contraction", "data", "data_format", "data_input", "distribution", "dtype"),
    *("equation", "evaluate", "filepath", "filters", "form", "freeze", "frozen", "function"),
    *(
        "generate",
        "generator",
        "generator_options",
        "generators",
        "heads",
        "hidden_activation",
        "hidden_sizes",
    ),
    *("hypernetwork", "ids", "image_shape", "importance", "initialization", "initializer"),
    *("inputs", "outputs", "group_sizes", "condition_ids"),
    *("initializers", "input_layer", "input_shape", "kernel_size"),
    *(
        "kinds",
        "kwargs",
        "layer",
        "layer_class",
        "layers",
        "mask",
        "mode",
        "model",
        "normalization",
    ),
    *("options", "output_layer", "output_padding", "output_shape", "padding"),
    *("part_inputs", "path", "perturbation", "plan", "renorm_clipping", "sample_weight", "scheme"),
    *("rule", "select", "self", "shared_axes", "sliding_window", "spec", "start", "target"),
    *("target_layer_sizes", "target_variances", "targets", "task_coefficients", "tensors"),
    *("unknown", "value_dim", "weights", "backbone", "stop_on"),
    *("weight_generators", "when", "which", "y", "head_kernel_means", "head_kernel_variances"),
    *("head_bias_means", "head_bias_variances", "low", "high"),
    *("diagnosis", "first", "names", "second"),
}
# The same name for something else.
EXCEPTIONS = {
    ("AccuracyMatrix", "verbose"): "0 or 1",
    ("DiagnosisCallback", "verbose"): "0 or 1",
    ("diagnose", "verbose"): "0 or 1",
    ("ComposedWeightGenerator", "shared"): None,
    ("GroupedDataset", "seed"): "size",
    ("plan_chunks", "verbose"): "boolean",
    ("wide_resnet_chunking", "normalization"): "boolean",
}


def kind_of(name, parameter):
    argument, default = parameter.name, parameter.default
    if (name, argument) in EXCEPTIONS:
        return EXCEPTIONS[name, argument]
    for kind, arguments in {**KINDS, "seed": {"seed"}}.items():
        if argument in arguments:
            return kind
    if argument in OTHERS or argument.endswith(("_initializer", "_regularizer")):
        return None
    for kind, of in (("boolean", bool), ("number", float), ("size", int)):
        if isinstance(default, of):
            return kind
    raise AssertionError(f"{argument} of {name} must be in one of the tables of kinds")


def checked_arguments():
    for name in NAMES:
        for parameter in parameters(name).values():
            if kind_of(name, parameter):
                yield name, parameter.name, kind_of(name, parameter)


BY_NAME = {
    name: [pair[1:] for pair in pairs]
    for name, pairs in itertools.groupby(checked_arguments(), key=lambda found: found[0])
}


@pytest.mark.parametrize("name", BY_NAME)
def test_wrong_types_are_refused_by_name(name):
    taken = []
    for argument, kind in BY_NAME[name]:
        row = OTHER.get((name, argument), OTHER.get(argument))
        needed = {**row.both, **row.other} if isinstance(row, Row) else {}
        for value in WRONG[kind]:
            arguments = {**BASE[name](), **made(needed), argument: value}
            try:
                public(name)(**arguments)
            except (TypeError, ValueError) as error:
                if f"`{argument}`" not in str(error):
                    taken.append((argument, value, str(error)[:80]))
            else:
                taken.append((argument, value, "taken"))
    assert not taken


@pytest.mark.parametrize("name", BY_NAME)
def test_types_of_numpy_are_taken(name):
    for argument, kind in BY_NAME[name]:
        row = OTHER.get((name, argument), OTHER.get(argument))
        needed = {**row.both, **row.other} if isinstance(row, Row) else {}
        for value in GOOD[kind]:
            if parameters(name)[argument].default is not False or kind != "boolean":
                public(name)(**{**BASE[name](), **made(needed), argument: value})


# What tables of arguments do not say.


def tensors(**fields):
    return kh.WeightSpec([{"name": "a/kernel", "shape": (2, 3), **fields}])


def chunk_plan(kind="half", **entry):
    kinds = {kind: {**ENTRY, **entry}}
    return kh.ChunkPlan({"a/kernel": (3, 4)}, kinds, {"a/kernel": {"join": JOINED}})


def structured(**options):
    return kh.StructuredWeightGenerator(plan(), **options)


def composed(**options):
    return kh.ComposedWeightGenerator(**with_plain(**options))


def without_plain(**options):
    part = kh.WeightGenerator({"a/kernel": (3, 4)}, hidden_sizes=[2])
    return kh.ComposedWeightGenerator({"a/kernel": (3, 4)}, {"part": part}, **options)


def hypernetized(**options):
    return kh.hypernetize(model(), conditioning_size=2, **options)


def drawn(**options):
    return kh.initialize_embeddings(hyper(), **options)


ENTRY = {"shapes": {"kernel": (3, 2)}, "number": 2, "embedding_size": 2}
JOINED = ["half/0/kernel", "half/1/kernel"]
INITIALIZERS = {"kernel": "ones"}

UNKNOWN_KEYS = {
    "a tensor": (lambda: tensors(rol="bias"), "tensors", "role"),
    "a tensor's fan": (lambda: tensors(fanin=3), "tensors", "fan_in"),
    "a spec's config": (
        lambda: kh.WeightSpec.from_config({"tensors": [], "tensor": 1}),
        "config",
        "tensors",
    ),
    "a kind of a plan": (lambda: chunk_plan(numbers=3), "kinds['half']", "number"),
    "a plan": (lambda: structured_of({"kind": {}}), "plan", "kinds"),
    "sizes": (lambda: plan().with_embedding_sizes({"halve": 3}), "sizes", "half"),
    "a join": (
        lambda: kh.ChunkPlan(
            {"a/kernel": (3, 4)}, {"half": ENTRY}, {"a/kernel": {"join": JOINED, "axes": 1}}
        ),
        "assembly['a/kernel']",
        "axis",
    ),
    "kinds": (lambda: structured(kinds={"halves": {}}), "kinds", "half"),
    "a kind's arguments": (
        lambda: structured(kinds={"half": {"hiden_sizes": [2]}}),
        "kinds['half']",
        "hidden_sizes",
    ),
    "part_inputs": (lambda: composed(part_inputs={"parts": []}), "part_inputs", "part"),
    "a perceptron's": (
        lambda: kh.ChunkedWeightGenerator([(3, 4)], 5, hiden_sizes=[2]),
        "hiden_sizes",
        "hidden_sizes",
    ),
    "GroupedDataset": (
        lambda: kh.GroupedDataset(np.ones(2), np.ones(2), None, 1, worker=1),
        "kwargs",
        "workers",
    ),
    "AccuracyMatrix": (lambda: kh.AccuracyMatrix({"a": 1}, batchsize=3), "evaluate", "batch_size"),
    "plain tensors": (
        lambda: composed(initializers={"bais": "ones"}),
        "initializers",
        "bias",
    ),
    "roles": (
        lambda: kh.WeightGenerator([(3, 4)], initialization=kh.BiasHyperInit({"kernels": "ones"}))(
            np.ones((1, 2), "float32")
        ),
        "initializers",
        "kernel",
    ),
}


def structured_of(more):
    return kh.StructuredWeightGenerator({**plan().get_config(), **more})


@pytest.mark.parametrize("name", UNKNOWN_KEYS)
def test_unknown_keys_are_refused_with_the_nearest_known_one(name):
    call, argument, nearest = UNKNOWN_KEYS[name]
    with pytest.raises(ValueError, match=re.escape(f"`{argument}`")) as error:
        call()
    assert f"The nearest is {nearest!r}." in str(error.value)


# What has no meaning beside something else, with both names.
MEANINGLESS = {
    "hypernetize": (
        lambda: hypernetized(generator=kh.WeightGenerator, hidden_sizes=[999]),
        ("hidden_sizes", "generator"),
    ),
    "rank": (lambda: hypernetized(mode="delta", rank=2), ("rank", "mode")),
    "freeze": (lambda: hypernetized(freeze="base"), ("freeze", "mode")),
    "shared_regularizer": (
        lambda: without_plain(shared_regularizer="l2"),
        ("shared_regularizer", "shared"),
    ),
    "conditional_regularizer": (
        lambda: without_plain(conditional_regularizer="l2"),
        ("conditional_regularizer", "conditional"),
    ),
    "initializers": (
        lambda: without_plain(initializers=INITIALIZERS),
        ("initializers", "shared", "conditional"),
    ),
    "vectors": (
        lambda: kh.Hypernetwork(generator(), embeddings_initializer="ones"),
        ("embeddings_initializer", "num_conditions"),
    ),
    "their size": (
        lambda: kh.Hypernetwork(generator(), embedding_size=3),
        ("embedding_size", "num_conditions"),
    ),
    "no vectors": (
        lambda: kh.Hypernetwork(
            chunked("conditional", 3), embedding_size=0, embeddings_regularizer="l2"
        ),
        ("embeddings_regularizer", "embedding_size"),
    ),
    "sigma": (
        lambda: kh.PerturbedWeightGenerator(
            generator(), sigma=0.1, output_layer=keras.layers.Add()
        ),
        ("sigma", "output_layer"),
    ),
    "given embeddings": (
        lambda: kh.ChunkedWeightGenerator(
            [(3, 4)], 5, chunk_embeddings="given", chunk_embeddings_initializer="ones"
        ),
        ("chunk_embeddings_initializer", "chunk_embeddings"),
    ),
    "a perceptron": (
        lambda: kh.ChunkedWeightGenerator(
            [(3, 4)], 5, hidden_sizes=[2], generator=kh.WeightGenerator
        ),
        ("hidden_sizes", "generator"),
    ),
    "noise": (
        lambda: kh.Hypernetwork(generator(), 3, noise_size=2, once_per_condition=True),
        ("once_per_condition", "noise_size"),
    ),
    "their regularizer": (
        lambda: structured(chunk_embeddings="given", chunk_embeddings_regularizer="l2"),
        ("chunk_embeddings_regularizer", "chunk_embeddings"),
    ),
    "stddev": (lambda: drawn(stddev=0.5, initializer="ones"), ("stddev", "initializer")),
    "mean": (lambda: drawn(mean=1.0, function=lambda i: np.ones(2)), ("mean", "function")),
    "seed": (lambda: drawn(seed=1, initializer="ones"), ("seed", "initializer")),
    "dropout": (
        lambda: kh.WeightGenerator([(3, 4)], hidden_sizes=(), dropout=0.1),
        ("dropout", "hidden_sizes"),
    ),
    "normalization": (
        lambda: kh.WeightGenerator([(3, 4)], hidden_sizes=(), spectral_normalization=True),
        ("spectral_normalization", "hidden_sizes"),
    ),
    "a kind's factored": (
        lambda: structured(kinds={"half": {"factored": True}}),
        ("kinds['half']", "factored"),
    ),
    "heads of chunks": (
        lambda: kh.initialize(
            chunked(initialization=None), kh.HyperFanIn(head_kernel_variances={"kernel": 1})
        ),
        ("head_kernel_variances", "target_variances"),
    ),
    "chunks of heads": (
        lambda: kh.initialize(hyper(), kh.HyperFanIn(target_variances={"kernel": 1})),
        ("target_variances", "head_kernel_variances"),
    ),
    "vectors of ids": (
        lambda: kh.ContinualModel(tasks_by_id(), 2, embeddings_initializer="ones"),
        ("embeddings_initializer", "model"),
    ),
    "inner axes": (
        lambda: kh.build(2, (5, 3), [(3, 4)], data_input=keras.Input((4, 3))),
        ("input_size", "data_input"),
    ),
    "a batch as an axis": (
        lambda: kh.build(2, (None, 3), [(3, 4)], data_input=keras.Input((3,))),
        ("input_size", "data_input"),
    ),
    "another dtype": (lambda: kh.Hyper(model(), dtype="float16"), ("dtype",)),
    "no fans": (lambda: tensors(layout="other"), ("fan_in", "layout")),
    "a fan": (lambda: tensors(fan_in=3), ("fan_in", "fan_out")),
}


@pytest.mark.parametrize("name", MEANINGLESS)
def test_what_has_no_meaning_beside_something_else_is_refused(name):
    call, arguments = MEANINGLESS[name]
    with pytest.raises(ValueError, match="Received") as error:
        call()
    assert all(argument in str(error.value) for argument in arguments)


def test_a_file_of_an_accepted_call_is_accepted():
    """What was left out is in the config as what it became, and taken back."""
    made = [
        kh.Hypernetwork(generator(), noise_size=2),
        kh.Hypernetwork(chunked("conditional", 3), embedding_size=0),
        kh.PerturbedWeightGenerator(generator(), output_layer=keras.layers.Add()),
        kh.ChunkedWeightGenerator([(3, 4)], 5, chunk_embeddings="given"),
        structured(chunk_embeddings="given"),
        structured(kinds={"half": {"hidden_sizes": []}}),
        without_plain(),
    ]
    for layer in made:
        assert text_of(type(layer).from_config(layer.get_config()).get_config()) == text_of(
            layer.get_config()
        )


WRONG_INSIDE = {
    "a name of a tensor": lambda x: tensors(name=x),
    "a name of a kind": lambda x: chunk_plan(kind=x),
    "a name of a part": lambda x: kh.ComposedWeightGenerator([(3, 4)], {x: generator()}),
    "a name of a task's data": lambda x: kh.AccuracyMatrix({x: 1}),
    "a name of an initializer": lambda x: kh.BiasHyperInit({x: "ones"}),
    "a name of a number": lambda x: kh.HyperFanIn(target_variances={x: 1.0}),
    "a task": lambda x: continual().begin_task(x),
    "a task to go on with": lambda x: continual().continue_task(x),
    "a task of a run": lambda x: list(kh.ContinualCheckpoint("a.keras").tasks(continual(), [x])),
}


@pytest.mark.parametrize("name", WRONG_INSIDE)
@pytest.mark.parametrize("value", ["", 3, None, ("a",)])
def test_names_are_strings_that_are_not_empty(name, value):
    with pytest.raises((TypeError, ValueError), match="string"):
        WRONG_INSIDE[name](value)


@pytest.mark.parametrize("value", ["x", True, float("nan"), float("inf"), None, [1.0]])
def test_numbers_in_dicts_are_finite(value):
    for argument in (*START, "target_variances"):
        with pytest.raises((TypeError, ValueError), match=re.escape(f"`{argument}['kernel']`")):
            kh.HyperFanIn(**{argument: {"kernel": value}})
    with pytest.raises((TypeError, ValueError), match="`fan_in`"):
        tensors(fan_in=value, fan_out=3)


def test_switches_of_calls_are_checked():
    z = np.ones((1, 2), "float32")
    with pytest.raises(TypeError, match="`factored`"):
        generator()(z, factored="no")
    with pytest.raises(TypeError, match="`from_logits`"):
        continual().infer_task(z, from_logits="no")
    for options in ({"infer_task": True, "from_logits": "no"}, {"from_logits": "no"}):
        with pytest.raises(TypeError, match="`from_logits`"):
            continual().predict(z, **options)
    with pytest.raises(TypeError, match="`infer_task`"):
        continual().predict(z, infer_task="no")
    with pytest.raises(TypeError, match="`axis`"):
        kh.ChunkPlan(
            {"a/kernel": (3, 4)}, {"half": ENTRY}, {"a/kernel": {"join": JOINED, "axis": 1.0}}
        )


def test_the_last_seed_is_followed_by_others():
    layer = kh.WeightGenerator([(3, 4)], hidden_sizes=[2, 2], dropout=0.1, seed=2**31 - 1)
    assert [hidden.dropout.seed for hidden in layer.trunk] == [2**31 - 1, 0]
    kh.initialize(hyper(), kh.HyperFanIn(seed=2**31 - 1))


def test_a_seed_generator_is_a_seed_where_keras_draws():
    seed = keras.random.SeedGenerator(3)
    arguments = {**BASE["output_regularizer"](), "seed": seed, "tasks_per_step": 1}
    assert np.isfinite(keras.ops.convert_to_numpy(kh.output_regularizer(**arguments)))
