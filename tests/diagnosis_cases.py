"""Faults that a diagnosis must name, each with its remedy."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

import keras_hypernet as kh

ROWS, WIDTH = 256, 16


def problem(size=2):
    """Conditions, data, and a smooth function of both."""
    rng = np.random.default_rng(3)
    c, x = rng.normal(size=(ROWS, size)), rng.uniform(-1, 1, size=(ROWS, 1))
    y = np.sin(2 * x + np.tanh(c[:, :1])) + np.tanh(c[:, -1:]) * x
    return c.astype("float32"), x.astype("float32"), y.astype("float32")


def sizes(depth):
    return [(1, WIDTH), *[(WIDTH, WIDTH)] * (depth - 2), (WIDTH, 1)]


def compiled(model, rate=3e-3):
    model.compile(keras.optimizers.Adam(rate), "mse")
    return model


def built(depth=3, hidden=(64,), rate=3e-3, size=2, **options):
    return compiled(kh.build(size, 1, sizes(depth), hidden, **options), rate)


def head(initializer, depth=6):
    return built(depth, initialization=None, head_kernel_initializer=initializer)


def zeros():
    return built(
        kernel_initializer="zeros",
        bias_initializer="zeros",
        head_kernel_initializer="zeros",
    )


def by_hand(activation=None, generator=None, condition_size=2):
    """A model whose weights a function changes on their way."""
    z, x = keras.Input((condition_size,), name="condition"), keras.Input((1,), name="x")
    y = x
    for i, (inputs, outputs) in enumerate(sizes(3)):
        spec = {f"layer_{i}/kernel": (inputs, outputs), f"layer_{i}/bias": (outputs,)}
        weights = (generator or kh.WeightGenerator)(spec, hidden_sizes=(64,))(z)
        if activation:
            weights = keras.layers.Activation(activation)(weights)
        layer = keras.layers.Dense(outputs, "relu" if outputs > 1 else None)
        y = kh.Hyper(layer)(y, weights)
    return compiled(keras.Model([z, x], y))


def noisy(connected=True, hidden=(64,)):
    """A model with noise beside a condition."""
    z, noise = keras.Input((2,), name="condition"), keras.Input((2,), name="noise")
    x = keras.Input((1,), name="x")
    generator = kh.Hypernetwork(
        kh.WeightGenerator(
            kh.WeightSpec.from_layer_sizes(sizes(3)),
            hidden,
            initialization="hyper_fan_in",
        ),
        noise_size=2 if connected else 0,
    )
    given = {"noise": noise, "condition": z} if connected else {"condition": z}
    y = kh.ApplyGeneratedWeights(sizes(3))(x, generator(given))
    return compiled(keras.Model([z, noise, x], y))


def noisy_problem():
    c, x, y = problem()
    noise = np.random.default_rng(4).normal(size=c.shape).astype("float32")
    return [c, noise], x, y


def perceptron(depth=3, units=WIDTH):
    model = keras.Sequential([keras.Input((1,))])
    for i in range(depth - 1):
        model.add(keras.layers.Dense(units, "relu", name=f"dense_{i}"))
    model.add(keras.layers.Dense(1, name=f"dense_{depth - 1}"))
    return model


def low_rank(start=None, select=None, depth=3):
    options = {} if select is None else {"select": select}
    model = kh.hypernetize(
        perceptron(depth), conditioning_size=2, mode="low_rank", rank=1, **options
    )
    if start is not None:
        for layer in model.layers:
            if isinstance(layer, kh.WeightGenerator):
                layer.head.kernel.assign(np.zeros(layer.head.kernel.shape))
                layer.head.bias.assign(np.zeros(layer.head.bias.shape))
    return compiled(model)


def chunked(initialization, size=WIDTH * 4):
    """Chunks of whole rows of a kernel, in row-major order."""
    z, x = keras.Input((2,), name="condition"), keras.Input((1,), name="x")
    generator = kh.ChunkedWeightGenerator(
        {"layer_0/kernel": (1, WIDTH), "layer_0/bias": (WIDTH,), "layer_1/kernel": (64, WIDTH)}
        if False
        else kh.WeightSpec.from_layer_sizes(sizes(4)),
        size,
        chunk_embedding_size=4,
        chunk_embeddings_initializer=keras.initializers.RandomNormal(stddev=0.01),
        output_first=False,
        hidden_sizes=(64,),
        initialization=initialization,
        head_kernel_initializer=None if initialization else "glorot_uniform",
        head_bias_initializer=None if initialization else keras.initializers.RandomNormal(0, 0.2),
    )
    y = kh.ApplyGeneratedWeights(sizes(4))(x, generator(z))
    return compiled(keras.Model([z, x], y))


def ids(trainable=True):
    condition, x = keras.Input((), dtype="int32", name="id"), keras.Input((1,), name="x")
    embedding = kh.ConditionEmbedding(8, 4, name="users")
    embedding.trainable = trainable
    y_model = kh.build(None, 1, sizes(3), (64,), conditioning=embedding(condition), data_input=x)
    return compiled(y_model)


def ids_problem():
    _, x, y = problem()
    return np.arange(ROWS, dtype="int32") % 8, x, y


def frozen_generators(freeze=True):
    model = built()
    if freeze:
        for layer in model.layers:
            if isinstance(layer, kh.WeightGenerator):
                layer.trainable = False
    return compiled(model)


def scaled(size):
    c, x, y = problem()
    return size * c, x, y


def scalar_zero():
    _, x, y = problem(1)
    return np.repeat(np.linspace(0, 1, 8), ROWS // 8)[:, None].astype("float32"), x, y


def scalar(encode):
    z = keras.Input((1,), name="condition")
    conditioning = kh.UnitNormEncoding()(z) if encode else z
    return compiled(
        kh.build(
            None,
            1,
            sizes(3),
            (64,),
            conditioning=conditioning,
            initialization="hyper_fan_in",
            running_scale=False,
        )
    )


def equal():
    c, x, y = problem()
    return np.ones_like(c), x, y


@dataclasses.dataclass(frozen=True)
class Fault:
    """A model that does not train well, why, and the same without the fault."""

    id: str
    check: str  # that names it
    faulty: Callable
    mended: Callable
    data: Callable = problem  # () -> conditioning, inputs, y
    mended_data: Callable | None = None
    level: str = "bad"


GLOROT, HE = "glorot_uniform", "he_normal"
SMALL = keras.initializers.RandomUniform(-0.01, 0.01)
FAULTS = [
    Fault("uniform_head", "spread", lambda: head(SMALL), lambda: built(6)),
    Fault("glorot_head", "spread", lambda: head(GLOROT), lambda: built(6)),
    Fault(
        "kaiming_head",
        "signals",
        lambda: built(
            6,
            initialization=None,
            kernel_initializer=HE,
            head_kernel_initializer=HE,
            feature_scale=1.0,
        ),
        lambda: built(6),
    ),
    Fault("zero_times_zero", "gradients", zeros, built),
    Fault("sigmoid_head", "one_sign", lambda: by_hand("sigmoid"), by_hand),
    Fault("relu_head", "one_sign", lambda: by_hand("relu"), by_hand),
    Fault(
        "small_conditions",
        "condition_size",
        lambda: built(running_scale=False),
        lambda: built(running_scale=True),
        lambda: scaled(1e-3),
    ),
    Fault(
        "large_conditions",
        "condition_size",
        lambda: built(running_scale=False),
        lambda: built(running_scale=True),
        lambda: scaled(100.0),
    ),
    Fault("scalar_zero", "spread", lambda: scalar(False), lambda: scalar(True), scalar_zero),
    Fault("equal_conditions", "equal_conditions", built, built, equal, problem),
    Fault("noise_not_connected", "inputs", lambda: noisy(False), noisy, noisy_problem),
    Fault("linear_noise", "inputs", lambda: noisy(hidden=()), noisy, noisy_problem, level="look"),
    Fault("frozen_generator", "frozen", frozen_generators, lambda: frozen_generators(False)),
    Fault("frozen_embedding", "frozen", lambda: ids(False), ids, ids_problem, level="look"),
    Fault("both_factors_zero", "gradients", lambda: low_rank(0), low_rank),
    Fault("repeated_chunks", "repeated", lambda: chunked(None), lambda: chunked("bias_hyper_init")),
    Fault("learning_rate_10", "step", lambda: built(rate=10.0), built),
    Fault("learning_rate_1e-9", "step", lambda: built(rate=1e-9), built),
    Fault(
        "one_kernel_of_13",
        "coverage",
        lambda: low_rank(select="dense_0", depth=13),
        lambda: low_rank(depth=13),
        level="look",
    ),
]
