"""Three functions one after another: a hypernetwork remembers the first two.

    task -> 2 numbers -> generator -> 141 weights of a network 1-10-10-1: x -> y
    loss = squared error of the present task + beta * change of the weights of the old tasks

The tasks are a line, a parabola and a cubic, each on an interval of its own, and each is trained
without the data of the others. Beside `beta > 0` is `beta = 0`, trained alike, which forgets.

The protocol is that of von Oswald et al., 2020 (https://arxiv.org/abs/1906.00695), whose code
(chrhenning/hypercl, toy_example) gives the published errors. What differs: one linear head makes
all weights, but each tensor's part of it starts as a head of its own would; the regularizer does
not look ahead; and it trains the vectors of old tasks, too.

Seeds differ: over 60 others, the medians were 0.0010, 0.0031 and 0.0031, but three in ten were
above 0.01 on the second task, as many on the third. The seeds 0 to 4 are among the better ones: of
twelve other sets of five, eight had medians up to 0.01 on every task. With the old vectors held, as
in the paper, by `hold_conditions=True`, it was nine, with medians of 0.0012, 0.0037 and 0.0034.

    KERAS_BACKEND=jax python examples/continual_regression.py
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

ITERATIONS, BATCH_SIZE, BETA = 400, 32, 0.005
LAYERS = [(1, 10), (10, 10), (10, 1)]
TASKS = {  # the function, its interval, and the published error of it after the last task
    "x + 3": (lambda x: x + 3, (-4, -2), 0.00419),
    "2 x^2 - 1": (lambda x: 2 * x**2 - 1, (-1, 1), 0.00239),
    "(x - 3)^3": (lambda x: (x - 3) ** 3, (2, 4), 0.00607),
}


def head_per_tensor(shape, dtype=None):
    """The kernels of one head per tensor, each Glorot uniform, side by side."""
    sizes = [tensor.size for tensor in kh.WeightSpec.from_layer_sizes(LAYERS)]
    heads = [keras.initializers.GlorotUniform()((shape[0], size), dtype) for size in sizes]
    return ops.concatenate(heads, axis=-1)


def training_data(name, iterations):
    """Random batches of 100 noisy points, one after another."""
    function, interval, _ = TASKS[name]
    rng = np.random.RandomState(42)
    x = rng.uniform(*interval, size=(100, 1))
    y = function(x) + rng.normal(scale=0.05, size=x.shape)
    drawn = rng.randint(len(x), size=iterations * BATCH_SIZE)
    return x[drawn].astype("float32"), y[drawn].astype("float32")


def test_data(name):
    function, interval, _ = TASKS[name]
    x = np.linspace(*interval, 50)[:, None].astype("float32")
    return x, function(x)


def continual_model(beta):
    spec = kh.WeightSpec.from_layer_sizes(LAYERS)
    generator = kh.WeightGenerator(
        spec,
        (10, 10),
        activation="sigmoid",
        initialization=None,  # each variable by an initializer of its own, as in the published code
        feature_scale=1.0,
        head_kernel_initializer=head_per_tensor,
    )
    task, x = keras.Input((), dtype="int32", name="task"), keras.Input((1,), name="x")
    weights = kh.Hypernetwork(generator, num_conditions=len(TASKS), embedding_size=2)(task)
    y = kh.ApplyGeneratedWeights(LAYERS, activation="sigmoid", shared=True)(x, weights)
    return kh.ContinualModel(keras.Model([task, x], y), len(TASKS), beta)


def train(beta, seed, iterations):
    keras.utils.set_random_seed(seed)
    model = continual_model(beta)
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    for name in TASKS:
        model.begin_task(name)
        x, y = training_data(name, iterations)
        model.fit(x, y, batch_size=BATCH_SIZE, shuffle=False, verbose=0)
    return model


def errors(model):
    """Mean squared error of every task after the last."""
    tests = {name: test_data(name) for name in TASKS}
    return [np.mean((model.predict(x, task=n, verbose=0) - y) ** 2) for n, (x, y) in tests.items()]


def draw(path, models):
    _, panels = plt.subplots(1, len(models), figsize=(10, 4), sharey=True)
    for axes, (beta, model) in zip(panels, models.items()):
        for color, name in zip(("tab:blue", "tab:green", "tab:red"), TASKS):
            x, y = test_data(name)
            axes.plot(x, y, color=color, linewidth=5, alpha=0.3)
            axes.plot(x, model.predict(x, task=name, verbose=0), color=color, label=name)
        axes.set(title=f"beta = {beta}", xlabel="x")
        axes.grid(alpha=0.3)
    panels[0].set(ylabel="y after the last task (wide: the function)")
    panels[0].legend()
    plt.savefig(path, dpi=120, bbox_inches="tight")
    print(f"picture: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    help_ = f"of {ITERATIONS} iterations per task (with 1, for one seed only)"
    parser.add_argument("--epochs", type=int, default=10, help=help_)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--output-dir", type=Path, default=Path())
    args = parser.parse_args()

    seeds = args.seeds[:1] if args.epochs == 1 else args.seeds
    found, models = {BETA: [], 0: []}, {}
    for seed in seeds:
        for beta, rows in found.items():
            model = train(beta, seed, args.epochs * ITERATIONS)
            rows.append(errors(model))
            models.setdefault(beta, model)
            print(f"seed {seed}, beta {beta:<5}:", *(f"{error:9.5f}" for error in rows[-1]))

    print(f"\n{'error after the last task':26}", *(f"{name:>11}" for name in TASKS))
    published = np.array([published for *_, published in TASKS.values()])
    medians = {beta: np.median(rows, axis=0) for beta, rows in found.items()}
    rows = {"published": published}
    for beta in found:
        rows[f"beta = {beta}, median"] = medians[beta]
        rows[f"beta = {beta}, mean"] = np.mean(found[beta], axis=0)
    for name, row in rows.items():
        print(f"{name:26}", *(f"{error:11.5f}" for error in row))
    draw(args.output_dir / "continual_regression.png", models)
    met = [n for n, own, other in zip(TASKS, medians[BETA], published) if own <= other]
    print(
        f"medians over {len(seeds)} seeds up to {medians[BETA].max():.5f}, "
        f"{min(medians[0][:2] / medians[BETA][:2]):.0f} times below beta = 0 on the old tasks at "
        f"least; published errors met on {', '.join(met) or 'none'}"
    )


if __name__ == "__main__":
    main()
