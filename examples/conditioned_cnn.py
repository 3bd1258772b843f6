"""A convolutional network on digits at a known angle: all weights generated, or FiLM, or neither.

Upright, 6 and 9 differ; turned by any angle, they do so only for those who know the angle. The same
small network is trained four times on scikit-learn's digits, each turned by a random angle:

- without the angle;
- with it as more channels of the image: four constant ones;
- FiLM: only `gamma` and `beta` of the batch normalizations are generated from it;
- all its weights are generated from it.

The condition is `[cos, sin]` of the angle and of twice the angle, and the generators have no hidden
layers: every generated weight is a Fourier series in the angle, and its coefficients are what is
learned. At one angle, `specialize` makes a plain Keras model of it that costs what the first does.

    KERAS_BACKEND=jax python examples/conditioned_cnn.py
"""

import argparse
from pathlib import Path

import keras
import matplotlib
import numpy as np
from keras import layers
from scipy.ndimage import rotate
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_hypernet as kh

matplotlib.use("Agg")
from matplotlib import pyplot as plt

HARMONICS, TURNS, GROUP, ANGLES = 2, 24, 16, 16  # a batch has 16 angles with 16 images each
BLIND, CHANNELS, FILM, FULL = "no angle", "angle as channels", "FiLM", "all generated"


def condition(degrees):
    multiples = np.radians(degrees)[:, None] * np.arange(1, HARMONICS + 1)
    return np.concatenate([np.cos(multiples), np.sin(multiples)], axis=-1).astype("float32")


def turned(images, degrees):
    """Groups of images `(groups, n, 8, 8)`, each at its own angle, as rows of pixels."""
    pairs = zip(images, degrees)
    groups = [rotate(group, d, axes=(1, 2), reshape=False, order=1) for group, d in pairs]
    return np.concatenate(groups)[..., None].astype("float32")


def training_batches(images, labels, seed):
    rng = np.random.default_rng(seed)
    kept = len(labels) // GROUP * GROUP
    order = np.concatenate([rng.permutation(len(labels))[:kept] for _ in range(TURNS)])
    order = order.reshape(-1, GROUP)
    degrees = rng.uniform(0, 360, len(order))
    pixels, targets = turned(images[order], degrees), labels[order].ravel()
    return kh.GroupedDataset(condition(degrees), pixels, targets, ANGLES, shuffle=True, seed=seed)


def cnn(channels=1):
    network = [keras.Input((8, 8, channels))]
    for filters in (16, 32):
        network += [
            layers.Conv2D(filters, 3, padding="same"),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
        ]
    return keras.Sequential([*network, layers.Flatten(), layers.Dense(10)])


def blind():
    angle, pixels = keras.Input((2 * HARMONICS,)), keras.Input((8, 8, 1))
    return keras.Model([angle, pixels], cnn()(pixels))


def with_channels():
    angle, pixels = keras.Input((2 * HARMONICS,)), keras.Input((8, 8, 1))
    maps = layers.Lambda(spread)([angle, pixels])
    return keras.Model([angle, pixels], cnn(1 + 2 * HARMONICS)(maps))


def spread(inputs):
    angle, pixels = inputs
    rows = keras.ops.shape(pixels)[0]
    each = keras.ops.repeat(angle, GROUP, axis=0)
    maps = keras.ops.broadcast_to(each[:, None, None], (rows, 8, 8, 2 * HARMONICS))
    return keras.ops.concatenate([pixels, maps], axis=-1)


def generated(select=None):
    return kh.hypernetize(
        cnn(), conditioning_size=2 * HARMONICS, select=select, hidden_sizes=()
    )

def film():
    return generated(select=["*/gamma", "*/beta"])
