"""The rule of `EinsumDense`: `y[b] = activation(einsum(equation, x[b], kernel[g]) + bias[g])`."""

from functools import partial

import keras
from keras import ops

from keras_hypernet.layers import named_weights
from keras_hypernet.layers.rules.rule import Rule, register_rule
from keras_hypernet.ops import rows
from keras_hypernet.ops.einsum import Equation, einsum
from keras_hypernet.ops.low_rank import low_rank
from keras_hypernet.utils import keras_internals


class EinsumRule(Rule):
    """Data times a kernel by an equation, and a bias on some axes."""

    updated_by_default = True

    def adapted_kernels(self, layer):
        return {"kernel": keras_internals.kernel_shape(layer)}

    def update_shapes(self, layer, name, shape, rank):
        if name != "kernel":
            return super().update_shapes(layer, name, shape, rank)
        return Equation(layer.equation).update_shapes(shape, rank)

    def update_equation(self, layer, name, shape):
        return Equation(layer.equation).of_low_rank()[2]

    def output_spec(self, layer, x, training=None):
        # Not Keras' own, which gives two or more elided axes in reverse and others as None.
        shape = Equation(layer.equation, len(x.shape)).output_shape(x.shape, layer.kernel.shape)
        return keras.KerasTensor(shape, dtype=layer.compute_dtype)

    def apply(self, layer, x, tensors):
        equation = Equation(layer.equation, len(x.shape))
        x, equation = _without_lost_axes(ops.cast(x, layer.compute_dtype), equation)
        kernel = tensors["kernel"]
        if named_weights.is_update(kernel):
            down, up = map(_product, equation.of_low_rank()[:2])
            y = low_rank(x, kernel, whole=_product(str(equation)), down=down, up=up)
        else:
            y = einsum(equation, x, kernel)
        if "bias" in tensors:
            bias, rank = tensors["bias"], len(y.shape)
            y = rows.add(y, bias, range(rank - len(bias.shape) + 1, rank))
        return layer.activation(y)


def _product(equation):
    """A product by an equation: a function of data and a kernel `(rows, *shape)`."""
    return partial(einsum, Equation(equation))


def _without_lost_axes(x, equation):
    """Sums the axes of the data that are neither in the kernel nor in the output."""
    lost = [c for c in equation.x if c not in equation.kernel + equation.y]
    if not lost:
        return x, equation
    left = "".join(c for c in equation.x if c not in lost)
    x = ops.sum(x, axis=[equation.x.index(c) for c in lost])
    return x, Equation(f"{left},{equation.kernel}->{equation.y}")


register_rule(keras.layers.EinsumDense, EinsumRule)
