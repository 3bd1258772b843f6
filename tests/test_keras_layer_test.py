"""Keras' own test of a layer, `run_layer_test`, on every public layer."""

import functools

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src.testing import TestCase

import keras_hypernet as kh
from tests.rule_cases import FIRST

pytestmark = pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")

CONDITIONS = 4


def inside(**options):
    return kh.WeightGenerator([(3, 4), (4,)], hidden_sizes=[3], **options)


def composed(**options):
    generator = kh.ComposedWeightGenerator(
        {"dense/kernel": (3, 4), "norm/gamma": (4,), "out/bias": (2,)},
        generators={"body": kh.WeightGenerator({"dense/kernel": (3, 4)}, hidden_sizes=[3])},
        shared={"norm/gamma": (4,)},
        conditional={"out/bias": (2,)},
        num_conditions=CONDITIONS,
        **options,
    )
    return OnTuple(generator, ["condition", "condition_id"], **options)


def perturbed(**options):
    return kh.PerturbedWeightGenerator(inside(), noise_size=2, **options)


def hypernetwork(**options):
    return kh.Hypernetwork(inside(), CONDITIONS, **options)


def task_weights(**options):
    return kh.TaskWeights(inside(), CONDITIONS, **options)


def continual(**options):
    model = kh.build(2, 3, [(3, 4), (4, 2)], hidden_sizes=[3])
    return kh.ContinualModel(model, num_tasks=3, **options)


def hyper_model(**options):
    return kh.build(3, 5, [(5, 2)], **options)


def structured(**options):
    plan = kh.ChunkPlan(
        {"a/kernel": (6, 4), "b/kernel": (6, 4)},
        kinds={"layer": {"shapes": {"kernel": (6, 4)}, "number": 2, "embedding_size": 3}},
        assembly={"a/kernel": "layer/0/kernel", "b/kernel": "layer/1/kernel"},
    )
    return kh.StructuredWeightGenerator(plan, hidden_sizes=[3], **options)


def hyper_options(make, x_shape, weights_shape, dtype="float32", other=None):
    """What the test takes for a `Hyper` around a layer that is made anew each time."""

    def hyper(dtype=None, name=None, **options):
        return kh.Hyper(make(dtype=dtype, name=name), **options)

    shapes = {"x_shape": x_shape, "weights_shape": weights_shape}
    dtypes = {"x_shape": dtype, "weights_shape": "float32"}
    if other is not None:
        shapes[f"{other}_shape"], dtypes[f"{other}_shape"] = x_shape, "float32"
    return {"layer_cls": hyper, "input_shape": shapes, "input_dtype": dtypes}


def by_rule(row):
    x, *others = row.data(4, np.random.default_rng(0))
    spec = kh.Hyper(row.layer(**row.arguments)).spec(x.shape, *(x.shape for x in others))
    make = functools.partial(row.layer, **row.arguments)
    other = "value" if others else None
    return hyper_options(make, x.shape, (2, spec.total), str(x.dtype), other)


def shared_gru(dtype=None, name=None):
    layer = layers.GRU(4, dtype=dtype, name=name)
    layer.build((None, 3, 2))
    return layer


