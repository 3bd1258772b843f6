"""Random generators, each with inputs for it."""

import itertools
import math

import keras
import numpy as np

import keras_hypernet as kh
from keras_hypernet.utils import keras_internals
from tests.fuzz import Case, as_numpy, assert_close, call, functional

CONDITIONS = 3
BIAS = "bias_hyper_init"
INITIALIZATIONS = ["hyper_fan_in", "hyper_fan_out", "hyper_fan_harmonic", BIAS]
REGULARIZED = {"kernel_regularizer": ["l2"], "bias_regularizer": ["l1"]}

PERCEPTRON = {
    "hidden_sizes": [(), (4,), (5, 3)],
    "activation": ["relu", "tanh", None, "gelu", keras.activations.softplus],
    "use_bias": [False],
    "dropout": [0.3],
    "batch_normalization": [True],
    "momentum": [0.5],
    "epsilon": [0.1],
    "spectral_normalization": [True],
    "kernel_initializer": ["he_normal", keras.initializers.HeNormal()],
    "bias_initializer": ["ones", keras.initializers.RandomNormal(stddev=0.5)],
    "head_kernel_initializer": ["glorot_uniform", keras.initializers.RandomUniform(-1, 1)],
    "head_bias_initializer": ["ones"],
    "head_kernel_regularizer": ["l1", keras.regularizers.L1L2(1e-3, 1e-3)],
    "seed": [3],
    "feature_scale": [1.0, 0.3],
    **REGULARIZED,
}
# Of hidden layers.
OF_HIDDEN = ("dropout", "batch_normalization", "spectral_normalization", "feature_scale")
OF_TRUNK = ("activation", "dropout", "feature_scale", "seed")
IMAGE = {
    "activation": ["tanh", None],
    "use_bias": [False],
    "batch_normalization": [True],
    "momentum": [0.5],
    "kernel_initializer": ["he_normal"],
    **REGULARIZED,
}
EMBEDDINGS = {
    "embeddings_initializer": ["zeros", keras.initializers.RandomUniform(-1, 1)],
    "embeddings_regularizer": ["l2"],
}
CHUNK_EMBEDDINGS = {f"chunk_{name}": values for name, values in EMBEDDINGS.items()}
# Not float64, which Keras itself computes in float32 on JAX and, without biases, on PyTorch.
POLICIES = ["float32"] * 7 + ["mixed_bfloat16", "bfloat16"]
TOLERANCES = {"mixed_bfloat16": 0.1, "bfloat16": 0.1}

NAMED = {
    "dense/kernel": (3, 2),
    "dense/bias": (2,),
    "norm/gamma": (4,),
    "norm/beta": (4,),
    "table/embeddings": (5, 2),
    "conv/kernel": (2, 2, 1, 3),
    "conv/bias": (3,),
    "gate/alpha": (3, 1),
    "one/bias": (1,),
}


def spec_of(draw):
    """A random `WeightSpec`, or what makes one."""
    kind = draw.named("spec", ["shapes", "names", "layer sizes", "layer", "blocks"])
    if kind == "names":
        chosen = [name for name in NAMED if draw.chance(0.5)] or ["dense/kernel"]
        return {name: NAMED[name] for name in chosen}
    if kind == "blocks":
        shapes = {"query.down": (3, 2), "query.up": (2, 4), "dense_1/bias": (2,)}
        chosen = [name for name in shapes if draw.chance(0.7)] or ["query.down"]
        return {f"block_{i}/{n}": shapes[n] for i in range(draw.integer(1, 3)) for n in chosen}
    if kind == "layer sizes":
        return kh.WeightSpec.from_layer_sizes(layer_sizes(draw))
    if kind == "layer":
        make, shape = draw.pick(
            [
                (lambda: keras.layers.Dense(3), (None, 4)),
                (lambda: keras.layers.Conv1D(3, 2, use_bias=False), (None, 5, 2)),
                (lambda: keras.layers.BatchNormalization(), (None, 4)),
                (lambda: keras.layers.LSTM(2), (None, 5, 2)),
                (lambda: keras.layers.SeparableConv2D(3, 2), (None, 5, 5, 2)),
            ]
        )
        layer = make()
        layer.build(shape)
        return kh.WeightSpec.from_layer(layer)
    shapes = []
    for _ in range(draw.integer(1, 3)):
        shapes.append(tuple(draw.integer(1, 4) for _ in range(draw.integer(2, 4))))
        if draw.chance(0.7):
            shapes.append(shapes[-1][-1:])
    return shapes


