"""Initializers of one variable whose parts differ."""

import keras
import numpy as np
from keras import ops

from keras_hypernet.weights.weight_tensor import order_of_keras


class Pieces(keras.initializers.Initializer):
    """Uniform or normal numbers with a mean and a variance for every entry of an axis.

    Args:
        means, variances: Arrays that broadcast to the variable's shape.
        distribution: `"uniform"` or `"normal"`.
        seed: Seed of the draw.
    """

    def __init__(self, means, variances, distribution="uniform", seed=None):
        self.means = np.asarray(means, "float32")
        self.variances = np.asarray(variances, "float32")
        draws = {
            "uniform": keras.initializers.RandomUniform(-(3**0.5), 3**0.5, seed=seed),
            "normal": keras.initializers.RandomNormal(stddev=1.0, seed=seed),
        }
        self.draw = draws[distribution]  # of variance 1

    def __call__(self, shape, dtype=None):
        scale = ops.convert_to_tensor(np.sqrt(self.variances))
        numbers = self.draw(shape, dtype="float32") * scale + ops.convert_to_tensor(self.means)
        return ops.cast(numbers, dtype or keras.config.floatx())


class Samples(keras.initializers.Initializer):
    """The tensors of a spec, each drawn by an initializer of its own, flat."""

    def __init__(self, spec, initializers):
        self.spec = spec
        self.initializers = initializers

    def __call__(self, shape, dtype=None):
        drawn = [
            ops.reshape(_drawn(tensor, initializer, dtype), (tensor.size,))
            for tensor, initializer in zip(self.spec, self.initializers)
        ]
        return ops.concatenate(drawn)


def _drawn(tensor, initializer, dtype):
    return in_order_of_tensor(tensor, initializer(in_order_of_keras(tensor), dtype=dtype))


def in_order_of_keras(tensor):
    """The shape of a tensor in Keras' layout, from which an initializer reads the fans."""
    return tuple(tensor.shape[axis] for axis in _order(tensor))


def in_order_of_tensor(tensor, drawn):
    """What was drawn in Keras' layout, in the tensor's."""
    transpose = np.transpose if isinstance(drawn, np.ndarray) else ops.transpose
    return transpose(drawn, np.argsort(_order(tensor)).tolist())


def _order(tensor):
    layout = tensor.layout if tensor.is_matrix else "keras"
    return order_of_keras(layout, len(tensor.shape))
