"""`ContinualCheckpoint`: one file from which an interrupted run goes on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import keras

from keras_hypernet.continual.continual_model import ContinualModel
from keras_hypernet.utils import checks
from keras_hypernet.utils.files import is_whole_zip, written_whole


class ContinualCheckpoint(keras.callbacks.Callback):
    """Saves a `ContinualModel` with all it remembers, so that a killed run can go on.

    The file is a `.keras` file: weights, targets, names of tasks, counters, seeds, scores and the
    optimizer. It is written beside and renamed, so that there is a whole one at every moment. An
    epoch that was interrupted is begun again. The end is then that of a run without interruption,
    where the order of the data is a function of the epoch: `fit(..., shuffle=False)`, or a
    `keras.utils.PyDataset` with an order that depends on its epoch alone. (`fit` shuffles arrays by
    numbers that no file has.) On PyTorch layers that draw need a `seed`: Keras draws without from
    another source. Other callbacks keep their state to themselves (`EarlyStopping`).

    Args:
        filepath: Path of the file; it ends in `.keras`.
        every: Number of epochs after which it is written.

    Raises:
        ValueError: if the path does not end in `.keras`.
        TypeError: if it is given to the `fit` of another model.

    Example:

    >>> import tempfile
    >>> checkpoint = kh.ContinualCheckpoint(tempfile.mkdtemp() + "/run.keras")
    >>> model = checkpoint.load() or kh.ContinualModel(kh.build(4, 2, [(2, 1)]), num_tasks=2)
    >>> model.compile("sgd", "mse")
    >>> data = {"zeros": (np.ones((8, 2)), np.zeros(8)), "ones": (np.ones((8, 2)), np.ones(8))}
    >>> for name, epoch in checkpoint.tasks(model, data):
    ...     options = {"epochs": 2, "initial_epoch": epoch, "shuffle": False, "verbose": 0}
    ...     history = model.fit(*data[name], callbacks=[checkpoint], **options)
    >>> checkpoint.load().task_names
    ('zeros', 'ones')
    """

    def __init__(self, filepath: str | os.PathLike[str], every: int = 1) -> None:
        super().__init__()
        self.filepath = checks.path("filepath", filepath)
        if self.filepath.suffix != ".keras":
            raise ValueError(f"`filepath` must end in `.keras`. Received: {str(filepath)!r}")
        self.every = checks.positive_int("every", every)

    def load(self) -> keras.Model | None:
        """The model of the file, compiled as it was; `None` where there is no file.

        Own losses and layers must be registered, or in a `keras.saving.custom_object_scope`.

        Raises:
            ValueError: if the file is damaged, or no `.keras` file.
        """
        if not self.filepath.exists():
            return None
        if not is_whole_zip(self.filepath, "config.json"):
            raise ValueError(f"`filepath` is not a whole `.keras` file: {str(self.filepath)!r}")
        return _checked(keras.saving.load_model(self.filepath))

    def tasks(self, model: keras.Model, names: Sequence[str]) -> Iterator[tuple[str, int]]:
        """Goes through tasks, begins each, and after an interruption goes on where it was.

        Args:
            model: The `ContinualModel`, new or loaded.
            names: Names of all tasks, in order. A name that comes again goes on with its task.

        Yields:
            `(name, epochs of it that are done)`, for the tasks that are not over.

        Raises:
            ValueError: if the model's tasks are not the first ones of `names`, or there are more
                than the model has room for.
        """
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise TypeError(f"`names` must be a list of names. Received: names={names!r}")
        names, begun = list(names), list(_checked(model).task_sequence)
        checks.names("names", names)
        if len(set(names)) > model.num_tasks:
            raise ValueError(
                "`names` must be of at most as many tasks as the model has room for "
                f"(num_tasks={model.num_tasks}). Received: names={names}"
            )
        if names[: len(begun)] != begun:
            raise ValueError(
                f"`names` must begin with the model's tasks {begun}. Received: names={names}"
            )
        if begun:
            yield model.task, model.epochs_done
        for name in names[len(begun) :]:
            start = model.continue_task if name in model.task_names else model.begin_task
            start(name)
            self.save(model)
            yield name, model.epochs_done

    def save(self, model: keras.Model) -> None:
        """Writes the file: all of it, or nothing."""
        with written_whole(self.filepath) as partial:
            _checked(model).save(partial)

    def set_model(self, model):
        super().set_model(_checked(model))

    def on_epoch_end(self, epoch, logs=None):
        self.model.epochs_done = epoch + 1
        if self.model.epochs_done % self.every == 0:
            self.save(self.model)

    def on_train_end(self, logs=None):
        self.save(self.model)


def _checked(model):
    return checks.instance("model", model, ContinualModel)
