"""Whole Keras models to hypernetize, with data for them."""

import dataclasses
import pathlib
from collections.abc import Callable

import keras
import numpy as np
from keras import layers, tree

import keras_hypernet as kh
from keras_hypernet.utils import keras_internals
from tests.backend import BACKEND
from tests.conformance_blocks import PreNorm, Twice

SIZE = 3  # of conditionings


@dataclasses.dataclass
class Whole:
    """A model and how it is hypernetized.

    Args:
        name: Of the row in test reports.
        make: Function that returns the model.
        data: Function of a random generator and a number of rows that returns what the model takes.
        arguments: Of `hypernetize`.
        own_conditions: How many inputs of the model are conditionings themselves.
        slow: Whether it takes long.
    """

    name: str
    make: Callable
    data: Callable
    arguments: dict = dataclasses.field(default_factory=dict)
    own_conditions: int = 0
    slow: bool = False

    @property
    def shared(self):
        return self.arguments.get("shared", False)

    def hyper(self, model, **arguments):
        return kh.hypernetize(model, SIZE, **{**self.arguments, **arguments})

    def conditions(self, rng, rows):
        return rng.normal(size=(1 if self.shared else rows, SIZE)).astype("float32")


def floats(*shapes):
    """A data function for floating inputs."""

    def draw(rng, rows):
        found = [rng.normal(size=(rows, *shape)).astype("float32") for shape in shapes]
        return found if len(found) > 1 else found[0]

    return draw


def padded_ids(rng, rows):
    """Sequences of ids from 1, with zeros behind."""
    found = rng.integers(1, 9, size=(rows, 6)).astype("int32")
    lengths = rng.integers(2, 6, size=(rows, 1))
    return np.where(np.arange(6) < lengths, found, 0)


def dicts_data(rng, rows):
    vector, series = floats((3,), (4, 5))(rng, rows)
    return {"vector": vector, "series": series}


class Batches(keras.utils.PyDataset):
    """Equal batches whose inputs may have unequal rows."""

    def __init__(self, inputs, y, number=2):
        super().__init__()
        self.batch = (tuple(inputs) if len(inputs) > 1 else inputs[0], y)
        self.number = number

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        return self.batch


def predict(model, inputs):
    """Predictions as NumPy arrays in the output's structure: compiled on JAX, eager elsewhere."""
    call = model.predict_on_batch if BACKEND == "jax" else model
    return tree.map_structure(keras.ops.convert_to_numpy, call(inputs))


def compiled(model, loss="mse", optimizer=None, xla=False):
    """The model, compiled by XLA on JAX and where it is asked for; elsewhere eager."""
    optimizer = optimizer or keras.optimizers.Adam(0.01)
    xla = xla or BACKEND == "jax"
    model.compile(optimizer, loss=loss, jit_compile=xla, run_eagerly=not xla)
    return model


def weights_of(model):
    return [np.array(keras.ops.convert_to_numpy(v)) for v in model.variables]


