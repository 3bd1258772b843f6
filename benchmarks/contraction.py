"""Orders of contraction against what an expert writes by hand, one train step and one forward.

    KERAS_BACKEND=jax python benchmarks/contraction.py            # or torch, or tensorflow
    KERAS_BACKEND=jax python benchmarks/contraction.py --workloads card --fit

Every way trains the same mathematics with Adam on the same batch. `by hand` is a `vmap` over a
per-sample network: `jax.vmap`, `torch.func.vmap(functional_call)`, `tf.vectorized_map`. `dense` is
an ordinary Keras model with the parameters and multiply-adds of the hypernetwork, the floor.
Temporary memory of a train step is the compiler's own account on JAX, the allocator's on
TensorFlow, and the largest growth of a process during a step, sampled, on PyTorch. On TensorFlow
every way is timed uncompiled and compiled (XLA). Medians of interleaved runs; run nothing else
beside it.
"""

import argparse
import dataclasses
import json
import time

import by_hand
import keras
import numpy as np
from common import (
    in_process_that_frees,
    interleaved,
    print_table,
    resident_peak,
    tensorflow_peak,
)
from keras import ops

import keras_hypernet as kh

BACKEND = keras.backend.backend()
ORDERS = ("auto", "materialize", "project", "outer")


@dataclasses.dataclass(frozen=True)
class Workload:
    layers: tuple  # (in, out) of each target layer
    hidden: tuple  # of the generators
    conditioning: int  # width; with tasks, of their embedding
    rows: int  # of conditioning
    points: int = 0  # data points per row, 0 for plain rows
    tasks: int = 0  # ids in place of vectors


WORKLOADS = {
    "wide": Workload(((512, 512), (512, 10)), (32,), 16, 512),
    "card": Workload(((128, 64), (64, 32)), (256, 256), 64, 256),
    "coordinates": Workload(((2, 64), (64, 64), (64, 3)), (32,), 16, 16, points=1024),
    "tasks": Workload(((784, 400), (400, 400), (400, 10)), (32,), 8, 256, tasks=10),
}


def batch(load, rng):
    inner = (load.points,) if load.points else ()
    if load.tasks:
        conditioning = rng.integers(load.tasks, size=load.rows).astype("int32")
    else:
        conditioning = rng.normal(size=(load.rows, load.conditioning)).astype("float32")
    x = rng.normal(size=(load.rows, *inner, load.layers[0][0])).astype("float32")
    y = rng.normal(size=(load.rows, *inner, load.layers[-1][1])).astype("float32")
    return conditioning, x, y


def hyper(load, contraction):
    if not load.tasks:
        width = load.layers[0][0]
        size = (None, width) if load.points else width
        return kh.build(load.conditioning, size, load.layers, load.hidden, contraction=contraction)
    ids, x = keras.Input((), dtype="int32"), keras.Input((load.layers[0][0],))
    spec = [shape for i, o in load.layers for shape in ((i, o), (o,))]
    generator = kh.WeightGenerator(spec, hidden_sizes=load.hidden)
    weights = kh.TaskWeights(generator, load.tasks, embedding_size=load.conditioning)(ids)
    apply = kh.ApplyGeneratedWeights(load.layers, contraction=contraction)
    return keras.Model([ids, x], apply(x, weights))


def dense(load):
    """An ordinary model with the hypernetwork's parameters and multiply-adds."""
    (inputs, _), (_, outputs) = load.layers
    x = keras.Input((inputs,))
    hidden = keras.layers.Dense(load.hidden[-1] * load.layers[0][1], activation="relu")(x)
    return keras.Model(x, keras.layers.Dense(outputs)(hidden))


