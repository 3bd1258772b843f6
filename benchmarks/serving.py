"""Many known conditions served: by generator, by tables, by hand, and by a plain model for each.

    KERAS_BACKEND=jax python benchmarks/serving.py               # or torch, or tensorflow
    KERAS_BACKEND=jax python benchmarks/serving.py --small       # to try the script

1,000 conditions of a CNN whose weights are all generated, and of a Transformer, the blocks of
`adapters.py`, frozen, with updates of low rank of every dense kernel. Requests come in a batch,
each row of a random condition, or one by one. The ways:

    generator       the model of `hypernetize`
    tables          `kh.tabulate`
    specialized     a plain model for each condition, `kh.specialize`: a call for each row
    by hand, batch  the plain network on weights looked up, by matmuls of a batch of matrices
    by hand, vmap   the same network for a row, under the backend's `vmap`

Specialized models are one network with other values: all of them run in one compiled function that
takes the values, else each would be compiled. Few are made, and their memory, files and time are
multiplied. Each way is a compiled function (XLA) on JAX and TensorFlow, eager on PyTorch, from
NumPy arrays to NumPy arrays. `MB held` are all variables, or all arrays of those by hand.

`predict` is that of Keras, over many batches with few conditions: `HyperModel` generates the
weights of each condition once, `keras.Model` in each batch.

Outputs are checked to be equal. Medians of interleaved runs; run nothing else beside it.
"""

import argparse
import dataclasses
import pathlib
import tempfile
import time

import adapters
import keras
import numpy as np
from common import interleaved, print_table
from keras import layers, ops

import keras_hypernet as kh

BACKEND = keras.backend.backend()
GENERATOR, TABLES, SPECIALIZED = "generator", "tables", "specialized"
BATCH, VMAP = "by hand, batch", "by hand, vmap"


TRANSFORMER = adapters.Setting(16, 128, blocks=2, rank=4)


@dataclasses.dataclass(frozen=True)
class Load:
    filters: tuple = (16, 32, 64)
    image: int = 28
    transformer: adapters.Setting = TRANSFORMER
    hidden: int = 128  # of the generators
    conditions: int = 1000
    specialized: int = 50  # made
    batch: int = 32
    predicted: int = 5000  # rows
    distinct: int = 10  # conditions of them


SMALL = Load((4, 8), 8, adapters.SETTINGS["tiny"], 16, 20, 5, 4, 200, 5)


@dataclasses.dataclass
class Case:
    """A model with generated weights, and what one writes by hand in its place."""

    name: str
    model: keras.Model
    shape: tuple  # of a row of data
    held: list  # arrays that those by hand need beside the tables
    by_hand: dict  # {way: (tables, arrays held, row, x) -> outputs}


def cnn(load):
    x = inputs = keras.Input((load.image, load.image, 1))
    for filters in load.filters[:-1]:
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(load.filters[-1], 3, padding="same", activation="relu")(x)
    outputs = layers.Dense(10)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, outputs, name="cnn")


def cnn_case(load):
    plain = cnn(load)
    model = kh.hypernetize(plain, adapters.CONDITION, hidden_sizes=(load.hidden,))
    # Away from the start, where all conditions have the same weights.
    rng = np.random.default_rng(1)
    for v in model.trainable_variables:
        v.assign_add((0.02 * rng.normal(size=v.shape)).astype("float32"))
    shapes = [
        [tuple(v.shape) for v in layer.weights] for layer in plain.layers if len(layer.weights)
    ]
    by_hand = {BATCH: cnn_batch(shapes)}
    if BACKEND != "tensorflow":  # whose vmap of a convolution XLA does not compile
        by_hand[VMAP] = cnn_vmap(shapes)
    name = f"CNN, {plain.count_params():,} generated weights"
    return Case(name, model, (load.image, load.image, 1), [], by_hand)


def cut(flat, shapes):
    """A kernel and a bias of flat weights."""
    (*kernel, units), _ = shapes
    return ops.reshape(flat[..., :-units], (*flat.shape[:-1], *kernel, units)), flat[..., -units:]


