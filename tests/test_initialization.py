"""Whether generated networks start as they should."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_hypernet as kh
from tests.backend import numpy_of

WIDTH, DEPTH, CONDITIONS, SIZE = 500, 5, 20, 8
TARGET = kh.WeightSpec.from_layer_sizes([(WIDTH, WIDTH)] * DEPTH)


def one_kind():
    return kh.ChunkPlan(
        TARGET,
        kinds={"layer": {"shapes": {"kernel": (WIDTH, WIDTH), "bias": (WIDTH,)}, "number": DEPTH}},
        assembly={
            f"layer_{i}/{part}": f"layer/{i}/{part}"
            for i in range(DEPTH)
            for part in ("kernel", "bias")
        },
    )


def full(**options):
    return kh.WeightGenerator(TARGET, hidden_sizes=[50], **options)


def structured(**options):
    return kh.StructuredWeightGenerator(one_kind(), hidden_sizes=[50], **options)


def chunked(size, hidden_sizes=()):
    return lambda **options: kh.ChunkedWeightGenerator(
        TARGET, size, chunk_embedding_size=32, hidden_sizes=hidden_sizes, **options
    )


def variances(generator, stddev, seed, conditions):
    """`(conditions, layers)`: variance of what goes into each layer's ReLU."""
    rng = np.random.default_rng(seed)
    z = stddev * rng.normal(size=(conditions, SIZE)).astype("float32")
    found = []
    for weights in ops.convert_to_numpy(generator(z)):
        tensors, x = TARGET.split(weights), rng.normal(size=(64, WIDTH)).astype("float32")
        found.append([])
        for layer in TARGET.layers:
            y = x @ tensors[f"{layer}/kernel"] + tensors[f"{layer}/bias"]
            found[-1].append(y.var())
            x = np.maximum(y, 0)
    return np.array(found)


def median_variances(make, stddev=1.0, seeds=3, conditions=CONDITIONS, **options):
    found = []
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        found.append(variances(make(**options), stddev, seed, conditions))
    return np.median(np.concatenate(found), axis=0)


@pytest.mark.parametrize(
    ("make", "initialization"),
    [(full, "hyper_fan_in"), (structured, "hyper_fan_in"), (structured, "hyper_fan_out")],
)
def test_activations_keep_their_variance(make, initialization):
    found = median_variances(make, initialization=initialization)
    assert np.all(found > 1 / 3), found
    assert np.all(found < 3), found


@pytest.mark.parametrize("size", [500, 999, 1000])
def test_activations_of_a_chunked_target_keep_their_variance(size):
    start = kh.HyperFanIn(condition_variance=1e-4)
    found = median_variances(chunked(size), stddev=1e-2, seeds=5, initialization=start)
    assert np.all(found > 1 / 3), found
    assert np.all(found < 3), found


@pytest.mark.parametrize("size", [500, 999, 1000])
def test_activations_of_chunks_with_a_hidden_layer(size):
    # The mean of the ReLU's features is common to all chunks: single starts differ much more.
    start = kh.HyperFanIn(condition_variance=1e-4)
    make = chunked(size, hidden_sizes=[100])
    found = median_variances(make, stddev=1e-2, seeds=6, conditions=4, initialization=start)
    assert np.all(found > 1 / 10), found
    assert np.all(found < 10), found


def test_row_major_chunks_of_whole_rows_explode():
    start = kh.HyperFanIn(condition_variance=1e-4)
    found = median_variances(
        chunked(1000, [50, 50]), stddev=1e-2, seeds=2, initialization=start, output_first=False
    )
    assert found[-1] > 1e4


def test_xavier_is_exact_for_a_linear_generator(rng):
    spec = kh.WeightSpec.from_shapes([(30, 40), (40,)])
    start = kh.HyperFanIn(scheme="xavier", condition_variance=4.0)
    generator = kh.WeightGenerator(spec, hidden_sizes=(), initialization=start)
    z = 2 * rng.normal(size=(4000, 50)).astype("float32")
    tensors = spec.split(numpy_of(generator(z)))
    assert tensors["layer_0/kernel"].var() == pytest.approx(1 / 60, rel=0.1)
    assert tensors["layer_0/bias"].var() == pytest.approx(1 / 2, rel=0.2)


