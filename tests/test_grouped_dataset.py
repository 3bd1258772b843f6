import keras
import numpy as np
import pytest

import keras_hypernet as kh


def arrays(conditions=5, group=3):
    conditioning = np.arange(conditions, dtype="float32")[:, None]
    places = np.tile(np.arange(group), conditions)[:, None] / 8
    data = np.repeat(conditioning, group, axis=0) + places
    return conditioning, data.astype("float32"), data[:, :1] * 2


def test_batches_keep_conditions_with_their_rows():
    conditioning, data, y = arrays()
    batches = kh.GroupedDataset(conditioning, data, y, conditions_per_batch=2)
    assert len(batches) == 3
    assert [batches[i][0][0].shape[0] for i in range(3)] == [2, 2, 1]  # the last one is short
    for i in range(3):
        (z, x), target = batches[i]
        assert len(x) == len(target) == 3 * len(z)
        np.testing.assert_array_equal(np.floor(x[:, 0]), np.repeat(z[:, 0], 3))
        np.testing.assert_array_equal(target, x * 2)
    np.testing.assert_array_equal(np.concatenate([batches[i][0][1] for i in range(3)]), data)


def test_shuffled_by_seed_and_epoch():
    def orders(seed):
        batches = kh.GroupedDataset(*arrays(20), 20, shuffle=True, seed=seed)
        found = []
        for _ in range(2):
            (z, x), _ = batches[0]
            np.testing.assert_array_equal(np.floor(x[:, 0]), np.repeat(z[:, 0], 3))
            found.append(z[:, 0].tolist())
            batches.on_epoch_end()
        return found

    first, second = orders(1)
    assert first != second
    assert sorted(first) == sorted(second) == list(range(20))
    assert orders(1) == [first, second]
    assert orders(2)[0] != first


def test_sample_weights_and_no_targets():
    conditioning, data, y = arrays()
    weights = np.arange(15)
    _, _, found = kh.GroupedDataset(conditioning, data, y, 2, sample_weight=weights)[1]
    np.testing.assert_array_equal(found, weights[6:12])
    ((z, x),) = kh.GroupedDataset(conditioning, data, None, 2)[2]
    assert (len(z), len(x)) == (1, 3)


@pytest.mark.parametrize("jit", [False, True])
def test_fit_evaluate_and_predict(jit, rng):
    if jit and keras.backend.backend() == "torch":
        pytest.skip("torch.compile has a slow test of its own")
    slopes = rng.uniform(-1, 1, size=(24, 1)).astype("float32")
    x = rng.uniform(-1, 1, size=(24 * 8, 1)).astype("float32")
    y = np.repeat(slopes, 8, axis=0) * x
    model = kh.build(1, 1, [(1, 1)], hidden_sizes=[8])
    model.compile(keras.optimizers.Adam(0.02), "mse", jit_compile=jit)
    batches = kh.GroupedDataset(slopes, x, y, conditions_per_batch=5, shuffle=True)
    model.fit(batches, epochs=40, verbose=0)
    assert model.evaluate(batches, verbose=0) < 0.005
    predicted = model.predict(kh.GroupedDataset(slopes, x, None, 7), verbose=0)
    np.testing.assert_allclose(predicted, y, atol=0.25)


def test_points_of_one_row():
    data = np.zeros((6, 10, 2))
    (z, x), y = kh.GroupedDataset(np.zeros((6, 4)), data, data[..., :1], 4)[0]
    assert (z.shape, x.shape, y.shape) == ((4, 4), (4, 10, 2), (4, 10, 1))


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ((np.zeros((4, 1)), np.zeros((10, 1)), np.zeros(10), 2), ValueError, "4 and 10"),
        ((np.zeros((4, 1)), np.zeros((8, 1)), np.zeros(7), 2), ValueError, "`y` must have one row"),
        ((np.zeros((4, 1)), np.zeros((8, 1)), np.zeros(8), 0), ValueError, "conditions_per_batch"),
        ((np.zeros((4, 1)), np.zeros((8, 1)), np.zeros(8), 2, np.zeros(4)), ValueError, "sample"),
        ((np.zeros((0, 1)), np.zeros((8, 1)), np.zeros(8), 2), ValueError, "must have rows"),
        ((np.zeros((4, 1)), 3.0, np.zeros(8), 2), ValueError, "must have rows"),
    ],
)
def test_bad_arguments(arguments, exception, message):
    with pytest.raises(exception, match=message):
        kh.GroupedDataset(*arguments)


def test_index_out_of_range():
    batches = kh.GroupedDataset(*arrays(), 2)
    with pytest.raises(IndexError):
        batches[3]
