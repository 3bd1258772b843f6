"""`parameters_of` and `plan_table`: what a chunk plan costs, and what it covers."""

import dataclasses
import itertools

from keras_hypernet.chunking.chunk_plan import ChunkPlan
from keras_hypernet.utils import checks
from keras_hypernet.utils.tables import format_table

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


def parameters_of(plan, hidden_sizes=(), input_size=0, use_bias=True, num_conditions=1):
    """Number of parameters of each kind of a plan: its perceptron and its embeddings.

    Args:
        plan: A `ChunkPlan`.
        hidden_sizes: Hidden layers of every kind's perceptron.
        input_size: Width of what each perceptron gets besides the embedding.
        use_bias: Whether the perceptrons' layers have biases.
        num_conditions: Number of sets of embeddings.

    Returns:
        `{kind: number of parameters}`.

    Raises:
        ValueError: if a size is out of range.
        TypeError: if the plan is no `ChunkPlan`, or a size is not an integer.

    Example:

    >>> kinds = {"half": {"shapes": {"kernel": (6, 4)}, "number": 2, "embedding_size": 3}}
    >>> join = {"join": ["half/0/kernel", "half/1/kernel"], "axis": -1}
    >>> plan = kh.ChunkPlan({"a/kernel": (6, 8)}, kinds, {"a/kernel": join})
    >>> kh.targets.parameters_of(plan)  # (3 + 1) * 24 and 2 * 3
    {'half': 102}
    """
    heads = Heads.checked(hidden_sizes, input_size, use_bias, num_conditions)
    return {
        name: heads.parameters(kind.spec.total, kind.number, kind.embedding_size)
        for name, kind in ChunkPlan.of(plan).kinds.items()
    }


def plan_table(plan, hidden_sizes=(), input_size=0, use_bias=True, num_conditions=1):
    """A table of what each kind of a plan covers and costs, with the total.

    `weights` are the weights of the target that are made of the kind's chunks. They are not known
    where the plan's assembly is a function.

    Args:
        plan: A `ChunkPlan`.
        hidden_sizes: As for `parameters_of`.
        input_size: As for `parameters_of`.
        use_bias: As for `parameters_of`.
        num_conditions: As for `parameters_of`.

    Returns:
        Text of several lines.

    Raises:
        ValueError: as `parameters_of`.
        TypeError: as `parameters_of`.

    Example:

    >>> kinds = {"half": {"shapes": {"kernel": (6, 4)}, "number": 2, "embedding_size": 3}}
    >>> join = {"join": ["half/0/kernel", "half/1/kernel"], "axis": -1}
    >>> plan = kh.ChunkPlan({"a/kernel": (6, 8)}, kinds, {"a/kernel": join})
    >>> print(kh.targets.plan_table(plan))
      kind   layers  chunk          number  embedding  parameters  weights  compression
      half   a       kernel (6, 4)  2       3          102         48       0.47x
      total  1                      2                  102         48       0.47x
    """
    parameters = parameters_of(plan, hidden_sizes, input_size, use_bias, num_conditions)
    plan = ChunkPlan.of(plan)
    covered, rows = _covered(plan), [(*HEADINGS, "compression")]
    for name, kind in plan.kinds.items():
        layers, weights = covered[name]
        chunk = ", ".join(f"{tensor.name} {tensor.shape}" for tensor in kind.spec)
        counts = (kind.number, kind.embedding_size, *_ratio(parameters[name], weights))
        rows.append((name, _listed(layers), chunk, *counts))
    total = _ratio(sum(parameters.values()), plan.spec.total)
    rows.append(("total", len(plan.spec.layers), "", plan.num_chunks, "", *total))
    return format_table([tuple(map(str, row)) for row in rows])


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