def cnn_batch(shapes):
    """Convolutions as matmuls of shifted images."""
    relu = adapters.tools().relu

    def conv(x, kernel, bias):  # (rows, height, width, in), (rows, 3, 3, in, out), (rows, out)
        rows, height, width, channels = x.shape
        padded = ops.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
        shifted = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
        patches = ops.concatenate(shifted, -1)
        patches = ops.reshape(patches, (rows, height * width, 9 * channels))
        y = patches @ ops.reshape(kernel, (rows, 9 * channels, -1)) + bias[:, None]
        return relu(ops.reshape(y, (rows, height, width, -1)))

    def apply(tables, _, row, x):
        *convs, dense = [cut(look_up(table, row), s) for table, s in zip(tables, shapes)]
        for i, (kernel, bias) in enumerate(convs):
            x = ops.max_pool(x, 2, 2) if i else x
            x = conv(x, kernel, bias)
        kernel, bias = dense
        return (ops.mean(x, (1, 2))[:, None] @ kernel)[:, 0] + bias

    return apply


def cnn_vmap(shapes):
    vmap = adapters.tools().vmap
    if BACKEND == "jax":
        import jax
        from jax import lax

        def network(arguments):
            x, *flat = arguments
            *convs, (kernel, bias) = [cut(weights, s) for weights, s in zip(flat, shapes)]
            for i, (filters, offset) in enumerate(convs):
                if i:
                    x = lax.reduce_window(x, -np.inf, lax.max, (2, 2, 1), (2, 2, 1), "VALID")
                x = lax.conv_general_dilated(
                    x[None], filters, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
                )
                x = jax.nn.relu(x[0] + offset)
            return x.mean((0, 1)) @ kernel + bias

        return lambda tables, _, row, x: vmap(
            network, (x, *(look_up(table, row) for table in tables))
        )

    from torch.nn import functional

    def network(arguments):
        x, *flat = arguments
        *convs, (kernel, bias) = [cut(weights, s) for weights, s in zip(flat, shapes)]
        x = x.permute(2, 0, 1)
        for i, (filters, offset) in enumerate(convs):
            x = functional.max_pool2d(x, 2) if i else x
            filters = filters.permute(3, 2, 0, 1)
            x = functional.relu(functional.conv2d(x[None], filters, offset, padding=1)[0])
        return x.mean((1, 2)) @ kernel + bias

    return lambda tables, _, row, x: vmap(network, (x, *(look_up(table, row) for table in tables)))


def transformer_case(load):
    setting = load.transformer
    plain = adapters.backbone(setting)
    model = adapters.hyper(setting, plain, "all", shared=False, features=load.hidden)
    apply = adapters.network(setting, adapters.specs_of(model), merged=False)
    vmap = adapters.tools().vmap

    def per_row(tables, frozen, row, x):
        network = lambda arguments: apply(arguments[1:], frozen, arguments[0])  # noqa: E731
        return vmap(network, (x, *(look_up(table, row) for table in tables)))

    def batch(tables, frozen, row, x):
        return apply([look_up(table, row) for table in tables], frozen, x)

    name = (
        f"Transformer, {plain.count_params():,} weights, "
        f"{sum(head.spec.total for head in generators(model)):,} generated of rank {setting.rank}"
    )
    frozen, by_hand = adapters.frozen_of(plain), {BATCH: batch, VMAP: per_row}
    return Case(name, model, (setting.length, setting.width), frozen, by_hand)


def generators(model):
    return [layer for layer in model.layers if isinstance(layer, kh.WeightGenerator)]


def look_up(table, row):
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.gather(table, row)
    return table[row]


