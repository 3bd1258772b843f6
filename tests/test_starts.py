"""How every generator starts, by default and by what is given."""

import keras
import numpy as np
import pytest

import keras_hypernet as kh
from keras_hypernet.generators.conditioning_features import ConditioningFeatures
from keras_hypernet.utils import keras_internals
from tests.backend import gradients, numpy_of
from tests.start_cases import BASED, GENERATORS, ORDINARY, Flat, composed, three_conditions


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
            variable.assign(numpy_of(variable) - 1e-3 * gradient)
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
    if isinstance(start, kh.HyperFanHarmonic) and name in (
        "no bias",
        "structured",
        "chunks of chunks",
    ):
        pytest.skip("scales start in a bias, by the names of the chunks of one perceptron")
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
    inside = [x for x in keras_internals.layers_in(generator) if isinstance(x, kh.WeightGenerator)]
    assert {x.feature_scale for x in inside} == {1.0}
    assert all(x.base is None for x in keras_internals.layers_in(generator) if hasattr(x, "base"))


def test_features_of_older_models_have_no_scale():
    config = ConditioningFeatures([5, 4]).get_config()
    assert ConditioningFeatures.from_config(config).feature_scale == 0.5
    del config["feature_scale"]
    assert ConditioningFeatures.from_config(config).feature_scale == 1.0
