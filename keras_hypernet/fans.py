"""Names, roles and fans of a target's tensors, from their shapes and layers."""

import dataclasses
import math

ROLES = ("kernel", "bias", "scale", "offset", "embedding", "other")

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
    return {**describe(layer, variable.name, tuple(variable.shape)), "name": variable.path}


def describe(layer, name, shape):
    """A tensor of a spec, from a layer's name for it."""
    role = role_of_name(name)
    fan_in = fan_out = None
    if role == "kernel":
        fan_in, fan_out = _in_layer(layer, name, shape)
    return {"name": name, "shape": shape, "role": role, "fan_in": fan_in, "fan_out": fan_out}


def _in_layer(layer, name, shape):
    """Fans of a kernel, by the layout that its layer gives it."""
    if hasattr(layer, "equation"):
        inputs, kernel, output = layer.equation.replace("->", ",").replace(" ", "").split(",")
        sizes = dict(zip(kernel, shape))
        fan_in = math.prod(n for axis, n in sizes.items() if axis in inputs and axis not in output)
        fan_out = math.prod(n for axis, n in sizes.items() if axis not in inputs)
        return fan_in, fan_out
    depthwise = name.startswith("depthwise") or (
        name == "kernel" and hasattr(layer, "depth_multiplier")
    )
    if depthwise:  # (*window, channels, multiplier): a channel sees its own window only
        window = math.prod(shape[:-2])
        return window, window * shape[-1]
    if "Transpose" in type(layer).__name__:  # (*window, out, in)
        return of_shape((*shape[:-2], shape[-1], shape[-2]))
    return of_shape(shape)


# Axes of the inputs and of the outputs of a kernel; the others are its window.
LAYOUTS = {"keras": (-2, -1), "torch": (1, 0)}


def of_shape(shape, layout="keras"):
    """Fans of `(*window, in, out)`, or of `(out, in, *window)`."""
    if len(shape) < 2:
        return (math.prod(shape),) * 2
    inputs, outputs = (shape[axis] for axis in LAYOUTS[layout])
    window = math.prod(shape) // (inputs * outputs)
    return window * inputs, window * outputs


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
