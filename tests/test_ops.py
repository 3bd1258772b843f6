"""Convolutions with a kernel per row, against the operation of Keras row by row."""

import functools
import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_hypernet.ops.conv import conv
from keras_hypernet.ops.conv_transpose import conv_transpose
from keras_hypernet.ops.depthwise_conv import depthwise_conv

from .backend import BACKEND, numpy_of, tensors_of

SIZES = (7, 5, 4)  # of the data
WINDOW = (3, 2, 2)
IN, OUT = 4, 6
ROWS = {"per sample": (3, 3), "grouped": (4, 2), "shared": (2, 1)}  # batch, rows


def case(kind, rank, padding, strides=1, dilation=1, groups=1, first=False, extra=None):
    """Arguments of an operation, and those of Keras' for one row."""
    many = lambda n: tuple(n) if isinstance(n, tuple) else (n,) * rank  # noqa: E731
    options = {"strides": many(strides), "padding": padding, "dilation_rate": many(dilation)}
    options["data_format"] = "channels_first" if first else "channels_last"
    if kind == "conv":
        options["groups"] = groups
    if kind == "transpose":
        options["output_padding"] = extra
    return kind, rank, options


CASES = {
    "conv 1d valid": case("conv", 1, "valid"),
    "conv 1d causal": case("conv", 1, "causal", strides=2, groups=2),
    "conv 1d causal dilated": case("conv", 1, "causal", dilation=2, first=True),
    "conv 1d same strided": case("conv", 1, "same", strides=3),
    "conv 2d valid dilated": case("conv", 2, "valid", dilation=(2, 3)),
    "conv 2d same": case("conv", 2, "same", groups=2),
    "conv 2d same strided": case("conv", 2, "same", strides=(2, 3), first=True),
    "conv 2d same dilated": case("conv", 2, "same", dilation=2),
    "conv 2d valid groups": case("conv", 2, "valid", strides=2, groups=2, first=True),
    "conv 3d same": case("conv", 3, "same", strides=(2, 1, 2)),
    "conv 3d valid": case("conv", 3, "valid", groups=2, first=True),
    "depthwise 1d valid": case("depthwise", 1, "valid", strides=2),
    "depthwise 1d same dilated": case("depthwise", 1, "same", dilation=2, first=True),
    "depthwise 2d same": case("depthwise", 2, "same"),
    "depthwise 2d same strided": case("depthwise", 2, "same", strides=2, first=True),
    "depthwise 2d valid dilated": case("depthwise", 2, "valid", dilation=2),
    "transpose 1d valid": case("transpose", 1, "valid", strides=2),
    "transpose 1d dilated": case("transpose", 1, "same", dilation=2),
    "transpose 1d wide stride": case("transpose", 1, "valid", strides=5, first=True),
    "transpose 2d same": case("transpose", 2, "same", strides=2),
    "transpose 2d same extra": case("transpose", 2, "same", strides=(3, 2), extra=(2, 1)),
    "transpose 2d valid extra": case("transpose", 2, "valid", strides=2, extra=1, first=True),
    "transpose 2d one": case("transpose", 2, "same", strides=1),
    "transpose 2d dilated": case("transpose", 2, "valid", dilation=(3, 2)),
    "transpose 3d same": case("transpose", 3, "same", strides=(2, 1, 3)),
    "transpose 3d valid": case("transpose", 3, "valid", strides=2, first=True),
}
SOME = ("conv 2d same", "conv 2d same strided", "depthwise 2d same", "transpose 2d same")
OPERATIONS = {"conv": conv, "depthwise": depthwise_conv, "transpose": conv_transpose}


def ours(name):
    kind, _, options = CASES[name]
    return functools.partial(OPERATIONS[kind], **options)


