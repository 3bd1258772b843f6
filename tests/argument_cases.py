"""For every public name: arguments that it takes, and for each of them another value.

`BASE[name]()` are arguments of a call. `OTHER[argument]` is another value for all names that have
such an argument, `OTHER[name, argument]` for one of them; switches are turned and numbers changed
without a row. A `Row` says what both calls need besides. `RESULTS[name](**arguments)` is what a
call comes to, for what has no config.
"""

import contextlib
import functools
import inspect
import io
import json
import re
import tempfile

import h5py
import keras
import numpy as np
from keras import layers, ops

import keras_hypernet as kh
from keras_hypernet.diagnosis import diagnose
from keras_hypernet.layers.rules import rule_of
from tests.backend import gradients
from tests.test_api import IN_OTHERS, MODULES, public


def parameters(name):
    return inspect.signature(public(name)).parameters


NAMES = [*(n for n in kh.__all__ if n not in MODULES), *IN_OTHERS]
NAMES = [name for name in NAMES if parameters(name)]


class Row:
    """Another value of an argument, with what both calls, or the other one only, need besides."""

    def __init__(self, value, both=None, **other):
        self.value, self.both, self.other = value, both or {}, other


# What calls are made with.

SHAPES = [(3, 4), (4,)]
SIZES = [(3, 4), (4, 2)]
DATA = np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3)
CONDITIONING = np.linspace(0, 1, 8, dtype="float32").reshape(4, 2)
ENTRY = {"shapes": {"kernel": (3, 2)}, "number": 2, "embedding_size": 2}
JOINED = {"a/kernel": {"join": ["half/0/kernel", "half/1/kernel"], "axis": -1}}


