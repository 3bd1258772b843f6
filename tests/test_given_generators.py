"""`hypernetize` with a given generator: where it starts, and that all of it trains from there."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_hypernet as kh
from tests.backend import gradients, numpy_of
from tests.whole_models import SIZE, assert_close, predict, settle


def mlp():
    x = keras.Input((4,), name="x")
    y = layers.BatchNormalization(name="norm")(layers.Dense(5, activation="tanh", name="one")(x))
    return keras.Model(x, layers.Dense(2, name="two")(y), name="mlp")


def composed(spec, start):
    """A part of the target is shared by all conditions, without a generator."""
    shapes = dict(zip(spec.names, spec.shapes))
    name = next(name for name in spec.names if name.endswith(("/bias", ".up")))
    shared = {name: shapes.pop(name)}
    # A part knows its tensors by name and shape alone: by default it would start `down` at zero.
    down = {name: "lecun_normal" for name in shapes if name.endswith(".down")}
    start = start or {"initialization": kh.BiasHyperInit(down)}
    part = kh.WeightGenerator(shapes, hidden_sizes=[4], **start)
    return kh.ComposedWeightGenerator(spec, generators={"part": part}, shared=shared)


GENERATORS = {
    "whole": lambda spec, start: kh.WeightGenerator(spec, hidden_sizes=[6], **start),
    "chunked": lambda spec, start: kh.ChunkedWeightGenerator(
        spec, 16, 3, hidden_sizes=[6], **start
    ),
    "composed": composed,
    "layerwise": lambda spec, start: kh.LayerwiseWeightGenerator(spec, [6], **start),
    "factors": lambda spec, start: kh.LayerwiseWeightGenerator(spec, [6], "factor", **start),
}
STARTS = {
    "default": {},
    "none": {"initialization": None},
    "hyperfan": {"initialization": kh.HyperFanIn(condition_variance=1e-3)},
}


@pytest.mark.parametrize("mode", [pytest.param("delta", marks=pytest.mark.slow), "low_rank"])
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("make", GENERATORS)
def test_starts_as_the_given_model_and_all_of_it_trains(make, start, mode, rng):
    if (make, start, mode) == ("composed", "hyperfan", "low_rank"):
        pytest.skip("hyperfan starts what is neither kernel nor bias, as `down` for a part, at 0")
    keras.utils.set_random_seed(3)
    model = settle(mlp(), rng)
    x, z, y = (rng.normal(size=(64, n)).astype("float32") for n in (4, SIZE, 2))
    hyper = kh.hypernetize(
        model,
        SIZE,
        generator=lambda spec: GENERATORS[make](spec, STARTS[start]),
        mode=mode,
    )
    assert_close(predict(hyper, [z, x]), predict(model, x), rtol=0, atol=1e-6)
    trained = {id(v) for layer in own_layers(hyper) for v in layer.trainable_variables}
    moved = set()
    for _ in range(2):
        seeds = numpy_of(hyper([z, x])) - y
        found, _ = gradients(hyper, [[z, x]], seeds)
        for variable, gradient in zip(hyper.trainable_variables, found, strict=True):
            if np.any(gradient):
                moved.add(id(variable))
            variable.assign(variable - 0.01 * np.sign(gradient))
    assert not [v.path for v in hyper.trainable_variables if id(v) in trained - moved]


def own_layers(hyper):
    return [layer for layer in hyper.layers if type(layer).__module__.startswith("keras_hypernet")]


@keras.saving.register_keras_serializable(package="tests")
class Scaled(layers.Layer):
    """A custom layer whose weight has no argument for its initializer."""

    def build(self, x_shape):
        self.table = self.add_weight(shape=(x_shape[-1], 40), name="table", initializer="he_normal")

    def call(self, x):
        return x @ self.table


def of_many_starts():
    x = keras.Input((6, 6, 3))
    y = layers.Conv2D(8, 3, kernel_initializer="orthogonal", name="conv")(x)
    y = layers.BatchNormalization(name="plain_norm")(y)
    y = layers.BatchNormalization(gamma_initializer=constant(0.3), name="norm")(y)
    y = layers.LayerNormalization(gamma_initializer="zeros", name="residual")(y)
    return keras.Model(x, Scaled(name="scaled")(layers.Flatten()(y)))


def constant(value):
    return keras.initializers.Constant(value)


REPLACING = {
    "default": None,
    "chunked": lambda spec: kh.ChunkedWeightGenerator(spec, 100, hidden_sizes=[4]),
    "whole": lambda spec: kh.WeightGenerator(spec, hidden_sizes=[4]),
}


@pytest.mark.parametrize("make", REPLACING)
def test_each_tensor_starts_by_its_own_layers_initializer(make, rng):
    model = of_many_starts()
    table = model.get_layer("scaled").table
    table.assign(0.05 * ops.convert_to_tensor(rng.normal(size=table.shape).astype("float32")))
    hyper = kh.hypernetize(model, SIZE, shared=True, generator=REPLACING[make])
    z = rng.normal(size=(2, SIZE)).astype("float32")
    found = kh.target_weights(hyper, z)
    for one, other in found.values():
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    start = {path: weights[0] for path, weights in found.items()}
    kernel = start["conv/kernel"].reshape(27, 8)
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(8), atol=1e-5)
    for name, gamma in {"plain_norm": 1.0, "norm": 0.3, "residual": 0.0}.items():
        np.testing.assert_allclose(start[f"{name}/gamma"], gamma, atol=1e-6)
        np.testing.assert_allclose(start[f"{name}/beta"], 0, atol=1e-6)
    assert start["scaled/table"].std() == pytest.approx(0.05, rel=0.05)
    assert abs(start["scaled/table"].mean()) < 0.005


def test_two_zero_factors_are_refused():
    def make(spec):
        shapes = dict(zip(spec.names, spec.shapes))
        shared = {name: shapes.pop(name) for name in spec.names[:2]}
        part = kh.WeightGenerator(shapes, hidden_sizes=[4])
        return kh.ComposedWeightGenerator(spec, generators={"part": part}, shared=shared)

    with pytest.raises(ValueError, match="both factors of the update of one/kernel at zero"):
        kh.hypernetize(mlp(), SIZE, generator=make, mode="low_rank")
