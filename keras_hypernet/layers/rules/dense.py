"""The rule of `Dense`: `y[b] = activation(x[b] @ kernel[g] + bias[g])`."""

import keras
from keras import ops

from keras_hypernet.layers import named_weights
from keras_hypernet.layers.rules.rule import Rule, register_rule
from keras_hypernet.ops import low_rank, rows
from keras_hypernet.ops.dense import dense, shared_dense
from keras_hypernet.weights import forms


class DenseRule(Rule):
    """Data times a kernel, flat, factored or of low rank, and a bias."""

    contracts = ("kernel",)
    takes_whole = True
    updated_by_default = True

    def adapted_kernels(self, layer):
        return {"kernel": (layer.input_spec.axes[-1], layer.units)}

    def update_shapes(self, layer, name, shape, rank):
        if name == "kernel":
            return low_rank.last_axis(shape, rank)
        return super().update_shapes(layer, name, shape, rank)

    def apply(self, layer, x, tensors, order=None):
        x, kernel = ops.cast(x, layer.compute_dtype), tensors["kernel"]
        if named_weights.is_update(kernel):
            product = low_rank.matmul
            y = low_rank.low_rank(x, kernel, whole=product, down=product, up=product)
        elif isinstance(kernel, dict):
            y = self._product(layer, x, kernel, False, order)
        else:
            y = low_rank.matmul(x, kernel)
        if "bias" in tensors:
            y = rows.add(y, tensors["bias"], [len(y.shape) - 1])
        return layer.activation(y)

    def apply_whole(self, layer, x, weights, order):
        """The same on kernel and bias in one: the bias is never cut off."""
        x = ops.cast(x, layer.compute_dtype)
        return layer.activation(self._product(layer, x, weights, layer.use_bias, order))

    def _product(self, layer, x, weights, use_bias, order):
        sizes = (*layer.kernel.shape, use_bias)
        if rows.is_shared(weights["features"] if forms.is_factored(weights) else weights):
            return shared_dense(x, weights, *sizes)
        return dense(x, weights, *sizes, contraction=order)


register_rule(keras.layers.Dense, DenseRule)