def compiled(function):
    """The function of `(state, *NumPy arrays)`, compiled; it returns a NumPy array."""
    if BACKEND == "jax":
        import jax

        run = jax.jit(function)
        return lambda state, *inputs: np.asarray(run(state, *inputs))
    if BACKEND == "tensorflow":
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")  # a new shape is a new trace
        run = tf.function(function, jit_compile=True, autograph=False)
        return lambda state, *inputs: run(state, *map(tf.constant, inputs)).numpy()
    import torch

    @torch.no_grad()
    def run(state, *inputs):
        return function(state, *map(torch.from_numpy, inputs)).numpy()

    return run


def served(model):
    """A model as a compiled function of NumPy arrays."""
    if BACKEND == "jax":
        run, state = compiled(stateless(model)), values_of(model)
        return lambda *inputs: run(state, *inputs)
    run = compiled(lambda _, *inputs: model(nest(inputs), training=False))
    return lambda *inputs: run(None, *inputs)


def nest(inputs):
    return list(inputs) if len(inputs) > 1 else inputs[0]


def stateless(model):
    return lambda state, *x: model.stateless_call(*state, nest(x), training=False)[0]


def values_of(model):
    variables = (model.trainable_variables, model.non_trainable_variables)
    return tuple([ops.convert_to_tensor(v) for v in group] for group in variables)


def each_row(models):
    """Specialized models as a function of their numbers and data: a call for each row."""
    if BACKEND == "torch":
        run, states = compiled(lambda model, x: model(x, training=False)), models
    else:
        run, states = compiled(stateless(models[0])), [values_of(model) for model in models]
    return lambda row, x: np.concatenate([run(states[n], x[i : i + 1]) for i, n in enumerate(row)])


def hand_written(function, tables, held):
    """`(row, x) -> outputs`, compiled."""
    state = keras.tree.map_structure(ops.convert_to_tensor, (tables, held))
    if BACKEND == "tensorflow":  # whose models hold variables, too
        import tensorflow as tf

        state = keras.tree.map_structure(tf.Variable, state)
        values = lambda: keras.tree.map_structure(tf.convert_to_tensor, state)  # noqa: E731
        run = compiled(lambda _, row, x: function(*values(), row, x))
        return lambda row, x: run(None, row, x)
    run = compiled(lambda state, row, x: function(*state, row, x))
    return lambda row, x: run(state, row, x)


def timed(function):
    start = time.perf_counter()
    return function(), time.perf_counter() - start


def megabytes(variables):
    return sum(np.prod(v.shape) * 4 for v in variables) / 1e6


def file_megabytes(model):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        model.save(path)
        return path.stat().st_size / 1e6


def requests(load, case, rows, number, rng):
    """Batches of `(numbers of conditions, data)`."""
    return [
        (
            # Of those that are specialized, too.
            rng.integers(load.specialized if check else load.conditions, size=rows).astype("int32"),
            rng.normal(size=(rows, *case.shape)).astype("float32"),
        )
        for check in [True, *[False] * (number - 1)]
    ]


