"""`ChunkPlan`: the kinds of chunks that a target is cut into, and where each goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from keras_hypernet.chunking.assembly import Assembly, entries_from_config
from keras_hypernet.chunking.plan_table import Heads, format_plan
from keras_hypernet.utils import checks
from keras_hypernet.utils.tables import Table, Tabular
from keras_hypernet.utils.types import AssemblyLike, Config
from keras_hypernet.weights.spec import WeightSpec

if TYPE_CHECKING:
    from keras_hypernet.weights.spec import SpecLike


PARTS = ("spec", "kinds", "assembly")


@dataclasses.dataclass(frozen=True)
class ChunkKind:
    """A kind of chunk: its tensors, how many there are, and the width of their embeddings."""

    spec: WeightSpec
    number: int
    embedding_size: int


class ChunkPlan(Tabular):
    """The kinds of chunks that a target is cut into, and where each of them goes.

    Args:
        spec: The `WeightSpec` of the target, or what makes one.
        kinds: `{kind: {"shapes": {tensor: shape}, "number": n, "embedding_size": size}}`. The
            number is 1 and the embedding size 8 unless given; a size of 0 (no embedding) is for a
            kind with one chunk.
        assembly: `{target tensor: piece}`; a piece is called `kind/index/tensor`. A tensor made of
            several has `{"join": [pieces], "axis": axis}`. Pieces may be used more than once, or
            not at all. Or a function registered with Keras, `{piece: (rows, *shape)} -> {target
            tensor: (rows, *shape)}`.

    Raises:
        ValueError: if a tensor of the target is not covered, its pieces overlap or have other
            shapes (it is named), or a number or size is out of range.

    Example:

    >>> plan = kh.ChunkPlan(
    ...     {"a/kernel": (6, 4), "b/kernel": (6, 8)},
    ...     kinds={"half": {"shapes": {"kernel": (6, 4)}, "number": 3, "embedding_size": 2}},
    ...     assembly={
    ...         "a/kernel": "half/0/kernel",
    ...         "b/kernel": {"join": ["half/1/kernel", "half/2/kernel"], "axis": -1},
    ...     },
    ... )
    >>> plan
    ChunkPlan: 1 kind, 3 chunks, 24 chunk outputs for 72 weights
      kind  number  embedding  outputs  tensors
      half  3       2          24       kernel (6, 4)
    """

    def __init__(self, spec: SpecLike, kinds: dict[str, Config], assembly: AssemblyLike) -> None:
        self.spec = WeightSpec.of(spec)
        if not isinstance(kinds, dict) or not kinds:
            raise ValueError(f"`kinds` must be a non-empty dict of kinds. Received: {kinds!r}")
        checks.names("kinds", kinds)
        checked = {name: _checked_kind(name, kind) for name, kind in kinds.items()}
        sources = {
            f"{name}/{i}/{tensor.name}": tensor.shape
            for name, kind in checked.items()
            for i in range(kind.number)
            for tensor in kind.spec
        }
        self.assembly = Assembly(self.spec, sources, assembly)
        self.kinds = {name: self._as_in_target(name, kind) for name, kind in checked.items()}
        self.runs = {
            target: _runs(entry["join"]) for target, entry in self.assembly.entries.items()
        }

    def _as_in_target(self, name, kind):
        """The kind with the roles, layouts and (mean) fans of the tensors that its chunks go to."""
        used, tensors = self.assembly.used, []
        for tensor in kind.spec:
            pieces = [f"{name}/{i}/{tensor.name}" for i in range(kind.number)]
            targets = [self.spec[target] for piece in pieces for target in used.get(piece, ())]
            if targets:
                fields = {"role": targets[0].role, "layout": targets[0].layout}
                for fan in ("fan_in", "fan_out"):
                    known = [getattr(t, fan) for t in targets if getattr(t, fan) is not None]
                    fields[fan] = _mean(known) if known else None
                tensor = dataclasses.replace(tensor, **fields)
            tensors.append(tensor)
        return dataclasses.replace(kind, spec=WeightSpec(tensors))

    def cuts(self, kind: str, tensor: str) -> list[tuple[int, int]] | None:
        """Where to cut all chunks of a kind so that every run of this tensor is a piece.

        Returns `[(start, stop)]` of all chunks in order, or `None` where runs overlap.
        """
        checks.choice("kind", kind, tuple(self.kinds))
        checks.choice("tensor", tensor, tuple(self.kinds[kind].spec.names))
        own = {r[2:] for runs in self.runs.values() for r in runs if r[:2] == (kind, tensor)}
        cuts, end = [], 0
        for start, stop in sorted(own):
            if start < end:
                return None
            cuts += [(end, start)] * (start > end) + [(start, stop)]
            end = stop
        number = self.kinds[kind].number
        return cuts + [(end, number)] * (end < number)

    @property
    def num_chunks(self):
        return sum(kind.number for kind in self.kinds.values())

    @property
    def chunk_outputs(self) -> int:
        """Number of values in one chunk of every kind: the width of all heads together."""
        return sum(kind.spec.total for kind in self.kinds.values())

    def parameters(
        self,
        hidden_sizes: Sequence[int] = (),
        input_size: int = 0,
        use_bias: bool = True,
        num_conditions: int = 1,
    ) -> dict[str, int]:
        """Number of parameters of each kind: its perceptron's, and the embeddings of its chunks.

        Args:
            hidden_sizes: Hidden layers of every kind's perceptron.
            input_size: Width of what each perceptron gets besides the embedding.
            use_bias: Whether the perceptrons' layers have biases.
            num_conditions: Number of sets of embeddings.

        Returns:
            `{kind: number of parameters}`.

        Raises:
            ValueError, TypeError: if a size is out of range or no integer.

        Example:

        >>> kinds = {"half": {"shapes": {"kernel": (6, 4)}, "number": 2, "embedding_size": 3}}
        >>> join = {"join": ["half/0/kernel", "half/1/kernel"], "axis": -1}
        >>> plan = kh.ChunkPlan({"a/kernel": (6, 8)}, kinds, {"a/kernel": join})
        >>> plan.parameters()  # (3 + 1) * 24 and 2 * 3
        {'half': 102}
        """
        heads = Heads.checked(hidden_sizes, input_size, use_bias, num_conditions)
        return {
            name: heads.parameters(kind.spec.total, kind.number, kind.embedding_size)
            for name, kind in self.kinds.items()
        }

    def table(
        self,
        hidden_sizes: Sequence[int] = (),
        input_size: int = 0,
        use_bias: bool = True,
        num_conditions: int = 1,
    ) -> str:
        """A table of what each kind covers and costs, with the total.

        `weights` are the weights of the target that are made of the kind's chunks. They are not
        known where the plan's assembly is a function.

        Args:
            hidden_sizes, input_size, use_bias, num_conditions: As for `parameters`.

        Returns:
            Text of several lines.

        Raises:
            ValueError, TypeError: as `parameters`.

        Example:

        >>> kinds = {"half": {"shapes": {"kernel": (6, 4)}, "number": 2, "embedding_size": 3}}
        >>> join = {"join": ["half/0/kernel", "half/1/kernel"], "axis": -1}
        >>> plan = kh.ChunkPlan({"a/kernel": (6, 8)}, kinds, {"a/kernel": join})
        >>> print(plan.table())
          kind   layers  chunk          number  embedding  parameters  weights  compression
          half   a       kernel (6, 4)  2       3          102         48       0.47x
          total  1                      2                  102         48       0.47x
        """
        return format_plan(
            self, self.parameters(hidden_sizes, input_size, use_bias, num_conditions)
        )

    def with_embedding_sizes(self, sizes: dict[str, int] | Sequence[int]) -> ChunkPlan:
        """The same plan with other embedding sizes: `{kind: size}`, or a list in order."""
        if not isinstance(sizes, dict):
            given = checks.non_empty_list("sizes", sizes)
            if len(given) != len(self.kinds):
                raise ValueError(
                    f"`sizes` must have one entry per kind ({len(self.kinds)}). Received: {sizes}"
                )
            sizes = dict(zip(self.kinds, given))
        checks.known_keys("sizes", sizes, self.kinds)
        config = self.get_config()
        for name, size in sizes.items():
            config["kinds"][name]["embedding_size"] = size
        return ChunkPlan.from_config(config)

    @classmethod
    def of(cls, plan: ChunkPlan | Config) -> Self:
        """A plan from a plan or its config."""
        if isinstance(plan, cls):
            return plan
        if isinstance(plan, dict) and set(PARTS) <= set(plan):
            checks.known_keys("plan", plan, PARTS)
            return cls.from_config(plan)
        raise TypeError(f"`plan` must be a `ChunkPlan`. Received: plan={plan!r}")

    def get_config(self) -> Config:
        return {
            "spec": self.spec.get_config(),
            "kinds": {
                name: {
                    "shapes": {tensor.name: list(tensor.shape) for tensor in kind.spec},
                    "number": kind.number,
                    "embedding_size": kind.embedding_size,
                }
                for name, kind in self.kinds.items()
            },
            "assembly": self.assembly.get_config(),
        }

    @classmethod
    def from_config(cls, config: Config) -> Self:
        checks.config_keys("config", config, PARTS)
        return cls(**{**config, "assembly": entries_from_config(config["assembly"])})

    def __eq__(self, other):
        return isinstance(other, ChunkPlan) and self.get_config() == other.get_config()

    __hash__ = None  # type: ignore[assignment]

    def _table(self):
        rows = [("kind", "number", "embedding", "outputs", "tensors")]
        for name, kind in self.kinds.items():
            tensors = ", ".join(f"{t.name} {t.shape}" for t in kind.spec)
            rows.append((name, kind.number, kind.embedding_size, kind.spec.total, tensors))
        counts = [(len(self.kinds), "kind"), (self.num_chunks, "chunk")]
        title = ", ".join(f"{n} {word}{'s' * (n != 1)}" for n, word in counts)
        title += f", {self.chunk_outputs} chunk outputs for {self.spec.total} weights"
        return Table(rows, f"ChunkPlan: {title}")


def _runs(pieces):
    """Names of pieces -> `[(kind, tensor, start, stop)]`, chunks that follow each other as one."""
    runs = []
    for piece in pieces:
        kind, index, tensor = piece.split("/", 2)
        if runs and (*runs[-1][:2], runs[-1][3]) == (kind, tensor, int(index)):
            runs[-1] = (*runs[-1][:3], int(index) + 1)
        else:
            runs.append((kind, tensor, int(index), int(index) + 1))
    return runs


def _checked_kind(name, kind):
    if not isinstance(kind, dict) or "shapes" not in kind:
        raise ValueError(
            f"`kinds[{name!r}]` must be a dict with `shapes` and, if wanted, `number` and "
            f"`embedding_size`. Received: {kind!r}"
        )
    checks.known_keys(f"kinds[{name!r}]", kind, ("shapes", "number", "embedding_size"))
    if not isinstance(kind["shapes"], dict):
        raise TypeError(
            f"`kinds[{name!r}]['shapes']` must be a dict {{tensor name: shape}}. "
            f"Received: {kind['shapes']!r}"
        )
    if "/" in name:
        raise ValueError(f"A kind's name must be a string without a slash. Received: {name!r}")
    number = checks.positive_int(f"kinds[{name!r}]['number']", kind.get("number", 1))
    size = checks.count(f"kinds[{name!r}]['embedding_size']", kind.get("embedding_size", 8))
    if size == 0 and number > 1:
        raise ValueError(
            f"`kinds[{name!r}]['embedding_size']` may be 0 only for a kind with one chunk: "
            f"without embeddings all chunks would be equal. Received: number={number}"
        )
    return ChunkKind(WeightSpec.from_shapes(kind["shapes"]), number, size)


def _mean(numbers):
    total = sum(numbers) / len(numbers)
    return int(total) if total == int(total) else total
