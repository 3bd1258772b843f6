"""A compressed convolutional network: its weights come from six times fewer parameters.

    embeddings of the chunks -> generator -> all kernels and biases, chunk by chunk
    image -> convolutional network with these weights -> digit

A `ChunkedWeightGenerator` cuts all weights of the network into chunks of equal size. Without hidden
layers, each chunk is a frozen random start, drawn from a seed, plus a mixture of a few templates,
and its embedding holds the coefficients: templates and embeddings are all that is trained, and all
that a file has to hold beside the seed. In use,
`kh.specialize` makes a plain Keras model of them, as large and as fast as the ordinary one.

Beside it are two ordinary networks, trained alike: one of the same shape, and a narrower one with
at most as many parameters as the generator.

    KERAS_BACKEND=jax python examples/compress_cnn.py
"""

import argparse
from functools import partial
from pathlib import Path

import keras
import matplotlib
import numpy as np
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_hypernet as kh

matplotlib.use("Agg")
from matplotlib import pyplot as plt

WIDTH, NARROWER, BATCH_SIZE = 32, 11, 64
TEST = 453  # leaves 1344 images, full batches only: one compilation
CHUNK_SIZE, TEMPLATES = 450, 8
PLAIN, NARROW, GENERATED = "plain", "plain, narrower", "generated"


def cnn(width=WIDTH):
    conv = partial(layers.Conv2D, padding="same", activation="relu")
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            conv(width, 3, name="first"),
            layers.MaxPooling2D(),
            conv(width, 3, name="second"),
            conv(2 * width, 3, name="third"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10, name="digit"),
        ]
    )


def mixtures_of_templates(spec):
    return kh.ChunkedWeightGenerator(
        spec,
        chunk_size=CHUNK_SIZE,
        chunk_embedding_size=TEMPLATES,
        chunk_embeddings="conditional",  # on an id, the only input: here there is one condition
        num_conditions=1,
        hidden_sizes=(),
    )


def generated():
    ids = keras.Input((), dtype="int32", name="condition")
    return kh.hypernetize(
        cnn(),
        conditioning={"condition_id": ids[:1, ...]},  # `fit` gives an id per image: one is enough
        generator=mixtures_of_templates,
        shared=True,
    )


def inputs(model, images):
    return images if len(model.inputs) == 1 else [np.zeros(len(images), "int32"), images]


def train(model, x, y, epochs):
    schedule = keras.optimizers.schedules.CosineDecay(4e-3, epochs * -(-len(y) // BATCH_SIZE))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule), loss)
    model.fit(inputs(model, x), y, batch_size=BATCH_SIZE, epochs=epochs, verbose=0)


def tiles(filters):
    """`(size, size, 32)` -> one picture, 4 rows of 8, with empty lines between them."""
    padded = np.pad(filters, ((1, 0), (1, 0), (0, 0)), constant_values=np.nan)
    height, width, _ = padded.shape
    rows = padded.transpose(2, 0, 1).reshape(4, 8, height, width).transpose(0, 2, 1, 3)
    return rows.reshape(4 * height, 8 * width)[1:, 1:]


def draw(path, networks):
    _, axes = plt.subplots(len(networks), 2, figsize=(9, 5))
    for axis_row, (title, model) in zip(axes, networks.items()):
        for axis, name in zip(axis_row, ("first", "second")):
            # Of every filter what it does to its first input.
            picture = tiles(keras.ops.convert_to_numpy(model.get_layer(name).kernel)[:, :, 0])
            limit = np.nanmax(np.abs(picture))
            axis.imshow(picture, cmap="RdBu", vmin=-limit, vmax=limit)
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"{title}: filters of the {name} layer", fontsize=10)
    plt.tight_layout()
    plt.savefig(path, dpi=120, bbox_inches="tight")
    print(f"picture: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output-dir", type=Path, default=Path())
    args = parser.parse_args()

    digits = load_digits()
    x, y = (digits.images[..., None] / 16).astype("float32"), digits.target
    x, test_x, y, test_y = train_test_split(x, y, test_size=TEST, stratify=y, random_state=0)
    print(kh.describe(generated()))
    makers = {PLAIN: cnn, NARROW: lambda: cnn(NARROWER), GENERATED: generated}
    models, accuracies = {}, {name: [] for name in makers}
    for seed in args.seeds:
        for name, make in makers.items():
            keras.utils.set_random_seed(seed)
            models[name] = model = make()
            train(model, x, y, args.epochs)
            logits = model.predict(inputs(model, test_x), batch_size=512, verbose=0)
            accuracies[name].append(100 * np.mean(logits.argmax(axis=-1) == test_y))

    alone = kh.specialize(models[GENERATED], np.zeros(1, "int32"))
    print(f"\n{'network':17}{'trained':>8}{'in use':>8}{'compression':>13}   test accuracy")
    for name, model in models.items():
        trained = model.count_params()
        in_use = alone.count_params() if name == GENERATED else trained
        print(f"{name:17}{trained:8,}{in_use:8,}{in_use / trained:12.2f}x", end="   ")
        print(f"{np.mean(accuracies[name]):.1f} +- {np.std(accuracies[name]):.1f} %")
    print(f"means over {len(args.seeds)} seeds, {len(test_y)} test images")

    difference = np.abs(alone.predict(test_x, batch_size=512, verbose=0) - logits).max()
    print(f"the plain model made of the generated weights differs by at most {difference:.1e}")
    draw(args.output_dir / "compress_cnn.png", {PLAIN: models[PLAIN], GENERATED: alone})


if __name__ == "__main__":
    main()