def keras_row(name):
    """The operation of Keras for the data of one row and its kernel."""
    kind, _, options = CASES[name]
    options = {key: value for key, value in options.items() if key != "groups"}
    if kind != "conv":
        of_kind = {"depthwise": ops.depthwise_conv, "transpose": ops.conv_transpose}[kind]
        return functools.partial(of_kind, **options)

    def convolve(x, kernel):
        if options["padding"] != "causal":
            return ops.conv(x, kernel, **options)
        left = options["dilation_rate"][0] * (kernel.shape[0] - 1)
        pads = [(0, 0), (left, 0), (0, 0)]
        pads = pads if options["data_format"] == "channels_last" else [pads[0], pads[2], pads[1]]
        return ops.conv(ops.pad(x, pads), kernel, **{**options, "padding": "valid"})

    return convolve


def looped(name):
    row = keras_row(name)

    def loop(x, kernel):
        n = x.shape[0] // kernel.shape[0]
        parts = [row(x[i * n : (i + 1) * n], kernel[i]) for i in range(kernel.shape[0])]
        return ops.concatenate(parts, axis=0)

    return loop


def arrays(name, batch, rows):
    kind, rank, options = CASES[name]
    rng = np.random.default_rng(0)
    sizes, window = SIZES[:rank], WINDOW[:rank]
    first = options["data_format"] == "channels_first"
    channels = {
        "conv": (IN // options.get("groups", 1), OUT),
        "depthwise": (IN, 2),
        "transpose": (OUT, IN),
    }[kind]
    x = rng.normal(size=(batch, IN, *sizes) if first else (batch, *sizes, IN))
    kernel = rng.normal(size=(rows, *window, *channels))
    return x.astype("float32"), kernel.astype("float32")


def values_and_gradients(function, inputs, dynamic=False):
    """Outputs, and the gradients of `sum(sin(outputs))` for the inputs; compiled where it can be.

    Args:
        dynamic: Whether the batch and the rows are unknown to the function, on TensorFlow.
    """
    inputs = tensors_of(inputs)
    if BACKEND == "jax":
        import jax

        def both(x, kernel):
            y, pull = jax.vjp(function, x, kernel)
            return y, *pull(ops.cos(y))

        return numpy_of(jax.jit(both)(*inputs))
    if BACKEND == "tensorflow":
        import tensorflow as tf

        def both(x, kernel):
            with tf.GradientTape() as tape:
                tape.watch([x, kernel])
                y = function(x, kernel)
                total = ops.sum(ops.sin(y))
            return y, *map(tf.convert_to_tensor, tape.gradient(total, [x, kernel]))

        signature = [
            tf.TensorSpec((None, *t.shape[1:]) if dynamic and t.shape[0] != 1 else t.shape, t.dtype)
            for t in inputs
        ]
        # Compiled in any case: uncompiled, TensorFlow lacks some convolutions on CPU.
        return numpy_of(tf.function(both, jit_compile=True, input_signature=signature)(*inputs))
    import torch

    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    y = function(*inputs)
    found = torch.autograd.grad(ops.sum(ops.sin(y)), inputs)
    return numpy_of((y.detach(), *found))


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        *itertools.product(CASES, ("per sample", "grouped")),
        *itertools.product((*SOME, "conv 1d causal dilated"), ("shared",)),
    ],
)
def test_equals_keras_row_by_row(name, rows):
    inputs = arrays(name, *ROWS[rows])
    expected = values_and_gradients(looped(name), inputs)
    found = values_and_gradients(ours(name), inputs, dynamic=True)
    for got, want, tolerance in zip(found, expected, (1e-5, 1e-4, 1e-4), strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.skipif(BACKEND != "jax", reason="the other backends do not")
@pytest.mark.parametrize(
    ("name", "at_once", "turns"),
    [
        ("conv 2d valid dilated", 1, 4),
        ("conv 2d valid dilated", 900, 2),
        ("conv 1d causal", 1, 8),  # two groups
        ("transpose 2d dilated", 1, 4),
    ],
)
def test_large_slices_are_cut_out_for_some_rows_at_a_time(name, at_once, turns, monkeypatch):
    import jax

    inputs = arrays(name, 8, 4)
    expected = values_and_gradients(looped(name), inputs)
    assert "scan" not in str(jax.make_jaxpr(ours(name))(*inputs))
    monkeypatch.setattr("keras_hypernet.ops.conv.AT_ONCE", at_once)
    assert f"length={turns}" in str(jax.make_jaxpr(ours(name))(*inputs))
    for got, want in zip(values_and_gradients(ours(name), inputs), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["conv 2d same", "depthwise 2d same", "transpose 2d dilated"])
def test_uncompiled(name):
    inputs = tensors_of(arrays(name, *ROWS["grouped"]))
    expected = values_and_gradients(looped(name), arrays(name, *ROWS["grouped"]))[0]
    np.testing.assert_allclose(numpy_of(ours(name)(*inputs)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize(("batch", "rows"), [(0, 0), (0, 2)])
def test_empty_batch(name, batch, rows):
    y = ours(name)(*tensors_of(arrays(name, batch, rows)))
    assert y.shape == (0, *keras_shape(name))


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(name, dtype):
    inputs = tensors_of(arrays(name, *ROWS["grouped"]))
    expected = numpy_of(ours(name)(*inputs))
    found = ours(name)(*(ops.cast(x, dtype) for x in inputs))
    assert keras.backend.standardize_dtype(found.dtype) == dtype
    np.testing.assert_allclose(numpy_of(ops.cast(found, "float32")), expected, rtol=0.1, atol=0.2)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the others know every size")
@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("jit", [True, False])
def test_dynamic_sizes(name, jit):
    import tensorflow as tf

    _, rank, options = CASES[name]
    first = options["data_format"] == "channels_first"
    sizes = (None, IN, *[None] * rank) if first else (*[None] * (rank + 1), IN)
    kernel = arrays(name, 2, 2)[1]
    signature = [tf.TensorSpec(sizes), tf.TensorSpec((None, *kernel.shape[1:]))]
    function = tf.function(ours(name), jit_compile=jit, input_signature=signature)
    for batch, rows in [(4, 2), (3, 3), (3, 1), (0, 0)]:
        inputs = arrays(name, batch, rows)
        found = function(*inputs)
        assert found.shape == (batch, *keras_shape(name))
        if batch:
            expected = values_and_gradients(looped(name), inputs)[0]
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("operation", [conv, conv_transpose, depthwise_conv])
def test_rows_divide_the_batch(operation):
    name = {conv: SOME[0], depthwise_conv: SOME[2], conv_transpose: SOME[3]}[operation]
    with pytest.raises(Exception, match=r"reshape|shape|size"):
        ours(name)(*tensors_of(arrays(name, 3, 2)))


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch says so itself")
def test_window_that_does_not_fit():
    x, kernel = tensors_of(arrays("conv 1d valid", 2, 2))
    with pytest.raises(ValueError, match="must fit into the data"):
        ours("conv 1d valid")(x[:, :2], kernel)


def keras_shape(name):
    """Of the outputs for a row of data: the sizes, from Keras' own layers."""
    kind, rank, options = CASES[name]
    first = options["data_format"] == "channels_first"
    made = {
        "conv": lambda: getattr(keras.layers, f"Conv{rank}D")(OUT, WINDOW[:rank], **options),
        "depthwise": lambda: getattr(keras.layers, f"DepthwiseConv{rank}D")(
            WINDOW[:rank], depth_multiplier=2, **options
        ),
        "transpose": lambda: getattr(keras.layers, f"Conv{rank}DTranspose")(
            OUT, WINDOW[:rank], **options
        ),
    }[kind]()
    sizes = SIZES[:rank]
    return made.compute_output_shape((1, IN, *sizes) if first else (1, *sizes, IN))[1:]
