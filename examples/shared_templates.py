"""Soft sharing: the layers of a deep network are mixtures of a few templates.

Six hidden layers have kernels of the same shape. Instead of one matrix each, they have a few
matrices together, the templates, and each layer has one number per template:

    kernel_j = c_j1 * template_1 + c_j2 * template_2 + ...

This is a `StructuredWeightGenerator` without hidden layers: a layer's chunk embedding is its row
of coefficients `c_j`, and the rows of the head are the templates. The biases and the first and last
layers are plain tensors. Beside it are two ordinary networks, trained alike: one of the same shape,
and a narrower one with at most as many parameters as the network with two templates.

    KERAS_BACKEND=jax python examples/shared_templates.py
"""

import argparse
from pathlib import Path

import keras
import matplotlib
import numpy as np
from keras import ops
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_hypernet as kh

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PIXELS, CLASSES, WIDTH, HIDDEN = 64, 10, 64, 6
TEMPLATES, BATCH_SIZE = (1, 2, 3), 128
LAYERS = [(PIXELS, WIDTH), *[(WIDTH, WIDTH)] * HIDDEN, (WIDTH, CLASSES)]
SPEC = kh.WeightSpec.from_layer_sizes(LAYERS)
MIXED = [f"layer_{j + 1}/kernel" for j in range(HIDDEN)]


@keras.saving.register_keras_serializable()
class UnitMeanSquare(keras.initializers.Initializer):
    """Normal numbers, each row scaled to a mean square of 1."""

    def __call__(self, shape, dtype=None):
        rows = keras.random.normal(shape, dtype=dtype)
        return rows / ops.sqrt(ops.mean(ops.square(rows), axis=-1, keepdims=True))


def soft_sharing(templates):
    kernel = (WIDTH, WIDTH)
    layer = {"shapes": {"kernel": kernel}, "number": HIDDEN, "embedding_size": templates}
    assembly = {name: f"layer/{j}/kernel" for j, name in enumerate(MIXED)}
    plan = kh.ChunkPlan(dict.fromkeys(MIXED, kernel), {"layer": layer}, assembly)
    mixtures = kh.StructuredWeightGenerator(
        plan,
        chunk_embeddings="conditional",  # on an id, the only input: here there is one condition
        num_conditions=1,
        hidden_sizes=(),
        use_bias=False,
        # He's variance for all kernels: HyperFanIn draws templates with 2 / (64 * templates), as
        # its coefficients have a mean square of 1. Normal ones have that only on the average: one
        # layer with small coefficients would shrink the activations of all after it.
        initialization=kh.HyperFanIn(),
        chunk_embeddings_initializer=UnitMeanSquare(),
        name="templates",
    )
    generator = kh.ComposedWeightGenerator(
        SPEC,
        generators={"templates": mixtures},
        shared={t.name: t.shape for t in SPEC if t.name not in MIXED},
        part_inputs={"templates": []},
        initializers={"kernel": "he_uniform"},  # as the ordinary layers below
    )
    hypernetwork = kh.Hypernetwork(generator, embedding_size=0, name="hypernetwork")
    pixels = keras.Input((PIXELS,))
    condition = ops.zeros_like(pixels[:1, 0], dtype="int32")  # one row of weights for all pixels
    target = kh.ApplyGeneratedWeights(LAYERS, shared=True)
    return keras.Model(pixels, target(pixels, hypernetwork(condition)))


def coefficients(model):
    mixtures = model.get_layer("hypernetwork").generator.generators["templates"]
    return ops.convert_to_numpy(mixtures.kind("layer").embeddings)[0]


def ordinary(width):
    dense = lambda *args: keras.layers.Dense(*args, kernel_initializer="he_uniform")  # noqa: E731
    hidden = [dense(width, "relu") for _ in range(1 + HIDDEN)]
    return keras.Sequential([keras.Input((PIXELS,)), *hidden, dense(CLASSES)])


def train(model, x, y, epochs):
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, epochs * -(-len(y) // BATCH_SIZE))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule), loss)
    model.fit(x, y, batch_size=BATCH_SIZE, epochs=epochs, verbose=0)


def draw(path, tables):
    _, axes = plt.subplots(1, len(TEMPLATES), figsize=(6, 4), width_ratios=TEMPLATES, sharey=True)
    limit = max(np.abs(table).max() for table in tables)
    for axis, table in zip(axes, tables):
        axis.imshow(table, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
        for (j, t), value in np.ndenumerate(table):
            axis.text(t, j, f"{value:.2f}", ha="center", va="center", fontsize=8)
        axis.set(xlabel="template", xticks=range(table.shape[1]), yticks=range(HIDDEN))
    axes[0].set_ylabel("mixing coefficients of hidden layer")
    plt.savefig(path, dpi=120, bbox_inches="tight")
    print(f"picture: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output-dir", type=Path, default=Path())
    args = parser.parse_args()

    x, y = load_digits(return_X_y=True)
    x, test_x, y, test_y = train_test_split(
        (x / 16).astype("float32"), y, test_size=0.25, stratify=y, random_state=0
    )
    narrow = WIDTH
    while ordinary(narrow).count_params() > soft_sharing(2).count_params():
        narrow -= 1
    networks = {"plain": lambda: ordinary(WIDTH), "plain, narrower": lambda: ordinary(narrow)}
    for n in TEMPLATES:
        networks[f"{n} template{'s' * (n > 1)}"] = lambda n=n: soft_sharing(n)
    models, accuracies = {}, {name: [] for name in networks}
    for seed in args.seeds:
        for name, make in networks.items():
            keras.utils.set_random_seed(seed)
            models[name] = make()
            train(models[name], x, y, args.epochs)
            logits = models[name].predict(test_x, batch_size=512, verbose=0)
            accuracies[name].append(100 * np.mean(logits.argmax(axis=-1) == test_y))

    print(f"\n{'network':17}{'trained':>8}{'in use':>8}{'compression':>13}   test accuracy")
    for name, model in models.items():
        trained = model.count_params()
        in_use = trained if "plain" in name else SPEC.total
        print(f"{name:17}{trained:8,}{in_use:8,}{in_use / trained:12.2f}x", end="   ")
        print(f"{np.mean(accuracies[name]):.1f} +- {np.std(accuracies[name]):.1f} %")
    print(f"means over {len(args.seeds)} seeds, {len(test_y)} test images")

    tables = [coefficients(model) for model in list(models.values())[2:]]
    draw(args.output_dir / "shared_templates.png", tables)


if __name__ == "__main__":
    main()
