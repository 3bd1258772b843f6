"""Ids that no condition has: an error where they can be read, else the mean, and a warning."""

import warnings

import keras
import numpy as np
import pytest

import keras_hypernet as kh
from tests.backend import BACKEND, numpy_of

K = 3
IDS = np.array([0, 1, 2, K, -1, 1000], "int32")
X = np.ones((len(IDS), 3), "float32")
SPEC = [(3, 2)]


# So that the mean of vectors gives the mean of weights, which differ.
LINEAR = {"hidden_sizes": (), "head_kernel_initializer": "he_normal"}


def linear():
    return kh.WeightGenerator(SPEC, **LINEAR)


def chunked(**options):
    conditional = {"chunk_embeddings": "conditional", "num_conditions": K, **options}
    return kh.ChunkedWeightGenerator(SPEC, 4, **LINEAR, **conditional)


def composed(**options):
    return kh.ComposedWeightGenerator(
        {"a/kernel": (3, 2)}, conditional={"a/kernel": (3, 2)}, num_conditions=K, **options
    )


def structured(**options):
    plan = kh.ChunkPlan(
        SPEC, {"a": {"shapes": {"w": (3, 2)}, "embedding_size": 2}}, {"layer_0/kernel": "a/0/w"}
    )
    return kh.StructuredWeightGenerator(plan, "conditional", K, **LINEAR, **options)


def behind_embedding(**options):
    return kh.Hypernetwork(chunked(), embedding_size=2, **options)


def perturbed(**options):
    return kh.PerturbedWeightGenerator(composed(), when="training", **options)


GENERATORS = {
    "Hypernetwork": lambda **options: kh.Hypernetwork(linear(), K, **options),
    "TaskWeights, looked up": lambda **options: kh.TaskWeights(linear(), K, 2, **options),
    "TaskWeights, once per task": lambda **options: kh.TaskWeights(linear(), K, 8, **options),
    "chunked": chunked,
    "structured": structured,
    "composed": composed,
    "Hypernetwork around ids": behind_embedding,
    "PerturbedWeightGenerator": perturbed,
}
every_generator = pytest.mark.parametrize("make", GENERATORS.values(), ids=GENERATORS)


def model_of(generator):
    ids, x = keras.Input((), dtype="int32"), keras.Input((3,))
    takes_ids = isinstance(generator, (kh.Hypernetwork, kh.TaskWeights))
    weights = generator(ids if takes_ids else {"condition_id": ids})
    model = keras.Model([ids, x], kh.Hyper(keras.layers.Dense(2, use_bias=False))(x, weights))
    model.compile("sgd", "mse", jit_compile=BACKEND != "torch")
    return model


def assert_unknown_get_the_mean(outputs):
    mean = np.broadcast_to(outputs[:K].mean(axis=0), outputs[K:].shape)
    assert np.ptp(outputs[:K], axis=0).min() > 1e-6
    np.testing.assert_allclose(outputs[K:], mean, rtol=1e-4, atol=1e-6)


@every_generator
def test_mean_where_it_is_asked_for(make):
    generator = make(unknown="mean")
    model = model_of(generator)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="__array__ implementation")
        assert_unknown_get_the_mean(numpy_of(model([IDS, X])))
        assert_unknown_get_the_mean(model.predict([IDS, X], verbose=0))
        model.fit([IDS, X], np.zeros((len(IDS), 2)), verbose=0)
    assert type(generator).from_config(generator.get_config()).unknown == "mean"


@every_generator
def test_error_where_values_can_be_read(make):
    model = model_of(make())
    with pytest.raises(
        ValueError, match=r"0 \.\.\. 2 .*unknown='mean'.*Received: ids from -1 to 1000"
    ):
        model([IDS, X])
    if BACKEND == "torch":
        with pytest.raises(ValueError, match=r"Received: ids from -1 to 1000"):
            model.predict([IDS, X], verbose=0)


@pytest.mark.skipif(BACKEND == "torch", reason="values can be read, unless it compiles")
@every_generator
def test_mean_and_a_warning_in_a_graph(make):
    model = model_of(make())
    count, y = model.count_params(), np.zeros((len(IDS), 2))
    with pytest.warns(UserWarning, match=r"not in 0 \.\.\. 2: they got the mean") as caught:
        outputs = model.predict([IDS, X], callbacks=[kh.UnknownIds()], verbose=0)
    assert len([w for w in caught if "mean" in str(w.message)]) == 1
    assert_unknown_get_the_mean(outputs)
    with pytest.warns(UserWarning, match="they got the mean"):
        model.fit([IDS, X], y, verbose=0)
    with pytest.warns(UserWarning, match="they got the mean"):
        model.evaluate([IDS, X], y, verbose=0)
    known = [IDS[:K], X[:K]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="__array__ implementation")
        model.fit(known, y[:K], verbose=0)
        model.predict(known, callbacks=[kh.UnknownIds()], verbose=0)
    assert model.count_params() == count == sum(w.size for w in model.get_weights())


