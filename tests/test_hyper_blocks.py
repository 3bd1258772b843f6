"""Blocks and layers of users in `Hyper`: right, or refused, and never wrong in silence."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_hypernet as kh
from tests.backend import gradients, numpy_of
from tests.conformance import assert_close

X = (4, 3, 3)


def drawn(hyper, shape, rows, rng):
    """Weights by name, a row of them or more for each tensor."""
    spec = hyper.spec(shape)
    rows = rows if isinstance(rows, dict) else dict.fromkeys(hyper.tensor_names, rows)
    pairs = zip(hyper.tensor_names, spec, strict=True)
    return {n: rng.normal(size=(rows.get(n, 1), *t.shape)).astype("float32") for n, t in pairs}


def by_hand(layer, x, weights, rows, **kwargs):
    """What the layer gives with each row's weights assigned, one after another."""
    layer(x, **kwargs)
    found = []
    for row, part in enumerate(np.split(x, rows)):
        values = [value[row % len(value)] for value in weights.values()]
        for variable, value in zip(layer.trainable_variables, values, strict=True):
            variable.assign(value)
        found.append(numpy_of(layer(part, **kwargs)))
    return np.concatenate(found)


# Subclasses with the `call` of their base, which does something else.


class OwnKernel(layers.Dense):
    @property
    def kernel(self):
        return 2 * super().kernel


class OwnConvolution(layers.Conv1D):
    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel / ops.std(kernel))


class Tied(layers.Layer):
    """Reads the table of the layer inside it, past its call."""

    def build(self, shape):
        self.dense = layers.Dense(shape[-1], use_bias=False, name="dense")
        self.dense.build(shape)

    def call(self, x):
        return ops.matmul(self.dense(x), ops.transpose(self.dense.kernel))


@pytest.mark.parametrize("make", [lambda: OwnKernel(2), lambda: OwnConvolution(2, 2), Tied])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("update", [True, False])
def test_with_one_row_the_call_of_the_layer_itself_runs(make, shared, update, rng):
    x = rng.normal(size=X).astype("float32")
    hyper = kh.Hyper(make(), shared=shared)
    weights = drawn(hyper, X, 1, rng)
    meant = dict(weights)
    if update:
        name = hyper.tensor_names[0]
        base = weights[name][0]
        shapes = hyper.update_shapes(name, base.shape, 1)
        down, up = (rng.normal(size=(1, *shape)).astype("float32") for shape in shapes)
        weights[name] = {"base": base, "down": down, "up": up}
        meant[name] = base + down @ up
    assert_close(numpy_of(hyper(x, weights)), by_hand(make(), x, meant, 1), 1e-4)


# What is read past the call of its layer has no meaning with weights per row.


class Reads(layers.Layer):
    """Uses the kernel inside it past its layer's call, where `where` says."""

    def __init__(self, where, **kwargs):
        super().__init__(**kwargs)
        self.where = where

    def build(self, shape):
        self.dense = layers.Dense(shape[-1], name="dense")
        self.dense.build(shape)

    def call(self, x, training=None):
        kernel = self.dense.kernel
        if self.where == "a loss":
            self.add_loss(ops.sum(ops.square(kernel)))
        if self.where == "training" and training:
            return ops.matmul(x, kernel)
        if self.where == "assigning" and training:
            kernel.assign(ops.zeros(kernel.shape))
        return self.dense(x)

    def get_config(self):
        return {**super().get_config(), "where": self.where}


@pytest.mark.parametrize("where", ["a loss", "training", "assigning"])
def test_weights_per_row_are_not_read_past_the_call_of_their_layer(where, rng):
    x = rng.normal(size=X).astype("float32")
    for check_rows in (True, False):
        hyper = kh.Hyper(Reads(where), check_rows=check_rows)
        weights = drawn(hyper, X, {"dense/kernel": 2}, rng)
        with pytest.raises(ValueError, match=r"dense/kernel is read or assigned to.*`shared=True`"):
            hyper(x, weights, training=True)
        weights["dense/kernel"] = weights["dense/kernel"][:1]
        hyper(x, weights, training=True)


