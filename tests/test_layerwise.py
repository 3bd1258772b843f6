"""`LayerwiseWeightGenerator` for a model of many equal blocks."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_hypernet as kh
from keras_hypernet.generators.conditioning_features import ConditioningFeatures
from tests.backend import BACKEND, assert_model_torch_compiles, numpy_of
from tests.whole_models import SIZE, assert_close, predict, settle

BLOCKS, WIDTH = 3, 4
every_heads = pytest.mark.parametrize(
    "heads", [pytest.param("kind", marks=pytest.mark.slow), "factor"]
)


@keras.saving.register_keras_serializable(package="tests")
class PlainBlock(layers.Layer):
    """A block whose layers Keras numbers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention = layers.MultiHeadAttention(2, 3)
        self.wide, self.narrow = layers.Dense(WIDTH, "gelu"), layers.Dense(WIDTH)

    def build(self, x_shape):
        self.attention.build(x_shape, x_shape)
        self.wide.build(x_shape)
        self.narrow.build(x_shape)

    def call(self, x):
        x = x + self.attention(x, x)
        return x + self.narrow(self.wide(x))


def backbone(rng):
    x = keras.Input((5, WIDTH))
    y = x
    for _ in range(BLOCKS):
        y = PlainBlock()(y)
    return settle(keras.Model(x, layers.Dense(2, name="logits")(y)), rng)


def adapted(model, heads, mode="low_rank", **options):
    options = {"hidden_sizes": [8], "embedding_size": 3, **options}
    return kh.hypernetize(
        model,
        SIZE,
        mode=mode,
        rank=2 if mode == "low_rank" else None,
        freeze="all",
        generator=lambda spec: kh.LayerwiseWeightGenerator(spec, heads=heads, **options),
    )


def generator_of(model):
    return next(x for x in model.layers if isinstance(x, kh.LayerwiseWeightGenerator))


def data(rng, rows=4):
    z = rng.normal(size=(rows, SIZE)).astype("float32")
    x = rng.normal(size=(rows, 5, WIDTH)).astype("float32")
    return [z, x], rng.normal(size=(rows, 5, 2)).astype("float32")


@every_heads
def test_layers_of_all_blocks_are_of_one_kind(heads, rng):
    kinds = generator_of(adapted(backbone(rng), heads)).kinds
    assert [len(found) for found in kinds.values()] == [BLOCKS] * 6 + [1]
    for first, found in kinds.items():
        assert found[0] == first
        assert len({name.rpartition("/")[2].rstrip("_0123456789") for name in found}) == 1


@every_heads
@pytest.mark.parametrize("mode", [pytest.param("delta", marks=pytest.mark.slow), "low_rank"])
def test_a_backbone_with_an_update_per_row(mode, heads, rng, tmp_path):
    model = backbone(rng)
    hyper, (inputs, y) = adapted(model, heads, mode), data(rng)
    assert_close(predict(hyper, inputs), predict(model, inputs[1]), atol=1e-6)
    before = [numpy_of(v) for v in hyper.variables]
    hyper.compile("adam", "mse", jit_compile=BACKEND != "torch")
    hyper.fit(inputs, y, batch_size=4, epochs=2, verbose=0)
    trained = {id(v) for v in hyper.trainable_variables}
    for variable, old in zip(hyper.variables, before, strict=True):
        assert (id(variable) in trained) == np.any(numpy_of(variable) != old), variable.path
    after = predict(hyper, inputs)
    alone = [predict(hyper, [z[None], x[None]])[0] for z, x in zip(*inputs)]
    assert_close(after, np.stack(alone))
    hyper.save(tmp_path / "hyper.keras")
    loaded = keras.saving.load_model(tmp_path / "hyper.keras", safe_mode=True)
    assert_close(predict(loaded, inputs), after, rtol=1e-6, atol=1e-6)
    plain = kh.specialize(hyper, inputs[0][1:2])
    assert_close(predict(plain, inputs[1][1:2]), after[1:2])
    (row,) = kh.describe(hyper)
    assert row["form"] == ("flat" if mode == "delta" else "flat + frozen base")
    assert row["parameters"] == generator_of(hyper).count_params()


@every_heads
@pytest.mark.parametrize("factors", [{"up": (2, WIDTH)}, {"scale": (2,)}])
def test_a_part_of_each_update(heads, factors, rng):
    spec = kh.WeightSpec(
        [
            {"name": f"block_{i}/{kernel}/kernel.{factor}", "shape": shape, "role": "kernel"}
            for i in range(BLOCKS)
            for kernel in ("query", "value")
            for factor, shape in factors.items()
        ]
    )
    generator = kh.LayerwiseWeightGenerator(spec, [8], heads)
    weights = numpy_of(generator(data(rng)[0][0]))
    assert weights.shape == (4, spec.total)
    assert [list(found) for found in generator.kinds.values()] == [
        [f"block_{i}/{kernel}" for i in range(BLOCKS)] for kernel in ("query", "value")
    ]


def test_inside_of_other_generators(rng):
    spec = {f"block_{i}/dense/kernel": (3, 2) for i in range(BLOCKS)}

    def make(spec):
        return kh.LayerwiseWeightGenerator(spec, [4])

    ids, z = np.array([0, 2]), rng.normal(size=(2, SIZE)).astype("float32")
    chunks = kh.ChunkedWeightGenerator(spec, 7, generator=make)
    for generator, given in (
        (kh.Hypernetwork(make(spec), 3), ids),
        (kh.PerturbedWeightGenerator(make(spec)), z),
        (kh.ComposedWeightGenerator(spec, {"all": make(spec)}), z),
        (chunks, z),
    ):
        assert generator(given).shape == (2, 18)
    assert kh.TaskWeights(make(spec), 3)(ids)["basis"].shape == (3, 18)


def test_features_of_older_files():
    """They know neither an activation nor a dropout."""
    config = ConditioningFeatures([5]).get_config()
    for name in ("activation", "dropout", "seed"):
        del config[name]
    assert ConditioningFeatures.from_config(config).activation is keras.activations.relu


@pytest.mark.skipif(BACKEND != "torch", reason="`torch.compile`")
@pytest.mark.slow
@every_heads
def test_torch_compile(heads, rng):
    x = keras.Input((3,))
    y = layers.Dense(4, name="dense_1")(layers.Dense(4, name="dense_0")(x))
    hyper = adapted(keras.Model(x, y), heads, "delta")
    z = rng.normal(size=(4, SIZE)).astype("float32")
    assert_model_torch_compiles(hyper, [z, rng.normal(size=(4, 3)).astype("float32")])
