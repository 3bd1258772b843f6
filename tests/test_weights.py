import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

import keras_hypernet as kh
from keras_hypernet.weights.forms import split_layers
from tests import reference as ref
from tests.backend import numpy_of, tensors_of

SPEC = kh.WeightSpec.from_shapes([(3, 4), (4,), (4, 2), (2,)])


@given(
    st.lists(st.lists(st.integers(1, 3), max_size=3).map(tuple), min_size=1, max_size=5),
    st.integers(1, 4),
)
def test_tensors_are_cut_as_numpy_cuts(shapes, rows):
    spec = kh.WeightSpec.from_shapes(shapes)
    flat = np.arange(rows * spec.total, dtype="float32").reshape(rows, -1)
    parts = kh.split_weights(ops.convert_to_tensor(flat), spec)
    for name, expected in spec.split(flat).items():
        np.testing.assert_array_equal(numpy_of(parts[name]), expected)
    np.testing.assert_array_equal(numpy_of(kh.pack_weights(parts, spec)), flat)


def test_numpy_in_and_shapes_for_a_spec(rng):
    flat = rng.normal(size=(5, 16)).astype("float32")
    parts = kh.split_weights(flat, [(3, 4), (4,)])
    np.testing.assert_array_equal(numpy_of(parts["layer_0/kernel"]), flat[:, :12].reshape(5, 3, 4))
    packed = kh.pack_weights(list(parts.values()), [(3, 4), (4,)])
    np.testing.assert_array_equal(numpy_of(packed), flat)
    assert kh.split_weights(flat[:0], [(3, 4), (4,)])["layer_0/kernel"].shape == (0, 3, 4)


def test_factored_weights_are_multiplied_out(rng):
    weights = {
        "features": rng.normal(size=(5, 3)).astype("float32"),
        "basis": rng.normal(size=(3, SPEC.total)).astype("float32"),
        "offset": rng.normal(size=SPEC.total).astype("float32"),
    }
    parts = kh.split_weights(weights, SPEC)
    for name, expected in SPEC.split(ref.flat_weights(weights)).items():
        np.testing.assert_allclose(numpy_of(parts[name]), expected, rtol=1e-5, atol=1e-5)
    for layer, expected in zip(
        split_layers(tensors_of(weights), [16, 10]),
        SPEC.split_layers(ref.flat_weights(weights)).values(),
        strict=True,
    ):
        np.testing.assert_allclose(ref.flat_weights(numpy_of(layer)), expected, rtol=1e-5)


def test_in_a_functional_model(rng):
    flat = keras.Input((SPEC.total,))
    parts = kh.split_weights(flat, SPEC)
    assert parts["layer_0/kernel"].shape == (None, 3, 4)
    model = keras.Model(flat, kh.pack_weights(parts, SPEC))
    x = rng.normal(size=(7, SPEC.total)).astype("float32")
    np.testing.assert_array_equal(model.predict(x, batch_size=3, verbose=0), x)


def test_bad_weights():
    with pytest.raises(ValueError, match="must have 26 entries"):
        kh.split_weights(np.zeros((2, 25), "float32"), SPEC)
    with pytest.raises(ValueError, match="must have 2 axes"):
        kh.split_weights(np.zeros(26, "float32"), SPEC)
    with pytest.raises(ValueError, match="Missing"):
        kh.pack_weights({"layer_0/kernel": np.zeros((2, 3, 4))}, SPEC)
    with pytest.raises(ValueError, match=r"layer_0/bias is \(4,\)"):
        kh.pack_weights([np.zeros((2, 3, 4)), np.zeros((2, 5))], SPEC.layers["layer_0"])
    with pytest.raises(ValueError, match="must have 2 axes"):
        kh.pack_weights([np.zeros((4, 3, 4)), np.zeros(4)], SPEC.layers["layer_0"])
    with pytest.raises(ValueError, match=r"must have equal rows. Received: \[2, 3\]"):
        kh.pack_weights([np.zeros((2, 3, 4)), np.zeros((3, 4))], SPEC.layers["layer_0"])
