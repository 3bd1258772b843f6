"""`Hypernetwork`: conditions, capacity, given variables, and hypernetworks of hypernetworks."""

import keras
import numpy as np
import pytest

import keras_hypernet as kh
from tests.backend import BACKEND, numpy_of

SPEC = kh.WeightSpec.from_layer_sizes([(3, 4), (4, 2)])
K = 4


def full(**other):
    return kh.WeightGenerator(SPEC, hidden_sizes=[6], head_kernel_initializer="he_normal", **other)


def chunked(**other):
    other = {"chunk_embeddings": "conditional", "num_conditions": K, **other}
    return kh.ChunkedWeightGenerator(SPEC, 7, 3, hidden_sizes=[6], **other)


def structured():
    return kh.StructuredWeightGenerator(
        kh.ChunkPlan(
            SPEC,
            {
                "a": {"shapes": {"kernel": (3, 4), "bias": (4,)}, "embedding_size": 2},
                "b": {"shapes": {"kernel": (4, 1), "bias": (1,)}, "number": 2},
            },
            {
                "layer_0/kernel": "a/0/kernel",
                "layer_0/bias": "a/0/bias",
                "layer_1/kernel": {"join": ["b/0/kernel", "b/1/kernel"], "axis": -1},
                "layer_1/bias": {"join": ["b/0/bias", "b/1/bias"]},
            },
        ),
        chunk_embeddings="conditional",
        num_conditions=K,
        hidden_sizes=[5],
    )


def composed():
    return kh.ComposedWeightGenerator(
        SPEC,
        generators={"first": kh.WeightGenerator([(3, 4), (4,)], hidden_sizes=[5])},
        shared={"layer_1/kernel": (4, 2)},
        conditional={"layer_1/bias": (2,)},
        num_conditions=K,
    )


def chunks_of_a_chunk(spec):
    conditional = {"chunk_embeddings": "conditional", "num_conditions": K}
    return kh.ChunkedWeightGenerator(spec, 4, 2, hidden_sizes=[6], **conditional)


GENERATORS = {
    "full": full,
    "chunked": chunked,
    "structured": structured,
    "composed": composed,
    "deconv": lambda: kh.DeconvWeightGenerator(SPEC, (5, 6), [8], attention=[0]),
    "chunked deconv": lambda: kh.ChunkedDeconvWeightGenerator(
        SPEC, (3, 3), [8], attention=(), chunk_embeddings="conditional", num_conditions=K
    ),
    "chunks of chunks": lambda: kh.ChunkedWeightGenerator(SPEC, 9, 3, generator=chunks_of_a_chunk),
    "perturbed": lambda: kh.PerturbedWeightGenerator(full(), when="training", seed=1),
    "statistics": lambda: full(batch_normalization=True, num_conditions=K),
}
every_generator = pytest.mark.parametrize("make", GENERATORS.values(), ids=GENERATORS)


def hypernetwork(make=full, **other):
    hyper = kh.Hypernetwork(make(), **{"num_conditions": K, **other})
    noise = np.ones((1, hyper.noise_size), "float32")
    hyper({"condition_id": np.array([0]), **({"noise": noise} if hyper.noise_size else {})})
    return hyper


def mlp_model(make, **other):
    ids, x = keras.Input((), dtype="int32"), keras.Input((3,))
    hyper = kh.Hypernetwork(make(), num_conditions=K, **other)
    return keras.Model([ids, x], kh.ApplyGeneratedWeights([(3, 4), (4, 2)])(x, hyper(ids))), hyper


def mlp_data(rng, rows=32, ids=None):
    ids = rng.integers(K, size=rows) if ids is None else np.full(rows, ids)
    x = rng.normal(size=(rows, 3)).astype("float32")
    return [ids.astype("int32"), x], rng.normal(size=(rows, 2)).astype("float32")


# Each generator behind ids.


@every_generator
def test_conditions_differ_and_repeat(make):
    hyper = hypernetwork(make)
    for variable in hyper.variables:  # what starts equal for all conditions
        if not numpy_of(variable).any():
            variable.assign(keras.random.normal(variable.shape))
    weights = numpy_of(hyper(np.array([2, 0, 2])))
    np.testing.assert_allclose(weights[0], weights[2], rtol=1e-5, atol=1e-6)
    assert np.abs(weights[0] - weights[1]).max() > 1e-4
    np.testing.assert_allclose(numpy_of(hyper(np.array([0])))[0], weights[1], rtol=1e-4, atol=1e-6)


