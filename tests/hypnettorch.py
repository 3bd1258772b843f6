"""Layers of ours with the parameters that hypnettorch recorded (`vectors`, in torch layout)."""

import dataclasses
import json
import pathlib

import keras
import numpy as np
from keras import ops

import keras_hypernet as kh

VECTORS = pathlib.Path(__file__).parent / "vectors"
INPUTS = {
    "uncond_input": "noise",
    "cond_input": "condition",
    "weights.chunk_embs": "chunk_embeddings",
}


class Recording:
    """One file: what a network of hypnettorch was made with, was given, and returned.

    `assembly` is that of a structured network, `(names of pieces by chunk, args) -> entries`.
    """

    def __init__(self, name, assembly=None):
        self.assembly = assembly
        with np.load(VECTORS / f"{name}.npz") as stored:
            self.arrays = dict(stored)
        self.config = json.loads(str(self.arrays.pop("config")))
        self.args = self.config.get("args", self.config)
        self.calls = self.config.get("calls") or [{"cond_id": self.config["cond_id"]}]
        self.training = self.config.get("training", False)

    def group(self, start):
        """Arrays by the rest of their names."""
        arrays = self.arrays.items()
        return {name.removeprefix(start): x for name, x in arrays if name.startswith(start)}

    def conditioning(self, k):
        """Inputs of call k, as we name them; an id alone is a batch of one."""
        given, call = self.group(f"call{k}.in."), self.calls[k]
        given = {INPUTS[name]: array for name, array in given.items()}
        if "cond_id" in call:
            given["condition_id"] = np.atleast_1d(np.int32(call["cond_id"]))
        if "condition" in call:  # upstream: only which set of statistics
            given["statistics"] = np.full(call["batch_size"], call["condition"], "int32")
        return given

    def outputs(self, k):
        """Flat weights of call k, in float64 where the call was repeated in it."""
        flat = self.arrays[f"call{k}.out.flat"]
        return self.arrays.get(f"call{k}.out.flat_f64", flat)

    def statistics(self, k):
        """Running statistics before call k: in training, those that the call before left."""
        after = f"call{k - 1}.out.stat_after."
        return self.group(after if self.training and k else "stat.")


@dataclasses.dataclass
class Place:
    """Where a parameter is in ours: in a part of a variable, `axes` its own in our order."""

    variable: keras.Variable
    part: object = ...
    axes: tuple = None

    def put(self, value):
        if self.axes is not None:
            value = value.transpose(self.axes)
        whole = ops.convert_to_numpy(self.variable).copy()
        whole[self.part] = value.reshape(whole[self.part].shape)
        self.variable.assign(whole)

    def get(self, whole, shape):
        """From an array like the variable (its gradient), the part like the parameter."""
        part = whole[self.part]
        if self.axes is None:
            return part.reshape(shape)
        part = part.reshape([shape[axis] for axis in self.axes])
        return part.transpose(np.argsort(self.axes))


def load(recording, k):
    """Our layer as upstream's was before call k, and `{parameter: Place}`."""
    cls = recording.config["cls"].partition("+")[0].partition(" ")[0]
    layer, places = CLASSES[cls](recording, recording.conditioning(0))
    for parameter, value in {**recording.group("param."), **recording.statistics(k)}.items():
        places[parameter].put(value)
    placed = {id(place.variable) for place in places.values()}
    assert not [v.path for v in layer.trainable_variables if id(v) not in placed]
    return layer, places


class ChosenStatistics(keras.layers.Layer):
    """A generator whose statistics are chosen apart from the embedding of the condition."""

    def __init__(self, embedding, generator):
        super().__init__()
        self.embedding = embedding
        self.generator = generator

    def call(self, conditioning):
        condition = self.embedding(conditioning["condition_id"])
        ids = conditioning["statistics"]
        return self.generator({"condition": condition, "condition_id": ids})


# From arguments of hypnettorch to ours.


def spec_of(shapes):
    return kh.WeightSpec.from_shapes(shapes, layout="torch")


def named(shapes, letter="t"):
    return {f"{letter}{i}": shape for i, shape in enumerate(shapes)}


def as_recorded(hidden_sizes):
    """No start of ours: parameters are put in, and all of a weight is made from them."""
    scale = {"feature_scale": 1.0} if hidden_sizes else {}
    return {"hidden_sizes": hidden_sizes, "initialization": None, **scale}


def options_of(args):
    return {
        **as_recorded(args["layers"]),
        "activation": args.get("activation_fn", "relu"),
        "use_bias": args.get("use_bias", True),
    }