# A block is tried out for whatever tensors get rows, and each option of a call.


@keras.saving.register_keras_serializable(package="tests")
class Positions(layers.Layer):
    """Has a table of positions, which has no batch, and may move the batch behind them."""

    def build(self, shape):
        self.dense, self.table = layers.Dense(shape[-1], name="dense"), layers.Embedding(8, 3)
        self.dense.build(shape)
        self.table.build((None,))

    def call(self, x, time_major=False):
        axes = (1, 0, 2) if time_major else (0, 1, 2)
        y = ops.transpose(self.dense(ops.transpose(x, axes)), axes)
        return y + self.table(ops.arange(x.shape[1]))


def tried_out(rng):
    hyper = kh.Hyper(Positions())
    hyper(np.ones(X, "float32"), drawn(hyper, X, {"dense/kernel": 2}, rng))
    return hyper


def spec_read(rng):
    hyper = kh.Hyper(Positions())
    hyper.spec(X)
    return hyper


@pytest.mark.parametrize("make", [tried_out, spec_read])
@pytest.mark.parametrize("copied", [True, False])
@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ({"dense/kernel": 2, "embedding/embeddings": 2}, {}, "embedding is called on data without"),
        ({"dense/kernel": 2}, {"time_major": True}, "dense is called on data without"),
    ],
)
def test_a_block_that_was_tried_out_is_so_again(make, copied, rows, options, message, rng):
    hyper = make(rng)
    if copied:
        hyper = kh.Hyper.from_config(hyper.get_config())
    x = np.ones(X, "float32")
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            hyper(x, drawn(hyper, X, rows, rng), **options)


def test_a_block_is_tried_out_once(rng, monkeypatch):
    hyper = tried_out(rng)
    monkeypatch.setattr("keras_hypernet.layers.rows_check.check", None)
    for again in (hyper, kh.Hyper.from_config(hyper.get_config())):
        x = rng.normal(size=X).astype("float32")
        weights = drawn(again, X, {"dense/kernel": 2}, rng)
        expected = by_hand(Positions(), x, weights, 2)
        assert_close(numpy_of(again(x, weights, training=True)), expected, 1e-5)


# A leaf that mixes rows up is found, whatever its block makes of that.


class Mixes(layers.Layer):
    """Puts halves of the positions before the batch, which `made` hides."""

    def __init__(self, made, **kwargs):
        super().__init__(**kwargs)
        self.made = made

    def build(self, shape):
        self.dense = layers.Dense(shape[-1], name="dense")
        self.dense.build(shape)

    def call(self, x):
        merged = ops.concatenate([x, x], axis=0)
        return self.made(x, ops.split(self.dense(merged), 2)[0])


@pytest.mark.parametrize(
    "made",
    [
        lambda x, y: y,
        lambda x, y: ops.mean(ops.square(y)),
        lambda x, y: x + 1e-5 * y,
        lambda x, y: x + ops.stop_gradient(ops.cast(y > 100, x.dtype)),
    ],
    ids=["itself", "a scalar", "little", "seldom"],
)
def test_a_leaf_that_mixes_rows_up_is_found(made, rng):
    hyper = kh.Hyper(Mixes(made))
    with pytest.raises(ValueError, match="alone"):
        hyper(np.ones(X, "float32"), drawn(hyper, X, 2, rng))


# What is computed again is so without the weights.


class Remade(layers.Layer):
    """Its dense layer is computed again for the gradient."""

    def build(self, shape):
        with keras.RematScope(mode="full"):
            self.dense = layers.Dense(shape[-1], activation="tanh", name="dense")
        self.dense.build(shape)

    def call(self, x):
        return self.dense(x)


