"""Every ridge regression at once: the strength of the penalty -> the weights of a linear model.

Ridge regression minimizes `mean((y - x w)^2) + lambda * |w|^2`, and for each lambda the solution is
another one. Here a small network generates `w` from `log10(lambda)`, and its training minimizes the
same objective for random lambdas, so that in the end one model holds the whole path. Ridge has a
closed form to compare with at every lambda; objectives without one train in the same way.

The penalty is made of the generated weights, which are tensors in the graph like any other: it is a
second output of the model, and its loss is the output itself.

    KERAS_BACKEND=torch python examples/amortised_regularisation.py
"""

import argparse
from pathlib import Path

import keras
import matplotlib
import numpy as np
from keras import ops
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

import keras_hypernet as kh

matplotlib.use("Agg")
from matplotlib import pyplot as plt

LOW, HIGH = -2, 2  # log10 of lambda
LAMBDAS, STEPS = 16, 250  # in a batch; batches in an epoch


class RandomLambdas(keras.utils.PyDataset):
    """Batches of new lambdas, each with all data rows."""

    def __init__(self, x, y, seed):
        super().__init__()
        self.rng = np.random.default_rng(seed)
        self.x, self.y = np.tile(x, (LAMBDAS, 1)), np.tile(y, (LAMBDAS, 1))

    def __len__(self):
        return STEPS

    def __getitem__(self, index):
        # One in each part of the range: a batch has strong and weak penalties alike.
        parts = np.arange(LAMBDAS)[:, None] + self.rng.uniform(size=(LAMBDAS, 1))
        log_lambdas = (LOW + (HIGH - LOW) * parts / LAMBDAS).astype("float32")
        return (log_lambdas, self.x), (self.y, np.zeros_like(log_lambdas))


def amortised(features):
    log_lambda, x = keras.Input((1,), name="log_lambda"), keras.Input((features,), name="x")
    generator = kh.WeightGenerator(
        [(features, 1)],
        hidden_sizes=(32, 32),
        activation="tanh",
        initialization=kh.HyperFanIn("xavier"),
    )
    weights = generator(log_lambda)
    prediction = kh.HyperDense(1, use_bias=False, name="prediction")(x, weights)
    square = ops.sum(ops.square(weights), axis=-1, keepdims=True)
    return keras.Model([log_lambda, x], [prediction, 10**log_lambda * square])


def the_penalty(_, penalty):
    return penalty


def train(model, x, y, epochs, seed):
    schedule = keras.optimizers.schedules.CosineDecay(1e-2, epochs * STEPS)
    model.compile(keras.optimizers.Adam(schedule), loss=["mse", the_penalty])
    model.fit(RandomLambdas(x, y, seed), epochs=epochs, verbose=0)


def ridge(x, y, strength):
    """The closed form."""
    moment = x.T @ x / len(x) + strength * np.eye(x.shape[1])
    return np.linalg.solve(moment, x.T @ y / len(x))[:, 0]


def objective(w, x, y, strength):
    return np.mean((y[:, 0] - x @ w) ** 2) + strength * np.sum(w**2)
