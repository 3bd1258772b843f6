"""Five tasks of scikit-learn's digits one after another, and none forgotten.

The tasks are 0 or 1, 2 or 3, ..., 8 or 9; the task is known when a digit is read. A hypernetwork
with about as many parameters as the network it makes has a vector for every task, and generates the
weights from it chunk by chunk. While it learns a task it keeps, by `beta`, the weights that it
generates for the tasks before. Beside it are the same with `beta = 0`, and a plain network of the
same shape that is trained on one task after the other.

    KERAS_BACKEND=jax python examples/continual_digits.py
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_hypernet as kh

TASKS, BATCH_SIZE, BETA = 5, 32, 0.1
LAYERS = [(64, 100), (100, 100), (100, 2)]
SPREAD = 0.05  # of the tasks' vectors at the start: small, as `HyperFanIn` wants them for chunks
HYPER, NO_BETA, PLAIN = "hypernetwork", "beta = 0", "fine-tuning"


def load_tasks():
    """`({name: (x, y)}, {name: (x, y)})`, to train and to test; labels are 0 or 1."""
    digits = load_digits()
    images = (digits.data / 16).astype("float32")
    train, test = {}, {}
    for first in range(0, 2 * TASKS, 2):
        rows, name = digits.target // 2 == first // 2, f"{first} or {first + 1}"
        x, test_x, y, test_y = train_test_split(
            images[rows], digits.target[rows] % 2, test_size=90, random_state=0
        )
        train[name], test[name] = (x, y), (test_x, test_y)
    return train, test


def epochs_of(x, y, epochs):
    """Rows of all epochs one after another, each in an order of its own, in whole batches."""
    order = np.concatenate([np.random.permutation(len(x)) for _ in range(epochs)])
    order = order[: len(order) // BATCH_SIZE * BATCH_SIZE]
    return x[order], y[order]


def hypernetwork(beta):
    generator = kh.ChunkedWeightGenerator(
        kh.WeightSpec.from_layer_sizes(LAYERS),
        chunk_size=470,
        hidden_sizes=[32],
        activation="tanh",
        initialization=kh.HyperFanIn(condition_variance=SPREAD**2),
        feature_scale=1.0,
    )
    vectors = keras.initializers.RandomNormal(stddev=SPREAD)
    task, x = keras.Input((), dtype="int32", name="task"), keras.Input((64,), name="x")
    weights = kh.Hypernetwork(
        generator, num_conditions=TASKS, embedding_size=32, embeddings_initializer=vectors
    )(task)
    y = kh.ApplyGeneratedWeights(LAYERS, shared=True)(x, weights)
    return kh.ContinualModel(keras.Model([task, x], y), TASKS, beta)


def plain_network():
    hidden = [keras.layers.Dense(outputs, activation="relu") for _, outputs in LAYERS[:-1]]
    return keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(LAYERS[-1][1])])


def compiled(model):
    model.compile(
        keras.optimizers.Adam(4e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def train_hypernetwork(beta, train, test, epochs):
    model, matrix = compiled(hypernetwork(beta)), kh.AccuracyMatrix(test, verbose=0, batch_size=90)
    for name, (x, y) in train.items():
        model.begin_task(name)
        model.fit(
            *epochs_of(x, y, epochs),
            batch_size=BATCH_SIZE,
            shuffle=False,
            verbose=0,
            callbacks=[matrix],
        )
    return matrix


def train_plain(train, test, epochs):
    """Accuracy `(tasks, tasks)`: of every task after every task."""
    model, rows = compiled(plain_network()), []
    for x, y in train.values():
        model.fit(*epochs_of(x, y, epochs), batch_size=BATCH_SIZE, shuffle=False, verbose=0)
        rows.append(
            [np.mean(model.predict(x, verbose=0).argmax(-1) == y) for x, y in test.values()]
        )
    return np.array(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    help_ = "passes over the data of a task (with 1, for one seed only)"
    parser.add_argument("--epochs", type=int, default=40, help=help_)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output-dir", type=Path, default=Path())
    args = parser.parse_args()

    train, test = load_tasks()
    target, hyper = plain_network().count_params(), hypernetwork(BETA).generated
    parameters = sum(np.prod(v.shape) for v in hyper.variables)
    print(f"{parameters:,} parameters make five networks of {target:,}: {parameters / target:.2f}")
    found = {HYPER: [], NO_BETA: [], PLAIN: []}
    for seed in args.seeds[:1] if args.epochs == 1 else args.seeds:
        for name, rows in found.items():
            keras.utils.set_random_seed(seed)
            if name == PLAIN:
                rows.append(train_plain(train, test, args.epochs))
                continue
            beta = BETA if name == HYPER else 0
            matrix = train_hypernetwork(beta, train, test, args.epochs)
            rows.append(matrix.accuracies)
            if name == HYPER:
                matrix.plot(args.output_dir / "continual_digits.png")
        means = (f"{name} {100 * rows[-1][-1].mean():.2f} %" for name, rows in found.items())
        print(f"seed {seed}:", ", ".join(means))

    print(f"\n{'':14}   after the last task   forgotten, points   worst task")
    last, lost = {}, {}
    for name, rows in found.items():
        last[name] = 100 * np.array(rows)[:, -1]
        learned = 100 * np.diagonal(rows, axis1=1, axis2=2)
        lost[name] = np.mean((learned - last[name])[:, :-1])
        print(f"{name:14}{last[name].mean():17.2f} %{lost[name]:z19.2f}", end="")
        print(f"{last[name].mean(axis=0).min():14.2f} %")
    print(f"picture: {args.output_dir / 'continual_digits.png'}")
    print(
        f"hypernetwork {last[HYPER].mean():.2f} % after five tasks, {lost[HYPER]:z.2f} points "
        f"forgotten; beta = 0 {last[NO_BETA].mean():.2f} %, fine-tuning {last[PLAIN].mean():.2f} %"
    )


if __name__ == "__main__":
    main()
