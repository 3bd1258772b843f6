"""The kinds of cases, and how often each is drawn."""

from tests.fuzz_generators import generator_case
from tests.fuzz_layers import apply_case, embedding_case, twin_case, wrapper_case
from tests.fuzz_models import build_case, continual_case, hypernetize_case

KINDS = {
    "generator": (generator_case, 5),
    "twin": (twin_case, 6),
    "wrapper": (wrapper_case, 1),
    "apply": (apply_case, 1),
    "embedding": (embedding_case, 1),
    "build": (build_case, 1),
    "hypernetize": (hypernetize_case, 5),
    "continual": (continual_case, 2),
}
