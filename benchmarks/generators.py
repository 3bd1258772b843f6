"""What the generators cost for one target, beside a Python loop over its chunks.

    KERAS_BACKEND=jax python benchmarks/generators.py            # or torch, or tensorflow
    KERAS_BACKEND=jax python benchmarks/generators.py --targets mlp --repeats 5

Every way makes the weights of the same target for the same batch of condition vectors, and the
gradients of their mean square. `loop` is `chunked` as one writes it first: the inner perceptron is
called once per chunk, with the chunk's embedding beside the condition, and the results are
concatenated; its numbers are checked to be those of `chunked`. `trained` counts parameters, and
`compression` is the target's weights over them; the other ways do not compute what the loop does,
and a ratio to it is the price of the other kind of generator. `first` is the first step: tracing
and compiling, where the backend does. Temporary memory is what a step takes beyond the parameters,
its gradients included: on JAX the compiler's own account, on TensorFlow the allocator's, on PyTorch
the largest growth of a process during a step, sampled. Medians of interleaved runs, except of steps
of more than 10 seconds; run nothing else beside it.
"""

import argparse
import dataclasses
import json
import time

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
from keras_hypernet.chunking import wide_resnet_chunking
from keras_hypernet.targets import wide_resnet

BACKEND = keras.backend.backend()
CONDITION = 8  # width of a condition vector, and of a chunk embedding
SLOW = 10  # seconds of a step that is run once only


@dataclasses.dataclass(frozen=True)
class Load:
    plan: object  # without arguments -> the `ChunkPlan` of the target
    rows: int  # of conditions
    features: int  # width of the last hidden layer where the head makes all weights, or a layer's
    chunk_size: int
    image: int  # side of the image of all weights
    filters: tuple
    chunk_image: int  # side of the image of a chunk
    chunk_filters: tuple