def plan(shape=(3, 4)):
    kind = {**ENTRY, "shapes": {"kernel": (shape[0], shape[1] // 2)}}
    return kh.ChunkPlan({"a/kernel": shape}, {"half": kind}, JOINED)


def generator(**options):
    return kh.WeightGenerator(SHAPES, **{"hidden_sizes": [2], **options})


def with_plain(**options):
    return {
        "spec": {"a/kernel": (3, 4), "b/bias": (4,), "c/bias": (2,)},
        "generators": {"part": kh.WeightGenerator({"a/kernel": (3, 4)}, hidden_sizes=[2])},
        "shared": {"b/bias": (4,)},
        "conditional": {"c/bias": (2,)},
        "num_conditions": 3,
        **options,
    }


def hyper(num_conditions=3, **options):
    keras.utils.set_random_seed(7)
    layer = kh.Hypernetwork(generator(**options), num_conditions=num_conditions, embedding_size=2)
    layer(np.array([0]))
    return layer


def chunked(mode="shared", num_conditions=None, **options):
    conditions = {"chunk_embeddings": mode, "num_conditions": num_conditions}
    layer = kh.ChunkedWeightGenerator(SHAPES, 5, 2, hidden_sizes=[2], **conditions, **options)
    layer({"noise": DATA, "condition_id": np.array([0])} if num_conditions else DATA)
    return layer


def both_tables():
    """A layer with embeddings of conditions and of chunks."""
    inside = kh.ChunkedWeightGenerator(SHAPES, 5, 2, hidden_sizes=[2])
    layer = kh.Hypernetwork(inside, num_conditions=3, embedding_size=2)
    layer(np.array([0]))
    return layer


@functools.cache
def dropping():
    layer = kh.Hypernetwork(generator(dropout=0.5, seed=3), num_conditions=3)
    layer(np.array([0]))
    return layer


@functools.cache
def model(units=4):
    inputs = keras.Input((3,), name="x")
    x = layers.Dense(units, name="first")(inputs)
    return keras.Model(inputs, layers.Dense(2, name="last")(x), name="plain")


@functools.cache
def convolutional(filters=2):
    keras.utils.set_random_seed(7)
    images = keras.Input((4, 4, 1))
    y = layers.Conv2D(filters, 3, name="first")(images)
    target = keras.Model(images, layers.Conv2D(2, 2, name="last")(y))
    return kh.hypernetize(target, 2, hidden_sizes=[2], initialization=None)


@functools.cache
def embedded(size=4):
    keras.utils.set_random_seed(7)
    layer = kh.ConditionEmbedding(4, size)
    layer(np.arange(4))
    return layer


@functools.cache
def two_tables(size=3):
    keras.utils.set_random_seed(7)
    ids = [keras.Input((), dtype="int32", name=name) for name in ("user", "other")]
    tables = [kh.ConditionEmbedding(4, size, name=f"{x.name}s") for x in ids]
    vectors = layers.Concatenate()([table(x) for table, x in zip(tables, ids)])
    return keras.Model(ids, layers.Dense(2, name="last")(vectors))


@functools.cache
def built(outputs=2, hidden_sizes=(2,)):
    keras.utils.set_random_seed(7)
    sizes = [(3, 4), (4, outputs)]
    return kh.build(2, 3, sizes, hidden_sizes, head_kernel_initializer="ones")


@functools.cache
def wired():
    z, x = keras.Input((2,), name="z"), keras.Input((3,), name="x")
    return z, x, kh.Hyper(layers.Dense(4))(x, kh.WeightGenerator(SHAPES, name="generator")(z))


@functools.cache
def tasks_by_id():
    ids, x = keras.Input((), dtype="int32"), keras.Input((3,))
    weights = kh.Hypernetwork(kh.WeightGenerator(SHAPES), num_conditions=2)(ids)
    return keras.Model([ids, x], kh.Hyper(keras.layers.Dense(4))(x, weights))


@functools.cache
def continual():
    made = kh.ContinualModel(kh.build(2, 3, [(3, 1)], hidden_sizes=[2]), num_tasks=2)
    made.begin_task("a")
    return made


@functools.cache
def file_of(number):
    """A file of `built()`, with a number added to all that it has."""
    path, model = f"{tempfile.mkdtemp()}/generator", built()
    before = model.get_weights()
    model.set_weights([w + number for w in before])
    kh.save_generator(model, path)
    model.set_weights(before)
    return path


@functools.cache
def adapted(rank=1, units=4, base=0.1):
    """A hypernetwork of `model()` with updates that are not zero, a number added to its base."""
    keras.utils.set_random_seed(7)
    options = {"mode": "low_rank", "rank": rank, "freeze": "all", "hidden_sizes": [8]}
    made = kh.hypernetize(model(units), 2, **options)
    for variable in made.weights:
        variable.assign(variable + (0.1 if variable.trainable else base))
    return made


@functools.cache
def folder():
    return tempfile.mkdtemp()


def around():
    """Another model with the layers of `model()`, and others before them."""
    inputs = keras.Input((3,), name="x")
    first, last = model().layers[-2:]
    return keras.Model(inputs, last(first(layers.Dense(3)(inputs))))


@functools.cache
def network(kind, **options):
    return public(f"targets.{kind}")(**BASE[f"targets.{kind}"](), **options)


TASKS = {"a": (DATA, DATA[:, :1]), "b": (DATA, DATA[:, 1:2])}
HYPER_FAN = {"seed": 3}
NETWORK = {"n": 1, "filters": (2, 2, 4, 6), "input_shape": (8, 8, 1), "num_classes": 3}

BASE = {
    "AccuracyMatrix": lambda: {"data": TASKS},
    "ApplyGeneratedWeights": lambda: {"target_layer_sizes": SIZES},
    "BiasHyperInit": dict,
    "ChunkPlan": lambda: {
        "spec": {"a/kernel": (3, 4)},
        "kinds": {"half": ENTRY},
        "assembly": JOINED,
    },
    "ChunkedDeconvWeightGenerator": lambda: {
        "spec": SHAPES,
        "image_shape": (3, 2),
        "filters": (4, 2),
        "kernel_size": 3,
    },
    "ChunkedWeightGenerator": lambda: {"spec": SHAPES, "chunk_size": 5},
    "ComposedWeightGenerator": with_plain,
    "ConditionEmbedding": lambda: {"num_conditions": 3, "size": 2},
    "ContinualCheckpoint": lambda: {"filepath": "run.keras"},
    "ContinualModel": lambda: {"model": built(), "num_tasks": 2},
    "DeconvWeightGenerator": lambda: {
        "spec": SHAPES,
        "image_shape": (4, 4),
        "filters": (8, 2),
        "kernel_size": 3,
    },
    "FourierFeatures": lambda: {"num_frequencies": 3},
    "GroupedDataset": lambda: {
        "conditioning": np.arange(6),
        "data": np.arange(12),
        "y": np.arange(12),
        "conditions_per_batch": 2,
        "shuffle": True,
    },
    "Hyper": lambda: {"layer": model()},
    "HyperModel": lambda: {"inputs": list(wired()[:2]), "outputs": wired()[2]},
    "HyperFanHarmonic": lambda: HYPER_FAN,
    "HyperFanIn": lambda: HYPER_FAN,
    "HyperFanOut": lambda: HYPER_FAN,
    "Hypernetwork": lambda: {"generator": generator(), "num_conditions": 3},
    "LayerwiseWeightGenerator": lambda: {"spec": SHAPES},
    "PerturbedWeightGenerator": lambda: {"generator": generator()},
    "StructuredWeightGenerator": lambda: {"plan": plan()},
    "TaskWeights": lambda: {"generator": generator(), "num_conditions": 3},
    "RunningScale": dict,
    "UnitNormEncoding": dict,
    "UnknownIds": dict,
    "WeightGenerator": lambda: {"spec": SHAPES, "batch_normalization": True},
    "WeightSpec": lambda: {"tensors": [{"name": "a/kernel", "shape": (3, 4)}]},
    "apply_generated_weights": lambda: {
        "data_input": keras.Input((3,)),
        "weight_generators": weight_generators(),
        "target_layer_sizes": SIZES,
    },
    "build": lambda: {"conditioning_size": 2, "input_size": 3, "target_layer_sizes": SIZES},
    "build_weight_generator": lambda: {
        "conditioning": keras.Input((2,)),
        "target_in": 3,
        "target_out": 4,
    },
    "condition_variables": lambda: {"layer": hyper(), "condition": 1},
    "convert_weights": lambda: {"weights": np.ones((2, 16)), "spec": SHAPES, "form": "tensors"},
    "describe": lambda: {"model": built()},
    "diagnose": lambda: {"model": compiled(), **diagnosed()},
    "DiagnosisCallback": lambda: {
        **diagnosed(),
        "conditioning": np.zeros((4, 2)),  # which is bad
        "every": 2,
        "verbose": 0,
    },
    "head_masks": lambda: {"spec": SHAPES, "heads": [[0, 1], [2, 3]]},
    "hypernetize": lambda: {"model": model(), "conditioning_size": 2},
    "initialize": lambda: {"generator": hyper(), "initialization": kh.HyperFanIn(seed=3)},
    "initialize_embeddings": lambda: {"layer": hyper(), "seed": 3},
    "load_condition": lambda: {
        "target": model(),
        "model": adapted(base=0.0),
        "conditioning": CONDITIONING[:1],
    },
    "load_generator": lambda: {"model": built(), "path": file_of(0)},
    "output_regularizer": lambda: {
        "hypernetwork": hyper(initialization=None),
        "ids": np.array([0, 1, 2]),
        "targets": np.ones((3, 16), "float32"),
        "seed": 3,
    },
    "pack_weights": lambda: {
        "tensors": {"a/kernel": np.ones((2, 3, 4)), "a/bias": np.zeros((2, 4))},
        "spec": {"a/kernel": (3, 4), "a/bias": (4,)},
    },
    "perturb_unconditional": lambda: {"layer": hyper(), "changes": changes(1)},
    "plan_chunks": lambda: {"target": kh.WeightSpec.from_shapes(PLANNED), "budget": 0.9},
    "register_rule": lambda: {"layer_class": layers.Dense, "rule": type(rule_of(layers.Dense(1)))},
    "resnet_chunking": lambda: {"model": network("resnet")},
    "save_generator": lambda: {"model": built(), "path": file_of(0)},
    "save_lora": lambda: {
        "model": adapted(),
        "conditioning": CONDITIONING[:1],
        "path": f"{folder()}/0.lora.h5",
        "backbone": model(),
    },
    "sine": dict,
    "specialize": lambda: {"model": built(), "conditioning": CONDITIONING[:1]},
    "split_weights": lambda: {"weights": np.ones((2, 16), "float32"), "spec": SHAPES},
    "tabulate": lambda: {"model": built(), "conditioning": CONDITIONING[:2]},
    "target_weights": lambda: {"model": built(), "conditioning": CONDITIONING},
    "with_conditions": lambda: {"model": two_tables(), "num_conditions": 6},
    "wide_resnet_chunking": lambda: {"model": network("wide_resnet")},
    "ChunkPlan.parameters": lambda: {"self": plan()},
    "ChunkPlan.table": lambda: {"self": plan()},
    "plot.conditions": lambda: {"model": embedded()},
    "plot.filters": lambda: {"model": convolutional(), "conditioning": CONDITIONING},
    "plot.interpolation": lambda: {
        "model": built(),
        "first": CONDITIONING[0],
        "second": CONDITIONING[3],
        "inputs": DATA,
    },
    "plot.overview": lambda: {"diagnosis": diagnose(built(), CONDITIONING)},
    "plot.sensitivity": lambda: {"model": built(), "conditioning": CONDITIONING},
    "plot.signals": lambda: {"model": built(), "conditioning": CONDITIONING, "inputs": DATA},
    "plot.weights": lambda: {"model": built(), "conditioning": CONDITIONING},
    "targets.resnet": lambda: NETWORK,
    "targets.wide_resnet": lambda: {**NETWORK, "k": 1},
}
PLANNED = {"a/kernel": (40, 40), "b/kernel": (40, 40)}


def weight_generators(outputs=2, rows=None):
    z = keras.Input(batch_shape=(rows, 2))
    sizes = [(3, 4), (4, outputs)]
    return [kh.build_weight_generator(z, *pair, hidden_sizes=[2]) for pair in sizes]


def changes(value):
    return [np.full(v.shape, value, "float32") for v in hyper().unconditional_variables]


# What calls come to.


def text_of(config):
    """A config without the numbers that layers have in a process."""
    return re.sub(r"_\d+", "", json.dumps(config, sort_keys=True, default=str))


def of_model(name):
    def result(**arguments):
        made = public(name)(**arguments)
        return text_of(made.get_config())

    return result


def drawn(name):
    """What a picture shows, without the numbers that layers have in a process."""

    def result(**arguments):
        axes = public(name)(**arguments).axes
        words = [label.get_text() for each in axes for label in each.get_yticklabels()]
        words += [text.get_text() for each in axes for text in each.texts]
        points = [line.get_xydata() for each in axes for line in each.lines]
        points += [patch.get_path().vertices for each in axes for patch in each.patches]
        points += [
            patch.get_bbox().bounds
            for each in axes
            for patch in each.patches
            if hasattr(patch, "get_bbox")
        ]
        points += [image.get_array() for each in axes for image in each.images]
        points += [found.get_offsets() for each in axes for found in each.collections]
        return text_of(words), [
            np.nan_to_num(array, nan=-1.0).round(5).tolist() for array in points
        ]

    return result


def hypernetized(model, **arguments):
    hyper = kh.hypernetize(model, **arguments)
    given = {id(v) for v in model.variables}
    return text_of(hyper.get_config()), any(id(v) in given for v in hyper.variables)


def wrapped(**arguments):
    hyper = kh.Hyper(**arguments)
    return text_of(hyper.get_config()), hyper.wrapped_layer() is arguments["layer"]


def ruled(layer_class, rule):
    """What a layer of a class returns once it has a rule."""

    class Own(layer_class):
        def call(self, x):
            return layer_class.call(self, x)

    kh.register_rule(Own, rule)
    hyper = kh.Hyper(Own(4), check_rows=False)
    total = hyper.spec((None, 3)).total
    return ops.convert_to_numpy(hyper(np.ones((2, 3)), np.ones((2, total), "float32"))).tolist()


class Unbiased(layers.Dense):
    def __init__(self, units):
        super().__init__(units, use_bias=False)


class Doubled(rule_of(layers.Dense(1)).__class__):
    def apply(self, layer, x, tensors, order=None):
        return 2 * super().apply(layer, x, tensors, order)

    apply_whole = None
    takes_whole = False


def of_graph(name):
    def result(**arguments):
        y = public(name)(**arguments)
        inputs = keras.utils.get_source_inputs(y)
        return text_of(keras.Model(inputs, y, name="graph").get_config()), y.shape

    return result


def of_arrays(name):
    def result(**arguments):
        made = public(name)(**arguments)
        made = keras.tree.map_structure(lambda x: ops.convert_to_numpy(x).tolist(), made)
        return re.sub(r"_\d+", "", str(made))

    return result


def of_variables(name, argument):
    """What a function leaves in the variables of an argument."""

    def result(**arguments):
        public(name)(**arguments)
        return [ops.convert_to_numpy(v).tolist() for v in arguments[argument].variables]

    return result


def printed(name):
    def result(**arguments):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            made = public(name)(**arguments)
        return str(made), out.getvalue()

    return result


def batches(**arguments):
    dataset = kh.GroupedDataset(**arguments)
    options = (dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size)
    return str([dataset[i] for i in range(len(dataset))]), options


def diagnosed():
    """Data for a diagnosis."""
    rng = np.random.default_rng(0)
    return {
        "conditioning": rng.normal(size=(4, 2)),
        "inputs": np.ones((4, 3)),
        "y": np.ones((4, 2)),
    }


def diagnosed_aloud(**arguments):
    """What is found, and whether anything is printed meanwhile."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        found = kh.diagnose(**arguments)
    return str(found), bool(out.getvalue())


@functools.cache
def compiled(**options):
    model = built.__wrapped__(**options)  # not the one that others share
    model.compile("adam", "mse")
    return model


def watched(**arguments):
    """What it prints, logs and stops."""
    callback, found = kh.DiagnosisCallback(**arguments), []
    callback.set_model(compiled())
    callback.model.stop_training = False
    with contextlib.redirect_stdout(io.StringIO()) as out:
        callback.on_train_begin()
        for epoch in range(3):
            callback.on_epoch_end(epoch, logs := {})
            found.append(str(logs))
    return found, out.getvalue(), callback.model.stop_training


def checkpointed(**arguments):
    """After which epochs it saves, and where."""
    checkpoint, saved = kh.ContinualCheckpoint(**arguments), []
    checkpoint.set_model(continual())
    checkpoint.save = saved.append
    found = []
    for epoch in range(4):
        checkpoint.on_epoch_end(epoch)
        found.append(len(saved))
    return found, str(checkpoint.filepath)


def evaluated(**arguments):
    """What it asks of a model, prints and remembers."""
    matrix, asked, learner = kh.AccuracyMatrix(**arguments), [], continual()
    before, learner.scores = learner.scores, {}

    def evaluate(**given):
        asked.append(str(given))
        return {"accuracy": 0.25, "other": 0.5}

    learner.evaluate = evaluate
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            matrix.set_model(learner)
            matrix.on_train_end()
    finally:
        del learner.evaluate
        learner.scores = before
    return asked, out.getvalue(), matrix.rows


def regularized(**arguments):
    """The regularizer, what runs at once, and whether the vectors of conditions have a gradient."""
    layer, rows = arguments["hypernetwork"], []
    call = layer.generator.call

    def spied(conditioning, **options):
        rows.append(keras.tree.flatten(conditioning)[0].shape[0])
        return call(conditioning, **options)

    layer.generator.call = spied
    try:
        value = float(ops.convert_to_numpy(kh.output_regularizer(**arguments)))
    finally:
        layer.generator.call = call
    return value, max(rows), _trains_vectors(arguments)


def _trains_vectors(arguments):
    class Loss(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.hyper = arguments["hypernetwork"]

        def call(self, ids):
            return kh.output_regularizer(**{**arguments, "ids": ids})

    if set(arguments) - {"hypernetwork", "ids", "targets", "seed", "hold_conditions"}:
        return None
    loss = Loss()
    loss.build(None)
    (table,) = arguments["hypernetwork"].conditional_variables
    try:
        found, _ = gradients(loss, [arguments["ids"]], [np.float32(1)])
    except (RuntimeError, ValueError, TypeError):  # there is no gradient of all variables
        return False
    place = [id(v) for v in loss.trainable_variables].index(id(table))
    return bool(np.any(found[place]))


def enlarged(**arguments):
    made, given = kh.with_conditions(**arguments), {id(w) for w in arguments["model"].weights}
    return [(id(w) in given, w.trainable, ops.convert_to_numpy(w).tolist()) for w in made.weights]


def saved(model, path):
    """Where it writes, and what."""
    kh.save_generator(model, path)
    with np.load(path) as file:
        return path, {name: array.tolist() for name, array in file.items()}


def saved_adapter(path, **arguments):
    """Where it writes, what, and what it returns."""
    with contextlib.redirect_stdout(io.StringIO()):
        names, found = kh.save_lora(path=path, **arguments), {}
    with h5py.File(path) as file:
        file.visititems(lambda name, x: found.update({name: np.asarray(x).tolist()}))
    return path, names, found


def loaded(model, path):
    """What a model has afterwards, or why not."""
    before = model.get_weights()
    try:
        kh.load_generator(model, path)
        return [w.tolist() for w in model.get_weights()]
    except ValueError as error:
        return str(error)
    finally:
        model.set_weights(before)


def with_a_condition(target, **arguments):
    """What a model has while a condition is loaded, and which one of two it is."""
    with kh.load_condition(target, **arguments):
        return [ops.convert_to_numpy(w).tolist() for w in target.variables]


def tabulated(model, **arguments):
    """What a model has, and whether it is the given model's."""
    own, made = {id(w) for w in model.weights}, kh.tabulate(model, **arguments)
    return [(id(w) in own, ops.convert_to_numpy(w).tolist()) for w in made.weights]


def hyper_model(**arguments):
    made = kh.HyperModel(**arguments)
    config = {**made.get_config(), "name": arguments.get("name")}
    return json.dumps(config), made.trainable


RESULTS = {
    "HyperModel": hyper_model,
    "AccuracyMatrix": evaluated,
    "ContinualCheckpoint": checkpointed,
    "GroupedDataset": batches,
    "Hyper": wrapped,
    "UnknownIds": lambda **arguments: type(kh.UnknownIds(**arguments)).__name__,
    "apply_generated_weights": of_graph("apply_generated_weights"),
    "build": of_model("build"),
    "build_weight_generator": of_graph("build_weight_generator"),
    "condition_variables": of_arrays("condition_variables"),
    "convert_weights": of_arrays("convert_weights"),
    "describe": printed("describe"),
    "diagnose": diagnosed_aloud,
    "DiagnosisCallback": watched,
    "head_masks": of_arrays("head_masks"),
    "hypernetize": hypernetized,
    "initialize": of_variables("initialize", "generator"),
    "initialize_embeddings": of_variables("initialize_embeddings", "layer"),
    "load_condition": with_a_condition,
    "load_generator": loaded,
    "output_regularizer": lambda **arguments: regularized(**arguments),
    "pack_weights": of_arrays("pack_weights"),
    "perturb_unconditional": lambda **arguments: sorted(
        np.sum(x) for x in map(ops.convert_to_numpy, perturbed(**arguments))
    ),
    "plan_chunks": printed("plan_chunks"),
    "register_rule": ruled,
    "resnet_chunking": printed("resnet_chunking"),
    "save_generator": saved,
    "save_lora": saved_adapter,
    "specialize": lambda **arguments: (
        [w.tolist() for w in kh.specialize(**arguments).get_weights()]
    ),
    "split_weights": of_arrays("split_weights"),
    "tabulate": tabulated,
    "target_weights": of_arrays("target_weights"),
    "with_conditions": enlarged,
    "wide_resnet_chunking": printed("wide_resnet_chunking"),
    "ChunkPlan.parameters": printed("ChunkPlan.parameters"),
    "ChunkPlan.table": printed("ChunkPlan.table"),
    **{name: drawn(name) for name in IN_OTHERS if name.startswith("plot.")},
    "targets.resnet": of_model("targets.resnet"),
    "targets.wide_resnet": of_model("targets.wide_resnet"),
}


def perturbed(**arguments):
    return kh.perturb_unconditional(**arguments).values()


def result(name, arguments):
    """What a call comes to: its config where it has one."""
    keras.utils.set_random_seed(7)
    if name in RESULTS:
        return RESULTS[name](**arguments)
    return text_of(public(name)(**arguments).get_config())


# Other values. Ones that have to be made anew for every call are functions without arguments.

START = {"head_kernel_means", "head_kernel_variances", "head_bias_means", "head_bias_variances"}
CONDITIONAL = {"chunk_embeddings": "conditional", "num_conditions": 3}

MANY = {  # one of which is drawn
    "hypernetwork": lambda: hyper(50, initialization=None, head_kernel_initializer="he_normal"),
    "ids": np.arange(50),
    "targets": np.ones((50, 16), "float32"),
}

OTHER = {
    "**kwargs": {"name": "other"},
    "activation": "tanh",
    "activity_regularizer": "l2",
    "attention": Row([0], {"filters": (8, 2)}),
    "attention_axes": 1,
    "axis": 1,
    "bias_axes": "c",
    "chunk_embedding_size": 3,
    "chunk_embeddings": "given",
    "chunk_size": 6,
    "conditional_statistics": Row(
        True, {**CONDITIONAL, "batch_normalization": True, "hidden_sizes": [2]}
    ),
    "contraction": "outer",
    "data_format": "channels_first",
    "depth_multiplier": 2,
    "dilation_rate": 2,
    "distribution": "normal",
    "embedding_size": 5,
    "equation": "ab,bd->ad",
    "filters": 8,
    "floor": 0.5,
    "generator": lambda: generator(use_bias=False),
    "groups": 2,
    "hidden_activation": "tanh",
    "hidden_sizes": [5],
    "image_shape": (2, 4, 2),
    "input_dim": 5,
    "initialization": kh.HyperFanOut(seed=3),
    "kernel_size": 2,
    "key_dim": 5,
    "name": "other",
    "noise_size": 2,
    "num_frequencies": 5,
    "num_heads": 4,
    "output_dim": 5,
    "output_padding": Row(1, {"strides": 2}),
    "output_shape": 6,
    "padding": "same",
    "renorm_clipping": Row({"rmax": 2.0}, {"renorm": True}),
    "renorm_momentum": Row(0.5, {"renorm": True}),
    "scheme": "xavier",
    "seed": 5,
    "shared_axes": [1],
    "size": 5,
    "sliding_window": 3,
    "spec": [(4, 5), (5,)],
    "strides": 2,
    "target_variances": {"kernel": 0.5},
    "units": 5,
    "unknown": "mean",
    "use_output_bias": False,
    "value_dim": 5,
    "flash_attention": False,
    "normalization": "layer",
    **{argument: {"kernel": 0.5} for argument in START},
    ("AccuracyMatrix", "data"): {"a": TASKS["a"]},
    ("AccuracyMatrix", "metric"): "other",
    ("AccuracyMatrix", "verbose"): 0,
    ("AccuracyMatrix", "**evaluate"): {"batch_size": 2},
    ("ApplyGeneratedWeights", "target_layer_sizes"): [(3, 5)],
    ("BiasHyperInit", "initializers"): {"kernel": "ones"},
    ("BiasHyperInit", "seed"): 5,
    ("WeightGenerator", "feature_scale"): 0.5,
    ("LayerwiseWeightGenerator", "feature_scale"): 0.5,
    ("LayerwiseWeightGenerator", "heads"): "factor",
    ("build", "running_scale"): False,
    ("hypernetize", "running_scale"): False,
    ("ChunkPlan", "spec"): kh.WeightSpec(
        [{"name": "a/kernel", "shape": (3, 4), "role": "embedding"}]
    ),
    ("ChunkPlan", "kinds"): {"half": {**ENTRY, "embedding_size": 3}},
    ("ChunkPlan", "assembly"): {"a/kernel": {"join": JOINED["a/kernel"]["join"][::-1], "axis": 1}},
    ("ChunkedDeconvWeightGenerator", "filters"): (4, 3),
    ("ChunkedDeconvWeightGenerator", "image_shape"): (2, 3),
    ("ChunkedDeconvWeightGenerator", "num_conditions"): Row(4, CONDITIONAL),
    ("ChunkedWeightGenerator", "num_conditions"): Row(4, CONDITIONAL),
    ("ChunkedWeightGenerator", "generator"): lambda: lambda spec: kh.WeightGenerator(spec, [2]),
    ("ComposedWeightGenerator", "spec"): {"a/kernel": (3, 4), "c/bias": (2,), "b/bias": (4,)},
    ("ComposedWeightGenerator", "generators"): lambda: {
        "part": kh.WeightGenerator({"a/kernel": (3, 4)}, hidden_sizes=[5])
    },
    ("ComposedWeightGenerator", "shared"): kh.WeightSpec(
        [{"name": "b/bias", "shape": (4,), "role": "scale"}]
    ),
    ("ComposedWeightGenerator", "conditional"): kh.WeightSpec(
        [{"name": "c/bias", "shape": (2,), "role": "scale"}]
    ),
    ("ComposedWeightGenerator", "num_conditions"): 4,
    ("ComposedWeightGenerator", "assembly"): Row(
        {"a/kernel": "part/a/kernel", "d/bias": {"join": ["c/bias", "b/bias"]}},
        {
            "spec": {"a/kernel": (3, 4), "d/bias": (6,)},
            "assembly": {"a/kernel": "part/a/kernel", "d/bias": {"join": ["b/bias", "c/bias"]}},
        },
    ),
    ("ComposedWeightGenerator", "part_inputs"): {"part": ["noise"]},
    ("ComposedWeightGenerator", "initializers"): {"bias": "ones"},
    ("ConditionEmbedding", "num_conditions"): 4,
    ("ContinualCheckpoint", "filepath"): "other.keras",
    ("ContinualCheckpoint", "every"): 2,
    ("ContinualModel", "model"): lambda: built(3),
    ("ContinualModel", "num_tasks"): 3,
    ("ContinualModel", "targets"): "copy",
    ("ContinualModel", "tasks_per_step"): 1,
    ("ContinualModel", "tasks_per_call"): 1,
    ("ContinualModel", "heads"): [[0], [1]],
    ("ContinualModel", "hold_conditions"): True,
    ("DeconvWeightGenerator", "filters"): (8, 3),
    ("DeconvWeightGenerator", "spec"): [(2, 5), (5,)],
    ("GroupedDataset", "conditioning"): np.arange(6) + 1,
    ("GroupedDataset", "data"): np.arange(12) + 1,
    ("GroupedDataset", "y"): None,
    ("GroupedDataset", "conditions_per_batch"): 3,
    ("GroupedDataset", "sample_weight"): np.ones(12),
    ("GroupedDataset", "group_sizes"): [1, 3, 2, 2, 2, 2],
    ("GroupedDataset", "condition_ids"): np.arange(12) % 6,
    ("GroupedDataset", "**kwargs"): {"max_queue_size": 3},
    ("Hyper", "layer"): lambda: model(5),
    ("Hyper", "contraction"): "outer",
    ("Hypernetwork", "num_conditions"): 4,
    ("Hypernetwork", "once_per_condition"): "auto",
    ("PerturbedWeightGenerator", "when"): "training",
    ("PerturbedWeightGenerator", "sigma"): 0.5,
    ("PerturbedWeightGenerator", "input_layer"): lambda: layers.Dense(3),
    ("PerturbedWeightGenerator", "output_layer"): lambda: layers.Add(),
    ("StructuredWeightGenerator", "plan"): lambda: plan((5, 4)),
    ("StructuredWeightGenerator", "num_conditions"): Row(4, CONDITIONAL),
    ("StructuredWeightGenerator", "kinds"): {"half": {"hidden_sizes": [5]}},
    ("TaskWeights", "num_conditions"): 4,
    ("WeightGenerator", "num_conditions"): 4,
    ("WeightSpec", "tensors"): [{"name": "a/kernel", "shape": (4, 4)}],
    ("apply_generated_weights", "data_input"): lambda: keras.Input((5, 3)),
    ("apply_generated_weights", "weight_generators"): lambda: weight_generators(rows=1),
    ("apply_generated_weights", "target_layer_sizes"): Row(
        [(3, 4), (4, 5)], weight_generators=lambda: weight_generators(5)
    ),
    ("apply_generated_weights", "**options"): {"contraction": "materialize"},
    ("build", "conditioning_size"): 3,
    ("build", "input_size"): (None, 3),
    ("build", "target_layer_sizes"): [(3, 5)],
    ("build", "conditioning"): Row(lambda: keras.Input((5,)), conditioning_size=None),
    ("build", "data_input"): Row(lambda: keras.Input((5, 3)), input_size=None),
    ("build", "contraction"): "materialize",
    ("build", "dtype"): "mixed_bfloat16",
    ("build", "**generator_options"): {"dropout": 0.5},
    ("build_weight_generator", "conditioning"): lambda: keras.Input((5,)),
    ("build_weight_generator", "target_in"): 4,
    ("build_weight_generator", "target_out"): 5,
    ("build_weight_generator", "**generator_options"): {"dropout": 0.5},
    ("condition_variables", "layer"): lambda: chunked("conditional", 3),
    ("condition_variables", "condition"): 2,
    ("convert_weights", "weights"): np.zeros((2, 16)),
    ("convert_weights", "spec"): [(4, 3), (4,)],
    ("convert_weights", "form"): "flat",
    ("describe", "model"): lambda: built(3),
    ("diagnose", "model"): lambda: compiled(hidden_sizes=(5,)),
    ("diagnose", "conditioning"): np.ones((4, 2)),
    ("diagnose", "inputs"): np.zeros((4, 3)),
    ("diagnose", "y"): np.full((4, 2), 1e6),
    ("diagnose", "verbose"): 1,
    ("DiagnosisCallback", "conditioning"): np.ones((4, 2)),
    ("DiagnosisCallback", "inputs"): np.zeros((4, 3)),
    ("DiagnosisCallback", "y"): np.full((4, 2), 1e6),
    ("DiagnosisCallback", "every"): 1,
    ("DiagnosisCallback", "stop_on"): "bad",
    ("DiagnosisCallback", "verbose"): 1,
    ("head_masks", "spec"): [(4, 4), (4,)],
    ("head_masks", "heads"): [[0], [1]],
    ("hypernetize", "model"): lambda: model(5),
    ("hypernetize", "conditioning_size"): 3,
    ("hypernetize", "conditioning"): Row(lambda: keras.Input((5,)), conditioning_size=None),
    ("hypernetize", "generator"): lambda: lambda spec: kh.WeightGenerator(spec, hidden_sizes=[2]),
    ("hypernetize", "select"): "*/bias",
    ("hypernetize", "mode"): "delta",
    ("hypernetize", "rank"): Row(2, {"mode": "low_rank"}),
    ("hypernetize", "generate"): Row("up", {"mode": "low_rank"}),
    ("hypernetize", "alpha"): Row(2.0, {"mode": "low_rank"}),
    ("hypernetize", "copy"): Row(False, {"mode": "delta"}),
    ("hypernetize", "freeze"): Row("base", {"mode": "delta"}),
    ("initialize", "generator"): lambda: hyper(kernel_initializer="ones", hidden_sizes=[3]),
    ("initialize_embeddings", "layer"): lambda: hyper(4),
    ("initialize_embeddings", "which"): Row("chunks", {"layer": lambda: both_tables()}),
    ("initialize_embeddings", "mean"): 5.0,
    ("initialize_embeddings", "stddev"): 0.5,
    ("initialize_embeddings", "initializer"): Row("ones", seed=None),
    ("initialize_embeddings", "function"): Row(lambda: lambda i: np.full(2, i), seed=None),
    ("initialize_embeddings", "conditions"): [1],
    ("HyperModel", "inputs"): lambda: wired()[1::-1],
    ("HyperModel", "outputs"): lambda: 2.0 * wired()[2],
    ("HyperModel", "**kwargs"): {"trainable": False},
    ("load_condition", "target"): Row(lambda: model(5), model=lambda: adapted(units=5, base=0.0)),
    ("load_condition", "model"): lambda: adapted(2, base=0.0),
    ("load_condition", "conditioning"): CONDITIONING[3:],
    ("load_generator", "model"): lambda: built(3),
    ("load_generator", "path"): lambda: file_of(1),
    ("output_regularizer", "hypernetwork"): lambda: hyper(kernel_initializer="ones"),
    ("output_regularizer", "ids"): np.array([2, 2, 2]),
    ("output_regularizer", "targets"): np.zeros((3, 16), "float32"),
    ("output_regularizer", "frozen"): Row({}, targets=None),
    ("output_regularizer", "tasks_per_step"): 1,
    ("output_regularizer", "seed"): Row(5, {**MANY, "tasks_per_step": 1}),
    ("output_regularizer", "training"): Row(True, {"hypernetwork": lambda: dropping()}),
    ("output_regularizer", "perturbation"): Row(
        lambda: {t.name: np.ones(t.shape, "float32") for t in dropping().unconditional_spec},
        {"hypernetwork": lambda: dropping()},
    ),
    ("output_regularizer", "tasks_per_call"): 1,
    ("output_regularizer", "task_coefficients"): np.array([1.0, 2.0, 3.0], "float32"),
    ("output_regularizer", "importance"): np.full((3, 16), 2.0, "float32"),
    ("output_regularizer", "mask"): np.arange(48).reshape(3, 16) % 2 == 0,
    ("pack_weights", "tensors"): {"a/kernel": np.zeros((2, 3, 4)), "a/bias": np.zeros((2, 4))},
    ("pack_weights", "spec"): {"a/bias": (4,), "a/kernel": (3, 4)},
    ("perturb_unconditional", "layer"): lambda: hyper(kernel_initializer="ones"),
    ("perturb_unconditional", "changes"): lambda: changes(2),
    ("plan_chunks", "target"): kh.WeightSpec.from_shapes({**PLANNED, "b/kernel": (40, 30)}),
    ("plan_chunks", "budget"): 0.5,
    ("plan_chunks", "embedding_size"): 3,
    ("plan_chunks", "input_size"): Row(20, {"budget": 800}),
    ("plan_chunks", "use_bias"): Row(False, {"budget": 740}),
    ("plan_chunks", "num_conditions"): Row(2, {"budget": 740}),
    ("register_rule", "layer_class"): Unbiased,
    ("register_rule", "rule"): lambda: Doubled(),
    ("resnet_chunking", "model"): lambda: network("resnet", width=2),
    ("save_generator", "model"): lambda: built(3),
    ("save_generator", "path"): lambda: file_of(1),
    ("save_lora", "model"): lambda: adapted(2),
    ("save_lora", "conditioning"): CONDITIONING[3:],
    ("save_lora", "path"): lambda: f"{folder()}/1.lora.h5",
    ("save_lora", "backbone"): lambda: around(),
    ("specialize", "model"): lambda: built(3),
    ("specialize", "conditioning"): CONDITIONING[3:],
    ("split_weights", "weights"): np.zeros((2, 16), "float32"),
    ("split_weights", "spec"): [(4, 3), (4,)],
    ("tabulate", "model"): lambda: built(3),
    ("tabulate", "conditioning"): CONDITIONING[2:],
    ("tabulate", "copy"): Row(False, {"model": lambda: adapted()}),
    ("target_weights", "model"): lambda: built(3),
    ("target_weights", "conditioning"): CONDITIONING[3:],
    ("with_conditions", "model"): lambda: two_tables(2),
    ("with_conditions", "num_conditions"): 5,
    ("with_conditions", "start"): "mean",
    ("with_conditions", "freeze"): "all",
    ("with_conditions", "layers"): ["users"],
    ("with_conditions", "copy"): False,
    ("wide_resnet_chunking", "model"): lambda: network("wide_resnet", dropout=0.5, use_bias=True),
    ("ChunkPlan.parameters", "self"): lambda: plan((5, 4)),
    ("ChunkPlan.table", "self"): lambda: plan((5, 4)),
    ("wide_resnet_chunking", "normalization"): True,
    ("plot.conditions", "model"): lambda: embedded(2),
    ("plot.conditions", "names"): ["a", "b", "c", "d"],
    ("plot.filters", "model"): lambda: convolutional(3),
    ("plot.filters", "conditioning"): CONDITIONING[3:],
    ("plot.filters", "name"): "last/kernel",
    ("plot.interpolation", "model"): lambda: built(3),
    ("plot.interpolation", "first"): CONDITIONING[1],
    ("plot.interpolation", "second"): CONDITIONING[1],
    ("plot.interpolation", "inputs"): DATA[:2],
    ("plot.interpolation", "steps"): 3,
    ("plot.overview", "diagnosis"): lambda: diagnose(built(3), CONDITIONING),
    ("plot.sensitivity", "model"): lambda: built(3),
    ("plot.sensitivity", "conditioning"): CONDITIONING[2:],
    ("plot.signals", "model"): lambda: built(3),
    ("plot.signals", "conditioning"): CONDITIONING[2:],
    ("plot.signals", "inputs"): 2 * DATA,
    ("plot.weights", "model"): lambda: built(3),
    ("plot.weights", "conditioning"): CONDITIONING[3:],
    ("plot.weights", "names"): ["layer_0/bias"],
}
for _name in ("ChunkPlan.parameters", "ChunkPlan.table"):
    OTHER.update({(_name, "input_size"): 2, (_name, "num_conditions"): 3})
for _name in ("targets.resnet", "targets.wide_resnet"):
    _values = {"n": 2, "filters": (2, 2, 4, 8), "input_shape": (9, 9, 1), "num_classes": 4}
    _values.update(width=2, k=2)
    OTHER.update({(_name, argument): value for argument, value in _values.items()})
