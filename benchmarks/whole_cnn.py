"""A small CNN with generated weights: `hypernetize` against what one writes by hand.

    KERAS_BACKEND=jax python benchmarks/whole_cnn.py     # or torch, or tensorflow

Train steps (the gradient of a loss for all parameters of the generator) on images 28 x 28.
`by hand` is `jax.vmap` over a functional CNN, and on PyTorch `torch.vmap(functional_call)`, with
the same generator; with one condition for all, the plain CNN's step plus one of the generator.
Compiled on JAX and TensorFlow (XLA). Medians of interleaved runs; run nothing else beside it.
"""

import argparse

import keras
import numpy as np
from common import interleaved, print_table
from keras import ops

import keras_hypernet as kh

BACKEND = keras.backend.backend()
CONDITION, HIDDEN = 8, 32


def cnn():
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10),
        ]
    )


def generator(total):
    layers = [keras.layers.Dense(HIDDEN, activation="relu"), keras.layers.Dense(total)]
    return keras.Sequential([keras.Input((CONDITION,)), *layers])


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [ops.convert_to_tensor(rng.normal(size=s).astype("float32")) for s in shapes]


def train_step(model, *inputs):
    """A function that computes the gradients of a model's parameters."""
    values = [v.value for v in model.trainable_variables]
    inputs = list(inputs) if len(inputs) > 1 else inputs[0]
    if BACKEND == "jax":
        import jax

        state = [v.value for v in model.non_trainable_variables]

        def loss(values):
            return ops.mean(ops.square(model.stateless_call(values, state, inputs)[0]))

        step = jax.jit(jax.grad(loss))
        return lambda: jax.block_until_ready(step(values))
    if BACKEND == "tensorflow":
        import tensorflow as tf

        @tf.function(jit_compile=True)
        def gradients():
            with tf.GradientTape() as tape:
                loss = ops.mean(ops.square(model(inputs)))
            return tape.gradient(loss, values)

        return lambda: [g.numpy() for g in map(tf.convert_to_tensor, gradients())]
    import torch

    return lambda: torch.autograd.grad(ops.mean(ops.square(model(inputs))), values)


def cut(flat, shapes):
    """A row of weights as the tensors of the CNN."""
    tensors, start = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        tensors.append(flat[start : start + size].reshape(shape))
        start += size
    return tensors


def by_hand(conditions, images):
    """The same with the vmap of the backend, or `None` on TensorFlow, which cannot compile it."""
    shapes = [tuple(v.shape) for v in cnn().weights]
    made = generator(sum(int(np.prod(shape)) for shape in shapes))
    if BACKEND == "jax":
        import jax
        from jax import lax, nn

        def conv(x, kernel, bias):
            axes = ("NHWC", "HWIO", "NHWC")
            y = lax.conv_general_dilated(x[None], kernel, (1, 1), "SAME", dimension_numbers=axes)
            return nn.relu(y[0] + bias)

        def apply(flat, x):
            k1, b1, k2, b2, k3, b3 = cut(flat, shapes)
            x = conv(x, k1, b1)
            x = lax.reduce_window(x, -np.inf, lax.max, (2, 2, 1), (2, 2, 1), "VALID")
            return conv(x, k2, b2).mean((0, 1)) @ k3 + b3

        def loss(values):
            weights, _ = made.stateless_call(values, [], conditions)
            return (jax.vmap(apply)(weights, images) ** 2).mean()

        step = jax.jit(jax.grad(loss))
        values = [v.value for v in made.trainable_variables]
        return lambda: jax.block_until_ready(step(values))
    if BACKEND == "torch":
        import torch
        from torch import nn

        pool = nn.AdaptiveAvgPool2d(1)
        first, second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        plain = [first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU(), pool, nn.Flatten(0)]
        module = nn.Sequential(*plain, nn.Linear(32, 10))
        named = {name: tuple(p.shape) for name, p in module.named_parameters()}
        images = images.permute(0, 3, 1, 2).contiguous()
        values = [v.value for v in made.trainable_variables]

        def apply(flat, x):
            tensors = dict(zip(named, cut(flat, named.values())))
            return torch.func.functional_call(module, tensors, (x,))

        def step():
            outputs = torch.vmap(apply)(made(conditions), images)
            return torch.autograd.grad((outputs**2).mean(), values)

        return step
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="32,128")
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    table = []
    for rows in map(int, arguments.rows.split(",")):
        conditions, images, one = arrays((rows, CONDITION), (rows, 28, 28, 1), (1, CONDITION))
        plain = cnn()
        per_row = kh.hypernetize(plain, conditioning_size=CONDITION)
        shared = kh.hypernetize(plain, conditioning_size=CONDITION, shared=True)
        ways = {
            "hypernetize": train_step(per_row, conditions, images),
            "by hand": by_hand(conditions, images),
            "one condition": train_step(shared, one, images),
            "plain": train_step(plain, images),
            "generator": train_step(generator(plain.count_params()), one),
        }
        ms = interleaved({n: f for n, f in ways.items() if f is not None}, arguments.repeats)
        ms = {name: 1e3 * seconds for name, seconds in ms.items()}
        hand = ms.get("by hand")
        whole = ms["plain"] + ms["generator"]
        table.append(
            [
                rows,
                f"{ms['hypernetize']:.1f}",
                "-" if hand is None else f"{hand:.1f}",
                "-" if hand is None else f"{hand / ms['hypernetize']:.1f}x",
                f"{ms['one condition']:.1f}",
                f"{ms['plain']:.1f} + {ms['generator']:.1f}",
                f"{ms['one condition'] / whole:.2f}",
            ]
        )
    columns = ["rows", "hypernetize ms", "by hand ms", "faster", "one condition ms"]
    print(f"train steps, {BACKEND}")
    print_table([*columns, "plain + generator ms", "ratio"], table)


if __name__ == "__main__":
    main()
