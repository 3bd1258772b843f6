"""Runs every example at small size, on one backend after the other, two at a time.

    python docs/run_examples.py build/examples
    GALLERY_RUNS=build/examples python -m sphinx -W docs build/site

writes `NAME.log`, the command of an example and what it prints, and `NAME.png`, what it draws, into
the folder. The pages of the gallery show both. If a run fails, the script ends with what it said.
"""

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("[!_]*.py"))
# The same data everywhere, with internet and without.
FASTEST = {"lora_from_description": "jax"}  # minutes less than on PyTorch
FAULTY = ("why_it_does_not_train",)  # by intention
SETTINGS = {"EXAMPLE_DATA": "digits", "MPLBACKEND": "Agg", "TF_CPP_MIN_LOG_LEVEL": "3"}


def diagnosed(file):
    """A command that runs an example and fails where `kh.diagnose` finds something bad in it."""
    return [file] if file.stem in FAULTY else ["-m", "tests.diagnosed_example", file]


def run(file, backend, folder):
    """Writes what the example prints and draws; returns what it said, if it failed."""
    start = time.perf_counter()
    options = ["--epochs", "1"] + ["--seeds", "0"] * ('"--seeds"' in file.read_text())
    environment = {**os.environ, **SETTINGS, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as place:
        found = subprocess.run(
            [sys.executable, *diagnosed(file), *options],
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
        )
        if found.returncode:
            return f"{backend} {file.name}:\n{found.stdout}{found.stderr}"
        command = f"$ KERAS_BACKEND={backend} python examples/{file.name} {' '.join(options)}"
        (folder / f"{file.stem}.log").write_text(f"{command}\n{found.stdout.strip()}\n")
        for picture in sorted(Path(place).glob("*.png"))[:1]:
            shutil.copy(picture, folder / f"{file.stem}.png")
    last = found.stdout.strip().rpartition("\n")[2]
    print(f"{backend} {file.name} ({time.perf_counter() - start:.0f} s): {last}", flush=True)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--names", nargs="+", help="of examples; all by default")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    backends = itertools.cycle(("tensorflow", "jax", "torch"))
    chosen = [
        (file, FASTEST.get(file.stem, backend))
        for file, backend in zip(EXAMPLES, backends)
        if args.names is None or file.stem in args.names
    ]
    with ThreadPoolExecutor(2) as pool:
        failures = list(pool.map(lambda pair: run(*pair, args.folder), chosen))
    sys.exit("\n".join(filter(None, failures)) or None)


if __name__ == "__main__":
    main()
