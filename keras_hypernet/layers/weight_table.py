"""`WeightTable`: generated weights that were stored, a row for each condition."""

import keras

from keras_hypernet.conditioning.ids import are_known, check_ids, wide
from keras_hypernet.utils import backend, checks
from keras_hypernet.utils.naming import give_unique_path


@keras.saving.register_keras_serializable(package="keras_hypernet")
class WeightTable(keras.layers.Layer):
    """Looks up the weights of conditions: `weights[b] = table[row[b]]`.

    A row that there is not is an error where its value can be read, and where TensorFlow, PyTorch
    or an exported model look it up. Where XLA does, its weights are NaN: never those of another
    condition.

    Args:
        num_conditions: Rows of the table.
        shape: Of what is stored for a condition.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        row: `(rows,)`, integers.

    Returns:
        `(rows, *shape)`.

    Raises:
        TypeError, ValueError: on rows of another dtype or rank, and on those that there are not.
    """

    def __init__(self, num_conditions, shape, **kwargs):
        num_conditions = checks.positive_int("num_conditions", num_conditions)
        super().__init__(**kwargs)
        give_unique_path(self)
        self.num_conditions = num_conditions
        self.shape = tuple(shape)

    def __call__(self, row, *args, **kwargs):
        check_ids(row, self.num_conditions, argument="row", hint="")
        return super().__call__(row, *args, **kwargs)

    def build(self, row_shape):
        shape = (self.num_conditions, *self.shape)
        self.table = self.add_weight(shape, initializer="zeros", name="table")

    def call(self, row):
        row = wide(row)
        return backend.take_rows(self.table, row, are_known(row, self.num_conditions))

    def compute_output_shape(self, row_shape):
        return (*row_shape, *self.shape)

    def get_config(self):
        own = {"num_conditions": self.num_conditions, "shape": list(self.shape)}
        return {**super().get_config(), **own}
