"""`TaskState`: which task a model works on, and the statistics of every task."""

import keras
import numpy as np
from keras import ops

from keras_hypernet.utils.copying import value_of
from keras_hypernet.utils.naming import unique_name


class TaskState(keras.layers.Layer):
    """The active task, and for every task the values of variables that are not trained.

    Args:
        num_tasks: Number of tasks that there is room for.
        variables: The target's variables that each task has values of its own for, such as moving
            means. All tasks start with the present ones.
    """

    def __init__(self, num_tasks, variables):
        super().__init__(name=unique_name("task_state"))
        self.slot = 0  # the value of `active`, for Python
        self.find = lambda: variables  # not an attribute: they are saved where they belong
        self.active = self.add_weight(
            (), initializer="zeros", trainable=False, name="active", dtype="int32"
        )
        self.statistics = [
            self.add_weight(
                (num_tasks, *v.shape), trainable=False, name=f"statistics_{i}", dtype=v.dtype
            )
            for i, v in enumerate(variables)
        ]
        for table, variable in zip(self.statistics, variables):
            value = ops.convert_to_numpy(variable)
            table.assign(np.broadcast_to(value, table.shape).copy())
        self.built = True

    def activate(self, task):
        """Keeps the statistics of the active task, and puts those of another in their place."""
        for table, variable in zip(self.statistics, self.find()):
            values = value_of(table)
            values[self.slot] = ops.convert_to_numpy(variable)
            table.assign(values)
            variable.assign(values[task])
        self.active.assign(task)
        self.slot = task
