"""Mistakes in calls of all public names: each is refused by name, and nothing has changed then.

`BAD[name]` are calls of a public name and of what it makes. With each stands what the error must
name: the argument, or what else is at fault; several words where Python says it. Wrong types of
single arguments are in `test_arguments.py`.
"""

import functools
import pathlib
import tempfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_hypernet as kh
from keras_hypernet.layers.rules import rule
from tests import argument_cases as cases
from tests.argument_cases import (
    ENTRY,
    SHAPES,
    SIZES,
    TASKS,
    adapted,
    built,
    generator,
    hyper,
    network,
    plan,
    tasks_by_id,
    two_tables,
    wired,
)
from tests.test_api import PUBLIC

X, Z, IDS = cases.DATA, cases.CONDITIONING, np.array([0, 1, 2])
NAN = float("nan")
SPEC = kh.WeightSpec.from_shapes({"a/kernel": (3, 4), "a/bias": (4,)})
FLAT = np.ones((2, 16), "float32")
KERNELS, BIASES = np.ones((2, 3, 4), "float32"), np.ones((2, 4), "float32")
NAMED = {"a/kernel": KERNELS, "a/bias": BIASES}
VECTORS = np.ones((2, 2), "float32")
DENSE = layers.Dense(4)  # not built


# What the calls are made on.


@functools.cache
def plain():
    return cases.model()


@functools.cache
def ids():
    return hyper()


@functools.cache
def chunks():
    return cases.chunked("conditional", 3)


@functools.cache
def dense():
    """A hyper layer that is built."""
    layer = kh.Hyper(layers.Dense(4), name="dense")
    layer.spec((None, 3))
    return layer


@functools.cache
def bare():
    """A hyper layer that is not."""
    return kh.Hyper(layers.Dense(4), name="bare")


@functools.cache
def learner():
    """With room for two tasks, the first of which has begun."""
    model = kh.ContinualModel(kh.build(2, 3, [(3, 2)], hidden_sizes=[2]), num_tasks=2)
    model.compile("sgd", "mse", metrics=["accuracy"])
    model.begin_task("a")
    return model


@functools.cache
def unbuilt():
    return keras.Sequential([layers.Dense(4)])


@functools.cache
def subclassed():
    class Own(keras.Model):
        def call(self, x):
            return x

    return Own()


@functools.cache
def folder():
    """Files that are whole, damaged or something else."""
    path = pathlib.Path(tempfile.mkdtemp())
    kh.save_generator(built(), path / "whole.npz")
    built().save(path / "built.keras")
    learner().save(path / "whole.keras")
    for name in ("whole.npz", "whole.keras"):
        content, kind = (path / name).read_bytes(), pathlib.Path(name).suffix
        middle = len(content) // 2
        (path / f"truncated{kind}").write_bytes(content[:middle])
        damaged = content[:middle] + b"\xff" * 64 + content[middle + 64 :]
        (path / f"damaged{kind}").write_bytes(damaged)
        (path / f"folder{kind}").mkdir()
    (path / "npz.keras").write_bytes((path / "whole.npz").read_bytes())
    (path / "empty.npz").write_bytes(b"")
    (path / "text.npz").write_text("weights")
    np.savez(path / "other.npz", kernel=np.ones(3))
    np.save(path / "array.npy", np.ones(3))
    with h5py.File(path / "weights.h5", "w") as file:
        file["kernel"] = np.ones(3)
    return path


kept = []  # the state after the last call


def state():
    """What a refused call must leave as it is."""
    models = [plain(), built(), adapted(base=0.0), tasks_by_id(), two_tables(), learner()]
    layers_of_models = [ids(), chunks(), dense(), bare()]
    found = {}
    for i, layer in enumerate([*models, *layers_of_models]):
        found[i, "variables"] = [ops.convert_to_numpy(v).tobytes() for v in layer.variables]
        found[i, "attributes"] = layer.built, layer.trainable, getattr(layer, "task_names", None)
    files = sorted(folder().rglob("*"))
    found["files"] = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    found["rules"] = dict(rule._RULES)
    return found


# Calls with what they need beside the mistake.


def applied(**arguments):
    z = keras.Input((2,))
    weights = [kh.build_weight_generator(z, *sizes, hidden_sizes=[2]) for sizes in SIZES]
    given = {"data_input": keras.Input((3,)), "weight_generators": weights}
    return kh.apply_generated_weights(**{**given, "target_layer_sizes": SIZES, **arguments})


def build(**arguments):
    given = {"conditioning_size": 2, "input_size": 3, "target_layer_sizes": SIZES}
    return kh.build(**{**given, **arguments})


def checkpoint(name):
    return kh.ContinualCheckpoint(folder() / name)


def chunk_plan(**arguments):
    given = {"spec": {"a/kernel": (3, 4)}, "kinds": {"half": ENTRY}, "assembly": cases.JOINED}
    return kh.ChunkPlan(**{**given, **arguments})


def chunked(generator):
    return kh.ChunkedWeightGenerator(SHAPES, 5, generator=generator)


def composed(**arguments):
    return kh.ComposedWeightGenerator(**cases.with_plain(**arguments))


def continual(**arguments):
    return kh.ContinualModel(**{"model": built(), "num_tasks": 2, **arguments})


def deconv(**arguments):
    given = {"spec": SHAPES, "image_shape": (4, 4), "filters": (8, 2), "kernel_size": 3}
    return kh.DeconvWeightGenerator(**{**given, **arguments})


def drawn(**arguments):
    return kh.initialize_embeddings(**{"layer": ids(), **arguments})


def embedded(ids):
    return kh.ConditionEmbedding(3, 2)(ids)


def grouped(**arguments):
    given = {"conditioning": Z, "data": np.ones((8, 3)), "y": None, "conditions_per_batch": 2}
    return kh.GroupedDataset(**{**given, **arguments})


def hypernetized(**arguments):
    return kh.hypernetize(**{"model": plain(), "conditioning_size": 2, **arguments})


def joined(*pieces, **options):
    return chunk_plan(assembly={"a/kernel": {"join": list(pieces), **options}})


def load_condition(**arguments):
    given = {"target": plain(), "model": adapted(base=0.0), "conditioning": Z[:1]}
    return kh.load_condition(**{**given, **arguments})


def load_generator(name):
    return kh.load_generator(built(), folder() / name)


def retention(**arguments):
    given = {"hypernetwork": ids(), "ids": IDS, "targets": np.ones((3, 16), "float32")}
    return kh.output_regularizer(**{**given, **arguments})


def run(names):
    return list(checkpoint("new.keras").tasks(learner(), names))


def saved_inside():
    with learner().at_slot(1):
        learner().save(folder() / "new.keras")


def save_lora(**arguments):
    given = {"model": adapted(), "conditioning": Z[:1], "backbone": plain()}
    return kh.save_lora(**{"path": folder() / "new.lora.h5", **given, **arguments})


def tensor(name="a/kernel", shape=(3, 4), **fields):
    return kh.WeightSpec([{"name": name, "shape": shape, **fields}])


def weights_of(**options):
    return kh.WeightGenerator(SHAPES, hidden_sizes=[2], **options)


class Ruled(kh.Rule):
    def apply(self, layer, x, tensors):
        return x


HALVES = "half/0/kernel", "half/1/kernel"
ROWS = np.repeat(Z, 99, 0), np.repeat(X, 99, 0)

