"""The convolutions against their twins: together the rows cover what the arguments change."""

import numpy as np
from keras import layers

from tests.conformance import Row, floats

FIRST = {"data_format": "channels_first"}

# Class, what is particular, shape of a sample, arguments beyond four filters and windows of three.
TABLE = [
    (layers.Conv1D, "", (6, 2), {"activation": "tanh"}),
    (layers.Conv1D, "causal dilated", (6, 2), {"padding": "causal", "dilation_rate": 2}),
    (
        layers.Conv1D,
        "causal first",
        (4, 6),
        {"padding": "causal", "strides": 2, "groups": 2, **FIRST},
    ),
    (layers.Conv1D, "same", (7, 2), {"padding": "same", "strides": 3, "use_bias": False}),
    (layers.Conv1D, "same first", (2, 6), {"padding": "same", **FIRST}),
    (layers.Conv2D, "penalty", (5, 4, 2), {"kernel_regularizer": "l2", "bias_regularizer": "l1"}),
    (layers.Conv2D, "activity", (3, 4, 2), {"activity_regularizer": "l2", "activation": "relu"}),
    (
        layers.Conv2D,
        "same",
        (5, 6, 2),
        {"kernel_size": (3, 2), "padding": "same", "strides": (2, 3)},
    ),
    (layers.Conv2D, "dilated first", (2, 6, 7), {"dilation_rate": (2, 3), **FIRST}),
    (layers.Conv2D, "same dilated", (5, 5, 2), {"padding": "same", "dilation_rate": 2}),
    (layers.Conv2D, "groups", (4, 5, 4), {"groups": 2, "use_bias": False}),
    (
        layers.Conv2D,
        "groups first",
        (4, 5, 5),
        {"groups": 4, "padding": "same", "strides": 2, **FIRST},
    ),
    (layers.Conv3D, "", (3, 4, 3, 2), {"kernel_size": 2, "activation": "tanh"}),
    (layers.Conv3D, "same", (4, 3, 3, 2), {"padding": "same", "strides": (2, 1, 3), "groups": 2}),
    (
        layers.Conv3D,
        "first",
        (2, 5, 3, 3),
        {"kernel_size": (2, 1, 3), "dilation_rate": (3, 1, 1), **FIRST},
    ),
    (layers.DepthwiseConv1D, "", (6, 2), {"strides": 2, "activation": "tanh"}),
    (layers.DepthwiseConv1D, "same", (6, 2), {"padding": "same", "dilation_rate": 2}),
    (layers.DepthwiseConv1D, "first", (2, 6), {"depth_multiplier": 2, "padding": "same", **FIRST}),
    (
        layers.DepthwiseConv2D,
        "penalty",
        (4, 5, 2),
        {"depthwise_regularizer": "l2", "bias_regularizer": "l1"},
    ),
    (
        layers.DepthwiseConv2D,
        "same",
        (5, 5, 2),
        {"padding": "same", "strides": 2, "use_bias": False, "depth_multiplier": 3},
    ),
    (
        layers.DepthwiseConv2D,
        "first",
        (2, 6, 5),
        {"kernel_size": (3, 2), "dilation_rate": 2, **FIRST},
    ),
    (layers.SeparableConv1D, "", (6, 2), {"strides": 2, "activation": "tanh"}),
    (layers.SeparableConv1D, "same", (6, 2), {"padding": "same", "dilation_rate": 2}),
    (layers.SeparableConv1D, "first", (2, 6), {"depth_multiplier": 2, "padding": "same", **FIRST}),
    (
        layers.SeparableConv2D,
        "penalty",
        (4, 5, 2),
        {"depthwise_regularizer": "l2", "pointwise_regularizer": "l1", "depth_multiplier": 2},
    ),
    (
        layers.SeparableConv2D,
        "first",
        (2, 5, 5),
        {"padding": "same", "strides": 2, "use_bias": False, **FIRST},
    ),
    (layers.Conv1DTranspose, "", (4, 2), {"strides": 2, "activation": "tanh"}),
    (layers.Conv1DTranspose, "same dilated", (5, 2), {"padding": "same", "dilation_rate": 2}),
    (
        layers.Conv1DTranspose,
        "first",
        (2, 3),
        {"strides": 3, "output_padding": 1, "padding": "same", **FIRST},
    ),
    (layers.Conv2DTranspose, "same", (3, 4, 2), {"padding": "same", "strides": 2}),
    (layers.Conv2DTranspose, "dilated", (3, 3, 2), {"dilation_rate": (2, 1), "use_bias": False}),
    (
        layers.Conv2DTranspose,
        "extra",
        (2, 3, 2),
        {"strides": (3, 2), "output_padding": (2, 0), "kernel_regularizer": "l2"},
    ),
    (
        layers.Conv2DTranspose,
        "first",
        (2, 3, 3),
        {"kernel_size": (2, 3), "strides": (3, 1), **FIRST},
    ),
    (layers.Conv3DTranspose, "", (2, 2, 3, 2), {"kernel_size": 2, "activation": "tanh"}),
    (
        layers.Conv3DTranspose,
        "first",
        (2, 2, 2, 3),
        {"kernel_size": 2, "strides": (2, 1, 2), "padding": "same", **FIRST},
    ),
]


# What others show, too, of another number of axes.
SLOW = {
    "Conv2D same dilated",
    "Conv2D groups first",
    "Conv3D same",
    "Conv3D first",
    "DepthwiseConv1D first",
    "DepthwiseConv2D same",
    "SeparableConv1D same",
    "SeparableConv2D first",
    "Conv1DTranspose first",
    "Conv2DTranspose dilated",
    "Conv3DTranspose first",
}


def row(hyper, particular, shape, arguments):
    """A row of the conformance battery."""
    sizes = {"kernel_size": 3}
    if "Depthwise" not in hyper.__name__:
        sizes["filters"] = 4
    id = f"{hyper.__name__} {particular}".strip()
    extra = {"multiply": inputs_last} if "Transpose" in hyper.__name__ else {}
    return Row(id, hyper, {**sizes, **arguments}, floats(shape), slow=id in SLOW, **extra)


def inputs_last(name, down, up):
    """The product of an update of a kernel whose inputs come last."""
    return np.einsum("ir,...r->...i", down, up)


ROWS = [row(*entry) for entry in TABLE]
