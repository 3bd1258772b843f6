"""`Figures`: all that a diagnosis measures of a model."""

import keras
import numpy as np

from keras_hypernet.diagnosis import measures
from keras_hypernet.diagnosis.generator_figures import GeneratorFigures
from keras_hypernet.diagnosis.input_figures import InputFigures
from keras_hypernet.diagnosis.parts import ROLES
from keras_hypernet.diagnosis.steps import Steps
from keras_hypernet.diagnosis.tensor_figures import TensorFigures
from keras_hypernet.models.kernel_count import kernel_count
from keras_hypernet.utils import keras_internals


class Figures:
    """What was measured, as numbers, strings, lists and dicts.

    Args:
        subject: The `Subject`.
        runs: Its `Runs`.
    """

    def __init__(self, subject, runs):
        self.subject, self.runs = subject, runs
        self.steps = subject.steps
        self.conditions = {
            "given": subject.number,
            "different": subject.different,
            "unused_inputs": list(subject.unused),
        }
        self.now = runs.weights()
        steps = Steps(subject, runs)
        self.parts = steps.parts
        self.step = steps.step() if subject.batch else None
        signals, self.plain, plain_after = steps.plain_step()
        self.after = self.after_signs = None
        if self.step is not None and self.step.finite:
            self.after = runs.weights(values=self.step.after)
            self.after_signs = runs.weights(values=self.step.after_signs)
        self.broken_data = subject.broken
        self.zero_products = runs.zero_products()
        shapes, after = self.parts.shapes, self.step.after_signs if self.after else None
        self.tensors = TensorFigures(runs.tensors, shapes, self.now, self.plain).rows()
        self.inputs = InputFigures(subject, runs, self.parts, after).rows()
        self.generators = GeneratorFigures(subject, runs, self.parts, self.step).rows()
        self.signals = self._signals(signals)
        self.change = self._change(plain_after)
        self.all = self._all()
        generated, every = kernel_count(subject.graph)
        self.kernels = {"generated": generated, "all": every}

    def _signals(self, plain):
        if self.step is None:
            return []
        return [
            {
                "layer": name,
                "size": size,
                "width": width,
                "plain": None if plain is None else plain.get(name),
                "by_plain": None if not plain else measures.ratio(size, plain.get(name) or 0.0),
            }
            for name, (size, width) in self.step.signals.items()
        ]

    def _change(self, plain_after):
        """The change that a step makes, by the size of the weights."""
        if self.after is None:
            return None
        now, after = measures.joined(self.now), measures.joined(self.after)
        found = {
            "optimizer": type(self.subject.optimizer or keras.optimizers.Adam()).__name__,
            "compiled": self.subject.compiled and self.subject.optimizer is not None,
            "scheduled": _scheduled(self.subject.optimizer),
            "ratio": measures.ratio(measures.size(after - now), measures.size(now)),
            "plain_ratio": None,
        }
        if plain_after is not None:
            plain, after = measures.joined(self.plain), measures.joined(plain_after)
            found["plain_ratio"] = measures.ratio(
                measures.size(after - plain), measures.size(plain)
            )
        return found

    def _all(self):
        """Of all generated numbers together."""
        now = measures.joined(self.now)
        several = len(now) > 1 and not self.runs.single
        conditions = [a.reshape(len(a), -1) for a in self.subject.conditions.values()]
        ids = any(a.dtype.kind in "iub" for a in conditions) or self.subject.embeds
        vectors = np.eye(len(now)) if ids else np.concatenate(conditions, axis=1)
        response = None
        if several and self.after_signs is not None:
            response = measures.sensitivity(measures.joined(self.after_signs) - now)
        return {
            "sensitivity": measures.sensitivity(now) if several else None,
            "response": response,
            "directions": measures.directions(now) if several else None,
            "directions_of_conditions": measures.directions(vectors) if several else None,
            "finite": bool(np.isfinite(now).all()),
            "loss": None if self.step is None else self.step.loss,
            "step_finite": None if self.step is None else self.step.finite,
        }

    def logs(self):
        """`{name: number}`, always of these names; NaN for what is not known of this model."""
        change = self.change or {}
        numbers = {
            "spread": measures.farthest([row["spread"] for row in self.of_kernels()]),
            "signals": measures.farthest([row["by_plain"] for row in self.signals]),
            "sensitivity": self.all["sensitivity"],
            "response": self.all["response"],
            "directions": self.all["directions"],
            "slope": measures.largest([row.get("slope") for row in self.inputs]),
            "condition_size": measures.farthest([row["arriving"] for row in self.generators]),
            "dead_units": measures.largest([row["dead_units"] for row in self.generators]),
            "repeated": measures.largest([row.get("repeated") for row in self.tensors]),
            "step": change.get("ratio"),
            "plain_step": change.get("plain_ratio"),
        }
        for role in ROLES:
            gradients = [(row["gradients"] or {}).get(role) for row in self.generators]
            numbers[f"gradient_{role}"] = measures.largest(gradients)
        return {name: float("nan") if x is None else float(x) for name, x in numbers.items()}

    def of_kernels(self):
        """The rows of generated kernels."""
        return [row for row in self.tensors if row["role"] == "kernel"]

    def as_dict(self):
        """All figures, as JSON has them."""
        names = "steps conditions all tensors inputs generators signals change kernels"
        return {name: getattr(self, name) for name in names.split()}


def _scheduled(optimizer):
    """Whether a learning rate is a schedule, which may begin or end at 0."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return optimizer is not None and keras_internals.has_schedule(optimizer)
