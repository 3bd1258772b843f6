"""Runs cases of the fuzzer, and collects what fails."""

import collections
import dataclasses
import os
import pickle
import re
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path

import keras

from tests.backend import BACKEND
from tests.fuzz import Case, Draw, assert_close, call
from tests.fuzz_generators import generator_case
from tests.fuzz_invariants import INVARIANTS
from tests.fuzz_layers import apply_case, embedding_case, rule_case, shared_case
from tests.fuzz_models import build_case, continual_case, hypernetize_case

# The kinds of cases, and how often each is drawn.
KINDS = {
    "generator": (generator_case, 5),
    "rule": (rule_case, 6),
    "shared": (shared_case, 1),
    "apply": (apply_case, 1),
    "embedding": (embedding_case, 1),
    "build": (build_case, 1),
    "hypernetize": (hypernetize_case, 5),
    "continual": (continual_case, 2),
}


@dataclasses.dataclass
class Failure:
    seed: int
    kind: str
    label: str
    invariant: str
    message: str
    place: str

    def __str__(self):
        return (
            f"FUZZ_SEED={self.seed} FUZZ_CASES=1  {self.kind}  {self.invariant}: {self.message}\n"
            f"    {self.place}\n    {self.label}"
        )


class Run:
    """Runs cases, and collects what fails.

    Args:
        folder: For saved models.
        loaded_again: Part of the files that a second process loads.
    """

    def __init__(self, folder, loaded_again=0.2):
        self.folder, self.loaded_again = Path(folder), loaded_again
        self.failures, self.counts, self.files = [], collections.Counter(), {}

    def case(self, seed, only=None):
        """Makes a case of a seed and checks it; its failures."""
        draw = Draw(seed)
        draw.folder = self.folder
        kinds = {n: often for n, (_, often) in KINDS.items() if re.search(only or "", n)}
        kind = draw.pick([name for name, often in kinds.items() for _ in range(often)])
        self.counts[kind] += 1
        keras.utils.set_random_seed(seed % 2**32)
        made = {"path": self.folder / f"{seed}.keras", "trains": draw.chance(0.3)}
        context, before = (seed, kind, draw), len(self.failures)
        case = self._guarded(context, "make", lambda: KINDS[kind][0](draw))
        if case is None:
            return self.failures[before:]
        if not isinstance(case, Case):  # it is checked already
            return self.failures[before:]
        case.settle(draw.rng)
        if draw.chance(0.15):
            draw.note(nested=True)
            case.nest()
        case.freeze(draw)
        draw.note(frozen=case.frozen)
        for invariant in INVARIANTS:
            self._guarded(context, invariant.__name__, lambda: invariant(case, made))  # noqa: B023
            if "outputs" not in made:
                break
        if "loaded" in made and not case.random and draw.chance(self.loaded_again):
            label = _label(draw)
            self.files[seed] = (kind, label, case.inputs, made["outputs"])
        else:
            made["path"].unlink(missing_ok=True)
        return self.failures[before:]

    def _guarded(self, context, invariant, function):
        try:
            return function()
        except Exception as error:  # all of them, the run goes on
            seed, kind, draw = context
            frames = traceback.extract_tb(error.__traceback__)
            package = [f for f in frames if "keras_hypernet" in f.filename]
            own = (package or [f for f in frames if "fuzz" in f.filename])[-1]
            place = f"{own.filename.rpartition('/')[2]}:{own.lineno} in {own.name}"
            message = re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")[:400]
            self.failures.append(Failure(seed, kind, _label(draw), invariant, message, place))
            return None

    def second_process(self):
        """All files that were kept, loaded by one other process."""
        if not self.files:
            return
        arrays = {seed: inputs for seed, (*_, inputs, _) in self.files.items()}
        (self.folder / "inputs.pickle").write_bytes(pickle.dumps(arrays))
        subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; from tests import fuzz_run; fuzz_run.load_all(sys.argv[1])",
                self.folder,
            ],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        found = pickle.loads((self.folder / "outputs.pickle").read_bytes())
        for seed, (kind, label, _, outputs) in self.files.items():
            try:
                assert not isinstance(found[seed], str), found[seed]
                assert_close(found[seed], outputs, 1e-5)
            except AssertionError as error:
                message = str(error)[:400]
                self.failures.append(Failure(seed, kind, label, "second process", message, ""))

    def report(self):
        total, counts = sum(self.counts.values()), sorted(self.counts.items())
        lines = [f"{total} cases on {BACKEND}: " + ", ".join(f"{n} {kind}" for kind, n in counts)]
        lines.append(f"{len(self.files)} loaded by a second process, {len(self.failures)} failures")
        return "\n".join([*lines, *map(str, self.failures[:20])])


def _label(draw):
    return ", ".join(f"{name}={value!r}" for name, value in draw.log.items())


def load_all(folder):
    """What the second process does: outputs of every file, or what it raises."""
    folder = Path(folder)
    found = {}
    for seed, inputs in pickle.loads((folder / "inputs.pickle").read_bytes()).items():
        try:
            model = keras.saving.load_model(folder / f"{seed}.keras", safe_mode=True)
            found[seed] = call(model, inputs)
        except Exception as error:
            found[seed] = f"{type(error).__name__}: {error}"
    (folder / "outputs.pickle").write_bytes(pickle.dumps(found))


def run(folder, seed, cases=None, seconds=None, only=None, log=print):
    """Runs so many cases, or for so long."""
    found, start = Run(folder), time.monotonic()
    with warnings.catch_warnings():
        # Of `HyperFanIn` on chunks of few weights: it says what inputs would be better.
        warnings.filterwarnings("ignore", message=".*(?i:floor|variance)")
        warnings.filterwarnings("ignore", message=".*with a mask attached to it")
        for i in range(cases or 10**9):
            if seconds is not None and time.monotonic() - start > seconds:
                break
            for failure in found.case(seed + i, only):
                log(failure)
    before = len(found.failures)
    found.second_process()
    for failure in found.failures[before:]:
        log(failure)
    return found
