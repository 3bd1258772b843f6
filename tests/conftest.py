"""Settings, kinds of tests and fixtures of the suite."""

import keras
import numpy as np
import pytest
from hypothesis import settings

from tests.backend import BACKEND

# JAX compiles every operation for every new shape.
examples = 5 if BACKEND == "jax" else 40
settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=examples)
settings.load_profile("repeatable")


# JAX compiles these for long, and TensorFlow traces those files. They are slow there, and `.ci/run`
# runs them by their own mark.
LATER_ON_JAX = (
    "test_export",
    "test_exports",
    "test_exports_saved_model",
    "test_fit_in_mixed_precision",
    "test_an_update_for_every_row",
    "test_parts_that_no_config_makes_anew",
    "test_a_continual_model_of_before_hold_conditions",
    "test_mixed_precision",
    "test_groups_of_conditions_where_memory_is_short",
)
FILES_LATER = (
    "test_continual_callbacks",
    "test_continual_going_on",
    "test_continual_heads",
    "test_continual_rows",
    "test_deconv",
    "test_diagnosis_changes_nothing",
    "test_diagnosis_faults",
    "test_diagnosis_healthy",
    "test_generator_file",
    "test_given_generators",
    "test_given_layers",
    "test_grouped_dataset",
    "test_initialization",
    "test_interrupted_runs",
    "test_layerwise",
    "test_load_condition",
    "test_loaded_models",
    "test_lora_file",
    "test_more_conditions",
    "test_plot",
    "test_starts",
    "test_tables",
    "test_targets",
    "test_trains_by_default",
)

# One backend is enough for programs of the documentation: PyTorch, which compiles nothing.
FILES_OF_ONE_BACKEND = ("test_docs",)

# What is run with the oldest Keras: private parts, every layer and rule, files, models, tasks.
OLDEST = (
    "test_api",
    "test_battery",
    "test_builder",
    "test_changes",
    "test_citizenship",
    "test_conformance",
    "test_continual_model",
    "test_files",
    "test_generator_file",
    "test_hyper_blocks",
    "test_hypernetize",
    "test_keras_internals",
    "test_rules",
    "test_specialize",
)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.stem in OLDEST:
            item.add_marker(pytest.mark.oldest)
    for item in items if BACKEND in ("jax", "tensorflow") else ():
        later = item.path.stem in FILES_LATER or (
            BACKEND == "jax" and item.originalname in LATER_ON_JAX
        )
        if item.path.stem in FILES_OF_ONE_BACKEND:
            item.add_marker(pytest.mark.slow)
        if later and item.get_closest_marker("slow") is None:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.later)


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(7)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def fresh_compiler():
    """Past a number of models, torch.compile runs what comes next as it is, without a word."""
    import torch

    torch._dynamo.reset()