def hypernetwork(generator, args):
    return kh.Hypernetwork(
        generator,
        num_conditions=args["num_cond_embs"] or None,
        embedding_size=args.get("cond_in_size", 0),
        noise_size=args.get("uncond_in_size", 0),
    )


# From names of parameters to ours.


def of_dense(layer, weight, bias):
    places = {weight: Place(layer.kernel, axes=(1, 0))}
    return {**places, bias: Place(layer.bias)} if layer.use_bias else places


def of_embedding(embedding, start=""):
    if embedding is None:
        return {}
    table = embedding.table.embeddings
    return {f"{start}cond_emb_{i}": Place(table, i) for i in range(table.shape[0])}


def of_chunks(chunks, start=""):
    if chunks.embeddings is None:
        return {}
    if chunks.chunk_embeddings == "shared":
        return {f"{start}chunk_emb": Place(chunks.embeddings)}
    conditions = range(chunks.num_conditions)
    return {f"{start}chunk_emb_cond{c}": Place(chunks.embeddings, c) for c in conditions}


def of_perceptron(generator, start=""):
    places = of_dense(generator.head, f"{start}out_weight", f"{start}out_bias")
    for i, layer in enumerate(generator.trunk):
        places |= of_dense(layer.dense, f"{start}fc_weight_{i}", f"{start}fc_bias_{i}")
        if layer.batch_normalization is not None:
            places |= of_normalization(layer.batch_normalization, i, generator.num_conditions)
    return places


def of_normalization(layer, i, sets):
    places = {f"bn_scale_{i}": Place(layer.gamma), f"bn_shift_{i}": Place(layer.beta)}
    for t in range(sets or 1):
        part = t if sets else ...
        places[f"bn_mean_{i}_ckpt{t}"] = Place(layer.moving_mean, part)
        places[f"bn_var_{i}_ckpt{t}"] = Place(layer.moving_variance, part)
    return places


def of_deconv(generator):
    places = {"fc_weight": Place(generator.first.kernel, axes=(1, 0))}
    places["fc_bias"] = Place(generator.first.bias)
    attentions = [generator.dense_attention]
    for i, layer in enumerate(generator.convs):
        places[f"tconv_weight_{i}"] = Place(layer.conv.kernel, axes=(2, 3, 1, 0))
        places[f"tconv_bias_{i}"] = Place(layer.conv.bias)
        attentions.append(layer.attention)
    for s, attention in enumerate(a for a in attentions if a is not None):
        places |= of_attention(attention, f"sa{s}.")
    return places


def of_attention(layer, start):
    places = {f"{start}gamma": Place(layer.gamma)}
    for name in ("query", "key", "value"):
        dense = getattr(layer, name)
        places[f"{start}{name}_weight"] = Place(dense.kernel, axes=(2, 3, 1, 0))
        places[f"{start}{name}_bias"] = Place(dense.bias)
    return places


def of_plain(plain, start, row):
    """Plain tensors lie one after another in a row of a table."""
    return {
        f"{start}_{i}": Place(plain.table, (row, slice(t.offset, t.offset + t.size)))
        for i, t in enumerate(plain.spec)
    }


# The classes: a recording and inputs to build with -> our layer, `{parameter: Place}`.


def hmlp(recording, inputs):
    args, sets = recording.args, len(recording.group("stat.bn_mean_0_ckpt"))
    generator = kh.WeightGenerator(
        spec_of(args["target_shapes"]),
        batch_normalization=sets > 0,
        momentum=0.9,
        epsilon=1e-5,
        num_conditions=sets if sets > 1 else None,
        **options_of(args),
    )
    if sets > 1:
        embedding = kh.ConditionEmbedding(args["num_cond_embs"], args["cond_in_size"])
        layer = ChosenStatistics(embedding, generator)
    else:
        layer = hypernetwork(generator, args)
    layer(inputs)
    return layer, {**of_embedding(layer.embedding), **of_perceptron(generator)}


def chunked_hmlp(recording, inputs):
    args = recording.args
    generator = kh.ChunkedWeightGenerator(
        spec_of(args["target_shapes"]),
        args["chunk_size"],
        args["chunk_emb_size"],
        output_first=False,
        **chunk_embeddings_of(args),
        **options_of(args),
    )
    layer, chunks = hypernetwork(generator, args), generator.chunks
    layer(inputs)
    perceptron = of_perceptron(chunks.generator)
    return layer, {**of_embedding(layer.embedding), **perceptron, **of_chunks(chunks)}


