"""Runs on the backend that `KERAS_BACKEND` names; TensorFlow where it is not set."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Tests compile for much longer than they compute.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import keras
import numpy as np
import pytest
from hypothesis import settings

# JAX compiles every operation for every new shape.
examples = 5 if os.environ["KERAS_BACKEND"] == "jax" else 40
settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=examples)
settings.load_profile("repeatable")


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
