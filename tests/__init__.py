"""Runs on the backend that `KERAS_BACKEND` names; TensorFlow where it is not set."""

import os
from importlib.metadata import version

BACKEND = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Tests compile for much longer than they compute, on JAX with the emitters for twice as long. XLA
# refuses flags that it does not know.
FLAGS = "--xla_backend_optimization_level=0"
KNOWN_TO = {"jax": ("jaxlib", "0.10."), "tensorflow": ("tensorflow", "2.21.")}
if BACKEND in KNOWN_TO and version(KNOWN_TO[BACKEND][0]).startswith(KNOWN_TO[BACKEND][1]):
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", FLAGS)
