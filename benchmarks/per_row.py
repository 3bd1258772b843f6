"""Layers with weights of their own for each row, and the other ways to write them.

    KERAS_BACKEND=jax python benchmarks/per_row.py --rows 32     # or torch, or tensorflow

`ours` is `keras_hypernet.ops`. The others are what one writes with Keras: `grouped`, one
convolution with a group of channels per row; `vectorized_map` and `map`, `keras.ops` over the rows;
`loop`, a Python loop over the rows. One data row per row of weights. A train step is the
gradient for the data and the weights. Compiled on JAX and TensorFlow (XLA). `dynamic` says whether
TensorFlow traces a way while the number of rows is unknown. Memory is what a train step takes for a
time: by the compiler's account on JAX and the allocator's on TensorFlow, and on PyTorch as the
process grows. A way that takes more than `SLOW` seconds is run once, and a loop over 256 rows not
at all. Medians of interleaved runs; run nothing else beside it.
"""

import argparse
import json
import math
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

from keras_hypernet.ops.conv import conv
from keras_hypernet.ops.conv_transpose import conv_transpose
from keras_hypernet.ops.dense import dense
from keras_hypernet.ops.depthwise_conv import depthwise_conv

BACKEND = keras.backend.backend()
SLOW = 2  # seconds of a step that is run once only
UNROLLED = 32  # rows of the longest loop


def dense_ours(x, kernel):
    flat = ops.reshape(kernel, (ops.shape(kernel)[0], math.prod(kernel.shape[1:])))
    return dense(x, flat, *kernel.shape[1:], False, "materialize")


# Shape of a data row, of its kernel, our operation, Keras', and the axis of the kernel where the
# rows go for a convolution in groups (Keras has no transposed one).
LAYERS = {
    "dense": ((128,), (128, 128), dense_ours, ops.matmul, None),
    "conv": (
        (28, 28, 16),
        (3, 3, 16, 32),
        lambda x, kernel: conv(x, kernel, (1, 1), "same", (1, 1), 1, "channels_last"),
        lambda x, kernel: ops.conv(x, kernel, 1, "same"),
        3,
    ),
    "depthwise": (
        (28, 28, 32),
        (3, 3, 32, 1),
        lambda x, kernel: depthwise_conv(x, kernel, (1, 1), "same", (1, 1), "channels_last"),
        lambda x, kernel: ops.depthwise_conv(x, kernel, 1, "same"),
        2,
    ),
    "transpose": (
        (14, 14, 32),
        (3, 3, 16, 32),
        lambda x, kernel: conv_transpose(x, kernel, (2, 2), "same", None, (1, 1), "channels_last"),
        lambda x, kernel: ops.conv_transpose(x, kernel, 2, "same"),
        None,
    ),
}


