"""`AccuracyMatrix`: the accuracy of every task after every task."""

from __future__ import annotations

import os

import keras
import numpy as np

from keras_hypernet.continual.continual_model import ContinualModel
from keras_hypernet.utils import checks
from keras_hypernet.utils.tables import Table, Tabular
from keras_hypernet.utils.types import Tensor

EVALUATE = ("batch_size", "verbose", "steps", "callbacks")


class AccuracyMatrix(Tabular, keras.callbacks.Callback):
    """Evaluates a `ContinualModel` on all tasks after each, and says what it forgot.

    After `fit` of task `i`, row `i` of `accuracies` is the accuracy of every task: `R[i, j]` of
    task `j`. Tasks that have not begun are evaluated with the slot that they will have, and all of
    them once before the first is trained (`initial`). The rows are kept in the model, and so in its
    file.

    Args:
        data: Dict `{name of a task: its test data}`, in the order in which tasks are learned: what
            `evaluate` takes, `(x, y)`, `(x, y, sample_weight)` or a dataset.
        metric: Name of the metric that is read, of which more is better.
        verbose: 1 to print the row after each task, 0 for nothing.
        **evaluate: Further arguments of `evaluate`, such as `batch_size`.

    Raises:
        ValueError: if the model has no such metric, or a task has no data, or there is none.
        TypeError: if it is given to the `fit` of another model.

    Example:

    >>> model = kh.ContinualModel(kh.build(4, 2, [(2, 1)]), num_tasks=2)
    >>> model.compile("sgd", "mse", metrics=["accuracy"])
    >>> data = {"zeros": (np.ones((8, 2)), np.zeros(8)), "ones": (np.ones((8, 2)), np.ones(8))}
    >>> matrix = kh.AccuracyMatrix(data, verbose=0)
    >>> for name, (x, y) in data.items():
    ...     model.begin_task(name)
    ...     history = model.fit(x, y, callbacks=[matrix], verbose=0)
    >>> matrix.accuracies.shape
    (2, 2)

    Reference: Lopez-Paz & Ranzato, 2017 (https://arxiv.org/abs/1706.08840): transfer; Chaudhry et
    al., 2018 (https://arxiv.org/abs/1801.10112): forgetting.
    """

    def __init__(
        self,
        data: dict[str, Tensor],
        metric: str = "accuracy",
        verbose: int = 1,
        **evaluate: Tensor,
    ) -> None:
        super().__init__()
        checks.names("data", checks.instance("data", data, dict))
        checks.require(data, "data", "have a task or more", data)
        checks.known_keys("evaluate", evaluate, EVALUATE)
        self.data = dict(data)
        self.metric = checks.name("metric", metric)
        self.verbose = checks.verbose(verbose)
        self.evaluate = {"verbose": 0, **evaluate}
        self.names = tuple(self.data)
        self.sequence = ()
        self.rows = {}

    @property
    def initial(self) -> np.ndarray:
        """Accuracy `(tasks,)` of the untrained model; NaN where it was trained before."""
        return np.array(self.rows.get("initial", [np.nan] * len(self.names)))

    @property
    def accuracies(self) -> np.ndarray:
        """`(tasks, tasks)`: row `i` after task `i`; NaN where it has not been trained.

        Rows are in the order of training: a task that was continued has one more for each time.
        """
        nothing = [np.nan] * len(self.names)
        return np.array([self.rows.get(label, nothing) for label in self._stages()])

    @property
    def trained(self) -> int:
        """Number of tasks that have been trained."""
        return len(self._columns())

    @property
    def average_accuracy(self) -> float:
        """Mean over the trained tasks, now."""
        return _mean([column[-1] for column, _ in self._columns().values()])

    @property
    def forgetting(self) -> float:
        """Mean over all tasks but the last: the best accuracy it ever had, minus that of now."""
        return _mean([column[at[0] : -1].max() - column[-1] for column, at in self._old()])

    @property
    def backward_transfer(self) -> float:
        """Mean over all tasks but the last: accuracy now, minus that when it had been learned."""
        return _mean([column[-1] - column[at[-1]] for column, at in self._old()])

    @property
    def forward_transfer(self) -> float:
        """Mean over all tasks but the first: accuracy just before it, minus that at the start."""
        start = dict(zip(self.names, self.initial))
        columns = self._columns().items()
        return _mean([column[at[0] - 1] - start[name] for name, (column, at) in columns if at[0]])

    def _stages(self):
        """`{label of a row: name of the task}`, in the order of training; then tasks to come."""
        stages = {}
        for name in [*self.sequence, *(n for n in self.names if n not in self.sequence)]:
            label, time = f"after {name}", 1
            while label in stages:
                time += 1
                label = f"after {name} ({time})"
            stages[label] = name
        return stages

    def _columns(self):
        """`{trained task: (its accuracy in each row, numbers of the rows after it)}`."""
        known = {label: name for label, name in self._stages().items() if label in self.rows}
        columns = dict(zip(self.names, np.array([self.rows[label] for label in known]).T))
        rows = {name: [] for name in known.values()}
        for row, name in enumerate(known.values()):
            rows[name].append(row)
        return {name: (columns[name], at) for name, at in rows.items()}

    def _old(self):
        """The columns of all tasks but the one of the last row."""
        return [(x, at) for x, at in self._columns().values() if at[-1] < len(x) - 1]

    def set_model(self, model):
        super().set_model(checks.instance("model", model, ContinualModel))
        if len(self.names) > model.num_tasks:
            raise ValueError(
                f"`data` must not have more tasks than the model has room for (num_tasks="
                f"{model.num_tasks}). Received: {list(self.names)}"
            )
        missing = [name for name in model.task_names if name not in self.data]
        if missing:
            raise ValueError(f"`data` must have all tasks. Missing: {missing}")
        if model.task_names != self.names[: len(model.task_names)]:
            raise ValueError(
                "`data` must be in the order in which tasks are learned: "
                f"{list(model.task_names)}. Received: {list(self.names)}"
            )
        self.sequence = model.task_sequence
        self.rows = dict(model.scores.get(self.metric, {}))

    def on_train_begin(self, logs=None):
        if len(self.model.task_names) == 1 and "initial" not in self.rows:
            self._record("initial")

    def on_train_end(self, logs=None):
        label = list(self._stages())[len(self.sequence) - 1]
        self._record(label)
        if self.verbose:
            print(self.row(label))

    def _record(self, label):
        row = []
        for slot, data in enumerate(self.data.values()):
            with self.model.at_slot(slot):
                row.append(self._accuracy(data))
        self.rows[label] = row
        self.model.scores = {**self.model.scores, self.metric: dict(self.rows)}

    def _accuracy(self, data):
        arrays = data if isinstance(data, tuple) else (data,)
        given = dict(zip(("x", "y", "sample_weight"), arrays))
        logs = self.model.evaluate(**given, return_dict=True, **self.evaluate)
        if self.metric not in logs:
            raise ValueError(
                f"`metric` must be one of the model's metrics {sorted(logs)}. "
                f"Received: metric={self.metric!r}"
            )
        return float(logs[self.metric])

    def row(self, label: str) -> str:
        """One row of the table."""
        checks.choice("label", label, tuple(self.rows))
        known = zip(self.names, self.rows[label])
        return f"{label}: " + ", ".join(f"{name} {100 * value:.2f} %" for name, value in known)

    def _table(self):
        labels = [label for label in ["initial", *self._stages()] if label in self.rows]
        rows = [["accuracy in %", *self.names]]
        rows += [[label, *(f"{100 * x:.2f}" for x in self.rows[label])] for label in labels]
        summary = {
            "average accuracy": self.average_accuracy,
            "forgetting": self.forgetting,
            "backward transfer": self.backward_transfer,
            "forward transfer": self.forward_transfer,
        }
        known = [f"{name} {100 * x:.2f}" for name, x in summary.items() if not np.isnan(x)]
        return Table(rows, footer=", ".join(known))

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Saves a picture of the matrix; needs matplotlib.

        Args:
            path: Path of the picture, such as `accuracy.png`.
        """
        path = checks.path("path", path)
        from matplotlib.figure import Figure

        rows, columns = self.accuracies.shape
        figure = Figure(figsize=(3 + 0.6 * columns, 2 + 0.6 * rows), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(100 * self.accuracies, cmap="Blues", vmax=100)
        shade: Tensor = image.norm
        axes.set_xticks(range(len(self.names)), self.names, rotation=45, ha="right")
        stages = [label.removeprefix("after ") for label in self._stages()]
        axes.set_yticks(range(len(stages)), stages)
        axes.set(xlabel="accuracy of", ylabel="after")
        for (i, j), value in np.ndenumerate(self.accuracies):
            if not np.isnan(value):
                ink = "white" if shade(100 * value) > 0.6 else "black"
                axes.text(j, i, f"{100 * value:.1f}", ha="center", va="center", color=ink)
        figure.colorbar(image, label="accuracy in %")
        figure.savefig(path, dpi=120)


def _mean(values):
    return float(np.mean(values)) if values else np.nan
