"""Batches of images that are stretched at random, for `hyper_mnist.py`."""

import keras
import numpy as np

SIZE, EXTRA, BATCH_SIZE = 28, 2, 1000


class StretchedImages(keras.utils.PyDataset):
    """`(images, labels)` in random order, with `BATCH_SIZE` images, or fewer of a small data set.

    Each image gets two more rows and columns between its own, and is cropped to its old size: the
    augmentation of the notebook that `hyper_mnist.py` follows. Images: `(number, 28, 28, 1)`.
    """

    def __init__(self, x, y, seed):
        super().__init__()
        self.x, self.y, self.rng = x, y, np.random.default_rng(seed)
        self.batch_size = min(BATCH_SIZE, len(y) // 20)
        self.on_epoch_end()

    def __len__(self):
        return len(self.y) // self.batch_size

    def on_epoch_end(self):
        self.order = self.rng.permutation(len(self.y))

    def __getitem__(self, index):
        rows = self.order[index * self.batch_size :][: self.batch_size]
        return self.stretched(self.stretched(self.x[rows])), self.y[rows]

    def stretched(self, x):
        """Along the first axis of an image, which becomes the second one."""
        # Where the pixels come from: a row that is added lies halfway between its neighbours.
        source = np.tile(np.arange(SIZE, dtype="float32"), (len(x), 1))
        for size in range(SIZE, SIZE + EXTRA):
            place, new = self.rng.integers(1, size - 1, (len(x), 1)), np.arange(size + 1)
            sides = np.take_along_axis(source, np.concatenate([place - 1, place], axis=1), axis=1)
            moved = np.take_along_axis(source, np.maximum(new - (new > place), 0) % size, axis=1)
            source = np.where(new == place, sides.mean(axis=1, keepdims=True), moved)
        crop = self.rng.integers(0, EXTRA + 1, (len(x), 1)) + np.arange(SIZE)
        source = np.take_along_axis(source, crop, axis=1)
        low, image = np.minimum(source.astype("int32"), SIZE - 2), np.arange(len(x))[:, None]
        high = (source - low).astype("float32")[:, :, None, None]
        return ((1 - high) * x[image, low] + high * x[image, low + 1]).swapaxes(1, 2)
