"""Small models of every kind that a `ContinualModel` learns tasks with, and tasks for them."""

import keras
import numpy as np

import keras_hypernet as kh

LAYERS = [(3, 5), (5, 2)]


def built(**options):
    return kh.build(4, 3, LAYERS, hidden_sizes=(8,), **options)


def plain(normalized=False):
    layers = [keras.layers.Dense(5, activation="tanh")]
    layers += [keras.layers.BatchNormalization(momentum=0.5)] * normalized
    return keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(2)])


def hypernetized(normalized=False, **options):
    return kh.hypernetize(plain(normalized), conditioning_size=4, hidden_sizes=(8,), **options)


def low_rank():
    model = plain()
    model.trainable = False  # the biases have no update of low rank
    options = {"mode": "low_rank", "rank": 1, "select": ["*/kernel"], "hidden_sizes": (8,)}
    return kh.hypernetize(model, conditioning_size=4, **options)


def by_hand(generator=None, num_conditions=3, **options):
    ids, x = keras.Input((), dtype="int32", name="task"), keras.Input((3,), name="x")
    spec = kh.WeightSpec.from_layer_sizes(LAYERS)
    generator = generator or kh.ChunkedWeightGenerator(spec, 10, 3, hidden_sizes=[6], **options)
    weights = kh.Hypernetwork(generator, num_conditions=num_conditions, embedding_size=4)(ids)
    return keras.Model([ids, x], kh.ApplyGeneratedWeights(LAYERS, shared=True)(x, weights))


def with_own_chunks():
    spec = kh.WeightSpec.from_layer_sizes(LAYERS)
    options = {"chunk_embeddings": "conditional", "num_conditions": 3, "hidden_sizes": [6]}
    return by_hand(kh.ChunkedWeightGenerator(spec, 10, 3, **options))


def task_weights():
    ids, x = keras.Input((), dtype="int32", name="task"), keras.Input((3,), name="x")
    generator = kh.WeightGenerator(kh.WeightSpec.from_layer_sizes(LAYERS), hidden_sizes=[8])
    weights = kh.TaskWeights(generator, num_conditions=3)(ids)
    return keras.Model([ids, x], kh.ApplyGeneratedWeights(LAYERS, shared=True)(x, weights))


def nested():
    z, x = keras.Input((4,), name="z"), keras.Input((3,), name="x")
    first = kh.build(4, 3, [(3, 5)], hidden_sizes=(8,), name="first")
    weights = kh.build_weight_generator(z, 5, 2, hidden_sizes=(8,))
    return keras.Model([z, x], kh.apply_generated_weights(first([z, x]), [weights], [(5, 2)]))


def dict_inputs():
    inputs = {"z": keras.Input((4,), name="z"), "x": keras.Input((3,), name="x")}
    inner = built()
    return keras.Model(inputs, inner([inputs["z"], inputs["x"]]))


MODELS = {
    "build": built,
    "hypernetize": hypernetized,
    "with statistics": lambda: hypernetized(normalized=True),
    "delta": lambda: hypernetized(mode="delta"),
    "low rank": low_rank,
    "shared": lambda: hypernetized(shared=True),
    "by hand": by_hand,
    "own chunks": with_own_chunks,
    "task weights": task_weights,
    "nested": nested,
    "dict inputs": dict_inputs,
}


def tasks(number=3, rows=20):
    """`{name: (x, y)}`: two classes, another line between them in each task."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(number, rows, 3)).astype("float32")
    y = np.einsum("tri,ti->tr", x, rng.normal(size=(number, 3))) > 0
    return {name: (x[t], y[t].astype("int32")) for t, name in enumerate("abcdefg"[:number])}


def compiled(model, optimizer="adam", **options):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if optimizer == "adam":
        optimizer = keras.optimizers.Adam(0.02)
    model.compile(optimizer, loss, metrics=["accuracy"], **options)
    return model


def continual(model=None, optimizer="adam", jit_compile="auto", **options):
    options = {"num_tasks": 3, "beta": 1.0, **options}
    model = kh.ContinualModel(built() if model is None else model, **options)
    return compiled(model, optimizer, jit_compile=jit_compile)


def learn(model, names="abc", epochs=1, **options):
    """The last history."""
    data = tasks()
    for name in names:
        model.begin_task(name)
        history = fit(model, data[name], epochs=epochs, **options)
    return history


def fit(model, data, epochs=1, **options):
    options = {"batch_size": 8, "shuffle": False, "verbose": 0, **options}
    return model.fit(*data, epochs=epochs, **options).history
