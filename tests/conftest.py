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


# JAX compiles these for long, and the other backends run them.
SLOW_ON_JAX = (
    "test_export",
    "test_exports",
    "test_exports_saved_model",
    "test_fit_in_mixed_precision",
    "test_mixed_precision",
    "test_it_is_so_after_fit_and_in_a_file",
    "test_groups_of_conditions_where_memory_is_short",
)


def pytest_collection_modifyitems(items):
    if BACKEND == "jax":
        for item in items:
            if item.originalname in SLOW_ON_JAX or item.path.stem == "test_initialization":
                item.add_marker(pytest.mark.slow)


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
