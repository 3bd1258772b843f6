"""A backend that the package has no code for runs by `keras.ops`: Keras' NumPy, which predicts."""

import os
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_hypernet as kh
from tests.backend import BACKEND
from tests.test_given_generators import mlp
from tests.whole_models import SIZE, assert_close

MODES = [{}, {"mode": "delta"}, {"mode": "low_rank", "rank": 1, "select": ["*/kernel"]}]


@pytest.mark.slow
def test_numpy_predicts():
    """Every file of every set there, and what stands below."""
    tests = pathlib.Path(__file__).parent
    files = [tests / "test_files.py", pathlib.Path(__file__)]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *map(str, files)],
        env={**os.environ, "KERAS_BACKEND": "numpy"},
        cwd=tests.parent,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-2000:]
    passed = int(re.search(r"(\d+) passed", run.stdout).group(1))
    assert passed > len(list((tests / "files").rglob("*.keras")))


@pytest.mark.skipif(BACKEND != "numpy", reason="the test above runs it on NumPy")
@pytest.mark.parametrize("options", MODES, ids=lambda options: options.get("mode", "replace"))
def test_changed_baked_and_looked_up(options, rng, tmp_path):
    hyper = kh.hypernetize(mlp(), SIZE, hidden_sizes=[6], **options)
    for variable in hyper.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    z, x = (rng.normal(size=(4, size)).astype("float32") for size in (SIZE, 4))
    expected = hyper.predict([z, x], verbose=0)
    assert np.ptp(expected, axis=0).all()
    plain, table = kh.specialize(hyper, z[:1]), kh.tabulate(hyper, z)
    assert_close(plain.predict(x[:1], verbose=0), expected[:1])
    assert_close(table.predict([np.arange(4), x], verbose=0), expected)
    hyper.save(tmp_path / "hyper.keras")
    loaded = keras.saving.load_model(tmp_path / "hyper.keras", safe_mode=True)
    assert_close(loaded.predict([z, x], verbose=0), expected)
