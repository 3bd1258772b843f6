"""What must hold of every case of the fuzzer."""

import copy
import json
import warnings

import keras
import numpy as np
from keras import tree

import keras_hypernet as kh
from keras_hypernet.generators.generator import Generator
from keras_hypernet.layers.changed_layer import ChangedLayer
from keras_hypernet.utils import keras_internals
from tests.backend import BACKEND
from tests.conformance_blocks import PreNorm, SqueezeAndExcite, Twice
from tests.fuzz import (
    LAYERS,
    all_layers,
    as_numpy,
    assert_close,
    call,
    functional,
    own_layers,
)

# What must hold: `name(case, made)`; `made` is what one invariant leaves to the next ones.


def rows(case, made):
    made["outputs"] = call(case.model, case.inputs)
    if case.expected is not None and not case.random:
        assert_close(made["outputs"], case.expected(case), case.tolerance)


def penalties(case, made):
    held = [case.model.variables[i] for i in case.held]
    penalized = any(v.regularizer is not None for v in held)  # what is frozen is not any more
    if case.penalty is not None and not (case.random or penalized) and BACKEND != "jax":
        call(case.model, case.inputs)  # losses of a symbolic call have no values
        found = sum(float(as_numpy(loss)) for loss in case.model.losses)
        assert_close([np.array(found)], [np.array(case.penalty(case))], case.tolerance)


def more(case, made):
    if case.more is not None:
        case.more(case, made)


def layer_configs(case, made):
    for layer in own_layers(case.model):
        config = json.dumps(layer.get_config())
        given = json.loads(config)
        again = type(layer).from_config(given)
        assert json.dumps(again.get_config()) == config, f"{layer.name}: another config"
        if not isinstance(layer, kh.Hyper):  # Keras' own wrappers do
            assert json.dumps(given) == config, f"{layer.name}: `from_config` changed its argument"
        assert again.name == layer.name
        assert again.dtype_policy.name == layer.dtype_policy.name


def same(case, made, other, what):
    made[what] = other
    assert _names(other) == _names(case.model), "other variables"
    if not case.random:
        assert_close(call(other, case.inputs), made["outputs"])


def _names(model):
    """Shapes, where variables are those of a given model, under its names."""
    kinds = {type(layer).__name__ for layer in keras_internals.layers_in(model)}
    given = "GivenLayersModel" in kinds
    return [tuple(v.shape) if given else v.name for v in model.variables]


def config(case, made):
    other = type(case.model).from_config(json.loads(json.dumps(case.model.get_config())))
    other.set_weights(case.model.get_weights())
    same(case, made, other, "config")


def clone(case, made):
    other = keras.models.clone_model(case.model)
    other.set_weights(case.model.get_weights())
    same(case, made, other, "clone")


def saved(case, made):
    case.model.save(made["path"])
    same(case, made, keras.saving.load_model(made["path"], safe_mode=True), "loaded")


def weights_file(case, made):
    if "clone" in made:
        path = made["path"].with_suffix(".weights.h5")
        case.model.save_weights(path)
        made["clone"].set_weights([np.zeros_like(w) for w in made["clone"].get_weights()])
        made["clone"].load_weights(path)
        path.unlink()
        if not case.random:
            assert_close(call(made["clone"], case.inputs), made["outputs"])


def deepcopy(case, made):
    same(case, made, copy.deepcopy(case.model), "copy")


def frozen(case, made):
    """Frozen stays frozen, and what is trained stays trained."""
    now = {what: _kept_flags(made[what]) for what in COPIES if what in made}
    wrong = [what for what, found in now.items() if found != _kept_flags(case.model)]
    assert not wrong, f"other trainable flags of {wrong} after freezing {case.frozen.split()[0]}"


def _kept_flags(model):
    """Without those inside Keras' own attention and blocks of users, whose files forget them."""
    forgetting = (keras.layers.MultiHeadAttention, PreNorm, Twice, SqueezeAndExcite)
    blocks = [x for x in keras_internals.layers_in(model) if type(x) in forgetting]
    inside = {id(v) for layer in blocks for v in layer.variables}
    return [v.trainable for v in model.variables if id(v) not in inside]


