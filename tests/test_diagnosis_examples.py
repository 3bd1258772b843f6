"""No finding above `look` in any example, before and after its first training."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("[!_]*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_nothing_is_found(name, tmp_path):
    arguments = [f"examples/{name}", "--epochs", "1", "--output-dir", str(tmp_path)]
    environment = {**os.environ, "EXAMPLE_DATA": "digits", "MPLBACKEND": "Agg"}
    run = subprocess.run(
        [sys.executable, "-m", "tests.diagnosed_example", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
