"""`Diagnosis`: what `diagnose` returns."""

import dataclasses

from keras_hypernet.diagnosis import (
    checks_of_conditions,
    checks_of_training,
    checks_of_weights,
)
from keras_hypernet.diagnosis.finding import LEVELS
from keras_hypernet.utils.tables import shortened

CHECKS = (*checks_of_weights.CHECKS, *checks_of_conditions.CHECKS, *checks_of_training.CHECKS)


class Diagnosis:
    """Findings about a model, the worst first, and the figures that they are from.

    `findings` is a tuple of them, `figures` a dict.
    """

    def __init__(self, name, figures):
        self.name = name
        findings = [each for check in CHECKS for each in _together(check(figures))]
        self.findings = tuple(sorted(findings, key=lambda found: LEVELS.index(found.level)))
        self.figures = figures.as_dict()

    @property
    def level(self):
        """The worst level of its findings."""
        return self.findings[0].level if self.findings else "good"

    def at(self, level):
        """The findings of a level."""
        return [finding for finding in self.findings if finding.level == level]


def _together(findings):
    """Findings of one check: those of a level and a reason as one, at all their places."""
    groups = {}
    for finding in findings:
        groups.setdefault((finding.check, finding.level, finding.why), []).append(finding)
    for first, *others in groups.values():
        places = list(dict.fromkeys(each.where for each in (first, *others)))
        yield dataclasses.replace(first, where=shortened(places, ", "))
