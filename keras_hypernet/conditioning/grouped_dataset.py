"""`GroupedDataset`: batches of few conditions and many data rows for `fit`."""

from __future__ import annotations

import keras
import numpy as np

from keras_hypernet.utils import checks
from keras_hypernet.utils.types import Tensor

OPTIONS = {
    "workers": checks.positive_int,
    "use_multiprocessing": checks.boolean,
    "max_queue_size": checks.positive_int,
}


class GroupedDataset(keras.utils.PyDataset):
    """Batches in which each conditioning row comes with its own group of data rows.

    `data` has `n` rows for every row of `conditioning`, in order: rows `i * n ... (i + 1) * n - 1`
    belong to condition `i`. A batch is `(conditioning (c, ...), data (c * n, ...)), y (c * n, ...)`
    with `c` conditions (the last batch may have fewer), what the rows rule of hyper layers asks
    for. Keras refuses arrays of different lengths in `fit`; it takes this dataset.

    Args:
        conditioning: Array `(conditions, ...)`.
        data: Array `(conditions * n, ...)`.
        y: Array `(conditions * n, ...)`, or `None` to predict.
        conditions_per_batch: Conditions in a batch.
        sample_weight: Array `(conditions * n, ...)` or `None`.
        shuffle: Whether conditions are drawn in another order each epoch. `fit(shuffle=True)`
            shuffles only the order of the batches.
        seed: Seed of that order, which is a function of the seed and the epoch.
        **kwargs: `workers`, `use_multiprocessing` and `max_queue_size` of `keras.utils.PyDataset`.

    Raises:
        ValueError: if the rows of `data` are no multiple of those of `conditioning`, or `y` or
            `sample_weight` have other rows than `data`, or there is no `y` to weigh.

    Example:

    >>> batches = kh.GroupedDataset(np.zeros((6, 2)), np.zeros((30, 3)), np.zeros((30, 1)), 4)
    >>> (conditioning, data), y = batches[0]
    >>> len(batches), conditioning.shape, data.shape, y.shape
    (2, (4, 2), (20, 3), (20, 1))
    """

    def __init__(
        self,
        conditioning: Tensor,
        data: Tensor,
        y: Tensor,
        conditions_per_batch: int,
        sample_weight: Tensor | None = None,
        shuffle: bool = False,
        seed: int = 0,
        **kwargs: Tensor,
    ) -> None:
        conditions_per_batch = checks.positive_int("conditions_per_batch", conditions_per_batch)
        shuffle = checks.boolean("shuffle", shuffle)
        seed = checks.count("seed", seed)
        checks.known_keys("kwargs", kwargs, OPTIONS)
        for name, value in kwargs.items():
            OPTIONS[name](name, value)
        arrays = {"conditioning": conditioning, "data": data, "y": y}
        arrays["sample_weight"] = sample_weight
        arrays = {k: None if a is None else checks.numpy_array(k, a) for k, a in arrays.items()}
        rows = {k: len(a) if a.ndim else 0 for k, a in arrays.items() if a is not None}
        if not rows.get("conditioning") or not rows.get("data"):
            raise ValueError(f"`conditioning` and `data` must have rows. Received: {rows}")
        if rows["data"] % rows["conditioning"]:
            raise ValueError(
                "The rows of `conditioning` must divide the rows of `data`. "
                f"Received: {rows['conditioning']} and {rows['data']}"
            )
        if y is None and sample_weight is not None:
            raise ValueError(
                "`sample_weight` weighs the losses of `y`: give both, or none. Received: y=None"
            )
        for name in ("y", "sample_weight"):
            if rows.get(name, rows["data"]) != rows["data"]:
                raise ValueError(
                    f"`{name}` must have one row per row of `data` ({rows['data']}). "
                    f"Received: {rows[name]}"
                )
        super().__init__(**kwargs)
        self.conditions_per_batch = conditions_per_batch
        self.group_size = rows["data"] // rows["conditioning"]
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        self._conditioning = arrays.pop("conditioning")
        self._grouped = {
            k: None if a is None else a.reshape(-1, self.group_size, *a.shape[1:])
            for k, a in arrays.items()
        }
        self._order = self._draw_order()

    def __len__(self):
        return -(-len(self._conditioning) // self.conditions_per_batch)

    def __getitem__(self, index):
        start = range(len(self))[index] * self.conditions_per_batch
        chosen = self._order[start : start + self.conditions_per_batch]
        data, y, sample_weight = (
            None if a is None else a[chosen].reshape(-1, *a.shape[2:])
            for a in self._grouped.values()
        )
        inputs = (self._conditioning[chosen], data)
        if y is None:
            return (inputs,)
        return (inputs, y) if sample_weight is None else (inputs, y, sample_weight)

    def on_epoch_end(self):
        self.epoch += 1
        self._order = self._draw_order()

    def _draw_order(self):
        conditions = np.arange(len(self._conditioning))
        if not self.shuffle:
            return conditions
        return np.random.default_rng([self.seed, self.epoch]).permutation(conditions)
