"""What a chunk plan costs, and what it covers."""

import dataclasses
import itertools

from keras_hypernet.utils import checks
from keras_hypernet.utils.tables import Table

HEADINGS = ("kind", "layers", "chunk", "number", "embedding", "parameters", "weights")


@dataclasses.dataclass(frozen=True)
class Heads:
    """The perceptrons that generate the chunks, one for each kind."""

    hidden_sizes: tuple
    input_size: int
    use_bias: bool
    num_conditions: int

    @classmethod
    def checked(cls, hidden_sizes, input_size, use_bias, num_conditions):
        return cls(
            checks.positive_ints("hidden_sizes", hidden_sizes),
            checks.count("input_size", input_size),
            checks.boolean("use_bias", use_bias),
            checks.positive_int("num_conditions", num_conditions),
        )

    def parameters(self, outputs, number, embedding_size):
        """Of one kind: its perceptron's, and the embeddings of its chunks."""
        sizes = [embedding_size + self.input_size, *self.hidden_sizes, outputs]
        perceptron = sum((i + self.use_bias) * o for i, o in itertools.pairwise(sizes))
        return perceptron + self.num_conditions * number * embedding_size


def format_plan(plan, parameters):
    """A table of what each kind of a plan covers and costs, `{kind: number of parameters}`."""
    covered, rows = _covered(plan), [(*HEADINGS, "compression")]
    for name, kind in plan.kinds.items():
        layers, weights = covered[name]
        chunk = ", ".join(f"{tensor.name} {tensor.shape}" for tensor in kind.spec)
        counts = (kind.number, kind.embedding_size, *_ratio(parameters[name], weights))
        rows.append((name, _listed(layers), chunk, *counts))
    total = _ratio(sum(parameters.values()), plan.spec.total)
    rows.append(("total", len(plan.spec.layers), "", plan.num_chunks, "", *total))
    return Table(rows).text()


def _covered(plan):
    """`{kind: [layers that its chunks go to, how many of their weights these make]}`."""
    covered = {kind: [{}, 0] for kind in plan.kinds}
    for piece, targets in plan.assembly.used.items():
        kind, _, tensor = piece.split("/", 2)
        covered[kind][0] |= dict.fromkeys(plan.spec[target].layer for target in targets)
        covered[kind][1] += plan.kinds[kind].spec[tensor].size * len(targets)
    return covered


def _listed(layers):
    if not layers:
        return "-"
    return next(iter(layers)) + (f" and {len(layers) - 1} more" if len(layers) > 1 else "")


def _ratio(parameters, weights):
    if not weights:
        return parameters, "-", "-"
    return parameters, weights, f"{weights / parameters:.2f}x"
