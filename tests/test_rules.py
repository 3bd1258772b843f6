"""Rules: which layers have one, what they refuse, and rules of users."""

import inspect
import string

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_hypernet as kh
from keras_hypernet.layers.rules import rule_of
from tests.backend import numpy_of
from tests.conformance_blocks import Scale, ScaleRule

WITH_A_RULE = {
    *("Dense", "EinsumDense", "Embedding", "ReversibleEmbedding", "PReLU"),
    *(f"{kind}{n}D" for kind in ("Conv",) for n in (1, 2, 3)),
    *(f"Conv{n}DTranspose" for n in (1, 2, 3)),
    *(f"{kind}Conv{n}D" for kind in ("Depthwise", "Separable") for n in (1, 2)),
    *(f"{kind}Normalization" for kind in ("Batch", "Group", "Layer", "RMS")),
}


def classes():
    found = {name: cls for name, cls in vars(layers).items() if inspect.isclass(cls)}
    return {name: cls for name, cls in found.items() if cls.__name__ == name}


def test_every_layer_of_keras_with_a_rule_is_known():
    """One that Keras adds or that loses its rule is seen here; attention has none."""
    with_a_rule = {name for name, cls in classes().items() if rule_of(_new(cls)) is not None}
    assert with_a_rule == WITH_A_RULE
    assert rule_of(layers.MultiHeadAttention(1, 2)) is None
    assert rule_of(layers.GroupQueryAttention(2, 2, 1)) is None


def _new(cls):
    """An object of a class, without its arguments: a rule asks for the class."""
    return object.__new__(cls)


def test_no_class_of_keras_is_named_outside_the_rules():
    import pathlib
    import re

    names = "|".join(name for name in classes() if name not in ("Layer", "InputSpec"))
    folder = pathlib.Path(kh.__file__).parent / "layers"
    for path in folder.glob("*.py"):
        found = re.findall(rf"layers\.({names})\b", path.read_text())
        allowed = {"Dense"} if path.name == "apply_generated_weights.py" else set()
        assert set(found) <= {*allowed, "Conv2D"}, path.name  # in an example of a docstring


class OwnCall(layers.Dense):
    def call(self, x):
        return 2 * super().call(x)


class OwnConfig(layers.Dense):
    def __init__(self, units=3, **kwargs):
        super().__init__(units, **kwargs)


class OwnConvolution(layers.Conv2D):
    """Has the same `call`, which does something else."""

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel / ops.std(kernel))


def test_subclasses_with_the_same_call_have_the_rule():
    assert rule_of(OwnConfig(3)) is rule_of(layers.Dense(3))
    assert rule_of(OwnCall(3)) is None
    x, w = np.ones((4, 2), "float32"), np.ones((2, 9), "float32")
    assert ops.shape(kh.Hyper(OwnConfig(3))(x, w)) == (4, 3)
    with pytest.raises(ValueError, match=r"own_call.*/kernel.*`shared=True`.*OwnCall"):
        kh.Hyper(OwnCall(3))(x, w)


def test_a_subclass_that_does_something_else_is_found_out():
    hyper = kh.Hyper(OwnConvolution(3, 2))
    with pytest.raises(ValueError, match=r"own_convolution.*alone"):
        hyper(np.ones((4, 3, 3, 2), "float32"), np.ones((2, 27), "float32"))


# Rules of users.


class Wrong(layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape[-1:], name="scale")

    def call(self, x):
        return x * self.scale


class WrongRule(kh.Rule):
    def apply(self, layer, x, tensors):
        return self.combine(ops.add, x, tensors["scale"], axes=[-1])


def test_rules_of_users():
    with pytest.raises(ValueError, match="Scale, which has ScaleRule"):
        kh.register_rule(Scale, ScaleRule())
    with pytest.raises(TypeError, match="`layer_class`"):
        kh.register_rule(Scale(), ScaleRule)
    with pytest.raises(TypeError, match="`rule`"):
        kh.register_rule(OwnCall, Scale)
    kh.register_rule(Wrong, WrongRule)
    x, w = np.ones((4, 3), "float32"), np.ones((2, 3), "float32")
    with pytest.raises(ValueError, match="alone"):
        kh.Hyper(Wrong())(x, w)
    np.testing.assert_array_equal(numpy_of(kh.Hyper(Wrong(), check_rows=False)(x, w)), x + 1)
    hyper, up = kh.Hyper(Scale()), np.ones((2, 1, 3), "float32")
    with pytest.raises(ValueError, match=r"scale.*no update of low rank"):
        hyper(x, {"scale": {"base": w[0], "down": up[..., 0], "up": up}})


# Convolutions.

FIRST = {"data_format": "channels_first"}


