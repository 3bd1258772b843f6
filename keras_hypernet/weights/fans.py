"""Names, roles and fans of a target's tensors, from their shapes and layers."""

import dataclasses
import math

import keras
import numpy as np
from keras import ops

from keras_hypernet.utils import checks

# Roles of tensors, and the initializers that Keras gives them where a layer says nothing else.
INITIALIZERS = {
    "kernel": "glorot_uniform",
    "bias": "zeros",
    "scale": "ones",
    "offset": "zeros",
    "embedding": "uniform",
    "other": "zeros",
}
ROLES = tuple(INITIALIZERS)

_ROLE_OF_NAME = {
    "kernel": "kernel",
    "depthwise_kernel": "kernel",
    "pointwise_kernel": "kernel",
    "recurrent_kernel": "kernel",
    "bias": "bias",
    "gamma": "scale",
    "scale": "scale",
    "beta": "offset",
    "offset": "offset",
    "embeddings": "embedding",
    "embedding": "embedding",
}


def role_of_name(name):
    """Role of a tensor called `name`: its last part, without a number."""
    return _ROLE_OF_NAME.get(name.rpartition("/")[2].rstrip("_0123456789"), "other")


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


def describe_variable(layer, variable):
    """A tensor of a spec, from a variable and the layer that made it."""
    described = describe(layer, variable.name, tuple(variable.shape))
    if described["initializer"] is None:
        described["initializer"] = _like(ops.convert_to_numpy(variable))
    return {**described, "name": variable.path}


def describe(layer, name, shape):
    """A tensor of a spec, from a layer's name for it."""
    fields = {"name": name, "shape": shape, "role": role_of_name(name)}
    kernel = _in_layer(layer, name, shape) if fields["role"] == "kernel" else {}
    initializer = initializer_of(layer, name)
    fans = {"fan_in": None, "fan_out": None, "layout": "keras"}
    return {**fields, **fans, **kernel, "initializer": initializer}


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


def _like(values):
    """An initializer for a tensor whose layer keeps none: its numbers lie as the values do."""
    values = np.asarray(values, "float64")
    if values.size == 0 or not values.std():
        return keras.initializers.Constant(float(values.flat[0]) if values.size else 0.0)
    return keras.initializers.RandomNormal(float(values.mean()), float(values.std()))


# Variables whose initializer is an argument of another name.
_OTHER_ARGUMENT = {"kernel": "depthwise"}


def _in_layer(layer, name, shape):
    """Layout and fans of a kernel, as its layer uses it."""
    if hasattr(layer, "equation"):
        return _in_equation(layer.equation, shape)
    layout = "keras"
    if name.startswith("depthwise") or (name == "kernel" and hasattr(layer, "depth_multiplier")):
        layout = "depthwise"
    elif "Transpose" in type(layer).__name__:
        layout = "transposed"
    fan_in, fan_out = of_shape(shape, layout)
    return {"fan_in": fan_in, "fan_out": fan_out, "layout": layout}


def _in_equation(equation, shape):
    inputs, kernel, output = equation.replace("->", ",").replace(" ", "").split(",")
    sizes, rank = dict(zip(kernel, shape)), len(shape)
    axis = kernel.find(output[-1])  # the output's last axis has the units
    names = {0: "torch", rank - 2: "transposed", rank - 1: "keras"}
    return {
        "fan_in": math.prod(n for c, n in sizes.items() if c in inputs and c not in output),
        "fan_out": math.prod(n for c, n in sizes.items() if c not in inputs),
        "layout": names.get(axis, "other"),
    }


# Axis of a kernel's inputs and axes of its outputs; the others are its window.
LAYOUTS = {
    "keras": (-2, (-1,)),  # (*window, in, out)
    "torch": (1, (0,)),  # (out, in, *window)
    "transposed": (-1, (-2,)),  # (*window, out, in)
    "depthwise": (-2, (-2, -1)),  # (*window, channels, multiplier)
    "other": (None, ()),  # no axis has the outputs alone
}


def of_shape(shape, layout="keras"):
    """Fans of a kernel of a layout: without its outputs, and without its inputs."""
    size = math.prod(shape)
    input_axis, output_axes = LAYOUTS[layout]
    if len(shape) < 2:
        return size, size
    return size // math.prod(shape[axis] for axis in output_axes), size // shape[input_axis]


def order_of_keras(layout, rank):
    """The axes of a kernel in the order that Keras' initializers expect."""
    if layout == "torch" and rank > 1:
        return (*range(2, rank), 1, 0)
    return tuple(range(rank))


def share_in_layers(tensors):
    """The tensors of a spec, each with the fans of its layer's kernel."""
    of_layer = {}
    for tensor in tensors:
        if tensor.role == "kernel":
            of_layer.setdefault(tensor.layer, (tensor.fan_in, tensor.fan_out))
    for tensor in tensors:
        if tensor.fan_in is None and tensor.layer in of_layer:
            fan_in, fan_out = of_layer[tensor.layer]
            tensor = dataclasses.replace(tensor, fan_in=fan_in, fan_out=fan_out)
        yield tensor


def known_tensors(argument, received, names_):
    """Names among those of a target's tensors, or roles."""
    known = [*names_, *ROLES]
    unknown = [name for name in received if name not in known]
    if unknown:
        raise ValueError(
            f"`{argument}` must have names of the target's tensors, or roles: {known}. "
            f"Received: {unknown}.{checks.nearest(unknown[0], known)}"
        )