def chunk_embeddings_of(args):
    if not args["cond_chunk_embs"]:
        return {"chunk_embeddings": "shared"}
    return {"chunk_embeddings": "conditional", "num_conditions": args["num_cond_embs"]}


def structured_hmlp(recording, inputs):
    args = recording.args
    generator = kh.StructuredWeightGenerator(
        plan_of(recording), **chunk_embeddings_of(args), **options_of(args["hmlp_kwargs"])
    )
    layer = hypernetwork(generator, args)
    layer(inputs)
    places = of_embedding(layer.embedding, "h0.")  # owned by the first network inside
    for kind in generator.plan.kinds:
        chunks = generator.kind(kind)
        places |= of_perceptron(chunks.generator, f"{kind}.") | of_chunks(chunks, f"{kind}.")
    return layer, places


def plan_of(recording):
    args = recording.args
    shapes, sizes = args["chunk_shapes"], args["chunk_emb_sizes"]
    sizes = [sizes] * len(shapes) if isinstance(sizes, int) else sizes
    kinds, chunks = {}, []
    for i, number in enumerate(args["num_per_chunk"]):
        kind = {"shapes": named(shapes[i]), "number": number, "embedding_size": sizes[i]}
        kinds[f"h{i}"] = kind
        chunks += [[f"h{i}/{j}/{t}" for t in named(shapes[i])] for j in range(number)]
    spec = spec_of(args["target_shapes"])
    entries = recording.assembly(chunks, args)
    return kh.ChunkPlan(spec, kinds, dict(zip(spec.names, entries, strict=True)))


def container(recording, inputs):
    args = recording.args
    generators, hnets = {}, args.get("hnets", [])
    for i, hnet in enumerate(hnets):
        generators[f"c{i}"] = kh.WeightGenerator(named(hnet["target_shapes"]), **options_of(hnet))
    spec = spec_of(args["target_shapes"])
    pieces = {
        "[u0,c0,c1,u1]": ["u0", "k0", "k1", "u1"],
        "hnet0 tensors + uncond tensors + cond tensors": ["c0/t0", "c0/t1", "u0", "u1", "k0"],
    }[args["assembly"]]
    generator = kh.ComposedWeightGenerator(
        spec,
        generators,
        shared=named(args["uncond_param_shapes"], "u"),
        conditional=named(args["cond_param_shapes"], "k"),
        num_conditions=args["num_cond_embs"],
        assembly=dict(zip(spec.names, pieces, strict=True)),
    )
    sizes = {"cond_in_size": hnets[0]["cond_in_size"]} if hnets else {}
    layer = hypernetwork(generator, {**args, **sizes})
    layer(inputs)
    places = of_embedding(layer.embedding, "c0.")
    for part, inside in generators.items():
        places |= of_perceptron(inside, f"{part}.")
    places |= of_plain(generator.plain["shared"], "plain_uncond", 0)
    for c in range(args["num_cond_embs"]):
        places |= of_plain(generator.plain["conditional"], f"plain_cond{c}", c)
    return layer, places


def perturb_wrapper(recording, inputs):
    args, hnet = recording.args, recording.args["hnet"]
    generator = kh.WeightGenerator(spec_of(hnet["target_shapes"]), **options_of(hnet))
    layer = kh.PerturbedWeightGenerator(
        generator, noise_size=args["hnet_uncond_in_size"], sigma=args["sigma_noise"]
    )
    layer(inputs)
    return layer, of_perceptron(generator)


def chunked_deconv(recording, inputs):
    args = recording.args
    generator = kh.ChunkedDeconvWeightGenerator(
        spec_of(args["target_shapes"]),
        args["hyper_img_shape"],
        args["num_filters"],
        args["kernel_size"],
        args["sa_units"],
        args["ce_dim"],
        initialization=None,
    )
    conditions = len(recording.group("param.cond_emb_"))
    layer, chunks = kh.Hypernetwork(generator, conditions, args["te_dim"]), generator.chunks
    layer(inputs)
    deconv = of_deconv(chunks.generator)
    return layer, {**of_embedding(layer.embedding), **deconv, **of_chunks(chunks)}


CLASSES = {
    "HMLP": hmlp,
    "ChunkedHMLP": chunked_hmlp,
    "StructuredHMLP": structured_hmlp,
    "HContainer": container,
    "HPerturbWrapper": perturb_wrapper,
    "hypercl": chunked_deconv,
}
