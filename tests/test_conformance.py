"""Every hyper layer is its Keras layer with each row's weights, in all forms of weights."""

import json

import pytest
from keras import tree

from tests.backend import BACKEND
from tests.conformance import (
    Run,
    Trial,
    assert_close,
    assert_fits,
    compiled_dynamic,
    config_of,
    draw_seeds,
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
    seeds = draw_seeds(rng)
    expected, of_reference = trial.reference(trial.weights, seeds)
    found, gradients = Run(trial.of(layer))(trial.inputs, trial.weights, trial.arrays, seeds)
    assert_close(found, expected, 1e-5)
    assert_close(gradients, of_reference, 1e-4)
    tree.map_structure(assert_fits, outputs, found[0])
    spec = layer.spec(*(x.shape for x in trial.inputs))
    assert [tensor.shape for tensor in spec] == trial.shapes


@every_row
def test_one_row(row, rng):
    trial = Trial(row, 1, rng)
    expected, _ = trial.reference(trial.weights)
    for shared in (True, False):
        layer, _ = trial.layer(shared=shared)
        found, _ = Run(trial.of(layer))(trial.inputs, trial.weights, trial.arrays)
        assert_close(found, expected, 1e-5)


@every_row
def test_forms_of_weights_and_a_copy_from_the_config(row, rng):
    trial = Trial(row, 2, rng)
    layer, _ = trial.layer()
    copy = type(layer).from_config(json.loads(config_of(layer)))
    assert config_of(copy) == config_of(layer)
    trial.built(copy)
    run = Run(trial.of(copy))
    for form in (trial.named, trial.factored, trial.updated):
        weights, meant = form(copy, rng)
        expected, _ = trial.reference(meant)
        found, _ = run(trial.inputs, weights, trial.arrays)
        assert_close(found, expected, 1e-5)


@every_row
@pytest.mark.skipif(BACKEND != "tensorflow", reason="everything above is compiled on JAX")
def test_compiled_with_unknown_rows(row, rng):
    trial = Trial(row, 2, rng)
    layer, _ = trial.layer()
    found = compiled_dynamic(trial.of(layer), trial.inputs, trial.weights, trial.arrays)
    assert_close(found, trial.reference(trial.weights)[0], 1e-5)


@every_row
def test_arguments_for_variables_are_refused(row):
    config = row.hyper.twin(**row.arguments).get_config()
    for name in config:
        initial = name.endswith("_initializer") and not name.startswith("moving_")
        if initial or name.endswith("_constraint"):
            value = "zeros" if initial else "non_neg"
            with pytest.raises(TypeError, match=name):
                row.hyper(**row.arguments, **{name: value})