COPIES = ("config", "clone", "loaded", "copy")


def paths(case, made):
    """Variables of this package's layers have paths of their own in each copy."""
    own = {what: own_paths(made[what]) for what in COPIES if what in made}
    for what, found in {"itself": own_paths(case.model), **own}.items():
        assert len(set(found)) == len(found), f"{what} has two variables of one path"
    for what, found in own.items():
        common = set(found) & set(own_paths(case.model))
        assert not common, f"{what} has paths of the model: {sorted(common)[:3]}"


def own_paths(model):
    variables = {id(v): v for layer in own_layers(model) for v in layer.trainable_variables}
    return [v.path for v in variables.values()]


def shapes(case, made):
    """What is said of every output of this package's layers is what comes out."""
    own = own_layers(case.model)
    calls = [call for call in keras_internals.nodes(case.model) if call[0] in own]
    said = [tensor for *_, outputs in calls for tensor in outputs]
    if not said:
        return
    inputs = case.inputs if len(case.inputs) > 1 else case.inputs[0]
    found = functional(case.model.inputs, said)(inputs, training=False)
    for tensor, value in zip(said, tree.flatten(found), strict=True):
        assert len(tensor.shape) == len(value.shape), (tensor, value.shape)
        known = [n in (None, m) for n, m in zip(tensor.shape, value.shape)]
        assert all(known), f"{tensor} is {tuple(value.shape)}"
        dtype = keras.backend.standardize_dtype(value.dtype)
        assert tensor.dtype == dtype, f"{tensor} is of {dtype}"
    for layer, args, kwargs, outputs in calls:
        assert all(y.dtype == layer.compute_dtype for y in outputs), f"dtypes of {layer.name}"
        if kwargs.keys() <= {"training"} and isinstance(layer, LAYERS):
            arguments = tree.map_structure(lambda x: tuple(x.shape), args)
            told = _shapes(layer.compute_output_shape(*arguments))
            expected = [tuple(y.shape) for y in outputs]
            assert told == expected, f"{layer.name} says {told}, is {expected}"


def _shapes(nest):
    """The shapes in a nest, in the order in which trees are flattened."""
    if isinstance(nest, dict):
        return [shape for name in sorted(nest) for shape in _shapes(nest[name])]
    if all(n is None or isinstance(n, int) for n in nest):
        return [tuple(nest)]
    return [shape for each in nest for shape in _shapes(each)]


def training_shapes(case, made):
    model = made.get("clone")
    if model is None:
        return
    inputs = case.inputs if len(case.inputs) > 1 else case.inputs[0]
    if BACKEND == "jax":
        import jax

        state = [
            [v.value for v in x] for x in (model.trainable_variables, model.non_trainable_variables)
        ]
        outputs, _ = jax.eval_shape(
            lambda x: model.stateless_call(*state, x, training=True), inputs
        )
    else:
        outputs = model(inputs, training=True)
    found = [tuple(y.shape) for y in tree.flatten(outputs)]
    expected = [y.shape for y in made["outputs"]]
    assert found == expected, f"in training {found} instead of {expected}"


def specialized(case, made):
    """Of the loaded model, where there is one."""
    model = made.get("loaded", case.model)
    if not case.specialized:
        return
    names = [x.name for x in case.model.inputs if x.name in case.conditions]
    left = [case.data[x.name] for x in case.model.inputs if x.name in case.data]
    for row in {0, case.rows - 1}:
        condition = {n: x if len(x) == 1 else x[row : row + 1] for n, x in case.conditions.items()}
        plain = kh.specialize(model, [condition[n] for n in names])
        assert not own_layers(plain), "layers of this package are left"
        assert len(plain.inputs) == len(left)
        each = len(next(iter(case.data.values()))) // case.rows
        own = slice(row * each, (row + 1) * each)
        if not case.random:
            found = call(plain, [x[own] for x in left])
            assert_close(found, [y[own] for y in made["outputs"]], case.tolerance)
    if made["trains"]:
        plain.save(made["path"].with_suffix(".plain.keras"))
        again = keras.saving.load_model(made["path"].with_suffix(".plain.keras"))
        inputs = [x[own] for x in left]
        assert_close(call(again, inputs), call(plain, inputs))
    layers = {layer.name: layer for layer in all_layers(plain)}
    for layer in all_layers(model):
        now = layers.get(layer.name)
        if now is not None and now.weights and not isinstance(layer, keras.Model):
            of = layer.layer if isinstance(layer, ChangedLayer) else layer
            assert now.trainable == of.trainable, f"{now.name}: trainable is {now.trainable}"


