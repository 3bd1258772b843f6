"""What a plain model must have, for generated weights to be put into it."""

import re

import keras
import numpy as np
from keras import ops

from keras_hypernet.layers.changed_layer import ChangedLayer
from keras_hypernet.layers.layer_weights import LayerWeights
from keras_hypernet.utils import checks, keras_internals

# What Keras and KerasHub compile, with all that a layer's call does.
COMPILED = ("train_function", "test_function", "predict_function", "generate_function")


def variables_at(target, shapes):
    """The variables of a model at paths, each once and in its shape."""
    found = _by_path(target)
    counts = {name: len(found.get(name, [])) for name in shapes}
    missing = [name for name, count in counts.items() if count == 0]
    repeated = [name for name, count in counts.items() if count > 1]
    other = [
        f"{name} is {tuple(found[name][0].shape)}, here {tuple(shape)}"
        for name, shape in shapes.items()
        if counts[name] == 1 and not _fits(found[name][0], shape)
    ]
    parts = {"It lacks": missing, "More than once": repeated, "Other shapes": other}
    if missing or repeated or other:
        raise ValueError(
            "`target` must have a variable for each generated weight, at its path. "
            + " ".join(f"{what}: {checks.few(x)}." for what, x in parts.items() if x)
            + f" Received: target={target.name!r}"
        )
    return [found[name][0] for name in shapes]


def _by_path(target):
    found = {}
    for variable in target.variables:
        found.setdefault(variable.path, []).append(variable)
    return found


def _fits(variable, shape):
    # A quantized kernel may be packed into another shape.
    floating = keras.backend.is_float_dtype(variable.dtype)
    return not floating or tuple(variable.shape) == tuple(shape)


def check_mergeable(target, variables):
    """Raises where a merged weight would be rounded, or have an adapter added."""
    wanted = {id(variable) for variable in variables}
    adapted = [
        variable.path
        for layer in keras_internals.layers_in(target)
        if layer.quantization_mode or getattr(layer, "lora_enabled", False)
        for variable in keras_internals.own_variables(layer)
        if id(variable) in wanted
    ]
    if adapted:
        raise ValueError(
            "`target` must have weights that one condition can be merged into. Quantized or with "
            f"an adapter: {checks.few(adapted)}. Load the condition before it is quantized, "
            "or merge the adapter; several conditions are not merged. "
            f"Received: target={target.name!r}"
        )


def check_same(target, graph):
    """Raises where a model has other values than the target in what is not generated."""
    paths = _by_path(target)
    other = [
        path
        for path, variable in _not_generated(graph).items()
        for given in paths.get(path, [])
        if len(paths[path]) == 1 and given is not variable and not _equal(given, variable)
    ]
    if other:
        raise ValueError(
            "`target` must have the values that `model` has beside what is generated, such as the "
            f"kernels that updates are added to. Others: {checks.few(other)}. Make `model` with "
            "`copy=False` or freeze='all', or give `target` these values first. "
            f"Received: target={target.name!r}, model={graph.model.name!r}"
        )


def _not_generated(graph):
    """`{path in the target: variable}` of what a hypernetwork has beside its generator."""
    found, prefixes = {}, {""}
    for call in graph.calls_of((ChangedLayer, LayerWeights)):
        layer = call.operation
        if isinstance(layer, LayerWeights):
            own = {p.name: layer.ordinary[p.local] for p in layer.plans if p.mode is None}
        else:
            own = {p.name: c.variable for p, c in zip(layer.generated, layer.changed)}
        for path, variable in own.items():
            found[path] = variable
            prefixes.add(path.removesuffix(_without_number(variable.path)))
    for variable in graph.model.variables:
        for prefix in prefixes:
            found.setdefault(prefix + _without_number(variable.path), variable)
    return found


def _without_number(path):
    """A path without the number of this process that a copy has in front."""
    return re.sub(r"^own_\d+/", "", path)


def _equal(given, variable):
    """Whether variables are equal, where they can be compared."""
    floating = all(keras.backend.is_float_dtype(v.dtype) for v in (given, variable))
    if not floating or tuple(given.shape) != tuple(variable.shape):
        return True
    value = getattr(loaded_in(given), "before", {}).get(id(given), given)
    value = ops.convert_to_numpy(value)
    return np.array_equal(value, ops.convert_to_numpy(variable).astype(value.dtype), equal_nan=True)


def loaded_in(variable):
    """The `LoadedCondition` that a variable has something of, or `None`."""
    return getattr(variable, "loaded_condition", None)


def forget_compiled(target):
    """Lets a model, and those in it, compile their functions anew, with what layers do now."""
    for layer in keras_internals.layers_in(target):
        for name in COMPILED if isinstance(layer, keras.Model) else ():
            if getattr(layer, name, None) is not None:
                setattr(layer, name, None)