# The test makes a layer several times, and parts belong to one layer: a function makes those.
SPEC = {"spec": [(3, 4), (4,)]}
IDS = {"input_shape": (4,), "input_dtype": "int32"}
FACTORED = {"basis": (3, 16), "features": (4, 3), "offset": (16,)}
LAYERS = {
    kh.WeightGenerator: {
        "init_kwargs": {**SPEC, "hidden_sizes": [3], "dropout": 0.1, "batch_normalization": True},
        "input_shape": (4, 5),
        "expected_output_shape": (4, 16),
        "expected_num_trainable_weights": 6,
        "expected_num_non_trainable_weights": 2,
        "expected_num_seed_generators": 1,
    },
    kh.ChunkedWeightGenerator: {
        "init_kwargs": {**SPEC, "chunk_size": 5, "hidden_sizes": [3]},
        "input_shape": (4, 5),
        "expected_output_shape": (4, 16),
        "expected_num_trainable_weights": 5,
    },
    kh.StructuredWeightGenerator: {
        "layer_cls": structured,
        "input_shape": (4, 5),
        "expected_output_shape": (4, 48),
        "expected_num_trainable_weights": 5,
    },
    kh.LayerwiseWeightGenerator: {
        "init_kwargs": {**SPEC, "hidden_sizes": [3], "heads": "factor", "dropout": 0.1},
        "input_shape": (4, 5),
        "expected_output_shape": (4, 16),
        "expected_num_trainable_weights": 9,
        "expected_num_seed_generators": 1,
    },
    kh.DeconvWeightGenerator: {
        "init_kwargs": {**SPEC, "image_shape": (4, 4), "filters": [8, 2], "kernel_size": 3},
        "input_shape": (4, 5),
        "expected_output_shape": (4, 16),
    },
    kh.ChunkedDeconvWeightGenerator: {
        "init_kwargs": {**SPEC, "image_shape": (3, 3), "filters": [2], "kernel_size": 3},
        "input_shape": (4, 5),
        "expected_output_shape": (4, 16),
    },
    kh.ComposedWeightGenerator: {
        "layer_cls": composed,
        "input_shape": ((4, 5), (4,)),
        "input_dtype": ("float32", "int32"),
        "expected_output_shape": (4, 18),
        "expected_num_trainable_weights": 6,
    },
    kh.PerturbedWeightGenerator: {
        "layer_cls": perturbed,
        "input_shape": (4, 5),
        "expected_output_shape": (4, 16),
        "expected_num_trainable_weights": 4,
        "expected_num_seed_generators": 1,
    },
    kh.Hypernetwork: {
        "layer_cls": hypernetwork,
        **IDS,
        "expected_output_shape": (4, 16),
        "expected_num_trainable_weights": 5,
    },
    kh.TaskWeights: {
        "layer_cls": task_weights,
        **IDS,
        "expected_output_shape": FACTORED,
        "expected_num_trainable_weights": 5,
    },
    kh.ConditionEmbedding: {
        "init_kwargs": {"num_conditions": CONDITIONS, "size": 3},
        **IDS,
        "expected_output_shape": (4, 3),
        "expected_num_trainable_weights": 1,
    },
    kh.UnitNormEncoding: {
        "init_kwargs": {"low": [0, -1, -2], "high": 3},
        "input_shape": (4, 5, 3),
        "expected_output_shape": (4, 5, 6),
        "supports_masking": True,
    },
    kh.FourierFeatures: {
        "init_kwargs": {"num_frequencies": 4, "scale": 2.0, "seed": 1},
        "input_shape": (4, 5, 3),
        "expected_output_shape": (4, 5, 8),
        "expected_num_non_trainable_weights": 1,
        "supports_masking": True,
    },
    kh.RunningScale: {
        "input_shape": (4, 5, 3),
        "expected_output_shape": (4, 5, 3),
        "expected_num_non_trainable_weights": 2,
        "supports_masking": True,
    },
    kh.ContinualModel: {
        "layer_cls": continual,
        "input_shape": (4, 3),
        "expected_output_shape": (4, 2),
    },
    kh.HyperModel: {
        "layer_cls": hyper_model,
        "input_shape": [(4, 3), (4, 5)],
        "expected_output_shape": (4, 2),
    },
    kh.ApplyGeneratedWeights: {
        "init_kwargs": {"target_layer_sizes": [(3, 4), (4, 2)]},
        "input_shape": {"x_shape": (4, 3), "weights_shape": (2, 26)},
        "expected_output_shape": (4, 2),
        "supports_masking": True,
    },
    **{
        f"Hyper {FIRST[kind].id}": by_rule(FIRST[kind])
        for kind in (layers.Dense, layers.BatchNormalization, layers.MultiHeadAttention)
    },
    "Hyper shared": {
        **hyper_options(shared_gru, (4, 3, 2), (1, 96)),
        "init_kwargs": {"shared": True},
        "expected_output_shape": (4, 4),
    },
}
# `fit` warns of a model of nothing else, and Keras' test trains none of several inputs everywhere.
UNTRAINED = {kh.UnitNormEncoding, kh.FourierFeatures, kh.RunningScale, kh.HyperModel}
HYPER = {cls: kwargs for cls, kwargs in LAYERS.items() if isinstance(kwargs["input_shape"], dict)}


