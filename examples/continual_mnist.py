"""Split and permuted MNIST: a hypernetwork learns task after task, beside what forgets.

    split-a   five tasks of two digits, a network 784-100-100-10 with a head for each task
    split-b   the same with 784-400-400-10
    permuted  ten tasks of all digits, each with its pixels in another order, 784-100-100-100

The task is known when an image is read. The hypernetwork makes the network's weights chunk by
chunk and has about as many parameters as they are. Beside it are the same with `beta = 0`, a plain
network of the same shape trained on one task after the other, and for split one for each task.

The settings and the published accuracies are those of the authors' code for von Oswald et al., 2020
(https://arxiv.org/abs/1906.00695) and Henning et al., 2021 (https://arxiv.org/abs/2103.01133).
A published beta is divided by the training images of a task where its loss is a sum over them.
What differs: generators start by Glorot's rule, in `permuted` by `HyperFanIn`, and there the
learning rate falls to 0 in each task, the gradient is clipped for a mean loss, and the retention
loss is of `--tasks-per-step` old tasks drawn in every step, not of all of them. For split b the
authors look one step ahead and keep the weights of all heads.

    KERAS_BACKEND=jax python examples/continual_mnist.py --data mnist.npz --experiment all
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from _continual_mnist import (
    EXPERIMENTS,
    FINE_TUNING,
    HYPER,
    Batches,
    beta_of,
    optimizer_of,
    tasks_of,
)
from _data import MNIST, load
from keras import layers, ops

import keras_hypernet as kh

NO_BETA, APART = "beta = 0", "a network per task"


def continual_model(settings, num_tasks, heads, beta, tasks_per_step):
    layer_sizes = list(zip(settings["sizes"], settings["sizes"][1:]))
    generator = kh.ChunkedWeightGenerator(
        kh.WeightSpec.from_layer_sizes(layer_sizes),
        feature_scale=1.0,
        **settings["generator"],
        **settings["chunks"](num_tasks, settings["spread"]),
    )
    vectors = keras.initializers.RandomNormal(stddev=settings["spread"])
    task, x = keras.Input((), dtype="int32", name="task"), keras.Input((784,), name="x")
    weights = kh.Hypernetwork(
        generator, num_tasks, settings["embedding"], embeddings_initializer=vectors
    )(task)
    logits = kh.ApplyGeneratedWeights(layer_sizes, shared=True)(x, weights)
    model = keras.Model([task, x], logits)
    return kh.ContinualModel(model, num_tasks, beta, heads=heads, tasks_per_step=tasks_per_step)


def plain_network(settings):
    *hidden, outputs = settings["sizes"][1:]
    hidden = [layers.Dense(size, activation="relu") for size in hidden]
    return keras.Sequential([keras.Input((784,)), *hidden, layers.Dense(outputs)])


def compiled(model, settings, iterations):
    model.compile(
        optimizer_of(settings, iterations),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def train_hypernetwork(settings, tasks, beta, iterations, tasks_per_step):
    """The `AccuracyMatrix` after all tasks."""
    heads = [head for _, _, head in tasks.values()]
    model = continual_model(settings, len(tasks), heads, beta, tasks_per_step)
    model = compiled(model, settings, iterations)
    tests = {name: test for name, (_, test, _) in tasks.items()}
    matrix = kh.AccuracyMatrix(tests, batch_size=10000)  # it prints a line after every task
    for name, ((x, y), _, _) in tasks.items():
        model.begin_task(name)
        model.fit(Batches(x, y, settings["batch_size"], iterations), verbose=0, callbacks=[matrix])
    return matrix


def train_plain(settings, tasks, iterations, apart):
    """Accuracies of plain networks, `(tasks,)`: each after its own task, and after the last."""
    network, views, learned = plain_network(settings), {}, []
    for name, ((x, y), test, head) in tasks.items():
        if apart:
            network = plain_network(settings)
        own = ops.take(network.outputs[0], np.array(head), axis=-1)
        views[name] = compiled(keras.Model(network.inputs[0], own), settings, iterations)
        views[name].fit(Batches(x, y, settings["batch_size"], iterations), verbose=0)
        learned.append(accuracy(views[name], test))
        print(f"after {name}: {100 * learned[-1]:.2f} %", flush=True)
    return learned, [accuracy(views[name], test) for name, (_, test, _) in tasks.items()]


def accuracy(model, test):
    return model.evaluate(*test, batch_size=10000, verbose=0, return_dict=True)["accuracy"]


def run(experiment, data, name, args):
    """Trains all networks, prints a table of them and returns the result in a line."""
    settings, tasks = EXPERIMENTS[experiment], tasks_of(experiment, data)
    if args.epochs == 1:
        tasks = dict(list(tasks.items())[:2])
    iterations = max(1, settings["iterations"] * args.epochs // 100)
    given = beta_of(settings, tasks) if args.beta is None else args.beta
    split = experiment.startswith("split")
    sampled = None if split else args.tasks_per_step
    networks = [HYPER, NO_BETA, FINE_TUNING, *[APART] * split]
    learned, last = {n: [] for n in networks}, {n: [] for n in networks}
    for seed in args.seeds:
        for network in networks:
            print(f"\n{experiment}: {network}, seed {seed}, {iterations} iterations per task")
            keras.utils.set_random_seed(seed)
            if network in (HYPER, NO_BETA):
                beta = given if network == HYPER else 0
                matrix = train_hypernetwork(settings, tasks, beta, iterations, sampled)
                learned[network].append(np.diag(matrix.accuracies))
                last[network].append(matrix.accuracies[-1])
                if network == HYPER:
                    matrix.plot(args.output_dir / f"continual_mnist_{experiment}.png")
            else:
                rows = train_plain(settings, tasks, iterations, apart=network == APART)
                learned[network].append(rows[0])
                last[network].append(rows[1])

    print(f"\n{experiment} on {name:18} after all tasks   forgotten   published on MNIST")
    forgot = {n: 100 * np.mean(np.subtract(learned[n], last[n])[:, :-1]) for n in networks}
    means = {n: 100 * np.mean(last[n]) for n in networks}
    for n in networks:
        published = settings["published"].get(n, "")
        print(f"{n:26}{means[n]:13.2f} %{forgot[n]:z12.2f}   {published}")
    others = (f"{means[HYPER] - means[n]:+.2f} points against {n}" for n in networks[1:])
    return (
        f"{experiment} on {name}: hypernetwork {means[HYPER]:.2f} %, {forgot[HYPER]:z.2f} points "
        f"forgotten; {', '.join(others)}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data",
        help="mnist.npz, a file like it, or a folder; `digits` for a quick look",
    )
    parser.add_argument("--experiment", choices=[*EXPERIMENTS, "all"], default="split-a")
    help_ = "hundredths of the published iterations per task (with 1, two tasks only)"
    parser.add_argument("--epochs", type=int, default=100, help=help_)
    help_ = (
        "weight of the retention loss beside the mean loss of a batch; if not given, the published "
        "one, divided by the training images of a task where the published loss is a sum over "
        "them: 10 / 12000 in split-a, 250 / 60000 in permuted; 0.01 in split-b, where it is a mean"
    )
    parser.add_argument("--beta", type=float, help=help_)
    parser.add_argument("--tasks-per-step", type=int, default=1, help="old tasks, in `permuted`")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--output-dir", type=Path, default=Path())
    args = parser.parse_args()

    name, *data = load(args.data)
    chosen = list(EXPERIMENTS) if args.experiment == "all" else [args.experiment]
    results = [run(experiment, data, name, args) for experiment in chosen]
    if name.lower() != MNIST.lower():
        print(f"the published figures are of MNIST, these of {name}")
    print("", *results, sep="\n")


if __name__ == "__main__":
    main()
