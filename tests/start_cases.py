"""A target whose layers have initializers of their own, and every generator for it."""

import keras
import numpy as np

import keras_hypernet as kh
from keras_hypernet.weights.forms import materialize

TENSORS = {
    "a/kernel": ((24, 32), keras.initializers.Orthogonal(gain=2.0)),
    "a/bias": ((32,), keras.initializers.Constant(0.25)),
    "norm/gamma": ((32,), None),
    "norm/beta": ((32,), None),
    "b/kernel": ((32, 40), "he_normal"),
    "conv/kernel": ((3, 3, 12, 8), None),
}
ORDINARY = kh.WeightSpec(
    [{"name": n, "shape": shape, "initializer": i} for n, (shape, i) in TENSORS.items()]
)


def part_of_ordinary(*names):
    return kh.WeightSpec([ORDINARY[name] for name in names])


def one_chunk():
    """All tensors in one kind, under names of its own."""
    pieces = {name: name.replace("/", "_") for name in ORDINARY.names}
    shapes = {piece: ORDINARY[name].shape for name, piece in pieces.items()}
    return kh.ChunkPlan(
        ORDINARY,
        {"all": {"shapes": shapes}},
        {name: f"all/0/{piece}" for name, piece in pieces.items()},
    )


def perceptron(**options):
    return kh.WeightGenerator(ORDINARY, **{"hidden_sizes": [5], "activation": "tanh", **options})


def in_chunks(spec=ORDINARY, **options):
    return kh.ChunkedWeightGenerator(spec, 100, hidden_sizes=[5], activation="tanh", **options)


def composed(**options):
    first, *rest = ORDINARY.names
    parts = {
        "p": kh.WeightGenerator(part_of_ordinary(first), hidden_sizes=[5], activation="tanh"),
        "q": in_chunks(part_of_ordinary(*rest)),
    }
    return kh.ComposedWeightGenerator(ORDINARY, parts, **options)


BASED = {
    "no bias": lambda **o: perceptron(use_bias=False, **o),
    "chunked": in_chunks,
    "chunks of chunks": lambda **o: kh.ChunkedWeightGenerator(
        ORDINARY, 100, generator=lambda s: kh.ChunkedWeightGenerator(s, 30, activation="tanh"), **o
    ),
    "own chunks": lambda **o: in_chunks(chunk_embeddings="conditional", num_conditions=3, **o),
    "structured": lambda **o: kh.StructuredWeightGenerator(
        one_chunk(), hidden_sizes=[5], activation="tanh", **o
    ),
    "layerwise": lambda **o: kh.LayerwiseWeightGenerator(
        ORDINARY, hidden_sizes=[5], activation="tanh", **o
    ),
    "factors": lambda **o: kh.LayerwiseWeightGenerator(
        ORDINARY, hidden_sizes=[5], heads="factor", activation="tanh", **o
    ),
    "deconv": lambda **o: kh.DeconvWeightGenerator(
        ORDINARY, (60, 60), [8, 8], attention=(), activation="tanh", **o
    ),
    "chunked deconv": lambda **o: kh.ChunkedDeconvWeightGenerator(
        ORDINARY, (16, 16), [8], attention=(), activation="tanh", **o
    ),
}
GENERATORS = {
    "full": perceptron,
    "linear": lambda **o: kh.WeightGenerator(ORDINARY, hidden_sizes=(), **o),
    "spectral": lambda **o: perceptron(spectral_normalization=True, **o),
    **BASED,
    "composed": composed,
    "hypernetwork": lambda **o: kh.Hypernetwork(perceptron(), 3, **o),
    "tasks": lambda **o: kh.TaskWeights(perceptron(), 3, **o),
    "chunks for tasks": lambda **o: kh.Hypernetwork(in_chunks(), 3, **o),
    "perturbed": lambda **o: kh.PerturbedWeightGenerator(perceptron(), sigma=0.0, **o),
}


def three_conditions(name):
    ids, z = np.arange(3, dtype="int32"), np.random.default_rng(1).normal(size=(3, 4))
    if name in ("hypernetwork", "tasks", "chunks for tasks"):
        return ids
    z = z.astype("float32")
    return {"condition": z, "condition_id": ids} if name == "own chunks" else z


class Flat(keras.layers.Layer):
    """Flat weights of any generator."""

    def __init__(self, generator):
        super().__init__()
        self.generator = generator

    def call(self, conditioning):
        return materialize(self.generator(conditioning))
