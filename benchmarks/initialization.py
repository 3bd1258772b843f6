"""How activations grow or fade through a generated network at the start.

The target has five ReLU layers of 500 units. Printed is the variance of what goes into each layer's
ReLU: the median over 20 conditions and several seeds. An ordinary network with He's initializer has
2 in every layer, and the last one with Glorot's has 1. `spread` is how much single seeds differ in
the last layer: the standard deviation of the logarithm of their medians.

    KERAS_BACKEND=torch python benchmarks/initialization.py
"""

import argparse

import keras
import numpy as np
from common import print_table
from keras import ops

import keras_hypernet as kh

WIDTH, DEPTH, CONDITIONS, SIZE = 500, 5, 20, 8
TARGET = kh.WeightSpec.from_layer_sizes([(WIDTH, WIDTH)] * DEPTH)
PLAN = kh.ChunkPlan(
    TARGET,
    kinds={"layer": {"shapes": {"kernel": (WIDTH, WIDTH), "bias": (WIDTH,)}, "number": DEPTH}},
    assembly={
        f"layer_{i}/{part}": f"layer/{i}/{part}"
        for i in range(DEPTH)
        for part in ("kernel", "bias")
    },
)


def chunked(size, hidden_sizes=(), **fixed):
    return lambda **options: kh.ChunkedWeightGenerator(
        TARGET, size, chunk_embedding_size=32, hidden_sizes=hidden_sizes, **fixed, **options
    )


MAKERS = {
    "full": lambda **options: kh.WeightGenerator(TARGET, hidden_sizes=[50], **options),
    "structured": lambda **options: kh.StructuredWeightGenerator(
        PLAN, hidden_sizes=[50], **options
    ),
    "chunks of 500": chunked(500),
    "chunks of 999": chunked(999),
    "chunks of 1000": chunked(1000),
    "chunks of 1000, one ReLU layer": chunked(1000, [100]),
    "chunks of 1000, row-major": chunked(1000, [100], output_first=False),
}
LINEAR = ("chunks of 500", "chunks of 999", "chunks of 1000")


def starts(name):
    """`{start: (arguments of the generator, standard deviation of its inputs)}`."""
    small = 1e-2 if name.startswith("chunks") else 1.0
    hyperfan = {
        kind.__name__: ({"initialization": kind(condition_variance=small**2)}, small)
        for kind in (kh.HyperFanIn, kh.HyperFanOut, kh.HyperFanHarmonic)
    }
    plain = {"initialization": None}
    if name not in LINEAR:
        plain["feature_scale"] = 1.0
    heads = {
        "Glorot head": ({**plain, "head_kernel_initializer": "glorot_uniform"}, small),
        "Kaiming head": ({**plain, "head_kernel_initializer": "he_uniform"}, small),
    }
    return {"BiasHyperInit": ({}, 1.0), **hyperfan, **heads}


def variances(generator, stddev, seed):
    """`(conditions, layers)`."""
    rng, found = np.random.default_rng(seed), []
    z = stddev * rng.normal(size=(CONDITIONS, SIZE)).astype("float32")
    for weights in ops.convert_to_numpy(generator(z)):
        tensors, x = TARGET.split(weights), rng.normal(size=(64, WIDTH)).astype("float32")
        found.append([])
        for layer in TARGET.layers:
            y = x @ tensors[f"{layer}/kernel"] + tensors[f"{layer}/bias"]
            found[-1].append(y.var())
            x = np.maximum(y, 0)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    rows = []
    for name, make in MAKERS.items():
        for start, (options, stddev) in starts(name).items():
            found = []
            for seed in seeds:
                keras.utils.set_random_seed(seed)
                found.append(variances(make(**options), stddev, seed))
            median = np.median(found, axis=(0, 1))
            spread = np.log(np.median(found, axis=1)[:, -1]).std()
            cells = [f"{value:.2g}" for value in (*median, spread)]
            rows.append((name, start, *cells))
    layers = [f"layer {i + 1}" for i in range(DEPTH)]
    print_table(["generator", "start", *layers, "spread"], rows)


if __name__ == "__main__":
    main()
