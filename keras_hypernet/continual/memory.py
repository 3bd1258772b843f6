"""What a `ContinualModel` compares generated weights with: two ways to remember."""

import keras
import numpy as np
from keras import ops

from keras_hypernet.utils.copying import value_of
from keras_hypernet.utils.naming import unique_name


class StoredTargets(keras.layers.Layer):
    """The weights that were generated for the other tasks: memory for `num_tasks - 1` targets.

    Args:
        generated: The `GeneratedWeights` to remember.
        num_tasks: Number of tasks that there is room for.
    """

    def __init__(self, generated, num_tasks):
        super().__init__(name=unique_name("stored_weights"))
        shape = (max(num_tasks - 1, 1), generated.weight_spec.total)
        self.targets = self.add_weight(
            shape, initializer="zeros", trainable=False, name="targets", dtype="float32"
        )
        self.built = True

    def remember(self, generated, ids, tasks_per_call):
        """Stores the weights of tasks, in the order of their ids."""
        values = value_of(self.targets)
        per_call = tasks_per_call or len(ids)
        for start in range(0, len(ids), per_call):
            part = np.array(ids[start : start + per_call], "int32")
            new = generated(ops.convert_to_tensor(part), training=False)
            values[start : start + len(part)] = ops.convert_to_numpy(ops.cast(new, "float32"))
        self.targets.assign(values)

    def arguments(self, count):
        """What `output_regularizer` is given for the tasks that were remembered."""
        return {"targets": self.targets[:count]}


class FrozenCopy(keras.layers.Layer):
    """A copy of all variables that weights are generated with: as much memory for any tasks.

    Args:
        generated: The `GeneratedWeights` to remember.
        num_tasks: Number of tasks that there is room for, in its tables.
    """

    def __init__(self, generated, num_tasks):
        super().__init__(name=unique_name("frozen_copy"))
        names = {id(v): name for name, v in generated.named_variables().items()}
        self.names = tuple(names[id(variable)] for variable in _variables(generated))
        self.copies = [
            self.add_weight(
                v.shape, initializer="zeros", trainable=False, name=f"copy_{i}", dtype=v.dtype
            )
            for i, v in enumerate(_variables(generated))
        ]
        self.built = True

    def remember(self, generated, ids, tasks_per_call):
        values = [value_of(v) for v in _variables(generated)]
        for copy, value in zip(self.copies, values):
            copy.assign(value)

    def arguments(self, count):
        """What `output_regularizer` is given for the tasks that were remembered."""
        return {"frozen": dict(zip(self.names, self.copies))}


def _variables(generated):
    return [*generated.unconditional_variables, *generated.conditional_variables]
