"""Private parts of Keras; `keras_saving` has those that files are made of. No other file has any.

`tests/test_keras_internals.py` has them in a table with what they take, and says in a sentence
what a new Keras lacks. Most of them then raise here too. These do something else in silence, so
the tests look at what they do:

    Layer._parent_path      Paths of variables are no longer unique, and PyTorch trains wrongly.
    "current_call_ctx"      Keras' own variables of one path are no longer refused in training.
    Sequential._functional  A sequential model is taken for one without a graph.

The rest raises:

    Layer._flatten_layers, _trainable_variables, _non_trainable_variables, _call_context_args
    Layer._layers, _tracker
    Function._nodes_by_depth, Operation._inbound_nodes, KerasTensor._keras_history
    Variable._value, _deferred_initialize, "uninitialized_variables", Operation._remat_mode
    BaseConv._kernel, EinsumDense._kernel
    "object_name_uids", AutocastScope, in_stateless_scope, get_keras_mask, set_keras_mask
    Optimizer._learning_rate, Layer._losses, _loss_ids
    Trainer._compile_loss, CompileLoss._user_loss, _user_loss_weights, output_names
    torch.core.get_device, torch.core.DEFAULT_DEVICE
    saving_lib._save_state, _load_state, NpzIOStore, DiskIOStore
"""

import collections
import contextlib
import functools
import inspect
import re

import keras
from keras import ops

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


def state_of(layer):
    """The variables of a layer that are no parameters: statistics, seeds, constants."""
    owned = {id(variable) for _, variable in parameters(layer)}
    return [variable for variable in layer.variables if id(variable) not in owned]


def layer_in_training():
    """The outermost layer whose call runs, if it is trained; else `None`."""
    from keras.src.backend.common import global_state

    context = global_state.get_global_attribute("current_call_ctx")
    if context is None:
        return None
    layer = context.entry_layer
    trained = getattr(layer, "compiled", False) or context.get_value("training")
    return layer if trained else None


def count_names(names):
    """Counts names of operations as if Keras had given them, so that it gives them no more.

    It does not count those of a model that it loads.
    """
    from keras.src.backend.common import global_state

    counts = global_state.get_global_attribute(
        "object_name_uids", default=collections.defaultdict(int), set_to_default=True
    )
    for name in names:
        stem, number = re.fullmatch(r"(.*?)(?:_(\d+))?", name).groups()
        counts[stem] = max(counts[stem], int(number or 0) + 1)


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


def attach(layer, inner):
    """Adds a layer to those inside a built layer, whose variables are then variables of both."""
    layer._tracker.unlock()
    layer._layers.append(inner)
    layer._tracker.lock()


def detach(layer, inner):
    """Takes away what `attach` added."""
    layer._tracker.unlock()
    layer._layers.remove(inner)
    layer._tracker.lock()


