"""The only place that touches private parts of Keras."""

import tempfile

import keras
import numpy as np
from keras import ops
from keras.src.initializers import random_initializers
from keras.src.saving import saving_lib

from keras_hypernet.utils.backend import is_concrete


def assigns_in_graph(tensor):
    """Whether a variable that is assigned to now, from a tensor, has the value afterwards.

    The values of the tensor cannot be read now.
    """
    if isinstance(tensor, keras.KerasTensor) or is_concrete(tensor):
        return False
    backend = keras.backend.backend()
    if backend == "jax":
        from keras.src.backend.common.stateless_scope import in_stateless_scope

        return in_stateless_scope()
    return backend == "tensorflow"


def is_readable(variable):
    """Whether the value of a variable can be read now: not while a graph is traced or runs."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.executing_eagerly()
    if backend == "jax":
        return variable._value is not None and is_concrete(variable.value)
    return is_concrete(variable.value)


def parameters(layer):
    """`[(owner, variable)]` of what a layer and its sublayers made as trainable, each once.

    The order is that of `layer.weights`. Freezing a weight does not make it state, though
    `trainable_variables` leaves it out.
    """
    owners = {}
    for owner in layers_in(layer):
        for variable in owner._trainable_variables:
            owners.setdefault(id(variable), owner)
    return [(owners[id(v)], v) for v in layer.weights if id(v) in owners]


def layer_in_training():
    """The outermost layer whose call runs, if it is trained; else `None`."""
    from keras.src.backend.common import global_state

    context = global_state.get_global_attribute("current_call_ctx")
    if context is None:
        return None
    layer = context.entry_layer
    trained = getattr(layer, "compiled", False) or context.get_value("training")
    return layer if trained else None


def own_variables(layer):
    """The weights that a layer itself made, without those of its sublayers."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def trained_variables(layer):
    """The weights that a layer itself made as trainable, frozen since then or not."""
    return list(layer._trainable_variables)


def set_parent_path(layer, path):
    """Says what stands before a layer's name in the paths of its variables, not yet made."""
    layer._parent_path = path


def sublayers(layer):
    """The layers directly inside a layer."""
    return list(layer._flatten_layers(include_self=False, recursive=False))


def layers_in(layer):
    """A layer and all layers inside it."""
    return list(layer._flatten_layers())


