"""What it costs not to forget: a train step against the number of old tasks.

    KERAS_BACKEND=jax python benchmarks/continual.py     # or torch, or tensorflow

A chunked hypernetwork for 784-100-100-2 in chunks of 750 (as in hypercl) that are cut from the flat
weights (`output_first=False`: nothing is transposed, by hand neither), batches of 32. `ours` is an
epoch of `ContinualModel.fit` over 30 batches, per step; `sampled` with `tasks_per_step=5`;
`copy` with `targets="copy"`; `loop` with one call of the generator per old task in Python, as
hypnettorch does, and `unrolled` the same where a compiler makes one program of all turns; `by
hand`, on JAX, a jitted step of the same mathematics. On JAX and TensorFlow all but `loop` are
compiled. Then time and temporary memory with few `tasks_per_call`, and what is stored. Medians of
interleaved runs; run nothing else beside it.
"""

import argparse
import json
import sys
from itertools import pairwise

import keras
import numpy as np
from by_hand import jax_adam, jax_adam_start
from common import in_process_that_frees, interleaved, print_table, resident_peak, tensorflow_peak
from keras import ops

import keras_hypernet as kh

BACKEND = keras.backend.backend()
SIZES, CHUNK, EMBEDDING, HIDDEN = [(784, 100), (100, 100), (100, 2)], 750, 8, (100, 100)
BATCH, STEPS, SAMPLE, BETA, RATE = 32, 30, 5, 0.01, 1e-3
LOOP_STEPS = 30 if BACKEND == "torch" else 2  # eager steps take seconds elsewhere
LONGEST_LOOP = 50  # beyond, compiling takes long


class Loop(kh.ContinualModel):
    """The regularizer with a Python loop over the old tasks."""

    def retention_loss(self, training=None):
        count = len(self.task_names) - 1
        total = 0.0
        for task in range(count):
            weights = self.generated(ops.array([task], dtype="int32"), training=training)
            total += ops.sum(ops.square(weights[0] - self.memory.targets[task]))
        return total / count


def model_of(old, kind=kh.ContinualModel, compiled=BACKEND != "torch", **kwargs):
    keras.utils.set_random_seed(0)
    ids, x = keras.Input((), dtype="int32"), keras.Input((784,))
    spec = kh.WeightSpec.from_layer_sizes(SIZES)
    options = {"hidden_sizes": HIDDEN, "output_first": False}
    generator = kh.ChunkedWeightGenerator(spec, CHUNK, EMBEDDING, **options)
    hyper = kh.Hypernetwork(generator, num_conditions=old + 1, embedding_size=EMBEDDING)
    y = kh.ApplyGeneratedWeights(SIZES, shared=True)(x, hyper(ids))
    model = kind(keras.Model([ids, x], y), old + 1, beta=BETA, **kwargs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(RATE), loss, jit_compile=compiled, run_eagerly=not compiled)
    for task in range(old + 1):
        # What is remembered has no influence on the time: once is enough.
        memory, model.memory = model.memory, model.memory if task == old else None
        model.begin_task(str(task))
        model.memory = memory
    return model


def data():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(BATCH * STEPS, 784)).astype("float32")
    return x, rng.integers(2, size=BATCH * STEPS).astype("int32")


def epoch(model, steps=STEPS):
    x, y = (a[: BATCH * steps] for a in data())
    return lambda: model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)


