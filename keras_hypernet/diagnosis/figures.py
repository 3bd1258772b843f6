"""`Figures`: all that a diagnosis measures of a model."""

import math

import keras
import numpy as np
from keras import ops, tree

from keras_hypernet.diagnosis import measures
from keras_hypernet.diagnosis.parts import ROLES, Parts
from keras_hypernet.models.describer import describe_graph
from keras_hypernet.models.kernel_count import kernel_count
from keras_hypernet.utils import keras_internals

SCALES = (0.5, 2.0)  # that conditions are multiplied by, for the slope


class Figures:
    """What was measured, as numbers, strings, lists and dicts.

    Args:
        subject: The `Subject`.
        runs: Its `Runs`.
    """

    def __init__(self, subject, runs):
        self.subject, self.runs = subject, runs
        self.parts = Parts(subject.graph)
        self.steps = subject.steps
        self.conditions = {
            "given": subject.number,
            "different": subject.different,
            "unused_inputs": list(subject.unused),
        }
        self.now = runs.weights()
        self.roles = [role for _, role, _ in runs.tensors]
        self.step = runs.step() if subject.batch else None
        signals, self.plain, plain_after = runs.plain_step()
        self.after = self.after_adam = None
        if self.step is not None and self.step.finite:
            self.after = runs.weights(values=self.step.after)
            self.after_adam = runs.weights(values=self.step.after_adam)
        self.broken_data = self._broken_data()
        self.zero_products = runs.zero_products()
        self.tensors = self._tensors()
        self.inputs = self._inputs()
        self.generators = self._generators()
        self.signals = self._signals(signals)
        self.change = self._change(plain_after)
        self.all = self._all()
        generated, every = kernel_count(subject.graph)
        self.kernels = {"generated": generated, "all": every}

    def _broken_data(self):
        """The arguments that have numbers which are not finite."""
        batch = self.subject.batch
        arrays = {"conditioning": list(self.subject.conditions.values()), "inputs": [], "y": []}
        if batch is not None:
            arrays["inputs"] = list(batch.inputs.values())
            arrays["y"] = [] if batch.y is None else tree.flatten(batch.y)
        return [
            name
            for name, several in arrays.items()
            if not all(measures.is_finite(ops.convert_to_numpy(array)) for array in several)
        ]

    # Generated tensors.

    def _tensors(self):
        found = []
        for i, (name, role, _) in enumerate(self.runs.tensors):
            now = self.now[i]
            sizes = [measures.size(row) for row in now]
            plain = None if self.plain is None else measures.size(self.plain[i])
            row = {
                "name": name,
                "role": role,
                "size": measures.size(now),
                "smallest": min(sizes),
                "plain": plain,
                "spread": None if plain is None else measures.ratio(measures.size(now), plain),
                "sensitivity": measures.sensitivity(now),
                "entries": now.shape[1],
                "one_sign": measures.one_sign(now),
                "plain_one_sign": self.plain is not None and measures.one_sign(self.plain[i]),
                "finite": bool(np.isfinite(now).all()),
            }
            if role == "kernel":
                row.update(self._repeats(name, now[0], i))
            found.append(row)
        return found

    def _repeats(self, name, values, i):
        """How many rows and columns of a kernel repeat others, beside the plain one."""
        shape = self.parts.shapes.get(name)
        if shape is None or min(shape) < 8:
            return {"repeated": None}
        matrix = values.reshape(shape)
        share = max(measures.repeated(matrix, axis) for axis in (0, 1))
        if self.plain is not None and share:
            matrix = self.plain[i][0].reshape(shape)
            share -= max(measures.repeated(matrix, axis) for axis in (0, 1))
        return {"repeated": share}

    # Inputs of the conditioning.

    def _inputs(self):
        return [self._input(value, name) for value, name in self.subject.names.items()]

    def _input(self, value, name):
        array = self.subject.conditions[value]
        row = {
            "name": name,
            "is_noise": self.parts.is_noise(value, name),
            "ids": array.dtype.kind in "iub",
            "equal": bool(len(array) > 1 and (array == array[:1]).all()),
        }
        if row["ids"]:
            return row
        center = array.mean(axis=0)
        row["size"] = measures.size(array)
        row["together"] = measures.ratio(measures.size(array - center), measures.size(array))
        # Another condition's, or the same with noise where there is no other.
        other = np.roll(array, 1, axis=0) if len(array) > 1 else array + measures.size(array)
        row["change"], row["curvature"] = self._effect(value, array, other)
        row["change_after"] = None
        if self.after is not None and not row["change"]:
            row["change_after"], row["curvature"] = self._effect(
                value, array, other, self.step.after_adam
            )
        row["slope"] = self._slope(value, array) if row["change"] else None
        return row

    def _effect(self, value, array, other, values=()):
        """`(change of weights by their size, second difference by the first)` of an input."""
        middle = (array + other) / 2
        ends = [self._with(value, x, values) for x in (array, middle, other)]
        first = measures.size(ends[2] - ends[0])
        second = measures.size(ends[2] - 2 * ends[1] + ends[0])
        whole = measures.size(ends[0])
        noise = 1e-6 * whole  # of float32
        if first <= noise:
            return 0.0, None
        return first / whole, second / first if first > 100 * noise else None

    def _slope(self, value, array):
        # What does not depend on the condition, such as a start, is part of it.
        sizes = [measures.size(self._with(value, array * scale)) for scale in SCALES]
        return measures.slope(sizes, SCALES)

    def _with(self, value, array, values=()):
        """Weights with other values of one input of the conditioning."""
        conditions = {**self.subject.conditions, value: array.astype("float32")}
        return measures.joined(self.runs.weights(conditions, values))

    # Generators.

    def _generators(self):
        rows = describe_graph(self.subject.graph)
        dead = self._dead_units()
        gradients = self._gradients()
        arriving = {} if self.step is None else self.step.arriving
        found = []
        for group in self.parts.groups:
            described = next((row for row in rows if row["generator"] == group.name), {})
            variables = group.variables
            found.append(
                {
                    "name": group.name,
                    "in_front": group.generator is None and len(self.parts.groups) > 1,
                    "parameters": sum(math.prod(v.shape) for v in variables),
                    "trainable": sum(math.prod(v.shape) for v in variables if v.trainable),
                    "frozen": group.frozen_roles(),
                    "weights": described.get("weights"),
                    "form": described.get("form"),
                    "contraction": described.get("contraction"),
                    "floats": self._floats(group, described),
                    "arriving": arriving.get(group.name),
                    "dead_units": dead.get(group.name),
                    "gradients": gradients.get(group.name),
                    "one_row_normalized": group.normalizes and self._one_row(group),
                }
            )
        return found

    def _dead_units(self):
        """`{generator: share of units that are 0 for all conditions, in the worst layer}`."""
        outputs = {}
        for layer, output in self.runs.hidden():
            rows = np.abs(output).reshape(-1, output.shape[-1]).max(axis=0)
            before = outputs.get(id(layer), (layer, 0.0))[1]
            outputs[id(layer)] = (layer, np.maximum(before, rows))
        found = {}
        for layer, largest in outputs.values():
            group = self.parts.group_of(layer)
            if group is not None:
                share = float(np.mean(largest == 0))
                found[group.name] = max(share, found.get(group.name, 0.0))
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

    # The way of a signal, and a step.

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
        several = len(now) > 1
        conditions = [a.reshape(len(a), -1) for a in self.subject.conditions.values()]
        ids = any(a.dtype.kind in "iub" for a in conditions) or self.subject.embeds
        vectors = np.eye(len(now)) if ids else np.concatenate(conditions, axis=1)
        response = None
        if several and self.after_adam is not None:
            response = measures.sensitivity(measures.joined(self.after_adam) - now)
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


def _ins(tensor):
    return tensor.size // max(1, tensor.outputs)


def _scheduled(optimizer):
    """Whether a learning rate is a schedule, which may begin or end at 0."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return optimizer is not None and keras_internals.has_schedule(optimizer)