@every_generator
def test_a_model_learns_saves_and_loads(make, rng, tmp_path):
    model, _ = mlp_model(make)
    inputs, y = mlp_data(rng)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    losses = model.fit(inputs, y, batch_size=12, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    expected = model.predict(inputs, verbose=0)
    np.testing.assert_array_equal(loaded.predict(inputs, verbose=0), expected)
    np.testing.assert_allclose(
        model.predict([i[:1] for i in inputs], verbose=0), expected[:1], rtol=1e-4
    )


@every_generator
def test_training_one_condition_leaves_the_others_where_they_are(make, rng):
    model, hyper = mlp_model(make)
    before = [numpy_of(v) for v in hyper.conditional_variables]
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.fit(*mlp_data(rng, ids=1), batch_size=8, epochs=2, verbose=0)
    for variable, old in zip(hyper.conditional_variables, before):
        new = numpy_of(variable)
        if make is not GENERATORS["statistics"]:  # rows that are all alike have no variance
            assert np.any(new[1] != old[1]), variable.path
        np.testing.assert_array_equal(new[[0, 2, 3]], old[[0, 2, 3]])


@every_generator
def test_more_conditions_keep_what_was_learned(make, rng):
    model, hyper = mlp_model(make)
    model.compile("adam", "mse")
    model.fit(*mlp_data(rng), epochs=1, verbose=0)
    larger = hyper.with_conditions(6)
    assert larger.num_conditions == 6
    assert {v.shape[0] for v in larger.conditional_variables} == {6}
    ids = np.array([3, 0, 1, 2])
    np.testing.assert_array_equal(numpy_of(larger(ids)), numpy_of(hyper(ids)))
    assert tuple(larger(np.array([5])).shape) == (1, SPEC.total)
    with pytest.raises(ValueError, match=r"0 \.\.\. 3"):
        hyper(np.array([5]))
    paths = [v.path.split("/", 1)[1] for h in (hyper, larger) for v in h.weights]
    assert len(set(paths)) == len(paths)


def with_numbers(layer):
    """Statistics of conditions that differ, and tensors that start equal for all."""
    for variable in layer.weights:
        if "moving" in variable.path or "plain" in variable.path:
            variable.assign(keras.random.uniform(variable.shape))
    return layer


ENLARGED = {
    **{name: lambda make=make: hypernetwork(make) for name, make in GENERATORS.items()},
    "tasks": lambda: called(kh.TaskWeights(chunked(), K)),
    "embedding": lambda: called(kh.ConditionEmbedding(K, 3)),
    "half": lambda: hypernetwork(lambda: chunked(dtype="bfloat16"), dtype="bfloat16"),
    "chunks alone": lambda: called(
        chunked(batch_normalization=True, conditional_statistics=True), noise=np.ones((1, 2))
    ),
}


def called(layer, **given):
    ids = np.array([0])
    layer({"condition_id": ids, **given} if given else ids)
    return layer


@pytest.mark.parametrize("start", ["initializer", "mean"])
@pytest.mark.parametrize("name", ENLARGED)
def test_where_new_conditions_start(name, start):
    layer = with_numbers(ENLARGED[name]())
    larger = layer.with_conditions(K + 2, start=start)
    grown = 0
    for old, new in zip(layer.weights, larger.weights, strict=True):
        value, found = numpy_of(old), numpy_of(new)
        if found.shape == value.shape:
            np.testing.assert_array_equal(found, value)
        else:
            np.testing.assert_array_equal(found[:K], value)
            grown += 1
            assert found.shape == (K + 2, *value.shape[1:])
            mean = np.broadcast_to(value.mean(axis=0), found[K:].shape)
            close = np.allclose(found[K:], mean, rtol=1e-2 if name == "half" else 1e-5, atol=1e-6)
            assert close == (start == "mean"), new.path
    conditional = [id(v) for v in larger.conditional_variables]
    statistics = [v for v in larger.weights if "moving" in v.path and v.shape[0] == K + 2]
    assert grown == len(conditional) + len(statistics) > 0


def test_a_failed_owner_leaves_its_generator_free():
    generator = full()
    for fail in (
        lambda: kh.Hypernetwork(generator, 3, embeddings_initializer="no"),
        lambda: kh.TaskWeights(generator, 0),
        lambda: kh.PerturbedWeightGenerator(generator, sigma=-1.0),
        lambda: kh.ChunkedWeightGenerator([(9, 9)], SPEC.total + 1, generator=generator),
        lambda: kh.ComposedWeightGenerator({"no": (3,)}, generators={"part": generator}),
    ):
        with pytest.raises(ValueError, match=r"no|num_conditions|sigma|chunk"):
            fail()
    kh.Hypernetwork(generator, 3)
    with pytest.raises(ValueError, match="belongs to another layer"):
        kh.TaskWeights(generator, 3)


def test_capacity_only_grows():
    with pytest.raises(ValueError, match="must not be below"):
        hypernetwork().with_conditions(3)
    with pytest.raises(ValueError, match="must be built"):
        kh.Hypernetwork(full(), num_conditions=3).with_conditions(5)
    with pytest.raises(TypeError, match="`num_conditions`"):
        hypernetwork().with_conditions(5.0)
    with pytest.raises(ValueError, match=r"`start`.*'initializer', 'mean'.*Received: start='zero'"):
        hypernetwork().with_conditions(5, start="zero")
    with pytest.raises(ValueError, match=r"has no conditions.*num_conditions=5"):
        full().with_conditions(5)


# Targets of other kinds.

CNN = kh.WeightSpec.from_shapes(
    {
        "conv/kernel": (3, 3, 2, 4),
        "conv/bias": (4,),
        "norm/gamma": (4,),
        "norm/beta": (4,),
        "table/embeddings": (5, 3),
        "dense/kernel": (4, 2),
    }
)


def cnn_composed():
    return kh.ComposedWeightGenerator(
        CNN,
        generators={"conv": kh.WeightGenerator({"conv/kernel": (3, 3, 2, 4), "conv/bias": (4,)})},
        shared={"norm/gamma": (4,), "norm/beta": (4,), "table/embeddings": (5, 3)},
        conditional={"dense/kernel": (4, 2)},
        num_conditions=K,
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: kh.WeightGenerator(CNN, initialization="hyper_fan_in"),
        lambda: kh.ChunkedWeightGenerator(CNN, 20, hidden_sizes=[8]),
        lambda: kh.StructuredWeightGenerator(
            kh.plan_chunks(CNN, 400, input_size=8), hidden_sizes=()
        ),
        cnn_composed,
        lambda: kh.DeconvWeightGenerator(CNN, (8, 8, 2), [8, 8], attention=[1]),
        lambda: kh.ChunkedDeconvWeightGenerator(CNN, (5, 5), [8], attention=[0]),
        lambda: kh.PerturbedWeightGenerator(kh.WeightGenerator(CNN), when="training"),
    ],
)
def test_a_cnn_shaped_target_is_saved_and_loaded(make, tmp_path):
    ids = keras.Input((), dtype="int32")
    model = keras.Model(ids, kh.Hypernetwork(make(), num_conditions=K)(ids))
    i = np.array([3, 0, 3], "int32")
    expected = model.predict(i, verbose=0)
    assert expected.shape == (3, CNN.total)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded.predict(i, verbose=0), expected)


