"""`HyperPReLU`: `keras.layers.PReLU` on generated weights."""

import keras
from keras import ops

from keras_hypernet.layers.hyper_twin import HyperTwin
from keras_hypernet.ops import rows


@keras.saving.register_keras_serializable(package="keras_hypernet")
class HyperPReLU(HyperTwin):
    """A rectifier whose slopes below zero are generated, one set per row.

    `y[b] = max(x[b], 0) + alpha[g] * min(x[b], 0)` with `g = b // (batch // rows)`.

    Example:

    >>> x, weights = np.ones((4, 7, 3), "float32"), np.ones((2, 3), "float32")
    >>> y = kh.HyperPReLU(shared_axes=[1])(x, weights)
    >>> keras.ops.shape(y)
    (4, 7, 3)
    """

    twin = keras.layers.PReLU
    tensors = ("alpha",)

    def weight_shapes(self, x_shape):
        shape = list(x_shape[1:])
        for axis in self.twin_layer().shared_axes or []:
            shape[axis - 1] = 1
        if None in shape:
            raise ValueError(
                "The axes of `x` must be known, but those in `shared_axes`. "
                f"Received: shape {tuple(x_shape)}, shared_axes={self.twin_layer().shared_axes}"
            )
        return {"alpha": tuple(shape)}

    def build(self, x_shape, weights_shape):
        super().build(x_shape, weights_shape)
        sizes = enumerate(self._shapes["alpha"], start=1)
        axes = {axis: size for axis, size in sizes if size != 1}
        self.input_spec = keras.InputSpec(ndim=len(x_shape), axes=axes)

    def apply(self, x, tensors):
        alpha = tensors["alpha"]
        return rows.apply(_prelu, x, alpha, range(1, len(x.shape)))


def _prelu(x, alpha):
    return ops.relu(x) - alpha * ops.relu(-x)
