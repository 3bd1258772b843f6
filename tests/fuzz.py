"""Random legal configurations of the public API, and what must hold of each.

A case is a model with data. Everything about it follows from one integer, its seed:
`FUZZ_SEED=123 FUZZ_CASES=1 python -m pytest -m slow -n 0 tests/test_fuzz.py` is one case again.
"""

import dataclasses
import re

import keras
import numpy as np
from keras import ops, tree

import keras_hypernet as kh
from keras_hypernet.utils import keras_internals
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
        penalty: Function that returns what all losses of the model add up to.
        more: Function that checks what else must hold.
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
    penalty: object = None
    more: object = None

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

    def nest(self):
        """Puts the model into another one."""
        symbols = [keras.Input(batch_shape=x.shape, dtype=x.dtype) for x in self.model.inputs]
        names = dict(zip([x.name for x in self.model.inputs], [x.name for x in symbols]))
        fed = tree.pack_sequence_as(self.model.input, symbols)
        outer = functional(symbols, self.model(fed))
        self.conditions = {names[name]: x for name, x in self.conditions.items()}
        self.data = {names[name]: x for name, x in self.data.items()}
        self.given = {**self.conditions, **self.data}
        self.model = outer

    def freeze(self, draw):
        """Freezes something, or nothing; what was frozen by it."""
        before = flags(self.model)
        graph = [layer for layer in all_layers(self.model) if layer.weights]
        inside = [x for own in own_layers(self.model) for x in keras_internals.layers_in(own)[1:]]
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
    own = [x for x in layers if type(x).__module__.startswith("keras_hypernet")]
    return [x for x in own if not isinstance(x, keras.Model)]


def functional(inputs, outputs):
    """A model whose only input is not in a list."""
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs)


def call(model, inputs):
    """Outputs as flat NumPy arrays: compiled on JAX, eager elsewhere."""
    inputs = inputs if len(inputs) > 1 else inputs[0]
    jax = BACKEND == "jax"
    outputs = model.predict_on_batch(inputs) if jax else model(inputs, training=False)
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
