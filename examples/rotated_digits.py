"""Digits at a known angle: a small target network against ordinary dense networks.

Every image of scikit-learn's digits is turned by a random angle. The hypernetwork reads the angle
as `[cos, sin]` and generates the weights of a network with 16 hidden units for it. Beside it are
three dense networks: a small one, of the target's shape, that does not see the angle; a small one
that gets it as two more inputs; and a size-matched one that also does and has at least as many
parameters as the hypernetwork. All four are trained alike. Where many images share one angle, the
generator runs once, and each prediction costs what the small target does: the table says how much.

    KERAS_BACKEND=tensorflow python examples/rotated_digits.py
"""

import argparse
import math
import tempfile
from pathlib import Path

import keras
import matplotlib
import numpy as np
from scipy.ndimage import rotate
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_hypernet as kh

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PIXELS, CLASSES, WIDTH = 64, 10, 16
TURNS, BATCH_SIZE = 24, 256
BLIND, SAME, MATCHED, HYPER = "small, no angle", "small, angle", "size-matched", "hypernetwork"
RATES = {HYPER: 1.2e-2}  # its features are divided by the root of their number


def turned(images, labels, seed):
    """`([degrees, pixels], labels)`, each image at one angle in each of 24 sectors."""
    sectors = np.arange(TURNS) + np.random.default_rng(seed).uniform(size=(len(images), TURNS))
    degrees = sectors.ravel() * 360 / TURNS
    images, labels = np.repeat(images, TURNS, axis=0), np.repeat(labels, TURNS)
    pixels = [rotate(x, d, reshape=False, order=1).ravel() for x, d in zip(images, degrees)]
    return [degrees[:, None].astype("float32"), np.array(pixels, "float32")], labels


def angle_input():
    """An input in degrees, and `[cos, sin]` of it: from (1, 0) at 0 to (0, 1) at 90 degrees."""
    degrees = keras.Input((1,), name="degrees")
    return degrees, kh.UnitNormEncoding(high=90)(degrees)


def hypernetwork():
    _, angle = angle_input()
    return kh.build(
        conditioning=angle,
        input_size=PIXELS,
        target_layer_sizes=[(PIXELS, WIDTH), (WIDTH, CLASSES)],
        hidden_sizes=(64, 8),
        hidden_activation="tanh",  # smooth in the angle, which generalizes better than relu here
    )


def dense_network(width, sees_angle=True):
    (degrees, angle), pixels = angle_input(), keras.Input((PIXELS,), name="pixels")
    x = keras.layers.Concatenate()([angle, pixels]) if sees_angle else pixels
    x = keras.layers.Dense(width, activation="relu")(x)
    return keras.Model([degrees, pixels], keras.layers.Dense(CLASSES)(x))


def trained(model):
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def size_matched(parameters):
    per_unit = dense_network(2).count_params() - dense_network(1).count_params()
    return dense_network(-(-(parameters - CLASSES) // per_unit))  # the rest is the output's bias


def train(model, inputs, labels, epochs, rate):
    steps = epochs * -(-len(labels) // BATCH_SIZE)
    model.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(inputs, labels, batch_size=BATCH_SIZE, epochs=epochs, verbose=0)


def check_saving(model, inputs):
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/rotated_digits.keras")
        reloaded = keras.saving.load_model(f"{folder}/rotated_digits.keras")
    before, after = (m.predict(inputs, batch_size=1024, verbose=0) for m in (model, reloaded))
    print(f"saved and reloaded: predictions differ by at most {np.abs(before - after).max():.1e}")


def draw(path, correct):
    for name, rows in correct.items():
        accuracy = 100 * np.reshape(rows, (-1, TURNS)).mean(axis=0)  # one column per sector
        plt.plot((np.arange(TURNS) + 0.5) * 360 / TURNS, accuracy, marker=".", label=name)
    plt.gca().set(xlabel="angle in degrees", ylabel="test accuracy in %", xticks=range(0, 361, 45))
    plt.grid(alpha=0.3)
    plt.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, fontsize=8)
    plt.savefig(path, dpi=120, bbox_inches="tight")
    print(f"picture: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output-dir", type=Path, default=Path())
    args = parser.parse_args()

    digits = load_digits()
    # Split before turning: no image is in both sets at different angles.
    train_images, test_images, train_labels, test_labels = train_test_split(
        digits.images / 16, digits.target, test_size=0.25, stratify=digits.target, random_state=0
    )
    test, labels = turned(test_images, test_labels, seed=12345)
    print(kh.describe(hypernetwork()))
    parameters = trained(hypernetwork())
    networks = {
        BLIND: lambda: dense_network(WIDTH, sees_angle=False),
        SAME: lambda: dense_network(WIDTH),
        MATCHED: lambda: size_matched(parameters),
        HYPER: hypernetwork,
    }
    models, correct = {}, {name: [] for name in networks}
    for seed in args.seeds:
        inputs, targets = turned(train_images, train_labels, seed)
        for name, make in networks.items():
            keras.utils.set_random_seed(seed)
            models[name] = make()
            train(models[name], inputs, targets, args.epochs, RATES.get(name, 4e-3))
            logits = models[name].predict(test, batch_size=1024, verbose=0)
            correct[name].append(logits.argmax(axis=-1) == labels)
            accuracy = 100 * correct[name][-1].mean()
            print(f"seed {seed}, {name}: {accuracy:.1f} % after {args.epochs} epochs", flush=True)

    print(f"\n{'network':16}{'trained':>10}{'in use':>10}{'mult-adds':>11}   test accuracy")
    means = {name: 100 * np.mean(rows) for name, rows in correct.items()}
    # What predictions at one angle need: all weights of a dense network, or the generated ones.
    generated = kh.target_weights(models[HYPER], np.zeros((1, 1), "float32"))
    for name, model in models.items():
        arrays = [w[0] for w in generated.values()] if name == HYPER else model.get_weights()
        in_use, products = (sum(w.size for w in arrays if w.ndim >= axes) for axes in (1, 2))
        std = 100 * np.std([row.mean() for row in correct[name]])
        print(f"{name:16}{trained(model):10,}{in_use:10,}{products:11,}", end="   ")
        print(f"{means[name]:.1f} +- {std:.1f} %")
    print("in use, mult-adds: for one prediction once the angle is known\n")

    check_saving(models[HYPER], test)
    draw(args.output_dir / "rotated_digits.png", correct)
    print(
        f"hypernetwork {means[HYPER]:.1f} %, {means[HYPER] - means[SAME]:+.1f} points over the "
        f"same-shape network that sees the angle, {means[HYPER] - means[MATCHED]:+.1f} points "
        "against the size-matched one"
    )


if __name__ == "__main__":
    main()