def layer_sizes(draw, first=None):
    sizes = [first or draw.integer(1, 4), *(draw.integer(1, 5) for _ in range(draw.integer(1, 3)))]
    draw.note(sizes=sizes)
    return list(itertools.pairwise(sizes))


def perceptron(draw, **given):
    """Arguments of a perceptron, of which an initialization and others exclude each other."""
    found = {"hidden_sizes": (4,), **draw.options(PERCEPTRON, 0.15), **given}
    if not found["hidden_sizes"]:
        found = {name: value for name, value in found.items() if name not in OF_HIDDEN}
    fans = found.keys().isdisjoint({"use_bias", "batch_normalization"})
    if draw.chance(0.4):
        starts = [None, BIAS, kh.BiasHyperInit(seed=3), *(INITIALIZATIONS if fans else [])]
        found["initialization"] = draw.named("initialization", starts)
    return found


def vectors(draw, rows, noise=True):
    kinds = [("condition",)] * 3 + [("noise",), ("noise", "condition")] * noise
    names = draw.named("vectors", kinds)
    return {name: draw.floats(rows, draw.integer(1, 5)) for name in names}


def ids(draw, rows):
    return draw.rng.integers(CONDITIONS, size=rows).astype("int32")


# `(draw, spec, rows, options of the layer) -> (generator, {input: array})`.


def weight(draw, spec, rows, **layer):
    options = perceptron(draw)
    given = vectors(draw, rows)
    if options.get("batch_normalization") and draw.chance(0.3):
        options["num_conditions"] = CONDITIONS
        given["condition_id"] = ids(draw, rows)
    return kh.WeightGenerator(spec, **options, **layer), given


def chunk_options(draw, rows):
    """Where chunk embeddings come from, and the inputs beside the embeddings."""
    mode = draw.named("chunk_embeddings", ["shared", "conditional", "given"])
    drawn = draw.options(CHUNK_EMBEDDINGS)
    options = {"chunk_embeddings": mode, **({} if mode == "given" else drawn)}
    given = vectors(draw, rows) if draw.chance(0.7) or mode == "shared" else {}
    if mode == "conditional":
        options["num_conditions"] = CONDITIONS
        options |= draw.options({"unknown": ["mean"]})
        given["condition_id"] = ids(draw, rows)
    return options, given


def is_based(options):
    """Whether a start needs nothing of its generator."""
    start = options.get("initialization")
    return start is None or start == BIAS or isinstance(start, kh.BiasHyperInit)


def without_initialization(options, perceptron):
    """Hyperfan cannot initialize embeddings that are given."""
    if options["chunk_embeddings"] == "given" and not is_based(perceptron):
        perceptron.pop("initialization")
    return {**perceptron, **options}


