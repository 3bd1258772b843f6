"""`HyperEinsumDense`: `keras.layers.EinsumDense` on generated weights."""

import keras
from keras import ops

from keras_hypernet.layers import named_weights
from keras_hypernet.layers.hyper_twin import HyperTwin
from keras_hypernet.ops import rows
from keras_hypernet.ops.einsum import Equation, einsum


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperEinsumDense(HyperTwin):
    """A dense layer by an einsum equation whose kernel and bias are generated, one set per row.

    `y[b] = activation(einsum(equation, x[b], kernel[g]) + bias[g])` with
    `g = b // (batch // rows)`. The first axis of the equation's data and output is the batch.

    Example:

    >>> x, weights = np.ones((4, 7, 3), "float32"), np.ones((2, 3 * 5 + 5), "float32")
    >>> y = kh.HyperEinsumDense("abc,cd->abd", (None, 5), bias_axes="d")(x, weights)
    >>> keras.ops.shape(y)
    (4, 7, 5)
    """

    twin = keras.layers.EinsumDense
    tensors = ("kernel", "bias")

    @property
    def tensor_names(self):
        return ["kernel"] if self.twin_layer().bias_axes is None else ["kernel", "bias"]

    def equation_of(self, rank=None):
        """The equation on data of a rank."""
        return Equation(self.twin_layer().equation, rank)

    def weight_shapes(self, x_shape):
        twin = self.twin_layer()
        equation = self.equation_of(len(x_shape))
        found = equation.weight_shapes(x_shape, twin.partial_output_shape, twin.bias_axes)
        shapes = dict(zip(self.tensor_names, found, strict=True))
        for name, shape in shapes.items():
            if None in shape:
                raise ValueError(
                    f"The axes of the {name} must be known, from `x` or from `output_shape`. "
                    f"Received: shape {tuple(x_shape)} of x, output_shape="
                    f"{twin.partial_output_shape}, which give {shape}"
                )
        return shapes

    def compute_output_shape(self, x_shape, weights_shape=None):
        # Not the twin's, which gives two or more elided axes in reverse and others as None.
        kernel_shape = self.weight_shapes(x_shape)["kernel"]
        return self.equation_of(len(x_shape)).output_shape(x_shape, kernel_shape)

    def updates(self, name, shape, rank):
        if name != "kernel":
            return super().updates(name, shape, rank)
        return self.equation_of().update_shapes(shape, rank)

    def update_equation(self, name, shape):
        return self.equation_of().of_low_rank()[2]

    def build(self, x_shape, weights_shape):
        super().build(x_shape, weights_shape)
        equation = self.equation_of(len(x_shape))
        axes = {i: x_shape[i] for i, c in enumerate(equation.x) if c in equation.kernel}
        self.input_spec = keras.InputSpec(ndim=len(x_shape), axes=axes)

    def apply(self, x, tensors):
        x, equation = _without_lost_axes(x, self.equation_of(len(x.shape)))
        kernel = tensors["kernel"]
        if named_weights.is_update(kernel):
            narrow, up, _ = equation.of_low_rank()
            y = einsum(Equation(up), einsum(Equation(narrow), x, kernel["down"]), kernel["up"])
            y = y + ops.einsum(str(equation), x, kernel["base"])
        else:
            y = einsum(equation, x, kernel)
        if "bias" in tensors:
            bias, rank = tensors["bias"], len(y.shape)
            y = rows.add(y, bias, range(rank - len(bias.shape) + 1, rank))
        return self.twin_layer().activation(y)


def _without_lost_axes(x, equation):
    """Sums the axes of the data that are neither in the kernel nor in the output."""
    lost = [c for c in equation.x if c not in equation.kernel + equation.y]
    if not lost:
        return x, equation
    left = "".join(c for c in equation.x if c not in lost)
    x = ops.sum(x, axis=[equation.x.index(c) for c in lost])
    return x, Equation(f"{left},{equation.kernel}->{equation.y}")
