import doctest
import inspect
import operator

import keras
import numpy as np
import pytest

import keras_hypernet as kh

PUBLIC = [
    "AccuracyMatrix",
    "ApplyGeneratedWeights",
    "BiasHyperInit",
    "ChunkPlan",
    "ChunkedDeconvWeightGenerator",
    "ChunkedWeightGenerator",
    "ComposedWeightGenerator",
    "ConditionEmbedding",
    "ContinualCheckpoint",
    "ContinualModel",
    "DeconvWeightGenerator",
    "DiagnosisCallback",
    "FourierFeatures",
    "GroupedDataset",
    "Hyper",
    "HyperFanHarmonic",
    "HyperFanIn",
    "HyperFanOut",
    "HyperModel",
    "Hypernetwork",
    "LayerwiseWeightGenerator",
    "PerturbedWeightGenerator",
    "Rule",
    "RunningScale",
    "StructuredWeightGenerator",
    "TaskWeights",
    "UnitNormEncoding",
    "UnknownIds",
    "WeightGenerator",
    "WeightSpec",
    "apply_generated_weights",
    "build",
    "build_weight_generator",
    "condition_variables",
    "convert_weights",
    "describe",
    "diagnose",
    "head_masks",
    "hypernetize",
    "initialize",
    "initialize_embeddings",
    "load_condition",
    "load_generator",
    "output_regularizer",
    "pack_weights",
    "perturb_unconditional",
    "plan_chunks",
    "plot",
    "register_rule",
    "resnet_chunking",
    "save_generator",
    "save_lora",
    "sine",
    "specialize",
    "split_weights",
    "tabulate",
    "target_weights",
    "targets",
    "wide_resnet_chunking",
    "with_conditions",
]
MODULES = ["plot", "targets"]
IN_OTHERS = [
    "ChunkPlan.parameters",
    "ChunkPlan.table",
    "plot.conditions",
    "plot.filters",
    "plot.interpolation",
    "plot.overview",
    "plot.sensitivity",
    "plot.signals",
    "plot.weights",
    "targets.resnet",
    "targets.wide_resnet",
]
DOCUMENTED = [*(name for name in PUBLIC if name not in MODULES), *IN_OTHERS]


def public(name):
    return operator.attrgetter(name)(kh)


def test_public_names_are_these_forever():
    assert kh.__all__ == PUBLIC
    for name in DOCUMENTED:
        assert inspect.getmodule(public(name)).__name__.startswith("keras_hypernet.")
    assert kh.__version__.count(".") == 2


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_name_is_documented(name):
    found = public(name)
    doc, parameters = inspect.getdoc(found), inspect.signature(found).parameters
    assert doc.splitlines()[0].endswith(".")
    assert "Raises:" in doc
    words = " ".join(doc.split())  # lines may break anywhere
    for parameter in parameters.values():
        assert (
            parameter.name == "self"
            or f"{parameter.name}: " in words
            or f"{parameter.name}, " in words
            or (f", {parameter.name}" in words)
        ), parameter.name
    if isinstance(found, type) and issubclass(found, keras.layers.Layer):
        assert "Call arguments:" in doc
        assert "Returns:" in doc
        assert "http" in doc


def signatures(name):
    """The functions that a user of a public name calls: what its own class says of itself."""
    found = public(name)
    if not isinstance(found, type):
        return [found]
    functions = [found.__init__] if "__init__" in vars(found) else []
    for member_name, member in vars(found).items():
        member = getattr(member, "__func__", getattr(member, "fget", member))
        if inspect.isfunction(member) and member_name in ("call", "get_config", "from_config"):
            functions.append(member)
    return functions


@pytest.mark.parametrize("name", DOCUMENTED)
def test_signatures_are_annotated(name):
    for function in signatures(name):
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty, function
        for parameter in signature.parameters.values():
            known = parameter.annotation is not inspect.Parameter.empty
            assert known or parameter.name in ("self", "cls"), (function, parameter.name)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="compiles each line; runs on others")
@pytest.mark.parametrize("name", DOCUMENTED)
def test_examples_in_docstrings_run(name):
    names = {"kh": kh, "np": np, "keras": keras}
    tests = doctest.DocTestFinder(recurse=False).find(public(name), name, globs=names)
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(tests[0])
    assert result.attempted > 0
    assert result.failed == 0
