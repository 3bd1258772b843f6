"""What the convolutions refuse, before a tensor is made."""

import keras
import numpy as np
import pytest

from keras_hypernet.layers.hyper_conv1d import HyperConv1D
from keras_hypernet.layers.hyper_conv2d import HyperConv2D
from keras_hypernet.layers.hyper_conv2d_transpose import HyperConv2DTranspose
from keras_hypernet.layers.hyper_conv3d import HyperConv3D
from keras_hypernet.layers.hyper_depthwise_conv1d import HyperDepthwiseConv1D
from keras_hypernet.layers.hyper_depthwise_conv2d import HyperDepthwiseConv2D
from keras_hypernet.layers.hyper_separable_conv1d import HyperSeparableConv1D
from keras_hypernet.layers.hyper_separable_conv2d import HyperSeparableConv2D
from tests.backend import numpy_of

FIRST = {"data_format": "channels_first"}


def weights(size, rows=2):
    return np.ones((rows, size), "float32")


@pytest.mark.parametrize(
    ("hyper", "arguments", "error", "message"),
    [
        (HyperConv2D, {"filters": 0}, ValueError, "filters"),
        (HyperConv2D, {"filters": None}, TypeError, "filters"),
        (HyperConv2D, {"filters": 5, "groups": 2}, ValueError, "groups"),
        (HyperConv2D, {"filters": 4, "padding": "causal"}, ValueError, "padding"),
        (HyperConv2D, {"filters": 4, "strides": 2, "dilation_rate": 2}, ValueError, "strides"),
        (HyperConv3D, {"filters": 4, "kernel_size": (2, 2)}, ValueError, "kernel_size"),
        (HyperDepthwiseConv1D, {"padding": "causal"}, ValueError, "padding"),
        (HyperDepthwiseConv1D, {"depth_multiplier": 1.5}, TypeError, "depth_multiplier"),
        (HyperSeparableConv1D, {"filters": 4, "padding": "causal"}, ValueError, "padding"),
        (HyperConv2DTranspose, {"filters": 4, "output_padding": 1}, ValueError, "output_padding"),
    ],
)
def test_arguments(hyper, arguments, error, message):
    with pytest.raises(error, match=message):
        hyper(**{"kernel_size": 3, **arguments})


@pytest.mark.parametrize(
    ("layer", "shape", "size", "message"),
    [
        (HyperConv1D(4, 3), (2, 5), 28, r"`x` must have 3 axes.*shape \(2, 5\).*spatial, channels"),
        (HyperConv2D(4, 3, **FIRST), (2, 5, 5), 76, "`x` must have 4 axes.*channels, .spatial"),
        (HyperConv2D(4, 3), (2, 1, 5, 5, 2), 76, "`x` must have 4 axes"),
        (HyperConv2DTranspose(4, 3), (2, 5, 2), 76, "`x` must have 4 axes"),
        (HyperConv2D(4, 3, groups=2), (2, 5, 5, 3), 58, "divisible by `groups`.*3 channels"),
        (HyperConv2D(4, 3), (2, 2, 5, 2), 76, "output size"),
        (HyperConv2D(4, 3), (2, 5, 5, 2), 75, "76"),
        (HyperDepthwiseConv2D(3), (2, 2, 5, 2), 20, "output size"),
        (HyperSeparableConv2D(4, 3), (3, 5, 5, 2), 30, "divide"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_shapes(layer, shape, size, message):
    with pytest.raises(ValueError, match=message):
        layer(np.ones(shape, "float32"), weights(size))
    assert not layer.built


@pytest.mark.parametrize(
    ("layer", "shape", "axis"),
    [
        (HyperConv2D(4, 3, **FIRST), (None, 5, 5), 1),
        (HyperDepthwiseConv2D(3), (5, 5, None), 3),
        (HyperSeparableConv1D(4, 3), (5, None), 2),
        (HyperConv2DTranspose(4, 3), (5, 5, None), 3),
    ],
)
def test_unknown_channels(layer, shape, axis):
    with pytest.raises(ValueError, match=f"Axis {axis} of `x`.*must be known"):
        layer(keras.KerasTensor((None, *shape)), keras.KerasTensor((None, 76)))
    with pytest.raises(ValueError, match=f"Axis {axis} of `x`.*must be known"):
        layer.spec((None, *shape))


@pytest.mark.parametrize(
    ("layer", "shape", "other", "size"),
    [
        (HyperConv1D(4, 3, **FIRST), (2, 2, 5), (2, 3, 5), 28),
        (HyperDepthwiseConv1D(3), (2, 5, 2), (2, 5, 3), 8),
        (HyperSeparableConv1D(4, 3), (2, 5, 2), (2, 5, 1), 18),
        (HyperConv2DTranspose(4, 3), (2, 5, 5, 2), (2, 5, 5, 4), 76),
    ],
)
def test_other_channels_than_built_for(layer, shape, other, size):
    layer(np.ones(shape, "float32"), weights(size))
    with pytest.raises(ValueError, match=r"`x` must have 2 channels on axis \d.*built"):
        layer(np.ones(other, "float32"), weights(size))


@pytest.mark.parametrize(
    "layer",
    [HyperConv1D(4, 3, groups=2), HyperDepthwiseConv1D(3), HyperSeparableConv1D(4, 3)],
)
def test_updates_that_are_refused(layer):
    shapes = layer.weight_shapes((2, 5, 2))
    tensors = {name: np.ones((2, *shape), "float32") for name, shape in shapes.items()}
    kernel = layer.tensor_names[0]
    *down, out = shapes[kernel]
    tensors[kernel] = {
        "base": np.ones(shapes[kernel], "float32"),
        "down": np.ones((2, *down, 1), "float32"),
        "up": np.ones((2, 1, out), "float32"),
    }
    with pytest.raises(ValueError, match=f"no update of low rank of its {kernel}"):
        layer(np.ones((2, 5, 2), "float32"), tensors)


def test_channels_first_beside_an_axis_as_long(rng):
    """`keras.ops.add` on TensorFlow takes the bias for one of the last axis here."""
    x = rng.normal(size=(4, 2, 4, 6)).astype("float32")
    drawn = rng.normal(size=(2, 76)).astype("float32")
    first = numpy_of(HyperConv2D(4, 3, **FIRST)(x, drawn))
    last = numpy_of(HyperConv2D(4, 3)(np.moveaxis(x, 1, -1), drawn))
    assert first.shape == (4, 4, 2, 4)
    np.testing.assert_allclose(first, np.moveaxis(last, -1, 1), rtol=1e-5, atol=1e-5)
