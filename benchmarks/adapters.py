"""Updates of low rank for each row of a batch, inside the blocks of a frozen decoder.

    KERAS_BACKEND=jax python benchmarks/adapters.py              # or torch, or tensorflow
    KERAS_BACKEND=jax python benchmarks/adapters.py --kernels query,value --settings narrow

The backbone is GPT-2 in small: four pre-norm blocks of Keras layers, written here, causal, frozen.
`hypernetize` generates updates of rank 8: with `--kernels all`, the default as it is that of
`hypernetize`, for every dense kernel, and with `--kernels query,value` for those that LoRA was
proposed with and that published generators of LoRA make. A train step is forward, backward and Adam
on the generator. The ways:

    32 conditions   each row of the batch has its own update
    one condition   `shared=True`: one update for the batch, by the ordinary operations
    plain           the frozen backbone alone, forward and backward to its inputs
    vmap, low rank  by hand: `vmap` over `x @ kernel + (x @ down) @ up`
    vmap, merged    by hand: `vmap` over `x @ (kernel + down @ up)`

By hand is written with the backend's own functions (`jax.vmap`, `torch.vmap`,
`tf.vectorized_map`), generator and Adam too, in the formulas of Keras' layers, so that only the
updates differ; its losses over three steps are checked to be those of `hypernetize`. Compiled on
JAX and TensorFlow (XLA). Temporary memory of a step is the compiler's account on JAX, the
allocator's on TensorFlow, and on PyTorch as the process grows. Medians of interleaved runs; run
nothing else beside it.
"""

import argparse
import dataclasses
import itertools
import json
import math

import by_hand
import contraction
import keras
import numpy as np
from common import (
    in_process_that_frees,
    interleaved,
    print_table,
    resident_peak,
    tensorflow_peak,
)
from keras import layers, ops

import keras_hypernet as kh

BACKEND = keras.backend.backend()
CONDITION, FEATURES, EPSILON = 16, 32, 1e-5
MANY, ONE, PLAIN = "conditions", "one condition", "plain"
LOW_RANK, MERGED = "vmap, low rank", "vmap, merged"
SELECTED = {"all": None, "query,value": ["*/query/kernel", "*/value/kernel"]}


@dataclasses.dataclass(frozen=True)
class Setting:
    length: int
    width: int
    blocks: int = 4
    heads: int = 4
    batch: int = 32
    rank: int = 8


SETTINGS = {
    "narrow": Setting(128, 256),
    "wide": Setting(8, 1024),  # kernels weigh more than data
    "tiny": Setting(8, 16, blocks=2, heads=2, batch=4, rank=2),  # to try the script
}


def gelu(x):
    return ops.gelu(x, approximate=True)  # as in GPT-2


@keras.saving.register_keras_serializable()
class Block(layers.Layer):
    """A pre-norm decoder block."""

    def __init__(self, heads, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, shape):
        width = shape[-1]
        size = width // self.heads
        split = {
            name: layers.EinsumDense(
                "btd,dhk->bthk", (None, self.heads, size), bias_axes="hk", name=name
            )
            for name in ("query", "key", "value")
        }
        self.query, self.key, self.value = split.values()
        self.output_dense = layers.EinsumDense(
            "bthk,hkd->btd", (None, width), bias_axes="d", name="output"
        )
        self.wide = layers.Dense(4 * width, activation=gelu, name="wide")
        self.narrow = layers.Dense(width, name="narrow")
        self.norm_a, self.norm_b = (
            layers.LayerNormalization(epsilon=EPSILON, name=f"norm_{c}") for c in "ab"
        )
        for layer in (self.query, self.key, self.value, self.wide, self.norm_a, self.norm_b):
            layer.build(shape)
        self.output_dense.build((*shape[:-1], self.heads, size))
        self.narrow.build((*shape[:-1], 4 * width))

    def call(self, x):
        y = self.norm_a(x)
        query, key, value = self.query(y), self.key(y), self.value(y)
        scores = ops.einsum("bthk,bshk->bhts", query, key) / math.sqrt(query.shape[-1])
        causal = ops.convert_to_tensor(np.tri(x.shape[1], dtype="bool"))
        scores = ops.where(causal, scores, -1e9)
        y = ops.einsum("bhts,bshk->bthk", ops.softmax(scores), value)
        x = x + self.output_dense(y)
        return x + self.narrow(self.wide(self.norm_b(x)))


def backbone(load):
    x = inputs = keras.Input((load.length, load.width))
    for i in range(load.blocks):
        x = Block(load.heads, name=f"block_{i}")(x)
    return keras.Model(inputs, x, name="backbone")