def assert_close(found, expected, rtol=1e-4, atol=1e-5):
    tree.assert_same_structure(found, expected)
    for a, b in zip(tree.flatten(found), tree.flatten(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def settle(model, rng):
    """Gives a model values as if it were trained: none is zero or one."""
    for variable in model.weights:
        if "seed" in variable.path or not keras.backend.is_float_dtype(variable.dtype):
            continue
        noise = 0.1 * rng.normal(size=variable.shape)
        value = keras.ops.convert_to_numpy(variable)
        variable.assign(value + (np.abs(noise) if "variance" in variable.path else noise))
    return model


# Layers with state that is in no variable.


@keras.saving.register_keras_serializable(package="tests")
class Counted(layers.Layer):
    """Adds a number, which a file has among its arrays."""

    number = 0.0

    def call(self, x):
        return x + self.number

    def save_own_variables(self, store):
        store["number"] = np.array(self.number)

    def load_own_variables(self, store):
        self.number = float(np.array(store["number"]))


@keras.saving.register_keras_serializable(package="tests")
class Noted(layers.Layer):
    """Multiplies by the length of a text, which is a file of its own."""

    text = ""

    def call(self, x):
        return x * len(self.text)

    def save_assets(self, folder):
        pathlib.Path(folder, "text.txt").write_text(self.text)

    def load_assets(self, folder):
        self.text = pathlib.Path(folder, "text.txt").read_text()


@keras.saving.register_keras_serializable(package="tests")
class Stateful(layers.Layer):
    """A block with all kinds of state, and weights."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm, self.noted = layers.Normalization(), Noted()
        self.several = [Counted(), layers.BatchNormalization()]
        self.dense, self.dropout = layers.Dense(3), layers.Dropout(0.5)

    def build(self, shape):
        for layer in (self.norm, self.several[1], self.dense):
            layer.build(shape)

    def call(self, x, training=None):
        counted, norm = self.several
        x = norm(counted(self.noted(self.norm(x))), training=training)
        return self.dense(self.dropout(x, training=training))

    def compute_output_shape(self, shape):
        return (*shape[:-1], 3)


# Layers that are hard to save and to load.


@keras.saving.register_keras_serializable(package="tests")
class Unnamed(layers.Layer):
    """Has a variable that gets another name in each process."""

    def build(self, shape):
        self.scale = keras.Variable(np.ones(shape[-1:]), trainable=True)
        self.scale.regularizer = keras.regularizers.L2(0.1)  # weights go by their names then

    def call(self, x):
        return x * self.scale


@keras.saving.register_keras_serializable(package="tests")
class BuiltByItsCall(layers.Layer):
    """Leaves it to Keras to build what is inside, and says its output's shape."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm, self.dense = layers.LayerNormalization(), layers.Dense(3)

    def call(self, x):
        return self.dense(self.norm(x))

    def compute_output_shape(self, shape):
        return (*shape[:-1], 3)


@keras.saving.register_keras_serializable(package="tests")
class BuildsLater(layers.Layer):
    """Leaves it to its first call to build what is inside, which takes ids and a pair."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding, self.dense = layers.Embedding(9, 4), layers.Dense(4)

    def build(self, ids_shape, **others):
        pass

    def call(self, ids, pair=None, scale=1.0):
        return self.dense(self.embedding(ids)) * scale + pair[0] * pair[1]


@keras.saving.register_keras_serializable(package="tests")
class Holds(layers.Layer):
    """Is handed the table of another layer."""

    def __init__(self, table, **kwargs):
        super().__init__(**kwargs)
        self.table = table

    def build(self, shape):
        if not self.table.built:
            self.table.build(shape)

    def call(self, x):
        return self.table(x, reverse=True)

    def get_config(self):
        table = keras.saving.serialize_keras_object(self.table)
        return {**super().get_config(), "table": table}

    @classmethod
    def from_config(cls, config):
        table = keras.saving.deserialize_keras_object(config["table"])
        return cls(**{**config, "table": table})


@keras.saving.register_keras_serializable(package="tests")
class Relay(layers.Layer):
    """Takes and gives several tensors, some of which may be none, with switches between them."""

    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dense, self.dropout = layers.Dense(units), layers.Dropout(0.5)

    def build(self, inputs_shape, **others):
        self.dense.build(inputs_shape)

    def call(self, inputs, state=None, pair=None, times=1, training=None):
        y = self.dropout(self.dense(inputs), training=training) * times
        if state is not None:
            y = y + state
        if pair is not None:
            y = y + pair[0] * pair[1]
        return y, y * 0.5

    def compute_output_spec(self, inputs, *args, **kwargs):
        y = keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)
        return y, y


@keras.saving.register_keras_serializable(package="tests")
class Leaves(layers.Layer):
    """Leaves it to the layers inside whether they train."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense, self.dropout = layers.Dense(3), layers.Dropout(0.5)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return self.dropout(self.dense(x))


def adapted(layer):
    """A layer of which all that is inside has state unlike that of a new one."""
    for inner in keras_internals.layers_in(layer):
        if isinstance(inner, layers.Normalization):
            inner.adapt(np.array([[9.0, 1.0, -3.0], [11.0, 2.0, 5.0]], "float32"))
        elif isinstance(inner, Counted):
            inner.number = 2.5
        elif isinstance(inner, Noted):
            inner.text = "four"
    return layer


# Models.


def residual_cnn():
    x = keras.Input((8, 8, 2), name="image")
    y = layers.Conv2D(4, 3, padding="same", kernel_regularizer="l2", name="stem")(x)
    y = skip = layers.Activation("relu")(layers.BatchNormalization(name="stem_bn")(y))
    y = layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv")(y)
    y = layers.BatchNormalization(gamma_regularizer="l1", name="bn")(y)
    y = layers.Activation("relu")(layers.Add()([y, skip]))
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, strides=2, name="down")(y))
    return keras.Model(x, layers.Dense(3, bias_regularizer="l1", name="head")(y), name="cnn")


