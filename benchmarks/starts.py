"""Which start trains: every start in every cell, a cell being a target, a generator and conditions.

All cells have one task: `y = sin(2 u (1 + p1) + 2 p2) + p3 v`, where u and v are read from the data
(numbers, an image, a sequence) and p1, p2, p3 are smooth functions of the condition. Printed is the
loss over the last steps, divided by the variance of y: the best of three learning rates a factor of
ten apart (Adam), the median of three seeds. `plain` is the target alone, trained at one condition.
A cell is learned where less than a quarter of the variance is left.

    KERAS_BACKEND=jax python benchmarks/starts.py              # all, half an hour on 2 cores
    KERAS_BACKEND=jax python benchmarks/starts.py cnn chunked  # cells with a word in their name

Starts: `before`, the defaults of the first versions (heads uniform in +-0.01; `hypernetize` by
hyperfan-in; changes at zero). `hyperfan`: `HyperFanIn`. `bias`: `BiasHyperInit`, hidden layers as
they were before. `bias 1%`, ...: and a head that makes a share of the variance of each kernel.
`default`: what a user gets, which is the bias start, hidden layers with biases and features divided
by the root of their number, and a `RunningScale` in front. `default 1%`, ...: and such a head.

All runs of a cell are one program of JAX, mapped over starts, seeds and rates.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import multiprocessing
import time

import jax
import jax.numpy as jnp
import keras
import numpy as np
from common import print_table

import keras_hypernet as kh
from keras_hypernet.generators.conditioning_features import ConditioningFeatures
from keras_hypernet.generators.generator import Generator
from keras_hypernet.initializers.pieces import Pieces
from keras_hypernet.utils import keras_internals

ROWS, BATCH, STEPS, LAST, SEEDS, RATES = 2048, 32, 500, 50, 3, (1e-4, 1e-3, 1e-2)
WIDTH, HIDDEN, TASKS, IMAGE = 16, 32, 16, 8
LEARNED = 0.25


# Starts.


@keras.saving.register_keras_serializable(package="benchmarks")
class WithHead(kh.BiasHyperInit):
    """A bias start, and a head that makes a share of the variance of every kernel."""

    def __init__(self, initializers=None, seed=None, share=0.1):
        super().__init__(initializers, seed)
        self.share = share

    def of_perceptron(self, generator, spec, sizes, based=False):
        slots = super().of_perceptron(generator, spec, sizes, based)
        k = generator.features_size(sum(sizes.values())) * (generator.feature_scale or 1.0) ** 2
        variances = [self.share * self._variance(t) / k for t in spec]
        kernel = Pieces(0.0, np.repeat(variances, spec.sizes))
        return [slot for slot in slots if slot[:2] != (generator.head, "kernel")] + [
            (generator.head, "kernel", kernel)
        ]

    def of_chunks(self, chunks, spec, sizes):
        slots = super().of_chunks(chunks, spec, sizes)
        head, units = chunks.generator.head, chunks.generator
        k = units.features_size(8) * (units.feature_scale or 1.0) ** 2
        mean = np.average([self._variance(t) for t in spec], weights=spec.sizes)
        slots = [slot for slot in slots if slot[:2] != (head, "kernel")]
        return [
            *slots,
            (head, "kernel", keras.initializers.RandomNormal(0.0, (self.share * mean / k) ** 0.5)),
        ]

    def _variance(self, tensor):
        drawn = self.initializer_of(tensor)(tensor.shape)
        return float(np.var(drawn)) if tensor.role == "kernel" else 0.0

    def arguments(self):
        return {**super().arguments(), "share": self.share}

    def get_config(self):
        return {**super().get_config(), "share": self.share}


@dataclasses.dataclass(frozen=True)
class Start:
    """What a generator gets. `older`: hidden layers as they were before, and no running scale."""

    initialization: object
    older: bool = False

    def with_seed(self, seed):
        """This, with a frozen base of its own."""
        if not isinstance(self.initialization, kh.BiasHyperInit):
            return self
        return dataclasses.replace(self, initialization=self.initialization.copy(seed=seed))

    @property
    def of_generator(self):
        hidden = {
            "feature_scale": 1.0,
            "kernel_initializer": "glorot_uniform",
            "bias_initializer": "zeros",
        }
        return {"initialization": self.initialization, **(hidden if self.older else {})}


STARTS = {
    "before": Start(None, older=True),
    "hyperfan": Start("hyper_fan_in", older=True),
    "bias": Start(kh.BiasHyperInit(), older=True),
    "bias 1%": Start(WithHead(share=0.01), older=True),
    "bias 10%": Start(WithHead(share=0.1), older=True),
    "bias 30%": Start(WithHead(share=0.3), older=True),
    "default": Start(kh.BiasHyperInit()),
    "default 1%": Start(WithHead(share=0.01)),
    "default 10%": Start(WithHead(share=0.1)),
}


# Data: `{condition kind: (conditions, parameters of the function)}`, and inputs that hold u and v.


def conditions(kind, rng):
    mix = np.random.default_rng(7).normal(size=(4, 3)) / 2
    if kind == "embeddings":
        table = np.tanh(np.random.default_rng(8).normal(size=(TASKS, 4)) @ mix)
        ids = rng.integers(TASKS, size=ROWS).astype("int32")
        return ids, table[ids]
    if kind == "scalar":
        c = rng.uniform(size=(ROWS, 1))
        return c, np.tanh(np.concatenate([2 * c - 1, np.sin(3 * c), np.cos(5 * c), c], 1) @ mix * 2)
    c = rng.normal(size=(ROWS, 4))
    size = {"normal": 1.0, "tiny": 1e-2, "large": 30.0}[kind]
    return c * size, np.tanh(c @ mix)


def images(u, v):
    """A bright spot in each image, whose place is (u, v)."""
    grid = np.linspace(-1.2, 1.2, IMAGE)
    row, column = np.exp(-4 * (grid - u) ** 2), np.exp(-4 * (grid - v) ** 2)
    return (row[:, :, None] * column[:, None, :])[..., None]


def sequences(u, v):
    """Six tokens of four numbers, of which two say u and v by their means."""
    noise = np.random.default_rng(9).normal(size=(len(u), 6, 4))
    noise -= noise.mean(axis=1, keepdims=True)
    return noise + np.concatenate([u, v, u * 0, v * 0], axis=1)[:, None]


SHAPES = {
    "vector": ((2,), lambda u, v: np.concatenate([u, v], axis=1)),
    "image": ((IMAGE, IMAGE, 1), images),
    "sequence": ((6, 4), sequences),
}


def data(kind, shape, seed=0):
    rng = np.random.default_rng(seed)
    c, p = conditions(kind, rng)
    u, v = rng.uniform(-1, 1, (2, ROWS, 1))

    def truth(p):
        return np.sin(2 * u * (1 + p[:, :1]) + 2 * p[:, 1:2]) + p[:, 2:] * v

    x, y = SHAPES[shape][1](u, v), truth(p)
    fixed = truth(p[:1].repeat(ROWS, axis=0))
    numbers = c if c.dtype == "int32" else c.astype("float32")
    return numbers, x.astype("float32"), y.astype("float32"), fixed.astype("float32")


# Targets.


def sizes(depth):
    return [(2, WIDTH), *[(WIDTH, WIDTH)] * (depth - 2), (WIDTH, 1)]


def perceptron(depth, activation):
    spec = kh.WeightSpec.from_layer_sizes(sizes(depth), activation)
    model = keras.Sequential([keras.Input((2,))])
    for i, (_, units) in enumerate(sizes(depth)):
        model.add(
            keras.layers.Dense(
                units,
                activation=activation if i < depth - 1 else None,
                kernel_initializer=spec[f"layer_{i}/kernel"].initializer,
                bias_initializer=spec[f"layer_{i}/bias"].initializer,
            )
        )
    return model


def cnn(norm=None):
    layers = keras.layers
    model = keras.Sequential([keras.Input((IMAGE, IMAGE, 1))])
    for filters in (8, 16):
        model.add(layers.Conv2D(filters, 3, strides=2, padding="same"))
        if norm:
            model.add(norm())
        model.add(layers.ReLU())
    model.add(layers.Flatten())
    model.add(layers.Dense(1))
    return model


def resnet():
    layers = keras.layers
    x = inputs = keras.Input((IMAGE, IMAGE, 1))
    x = layers.Conv2D(8, 3, strides=2, padding="same")(x)
    for _ in range(3):
        y = layers.ReLU()(layers.LayerNormalization()(x))
        y = layers.ReLU()(layers.LayerNormalization()(layers.Conv2D(8, 3, padding="same")(y)))
        x = layers.Add()([x, layers.Conv2D(8, 3, padding="same")(y)])
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten()(x)))


def transformer():
    layers = keras.layers
    inputs = keras.Input((6, 4))
    x = layers.Dense(WIDTH)(inputs)
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 8)(y, y)])
    y = layers.Dense(2 * WIDTH, activation="gelu")(layers.LayerNormalization()(x))
    x = layers.Add()([x, layers.Dense(WIDTH)(y)])
    return keras.Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling1D()(x)))


# Cells.


def conditioning_input(kind):
    """A model's input, and the vectors that a generator gets."""
    if kind == "embeddings":
        ids = keras.Input((), dtype="int32")
        return ids, kh.ConditionEmbedding(TASKS, 8)(ids)
    vectors = keras.Input(({"scalar": 1}.get(kind, 4),))
    return vectors, vectors


