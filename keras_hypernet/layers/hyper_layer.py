"""What all hyper layers do alike: weights as a call input, checked before a tensor is made."""

import keras

from keras_hypernet import checks
from keras_hypernet import weights as forms


class HyperLayer(keras.layers.Layer):
    """A layer without weights of its own, called as `layer(x, weights)`.

    Weights have `rows` rows, data has `batch` rows, `rows` divides `batch`, and data row `b` uses
    weight row `b // (batch // rows)`. A subclass says in `check_shapes` what shapes it takes.

    Args:
        shared: Whether the weights have a single row for the whole batch. Then the ordinary Keras
            operation runs. A row count that is 1 when the layer is called has the same effect.
    """

    def __init__(self, shared=False, **kwargs):
        super().__init__(**kwargs)
        self.shared = bool(shared)
        self.supports_masking = True

    def __call__(self, x, weights=None, *args, **kwargs):
        if weights is None:
            raise TypeError(
                "`weights` must be given: a hyper layer is called as `layer(x, weights)`. "
                f"Received: x={type(x).__name__}, weights=None"
            )
        checks.tensor("x", x)
        for tensor in self.weight_sets(weights):
            forms.check_weights(tensor)
        self.check_shapes(tuple(x.shape), self.shapes_of(weights))
        return super().__call__(x, weights, *args, **kwargs)

    def weight_sets(self, weights):
        """The generated weights among the call input `weights`, as a list."""
        return [weights]

    def shapes_of(self, weights):
        return forms.shapes_of(weights)

    def check_shapes(self, x_shape, weights_shape):
        """Raises `ValueError` on shapes that this layer does not take."""
        rows, batch = forms.row_count(weights_shape), x_shape[0]
        if self.shared and rows not in (None, 1):
            raise ValueError(
                f"`weights` must have a single row when `shared=True`. Received: {rows} rows"
            )
        if None not in (rows, batch) and (batch % rows if rows else batch):
            raise ValueError(
                "The rows of `weights` must divide the rows of `x` (data row b uses weight row "
                f"b // (batch // rows)). Received: {rows} rows of weights, {batch} rows of data"
            )

    def has_one_row(self, weights):
        """Whether one set of weights is known to serve the whole batch."""
        return self.shared or forms.row_count(forms.shapes_of(weights)) == 1

    def targets(self, weights):
        """`[(name of the target layer, contraction, its weights)]`, to describe a graph."""
        return [(self.name, self.chosen_contraction(), weights)]

    def get_config(self):
        return {**super().get_config(), "shared": self.shared}
