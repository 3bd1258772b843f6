"""The tensors of Keras layers, as specs have them."""

import dataclasses
import math

import keras
import numpy as np
from keras import ops

from keras_hypernet.weights.weight_tensor import WeightTensor, fans_of, role_of_name


def tensor_of_variable(layer, variable):
    """The `WeightTensor` of a variable, from the layer that made it."""
    tensor = tensor_of_layer(layer, variable.name, tuple(variable.shape))
    initializer = tensor.initializer or _initializer_of_values(ops.convert_to_numpy(variable))
    return dataclasses.replace(tensor, name=variable.path, initializer=initializer)


def tensor_of_layer(layer, name, shape):
    """The `WeightTensor` that a layer calls `name`."""
    kernel = _kernel_of_layer(layer, name, shape) if role_of_name(name) == "kernel" else {}
    return WeightTensor(name, shape, initializer=initializer_of(layer, name), **kernel)


def names_of_shapes(shapes):
    """Names of plain shapes: two or more axes begin a layer, one axis is a bias of it."""
    names, layer, in_layer = [], -1, {}
    for shape in shapes:
        kind = {0: "scalar", 1: "bias"}.get(len(shape), "kernel")
        if kind == "kernel" or layer < 0:
            layer, in_layer = layer + 1, {}
        in_layer[kind] = in_layer.get(kind, -1) + 1
        suffix = f"_{in_layer[kind]}" if in_layer[kind] else ""
        names.append(f"layer_{layer}/{kind}{suffix}")
    return names


# Variables whose initializer is an argument of another name.
_OTHER_ARGUMENT = {"kernel": "depthwise"}


def initializer_of(layer, name):
    """The initializer that a layer keeps for a variable; `None` where it keeps none."""
    name = name.rpartition("/")[2].rstrip("_0123456789")
    for argument in (name, name.removesuffix("_kernel"), _OTHER_ARGUMENT.get(name, name)):
        found = getattr(layer, f"{argument}_initializer", None)
        if isinstance(found, keras.initializers.Initializer) and _is_serializable(type(found)):
            return found
    return None


def _is_serializable(initializer_class):
    """Whether a config of this class is read without `custom_objects`."""
    of_keras = initializer_class.__module__.startswith("keras.")
    return of_keras or keras.saving.get_registered_object(
        keras.saving.get_registered_name(initializer_class)
    )


def _initializer_of_values(values):
    """An initializer for a tensor whose layer keeps none: it draws numbers spread as the values."""
    values = np.asarray(values, "float64")
    if values.size == 0 or not values.std():
        return keras.initializers.Constant(float(values.flat[0]) if values.size else 0.0)
    return keras.initializers.RandomNormal(float(values.mean()), float(values.std()))


def _kernel_of_layer(layer, name, shape):
    """Layout and fans of a kernel, as its layer uses it."""
    if hasattr(layer, "equation"):
        return _kernel_of_equation(layer.equation, shape)
    layout = "keras"
    if name.startswith("depthwise") or (name == "kernel" and hasattr(layer, "depth_multiplier")):
        layout = "depthwise"
    elif "Transpose" in type(layer).__name__:
        layout = "transposed"
    fan_in, fan_out = fans_of(shape, layout)
    return {"fan_in": fan_in, "fan_out": fan_out, "layout": layout}


def _kernel_of_equation(equation, shape):
    inputs, kernel, output = equation.replace("->", ",").replace(" ", "").split(",")
    sizes, rank = dict(zip(kernel, shape)), len(shape)
    axis = kernel.find(output[-1])  # the output's last axis has the units
    layouts = {0: "torch", rank - 2: "transposed", rank - 1: "keras"}
    return {
        "fan_in": math.prod(n for c, n in sizes.items() if c in inputs and c not in output),
        "fan_out": math.prod(n for c, n in sizes.items() if c not in inputs),
        "layout": layouts.get(axis, "other"),
    }