@pytest.mark.parametrize(("shared", "rows"), [(False, 2), (False, 1), (True, 1)])
def test_what_is_rematerialized_is_refused(shared, rows, rng):
    hyper = kh.Hyper(Remade(), shared=shared)
    with pytest.raises(ValueError, match=r"'dense' in 'remade.*rematerialized"):
        hyper(np.ones(X, "float32"), drawn(hyper, X, rows, rng))


class RemadeInside(Remade):
    def call(self, x):
        return keras.remat(lambda x: self.dense(x))(x)

    def build(self, shape):
        self.dense = layers.Dense(shape[-1], activation="tanh", name="dense")
        self.dense.build(shape)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="others do not compute it so")
def test_what_a_block_computes_again_by_itself_gives_no_wrong_gradient(rng):
    """No other weights are there to be read outside of the call."""
    x, plain = rng.normal(size=X).astype("float32"), RemadeInside()
    plain(x)
    hyper = kh.Hyper(plain, shared=True)
    weights = np.concatenate([v.reshape(1, -1) for v in drawn(hyper, X, 1, rng).values()], axis=1)
    found = gradients(hyper, [x, weights], [rng.normal(size=X).astype("float32")])[1]
    assert all(np.isnan(gradient).any() for gradient in found)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="has a function of TensorFlow")
@pytest.mark.parametrize("shared", [False, True])
def test_what_keeps_its_weights_in_a_graph_is_refused(shared):
    import tensorflow as tf

    class Traced(Tied):
        call = tf.function(Tied.call)

    with pytest.raises(ValueError, match=r"'traced.*`tf.function`"):
        kh.Hyper(Traced(), shared=shared)


# A `Hyper` in a block around a part of the block.


class Inner(layers.Layer):
    """Runs a part of itself on ones, beside its own weights."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(3, name="dense")
        self.part = keras.Sequential([self.dense, layers.Activation("tanh")])
        self.on_ones = kh.Hyper(self.part, shared=True, copy=False)

    def build(self, shape):
        self.part.build(shape)

    def call(self, x):
        return self.on_ones(x, ops.ones((1, 12))) + self.part(x)


def test_an_inner_hyper_layer_has_its_own_weights(rng):
    x = rng.normal(size=X).astype("float32")
    hyper = kh.Hyper(Inner())
    weights = drawn(hyper, X, 2, rng)
    assert_close(numpy_of(hyper(x, weights)), by_hand(Inner(), x, weights, 2), 1e-5)


# Rows that do not divide the batch, where neither is known before.


class Merged(layers.Layer):
    """The batch merged with positions, which rows of any number may divide."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, shape):
        self.dense = layers.Dense(shape[-1], name="dense")
        self.dense.build(shape)

    def call(self, x, mask=None):
        batch, steps, size = ops.shape(x)
        y = ops.reshape(self.dense(ops.reshape(x, (batch * steps, size))), (batch, steps, size))
        return y if mask is None else ops.where(mask[..., None], y, 0)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="elsewhere shapes are known")
@pytest.mark.parametrize("known", [True, False])
def test_rows_that_do_not_divide_a_dynamic_batch(known, rng):
    import tensorflow as tf

    x = rng.normal(size=(6, 4, 3)).astype("float32")
    x[:, 2:] = 0
    hyper = kh.Hyper(Merged())
    weights = drawn(hyper, x.shape, 2, rng)
    any_batch = tf.TensorSpec((None, 4, 3))
    rows = {n: tf.TensorSpec((2 if known else None, *w.shape[1:])) for n, w in weights.items()}

    @tf.function(input_signature=[any_batch, rows])
    def call(x, weights):
        return hyper(layers.Masking()(x), weights)

    expected = by_hand(keras.Sequential([layers.Masking(), Merged()]), x, weights, 2)
    assert_close(numpy_of(call(x, weights)), expected, 1e-5)
    with pytest.raises(Exception, match="reshape"):
        call(x[:5], weights)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="elsewhere shapes are known")
