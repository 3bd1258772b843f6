"""Rows of the table of public layers: encodings of conditions and coordinates."""

import keras
import numpy as np

import keras_hypernet as kh
from tests.case import Case, arrays


def on_circles(angles):
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=-1)


def bounded(**options):
    return kh.UnitNormEncoding(**{"low": [-2.0, 0.0, -1.0], "high": [2.0, 0.5, 3.0], **options})


def unit_norm(values, x):
    low, high = np.array([-2.0, 0.0, -1.0]), np.array([2.0, 0.5, 3.0])
    return on_circles(np.pi / 2 * (x - low) / (high - low))


def unit_norm_of_scalars(values, x):
    return on_circles(np.pi / 2 * (x - -1) / 4)


def fourier(**options):
    return kh.FourierFeatures(**{"num_frequencies": 4, "scale": 0.5, **options})


def fourier_features(values, x):
    return on_circles(2 * np.pi * np.einsum("...i,ik->...k", x, values[0]))


def encoded(layer, *shape):
    """A model with something to train behind the encoding."""

    def make():
        x = keras.Input(shape)
        return keras.Model(x, keras.layers.Dense(2)(layer()(x)))

    return make


def bad(make):
    return (
        ("integers", lambda: make()(np.ones((2, 3), "int32")), TypeError, "ConditionEmbedding"),
        ("symbolic ids", lambda: make()(keras.Input((3,), dtype="int32")), TypeError, "`inputs`"),
        ("a list", lambda: make()([[0.1, 0.2, 0.3]]), TypeError, "must be a tensor"),
        ("scalars", lambda: make()(np.ones(3, "float32")), ValueError, r"inputs\[:, None\]"),
        ("no known width", lambda: make()(keras.Input((None,))), ValueError, "must be known"),
        ("built without", lambda: make().build((None, None)), ValueError, "must be known"),
        ("another width", lambda: of_three(make)(np.ones((2, 4), "float32")), ValueError, "3 entr"),
    )


def of_three(make):
    layer = make()
    layer(np.ones((2, 3), "float32"))
    return layer


ENCODINGS = [
    Case(
        "UnitNormEncoding",
        bounded,
        arrays((1, 3)),
        unit_norm,
        encoded(bounded, 3),
        arrays((1, 3)),
        (
            ("low above", lambda: kh.UnitNormEncoding(2, 1), ValueError, "`low` must be below"),
            ("equal", lambda: bounded(low=[0, 0.5, 0]), ValueError, "`low` must be below"),
            ("not finite", lambda: bounded(low=-np.inf), ValueError, "`low` must be finite"),
            ("an entry", lambda: bounded(high=[3, 3, np.nan]), ValueError, r"`high\[2\]`"),
            ("a string", lambda: kh.UnitNormEncoding("0", 1), TypeError, "`low` must be a number"),
            ("a boolean", lambda: kh.UnitNormEncoding(0, True), TypeError, "`high` must be a num"),
            ("none", lambda: kh.UnitNormEncoding(0, None), TypeError, "`high` must be a number"),
            ("nested", lambda: bounded(low=np.zeros((3, 1))), TypeError, r"`low\[0\]`"),
            ("no entries", lambda: kh.UnitNormEncoding([], 1), ValueError, "`low` must not be emp"),
            ("lengths", lambda: bounded(low=[0, 0]), ValueError, "equally many"),
            (
                "another width than `low`",
                lambda: kh.UnitNormEncoding([0, 0], 1)(np.ones((2, 3), "float32")),
                ValueError,
                "`low` must be a number, or have one for each of the 3",
            ),
            (
                "another width than `high`",
                lambda: kh.UnitNormEncoding(0, [1, 1]).build((None, 3)),
                ValueError,
                "`high` must be a number, or have one for each of the 3",
            ),
            ("autocast", lambda: bounded(autocast=True), TypeError, "autocast"),
            *bad(bounded),
        ),
    ),
    Case(
        "UnitNormEncoding inner axes",
        lambda: kh.UnitNormEncoding(-1, 3),
        arrays((1, 5, 1)),
        unit_norm_of_scalars,
        encoded(lambda: kh.UnitNormEncoding(-1, 3), 5, 1),
        arrays((1, 5, 1)),
    ),
    Case(
        "FourierFeatures",
        fourier,
        arrays((1, 3)),
        fourier_features,
        encoded(fourier, 3),
        arrays((1, 3)),
        (
            ("none", lambda: kh.FourierFeatures(0), ValueError, "`num_frequencies`"),
            ("scale 0", lambda: fourier(scale=0), ValueError, "`scale` must be above zero"),
            ("scale infinite", lambda: fourier(scale=np.inf), ValueError, "`scale`"),
            ("a seed's type", lambda: fourier(seed=1.5), TypeError, "`seed`"),
            *bad(fourier),
        ),
    ),
    Case(
        "FourierFeatures of points",
        lambda: fourier(seed=3),
        arrays((1, 5, 2)),
        fourier_features,
        encoded(fourier, 5, 2),
        arrays((1, 5, 2)),
    ),
]
