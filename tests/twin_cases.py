"""One row of the table of public layers for every hyper layer that mirrors a Keras layer.

Their values and gradients are compared with Keras in `test_conformance.py`.
"""

import inspect

import keras
import numpy as np

import keras_hypernet as kh
from tests.case import Case
from tests.conformance_conv import ROWS as CONVOLUTIONS
from tests.conformance_core import ROWS

FIRST = {row.hyper: row for row in reversed([*ROWS, *CONVOLUTIONS]) if row.hyper != kh.HyperDense}


def twin_case(row):
    def layer():
        return row.hyper(**row.arguments)

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

    def wrong():
        x, weights, *others = inputs(4, np.random.default_rng(0))
        layer()(x, weights[:, 1:], *others)

    bad = (
        ("another width", wrong, ValueError, "must have"),
        ("an initializer", lambda: row.hyper(**row.arguments, **initializer(row)), TypeError, "no"),
        ("no weights", lambda: layer()(np.ones((1, 2, 3), "float32")), TypeError, "`weights`"),
        ("rows that do not divide", lambda: uneven(layer(), inputs), ValueError, "must divide"),
    )
    return Case(row.hyper.__name__, layer, inputs, None, model, model_inputs, bad)


def initializer(row):
    names = inspect.signature(row.hyper.twin).parameters
    given = [n for n in names if n.endswith(("_initializer", "_constraint"))]
    name = next((n for n in given if not n.startswith("moving_")), "kernel_initializer")
    return {name: "zeros"}


def uneven(layer, inputs):
    x, weights, *others = inputs(4, np.random.default_rng(0))
    layer(x, weights[:3], *others)


TWIN_CASES = [twin_case(row) for row in FIRST.values()]