def constant(array):
    """A tensor of an array, made once: outside of the graph that is traced at the moment."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        with jax.ensure_compile_time_eval():
            return ops.convert_to_tensor(array)
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.init_scope():
            return tf.constant(array)
    from keras.src.backend.torch import core

    # Not on the device without values, on which Keras finds out shapes.
    device = core.get_device()
    with keras.device(core.DEFAULT_DEVICE if str(device) == "meta" else device):
        return ops.convert_to_tensor(array)


def fans_of(initializer, shape):
    """The fans that an initializer of scaled variance reads from a shape."""
    return random_initializers.compute_fans(shape, initializer.input_axes, initializer.output_axes)


def first_call(layer):
    """`(args, kwargs)` of the first call of a layer on KerasTensors; `None` if there was none."""
    nodes = layer._inbound_nodes
    return (nodes[0].arguments.args, nodes[0].arguments.kwargs) if nodes else None


def producer(tensor):
    """The layer that made a KerasTensor."""
    return tensor._keras_history.operation


def without_autocast():
    """A scope in which variables have the values that they store, not a copy in half precision."""
    from keras.src.backend.common.variables import AutocastScope

    return AutocastScope(None)


def context_arguments(layer):
    """Names of the arguments that a call hands on to all layers inside, such as `training`."""
    return set(layer._call_context_args)


def float_policy(policy):
    """A dtype policy without the quantization that it has, if it has any."""
    quantized = getattr(policy, "quantization_mode", None) is not None
    return keras.dtype_policies.get(policy._source_name) if quantized else policy


def functional(model):
    """The functional model that a model is or, where it is sequential, has inside; else `None`."""
    inner = model if hasattr(model, "_nodes_by_depth") else getattr(model, "_functional", None)
    return inner if isinstance(model, keras.Model) else None


def nodes(model):
    """The calls in a functional model, each after those it depends on.

    `[(operation, args, kwargs, [output KerasTensors])]`.
    """
    by_depth = functional(model)._nodes_by_depth
    return [
        (node.operation, node.arguments.args, node.arguments.kwargs, node.outputs)
        for depth in sorted(by_depth, reverse=True)
        for node in by_depth[depth]
        if not node.is_input
    ]


def einsum_shapes(equation, bias_axes, x_shape, output_shape):
    """Shapes of the kernel, of the bias (or `None`) and of the output of an `EinsumDense`."""
    from keras.src.layers.core.einsum_dense import _analyze_einsum_string

    found = _analyze_einsum_string(equation, bias_axes, x_shape, output_shape)
    kernel, bias, output = found[:3]
    return tuple(kernel), None if bias is None else tuple(bias), tuple(output)


def has_build(layer):
    """Whether a layer has a `build` of its own, not that of all layers, which builds nothing."""
    return not getattr(type(layer).build, "_is_default", False)


def build_attention(layer, rank):
    """Builds what a `MultiHeadAttention` does on projected data of a rank, and no projections."""
    layer._build_attention(rank)
    layer.built = True


def attention_mask(layer, query, value, **masks):
    """The mask that a `MultiHeadAttention` makes of masks (or `None`), data not yet projected."""
    return layer._compute_attention_mask(query, value, **masks)


def attend(layer, query, key, value, mask, training, return_scores, causal):
    """A `MultiHeadAttention` on projected data: `(output, scores)`."""
    extra = {"use_causal_mask": True} if causal else {}
    return layer._compute_attention(query, key, value, mask, training, return_scores, **extra)


def take_mask(tensor):
    """The Keras mask of a tensor (or `None`), which the tensor then has no longer."""
    from keras.src import backend

    mask = backend.get_keras_mask(tensor)
    backend.set_keras_mask(tensor, None)
    return mask


def set_mask(tensor, mask):
    """Gives a tensor a Keras mask."""
    from keras.src import backend

    backend.set_keras_mask(tensor, mask)


class _Arrays(dict):
    """What one object saves: arrays by key. A copy, for JAX frees what a variable held."""

    def __init__(self, left_out=()):
        super().__init__()
        self.left_out = left_out

    def __setitem__(self, key, value):
        if id(value) not in self.left_out:
            super().__setitem__(key, np.array(keras.ops.convert_to_numpy(value)))


class _Memory(saving_lib.NpzIOStore):
    """A file's arrays in memory: `{path of an object inside: {key: array}}`."""

    def __init__(self, contents, left_out=()):
        self.contents = contents
        self.left_out = left_out

    def make(self, path, metadata=None):
        self.contents[path] = _Arrays(self.left_out)
        return self.contents[path]

    def get(self, path):
        return self.contents.get(path, {})

    def has_path(self, path):
        return any(f"{saved}/".startswith(f"{path}/") for saved in self.contents)


def has_assets(layer):
    """Whether a layer, or one inside it, saves files beside its arrays."""
    return any(hasattr(inner, "save_assets") for inner in layers_in(layer))


def is_saved(layer):
    """Whether a file holds anything of a layer beside its config."""
    return bool(layer.weights or arrays_of(layer)) or has_assets(layer)


def arrays_of(layer, left_out=()):
    """The arrays that a `.keras` file holds of a layer: `{path of a part of it: {key: array}}`.

    Args:
        layer: The layer.
        left_out: Variables that are not wanted.
    """
    arrays = {}
    store = _Memory(arrays, {id(variable) for variable in left_out})
    saving_lib._save_state(layer, store, None, "", set())
    return {path: dict(entry) for path, entry in arrays.items() if entry}


def load_arrays(layer, arrays):
    """Gives a layer what `arrays_of` found, as loading a file does."""
    saving_lib._load_state(layer, _Memory(arrays), None, "", visited_saveables=set())


def save_assets(layer, folder):
    """Writes the files that a layer saves beside its arrays into a folder."""
    saving_lib._save_state(layer, None, saving_lib.DiskIOStore(folder, mode="r"), "", set())


def load_assets(layer, folder):
    """Gives a layer what `save_assets` has written."""
    store = saving_lib.DiskIOStore(folder, mode="r")
    saving_lib._load_state(layer, None, store, "", visited_saveables=set())


def copy_state(layer, copy, fit=None):
    """Gives a layer all that a `.keras` file would hold of another one, as loading it does.

    `fit` as in `copying.copy_values`.
    """
    arrays = arrays_of(layer)
    if fit is not None:
        for path, fresh in arrays_of(copy).items():
            arrays[path] = {key: fit(arrays[path][key], fresh[key]) for key in fresh}
    load_arrays(copy, arrays)
    if has_assets(layer):
        with tempfile.TemporaryDirectory() as folder:
            save_assets(layer, folder)
            load_assets(copy, folder)