NORM = ("gamma", "beta")


def test_names_of_variables_are_those_of_every_process(tmp_path):
    def make(*hidden_sizes):
        generator = kh.WeightGenerator(SPEC, hidden_sizes, batch_normalization=True)
        return hypernetwork(lambda: generator)

    hyper = make(5, 6)
    hidden = [
        f"weight_generator/hidden{number}/{name}"
        for number in ("", "_1")
        for name in ("dense/kernel", "dense/bias", *(f"batch_normalization/{n}" for n in NORM))
    ]
    head = ["weight_generator/head/kernel", "weight_generator/head/bias"]
    names = [*hidden, *head, "embedding/table/embeddings"]
    assert list(hyper.named_variables()) == names
    ids = keras.Input((), dtype="int32")
    keras.Model(ids, hyper(ids)).save(tmp_path / "hyper.keras")
    loaded = keras.saving.load_model(tmp_path / "hyper.keras").layers[-1]
    assert list(loaded.named_variables()) == names
    assert list(make(5).named_variables()) == [*names[:4], *names[8:]]


def freeze_all(hyper):
    hyper.trainable = False


def freeze_a_head(hyper):
    hyper.generator.head.trainable = False


def freeze_a_variable(hyper):
    hyper.generator.trunk[0].dense.bias.trainable = False


