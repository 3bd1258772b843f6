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


def joined(parts):
    """The arrays of all batches, one after another."""
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts)


CONDITIONS = np.arange(4, dtype="float32")[:, None]
ROWS = np.arange(12, dtype="float32")[:, None]
INPUTS = {
    "a list of data": (CONDITIONS, [ROWS, ROWS + 1], (CONDITIONS, ROWS, ROWS + 1)),
    "a tuple of conditions": (
        (CONDITIONS, CONDITIONS + 1),
        ROWS,
        (CONDITIONS, CONDITIONS + 1, ROWS),
    ),
    "a list in a list": (CONDITIONS, [ROWS, [ROWS, ROWS]], (CONDITIONS, ROWS, (ROWS, ROWS))),
    "dicts": (
        {"c": CONDITIONS},
        {"a": ROWS, "d": [ROWS, ROWS]},
        {"a": ROWS, "c": CONDITIONS, "d": (ROWS, ROWS)},
    ),
    "numbers": ([[0], [1]], [5, 6, 7, 8], (np.array([[0], [1]]), np.array([5, 6, 7, 8]))),
    "numbers of NumPy": (list(CONDITIONS[:, 0]), ROWS, (CONDITIONS[:, 0], ROWS)),
    "numbers in a dict": (
        {"c": [1, 2]},
        {"x": [[3], [4]]},
        {"c": np.array([1, 2]), "x": np.array([[3], [4]])},
    ),
    "tensors": (keras.ops.convert_to_tensor(CONDITIONS), ROWS, (CONDITIONS, ROWS)),
}


@pytest.mark.parametrize("name", INPUTS)
def test_nests_of_inputs(name):
    conditioning, data, expected = INPUTS[name]
    batches = kh.GroupedDataset(conditioning, data, None, 1)
    found = joined([batches[i][0] for i in range(len(batches))])
    assert type(found) is type(expected)
    keras.tree.map_structure(np.testing.assert_array_equal, found, expected)


def test_nests_of_targets_and_weights():
    y, weights = {"a": ROWS, "b": [ROWS, ROWS + 1]}, np.arange(12)
    (_, _), found, found_weights = kh.GroupedDataset(CONDITIONS, ROWS, y, 1, weights)[1]
    assert found["b"][1].tolist() == [[4], [5], [6]]
    for array in (found_weights["a"], *found_weights["b"]):
        assert array.tolist() == [3, 4, 5]
    own = {"a": weights, "b": [weights + 1, weights + 2]}
    _, _, found = kh.GroupedDataset(CONDITIONS, ROWS, y, 1, own)[1]
    assert found["b"][1].tolist() == [5, 6, 7]


SIZES = [2, 1, 0, 4]  # of seven rows
UNORDERED = np.array([3, 0, 3, 1, 0, 3, 3])


def test_unequal_groups_are_padded_with_their_own_rows():
    batches = kh.GroupedDataset(CONDITIONS, ROWS[:7], ROWS[:7], 2, group_sizes=SIZES)
    assert len(batches) == 2  # a condition without rows is left out
    (z, x), y, weights = batches[0]
    assert z[:, 0].tolist() == [0, 1]
    assert x[:, 0].tolist() == [0, 1, 0, 1, 2, 2, 2, 2]
    np.testing.assert_array_equal(x, y)
    np.testing.assert_allclose(weights[:, 0] * 7 / 12, [1, 1, 0, 0, 1, 0, 0, 0])
    (z, x), y, weights = batches[1]
    assert (z.tolist(), x[:, 0].tolist()) == ([[3]], [3, 4, 5, 6])
    np.testing.assert_allclose(weights * 7 / 12, np.ones((4, 1)))
    ((z, x),) = kh.GroupedDataset(CONDITIONS, ROWS[:7], None, 2, group_sizes=SIZES)[0]
    assert (len(z), len(x)) == (2, 8)