def eagerly():
    """A scope in which operations have values, though a graph is traced around it."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.ensure_compile_time_eval()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.init_scope()
    if backend == "torch":
        from keras.src.backend.torch import core

        # Not on the device without values, on which Keras finds out shapes.
        device = core.get_device()
        return keras.device(core.DEFAULT_DEVICE if str(device) == "meta" else device)
    return contextlib.nullcontext()


def constant(array):
    """A tensor of an array, made once: outside of the graph that is traced at the moment."""
    with eagerly():
        return ops.convert_to_tensor(array)


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
    return keras.dtype_policies.get(policy.get_config()["source_name"]) if quantized else policy


def functional(model):
    """The functional model that a model is or, where it is sequential, has inside; else `None`."""
    if not isinstance(model, keras.Model):
        return None
    return model if isinstance(model, keras.Function) else getattr(model, "_functional", None)


def as_functional(init):
    """An `__init__` by which Keras takes a class for one of functional models.

    Keras looks at the names of its arguments. A Keras that wraps its own `__init__` finds none
    there, and a newer one takes `*args, **kwargs`.
    """

    @functools.wraps(init)
    def wrapped(*args, **kwargs):
        init(*args, **kwargs)

    return wrapped


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


def has_build(layer):
    """Whether a layer has a `build` of its own, not that of all layers, which builds nothing."""
    return type(layer).build is not keras.layers.Layer.build


def mask_of(tensor):
    """The Keras mask of a tensor; `None` without one."""
    from keras.src import backend

    return backend.get_keras_mask(tensor)


def set_mask(tensor, mask):
    """Gives a tensor a Keras mask."""
    from keras.src import backend

    backend.set_keras_mask(tensor, mask)


@contextlib.contextmanager
def uninitialized():
    """A scope in which new variables have shapes and no values; it gives the list of them."""
    from keras.src.backend.common import global_state

    name, made = "uninitialized_variables", []
    before = list(global_state.get_global_attribute(name) or [])
    global_state.set_global_attribute(name, made)
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield made
    finally:
        global_state.set_global_attribute(name, before)


def initialize(variables):
    """Gives variables that were made without values those of their initializers."""
    from keras.src.backend.common import global_state

    if global_state.get_global_attribute("stateless_scope") is None:
        for variable in variables:
            variable._deferred_initialize()
    elif variables:  # as Keras does, at the end of that scope
        name = "uninitialized_variables"
        before = global_state.get_global_attribute(name) or []
        global_state.set_global_attribute(name, [*before, *variables])


def rematerialized(layer):
    """The first layer of a layer and those inside it whose call is computed again; or `None`."""
    modes = ((inner, inner._remat_mode) for inner in layers_in(layer))
    return next((inner for inner, mode in modes if mode is not None and mode.mode), None)


def traced_layer(layer):
    """The first layer of a layer and those inside it whose `call` is a `tf.function`; or `None`."""
    traced = (inner for inner in layers_in(layer) if hasattr(inner.call, "get_concrete_function"))
    return next(traced, None)


def kernel_of(layer, name):
    """The variable that a layer keeps as its kernel of a name, quantized or not."""
    return next(v for v in own_variables(layer) if v.name == name)


def kernel_shape(layer):
    """The shape of the kernel of an `EinsumDense` or a convolution, however it is stored."""
    return tuple(getattr(layer, "original_kernel_shape", None) or layer._kernel.shape)


def before_activation(layer):
    """A function of data: what a layer makes of them before its activation.

    It runs the layer's own call, of an adapter or on a quantized kernel, on a view of the layer:
    an object with the same variables, so that no attribute of the layer is touched.
    """
    view = object.__new__(type(layer))
    view.__dict__.update(layer.__dict__, activation=None)
    for name in ("call", "quantized_call"):
        view.__dict__.pop(name, None)
    quantized = layer.dtype_policy.quantization_mode is not None
    call = view.quantized_call if quantized else view.call
    takes_training = "training" in inspect.signature(layer.call).parameters

    def run(x, training=None):
        return call(x, training=training) if takes_training else call(x)

    return run


def compiled_loss(model):
    """The loss that a model was compiled with, which is built in its first use; or `None`."""
    return model._compile_loss


@contextlib.contextmanager
def own_compiled_loss(model):
    """A scope in which a compiled loss that was never used is built without a trace."""
    loss = compiled_loss(model)
    if loss is None or loss.built:
        yield
        return
    fresh = type(loss)(
        loss._user_loss,
        loss._user_loss_weights,
        reduction=loss.reduction,
        output_names=loss.output_names,
    )
    vars(model).update(_compile_loss=fresh)  # past what tracks attributes
    try:
        yield
    finally:
        vars(model).update(_compile_loss=loss)


def has_schedule(optimizer):
    """Whether the learning rate of an optimizer is a function of its iterations."""
    return not isinstance(optimizer._learning_rate, keras.Variable)


def optimizer_like(optimizer):
    """A new optimizer with the arguments of another one, at its present learning rate.

    A schedule of one's own need not have a config.
    """
    before, rate = optimizer._learning_rate, float(ops.convert_to_numpy(optimizer.learning_rate))
    vars(optimizer).update(_learning_rate=None)
    try:
        config = optimizer.get_config()
    finally:
        vars(optimizer).update(_learning_rate=before)
    return type(optimizer).from_config({**config, "learning_rate": rate})


def optimizer_state(optimizer):
    """The variables of an optimizer, but for a learning rate."""
    return [v for v in optimizer.variables if v is not optimizer._learning_rate]


@contextlib.contextmanager
def own_losses_kept(layer):
    """A scope after which layers have the losses of their last call, which a call clears."""
    before = [(each, list(each._losses), set(each._loss_ids)) for each in layers_in(layer)]
    try:
        yield
    finally:
        for each, losses, ids in before:
            each._losses[:] = losses
            each._loss_ids.clear()
            each._loss_ids.update(ids)


def foreign_layer(layer):
    """The first layer of a layer and those inside it whose weights are another library's."""
    names = ("TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer")
    foreign = tuple(getattr(keras.layers, name) for name in names if hasattr(keras.layers, name))
    return next((inner for inner in layers_in(layer) if isinstance(inner, foreign)), None)
