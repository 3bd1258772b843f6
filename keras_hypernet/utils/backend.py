"""What is done another way on one backend than on others; an unknown backend uses `keras.ops`."""

import contextlib
import functools
import random
import threading

import keras
import numpy as np
from keras import ops


def torch_compiles():
    """Whether `torch.compile` is tracing."""
    if keras.backend.backend() != "torch":
        return False
    import torch

    return torch.compiler.is_compiling()


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


def known_rows(tensor):
    """The size of the first axis where it is static, else `None`."""
    size = tensor.shape[0]
    if isinstance(size, int) or keras.backend.backend() != "torch":
        return size
    import torch

    # The exporter to ONNX traces on a batch of one, with sizes that are tensors.
    return 1 if torch.jit.is_tracing() and _is_made_with_one_row(tensor) else None


def _is_made_with_one_row(tensor):
    """Whether the operation that made a tensor, as PyTorch traces it, gives it one row."""
    import torch

    node = torch._C._get_value_trace(tensor).node()
    while node.kind() in ("aten::to", "aten::mul"):
        node = next(node.inputs()).node()
    if node.kind() == "aten::unsqueeze":
        return list(node.inputs())[1].toIValue() == 0
    if node.kind() == "aten::reshape":
        sizes = list(node.inputs())[1].node()
        return next(sizes.inputs()).toIValue() == 1
    return False


def compiled_by_jax_for_cpu(tensor):
    """Whether what is done with a tensor is about to be compiled by JAX for a CPU."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    return isinstance(tensor, jax.core.Tracer) and jax.default_backend() == "cpu"


def keeps_variables_by_path():
    """Whether variables of one path hide each other from what trains them."""
    return keras.backend.backend() == "torch" and not torch_compiles()


def full_precision(dtype):
    """The dtype for what half precision is too coarse for: float64 of float64, else float32.

    `keras.backend.result_type` makes float32 of float64 on PyTorch.
    """
    return "float64" if keras.backend.standardize_dtype(dtype) == "float64" else "float32"


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


def pad(tensor, widths):
    """`keras.ops.pad` with zeros, `(left, right)` for each axis.

    That makes an operation anew for each call, which breaks the graph of `torch.compile`.
    """
    if keras.backend.backend() == "torch":
        import torch

        if torch.is_tensor(tensor):
            return torch.nn.functional.pad(tensor, [n for width in widths[::-1] for n in width])
    return keras.ops.pad(tensor, widths)


def moveaxis(x, source, destination):
    """`keras.ops.moveaxis` of one axis, which PyTorch does not export where one is negative."""
    rank = len(x.shape)
    return keras.ops.moveaxis(x, source % rank, destination % rank)


def not_negative(size):
    """A size, or zero where it is negative. `keras.ops.maximum` makes int32 of it on PyTorch."""
    if isinstance(size, int):
        return max(size, 0)
    if keras.backend.backend() == "torch":
        import torch

        return torch.clamp(size, min=0)
    return keras.ops.maximum(size, 0)


_local = threading.local()  # a `ContextVar` would break the graph of `torch.compile`


@contextlib.contextmanager
def constants_in_graph():
    """A scope in which graphs that are traced have constants of before in them.

    TensorFlow makes inputs of them, which no ONNX file may have more of than its model.
    """
    before = getattr(_local, "constants_in_graph", False)
    _local.constants_in_graph = True
    try:
        yield
    finally:
        _local.constants_in_graph = before


def in_graph(constant):
    """A constant, made once more where the scope wants it in the graph."""
    if keras.backend.backend() != "tensorflow" or not getattr(_local, "constants_in_graph", False):
        return constant
    import tensorflow as tf

    return tf.constant(constant.numpy())


@contextlib.contextmanager
def kept_randomness():
    """A scope after which random numbers come as they would have without it.

    Keras' seeds are variables; these are the global states of Python, NumPy and PyTorch.
    """
    before, of_numpy, of_torch = random.getstate(), np.random.get_state(), None
    if keras.backend.backend() == "torch":
        import torch

        of_torch = torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(of_numpy)
        if of_torch is not None:
            torch.set_rng_state(of_torch)


def value_and_gradients(function, tensors):
    """`((value, other outputs), gradients for tensors)` of a function of a list of tensors.

    Args:
        function: From the list to `(value, other outputs)`: a scalar, and any structure.
        tensors: The list. Where the value does not depend on one, its gradient is zero.
    """
    backend = keras.backend.backend()
    if not tensors:  # PyTorch refuses to have no gradient
        return function(tensors), []
    if backend == "jax":
        import jax

        return jax.value_and_grad(function, has_aux=True)(tensors)
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(tensors)
            found = function(tensors)
        zero = tf.UnconnectedGradients.ZERO
        gradients = tape.gradient(found[0], tensors, unconnected_gradients=zero)
        return found, [tf.convert_to_tensor(gradient) for gradient in gradients]
    if backend == "torch":
        import torch

        tensors = [tensor.detach().clone().requires_grad_() for tensor in tensors]
        found = function(tensors)
        if not found[0].requires_grad:  # of nothing that it was given
            return found, [torch.zeros_like(tensor) for tensor in tensors]
        gradients = torch.autograd.grad(found[0], tensors, allow_unused=True)
        pairs = zip(gradients, tensors)
        return found, [torch.zeros_like(t) if g is None else g for g, t in pairs]
    raise NotImplementedError(
        f"Gradients need one of the backends TensorFlow, JAX and PyTorch. Received: {backend!r}"
    )


def matmul(x1, x2):
    """`keras.ops.matmul`, which makes float32 of float64 on PyTorch."""
    if keras.backend.backend() == "torch":
        import torch

        if torch.is_tensor(x1) and x1.dtype == x2.dtype == torch.float64:
            return torch.matmul(x1, x2)
    return keras.ops.matmul(x1, x2)


def dense(layer, x, **kwargs):
    """What a dense layer makes of data. Keras' own makes float32 of float64 on PyTorch."""
    double = keras.backend.backend() == "torch" and layer.compute_dtype == "float64"
    if not double or type(layer) is not keras.layers.Dense or layer.quantization_mode is not None:
        return layer(x, **kwargs)
    y = matmul(keras.ops.cast(x, "float64"), keras.ops.convert_to_tensor(layer.kernel))
    return layer.activation(y if layer.bias is None else y + layer.bias)


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

    initial = keras.ops.zeros((), "float32"), state
    return keras.ops.scan(step, initial, keras.ops.arange(number, dtype="int32"))[0]


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