def test_rows_in_any_order_by_the_id_of_their_condition():
    x = ROWS[:7]
    batches = kh.GroupedDataset(CONDITIONS, x, x, 4, np.arange(7) + 1, condition_ids=UNORDERED)
    (z, found), _, weights = batches[0]
    assert z[:, 0].tolist() == [0, 1, 3]
    assert found[:, 0].tolist() == [1, 4, 1, 4, 3, 3, 3, 3, 0, 2, 5, 6]
    np.testing.assert_allclose(weights * 7 / 12, [2, 5, 0, 0, 4, 0, 0, 0, 1, 3, 6, 7], rtol=1e-6)


def test_rows_of_a_condition_stay_in_their_order(rng):
    ids = rng.integers(3, size=1000)
    ((z, x),) = kh.GroupedDataset(np.arange(3), np.arange(1000), None, 3, condition_ids=ids)[0]
    for i, rows in zip(z, x.reshape(3, -1)):
        expected = np.flatnonzero(ids == i)
        np.testing.assert_array_equal(rows[: len(expected)], expected)


def test_ids_and_sizes_of_equal_groups_are_as_none():
    expected = kh.GroupedDataset(CONDITIONS, ROWS, ROWS, 3)[0]
    for groups in ({"group_sizes": [3] * 4}, {"condition_ids": np.repeat(np.arange(4), 3)}):
        found = kh.GroupedDataset(CONDITIONS, ROWS, ROWS, 3, **groups)[0]
        keras.tree.map_structure(np.testing.assert_array_equal, found, expected)


def test_shuffled_groups_keep_their_rows():
    batches = kh.GroupedDataset(
        CONDITIONS, UNORDERED, UNORDERED, 2, shuffle=True, condition_ids=UNORDERED
    )
    orders = set()
    for _ in range(8):
        (z, x), y, weights = joined([batches[i] for i in range(2)])
        np.testing.assert_array_equal(x, np.repeat(z[:, 0], 4))
        np.testing.assert_array_equal(np.bincount(y[weights > 0].astype(int)), [2, 1, 0, 4])
        orders.add(tuple(z[:, 0]))
        batches.on_epoch_end()
    assert len(orders) > 1


@pytest.mark.parametrize("groups", [{}, {"group_sizes": SIZES}, {"condition_ids": UNORDERED}])
def test_ungroup_gives_the_rows_of_data(groups):
    data = np.random.default_rng(0).normal(size=(7 if groups else 12, 2))
    batches = kh.GroupedDataset(CONDITIONS, data, None, 2, **groups)
    _, x = joined([batches[i][0] for i in range(len(batches))])
    found = batches.ungroup({"a": [x, keras.ops.convert_to_tensor(x[:, 0])]})
    np.testing.assert_array_equal(found["a"][0], data)
    np.testing.assert_allclose(found["a"][1], data[:, 0], rtol=1e-6)


def test_ungroup_needs_all_rows_in_the_order_of_conditions():
    batches = kh.GroupedDataset(CONDITIONS, ROWS[:7], None, 2, group_sizes=SIZES)
    for wrong in (np.zeros((8, 1)), np.zeros(())):
        with pytest.raises(ValueError, match=r"`predictions` must have one row .* \(12\)"):
            batches.ungroup(wrong)
    shuffled = kh.GroupedDataset(CONDITIONS, ROWS, None, 2, shuffle=True)
    with pytest.raises(ValueError, match="shuffle=False"):
        shuffled.ungroup(np.zeros((12, 1)))


def list_model():
    x = [keras.Input((3,), name="a"), keras.Input((2,), name="b")]
    h = keras.layers.Dense(3, activation="tanh")(keras.layers.Concatenate()(x))
    return kh.hypernetize(keras.Model(x, keras.layers.Dense(1)(h)), 2, running_scale=False)


def dict_model():
    """Inputs and outputs by name; the list of a hypernetized model takes dicts by name too."""
    z, x = keras.Input((2,), name="z"), {n: keras.Input((3,), name=n) for n in "ab"}
    h = keras.layers.Concatenate()(list(x.values()))
    outputs = {}
    for name, units in (("mean", 1), ("kind", 3)):
        layer = kh.Hyper(keras.layers.Dense(units))
        generator = kh.WeightGenerator(layer.spec(h.shape), hidden_sizes=[4])
        outputs[name] = layer(h, generator(z))
    return kh.HyperModel({"z": z, **x}, outputs)