def steps(model, inputs, y, compiled=False):
    """`(train step, forward)` as functions that wait for their result, and temporary MB."""
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)
    loss_of = lambda outputs: ops.mean(ops.square(outputs - y))  # noqa: E731
    inputs, y = keras.tree.map_structure(ops.convert_to_tensor, (inputs, y))
    if BACKEND == "jax":
        return by_hand.jax_steps(
            lambda variables: model.stateless_call(variables[0], variables[1], inputs)[0],
            lambda variables, gradients, state: optimizer.stateless_apply(
                state, gradients, variables
            ),
            [v.value for v in model.trainable_variables],
            [v.value for v in model.non_trainable_variables],
            [v.value for v in optimizer.variables],
            y,
        )
    if BACKEND == "tensorflow":
        import tensorflow as tf

        variables = [v.value for v in model.trainable_variables]

        @tf.function(jit_compile=compiled)
        def train():
            with tf.GradientTape() as tape:
                loss = loss_of(model(inputs, training=True))
            optimizer.apply(tape.gradient(loss, variables), model.trainable_variables)
            return loss

        forward = tf.function(lambda: model(inputs), jit_compile=compiled)
        return lambda: train().numpy(), lambda: forward().numpy(), None
    import torch

    def train():
        model.zero_grad()
        loss = loss_of(model(inputs, training=True))
        loss.backward()
        with torch.no_grad():
            trainable = model.trainable_variables
            optimizer.apply([v.value.grad for v in trainable], trainable)
        return loss.item()

    def forward():
        with torch.no_grad():
            return model(inputs)

    return train, forward, None


def ways(load, rng, compiled):
    conditioning, x, y = batch(load, rng)
    found = {order: steps(hyper(load, order), [conditioning, x], y, compiled) for order in ORDERS}
    found["by hand"] = by_hand.steps(load, conditioning, x, y, compiled)
    if load == WORKLOADS["wide"]:
        found["dense"] = steps(dense(load), x, y, compiled)
    return found


def measure(name, runs, compiled):
    load = WORKLOADS[name]
    found = ways(load, np.random.default_rng(0), compiled)
    trains = interleaved({way: train for way, (train, _, _) in found.items()}, runs)
    forwards = interleaved({way: forward for way, (_, forward, _) in found.items()}, runs)
    mode = {"tensorflow": "XLA" if compiled else "graph"}.get(BACKEND, "")
    title = " ".join([name, BACKEND, mode]).strip()
    if BACKEND == "jax":
        memory = {way: megabytes for way, (_, _, megabytes) in found.items()}
    elif BACKEND == "tensorflow":
        memory = {way: tensorflow_peak(train) for way, (train, _, _) in found.items()}
    else:
        memory = json.loads(in_process_that_frees(__file__, "--memory", name))
    rows = []
    for way in found:
        ratio = trains[way] / trains["auto"]
        cells = [f"{1e3 * trains[way]:.1f}", f"{ratio:.2f}", f"{1e3 * forwards[way]:.1f}"]
        rows.append([title, way, *cells, f"{memory[way]:.0f}"])
    best = min(trains[order] for order in ORDERS[1:])
    columns = ["workload", "way", "train ms", "/ auto", "forward ms", "temporary MB"]
    print_table(columns, rows)
    print(f"auto / best fixed order: {trains['auto'] / best:.2f}\n", flush=True)


def measure_fit(runs, batches=40):
    """A step of `fit` against a hand-written jitted loop over the same NumPy batches."""
    load = WORKLOADS["card"]
    many = [batch(load, np.random.default_rng(i)) for i in range(batches)]
    conditioning, x, y = map(np.concatenate, zip(*many, strict=True))
    model = hyper(load, "auto")
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    fit = {"batch_size": load.rows, "shuffle": False, "verbose": 0}
    found = interleaved(
        {
            "fit": lambda: model.fit([conditioning, x], y, **fit),
            "by hand": by_hand.jax_epoch(load, conditioning, x, y),
        },
        runs,
    )
    rows = [
        [way, f"{1e3 * seconds / batches:.2f}", f"{seconds / found['by hand']:.2f}"]
        for way, seconds in found.items()
    ]
    print_table(["card jax", "ms per step", "/ by hand"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--fit", action="store_true", help="only: a step of `fit` on card (JAX)")
    parser.add_argument("--memory", help="only: memory of a workload, as JSON (PyTorch)")
    arguments = parser.parse_args()
    if arguments.memory:
        found = ways(WORKLOADS[arguments.memory], np.random.default_rng(0), compiled=False)
        print(json.dumps({way: resident_peak(train) for way, (train, _, _) in found.items()}))
        return
    start = time.time()
    if arguments.fit:
        measure_fit(arguments.runs)
        return
    for name in arguments.workloads.split(","):
        for compiled in (False, True) if BACKEND == "tensorflow" else (False,):
            measure(name, arguments.runs, compiled)
    print(f"{time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