def perceptron_plan(inputs, hidden, outputs, piece):
    """Two layers of one kind of chunk, `piece` rows of a kernel, and the rest."""
    kernels = {"layer_0/kernel": (inputs, hidden), "layer_1/kernel": (hidden, hidden)}
    assembly, number = {}, 0
    for name, (size, _) in kernels.items():
        joined = [f"piece/{number + i}/kernel" for i in range(size // piece)]
        assembly[name], number = {"join": joined, "axis": 0}, number + len(joined)
    for i in range(2):
        assembly[f"layer_{i}/bias"] = f"bias/{i}/bias"
    assembly |= {f"layer_2/{tensor}": f"output/0/{tensor}" for tensor in ("kernel", "bias")}
    layers = [(inputs, hidden), (hidden, hidden), (hidden, outputs)]
    kinds = {
        "piece": {"shapes": {"kernel": (piece, hidden)}, "number": number},
        "bias": {"shapes": {"bias": (hidden,)}, "number": 2},
        "output": {"shapes": {"kernel": (hidden, outputs), "bias": (outputs,)}},
    }
    return kh.ChunkPlan(kh.WeightSpec.from_layer_sizes(layers), kinds, assembly)


LOADS = {
    "mlp": Load(  # 784-400-400-10
        lambda: perceptron_plan(784, 400, 10, piece=8),
        rows=16,
        features=64,
        chunk_size=2000,
        image=692,
        filters=(32, 16, 16, 8, 8),
        chunk_image=64,
        chunk_filters=(32, 16, 8),
    ),
    "wrn": Load(  # the convolutions of WRN-28-10
        lambda: wide_resnet_chunking(wide_resnet(n=4, k=10)),
        rows=1,
        features=4,
        chunk_size=200_000,
        image=6040,
        filters=(32, 16, 16, 16, 8, 8, 4, 4),
        chunk_image=256,
        chunk_filters=(32, 16, 8, 4, 4),
    ),
}
SMALL = {
    "mlp": Load(
        lambda: perceptron_plan(64, 32, 10, piece=8),
        rows=4,
        features=8,
        chunk_size=200,
        image=60,
        filters=(16, 8),
        chunk_image=16,
        chunk_filters=(8,),
    ),
    "wrn": Load(
        lambda: wide_resnet_chunking(wide_resnet(n=1, k=1)),
        rows=2,
        features=4,
        chunk_size=8000,
        image=278,
        filters=(16, 8, 8, 8),
        chunk_image=64,
        chunk_filters=(16, 8, 8),
    ),
}


class Loop(keras.layers.Layer):
    """A target chunk by chunk, one call of the perceptron for each."""

    def __init__(self, total, chunk_size, hidden):
        super().__init__()
        self.total = total
        self.number = -(-total // chunk_size)
        hidden = [keras.layers.Dense(size, activation="relu") for size in hidden]
        self.inner = keras.Sequential([*hidden, keras.layers.Dense(chunk_size)])

    def build(self, shape):
        self.embeddings = self.add_weight(shape=(self.number, CONDITION), initializer="normal")
        self.inner.build((None, CONDITION + shape[-1]))

    def call(self, condition):
        rows, chunks = ops.shape(condition)[0], []
        for embedding in ops.unstack(ops.convert_to_tensor(self.embeddings), self.number):
            embedding = ops.broadcast_to(embedding, (rows, CONDITION))
            chunks.append(self.inner(ops.concatenate([embedding, condition], axis=-1)))
        return ops.concatenate(chunks, axis=-1)[:, : self.total]


def ways(load, condition):
    plan, side, chunk_side = load.plan(), load.image, load.chunk_image
    spec, total, hidden = plan.spec, plan.spec.total, (64, load.features)
    chunk_hidden = (64, 64) if load.features >= 64 else (64, 16)
    options = {"chunk_size": load.chunk_size, "chunk_embedding_size": CONDITION}
    found = {
        "full": kh.WeightGenerator(spec, hidden_sizes=hidden),
        "chunked": kh.ChunkedWeightGenerator(
            spec, **options, output_first=False, hidden_sizes=chunk_hidden
        ),
        "structured": kh.StructuredWeightGenerator(plan, hidden_sizes=hidden),
        "deconv": kh.DeconvWeightGenerator(spec, (side, side), load.filters, attention=()),
        "chunked deconv": kh.ChunkedDeconvWeightGenerator(
            spec, (chunk_side, chunk_side), load.chunk_filters, attention=()
        ),
        "loop": Loop(total, load.chunk_size, chunk_hidden),
    }
    for generator in found.values():
        generator.build(condition.shape)
    check_loop(found["loop"], found["chunked"], condition)
    return found, total


def check_loop(loop, chunked, condition):
    """Gives the loop the values of `chunked`, and compares what they make of them."""
    loop.set_weights(chunked.get_weights())
    expected, made = (ops.convert_to_numpy(layer(condition)) for layer in (chunked, loop))
    difference = np.abs(made - expected).max()
    if not difference < 1e-5:
        raise SystemExit(f"the loop's weights differ from the generator's by {difference:.1e}")


def step(generator, condition):
    """Forward and backward as a function that waits for its result, and temporary MB or None."""
    loss_of = lambda weights: ops.mean(ops.square(weights))  # noqa: E731
    condition = ops.convert_to_tensor(condition)
    variables = [v.value for v in generator.trainable_variables]
    if BACKEND == "jax":
        import jax

        state = [v.value for v in generator.non_trainable_variables]
        loss = lambda values: loss_of(generator.stateless_call(values, state, condition)[0])  # noqa: E731
        compiled = jax.jit(jax.value_and_grad(loss)).lower(variables).compile()
        memory = compiled.memory_analysis()
        megabytes = (memory.temp_size_in_bytes + memory.output_size_in_bytes) / 1e6
        return lambda: jax.block_until_ready(compiled(variables)), megabytes
    if BACKEND == "tensorflow":
        import tensorflow as tf

        @tf.function
        def train():
            with tf.GradientTape() as tape:
                loss = loss_of(generator(condition))
            return loss, tape.gradient(loss, variables)

        return lambda: train()[0].numpy(), None
    import torch

    def train():
        loss = loss_of(generator(condition))
        torch.autograd.grad(loss, variables)
        return loss.item()

    return train, None


def condition_of(load):
    return np.random.default_rng(0).normal(size=(load.rows, CONDITION)).astype("float32")


def measure(name, load, repeats, flags):
    condition = condition_of(load)
    generators, total = ways(load, condition)
    steps, memory, first, once = {}, {}, {}, {}
    for way, generator in generators.items():
        start = time.perf_counter()
        steps[way], memory[way] = step(generator, condition)
        built = time.perf_counter()
        steps[way]()
        once[way], first[way] = time.perf_counter() - built, time.perf_counter() - start
    slow = {way for way in once if once[way] > SLOW and BACKEND != "tensorflow"}
    seconds = interleaved({way: steps[way] for way in steps if way not in slow}, repeats)
    seconds = {way: seconds.get(way, once[way]) for way in steps}
    if BACKEND == "tensorflow":
        memory = {way: tensorflow_peak(train) for way, train in steps.items()}
    trained = {way: generator.count_params() for way, generator in generators.items()}
    if BACKEND == "torch":
        steps.clear()
        generators.clear()  # room for the other process
        memory = json.loads(in_process_that_frees(__file__, "--memory", name, *flags))
    print(f"{name}, {BACKEND}: {total:,} weights for {load.rows} conditions")
    rows = [
        [
            way + " (one run)" * (way in slow),
            f"{trained[way]:,}",
            f"{total / trained[way]:.2f}",
            f"{first[way]:.1f}",
            f"{1e3 * seconds[way]:.0f}" if seconds[way] >= 0.1 else f"{1e3 * seconds[way]:.1f}",
            f"{seconds[way] / seconds['loop']:.2f}",
            f"{memory[way]:.0f}" if memory[way] >= 10 else f"{memory[way]:.1f}",
            f"{memory[way] / max(memory['loop'], 1e-9):.2f}",
        ]
        for way in seconds
    ]
    columns = ["way", "trained", "compression", "first s", "step ms", "/ loop"]
    print_table([*columns, "temporary MB", "/ loop"], rows)
    print(flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", default=",".join(LOADS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="small targets, to see that it runs")
    parser.add_argument("--memory", help="only: memory of a target, as JSON (PyTorch)")
    arguments = parser.parse_args()
    loads = SMALL if arguments.small else LOADS
    if arguments.memory:
        load = loads[arguments.memory]
        condition = condition_of(load)
        generators, _ = ways(load, condition)
        steps = {way: step(generator, condition)[0] for way, generator in generators.items()}
        print(json.dumps({way: resident_peak(train) for way, train in steps.items()}))
        return
    start = time.time()
    for name in arguments.targets.split(","):
        measure(name, loads[name], arguments.repeats, ["--small"] if arguments.small else [])
    print(f"{time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
