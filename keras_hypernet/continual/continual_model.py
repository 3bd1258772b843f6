"""`ContinualModel`: a model that learns tasks one after another without forgetting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import keras
import numpy as np
from keras import ops

from keras_hypernet.conditioning.condition_embedding import ConditionEmbedding
from keras_hypernet.continual.frozen_rows import FrozenRows
from keras_hypernet.continual.generated_weights import (
    GeneratedWeights,
    check_all_generated,
    check_capacity,
    conditioning_of,
    is_float,
)
from keras_hypernet.continual.heads import check_loss, heads_of_model
from keras_hypernet.continual.initial_optimizer import InitialOptimizer
from keras_hypernet.continual.masks import masks_of_model
from keras_hypernet.continual.memory import FrozenCopy, StoredTargets
from keras_hypernet.continual.model_of_tasks import ModelOfTasks
from keras_hypernet.continual.regularizer import output_regularizer
from keras_hypernet.continual.task_inputs import TaskInputs
from keras_hypernet.continual.task_state import TaskState
from keras_hypernet.models.graph_reader import CallGraph, check_functional
from keras_hypernet.utils import backend, checks, keras_internals
from keras_hypernet.utils.naming import unique_name
from keras_hypernet.utils.trainable_flags import flags_of, set_flags
from keras_hypernet.utils.types import Config, InitializerLike, Shape, Tensor

if TYPE_CHECKING:
    from keras_hypernet.weights.spec import WeightSpec

TARGETS = ("weights", "copy")
OPTIONS = (
    "num_tasks",
    "beta",
    "targets",
    "tasks_per_step",
    "tasks_per_call",
    "task_statistics",
    "keep_optimizer",
    "hold_conditions",
    "seed",
)
PROGRESS = ("task_sequence", "epochs_done", "scores")


@keras.saving.register_keras_serializable(package="keras_hypernet")
class ContinualModel(ModelOfTasks):
    """Learns tasks one after another; a hypernetwork remembers the weights of each.

    `loss = task_loss + beta * retention_loss`, where the retention loss is `output_regularizer`
    over all tasks so far but the present one; `fit` reports all three. Each task has a vector of
    its own; the hypernetwork maps it to the weights of the target, and is kept from changing those
    of old tasks. An evaluation has no retention loss (it says 0), and its loss is that of the task.

    `beta` weighs unlike numbers. The task loss is what `compile` is given, in Keras a mean over the
    batch. The retention loss is the mean over old tasks of the squared change of their weights,
    summed over all weights: `beta` depends on the target, not on the number of data. A published
    value beside a loss that is summed over the training set is divided by the number of its
    samples: 250 and 60,000 images are `beta=250 / 60000`.

    To choose it, raise it by factors of 3 until old tasks are kept: each column of `AccuracyMatrix`
    stays what it was on the diagonal. Where the diagonal falls, and `task_loss` stays high while
    `retention_loss` is next to nothing, new tasks are not learned: lower it.

    Args:
        model: Functional model with generated weights, such as `build` or `hypernetize` returns,
            or one built by hand of a `Hypernetwork` and hyper layers. It has one input that stands
            for the task: vectors `(rows, size)`, for which this model learns one per task, or ids
            `(rows,)`. It belongs to this model. Weights that are not generated must be frozen.
        num_tasks: Number of tasks that there is room for.
        beta: Weight of the retention loss, as above; 0 for none.
        targets: What old tasks are compared with: `"weights"`, the weights generated for each of
            them, stored; or `"copy"`, a frozen copy of the generator and the vectors, which is as
            large for any number of tasks and runs in every step.
        tasks_per_step: Number of old tasks that are drawn for a step; `None` is all.
        tasks_per_call: At most so many of them go through the generator at once; see
            `output_regularizer`.
        heads: For each task, a list of the outputs that are its own, or the number of them, which
            then follow those of the tasks before: `[2, 5, 3]` is for tasks of 2, 5 and 3 classes
            and a model of 10 outputs. The model then returns these, and labels count from 0 in
            each task. `None`: all outputs are the task's.
        task_statistics: Whether each task has its own moving statistics of the target (of batch
            normalization). If not, all tasks move the same ones.
        keep_optimizer: Whether the optimizer keeps its state where a task begins, instead of
            starting anew.
        hold_conditions: Whether the vectors of old tasks stay as they are; else the retention loss
            trains them, too. `None` is `keep_optimizer`, with which it must be `True`: momentum
            would move them.
        embeddings_initializer: Of the learned vectors of tasks. `None` is N(0, 1).
        seed: Of the draw of old tasks.
        **kwargs: `name` and `dtype`.

    Call arguments:
        inputs: The model's other inputs: a tensor, a list in their order, or a dict by name. Or all
            of its inputs, with ids `(rows,)` in place of the one that stands for the task: each row
            is then of the task that it names, an index into `task_names`. So `fit` takes batches of
            several tasks (see there), if weights are not shared by all rows (`shared=True`).
        training: As in any model.

    Returns:
        What `model` returns with the weights of the active task, or its head `(batch, outputs)`.
        With heads of unlike sizes, rows with ids have the outputs of the largest one, and -30000
        for those that their own task lacks.

    Raises:
        ValueError: if the model's weights depend on no or several inputs, trained weights are not
            generated, there is less room than `num_tasks`, heads do not fit, or `beta` is negative.

    Example:

    >>> model = kh.build(conditioning_size=4, input_size=2, target_layer_sizes=[(2, 8), (8, 1)])
    >>> model = kh.ContinualModel(model, num_tasks=3, beta=0.1)
    >>> model.compile("adam", "mse")
    >>> x = np.ones((16, 2), "float32")
    >>> for name, y in {"ones": np.ones((16, 1)), "twos": 2 * np.ones((16, 1))}.items():
    ...     model.begin_task(name)
    ...     history = model.fit(x, y, verbose=0)
    >>> sorted(history.history)
    ['loss', 'retention_loss', 'task_loss']
    >>> model.predict(x, task="ones", verbose=0).shape
    (16, 1)

    Reference: von Oswald et al., 2020 (https://arxiv.org/abs/1906.00695).
    """

    def __init__(
        self,
        model: keras.Model,
        num_tasks: int,
        beta: float = 0.01,
        *,
        targets: str = "weights",
        tasks_per_step: int | None = None,
        tasks_per_call: int | None = None,
        heads: Sequence[int] | Sequence[Sequence[int]] | None = None,
        task_statistics: bool = True,
        keep_optimizer: bool = False,
        hold_conditions: bool | None = None,
        embeddings_initializer: InitializerLike = None,
        seed: int | None = None,
        **kwargs: Tensor,
    ) -> None:
        check_functional(model)
        num_tasks = checks.positive_int("num_tasks", num_tasks)
        beta = checks.not_negative("beta", beta)
        checks.choice("targets", targets, TARGETS)
        for argument, value in {
            "tasks_per_step": tasks_per_step,
            "tasks_per_call": tasks_per_call,
        }.items():
            if value is not None:
                checks.positive_int(argument, value)
        task_statistics = checks.boolean("task_statistics", task_statistics)
        keep_optimizer = checks.boolean("keep_optimizer", keep_optimizer)
        if hold_conditions is not None:
            hold_conditions = checks.boolean("hold_conditions", hold_conditions)
        seed = checks.seed("seed", seed)
        if keep_optimizer and hold_conditions is False:
            raise ValueError(
                "`hold_conditions` must not be False with `keep_optimizer=True`: the momentum of "
                "an old task would move its vector. Received: hold_conditions=False"
            )
        graph = CallGraph(model)
        condition = conditioning_of(graph)
        data = [x for x in model.inputs if x is not condition]
        if not data:
            raise ValueError("`model` must have an input beside that of the task. Received: none")
        if embeddings_initializer is not None and len(condition.shape) < 2:
            raise ValueError(
                "`embeddings_initializer` is of the vectors of tasks, and `model` takes ids: give "
                "it to the embedding in the model. "
                f"Received: embeddings_initializer={embeddings_initializer!r}"
            )
        heads = None if heads is None else heads_of_model(heads, num_tasks, model)

        super().__init__(**kwargs)
        self.model = model
        self.num_tasks = num_tasks
        self.beta = beta
        self.targets = targets
        self.tasks_per_step = tasks_per_step
        self.tasks_per_call = tasks_per_call
        self.heads = heads
        self.task_statistics = task_statistics
        self.keep_optimizer = keep_optimizer
        self.hold_conditions = keep_optimizer if hold_conditions is None else hold_conditions
        self.embeddings_initializer = checks.initializer(
            "embeddings_initializer", embeddings_initializer
        )
        self.seed = seed
        self.epochs_done = 0
        self.scores = {}
        self.inputs_of_tasks = TaskInputs([x.name for x in model.inputs], condition.name)

        self.embedding = None
        if len(condition.shape) > 1:
            self.embedding = _embedding(condition, num_tasks, self.embeddings_initializer)
        self.generated = GeneratedWeights(graph, self.embedding)
        check_capacity(self.generated, num_tasks)
        check_all_generated(model, self.generated)
        self.task_state = TaskState(num_tasks, self._statistics() if task_statistics else [])
        self.memory = None
        if self.beta and num_tasks > 1:
            kind = StoredTargets if targets == "weights" else FrozenCopy
            self.memory = kind(self.generated, num_tasks)
        self.masks = None if heads is None else masks_of_model(self.weight_spec, heads, graph)
        self.sampling = keras.random.SeedGenerator(seed)
        self.task_loss_tracker = keras.metrics.Mean(name="task_loss")
        self.retention_loss_tracker = keras.metrics.Mean(name="retention_loss")
        self.given_constraints = [v.constraint for v in self.generated.conditional_variables]
        self.initial_optimizer: InitialOptimizer | None = None
        shapes = [x.shape for x in data]
        self.build(shapes[0] if len(shapes) == 1 else shapes)

    # Tasks.

    @property
    def weight_spec(self) -> WeightSpec:
        """The `WeightSpec` of the weights that are generated for a task."""
        return self.generated.weight_spec

    def begin_task(self, name: str) -> None:
        """Remembers the tasks so far, and makes the next slot the one that is trained.

        A fresh optimizer has the learning rate of `compile`. `continue_task` goes on with a task.

        Args:
            name: Name of the task, a string that no other task has.

        Raises:
            TypeError, ValueError: if the name is no string or is used, no slot is free, or another
                task is active in `at_task`. The model is then as it was.
        """
        checks.name("name", name)
        self._check_outside("begin a task")
        if name in self.task_names:
            raise ValueError(
                f"`name` must be new: there is a task {name!r} already. `continue_task(name)` goes "
                "on with it."
            )
        if len(self.task_names) == self.num_tasks:
            raise ValueError(
                f"There is room for `num_tasks={self.num_tasks}` tasks, and none is free. Give "
                "`ContinualModel` a larger `num_tasks` at the start: it cannot grow. "
                f"Received: name={name!r}"
            )
        self._start(name)

    def continue_task(self, name: str) -> None:
        """Remembers the other tasks, and makes an old one the one that is trained, again.

        As where a task begins, the optimizer is fresh. The task's weights and vector may change;
        those of all others are kept, later tasks too. Its statistics move on from where they were.

        Args:
            name: Name of a task that has begun.

        Raises:
            TypeError, ValueError: if there is no such task, or another one is active in `at_task`.
                The model is then as it was.

        Example:

        >>> model = kh.ContinualModel(kh.build(4, 2, [(2, 1)]), num_tasks=2)
        >>> model.begin_task("first")
        >>> model.begin_task("second")
        >>> model.continue_task("first")
        >>> model.task, model.task_names, model.task_sequence
        ('first', ('first', 'second'), ('first', 'second', 'first'))
        """
        checks.name("name", name)
        self._check_outside("continue a task")
        if name not in self.task_names:
            raise ValueError(
                f"`name` must be one of the tasks {list(self.task_names)}: `begin_task(name)` "
                f"begins another. Received: name={name!r}"
            )
        self._start(name)

    def _start(self, name):
        sequence = (*self.task_sequence, name)
        names = list(dict.fromkeys(sequence))
        slot = names.index(name)
        fresh = []  # what may fail comes first
        if self.initial_optimizer is not None and not self.keep_optimizer:
            fresh = self.initial_optimizer.values(self.optimizer, self.trainable_variables)
        others = _others(names, slot)
        if others and self.memory is not None:
            self.memory.remember(self.generated, others, self.tasks_per_call)
        for variable, value in fresh:
            variable.assign(value)
        self.task_state.activate(slot)
        self.task_sequence = sequence
        self.epochs_done = 0
        self.train_function = None  # it was compiled for other old tasks

    # The network and its losses.

    def build(self, input_shape: Shape | list[Shape]) -> None:
        """Nothing is left to make; the shape is what an export asks for."""

    def _statistics(self):
        """Variables of the target that move without being trained, such as moving means."""
        parameters = {id(v) for _, v in keras_internals.parameters(self.model)}
        generating = {id(v) for v in self.generated.variables}
        others = [v for v in self.model.variables if id(v) not in parameters | generating]
        return [v for v in others if is_float(v)]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if self.heads is not None and self.inputs_of_tasks.has_ids(x):
            check_loss(self.loss, self.heads)
        task_loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        rows = ops.shape(keras.tree.flatten(x)[0])[0]
        self.task_loss_tracker.update_state(task_loss, sample_weight=rows)
        if not training:
            return task_loss
        retention_loss = self.retention_loss(training)
        self.retention_loss_tracker.update_state(retention_loss, sample_weight=rows)
        return task_loss + self.beta * ops.cast(retention_loss, task_loss.dtype)

    def retention_loss(self, training: bool | None = None) -> Tensor:
        """`output_regularizer` over all tasks so far but the present one; 0 for the first.

        Override it to call that with other arguments, such as an importance of weights.
        """
        others = _others(self.task_names, self._slot(None))
        if self.memory is None or not others:
            return ops.zeros(())
        return output_regularizer(
            self.generated,
            np.array(others, "int32"),
            **self.memory.arguments(len(others)),
            tasks_per_step=self.tasks_per_step,
            mask=None if self.masks is None else self.masks[others],
            hold_conditions=self.hold_conditions,
            tasks_per_call=self.tasks_per_call,
            training=training,
            seed=self.sampling,
        )

    # Training.

    def compile(self, *args: Tensor, **kwargs: Tensor) -> None:
        """As `keras.Model.compile`; each task begins with this optimizer anew."""
        super().compile(*args, **kwargs)
        # All variables exist: a file from before the first step has all of the optimizer's, too.
        self.optimizer.build(self.trainable_variables)
        self.initial_optimizer = InitialOptimizer(self.optimizer)

    def get_compile_config(self):
        config = super().get_compile_config()
        if config:
            # The state of the present one is in its variables.
            config["optimizer"] = self.initial_optimizer.config
        return config

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))

    def make_train_function(self, force=False):
        if not self.task_names:
            raise ValueError("There is no task to train: call `begin_task(name)` first.")
        self._check_outside("train")
        if self.train_function is None or force:
            self._freeze_rows()
        with backend.own_step(self, "train_step"):
            return super().make_train_function(force)

    def _freeze_rows(self):
        """Lets only the rows of some tasks be trained, in all that has a row per task."""
        present = self._slot(None)
        others = [] if self.hold_conditions else _others(self.task_names, present)
        pairs = zip(self.generated.conditional_variables, self.given_constraints)
        for variable, constraint in pairs:
            trained = np.isin(np.arange(variable.shape[0]), [present, *others])
            variable.constraint = FrozenRows(variable, trained, constraint)

    # Saving.

    def save(self, *args: Tensor, **kwargs: Tensor) -> None:
        """As `keras.Model.save`. No task but the present one may be active."""
        self._check_outside("save")  # before there is a file
        super().save(*args, **kwargs)

    def save_weights(self, *args: Tensor, **kwargs: Tensor) -> None:
        """As `keras.Model.save_weights`. No task but the present one may be active."""
        self._check_outside("save")
        super().save_weights(*args, **kwargs)

    def save_own_variables(self, store):
        self._check_outside("save")
        store["tasks"] = np.array(len(self.task_names))
        store["present"] = np.array(self._slot(None))
        # Keras saves no state of random generators: a loaded model would draw other numbers.
        for i, state in enumerate(self._seeds()):
            store[f"seed_{i}"] = state

    def load_own_variables(self, store):
        self._check_outside("load weights")
        saved, here = int(store["tasks"][()]), len(self.task_names)
        if saved != here:
            raise ValueError(
                f"The weights are of a model with {saved} tasks, and this one has {here}. Weights "
                "have no names of tasks: load the whole model from a `.keras` file, or begin the "
                "same tasks first."
            )
        present = self._slot(None)
        if "present" in store and int(store["present"][()]) != present:  # not in older files
            raise ValueError(
                f"The weights are of a model that trains its task {int(store['present'][()])}, "
                f"and this one trains its task {present}. Load the whole model from a `.keras` "
                "file, or call `continue_task` first."
            )
        for i, state in enumerate(self._seeds()):
            state.assign(store[f"seed_{i}"])

    def _seeds(self):
        others = {id(v) for v in [*self.weights, *self.metrics_variables]}
        return [v for v in self.variables if id(v) not in others]

    def get_config(self) -> Config:
        config = {
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "model": keras.saving.serialize_keras_object(self.model),
            "heads": None if self.heads is None else [list(head) for head in self.heads],
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
        }
        config["progress"] = {name: getattr(self, name) for name in PROGRESS}
        config["trainable"] = self.trainable
        config["flags"] = {"model": flags_of(self.model), "all": flags_of(self)}
        return config | {name: getattr(self, name) for name in OPTIONS}

    @classmethod
    def from_config(cls, config: Config) -> Self:
        config = dict(config)
        if "hold_embeddings" in config:  # of an older file
            config["hold_conditions"] = config.pop("hold_embeddings")
        progress, flags, trainable = (config.pop(n) for n in ("progress", "flags", "trainable"))
        config["model"] = keras.saving.deserialize_keras_object(config["model"])
        set_flags(config["model"], flags["model"])  # what is frozen need not be generated
        model = cls(**config)
        model.trainable = trainable
        set_flags(model, flags["all"])
        sequence = progress.get("task_sequence") or progress.get("task_names", ())  # older files
        model.task_sequence = tuple(sequence)
        model.task_state.activate(model._slot(None))
        model.epochs_done = progress["epochs_done"]
        model.scores = dict(progress["scores"])
        return model


def _others(names, slot):
    """Ids of all tasks but one."""
    return [i for i in range(len(names)) if i != slot]


def _embedding(condition, num_tasks, initializer):
    checks.float_tensor(condition.name, condition)
    checks.rank(condition.name, condition.shape, 2)
    embedding = ConditionEmbedding(
        num_tasks,
        condition.shape[-1],
        embeddings_initializer=initializer,
        name=unique_name("task_embedding"),
    )
    embedding.build((None,))
    return embedding
