"""`ModelOfTasks`: a model that is used for one of several named tasks at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

from keras_hypernet.continual.compiled_functions import CompiledFunctions
from keras_hypernet.continual.entropy import surest
from keras_hypernet.continual.heads import heads_of_rows, takes_labels
from keras_hypernet.models.specializer import specialize
from keras_hypernet.utils import backend, checks
from keras_hypernet.utils.types import Tensor


class ModelOfTasks(keras.Model):
    """The base of `ContinualModel`: the use of the tasks that it has learned.

    A subclass has a `model`, the `inputs_of_tasks` that this takes, an `embedding` of tasks (or
    `None`), the `heads` of its outputs (or `None`), and the `task_state` that says which task is
    active.
    """

    def __init__(self, **kwargs: Tensor) -> None:
        super().__init__(**kwargs)
        self.task_sequence: tuple[str, ...] = ()
        self.test_functions = CompiledFunctions("test")
        self.predict_functions = CompiledFunctions("predict")

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of their slots."""
        return tuple(dict.fromkeys(self.task_sequence))

    @property
    def task(self) -> str | None:
        """Name of the present task, the one that `fit` trains; `None` before the first."""
        return self.task_sequence[-1] if self.task_sequence else None

    @contextlib.contextmanager
    def at_task(self, name: str | None) -> Iterator[None]:
        """Within it, the model has the weights and statistics of the named task, to be used.

        To train or to save, leave it.

        Args:
            name: Name of a task; `None` is the present one.

        Raises:
            ValueError: if there is no such task.

        Example: `with model.at_task("first"): y = model(x)`
        """
        with self.at_slot(self._slot(name)):
            yield

    @contextlib.contextmanager
    def at_slot(self, slot):
        """As `at_task`, by number: also a slot that no task has taken."""
        before = self.task_state.slot
        self.task_state.activate(slot)
        try:
            yield
        finally:
            self.task_state.activate(before)

    def _check_outside(self, what):
        if self.task_state.slot != self._slot(None):
            raise ValueError(
                f"To {what}, leave `at_task` first: the active task is not the present one, "
                f"{self.task!r}."
            )

    def _slot(self, name):
        if name is None and not self.task_names:
            return 0
        name = self.task if name is None else name
        if not isinstance(name, str) or name not in self.task_names:
            raise ValueError(
                f"`task` must be one of the tasks {list(self.task_names)}. Received: {name!r}"
            )
        return self.task_names.index(name)

    def task_conditioning(self, name: str | None = None) -> np.ndarray:
        """What a task is for the model inside: its vector `(1, size)`, or its id `(1,)`.

        `target_weights(model.model, model.task_conditioning(name))` are the weights of one task.

        Args:
            name: Name of a task; `None` is the present one.
        """
        ids = np.array([self._slot(name)], "int32")
        return ids if self.embedding is None else ops.convert_to_numpy(self.embedding(ids))

    def specialize(self, name: str | None = None) -> keras.Model:
        """A plain Keras model for one task, with its weights, statistics and head: `specialize`.

        Args:
            name: Name of a task; `None` is the present one.
        """
        with self.at_task(name):
            plain = specialize(self.model, self.task_conditioning(name))
        if self.heads is None:
            return plain
        head = np.array(self.heads[self._slot(name)], "int32")
        return keras.Model(plain.input, ops.take(plain.outputs[0], head, axis=-1))

    # Use.

    def export(self, *args: Tensor, **kwargs: Tensor) -> None:
        """As `keras.Model.export`, of the active task."""
        with backend.constants_in_graph():
            super().export(*args, **kwargs)

    def call(self, inputs, training=None):
        self._check_ids(inputs)
        values = self.inputs_of_tasks.tensors(inputs)
        condition = self.inputs_of_tasks.condition
        ids = values.get(condition, ops.reshape(self.task_state.active, (1,)))
        values[condition] = ids if self.embedding is None else self.embedding(ids)
        if not isinstance(self.model.input, dict):
            values = [values[x.name] for x in self.model.inputs]
        outputs = self.model(values, training=training)
        return self.own_outputs(outputs, ids, self.inputs_of_tasks.has_ids(inputs))

    def own_outputs(self, outputs, ids, of_rows=False):
        """Those of all outputs that are of the tasks of some ids.

        Args:
            outputs: What `model` returns.
            ids: Of tasks, `(rows,)` or `(1,)`.
            of_rows: Whether each row has a task of its own, rather than all the active one.
        """
        if self.heads is None:
            return outputs
        outputs = heads_of_rows(outputs, self.heads, ids)
        return outputs if of_rows else outputs[..., : self._head_size()]

    def fit(self, *args: Tensor, **kwargs: Tensor) -> keras.callbacks.History:
        """As `keras.Model.fit`, on rows of the present task, or each of the task that it names.

        `fit([ids, x], y)` trains on rows of several tasks, such as the present one and a memory of
        old ones: ids are indices into `task_names`, in the place of the input of `model` that
        stands for the task. The retention loss is that of the present task.
        """
        self._check_given(args, kwargs)
        self._check_labels(args, kwargs)
        return super().fit(*args, **kwargs)

    def _check_given(self, args, kwargs, task=None):
        """Refuses ids of rows, as far as arrays say them, before anything runs."""
        x = args[0] if args else kwargs.get("x")
        if not isinstance(x, (dict, list, tuple)):  # a dataset is not read
            return
        self._check_ids(x)
        self.inputs_of_tasks.check_begun(x, self.task_names)
        if task is not None and self.inputs_of_tasks.has_ids(x):
            raise ValueError(
                "Either `task` says which task it is, or each row has an id of its own. Received: "
                f"task={task!r}, and ids of rows"
            )

    def _check_labels(self, args, kwargs, task=None):
        """Refuses labels that a task's head has not, whose loss JAX would take for zero."""
        x = args[0] if args else kwargs.get("x")
        y = args[1] if len(args) > 1 else kwargs.get("y")
        if self.heads is None or not isinstance(y, np.ndarray) or y.dtype.kind not in "iu":
            return
        if not takes_labels(self.loss) or self.inputs_of_tasks.has_ids(x) or not y.size:
            return
        slot = self.task_state.slot if task is None else self._slot(task)
        size = len(self.heads[slot])
        if not 0 <= y.min() <= y.max() < size:
            raise ValueError(
                f"`y` must be labels of the task's own {size} outputs, which count from 0. "
                f"Received: labels from {y.min()} to {y.max()}"
            )

    def _check_ids(self, inputs):
        self.inputs_of_tasks.check_ids(inputs, self.task_state.statistics)

    def evaluate(self, *args: Tensor, task: str | None = None, **kwargs: Tensor) -> Tensor:
        """As `keras.Model.evaluate`, for a named task; `None` is the active one.

        The loss is that of the task alone: the retention loss is no part of an evaluation. Rows may
        have tasks of their own, as in `fit`.
        """
        self._check_given(args, kwargs, task)
        self._check_labels(args, kwargs, task)
        with self._chosen(task):
            return super().evaluate(*args, **kwargs)

    def predict(
        self,
        *args: Tensor,
        task: str | None = None,
        infer_task: bool = False,
        from_logits: bool = True,
        **kwargs: Tensor,
    ) -> Tensor:
        """As `keras.Model.predict`, for a named task; `None` is the active one.

        With `infer_task=True` each row has the prediction of the task that the method `infer_task`
        finds for it, which takes `from_logits`, too. `predict([ids, x])` is for rows of several
        tasks, as in `fit`. Where tasks have unlike many outputs, both have the most of a task; the
        ones that a row's own task lacks are -30000, or 0 among probabilities of inferred tasks.
        """
        if not checks.boolean("infer_task", infer_task):
            if not checks.boolean("from_logits", from_logits):
                raise ValueError(
                    "`from_logits` is for inferred tasks, with `infer_task=True`. "
                    "Received: from_logits=False, infer_task=False"
                )
            self._check_given(args, kwargs, task)
            with self._chosen(task):
                return super().predict(*args, **kwargs)
        if task is not None:
            raise ValueError(
                "Either `task` says which task it is, or `infer_task=True` finds it for each row. "
                f"Received: task={task!r}, infer_task=True"
            )
        outputs, tasks, _ = self._inferred(from_logits, *args, **kwargs)
        return outputs[np.arange(len(tasks)), tasks]

    def _chosen(self, task):
        return contextlib.nullcontext() if task is None else self.at_task(task)

    def infer_task(
        self, x: Tensor, from_logits: bool = True, **kwargs: Tensor
    ) -> tuple[np.ndarray, np.ndarray]:
        """Finds the task of each row, where it is not known: the one with the surest prediction.

        Every task predicts, and the prediction of least entropy is the surest; where tasks have
        unlike many classes, of least entropy beside that of its classes at random. It is for models
        with one output, of classes. `predict(x, infer_task=True)` are the predictions.

        Args:
            x: Data, as for `predict`.
            from_logits: Whether the model returns logits, rather than probabilities.
            **kwargs: Further arguments of `predict`.

        Returns:
            `(tasks (rows,), entropies (rows, tasks))`: `tasks` are indices into `task_names`.

        Raises:
            ValueError: if no task has begun, or the model has several outputs.
        """
        _, tasks, entropies = self._inferred(from_logits, x, **kwargs)
        return tasks, entropies

    def _inferred(self, from_logits, *args, **kwargs):
        """`(outputs of all tasks (rows, tasks, outputs), inferred tasks, entropies)`."""
        checks.boolean("from_logits", from_logits)
        if len(self.model.outputs) > 1:
            raise ValueError(
                f"`model` must have one output, of classes. Received: {len(self.model.outputs)}"
            )
        if not self.task_names:
            raise ValueError("There is no task to infer: call `begin_task(name)` first.")
        outputs = [self.predict(*args, task=name, **kwargs) for name in self.task_names]
        return surest(outputs, from_logits)

    # Tasks with another number of outputs need another function.

    def make_test_function(self, force: bool = False) -> Tensor:
        make = super().make_test_function
        return self.test_functions.make(self, self._head_size(), make, force)

    def make_predict_function(self, force: bool = False) -> Tensor:
        make = super().make_predict_function
        return self.predict_functions.make(self, self._head_size(), make, force)

    def _head_size(self):
        """Number of the active task's own outputs, where tasks have such."""
        return None if self.heads is None else len(self.heads[self.task_state.slot])
