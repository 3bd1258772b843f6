"""`GeneratorFigures`: what each generator has, costs and gets for gradients."""

import math

import numpy as np

from keras_hypernet.diagnosis import measures
from keras_hypernet.models.describer import describe_graph


class GeneratorFigures:
    """Figures of the generators of a model, and of layers of one's own in front of weights.

    Args:
        subject, runs: The `Subject` and its `Runs`.
        parts: The `Parts` of its graph.
        step: The `Step` of the model, or `None`.
    """

    def __init__(self, subject, runs, parts, step):
        self.subject, self.runs, self.parts, self.step = subject, runs, parts, step

    def rows(self):
        described_rows = describe_graph(self.subject.graph)
        dead = self._dead_units()
        gradients = self._gradients()
        arriving = {} if self.step is None else self.step.arriving
        found = []
        for group in self.parts.groups:
            described = next((row for row in described_rows if row["generator"] == group.name), {})
            variables = group.variables
            found.append(
                {
                    "name": group.name,
                    "in_front": group.in_front,
                    "parameters": sum(math.prod(v.shape) for v in variables),
                    "trainable": sum(math.prod(v.shape) for v in variables if v.trainable),
                    "frozen": group.frozen_roles(),
                    "weights": described.get("weights"),
                    "form": described.get("form"),
                    "contraction": described.get("contraction"),
                    "floats": self._floats(group, described),
                    "arriving": arriving.get(group.name),
                    "dead_units": dead.get(group.name, (None, None))[0],
                    "units": dead.get(group.name, (None, None))[1],
                    "gradients": gradients.get(group.name),
                    "one_row_normalized": group.normalizes and self._one_row(group),
                }
            )
        return found

    def _dead_units(self):
        """`{generator: (share of units that are 0 for all conditions, units)}`, the worst ones."""
        outputs = {}
        for layer, output in self.runs.hidden():
            rows = np.abs(output).reshape(-1, output.shape[-1]).max(axis=0)
            before = outputs.get(id(layer), (layer, 0.0))[1]
            outputs[id(layer)] = (layer, np.maximum(before, rows))
        found = {}
        for layer, largest in outputs.values():
            group = self.parts.group_of(layer)
            if group is not None and not group.is_head:  # zero weights are no dead units
                share = (float(np.mean(largest == 0)), len(largest))
                found[group.name] = max(share, found.get(group.name, (0.0, 0)))
        return found

    def _gradients(self):
        """`{generator: {role: norm of the gradient by the number of values}}`."""
        if self.step is None:
            return {}
        sizes = {id(v): measures.size(g) for v, g in zip(self.runs.variables, self.step.gradients)}
        return {
            group.name: {
                role: max((sizes[id(v)] for v in variables if id(v) in sizes), default=None)
                for role, variables in group.roles.items()
            }
            for group in self.parts.groups
        }

    def _one_row(self, group):
        static = {self.subject.static_rows(value) for value in self.subject.conditions}
        return self.subject.number == 1 or 1 in static

    def _floats(self, group, described):
        """Numbers that are written for each row of data."""
        if not described or group.generator is None:
            return None
        spec, features = group.generator.spec, group.features
        orders = set(str(described["contraction"]).split(", "))
        if described["form"].startswith("flat") or features is None or len(orders) > 1:
            return spec.total
        (order,) = orders
        written = {"project": lambda t: features * t.outputs, "outer": lambda t: features * _ins(t)}
        count = written.get(order)
        return spec.total if count is None else sum(count(t) for t in spec if t.is_matrix)


def _ins(tensor):
    return tensor.size // max(1, tensor.outputs)
