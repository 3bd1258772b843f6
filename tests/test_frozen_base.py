"""The frozen base that targets start from, and the numbers that it is drawn with."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_hypernet as kh
from keras_hypernet.initializers import drawing, pieces
from tests.backend import compiled, numpy_of, tensors_of
from tests.start_cases import BASED, ORDINARY, in_chunks, perceptron, three_conditions


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


def test_the_same_code_makes_the_same_base():
    def made(**start):
        return numpy_of(in_chunks(initialization=kh.BiasHyperInit(**start))(three_conditions("")))

    np.testing.assert_array_equal(made(), made())
    assert np.any(made() != made(seed=1))
    # Keras numbers layers by what was made before in the process.
    bases = []
    for _ in range(2):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(4)])
        spec = kh.WeightSpec.from_model(model)
        bases.append(kh.BiasHyperInit().base(spec))
    np.testing.assert_array_equal(bases[0], bases[1])
    first, second = (spec.split(bases[0])[name] for name in spec.names[::2])
    assert np.any(first[:3] != second[:3])


@pytest.mark.parametrize("name", BASED)
@pytest.mark.parametrize(
    "policy", ["float32", "mixed_bfloat16", pytest.param("float16", marks=pytest.mark.slow)]
)
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
    found = drawing.draw(tensor, 0, initializer, seed=5).astype("float64")
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
    "glorot_uniform": [-0.581309, -0.108939, 0.349302, 0.599762],
    "normal": [-0.113373, 0.472635, -0.00619195, 0.299306],
    "truncated": [-0.513373, 0.072635, -0.406192, -0.100694],
    "orthogonal": [-1.29435, 0.410171, -0.574344, -0.276662],
}


def test_draws_are_the_same_numbers_on_every_backend():
    for name, expected in RECORDED.items():
        drawn = drawing.draw(tensor_of((3, 4)), 0, DRAWS[name], seed=7)
        np.testing.assert_allclose(drawn.ravel()[:4], expected, rtol=1e-5, atol=1e-6, err_msg=name)
    spec = kh.WeightSpec.from_shapes({"a/kernel": (3, 4), "b/kernel": (3, 4)})
    a, b = spec.split(kh.BiasHyperInit(seed=7).base(spec)).values()
    assert np.all(a != b)
    assert np.all(kh.BiasHyperInit(seed=8).base(spec) != [*a.ravel(), *b.ravel()])


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
