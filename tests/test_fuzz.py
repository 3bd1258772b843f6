"""Random legal configurations of the whole public API: see `fuzz.py`."""

import os
import random

import pytest

from tests import fuzz_run


@pytest.mark.slow
def test_random_configurations(tmp_path, capfd):
    seed = int(os.environ.get("FUZZ_SEED") or random.SystemRandom().randrange(10**9))
    cases = os.environ.get("FUZZ_CASES")
    seconds = float(os.environ.get("FUZZ_SECONDS") or (10**9 if cases else 60))

    def log(*lines):
        with capfd.disabled():
            print(*lines, flush=True)

    log(f"\nFUZZ_SEED={seed}")
    only = os.environ.get("FUZZ_ONLY")
    found = fuzz_run.run(tmp_path, seed, cases and int(cases), seconds, only, log)
    log(found.report())
    assert not found.failures, found.report()