def unet():
    x = keras.Input((8, 8, 1))
    one = layers.Conv2D(3, 3, padding="same", activation="relu")(x)
    two = layers.Conv2D(4, 3, padding="same", activation="relu")(layers.MaxPooling2D()(one))
    low = layers.SeparableConv2D(6, 3, padding="same")(layers.MaxPooling2D()(two))
    up = layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu")(low)
    up = layers.Conv2D(4, 3, padding="same")(layers.Concatenate()([up, two]))
    up = layers.Conv2DTranspose(3, 2, strides=2)(layers.GroupNormalization(2)(up))
    return keras.Model(x, layers.Conv2D(1, 1)(layers.Concatenate()([up, one])), name="unet")


def encoder():
    ids = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 8, mask_zero=True, name="tokens")(ids)
    y = layers.MultiHeadAttention(2, 4, dropout=0.1, name="attention")(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, layers.Dropout(0.1)(y)]))
    y = layers.Dense(8)(layers.Dense(12, activation="gelu")(x))
    x = layers.LayerNormalization()(x + layers.Dropout(0.1)(y))
    return keras.Model(ids, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)), name="encoder")


def dicts():
    vector = keras.Input((3,), name="vector")
    series = keras.Input((4, 5), name="series")
    y = layers.GlobalMaxPooling1D()(layers.Conv1D(3, 2, name="conv")(series))
    joint = layers.Dense(4, activation="tanh", name="joint")(layers.Concatenate()([vector, y]))
    outputs = {"value": layers.Dense(1, name="value")(joint), "code": joint * 2.0}
    return keras.Model({"vector": vector, "series": series}, outputs, name="dicts")


def nested():
    deep = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="dense")], name="deep")
    inside = keras.Input((4,))
    y = layers.LayerNormalization()(deep(layers.Dense(4, activation="tanh", name="dense")(inside)))
    inner = keras.Model(inside, y, name="inner")
    chain = [keras.Input((4,)), layers.Dense(5, activation="tanh"), layers.BatchNormalization()]
    sequential = keras.Sequential(chain, name="chain")
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    y = layers.Dense(2, name="dense")(sequential(inner(a) + inner(b)))
    return keras.Model([a, b], y, name="nested")


def called_twice():
    x = keras.Input((4, 4))
    dense = layers.Dense(4, activation="tanh", kernel_regularizer="l2", name="twice")
    return keras.Model(x, layers.Dense(2)(dense(layers.Flatten()(dense(x))[:, :4])), name="twin")


