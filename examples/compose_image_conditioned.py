"""An image writes a network that draws it: a hypernetwork inside a larger functional model.

    image (8, 8, 1)      -> small CNN -> code (16,) -> generators -> weights
    coordinates (n, 2)   -> Fourier features ----------------------> target network -> intensity

`kh.build` takes KerasTensors for both sides, so the CNN and the hypernetwork are one model and are
trained as one. The target network maps a point to the intensity of the image there, so it draws
the digit at any resolution. The baselines for images not trained on are the mean image and
principal component analysis with as many components as the code has entries.

    KERAS_BACKEND=tensorflow python examples/compose_image_conditioned.py
"""

import argparse
import math
import tempfile
from pathlib import Path

import keras
import matplotlib
import numpy as np
from keras import layers
from scipy.ndimage import map_coordinates
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

import keras_hypernet as kh

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SIZE, CODE, FREQUENCIES, WIDTH = 8, 16, 16, 64


def grid(rows, resolution):
    """`(rows, resolution**2, 2)`: the centres of the pixels, in [-1, 1], for every image."""
    centres = (np.arange(resolution, dtype="float32") + 0.5) * 2 / resolution - 1
    points = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(1, -1, 2)
    return np.repeat(points, rows, axis=0)


def intensities(images, points):
    """`(rows, n, 1)`: each image at its points, interpolated linearly between its pixels."""
    pixels = (points[..., ::-1] + 1) * SIZE / 2 - 0.5
    rows = [
        map_coordinates(image[..., 0], at.T, order=1, mode="nearest")
        for image, at in zip(images, pixels)
    ]
    return np.array(rows, "float32")[..., None]


def build():
    image = keras.Input((SIZE, SIZE, 1), name="image")
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(image)
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Dense(64, activation="relu")(layers.Flatten()(x))
    code = layers.Dense(CODE, name="code")(x)

    points = keras.Input((None, 2), name="coordinates")
    # 8 pixels in [-1, 1] tell waves of up to 2 periods per unit apart.
    features = kh.FourierFeatures(FREQUENCIES, scale=0.7)(points)

    return kh.build(
        conditioning=code,
        data_input=features,
        target_layer_sizes=[(features.shape[-1], WIDTH), (WIDTH, 1)],
        hidden_sizes=(64,),
        name="painter",
    )


def psnr(images, drawn):
    return -10 * np.log10(np.mean((images.reshape(len(images), -1) - drawn) ** 2))


def draw_points(model, images, resolution):
    inputs = [images, grid(len(images), resolution)]
    return model.predict(inputs, batch_size=len(images), verbose=0)[..., 0]


def check_saving(model, images, drawn):
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/painter.keras")
        reloaded = keras.saving.load_model(f"{folder}/painter.keras")
    difference = np.abs(draw_points(reloaded, images, SIZE) - drawn).max()
    print(f"saved and reloaded: predictions differ by at most {difference:.1e}")


def draw(path, rows):
    figure, axes = plt.subplots(3, 10, figsize=(10, 3.4))
    for axis_row, (title, pictures) in zip(axes, rows.items()):
        for axis, picture in zip(axis_row, pictures):
            size = math.isqrt(picture.size)
            axis.imshow(picture.reshape(size, size), cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        axis_row[0].set_ylabel(title)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    print(f"picture: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", type=Path, default=Path())
    args = parser.parse_args()

    keras.utils.set_random_seed(args.seed)
    images = (load_digits().images[..., None] / 16).astype("float32")
    train, test = train_test_split(images, test_size=0.25, random_state=0)
    model = build()
    print(f"inputs {[x.name for x in model.inputs]}, {model.count_params():,} parameters")
    print(kh.describe(model))

    steps = args.epochs * math.ceil(len(train) / 64)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)), loss="mse"
    )
    # Trained on the pixels alone, the target would do as it likes between them.
    between = np.random.default_rng(args.seed).uniform(-1, 1, (len(train), SIZE**2, 2))
    points = np.concatenate([grid(len(train), SIZE), between.astype("float32")], axis=1)
    y = intensities(train, points)
    model.fit([train, points], y, batch_size=64, epochs=args.epochs, verbose=0)

    drawn, enlarged = draw_points(model, test, SIZE), draw_points(model, test[:10], 8 * SIZE)
    check_saving(model, test, drawn)
    draw(
        args.output_dir / "compose_image_conditioned.png",
        {"image": test, "8 x 8": drawn, "64 x 64": enlarged},
    )
    pca = PCA(CODE, random_state=0).fit(train.reshape(len(train), -1))
    components = pca.inverse_transform(pca.transform(test.reshape(len(test), -1)))
    print(
        f"PSNR on test images: hypernetwork {psnr(test, drawn):.1f} dB, "
        f"{CODE} principal components {psnr(test, components):.1f} dB, "
        f"mean image {psnr(test, pca.mean_):.1f} dB"
    )


if __name__ == "__main__":
    main()
