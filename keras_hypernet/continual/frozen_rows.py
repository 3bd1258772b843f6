"""`FrozenRows`: a constraint that lets only some rows of a variable be trained."""

import keras
import numpy as np
from keras import ops

from keras_hypernet.utils.copying import value_of


class FrozenRows(keras.constraints.Constraint):
    """Sets the rows of a variable that are not trained back to what they were.

    Zero gradients would not freeze them: momentum and weight decay move rows without gradient.

    Args:
        variable: The variable; its rows stay as they are now.
        trained: Bools, one per row.
        inner: A constraint for the other rows, or `None`.
    """

    def __init__(self, variable, trained, inner=None):
        self.values = value_of(variable)
        self.trained = np.reshape(trained, (-1, *[1] * (self.values.ndim - 1)))
        self.inner = inner

    def __call__(self, w):
        new = ops.convert_to_tensor(w if self.inner is None else self.inner(w))
        return ops.where(self.trained, new, ops.convert_to_tensor(self.values, w.dtype))