def freeze_all_but_the_vectors(hyper):
    hyper.generator.trainable = False


@pytest.mark.parametrize(
    "freeze", [freeze_all, freeze_a_head, freeze_a_variable, freeze_all_but_the_vectors]
)
@pytest.mark.parametrize("more", [K, K + 2])
def test_what_is_frozen_stays_frozen_with_more_conditions(freeze, more):
    hyper = hypernetwork(full)
    freeze(hyper)
    expected = [v.trainable for v in hyper.weights]
    assert not all(expected)
    larger = hyper.with_conditions(more)
    assert [v.trainable for v in larger.weights] == expected
    again = kh.Hypernetwork.from_config(larger.get_config())
    again(np.array([0]))
    assert [v.trainable for v in again.weights] == expected


# What belongs to conditions.


@every_generator
def test_variables_are_conditional_or_not(make):
    hyper = hypernetwork(make)
    conditional, shared = hyper.conditional_variables, hyper.unconditional_variables
    everything = {id(v) for v in hyper.trainable_variables}
    assert {id(v) for v in conditional} | {id(v) for v in shared} == everything
    assert len(conditional) + len(shared) == len(everything)
    named = hyper.named_variables()
    assert {id(v) for v in named.values()} == everything
    assert {v.shape[0] for v in conditional} == {K}
    assert hyper.conditional_spec.shapes == [tuple(v.shape) for v in conditional]
    assert [named[name] for name in hyper.unconditional_spec.names] == shared
    assert [named[name] for name in hyper.conditional_spec.names] == conditional
    assert hyper.num_conditions == K
    assert hyper.weight_spec == SPEC


def test_variables_of_one_condition():
    hyper = hypernetwork(chunked)
    rows = kh.condition_variables(hyper, 2)
    named = hyper.named_variables()
    assert set(rows) == set(hyper.conditional_spec.names)
    for name, row in rows.items():
        np.testing.assert_array_equal(numpy_of(row), numpy_of(named[name])[2])
    with pytest.raises(ValueError, match="Received: 4"):
        kh.condition_variables(hyper, 4)
    with pytest.raises(TypeError, match="`condition`"):
        kh.condition_variables(hyper, "1")
    with pytest.raises(ValueError, match="must be built"):
        kh.condition_variables(full(), 0)
    built = full()
    built(np.ones((1, 2), "float32"))
    with pytest.raises(ValueError, match="must have conditions"):
        kh.condition_variables(built, 0)


def test_one_row_is_for_all(rng):
    hyper = hypernetwork(chunked, noise_size=2, embedding_size=5)
    noise = rng.normal(size=(3, 2)).astype("float32")
    ids = np.array([2, 2, 2])
    whole = numpy_of(hyper({"condition_id": ids, "noise": noise}))
    one_id = numpy_of(hyper({"condition_id": ids[:1], "noise": noise}))
    np.testing.assert_allclose(one_id, whole, rtol=1e-5, atol=1e-6)
    ids = np.array([0, 3, 1])
    whole = numpy_of(hyper({"condition_id": ids, "noise": np.repeat(noise[:1], 3, axis=0)}))
    one_noise = numpy_of(hyper({"condition_id": ids, "noise": noise[:1]}))
    np.testing.assert_allclose(one_noise, whole, rtol=1e-5, atol=1e-6)


@every_generator
def test_one_row_is_for_all_where_rows_are_not_known(make, rng):
    size = SPEC.total if make is GENERATORS["perturbed"] else 2
    ids, noise = keras.Input((), dtype="int32"), keras.Input((size,))
    hyper = kh.Hypernetwork(make(), num_conditions=K, noise_size=size)
    model = keras.Model([ids, noise], hyper({"condition_id": ids, "noise": noise}))
    i, z = np.array([0, 3, 1]), rng.normal(size=(1, size)).astype("float32")
    expected = numpy_of(model([i, np.repeat(z, 3, axis=0)]))
    np.testing.assert_allclose(numpy_of(model([i, z])), expected, rtol=1e-5, atol=1e-6)


def test_ids_select_tensors_while_vectors_feed_the_parts(rng):
    hyper = hypernetwork(composed, embedding_size=5)
    vectors = rng.normal(size=(2, 5)).astype("float32")
    both = numpy_of(hyper({"condition": vectors, "condition_id": np.array([1, 3])}))
    by_id = numpy_of(hyper(np.array([1, 3])))
    np.testing.assert_array_equal(both[:, -2:], by_id[:, -2:])
    first = numpy_of(hyper.generator.generators["first"](vectors))
    np.testing.assert_allclose(both[:, :16], first, rtol=1e-5)