@pytest.mark.parametrize("number", [3, 256, 300])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "uint32"])
@pytest.mark.parametrize("kind", ["embedding", "tasks", "chunks"])
def test_ids_of_every_integer_dtype(kind, dtype, number):
    """Limits do not wrap, and all operations take them."""
    layer = {
        "embedding": lambda: kh.ConditionEmbedding(number, 2),
        "tasks": lambda: kh.TaskWeights(linear(), number, 2),
        "chunks": lambda: behind_embedding(num_conditions=None),
    }[kind]
    if kind == "chunks" and number != K:
        pytest.skip("has K conditions")
    layer = layer()
    ids = np.array([0, 1, 2, min(number, 256) - 1], dtype)
    i = keras.Input((), dtype=dtype)
    outputs = layer(i)
    outputs = outputs["features"] if isinstance(outputs, dict) else outputs
    model = keras.Model(i, outputs)
    expected = numpy_of(layer(ids.astype("int32")))
    expected = expected["features"] if isinstance(expected, dict) else expected
    np.testing.assert_allclose(numpy_of(model(ids)), expected, rtol=1e-6)
    np.testing.assert_allclose(model.predict(ids, verbose=0), expected, rtol=1e-6)


def test_embedding():
    for unknown in ("mean", "error"):
        embedding = kh.ConditionEmbedding(K, 4, unknown=unknown)
        ids = keras.Input((), dtype="int32")
        model = keras.Model(ids, embedding(ids))
        if BACKEND != "torch" or unknown == "mean":
            assert_unknown_get_the_mean(model.predict(IDS, verbose=0))
    with pytest.raises(ValueError, match="`ids` must be in 0"):
        embedding(IDS)


def test_statistics_of_no_condition_are_the_mean_of_all(rng):
    layer = kh.WeightGenerator(
        SPEC, hidden_sizes=[4], batch_normalization=True, num_conditions=K, unknown="mean"
    )
    z = rng.normal(size=(len(IDS), 2)).astype("float32")
    given = {"condition": z, "condition_id": IDS}
    layer(given, training=True)
    normalization = layer.trunk[0].batch_normalization
    before = numpy_of(normalization.moving_mean)
    alone = {name: x[:K] for name, x in given.items()}
    layer(alone, training=True)
    expected = numpy_of(normalization.moving_mean)
    normalization.moving_mean.assign(before)
    outputs = numpy_of(layer(given, training=True))
    np.testing.assert_allclose(numpy_of(normalization.moving_mean), expected, rtol=1e-5)
    assert np.isfinite(outputs).all()


def test_unknown_is_an_argument_of_what_takes_ids():
    with pytest.raises(ValueError, match="`unknown` is for generators that take ids"):
        kh.WeightGenerator(SPEC, unknown="mean")
    with pytest.raises(ValueError, match="`unknown` must be one of"):
        kh.ConditionEmbedding(K, 4, unknown="zeros")


WRITTEN = {
    "an integer": (lambda: 2, [2]),
    "an integer of NumPy": (lambda: np.int64(2), [2]),
    "a tensor without axes": (lambda: keras.ops.convert_to_tensor(2), [2]),
    "a list": (lambda: [0, 2], [0, 2]),
    "a tuple": (lambda: (0, 2, 2), [0, 2, 2]),
    "a list of others": (lambda: [np.int32(0), np.array(2)], [0, 2]),
}


@pytest.mark.parametrize("written", WRITTEN)
def test_ids_as_people_write_them(written):
    given, ids = WRITTEN[written][0](), np.array(WRITTEN[written][1], "int32")
    for make in GENERATORS.values():
        generator = make()
        alone = isinstance(generator, kh.Hypernetwork)
        for value in [given] * alone + [{"condition_id": given}]:
            expected = generator(ids if alone else {"condition_id": ids})
            keras.tree.map_structure(
                lambda a, b: np.testing.assert_array_equal(numpy_of(a), numpy_of(b)),
                generator(value),
                expected,
            )
    embedding = kh.ConditionEmbedding(K, 2)
    np.testing.assert_array_equal(numpy_of(embedding(given)), numpy_of(embedding(ids)))
    model = model_of(linear_of_ids())
    weights, expected = (kh.target_weights(model, value) for value in (given, ids))
    for name in expected:
        np.testing.assert_array_equal(numpy_of(weights[name]), numpy_of(expected[name]))
    if len(ids) == 1:
        plain, expected = (kh.specialize(model, value) for value in (given, ids))
        np.testing.assert_array_equal(numpy_of(plain(X)), numpy_of(expected(X)))
        np.testing.assert_array_equal(
            numpy_of(kh.specialize(model, [given])(X)), numpy_of(plain(X))
        )


def linear_of_ids():
    return kh.Hypernetwork(linear(), K)


@pytest.mark.parametrize(
    "ids", [True, [0, True], [], 1.0, [0.0, 1.0], "a", ["a"], [[0, 1]], 2**70, [0, None]]
)
def test_what_is_no_id(ids):
    for call in (linear_of_ids(), kh.ConditionEmbedding(K, 2)):
        with pytest.raises((TypeError, ValueError), match=r"`(ids|conditioning)` must"):
            call(ids)


@pytest.mark.parametrize("ids", [3, [0, 3], -1])
def test_ids_written_so_are_checked(ids):
    with pytest.raises(ValueError, match=r"`condition_id` must be in 0 \.\.\. 2"):
        linear_of_ids()(ids)
    with pytest.raises(ValueError, match=r"`condition_id` must be in 0 \.\.\. 2"):
        chunked()({"condition_id": ids, "condition": X[:1]})
    with pytest.raises(ValueError, match=r"`ids` must be in 0 \.\.\. 2"):
        kh.ConditionEmbedding(K, 2)(ids)
