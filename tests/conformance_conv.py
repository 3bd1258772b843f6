"""The convolutions against their twins: together the rows cover what the arguments change."""

from keras_hypernet.layers.hyper_conv1d import HyperConv1D
from keras_hypernet.layers.hyper_conv1d_transpose import HyperConv1DTranspose
from keras_hypernet.layers.hyper_conv2d import HyperConv2D
from keras_hypernet.layers.hyper_conv2d_transpose import HyperConv2DTranspose
from keras_hypernet.layers.hyper_conv3d import HyperConv3D
from keras_hypernet.layers.hyper_conv3d_transpose import HyperConv3DTranspose
from keras_hypernet.layers.hyper_depthwise_conv1d import HyperDepthwiseConv1D
from keras_hypernet.layers.hyper_depthwise_conv2d import HyperDepthwiseConv2D
from keras_hypernet.layers.hyper_separable_conv1d import HyperSeparableConv1D
from keras_hypernet.layers.hyper_separable_conv2d import HyperSeparableConv2D
from tests.conformance import Row, floats

FIRST = {"data_format": "channels_first"}

# Class, what is particular, shape of a sample, arguments beyond four filters and windows of three.
TABLE = [
    (HyperConv1D, "", (6, 2), {"activation": "tanh"}),
    (HyperConv1D, "causal dilated", (6, 2), {"padding": "causal", "dilation_rate": 2}),
    (
        HyperConv1D,
        "causal first",
        (4, 6),
        {"padding": "causal", "strides": 2, "groups": 2, **FIRST},
    ),
    (HyperConv1D, "same", (7, 2), {"padding": "same", "strides": 3, "use_bias": False}),
    (HyperConv1D, "same first", (2, 6), {"padding": "same", **FIRST}),
    (HyperConv2D, "penalty", (5, 4, 2), {"kernel_regularizer": "l2", "bias_regularizer": "l1"}),
    (HyperConv2D, "activity", (3, 4, 2), {"activity_regularizer": "l2", "activation": "relu"}),
    (HyperConv2D, "same", (5, 6, 2), {"kernel_size": (3, 2), "padding": "same", "strides": (2, 3)}),
    (HyperConv2D, "dilated first", (2, 6, 7), {"dilation_rate": (2, 3), **FIRST}),
    (HyperConv2D, "same dilated", (5, 5, 2), {"padding": "same", "dilation_rate": 2}),
    (HyperConv2D, "groups", (4, 5, 4), {"groups": 2, "use_bias": False}),
    (
        HyperConv2D,
        "groups first",
        (4, 5, 5),
        {"groups": 4, "padding": "same", "strides": 2, **FIRST},
    ),
    (HyperConv3D, "", (3, 4, 3, 2), {"kernel_size": 2, "activation": "tanh"}),
    (HyperConv3D, "same", (4, 3, 3, 2), {"padding": "same", "strides": (2, 1, 3), "groups": 2}),
    (
        HyperConv3D,
        "first",
        (2, 5, 3, 3),
        {"kernel_size": (2, 1, 3), "dilation_rate": (3, 1, 1), **FIRST},
    ),
    (HyperDepthwiseConv1D, "", (6, 2), {"strides": 2, "activation": "tanh"}),
    (HyperDepthwiseConv1D, "same", (6, 2), {"padding": "same", "dilation_rate": 2}),
    (HyperDepthwiseConv1D, "first", (2, 6), {"depth_multiplier": 2, "padding": "same", **FIRST}),
    (
        HyperDepthwiseConv2D,
        "penalty",
        (4, 5, 2),
        {"depthwise_regularizer": "l2", "bias_regularizer": "l1"},
    ),
    (
        HyperDepthwiseConv2D,
        "same",
        (5, 5, 2),
        {"padding": "same", "strides": 2, "use_bias": False, "depth_multiplier": 3},
    ),
    (
        HyperDepthwiseConv2D,
        "first",
        (2, 6, 5),
        {"kernel_size": (3, 2), "dilation_rate": 2, **FIRST},
    ),
    (HyperSeparableConv1D, "", (6, 2), {"strides": 2, "activation": "tanh"}),
    (HyperSeparableConv1D, "same", (6, 2), {"padding": "same", "dilation_rate": 2}),
    (HyperSeparableConv1D, "first", (2, 6), {"depth_multiplier": 2, "padding": "same", **FIRST}),
    (
        HyperSeparableConv2D,
        "penalty",
        (4, 5, 2),
        {"depthwise_regularizer": "l2", "pointwise_regularizer": "l1", "depth_multiplier": 2},
    ),
    (
        HyperSeparableConv2D,
        "first",
        (2, 5, 5),
        {"padding": "same", "strides": 2, "use_bias": False, **FIRST},
    ),
    (HyperConv1DTranspose, "", (4, 2), {"strides": 2, "activation": "tanh"}),
    (HyperConv1DTranspose, "same dilated", (5, 2), {"padding": "same", "dilation_rate": 2}),
    (
        HyperConv1DTranspose,
        "first",
        (2, 3),
        {"strides": 3, "output_padding": 1, "padding": "same", **FIRST},
    ),
    (HyperConv2DTranspose, "same", (3, 4, 2), {"padding": "same", "strides": 2}),
    (HyperConv2DTranspose, "dilated", (3, 3, 2), {"dilation_rate": (2, 1), "use_bias": False}),
    (
        HyperConv2DTranspose,
        "extra",
        (2, 3, 2),
        {"strides": (3, 2), "output_padding": (2, 0), "kernel_regularizer": "l2"},
    ),
    (HyperConv2DTranspose, "first", (2, 3, 3), {"kernel_size": (2, 3), "strides": (3, 1), **FIRST}),
    (HyperConv3DTranspose, "", (2, 2, 3, 2), {"kernel_size": 2, "activation": "tanh"}),
    (
        HyperConv3DTranspose,
        "first",
        (2, 2, 2, 3),
        {"kernel_size": 2, "strides": (2, 1, 2), "padding": "same", **FIRST},
    ),
]


def row(hyper, particular, shape, arguments):
    """A row of the conformance battery."""
    sizes = {"kernel_size": 3}
    if "Depthwise" not in hyper.__name__:
        sizes["filters"] = 4
    id = f"{hyper.__name__} {particular}".strip()
    return Row(id, hyper, {**sizes, **arguments}, floats(shape))


ROWS = [row(*entry) for entry in TABLE]