# Normalization per condition.


def test_statistics_are_those_of_the_rows_of_a_condition(rng):
    layer = full(batch_normalization=True, num_conditions=K, momentum=0.9)
    z, ids = rng.normal(size=(7, 5)).astype("float32"), np.array([2, 0, 2, 2, 0, 3, 2])
    layer({"condition": z, "condition_id": ids})
    normalization = layer.trunk[0].batch_normalization
    gamma, beta = rng.normal(size=(2, 6))
    normalization.gamma.assign(gamma)
    normalization.beta.assign(beta)
    weights = numpy_of(layer({"condition": z, "condition_id": ids}, training=True))
    kernel, bias = (numpy_of(v) for v in layer.trunk[0].dense.weights)
    head, head_bias = (numpy_of(v) for v in layer.head.weights)
    hidden = z @ kernel + bias
    mean, variance = np.zeros((K, 6)), np.ones((K, 6))
    normal = np.zeros_like(hidden)
    for condition in (0, 2, 3):
        rows = hidden[ids == condition]
        mean[condition] = 0.1 * rows.mean(axis=0)
        variance[condition] = 0.9 + 0.1 * rows.var(axis=0)
        normal[ids == condition] = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-3)
    expected = np.maximum(normal * gamma + beta, 0) / np.sqrt(6) @ head + head_bias
    np.testing.assert_allclose(weights, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(numpy_of(normalization.moving_mean), mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(numpy_of(normalization.moving_variance), variance, rtol=1e-4)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda: full(batch_normalization=True, num_conditions=K),
        lambda: chunked(
            chunk_embeddings="shared", batch_normalization=True, conditional_statistics=True
        ),
    ],
)
def test_one_row_is_normalized_for_every_condition(make, training, rng):
    layer, z = make(), rng.normal(size=(1, 5)).astype("float32")
    many = {"condition": np.repeat(z, 3, axis=0), "condition_id": np.array([2, 0, 2])}
    layer(many)
    start = layer.get_weights()
    expected = numpy_of(layer(many, training=training))
    layer.set_weights(start)
    found = numpy_of(layer({**many, "condition": z}, training=training))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


# Given variables.


def values_of(variables):
    return [numpy_of(v).astype("float32") for v in variables]


@every_generator
def test_runs_with_given_variables(make, rng):
    made = []
    for _ in range(2):
        keras.utils.set_random_seed(0)  # for one frozen base, which is no variable
        made.append(hypernetwork(make))
    hyper, other = made
    for variable in other.trainable_variables:
        variable.assign_add(rng.uniform(0.1, 0.5, variable.shape))
    ids = np.array([3, 1])
    expected = numpy_of(other(ids))
    flat = {
        "unconditional": hyper.unconditional_spec.pack(values_of(other.unconditional_variables)),
        "conditional": hyper.conditional_spec.pack(values_of(other.conditional_variables))[None],
    }
    before = numpy_of(hyper(ids))
    np.testing.assert_allclose(numpy_of(hyper(ids, variables=flat)), expected, atol=1e-6)
    named = other.named_variables()
    single = dict(zip(named, values_of(named.values())))
    np.testing.assert_allclose(numpy_of(hyper(ids, variables=single)), expected, atol=1e-6)
    np.testing.assert_array_equal(numpy_of(hyper(ids)), before)


def test_part_of_the_variables_is_given(rng):
    hyper = hypernetwork()
    table = rng.normal(size=(K, 8)).astype("float32")
    (name,) = hyper.conditional_spec.names
    given = numpy_of(hyper(np.array([3, 1]), variables={name: table}))
    expected = numpy_of(hyper(table[[3, 1]]))
    np.testing.assert_allclose(given, expected, rtol=1e-5)


def test_state_moves_while_variables_are_given(rng):
    hyper = hypernetwork(lambda: full(batch_normalization=True, dropout=0.5, seed=1))
    normalization = hyper.generator.trunk[0].batch_normalization
    flat = hyper.unconditional_spec.pack(values_of(hyper.unconditional_variables))
    ids = np.array([0, 1, 2])
    one = numpy_of(hyper(ids, variables={"unconditional": flat}, training=True))
    other = numpy_of(hyper(ids, variables={"unconditional": flat}, training=True))
    assert np.any(one != other)  # the dropout's seed moves
    assert np.any(numpy_of(normalization.moving_mean) != 0)


