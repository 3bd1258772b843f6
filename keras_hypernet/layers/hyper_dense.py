"""`HyperDense`: `keras.layers.Dense` on generated weights."""

import math

import keras
from keras import ops

from keras_hypernet import checks
from keras_hypernet import weights as forms
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.ops import contraction as contractions
from keras_hypernet.ops.dense import dense, shared_dense


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperDense(HyperLayer):
    """A dense layer whose kernel and bias are generated, one set per row.

    `y[b] = activation(x[b] @ kernel[g] + bias[g])` with `g = b // (batch // rows)`.

    Args:
        units: Size of the output.
        activation: Name of a Keras activation, a callable, or `None`.
        use_bias: Whether the weights end in a bias.
        contraction: Order of the product for factored weights. `"materialize"` builds the kernel
            of every row; `"project"` and `"outer"` never do. `"auto"` chooses the cheapest from
            static shapes and the backend. All give the same numbers up to rounding.
        shared: Whether the weights have a single row for the whole batch.
        **kwargs: `name`, `dtype` and the other arguments of a Keras layer.

    Call arguments:
        x: `(batch, ..., inputs)`. All inner positions use their row's weights.
        weights: Kernel `(inputs, units)`, row-major, then bias `(units,)`: flat
            `(rows, inputs * units + units)`, floating, or factored. `rows` divides `batch`.

    Returns:
        `(batch, ..., units)`.

    Raises:
        ValueError: if the width of the weights is not that of the kernel and bias, if rows do not
            divide the batch, or if flat weights meet a contraction that needs factored ones. Where
            shapes are not static, the backend raises its own error.
        TypeError: if the weights are not floating tensors.

    Example:

    >>> x, weights = np.ones((4, 3), "float32"), np.ones((2, 3 * 5 + 5), "float32")
    >>> y = kh.HyperDense(5)(x, weights)  # rows 0, 1 use the first weights, 2, 3 the second
    >>> keras.ops.shape(y)
    (4, 5)

    Reference: Ha et al., 2016, HyperNetworks (https://arxiv.org/abs/1609.09106).
    """

    def __init__(
        self,
        units,
        activation=None,
        use_bias=True,
        contraction="auto",
        shared=False,
        **kwargs,
    ):
        units = checks.positive_int("units", units)
        activation = checks.activation("activation", activation)
        contraction = contractions.check(contraction)
        super().__init__(shared=shared, **kwargs)
        self.units = units
        self.activation = activation
        self.use_bias = bool(use_bias)
        self.contraction = contraction
        self.inputs_size = None

    def check_shapes(self, x_shape, weights_shape):
        if len(x_shape) < 2:
            raise ValueError(
                f"`x` must have two or more axes, (batch, ..., inputs). Received: shape {x_shape}"
            )
        checks.last_axis("x", x_shape, self.inputs_size)
        forms.check_shapes(weights_shape, x_shape[-1] and self._total(x_shape[-1]))
        contractions.check_form(self.contraction, forms.is_factored(weights_shape))
        super().check_shapes(x_shape, weights_shape)

    def build(self, x_shape, weights_shape):
        checks.known_last_axis("x", x_shape)
        self.check_shapes(x_shape, weights_shape)
        self.inputs_size = x_shape[-1]
        self._built_shapes = (x_shape, weights_shape)

    def call(self, x, weights):
        x = ops.cast(x, self.compute_dtype)
        sizes = (self.inputs_size, self.units, self.use_bias)
        if self.has_one_row(weights):
            y = shared_dense(x, weights, *sizes)
        else:
            order = self.chosen_contraction(tuple(x.shape), forms.shapes_of(weights))
            y = dense(x, weights, *sizes, contraction=order)
        return self.activation(y)

    def chosen_contraction(self, x_shape=None, weights_shape=None):
        """The order in which given (or the built) shapes are contracted."""
        if x_shape is None:
            x_shape, weights_shape = self._built_shapes
        if not forms.is_factored(weights_shape):
            return "materialize"
        if self.contraction != "auto":
            return self.contraction
        features = weights_shape["basis"][0]
        positions = self._positions(x_shape, weights_shape)
        return contractions.choose(self.inputs_size, self.units, features, positions)

    def _total(self, inputs):
        return (inputs + self.use_bias) * self.units

    def _positions(self, x_shape, weights_shape):
        """Data positions per row of weights: static, or as built (TensorFlow hides sizes)."""
        built_x, built_weights = self._built_shapes
        if len(built_x) == len(x_shape):
            x_shape = [now if now is not None else then for now, then in zip(x_shape, built_x)]
        rows = forms.row_count(weights_shape) or forms.row_count(built_weights)
        if None in x_shape[1:-1] or (x_shape[0] is None and rows is not None):
            return None
        per_row = max(1, x_shape[0] // rows) if x_shape[0] and rows else 1
        return per_row * math.prod(x_shape[1:-1])

    def compute_output_shape(self, x_shape, weights_shape):
        return (*x_shape[:-1], self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "contraction": self.contraction,
        }
