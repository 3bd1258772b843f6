"""Split and permuted MNIST: a hypernetwork learns task after task, beside what forgets.

    split-a   five tasks of two digits, a network 784-100-100-10 with a head for each task
    split-b   the same with 784-400-400-10
    permuted  ten tasks of all digits, each with its pixels in another order, 784-100-100-100

The task is known when an image is read. The hypernetwork makes the network's weights chunk by
chunk and has about as many parameters as they are. Beside it are the same with `beta = 0`, a plain
network of the same shape trained on one task after the other, and for split one for each task.

The settings and the published accuracies are those of the authors' code for von Oswald et al., 2020
(https://arxiv.org/abs/1906.00695) and Henning et al., 2021 (https://arxiv.org/abs/2103.01133).
What differs: heads start by Glorot's rule, and in `permuted` the retention loss is of
`--tasks-per-step` old tasks drawn in every step, in place of all of them.

    KERAS_BACKEND=jax python examples/continual_mnist.py --data mnist.npz --experiment all
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from _data import MNIST, load
from keras import layers, ops

import keras_hypernet as kh

HYPER, NO_BETA, PLAIN, APART = "hypernetwork", "beta = 0", "fine-tuning", "a network per task"
EXPERIMENTS = {
    "split-a": {
        "sizes": [784, 100, 100, 10],
        "generator": {"chunk_size": 8000, "chunk_embedding_size": 32, "hidden_sizes": [10] * 4},
        "embedding": 32,
        "optimizer": {"learning_rate": 5e-4},
        "batch_size": 32,
        "iterations": 5000,
        "beta": 10,
        "published": {HYPER: 99.72},
    },
    "split-b": {
        "sizes": [784, 400, 400, 10],
        "generator": {"chunk_size": 42000, "chunk_embedding_size": 96, "hidden_sizes": [10, 10]},
        "embedding": 96,
        "optimizer": {"learning_rate": 1e-3},
        "batch_size": 128,
        "iterations": 2000,
        "beta": 0.01,
        "published": {HYPER: 99.79},
    },
    "permuted": {
        "sizes": [784, 100, 100, 100],
        "generator": {
            "chunk_size": 750,
            "chunk_embedding_size": 16,
            "chunk_embeddings": "conditional",
            "num_conditions": 10,
            "hidden_sizes": [100, 100],
        },
        "embedding": 32,
        "optimizer": {"learning_rate": 5e-4, "global_clipnorm": 1.0},
        "batch_size": 128,
        "iterations": 5000,
        "beta": 250,
        "published": {HYPER: 95.05, PLAIN: 47.89},
    },
}


class Batches(keras.utils.PyDataset):
    """Random batches of a task."""

    def __init__(self, x, y, batch_size, iterations):
        super().__init__()
        self.x, self.y, self.rows = x, y, np.random.randint(len(x), size=(iterations, batch_size))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, step):
        return self.x[self.rows[step]], self.y[self.rows[step]]


def tasks_of(experiment, data):
    """`{name: (train, test, head)}`: two arrays each, and the outputs of the network for it."""
    parts = [((x.reshape(len(x), -1) / 255).astype("float32"), y) for x, y in data]
    tasks = {}
    for i in range(5 if experiment.startswith("split") else 10):
        if experiment.startswith("split"):
            own = [(x[y // 2 == i], y[y // 2 == i] % 2) for x, y in parts]
            tasks[f"{2 * i} or {2 * i + 1}"] = *own, [2 * i, 2 * i + 1]
        else:
            order = np.random.default_rng(i).permutation(784)
            own = [(x[:, order], y) for x, y in parts]
            tasks[f"order {i}"] = *own, list(range(10 * i, 10 * i + 10))
    return tasks


def continual_model(settings, num_tasks, heads, beta, tasks_per_step):
    layer_sizes = list(zip(settings["sizes"], settings["sizes"][1:]))
    small = keras.initializers.RandomNormal(stddev=0.1)
    generator = kh.ChunkedWeightGenerator(
        kh.WeightSpec.from_layer_sizes(layer_sizes),
        chunk_embeddings_initializer=small,
        head_kernel_initializer="glorot_uniform",
        **settings["generator"],
    )
    task, x = keras.Input((), dtype="int32", name="task"), keras.Input((784,), name="x")
    weights = kh.Hypernetwork(generator, num_tasks, settings["embedding"])(task)
    logits = kh.ApplyGeneratedWeights(layer_sizes, shared=True)(x, weights)
    model = keras.Model([task, x], logits)
    return kh.ContinualModel(model, num_tasks, beta, heads=heads, tasks_per_step=tasks_per_step)


def plain_network(settings):
    *hidden, outputs = settings["sizes"][1:]
    hidden = [layers.Dense(size, activation="relu") for size in hidden]
    return keras.Sequential([keras.Input((784,)), *hidden, layers.Dense(outputs)])


def compiled(model, settings):
    model.compile(
        keras.optimizers.Adam(**settings["optimizer"]),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def train_hypernetwork(settings, tasks, beta, iterations, tasks_per_step):
    """The `AccuracyMatrix` after all tasks."""
    heads = [head for _, _, head in tasks.values()]
    model = continual_model(settings, len(tasks), heads, beta, tasks_per_step)
    model = compiled(model, settings)
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
        views[name] = compiled(keras.Model(network.inputs[0], own), settings)
        views[name].fit(Batches(x, y, settings["batch_size"], iterations), verbose=0)
        learned.append(accuracy(views[name], test))
        print(f"after {name}: {100 * learned[-1]:.2f} %", flush=True)
    return learned, [accuracy(views[name], test) for name, (_, test, _) in tasks.items()]


def accuracy(model, test):
    return model.evaluate(*test, batch_size=10000, verbose=0, return_dict=True)["accuracy"]


def run(experiment, data, name, args):
    """Trains all networks, prints a table of them and returns the result in a line."""
    settings, tasks = EXPERIMENTS[experiment], tasks_of(experiment, data)
    iterations = max(1, settings["iterations"] * args.epochs // 100)
    split = experiment.startswith("split")
    sampled = None if split else args.tasks_per_step
    networks = [HYPER, NO_BETA, PLAIN, *[APART] * split]
    learned, last = {n: [] for n in networks}, {n: [] for n in networks}
    for seed in args.seeds:
        for network in networks:
            print(f"\n{experiment}: {network}, seed {seed}, {iterations} iterations per task")
            keras.utils.set_random_seed(seed)
            if network in (HYPER, NO_BETA):
                beta = settings["beta"] if network == HYPER else 0
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
    forgot = {}
    for network in networks:
        forgot[network] = 100 * np.mean(np.subtract(learned[network], last[network])[:, :-1])
        published = settings["published"].get(network, "")
        print(f"{network:26}{100 * np.mean(last[network]):13.2f} %", end="")
        print(f"{forgot[network]:z12.2f}   {published}")
    points = {n: 100 * np.mean(last[HYPER]) - 100 * np.mean(last[n]) for n in networks}
    others = ", ".join(f"{points[n]:+.2f} against {n}" for n in networks[1:])
    return (
        f"{experiment} on {name}: hypernetwork {100 * np.mean(last[HYPER]):.2f} %, "
        f"{forgot[HYPER]:z.2f} points forgotten; points {others}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="mnist.npz, or a file like it; `digits` for a quick look")
    parser.add_argument("--experiment", choices=[*EXPERIMENTS, "all"], default="split-a")
    parser.add_argument(
        "--epochs", type=int, default=100, help="hundredths of the published iterations per task"
    )
    parser.add_argument("--tasks-per-step", type=int, default=1, help="old tasks, in `permuted`")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--output-dir", type=Path, default=Path())
    args = parser.parse_args()

    name, *data = load(args.data)
    chosen = list(EXPERIMENTS) if args.experiment == "all" else [args.experiment]
    results = [run(experiment, data, name, args) for experiment in chosen]
    if name != MNIST:
        print(f"the published figures are of MNIST, these of {name}")
    print("", *results, sep="\n")


if __name__ == "__main__":
    main()