def lstm_tagger():
    ids = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True)(ids)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both")(x)
    return keras.Model(ids, layers.TimeDistributed(layers.Dense(2))(x), name="tagger")


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    """A model that is no graph, with state and a loss of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(5, activation="tanh", kernel_regularizer="l2")
        self.norm = layers.BatchNormalization()
        self.head = layers.Dense(2)

    def build(self, shape):
        self.dense.build(shape)
        self.norm.build((*shape[:-1], 5))
        self.head.build((*shape[:-1], 5))

    def call(self, x, training=None):
        y = self.norm(self.dense(x), training=training)
        self.add_loss(keras.ops.mean(y**2))
        return self.head(y)


def subclassed():
    model = Subclassed(name="subclassed")
    model(np.zeros((2, 4), "float32"))
    return model


def blocks():
    """A block called twice, beside layers and in a nested model."""
    x = keras.Input((3, 4))
    block = PreNorm(name="block")
    y = layers.Dense(4, name="first")(block(x))
    inner = keras.Input((3, 4))
    nested = keras.Model(inner, block(Twice(name="twice")(inner)), name="nested")
    return keras.Model(x, layers.Dense(2, name="head")(nested(y)), name="blocks")


def built():
    return kh.build(2, 3, [(3, 5), (5, 2)], hidden_sizes=[6], name="built")


def wide_resnet():
    return kh.targets.wide_resnet(n=1, k=1, filters=(2, 2, 4, 8), input_shape=(8, 8, 3))


def of_kinds(spec):
    """Convolutions from chunks of a few kinds."""
    plan = kh.wide_resnet_chunking(wide_resnet())
    assert plan.spec.names == spec.names
    return kh.StructuredWeightGenerator(plan, hidden_sizes=[4])


def mobile():
    return keras.applications.MobileNetV2(weights=None, input_shape=(32, 32, 3), classes=10)


def efficient():
    return keras.applications.EfficientNetB0(weights=None, input_shape=(32, 32, 3), classes=10)


IMAGES = floats((32, 32, 3))

WHOLE = [
    Whole("residual cnn", residual_cnn, floats((8, 8, 2))),
    Whole("residual cnn delta", residual_cnn, floats((8, 8, 2)), {"mode": "delta"}),
    Whole("residual cnn low rank", residual_cnn, floats((8, 8, 2)), {"mode": "low_rank"}),
    Whole("unet", unet, floats((8, 8, 1))),
    Whole("encoder", encoder, padded_ids),
    Whole("encoder low rank", encoder, padded_ids, {"mode": "low_rank", "rank": 2}),
    Whole("dicts", dicts, dicts_data),
    Whole("nested", nested, floats((4,), (4,))),
    Whole("nested delta", nested, floats((4,), (4,)), {"mode": "delta"}),
    Whole("called twice", called_twice, floats((4, 4))),
    Whole("called twice shared", called_twice, floats((4, 4)), {"shared": True}),
    Whole("lstm tagger", lstm_tagger, padded_ids, {"shared": True}),
    Whole("subclassed", subclassed, floats((4,)), {"shared": True}),
    Whole("subclassed per row", subclassed, floats((4,)), {"mode": "delta"}),
    Whole("blocks", blocks, floats((3, 4))),
    Whole("blocks low rank", blocks, floats((3, 4)), {"mode": "low_rank", "rank": 2}),
    Whole(
        "wide resnet",
        wide_resnet,
        floats((8, 8, 3)),
        {"select": layers.Conv2D, "generator": of_kinds, "shared": True},
    ),
    Whole("built", built, floats((2,), (3,)), {"shared": True}, own_conditions=1),
    Whole(
        "mobile net last block",
        mobile,
        IMAGES,
        {"select": ["block_16_*", "predictions/*"], "mode": "delta"},
        slow=True,
    ),
    Whole("mobile net", mobile, IMAGES, {"shared": True, "hidden_sizes": (2,)}, slow=True),
    Whole(
        "efficient net last block",
        efficient,
        IMAGES,
        {"select": ["block7a_*", "top_*", "predictions/*"], "hidden_sizes": (4,)},
        slow=True,
    ),
]
