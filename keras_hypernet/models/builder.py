"""Wires generators and hyper layers into functional models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import keras

from keras_hypernet.conditioning import inputs
from keras_hypernet.conditioning.running_scale import RunningScale, is_scaled
from keras_hypernet.generators import options
from keras_hypernet.generators.weight_generator import WeightGenerator
from keras_hypernet.initializers import initializations
from keras_hypernet.layers.apply_generated_weights import ApplyGeneratedWeights
from keras_hypernet.models.hyper_model import HyperModel
from keras_hypernet.ops import contractions
from keras_hypernet.utils import checks
from keras_hypernet.utils.activations import of_target
from keras_hypernet.utils.types import ActivationLike, DType, LayerSizes, Tensor, Weights
from keras_hypernet.weights.spec import WeightSpec

if TYPE_CHECKING:
    from keras_hypernet.generators.options import BuildArguments
    from keras_hypernet.initializers.initialization import InitializationLike


def build(
    conditioning_size: int | None = None,
    input_size: int | None = None,
    target_layer_sizes: LayerSizes | None = None,
    hidden_sizes: Sequence[int] = (256, 256),
    activation: ActivationLike = "relu",
    name: str | None = None,
    *,
    conditioning: Tensor | None = None,
    data_input: Tensor | None = None,
    contraction: str = "auto",
    hidden_activation: ActivationLike = "relu",
    initialization: InitializationLike = "bias_hyper_init",
    running_scale: bool | None = None,
    dtype: DType | None = None,
    **generator_options: Unpack[BuildArguments],
) -> keras.Model:
    """A multi-layer perceptron whose weights are generated from a conditioning vector.

    `weights_i = weight_gen_i(conditioning)` for every target layer, then
    `y = mlp(data_input; weights)`: a functional `keras.Model` with inputs `conditioning`
    `(rows, conditioning_size)` and `data_input` `(batch, input_size)`, in this order, given as a
    list, a tuple or a dict. `rows` is `batch`, or divides it: data row `b` uses conditioning row
    `b // (batch // rows)` (see `GroupedDataset` for training so).

    Args:
        conditioning_size: Width of the conditioning.
        input_size: Width of the data, or a shape that ends in it: with `(None, 2)`, data is
            `(batch, points, 2)` and all points of a row share that row's weights.
        target_layer_sizes: List of pairs `(in, out)`, one per target layer, that chain. The first
            `in` is the width of the data.
        hidden_sizes: Hidden widths of every generator; empty for linear generators.
        activation: Between target layers, not after the last: name, callable or `None`.
        name: Name of the model, and prefix of its layers' names. Give one where a graph holds
            more than one hypernetwork.
        conditioning: KerasTensor in place of `conditioning_size`. The Inputs that it depends on
            become the first inputs of the model, and the layers between them its layers.
        data_input: KerasTensor in place of `input_size`, likewise.
        contraction: Order of the product, as in `Hyper`.
        hidden_activation: Of the hidden layers of the generators.
        initialization: How the generators start, as in `WeightGenerator`, which may name tensors of
            all layers: `kh.BiasHyperInit({"layer_0/kernel": "orthogonal"})`. By default the target
            starts as the ordinary network for `activation`, for every condition.
        running_scale: Whether a `RunningScale` brings conditions of any size to size 1. `None` is
            yes, unless trained layers make the conditioning.
        dtype: Dtype policy of the layers.
        **generator_options: Any further argument of `WeightGenerator`, such as `dropout=0.1`,
            `head_kernel_initializer`, `head_bias_initializer` or `spectral_normalization=True`.

    Returns:
        A `HyperModel`: a functional Keras model with output `(batch, last_output)`. Its generators
        are called `weight_gen_0`, `weight_gen_1`, ... (`{name}_weight_gen_0` with a name).

    Raises:
        ValueError, TypeError: on sizes that are not positive integers, do not chain or do not fit
            the inputs, and on unknown activations and contractions.

    Example:

    >>> model = kh.build(conditioning_size=2, input_size=3, target_layer_sizes=[(3, 8), (8, 1)])
    >>> model.predict([np.zeros((5, 2)), np.zeros((5, 3))], verbose=0).shape
    (5, 1)

    Reference: Ha et al., 2016, HyperNetworks (https://arxiv.org/abs/1609.09106).
    """
    sizes = checks.layer_sizes("target_layer_sizes", target_layer_sizes)
    hidden_sizes = checks.positive_ints("hidden_sizes", hidden_sizes)
    checks.activation("activation", activation)
    checks.activation("hidden_activation", hidden_activation)
    contractions.check(contraction)
    if running_scale is not None:
        running_scale = checks.boolean("running_scale", running_scale)
    name = name if name is None else checks.name("name", name)
    target = WeightSpec.from_layer_sizes(sizes, activation)
    chosen = initializations.get(initialization)
    if chosen is not None:
        chosen.check_names(target.names)
    if keras.utils.is_keras_tensor(conditioning):
        inputs.check(conditioning, inputs.VECTORS)
    conditioning_shape = _input_shape(
        "conditioning", conditioning, "conditioning_size", conditioning_size
    )
    data_shape = _input_shape("data_input", data_input, "input_size", input_size)
    if len(conditioning_shape) != 1:
        raise ValueError(
            "`conditioning_size` must be an integer: conditioning is (rows, conditioning_size). "
            f"Received: conditioning_size={conditioning_size}"
        )
    if {"factored", "spec"} & set(generator_options):
        raise TypeError(
            "`factored` and `spec` are chosen by `build`, from `contraction` and "
            f"`target_layer_sizes`. Received: {sorted(generator_options)}"
        )
    known = [*options.LAYER, *options.arguments_of(WeightGenerator)]
    checks.known_keys("generator_options", generator_options, known)
    _check_first_layer(sizes, data_shape[-1])

    if conditioning is None:
        conditioning = keras.Input(conditioning_shape, name="conditioning")
    if data_input is None:
        data_input = keras.Input(data_shape, name="data_input")
    sources = [keras.utils.get_source_inputs(tensor) for tensor in (conditioning, data_input)]
    sources = list({id(x): x for x in [*sources[0], *sources[1]]}.values())

    shared = conditioning.shape[0] == 1
    many = shared or None in data_shape[:-1]
    positions = None if many else math.prod(data_shape[:-1])
    prefix = f"{name}_" if name else ""
    generated = []
    if is_scaled(conditioning, running_scale):
        scale = RunningScale(dtype=dtype, name=f"{prefix}running_scale" if name else None)
        conditioning = scale(conditioning)
    for i, (spec, (size_in, size_out)) in enumerate(zip(target.layers.values(), sizes)):
        features = hidden_sizes[-1] if hidden_sizes else conditioning_shape[0]
        if contraction == "auto":
            order = contractions.choose(size_in, size_out, features, positions)
        else:
            order = contraction
        generator = WeightGenerator(
            spec,
            hidden_sizes=hidden_sizes,
            activation=hidden_activation,
            # If it wins here it always does: more data rows per condition only favour it.
            factored=order != "materialize",
            initialization=chosen and chosen.only(spec.names, i),
            dtype=dtype,
            name=f"{prefix}weight_gen_{i}",
            **generator_options,
        )
        generated.append(generator(conditioning))
    apply = ApplyGeneratedWeights(
        sizes,
        activation=activation,
        contraction=contraction,
        shared=shared,
        dtype=dtype,
        name=f"{prefix}apply_generated_weights" if name else None,
    )
    sources = sources if len(sources) > 1 else sources[0]
    return HyperModel(sources, apply(data_input, generated), name=name)


def build_weight_generator(
    conditioning: Tensor,
    target_in: int,
    target_out: int,
    hidden_sizes: Sequence[int] = (256, 256),
    name: str | None = None,
    activation: ActivationLike = "relu",
    **generator_options: Unpack[BuildArguments],
) -> Weights:
    """Generates the flat weights of one dense target layer.

    Args:
        conditioning: KerasTensor `(rows, size)`.
        target_in: Inputs of the target layer.
        target_out: Outputs of the target layer.
        hidden_sizes: Hidden widths of the generator; empty for a linear one.
        name: Prefix of the generator's name: it is called `{name}_weight_gen`.
        activation: Of the target layer, which chooses its kernel's start; `None` for the last one.
        **generator_options: Any further argument of `WeightGenerator`.

    Returns:
        KerasTensor `(rows, target_in * target_out + target_out)`: the kernel, row-major
        `(in, out)`, then the bias.

    Raises:
        ValueError, TypeError: on sizes that are not positive integers, and on a conditioning that
            is not a floating KerasTensor of two axes.

    Example:

    >>> kh.build_weight_generator(keras.Input((4,)), target_in=3, target_out=8).shape
    (None, 32)
    """
    _check_symbolic("conditioning", conditioning)
    target_in = checks.positive_int("target_in", target_in)
    target_out = checks.positive_int("target_out", target_out)
    name = name if name is None else checks.name("name", name)
    kernel, bias = of_target(checks.activation("activation", activation), target_in)
    spec = [
        {"name": "layer_0/kernel", "shape": (target_in, target_out), "initializer": kernel},
        {"name": "layer_0/bias", "shape": (target_out,), "initializer": bias},
    ]
    generator = WeightGenerator(
        WeightSpec(spec),
        hidden_sizes=hidden_sizes,
        name=f"{name}_weight_gen" if name else None,
        **generator_options,
    )
    return generator(conditioning)


def apply_generated_weights(
    data_input: Tensor,
    weight_generators: Sequence[Weights],
    target_layer_sizes: LayerSizes,
    activation: ActivationLike = "relu",
    **options: Tensor,
) -> Tensor:
    """Applies a multi-layer perceptron with generated weights to data.

    Args:
        data_input: KerasTensor `(batch, ..., in)`.
        weight_generators: List of KerasTensors, the outputs of `build_weight_generator` for each
            target layer, `(rows, in * out + out)`; `rows` divides `batch`.
        target_layer_sizes: List of pairs `(in, out)` that chain.
        activation: Between target layers, not after the last: name, callable or `None`.
        **options: Any further argument of `ApplyGeneratedWeights`, such as `name`.

    Returns:
        KerasTensor `(batch, ..., last_output)`.

    Raises:
        ValueError, TypeError: on sizes that do not chain or do not fit, on another number of
            generators than layers, and on an unknown activation.

    Example:

    >>> z, x = keras.Input((4,)), keras.Input((3,))
    >>> weights = [kh.build_weight_generator(z, 3, 8), kh.build_weight_generator(z, 8, 1)]
    >>> y = kh.apply_generated_weights(x, weights, [(3, 8), (8, 1)])
    >>> y.shape
    (None, 1)
    """
    sizes = checks.layer_sizes("target_layer_sizes", target_layer_sizes)
    _check_symbolic("data_input", data_input)
    checks.non_empty_list("weight_generators", weight_generators)
    if len(weight_generators) != len(sizes):
        raise ValueError(
            f"`weight_generators` must have one entry per target layer ({len(sizes)}). "
            f"Received: {len(weight_generators)}"
        )
    tensors: list[Tensor] = list(weight_generators)
    for i, (weights, (inputs_of, outputs)) in enumerate(zip(tensors, sizes)):
        _check_symbolic(f"weight_generators[{i}]", weights)
        checks.rank(f"weight_generators[{i}]", weights.shape, 2)
        total = inputs_of * outputs + outputs
        checks.last_axis(f"weight_generators[{i}]", weights.shape, total)
    checks.data_axes("data_input", data_input.shape)
    checks.last_axis("data_input", data_input.shape, sizes[0][0])
    rows = {weights.shape[0] for weights in tensors}
    options = {"shared": rows == {1}, **options}
    apply = ApplyGeneratedWeights(sizes, activation=activation, **options)
    return apply(data_input, tensors)


def _input_shape(tensor_argument, tensor, size_argument, size):
    """Shape without the batch axis, from a KerasTensor or a size, or both if they agree."""
    if keras.utils.is_keras_tensor(size):
        raise TypeError(
            f"`{size_argument}` must be a size: give a KerasTensor as `{tensor_argument}=...`. "
            f"Received: {size_argument}={size}"
        )
    if size is not None:
        *inner, last = size if isinstance(size, (list, tuple)) and size else [size]
        last = checks.positive_int(size_argument, last)
        inner = [n if n is None else checks.positive_int(size_argument, n) for n in inner]
        shape = (*inner, last)
    if tensor is None:
        if size is None:
            raise ValueError(
                f"`{size_argument}` must be given, or `{tensor_argument}` as a KerasTensor. "
                f"Received: {size_argument}=None, {tensor_argument}=None"
            )
        return shape
    _check_symbolic(tensor_argument, tensor)
    checks.data_axes(tensor_argument, tensor.shape)
    if size is not None and not _agree(shape, tuple(tensor.shape[1:])[-len(shape) :]):
        raise ValueError(
            f"`{size_argument}` must be the last axis of `{tensor_argument}`, or its last axes, "
            "where both are given. "
            f"Received: {size_argument}={size}, shape {tensor.shape}"
        )
    checks.known_last_axis(tensor_argument, tensor.shape)
    return tuple(tensor.shape[1:])


def _agree(shape, other):
    pairs = zip(shape, other)
    return len(shape) == len(other) and all(a == b or None in (a, b) for a, b in pairs)


def _check_first_layer(sizes, data_size):
    if sizes[0][0] != data_size:
        raise ValueError(
            "The first layer of `target_layer_sizes` must take `input_size` inputs, the last axis "
            f"of `data_input`. Received: target_layer_sizes[0]={sizes[0]}, input_size={data_size}"
        )


def _check_symbolic(argument, tensor):
    if not keras.utils.is_keras_tensor(tensor):
        raise TypeError(
            f"`{argument}` must be a KerasTensor, such as `keras.Input(...)`; for a plain size "
            "of `build` there are `conditioning_size` and `input_size`. "
            f"Received: {type(tensor).__name__}"
        )
