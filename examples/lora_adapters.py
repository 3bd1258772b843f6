"""Low-rank adapters: one frozen Transformer, and a small generated update of it for every task.

    task id -> embedding -> generator -> down, up of every kernel
    image -> base network with kernel + down @ up -> digit

A small Transformer learns to read digits and is frozen. Then it meets eight tasks: the same digits
turned, mirrored, inverted, with their pixels in another order or with other labels. With
`mode="low_rank"` and `freeze_base=True`, `kh.hypernetize` trains a generator of updates and nothing
else. Beside it is one of full changes of the same kernels, `mode="delta"`. The network of one task
is then cut out as a plain Keras model with `kh.specialize`.

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
        freeze_base=True,
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


def values(variables):
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


def accuracies(logits, labels):
    """In percent, one per task."""
    return 100 * (logits.argmax(-1) == labels).reshape(len(TASKS), -1).mean(axis=1)


def draw(path, rows):
    place = np.arange(len(TASKS))
    plt.figure(figsize=(10, 3.5))
    for i, (name, by_task) in enumerate(rows.items()):
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
        (digits.images / 16).astype("float32"), digits.target, test_size=0.25, random_state=0
    )
    groups = len(images) // GROUP
    x, y = of_all_tasks(images[: groups * GROUP], labels[: groups * GROUP])
    test_x, test_y = of_all_tasks(test_images, test_labels)
    ids = np.arange(len(TASKS), dtype="int32")
    test = kh.GroupedDataset(ids, test_x, None, conditions_per_batch=len(TASKS))

    found, trained = {BASE: [], LOW_RANK: [], FULL: []}, {}
    for seed in args.seeds:
        keras.utils.set_random_seed(seed)
        base = base_network()
        fit(base, (images, labels), -(-len(images) // 64), 3 * args.epochs, batch_size=64)
        found[BASE].append(accuracies(base.predict(test_x, batch_size=512, verbose=0), test_y))
        trained[BASE] = base.count_params()
        base.trainable = False  # what is not selected: biases and normalization
        for name, options in {FULL: {"mode": "delta"}, LOW_RANK: {"mode": "low_rank"}}.items():
            model = adapted(base, **options, **({"rank": RANK} if name == LOW_RANK else {}))
            trained[name] = parameters(model.trainable_variables)
            before = values(model.non_trainable_variables)
            batches = kh.GroupedDataset(
                np.repeat(ids, groups), x, y, len(TASKS), shuffle=True, seed=seed
            )
            fit(model, (batches,), len(batches), args.epochs)
            after = values(model.non_trainable_variables)
            moved = max(np.abs(a - b).max() for a, b in zip(after, before))
            frozen = parameters(model.non_trainable_variables)
            print(f"{name}: {frozen:,} of {base.count_params():,} base weights are frozen, moved by {moved}")
            logits = model.predict(test, verbose=0)
            found[name].append(accuracies(logits, test_y))
    print(f"\n{'network':18}{'trained':>9}   mean accuracy")
    for name, by_task in found.items():
        print(name, trained[name], np.mean(by_task), np.mean(by_task,axis=0).round(1))


if __name__ == "__main__":
    main()
