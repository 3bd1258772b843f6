"""Private parts of Keras: those that the package uses are there, and no others are used."""

import ast
import importlib
import inspect
import pathlib

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_hypernet as kh
from keras_hypernet.utils import keras_internals, keras_saving
from tests.backend import BACKEND

ROOT = pathlib.Path(kh.__file__).parent
UTILS = ROOT / "utils"


def attention():
    """A layer that was called, and the KerasTensor that it made."""
    layer, x = layers.MultiHeadAttention(1, 2), keras.Input((3, 4))
    return layer, layer(x, x)


def context():
    """What Keras knows of a call while it runs."""
    found = []

    class Spy(layers.Layer):
        def call(self, x):
            state = importlib.import_module(f"{COMMON}.global_state")
            found.append(state.get_global_attribute("current_call_ctx"))
            return x

    Spy()(np.ones((1, 3)))
    return found[0]


def sequential():
    return keras.Sequential([keras.Input((3,)), layers.Dense(2, name="dense")])


def functional():
    model = sequential()
    return keras.Model(model.inputs, model.outputs)


def compiled():
    model = sequential()
    model.compile(loss="mse")
    return model


OWNERS = {
    "Trainer": compiled,
    "Optimizer": keras.optimizers.SGD,
    "CompileLoss": lambda: compiled()._compile_loss,
    "Layer": lambda: attention()[0],
    "Operation": lambda: attention()[0],
    "Variable": lambda: keras.Variable(0.0),
    "KerasTensor": lambda: attention()[1],
    "Function": functional,
    "Sequential": sequential,
    "Node": lambda: attention()[0]._inbound_nodes[0],
    "Node.arguments": lambda: attention()[0]._inbound_nodes[0].arguments,
    "CallContext": context,
}

COMMON, TORCH = "keras.src.backend.common", "keras.src.backend.torch.core"
SAVING = "keras.src.saving.saving_lib"
STATE = ("saveable", "weights_store", "assets_store", "inner_path")
STORE = ("root_path", "archive", "mode")
# (what has it, its name, the arguments that it is given or `None` where it is not called, user)
PARTS = [
    ("Layer", "_flatten_layers", ("include_self", "recursive"), "layers_in"),
    ("Layer", "_trainable_variables", None, "parameters"),
    ("Layer", "_non_trainable_variables", None, "own_variables"),
    ("Layer", "_layers", None, "attach"),
    ("Layer", "_tracker", None, "attach"),
    ("Layer", "_parent_path", None, "set_parent_path"),
    ("Layer", "_call_context_args", None, "context_arguments"),
    ("Operation", "_inbound_nodes", None, "first_call"),
    ("Node", "arguments", None, "first_call"),
    ("Node", "operation", None, "nodes"),
    ("Node", "outputs", None, "nodes"),
    ("Node", "is_input", None, "nodes"),
    ("Node.arguments", "args", None, "first_call"),
    ("Node.arguments", "kwargs", None, "first_call"),
    ("KerasTensor", "_keras_history", None, "producer"),
    ("Function", "_nodes_by_depth", None, "nodes"),
    ("Sequential", "_functional", None, "functional"),
    ("Variable", "_value", None, "is_readable"),
    ("CallContext", "entry_layer", None, "layer_in_training"),
    ("CallContext", "get_value", ("arg_name",), "layer_in_training"),
    ("keras.src.backend", "get_keras_mask", ("x",), "mask_of"),
    ("keras.src.backend", "set_keras_mask", ("x", "mask"), "set_mask"),
    (f"{COMMON}.global_state", "get_global_attribute", ("name",), "layer_in_training"),
    (f"{COMMON}.stateless_scope", "in_stateless_scope", (), "assigns_in_graph"),
    (f"{COMMON}.variables", "AutocastScope", ("dtype",), "without_autocast"),
    (f"{COMMON}.global_state", "set_global_attribute", ("name", "value"), "uninitialized"),
    (f"{COMMON}.global_state", "get_global_attribute", ("name",), "count_names"),
    ("Variable", "_deferred_initialize", (), "initialize"),
    ("Operation", "_remat_mode", None, "rematerialized"),
    ("Trainer", "_compile_loss", None, "compiled_loss"),
    ("Optimizer", "_learning_rate", None, "optimizer_like"),
    ("Layer", "_losses", None, "own_losses_kept"),
    ("Layer", "_loss_ids", None, "own_losses_kept"),
    ("CompileLoss", "_user_loss", None, "own_compiled_loss"),
    ("CompileLoss", "_user_loss_weights", None, "own_compiled_loss"),
    ("CompileLoss", "output_names", None, "own_compiled_loss"),
    ("CompileLoss", "reduction", None, "own_compiled_loss"),
    (TORCH, "get_device", (), "eagerly"),
    (TORCH, "DEFAULT_DEVICE", None, "eagerly"),
    (SAVING, "_save_state", (*STATE, "visited_saveables"), "arrays_of"),
    (SAVING, "_load_state", (*STATE, "skip_mismatch", "visited_saveables"), "load_arrays"),
    (SAVING, "NpzIOStore", STORE, "load_arrays"),
    (SAVING, "DiskIOStore", STORE, "load_assets"),
]
LACKS = object()


