"""Rows of the table of public layers for `Hyper`: a layer of each kind that it wraps.

Values and gradients are compared with Keras in `test_conformance.py`.
"""

import keras
import numpy as np
from keras import layers

import keras_hypernet as kh
from tests.case import Case
from tests.conformance_blocks import ROWS as BLOCKS
from tests.conformance_conv import ROWS as CONVOLUTIONS
from tests.conformance_core import ROWS

FIRST = {row.layer: row for row in reversed([*ROWS, *CONVOLUTIONS, *BLOCKS])}
KINDS = [
    layers.BatchNormalization,
    layers.Conv2D,
    layers.Embedding,
    layers.MultiHeadAttention,
    BLOCKS[0].layer,
]


def hyper_case(row):
    def layer(**options):
        return kh.Hyper(row.layer(**row.arguments), **options)

    def data(rows, rng):
        return row.data(rows, rng)

    def spec():
        return layer().spec(*[x.shape for x in data(1, np.random.default_rng(0))])

    def inputs(rows, rng):
        x, *others = data(rows, rng)
        weights = rng.normal(size=(rows, spec().total)).astype("float32")
        return [x, weights, *others]

    def model():
        z = keras.Input((5,))
        examples = data(1, np.random.default_rng(0))
        xs = [keras.Input(x.shape[1:], dtype=str(x.dtype)) for x in examples]
        weights = kh.WeightGenerator(spec(), [6], head_kernel_initializer="glorot_uniform")(z)
        return keras.Model([z, *xs], layer()(xs[0], weights, *xs[1:]))

    def model_inputs(rows, rng):
        return [rng.normal(size=(rows, 5)).astype("float32"), *data(rows, rng)]

    def call(change, **options):
        x, weights, *others = inputs(4, np.random.default_rng(0))
        return lambda: layer(**options)(x, change(weights), *others)

    bad = (
        ("another width", call(lambda w: w[:, 1:]), ValueError, "must have"),
        ("a dtype", lambda: layer(dtype="float16"), ValueError, "`dtype`"),
        ("no weights", lambda: layer()(np.ones((1, 2, 3), "float32")), TypeError, "`weights`"),
        ("rows that do not divide", call(lambda w: w[:3]), ValueError, "must divide"),
        ("rows for all", call(lambda w: w[:2], shared=True), ValueError, "single row"),
    )
    return Case(f"Hyper {row.id}", layer, inputs, None, model, model_inputs, bad)


HYPER_CASES = [hyper_case(FIRST[kind]) for kind in KINDS]
