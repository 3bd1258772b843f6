"""`with_conditions`: more conditions in a whole model, and vectors of new ones fitted alone."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_hypernet as kh
from tests.backend import numpy_of
from tests.test_freeze import saved_and_loaded
from tests.whole_models import settle

K, MORE, CLASSES = 4, 6, 3
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
SPEC = kh.WeightSpec.from_layer_sizes([(5, 4), (4, CLASSES)])


def inputs():
    return keras.Input((), dtype="int32", name="user"), keras.Input((5,), name="x")


def of_generator(make, layer=kh.Hypernetwork):
    def model():
        user, x = inputs()
        weights = layer(make(), num_conditions=K)(user)
        return keras.Model([user, x], kh.ApplyGeneratedWeights([(5, 4), (4, CLASSES)])(x, weights))

    return model


def chunked(**options):
    options = {"chunk_embeddings": "conditional", "num_conditions": K, **options}
    return kh.ChunkedWeightGenerator(SPEC, 7, 3, hidden_sizes=[6], **options)


def composed():
    first = {"first": kh.WeightGenerator(SPEC.shapes[:2], hidden_sizes=[6])}
    return kh.ComposedWeightGenerator(
        SPEC,
        generators=first,
        shared={"layer_1/kernel": (4, CLASSES)},
        conditional={"layer_1/bias": (CLASSES,)},
        num_conditions=K,
    )


def target():
    x = keras.Input((5,))
    y = layers.Dense(4, "tanh", name="hidden")(x)
    y = layers.BatchNormalization(name="norm")(y)
    y = layers.Reshape((2, 2))(y)
    y = layers.Flatten()(layers.MultiHeadAttention(2, 2, name="attention")(y, y))
    return keras.Model(x, layers.Dense(CLASSES, name="head")(y), name="target")


def hypernetized(mode="delta", freeze=None, nested=False):
    def model():
        user, x = inputs()
        vectors = kh.ConditionEmbedding(K, 3, name="users")(user)
        given = target()
        if nested:
            given = keras.Model(x, layers.Dense(CLASSES, name="last")(given(x)))
        select = ["*hidden/*", "*norm/*"] if mode != "low_rank" else "*hidden/kernel"
        return kh.hypernetize(given, conditioning=vectors, mode=mode, select=select, freeze=freeze)

    return model


def statistics():
    return kh.WeightGenerator(SPEC, hidden_sizes=[6], batch_normalization=True)


MODELS = {
    "hypernetwork": of_generator(lambda: kh.WeightGenerator(SPEC, [6], activation="tanh")),
    "statistics": of_generator(statistics),
    "chunks": of_generator(chunked),
    "statistics of conditions": of_generator(
        lambda: chunked(batch_normalization=True, conditional_statistics=True)
    ),
    "composed": of_generator(composed),
    "tasks": of_generator(lambda: kh.WeightGenerator(SPEC, hidden_sizes=[9]), kh.TaskWeights),
    "delta": hypernetized(),
    "low rank": hypernetized("low_rank", "base"),
    "held": hypernetized("replace", "all"),
    "nested": hypernetized(nested=True),
}


def trained_model(name, rng):
    """A model with values as if trained, all conditions with others."""
    return settle(MODELS[name](), rng)


def data(rng, low=0, high=K, rows=12):
    ids = rng.integers(low, high, size=rows).astype("int32")
    x = rng.normal(size=(rows, 5)).astype("float32")
    return ids, x, rng.integers(CLASSES, size=rows)


def arrays(model):
    return [np.array(ops.convert_to_numpy(v)) for v in model.weights]


def outputs(model, ids, x):
    return ops.convert_to_numpy(model([ids, x], training=False))


def recipe():
    """The three lines of the page on conditions."""
    text = (Path(__file__).parents[1] / "docs" / "conditions.md").read_text()
    return re.search(r"\n(larger = kh\.with_conditions.*?)```", text, re.DOTALL).group(1)


def test_the_recipe_is_three_lines():
    assert recipe().count("\n") == 3


def run_recipe(model, new_ids, new_x, new_y):
    code = recipe().replace("120", str(MORE))
    names = {"kh": kh, "keras": keras, "model": model, "loss": LOSS}
    exec(code, names := {**names, "new_ids": new_ids, "new_x": new_x, "new_y": new_y})
    return names["larger"]


OTHERS = ("composed", "delta", "nested", "statistics", "tasks")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in OTHERS else n for n in MODELS]
)
def test_new_users_are_fitted_with_all_else_held(name, rng, tmp_path):
    model = trained_model(name, rng)
    model.compile("adam", LOSS)
    ids, x, y = data(rng)
    model.fit([ids, x], y, epochs=2, verbose=0)
    model = saved_and_loaded(model, tmp_path)
    given, before = arrays(model), outputs(model, ids, x)
    new = data(rng, K, K + 1)  # one of the two new users
    larger = run_recipe(model, *new)

    changed = 0
    for variable, old in zip(larger.weights, given, strict=True):
        found = ops.convert_to_numpy(variable)
        grown = found.shape != old.shape
        np.testing.assert_array_equal(found[:K] if grown else found, old)
        if grown:  # of the new users the one that was in no batch is still the mean
            np.testing.assert_allclose(found[K + 1], old.mean(axis=0), rtol=1e-5, atol=1e-6)
            changed += np.any(found[K] != found[K + 1])
        assert variable.trainable == (grown and "moving" not in variable.path)
    assert changed == len(larger.trainable_variables) > 0
    np.testing.assert_allclose(outputs(larger, ids, x), before, rtol=1e-5, atol=1e-6)
    for a, b in zip(given, arrays(model), strict=True):
        np.testing.assert_array_equal(a, b)

    loaded = saved_and_loaded(larger, tmp_path)  # warnings are errors
    flags = [v.trainable for v in larger.weights]
    assert [v.trainable for v in loaded.weights] == flags
    assert [v.trainable for v in keras.models.clone_model(larger).weights] == flags
    after = arrays(loaded)
    loaded.fit([new[0] + 1, new[1]], new[2], verbose=0)  # goes on, with the other one
    for a, b, flag in zip(after, arrays(loaded), flags, strict=True):
        np.testing.assert_array_equal(a[: K if flag else None], b[: K if flag else None])
        assert np.any(a != b) == flag


def old_rows_move(optimizer, rng, regularizer=None):
    user, x = inputs()
    table = kh.ConditionEmbedding(K, 3, embeddings_regularizer=regularizer)
    generator = kh.WeightGenerator(SPEC, hidden_sizes=[6])
    y = kh.ApplyGeneratedWeights([(5, 4), (4, CLASSES)])(x, generator(table(user)))
    model = settle(keras.Model([user, x], y), rng)
    larger = kh.with_conditions(model, MORE, freeze="all")
    larger.compile(optimizer, LOSS)
    ids, x, y = data(rng, K, MORE)
    larger.fit([ids, x], y, epochs=3, batch_size=4, verbose=0)
    (vectors,) = larger.trainable_variables
    found = ops.convert_to_numpy(vectors)
    assert np.all(found[K:] != 0)
    return bool(np.any(found[:K] != ops.convert_to_numpy(table.table.embeddings)))


HOLDS = {
    "adam": lambda: keras.optimizers.Adam(0.1),
    "amsgrad": lambda: keras.optimizers.Adam(0.1, amsgrad=True),
    "momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.1, momentum=0.9, centered=True),
    "lion": lambda: keras.optimizers.Lion(0.1),
    "clipped": lambda: keras.optimizers.Adam(0.1, global_clipnorm=0.1),
    "average": lambda: keras.optimizers.Adam(0.1, use_ema=True),
    "steps": lambda: keras.optimizers.Adam(0.1, gradient_accumulation_steps=2),
}


@pytest.mark.parametrize("name", HOLDS)
def test_a_new_optimizer_leaves_old_vectors_where_they_are(name, rng):
    assert not old_rows_move(HOLDS[name](), rng)


def test_what_moves_old_vectors(rng):
    assert old_rows_move(keras.optimizers.AdamW(0.1, weight_decay=0.1), rng)
    assert old_rows_move(keras.optimizers.Adam(0.1), rng, regularizer="l2")


def test_an_optimizer_that_saw_an_id_moves_its_vector_later(rng):
    """Momentum goes on: so the model of `with_conditions` is to be compiled anew."""
    model = trained_model("hypernetwork", rng)
    model.compile("adam", LOSS)
    ids, x, y = data(rng)
    model.fit([np.zeros_like(ids), x], y, verbose=0)
    table = model.layers[-2].embedding.table.embeddings
    before = np.array(ops.convert_to_numpy(table))
    model.fit([np.ones_like(ids), x], y, verbose=0)
    moved = np.any(ops.convert_to_numpy(table) != before, axis=-1)
    assert moved.tolist() == [True, True, False, False]


def test_without_freeze_all_is_trained_as_before(rng):
    for name in ("chunks", "held"):
        model = trained_model(name, rng)
        larger = kh.with_conditions(model, MORE)
        assert [v.trainable for v in larger.weights] == [v.trainable for v in model.weights]
        assert [x.name for x in larger.layers] == [x.name for x in model.layers]
        assert [x.name for x in larger.inputs] == [x.name for x in model.inputs]
        assert larger.name == model.name
        assert not larger.compiled


def test_as_many_conditions_as_before_and_only_the_vectors_trained(rng):
    model = trained_model("hypernetwork", rng)
    same = kh.with_conditions(model, K, freeze="all")
    assert [v.shape[0] for v in same.trainable_variables] == [K]


def two_tables(numbers=(K, 3)):
    ids = [keras.Input((), dtype="int32", name=name) for name in ("user", "item")]
    tables = [kh.ConditionEmbedding(n, 2, name=f"{x.name}s") for n, x in zip(numbers, ids)]
    y = layers.Concatenate()([table(x) for table, x in zip(tables, ids)])
    return keras.Model({x.name: x for x in ids}, {"y": layers.Dense(2)(y)}, name="two")


def test_one_of_several_tables():
    model = two_tables()
    larger = kh.with_conditions(model, 9, layers=["users"], freeze="all")
    assert [tuple(v.shape) for v in larger.trainable_variables] == [(9, 2)]
    given = {"user": np.array([8]), "item": np.array([2])}
    assert tuple(larger(given)["y"].shape) == (1, 2)
    both = kh.with_conditions(two_tables((K, K)), 9)
    assert [both.get_layer(f"{name}s").num_conditions for name in ("user", "item")] == [9, 9]


def test_a_layer_that_is_called_twice(rng):
    ids = [keras.Input((), dtype="int32") for _ in range(2)]
    table = kh.ConditionEmbedding(K, 2)
    model = keras.Model(ids, layers.Subtract()([table(x) for x in ids]))
    larger = kh.with_conditions(model, MORE, start="mean")
    assert len(larger.weights) == 1
    assert not ops.convert_to_numpy(larger([np.array([4]), np.array([5])])).any()


REFUSED = {
    "no model": (lambda: layers.Dense(2), {}, TypeError, "`model`.*Dense"),
    "a subclass": (
        lambda: kh.ContinualModel(kh.build(2, 3, [(3, 1)]), num_tasks=2),
        {},
        ValueError,
        "`model` must be a functional model",
    ),
    "no conditions": (lambda: kh.build(2, 3, [(3, 1)]), {}, ValueError, "`model` must have layers"),
    "several numbers": (two_tables, {}, ValueError, "`layers` must say.*'users': 4, 'items': 3"),
    "no layer": (two_tables, {"layers": ["user"]}, ValueError, "`layers`.*'users'.*'user'"),
    "no layers": (two_tables, {"layers": []}, ValueError, "`layers`.*'users'"),
    "a name": (two_tables, {"layers": "users"}, ValueError, "`layers` must be a list.*'users'"),
    "fewer": (two_tables, {"num_conditions": 3, "layers": ["users"]}, ValueError, "below"),
    "float": (MODELS["tasks"], {"num_conditions": 9.0}, TypeError, "`num_conditions`"),
    "start": (MODELS["tasks"], {"start": "zeros"}, ValueError, "`start`.*'mean'.*'zeros'"),
    "freeze": (MODELS["tasks"], {"freeze": "base"}, ValueError, "`freeze`.*'all'.*'base'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    make, arguments, error, message = REFUSED[name]
    with pytest.raises(error, match=f"(?s){message}"):
        kh.with_conditions(make(), **{"num_conditions": MORE, **arguments})


@pytest.mark.parametrize("when", ["before compile", "after compile", "compiled anew"])
def test_flags_by_hand_load_without_a_warning(when, rng, tmp_path):
    """Keras builds an optimizer in the first `fit` or `evaluate`, of what is trained then."""
    model = trained_model("statistics", rng)
    ids, x, y = data(rng)
    hyper = next(layer for layer in model.layers if isinstance(layer, kh.Hypernetwork))

    def compile_and_fit():
        model.compile("adam", LOSS)
        if when == "after compile":
            hyper.generator.trainable = False
        model.fit([ids, x], y, verbose=0)

    if when == "compiled anew":
        compile_and_fit()
    hyper.generator.trainable = when == "after compile"
    compile_and_fit()
    loaded = saved_and_loaded(model, tmp_path)
    assert [v.shape[0] for v in loaded.trainable_variables] == [K]
    loaded.fit([ids, x], y, verbose=0)


def test_the_layers_themselves(rng):
    """The base is in memory once, and layers that no config makes anew are no obstacle."""
    x = keras.Input((3,))
    base = keras.Model(x, layers.Dense(2, name="out")(OwnConfig(name="own")(x)))
    ids = keras.Input((), dtype="int32", name="user")
    options = {"mode": "low_rank", "rank": 1, "select": "out/*", "freeze": "all", "copy": False}
    vectors = kh.ConditionEmbedding(4, 2)(ids)
    hyper = kh.hypernetize(base, conditioning=vectors, **{**options, "select": "out/kernel"})
    with pytest.raises(ValueError, match=r"'own' of class OwnConfig cannot.*`copy=False`"):
        kh.with_conditions(hyper, 6)
    larger = kh.with_conditions(hyper, 6, start="mean", freeze="all", copy=False)
    assert [tuple(v.shape) for v in larger.trainable_variables] == [(6, 2)]
    assert any(v is base.get_layer("out").kernel for v in larger.variables)
    data = [np.arange(4), rng.normal(size=(4, 3)).astype("float32")]
    np.testing.assert_array_equal(numpy_of(larger(data)), numpy_of(hyper(data)))


class OwnConfig(layers.Layer):
    """A layer that its config does not make anew."""

    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(units)

    def call(self, x):
        return self.dense(x)

    def get_config(self):
        raise ValueError("no config")
