"""Faults that a diagnosis must name, each with its remedy."""

import contextlib
import dataclasses
from collections.abc import Callable

import keras
import numpy as np

import keras_hypernet as kh

ROWS = 256


@dataclasses.dataclass(frozen=True)
class Setting:
    """Sizes of a target and of its generators.

    Args:
        width: Of the target's layers.
        more: Layers more than a case asks for.
        hidden: Widths of the generators' hidden layers.
        hidden_activation: Of these.
    """

    width: int = 16
    more: int = 0
    hidden: tuple = (64,)
    hidden_activation: str = "relu"


KNOWN = Setting()  # the limits of checks were set on it
UNKNOWN = Setting(width=28, more=1, hidden=(48, 32), hidden_activation="tanh")  # and tried on it
_used = [KNOWN]


@contextlib.contextmanager
def under(setting):
    """A scope in which cases have a setting."""
    _used.append(setting)
    try:
        yield
    finally:
        _used.pop()


def problem(size=2):
    """Conditions, data, and a smooth function of both."""
    rng = np.random.default_rng(3)
    c, x = rng.normal(size=(ROWS, size)), rng.uniform(-1, 1, size=(ROWS, 1))
    y = np.sin(2 * x + np.tanh(c[:, :1])) + np.tanh(c[:, -1:]) * x
    return c.astype("float32"), x.astype("float32"), y.astype("float32")


def sizes(depth):
    width, inner = _used[-1].width, depth - 2 + _used[-1].more
    return [(1, width), *[(width, width)] * inner, (width, 1)]


def hidden():
    """Arguments of a perceptron."""
    return {"hidden_sizes": _used[-1].hidden, "activation": _used[-1].hidden_activation}


def compiled(model, rate=3e-3):
    model.compile(keras.optimizers.Adam(rate), "mse")
    return model


def built(depth=3, rate=3e-3, size=2, **options):
    trunk = {"hidden_activation": _used[-1].hidden_activation}
    model = kh.build(size, 1, sizes(depth), _used[-1].hidden, **trunk, **options)
    return compiled(model, rate)


def head(initializer, depth=6):
    return built(depth, initialization=None, head_kernel_initializer=initializer)


def zeros():
    return built(
        kernel_initializer="zeros",
        bias_initializer="zeros",
        head_kernel_initializer="zeros",
    )


def by_hand(activation=None):
    """A model whose weights a function changes on their way."""
    z, x = keras.Input((2,), name="condition"), keras.Input((1,), name="x")
    y = x
    for i, (inputs, outputs) in enumerate(sizes(3)):
        spec = {f"layer_{i}/kernel": (inputs, outputs), f"layer_{i}/bias": (outputs,)}
        weights = kh.WeightGenerator(spec, **hidden())(z)
        if activation:
            weights = keras.layers.Activation(activation)(weights)
        layer = keras.layers.Dense(outputs, "relu" if outputs > 1 else None)
        y = kh.Hyper(layer)(y, weights)
    return compiled(keras.Model([z, x], y))


def noisy(connected=True, **options):
    """A model with noise beside a condition."""
    z, noise = keras.Input((2,), name="condition"), keras.Input((2,), name="noise")
    x = keras.Input((1,), name="x")
    generator = kh.Hypernetwork(
        kh.WeightGenerator(
            kh.WeightSpec.from_layer_sizes(sizes(3)),
            **{**hidden(), **options},
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


def perceptron(depth=3):
    model = keras.Sequential([keras.Input((1,))])
    for i in range(depth - 1):
        model.add(keras.layers.Dense(_used[-1].width, "relu", name=f"dense_{i}"))
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


def chunked(initialization):
    """Chunks of whole rows of a kernel, in row-major order."""
    z, x = keras.Input((2,), name="condition"), keras.Input((1,), name="x")
    generator = kh.ChunkedWeightGenerator(
        kh.WeightSpec.from_layer_sizes(sizes(4)),
        4 * _used[-1].width,
        chunk_embedding_size=4,
        chunk_embeddings_initializer=keras.initializers.RandomNormal(stddev=0.01),
        output_first=False,
        **hidden(),
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
    return built(size=None, conditioning=embedding(condition), data_input=x)


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
    start = {"initialization": "hyper_fan_in", "running_scale": False}
    return built(size=None, conditioning=conditioning, **start)


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
    Fault(
        "linear_noise", "inputs", lambda: noisy(hidden_sizes=()), noisy, noisy_problem, level="look"
    ),
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