def chunked(draw, spec, rows, **layer):
    if draw.chance(0.3):
        return chunks_of_any(draw, spec, rows, **layer)
    total = kh.WeightSpec.of(spec).total
    size = draw.named("chunk_size", [1, max(1, total // 3), max(1, total - 1), total])
    options, given = chunk_options(draw, rows)
    options = without_initialization(options, perceptron(draw))
    if draw.chance(0.3):
        options["output_first"] = False
    width = draw.integer(1, 4)
    generator = kh.ChunkedWeightGenerator(spec, size, width, **options, **layer)
    if options["chunk_embeddings"] == "given":
        given["chunk_embeddings"] = draw.floats(rows, generator.num_chunks, width)
    return generator, given


def chunks_of_any(draw, spec, rows, **layer):
    """Each chunk from one of the other generators."""
    size = draw.integer(1, kh.WeightSpec.of(spec).total)
    draw.note(chunk_size=size)
    kind = draw.pick([kind for kind in SIMPLE if kind is not structured])
    generator, _ = kind(draw, [(size,)], rows, **layer)
    while "chunk_embeddings" in generator.accepted_inputs and generator.chunk_embeddings == "given":
        generator, _ = kind(draw, [(size,)], rows, **layer)
    options, given = chunk_options(draw, rows)
    if generator.num_conditions is not None:
        given["condition_id"] = given.get("condition_id", ids(draw, rows))
    options["initialization"] = draw.named("initialization", [None, BIAS])
    outer = kh.ChunkedWeightGenerator(spec, size, 2, generator=generator, **options, **layer)
    if options["chunk_embeddings"] == "given":
        given["chunk_embeddings"] = draw.floats(rows, outer.num_chunks, 2)
    return outer, given


def structured(draw, spec, rows, **layer):
    options, given = chunk_options(draw, rows)
    perceptrons = perceptron(draw, use_bias=True)
    if not is_based(perceptrons):
        perceptrons.pop("initialization")
    budget = draw.named("budget", [1.0, 0.5, 10**6])
    arguments = {"hidden_sizes": perceptrons["hidden_sizes"]}
    arguments["embedding_size"] = draw.pick([None, 1, 3])
    spec = kh.WeightSpec.of(spec)
    try:
        plan = kh.plan_chunks(spec, budget, **arguments)
    except ValueError as error:  # it says the least one
        least = int(str(error).partition("at least ")[2].partition(",")[0])
        plan = kh.plan_chunks(spec, least, **arguments)
    if draw.chance(0.3):
        kind = draw.pick(list(plan.kinds))
        options["kinds"] = {kind: {"hidden_sizes": (3,), "activation": "tanh"}}
    generator = kh.StructuredWeightGenerator(plan, **options, **perceptrons, **layer)
    if options["chunk_embeddings"] == "given":
        for name, kind in plan.kinds.items():
            if kind.embedding_size:
                shape = (rows, kind.number, kind.embedding_size)
                given[f"chunk_embeddings/{name}"] = draw.floats(*shape)
    return generator, given


def layerwise(draw, spec, rows, **layer):
    options = {
        "hidden_sizes": draw.named("hidden_sizes", [(4,), (5, 3)]),
        "heads": draw.named("heads", ["kind", "factor"]),
        **draw.options({"embedding_size": [1, 3], "initialization": [None, "hyper_fan_in"]}),
        **{name: value for name, value in draw.options(PERCEPTRON).items() if name in OF_TRUNK},
        **draw.options(EMBEDDINGS),
    }
    return kh.LayerwiseWeightGenerator(spec, **options, **layer), vectors(draw, rows)


def image_options(draw):
    filters = draw.named("filters", [[2], [3, 2], [8, 8]])
    attention = draw.named("attention", [(), "auto", [1]]) if filters == [8, 8] else ()
    sizes = draw.named("kernel_size", [3, 5, (3, 4), [4] * len(filters)])
    return {
        "filters": filters,
        "kernel_size": sizes,
        "attention": attention,
        **draw.options(IMAGE, 0.2),
    }


def deconv(draw, spec, rows, **layer):
    total = kh.WeightSpec.of(spec).total
    channels = draw.integer(1, 2)
    width = math.ceil(math.sqrt(total / channels))
    height = math.ceil(total / channels / width) + draw.integer(0, 1)
    shape = (width, height, channels) if channels > 1 else (width, height)
    draw.note(image_shape=shape)
    return kh.DeconvWeightGenerator(spec, shape, **image_options(draw), **layer), vectors(
        draw, rows
    )


def chunked_deconv(draw, spec, rows, **layer):
    total = kh.WeightSpec.of(spec).total
    width = draw.integer(1, max(1, math.isqrt(total)))
    shape = (width, draw.integer(1, max(1, total // width)))
    draw.note(image_shape=shape)
    options, given = chunk_options(draw, rows)
    size = draw.integer(1, 3)
    generator = kh.ChunkedDeconvWeightGenerator(
        spec, shape, chunk_embedding_size=size, **options, **image_options(draw), **layer
    )
    if options["chunk_embeddings"] == "given":
        given["chunk_embeddings"] = draw.floats(rows, generator.num_chunks, size)
    return generator, given


SIMPLE = [weight, weight, chunked, chunked, structured, layerwise, deconv, chunked_deconv]


def composed(draw, spec, rows, **layer):
    """Each tensor from one of some parts, shared, or of each condition."""
    spec = kh.WeightSpec.of(spec)
    places = ["first", "second", "shared", "conditional"]
    tensors = {place: {} for place in places}
    for tensor in spec:
        tensors[draw.pick(places)][tensor.name] = tensor.shape
    generators, given, own = {}, {}, {}
    for part in places[:2]:
        if tensors[part]:
            generators[part], inputs = draw.pick(SIMPLE)(draw, tensors[part], rows, **layer)
            if set(inputs) == {"condition"} and draw.chance(0.3):  # vectors of its own
                size = inputs["condition"].shape[1]
                generators[part] = kh.Hypernetwork(generators[part], CONDITIONS, size, **layer)
                inputs = {"condition_id": ids(draw, rows)}
                draw.note(part=part, vectors=size)
            for name, array in inputs.items():
                key = name if name in ("noise", "condition", "condition_id") else f"{part}/{name}"
                if key not in given:
                    given[key] = array
            own[part] = [name for name in ("noise", "condition") if name in inputs]
    given = given or vectors(draw, rows)
    # Parts that another one's vectors are not for.
    inputs = {
        part: names for part, names in own.items() if names != ["condition"] or "noise" in given
    }
    options = {part: tensors[part] or None for part in ("shared", "conditional")}
    if options["conditional"]:
        options["num_conditions"] = CONDITIONS
        given["condition_id"] = given.get("condition_id", ids(draw, rows))
    plain = [part for part in ("shared", "conditional") if options[part]]
    options |= draw.options({f"{part}_regularizer": ["l2", "l1"] for part in plain})
    if plain:
        options |= draw.options({"initializers": [{"kernel": "he_normal", "bias": "ones"}]})
    draw.note(places={place: list(names) for place, names in tensors.items()})
    return (
        kh.ComposedWeightGenerator(spec, generators, part_inputs=inputs, **options, **layer),
        given,
    )


def inside(draw, spec, rows, **layer):
    return draw.pick([*SIMPLE, composed])(draw, spec, rows, **layer)


def perturbed(draw, spec, rows, **layer):
    spec = kh.WeightSpec.of(spec)
    generator, given = inside(draw, spec, rows, **layer)
    options = draw.options({"sigma": [0.0, 0.3], "when": ["training"], "seed": [1]}, 0.5)
    noise = given.pop("noise", None)
    if noise is not None:
        width = noise.shape[1]
        if width <= spec.total and draw.chance(0.5):
            options["noise_size"] = draw.named("noise_size", [width])
        else:
            options["input_layer"] = keras.layers.Dense(width, dtype=layer.get("dtype"))
            draw.note(input_layer="dense")
    if draw.chance(0.2):
        options.pop("sigma", None)  # says the same
        options["output_layer"] = keras.layers.Add(dtype=layer.get("dtype"))
        draw.note(output_layer="add")
    if draw.chance(0.7) or not given:
        draw.note(noise="given")
        given["noise"] = draw.floats(rows, spec.total)
    return kh.PerturbedWeightGenerator(generator, **options, **layer), given


def hypernetwork(draw, spec, rows, **layer):
    generator, given = draw.pick([inside, perturbed])(draw, spec, rows, **layer)
    options = draw.options(EMBEDDINGS)
    if "noise" in given:
        options["noise_size"] = given["noise"].shape[1]
    size = given["condition"].shape[1] if "condition" in given else 0
    options["embedding_size"] = size
    if size and (generator.num_conditions or draw.chance(0.7)):
        options["num_conditions"] = generator.num_conditions or CONDITIONS
        if not generator.ids_beside_vectors or draw.chance(0.5):
            del given["condition"]
        given.setdefault("condition_id", ids(draw, rows))
    if "num_conditions" not in options:  # there are no vectors of conditions
        options = {name: value for name, value in options.items() if name not in EMBEDDINGS}
        if generator.num_conditions is None:
            del options["embedding_size"]
    elif "noise" not in given:
        options |= draw.options({"once_per_condition": [True, "auto"]})
    return kh.Hypernetwork(generator, **options, **layer), given


def task_weights(draw, spec, rows, **layer):
    """Its weights are factored."""
    for _ in range(50):
        generator, given = draw.pick(SIMPLE)(draw, spec, rows, **layer)
        if given.keys() <= {"condition", "condition_id"} and "condition" in given:
            break
    else:
        return weight(draw, spec, rows, **layer)
    size = given["condition"].shape[1]
    options = {"embedding_size": size, **draw.options(EMBEDDINGS)}
    given = {"condition_id": ids(draw, rows)}
    once = draw.named("once_per_condition", ["TaskWeights", True, "auto"])
    if once == "TaskWeights":
        return kh.TaskWeights(generator, CONDITIONS, **options, **layer), given
    options |= {"once_per_condition": once, "factored": True}
    return kh.Hypernetwork(generator, CONDITIONS, **options, **layer), given


GENERATORS = {
    "weight": weight,
    "chunked": chunked,
    "structured": structured,
    "layerwise": layerwise,
    "deconv": deconv,
    "chunked deconv": chunked_deconv,
    "composed": composed,
    "perturbed": perturbed,
    "hypernetwork": hypernetwork,
}


class Made:
    """A random generator, its inputs, and Keras Inputs for them.

    `random` says whether noise is drawn inside.
    """

    def __init__(self, draw, spec, rows, factored=False, **layer):
        kinds = {**GENERATORS, "task weights": task_weights} if factored else GENERATORS
        kind = draw.named("generator", list(kinds))
        if "dtype" not in layer:
            layer["dtype"] = draw.named("dtype", POLICIES)
        self.tolerance = TOLERANCES.get(layer["dtype"], 1e-4)
        self.generator, self.given = kinds[kind](draw, spec, rows, **layer)
        draws = [
            x
            for x in keras_internals.layers_in(self.generator)
            if isinstance(x, kh.PerturbedWeightGenerator)
        ]
        self.random = bool(draws) and not any(name == "noise" for name in self.given)
        if len(self.given) > 1 and draw.chance(0.3):
            alone = draw.named("one_row", list(self.given))
            self.given[alone] = self.given[alone][:1]
        self.rows = max(len(x) for x in self.given.values())
        if factored and isinstance(self.generator, kh.WeightGenerator):
            config = {**self.generator.get_config(), "factored": True}
            self.generator = kh.WeightGenerator.from_config(config)
        self.factored = isinstance(self.generator, kh.TaskWeights) or getattr(
            self.generator, "factored", False
        )
        self.symbols = {
            n: keras.Input(x.shape[1:], dtype=str(x.dtype)) for n, x in self.given.items()
        }

    @property
    def argument(self):
        """What the generator is called on."""
        alone = isinstance(self.generator, kh.TaskWeights)
        return next(iter(self.symbols.values())) if alone else self.symbols

    @property
    def arrays(self):
        return {self.symbols[name].name: x for name, x in self.given.items()}

    def __call__(self):
        """The weights as KerasTensors."""
        return self.generator(self.argument)


def generator_case(draw):
    """A generator by itself: what it makes of a row does not depend on the others."""
    made = Made(draw, spec_of(draw), draw.pick([1, 2, 5]))
    model = functional(list(made.symbols.values()), made())

    def row_by_row(case):
        parts = []
        for row in range(made.rows):
            inputs = [x if len(x) == 1 else x[row : row + 1] for x in case.inputs]
            parts.append(call(model, inputs))
        return [np.concatenate(each) for each in zip(*parts)]

    return Case(
        model,
        {},
        made.arrays,
        row_by_row,
        made.rows,
        specialized=False,
        random=made.random,
        tolerance=made.tolerance,
        more=lambda case, _: tools(draw, made, case),
    )


def tools(draw, made, case):
    """What is around generators: specs, packing, more conditions, given variables."""
    generator, spec = made.generator, made.generator.spec
    assert kh.WeightSpec.from_json(spec.to_json()) == spec
    flat = draw.floats(2, spec.total)
    assert_close([spec.pack(spec.split(flat))], [flat])
    tensors = kh.split_weights(flat, spec)
    assert_close([as_numpy(kh.pack_weights(tensors, spec))], [flat])
    assert_close([as_numpy(t) for t in tensors.values()], list(spec.split(flat).values()))
    samples = kh.convert_weights(flat, spec, "samples")
    assert_close(
        [np.stack([np.asarray(s[n]) for s in samples]) for n in spec.names],
        [as_numpy(t) for t in tensors.values()],
    )
    if not isinstance(generator, kh.Hypernetwork) or made.random:
        return
    expected = as_numpy(generator(made.given))
    for group in ("conditional", "unconditional"):
        variables = getattr(generator, f"{group}_variables")
        if variables:
            values = np.concatenate([as_numpy(v).reshape(1, -1) for v in variables], axis=1)
            spec = getattr(generator, f"{group}_spec")
            named = generator.named_variables()
            assert [named[name] for name in spec.names] == variables
            found = generator(made.given, variables={group: values})
            assert_close([as_numpy(found)], [expected], case.tolerance)
    if generator.num_conditions:
        start = draw.pick(["initializer", "mean"])
        larger = generator.with_conditions(CONDITIONS + 2, start=start)
        assert_close([as_numpy(larger(made.given))], [expected], case.tolerance)
        if generator.embedding is not None:
            kh.initialize_embeddings(larger)