def tabulated(case, made):
    """All conditions in tables, a row for each."""
    names = [keras_internals.producer(symbol).name for symbol in case.model.inputs]
    given = {**case.conditions, **case.data}
    given = {name: given[symbol.name] for name, symbol in zip(names, case.model.inputs)}
    conditions = [case.conditions[x.name] for x in case.model.inputs if x.name in case.conditions]
    numbers = {len(array) for array in conditions}
    if not case.specialized or len(numbers) != 1:
        return
    tables = kh.tabulate(case.model, conditions)
    assert not any(isinstance(x, Generator) for x in all_layers(tables)), "a generator is left"
    row = np.arange(numbers.pop(), dtype="int32")
    inputs = [given.get(keras_internals.producer(x).name, row) for x in tables.inputs]
    if not case.random:
        assert_close(call(tables, inputs), made["outputs"], case.tolerance)


def described(case, made):
    table = kh.describe(case.model)
    assert str(table)
    total = 0
    for row in table:
        total += row["weights"]
        assert row["weights"] == sum(int(np.prod(shape)) for shape in row["shapes"])
    if case.described:
        weights = kh.target_weights(case.model, case.conditions)
        expected = sum(int(np.prod(w.shape[1:])) for w in weights.values())
        assert total == expected, f"{total} weights in the table, {expected} are generated"


def more_conditions(case, made):
    """The old ones keep their outputs, and unknown ids: the mean is the same."""
    kinds = (kh.ConditionEmbedding, Generator)
    found = [x for x in all_layers(case.model) if isinstance(x, kinds) and x.num_conditions]
    numbers = {layer.num_conditions for layer in found}
    if len(numbers) != 1 or not hasattr(case.model, "operations"):
        return
    number = numbers.pop() + 2
    before = [as_numpy(v) for v in case.model.weights]
    larger = kh.with_conditions(case.model, number, start="mean", freeze="all")
    assert {v.shape[0] for v in larger.trainable_variables} <= {number}
    for variable, value in zip(case.model.weights, before, strict=True):
        assert np.array_equal(as_numpy(variable), value, equal_nan=True), variable.path
    if not case.random:
        assert_close(call(larger, case.inputs), made["outputs"], case.tolerance)


def training_step(case, made):
    """Frozen variables stay as they are in the loaded model; the others stay finite."""
    model = made.get("loaded")
    if model is None or not model.trainable_variables or not made["trains"]:
        return
    if isinstance(model.output, (list, tuple)):  # attention's scores have a mask of another shape
        return
    held = [model.variables[i] for i in case.held if not model.variables[i].trainable]
    before = [as_numpy(v) for v in held]
    loss = "mse"
    jit = BACKEND == "jax"
    model.compile(keras.optimizers.SGD(0.01), loss, jit_compile=jit, run_eagerly=not jit)
    y = tree.pack_sequence_as(case.model.output, made["outputs"])
    inputs = case.inputs if len(case.inputs) > 1 else case.inputs[0]
    with warnings.catch_warnings():
        # Plain tensors alone leave the vectors of conditions without one.
        warnings.filterwarnings("ignore", message="Gradients do not exist")
        found = model.train_on_batch(inputs, tree.map_structure(lambda y: y + 0.1, y))
    assert np.isfinite(np.max(found)) or np.isnan(made["outputs"][0]).any(), "no finite loss"
    for variable, value in zip(held, before):
        assert np.array_equal(as_numpy(variable), value), f"{variable.path} was trained"


INVARIANTS = [
    rows,
    penalties,
    layer_configs,
    config,
    clone,
    weights_file,
    saved,
    deepcopy,
    frozen,
    paths,
    shapes,
    training_shapes,
    specialized,
    tabulated,
    described,
    more,
    more_conditions,
    training_step,
]