def is_refused(layer, data):
    try:
        layer(data)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize(
    ("layer", "shape", "size", "message"),
    [
        (lambda: layers.Conv1D(4, 3), (2, 5), 28, "min_ndim=3|ndim"),
        (lambda: layers.Conv2D(4, 3), (2, 1, 5, 5, 2), 76, "."),
        (lambda: layers.Conv2D(4, 3, groups=2), (2, 5, 5, 3), 58, "divisible"),
        (lambda: layers.Conv2D(4, 3), (2, 2, 5, 2), 76, "."),
        (lambda: layers.Conv2D(4, 3), (2, 5, 5, 2), 75, "76"),
        (lambda: layers.SeparableConv2D(4, 3), (3, 5, 5, 2), 30, "divide"),
    ],
    ids=string.ascii_letters[:6],
)
def test_a_failed_call_changes_nothing(layer, shape, size, message):
    hyper, data = kh.Hyper(layer()), keras.KerasTensor(shape)
    if message == "." and not is_refused(layer(), data):
        pytest.skip("Keras computes a shape for these data")
    with pytest.raises(ValueError, match=message):
        hyper(data, keras.KerasTensor((2, size)))
    assert not hyper.built
    assert not hyper.wrapped_layer().built


def test_other_channels_than_built_for():
    hyper = kh.Hyper(layers.Conv1D(4, 3, **FIRST))
    hyper(np.ones((2, 2, 5), "float32"), np.ones((2, 28), "float32"))
    with pytest.raises(ValueError, match="expected axis 1"):
        hyper(np.ones((2, 3, 5), "float32"), np.ones((2, 28), "float32"))


@pytest.mark.parametrize(
    "layer",
    [layers.Conv1D(4, 3, groups=2), layers.DepthwiseConv1D(3), layers.SeparableConv1D(4, 3)],
)
def test_updates_that_are_refused(layer):
    hyper = kh.Hyper(layer)
    spec = hyper.spec((2, 5, 2))
    tensors = {n: np.ones((2, *t.shape), "float32") for n, t in zip(hyper.tensor_names, spec)}
    kernel = hyper.tensor_names[0]
    *down, out = spec[0].shape
    tensors[kernel] = {
        "base": np.ones((*down, out), "float32"),
        "down": np.ones((2, *down, 1), "float32"),
        "up": np.ones((2, 1, out), "float32"),
    }
    with pytest.raises(ValueError, match=f"{kernel}.*no update of low rank"):
        hyper(np.ones((2, 5, 2), "float32"), tensors)


def test_channels_first_beside_an_axis_as_long(rng):
    """`keras.ops.add` on TensorFlow takes the bias for one of the last axis here."""
    x = rng.normal(size=(4, 2, 4, 6)).astype("float32")
    drawn = rng.normal(size=(2, 76)).astype("float32")
    last = numpy_of(kh.Hyper(layers.Conv2D(4, 3))(np.moveaxis(x, 1, -1), drawn))
    hyper = kh.Hyper(layers.Conv2D(4, 3, **FIRST))
    if keras.backend.backend() == "tensorflow":  # which has no such convolution on a CPU
        hyper.spec((None, 2, 4, 6))
    first = numpy_of(hyper(x, drawn))
    assert first.shape == (4, 4, 2, 4)
    np.testing.assert_allclose(first, np.moveaxis(last, -1, 1), rtol=1e-5, atol=1e-5)


# Reversible embeddings.


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("update", [False, True])
def test_reversible_embeddings(tied, update, rng):
    def make():
        return layers.ReversibleEmbedding(5, 3, tie_weights=tied, logit_soft_cap=2.0)

    hyper, plain = kh.Hyper(make()), make()
    plain.build((None, 4))
    ids, x = rng.integers(0, 5, (4, 2)), rng.normal(size=(4, 2, 3)).astype("float32")
    spec = hyper.spec((4, 2))
    shapes = dict(zip(hyper.tensor_names, [tensor.shape for tensor in spec]))
    assert list(shapes) == (["embeddings"] if tied else ["embeddings", "reverse_embeddings"])
    weights, meant = {}, {}
    for name, shape in shapes.items():
        meant[name] = rng.normal(size=(2, *shape)).astype("float32")
        weights[name] = meant[name]
        if update:
            down, up = (rng.normal(size=(2, *s)) for s in hyper.update_shapes(name, shape, 1))
            base = rng.normal(size=shape)
            parts = {"base": base, "down": down, "up": up}
            weights[name] = {key: value.astype("float32") for key, value in parts.items()}
            meant[name] = base + down @ up
    for data, reverse in ((ids, False), (x, True)):
        found = numpy_of(hyper(data, weights, reverse=reverse))
        for row in range(2):
            for variable, value in zip(plain.trainable_variables, meant.values(), strict=True):
                variable.assign(value[row])
            own = slice(2 * row, 2 * row + 2)
            expected = numpy_of(plain(data[own], reverse=reverse))
            np.testing.assert_allclose(found[own], expected, rtol=1e-4, atol=1e-5)