def by_groups(function, x, kernel, axis):
    """One convolution in which every row has channels of its own, one data row per row."""
    rows, height, width, channels = ops.shape(x)
    x = ops.reshape(ops.transpose(x, (1, 2, 0, 3)), (1, height, width, rows * channels))
    kernel = ops.moveaxis(kernel, 0, axis)
    shape = list(ops.shape(kernel))
    shape[axis : axis + 2] = [shape[axis] * shape[axis + 1]]
    y = function(x, ops.reshape(kernel, shape))
    y = ops.reshape(y, (height, width, rows, ops.shape(y)[-1] // rows))
    return ops.transpose(y, (2, 0, 1, 3))


def ways(name, rows):
    _, _, ours, row, axis = LAYERS[name]

    def one(pair):
        return row(pair[0][None], pair[1])[0]

    def loop(x, kernel):
        return ops.concatenate([row(x[i : i + 1], kernel[i]) for i in range(rows)], axis=0)

    found = {
        "ours": ours,
        "grouped": axis and (lambda x, kernel: by_groups(row, x, kernel, axis)),
        "vectorized_map": lambda x, kernel: ops.vectorized_map(one, (x, kernel)),
        "map": lambda x, kernel: ops.map(one, (x, kernel)),
        "loop": loop if rows <= UNROLLED else None,
    }
    return {way: function for way, function in found.items() if function}


def steps(function, x, kernel):
    """`(forward, train step)` as functions that wait for their result, and MB if they are known."""
    loss = lambda x, kernel: ops.sum(ops.square(function(x, kernel)))  # noqa: E731
    if BACKEND == "jax":
        import jax

        forward = jax.jit(function).lower(x, kernel).compile()
        train = jax.jit(jax.grad(loss, (0, 1))).lower(x, kernel).compile()
        waiting = [lambda f=f: jax.block_until_ready(f(x, kernel)) for f in (forward, train)]
        return *waiting, train.memory_analysis().temp_size_in_bytes / 1e6
    if BACKEND == "tensorflow":
        import tensorflow as tf

        def gradients(x, kernel):
            with tf.GradientTape() as tape:
                tape.watch([x, kernel])
                total = loss(x, kernel)
            return tape.gradient(total, [x, kernel])

        options = {"jit_compile": True, "autograph": False}
        forward, train = tf.function(function, **options), tf.function(gradients, **options)
        return lambda: forward(x, kernel).numpy(), lambda: train(x, kernel)[1].numpy(), None
    import torch

    def forward():
        with torch.no_grad():
            return function(x, kernel)

    def train():
        inputs = [t.detach().requires_grad_() for t in (x, kernel)]
        return torch.autograd.grad(loss(*inputs), inputs)

    return forward, train, None


def accepts_dynamic(function, x, kernel):
    """Whether TensorFlow builds and runs it with an unknown number of rows."""
    import tensorflow as tf

    signature = [tf.TensorSpec((None, *t.shape[1:]), t.dtype) for t in (x, kernel)]
    options = {"jit_compile": True, "autograph": False}
    try:
        tf.function(function, input_signature=signature, **options).get_concrete_function()
    except Exception:
        return "no"
    return "yes"


def arrays(name, rows):
    """`(data, kernel)`"""
    (*sizes, channels), shape, *_ = LAYERS[name]
    rng = np.random.default_rng(0)
    # Smaller for many rows, or some alternatives take minutes.
    sizes = [size // 2 for size in sizes] if rows > 32 else sizes
    shapes = (rows, *sizes, channels), (rows, *shape)
    return [ops.convert_to_tensor(rng.normal(size=s).astype("float32")) for s in shapes]


def peaks(name, rows):
    """`{way: MB}` of train steps, in a process that gives back what it frees."""
    found = {}
    for way, function in ways(name, rows).items():
        _, train, _ = steps(function, *arrays(name, rows))
        try:
            found[way] = resident_peak(train)
        except Exception:
            continue
    return found


def measure(name, rows, repeats):
    x, kernel = arrays(name, rows)
    forwards, trains, once, memory, dynamic = {}, {}, {}, {}, {}
    found = ways(name, rows)
    if BACKEND == "torch":
        memory = json.loads(in_process_that_frees(__file__, "--memory", name, str(rows)))
    for way, function in found.items():
        if BACKEND == "tensorflow":
            dynamic[way] = "no" if way == "loop" else accepts_dynamic(function, x, kernel)
        try:
            forward, train, known = steps(function, x, kernel)
            forward(), train()
        except Exception:
            continue
        if BACKEND != "torch":
            memory[way] = tensorflow_peak(train) if known is None else known
        once[way] = []
        for step in (forward, train):
            start = time.perf_counter()
            step()
            once[way].append(time.perf_counter() - start)
        if once[way][1] < SLOW:
            forwards[way], trains[way] = forward, train
    forwards, trains = interleaved(forwards, repeats), interleaved(trains, repeats)
    table = []
    for way in found:
        if way not in once:
            table.append([way, "fails", "", "fails", "", "-", dynamic.get(way, "-")])
            continue
        cells = []
        for seconds, i in ((forwards, 0), (trains, 1)):
            took = seconds.get(way, once[way][i])
            cells += [f"{1e3 * took:.1f}", f"{took / seconds['ours']:.2f}"]
        table.append([way, *cells, f"{memory[way]:.1f}", dynamic.get(way, "-")])
    print(f"{name} {tuple(kernel.shape[1:])}, data {tuple(x.shape)}, {BACKEND}")
    columns = ["way", "forward ms", "/ ours", "train ms", "/ ours", "temporary MB", "dynamic"]
    print_table(columns, table)
    print(flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", default=",".join(LAYERS))
    parser.add_argument("--rows", default="1,32,256")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        name, rows = arguments.memory
        print(json.dumps(peaks(name, int(rows))))
        return
    for name in arguments.layers.split(","):
        for rows in map(int, arguments.rows.split(",")):
            measure(name, rows, arguments.repeats)


if __name__ == "__main__":
    main()