def test_changes_are_added_to_unconditional_variables(rng):
    hyper = hypernetwork()
    changes = [rng.normal(size=v.shape).astype("float32") for v in hyper.unconditional_variables]
    perturbed = kh.perturb_unconditional(hyper, changes)
    found = numpy_of(hyper(np.array([1]), variables=perturbed))
    for variable, change in zip(hyper.unconditional_variables, changes):
        variable.assign(variable + change)
    np.testing.assert_allclose(found, numpy_of(hyper(np.array([1]))), rtol=1e-5)
    with pytest.raises(ValueError, match="one per unconditional variable"):
        kh.perturb_unconditional(hyper, changes[1:])
    with pytest.raises(TypeError, match="`changes` must be a list"):
        kh.perturb_unconditional(hyper, 0.1)
    with pytest.raises(TypeError, match="must be a `Hypernetwork`"):
        kh.perturb_unconditional(hyper.generator, changes)
    with pytest.raises(ValueError, match="shapes of the variables"):
        kh.perturb_unconditional(hyper, [change[:1] for change in changes])


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"head": np.ones((1, 3), "float32")}, "must have names of"),
        ({"unconditional": np.ones((1, 3), "float32")}, "must have the shape"),
        ({"unconditional": np.ones((2, 236), "float32")}, "one set for the whole batch"),
    ],
)
def test_variables_that_do_not_fit(variables, message):
    hyper = hypernetwork()
    with pytest.raises(ValueError, match=message):
        hyper(np.array([0]), variables=variables)


def test_other_inputs_are_no_variables():
    with pytest.raises(TypeError, match="Several inputs are one dict"):
        hypernetwork()(np.array([0]), np.ones((1, 2), "float32"))


def hyper_of_hyper(make=full):
    """A generator of the shared variables of a hypernetwork, which generates an MLP."""
    inner = kh.Hypernetwork(make(), num_conditions=K, name="inner")
    inner.build({"condition_id": (None,)})
    outer = kh.WeightGenerator(inner.unconditional_spec, hidden_sizes=[5], name="outer")
    z, ids, x = keras.Input((3,), batch_size=1), keras.Input((), dtype="int32"), keras.Input((3,))
    weights = inner(ids, variables={"unconditional": outer(z)})
    y = kh.ApplyGeneratedWeights([(3, 4), (4, 2)])(x, weights)
    return keras.Model([z, ids, x], y), inner, outer


@every_generator
def test_a_hypernetwork_is_the_target_of_another(make, rng, tmp_path):
    model, inner, outer = hyper_of_hyper(make)
    (ids, x), _ = mlp_data(rng, rows=6)
    z = rng.normal(size=(1, 3)).astype("float32")
    weights = outer(z)
    expected = kh.ApplyGeneratedWeights([(3, 4), (4, 2)])(
        x, inner(ids, variables={"unconditional": weights})
    )
    np.testing.assert_allclose(
        numpy_of(model([z, ids, x])), numpy_of(expected), rtol=1e-5, atol=1e-6
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(numpy_of(loaded([z, ids, x])), numpy_of(model([z, ids, x])))


class OneRow(keras.utils.PyDataset):
    """One row of the first input beside a batch of the others."""

    def __init__(self, inputs, y, **kwargs):
        super().__init__(**kwargs)
        self.inputs, self.y = inputs, y

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return tuple(self.inputs), self.y


@pytest.mark.parametrize("jit", [False, True] if BACKEND != "torch" else [False])
def test_the_outer_one_learns(jit, rng):
    model, inner, outer = hyper_of_hyper()
    for variable in inner.unconditional_variables:
        variable.trainable = False  # they are given
    (ids, x), y = mlp_data(rng, rows=6)
    z = rng.normal(size=(1, 3)).astype("float32")
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=jit)
    before = [values_of(layer.weights) for layer in (inner, outer)]
    losses = model.fit(OneRow([z, ids, x], y), epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    after = [values_of(layer.weights) for layer in (inner, outer)]
    changed = [[np.any(a != b) for a, b in zip(*pair)] for pair in zip(before, after)]
    assert all(changed[1])
    moved = [v.path for v, changes in zip(inner.weights, changed[0]) if changes]
    assert moved == [v.path for v in inner.conditional_variables]
