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

import keras_hypernet as kh

matplotlib.use("Agg")
from matplotlib import pyplot as plt

LOW, HIGH = -2, 2  # log10 of lambda
LAMBDAS, STEPS = 16, 200  # lambdas in a batch, batches in an epoch


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
        {"kernel": (features, 1)},
        hidden_sizes=(64, 64),
        activation="gelu",  # a path is smooth in the logarithm of lambda
        # Nearer to the closed form than from a start that is the same for every lambda.
        initialization=kh.HyperFanIn("xavier"),
        feature_scale=1.0,
    )
    weights = generator(log_lambda)
    prediction = kh.Hyper(keras.layers.Dense(1, use_bias=False))(x, weights)
    square = ops.sum(ops.square(weights), axis=-1, keepdims=True)
    return keras.Model([log_lambda, x], [prediction, 10**log_lambda * square])


def train(model, x, y, epochs, seed):
    schedule = keras.optimizers.schedules.CosineDecay(1e-2, epochs * STEPS)
    losses = ["mse", lambda _, penalty: penalty]
    model.compile(keras.optimizers.Adam(schedule), losses)
    model.fit(RandomLambdas(x, y, seed), epochs=epochs, verbose=0)


def ridge(x, y, strength):
    moments = x.T @ x / len(x) + strength * np.eye(x.shape[1])
    return np.linalg.solve(moments, x.T @ y / len(x))[:, 0]


def objectives(coefficients, x, y, strengths):
    errors = np.mean((y - x @ coefficients.T) ** 2, axis=0)
    return errors + strengths * np.sum(coefficients**2, axis=1)


def draw(path, names, strengths, generated, exact, distances):
    _, (left, right) = plt.subplots(1, 2, figsize=(10, 4), width_ratios=(3, 2))
    for name, ours, theirs in zip(names, generated.T, exact.T):
        (line,) = left.plot(strengths, ours, label=name)
        left.plot(strengths[::5], theirs[::5], "o", color=line.get_color(), markersize=4)
    left.set(xscale="log", xlabel="lambda", ylabel="coefficient")
    left.set_title("lines: generated, dots: closed form", fontsize=10)
    left.legend(fontsize=7, ncols=2)
    right.plot(strengths, 100 * distances)
    right.set(xscale="log", yscale="log", xlabel="lambda")
    right.set_title("distance to the closed form, % of its norm", fontsize=10)
    right.grid(alpha=0.3)
    plt.savefig(path, dpi=120, bbox_inches="tight")
    print(f"picture: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--output-dir", type=Path, default=Path())
    args = parser.parse_args()

    data = load_diabetes()
    x = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    y = ((data.target - data.target.mean()) / data.target.std())[:, None]
    log_lambdas = np.linspace(LOW, HIGH, 81)
    strengths = 10**log_lambdas
    exact = np.stack([ridge(x, y, strength) for strength in strengths])
    least = objectives(exact, x, y, strengths)

    print(f"{'seed':>4}{'largest distance':>20}{'mean distance':>17}{'largest excess loss':>23}")
    for seed in args.seeds:
        keras.utils.set_random_seed(seed)
        model = amortised(x.shape[1])
        train(model, x.astype("float32"), y.astype("float32"), args.epochs, seed)
        grid = log_lambdas[:, None].astype("float32")
        generated = kh.target_weights(model, grid)["kernel"][:, :, 0]
        distances = np.linalg.norm(generated - exact, axis=1) / np.linalg.norm(exact, axis=1)
        excess = objectives(generated, x, y, strengths) / least - 1
        print(f"{seed:4}{distances.max():20.2%}{distances.mean():17.2%}{excess.max():23.5%}")
    print("distance: between generated and exact coefficients, relative to the exact ones")

    path = args.output_dir / "amortised_regularisation.png"
    draw(path, data.feature_names, strengths, generated, exact, distances)


if __name__ == "__main__":
    main()