def hyper(load, plain, kernels, shared, features=FEATURES):
    model = kh.hypernetize(
        plain,
        CONDITION,
        mode="low_rank",
        rank=load.rank,
        select=SELECTED[kernels],
        freeze="all",
        shared=shared,
        hidden_sizes=(features,),
        running_scale=False,
    )
    # Away from the start, where all updates are zero.
    rng = np.random.default_rng(1)
    for v in model.trainable_variables:
        v.assign_add((0.02 * rng.normal(size=v.shape)).astype("float32"))
    return model


@dataclasses.dataclass
class Tools:
    """What a network by hand needs of a backend."""

    vmap: object  # (function of a row, rows) -> rows
    softmax: object
    gelu: object
    norm: object  # (x, scale, offset)
    relu: object
    where: object
    einsum: object
    reshape: object
    tensor: object


def tools():
    if BACKEND == "jax":
        import jax
        import jax.numpy as jnp

        def norm(x, scale, offset):
            mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
            scale = jax.lax.rsqrt(variance + EPSILON) * scale
            return x * scale + (offset - mean * scale)

        gelu = lambda x: jax.nn.gelu(x, approximate=True)  # noqa: E731
        vmap = lambda function, rows: jax.vmap(function)(rows)  # noqa: E731
        named = (jax.nn.relu, jnp.where, jnp.einsum, jnp.reshape, jnp.asarray)
        return Tools(vmap, jax.nn.softmax, gelu, norm, *named)
    if BACKEND == "torch":
        import torch
        from torch.nn import functional

        def norm(x, scale, offset):
            return functional.layer_norm(x, x.shape[-1:], scale, offset, EPSILON)

        softmax = lambda x: torch.softmax(x, -1)  # noqa: E731
        gelu = lambda x: functional.gelu(x, approximate="tanh")  # noqa: E731
        vmap = lambda function, rows: torch.vmap(function)(rows)  # noqa: E731
        named = (torch.relu, torch.where, torch.einsum, torch.reshape, torch.as_tensor)
        return Tools(vmap, softmax, gelu, norm, *named)
    import tensorflow as tf

    def norm(x, scale, offset):
        mean, variance = tf.nn.moments(x, -1, keepdims=True)
        scale = tf.math.rsqrt(variance + EPSILON) * scale
        return x * scale + (offset - mean * scale)

    gelu = lambda x: tf.nn.gelu(x, approximate=True)  # noqa: E731
    named = (tf.nn.relu, tf.where, tf.einsum, tf.reshape, tf.convert_to_tensor)
    return Tools(tf.vectorized_map, tf.nn.softmax, gelu, norm, *named)


def network(load, specs, merged):
    """`(flat weights of each block, frozen, x) -> outputs` by hand, for a row or rows of both.

    `specs` are, of each block, `[(name of a factor, its shape)]` in the order of its flat weights.
    """
    t = tools()
    width, heads, size = load.width, load.heads, load.width // load.heads
    sizes = {"wide": (width, 4 * width), "narrow": (4 * width, width)}
    causal = t.tensor(np.tri(load.length, dtype="bool"))

    def linear(x, name, frozen, factors):
        inputs, outputs = sizes.get(name, (width, width))
        kernel = t.reshape(frozen[f"{name}/kernel"], (inputs, outputs))
        bias = t.reshape(frozen[f"{name}/bias"], (outputs,))
        if f"{name}/kernel.down" not in factors:
            return x @ kernel + bias
        down, up = factors[f"{name}/kernel.down"], factors[f"{name}/kernel.up"]
        down = t.reshape(down, (*x.shape[:-2], inputs, load.rank))
        up = t.reshape(up, (*x.shape[:-2], load.rank, outputs))
        if merged:
            return x @ (kernel + down @ up) + bias
        return x @ kernel + (x @ down) @ up + bias

    def block(x, frozen, factors):  # (length, width), or (rows, length, width)
        y = t.norm(x, frozen["norm_a/gamma"], frozen["norm_a/beta"])
        query, key, value = (
            t.reshape(linear(y, name, frozen, factors), (*x.shape[:-1], heads, size))
            for name in ("query", "key", "value")
        )
        scores = t.einsum("...thk,...shk->...hts", query, key) / math.sqrt(size)
        scores = t.where(causal, scores, t.tensor(np.float32(-1e9)))
        y = t.einsum("...hts,...shk->...thk", t.softmax(scores), value)
        x = x + linear(t.reshape(y, x.shape), "output", frozen, factors)
        y = t.norm(x, frozen["norm_b/gamma"], frozen["norm_b/beta"])
        y = t.gelu(linear(y, "wide", frozen, factors))
        return x + linear(y, "narrow", frozen, factors)

    def cut(flat, spec):
        factors, start = {}, 0
        for name, shape in spec:
            end = start + math.prod(shape)
            factors[name] = flat[..., start:end]
            start = end
        return factors

    def apply(flat, frozen, x):
        for weights, of_block, spec in zip(flat, frozen, specs):
            x = block(x, of_block, cut(weights, spec))
        return x

    return apply


