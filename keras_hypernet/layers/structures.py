"""Structures of tensors and of shapes, as layers take and return them."""

import keras
from keras import tree

from keras_hypernet.weights import forms


def shape_of(tensor):
    return tuple(tensor.shape)


def batch_of(shapes):
    """The size of the first axis of data, given by shapes; `None` where it is not known."""
    shapes = list(shapes.values()) if isinstance(shapes, dict) else shapes
    if not shapes:
        return None
    return batch_of(shapes[0]) if isinstance(shapes[0], (tuple, list, dict)) else shapes[0]


def symbols_of_shapes(*shapes, **named):
    """Positional and named call arguments with KerasTensors in place of shapes."""

    def symbol(shape):
        if keras.utils.is_keras_tensor(shape):
            return shape
        if not isinstance(shape, (tuple, list)) or not all(map(_is_size, shape)):
            raise TypeError(
                "Shapes, such as `x_shape`, must be tuples of integers or None, in the structure "
                f"of the call's arguments. Received: {shape!r}"
            )
        return keras.KerasTensor(shape)

    named = {name.removesuffix("_shape"): shape for name, shape in named.items()}
    args = tuple(tree.map_shape_structure(symbol, shape) for shape in shapes)
    return args, {name: tree.map_shape_structure(symbol, x) for name, x in named.items()}


def _is_size(size):
    return size is None or hasattr(size, "__index__")


def symbols(nest):
    """KerasTensors in place of tensors."""

    def symbol(x):
        if not (hasattr(x, "dtype") and hasattr(x, "shape")):
            return x
        return keras.KerasTensor(x.shape, keras.backend.standardize_dtype(x.dtype))

    return tree.map_structure(symbol, nest)


def cast_floats(nest, dtype):
    def cast(y):
        floating = keras.backend.is_float_dtype(keras.backend.standardize_dtype(y.dtype))
        return forms.cast(y, dtype) if floating else y

    return each(cast, nest)


def each(function, nest):
    """A function of each tensor of a structure, most often of one: walking takes time.

    A `None` in the structure, of an input that is left out, stays.
    """
    if hasattr(nest, "dtype"):
        return function(nest)
    return tree.map_structure(lambda x: None if x is None else function(x), nest)