def part_of(owner, name):
    """A private part, or `LACKS`."""
    try:
        found = importlib.import_module(owner) if owner.startswith("keras.") else OWNERS[owner]()
        return getattr(found, name)
    except (ImportError, AttributeError):
        return LACKS


def complaint(owner, name, part, arguments, user):
    """What is wrong with a private part, as a sentence; `None` if nothing is."""
    call = "" if arguments is None else f"({', '.join(arguments)})"
    module = "keras_internals" if hasattr(keras_internals, user) else "keras_saving"
    lacks = f"Keras {keras.__version__} has no `{owner}.{name}{call}`"
    sentence = f"{lacks}: `{module}.{user}` needs it."
    if part is LACKS:
        return sentence
    if arguments is None:
        return None
    found = list(inspect.signature(part).parameters.values())
    own, more = found[: len(arguments)], found[len(arguments) :]
    if [p.name for p in own] != list(arguments) or any(p.default is p.empty for p in more):
        return f"{sentence} Received: {name}{inspect.signature(part)}"
    return None


@pytest.mark.parametrize(("owner", "name", "arguments", "user"), PARTS)
def test_private_parts_are_there(owner, name, arguments, user):
    if owner == TORCH and BACKEND != "torch":
        pytest.skip("a part of the backend for PyTorch")
    wrong = complaint(owner, name, part_of(owner, name), arguments, user)
    assert wrong is None, wrong
    assert hasattr(keras_internals, user) or hasattr(keras_saving, user)


@pytest.mark.parametrize("owner", ["Layer", "keras.src.backend", "keras.src.not_there"])
def test_a_part_that_is_not_there_is_found(owner):
    assert part_of(owner, "_not_there") is LACKS


def test_a_part_that_is_not_there_is_named():
    expected = "has no `Layer._flatten_layers(include_self, recursive)`: `keras_internals"
    row = ("Layer", "_flatten_layers")
    arguments = (("include_self", "recursive"), "layers_in")
    for part in (LACKS, lambda recursive: None, lambda include_self, recursive, more: None):
        assert expected in complaint(*row, part, *arguments)
    assert complaint(*row, lambda include_self, recursive, more=1: None, *arguments) is None


# What they do, where a change would be silent.


def test_paths_begin_with_what_a_layer_was_given():
    layer = layers.Dense(2, name="dense")
    keras_internals.set_parent_path(layer, "own_7")
    layer.build((None, 3))
    assert [v.path for v in layer.weights] == ["own_7/dense/kernel", "own_7/dense/bias"]


def test_names_that_are_counted_are_not_given_again():
    keras.utils.clear_session()
    keras_internals.count_names(["dense", "dense_6", "dense_2", "input_layer", "my_10_conv"])
    assert layers.Dense(2).name == "dense_7"
    assert layers.InputLayer(()).name == "input_layer_1"
    assert layers.Conv1D(2, 3).name == "conv1d"


def test_the_layer_in_training_is_the_outermost():
    found = []

    class Spy(layers.Layer):
        def call(self, x):
            found.append(keras_internals.layer_in_training())
            return x

    model, x = keras.Sequential([Spy(), layers.Dense(3)]), np.ones((2, 3), "float32")
    model(x)
    assert found.pop() is None
    model(x, training=True)
    assert found.pop() is model
    if BACKEND == "torch":  # the only one for which anything asks
        model.compile("sgd", "mse")
        model.fit(x, x, verbose=0)
        assert found.pop() is model
    assert keras_internals.layer_in_training() is None


