"""Random legal configurations of the public API, and what must hold of each.

A case is a model with data. Everything about it follows from one integer, its seed:
`FUZZ_SEED=123 FUZZ_CASES=1 python -m pytest -m slow -n 0 tests/test_fuzz.py` is one case again.
"""

import collections
import copy
import dataclasses
import json
import os
import pickle
import re
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path

import keras
import numpy as np
from keras import ops, tree

import keras_hypernet as kh
from tests.backend import BACKEND
from tests.whole_models import settle

LAYERS = tuple(
    found
    for found in (getattr(kh, name) for name in kh.__all__)
    if isinstance(found, type) and issubclass(found, keras.layers.Layer)
)


class Draw:
    """Draws from a seed, and remembers what was drawn under a name."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.log = {}

    def chance(self, probability):
        return self.rng.random() < probability

    def integer(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def pick(self, choices):
        return choices[self.rng.integers(len(choices))]

    def note(self, **values):
        self.log.update(values)

    def named(self, name, choices):
        value = self.pick(choices)
        self.note(**{name: value})
        return value

    def options(self, table, probability=0.25):
        """`{argument: value}` of some of the arguments in a table of values."""
        chosen = [name for name in table if self.chance(probability)]
        found = {name: self.pick(table[name]) for name in chosen}
        self.note(**found)
        return found

    def floats(self, *shape):
        return self.rng.normal(size=shape).astype("float32")


@dataclasses.dataclass
class Case:
    """A functional model with data, and what its outputs must be.

    Args:
        model: The model.
        data: `{name of an input: array}`.
        conditions: The same for what generated weights depend on: of one row or `rows` each.
        expected: Function that returns the outputs, computed in another way.
        rows: Number of sets of weights.
        specialized: Whether a condition can be baked in.
        random: Whether outputs are drawn anew in each call.
        tolerance: Of outputs that are computed in another way.
        described: Whether `describe` and `target_weights` count the same weights.
        kept: Pattern of paths of variables that keep their values.
    """

    model: keras.Model
    data: dict
    conditions: dict
    expected: object = None
    rows: int = 1
    specialized: bool = True
    random: bool = False
    tolerance: float = 1e-4
    described: bool = True
    kept: str = "^$"

    def __post_init__(self):
        self.frozen = "nothing"
        self.given = {**self.conditions, **self.data}
        self.inputs = [self.given[x.name] for x in self.model.inputs]

    def settle(self, rng):
        """Values as if it were trained."""
        kept = [(v, as_numpy(v)) for v in self.model.weights if re.search(self.kept, v.path)]
        settle(self.model, rng)
        for variable, value in kept:
            variable.assign(value)

    def freeze(self, draw):
        """Freezes something, or nothing; what was frozen by it."""
        before = flags(self.model)
        graph = [layer for layer in all_layers(self.model) if layer.weights]
        inside = [x for own in own_layers(self.model) for x in own._flatten_layers(False)]
        inside = [layer for layer in inside if layer.weights]
        variables = [v for own in own_layers(self.model) for v in own.trainable_variables]
        kinds = {"model": [self.model], "layer": graph, "inside": inside, "variable": variables}
        kind = draw.pick(["nothing", "model", "layer", "layer", "inside", "inside", "variable"])
        if kinds.get(kind):
            chosen = draw.pick(kinds[kind])
            chosen.trainable = False
            self.frozen = f"{kind} {chosen.path or chosen.name}"
        now = flags(self.model)
        self.held = [i for i, (a, b) in enumerate(zip(before, now)) if a and not b]


def flags(model):
    return [v.trainable for v in model.variables]


def all_layers(model):
    """The layers of a graph, nested models opened."""
    found = []
    for layer in model.layers:
        found += [layer, *all_layers(layer)] if isinstance(layer, keras.Model) else [layer]
    return found


def own_layers(model):
    """The layers of a graph that are of this package, public or not."""
    layers = {id(layer): layer for layer in all_layers(model)}.values()
    return [x for x in layers if type(x).__module__.startswith("keras_hypernet")]


def functional(inputs, outputs):
    """A model whose only input is not in a list."""
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs)


def call(model, inputs):
    """Outputs as flat NumPy arrays: compiled on JAX, eager elsewhere."""
    inputs = inputs if len(inputs) > 1 else inputs[0]
    if BACKEND == "jax":
        outputs = model.predict_on_batch(inputs)
    else:
        outputs = model(inputs, training=False)
    return [as_numpy(y) for y in tree.flatten(outputs)]


def as_numpy(x):
    if "float" in keras.backend.standardize_dtype(x.dtype):
        x = ops.cast(x, "float32")
    return np.array(ops.convert_to_numpy(x))


def assert_close(found, expected, tolerance=1e-6):
    assert len(found) == len(expected), (len(found), len(expected))
    for a, b in zip(found, expected):
        assert a.shape == b.shape, f"shape {a.shape} instead of {b.shape}"
        assert np.array_equal(np.isnan(a), np.isnan(b)), "NaN"
        size = max(1.0, np.nanmax(np.abs(b), initial=0))
        off = np.nanmax(np.abs(a - b), initial=0)
        assert off <= tolerance * size, f"off by {off:.3g} where the largest is {size:.3g}"


# What must hold: `name(case, made)`; `made` is what one invariant leaves to the next ones.


def rows(case, made):
    made["outputs"] = call(case.model, case.inputs)
    if case.expected is not None and not case.random:
        assert_close(made["outputs"], case.expected(case), case.tolerance)


def layer_configs(case, made):
    for layer in own_layers(case.model):
        config = json.dumps(layer.get_config())
        given = json.loads(config)
        again = type(layer).from_config(given)
        assert json.dumps(again.get_config()) == config, f"{layer.name}: another config"
        assert json.dumps(given) == config, f"{layer.name}: `from_config` changed its argument"
        assert again.name == layer.name
        assert again.dtype_policy.name == layer.dtype_policy.name


def same(case, made, other, what):
    made[what] = other
    names = [v.name for v in case.model.variables]
    assert [v.name for v in other.variables] == names, "other variables"
    if not case.random:
        assert_close(call(other, case.inputs), made["outputs"])


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
    now = {what: flags(made[what]) for what in COPIES if what in made}
    wrong = [what for what, found in now.items() if found != flags(case.model)]
    assert not wrong, f"other trainable flags of {wrong} after freezing {case.frozen.split()[0]}"


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
    calls = [
        (layer, node.arguments.args, node.arguments.kwargs, node.output_tensors)
        for layer in own_layers(case.model)
        for node in layer._inbound_nodes
        if layer in case.model.layers
    ]
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

        state = [[v.value for v in x] for x in (model.trainable_variables, model.non_trainable_variables)]
        outputs, _ = jax.eval_shape(lambda x: model.stateless_call(*state, x, training=True), inputs)
    else:
        outputs = model(inputs, training=True)
    found = [tuple(y.shape) for y in tree.flatten(outputs)]
    expected = [y.shape for y in made["outputs"]]
    assert found == expected, f"in training {found} instead of {expected}"


def specialized(case, made):
    if not case.specialized:
        return
    for row in {0, case.rows - 1}:
        condition = {n: x if len(x) == 1 else x[row : row + 1] for n, x in case.conditions.items()}
        plain = kh.specialize(case.model, condition)
        assert not own_layers(plain), "layers of this package are left"
        each = len(next(iter(case.data.values()))) // case.rows
        own = slice(row * each, (row + 1) * each)
        if not case.random:
            left = [case.data[x.name] for x in case.model.inputs if x.name in case.data]
            assert len(plain.inputs) == len(left)
            found = call(plain, [x[own] for x in left])
            assert_close(found, [y[own] for y in made["outputs"]], case.tolerance)
    layers = {layer.name: layer for layer in all_layers(plain)}
    for layer in all_layers(case.model):
        now = layers.get(layer.name)
        if now is not None and now.weights and not isinstance(layer, keras.Model):
            assert now.trainable == layer.trainable, f"{now.name}: trainable is {now.trainable}"


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


def training_step(case, made):
    """Frozen variables stay as they are in the loaded model; the others stay finite."""
    model = made.get("loaded")
    if model is None or not model.trainable_variables or not made["trains"]:
        return
    held = [model.variables[i] for i in case.held if not model.variables[i].trainable]
    before = [as_numpy(v) for v in held]
    loss = "mse"
    jit = BACKEND == "jax"
    model.compile(keras.optimizers.SGD(0.01), loss, jit_compile=jit, run_eagerly=not jit)
    y = tree.pack_sequence_as(case.model.output, made["outputs"])
    inputs = case.inputs if len(case.inputs) > 1 else case.inputs[0]
    found = model.train_on_batch(inputs, tree.map_structure(lambda y: y + 0.1, y))
    assert np.isfinite(np.max(found)) or np.isnan(made["outputs"][0]).any(), "no finite loss"
    for variable, value in zip(held, before):
        assert np.array_equal(as_numpy(variable), value), f"{variable.path} was trained"


INVARIANTS = [
    rows,
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
    described,
    training_step,
]


@dataclasses.dataclass
class Failure:
    seed: int
    kind: str
    label: str
    invariant: str
    message: str
    place: str

    def __str__(self):
        return (
            f"FUZZ_SEED={self.seed} FUZZ_CASES=1  {self.kind}  {self.invariant}: {self.message}\n"
            f"    {self.place}\n    {self.label}"
        )


class Run:
    """Runs cases, and collects what fails.

    Args:
        kinds: `{name: (Draw -> Case, how often)}`.
        folder: For saved models.
        loaded_again: Part of the files that a second process loads.
    """

    def __init__(self, kinds, folder, loaded_again=0.2):
        self.kinds, self.folder, self.loaded_again = kinds, Path(folder), loaded_again
        self.failures, self.counts, self.files = [], collections.Counter(), {}

    def case(self, seed, only=None):
        """Makes a case of a seed and checks it; its failures."""
        draw = Draw(seed)
        draw.folder = self.folder
        kinds = {n: often for n, (_, often) in self.kinds.items() if re.search(only or "", n)}
        kind = draw.pick([name for name, often in kinds.items() for _ in range(often)])
        self.counts[kind] += 1
        keras.utils.set_random_seed(seed % 2**32)
        made = {"path": self.folder / f"{seed}.keras", "trains": draw.chance(0.3)}
        context, before = (seed, kind, draw), len(self.failures)
        case = self._guarded(context, "make", lambda: self.kinds[kind][0](draw))
        if case is None:
            return self.failures[before:]
        if not isinstance(case, Case):  # it is checked already
            return self.failures[before:]
        case.settle(draw.rng)
        case.freeze(draw)
        draw.note(frozen=case.frozen)
        for invariant in INVARIANTS:
            self._guarded(context, invariant.__name__, lambda: invariant(case, made))  # noqa: B023
            if "outputs" not in made:
                break
        if "loaded" in made and not case.random and draw.chance(self.loaded_again):
            label = _label(draw)
            self.files[seed] = (kind, label, case.inputs, made["outputs"])
        else:
            made["path"].unlink(missing_ok=True)
        return self.failures[before:]

    def _guarded(self, context, invariant, function):
        try:
            return function()
        except Exception as error:  # all of them, the run goes on
            seed, kind, draw = context
            frames = traceback.extract_tb(error.__traceback__)
            package = [f for f in frames if "keras_hypernet" in f.filename]
            own = (package or [f for f in frames if "fuzz" in f.filename])[-1]
            place = f"{own.filename.rpartition('/')[2]}:{own.lineno} in {own.name}"
            message = re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")[:400]
            self.failures.append(Failure(seed, kind, _label(draw), invariant, message, place))
            return None

    def second_process(self):
        """All files that were kept, loaded by one other process."""
        if not self.files:
            return
        arrays = {seed: inputs for seed, (*_, inputs, _) in self.files.items()}
        (self.folder / "inputs.pickle").write_bytes(pickle.dumps(arrays))
        subprocess.run(
            [sys.executable, "-c", "import sys; from tests import fuzz; fuzz.load_all(sys.argv[1])", self.folder],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        found = pickle.loads((self.folder / "outputs.pickle").read_bytes())
        for seed, (kind, label, _, outputs) in self.files.items():
            try:
                assert not isinstance(found[seed], str), found[seed]
                assert_close(found[seed], outputs, 1e-5)
            except AssertionError as error:
                message = str(error)[:400]
                self.failures.append(Failure(seed, kind, label, "second process", message, ""))

    def report(self):
        total, counts = sum(self.counts.values()), sorted(self.counts.items())
        lines = [f"{total} cases on {BACKEND}: " + ", ".join(f"{n} {kind}" for kind, n in counts)]
        lines.append(f"{len(self.files)} loaded by a second process, {len(self.failures)} failures")
        return "\n".join([*lines, *map(str, self.failures[:20])])


def _label(draw):
    return ", ".join(f"{name}={value!r}" for name, value in draw.log.items())


def load_all(folder):
    """What the second process does: outputs of every file, or what it raises."""
    folder = Path(folder)
    found = {}
    for seed, inputs in pickle.loads((folder / "inputs.pickle").read_bytes()).items():
        try:
            model = keras.saving.load_model(folder / f"{seed}.keras", safe_mode=True)
            found[seed] = call(model, inputs)
        except Exception as error:
            found[seed] = f"{type(error).__name__}: {error}"
    (folder / "outputs.pickle").write_bytes(pickle.dumps(found))


def run(kinds, folder, seed, cases=None, seconds=None, only=None, log=print):
    """Runs so many cases, or for so long."""
    found, start = Run(kinds, folder), time.monotonic()
    with warnings.catch_warnings():
        # Of `HyperFanIn` on chunks of few weights: it says what inputs would be better.
        warnings.filterwarnings("ignore", message=".*(?i:floor|variance)")
        warnings.filterwarnings("ignore", message=".*with a mask attached to it")
        for i in range(cases or 10**9):
            if seconds is not None and time.monotonic() - start > seconds:
                break
            for failure in found.case(seed + i, only):
                log(failure)
    found.second_process()
    return found
