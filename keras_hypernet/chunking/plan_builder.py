"""`PlanBuilder`: collects the layers of a target and the chunks that they are made of."""

import keras

from keras_hypernet.chunking.chunk_plan import ChunkPlan
from keras_hypernet.weights.spec import WeightSpec


def spec_of(argument, target):
    """The `WeightSpec` of a built model or layer, or what is one already."""
    if isinstance(target, keras.Layer):
        return WeightSpec.from_layer(target, argument)
    if isinstance(target, WeightSpec):
        return target
    raise TypeError(
        f"`{argument}` must be a built Keras model or a `WeightSpec`. "
        f"Received: {argument}={target!r} of type {type(target).__name__}"
    )


class PlanBuilder:
    """Counts the chunks of each kind while layers are made of them, one after another."""

    def __init__(self, spec):
        self.spec = spec
        self.kinds = {}
        self.assembly = {}

    def add(self, kind, tensors, cut=None, pieces=1):
        """Makes a layer of the next `pieces` chunks of a kind.

        Args:
            kind: Name of the kind. The layer decides its chunks' shapes if it is the first one.
            tensors: `{tensor in the chunk: tensor in the target}`.
            cut: `{tensor in the chunk: axis}` of those that are cut. The others come whole from
                the layer's first chunk.
            pieces: Number of chunks.
        """
        cut = cut or {}
        shapes = {name: list(self.spec[target].shape) for name, target in tensors.items()}
        for name, axis in cut.items():
            shapes[name][axis] //= pieces
        chunks = self.kinds.setdefault(kind, {"shapes": shapes, "number": 0})
        first = chunks["number"]
        chunks["number"] += pieces
        for name, target in tensors.items():
            used = range(first, first + (pieces if name in cut else 1))
            joined = [f"{kind}/{i}/{name}" for i in used]
            self.assembly[target] = {"join": joined, "axis": cut.get(name, 0)}

    def plan(self, sizes=None):
        """The `ChunkPlan`, with embeddings of 8 or of `{kind: size}`."""
        for kind, size in (sizes or {}).items():
            self.kinds[kind]["embedding_size"] = size
        return ChunkPlan(self.spec, self.kinds, self.assembly)