def test_models_with_a_graph():
    model = functional()
    assert keras_internals.functional(model) is model
    for each in (sequential(), model):
        [(operation, args, kwargs, outputs)] = keras_internals.nodes(each)
        assert (operation.name, kwargs) == ("dense", {})
        assert args[0] is keras_internals.functional(each).inputs[0]
        assert outputs[0] is keras_internals.functional(each).outputs[0]
    for other in (keras.Sequential([layers.Dense(2)]), layers.Dense(2)):
        assert keras_internals.functional(other) is None


def test_calls():
    x, start = keras.Input((3,)), keras.Input((3,))
    dense = layers.Dense(3)
    y = dense(inputs=x)
    z = dense(y)
    model = keras.Model(start, dense(start))
    assert keras_internals.first_call(dense) == ((), {"inputs": x})
    assert keras_internals.first_call(layers.Dense(3)) is None
    assert keras_internals.producer(y) is dense
    assert len(keras_internals.nodes(model)) == 1
    assert len(keras_internals.nodes(keras.Model(x, z))) == 2


def test_variables_are_those_of_the_layer_that_made_them():
    inner = layers.BatchNormalization(name="inner")
    outer = layers.Bidirectional(layers.LSTM(2))
    inner.build((None, 3))
    outer.build((None, 4, 3))
    inner.trainable = False
    assert keras_internals.trained_variables(inner) == [inner.gamma, inner.beta]
    assert keras_internals.own_variables(inner) == inner.weights
    assert keras_internals.own_variables(outer) == []
    owned = keras_internals.parameters(outer)
    assert [variable for _, variable in owned] == outer.weights
    assert [owner for owner, _ in owned[::3]] == [
        outer.forward_layer.cell,
        outer.backward_layer.cell,
    ]
    assert keras_internals.sublayers(outer) == [outer.forward_layer, outer.backward_layer]
    assert keras_internals.layers_in(outer)[0] is outer


def test_arguments_that_are_handed_on():
    layer = layers.Dense(2)
    assert keras_internals.context_arguments(layer) == {"training"}


def test_whether_a_layer_has_a_build():
    class Without(layers.Layer):
        pass

    assert keras_internals.has_build(layers.Dense(2))
    assert not keras_internals.has_build(Without())


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_policies_without_quantization(policy):
    quantized = keras.dtype_policies.get(f"int8_from_{policy}")
    assert keras_internals.float_policy(quantized).name == policy
    given = keras.dtype_policies.get(policy)
    assert keras_internals.float_policy(given) is given


def test_values_without_autocast():
    found = []

    class Spy(layers.Layer):
        def build(self, x_shape):
            self.w = self.add_weight(())

        def call(self, x):
            found.append(self.w.value.dtype)
            with keras_internals.without_autocast():
                found.append(self.w.value.dtype)
            return x

    Spy(dtype="mixed_bfloat16")(np.ones((2, 3)))
    assert [keras.backend.standardize_dtype(d) for d in found] == ["bfloat16", "float32"]


def test_masks_of_tensors():
    x = layers.Masking()(np.eye(3, dtype="float32")[None])
    mask = keras_internals.mask_of(x)
    np.testing.assert_array_equal(ops.convert_to_numpy(mask), [[True] * 3])
    y = ops.ones((1, 3, 3))
    assert keras_internals.mask_of(y) is None
    keras_internals.set_mask(y, mask)
    assert keras_internals.mask_of(y) is mask


def test_variables_without_values():
    layer = layers.BatchNormalization()
    with keras_internals.uninitialized() as made:
        layer.build((None, 3))
    assert [v.name for v in made] == ["gamma", "beta", "moving_mean", "moving_variance"]
    assert all(v._value is None and tuple(v.shape) == (3,) for v in made)
    keras_internals.initialize(made[2:])
    np.testing.assert_array_equal(ops.convert_to_numpy(made[3]), [1, 1, 1])
    with keras.StatelessScope():  # whose end gives values to all that still wait for them
        pass
    assert made[0]._value is None


def test_rematerialized_layers():
    with keras.RematScope(mode="full"):
        inner = layers.Dense(2)
    model = keras.Sequential([layers.Dense(3), inner])
    assert keras_internals.rematerialized(model) is inner
    assert keras_internals.rematerialized(layers.Dense(2)) is None


