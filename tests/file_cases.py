"""The table of the files that every later version must load: `write_files.py` writes them.

The rows are those of the other tables, with what these have no saved model of.
"""

import keras
import numpy as np
from keras import layers

import keras_hypernet as kh
from tests import continual_cases as continual
from tests.cases import CASES, generator_model
from tests.rule_cases import HYPER_CASES
from tests.test_generator_file import MODELS
from tests.test_given_generators import GENERATORS, mlp
from tests.whole_models import SIZE, WHOLE, settle

ROWS = 4
UPDATE = {"mode": "low_rank", "rank": 2, "select": ["*/kernel"]}


def of_case(case):
    def make(rng):
        model, inputs = settle(case.model(), rng), case.model_inputs(ROWS, rng)
        return model, inputs if len(inputs) > 1 else inputs[0]

    return make


def of_whole(whole):
    def make(rng):
        narrow = {} if "generator" in whole.arguments else {"hidden_sizes": (4,)}
        model = settle(whole.hyper(settle(whole.make(), rng), **narrow), rng)
        data = whole.data(rng, ROWS)
        if isinstance(data, dict):
            return model, {"conditioning": whole.conditions(rng, ROWS), **data}
        data = data if isinstance(data, list) else [data]
        return model, [whole.conditions(rng, ROWS), *data]

    return make


def floats(rng, *sizes):
    return [rng.normal(size=(ROWS, size)).astype("float32") for size in sizes]


def built(**options):
    def make(rng):
        model = settle(kh.build(4, 3, [(3, 5), (5, 2)], [6], **options), rng)
        return model, floats(rng, 4, 3)

    return make


def adapted(**options):
    def make(rng):
        hyper = kh.hypernetize(settle(mlp(), rng), SIZE, hidden_sizes=[6], **options)
        return settle(hyper, rng), floats(rng, SIZE, 4)

    return make


def of_generator(make, **start):
    def hypernetized(rng):
        model = settle(mlp(), rng)
        hyper = kh.hypernetize(model, SIZE, generator=lambda spec: make(spec, start), mode="delta")
        return settle(hyper, rng), floats(rng, SIZE, 4)

    return hypernetized


def of_conditioning(rng):
    """A conditioning that a graph makes of a number and of an id."""
    time, user = keras.Input((1,), name="time"), keras.Input((), dtype="int32", name="user")
    vectors = [kh.FourierFeatures(2)(time), kh.ConditionEmbedding(3, 2)(user)]
    hyper = kh.hypernetize(
        settle(mlp(), rng), conditioning=layers.Concatenate()(vectors), hidden_sizes=[6]
    )
    time, x = floats(rng, 1, 4)
    return settle(hyper, rng), [time, np.arange(ROWS, dtype="int32") % 3, x]


def enlarged(rng):
    model, [_, x] = MODEL_FILES["TaskWeights once per task"](rng)
    return kh.with_conditions(model, 6), [np.array([0, 3, 4, 5], "int32"), x]


def frozen(rng):
    """A layer whose own config forgets that it is frozen."""
    x = keras.Input((5, 3))
    y = layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(1, 2, name="attention")(x, x))
    model = settle(keras.Model(x, layers.Dense(2, name="head")(y)), rng)
    options = {"select": ["head/*"], "mode": "delta", "freeze": "all", "hidden_sizes": [6]}
    hyper = settle(kh.hypernetize(model, SIZE, **options), rng)
    return hyper, [*floats(rng, SIZE), rng.normal(size=(ROWS, 5, 3)).astype("float32")]


def tables(make, copy=True):
    def tabulated(rng):
        model, [z, x] = make(rng)
        return kh.tabulate(model, z, copy=copy), [np.array([2, 0, 3, 1], "int32"), x]

    return tabulated


def quantized(rng):
    model, inputs = adapted()(rng)
    model.quantize("int8")
    return model, inputs


def learned(make, **options):
    """A model that has learned two tasks; its inputs are without a task."""

    def trained(rng):
        model = continual.continual(make(), **options)
        continual.learn(model, "ab")
        return model, floats(rng, 3)[0]

    return trained


def of_start(initialization):
    def make(rng):
        model = generator_model(initialization=initialization)()
        return settle(model, rng), floats(rng, 5)[0]

    return make


STARTS = (kh.HyperFanIn(), kh.HyperFanOut(), kh.HyperFanHarmonic(), kh.BiasHyperInit(seed=3))
MODEL_FILES = {
    **{case.id: of_case(case) for case in [*CASES, *HYPER_CASES]},
    **{f"start {type(start).__name__}": of_start(start) for start in STARTS},
    "build": built(),
    "build sine": built(activation=kh.sine()),
    **{f"hypernetize {whole.name}": of_whole(whole) for whole in WHOLE if not whole.slow},
    **{
        f"hypernetize generate {part}": adapted(**UPDATE, generate=part, alpha=3.0)
        for part in ("both", "up", "scale")
    },
    **{f"hypernetize freeze {part}": adapted(**UPDATE, freeze=part) for part in ("base", "all")},
    **{f"hypernetize generator {name}": of_generator(make) for name, make in GENERATORS.items()},
    "hypernetize gates": of_generator(GENERATORS["whole"], initialization=None),
    "hypernetize conditioning": of_conditioning,
    "hypernetize frozen layer": frozen,
    "hypernetize int8": quantized,
    "hypernetize given layers": adapted(mode="delta", copy=False),
    "with_conditions": enlarged,
    "tabulate": tables(adapted()),
    "tabulate low rank": tables(adapted(**UPDATE)),
    **{f"ContinualModel {name}": learned(make) for name, make in continual.MODELS.items()},
    "ContinualModel heads": learned(continual.built, heads=[[0, 1], [0, 1], [1]]),
    "ContinualModel copy": learned(continual.built, targets="copy"),
}

# A file of `save_generator` is for its own base: these models must stay as they are.
GENERATOR_FILES = {
    name: MODELS[name]
    for name in ("replace", "delta base", "low_rank all", "nested", "blocks", "tasks")
}