def network_per_row(load, specs, merged):
    """`(trained, frozen, conditions, x) -> outputs` by hand, with the generator."""
    t = tools()
    apply = network(load, specs, merged)

    def apply_per_row(trained, frozen, conditions, x):
        kernel, bias, *heads_of = trained
        features = t.relu(conditions @ kernel + bias) / math.sqrt(FEATURES)
        pairs = zip(heads_of[::2], heads_of[1::2])
        flat = [features @ kernel + bias for kernel, bias in pairs]

        def row(arguments):
            x, *flat = arguments
            return apply(flat, frozen, x)

        return t.vmap(row, (x, *flat))

    return apply_per_row


def short(name):
    return "/".join(name.split("/")[-2:])


def specs_of(model):
    """`[(name of a factor, its shape)]` of each block."""
    heads = [layer for layer in model.layers if isinstance(layer, kh.WeightGenerator)]
    return [[(short(tensor.name), tensor.shape) for tensor in head.spec] for head in heads]


def frozen_of(plain):
    """`{name: array}` of each block."""
    return [
        {short(v.path): np.array(ops.convert_to_numpy(v)) for v in block.weights}
        for block in plain.layers
        if isinstance(block, Block)
    ]


def by_hand_step(load, plain, model, conditions, x, y, merged):
    """The step of `model` written by hand, and its temporary MB where the compiler says them."""
    apply = network_per_row(load, specs_of(model), merged)
    trained = [np.array(ops.convert_to_numpy(v)) for v in model.trainable_variables]
    frozen = frozen_of(plain)
    if BACKEND == "jax":
        import jax
        import jax.numpy as jnp

        trained, frozen, conditions = jax.tree.map(jnp.asarray, (trained, frozen, conditions))
        call = lambda variables: apply(*variables, conditions, x)  # noqa: E731
        state = by_hand.jax_adam_start(trained)
        step, _, memory = by_hand.jax_steps(call, by_hand.jax_adam, trained, frozen, state, y)
        return step, memory
    if BACKEND == "torch":
        import torch

        trained = [torch.from_numpy(value).requires_grad_() for value in trained]
        frozen = keras.tree.map_structure(torch.from_numpy, frozen)
        optimizer = torch.optim.Adam(trained, 1e-3)
        steps = itertools.count(1)

        def train():
            # Keras adds 1e-7 before its correction of the second moment, PyTorch behind it.
            optimizer.param_groups[0]["eps"] = 1e-7 / math.sqrt(1 - 0.999 ** next(steps))
            optimizer.zero_grad()
            loss = ((apply(trained, frozen, conditions, x) - y) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss.item()

        return train, None
    import tensorflow as tf

    variables = [tf.Variable(value) for value in trained]
    frozen = keras.tree.map_structure(tf.constant, frozen)
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(variables)

    @tf.function(jit_compile=True, autograph=False)
    def train():
        with tf.GradientTape() as tape:
            values = [tf.convert_to_tensor(v) for v in variables]
            loss = tf.reduce_mean((apply(values, frozen, conditions, x) - y) ** 2)
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    return lambda: train().numpy(), None


def plain_step(model, x, y):
    """Forward and backward to the inputs, and its temporary MB where the compiler says them."""
    loss_of = lambda outputs: ops.mean(ops.square(outputs - y))  # noqa: E731
    if BACKEND == "jax":
        import jax

        # The variables are arguments: constants of the program might be folded.
        state = [v.value for v in model.non_trainable_variables]
        loss = lambda x, state: loss_of(model.stateless_call([], state, x)[0])  # noqa: E731
        step = jax.jit(jax.value_and_grad(loss)).lower(x, state).compile()
        memory = step.memory_analysis().temp_size_in_bytes / 1e6
        return lambda: jax.block_until_ready(step(x, state)), memory
    if BACKEND == "tensorflow":
        import tensorflow as tf

        @tf.function(jit_compile=True)
        def step():
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = loss_of(model(x))
            return tape.gradient(loss, x)

        return lambda: step().numpy(), None
    import torch

    def step():
        inputs = x.detach().requires_grad_()
        return torch.autograd.grad(loss_of(model(inputs)), inputs)

    return step, None


def ways(load, kernels):
    """`({way: step}, {way: MB})`, the numbers of those by hand checked."""
    rng = np.random.default_rng(0)
    shapes = (load.batch, CONDITION), *[(load.batch, load.length, load.width)] * 2
    arrays = [rng.normal(size=shape).astype("float32") for shape in shapes]
    conditions, x, y = (ops.convert_to_tensor(a) for a in arrays)
    plain = backbone(load)
    many, one = (hyper(load, plain, kernels, shared) for shared in (False, True))
    plain.trainable = False
    found = {}
    # Those by hand first: they start from what the model's variables are before a step.
    for way in (LOW_RANK, MERGED):
        merged = way == MERGED
        found[way] = by_hand_step(load, plain, many, conditions, x, y, merged)
    for way, model, c in ((MANY, many, conditions), (ONE, one, conditions[:1])):
        step, _, memory = contraction.steps(model, [c, x], y, compiled=True)
        found[way] = step, memory
    check_losses({way: found[way][0] for way in (MANY, LOW_RANK, MERGED)})
    found[PLAIN] = plain_step(plain, x, y)
    order = (MANY, ONE, PLAIN, LOW_RANK, MERGED)
    return {w: found[w][0] for w in order}, {w: found[w][1] for w in order}


def check_losses(steps):
    """Raises where the ways do not have the same losses over three steps."""
    losses = {way: [float(step()) for _ in range(3)] for way, step in steps.items()}
    for way, found in losses.items():
        if not np.allclose(found, losses[MANY], rtol=1e-4, atol=0):
            raise SystemExit(f"{way} has the losses {found}, and ours {losses[MANY]}")
    if not losses[MANY][0] > losses[MANY][2]:
        raise SystemExit(f"nothing is learned: {losses[MANY]}")


def targets(load, seconds, memory):
    """What is to be reached, in words."""
    many = f"{load.batch} conditions"
    print_target(f"{many} / one", seconds[MANY] / seconds[ONE], most=1.25)
    # No slower: medians differ by some percent from run to run.
    print_target(f"{many} / {LOW_RANK}", seconds[MANY] / seconds[LOW_RANK], most=1.05)
    aimed = BACKEND == "jax" and load == SETTINGS["narrow"]
    for what, of_way, least in (("time", seconds, 1.3), ("memory", memory, 1.5)):
        ratio = of_way[MERGED] / (of_way[MANY] or math.inf)
        print_target(f"{what}, {MERGED} / {many}", ratio, least=least if aimed else None)


def print_target(what, ratio, most=None, least=None):
    if most is not None:
        aim = f" (at most {most}: {'reached' if ratio <= most else 'MISSED'})"
    elif least is not None:
        aim = f" (at least {least}: {'reached' if ratio >= least else 'MISSED'})"
    else:
        aim = ""
    print(f"{what}: {ratio:.2f}{aim}")


def measure(name, kernels, repeats):
    load = SETTINGS[name]
    steps, memory = ways(load, kernels)
    if BACKEND == "torch":
        memory = json.loads(in_process_that_frees(__file__, "--memory", name, kernels))
    elif BACKEND == "tensorflow":
        memory = {way: tensorflow_peak(step) for way, step in steps.items()}
    seconds = interleaved(steps, repeats)
    print(
        f"train steps, {BACKEND}: {load.blocks} blocks, width {load.width}, length {load.length}, "
        f"batch {load.batch}, rank {load.rank} of {kernels} kernels"
    )
    rows = [
        [
            f"{load.batch} {way}" if way == MANY else way,
            f"{1e3 * seconds[way]:.1f}",
            f"{seconds[way] / seconds[ONE]:.2f}",
            f"{memory[way]:.1f}",
            f"{memory[way] / memory[ONE]:.2f}" if memory[ONE] else "-",
        ]
        for way in steps
    ]
    print_table(["way", "ms", "/ one condition", "temporary MB", "/ one condition"], rows)
    targets(load, seconds, memory)
    print(flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", default="narrow,wide")
    parser.add_argument("--kernels", choices=SELECTED, default="all")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        name, kernels = arguments.memory
        steps, _ = ways(SETTINGS[name], kernels)
        print(json.dumps({way: resident_peak(step) for way, step in steps.items()}))
        return
    for name in arguments.settings.split(","):
        measure(name, arguments.kernels, arguments.repeats)


if __name__ == "__main__":
    main()
