"""`hypernetize` on each family of `keras.applications`: all that trains has a row per condition."""

import inspect

import keras
import numpy as np
import pytest
from keras import applications, ops

import keras_hypernet as kh
from tests.backend import BACKEND
from tests.whole_models import compiled, predict, weights_of

# What Keras does not show: the narrower members of a family, and a layer of one.
CONVNEXT = inspect.getmodule(applications.ConvNeXtTiny)
NASNET = inspect.getmodule(applications.NASNetMobile)

# The smallest member of each family and the smallest images that it takes.
SIZES = {
    "ConvNeXtTiny": 32,
    "DenseNet121": 32,
    "EfficientNetB0": 32,
    "EfficientNetV2B0": 32,
    "InceptionResNetV2": 75,
    "InceptionV3": 75,
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Small": 32,
    "NASNetMobile": 32,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "VGG16": 32,
    "Xception": 71,
}
WIDTHS = {"MobileNet": 0.25, "MobileNetV2": 0.35, "MobileNetV3Small": 0.25}
QUICK = {"MobileNet"} if BACKEND != "jax" else set()  # JAX compiles it for ten seconds

# Rows side by side are other sums than a row alone: rounding errors, which grow from layer to
# layer. They came to 1e-5 of the largest output.
TOLERANCE = 1e-4


def make(name):
    size = SIZES[name]
    options = {"input_shape": (size, size, 3), "weights": None, "classes": 3}
    if name in WIDTHS:
        options["alpha"] = WIDTHS[name]
    function = getattr(applications, name)
    if name == "NASNetMobile" and BACKEND == "torch":
        function = nasnet_mobile
    return function(classifier_activation=None, **options)


def nasnet_mobile(**options):
    """`NASNetMobile`, which Keras refuses to make on PyTorch, though it runs there."""
    mobile = {"penultimate_filters": 1056, "num_blocks": 4, "stem_block_filters": 32}
    return NASNET.NASNet(skip_reduction=False, **mobile, **options)


def settle(heads, rng):
    """Lets weights depend on the condition, kernels of a size that keeps that of activations."""
    for head in heads:
        sizes = [np.sqrt(2 / t.fan_in) if t.role == "kernel" else 0.1 for t in head.spec]
        sizes = np.repeat(sizes, [t.size for t in head.spec])
        kernel, bias = head.trainable_variables
        bias.assign(sizes * rng.standard_normal(sizes.shape, "float32"))
        kernel.assign(sizes / 3 * rng.standard_normal(kernel.shape, "float32"))


class LayerScaleRule(kh.Rule):
    def variables(self, layer):
        return {"gamma": layer.gamma}  # its own name is one that Keras counts

    def apply(self, layer, x, tensors):
        return self.combine(ops.multiply, x, tensors["gamma"], axes=[-1])


@pytest.fixture
def layer_scale_rule(monkeypatch):
    from keras_hypernet.layers.rules import rule

    monkeypatch.setattr(rule, "_RULES", dict(rule._RULES))
    kh.register_rule(CONVNEXT.LayerScale, LayerScaleRule)


def families(names):
    """The modules that applications come from, both VGGs in one."""
    return {getattr(applications, n).__module__.replace("vgg19", "vgg16") for n in names}


def test_no_family_is_missing():
    every = [n for n, f in vars(applications).items() if inspect.isfunction(f)]
    assert families(SIZES) == families(every)
    assert len(families(SIZES)) == len(SIZES)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in SIZES],
)
def test_an_application(name, layer_scale_rule, rng, tmp_path):
    model = make(name)
    # A linear head per layer, twice as large as what it makes.
    hyper = kh.hypernetize(model, conditioning_size=1, hidden_sizes=())
    heads = [layer for layer in hyper.layers if isinstance(layer, kh.WeightGenerator)]
    assert len(hyper.trainable_variables) == 2 * len(heads)
    settle(heads, rng)
    z = np.array([[-1], [1]], "float32")
    x = 100 * rng.standard_normal((4, *model.input_shape[1:]), "float32")
    y = rng.normal(size=(4, 3)).astype("float32")

    # Trains.
    before = [weights_of(head) for head in heads]
    compiled(hyper, optimizer=keras.optimizers.SGD(1e-4, clipvalue=1.0))
    losses = [hyper.train_on_batch([z, x], y) for _ in range(2)]
    assert np.isfinite(losses).all()
    for head, values in zip(heads, before):
        assert all((a != b).any() for a, b in zip(values, weights_of(head))), head.name

    # Each row is what the plain model with this condition says.
    expected = predict(hyper, [z, x])
    assert np.isfinite(expected).all()
    tolerance = TOLERANCE * np.abs(expected).max()
    for row, rows in enumerate([slice(0, 2), slice(2, 4)]):
        plain = kh.specialize(hyper, z[row : row + 1])
        np.testing.assert_allclose(predict(plain, x[rows]), expected[rows], atol=tolerance)
    # The condition matters.
    assert np.abs(predict(plain, x[:2]) - expected[:2]).max() > 1000 * tolerance

    # Is saved.
    path = tmp_path / "hyper.keras"
    hyper.save(path)
    loaded = keras.saving.load_model(path, safe_mode=True)
    path.unlink()  # hundreds of megabytes, which pytest would keep
    np.testing.assert_allclose(predict(loaded, [z, x]), expected, atol=tolerance)


@pytest.mark.skipif(BACKEND == "jax", reason="compiled for seconds; runs on the others")
def test_a_layer_of_an_application_without_a_rule(request):
    """It is refused by name, and a selection or a rule is the way out."""
    model = CONVNEXT.ConvNeXt(
        [1] * 4, [2] * 4, weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    with pytest.raises(ValueError, match=r"block_0_layer_scale.*select.*register_rule.*LayerScale"):
        kh.hypernetize(model, 1)
    others = [v for v in model.trainable_variables if "layer_scale" not in v.path]
    made = kh.hypernetize(model, 1, select=lambda v: "layer_scale" not in v.path)
    assert len(kh.target_weights(made, np.zeros((1, 1)))) == len(others)
    request.getfixturevalue("layer_scale_rule")
    made = kh.hypernetize(model, 1)
    assert len(kh.target_weights(made, np.zeros((1, 1)))) == len(model.trainable_variables)
