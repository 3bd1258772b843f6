"""Whether generated networks start as they should."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_hypernet as kh
from keras_hypernet.generators.conditioning_features import ConditioningFeatures
from keras_hypernet.initializers import drawing, pieces
from keras_hypernet.weight_tensor import fields_of
from keras_hypernet.weights import materialize
from tests.backend import compiled, gradients, numpy_of, tensors_of

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
    found = median_variances(chunked(size), stddev=1e-2, initialization=start)
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


TENSORS = {
    "a/kernel": ((24, 32), keras.initializers.Orthogonal(gain=2.0)),
    "a/bias": ((32,), keras.initializers.Constant(0.25)),
    "norm/gamma": ((32,), None),
    "norm/beta": ((32,), None),
    "b/kernel": ((32, 40), "he_normal"),
    "conv/kernel": ((3, 3, 12, 8), None),
}
ORDINARY = kh.WeightSpec(
    [{"name": n, "shape": shape, "initializer": i} for n, (shape, i) in TENSORS.items()]
)


def part_of_ordinary(*names):
    return kh.WeightSpec([fields_of(ORDINARY[name]) for name in names])


def one_chunk():
    """All tensors in one kind, under names of its own."""
    pieces = {name: name.replace("/", "_") for name in ORDINARY.names}
    shapes = {piece: ORDINARY[name].shape for name, piece in pieces.items()}
    return kh.ChunkPlan(
        ORDINARY,
        {"all": {"shapes": shapes}},
        {name: f"all/0/{piece}" for name, piece in pieces.items()},
    )


def perceptron(**options):
    return kh.WeightGenerator(ORDINARY, **{"hidden_sizes": [5], "activation": "tanh", **options})


def in_chunks(spec=ORDINARY, **options):
    return kh.ChunkedWeightGenerator(spec, 100, hidden_sizes=[5], activation="tanh", **options)


def composed(**options):
    first, *rest = ORDINARY.names
    parts = {
        "p": kh.WeightGenerator(part_of_ordinary(first), hidden_sizes=[5], activation="tanh"),
        "q": in_chunks(part_of_ordinary(*rest)),
    }
    return kh.ComposedWeightGenerator(ORDINARY, parts, **options)


BASED = {
    "no bias": lambda **o: perceptron(use_bias=False, **o),
    "chunked": in_chunks,
    "own chunks": lambda **o: in_chunks(chunk_embeddings="conditional", num_conditions=3, **o),
    "structured": lambda **o: kh.StructuredWeightGenerator(
        one_chunk(), hidden_sizes=[5], activation="tanh", **o
    ),
    "deconv": lambda **o: kh.DeconvWeightGenerator(
        ORDINARY, (60, 60), [8, 8], attention=(), activation="tanh", **o
    ),
    "chunked deconv": lambda **o: kh.ChunkedDeconvWeightGenerator(
        ORDINARY, (16, 16), [8], attention=(), activation="tanh", **o
    ),
}
GENERATORS = {
    "full": perceptron,
    "linear": lambda **o: kh.WeightGenerator(ORDINARY, hidden_sizes=(), **o),
    "spectral": lambda **o: perceptron(spectral_normalization=True, **o),
    **BASED,
    "composed": composed,
    "hypernetwork": lambda **o: kh.Hypernetwork(perceptron(), 3, **o),
    "tasks": lambda **o: kh.TaskWeights(perceptron(), 3, **o),
    "chunks for tasks": lambda **o: kh.Hypernetwork(in_chunks(), 3, **o),
    "perturbed": lambda **o: kh.PerturbedWeightGenerator(perceptron(), sigma=0.0, **o),
}


def three_conditions(name):
    ids, z = np.arange(3, dtype="int32"), np.random.default_rng(1).normal(size=(3, 4))
    if name in ("hypernetwork", "tasks", "chunks for tasks"):
        return ids
    z = z.astype("float32")
    return {"condition": z, "condition_id": ids} if name == "own chunks" else z


class Flat(keras.layers.Layer):
    """Flat weights of any generator."""

    def __init__(self, generator):
        super().__init__()
        self.generator = generator

    def call(self, conditioning):
        return materialize(self.generator(conditioning))


@pytest.mark.parametrize("name", GENERATORS)
def test_every_target_starts_as_the_ordinary_network(name):
    keras.utils.set_random_seed(1)
    weights = numpy_of(Flat(GENERATORS[name]())(three_conditions(name)))
    np.testing.assert_allclose(weights, np.tile(weights[:1], (3, 1)), atol=1e-6)
    tensors = ORDINARY.split(weights[0])
    a = tensors["a/kernel"]
    np.testing.assert_allclose(a @ a.T, 4 * np.eye(24), atol=1e-5)
    for tensor, value in {"a/bias": 0.25, "norm/gamma": 1, "norm/beta": 0}.items():
        np.testing.assert_allclose(tensors[tensor], value, atol=1e-6)
    for tensor, variance in {"b/kernel": 2 / 32, "conv/kernel": 2 / 180}.items():
        drawn = tensors[tensor]
        assert drawn.mean() == pytest.approx(0, abs=4 * (variance / drawn.size) ** 0.5)
        assert drawn.var() == pytest.approx(variance, rel=0.2)


@pytest.mark.parametrize("name", GENERATORS)
def test_conditions_part_in_the_first_step_and_all_trains_in_the_second(name):
    keras.utils.set_random_seed(2)
    layer, inputs = Flat(GENERATORS[name]()), three_conditions(name)
    seeds = np.random.default_rng(2).normal(size=layer(inputs).shape)
    for step in range(2):
        found, _ = gradients(layer, [inputs], seeds)
        for variable, gradient in zip(layer.trainable_variables, found, strict=True):
            assert step == 0 or np.abs(gradient).max() > 1e-9, variable.path
            variable.assign(numpy_of(variable) - 0.1 * gradient)
        weights = numpy_of(layer(inputs))
        assert np.abs(weights - weights[:1])[1:].max(axis=1).min() > 1e-5


# Once more.


def variables_of(generator):
    return {v.path: numpy_of(v) for v in generator.variables}


@pytest.mark.parametrize("name", [name for name in GENERATORS if "deconv" not in name])
@pytest.mark.parametrize("start", ["hyper_fan_harmonic", "bias_hyper_init"])
def test_a_built_generator_is_initialized_once_more(name, start):
    if start == "hyper_fan_harmonic":
        start = kh.HyperFanHarmonic(condition_variance=1e-4)
    if isinstance(start, kh.HyperFanHarmonic) and name in ("no bias", "structured"):
        pytest.skip("scales start in a bias, by the names of the chunks")
    generator = GENERATORS[name](initialization=start)
    generator(three_conditions(name))
    before = variables_of(generator)
    kh.initialize(generator, start)
    changed = [path for path, x in variables_of(generator).items() if np.any(x != before[path])]
    assert changed or name == "linear"
    assert not any("table" in path or "plain" in path for path in changed)


@pytest.mark.parametrize("name", BASED)
@pytest.mark.parametrize(
    ("made_with", "start"),
    [
        (None, "bias_hyper_init"),
        ("hyper_fan_in", "bias_hyper_init"),
        ("bias_hyper_init", "hyper_fan_in"),
        ("bias_hyper_init", kh.BiasHyperInit({"kernel": "zeros"})),
        (kh.BiasHyperInit(seed=1), kh.BiasHyperInit(seed=2)),
    ],
)
def test_a_base_is_not_changed_once_it_is_made(name, made_with, start):
    if made_with == "hyper_fan_in":
        if name not in ("chunked", "own chunks"):
            pytest.skip("hyperfan is not for it, or not for its scales")
        made_with = kh.HyperFanIn(condition_variance=1e-4)
    generator = BASED[name](initialization=made_with)
    generator(three_conditions(name))
    before = generator.get_weights()
    with pytest.raises(ValueError, match=r"frozen base.*made with the generator|of the target"):
        kh.initialize(generator, start)
    for old, new in zip(before, generator.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_what_a_part_was_made_with_starts_it_once_more():
    start = {"a/kernel": "ones", "q/b/kernel": "zeros", "bias": "ones"}
    generator = composed(initialization=kh.BiasHyperInit(start))
    z = three_conditions("composed")
    weights = numpy_of(generator(z))
    kh.initialize(generator, kh.BiasHyperInit(start))
    again = numpy_of(generator(z))
    np.testing.assert_array_equal(again, weights)
    with pytest.raises(ValueError, match="frozen base"):
        kh.initialize(generator, kh.BiasHyperInit({**start, "q/b/kernel": "ones"}))


@pytest.mark.parametrize("start", [kh.HyperFanIn(seed=3), kh.BiasHyperInit(seed=3)])
def test_parts_of_equal_shapes_start_unequal(start):
    """One seed is for all parts."""
    shapes = {"kernel": (20, 20)}
    parts = {p: kh.WeightGenerator(shapes, hidden_sizes=[5], use_bias=False) for p in "pq"}
    target = {f"{p}/kernel": (20, 20) for p in "pq"}
    generator = kh.ComposedWeightGenerator(
        target, parts, initialization=start, assembly={name: name for name in target}
    )
    p, q = generator.spec.split(numpy_of(generator(np.ones((1, 3), "float32")))).values()
    assert np.abs(p - q).max() > 0.01
    sizes = [(20, 20)] * 3
    model = kh.build(3, 20, sizes, hidden_sizes=[5], use_bias=False, initialization=start)
    layers = kh.target_weights(model, np.ones((1, 3), "float32"))
    kernels = [numpy_of(x) for name, x in layers.items() if name.endswith("kernel")]
    assert np.abs(kernels[1] - kernels[0]).max() > 0.01
    assert np.abs(kernels[1] - kernels[2]).max() > 0.01


# The base.


@pytest.mark.parametrize("name", BASED)
def test_a_base_is_no_variable(name, tmp_path):
    inputs = three_conditions(name)
    given = keras.Input((4,), name="condition")
    if name == "own chunks":
        ids = keras.Input((), dtype="int32", name="condition_id")
        given = {"condition": given, "condition_id": ids}
    models = []
    for start in ("bias_hyper_init", None):
        models.append(keras.Model(given, BASED[name](initialization=start)(given)))
        models[-1].save(tmp_path / f"{start}.keras")
    with_base, without = models
    assert with_base.count_params() == without.count_params()
    assert len(with_base.variables) == len(without.variables)
    sizes = [(tmp_path / f"{start}.keras").stat().st_size for start in ("bias_hyper_init", None)]
    assert sizes[0] - sizes[1] < ORDINARY.total  # bytes; the base has 4 for each weight
    loaded = keras.saving.load_model(tmp_path / "bias_hyper_init.keras")
    np.testing.assert_array_equal(numpy_of(loaded(inputs)), numpy_of(with_base(inputs)))
    assert with_base.layers[-1].base is not None
    assert without.layers[-1].base is None


@pytest.mark.parametrize("name", BASED)
def test_copies_have_the_same_base(name):
    generator, inputs = BASED[name](), three_conditions(name)
    weights = numpy_of(generator(inputs))
    copy = type(generator).from_config(generator.get_config())
    np.testing.assert_array_equal(numpy_of(copy(inputs)), weights)
    if name == "own chunks":
        more = generator.with_conditions(5)
        inputs = {**inputs, "condition_id": np.array([0, 4, 2], "int32")}
        np.testing.assert_array_equal(numpy_of(more(inputs)), weights)


def test_one_object_is_another_base_each_time():
    start = kh.BiasHyperInit()
    first, second = (numpy_of(in_chunks(initialization=start)(three_conditions(""))) for _ in "ab")
    assert np.any(first != second)
    assert start.seed is None
    keras.utils.set_random_seed(4)
    first = numpy_of(in_chunks()(three_conditions("")))
    keras.utils.set_random_seed(4)
    np.testing.assert_array_equal(numpy_of(in_chunks()(three_conditions(""))), first)


@pytest.mark.parametrize("name", BASED)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "float16"])
def test_a_base_compiled_and_in_half_precision(name, policy):
    inputs = three_conditions(name)
    generator = BASED[name](initialization=kh.BiasHyperInit(seed=3), dtype=policy)
    generator(keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype), inputs))
    traced = compiled(generator)(tensors_of(inputs))
    assert keras.backend.standardize_dtype(traced.dtype) == generator.compute_dtype
    eager = BASED[name](initialization=kh.BiasHyperInit(seed=3))(inputs)
    tolerance = {"float32": 1e-6, "float16": 1e-3, "mixed_bfloat16": 1e-2}[policy]
    np.testing.assert_allclose(numpy_of(traced), numpy_of(eager), atol=tolerance)
    np.testing.assert_allclose(numpy_of(generator(inputs)), numpy_of(eager), atol=tolerance)


# Drawn by NumPy.

DRAWS = {
    **{
        f"{mode} {distribution}": keras.initializers.VarianceScaling(1.7, mode, distribution)
        for mode in ("fan_in", "fan_out", "fan_avg")
        for distribution in ("uniform", "truncated_normal", "untruncated_normal")
    },
    "glorot_uniform": keras.initializers.get("glorot_uniform"),
    "he_normal": keras.initializers.get("he_normal"),
    "lecun_normal": keras.initializers.get("lecun_normal"),
    "uniform": keras.initializers.RandomUniform(-0.1, 0.3),
    "normal": keras.initializers.RandomNormal(0.2, 0.5),
    "truncated": keras.initializers.TruncatedNormal(-0.2, 0.5),
    "orthogonal": keras.initializers.Orthogonal(1.5),
    "constant": keras.initializers.Constant(0.7),
    "zeros": keras.initializers.Zeros(),
    "ones": keras.initializers.Ones(),
}
SHAPES = {
    "matrix": ((70, 120), "keras"),
    "convolution": ((3, 3, 30, 40), "keras"),
    "torch matrix": ((120, 70), "torch"),
    "torch convolution": ((40, 30, 3, 3), "torch"),
}


def tensor_of(shape, layout="keras", name="t/kernel"):
    return kh.WeightSpec.from_shapes({name: shape}, layout=layout)[name]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_like_those_of_keras(name, shape):
    tensor = tensor_of(*SHAPES[shape])
    initializer = DRAWS[name].clone()
    found = drawing.draw(tensor, initializer, seed=5).astype("float64")
    expected = numpy_of(initializer(pieces.in_order_of_keras(tensor)))
    assert found.shape == tensor.shape
    spread = expected.std() * (2 / found.size) ** 0.5
    assert found.mean() == pytest.approx(expected.mean(), abs=5 * spread + 1e-6)
    assert found.std() == pytest.approx(expected.std(), rel=0.05, abs=1e-6)
    bounded = not {"normal", "orthogonal"} & {name, name.partition("untruncated_")[2]}
    if bounded:
        assert np.abs(found).max() == pytest.approx(np.abs(expected).max(), rel=0.03)
    if name == "orthogonal":
        axes = (0, 1) if found.ndim == 2 else (2, 3, 1, 0)
        keras_order = found if SHAPES[shape][1] == "keras" else found.transpose(axes)
        matrix = keras_order.reshape(-1, keras_order.shape[-1])
        short = matrix if len(matrix) < matrix.shape[1] else matrix.T
        np.testing.assert_allclose(short @ short.T, 2.25 * np.eye(len(short)), atol=1e-5)


RECORDED = {
    "glorot_uniform": [0.754236, 0.0706869, 0.84102, -0.117339],
    "normal": [0.30532, -0.0678342, 0.464396, 0.400742],
    "truncated": [-0.0946804, -0.467834, 0.0643955, 0.000742043],
    "orthogonal": [0.215451, 0.410657, -1.35809, 0.436503],
}


def test_draws_are_the_same_numbers_on_every_backend():
    for name, expected in RECORDED.items():
        drawn = drawing.draw(tensor_of((3, 4)), DRAWS[name], seed=7)
        np.testing.assert_allclose(drawn.ravel()[:4], expected, rtol=1e-5, atol=1e-6, err_msg=name)
    spec = kh.WeightSpec.from_shapes({"a/kernel": (3, 4), "b/kernel": (3, 4)})
    a, b = spec.split(kh.BiasHyperInit(seed=7).base(spec)).values()
    assert np.all(a != b)
    alone = kh.BiasHyperInit(seed=7).base(part_of_spec(spec, "b/kernel"))
    np.testing.assert_array_equal(alone, b.ravel())
    assert np.all(kh.BiasHyperInit(seed=8).base(spec) != [*a.ravel(), *b.ravel()])


def part_of_spec(spec, name):
    return kh.WeightSpec([fields_of(spec[name])])


class Custom(keras.initializers.RandomNormal):
    """Draws otherwise than the class that it is one of."""

    def __call__(self, shape, dtype=None):
        return keras.ops.full(shape, 0.5, dtype=dtype)


@pytest.mark.parametrize("initializer", [Custom(), lambda shape, dtype=None: ops.ones(shape) / 2])
def test_custom_initializers_are_for_heads_with_biases(initializer):
    start = kh.BiasHyperInit({"a/kernel": initializer})
    weights = numpy_of(perceptron(initialization=start)(three_conditions("")))
    np.testing.assert_allclose(ORDINARY.split(weights[0])["a/kernel"], 0.5)
    with pytest.raises(ValueError, match=r"base of 'a/kernel'.*Keras' own"):
        in_chunks(initialization=start)(three_conditions(""))


# Names.

HALF = keras.initializers.Constant(0.5)


def named_start(name, tensor):
    return GENERATORS[name](initialization=kh.BiasHyperInit({tensor: HALF}))


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("tensor", ["a/kernel", "scale", "kernel"])
def test_starts_by_name_and_by_role(name, tensor):
    generator = Flat(named_start(name, tensor))
    for found, values in ORDINARY.split(numpy_of(generator(three_conditions(name)))[0]).items():
        named = tensor in (found, ORDINARY[found].role)
        assert np.allclose(values, 0.5) == named, found


@pytest.mark.parametrize("name", GENERATORS)
def test_unknown_names_are_mistakes(name):
    with pytest.raises(ValueError, match=r"`initializers` must have names.*'a/kernle'.*a/kernel"):
        named_start(name, "a/kernle")(three_conditions(name))


def test_starts_by_names_of_pieces():
    generator = composed(initialization=kh.BiasHyperInit({"q/b/kernel": HALF}))
    weights = ORDINARY.split(numpy_of(generator(three_conditions("")))[0])
    np.testing.assert_allclose(weights["b/kernel"], 0.5)
    assert weights["conv/kernel"].std() > 0.01


@pytest.mark.parametrize("make", [None, lambda spec: kh.ChunkedWeightGenerator(spec, 5)])
def test_starts_by_paths_of_a_model(make):
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4, name="a"), keras.layers.Dense(2, name="b")],
        name="net",
    )
    paths = [v.path for v in model.variables]
    start = kh.BiasHyperInit({"net/a/bias": HALF, "kernel": "ones"})
    assert "net/a/bias" in paths
    hyper = kh.hypernetize(model, conditioning_size=2, generator=make, initialization=start)
    found = kh.target_weights(hyper, np.ones((1, 2), "float32"))
    starts = {path: 0.5 * (path == "net/a/bias") + path.endswith("kernel") for path in paths}
    for path, value in starts.items():
        np.testing.assert_allclose(numpy_of(found[path]), value, err_msg=path)
    start = kh.BiasHyperInit({"net/a/bais": HALF})
    with pytest.raises(ValueError, match=r"net/a/bais.*net/a/bias"):
        kh.hypernetize(model, conditioning_size=2, generator=make, initialization=start)


def test_starts_by_names_in_build():
    def build(tensor):
        start = kh.BiasHyperInit({tensor: HALF})
        return kh.build(2, 3, [(3, 4), (4, 2)], hidden_sizes=[5], initialization=start)

    found = kh.target_weights(build("layer_1/kernel"), np.ones((1, 2), "float32"))
    halves = [path for path, x in found.items() if np.allclose(numpy_of(x), 0.5)]
    assert len(halves) == 1
    assert halves[0].endswith("layer_1/kernel")
    with pytest.raises(ValueError, match=r"layer_1/kernle.*layer_1/kernel"):
        build("layer_1/kernle")


# What goes before an initialization.


def inner(name, generator):
    return {
        "full": lambda: generator,
        "chunked": lambda: generator.chunks.generator,
        "structured": lambda: generator.kind("all").generator,
    }[name]()


@pytest.mark.parametrize("name", ["full", "chunked", "structured"])
@pytest.mark.parametrize(
    "argument",
    ["kernel_initializer", "bias_initializer", "head_kernel_initializer", "head_bias_initializer"],
)
def test_initializers_of_variables_go_before(name, argument):
    generator = GENERATORS[name](**{argument: HALF})
    generator(three_conditions(name))
    perceptron = inner(name, generator)
    variables = {
        f"{part}{v.name}_initializer": v
        for part, layer in (("", perceptron.trunk[0].dense), ("head_", perceptron.head))
        for v in layer.weights
    }
    equal = [n for n, v in variables.items() if np.allclose(numpy_of(v), 0.5)]
    assert equal == [argument]


@pytest.mark.parametrize("name", ["full", "no bias", "chunked", "structured", "composed"])
def test_older_files_have_neither_scale_nor_base(name):
    """Their configs have initializers of every variable, and no feature scale."""

    def older(config):
        if isinstance(config, dict):
            config = {key: older(value) for key, value in config.items() if key != "feature_scale"}
            if "initialization" in config:
                config["initialization"] = None
            if "head_kernel_initializer" in config:
                config["kernel_initializer"] = "glorot_uniform"
                config["head_kernel_initializer"] = keras.initializers.serialize(
                    keras.initializers.RandomUniform(-0.01, 0.01)
                )
                config["bias_initializer"] = config["head_bias_initializer"] = "zeros"
        return config

    new = GENERATORS[name]()
    generator = type(new).from_config(older(new.get_config()))
    weights = numpy_of(generator(three_conditions(name)))
    assert 0 < np.abs(weights).max() < 0.01 * 5 + 1e-6
    inside = [x for x in generator._flatten_layers() if isinstance(x, kh.WeightGenerator)]
    assert {x.feature_scale for x in inside} == {1.0}
    assert all(x.base is None for x in generator._flatten_layers() if hasattr(x, "base"))


def test_features_of_older_models_have_no_scale():
    config = ConditioningFeatures([5, 4]).get_config()
    assert ConditioningFeatures.from_config(config).feature_scale == 0.5
    del config["feature_scale"]
    assert ConditioningFeatures.from_config(config).feature_scale == 1.0


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