def by_hand(old):
    """The same with JAX alone."""
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(1)
    total = sum(i * o + o for i, o in SIZES)
    chunks = -(-total // CHUNK)
    widths = [2 * EMBEDDING, *HIDDEN, CHUNK]
    params = {
        "conditions": rng.normal(size=(old + 1, EMBEDDING)),
        "chunks": rng.normal(size=(chunks, EMBEDDING)),
        "layers": [(rng.normal(size=p) / np.sqrt(p[0]), np.zeros(p[1])) for p in pairwise(widths)],
    }
    params = jax.tree.map(lambda a: jnp.asarray(a, "float32"), params)

    def generate(params, ids):  # (n,) -> (n, total)
        n = len(ids)
        conditions = jnp.broadcast_to(params["conditions"][ids][:, None], (n, chunks, EMBEDDING))
        embeddings = jnp.broadcast_to(params["chunks"][None], (n, chunks, EMBEDDING))
        h = jnp.concatenate([embeddings, conditions], -1).reshape(n * chunks, -1)
        for kernel, bias in params["layers"][:-1]:
            h = jax.nn.relu(h @ kernel + bias)
        kernel, bias = params["layers"][-1]
        return (h @ kernel + bias).reshape(n, chunks * CHUNK)[:, :total]

    targets = generate(params, jnp.arange(old))

    def loss_of(params, x, y):
        flat, start = generate(params, jnp.array([old]))[0], 0
        for layer, (i, o) in enumerate(SIZES):
            kernel = flat[start : start + i * o].reshape(i, o)
            x = x @ kernel + flat[start + i * o : start + i * o + o]
            x = jax.nn.relu(x) if layer < len(SIZES) - 1 else x
            start += i * o + o
        task = -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1))
        changes = jnp.square(generate(params, jnp.arange(old)) - targets)
        return task + BETA * jnp.sum(changes) / old

    def train(params, state, x, y):
        value, gradients = jax.value_and_grad(loss_of)(params, x, y)
        return value, *jax_adam(params, gradients, state, RATE)

    train = jax.jit(train, donate_argnums=(0, 1))
    carried = [params, jax_adam_start(params)]
    x, y = data()

    def run():
        for start in range(0, len(x), BATCH):
            part = x[start : start + BATCH], y[start : start + BATCH]
            value, *carried[:] = train(*carried, *part)
        return value.block_until_ready()

    return run


def times(old, runs):
    ways = {
        "ours": epoch(model_of(old)),
        "sampled": epoch(model_of(old, tasks_per_step=SAMPLE)),
        "copy": epoch(model_of(old, targets="copy")),
    }
    if old <= LONGEST_LOOP:
        ways["loop"] = epoch(model_of(old, Loop, compiled=False), LOOP_STEPS)
        if BACKEND != "torch":
            ways["unrolled"] = epoch(model_of(old, Loop))
    if BACKEND == "jax":
        ways["by hand"] = by_hand(old)
    steps = {"loop": LOOP_STEPS}
    return {n: 1e3 * t / steps.get(n, STEPS) for n, t in interleaved(ways, runs).items()}


def temporary(old, per_call):
    """Temporary MB of a step."""
    model = model_of(old, tasks_per_call=per_call)
    x, y = (a[:BATCH] for a in data())
    if BACKEND == "jax":
        import jax

        model.train_on_batch(x, y)
        variables = (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
        state = tuple([v.value for v in group] for group in variables)
        step = jax.jit(model.train_step, donate_argnums=0).lower(state, (x, y)).compile()
        return step.memory_analysis().temp_size_in_bytes / 1e6
    peak = tensorflow_peak if BACKEND == "tensorflow" else resident_peak
    return peak(lambda: model.train_on_batch(x, y))


def cell(value, digits=1):
    return "-" if value is None else f"{value:.{digits}f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--tasks", type=lambda s: [int(n) for n in s.split(",")], default="1,5,10,50,100"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        print(temporary(*json.loads(args.memory)))
        return
    tasks = args.tasks

    print(f"{BACKEND}, {keras.version()}: ms per step\n")
    rows = []
    for old in tasks:
        t = times(old, args.repeats)
        ratios = [t["ours"] / t[n] if n in t else None for n in ("loop", "by hand")]
        columns = ("ours", "sampled", "copy", "loop", "unrolled", "by hand")
        rows.append([old, *(cell(t.get(n)) for n in columns), *(cell(r, 2) for r in ratios)])
    header = ["old tasks", "ours", f"sampled, {SAMPLE}", "copy", "loop", "unrolled", "by hand"]
    print_table([*header, "ours / loop", "ours / by hand"], rows)

    most = max(tasks)
    print(f"\n{most} old tasks in calls of some\n")
    calls = [n for n in (None, 25, 5, 1) if n is None or n < most]
    ways = {n: epoch(model_of(most, tasks_per_call=n)) for n in calls}
    found = interleaved(ways, max(2, args.repeats // 2))
    rows = [
        [n or "all", cell(1e3 * found[n] / STEPS), cell(float(measured(most, n)))] for n in calls
    ]
    print_table(["tasks per call", "ms per step", "temporary MB"], rows)

    print("\nstored for old tasks, MB\n")
    rows = []
    for old in tasks:
        kinds = [model_of(old, targets=kind).memory for kind in ("weights", "copy")]
        rows.append([old, *(cell(4 * memory.count_params() / 1e6, 3) for memory in kinds)])
    print_table(["old tasks", "weights", "copy"], rows)


def measured(old, per_call):
    return in_process_that_frees(sys.argv[0], "--memory", json.dumps([old, per_call]))


if __name__ == "__main__":
    main()
