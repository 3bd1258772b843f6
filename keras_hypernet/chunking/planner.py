"""`plan_chunks`: a chunk plan of any target that keeps to a number of parameters."""

from __future__ import annotations

import collections
import itertools
import math
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras

from keras_hypernet.chunking import slices
from keras_hypernet.chunking.plan_builder import PlanBuilder, spec_of
from keras_hypernet.chunking.plan_table import Heads
from keras_hypernet.utils import checks

if TYPE_CHECKING:
    from keras_hypernet.chunking.chunk_plan import ChunkPlan
    from keras_hypernet.weights.spec import SpecLike


def plan_chunks(
    target: keras.layers.Layer | SpecLike,
    budget: float,
    hidden_sizes: Sequence[int] = (),
    embedding_size: int | None = None,
    input_size: int = 0,
    use_bias: bool = True,
    num_conditions: int = 1,
    verbose: bool = False,
) -> ChunkPlan:
    """A chunk plan of any model whose `StructuredWeightGenerator` keeps to a budget.

    What is counted is, for every kind of chunks, a perceptron from the embedding and the other
    inputs to the chunk, and the embeddings of all chunks. It holds for a generator that is made
    with the same `hidden_sizes`, `use_bias` and `num_conditions`.

    All tensors of a layer that have an entry for each output are a chunk, and layers of equal
    shapes are of one kind. While that is too much, the kind that costs most is cut along its
    outputs (a table along its rows) into the largest chunks that save parameters. Layers that
    differ in the number of outputs only become one kind where their chunks get equal shapes. If
    cutting is not enough, the embeddings are made smaller, first those of single chunks.

    Args:
        target: A built Keras model or layer, or a `WeightSpec`.
        budget: The most parameters: an integer, or a fraction in `(0, 1]` of the target's weights.
        hidden_sizes: Hidden layers of every kind's perceptron.
        embedding_size: Width of all embeddings. `None` is 8, or less where the budget needs it:
            down to 1, and for a single chunk to 0 if there are other inputs.
        input_size: Width of what each perceptron gets besides the embedding: the noise and the
            embedding of the condition.
        use_bias: Whether the perceptrons' layers have biases.
        num_conditions: Number of sets of embeddings, where each condition has its own.
        verbose: Whether to print the plan's `table`.

    Returns:
        A `ChunkPlan`.

    Raises:
        ValueError: if the budget is out of range or not met by any cut (the smallest number of
            parameters found is named), or a size is out of range.
        TypeError: if the target is neither a model nor a `WeightSpec`, or the budget is no number.

    Example:

    >>> spec = kh.WeightSpec.from_shapes(
    ...     {"a/kernel": (64, 64), "b/kernel": (64, 96), "c/kernel": (96, 10)}
    ... )
    >>> plan = kh.plan_chunks(spec, budget=0.2, embedding_size=4, verbose=True)
      kind         layers        chunk           number  embedding  parameters  weights  compression
      kernel_64x1  a and 1 more  kernel (64, 1)  160     4          960         10240    10.67x
      kernel_96x1  c             kernel (96, 1)  10      4          520         960      1.85x
      total        3                             170                1480        11200    7.57x

    Reference: von Oswald et al., 2020 (https://arxiv.org/abs/1906.00695), which cuts a target into
    chunks by hand.
    """
    verbose = checks.boolean("verbose", verbose)
    spec = spec_of("target", target)
    limit = _limit(budget, spec.total)
    heads = Heads.checked(hidden_sizes, input_size, use_bias, num_conditions)
    units, least = list(slices.units_of(spec)), math.inf
    for sizes in _embedding_sizes(embedding_size, heads):
        search = _Search(units, heads, *sizes)
        least = min(least, search.run(limit))
        if least <= limit:
            break
    else:
        raise ValueError(
            f"`budget` must be at least {least}, the fewest parameters found by cutting chunks. "
            "Smaller `hidden_sizes`, `input_size` or `embedding_size` need fewer. "
            f"Received: budget={budget!r}, {limit} parameters for {spec.total} weights"
        )
    plan = search.plan(spec, units)
    if verbose:
        print(plan.table(hidden_sizes, input_size, use_bias, num_conditions))
    return plan


