"""The only place that touches a backend or a private part of Keras."""

import tempfile

import keras
import numpy as np
from keras import ops
from keras.src.initializers import random_initializers
from keras.src.saving import saving_lib


def is_concrete(tensor):
    """Whether the values of a tensor can be read now: not while a graph is built or traced."""
    if isinstance(tensor, keras.KerasTensor):
        return False
    if torch_compiles():
        return False
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return not isinstance(tensor, jax.core.Tracer)
    if backend == "tensorflow":
        import tensorflow as tf

        return not (tf.is_tensor(tensor) and tf.is_symbolic_tensor(tensor))
    if backend == "torch":
        import torch

        return not (torch.is_tensor(tensor) and tensor.device.type == "meta")
    return True


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


def keeps_variables_by_path():
    """Whether variables of one path hide each other from what trains them."""
    return keras.backend.backend() == "torch" and not torch_compiles()


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


def compiled_by_jax_for_cpu(tensor):
    """Whether what is done with a tensor is about to be compiled by JAX for a CPU."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    return isinstance(tensor, jax.core.Tracer) and jax.default_backend() == "cpu"


def split(tensor, sizes):
    """Cuts the last axis of a tensor into pieces of the given sizes.

    `keras.ops.split` reads the sizes back from a tensor on PyTorch, which neither exports nor
    compiles, and needs a static axis on TensorFlow.
    """
    if len(sizes) == 1:
        return [tensor]
    backend = keras.backend.backend()
    if not isinstance(tensor, keras.KerasTensor):
        if backend == "torch":
            import torch

            return torch.split(tensor, sizes, dim=-1)
        if backend == "tensorflow":
            import tensorflow as tf

            return tf.split(tensor, sizes, axis=-1)
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    return keras.ops.split(tensor, ends, axis=-1)


def reshape(tensor, shape):
    """`keras.ops.reshape` to a shape of sizes.

    On PyTorch that looks for KerasTensors among the sizes, for ten times as long as a reshape
    takes, and small models spend a good part of a step on it.
    """
    if keras.backend.backend() == "torch":
        import torch

        if torch.is_tensor(tensor):
            return torch.reshape(tensor, shape)
    return keras.ops.reshape(tensor, shape)


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


def pad(tensor, widths):
    """`keras.ops.pad` with zeros, `(left, right)` for each axis.

    That makes an operation anew for each call, which breaks the graph of `torch.compile`.
    """
    if keras.backend.backend() == "torch":
        import torch

        if torch.is_tensor(tensor):
            return torch.nn.functional.pad(tensor, [n for width in widths[::-1] for n in width])
    return keras.ops.pad(tensor, widths)


def matmul(x1, x2):
    """`keras.ops.matmul`, which makes float32 of float64 on PyTorch."""
    if keras.backend.backend() == "torch":
        import torch

        if torch.is_tensor(x1) and x1.dtype == x2.dtype == torch.float64:
            return torch.matmul(x1, x2)
    return keras.ops.matmul(x1, x2)


def full_precision(dtype):
    """The dtype for what half precision is too coarse for: float64 of float64, else float32.

    `keras.backend.result_type` makes float32 of float64 on PyTorch.
    """
    return "float64" if keras.backend.standardize_dtype(dtype) == "float64" else "float32"


def vectors_times_matrices(x, matrices):  # (rows, 1, in), (rows, in, out) -> (rows, 1, out)
    """`keras.ops.matmul`, with a gradient that XLA is fast at.

    Of the matrices it is an outer product, which XLA on a CPU takes for a matrix product, for
    three times as long as the multiplication takes that this asks JAX for.
    """
    if keras.backend.backend() != "jax":
        return matmul(x, matrices)
    import jax
    import jax.numpy as jnp

    product = jax.custom_jvp(jnp.matmul)

    @product.defjvp
    def tangent(primals, tangents):
        of_matrices = jnp.swapaxes(primals[0], 1, 2) * tangents[1]
        change = jnp.matmul(tangents[0], primals[1]) + of_matrices.sum(axis=1, keepdims=True)
        return jnp.matmul(*primals), change

    return product(x, matrices)


def sum_in_turn(function, values, state, number):
    """`(sum of function(values, state, i)[0] for i below number, the last state)`, in a loop.

    `function` returns a scalar of float32 and the next state. Nothing that it makes is kept for
    the gradient for `values`: it is made once more there.

    Args:
        function: As above, of a scalar integer tensor `i`.
        values, state: Lists of tensors.
        number: Number of turns.
    """
    if keras.backend.backend() == "tensorflow":
        return _sum_in_turn_tensorflow(function, values, state, number)

    def step(carry, i):
        total, state = carry
        change, state = keras.remat(function)(values, state, i)
        return (total + change, state), None

    start = keras.ops.zeros((), "float32"), state
    return keras.ops.scan(step, start, keras.ops.arange(number, dtype="int32"))[0]


def _sum_in_turn_tensorflow(function, values, state, number):
    """The gradient of TensorFlow's loop would keep a copy of `values` for every turn."""
    import tensorflow as tf

    def loop(turn, carry):
        def body(i, carry):
            return i + 1, turn(carry, i)

        # Without a greatest number of turns XLA does not compile it.
        bounds = {"maximum_iterations": number, "parallel_iterations": 1}
        return tf.while_loop(lambda i, _: i < number, body, (0, carry), **bounds)[1]

    @tf.custom_gradient
    def total(*values):
        def forward(carry, i):
            change, state = function(list(values), carry[1:], i)
            return [carry[0] + change, *state]

        def gradient(of_total, *_):
            def backward(carry, i):
                with tf.GradientTape() as tape:
                    tape.watch(values)
                    change, state = function(list(values), carry[len(values) :], i)
                options = {"unconnected_gradients": tf.UnconnectedGradients.ZERO}
                found = tape.gradient(change, values, of_total, **options)
                return [*(sum(pair) for pair in zip(carry, found)), *state]

            return loop(backward, [*map(tf.zeros_like, values), *state])[: len(values)]

        return tuple(loop(forward, [tf.zeros(()), *state])), gradient

    made, *state = total(*values)
    return made, state


