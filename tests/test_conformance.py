"""Every hyper layer is its Keras layer with each row's weights, in all forms of weights."""

import json

import keras
import numpy as np
import pytest
from keras import ops, tree

from tests.backend import BACKEND, numpy_of
from tests.conformance import (
    Trial,
    assert_close,
    assert_fits,
    compiled_dynamic,
    config_of,
    evaluate,
    floats,
    with_gradients,
)
from tests.conformance_core import ROWS as CORE

try:
    from tests.conformance_conv import ROWS as CONV
except ImportError:
    CONV = []

pytestmark = pytest.mark.filterwarnings("ignore:You passed `rms_scaling=True`")

every_row = pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=row.id, marks=[pytest.mark.slow] if row.slow else [])
        for row in [*CORE, *CONV]
    ],
)


@every_row
@pytest.mark.parametrize("rows", [4, 2])
def test_values_and_gradients(row, rows, rng):
    trial = Trial(row, rows, rng)
    layer, outputs = trial.layer()
    expected, of_loop = with_gradients(trial.loop, trial.inputs, trial.weights)
    found, gradients = with_gradients(trial.of(layer), trial.inputs, trial.weights)
    assert_close(found, expected, 1e-5)
    assert_close(gradients, of_loop, 1e-4)
    tree.map_structure(assert_fits, outputs, found[0])
    spec = layer.spec(*(x.shape for x in trial.inputs))
    assert [tensor.shape for tensor in spec] == trial.shapes


@every_row
@pytest.mark.parametrize("shared", [True, False])
def test_one_row(row, shared, rng):
    trial = Trial(row, 1, rng)
    layer, _ = trial.layer(shared=shared)
    expected = evaluate(trial.loop, trial.inputs, trial.weights)
    found = evaluate(trial.of(layer), trial.inputs, trial.weights)
    assert_close(found, expected, 1e-5)


@every_row
def test_forms_of_weights_and_a_copy_from_the_config(row, rng):
    trial = Trial(row, 2, rng)
    layer, _ = trial.layer()
    copy = type(layer).from_config(json.loads(config_of(layer)))
    assert config_of(copy) == config_of(layer)
    trial.built(copy)
    forms = (trial.named, trial.factored, trial.updated)
    weights, meant = zip(*(form(copy, rng) for form in forms))

    def on_each(function):
        return lambda inputs, several: [function(inputs, one) for one in several]

    expected = evaluate(on_each(trial.loop), trial.inputs, list(meant))
    found = evaluate(on_each(trial.of(copy)), trial.inputs, list(weights))
    assert_close(found, expected, 2e-5)


@every_row
@pytest.mark.skipif(BACKEND != "tensorflow", reason="everything above is compiled on JAX")
def test_compiled_with_unknown_rows(row, rng):
    trial = Trial(row, 2, rng)
    layer, _ = trial.layer()
    found = compiled_dynamic(trial.of(layer), trial.inputs, trial.weights)
    assert_close(found, evaluate(trial.loop, trial.inputs, trial.weights), 2e-5)


@every_row
def test_arguments_for_variables_are_refused(row):
    config = row.hyper.twin(**row.arguments).get_config()
    for name in config:
        initial = name.endswith("_initializer") and not name.startswith("moving_")
        if initial or name.endswith("_constraint"):
            value = "zeros" if initial else "non_neg"
            with pytest.raises(TypeError, match=name):
                row.hyper(**row.arguments, **{name: value})