def test_variables_cannot_be_read_while_they_are_trained():
    found = []

    class Spy(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            # Keras brings the values back to whoever asks for `self.model`.
            found.append(keras_internals.is_readable(model.weights[0]))

    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    model.compile("sgd", "mse")
    model.fit(np.ones((2, 3)), np.ones((2, 2)), callbacks=[Spy()], verbose=0)
    assert found == [BACKEND != "jax"]
    assert keras_internals.is_readable(model.weights[0])


def test_state_moves_as_through_a_file():
    one, other = (layers.Bidirectional(layers.LSTM(2)) for _ in range(2))
    for layer in (one, other):
        layer.build((None, 4, 3))
    keras_saving.load_arrays(other, keras_saving.arrays_of(one))
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))
    left = keras_saving.arrays_of(one, left_out=one.weights)
    assert not any(left.values())
    assert keras_saving.is_saved(one)
    assert not keras_saving.is_saved(layers.ReLU())


# Where they are used.


def trees(folder):
    return {path: ast.parse(path.read_text()) for path in sorted(folder.rglob("*.py"))}


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def private_names(tree):
    """`(line, name, whether it is of `self`, `cls` or `super()`)` of private attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            owner = node.value.func if isinstance(node.value, ast.Call) else node.value
            own = isinstance(owner, ast.Name) and owner.id in ("self", "cls", "super")
            yield node.lineno, node.attr, own
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant) and is_private(name.value):
                yield node.lineno, name.value, False


def imported(tree):
    """`(line, module, name)` of what is imported from `keras.src`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras.src"):
            yield from ((node.lineno, node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names if alias.name.startswith("keras.src")]
            yield from ((node.lineno, module, "") for module in modules)
        elif isinstance(node, ast.Attribute) and ast.unparse(node).startswith("keras.src."):
            yield node.lineno, "keras.src", node.attr


def defined(all_trees):
    """Private names that the package gives something: functions, classes, attributes, variables."""
    names = set()
    for node in (node for tree in all_trees for node in ast.walk(tree)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def foreign(tree, own_names):
    """Uses of private names that the package does not define, and of `keras.src`."""
    found = [(line, name) for line, name, _ in private_names(tree) if name not in own_names]
    return found + [(line, f"{module}.{name}") for line, module, name in imported(tree)]


# A table of them, and the test that Keras gives to layers.
EXCEPTIONS = ("test_keras_internals.py", "test_keras_layer_test.py")


@pytest.mark.parametrize("folder", ["keras_hypernet", "examples", "benchmarks", "tests"])
def test_no_other_file_uses_private_parts(folder):
    files = trees(ROOT.parent / folder)
    package = trees(ROOT) | files
    own_names = defined(package.values()) | {"_dynamo"}  # of PyTorch
    uses = [
        f"{path.relative_to(ROOT.parent)}:{line} {name}"
        for path, tree in files.items()
        if not path.is_relative_to(UTILS) and path.name not in EXCEPTIONS
        for line, name in foreign(tree, own_names)
    ]
    assert not uses, f"Let a function in `utils/keras_internals.py` do it: {uses}"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("layer._flatten_layers()", ["_flatten_layers"]),
        ("self._flatten_layers()", ["_flatten_layers"]),
        ("layer._mine, self._mine, super()._mine()", []),
        ("getattr(model, '_functional', None)", ["_functional"]),
        ("from keras.src import backend", ["keras.src.backend"]),
        ("import keras.src.saving", ["keras.src.saving."]),
        ("keras.src.backend", ["keras.src.backend"]),
    ],
)
def test_uses_are_found(code, found):
    assert [name for _, name in foreign(ast.parse(code), {"_mine"})] == found


def test_all_private_parts_are_in_the_table():
    files = trees(UTILS)
    own_names = defined(files.values()) | {"_C", "_get_value_trace"}  # of PyTorch
    listed = {name for _, name, _, _ in PARTS} | {owner for owner, *_ in PARTS}
    used, modules = set(), set()
    for tree in files.values():
        used.update(name for _, name, _ in private_names(tree) if name not in own_names)
        for _, module, name in imported(tree):
            (modules if f"{module}.{name}" in listed else used).add(name)
    assert used <= listed
    private = {name for _, name, _, _ in PARTS if is_private(name)}
    assert private <= used | {"_value"}
    text = inspect.getdoc(keras_internals)
    assert all(name in text for name in used | private)
