"""`HyperDense`: `keras.layers.Dense` on generated weights."""

import math

import keras
from keras import ops

from keras_hypernet.layers import named_weights
from keras_hypernet.layers.hyper_layer import shapes_of
from keras_hypernet.layers.hyper_twin import HyperTwin
from keras_hypernet.ops import contractions, low_rank, rows
from keras_hypernet.ops.dense import dense, shared_dense
from keras_hypernet.utils import checks
from keras_hypernet.weights import forms


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperDense(HyperTwin):
    """A dense layer whose kernel and bias are generated, one set per row.

    `y[b] = activation(x[b] @ kernel[g] + bias[g])` with `g = b // (batch // rows)`. All inner
    positions of `x (batch, ..., inputs)` use their row's weights.

    `contraction` is the order of the product for factored weights. `"materialize"` builds the
    kernel of every row, as regularizers need; `"project"` and `"outer"` never do. `"auto"` chooses
    the cheapest from static shapes and the backend. All give the same numbers up to rounding.

    Example:

    >>> x, weights = np.ones((4, 3), "float32"), np.ones((2, 3 * 5 + 5), "float32")
    >>> y = kh.HyperDense(5)(x, weights)  # rows 0, 1 use the first weights, 2, 3 the second
    >>> keras.ops.shape(y)
    (4, 5)
    """

    twin = keras.layers.Dense
    tensors = ("kernel", "bias")

    def __init__(self, units, activation=None, use_bias=True, *, contraction="auto", **kwargs):
        units = checks.positive_int("units", units)
        activation = checks.activation("activation", activation)
        contraction = contractions.check(contraction)
        super().__init__(units, activation=activation, use_bias=use_bias, **kwargs)
        self.units = units
        self.activation = activation
        self.use_bias = self.twin_layer().use_bias
        self.contraction = contraction
        self.inputs_size = None

    @property
    def regularized(self):
        twin = self.twin_layer()
        return not (twin.kernel_regularizer is None and twin.bias_regularizer is None)

    def weight_shapes(self, x_shape):
        checks.known_last_axis("x", x_shape)
        bias = {"bias": (self.units,)} if self.use_bias else {}
        return {"kernel": (x_shape[-1], self.units), **bias}

    def updates(self, name, shape, rank):
        if name == "kernel":
            return low_rank.last_axis(shape, rank)
        return super().updates(name, shape, rank)

    def check_shapes(self, x_shape, weights_shape):
        if len(x_shape) < 2:
            raise ValueError(
                f"`x` must have two or more axes, (batch, ..., inputs). Received: shape {x_shape}"
            )
        checks.last_axis("x", x_shape, self.inputs_size)
        if x_shape[-1] is None and not self.built:
            checks.known_last_axis("x", x_shape)
        super().check_shapes(x_shape, weights_shape)
        named = named_weights.is_named(weights_shape, self.tensors)
        kernel = weights_shape["kernel"] if named else weights_shape
        if self.regularized and self.contraction not in ("auto", "materialize"):
            raise ValueError(
                "`contraction` must be 'auto' or 'materialize' with regularizers, which need the "
                f"weights of every row. Received: contraction={self.contraction!r}"
            )
        if not named_weights.is_update(kernel):
            contractions.check_form(self.contraction, forms.is_factored(kernel))

    def build(self, x_shape, weights_shape):
        super().build(x_shape, weights_shape)
        self.inputs_size = x_shape[-1]
        self._built_shapes = (x_shape, weights_shape)

    def call(self, x, weights):
        x = ops.cast(x, self.compute_dtype)
        if self.regularized or named_weights.is_named(weights, self.tensors):
            return super().call(x, weights)
        y = self.activation(self._product(x, weights, self.use_bias))
        return forms.cast(y, self.compute_dtype)

    def tensors_of(self, weights):
        if self.regularized or not named_weights.is_named(weights, self.tensors):
            return super().tensors_of(weights)
        # The kernel may stay factored.
        rest = {name: shape for name, shape in self._shapes.items() if name != "kernel"}
        others = named_weights.tensors_of(weights, rest, self.shared) if rest else {}
        return {"kernel": weights["kernel"], **others}

    def apply(self, x, tensors):
        kernel = tensors["kernel"]
        if named_weights.is_update(kernel):
            y = low_rank.low_rank(low_rank.matmul, x, kernel)
        elif isinstance(kernel, dict):
            y = self._product(x, kernel, use_bias=False)
        else:
            y = low_rank.matmul(x, kernel)
        if self.use_bias:
            y = rows.add(y, tensors["bias"], [len(y.shape) - 1])
        return self.activation(y)

    def _product(self, x, weights, use_bias):
        """Data times flat or factored weights."""
        sizes = (self.inputs_size, self.units, use_bias)
        if self.shared or forms.row_count(shapes_of(weights)) == 1:
            return shared_dense(x, weights, *sizes)
        order = self.chosen_contraction(tuple(x.shape), shapes_of(weights))
        return dense(x, weights, *sizes, contraction=order)

    def contracts(self, shapes, features):
        if "kernel" not in shapes:
            return False
        return contractions.choose(*shapes["kernel"], features) != "materialize"

    def chosen_contraction(self, x_shape=None, weights_shape=None):
        """The order in which given (or the built) shapes are contracted."""
        if x_shape is None:
            x_shape, weights_shape = self._built_shapes
        if named_weights.is_named(weights_shape, self.tensors):
            weights_shape = weights_shape["kernel"]
        if named_weights.is_update(weights_shape):
            return "low rank"
        if self.regularized or not forms.is_factored(weights_shape):
            return "materialize"
        if self.contraction != "auto":
            return self.contraction
        features = weights_shape["basis"][0]
        positions = self._positions(x_shape, weights_shape)
        return contractions.choose(self.inputs_size, self.units, features, positions)

    def _positions(self, x_shape, weights_shape):
        """Data positions per row of weights: static, or as built (TensorFlow hides sizes)."""
        built_x, built_weights = self._built_shapes
        if len(built_x) == len(x_shape):
            x_shape = [now if now is not None else then for now, then in zip(x_shape, built_x)]
        counts = [weights_shape, built_weights]
        known = [r for s in counts for r in named_weights.row_counts(s, self.tensors) if r]
        rows = known[0] if known else None
        if None in x_shape[1:-1] or (x_shape[0] is None and rows is not None):
            return None
        per_row = max(1, x_shape[0] // rows) if x_shape[0] and rows else 1
        return per_row * math.prod(x_shape[1:-1])

    def contractions_of(self, weights):
        return [(self.name, self.chosen_contraction(), weights)]

    def get_config(self):
        return {**super().get_config(), "contraction": self.contraction}