BAD = {
    "AccuracyMatrix": [
        ("data", lambda: kh.AccuracyMatrix([X, X])),
        ("data", lambda: kh.AccuracyMatrix({})),
        ("metric", lambda: kh.AccuracyMatrix(TASKS, metric=keras.metrics.Accuracy())),
        ("evaluate", lambda: kh.AccuracyMatrix(TASKS, metrics=["accuracy"])),
        ("model", lambda: kh.AccuracyMatrix(TASKS).set_model(plain())),
        ("data", lambda: kh.AccuracyMatrix({"b": TASKS["b"]}).set_model(learner())),
        ("data", lambda: kh.AccuracyMatrix(dict.fromkeys("abc", X)).set_model(learner())),
        ("data", lambda: kh.AccuracyMatrix(dict.fromkeys("ba", X)).set_model(learner())),
        ("label", lambda: kh.AccuracyMatrix(TASKS).row("after a")),
        ("path", lambda: kh.AccuracyMatrix(TASKS).plot(folder())),
        ("path", lambda: kh.AccuracyMatrix(TASKS).plot(None)),
    ],
    "ApplyGeneratedWeights": [
        ("target_layer_sizes", lambda: kh.ApplyGeneratedWeights((3, 4))),
        ("target_layer_sizes", lambda: kh.ApplyGeneratedWeights([(3, 4, 2)])),
        ("target_layer_sizes", lambda: kh.ApplyGeneratedWeights([(3, 4), (5, 2)])),
        ("activation", lambda: kh.ApplyGeneratedWeights(SIZES, activation="rellu")),
        ("activation", lambda: kh.ApplyGeneratedWeights(SIZES, activation=layers.ReLU)),
        ("activation", lambda: kh.ApplyGeneratedWeights(SIZES, activation=lambda: 1.0)),
        ("contraction", lambda: kh.ApplyGeneratedWeights(SIZES, contraction="materialise")),
        ("weights", lambda: kh.ApplyGeneratedWeights([(3, 4)])(X)),
        ("weights", lambda: kh.ApplyGeneratedWeights([(3, 4)])(X, FLAT[:, :15])),
        ("weights", lambda: kh.ApplyGeneratedWeights([(3, 4)])(X, [KERNELS, BIASES])),
        ("weights", lambda: kh.ApplyGeneratedWeights([(3, 4)])(X, {"features": X, "base": X})),
        ("weights", lambda: kh.ApplyGeneratedWeights([(3, 4)])(X, [])),
        ("weights", lambda: kh.ApplyGeneratedWeights([(3, 4)])(X, np.float32(1.0))),
        ("x", lambda: kh.ApplyGeneratedWeights([(3, 4)])(X[:, :2], FLAT)),
        ("x", lambda: kh.ApplyGeneratedWeights([(3, 4)])(keras.Input(()), FLAT)),
        ("x", lambda: kh.ApplyGeneratedWeights([(3, 4)])(None, FLAT)),
    ],
    "BiasHyperInit": [
        ("initializers", lambda: kh.BiasHyperInit("zeros")),
        ("initializers['kernel']", lambda: kh.BiasHyperInit({"kernel": "glorot_unifrom"})),
        ("initializers['kernel']", lambda: kh.BiasHyperInit({"kernel": kh.HyperFanIn()})),
        ("initializers['bias']", lambda: kh.BiasHyperInit({"bias": DENSE})),
        ("initializers", lambda: generator(initialization=kh.BiasHyperInit({"b": "ones"}))(Z)),
    ],
    "ChunkPlan": [
        ("spec", lambda: chunk_plan(spec={"a/kernel": 12})),
        ("spec", lambda: chunk_plan(spec={"a/kernel": (3, "4")})),
        ("kinds", lambda: chunk_plan(kinds=[ENTRY])),
        ("kinds", lambda: chunk_plan(kinds={})),
        ("kinds['half']", lambda: chunk_plan(kinds={"half": None})),
        ("kinds['half']['number']", lambda: chunk_plan(kinds={"half": {**ENTRY, "number": 2.0}})),
        ("kinds['half']['shapes']", lambda: chunk_plan(kinds={"half": {**ENTRY, "shapes": (3,)}})),
        ("assembly", lambda: chunk_plan(assembly=None)),
        ("assembly", lambda: chunk_plan(assembly=DENSE)),
        ("assembly", lambda: chunk_plan(assembly=kh.HyperFanIn)),
        ("assembly", lambda: chunk_plan(assembly=lambda pieces: pieces)),
        ("assembly", lambda: chunk_plan(assembly={"b/kernel": HALVES[0]})),
        ("assembly", lambda: chunk_plan(assembly={"a/kernel": list(HALVES)})),
        ("assembly", lambda: joined(HALVES[0], axis=1)),
        ("assembly", lambda: joined(*HALVES, HALVES[0], axis=1)),
        ("assembly", lambda: joined(*HALVES, axis=0)),
        ("assembly", lambda: joined(*HALVES, axis=5)),
        ("assembly", lambda: joined(HALVES[0], "half/2/kernel", axis=1)),
        ("assembly", lambda: joined(HALVES[0], 1, axis=1)),
        ("assembly", lambda: joined(list(HALVES), axis=1)),
        ("assembly", lambda: chunk_plan(assembly={"a/kernel": {"join": np.array(HALVES)}})),
        ("hidden_sizes", lambda: plan().parameters(hidden_sizes={"halves": [8]})),
        ("hidden_sizes", lambda: plan().table(hidden_sizes=[8, None])),
        ("input_size", lambda: plan().parameters(input_size=-1)),
        ("sizes", lambda: plan().with_embedding_sizes(3)),
        ("sizes", lambda: plan().with_embedding_sizes([3, 4])),
        ("kind", lambda: plan().cuts("halves", "kernel")),
        ("tensor", lambda: plan().cuts("half", "bias")),
        ("config", lambda: kh.ChunkPlan.from_config({"spec": SPEC.get_config()})),
        ("plan", lambda: kh.ChunkPlan.of(SPEC)),
    ],
    "ChunkedDeconvWeightGenerator": [
        ("image_shape", lambda: kh.ChunkedDeconvWeightGenerator(SHAPES, (8, 8), (4, 2), 3)),
        ("image_shape", lambda: kh.ChunkedDeconvWeightGenerator(SHAPES, (3,), (4, 2), 3)),
        ("filters", lambda: kh.ChunkedDeconvWeightGenerator(SHAPES, (3, 2), 4, 3)),
    ],
    "ChunkedWeightGenerator": [
        ("chunk_size", lambda: kh.ChunkedWeightGenerator(SHAPES, 17)),
        ("chunk_size", lambda: kh.ChunkedWeightGenerator(SHAPES, [4, 4])),
        ("generator", lambda: chunked(generator())),
        ("generator", lambda: chunked(kh.HyperFanIn)),
        ("generator", lambda: chunked(layers.Dense)),
        ("generator", lambda: chunked(lambda: generator())),
        ("generator", lambda: chunked(lambda spec: spec)),
        ("generator", lambda: chunked(lambda spec: generator())),
        ("chunk_embeddings", lambda: kh.ChunkedWeightGenerator(SHAPES, 5, chunk_embeddings=True)),
        ("condition_id", lambda: chunks()({"noise": X})),
        ("condition_id", lambda: chunks()({"noise": X, "condition_id": [0, 1, 2, 3]})),
        ("condition_id", lambda: chunks()({"noise": X, "condition_id": np.array([3])})),
        ("condition_ids", lambda: chunks()({"noise": X, "condition_ids": IDS})),
        ("condition_id", lambda: chunks()({"noise": X, "condition_id": IDS})),
        ("noise", lambda: chunks()({"noise": X[:, :2], "condition_id": IDS[:1]})),
        ("noise", lambda: chunks()({"noise": 0.5, "condition_id": IDS[:1]})),
    ],
    "ComposedWeightGenerator": [
        ("generators", lambda: composed(generators=[generator()])),
        ("generators['part']", lambda: composed(generators={"part": DENSE})),
        ("generators['part']", lambda: composed(generators={"part": kh.WeightGenerator})),
        ("generators['part']", lambda: composed(generators={"part": lambda spec: spec})),
        ("generators['part']", lambda: composed(generators={"part": ids().generator})),
        ("generators", lambda: composed(generators={"a/b": generator()})),
        ("generators", lambda: composed(generators=dict.fromkeys("ab", generator()))),
        ("shared", lambda: composed(shared=4)),
        ("num_conditions", lambda: composed(num_conditions=None)),
        ("assembly", lambda: composed(assembly={"a/kernel": "part/b/kernel"})),
        ("part_inputs", lambda: composed(part_inputs=["noise"])),
        ("part_inputs['part']", lambda: composed(part_inputs={"part": "noise"})),
        ("part_inputs['part']", lambda: composed(part_inputs={"part": ["noize"]})),
        ("initializers", lambda: composed(initializers=np.ones(2))),
        ("initializers", lambda: composed(initializers=ops.ones(2))),
        ("initialization", lambda: composed(initialization={"kernel": "ones"})),
        ("shared_regularizer", lambda: composed(shared_regularizer=DENSE)),
    ],
    "ConditionEmbedding": [
        ("num_conditions", lambda: kh.ConditionEmbedding(IDS, 2)),
        ("unknown", lambda: kh.ConditionEmbedding(3, 2, unknown="zero")),
        ("embeddings_initializer", lambda: kh.ConditionEmbedding(3, 2, "randon_normal")),
        ("embeddings_initializer", lambda: kh.ConditionEmbedding(3, 2, {"class_name": "Normal"})),
        ("embeddings_initializer", lambda: kh.ConditionEmbedding(3, 2, DENSE)),
        ("embeddings_initializer", lambda: kh.ConditionEmbedding(3, 2, lambda: 0.0)),
        ("embeddings_regularizer", lambda: kh.ConditionEmbedding(3, 2, None, 0.01)),
        ("embeddings_regularizer", lambda: kh.ConditionEmbedding(3, 2, None, kh.HyperFanIn)),
        ("embeddings_regularizer", lambda: kh.ConditionEmbedding(3, 2, None, lambda: 0.0)),
        ("ids", lambda: embedded(np.array([0.0, 1.0]))),
        ("ids", lambda: embedded(np.array(["0", "1"]))),
        ("ids", lambda: embedded(np.array([True, False]))),
        ("ids", lambda: embedded(np.array([0, 3]))),
        ("ids", lambda: embedded(np.array([-1]))),
        ("ids", lambda: embedded(np.array([[0], [1]]))),
        ("ids", lambda: embedded("user")),
        ("ids", lambda: embedded(keras.Input((1,), dtype="int32"))),
        ("ids", lambda: embedded(keras.Input(()))),
        ("ids", lambda: kh.ConditionEmbedding(3, 2).build((None, 1))),
    ],
    "ContinualCheckpoint": [
        ("filepath", lambda: kh.ContinualCheckpoint("run.h5")),
        ("filepath", lambda: kh.ContinualCheckpoint("run")),
        ("filepath", lambda: kh.ContinualCheckpoint(learner())),
        ("filepath", lambda: checkpoint("folder.keras")),
        ("filepath", lambda: checkpoint("whole.npz/run.keras")),
        ("filepath", lambda: checkpoint("truncated.keras").load()),
        ("filepath", lambda: checkpoint("damaged.keras").load()),
        ("filepath", lambda: checkpoint("npz.keras").load()),
        ("model", lambda: checkpoint("built.keras").load()),
        ("model", lambda: checkpoint("new.keras").set_model(built())),
        ("model", lambda: checkpoint("new.keras").save(built())),
        ("model", lambda: checkpoint("new.keras").save(None)),
        ("names", lambda: run("a")),
        ("names", lambda: run(2)),
        ("names", lambda: run(["b", "a"])),
        ("names", lambda: run(["a", 2])),
        ("names", lambda: run(["a", "b", "c"])),
    ],
    "ContinualModel": [
        ("model", lambda: continual(model=plain())),
        ("model", lambda: continual(model=unbuilt())),
        ("model", lambda: continual(model=subclassed())),
        ("model", lambda: continual(model=learner())),
        ("model", lambda: continual(model=ids())),
        ("num_tasks", lambda: continual(num_tasks=["a", "b"])),
        ("num_tasks", lambda: continual(model=tasks_by_id(), num_tasks=5)),
        ("beta", lambda: continual(beta=-0.01)),
        ("targets", lambda: continual(targets="weight")),
        ("heads", lambda: continual(heads=2)),
        ("heads", lambda: continual(heads={"a": [0], "b": [1]})),
        ("heads", lambda: continual(heads=[0, 1])),
        ("heads", lambda: continual(heads=[[0]])),
        ("heads", lambda: continual(heads=[[0], [2]])),
        ("heads", lambda: continual(heads=[[0], [-1]])),
        ("hold_conditions", lambda: continual(keep_optimizer=True, hold_conditions=False)),
        ("embeddings_initializer", lambda: continual(embeddings_initializer=kh.BiasHyperInit())),
        ("name", lambda: learner().begin_task("a")),
        ("name", lambda: learner().begin_task(["b"])),
        ("task", lambda: learner().predict(X, task="b", verbose=0)),
        ("task", lambda: learner().predict(X, task=0, verbose=0)),
        ("task", lambda: learner().predict(X, task=["a"], verbose=0)),
        ("task", lambda: learner().predict(X, task=np.array(["a", "b"]), verbose=0)),
        ("task", lambda: learner().predict(X, task="a", infer_task=True, verbose=0)),
        ("task", lambda: learner().evaluate(X, X[:, :2], task="A", verbose=0)),
        ("task", lambda: learner().at_task("b").__enter__()),
        ("task", lambda: learner().specialize("b")),
        ("task", lambda: learner().task_conditioning(3)),
        ("inputs", lambda: learner()({"x": X})),
        ("inputs", lambda: learner()([X, X])),
        ("at_task", lambda: saved_inside()),
        ("begin_task(name)", lambda: continual(model=cases.built(3)).infer_task(X)),
    ],
    "DiagnosisCallback": [
        ("every", lambda: kh.DiagnosisCallback(VECTORS, every=0)),
        ("every", lambda: kh.DiagnosisCallback(VECTORS, every="epoch")),
        ("stop_on", lambda: kh.DiagnosisCallback(VECTORS, stop_on="good")),
        ("stop_on", lambda: kh.DiagnosisCallback(VECTORS, stop_on=True)),
        ("verbose", lambda: kh.DiagnosisCallback(VECTORS, verbose=-1)),
        ("conditioning", lambda: kh.DiagnosisCallback(None)),
    ],
    "DeconvWeightGenerator": [
        ("image_shape", lambda: deconv(image_shape=16)),
        ("image_shape", lambda: deconv(image_shape=(2, 2))),
        ("image_shape", lambda: deconv(image_shape=(4, None))),
        ("filters", lambda: deconv(filters=[8, 2.0])),
        ("attention", lambda: deconv(attention=0)),
        ("attention", lambda: deconv(attention=[2])),
        ("attention", lambda: deconv(attention=np.array([0, 1]))),
        ("conditioning", lambda: deconv()(np.ones((2, 4, 4), "float32"))),
    ],
    "FourierFeatures": [
        ("num_frequencies", lambda: kh.FourierFeatures([1, 2, 4])),
        ("scale", lambda: kh.FourierFeatures(3, scale=[1.0, 2.0])),
        ("inputs", lambda: kh.FourierFeatures(3)(IDS)),
        ("inputs", lambda: kh.FourierFeatures(3)(np.float32(1.0))),
        ("inputs", lambda: kh.FourierFeatures(3)(keras.Input((None,)))),
    ],
    "GroupedDataset": [
        ("conditioning", lambda: grouped(conditioning=None)),
        ("conditioning", lambda: grouped(conditioning=keras.Input((2,)))),
        ("conditioning", lambda: grouped(conditioning=Z[:0])),
        ("conditioning", lambda: grouped(conditioning=[[1, 2], [3]])),
        ("conditioning", lambda: grouped(conditioning=[None, 1, 2, 3])),
        ("conditioning", lambda: grouped(conditioning=SPEC)),
        ("data", lambda: grouped(data=np.ones((9, 3)))),
        ("data", lambda: grouped(data=np.ones((2, 3)))),
        ("y", lambda: grouped(y=np.ones(7))),
        ("y", lambda: grouped(y="labels")),
        ("sample_weight", lambda: grouped(y=np.ones(8), sample_weight=np.ones(4))),
        ("sample_weight", lambda: grouped(sample_weight=np.ones(8))),
    ],
    "Hyper": [
        ("layer", lambda: kh.Hyper(layers.Dense)),
        ("layer", lambda: kh.Hyper(lambda x: x)),
        ("layer", lambda: kh.Hyper([DENSE])),
        ("layer", lambda: kh.Hyper("dense")),
        ("layer", lambda: kh.Hyper(layers.ReLU()).spec((None, 3))),
        ("layer", lambda: kh.Hyper(kh.Hyper(DENSE))),
        ("bare", lambda: bare().tensor_names),
        ("x_shape", lambda: bare().spec(3)),
        ("x_shape", lambda: bare().spec(None)),
        ("x_shape", lambda: bare().spec("shape")),
        ("x_shape", lambda: bare().spec((None, "3"))),
        ("weights", lambda: bare()(X, FLAT[:, :3])),
        ("dense", lambda: dense()(X[:, :2], FLAT)),
        ("x", lambda: dense()("x", FLAT)),
        ("weights", lambda: dense()(X)),
        ("weights", lambda: dense()(X, generator())),
        ("weights", lambda: dense()(X, FLAT[0])),
        ("weights", lambda: dense()(X, FLAT[:0])),
        ("weights", lambda: dense()(X, np.ones((3, 16), "float32"))),
        ("weights", lambda: dense()(X, FLAT.astype("int32"))),
        ("weights", lambda: dense()(X, FLAT.astype(str))),
        ("weights", lambda: dense()(X, {})),
        ("weights", lambda: dense()(X, {"kernel": KERNELS})),
        ("weights", lambda: dense()(X, {"kernel": None, "bias": BIASES})),
        ("weights['kernel']", lambda: dense()(X, {"kernel": FLAT[:, :12], "bias": BIASES})),
        ("features", lambda: dense()(X, {"features": None, "basis": FLAT, "offset": FLAT[0]})),
    ],
    "HyperFanHarmonic": [
        ("target_variances", lambda: kh.HyperFanHarmonic(target_variances=1.0)),
        ("head_bias_means", lambda: kh.HyperFanHarmonic(head_bias_means={1: 1.0})),
    ],
    "HyperFanIn": [
        ("scheme", lambda: kh.HyperFanIn("he")),
        ("condition_variance", lambda: kh.HyperFanIn(condition_variance=0.0)),
        (
            "head_kernel_means",
            lambda: generator(initialization=kh.HyperFanIn(head_kernel_means={"b": 1.0}))(Z),
        ),
    ],
    "HyperFanOut": [
        ("head_bias_variances", lambda: kh.HyperFanOut(head_bias_variances={"bias": -1})),
        ("schema", lambda: kh.HyperFanOut.from_config({"schema": "xavier"})),
    ],
    "HyperModel": [
        ("inputs", lambda: kh.HyperModel([Z, X], wired()[2])),
        ("inputs", lambda: kh.HyperModel(wired()[0], wired()[2])),
        ("outputs", lambda: kh.HyperModel(list(wired()[:2]), DENSE)),
        ("output", lambda: kh.HyperModel(list(wired()[:2]), wired()[2], output="y")),
        ("batch_size", lambda: built().predict(ROWS, batch_size=-1, verbose=0)),
        ("batch_size", lambda: built().predict(ROWS, batch_size="all", verbose=0)),
    ],
    "Hypernetwork": [
        ("generator", lambda: kh.Hypernetwork(kh.WeightGenerator)),
        ("generator", lambda: kh.Hypernetwork(SHAPES, 3)),
        ("generator", lambda: kh.Hypernetwork(plain(), 3)),
        ("generator", lambda: kh.Hypernetwork(ids(), 3)),
        ("num_conditions", lambda: kh.Hypernetwork(generator(), ["a", "b"])),
        ("num_conditions", lambda: kh.Hypernetwork(cases.chunked("conditional", 3), 4)),
        ("once_per_condition", lambda: kh.Hypernetwork(generator(), 3, once_per_condition="no")),
        ("initialization", lambda: kh.Hypernetwork(generator(), 3, initialization={})),
        ("conditioning", lambda: ids()("first")),
        ("conditioning", lambda: ids()(np.array(["first"]))),
        ("conditioning", lambda: ids()({})),
        ("condition_id", lambda: ids()(np.array([0, 3]))),
        ("condition_id", lambda: ids()(np.array([[0, 1]]))),
        ("id", lambda: ids()({"id": IDS})),
        ("noise", lambda: ids()({"condition_id": IDS, "noise": X[:3]})),
        ("condition", lambda: ids()({"condition_id": IDS, "condition": Z})),
        ("variables", lambda: ids()(IDS, variables=ids().variables)),
        ("variables", lambda: ids()(IDS, variables={"conditonal": X})),
        ("variables['conditional']", lambda: ids()(IDS, variables={"conditional": X})),
        ("variables['conditional']", lambda: ids()(IDS, variables={"conditional": None})),
        ("variables['conditional']", lambda: ids()(IDS, variables={"conditional": [X]})),
        ("num_conditions", lambda: ids().with_conditions(2)),
        ("start", lambda: ids().with_conditions(4, start=0)),
    ],
    "LayerwiseWeightGenerator": [
        ("heads", lambda: kh.LayerwiseWeightGenerator(SHAPES, heads="factors")),
        ("conditioning", lambda: kh.LayerwiseWeightGenerator(SHAPES)(IDS)),
    ],
    "PerturbedWeightGenerator": [
        ("generator", lambda: kh.PerturbedWeightGenerator(kh.WeightGenerator)),
        ("when", lambda: kh.PerturbedWeightGenerator(generator(), when="train")),
        ("noise_size", lambda: kh.PerturbedWeightGenerator(generator(), noise_size=99)),
        ("output_layer", lambda: kh.PerturbedWeightGenerator(generator(), output_layer="add")),
        ("output_layer", lambda: kh.PerturbedWeightGenerator(generator(), output_layer=DENSE)(Z)),
    ],
    "Rule": [
        ("rule", lambda: kh.register_rule(layers.LSTM, kh.Rule)),
        ("no update of low rank", lambda: kh.Rule().update_shapes(DENSE, "kernel", (3, 4), 2)),
    ],
    "RunningScale": [
        ("momentum", lambda: kh.RunningScale(momentum=0.9)),
        ("x", lambda: kh.RunningScale()("z")),
        ("x", lambda: kh.RunningScale()(np.float32(2.0))),
    ],
    "StructuredWeightGenerator": [
        ("plan", lambda: kh.StructuredWeightGenerator(SPEC)),
        ("plan", lambda: kh.StructuredWeightGenerator(kh.ChunkPlan)),
        ("kinds", lambda: kh.StructuredWeightGenerator(plan(), kinds=["half"])),
        ("kinds", lambda: kh.StructuredWeightGenerator(plan(), kinds={"half": [32]})),
        ("num_conditions", lambda: kh.StructuredWeightGenerator(plan(), num_conditions=3)),
    ],
    "TaskWeights": [
        ("generator", lambda: kh.TaskWeights(SHAPES, 3)),
        ("num_conditions", lambda: kh.TaskWeights(generator(), TASKS)),
        ("condition_id", lambda: kh.TaskWeights(generator(), 3)(np.array([5]))),
        ("conditioning", lambda: kh.TaskWeights(generator(), 3)([])),
    ],
    "UnitNormEncoding": [
        ("low", lambda: kh.UnitNormEncoding(low=1.0, high=1.0)),
        ("low", lambda: kh.UnitNormEncoding(low=[0.0, 1.0], high=[1.0])),
        ("low", lambda: kh.UnitNormEncoding(low={"x": 0.0})),
        ("high", lambda: kh.UnitNormEncoding(low=0.0, high=[])),
        ("low", lambda: kh.UnitNormEncoding(low=[0.0, 0.0, 0.0], high=1.0)(Z)),
    ],
    "UnknownIds": [
        ("1 positional argument", lambda: kh.UnknownIds(10)),
        ("model", lambda: built().predict([Z, X], callbacks=[kh.UnknownIds], verbose=0)),
    ],
    "WeightGenerator": [
        ("spec", lambda: kh.WeightGenerator(DENSE)),
        ("spec", lambda: kh.WeightGenerator(plain())),
        ("spec", lambda: kh.WeightGenerator((3, 4))),
        ("spec", lambda: kh.WeightGenerator([(3, 4), 4])),
        ("spec", lambda: kh.WeightGenerator([(None, 4)])),
        ("spec", lambda: kh.WeightGenerator(NAMED)),
        ("spec", lambda: kh.WeightGenerator(iter(SHAPES))),
        ("hidden_sizes", lambda: kh.WeightGenerator(SHAPES, 32)),
        ("hidden_sizes", lambda: kh.WeightGenerator(SHAPES, [32, "32"])),
        ("hiden_sizes", lambda: kh.WeightGenerator(SHAPES, hiden_sizes=[32])),
        ("activation", lambda: weights_of(activation="leaky relu")),
        ("dropout", lambda: weights_of(dropout=50)),
        ("kernel_initializer", lambda: weights_of(kernel_initializer=kh.HyperFanIn)),
        ("bias_initializer", lambda: weights_of(bias_initializer=0.0)),
        ("head_bias_initializer", lambda: weights_of(head_bias_initializer=generator())),
        ("kernel_regularizer", lambda: weights_of(kernel_regularizer=layers.Dropout(0.1))),
        ("initialization", lambda: weights_of(initialization={"kernel": "ones"})),
        ("initialization", lambda: weights_of(initialization=kh.HyperFanIn)),
        ("conditioning", lambda: generator()(IDS)),
        ("conditioning", lambda: generator()(Z[0])),
        ("conditioning", lambda: generator()(np.ones((2, 8, 8, 3), "float32"))),
        ("conditioning", lambda: generator()(Z.tolist())),
        ("conditioning", lambda: generator()(Z.astype(str))),
        ("conditioning", lambda: generator()(keras.Input((4, 2)))),
        ("condition", lambda: generator()(keras.Input((None,)))),
        ("condition", lambda: generator()({"condition": None})),
        ("conditions", lambda: generator()({"conditions": Z})),
        ("condition", lambda: generator()({"condition": Z, "noise": X[:3]})),
    ],
    "WeightSpec": [
        ("tensors", lambda: kh.WeightSpec([(3, 4)])),
        ("tensors", lambda: kh.WeightSpec({"a/kernel": (3, 4)})),
        ("tensors", lambda: kh.WeightSpec([{"name": "a/kernel"}])),
        ("a/kernel", lambda: kh.WeightSpec(list(SPEC) * 2)),
        ("a/bias", lambda: kh.WeightSpec([*tensor(), *tensor("b/kernel"), *tensor("a/bias")])),
        ("shape of a/kernel", lambda: tensor(shape=12)),
        ("shape of a/kernel", lambda: tensor(shape=[3, -1])),
        ("role", lambda: tensor(role="weight")),
        ("layout", lambda: tensor(layout="pytorch")),
        ("initializer of a/kernel", lambda: tensor(initializer=kh.HyperFanIn)),
        ("shapes", lambda: kh.WeightSpec.from_shapes({})),
        ("shapes", lambda: kh.WeightSpec.from_shapes((3, 4))),
        ("roles", lambda: kh.WeightSpec.from_shapes(SHAPES, roles=["kernel"])),
        ("roles", lambda: kh.WeightSpec.from_shapes(SHAPES, roles=2)),
        ("layer_sizes", lambda: kh.WeightSpec.from_layer_sizes([3, 4])),
        ("layer", lambda: kh.WeightSpec.from_layer(DENSE)),
        ("layer", lambda: kh.WeightSpec.from_layer(layers.Dense)),
        ("layer", lambda: kh.WeightSpec.from_layer(plain().layers[0])),
        ("model", lambda: kh.WeightSpec.from_model(unbuilt())),
        ("model", lambda: kh.WeightSpec.from_model("model.keras")),
        ("array", lambda: SPEC.split(FLAT[:, :15])),
        ("array", lambda: SPEC.split([[1, 2], [3]])),
        ("array", lambda: SPEC.split_layers(None)),
        ("arrays", lambda: SPEC.pack(FLAT)),
        ("arrays", lambda: SPEC.pack({"a/kernel": KERNELS})),
        ("arrays", lambda: SPEC.pack([BIASES, KERNELS])),
        ("arrays", lambda: SPEC.pack([KERNELS, BIASES[:1]])),
        ("arrays", lambda: SPEC.pack([[[1, 2], [3]], BIASES])),
        ("arrays", lambda: SPEC.pack_layers([FLAT])),
        ("arrays", lambda: SPEC.pack_layers({"b": FLAT})),
        ("arrays['a']", lambda: SPEC.pack_layers({"a": FLAT[:, :3]})),
        ("config", lambda: kh.WeightSpec.from_config({})),
        ("config", lambda: kh.WeightSpec.from_config(SHAPES)),
        ("text", lambda: kh.WeightSpec.from_json("spec.json")),
        ("text", lambda: kh.WeightSpec.from_json(SPEC.get_config())),
    ],
    "apply_generated_weights": [
        ("data_input", lambda: applied(data_input=X)),
        ("data_input", lambda: applied(data_input=keras.Input((2,)))),
        ("data_input", lambda: applied(data_input=keras.Input(()))),
        ("weight_generators", lambda: applied(weight_generators=keras.Input((16,)))),
        ("weight_generators", lambda: applied(weight_generators=[generator(), generator()])),
        ("weight_generators", lambda: applied(weight_generators=[FLAT, FLAT])),
        ("weight_generators", lambda: applied(weight_generators=[keras.Input((16,))])),
        ("weight_generators[1]", lambda: applied(weight_generators=[keras.Input((16,))] * 2)),
        ("contractions", lambda: applied(contractions="outer")),
    ],
    "build": [
        ("conditioning_size", lambda: build(conditioning_size=None)),
        ("conditioning_size", lambda: build(conditioning=keras.Input((4,)))),
        ("conditioning", lambda: build(conditioning_size=None, conditioning=Z)),
        ("conditioning", lambda: build(conditioning_size=None, conditioning=keras.Input((4, 2)))),
        ("input_size", lambda: build(input_size=4)),
        ("input_size", lambda: build(input_size=(3, None))),
        ("data_input", lambda: build(input_size=None, data_input=X)),
        ("data_input", lambda: build(input_size=None, data_input=keras.Input((2,)))),
        ("target_layer_sizes", lambda: kh.build(2, 3)),
        ("target_layer_sizes", lambda: build(target_layer_sizes=[3, 4])),
        ("target_layer_sizes", lambda: build(target_layer_sizes=[layers.Dense(4)])),
        ("target_layer_sizes", lambda: build(target_layer_sizes=plain())),
        ("hidden_activation", lambda: build(hidden_activation="swisch")),
        ("initialization", lambda: build(initialization="glorot_uniform")),
        ("hidden_size", lambda: build(hidden_size=[32])),
        ("num_conditions", lambda: build(num_conditions=3)),
        ("float7", lambda: build(dtype="float7")),
        ("conditioning", lambda: built()([Z[:, :1], X])),
        ("data_input", lambda: built()([Z, X[:, :2]])),
    ],
    "build_weight_generator": [
        ("conditioning", lambda: kh.build_weight_generator(2, 3, 4)),
        ("conditioning", lambda: kh.build_weight_generator([keras.Input((2,))], 3, 4)),
        ("conditioning", lambda: kh.build_weight_generator(keras.Input((2,), dtype="int32"), 3, 4)),
        ("target_in", lambda: kh.build_weight_generator(keras.Input((2,)), (3, 4), 4)),
    ],
    "condition_variables": [
        ("layer", lambda: kh.condition_variables(built(), 0)),
        ("layer", lambda: kh.condition_variables(kh.Hypernetwork, 0)),
        ("layer", lambda: kh.condition_variables(kh.Hypernetwork(generator(), 3), 0)),
        ("layer", lambda: kh.condition_variables(generator(), 0)),
        ("condition", lambda: kh.condition_variables(ids(), 3)),
        ("condition", lambda: kh.condition_variables(ids(), np.array([0]))),
    ],
    "convert_weights": [
        ("weights", lambda: kh.convert_weights("weights.h5", SPEC, "flat")),
        ("weights", lambda: kh.convert_weights({}, SPEC, "tensors")),
        ("weights", lambda: kh.convert_weights({"a/kernel": KERNELS}, SPEC, "flat")),
        ("weights", lambda: kh.convert_weights({**NAMED, "a/bias": FLAT}, SPEC, "flat")),
        ("weights", lambda: kh.convert_weights({**NAMED, "a/bias": BIASES[:1]}, SPEC, "flat")),
        ("weights", lambda: kh.convert_weights([], SPEC, "flat")),
        ("weights[0]", lambda: kh.convert_weights([FLAT], SPEC, "flat")),
        ("weights", lambda: kh.convert_weights(keras.Input((16,)), SPEC, "samples")),
        ("form", lambda: kh.convert_weights(FLAT, SPEC, dict)),
    ],
    "describe": [
        ("model", lambda: kh.describe("model.keras")),
        ("model", lambda: kh.describe(unbuilt())),
        ("model", lambda: kh.describe([built()])),
        ("model", lambda: kh.describe(kh.build)),
    ],
    "diagnose": [
        ("model", lambda: kh.diagnose("model.keras", VECTORS)),
        ("model", lambda: kh.diagnose(unbuilt(), VECTORS)),
        ("model", lambda: kh.diagnose(plain(), VECTORS)),
        ("conditioning", lambda: kh.diagnose(built(), None)),
        ("conditioning", lambda: kh.diagnose(built(), np.ones((4, 5)))),
        ("conditioning", lambda: kh.diagnose(built(), np.ones((0, 2)))),
        ("conditioning", lambda: kh.diagnose(built(), {"condition": VECTORS})),
        ("conditioning", lambda: kh.diagnose(built(), keras.Input((2,)))),
        ("conditioning", lambda: kh.diagnose(built(), np.ones((3, 2)), np.ones((4, 3)))),
        ("conditioning", lambda: kh.diagnose(learner(), "other")),
        ("conditioning", lambda: kh.diagnose(learner(), [7])),
        ("conditioning", lambda: kh.diagnose(learner(), VECTORS)),
        ("inputs", lambda: kh.diagnose(built(), VECTORS, np.ones((2, 4)))),
        ("inputs", lambda: kh.diagnose(built(), VECTORS, "data.npz")),
        ("inputs", lambda: kh.diagnose(built(), VECTORS, np.ones((0, 3)))),
        ("inputs", lambda: kh.diagnose(built(), VECTORS, [np.ones((2, 3)), np.ones((2, 3))])),
        ("inputs", lambda: kh.diagnose(built(), VECTORS, {"other": np.ones((2, 3))})),
        ("verbose", lambda: kh.diagnose(built(), VECTORS, verbose="yes")),
        ("verbose", lambda: kh.diagnose(built(), VECTORS, verbose=2)),
        ("y", lambda: kh.diagnose(built(), VECTORS, y=np.ones((2, 2)))),
        ("y", lambda: kh.diagnose(built(), VECTORS, np.ones((2, 3)), np.ones((3, 2)))),
        ("y", lambda: kh.diagnose(built(), VECTORS, np.ones((2, 3)), 1.0)),
    ],
    "plot": [
        ("model", lambda: kh.plot.weights(unbuilt(), VECTORS)),
        ("names", lambda: kh.plot.weights(built(), VECTORS, names="layer_0/kernel")),
        ("conditioning", lambda: kh.plot.weights(built(), np.ones((2, 7)))),
        ("diagnosis", lambda: kh.plot.overview({})),
        ("name", lambda: kh.plot.filters(built(), VECTORS, name=3)),
        ("inputs", lambda: kh.plot.interpolation(built(), VECTORS[:1], VECTORS[:1], "x")),
        ("steps", lambda: kh.plot.interpolation(built(), VECTORS[:1], VECTORS[:1], X, steps=1)),
        ("model", lambda: kh.plot.conditions("users")),
    ],
    "head_masks": [
        ("heads", lambda: kh.head_masks(SPEC, 2)),
        ("heads", lambda: kh.head_masks(SPEC, [[]])),
        ("heads", lambda: kh.head_masks(SPEC, [[0, 0], [1, 2]])),
        ("heads", lambda: kh.head_masks(SPEC, [[0.0], [1.0]])),
        ("spec", lambda: kh.head_masks(plain(), [[0], [1]])),
        ("spec", lambda: kh.head_masks({"a/bias": (4,)}, [[0], [1]])),
    ],
    "hypernetize": [
        ("model", lambda: hypernetized(model=DENSE)),
        ("model", lambda: hypernetized(model=unbuilt())),
        ("model", lambda: hypernetized(model=subclassed())),
        ("model", lambda: hypernetized(model=keras.Sequential)),
        ("conditioning_size", lambda: hypernetized(conditioning_size=[2])),
        ("generator", lambda: hypernetized(generator="weight_generator")),
        ("generator", lambda: hypernetized(generator=layers.Dense)),
        ("generator", lambda: hypernetized(generator=kh.HyperFanIn)),
        ("generator", lambda: hypernetized(generator=lambda: generator())),
        ("generator", lambda: hypernetized(generator=lambda spec: spec)),
        ("generator", lambda: hypernetized(generator=generator())),
        ("select", lambda: hypernetized(select="dense/kernel")),
        ("select", lambda: hypernetized(select=["*/kernels"])),
        ("select", lambda: hypernetized(select=[])),
        ("select", lambda: hypernetized(select=layers.Conv2D)),
        ("select", lambda: hypernetized(select=DENSE)),
        ("select", lambda: hypernetized(select=lambda: True)),
        ("select", lambda: hypernetized(select=lambda variable: None)),
        ("select", lambda: hypernetized(select=plain().variables)),
        ("mode", lambda: hypernetized(mode="lora")),
        ("rank", lambda: hypernetized(mode="low_rank", rank=9)),
        ("generate", lambda: hypernetized(mode="low_rank", rank=1, generate="down")),
        ("generate", lambda: hypernetized(generate="up")),
        ("alpha", lambda: hypernetized(mode="low_rank", rank=1, alpha=0)),
        ("alpha", lambda: hypernetized(mode="delta", alpha=2.0)),
        ("freeze", lambda: hypernetized(freeze=True)),
        ("freeze", lambda: hypernetized(mode="delta", freeze="backbone")),
        ("initialization", lambda: hypernetized(initialization={})),
    ],
    "initialize": [
        ("generator", lambda: kh.initialize(built(), "hyper_fan_in")),
        ("generator", lambda: kh.initialize(kh.WeightGenerator, "hyper_fan_in")),
        ("generator", lambda: kh.initialize(generator(), "hyper_fan_in")),
        ("initialization", lambda: kh.initialize(ids(), None)),
        ("initialization", lambda: kh.initialize(ids(), {})),
        ("initialization", lambda: kh.initialize(ids(), "he_normal")),
        ("initialization", lambda: kh.initialize(ids(), keras.initializers.HeNormal())),
        (
            "head_kernel_means",
            lambda: kh.initialize(ids(), kh.HyperFanIn(head_kernel_means={"b": 1})),
        ),
    ],
    "initialize_embeddings": [
        ("layer", lambda: drawn(layer=plain())),
        ("layer", lambda: drawn(layer=kh.Hypernetwork(generator(), 3))),
        ("layer", lambda: drawn(which="chunks")),
        ("which", lambda: drawn(which="condition")),
        ("mean", lambda: drawn(mean=[0.0, 1.0])),
        ("initializer", lambda: drawn(initializer=kh.HyperFanIn)),
        ("initializer", lambda: drawn(initializer=lambda: 1.0)),
        ("function", lambda: drawn(function="ones")),
        ("function", lambda: drawn(function=lambda: np.ones(2))),
        ("function", lambda: drawn(function=lambda i: None)),
        ("function", lambda: drawn(function=lambda i: np.ones(5))),
        ("function", lambda: drawn(function=lambda i: ["one", "two"])),
        ("function", lambda: drawn(function=lambda i: np.full(2, NAN))),
        ("function", lambda: drawn(function=layers.Embedding(3, 2))),
        ("conditions", lambda: drawn(conditions=[3])),
        ("conditions", lambda: drawn(conditions=["a"])),
    ],
    "load_condition": [
        ("target", lambda: load_condition(target=unbuilt())),
        ("target", lambda: load_condition(target=built())),
        ("target", lambda: load_condition(model=adapted(base=0.5))),
        ("model", lambda: load_condition(model=plain())),
        ("model", lambda: load_condition(model=None)),
        ("conditioning", lambda: load_condition(conditioning="user")),
        ("conditioning", lambda: load_condition(conditioning=Z[:0])),
        ("conditioning", lambda: load_condition(conditioning=keras.Input((2,)))),
        ("conditioning", lambda: load_condition(conditioning=Z[:1] * NAN)),
        ("conditioning", lambda: load_condition(conditioning=Z * NAN)),
    ],
    "load_generator": [
        ("path", lambda: load_generator("truncated.npz")),
        ("path", lambda: load_generator("damaged.npz")),
        ("path", lambda: load_generator("empty.npz")),
        ("path", lambda: load_generator("text.npz")),
        ("path", lambda: load_generator("other.npz")),
        ("path", lambda: load_generator("array.npy")),
        ("path", lambda: load_generator("built.keras")),
        ("path", lambda: load_generator("weights.h5")),
        ("path", lambda: load_generator("folder.npz")),
        ("path", lambda: load_generator("whole.npz/generator")),
        ("path", lambda: kh.load_generator(cases.built(3), folder() / "whole.npz")),
        ("path", lambda: kh.load_generator(adapted(base=0.0), folder() / "whole.npz")),
        ("model", lambda: kh.load_generator(unbuilt(), folder() / "whole.npz")),
    ],
    "output_regularizer": [
        ("hypernetwork", lambda: retention(hypernetwork=generator())),
        ("hypernetwork", lambda: retention(hypernetwork=kh.Hypernetwork(generator()))),
        ("ids", lambda: retention(ids=None)),
        ("ids", lambda: retention(ids=["x", "y", "z"])),
        ("ids", lambda: retention(ids=[[0, 1], [2]])),
        ("ids", lambda: retention(ids=[])),
        ("ids", lambda: retention(ids=[[0, 1, 2]])),
        ("condition_id", lambda: retention(ids=np.array([0, 1, 3]))),
        ("targets", lambda: retention(targets=None)),
        ("targets", lambda: retention(targets="copy")),
        ("targets", lambda: retention(targets=NAMED)),
        ("targets", lambda: retention(targets=np.ones((2, 16)))),
        ("targets", lambda: retention(targets=keras.Input((16,)))),
        ("frozen", lambda: retention(frozen={})),
        ("frozen", lambda: retention(targets=None, frozen=ids().get_weights())),
        ("frozen", lambda: retention(targets=None, frozen={"kernel": X})),
        ("frozen['conditional']", lambda: retention(targets=None, frozen={"conditional": "X"})),
        ("task_coefficients", lambda: retention(task_coefficients={"a": 1.0})),
        ("task_coefficients", lambda: retention(task_coefficients=0.5)),
        ("importance", lambda: retention(importance=np.ones(16))),
        ("importance", lambda: retention(importance="fisher")),
        ("mask", lambda: retention(mask=[[0, 1], [0]])),
        ("perturbation", lambda: retention(perturbation=[X])),
        ("perturbation", lambda: retention(perturbation={"kernel": X})),
        ("seed", lambda: retention(seed=np.random.default_rng(0))),
    ],
    "pack_weights": [
        ("tensors", lambda: kh.pack_weights(FLAT, SPEC)),
        ("tensors", lambda: kh.pack_weights([BIASES, KERNELS], SPEC)),
        ("tensors", lambda: kh.pack_weights({**NAMED, "a/gamma": X}, SPEC)),
        ("tensors", lambda: kh.pack_weights({**NAMED, "a/bias": "zeros"}, SPEC)),
        ("tensors", lambda: kh.pack_weights({**NAMED, "a/bias": BIASES[:1]}, SPEC)),
        ("spec", lambda: kh.pack_weights(NAMED, dense())),
    ],
    "perturb_unconditional": [
        ("layer", lambda: kh.perturb_unconditional(built(), [])),
        ("changes", lambda: kh.perturb_unconditional(ids(), 0.1)),
        ("changes", lambda: kh.perturb_unconditional(ids(), [])),
        ("changes", lambda: kh.perturb_unconditional(ids(), {"kernel": X})),
        ("changes", lambda: kh.perturb_unconditional(ids(), [X] * 4)),
        ("changes", lambda: kh.perturb_unconditional(ids(), [None] * 4)),
    ],
    "plan_chunks": [
        ("target", lambda: kh.plan_chunks("resnet", 0.5)),
        ("target", lambda: kh.plan_chunks(unbuilt(), 0.5)),
        ("target", lambda: kh.plan_chunks(layers.ReLU(), 0.5)),
        ("budget", lambda: kh.plan_chunks(SPEC, "50%")),
        ("budget", lambda: kh.plan_chunks(SPEC, -0.5)),
        ("budget", lambda: kh.plan_chunks(SPEC, 3)),
    ],
    "register_rule": [
        ("layer_class", lambda: kh.register_rule(layers.LSTM(4), Ruled)),
        ("layer_class", lambda: kh.register_rule(layers.Dense, Ruled)),
        ("layer_class", lambda: kh.register_rule(Ruled, layers.LSTM)),
        ("rule", lambda: kh.register_rule(layers.LSTM, layers.Dense)),
        ("rule", lambda: kh.register_rule(layers.LSTM, lambda layer, x, tensors: x)),
    ],
    "resnet_chunking": [
        ("model", lambda: kh.resnet_chunking(plain())),
        ("model", lambda: kh.resnet_chunking(SPEC)),
        ("model", lambda: kh.resnet_chunking(unbuilt())),
        ("model", lambda: kh.resnet_chunking(kh.targets.resnet)),
    ],
    "save_generator": [
        ("model", lambda: kh.save_generator(unbuilt(), folder() / "new.npz")),
        ("model", lambda: kh.save_generator(learner(), folder() / "new.npz")),
        ("model", lambda: kh.save_generator(ids(), folder() / "new.npz")),
        ("path", lambda: kh.save_generator(folder() / "new.npz", built())),
        ("path", lambda: kh.save_generator(built(), folder() / "folder.npz")),
        ("path", lambda: kh.save_generator(built(), folder() / "whole.npz" / "new.npz")),
        ("path", lambda: kh.save_generator(built(), b"new.npz")),
    ],
    "save_lora": [
        ("path", lambda: save_lora(path=folder() / "new.h5")),
        ("path", lambda: save_lora(path=folder() / "new.weights.h5")),
        ("path", lambda: save_lora(path=folder() / "whole.npz" / "new.lora.h5")),
        ("model", lambda: save_lora(model=plain())),
        ("model", lambda: save_lora(model=built())),
        ("conditioning", lambda: save_lora(conditioning=Z)),
        ("conditioning", lambda: save_lora(conditioning=Z[:1] * NAN)),
        ("conditioning", lambda: save_lora(conditioning=keras.Input((2,), batch_size=1))),
        ("backbone", lambda: save_lora(backbone="gemma")),
        ("backbone", lambda: save_lora(backbone=unbuilt())),
    ],
    "sine": [
        ("frequency", lambda: kh.sine(0.0)),
        ("frequency", lambda: kh.sine(X)),
        ("x", lambda: kh.sine()("x")),
    ],
    "specialize": [
        ("model", lambda: kh.specialize(plain(), Z[:1])),
        ("model", lambda: kh.specialize(ids(), IDS[:1])),
        ("conditioning", lambda: kh.specialize(built(), Z)),
        ("conditioning", lambda: kh.specialize(built(), Z[0])),
        ("conditioning", lambda: kh.specialize(built(), Z[:1, :1])),
        ("conditioning", lambda: kh.specialize(built(), [Z[:1], X[:1]])),
        ("conditioning", lambda: kh.specialize(built(), {"condition": Z[:1]})),
        ("conditioning", lambda: kh.specialize(built(), {"conditioning": None})),
        ("conditioning", lambda: kh.specialize(built(), Z[:1] * NAN)),
        ("conditioning", lambda: kh.specialize(built(), keras.Input((2,), batch_size=1))),
    ],
    "split_weights": [
        ("weights", lambda: kh.split_weights(FLAT[0], SPEC)),
        ("weights", lambda: kh.split_weights(NAMED, SPEC)),
        ("basis", lambda: kh.split_weights({"features": X, "basis": X, "offset": X[0]}, SPEC)),
        (
            "features",
            lambda: kh.split_weights({"features": X, "basis": FLAT, "offset": FLAT[0]}, SPEC),
        ),
        ("spec", lambda: kh.split_weights(FLAT, 16)),
    ],
    "tabulate": [
        ("model", lambda: kh.tabulate(generator(), Z)),
        ("conditioning", lambda: kh.tabulate(built(), Z[:0])),
        ("conditioning", lambda: kh.tabulate(built(), Z.astype(str))),
        ("conditioning", lambda: kh.tabulate(built(), {"conditioning": [[1.0], [2.0, 3.0]]})),
        ("conditioning", lambda: kh.tabulate(built(), keras.Input((2,)))),
        ("conditioning", lambda: kh.tabulate(built(), Z * NAN)),
    ],
    "target_weights": [
        ("model", lambda: kh.target_weights(unbuilt(), Z)),
        ("conditioning", lambda: kh.target_weights(built(), {"z": Z})),
        ("conditioning", lambda: kh.target_weights(built(), keras.Input((2,)))),
        ("conditioning", lambda: kh.target_weights(tasks_by_id(), np.array([0.5]))),
        ("condition_id", lambda: kh.target_weights(tasks_by_id(), np.array([2]))),
    ],
    "targets": [
        ("filters", lambda: kh.targets.resnet(n=1, filters=16)),
        ("filters", lambda: kh.targets.resnet(n=1, filters=(16, 16, 32))),
        ("input_shape", lambda: kh.targets.resnet(n=1, input_shape=(32, 32))),
        ("input_shape", lambda: kh.targets.wide_resnet(n=1, k=1, input_shape=(None, 32, 32, 3))),
        ("normalization", lambda: kh.targets.resnet(n=1, normalization="bacth")),
        ("num_classes", lambda: kh.targets.wide_resnet(n=1, k=1, num_classes=["cat", "dog"])),
    ],
    "wide_resnet_chunking": [
        ("model", lambda: kh.wide_resnet_chunking(network("resnet"))),
        ("model", lambda: kh.wide_resnet_chunking(layers.Dense)),
    ],
    "with_conditions": [
        ("model", lambda: kh.with_conditions(plain(), 6)),
        ("model", lambda: kh.with_conditions(ids(), 6)),
        ("num_conditions", lambda: kh.with_conditions(two_tables(), 3)),
        ("num_conditions", lambda: kh.with_conditions(two_tables(), {"users": 6})),
        ("start", lambda: kh.with_conditions(two_tables(), 6, start="zeros")),
        ("layers", lambda: kh.with_conditions(two_tables(), 6, layers="users")),
        ("layers", lambda: kh.with_conditions(two_tables(), 6, layers=["user"])),
        ("layers", lambda: kh.with_conditions(two_tables(), 6, layers=[["users"]])),
        ("layers", lambda: kh.with_conditions(two_tables(), 6, layers=[two_tables().layers[1]])),
        ("layers", lambda: kh.with_conditions(two_tables(), 6, layers=["last"])),
    ],
}
CALLS = [(name, i) for name, calls in BAD.items() for i in range(len(calls))]


def test_every_name_has_mistakes():
    assert sorted(BAD) == PUBLIC
    assert all(len(calls) > 1 for calls in BAD.values())
    assert len(CALLS) >= 200


@pytest.mark.parametrize(("name", "i"), CALLS)
def test_a_mistake_is_refused_by_name_and_changes_nothing(name, i):
    argument, call = BAD[name][i]
    before = kept.pop() if kept else state()
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    message, marks = str(error.value), ("`", "'", *[""] * (" " in argument))
    assert any(f"{quote}{argument}" in message for quote in marks), message
    kept.append(state())
    assert kept[0] == before
