"""Settings, tasks and batches of `continual_mnist.py`."""

import keras
import numpy as np

import keras_hypernet as kh

HYPER, FINE_TUNING = "hypernetwork", "fine-tuning"


def shared_chunks(num_tasks, spread):
    small = keras.initializers.RandomNormal(stddev=0.1)
    return {
        "initialization": None,  # each variable by an initializer of its own
        "head_kernel_initializer": "glorot_uniform",
        "chunk_embeddings_initializer": small,
    }


def own_chunks(num_tasks, spread):
    return {
        "chunk_embeddings": "conditional",
        "num_conditions": num_tasks,
        "initialization": kh.HyperFanIn(condition_variance=spread**2),
    }


# `beta` is the published one, and `loss` says which loss it stands beside: "mean", of a batch (in
# https://github.com/chrhenning/hypercl, mnist/train_splitMNIST.py), or "sum", over the training set
# of a task (in https://github.com/chrhenning/posterior_replay_cl, prob_mnist/train_bbb.py: the mean
# of a batch times `num_train_samples`). `cosine` says whether the learning rate falls to 0 in each
# task; `chunks`, whose the embeddings of chunks are, and how the generator starts; `spread` is the
# standard deviation of the tasks' vectors then; what is published is the accuracy in % on MNIST.
EXPERIMENTS = {
    "split-a": {
        "sizes": [784, 100, 100, 10],
        "generator": {"chunk_size": 8000, "chunk_embedding_size": 32, "hidden_sizes": [10] * 4},
        "chunks": shared_chunks,
        "embedding": 32,
        "spread": 1.0,
        "optimizer": {"learning_rate": 5e-4},
        "cosine": False,
        "batch_size": 32,
        "iterations": 5000,
        "beta": 10,
        "loss": "sum",
        "published": {HYPER: 99.72},
    },
    "split-b": {
        "sizes": [784, 400, 400, 10],
        "generator": {"chunk_size": 42000, "chunk_embedding_size": 96, "hidden_sizes": [10, 10]},
        "chunks": shared_chunks,
        "embedding": 96,
        "spread": 1.0,
        "optimizer": {"learning_rate": 1e-3},
        "cosine": False,
        "batch_size": 128,
        "iterations": 2000,
        "beta": 0.01,
        "loss": "mean",
        "published": {HYPER: 99.79},
    },
    "permuted": {
        "sizes": [784, 100, 100, 100],
        "generator": {
            "chunk_size": 750,
            "chunk_embedding_size": 16,
            "hidden_sizes": [100, 100],
        },
        "chunks": own_chunks,
        "embedding": 32,
        "spread": 0.05,
        "optimizer": {"learning_rate": 5e-4, "global_clipnorm": 1.0},
        "cosine": True,
        "batch_size": 128,
        "iterations": 5000,
        "beta": 250,
        "loss": "sum",
        "published": {HYPER: 95.05, FINE_TUNING: 47.89},
    },
}


def beta_of(settings, tasks):
    """The published beta beside the loss of Keras, which is the mean of a batch."""
    images = np.mean([len(x) for (x, _), _, _ in tasks.values()])
    return settings["beta"] / {"mean": 1, "sum": images}[settings["loss"]]


def optimizer_of(settings, iterations):
    """Of one task."""
    options = dict(settings["optimizer"])
    if settings["cosine"]:
        rate = options["learning_rate"]
        options["learning_rate"] = keras.optimizers.schedules.CosineDecay(rate, iterations)
    return keras.optimizers.Adam(**options)


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
