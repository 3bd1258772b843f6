"""`hypernetize`: any Keras model as a hypernetwork."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
from keras import ops, tree

from keras_hypernet.conditioning.running_scale import RunningScale, is_scaled
from keras_hypernet.generators.conditioning_features import ConditioningFeatures
from keras_hypernet.generators.generator import Generator, made_of
from keras_hypernet.generators.weight_generator import WeightGenerator
from keras_hypernet.initializers import initializations
from keras_hypernet.initializers.bias_hyper_init import BiasHyperInit
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.layers.split_weights import SplitWeights
from keras_hypernet.layers.tensor_plan import GENERATE, LOW_RANK, MODES
from keras_hypernet.models.backbone_layers import remember_backbone
from keras_hypernet.models.given_layers_model import GivenLayersModel
from keras_hypernet.models.graph_reader import CallGraph
from keras_hypernet.models.graph_writer import new_input
from keras_hypernet.models.hyper_model import HyperModel
from keras_hypernet.models.hyper_writer import HyperWriter
from keras_hypernet.models.target_layer import Options, select_target_layers
from keras_hypernet.utils import checks, keras_internals
from keras_hypernet.utils.naming import HYPER, free_name, session_name
from keras_hypernet.utils.types import Select, Tensor
from keras_hypernet.weights.forms import materialize
from keras_hypernet.weights.spec import WeightSpec

if TYPE_CHECKING:
    from keras_hypernet.initializers.initialization import InitializationLike

FREEZE = (None, "base", "all")


def hypernetize(
    model: keras.Model,
    conditioning_size: int | None = None,
    conditioning: Tensor | None = None,
    generator: Generator | None = None,
    select: Select | None = None,
    mode: str = "replace",
    rank: int | None = None,
    generate: str = "both",
    alpha: float | None = None,
    freeze: str | None = None,
    copy: bool = True,
    shared: bool = False,
    hidden_sizes: Sequence[int] | None = None,
    initialization: InitializationLike = None,
    running_scale: bool | None = None,
    check_rows: bool = True,
) -> keras.Model:
    """Gives a Keras model a conditioning: some or all of its weights are generated from it.

    The given model is left as it is; the new one has copies of its layers, under their names, or
    with `copy=False` the layers themselves. A copy has all that a file holds of its layer; of what
    two layers hold each copy has its own. A nested model stays one, unless it shares layers with
    the rest: then these stand in its place.

    Args:
        model: Built Keras model: functional, sequential or subclassed, nested models included.
            Weights per row reach inside blocks, as in `Hyper`; what takes one row for the whole
            batch (recurrent layers, weights that a block makes for itself) needs `shared=True`.
        conditioning_size: Width of a new input `conditioning`. Or else:
        conditioning: What the generator takes: a KerasTensor, floating `(rows, size)`, or whatever
            a given `generator` takes. Where it is computed, the layers before it train with the
            rest, and the model's first inputs are the ones that it is computed from.
        generator: `None` for a trunk of dense layers and one linear head per target layer. Or a
            function of a `WeightSpec` that returns a generator of this package, or a generator,
            whose total must be that of the selected weights. What is generated for a scale that
            starts as ones is its distance from 1.
        select: Which weights are generated: a glob pattern on variable paths (`"*/gamma"`), the
            name of a layer or of a nested model, a layer class, a function of a variable, or a list
            of these. The name of a `Sequential`, which its paths begin with, may be left out. For
            `"low_rank"`, names and classes select what takes such an update: not the biases.
            `None` is all that are trainable, quantized kernels too; or for `"low_rank"` the kernels
            of all dense layers (`Dense`, `EinsumDense`) and of all convolutions without groups,
            frozen or not. The others stay ordinary weights with their values.
        mode: `"replace"`: weights are generated from nothing. `"delta"`: trained value plus a
            generated change. `"low_rank"`: trained kernel plus a generated `down @ up` of a rank,
            which is never multiplied out per row, for Dense, EinsumDense, Embedding and
            convolutions without groups, inside blocks too. In the last two modes the trained value
            is the layer's own variable, quantized or with an adapter as it may be, and the model
            starts as the given one, for every condition.
        rank: Rank of `"low_rank"` updates. `None` is 4, or less where a kernel has less.
        generate: What of a `"low_rank"` update is generated: `"both"` factors; `"up"`, where
            `down` is trained and one for all conditions; or `"scale"`, where both are, and a
            generated number for each rank stands between them: `down @ diag(scale) @ up`.
        alpha: Updates are multiplied by `alpha / rank`. `None` is the rank.
        freeze: What of the given model is held. `None`: no more than was frozen before. `"base"`:
            the trained values that changes are added to. `"all"`: everything, also what is not
            selected, and statistics: nothing but the generator trains, with the layers in front of
            it. A layer whose file would forget it (`MultiHeadAttention`, most custom ones) then
            stands inside a layer of this package that does not.
        copy: Whether layers are copied. If not, the given model's own layers are used: its weights
            are not in memory twice, what is loaded into it or trained in it is so in the new model,
            and what `freeze` holds is held in it. Layers need no config that makes them anew; where
            it does not, `model.save` raises, and `kh.save_generator` is for what was trained.
        shared: Whether a batch has a single condition: then the ordinary Keras operations run.
            A static row count of 1 in `conditioning` has the same effect.
        hidden_sizes: Of the default generator's trunk; `None` is `(32,)`.
        initialization: How the generator starts, as in `WeightGenerator`; names of tensors are
            paths of the model's variables. `None` is `BiasHyperInit`, by which each tensor starts
            by its own layer's initializer and changes start at zero, or what a given generator has.
        running_scale: Whether a `RunningScale` in front of the trunk brings conditions of any size
            to size 1. `None` is yes, without a given generator and unless trained layers make the
            conditioning.
        check_rows: Whether blocks are tried out with weights per row, as in `Hyper`.

    Returns:
        A `HyperModel` with the name `hyper_` and that of `model`: a functional model with the
        inputs `[conditioning, *model.inputs]` and the outputs of `model`. Rows of the conditioning
        divide the rows of the data: data row `b` has condition `b // (batch // rows)`.

    Raises:
        ValueError: if the model is not built, nothing is selected, a selected weight cannot have
            rows, an update of the rank, or has a constraint, a generator's total does not fit, a
            layer cannot be copied, or an argument has no meaning in the mode.
        TypeError: on arguments of other types.

    Weight regularizers of the target apply to what is generated, mean over rows, for which the
    weights of that layer are built for every row.

    Example:

    >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, name="conv")])
    >>> hyper = kh.hypernetize(model, conditioning_size=2)
    >>> y = hyper([np.ones((5, 2), "float32"), np.ones((5, 8, 8, 1), "float32")])
    >>> keras.ops.shape(y)
    (5, 6, 6, 4)

    Reference: Ha et al., 2016, HyperNetworks (https://arxiv.org/abs/1609.09106); FiLM, which is
    `select=["*/gamma", "*/beta"]`: Perez et al., 2018 (https://arxiv.org/abs/1709.07871); low rank:
    Hu et al., 2021 (https://arxiv.org/abs/2106.09685); generated: Charakorn et al., 2025
    (https://arxiv.org/abs/2506.06105); a scale between factors: Zhyper, 2025
    (https://arxiv.org/abs/2510.19733).
    """
    checks.choice("mode", mode, MODES)
    rank, generate, alpha = _checked_update(mode, rank, generate, alpha)
    _check_freeze(freeze, mode)
    hidden_sizes = _checked_hidden_sizes(hidden_sizes, generator)
    _check_running_scale(running_scale, generator)
    initialization = initializations.get(initialization)
    shared = checks.boolean("shared", shared)
    check_rows = checks.boolean("check_rows", check_rows)
    copy = checks.boolean("copy", copy)
    source = _functional(model)
    taken = {operation.name for operation in keras_internals.functional(source).operations}
    conditioning, sources = _conditioning(conditioning_size, conditioning, taken)
    taken |= _names_in_graph(sources, conditioning)
    shared = shared or tree.flatten(conditioning)[0].shape[0] == 1
    graph = CallGraph(source)
    if not copy:
        _check_not_generated(graph)
    options = Options(mode, rank, generate, alpha, freeze, shared, copy, check_rows)
    target_layers = select_target_layers(graph, select, options, taken)
    if generator is None:
        weights = _default(
            conditioning, target_layers, hidden_sizes, initialization, running_scale, taken
        )
    else:
        weights = _given(conditioning, target_layers, generator, initialization, mode, taken)
    for target in target_layers:
        target.assign()
    given = {id(tensor) for tensor in sources}  # a conditioning may be made of the model's input
    inputs = tree.map_structure(
        lambda tensor: tensor if id(tensor) in given else new_input(tensor),
        keras_internals.functional(source).input,
    )
    own = {id(tensor) for tensor in tree.flatten(inputs)}
    sources = [tensor for tensor in sources if id(tensor) not in own]
    writer = HyperWriter(graph, target_layers, frozen=freeze == "all", copied=copy)
    tensors = dict(zip(graph.inputs, tree.flatten(inputs), strict=True))
    outputs = writer.outputs(graph, {**tensors, **dict(zip(target_layers, weights, strict=True))})
    writer.copy_values()
    _check_all_generated(target_layers)
    name = session_name(HYPER + model.name)
    inputs = [*sources, *tree.flatten(inputs)]
    model_class = HyperModel if copy else GivenLayersModel
    hyper = model_class(inputs if len(inputs) > 1 else inputs[0], outputs, name=name)
    if mode == LOW_RANK:
        remember_backbone(hyper, model)
    return hyper


def _checked_update(mode, rank, generate, alpha):
    checks.choice("generate", generate, tuple(GENERATE))
    given = {"rank": (rank, None), "generate": (generate, "both"), "alpha": (alpha, None)}
    for name, (value, default) in given.items():
        if mode != LOW_RANK and value != default:
            raise ValueError(
                f"`{name}` is of mode='low_rank'. Received: {name}={value!r}, mode={mode!r}"
            )
    rank = None if rank is None else checks.positive_int("rank", rank)
    return rank, generate, None if alpha is None else checks.positive_number("alpha", alpha)


def _check_not_generated(graph):
    found = [c.name for c in graph.calls_of((Generator, HyperLayer))]
    if found:
        raise ValueError(
            "`copy=False` is for a plain model: the layers of one that has generated weights "
            f"belong to that one. Give `copy=True`. Received: a model with {found[:4]}"
        )


def _check_freeze(freeze, mode):
    if checks.choice("freeze", freeze, FREEZE) == "base" and mode == "replace":
        raise ValueError(
            "`freeze='base'` needs a base, which mode='replace' has not: use mode='delta' or "
            "'low_rank', or freeze='all' for what is not selected. "
            "Received: freeze='base', mode='replace'"
        )


def _checked_hidden_sizes(hidden_sizes, generator):
    if hidden_sizes is not None and generator is not None:
        raise ValueError(
            "`hidden_sizes` is of the default generator: with a `generator`, give them to that one "
            "(`generator=lambda spec: kh.WeightGenerator(spec, hidden_sizes=...)`). "
            f"Received: hidden_sizes={hidden_sizes!r}, generator={generator!r}"
        )
    return checks.positive_ints("hidden_sizes", (32,) if hidden_sizes is None else hidden_sizes)


def _check_running_scale(running_scale, generator):
    if running_scale is None:
        return
    if generator is not None:
        raise ValueError(
            "`running_scale` is of the default generator: with a `generator`, put a "
            "`kh.RunningScale` in front of it (`conditioning=kh.RunningScale()(x)`). "
            f"Received: running_scale={running_scale!r}, generator={generator!r}"
        )
    checks.boolean("running_scale", running_scale)


def _functional(model):
    """The model, or a functional one around a subclassed one."""
    checks.built_model("model", model)
    if keras_internals.functional(model) is not None:
        return model
    shapes = model.get_build_config() or {}
    try:
        if "shapes_dict" in shapes:
            named = shapes["shapes_dict"].items()
            inputs = _inputs({name.removesuffix("_shape"): shape for name, shape in named})
            outputs = model(**inputs)
        else:
            inputs = _inputs(shapes["input_shape"])
            outputs = model(inputs)
    except Exception as error:
        raise ValueError(
            "A subclassed `model` must be one that can be called on what it was built for. Where "
            "it has no `build` of its own, Keras keeps the shape of its first argument alone. "
            "Call it on its `keras.Input`s, and give the functional model around it: "
            "`keras.Model(inputs, model(*inputs))`. "
            f"Received: model={model!r}, built for {shapes}"
        ) from error
    return keras.Model(inputs, outputs, name=model.name)


def _inputs(shapes, name=None):
    """`keras.Input`s in place of a structure of shapes; those of a dict have its names."""
    if isinstance(shapes, dict):
        return {name: _inputs(shape, name) for name, shape in shapes.items()}
    if tree.is_nested(shapes[0]):
        return [_inputs(shape) for shape in shapes]
    return keras.Input(tuple(shapes)[1:], name=name)


def _conditioning(size, conditioning, taken):
    """`(what the generator takes, the inputs that it is computed from)`."""
    if size is None and conditioning is None:
        raise ValueError(
            "`conditioning_size` must be given, the width of a new input `conditioning`, or "
            "`conditioning`, a KerasTensor that the weights are generated from. Received: neither"
        )
    if any(keras.utils.is_keras_tensor(leaf) for leaf in tree.flatten(size)):
        raise TypeError(
            "`conditioning_size` must be a positive integer: a tensor is `conditioning=...`. "
            f"Received: conditioning_size={size!r}"
        )
    if size is not None and conditioning is not None:
        raise ValueError(
            "`conditioning_size` makes a new input, and `conditioning` is one that there is: give "
            f"one of them. Received: conditioning_size={size!r}, conditioning={conditioning!r}"
        )
    if size is not None:
        size = checks.positive_int("conditioning_size", size)
        conditioning = keras.Input((size,), name=free_name("conditioning", taken))
    tensors = tree.flatten(conditioning)
    if not tensors or not all(keras.utils.is_keras_tensor(tensor) for tensor in tensors):
        raise TypeError(
            "`conditioning` must be a KerasTensor, such as `keras.Input((4,))` or what a layer "
            f"makes of it, or a dict of them. Received: {conditioning!r}"
        )
    sources = {id(x): x for tensor in tensors for x in keras.utils.get_source_inputs(tensor)}
    return conditioning, list(sources.values())


def _names_in_graph(sources, tensors):
    """Names of what a conditioning is computed by."""
    names = {keras_internals.producer(source).name for source in sources}
    given = {id(source) for source in sources}
    for tensor in tree.flatten(tensors):
        if id(tensor) not in given:  # not every Keras takes a graph without a call
            graph = keras.Model(keras.utils.get_source_inputs(tensor), tensor)
            names |= {operation.name for operation in graph.operations}
    return names


def _default(conditioning, target_layers, hidden_sizes, initialization, running_scale, taken):
    """One trunk and one linear head per target layer."""
    if not keras.utils.is_keras_tensor(conditioning):
        raise TypeError(
            "`conditioning` must be a single KerasTensor for the default generator. "
            f"Received: {conditioning!r}"
        )
    checks.float_tensor("conditioning", conditioning)
    checks.rank("conditioning", conditioning.shape, 2)
    checks.known_last_axis("conditioning", conditioning.shape)
    initialization = BiasHyperInit() if initialization is None else initialization
    initialization.check_names([name for target in target_layers for name in target.spec.names])
    features = conditioning
    if is_scaled(conditioning, running_scale):
        features = RunningScale(name=free_name("running_scale", taken))(features)
    if hidden_sizes:
        trunk = ConditioningFeatures(hidden_sizes, name=free_name("conditioning_features", taken))
        features = trunk(features)
        initialization = initialization.for_inputs(trunk.feature_scale)
    weights = []
    for i, target in enumerate(target_layers):
        head = WeightGenerator(
            target.spec,
            hidden_sizes=(),
            initialization=initialization.only(target.spec.names, i),
            factored=target.factored(features.shape[-1]),
            name=free_name(f"{target.layer.name}_generator", taken),
        )
        made = head(features)  # under the names of the variables already
        plain = target.weights is None or target.weights.changes_nothing
        weights.append(made if plain else target.weights(made))
    return weights


def _joined(target_layers):
    """The `WeightSpec` of all that is generated."""
    return WeightSpec([tensor for target in target_layers for tensor in target.spec])


def _given(conditioning, target_layers, generator, initialization, mode, taken):
    """A given generator, its weights cut for the layers."""
    spec = _joined(target_layers)
    generator = made_of(generator, spec)
    if not isinstance(generator, Generator):
        raise TypeError(
            "`generator` must be a generator of this package, such as `kh.WeightGenerator`, or a "
            "function of a `WeightSpec` that returns one. Received: "
            f"{generator!r} of type {type(generator).__name__}"
        )
    if generator.spec.total != spec.total:
        raise ValueError(
            f"`generator` must make the {spec.total} selected weights. Received: one that makes "
            f"{generator.spec.total}. A function of the spec fits always: "
            "`generator=lambda spec: kh.WeightGenerator(spec)`"
        )
    generator.start_with(initialization)
    weights = generator(conditioning)
    if mode != "replace":
        changes = spec.split(_example(generator, conditioning))
        for target in target_layers:
            target.hyper.add_gates(changes)
    cuts = [weights]
    if len(target_layers) > 1:
        totals = [target.spec.total for target in target_layers]
        split = SplitWeights(totals, dtype=generator.dtype_policy, name=free_name("split", taken))
        cuts = split(weights)
    return [t.weights(cut) if t.weights else cut for t, cut in zip(target_layers, cuts)]


def _example(generator, conditioning):
    """What a generator makes of random conditions at the start, `(rows, total)`."""
    rng = np.random.default_rng(0)

    def draw(tensor):
        shape = [64 if size is None else size for size in tensor.shape]
        floating = keras.backend.is_float_dtype(tensor.dtype)
        sizes = 10 ** rng.uniform(-2, 2, size=shape[:1] + [1] * (len(shape) - 1))
        drawn = sizes * rng.normal(size=shape) if floating else np.zeros(shape)
        return ops.convert_to_tensor(drawn, tensor.dtype)

    made = generator(tree.map_structure(draw, conditioning))
    return ops.convert_to_numpy(materialize(made))


def _check_all_generated(target_layers):
    """Every selected weight got a place in the graph."""
    missing = [
        name
        for target in target_layers
        if not target.hyper.built
        for name in target.planned.target_spec.names
    ]
    if missing:
        raise ValueError(f"These weights have no place in the graph of the model: {missing}")
