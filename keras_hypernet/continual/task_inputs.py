"""`TaskInputs`: the data that a model of tasks is given, and the tasks of its rows."""

import keras
from keras import ops

from keras_hypernet.utils import checks


class TaskInputs:
    """Data alone, or with the ids of tasks in place of the input that stands for the task.

    Args:
        names: Names of all inputs of the model inside, in their order.
        condition: Name of the one that stands for the task.
    """

    def __init__(self, names, condition):
        self.names = tuple(names)
        self.condition = condition
        self.data = tuple(name for name in names if name != condition)

    def named(self, inputs):
        """`{name: array}`, empty where inputs are none of the two."""
        if isinstance(inputs, dict):
            named = dict(inputs)
            return named if set(named) in (set(self.data), set(self.names)) else {}
        inputs = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        by_number = {len(names): names for names in (self.data, self.names)}
        return dict(zip(by_number.get(len(inputs), ()), inputs))

    def tensors(self, inputs):
        """`{name: tensor}` of inputs that must be one of the two."""
        named = self.named(inputs)
        if not named:
            shapes = keras.tree.map_structure(lambda x: getattr(x, "shape", x), inputs)
            raise ValueError(
                f"`inputs` must be the data {list(self.data)}: a tensor, a list in this order or a "
                f"dict. With ids of the rows' tasks they are {list(self.names)}, ids as "
                f"{self.condition!r}. Received: {shapes}"
            )
        # Without compilation JAX is given arrays, which must not stand beside tensors.
        return {name: ops.convert_to_tensor(value) for name, value in named.items()}

    def has_ids(self, inputs):
        """Whether each row has a task of its own."""
        return self.condition in self.named(inputs)

    def check_ids(self, inputs, statistics):
        """Refuses ids that are none, and any where tasks have statistics of their own."""
        if not self.has_ids(inputs):
            return
        ids = self.named(inputs)[self.condition]
        argument = f"inputs[{self.condition!r}]"
        checks.tensor(argument, ids)
        checks.int_tensor(argument, ids)
        checks.rank(argument, ids.shape, 1)
        if statistics:
            raise ValueError(
                "Rows of several tasks need `task_statistics=False`, or a model without moving "
                "statistics: a batch has one mean for all of its rows. Received: "
                f"task_statistics=True, and ids of tasks as {self.condition!r}"
            )

    def check_begun(self, inputs, task_names):
        """Refuses ids of tasks that have not begun: of data, not of what stands for data.

        Keras builds a model on PyTorch with ids of 1.
        """
        if not self.has_ids(inputs):
            return
        ids = ops.convert_to_numpy(self.named(inputs)[self.condition])
        if ids.size and not 0 <= ids.min() <= ids.max() < len(task_names):
            raise ValueError(
                f"`inputs[{self.condition!r}]` must be indices into the names of tasks that have "
                f"begun: {checks.few(task_names)}. Received: ids from {ids.min()} to {ids.max()}"
            )