def list_case(rng):
    rows = [rng.normal(size=(7, n)).astype("float32") for n in (3, 2)]
    return list_model(), rows, rng.normal(size=(7, 1)).astype("float32"), "mse"


def named_case(rng):
    model, rows, y, loss = list_case(rng)
    return model, dict(zip("ab", rows)), y, loss


def dict_case(rng):
    rows = {n: rng.normal(size=(7, 3)).astype("float32") for n in "ab"}
    y = {"mean": rng.normal(size=(7, 1)).astype("float32"), "kind": np.arange(7) % 3}
    kind = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return dict_model(), rows, y, {"mean": "mse", "kind": kind}


def outputs_case(rng):
    model, rows, y, loss = dict_case(rng)
    outputs = [model.output[name] for name in y]
    return kh.HyperModel(model.input, outputs), rows, list(y.values()), list(loss.values())


CASES = {"list": list_case, "names": named_case, "dict": dict_case, "outputs": outputs_case}


def compiled(model, loss):
    metrics = {dict: {"mean": "mae", "kind": []}, list: ["mae", None], str: ["mae"]}[type(loss)]
    model.compile(
        keras.optimizers.SGD(0.5),
        loss,
        weighted_metrics=metrics,
        jit_compile=keras.backend.backend() == "jax",
    )
    return model


WEIGHTS = np.linspace(0.5, 2, 7, dtype="float32")


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("list", None),
        ("names", WEIGHTS),
        ("dict", None),
        ("dict", {"mean": WEIGHTS, "kind": WEIGHTS[::-1]}),
        ("outputs", [WEIGHTS, WEIGHTS[::-1]]),
    ],
)
def test_a_step_over_unequal_groups_is_one_over_the_real_rows(name, weights, rng):
    """Against Keras' own step, loss, metrics and predictions of one condition a row, no pads."""
    model, x, y, loss = CASES[name](rng)
    z = rng.normal(size=(4, 2)).astype("float32")
    by_row = z[UNORDERED]
    if isinstance(x, dict):
        (key,) = {tensor.name for tensor in model.inputs} - set(x)
        conditioning, plain = {key: z}, {key: by_row, **x}
    else:
        conditioning, plain = z, [by_row, *x]
    compiled(model, loss)
    start = model.get_weights()

    def batches(conditions, y=y, weights=weights):
        return kh.GroupedDataset(conditioning, x, y, conditions, weights, condition_ids=UNORDERED)

    expected = model.evaluate(plain, y, sample_weight=weights, return_dict=True, verbose=0)
    found = model.evaluate(batches(1), return_dict=True, verbose=0)
    assert found.keys() == expected.keys()
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-5, err_msg=key)
    found = model.evaluate(batches(2), return_dict=True, verbose=0)  # the last batch is short
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)
    predicted = batches(2).ungroup(model.predict(batches(2, None, None), verbose=0))
    keras.tree.map_structure(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        predicted,
        model.predict(plain, verbose=0),
    )
    model.fit(plain, y, sample_weight=weights, batch_size=7, verbose=0)
    expected = model.get_weights()
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(start, expected))
    model.set_weights(start)
    model.fit(batches(4), verbose=0)
    for a, b in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_pads_count_nothing_in_losses_of_several_axes(rng):
    """Losses of several axes, where Keras would align weights `(rows,)` with the last one."""
    z, x = np.ones((2, 1), "float32"), rng.normal(size=(5, 4, 6, 2)).astype("float32")
    inputs = [keras.Input((1,)), keras.Input((4, 6, 2))]
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs[1]))
    labels = rng.integers(0, 3, size=(5, 4, 6))
    crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for loss, y in (("mse", x[..., :1]), (crossentropy, labels), (crossentropy, labels[..., None])):
        model.compile("sgd", loss, jit_compile=False)
        batches = kh.GroupedDataset(z, x, y, 2, group_sizes=[2, 3])
        expected = model.evaluate([z[[0, 0, 1, 1, 1]], x], y, verbose=0)
        np.testing.assert_allclose(model.evaluate(batches, verbose=0), expected, rtol=1e-5)