class Around(layers.Layer):
    """A layer that is called in another way.

    Keras' test takes a dict for call arguments, and its training step calls `layer(x)`. So a
    generator on a dict gets a tuple, and each hyper layer is tested twice: on its own, without the
    training step, and with its weights as a variable, with it.
    """

    def __init__(self, layer, **kwargs):
        super().__init__(**kwargs)
        self.layer = layer

    def get_config(self):
        return {**super().get_config(), "layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config):
        layer = keras.saving.deserialize_keras_object(config["layer"])
        return cls(**{**config, "layer": layer})


@keras.saving.register_keras_serializable(package="tests")
class OnTuple(Around):
    """A generator on a tuple of the inputs with the given names."""

    def __init__(self, layer, names, **kwargs):
        super().__init__(layer, **kwargs)
        self.names = list(names)

    def build(self, shapes):
        self.layer.build(self._named(shapes))

    def call(self, tensors, training=None):
        return self.layer(self._named(tensors), training=training)

    def compute_output_shape(self, shapes):
        return self.layer.compute_output_shape(self._named(shapes))

    def _named(self, values):
        return dict(zip(self.names, values))

    def get_config(self):
        return {**super().get_config(), "names": self.names}


@keras.saving.register_keras_serializable(package="tests")
class OnOwnWeights(Around):
    """A hyper layer on weights that are trained here."""

    def __init__(self, layer, weights_shape, **kwargs):
        super().__init__(layer, **kwargs)
        self.weights_shape = list(weights_shape)

    def build(self, x_shape):
        self.generated = self.add_weight(self.weights_shape, name="generated")
        self.layer.build(x_shape, tuple(self.weights_shape), *self._others(x_shape))

    def call(self, x, training=None):
        return self.layer(x, ops.convert_to_tensor(self.generated), *self._others(x))

    def compute_output_shape(self, x_shape):
        shapes = (x_shape, tuple(self.weights_shape), *self._others(x_shape))
        return self.layer.compute_output_shape(*shapes)

    def _others(self, x):
        attention = isinstance(self.layer, kh.Hyper) and isinstance(
            self.layer.wrapped_layer(), layers.MultiHeadAttention
        )
        return [x] if attention else []

    def get_config(self):
        return {**super().get_config(), "weights_shape": self.weights_shape}


def every_class(classes):
    return pytest.mark.parametrize("cls", classes, ids=lambda cls: getattr(cls, "__name__", cls))


def test_the_table_has_every_public_layer():
    public = {getattr(kh, name) for name in kh.__all__}
    classes = {c for c in public if isinstance(c, type) and issubclass(c, layers.Layer)}
    assert classes == {*(c for c in LAYERS if isinstance(c, type)), kh.Hyper}


@every_class(LAYERS)
def test_layer(cls):
    kwargs = {"layer_cls": cls, "init_kwargs": {}, **LAYERS[cls]}
    TestCase().run_layer_test(**kwargs, run_training_check=cls not in {*HYPER, *UNTRAINED})


@every_class(HYPER)
def test_hyper_layer_in_training(cls):
    kwargs = {"layer_cls": cls, "init_kwargs": {}, **HYPER[cls]}
    make = functools.partial(kwargs["layer_cls"], **kwargs["init_kwargs"])
    (x, x_shape), (_, weights_shape), *_ = kwargs["input_shape"].items()
    TestCase().run_layer_test(
        lambda **options: OnOwnWeights(make(**options), weights_shape, **options),
        {},
        input_shape=x_shape,
        input_dtype=kwargs.get("input_dtype", {}).get(x),
        expected_output_shape=kwargs.get("expected_output_shape"),
        expected_num_trainable_weights=1,
    )
