"""`resnet_chunking` and `wide_resnet_chunking`: chunk plans of residual networks."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import keras

from keras_hypernet.chunking.plan_builder import PlanBuilder, spec_of
from keras_hypernet.targets.parts import STRIDES, skip_is_convolved
from keras_hypernet.utils import checks
from keras_hypernet.weights.spec import WeightSpec

if TYPE_CHECKING:
    from keras_hypernet.chunking.chunk_plan import ChunkPlan
    from keras_hypernet.weights.spec import SpecLike


def resnet_chunking(model: keras.Model | SpecLike, gcd: bool = False) -> ChunkPlan:
    """The chunk plan of a `resnet`: a kind for equal layers, or for equal slices of layers.

    A chunk has a convolution's kernel, bias, and the scale and offset of its normalization, as
    far as there are any. The kinds are `first` and `output`, for the layers at the ends, and for
    each group `group_1_first`, its first convolution, and `group_1`, the others.

    With `gcd`, the convolutions are cut along their outputs, into as many as the greatest common
    divisor of all numbers of channels. The kinds between the ends then go by where the
    convolutions' inputs come from: `from_first`, `from_group_1`, `from_group_2`, `from_group_3`.

    Args:
        model: What `resnet` made, loaded perhaps, or its `WeightSpec`.
        gcd: Whether to cut the convolutions into slices.

    Returns:
        A `ChunkPlan` of all weights of the model. Embeddings have 8 values; see
        `ChunkPlan.with_embedding_sizes`.

    Raises:
        ValueError: if the model has other layers than a `resnet`, or its layers do not chain.
        TypeError: if it is neither a model nor a `WeightSpec`.

    Example:

    >>> kh.resnet_chunking(kh.targets.resnet(n=2, normalization=None), gcd=True)
    ChunkPlan: 6 kinds, 30 chunks, 19594 chunk outputs for 172042 weights
      kind          number  embedding  outputs  tensors
      first         1       8          448      kernel (3, 3, 3, 16), bias (16,)
      from_first    1       8          2320     kernel (3, 3, 16, 16), bias (16,)
      from_group_1  5       8          2320     kernel (3, 3, 16, 16), bias (16,)
      from_group_2  10      8          4624     kernel (3, 3, 32, 16), bias (16,)
      from_group_3  12      8          9232     kernel (3, 3, 64, 16), bias (16,)
      output        1       8          650      kernel (64, 10), bias (10,)

    Reference: von Oswald et al., 2020 (https://arxiv.org/abs/1906.00695).
    """
    gcd = checks.boolean("gcd", gcd)
    net = _Network(spec_of("model", model))
    net.check_layers(skips=[])
    builder = PlanBuilder(net.spec)
    builder.add("first", net.tensors("conv_0"))
    slice_size = math.gcd(*net.channels)
    source = "first"
    for group in (1, 2, 3):
        for i, conv in enumerate(net.groups[group]):
            tensors = net.tensors(conv)
            if gcd:
                pieces = net.channels[group] // slice_size
                axes = {name: net.spec[t].output_axes[0] for name, t in tensors.items()}
                builder.add(f"from_{source}", tensors, axes, pieces)
            else:
                builder.add(f"group_{group}_first" if i == 0 else f"group_{group}", tensors)
            source = f"group_{group}"
    builder.add("output", net.tensors("output"))
    return builder.plan()


def wide_resnet_chunking(
    model: keras.Model | SpecLike,
    gcd: bool = False,
    normalization: bool = False,
    output: bool = False,
) -> ChunkPlan:
    """The chunk plan of a `wide_resnet`: kernels are cut along their inputs.

    A chunk has a convolution's kernel, its bias if there is one and, with `normalization`, the
    scale and offset of the normalization after it. The kinds are `first`, the convolutions of
    each group, `skip_1`, ... for the 1x1 convolutions that there are, and `output` if wanted.

    Where a group has as many channels as the one before, or twice or half as many, its kernels
    are cut to the smaller number of inputs and are all of one kind, `group_1`; with `gcd`, always,
    to the greatest common divisor. Otherwise its first convolution is a kind of its own,
    `group_1_first`. A bias, scale and offset come from the first chunk of a convolution, and those
    of its other chunks are not used.

    Args:
        model: What `wide_resnet` made, loaded perhaps, or its `WeightSpec`.
        gcd: Whether to cut kernels of groups that would have two kinds.
        normalization: Whether the normalizations' weights are in the plan.
        output: Whether the output layer's weights are in the plan.

    Returns:
        A `ChunkPlan` of the chosen weights of the model: `plan.spec` has them in the model's
        order. Embeddings have 8 values; see `ChunkPlan.with_embedding_sizes`.

    Raises:
        ValueError: if the model has other layers than a `wide_resnet`, or its layers do not chain.
        TypeError: if it is neither a model nor a `WeightSpec`.

    Example:

    >>> kh.wide_resnet_chunking(kh.targets.wide_resnet(n=1, k=1))
    ChunkPlan: 6 kinds, 11 chunks, 28336 chunk outputs for 76720 weights
      kind     number  embedding  outputs  tensors
      first    1       8          432      kernel (3, 3, 3, 16)
      group_1  2       8          2304     kernel (3, 3, 16, 16)
      group_2  3       8          4608     kernel (3, 3, 16, 32)
      group_3  3       8          18432    kernel (3, 3, 32, 64)
      skip_2   1       8          512      kernel (1, 1, 16, 32)
      skip_3   1       8          2048     kernel (1, 1, 32, 64)

    Reference: von Oswald et al., 2020 (https://arxiv.org/abs/1906.00695), and hypnettorch
    (https://github.com/chrhenning/hypnettorch), whose plans these are.
    """
    gcd = checks.boolean("gcd", gcd)
    normalization = checks.boolean("normalization", normalization)
    output = checks.boolean("output", output)
    net = _Network(spec_of("model", model))
    convolved = [g for g in STRIDES if skip_is_convolved(STRIDES[g], *net.channels[g - 1 : g + 1])]
    skips = {group: f"group_{group}_block_0_skip" for group in convolved}
    net.check_layers(skips.values())
    if not normalization:
        net.leave_out([layer for layer in net.layers if "norm_" in layer])
    if not output:
        net.leave_out(["output"])
    builder = PlanBuilder(net.spec)
    builder.add("first", net.tensors("conv_0"))
    for group, convs in net.groups.items():
        inputs = _inputs_of_chunk(net.channels[group - 1], net.channels[group], gcd)
        for i, conv in enumerate(convs):
            kernel = net.kernel(conv)
            pieces = kernel.shape[kernel.input_axis] // inputs if inputs else 1
            kind = f"group_{group}_first" if i == 0 and not inputs else f"group_{group}"
            builder.add(kind, net.tensors(conv), {"kernel": kernel.input_axis}, pieces)
    for group, skip in skips.items():
        builder.add(f"skip_{group}", net.tensors(skip))
    if output:
        builder.add("output", net.tensors("output"))
    return builder.plan()


def _inputs_of_chunk(before, channels, gcd):
    """Inputs of every kernel's chunks in a group, or `None` where the first one has its own."""
    less, more = sorted((before, channels))
    if more in (less, 2 * less):
        return less
    return math.gcd(before, channels) if gcd else None


class _Network:
    """The layers of a residual network, found by their names, and the spec of those wanted."""

    def __init__(self, spec):
        self.layers = spec.layers
        self.groups = {group: self._convolutions(group) for group in (1, 2, 3)}
        ends = ["conv_0", *(convs[-1] for convs in self.groups.values())]
        self.channels = [self.kernel(conv).outputs for conv in ends]
        self._check_chain()
        self.spec = spec

    def _convolutions(self, group):
        names, block = [], f"group_{group}_block_0"
        while not names or f"{block}_conv_0" in self.layers:
            names += [f"{block}_conv_0", f"{block}_conv_1"]
            block = f"group_{group}_block_{len(names) // 2}"
        return names

    def kernel(self, layer):
        """The kernel of a layer, which has axes for inputs and for outputs."""
        name = f"{layer}/kernel"
        if layer not in self.layers or name not in self.layers[layer]:
            raise ValueError(
                "`model` must be a residual network with the layers' names that `resnet` and "
                f"`wide_resnet` give. It has no tensor {name!r}. "
                f"Received layers: {list(self.layers)}"
            )
        kernel = self.layers[layer][name]
        if not kernel.is_matrix or len(kernel.output_axes) != 1:
            raise ValueError(
                f"`model` must have a kernel {name!r} with an axis of inputs and one of outputs. "
                f"Received: shape {kernel.shape}, layout {kernel.layout!r}"
            )
        return kernel

    def _check_chain(self):
        inputs = self.channels[0]
        for group, convs in self.groups.items():
            for conv in convs:
                expected, kernel = (inputs, self.channels[group]), self.kernel(conv)
                if (kernel.shape[kernel.input_axis], kernel.outputs) != expected:
                    raise ValueError(
                        f"`model` must be a residual network: the kernel of {conv!r} must have "
                        f"{expected[0]} inputs and {expected[1]} outputs. "
                        f"Received: shape {kernel.shape}, layout {kernel.layout!r}"
                    )
                inputs = self.channels[group]

    def check_layers(self, skips):
        """Refuses a network that lacks a skip, or has layers that no such network has."""
        convs = ["conv_0", *itertools.chain(*self.groups.values())]
        known = {*convs, *map(_norm_of, convs), *skips, "output"}
        missing = [layer for layer in [*skips, "output"] if layer not in self.layers]
        unknown = [layer for layer in self.layers if layer not in known]
        if missing or unknown:
            raise ValueError(
                "`model` must have the layers of the network that this plan is for. "
                f"Missing: {missing}. Received unknown: {unknown}"
            )

    def leave_out(self, layers):
        """Takes layers out of the spec; what is known of the network stays."""
        self.spec = WeightSpec([tensor for tensor in self.spec if tensor.layer not in layers])

    def tensors(self, layer):
        """`{kernel, bias, gamma, beta: wanted tensor of the target}`, as far as there are any."""
        members = [self.layers.get(member, ()) for member in (layer, _norm_of(layer))]
        targets = [t.name for t in itertools.chain(*members) if t.name in self.spec]
        return {target.rpartition("/")[2]: target for target in targets}


def _norm_of(conv):
    return conv.replace("conv_", "norm_")