@pytest.mark.parametrize("scheme", ["xavier", "kaiming"])
def test_chunks_have_their_variance(scheme, rng):
    """The gain belongs to the hidden layers only: not to the head too."""
    start = kh.HyperFanIn(scheme=scheme, condition_variance=1e-3, seed=3)
    hidden_sizes = [400] if scheme == "kaiming" else ()
    generator = kh.ChunkedWeightGenerator(
        [(20, 300)], 200, 40, hidden_sizes=hidden_sizes, initialization=start
    )
    z = 1e-3**0.5 * rng.normal(size=(50, 8)).astype("float32")
    gain = 2 if scheme == "kaiming" else 1
    assert numpy_of(generator(z)).var() == pytest.approx(gain / 20, rel=0.1)


def test_variances_of_chunks_are_means_over_their_positions():
    spec = kh.WeightSpec.from_shapes([(3, 4), (4,), (4, 5), (5,)])
    of_tensors = [2 / 3, 1 / 9, 2 / 4, 1 / 12]
    of_weights = np.repeat(of_tensors, spec.sizes)
    start = kh.HyperFanIn()
    for size in (1, 7, 12, 41):
        number = -(-spec.total // size)
        padded = np.pad(of_weights, (0, number * size - spec.total), mode="edge")
        expected = padded.reshape(number, size).mean(axis=1)
        np.testing.assert_allclose(start.chunk_variances(spec, size, number), expected)
    other = kh.HyperFanIn(target_variances={"bias": 0.5, "layer_1/kernel": 7.0})
    expected = np.repeat([2 / 3, 0.5, 7.0, 0.5], spec.sizes)
    np.testing.assert_allclose(other.chunk_variances(spec, 1, spec.total), expected)


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_embeddings_of_chunks_have_the_variance_that_they_need(distribution):
    start = kh.HyperFanIn(condition_variance=0.01, distribution=distribution)
    generator = kh.ChunkedWeightGenerator(
        [(10, 10), (10,)],
        11,
        4000,
        chunk_embeddings="conditional",
        num_conditions=3,
        hidden_sizes=(),
        initialization=start,
    )
    generator({"condition": np.ones((1, 8), "float32"), "condition_id": np.array([0])})
    table = numpy_of(generator.chunks.embeddings)
    wished = np.array([0.2] * 9 + [0.2 / 11 + 10 / 11 / 30])
    expected = (4008 * wished - 8 * 0.01) / 4000
    np.testing.assert_allclose(table.var(axis=2), np.tile(expected, (3, 1)), rtol=0.1)
    largest = np.abs(table).max(axis=2) / table.std(axis=2)
    assert np.all(largest < 1.8) == (distribution == "uniform")


def test_clipped_chunks_are_told_with_what_avoids_it():
    def make(variance):
        generator = kh.ChunkedWeightGenerator(
            TARGET, 10000, initialization=kh.HyperFanIn(condition_variance=variance)
        )
        generator.build((None, SIZE))

    with pytest.warns(UserWarning, match=r"of 126 chunks .* Inputs of variance (.*) or less") as w:
        make(1.0)
    bound = float(str(w[0].message).partition("variance below")[2].split("variance ")[1].split()[0])
    with pytest.warns(UserWarning, match="chunks want"):
        make(bound * 1.01)
    make(bound * 0.99)  # a warning would be an error


def test_scales_and_embeddings_start_in_the_bias():
    shapes = {"norm/gamma": (4,), "norm/beta": (4,), "table/embeddings": (50, 40), "alpha": (3,)}
    generator = kh.WeightGenerator(shapes, hidden_sizes=[5], initialization="hyper_fan_in")
    weights = numpy_of(generator(np.random.default_rng(0).normal(size=(3, 2)).astype("float32")))
    np.testing.assert_array_equal(weights, np.tile(weights[:1], (3, 1)))
    tensors = generator.spec.split(weights[0])
    np.testing.assert_array_equal(tensors["norm/gamma"], 1)
    np.testing.assert_array_equal(tensors["norm/beta"], 0)
    np.testing.assert_array_equal(tensors["alpha"], 0)
    assert tensors["table/embeddings"].var() == pytest.approx(1, rel=0.1)


def test_overrides_by_name_go_before_those_by_role():
    shapes = {"a/kernel": (20, 30), "b/kernel": (30, 20), "norm/gamma": (50,)}
    start = kh.HyperFanIn(
        head_kernel_variances={"kernel": 0.0, "b/kernel": 0.04, "scale": 0.09},
        head_bias_means={"a/kernel": 3.0, "scale": -1.0},
        head_bias_variances={"a/kernel": 0.01},
    )
    generator = kh.WeightGenerator(shapes, hidden_sizes=[50], initialization=start)
    generator.build((None, 4))
    kernel, bias = (generator.spec.split(numpy_of(v)) for v in generator.head.weights)
    assert np.all(kernel["a/kernel"] == 0)
    assert kernel["b/kernel"].var() == pytest.approx(0.04, rel=0.1)
    assert kernel["norm/gamma"].var() == pytest.approx(0.09, rel=0.1)
    assert bias["a/kernel"].mean() == pytest.approx(3.0, abs=0.05)
    assert bias["a/kernel"].var() == pytest.approx(0.01, rel=0.2)
    assert np.all(bias["norm/gamma"] == -1)


def test_batch_normalization_takes_the_place_of_the_inputs_variance():
    def head_variance(**options):
        start = kh.HyperFanIn(condition_variance=9.0)
        generator = kh.WeightGenerator(
            [(20, 30)], hidden_sizes=[40], initialization=start, feature_scale=1.0, **options
        )
        generator.build((None, 4))
        return numpy_of(generator.head.kernel).var()

    assert head_variance() == pytest.approx(2 / 20 / 40 / 9, rel=0.05)
    assert head_variance(batch_normalization=True) == pytest.approx(2 / 20 / 40, rel=0.05)


def test_bias_hyper_init_starts_with_one_network_for_all(rng):
    spec = kh.WeightSpec.from_shapes(
        {"a/kernel": (40, 60), "a/bias": (60,), "norm/gamma": (60,), "b/kernel": (60, 50)}
    )
    start = kh.BiasHyperInit({"a/kernel": "he_normal", "bias": "ones"})
    generator = kh.WeightGenerator(spec, hidden_sizes=[7], initialization=start)
    weights = numpy_of(generator(rng.normal(size=(3, 2)).astype("float32")))
    np.testing.assert_array_equal(weights, np.tile(weights[:1], (3, 1)))
    tensors = spec.split(weights[0])
    assert tensors["a/kernel"].var() == pytest.approx(2 / 40, rel=0.1)
    assert tensors["b/kernel"].var() == pytest.approx(2 / 110, rel=0.1)
    assert np.abs(tensors["b/kernel"]).max() < (6 / 110) ** 0.5
    np.testing.assert_array_equal(tensors["a/bias"], 1)
    np.testing.assert_array_equal(tensors["norm/gamma"], 1)


def test_a_start_with_a_seed_is_drawn_again_alike():
    def draw():
        generator = kh.WeightGenerator([(6, 4)], initialization=kh.HyperFanOut(seed=5))
        generator.build((None, 3))
        return generator.get_weights()

    for one, other in zip(draw(), draw()):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "start",
    [
        kh.HyperFanIn("xavier", condition_variance=2.0, target_variances={"bias": 0.1}, seed=1),
        kh.HyperFanOut(noise_variance=3.0, head_bias_means={"scale": 2.0}, distribution="normal"),
        kh.HyperFanHarmonic(floor=0.1, chunk_embedding_variance=2.0),
        kh.BiasHyperInit({"kernel": keras.initializers.RandomNormal(stddev=0.3), "bias": "ones"}),
    ],
)
def test_initializations_are_part_of_a_generators_config(start):
    generator = kh.WeightGenerator([(3, 4), (4,)], initialization=start)
    copy = kh.WeightGenerator.from_config(generator.get_config())
    assert type(copy.initialization) is type(start)
    assert copy.initialization.get_config() == start.get_config()


