"""A run of three tasks that can be killed at any moment: `python -m tests.continual_run FILE OUT`.

It prints "training" where it begins to train, and writes the final weights to OUT.
"""

import os
import sys
import time

os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import keras
import numpy as np

import keras_hypernet as kh
from tests.backend import numpy_of
from tests.continual_cases import compiled, hypernetized, tasks

EPOCHS = 8


def new_model():
    keras.utils.set_random_seed(1)
    model = kh.ContinualModel(
        hypernetized(normalized=True), 3, beta=0.5, tasks_per_step=1, targets="copy", seed=2
    )
    return compiled(model, keras.optimizers.AdamW(0.01))


class Slowly(keras.callbacks.Callback):
    """Lets a run take long enough to be killed in the middle of an epoch."""

    def on_train_batch_end(self, batch, logs=None):
        time.sleep(float(os.environ.get("PAUSE", 0)))


def main(file, out):
    checkpoint = kh.ContinualCheckpoint(file)
    model = checkpoint.load() or new_model()
    data = tasks()
    matrix = kh.AccuracyMatrix(data, verbose=0)
    print("training", flush=True)
    for name, epoch in checkpoint.tasks(model, data):
        model.fit(
            *data[name],
            batch_size=4,
            epochs=EPOCHS,
            initial_epoch=epoch,
            shuffle=False,
            verbose=0,
            callbacks=[matrix, checkpoint, Slowly()],
        )
    arrays = {f"weight_{i}": numpy_of(v) for i, v in enumerate(model.weights)}
    arrays |= {f"slot_{i}": numpy_of(v) for i, v in enumerate(model.optimizer.variables)}
    np.savez(out, accuracies=matrix.accuracies, initial=matrix.initial, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