def _limit(budget, total):
    if isinstance(budget, numbers.Real) and not isinstance(budget, bool):
        if isinstance(budget, numbers.Integral) and budget > 0:
            return int(budget)
        if not isinstance(budget, numbers.Integral) and 0 < budget <= 1:
            return math.floor(budget * total)
    error = ValueError if isinstance(budget, numbers.Real) else TypeError
    raise error(
        "`budget` must be a positive integer or a fraction in (0, 1]. "
        f"Received: budget={budget!r} of type {type(budget).__name__}"
    )


def _embedding_sizes(given, heads):
    """`(of many chunks, of a single one)`, from what is wanted to the last resort."""
    if given is not None:
        return [(checks.positive_int("embedding_size", given),) * 2]
    # Without an embedding or a bias, a chunk would be zero wherever the other inputs are.
    single = 0 if heads.input_size and heads.use_bias else 1
    return [(8, 8), *((size, single) for size in range(8, 0, -1))]


class _Search:
    """Cuts kinds of chunks, the costliest first, until they keep to a limit.

    `widths` is what has been decided: `{family: {slices in a layer: slices in its chunks}}`.
    """

    def __init__(self, units, heads, embedding_of_many, embedding_of_one):
        self.heads = heads
        self.embedding_of_many, self.embedding_of_one = embedding_of_many, embedding_of_one
        self.layers = collections.Counter((unit.family, unit.size) for unit in units)
        self.widths = {}
        for unit in units:
            self.widths.setdefault(unit.family, {})[unit.size] = unit.size

    def run(self, limit):
        """Cuts, and returns the number of parameters that it has come to."""
        costs = {family: self._costs(family, widths) for family, widths in self.widths.items()}
        while (total := sum(sum(kinds.values()) for kinds in costs.values())) > limit:
            ranked = [(-c, family, w) for family, kinds in costs.items() for w, c in kinds.items()]
            ranked.sort(key=lambda kind: kind[0])
            cuts = (self._cut(family, width) for _, family, width in ranked)
            cut = next(filter(None, cuts), None)
            if cut is None:
                break
            family, self.widths[family] = cut
            costs[family] = self._costs(*cut)
        return total

    def _cut(self, family, width):
        """`(family, widths)` with the largest chunks that save parameters, or `None`."""
        widths = self.widths[family]
        before = sum(self._costs(family, widths).values())
        for new in _divisors(width):
            alone = {size: new if w == width else w for size, w in widths.items()}
            together = {size: w if w % new else new for size, w in widths.items()}
            costs = [sum(self._costs(family, option).values()) for option in (alone, together)]
            if min(costs) < before:
                return family, alone if costs[0] < costs[1] else together
        return None

    def _costs(self, family, widths):
        """`{slices in a chunk: parameters of that kind}`."""
        chunks = collections.Counter()
        for size, width in widths.items():
            chunks[width] += self.layers[family, size] * size // width
        values = slices.values_in_slice(family)
        return {
            width: self.heads.parameters(width * values, number, self._embedding_size(number))
            for width, number in chunks.items()
        }

    def _embedding_size(self, number):
        return self.embedding_of_one if number == 1 else self.embedding_of_many

    def plan(self, spec, units):
        builder, names = PlanBuilder(spec), {}
        for unit in units:
            width = self.widths[unit.family][unit.size]
            if (unit.family, width) not in names:
                names[unit.family, width] = _name(unit.family, width, names.values())
            kind = names[unit.family, width]
            builder.add(kind, unit.tensors, unit.axes, unit.size // width)
        return builder.plan(
            {kind: self._embedding_size(made["number"]) for kind, made in builder.kinds.items()}
        )


def _divisors(n):
    """From `n` down to 1."""
    small = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    return sorted({*small, *(n // d for d in small)}, reverse=True)


def _name(family, width, taken):
    """A kind's name: its largest tensor's, with the shape of a chunk of it."""
    main = max(family, key=lambda entry: math.prod(slices.shape_of_chunk(entry, width)))
    shape = "x".join(map(str, slices.shape_of_chunk(main, width)))
    stem = f"{main[0]}_{shape}" if shape else main[0]
    numbered = (f"{stem}_{i}" for i in itertools.count(2))
    return next(name for name in itertools.chain([stem], numbered) if name not in taken)