def test_rows_of_one_factor_that_do_not_divide_a_dynamic_batch(rng):
    import tensorflow as tf

    hyper = kh.Hyper(Merged())
    hyper.spec(X)
    rows = {"down": 1, "up": None}
    shapes = {"base": (3, 3), "down": (1, 3, 2), "up": (2, 2, 3)}
    update = {n: rng.normal(size=shape).astype("float32") for n, shape in shapes.items()}
    weights = {"dense/kernel": update, "dense/bias": np.zeros((1, 3), "float32")}
    of_update = {n: tf.TensorSpec((rows.get(n, s[0]), *s[1:])) for n, s in shapes.items()}
    specs = {"dense/kernel": of_update, "dense/bias": tf.TensorSpec((1, 3))}

    @tf.function(input_signature=[tf.TensorSpec((None, 4, 3)), specs])
    def call(x, weights):
        return hyper(x, weights)

    x = rng.normal(size=(6, 4, 3)).astype("float32")
    kernels = update["base"] + update["down"] @ update["up"]
    expected = np.concatenate([part @ k for part, k in zip(np.split(x, 2), kernels)])
    assert_close(numpy_of(call(x, weights)), expected, 1e-5)
    with pytest.raises(Exception, match="reshape"):
        call(x[:5], weights)


def test_forms_of_weights_of_a_dynamic_batch():
    hyper = kh.Hyper(Merged())
    hyper.spec(X)
    bias, down, up = (keras.Input(shape) for shape in ((3,), (3, 2), (2, 3)))
    update = {"base": keras.KerasTensor((3, 3)), "down": down, "up": up}
    factored = {"features": up[:, 0], "basis": keras.KerasTensor((3, 9))}
    factored["offset"] = keras.KerasTensor((9,))
    one = {**update, "down": keras.KerasTensor((1, 3, 2))}
    for kernel in (update, one, factored):
        y = hyper(keras.Input(X[1:]), {"dense/kernel": kernel, "dense/bias": bias})
        assert tuple(y.shape) == (None, *X[1:])


# Weights that are seen only when a layer is built, or later.


class Late(layers.Layer):
    """Builds one of its layers in the first call that needs it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.other, self.first = layers.Dense(3, name="other"), layers.Dense(3, name="first")

    def build(self, shape):
        self.first.build(shape)

    def call(self, x, other=False):
        return self.other(x) if other else self.first(x)


@pytest.mark.parametrize("rows", [1, 2])
def test_weights_made_in_a_later_call_are_refused(rows, rng):
    hyper, x = kh.Hyper(Late()), np.ones(X, "float32")
    weights = drawn(hyper, X, rows, rng)
    hyper(x, weights)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"'late.*must make all its weights.*other/"):
            hyper(x, weights, other=True)


class Foreign(layers.Layer):
    """Makes a layer with the weights of another library when it is built."""

    def build(self, shape):
        import torch

        self.dense, self.module = layers.Dense(3), torch.nn.Linear(3, 3)
        self.dense.build(shape)

    def call(self, x):
        return self.dense(self.module(x))


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="has a module of PyTorch")
def test_foreign_weights_made_in_build_are_refused():
    hyper = kh.Hyper(Foreign(), shared=True)
    with pytest.raises(ValueError, match=r"Keras' own weights.*foreign.*TorchModuleWrapper"):
        hyper(np.ones(X, "float32"), np.ones((1, 24), "float32"))


def test_a_failed_call_does_not_part_a_layer_from_its_hyper_layer(rng):
    layer = Merged()
    hyper = kh.Hyper(layer, copy=False)
    with pytest.raises(ValueError, match="entries"):
        hyper(np.ones(X, "float32"), np.ones((2, 5), "float32"))
    assert hyper.wrapped_layer() is layer
    hyper(np.ones(X, "float32"), drawn(hyper, X, 2, rng))
