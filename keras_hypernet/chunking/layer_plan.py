"""`LayerPlan`: which layers of a target are of one kind, and which head makes what of them."""

import collections
import dataclasses
import itertools
import re

from keras_hypernet.weights.spec import WeightSpec

HEADS = ("kind", "factor")

# A number in a path. Keras leaves out the first one of a name: it is then the end of the name.
NUMBER = re.compile(r"(_?\d+|(?<=[^\d/])(?=/|$))")


@dataclasses.dataclass(frozen=True)
class Chunk:
    """What one row of features makes: a layer, or one tensor of it."""

    spec: WeightSpec
    kind: int
    depth: int
    factor: str


@dataclasses.dataclass(frozen=True)
class Head:
    """A linear head: it makes `spec` of the first `number` chunks of a kind."""

    spec: WeightSpec
    kind: int
    number: int


class LayerPlan:
    """Chunks of a target by kind, the longest ones of a kind first, and the heads that make them.

    A head makes no value that is not used: what only the longer chunks of a kind have, a head of
    its own makes for these.

    Args:
        spec: The `WeightSpec` of the target.
        heads: `"kind"`: a chunk is a layer. `"factor"`: a chunk is one tensor.
    """

    def __init__(self, spec, heads):
        self.kinds = kinds_of(spec)
        chunks = list(_chunks(spec, self.kinds, heads))  # in the target's order
        sizes = [chunk.spec.total for chunk in chunks]
        order = sorted(range(len(chunks)), key=lambda i: (chunks[i].kind, -sizes[i]))
        ordered = [chunks[i] for i in order]
        self.rows = {
            "depth": [chunk.depth for chunk in ordered],
            "kind": [chunk.kind for chunk in ordered],
        }
        if heads == "factor":
            factors = list(dict.fromkeys(chunk.factor for chunk in chunks))
            self.rows["factor"] = [factors.index(chunk.factor) for chunk in ordered]
        counts = collections.Counter(self.rows["kind"])
        self.numbers = [counts[kind] for kind in range(len(self.kinds))]
        self.heads, pieces = [], collections.defaultdict(list)
        for kind, members in itertools.groupby(order, key=lambda i: chunks[i].kind):
            members = list(members)
            bounds = [0, *sorted({sizes[i] for i in members})]
            for start, stop in itertools.pairwise(bounds):
                longer = [i for i in members if sizes[i] >= stop]
                for place, i in enumerate(longer):
                    pieces[i].append((len(self.heads), place))
                of_head = _spec_of_head(chunks[longer[0]].spec, start, stop)
                self.heads.append(Head(of_head, kind, len(longer)))
        self.runs = _runs(piece for i in range(len(chunks)) for piece in pieces[i])

    @property
    def outputs(self):
        """The width of all heads together."""
        return sum(head.spec.total for head in self.heads)

    def cuts(self, head):
        """The runs of a head in the order of its chunks."""
        return sorted(run for run in self.runs if run[0] == head)


def kinds_of(spec):
    """`{first layer of a kind: {layer: its depth}}`.

    Layers of a kind have equal tensors, and names that are equal but for the number of the layer:
    the first number in which names that are equal but for numbers differ. The others must be equal,
    too; where none of them comes twice, they count on from layer to layer (`block_1/dense_2`,
    `block_1/dense_3`, `block_2/dense_4`), and it is the place in the layer that must be.

    Depth is the order of what has the number, such as a block: of all blocks that have one of these
    layers. Where the name of a layer itself has it, it is the order in the kind.
    """
    families = {}
    for name, layer in spec.layers.items():
        parts = NUMBER.split(name)
        alike = tuple((_local(t.name), t.shape, t.role, t.layout) for t in layer)
        family = families.setdefault((tuple(parts[::2]), alike), {})
        family[name] = tuple(parts[1::2])
    kinds, depths = {}, {}
    for (texts, alike), family in families.items():
        varying = [i for i, found in enumerate(zip(*family.values())) if len(set(found)) > 1]
        number = varying[0] if varying else 0
        others = [(*found[:number], *found[number + 1 :]) for found in family.values()]
        counts_on = len(set(others)) == len(others)
        places = collections.Counter()
        for (name, found), other in zip(family.items(), others):
            here = found[: number + 1]
            key = texts, alike, places[here] if counts_on else other
            places[here] += 1
            inside = "/" in "".join(texts[number + 1 :])
            order = depths.setdefault(texts[: number + 1] if inside else key, {})
            depth = order.setdefault(here, len(order)) if varying else 0
            kinds.setdefault(key, {})[name] = depth
    return {next(iter(kind)): kind for kind in kinds.values()}


def _chunks(spec, kinds, heads):
    known = {
        layer: (i, depth) for i, kind in enumerate(kinds.values()) for layer, depth in kind.items()
    }
    for layer, tensors in spec.layers.items():
        parts = [tensors] if heads == "kind" else [WeightSpec([tensor]) for tensor in tensors]
        for part in parts:
            factor = _local(part[0].name).rpartition(".")[2]  # of `kernel.down`
            yield Chunk(part, *known[layer], factor)


def _spec_of_head(chunk, start, stop):
    """The tensors of a chunk under their own names, or as one where it is a part of them."""
    if stop - start == chunk.total:
        return WeightSpec([dataclasses.replace(t, name=_local(t.name)) for t in chunk])
    part = dataclasses.replace(chunk[0], name=_local(chunk[0].name), shape=(stop - start,))
    return WeightSpec([part])


def _runs(pieces):
    """`(head, chunk)` in the target's order -> `[(head, start, stop)]`, neighbours as one."""
    runs = []
    for head, place in pieces:
        if runs and runs[-1][::2] == (head, place):
            runs[-1] = (head, runs[-1][1], place + 1)
        else:
            runs.append((head, place, place + 1))
    return runs


def _local(name):
    return name.rpartition("/")[2]
