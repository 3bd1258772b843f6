"""A convolutional network on digits at a known angle: all weights generated, or FiLM, or neither.

Upright, 6 and 9 differ; turned by any angle, they do so only for those who know the angle. The same
small network is trained on scikit-learn's digits, each turned by random angles:

- without the angle;
- with it as four more, constant, channels of the image, and so again with wider layers;
- FiLM: only `gamma` and `beta` of the batch normalizations are generated from it;
- all its weights are generated from it.

The condition is `[cos, sin]` of the angle and of twice the angle, and the generators have no hidden
layers: every generated weight is a Fourier series in the angle, and its coefficients are what is
learned. For one angle, `specialize` makes a plain Keras model that costs what the first does.

    KERAS_BACKEND=jax python examples/conditioned_cnn.py
"""

import argparse
from pathlib import Path

import keras
import matplotlib
import numpy as np
from keras import layers, ops
from scipy.ndimage import rotate
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_hypernet as kh

matplotlib.use("Agg")
from matplotlib import pyplot as plt

HARMONICS, TURNS, BATCH_SIZE = 2, 12, 256
TEST = 453  # leaves 1344 images, full batches only: one compilation


def turned(images, labels, seed):
    """`([condition, image], labels)`, each image at one angle in each of 12 sectors."""
    sectors = np.arange(TURNS) + np.random.default_rng(seed).uniform(size=(len(images), TURNS))
    degrees = sectors.ravel() * 360 / TURNS
    images, labels = np.repeat(images, TURNS, axis=0), np.repeat(labels, TURNS)
    images = [rotate(x, d, reshape=False, order=1) for x, d in zip(images, degrees)]
    return [degrees[:, None].astype("float32"), np.array(images, "float32")[..., None]], labels


def cnn(channels=1, width=8):
    network = [keras.Input((8, 8, channels), name="image")]
    for i, filters in enumerate((width, 2 * width)):
        network += [
            layers.Conv2D(filters, 3, padding="same", name=f"conv_{i}"),
            layers.BatchNormalization(momentum=0.9, name=f"norm_{i}"),
            layers.ReLU(),
            layers.MaxPooling2D(),
        ]
    return keras.Sequential([*network, layers.Flatten(), layers.Dense(10, name="digit")])


def harmonics(degrees):
    """`[cos, sin]` of an angle and of twice the angle: from (1, 0) to (0, 1) in 90 degrees."""
    return kh.UnitNormEncoding(high=90)(degrees * np.arange(1, HARMONICS + 1))


def no_angle():
    angle, image = keras.Input((1,), name="degrees"), keras.Input((8, 8, 1))
    return keras.Model([angle, image], cnn()(image))


def channels(**options):
    angle, image = keras.Input((1,), name="degrees"), keras.Input((8, 8, 1))
    maps = harmonics(angle)[:, None, None] + ops.zeros_like(image)  # (rows, 8, 8, 4)
    network = cnn(1 + 2 * HARMONICS, **options)
    return keras.Model([angle, image], network(ops.concatenate([image, maps], axis=-1)))


def generated(select=None):
    condition = harmonics(keras.Input((1,), name="degrees"))
    return kh.hypernetize(cnn(), conditioning=condition, select=select, hidden_sizes=())


NETWORKS = {
    "no angle": no_angle,
    "channels": channels,
    "channels, wider": lambda: channels(width=20),  # with the most parameters of all
    "FiLM": lambda: generated(select=["*/gamma", "*/beta"]),
    "all generated": generated,
}


def train(model, inputs, labels, epochs):
    steps = epochs * -(-len(labels) // BATCH_SIZE)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(4e-3, steps)), loss)
    model.fit(inputs, labels, batch_size=BATCH_SIZE, epochs=epochs, verbose=0)


def parameters(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def draw(path, correct, labels):
    _, axes = plt.subplots(1, 2, figsize=(10, 3.5), sharey=True)
    chosen = {"all digits": labels >= 0, "6 and 9": np.isin(labels, [6, 9])}
    for axis, (title, rows) in zip(axes, chosen.items()):
        for name, found in correct.items():
            by_angle = np.mean(found, axis=0)[rows].reshape(-1, TURNS).mean(axis=0)
            axis.plot((np.arange(TURNS) + 0.5) * 360 / TURNS, 100 * by_angle, ".-", label=name)
        axis.set(xlabel="angle in degrees", title=title, xticks=range(0, 361, 45))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("test accuracy in %")
    axes[0].legend(fontsize=8)
    plt.savefig(path, dpi=120, bbox_inches="tight")
    print(f"picture: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--output-dir", type=Path, default=Path())
    args = parser.parse_args()

    digits = load_digits()
    # Split before turning: no image is in both sets at different angles.
    images, test_images, targets, test_targets = train_test_split(
        digits.images / 16, digits.target, test_size=TEST, stratify=digits.target, random_state=0
    )
    test, labels = turned(test_images, test_targets, seed=12345)
    models, correct = {}, {name: [] for name in NETWORKS}
    for seed in args.seeds:
        inputs, y = turned(images, targets, seed)
        for name, make in NETWORKS.items():
            keras.utils.set_random_seed(seed)
            models[name] = model = make()
            train(model, inputs, y, args.epochs)
            logits = model.predict(test, batch_size=TEST, verbose=0)
            correct[name].append(logits.argmax(axis=-1) == labels)

    in_use = parameters(cnn())  # what is generated for an angle, or stays as it is
    print(f"{'network':17}{'trained':>8}{'in use':>8}   test accuracy   of 6 and 9")
    for name, rows in correct.items():
        of_all, of_both = np.mean(rows), np.mean(np.array(rows)[:, np.isin(labels, [6, 9])])
        trained = parameters(models[name])
        used = trained if name.startswith("channels") else in_use
        print(f"{name:17}{trained:8,}{used:8,}{of_all:14.1%}{of_both:13.1%}")

    angle = np.array([[30.0]])
    plain, some = kh.specialize(model, angle), test[1][:100]
    difference = float(ops.max(ops.abs(plain(some) - model([angle, some]))))
    print(f"at 30 degrees: a plain model of {parameters(plain):,}, differs by {difference:.1e}")
    draw(args.output_dir / "conditioned_cnn.png", correct, labels)


if __name__ == "__main__":
    main()