SPEC = [(3, 4), (4,)]


def unbuilt(spec=SPEC, **options):
    return lambda start: kh.WeightGenerator(spec, initialization=start, **options).build((None, 2))


@pytest.mark.parametrize(
    ("call", "exception", "message"),
    [
        (lambda: kh.HyperFanIn("glorot"), ValueError, "`scheme`"),
        (lambda: kh.HyperFanIn(condition_variance=0), ValueError, "`condition_variance`"),
        (lambda: kh.HyperFanIn(floor=0), ValueError, "`floor`"),
        (lambda: kh.HyperFanIn(distribution="beta"), ValueError, "`distribution`"),
        (lambda: kh.HyperFanIn(head_bias_means=[0.1]), TypeError, "`head_bias_means`"),
        (lambda: kh.HyperFanIn(target_variances={"bias": -1}), ValueError, "must not be negative"),
        (lambda: kh.BiasHyperInit(["ones"]), TypeError, "`initializers`"),
        (lambda: kh.WeightGenerator(SPEC, initialization="he"), ValueError, "hyper_fan_in"),
        (
            lambda: unbuilt()(kh.HyperFanIn(head_kernel_means={"gamma": 1.0})),
            ValueError,
            r"layer_0/kernel.*Received: \['gamma'\]",
        ),
        (lambda: unbuilt()(kh.BiasHyperInit({"gamma": "ones"})), ValueError, "gamma"),
        (
            lambda: unbuilt({"norm/gamma": (4,)}, use_bias=False)("hyper_fan_in"),
            ValueError,
            r"use_bias=True.*norm/gamma",
        ),
        (
            lambda: kh.DeconvWeightGenerator(
                SPEC, (4, 4), [8], attention=(), initialization="hyper_fan_in"
            ).build((None, 2)),
            ValueError,
            "one linear head",
        ),
        (
            lambda: kh.ChunkedWeightGenerator(
                SPEC, 5, batch_normalization=True, initialization="hyper_fan_in"
            ).build((None, 2)),
            ValueError,
            "batch_normalization=False",
        ),
        (
            lambda: kh.ChunkedWeightGenerator(
                SPEC, 5, chunk_embeddings="given", initialization="hyper_fan_in"
            ).build((None, 2)),
            ValueError,
            "chunk_embeddings",
        ),
        (lambda: kh.initialize(kh.WeightGenerator(SPEC), "hyper_fan_in"), ValueError, "built"),
        (lambda: kh.initialize(kh.WeightGenerator(SPEC), None), TypeError, "`initialization`"),
        (lambda: kh.initialize(keras.layers.Dense(3), "hyper_fan_in"), TypeError, "`generator`"),
    ],
)
def test_mistakes(call, exception, message):
    with pytest.raises(exception, match=message):
        call()


NAMED = {
    "bias_hyper_init": kh.BiasHyperInit,
    "hyper_fan_harmonic": kh.HyperFanHarmonic,
    "hyper_fan_in": kh.HyperFanIn,
    "hyper_fan_out": kh.HyperFanOut,
}


@pytest.mark.parametrize("name", NAMED)
def test_a_name_is_the_class_of_this_package_whatever_others_define(name):
    ours = NAMED[name]
    type(ours.__name__, (ours.__mro__[1],), {})  # of the same name
    type("Other", (ours,), {})  # of which ours is the base
    found = kh.WeightGenerator([(3, 4), (4,)], initialization=name).initialization
    assert type(found) is ours


def test_classes_of_others_are_given_as_objects():
    class Other(kh.HyperFanIn):
        pass

    given = Other()
    assert kh.WeightGenerator([(3, 4)], initialization=given).initialization is given
    with pytest.raises(ValueError, match=r"'hyper_fan_in', 'hyper_fan_out'.*'other'"):
        kh.WeightGenerator([(3, 4)], initialization="other")
