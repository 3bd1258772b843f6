"""Images as functions: every digit becomes a small sine network of its own.

    image (8, 8) -> encoder -> code (16,) -> generated changes of all weights
    points (n, 2) -> sine network with these weights -> intensity

The sine network is an ordinary Keras model that starts as such networks must. `kh.hypernetize` with
`mode="delta"` keeps this start, trains it along, and adds to its weights what it generates for an
image. So each image is a function, which `kh.specialize` cuts out as a plain Keras model, and which
draws the image at any resolution.

The baselines for images not trained on are the mean image, principal component analysis with as
many components as the code has entries, and the same encoder and sine network without generated
weights, where the code comes in beside the coordinates.

    KERAS_BACKEND=jax python examples/image_functions.py
"""

import argparse
import math
from pathlib import Path

import keras
import matplotlib
import numpy as np
from keras import layers, ops
from scipy.ndimage import map_coordinates
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

import keras_hypernet as kh

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SIZE, FINER, CODE, WIDTH, BATCH_SIZE = 8, 64, 16, 32, 32
TEST = 453  # leaves 1344 images, full batches only: one compilation
FREQUENCY = 6  # at the start: up to a period over an image, as kernels lie in [-1/2, 1/2]


def grid(resolution):
    """`(resolution**2, 2)`: the centres of the pixels, in [-1, 1]."""
    centres = (np.arange(resolution, dtype="float32") + 0.5) * 2 / resolution - 1
    return np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)


def intensities(images, points):
    """`(rows, n, 1)`: each image at its points, interpolated linearly between its pixels."""
    pixels = (points[..., ::-1] + 1) * SIZE / 2 - 0.5
    rows = [map_coordinates(x, at.T, order=1, mode="nearest") for x, at in zip(images, pixels)]
    return np.array(rows, "float32")[..., None]


def encoder(image):
    x = layers.Reshape((SIZE, SIZE, 1))(image)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Dense(64, activation="relu")(layers.Flatten()(x))
    return layers.Dense(CODE, name="code")(x)


def sine_network(inputs):
    """Started as in Sitzmann et al., 2020 (https://arxiv.org/abs/2006.09661)."""
    first, others = (
        keras.initializers.RandomUniform(-limit, limit)
        for limit in (1 / inputs, math.sqrt(6 / WIDTH) / FREQUENCY)
    )
    x = points = keras.Input((None, inputs), name="points")
    x = layers.Dense(WIDTH, kh.sine(FREQUENCY), kernel_initializer=first)(x)
    x = layers.Dense(WIDTH, kh.sine(FREQUENCY), kernel_initializer=others)(x)
    return keras.Model(points, layers.Dense(1, kernel_initializer=others)(x), name="painter")


def generated_weights():
    code = encoder(keras.Input((SIZE, SIZE), name="image"))
    return kh.hypernetize(
        sine_network(2),
        conditioning=code,
        mode="delta",
        hidden_sizes=(),
        running_scale=False,  # the size of a code is learned
    )


def code_as_input():
    image, points = keras.Input((SIZE, SIZE), name="image"), keras.Input((None, 2), name="points")
    code = encoder(image)[:, None] + 0 * points[..., :1]
    return keras.Model([image, points], sine_network(CODE + 2)(ops.concatenate([points, code], -1)))


def train(model, inputs, y, epochs):
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, epochs * -(-len(y) // BATCH_SIZE))
    model.compile(keras.optimizers.Adam(schedule), loss="mse")
    model.fit(inputs, y, batch_size=BATCH_SIZE, epochs=epochs, verbose=0)


def predicted(model, images, points):
    return model.predict([images, points], batch_size=512, verbose=0)


def psnr(truth, drawn):
    return -10 * np.log10(np.mean((truth - drawn) ** 2))


def draw(path, rows):
    figure, axes = plt.subplots(len(rows), 10, figsize=(10, 1.1 * len(rows)))
    for axis_row, (title, pictures) in zip(axes, rows.items()):
        for axis, picture in zip(axis_row, pictures):
            size = math.isqrt(picture.size)
            axis.imshow(picture.reshape(size, size), cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        axis_row[0].set_ylabel(title, fontsize=8)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    print(f"picture: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", type=Path, default=Path())
    args = parser.parse_args()

    images = (load_digits().images / 16).astype("float32")
    images, test = train_test_split(images, test_size=TEST, random_state=0)
    rng = np.random.default_rng(args.seed)
    # Trained on the pixels alone, a function would do as it likes between them.
    between = rng.uniform(-1, 1, (len(images), SIZE**2 // 2, 2)).astype("float32")
    points = np.concatenate([np.tile(grid(SIZE), (len(images), 1, 1)), between], axis=1)
    pixels = np.tile(grid(SIZE), (len(test), 1, 1))
    between = rng.uniform(-1, 1, pixels.shape).astype("float32")

    drawn = {}
    for make in (code_as_input, generated_weights):
        keras.utils.set_random_seed(args.seed)
        model = make()
        train(model, [images, points], intensities(images, points), args.epochs)
        name = f"{make.__name__.replace('_', ' ')}, {model.count_params():,} parameters"
        drawn[name] = [predicted(model, test, at) for at in (pixels, between)]
    print(kh.describe(model))

    truth = [intensities(test, at) for at in (pixels, between)]
    pca = PCA(CODE, random_state=0).fit(images.reshape(len(images), -1))
    components = pca.inverse_transform(pca.transform(test.reshape(len(test), -1)))
    for name, flat in {f"{CODE} components": components, "mean image": pca.mean_}.items():
        as_images = np.broadcast_to(flat, (len(test), SIZE**2)).reshape(test.shape)
        drawn[name] = [intensities(as_images, at) for at in (pixels, between)]
    print(f"\n{'PSNR on test images, dB':42}at the pixels   between them")
    for name, both in drawn.items():
        at_pixels, elsewhere = map(psnr, truth, both)
        print(f"{name:42}{at_pixels:13.1f}{elsewhere:15.1f}")

    plain = kh.specialize(model, test[:1])
    fine = predicted(model, test[:10], np.tile(grid(FINER), (10, 1, 1)))
    alone = plain.predict(grid(FINER)[None], verbose=0)
    print(
        f"the first test image alone: {plain.count_params():,} weights, "
        f"differs by at most {np.abs(alone - fine[:1]).max():.1e}"
    )
    rows = {"image": test, "drawn": list(drawn.values())[1][0], "64 x 64": fine}
    draw(args.output_dir / "image_functions.png", rows)


if __name__ == "__main__":
    main()
