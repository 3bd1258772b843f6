"""A whole Pareto front at once: a preference between two losses -> the solution that keeps to it.

    l1 = 1 - exp(-|x - 1/sqrt(20)|^2), l2 = 1 - exp(-|x + 1/sqrt(20)|^2), x of 20 numbers

No x makes both small. The best compromises are x = (t, ..., t)/sqrt(20) with t from -1 to 1, and a
ray (r1, r2) picks the one where r1 l1 = r2 l2. Here a generator makes x from the ray, and its
training minimizes, for random rays, one number made of both losses: the largest of r1 l1 and r2 l2
(Chebyshev), or their sum. This front is concave, where a sum has no minimum but at the ends: both
are trained alike, and only the first one finds the front. A closed form tells how well.

The problem is that of Lin et al., 2019 (https://arxiv.org/abs/1912.12854); fronts were learned by
hypernetworks in Navon et al., 2021 (https://arxiv.org/abs/2010.04104). There x are the weights of a
network: the spec of yours stands in the place of `[(20,)]`.

    KERAS_BACKEND=jax python examples/pareto_front.py
"""

import argparse
from pathlib import Path

import keras
import matplotlib
import numpy as np
from keras import ops

import keras_hypernet as kh

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SIZE = 20
LOW, HIGH = 0.1, np.pi / 2 - 0.1  # angles of the rays
RAYS, STEPS = 64, 200  # rays in a batch, batches in an epoch
CHEBYSHEV, LINEAR = "Chebyshev", "linear"


def chebyshev(rays, losses):
    return ops.max(rays * losses, axis=-1)


def linear(rays, losses):
    return ops.sum(rays * losses, axis=-1)


def rays_at(angles):
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1).astype("float32")


class RandomRays(keras.utils.PyDataset):
    """Batches of new rays. The loss gets them as the targets."""

    def __init__(self, seed):
        super().__init__()
        self.rng = np.random.default_rng(seed)

    def __len__(self):
        return STEPS

    def __getitem__(self, index):
        rays = rays_at(self.rng.uniform(LOW, HIGH, RAYS))
        return rays, rays


def front_model():
    ray = keras.Input((2,), name="ray")
    x = kh.WeightGenerator([(SIZE,)], hidden_sizes=(64, 64), name="solution")(ray)
    distances = [ops.sum(ops.square(x - end / SIZE**0.5), axis=-1) for end in (1, -1)]
    return keras.Model(ray, 1 - ops.exp(-ops.stack(distances, axis=-1)))


def train(model, scalarisation, epochs, seed):
    schedule = keras.optimizers.schedules.CosineDecay(6e-3, epochs * STEPS)
    model.compile(keras.optimizers.Adam(schedule), scalarisation)
    model.fit(RandomRays(seed), epochs=epochs, verbose=0)


def front(t):
    return 1 - np.exp(-np.stack([(t - 1) ** 2, (t + 1) ** 2], axis=-1))


def exact(rays):
    """The losses where `r1 l1 = r2 l2` on the front, by bisection."""
    low, high = -np.ones(len(rays)), np.ones(len(rays))
    for _ in range(60):
        middle = (low + high) / 2
        first, second = (rays * front(middle)).T
        # The first loss falls with t and the second one grows.
        low, high = np.where(first > second, middle, low), np.where(first > second, high, middle)
    return front(low)


def draw(path, rays, solutions, distances):
    _, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), width_ratios=(5, 4))
    left.plot(*front(np.linspace(-1, 1, 200)).T, color="0.6", label="front")
    ends = exact(rays)[::4]
    lines = np.stack([0 * ends, ends]).transpose(2, 0, 1)
    left.plot(*lines, color="0.85", linewidth=0.8, zorder=0)
    markers = {CHEBYSHEV: "o", LINEAR: "s"}
    for name, losses in solutions.items():
        left.plot(*losses.T, markers[name], markersize=4, label=name)
        right.plot(np.degrees(np.arctan2(*rays.T[::-1])), distances[name], label=name)
    left.set(xlabel="first loss", ylabel="second loss", aspect="equal")
    left.legend(fontsize=8)
    right.set(xlabel="angle of the ray in degrees", yscale="log")
    right.set_title("distance to the exact point", fontsize=10)
    right.grid(alpha=0.3)
    plt.savefig(path, dpi=120, bbox_inches="tight")
    print(f"picture: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output-dir", type=Path, default=Path())
    args = parser.parse_args()

    rays = rays_at(np.linspace(LOW, HIGH, 25))
    truth = exact(rays)
    scalarisations, means = {CHEBYSHEV: chebyshev, LINEAR: linear}, {CHEBYSHEV: [], LINEAR: []}
    solutions, distances = {}, {}
    print("seed scalarisation   mean distance   largest   off the line")
    for seed in args.seeds:
        for name, scalarisation in scalarisations.items():
            keras.utils.set_random_seed(seed)
            model = front_model()
            train(model, scalarisation, args.epochs, seed)
            solutions[name] = model.predict(rays, verbose=0)
            distances[name] = np.linalg.norm(solutions[name] - truth, axis=-1)
            x = np.concatenate(list(kh.target_weights(model, rays).values()), axis=-1)
            off = np.linalg.norm(x - x.mean(axis=-1, keepdims=True), axis=-1).max()
            mean, largest = distances[name].mean(), distances[name].max()
            means[name].append(mean)
            print(f"{seed:4} {name:13}{mean:16.4f}{largest:10.4f}{off:15.4f}")
    print("distances: of the pair of losses to the exact pair, over 25 rays; off the line: the")
    print("largest distance of x to the line (t, ..., t) that holds all best compromises")
    draw(args.output_dir / "pareto_front.png", rays, solutions, distances)
    mean = {name: np.mean(values) for name, values in means.items()}
    print(
        f"mean distance to the exact point of the front: {mean[CHEBYSHEV]:.4f} with Chebyshev "
        f"scalarisation, {mean[LINEAR]:.2f} with linear, {len(args.seeds)} seeds"
    )


if __name__ == "__main__":
    main()