def measure(load, case, repeats):
    rng = np.random.default_rng(0)
    conditions = rng.normal(size=(load.conditions, adapters.CONDITION)).astype("float32")
    tables, table_seconds = timed(lambda: kh.tabulate(case.model, conditions))
    models, seconds = timed(
        lambda: [kh.specialize(case.model, conditions[i : i + 1]) for i in range(load.specialized)]
    )
    every = load.conditions / load.specialized
    found = [layer for layer in tables.layers if layer.name.endswith("_table")]
    arrays = [np.array(ops.convert_to_numpy(layer.table)) for layer in found]
    generator, per_row = served(case.model), each_row(models)
    ways = {
        GENERATOR: lambda row, x: generator(conditions[row], x),
        TABLES: served(tables),
        SPECIALIZED: lambda row, x: per_row(row % load.specialized, x),
        **{way: hand_written(f, arrays, case.held) for way, f in case.by_hand.items()},
    }
    by_hand = megabytes([*arrays, *keras.tree.flatten(case.held)])
    held = {
        GENERATOR: megabytes(case.model.variables),
        TABLES: megabytes(tables.variables),
        SPECIALIZED: megabytes(v for model in models for v in model.variables) * every,
        **dict.fromkeys(case.by_hand, by_hand),
    }
    files = {
        GENERATOR: file_megabytes(case.model),
        TABLES: file_megabytes(tables),
        SPECIALIZED: file_megabytes(models[0]) * load.conditions,
    }
    many = requests(load, case, load.batch, 8, rng)
    single = requests(load, case, 1, 32, rng)
    check(ways, many[0])
    check(ways, single[0])
    rates = [served_per_second(ways, batches, repeats) for batches in (many, single)]
    print(f"{case.name}: {load.conditions:,} conditions, {BACKEND}")
    rows = [
        [
            way,
            *(text for rate in rates for text in (f"{rate[way]:,.0f}", ratio(rate, way))),
            f"{held[way]:,.1f}",
            f"{files[way]:,.1f}" if way in files else "-",
        ]
        for way in ways
    ]
    batch = f"requests/s, batch of {load.batch}"
    columns = ["way", batch, "/ tables", "requests/s, one", "/ tables", "MB held", "MB in files"]
    print_table(columns, rows)
    print(
        f"tables are made in {table_seconds:.1f} s, {load.specialized} specialized models", end=" "
    )
    print(f"in {seconds:.1f} s: {load.conditions:,} of them in {seconds * every:.0f} s")
    for what, rate in zip((f"batch of {load.batch}", "one"), rates):
        best = max(rate[way] for way in case.by_hand)
        adapters.print_target(f"time, tables / best by hand, {what}", best / rate[TABLES], most=1.1)
    print(flush=True)


def ratio(rate, way):
    return f"{rate[way] / rate[TABLES]:.2f}"


def served_per_second(ways, batches, repeats):
    """`{way: requests a second}`."""

    def all_of(way):
        return lambda: [ways[way](row, x) for row, x in batches]

    seconds = interleaved({way: all_of(way) for way in ways}, repeats)
    number = sum(len(row) for row, _ in batches)
    return {way: number / seconds[way] for way in ways}


def check(ways, batch):
    """Raises where the ways do not have the same outputs."""
    outputs = {way: call(*batch) for way, call in ways.items()}
    for way, found in outputs.items():
        if not np.allclose(found, outputs[GENERATOR], rtol=1e-3, atol=1e-4):
            error = np.abs(found - outputs[GENERATOR]).max()
            raise SystemExit(f"{way} differs by {error} from the generator")


def measure_predict(load, case, repeats):
    """A row of the table: `predict` of `HyperModel` and of `keras.Model`."""
    rng = np.random.default_rng(0)
    conditions = rng.normal(size=(load.distinct, adapters.CONDITION)).astype("float32")
    row = rng.integers(load.distinct, size=load.predicted)
    data = [conditions[row], rng.normal(size=(load.predicted, *case.shape)).astype("float32")]
    each = keras.Model(case.model.inputs, case.model.outputs)
    ways = {
        name: lambda model=model: model.predict(data, batch_size=load.batch, verbose=0)
        for name, model in (("once", case.model), ("each", each))
    }
    outputs = [call() for call in ways.values()]
    if not np.allclose(*outputs, rtol=1e-3, atol=1e-4):
        raise SystemExit("The predictions differ")
    seconds = interleaved(ways, repeats)
    once, each = seconds["once"], seconds["each"]
    return [case.name.split(",")[0], f"{once:.2f}", f"{each:.2f}", f"{each / once:.2f}x"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    load = SMALL if arguments.small else Load()
    rows = []
    for case in (cnn_case(load), transformer_case(load)):
        measure(load, case, arguments.repeats)
        rows.append(measure_predict(load, case, max(1, arguments.repeats // 5)))
    print(
        f"predict, {BACKEND}: {load.predicted:,} rows in batches of {load.batch}, "
        f"{load.distinct} conditions"
    )
    print_table(["model", "once per condition, s", "in each batch, s", "faster"], rows)


if __name__ == "__main__":
    main()