TWO, EIGHT = np.zeros((2, 1)), np.zeros((8, 1))
WRONG = {
    "a dict and an array": ({"conditioning": {"c": TWO}}, "both be dicts .* dict and ndarray"),
    "a list and a dict": ({"data": {"x": EIGHT}}, "both be dicts .* ndarray and dict"),
    "a name twice": (
        {"conditioning": {"x": TWO}, "data": {"x": EIGHT}},
        r"different names of inputs. Received: \['x'\]",
    ),
    "rows of data": ({"data": [EIGHT, TWO]}, r"All arrays of `data` .*\(8, 1\), \(2, 1\)"),
    "rows of conditions": ({"conditioning": [TWO, EIGHT]}, "All arrays of `conditioning`"),
    "no inputs": ({"conditioning": {}, "data": {"x": EIGHT}}, "`conditioning` must have rows"),
    "no rows in one of them": ({"data": [EIGHT, 3.0]}, "`data` must have rows"),
    "an array of nothing": ({"data": [[1], [1, 2]]}, "`data` must be an array"),
    "rows of a target": ({"y": {"a": EIGHT, "b": TWO}}, r"`y` must have one row .* 'b': \(2, 1\)"),
    "no targets": ({"y": {}}, "`y` must have one row"),
    "rows of weights": ({"sample_weight": [TWO[:, 0]]}, "`sample_weight` must have one row"),
    "weights of others": (
        {"y": {"a": EIGHT, "b": EIGHT}, "sample_weight": {"a": EIGHT[:, 0]}},
        "`sample_weight` must be an array, or",
    ),
    "weights of several": ({"sample_weight": [EIGHT[:, 0]] * 2}, "`sample_weight` must be an"),
    "weights without targets": (
        {"y": None, "sample_weight": EIGHT[:, 0]},
        "`sample_weight` .* Received: y=None",
    ),
    "unequal groups": ({"data": EIGHT[:7], "y": EIGHT[:7]}, "2 and 7.*`group_sizes` or `condition"),
    "sizes of others": ({"group_sizes": [3, 3, 2]}, r"`group_sizes` .* `conditioning` \(2\)"),
    "sizes of more rows": ({"group_sizes": [3, 4]}, r"`group_sizes` .* \(8\).* to 7"),
    "a negative size": ({"group_sizes": [-1, 9]}, "`group_sizes` must not be negative.*: -1"),
    "ids of others": ({"condition_ids": [0, 1]}, r"`condition_ids` .* `data` \(8\)"),
    "an unknown id": ({"condition_ids": [0] * 7 + [2]}, "`condition_ids` .* 0 to 1. .* 0 to 2"),
    "a negative id": ({"condition_ids": [0] * 7 + [-1]}, "`condition_ids` .* from -1 to 0"),
    "both": (
        {"group_sizes": [4, 4], "condition_ids": [0] * 8},
        "`group_sizes` and `condition_ids`",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused_by_name(name):
    arguments, message = WRONG[name]
    base = {"conditioning": TWO, "data": EIGHT, "y": EIGHT, "conditions_per_batch": 2}
    with pytest.raises(ValueError, match=message):
        kh.GroupedDataset(**{**base, **arguments})


@pytest.mark.parametrize("value", [[1.0, 7.0], [True, False], ["a", "b"], [None, 3]])
@pytest.mark.parametrize("argument", ["group_sizes", "condition_ids"])
def test_sizes_and_ids_are_integers(argument, value):
    with pytest.raises(TypeError, match=f"`{argument}` must be (integers|an array of numbers)"):
        kh.GroupedDataset(TWO, EIGHT, None, 2, **{argument: value})
