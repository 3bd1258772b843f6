import doctest
import inspect

import keras
import numpy as np
import pytest

import keras_hypernet as kh

PUBLIC = [
    "ApplyGeneratedWeights",
    "ConditionEmbedding",
    "GroupedDataset",
    "HyperDense",
    "TaskWeights",
    "WeightGenerator",
    "WeightSpec",
    "apply_generated_weights",
    "build",
    "build_weight_generator",
    "describe",
    "pack_weights",
    "split_weights",
    "target_weights",
]


def test_public_names_are_these_forever():
    assert kh.__all__ == PUBLIC
    for name in PUBLIC:
        assert inspect.getmodule(getattr(kh, name)).__name__.startswith("keras_hypernet.")
    assert kh.__version__.count(".") == 2


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_is_documented(name):
    public = getattr(kh, name)
    doc, parameters = inspect.getdoc(public), inspect.signature(public).parameters
    assert doc.splitlines()[0].endswith(".")
    assert "Raises:" in doc
    for parameter in parameters.values():
        assert (
            f"{parameter.name}: " in doc
            or f"{parameter.name}, " in doc
            or (f", {parameter.name}" in doc)
        ), parameter.name
    if isinstance(public, type) and issubclass(public, keras.layers.Layer):
        assert "Call arguments:" in doc
        assert "Returns:" in doc
        assert "http" in doc


@pytest.mark.parametrize("name", PUBLIC)
def test_examples_in_docstrings_run(name):
    names = {"kh": kh, "np": np, "keras": keras}
    tests = doctest.DocTestFinder(recurse=False).find(getattr(kh, name), name, globs=names)
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(tests[0])
    assert result.attempted > 0
    assert result.failed == 0
