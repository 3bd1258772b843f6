"""Low-rank adapters: one frozen Transformer, and a small generated update of it for every task.

    task id -> embedding -> generator -> down, up of every kernel
    image -> base network with kernel + down @ up -> digit

A small Transformer learns to read digits and is frozen. Then it meets eight tasks: the same digits
turned, mirrored, inverted, with their pixels in another order or with other labels. With
`mode="low_rank"` and `freeze="all"`, `kh.hypernetize` trains the tasks' embeddings and a
generator of updates, and nothing else. Beside it is one of full changes of the same kernels,
`mode="delta"`. For each further task, only an embedding is added to what is trained and kept. The
network of one task is then cut out as a plain Keras model with `kh.specialize`.

    KERAS_BACKEND=jax python examples/lora_adapters.py
"""

import argparse
from pathlib import Path

import keras
import matplotlib
import numpy as np
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_hypernet as kh

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SIZE, CLASSES, WIDTH, BLOCKS = 8, 10, 32, 2
RANK, EMBEDDING, GROUP = 2, 8, 32
TEST = 453  # leaves 1344 images, full batches only: one compilation
ORDER = np.random.default_rng(0).permutation(SIZE**2)
TASKS = {
    "as trained": lambda x, y: (x, y),
    "turned by 90": lambda x, y: (np.rot90(x, 1, (1, 2)), y),
    "turned by 180": lambda x, y: (np.rot90(x, 2, (1, 2)), y),
    "mirrored": lambda x, y: (x[:, :, ::-1], y),
    "inverted": lambda x, y: (1 - x, y),
    "rows in reverse": lambda x, y: (x[:, ::-1], y),
    "pixels shuffled": lambda x, y: (x.reshape(len(x), -1)[:, ORDER].reshape(x.shape), y),
    "next digit": lambda x, y: (x, (y + 1) % CLASSES),
}
BASE, LOW_RANK, FULL = "base network", "low-rank updates", "full changes"


def base_network():
    """A Transformer whose tokens are the rows of the image."""
    image = keras.Input((SIZE, SIZE), name="image")
    # A bias for every row is a position embedding.
    x = layers.EinsumDense("brp,pf->brf", (SIZE, WIDTH), bias_axes="rf", name="tokens")(image)
    for i in range(BLOCKS):
        y = layers.LayerNormalization(name=f"norm_{i}a")(x)
        x = x + layers.MultiHeadAttention(2, WIDTH // 2, name=f"attention_{i}")(y, y)
        y = layers.LayerNormalization(name=f"norm_{i}b")(x)
        y = layers.Dense(2 * WIDTH, "gelu", name=f"wide_{i}")(y)
        x = x + layers.Dense(WIDTH, name=f"narrow_{i}")(y)
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(name="norm")(x))
    return keras.Model(image, layers.Dense(CLASSES, name="digit")(x), name="base")


def adapted(base, mode, **options):
    task = keras.Input((), dtype="int32", name="task")
    return kh.hypernetize(
        base,
        conditioning=kh.ConditionEmbedding(len(TASKS), EMBEDDING)(task),
        mode=mode,
        select="*kernel",
        freeze="all",  # also what is not selected: biases and normalization
        hidden_sizes=(),
        **options,
    )


def of_all_tasks(images, labels):
    pairs = [change(images, labels) for change in TASKS.values()]
    return np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs])


def fit(model, data, steps_per_epoch, epochs, **options):
    schedule = keras.optimizers.schedules.CosineDecay(4e-3, epochs * steps_per_epoch)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule), loss)
    model.fit(*data, epochs=epochs, verbose=0, **options)


def parameters(variables):
    return sum(int(np.prod(v.shape)) for v in variables)


def accuracies(logits, labels):
    """In percent, one per task."""
    return 100 * (logits.argmax(-1) == labels).reshape(len(TASKS), -1).mean(axis=1)


def draw(path, found):
    place = np.arange(len(TASKS))
    plt.figure(figsize=(10, 3.5))
    for i, (name, by_task) in enumerate(found.items()):
        plt.bar(place + 0.27 * (i - 1), np.mean(by_task, axis=0), 0.25, label=name)
    plt.xticks(place, [name.replace(" ", "\n", 1) for name in TASKS], fontsize=8)
    plt.ylabel("test accuracy in %")
    plt.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=8)
    plt.savefig(path, dpi=120, bbox_inches="tight")
    print(f"picture: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--output-dir", type=Path, default=Path())
    args = parser.parse_args()

    digits = load_digits()
    images, test_images, labels, test_labels = train_test_split(
        (digits.images / 16).astype("float32"), digits.target, test_size=TEST, random_state=0
    )
    x, y = of_all_tasks(images, labels)
    test_x, test_y = of_all_tasks(test_images, test_labels)
    ids = np.arange(len(TASKS), dtype="int32")
    task_ids = np.repeat(ids, len(images) // GROUP)  # one for every 32 images
    test = kh.GroupedDataset(ids, test_x, None, conditions_per_batch=len(TASKS))

    found, models = {BASE: [], LOW_RANK: [], FULL: []}, {}
    for seed in args.seeds:
        keras.utils.set_random_seed(seed)
        base = base_network()
        fit(base, (images, labels), len(images) // 64, 3 * args.epochs, batch_size=64)
        found[BASE].append(accuracies(base.predict(test_x, batch_size=TEST, verbose=0), test_y))
        models[FULL] = adapted(base, "delta")
        models[LOW_RANK] = adapted(base, "low_rank", rank=RANK)
        for name, model in models.items():
            batches = kh.GroupedDataset(task_ids, x, y, len(TASKS), shuffle=True, seed=seed)
            fit(model, (batches,), len(batches), args.epochs)
            logits = model.predict(test, verbose=0)
            found[name].append(accuracies(logits, test_y))

    print(f"{'':16}" + "".join(f"{name:>18}" for name in found))
    for i, task in enumerate(TASKS):
        print(f"{task:16}" + "".join(f"{np.mean(f, axis=0)[i]:16.1f} %" for f in found.values()))
    print(f"{'mean':16}" + "".join(f"{np.mean(rows):16.1f} %" for rows in found.values()))
    print(f"\nfrozen: all {base.count_params():,} weights of the base network")
    for name, model in models.items():
        generators = [layer for layer in model.layers if isinstance(layer, kh.WeightGenerator)]
        print(
            f"{name}: {parameters(model.trainable_variables):,} trained for all tasks, of which "
            f"{EMBEDDING} belong to one task; its update is "
            f"{sum(generator.spec.total for generator in generators):,} numbers"
        )

    plain = kh.specialize(model, np.array([1]))  # of the low-rank updates
    rows = slice(TEST, 2 * TEST)
    difference = np.abs(keras.ops.convert_to_numpy(plain(test_x[rows])) - logits[rows]).max()
    print(f"task 1 alone: a plain model of {plain.count_params():,}, differs by {difference:.1e}")
    draw(args.output_dir / "lora_adapters.png", found)


if __name__ == "__main__":
    main()
