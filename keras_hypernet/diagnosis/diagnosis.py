"""`Diagnosis`: what `diagnose` returns."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

from keras_hypernet.diagnosis.checks_of_conditions import (
    condition_size,
    directions,
    equal_conditions,
    inputs,
    proportional,
    sensitivity,
)
from keras_hypernet.diagnosis.checks_of_training import (
    dead_units,
    frozen,
    gradients,
    normalization,
    signals,
    step,
)
from keras_hypernet.diagnosis.checks_of_weights import (
    cost,
    coverage,
    finite,
    one_sign,
    repeated,
    spread,
)
from keras_hypernet.diagnosis.finding import LEVELS, Finding
from keras_hypernet.diagnosis.plot.diagnosis_panels import overview
from keras_hypernet.utils import checks
from keras_hypernet.utils.tables import Table, Tabular, shortened
from keras_hypernet.utils.types import Config, Tensor

CHECKS = (  # causes before what they bring about
    finite,
    frozen,
    equal_conditions,
    condition_size,
    inputs,
    normalization,
    step,
    one_sign,
    spread,
    signals,
    gradients,
    dead_units,
    sensitivity,
    repeated,
    proportional,
    directions,
    coverage,
    cost,
)
EFFECT = ("sensitivity", "response", "inputs", "step", "proportional", "directions")
CONSEQUENCES = {  # what may look wrong because something before it is
    "finite": [check.__name__ for check in CHECKS[1:]] + ["response"],
    "frozen": [*EFFECT, "gradients"],
    "equal_conditions": ["sensitivity", "response", "inputs", "directions"],
    "condition_size": ["step", "response", "proportional", "spread", "signals"],
    "step": ["spread", "signals", "repeated", "gradients", "dead_units", "one_sign"],
    "one_sign": ["spread", "signals", "repeated"],
    "gradients": ["dead_units", *EFFECT],
}
WIDTH = 110  # of the text that is printed
STYLES = {"bad": "bold red", "look": "yellow", "good": "green"}


class Diagnosis(Tabular):
    """Findings about a model, the worst first, and the figures that they are from.

    It prints as a table, in colours by `rich.print`, and shows as HTML in a notebook. `findings` is
    a tuple of them, each with `check`, `level`, `where`, `measured`, `why`, `remedy` and `value`;
    `figures` is a dict of all that was measured.

    Args:
        name: The name of the model.
        figures: The `Figures`.
    """

    def __init__(self, name, figures):
        self.name = name
        findings = [each for check in CHECKS for each in _together(check(figures))]
        findings = _without_consequences(findings, figures.steps > 0)
        self.findings: tuple[Finding, ...] = tuple(
            sorted(findings, key=lambda found: LEVELS.index(found.level))
        )
        self.figures: Config = figures.as_dict()
        self._logs = figures.logs()

    @property
    def level(self) -> str:
        """The worst level of its findings: `"bad"`, `"look"` or `"good"`."""
        return self.findings[0].level

    def at(self, level: str) -> list[Finding]:
        """The findings of a level.

        Args:
            level: `"bad"`, `"look"` or `"good"`.
        """
        checks.choice("level", level, LEVELS)
        return [finding for finding in self.findings if finding.level == level]

    def as_dict(self) -> Config:
        """Findings and figures, of types that JSON has; `None` for what is not finite."""
        findings = [dataclasses.asdict(finding) for finding in self.findings]
        return _finite({"model": self.name, "findings": findings, "figures": self.figures})

    def logs(self) -> dict[str, float]:
        """Numbers by names that never change: of bad findings, and the worst of each measure.

        NaN stands for what is not known of this model, such as a step without data.
        """
        found = {level: float(len(self.at(level))) for level in LEVELS[:2]} | self._logs
        return {f"diagnosis_{name}": value for name, value in found.items()}

    def plot(self) -> Tensor:
        """A matplotlib figure: sizes of weights and signals, sensitivity, gradients."""
        return overview(self)

    def _table(self):
        counts = Counter(finding.level for finding in self.findings)
        title = ", ".join(f"{counts[level]} {level}" for level in LEVELS)
        rows, styles = [("level", "check", "where and what, why, and what mends it")], {}
        for i, finding in enumerate(self.findings):
            text = [f"{finding.where}: {finding.measured}"]
            if finding.level != "good":
                text += [finding.why, f"> {finding.remedy}"]
            rows.append((finding.level, finding.check, "\n".join(text)))
            styles[i] = STYLES[finding.level]
        return Table(rows, f"Diagnosis of {self.name!r}: {title}", styles=styles, width=WIDTH)


def _finite(nest):
    if isinstance(nest, dict):
        return {name: _finite(value) for name, value in nest.items()}
    if isinstance(nest, (list, tuple)):
        return [_finite(value) for value in nest]
    return None if isinstance(nest, float) and not math.isfinite(nest) else nest


def _without_consequences(findings, trained):
    """Findings without doubtful ones that a bad one explains."""
    bad, explained = {finding.check for finding in findings if finding.level == "bad"}, set()
    for cause, consequences in CONSEQUENCES.items():
        # At the start, what a step does has not happened.
        if cause in bad - explained and (trained or cause != "step"):
            explained.update(consequences)
    return [f for f in findings if f.level == "good" or f.check not in explained]


def _together(findings):
    """Findings of one check: those of a level and a reason as one, at all their places."""
    groups = {}
    for finding in findings:
        groups.setdefault((finding.level, finding.why), []).append(finding)
    for first, *others in groups.values():
        places = list(dict.fromkeys(each.where for each in (first, *others)))
        yield dataclasses.replace(first, where=shortened(places, ", "))