@contextlib.contextmanager
def own_step(model, name):
    """Within it, a step of a model is a function of its own, to be compiled.

    JAX has one trace for equal functions as long as one of them lives, and the same method is
    equal: what a step reads of the model beside its tensors would be that of before.
    """
    vars(model)[name] = functools.partial(getattr(model, name))
    try:
        yield
    finally:
        del vars(model)[name]


def take_per_row(tables, ids):
    """`(rows, entries, size)`, `(rows, ...)` -> `(rows, ..., size)`.

    Ids from 0; another one does what it does in `keras.ops.take`, and never reads another row.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # XLA clamps ids, so that into one long table they would lead to another row.
        return tf.gather(tables, ids, axis=1, batch_dims=1)
    rows, entries, size = ops.shape(tables)
    starts = ops.reshape(ops.arange(rows, dtype=ids.dtype) * entries, (rows, *[1] * (ids.ndim - 1)))
    inside = ops.logical_and(ids >= 0, ids < entries)
    ids = ops.where(inside, ids + starts, rows * entries)
    taken = ops.take(ops.reshape(tables, (rows * entries, size)), ids, axis=0)
    return ops.reshape(taken, (*ops.shape(ids), size))  # JAX loses axes where there are no rows


def take_rows(table, ids, known):  # (number, ...), (rows,), (rows,) -> (rows, ...)
    """Rows of a table. An unknown id is an error, or a row of NaN where XLA compiles."""
    ids = ops.where(known, ids, table.shape[0])
    taken = ops.take(table, ids, axis=0)
    if keras.backend.backend() != "tensorflow":
        return taken
    # XLA takes the last row for an id beyond it.
    known = ops.reshape(known, (-1, *[1] * (len(table.shape) - 1)))
    return ops.where(known, taken, ops.cast(float("nan"), taken.dtype))


def _register_gradient_of_update_slice():
    """Gives TensorFlow what it lacks for high derivatives under XLA.

    The gradient of a slice is there this operation, which has no gradient in TensorFlow. A loss
    with second derivatives of `concatenate` or `split` asks for it.
    """
    import tensorflow as tf
    from tensorflow.compiler.tf2xla.python.xla import dynamic_update_slice

    def gradient(operation, grad):
        _, update, indices = operation.inputs
        of_x = dynamic_update_slice(grad, tf.zeros_like(update), indices)
        sizes = tf.shape(update, out_type=indices.dtype)
        return of_x, tf.slice(grad, indices, sizes), None

    with contextlib.suppress(KeyError):  # another library, or a newer TensorFlow, was there first
        tf.RegisterGradient("XlaDynamicUpdateSlice")(gradient)


if keras.backend.backend() == "tensorflow":
    _register_gradient_of_update_slice()
