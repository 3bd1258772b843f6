"""`GroupedDataset`: batches of few conditions and many data rows for `fit`."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops, tree

from keras_hypernet.conditioning import grouped_arrays, row_groups
from keras_hypernet.utils import checks
from keras_hypernet.utils.types import Nest, Tensor

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

    **Several inputs.** With lists, a batch has the inputs `(conditioning_1, ..., data_1, ...)`, the
    order of a model of `hypernetize`. With two dicts by input name, it has one dict of both.

    **Groups of unequal size** are given by `group_sizes`, or by `condition_ids` for data rows in
    any order. Every group is padded to the largest group of the whole dataset: batches have one
    shape (but for a short last one), for which a step is compiled once. Pad rows repeat rows of
    their group with a sample weight of zero. A condition without data rows is left out. One very
    large group makes every batch large: repeat its row of `conditioning` and split it.

    Keras divides a loss by all rows of a batch, pads included. So the sample weight of every real
    row is multiplied by one factor, `padded rows / real rows` of the whole dataset. Then the loss
    that `fit` and `evaluate` report is the mean over the real rows, each of which counts alike. In
    one batch it is their sum divided by the rows that as many conditions have on average. Losses
    with `reduction="sum"` keep the factor; `"mean_with_sample_weight"` is the mean over the real
    rows of each batch. `weighted_metrics` are those of the real rows; `metrics` take no weights
    and count pad rows, and so do layers with statistics of a batch. Keras takes no `class_weight`
    beside sample weights.

    Args:
        conditioning: Array `(conditions, ...)`, or a list or dict of such arrays.
        data: Array `(conditions * n, ...)`, or a list or dict of such arrays. With a dict,
            `conditioning` is a dict too.
        y: Array `(conditions * n, ...)`, a list or dict of them for several outputs, or `None` to
            predict.
        conditions_per_batch: Conditions in a batch.
        sample_weight: Array `(conditions * n, ...)` for all outputs, a list or dict like `y`, or
            `None`.
        shuffle: Whether conditions are drawn in another order each epoch. `fit(shuffle=True)`
            shuffles only the order of the batches.
        seed: Seed of that order, which is a function of the seed and the epoch.
        group_sizes: Data rows of every condition, in order, in place of `n`. They add up to the
            rows of `data`.
        condition_ids: The condition of every data row, an integer array `(rows of data,)`. Data
            rows of a condition stay in their order.
        **kwargs: `workers`, `use_multiprocessing` and `max_queue_size` of `keras.utils.PyDataset`.

    Raises:
        TypeError: if `group_sizes` or `condition_ids` are no integers.
        ValueError: if the rows of `data` are no multiple of those of `conditioning`, arrays of one
            argument have different rows, `y` or `sample_weight` have other rows than `data`,
            `sample_weight` is another nest than `y`, a dict comes with an array or a list, an input
            has the name of another one, `group_sizes` or `condition_ids` do not fit the rows, or
            both are given.

    Example:

    >>> batches = kh.GroupedDataset(np.zeros((6, 2)), np.zeros((30, 3)), np.zeros((30, 1)), 4)
    >>> (conditioning, data), y = batches[0]
    >>> len(batches), conditioning.shape, data.shape, y.shape
    (2, (4, 2), (20, 3), (20, 1))

    Three conditions with one, two and three data rows, and what a model predicts for the six:

    >>> ids, x = np.array([2, 0, 1, 2, 2, 1]), np.arange(6.0)
    >>> batches = kh.GroupedDataset(np.zeros((3, 2)), x, x, 3, condition_ids=ids)
    >>> (conditioning, data), y, sample_weight = batches[0]
    >>> data.tolist()
    [1.0, 1.0, 1.0, 2.0, 5.0, 2.0, 0.0, 3.0, 4.0]
    >>> sample_weight.tolist()
    [1.5, 0.0, 0.0, 1.5, 1.5, 0.0, 1.5, 1.5, 1.5]
    >>> batches.ungroup(data).tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """

    def __init__(
        self,
        conditioning: Nest,
        data: Nest,
        y: Nest | None,
        conditions_per_batch: int,
        sample_weight: Nest | None = None,
        shuffle: bool = False,
        seed: int = 0,
        group_sizes: Tensor | None = None,
        condition_ids: Tensor | None = None,
        **kwargs: Tensor,
    ) -> None:
        conditions_per_batch = checks.positive_int("conditions_per_batch", conditions_per_batch)
        shuffle = checks.boolean("shuffle", shuffle)
        seed = checks.count("seed", seed)
        checks.known_keys("kwargs", kwargs, OPTIONS)
        for name, value in kwargs.items():
            OPTIONS[name](name, value)
        conditioning = grouped_arrays.arrays("conditioning", conditioning)
        data = grouped_arrays.arrays("data", data)
        conditions = grouped_arrays.count_rows("conditioning", conditioning)
        rows = grouped_arrays.count_rows("data", data)
        grouped_arrays.paired(conditioning, data)
        y, sample_weight = grouped_arrays.targets(y, sample_weight, rows)
        groups = row_groups.made(conditions, rows, group_sizes, condition_ids)
        if y is not None and groups.padded_rows != rows:
            factor = groups.padded_rows / rows
            sample_weight = grouped_arrays.padded_weights(y, sample_weight, factor)
        super().__init__(**kwargs)
        self.conditions_per_batch = conditions_per_batch
        self.group_size = groups.size
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        self._groups = groups
        self._conditioning, self._data = conditioning, data
        self._y, self._sample_weight = y, sample_weight
        self._order = self._draw_order()

    def __len__(self):
        return -(-len(self._order) // self.conditions_per_batch)

    def __getitem__(self, index):
        start = range(len(self))[index] * self.conditions_per_batch
        chosen = self._order[start : start + self.conditions_per_batch]
        rows, real = self._groups.rows(chosen)
        conditions = self._groups.conditions[chosen]
        inputs = grouped_arrays.paired(
            tree.map_structure(lambda a: a[conditions], self._conditioning),
            tree.map_structure(lambda a: a[rows], self._data),
        )
        if self._y is None:
            return (inputs,)
        y = tree.map_structure(lambda a: a[rows], self._y)
        if self._sample_weight is None:
            return inputs, y
        return (
            inputs,
            y,
            tree.map_structure(
                lambda a: a[rows] * real.reshape(-1, *[1] * (a.ndim - 1)), self._sample_weight
            ),
        )

    def on_epoch_end(self):
        self.epoch += 1
        self._order = self._draw_order()

    def ungroup(self, predictions: Nest) -> Nest:
        """What `predict` gives for this dataset, without pads and in the order of `data`.

        Args:
            predictions: Array, or a nest of them, with one row for each row of all batches, pads
                included.

        Returns:
            NumPy arrays in the same nest, with one row per row of `data`.

        Raises:
            ValueError: if the dataset is shuffled, or an array has other rows.
        """
        if self.shuffle:
            raise ValueError(
                "`ungroup` needs a dataset of `shuffle=False`, as another order of conditions is "
                "drawn each epoch. Received: shuffle=True"
            )
        predictions = tree.map_structure(ops.convert_to_numpy, predictions)
        for array in tree.flatten(predictions):
            if array.shape[:1] != (self._groups.padded_rows,):
                raise ValueError(
                    "`predictions` must have one row for each row of all batches "
                    f"({self._groups.padded_rows}). Received: shape {array.shape}"
                )
        places = self._groups.places()
        return tree.map_structure(lambda a: a[places], predictions)

    def _draw_order(self):
        groups = np.arange(len(self._groups.conditions))
        if not self.shuffle:
            return groups
        return np.random.default_rng([self.seed, self.epoch]).permutation(groups)