def scaled(vectors, kind, start):
    """As `build` and `hypernetize` do for their own generators."""
    return vectors if start.older or kind == "embeddings" else kh.RunningScale()(vectors)


def built(depth, activation):
    def make(kind, start, plain):
        _, vectors = conditioning_input(kind)
        return kh.build(
            None,
            2,
            sizes(depth),
            [HIDDEN],
            activation=activation,
            conditioning=vectors,
            running_scale=False if start.older else None,
            **start.of_generator,
        )

    return make, lambda: perceptron(depth, activation), "vector"


def generated(depth, activation, generator):
    """A dense target whose weights a generator of another kind makes."""

    def make(kind, start, plain):
        inputs, vectors = conditioning_input(kind)
        vectors = scaled(vectors, kind, start)
        spec = kh.WeightSpec.from_layer_sizes(sizes(depth), activation)
        x = keras.Input((2,))
        apply = kh.ApplyGeneratedWeights(sizes(depth), activation=activation)
        weights = generator(spec, start)(vectors)
        return keras.Model([inputs, x], apply(x, weights))

    return make, lambda: perceptron(depth, activation), "vector"


def full(spec, start):
    return kh.WeightGenerator(spec, [HIDDEN], **start.of_generator)


def chunked(spec, start):
    return kh.ChunkedWeightGenerator(
        spec, max(spec.total // 8, 1), hidden_sizes=[HIDDEN], **start.of_generator
    )


def structured(spec, start):
    plan = kh.plan_chunks(spec, spec.total * 20, hidden_sizes=[HIDDEN])
    return kh.StructuredWeightGenerator(plan, hidden_sizes=[HIDDEN], **start.of_generator)


def composed(spec, start):
    """Two perceptrons, each for one half of the layers."""
    tensors = list(spec)
    half = len(tensors) // 4 * 2
    parts = {"lower": tensors[:half], "upper": tensors[half:]}
    return kh.ComposedWeightGenerator(
        spec,
        {
            part: kh.WeightGenerator(kh.WeightSpec(tensors), [HIDDEN], **start.of_generator)
            for part, tensors in parts.items()
        },
    )


class NoSuchStart(Exception):
    """A generator has no such start."""


def image(spec, start):
    if start.initialization == "hyper_fan_in" or isinstance(start.initialization, WithHead):
        raise NoSuchStart
    side = int(np.ceil(np.sqrt(spec.total) / 4) * 4)
    return kh.DeconvWeightGenerator(
        spec, (side, side), [8, 4], 3, attention=[], initialization=start.initialization
    )


def hypernetized(target, shape, mode="replace", generator=None, **options):
    """A Keras model as the target, its changes added to the plain model's trained weights."""

    def make(kind, start, plain):
        _, vectors = conditioning_input(kind)
        model = target()
        if mode != "replace":
            model.set_weights(plain)
        if generator is not None:
            return kh.hypernetize(
                model,
                conditioning=scaled(vectors, kind, start),
                mode=mode,
                generator=lambda spec: generator(spec, start),
                **options,
            )
        hyper = kh.hypernetize(
            model,
            conditioning=vectors,
            mode=mode,
            running_scale=False if start.older else None,
            **options,
        )
        _restart(hyper, start, mode)
        return hyper

    return make, target, shape


def _restart(hyper, start, mode):
    """Gives a hypernetized model's heads a start, and its trunk what it had before."""
    for layer in hyper.layers:
        if isinstance(layer, ConditioningFeatures) and start.older:
            layer.feature_scale = 1.0
            for dense in layer.hidden_layers:
                dense.kernel.assign(keras.initializers.HeUniform()(dense.kernel.shape))
                dense.bias.assign(np.zeros(dense.bias.shape))
    for head in hyper.layers:
        if isinstance(head, kh.WeightGenerator):
            kh.initialize(head, _of_head(start.initialization, head.spec.names, mode))


def _of_head(initialization, names, mode):
    if isinstance(initialization, kh.BiasHyperInit):
        return initialization
    variances = dict.fromkeys(("offset", "other"), 0.01 / HIDDEN)
    if mode == "low_rank":
        variances |= {name: 0.0 for name in names if name.endswith(".up")}
    if mode == "delta" and initialization is None:
        variances = dict.fromkeys(names, 0.0)
    return kh.HyperFanIn(head_kernel_variances=variances)


SINE = kh.sine(6.0)
DENSE = {
    f"{depth} {name}": built(depth, activation)
    for depth in (2, 4, 8, 16)
    for name, activation in (("relu", "relu"), ("tanh", "tanh"), ("sine", SINE))
}
CNN = {
    "cnn": hypernetized(cnn, "image"),
    "cnn, batch norm": hypernetized(lambda: cnn(keras.layers.BatchNormalization), "image"),
    "cnn, layer norm": hypernetized(lambda: cnn(keras.layers.LayerNormalization), "image"),
    "resnet": hypernetized(resnet, "image"),
    "transformer": hypernetized(transformer, "sequence"),
    "6 relu, hypernetized": hypernetized(lambda: perceptron(6, "relu"), "vector"),
    "cnn, film": hypernetized(
        lambda: cnn(keras.layers.LayerNormalization), "image", select=["*/gamma", "*/beta"]
    ),
    "cnn, chunked": hypernetized(cnn, "image", generator=chunked),
    "transformer, chunked": hypernetized(transformer, "sequence", generator=chunked),
    "cnn, delta": hypernetized(cnn, "image", mode="delta"),
    "resnet, delta": hypernetized(resnet, "image", mode="delta"),
    "transformer, delta": hypernetized(transformer, "sequence", mode="delta"),
    "6 relu, low rank": hypernetized(lambda: perceptron(6, "relu"), "vector", mode="low_rank"),
    "cnn, low rank": hypernetized(cnn, "image", mode="low_rank"),
    "transformer, low rank": hypernetized(transformer, "sequence", mode="low_rank"),
}
GENERATORS = {
    f"{depth} {activation}, {name}": generated(depth, activation, generator)
    for name, generator in {
        "full": full,
        "chunked": chunked,
        "structured": structured,
        "deconv": image,
        "composed": composed,
    }.items()
    for depth, activation in ((4, "relu"), (6, "tanh"), (8, "relu"))
    if not (name in ("full", "composed") and activation == "tanh")
    and not (name == "deconv" and depth != 4)
}
CELLS = {(name, "normal"): cell for name, cell in {**DENSE, **CNN, **GENERATORS}.items()}
for kind in ("scalar", "embeddings", "tiny", "large"):
    for name in ("4 relu", "8 tanh", "cnn"):
        CELLS[name, kind] = {**DENSE, **CNN}[name]
for name, kind in (
    ("8 relu", "embeddings"),
    ("4 relu, chunked", "embeddings"),
    ("8 relu, chunked", "scalar"),
    ("4 relu, structured", "embeddings"),
    ("transformer, low rank", "embeddings"),
    ("cnn, delta", "scalar"),
    ("4 sine", "embeddings"),
    ("4 sine", "scalar"),
):
    CELLS[name, kind] = {**DENSE, **CNN, **GENERATORS}[name]
assert len(CELLS) <= 60, len(CELLS)


# Training.


def trained(models, inputs, y):
    """Final losses `(models, rates)` and the models' trained variables at the best rate."""
    model, inputs, y = models[0], [jnp.asarray(x) for x in inputs], jnp.asarray(y)
    optimizer = keras.optimizers.Adam(RATES[0])
    optimizer.build(model.trainable_variables)
    state = [v.value for v in optimizer.variables]
    rate_at = [v.name for v in optimizer.variables].index("learning_rate")
    based = [_generators_with_base(m) for m in models]

    def loss(trainable, other, bases, rows):
        for generator, base in zip(based[0], bases):
            generator.base = base
        found, other = model.stateless_call(
            trainable, other, _one_or_list([x[rows] for x in inputs]), training=True
        )
        return jnp.mean((found - y[rows]) ** 2), other

    def run(trainable, other, bases, key, rate):
        optimizer_state = [rate if i == rate_at else v for i, v in enumerate(state)]

        def step(carry, key):
            trainable, other, optimizer_state = carry
            rows = jax.random.randint(key, (BATCH,), 0, ROWS)
            (value, other), gradients = jax.value_and_grad(loss, has_aux=True)(
                trainable, other, bases, rows
            )
            trainable, optimizer_state = optimizer.stateless_apply(
                optimizer_state, gradients, trainable
            )
            return (trainable, other, optimizer_state), value

        carry, losses = jax.lax.scan(
            step, (trainable, other, optimizer_state), jax.random.split(key, STEPS)
        )
        return jnp.mean(losses[-LAST:]), carry[:2]

    def stacked(values):
        return [jnp.stack(same) for same in zip(*values, strict=True)]

    arguments = (
        stacked([[v.value for v in m.trainable_variables] for m in models]),
        stacked([[v.value for v in m.non_trainable_variables] for m in models]),
        stacked([[g.base for g in generators] for generators in based]),
        jnp.stack([jax.random.PRNGKey(i % SEEDS) for i in range(len(models))]),
    )
    over_rates = jax.vmap(run, in_axes=(None, None, None, None, 0))
    every = jax.jit(jax.vmap(over_rates, in_axes=(0, 0, 0, 0, None)))
    losses, state = every(*arguments, jnp.asarray(RATES, "float32"))
    return np.asarray(losses), state


def _one_or_list(inputs):
    return inputs if len(inputs) > 1 else inputs[0]


def _generators_with_base(model):
    found = {}
    for layer in keras_internals.layers_in(model):
        if isinstance(layer, Generator) and layer.base is not None:
            found[id(layer)] = layer
    return list(found.values())


def plain_runs(target, x, y):
    """Losses of the target alone, and for each seed its weights at the best rate."""
    models = []
    for seed in range(SEEDS):
        keras.utils.set_random_seed(seed)
        models.append(target())
    losses, (trainable, other) = trained(models, [x], y)
    weights = []
    for seed, model in enumerate(models):
        best = int(np.nanargmin(losses[seed]))
        for variables, values in (
            (model.trainable_variables, trainable),
            (model.non_trainable_variables, other),
        ):
            for variable, value in zip(variables, values):
                variable.assign(np.asarray(value)[seed, best])
        weights.append(model.get_weights())
    return losses, weights


def row(key):
    """`(cell, {start: losses (seeds, rates) divided by the variance}, seconds)`."""
    begun = time.perf_counter()
    make, target, shape = CELLS[key]
    c, x, y, fixed = data(key[1], shape)
    losses, weights = plain_runs(target, x, fixed)
    found = {"plain": losses / fixed.var()}
    groups = collections.defaultdict(list)  # models whose graph is the same
    for name, start in STARTS.items():
        try:
            for seed in range(SEEDS):
                keras.utils.set_random_seed(seed)
                model = make(key[1], start.with_seed(seed), weights[seed])
                groups[start.older, bool(_generators_with_base(model))].append((name, model))
        except NoSuchStart:
            continue
    for members in groups.values():
        losses, _ = trained([model for _, model in members], [c, x], y)
        for i in range(0, len(members), SEEDS):
            found[members[i][0]] = losses[i : i + SEEDS] / y.var()
    return key, found, time.perf_counter() - begun


# The table.


def of_rates(losses):
    """Median over seeds for each rate; what diverged is 9."""
    numbers = np.nan_to_num(losses, nan=9.0, posinf=9.0)
    return np.minimum(np.median(numbers, axis=0), 9.0)


def print_rows(rows):
    cells = {key: {n: of_rates(x) for n, x in found.items()} for key, found in rows.items()}
    bests = {key: {n: x.min() for n, x in of_starts.items()} for key, of_starts in cells.items()}
    columns = ["plain", *STARTS]
    table = [
        [", ".join(key), *(f"{found[n]:.2g}" if n in found else "-" for n in columns)]
        for key, found in bests.items()
    ]
    least = {key: min(x for n, x in found.items() if n != "plain") for key, found in bests.items()}

    def count(what, holds):
        numbers = [
            sum(name in found and holds(key, name) for key, found in bests.items())
            for name in STARTS
        ]
        table.append([what, "", *(f"{number} of {len(bests)}" for number in numbers)])

    count("learned", lambda key, name: bests[key][name] < LEARNED)
    count("within 3 of the best start", lambda key, name: bests[key][name] <= 3 * least[key])
    for i, rate in enumerate(RATES):
        count(
            f"learned at a rate of {rate:g}", lambda key, name, i=i: cells[key][name][i] < LEARNED
        )
    print_table(["cell", *columns], table)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only cells with one of these in their name")
    words = parser.parse_args().words
    keys = [key for key in CELLS if not words or any(word in ", ".join(key) for word in words)]
    rows, spawn = {}, multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=spawn) as pool:
        for key, found, seconds in pool.map(row, keys):
            rows[key] = found
            print(f"{', '.join(key)}: {seconds:.0f} s", flush=True)
            for name, losses in found.items():
                print(f"    {name:12}", *(f"{x:8.4f}" for x in of_rates(losses)), flush=True)
    print_rows(rows)


if __name__ == "__main__":
    main()