def calls_in(model, operation):
    """The calls of an operation in a functional model: `[(args, kwargs, outputs)]`."""
    nodes = {id(node) for level in model._nodes_by_depth.values() for node in level}
    return [
        (node.arguments.args, node.arguments.kwargs, node.outputs)
        for node in operation._inbound_nodes
        if id(node) in nodes
    ]


def first_call(layer):
    """`(args, kwargs)` of the first call of a layer on KerasTensors; `None` if there was none."""
    nodes = layer._inbound_nodes
    return (nodes[0].arguments.args, nodes[0].arguments.kwargs) if nodes else None


def call_of(tensor):
    """The call that made a KerasTensor: `(operation, args, kwargs)`."""
    operation, node, _ = tensor._keras_history
    arguments = operation._inbound_nodes[node].arguments
    return operation, arguments.args, arguments.kwargs


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


def torch_compiles():
    """Whether `torch.compile` is tracing."""
    if keras.backend.backend() != "torch":
        return False
    import torch

    return torch.compiler.is_compiling()


def has_build(layer):
    """Whether a layer has a `build` of its own, not that of all layers, which builds nothing."""
    return not getattr(type(layer).build, "_is_default", False)


def take_per_row(tables, ids):
    """`(rows, entries, size)`, `(rows, ...)` -> `(rows, ..., size)`.

    Ids from 0; another one does what it does in `keras.ops.take`, and never reads another row.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # XLA clamps ids, so that into one long table they would lead to another row.
        return tf.gather(tables, ids, axis=1, batch_dims=1)
    from keras import ops

    rows, entries, size = ops.shape(tables)
    starts = ops.reshape(ops.arange(rows, dtype=ids.dtype) * entries, (rows, *[1] * (ids.ndim - 1)))
    inside = ops.logical_and(ids >= 0, ids < entries)
    ids = ops.where(inside, ids + starts, rows * entries)
    taken = ops.take(ops.reshape(tables, (rows * entries, size)), ids, axis=0)
    return ops.reshape(taken, (*ops.shape(ids), size))  # JAX loses axes where there are no rows


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

    `fit` as in `rewrite.copy_values`.
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
