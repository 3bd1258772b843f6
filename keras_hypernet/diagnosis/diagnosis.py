"""`Diagnosis`: what `diagnose` returns."""

from keras_hypernet.diagnosis import (
    checks_of_conditions,
    checks_of_training,
    checks_of_weights,
)
from keras_hypernet.diagnosis.finding import LEVELS

CHECKS = (*checks_of_weights.CHECKS, *checks_of_conditions.CHECKS, *checks_of_training.CHECKS)


class Diagnosis:
    """Findings about a model, the worst first, and the figures that they are from.

    `findings` is a tuple of them, `figures` a dict.
    """

    def __init__(self, name, figures):
        self.name = name
        findings = [finding for check in CHECKS for finding in check(figures)]
        self.findings = tuple(sorted(findings, key=lambda found: LEVELS.index(found.level)))
        self.figures = figures.as_dict()

    @property
    def level(self):
        """The worst level of its findings."""
        return self.findings[0].level if self.findings else "good"

    def at(self, level):
        """The findings of a level."""
        return [finding for finding in self.findings if finding.level == level]
