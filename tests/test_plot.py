"""`kh.plot`: pictures show what was measured, open no window and change no model."""

import io
import pathlib
import re
import sys

import keras
import numpy as np
import pytest
from keras import layers

import keras_hypernet as kh
from keras_hypernet.diagnosis import diagnose, measures
from keras_hypernet.diagnosis.figures import Figures
from keras_hypernet.diagnosis.runs import Runs
from keras_hypernet.diagnosis.steps import Steps
from keras_hypernet.diagnosis.subject import Subject

plt = pytest.importorskip("matplotlib.pyplot")

RNG = np.random.default_rng(0)
CONDITIONS = RNG.normal(size=(4, 2)).astype("float32")
X = RNG.normal(size=(8, 3)).astype("float32")
Y = RNG.normal(size=(8, 1)).astype("float32")


def built(sizes=((3, 5), (5, 1)), **options):
    options = {"initialization": None, **options}  # weights that depend on the condition
    model = kh.build(2, sizes[0][0], list(sizes), hidden_sizes=(8,), **options)
    model.compile("adam", "mse")
    return model


def convolutional(channels=2, filters=3, size=(3, 2)):
    images = keras.Input((6, 6, channels))
    target = keras.Model(images, layers.Conv2D(filters, size, padding="same", name="c")(images))
    return kh.hypernetize(target, 2, hidden_sizes=(8,), initialization=None)


def with_noise():
    """Ids, noise, and an input that nothing depends on."""
    ids, noise = keras.Input((), dtype="int32", name="ids"), keras.Input((4,), name="noise")
    unused, x = keras.Input((1,), name="unused"), keras.Input((3,), name="x")
    spec = {"kernel": (3, 2), "bias": (2,)}
    generator = kh.Hypernetwork(
        kh.WeightGenerator(spec, hidden_sizes=(8,), head_kernel_initializer="glorot_uniform"),
        num_conditions=5,
        embedding_size=3,
        noise_size=4,
    )
    y = kh.Hyper(layers.Dense(2))(x, generator({"condition_id": ids, "noise": noise}))
    conditions = {
        "ids": np.arange(4, dtype="int32"),
        "noise": RNG.normal(size=(4, 4)).astype("float32"),
        "unused": np.ones((4, 1), "float32"),
    }
    return keras.Model([ids, noise, unused, x], y), conditions


def of_tasks(names=("first", "second", "third")):
    model = kh.ContinualModel(built(((3, 5), (5, 2))), num_tasks=4, beta=0.1)
    model.compile("adam", "mse")
    for name in names:
        model.begin_task(name)
    return model


def png(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def labels(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def title(figure):
    return figure.get_suptitle()


def bars(axes):
    """`{name: width}`, from top to bottom."""
    found = {round(bar.get_y() + bar.get_height() / 2): bar.get_width() for bar in axes.patches}
    return dict(zip(labels(axes), [found[i] for i in sorted(found)]))


def line(axes, label):
    (found,) = [line for line in axes.get_lines() if line.get_label() == label]
    return found


# All of them.

EACH = {
    "weights": lambda: (kh.plot.weights, (built(), CONDITIONS)),
    "sensitivity": lambda: (kh.plot.sensitivity, (built(), CONDITIONS)),
    "signals": lambda: (kh.plot.signals, (built(), CONDITIONS, X)),
    "filters": lambda: (kh.plot.filters, (convolutional(), CONDITIONS)),
    "interpolation": lambda: (kh.plot.interpolation, (built(), *CONDITIONS[:2], X)),
    "conditions": lambda: (kh.plot.conditions, (of_tasks(),)),
}


@pytest.mark.parametrize("name", EACH)
def test_a_picture_changes_no_variable_and_opens_no_figure(name):
    function, (model, *others) = EACH[name]()
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *(optimizer.variables if optimizer else [])]
    before = [np.array(v) for v in variables]
    figure = function(model, *others)
    assert isinstance(figure, plt.Figure)
    assert plt.get_fignums() == []
    assert figure._repr_png_().startswith(b"\x89PNG")  # as notebooks show it
    for old, variable in zip(before, variables):
        np.testing.assert_array_equal(old, np.array(variable))


@pytest.mark.parametrize("name", EACH)
def test_without_matplotlib_the_extra_is_named(name, monkeypatch):
    function, arguments = EACH[name]()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "keras_hypernet.diagnosis.plot.picture", raising=False)
    monkeypatch.delattr(kh.plot, "picture", raising=False)
    with pytest.raises(ImportError, match=r'pip install "keras-hypernet\[plot\]"'):
        function(*arguments)


def test_one_module_imports_matplotlib_and_none_pyplot():
    texts = {
        path.name: path.read_text()
        for path in pathlib.Path(kh.plot.__file__).parent.iterdir()
        if path.suffix == ".py"
    }
    importing = r"^(from|import) matplotlib"
    found = {name for name, text in texts.items() if re.search(importing, text, re.MULTILINE)}
    assert found == {"picture.py"}
    assert not [name for name, text in texts.items() if re.search(r"import.*pyplot", text)]


# Weights.


def test_weights_are_histograms_of_what_is_generated_and_of_the_plain_start():
    model = built()
    model.fit([CONDITIONS, X[:4]], Y[:4], verbose=0)  # which sets the scale of conditions
    figure = kh.plot.weights(model, CONDITIONS)
    weights = kh.target_weights(model, CONDITIONS)
    subject = Subject(model, CONDITIONS)
    runs = Runs(subject)
    runs.weights()
    plain = Steps(subject, runs).plain_step()[1]
    assert [axes.get_title().split("\n")[0] for axes in figure.axes] == list(weights)
    for axes, values, start in zip(figure.axes, weights.values(), plain):
        found = {patch.get_label(): patch.get_data() for patch in axes.patches}
        both = np.concatenate([values.ravel(), start.ravel()])
        counts, edges = np.histogram(values, 12, (both.min(), both.max()))
        np.testing.assert_allclose(found["generated"].values, counts / counts.max())
        np.testing.assert_allclose(found["generated"].edges, edges, rtol=1e-5, atol=1e-6)
        assert f"size {measures.size(values):.2g}" in axes.get_title()
        if start.any():
            counts, _ = np.histogram(start, 12, (both.min(), both.max()))
            np.testing.assert_allclose(found["plain start"].values, counts / counts.max())
        else:  # biases start at zero
            assert line(axes, "plain start").get_xdata() == [0, 0]


def test_weights_of_chosen_names_and_of_many_tensors():
    model = built([(3, 4), *[(4, 4)] * 9])
    figure = kh.plot.weights(model, CONDITIONS, names=["layer_3/bias", "layer_0/kernel"])
    assert [axes.get_title().split("\n")[0] for axes in figure.axes] == [
        "layer_3/bias",
        "layer_0/kernel",
    ]
    assert "2 of 20 tensors" in title(figure)
    figure = kh.plot.weights(model, CONDITIONS)
    assert len(figure.axes) == 10
    assert all("kernel" in axes.get_title() for axes in figure.axes)
    assert "10 of 20 tensors: kernels" in title(figure)


def test_weights_of_many_conditions_say_how_many():
    many = RNG.normal(size=(20, 2)).astype("float32")
    assert "8 of 20 different conditions" in title(kh.plot.weights(built(), many))
    assert "of" not in title(kh.plot.weights(built(), CONDITIONS)).split()[-1]


def test_weights_that_are_not_finite_are_counted():
    model = built()
    for variable in model.trainable_variables:
        variable.assign(np.full(variable.shape, np.nan, "float32"))
    figure = kh.plot.weights(model, CONDITIONS)
    assert f"{4 * 15} not finite" in figure.axes[0].get_title()
    assert png(figure)
    assert png(kh.plot.sensitivity(model, CONDITIONS))
    assert png(kh.plot.interpolation(model, *CONDITIONS[:2], X))


def test_weights_refuse_names():
    model = built()
    with pytest.raises(ValueError, match=r"`names` must be of generated tensors.*Received: \['no'"):
        kh.plot.weights(model, CONDITIONS, names=["no"])
    with pytest.raises(ValueError, match="`names`"):
        kh.plot.weights(model, CONDITIONS, names=[])
    with pytest.raises(TypeError, match="`names` must be a list"):
        kh.plot.weights(model, CONDITIONS, names="layer_0/kernel")
    with pytest.raises(ValueError, match="`conditioning`"):
        kh.plot.weights(model, CONDITIONS[:, :1])
    with pytest.raises(ValueError, match="`model` must be a functional model"):
        kh.plot.weights(layers.Dense(2), CONDITIONS)


# Sensitivity, signals and the overview.


def test_sensitivity_is_that_of_each_tensor_and_input():
    model, conditions = with_noise()
    figure = kh.plot.sensitivity(model, conditions)
    tensors, inputs = figure.axes
    weights = kh.target_weights(model, {n: conditions[n] for n in ("ids", "noise")})
    expected = {n: measures.sensitivity(w.reshape(4, -1)) for n, w in weights.items()}
    assert bars(tensors) == pytest.approx(expected, rel=1e-4)
    found = bars(inputs)
    assert set(found) == {"ids", "noise", "unused (unused)"}
    assert found["noise"] > 0
    assert found["ids"] > 0
    assert found["unused (unused)"] == 0
    moved = {"ids": conditions["ids"], "noise": np.roll(conditions["noise"], 1, axis=0)}
    others = kh.target_weights(model, moved)
    now, after = (
        np.concatenate([w.reshape(4, -1) for w in x.values()], axis=1) for x in (weights, others)
    )
    assert found["noise"] == pytest.approx(
        measures.size(after - now) / measures.size(now), rel=1e-4
    )


def test_sensitivity_of_ids_has_a_bar_for_them():
    figure = kh.plot.sensitivity(of_tasks(), ["first", "second"])
    assert len(figure.axes) == 2  # vectors of tasks are an input
    ids = keras.Input((), dtype="int32", name="ids")
    x = keras.Input((3,), name="x")
    spec = {"kernel": (3, 2), "bias": (2,)}
    generator = kh.Hypernetwork(kh.WeightGenerator(spec, hidden_sizes=(4,)), num_conditions=3)
    model = keras.Model([ids, x], kh.Hyper(layers.Dense(2))(x, generator(ids)))
    assert set(bars(kh.plot.sensitivity(model, np.arange(3)).axes[1])) == {"ids"}


def test_sensitivity_needs_two_conditions():
    with pytest.raises(ValueError, match="`conditioning` must have at least two different"):
        kh.plot.sensitivity(built(), np.ones((3, 2), "float32"))


def assert_names(labels, rows):
    """Whether labels are the layers' names, of long ones the end."""
    assert len(labels) == len(rows)
    assert all(row["layer"].endswith(label.lstrip("…")) for label, row in zip(labels, rows))


def test_signals_are_those_of_the_figures():
    model = built()
    figures = Figures(subject := Subject(model, CONDITIONS, X), Runs(subject)).as_dict()
    axes = kh.plot.signals(model, CONDITIONS, X).axes[0]
    assert axes.get_xscale() == "log"
    assert_names(labels(axes), figures["signals"])
    for key, label in (("size", "generated"), ("plain", "plain start")):
        expected = [row[key] for row in figures["signals"]]
        np.testing.assert_allclose(line(axes, label).get_xdata(), expected, rtol=1e-4)
        assert list(line(axes, label).get_ydata()) == list(range(len(expected)))
    low, high = axes.get_xlim()
    assert low < min(expected) <= max(expected) < high


def test_signals_need_data():
    with pytest.raises(ValueError, match="`inputs` must have data"):
        kh.plot.signals(built(), CONDITIONS)


def test_a_signal_of_zero_is_marked():
    model = built(head_kernel_initializer="zeros", head_bias_initializer="zeros")
    axes = kh.plot.signals(model, CONDITIONS, X).axes[0]
    assert np.isnan(line(axes, "generated").get_xdata()).all()
    assert list(line(axes, "zero or not finite").get_ydata()) == [0, 1]


@pytest.mark.parametrize("y", [Y, None])
def test_overview_has_four_panels(y):
    diagnosis = diagnose(built(), CONDITIONS, X, y)
    figures = diagnosis.figures
    ladder, sizes, tensors, gradients = kh.plot.overview(diagnosis).axes
    names = [row["name"] for row in figures["tensors"]]
    assert_names(labels(ladder), figures["signals"])
    assert labels(sizes) == labels(tensors) == names
    found = line(sizes, "generated").get_xdata()
    np.testing.assert_allclose(found, [row["size"] for row in figures["tensors"]])
    assert bars(tensors) == {row["name"]: row["sensitivity"] for row in figures["tensors"]}
    assert labels(gradients) == ["trunk", "head", "head bias"]
    found = [line.get_xdata() for line in gradients.get_lines()]
    for i, role in enumerate(("trunk", "head", "head_bias")):
        expected = [generator["gradients"][role] for generator in figures["generators"]]
        np.testing.assert_allclose(found[i], expected)


def test_overview_says_what_is_missing():
    figure = kh.plot.overview(diagnose(built(), CONDITIONS[:1]))
    words = [" ".join(text.get_text() for text in axes.texts) for axes in figure.axes]
    assert len(words) == 4
    assert "needs data" in words[0]
    assert words[1] == ""
    assert "two different conditions" in words[2]
    assert "needs data" in words[3]


def test_a_diagnosis_in_place_of_a_model():
    diagnosis = diagnose(built(), CONDITIONS, X, Y)
    assert labels(kh.plot.sensitivity(diagnosis).axes[0])
    assert labels(kh.plot.signals(diagnosis).axes[0])
    with pytest.raises(ValueError, match="`inputs` must not be given with a diagnosis"):
        kh.plot.signals(diagnosis, inputs=X)
    for other in (None, built(), {"figures": {}}):
        with pytest.raises(TypeError, match="`diagnosis` must be what"):
            kh.plot.overview(other)


def test_frozen_generators_are_named():
    model = built()
    for layer in model.layers:
        if isinstance(layer, kh.WeightGenerator):
            layer.trainable = False
    model.compile("adam", "mse")
    gradients = kh.plot.overview(diagnose(model, CONDITIONS, X, Y)).axes[3]
    assert labels(gradients) == ["trunk (frozen)", "head (frozen)", "head bias (frozen)"]


# Filters.


def test_filters_are_the_kernels():
    model = convolutional()
    figure = kh.plot.filters(model, CONDITIONS)
    *images, scale = figure.axes
    kernel = kh.target_weights(model, CONDITIONS)["c/kernel"]
    assert kernel.shape == (4, 3, 2, 2, 3)
    assert len(images) == 4 * 2 * 3
    largest = np.abs(kernel).max()
    for i, axes in enumerate(images):
        row, j, k = np.unravel_index(i, (4, 2, 3))
        (image,) = axes.get_images()
        np.testing.assert_allclose(image.get_array(), kernel[row, :, :, j, k], rtol=1e-5)
        np.testing.assert_allclose(image.get_clim(), (-largest, largest), rtol=1e-5)
    assert [axes.get_title() for axes in images[:6]] == [
        f"{i} → {j}" for i in (0, 1) for j in range(3)
    ]
    assert [axes.get_ylabel() for axes in images[::6]] == [f"condition {i}" for i in range(4)]
    assert scale.get_ylabel() == "weight"


def test_filters_number_the_given_conditions():
    repeated = CONDITIONS[[0, 0, 1, 1]]
    figure = kh.plot.filters(convolutional(1, 1), repeated)
    assert [axes.get_ylabel() for axes in figure.axes[:2]] == ["condition 0", "condition 2"]


def test_filters_say_how_many_are_shown():
    figure = kh.plot.filters(convolutional(4, 8), CONDITIONS[:1], name="c/kernel")
    assert len(figure.axes) == 12 + 1
    assert "12 of 32 images" in title(figure)


def test_filters_refuse_what_has_none():
    with pytest.raises(ValueError, match="`model` must generate a kernel of a two-dim"):
        kh.plot.filters(built(), CONDITIONS)
    with pytest.raises(ValueError, match=r"`name` must be that.*'c/kernel'.*Received: 'c/bias'"):
        kh.plot.filters(convolutional(), CONDITIONS, "c/bias")
    with pytest.raises(TypeError, match="`name`"):
        kh.plot.filters(convolutional(), CONDITIONS, 3)


# Interpolation.


def between(model, first, second, x, share):
    condition = np.repeat(((1 - share) * first + share * second)[None], len(x), axis=0)
    return model.predict([condition, x], verbose=0)


def test_curves_over_one_dimensional_data():
    model = built([(1, 5), (5, 2)])
    x = RNG.normal(size=(9, 1)).astype("float32")
    figure = kh.plot.interpolation(model, *CONDITIONS[:2], x, steps=3)
    *curves, scale = figure.axes
    assert len(curves) == 2
    assert scale.get_ylabel() == "share of the second condition"
    order = np.argsort(x[:, 0])
    for entry, axes in enumerate(curves):
        for found, share in zip(axes.get_lines(), (0, 0.5, 1), strict=True):
            y = between(model, *CONDITIONS[:2], x, share)
            np.testing.assert_allclose(found.get_xdata(), x[order, 0])
            np.testing.assert_allclose(found.get_ydata(), y[order, entry], rtol=1e-3, atol=1e-5)


def test_lines_of_numbers_and_of_vectors():
    figure = kh.plot.interpolation(model := built(), *CONDITIONS[:2], X, steps=3)
    (axes,) = figure.axes
    assert [found.get_label() for found in axes.get_lines()] == [f"row {i}" for i in range(8)]
    middle = between(model, *CONDITIONS[:2], X, 0.5)
    for found, expected in zip(axes.get_lines(), middle[:, 0]):
        np.testing.assert_allclose(found.get_xdata(), [0, 0.5, 1])
        assert found.get_ydata()[1] == pytest.approx(expected, rel=1e-3, abs=1e-5)
    model = built([(3, 5), (5, 2)])
    figure = kh.plot.interpolation(model, *CONDITIONS[:2], X, steps=3)
    assert [axes.get_title() for axes in figure.axes] == ["row 0", "row 2", "row 5", "row 7"]
    middle = between(model, *CONDITIONS[:2], X, 0.5)
    for found, expected in zip(figure.axes[1].get_lines(), middle[2], strict=True):
        assert found.get_ydata()[1] == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_images(channels):
    model = convolutional(2, channels, (3, 3))
    x = RNG.normal(size=(2, 6, 6, 2)).astype("float32")
    figure = kh.plot.interpolation(model, *CONDITIONS[:2], x, steps=3)
    assert len(figure.axes) == 2 * 3 + (channels == 1)
    y = np.stack([between(model, *CONDITIONS[:2], x, share) for share in (0, 0.5, 1)])
    if channels == 1:
        y = y[..., 0]
    else:
        y = (y - y.min()) / (y.max() - y.min())
        assert "is black" in title(figure)
    for i, axes in enumerate(figure.axes[:6]):
        (image,) = axes.get_images()
        np.testing.assert_allclose(image.get_array(), y[i % 3, i // 3], rtol=1e-3, atol=1e-4)


def test_interpolation_between_tasks():
    model = of_tasks()
    (axes, *_) = kh.plot.interpolation(model, "first", "third", X, steps=2).axes
    for i, name in enumerate(("first", "third")):
        y = model.predict(X, task=name, verbose=0)
        for found, expected in zip(axes.get_lines(), y[0], strict=True):
            assert found.get_ydata()[i] == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_a_condition_is_a_row_a_list_or_an_array():
    model = built()
    one, two = CONDITIONS[:2]
    figures = [
        kh.plot.interpolation(model, *ends, X, steps=2)
        for ends in ((one, two), (one.tolist(), two.tolist()), (one[None], two[None]))
    ]
    first, *others = [figure.axes[0].get_lines()[0].get_ydata() for figure in figures]
    for found in others:
        np.testing.assert_allclose(found, first)


def test_interpolation_refuses():
    model = built()
    one, two = CONDITIONS[:2]
    with pytest.raises(ValueError, match=r"`second` does not fit.*Received"):
        kh.plot.interpolation(model, one, two[:1], X)
    with pytest.raises(ValueError, match=r"`first` must be a single condition.*: 4 conditions"):
        kh.plot.interpolation(model, CONDITIONS, two, X)
    with pytest.raises(ValueError, match="`steps` must be at least 2"):
        kh.plot.interpolation(model, one, two, X, steps=1)
    with pytest.raises(TypeError, match="`steps`"):
        kh.plot.interpolation(model, one, two, X, steps=2.5)
    with pytest.raises(ValueError, match="`inputs` must fit"):
        kh.plot.interpolation(model, one, two, X[:, :2])
    ids, conditions = with_noise()
    ends = [{n: a[i : i + 1] for n, a in conditions.items()} for i in (0, 1)]
    with pytest.raises(ValueError, match="`first` must consist of vectors"):
        kh.plot.interpolation(ids, *ends, X)
    two_outputs = keras.Model(model.inputs, [model.output, 2 * model.output])
    with pytest.raises(ValueError, match="`model` must have one output"):
        kh.plot.interpolation(two_outputs, one, two, X)


# Conditions.


def embedding(number=5, size=4):
    layer = kh.ConditionEmbedding(number, size)
    layer(np.arange(number))
    return layer


def points(figure):
    return np.asarray(figure.axes[0].collections[0].get_offsets())


def test_conditions_are_principal_components():
    layer = embedding(6)
    figure = kh.plot.conditions(layer)
    vectors = np.asarray(keras.ops.convert_to_numpy(layer(np.arange(6))), "float64")
    centered = vectors - vectors.mean(axis=0)
    values, axes = np.linalg.eigh(centered.T @ centered)
    expected = np.abs(centered @ axes[:, [-1, -2]])
    np.testing.assert_allclose(np.abs(points(figure)), expected, rtol=1e-4, atol=1e-5)
    share = values[-1] / values.sum()
    assert f"{share:.0%}" in figure.axes[0].get_xlabel()


def test_names_are_at_their_points():
    layer = embedding(3)
    figure = kh.plot.conditions(layer, names=["a", "b", "c"])
    for text, point in zip(figure.axes[0].texts, points(figure), strict=True):
        np.testing.assert_allclose(text.xy, point)
    assert [text.get_text() for text in figure.axes[0].texts] == ["a", "b", "c"]


def test_no_name_is_over_another():
    figure = kh.plot.conditions(embedding(50), names=[f"a long name {i}" for i in range(50)])
    texts = figure.axes[0].texts
    boxes = [text.get_window_extent() for text in texts]
    assert not any(box.count_overlaps(boxes[:i]) for i, box in enumerate(boxes))
    left_out = 50 - len(texts)
    assert f"{left_out} names left out" in title(figure) if left_out else len(texts) == 50
    figure = kh.plot.conditions(embedding(61))
    assert not figure.axes[0].texts
    assert "too many for names" in title(figure)


def test_conditions_of_tasks_and_of_a_hypernetwork():
    figure = kh.plot.conditions(model := of_tasks())
    assert {text.get_text() for text in figure.axes[0].texts} <= {"first", "second", "third"}
    assert len(points(figure)) == 3
    del model
    model, _ = with_noise()
    (layer,) = [layer for layer in model.layers if isinstance(layer, kh.Hypernetwork)]
    for source in (model, layer, layer.embedding):
        assert len(points(kh.plot.conditions(source))) == 5


@pytest.mark.parametrize("size", [1, 2])
def test_few_dimensions(size):
    found = points(kh.plot.conditions(embedding(4, size)))
    assert found.shape == (4, 2)
    assert np.any(found[:, 1]) == (size == 2)


def test_equal_vectors_have_one_point():
    layer = kh.ConditionEmbedding(3, 2, embeddings_initializer="zeros")
    layer(np.arange(3))
    assert not points(kh.plot.conditions(layer)).any()


def test_conditions_refuse():
    with pytest.raises(TypeError, match="`model` must be a layer"):
        kh.plot.conditions(np.ones((3, 2)))
    with pytest.raises(ValueError, match="`model` must have one `ConditionEmbedding`"):
        kh.plot.conditions(built())
    with pytest.raises(ValueError, match="`model` must be built"):
        kh.plot.conditions(kh.ConditionEmbedding(3, 2))
    with pytest.raises(ValueError, match="at least two conditions"):
        kh.plot.conditions(of_tasks(["only"]))
    with pytest.raises(ValueError, match=r"`names` must have a name for each of the 5"):
        kh.plot.conditions(embedding(), ["a", "b"])
    with pytest.raises(TypeError, match=r"`names` must be a list"):
        kh.plot.conditions(embedding(), "abcde")
    broken = kh.ConditionEmbedding(3, 2, embeddings_initializer=keras.initializers.Constant(np.nan))
    broken(np.arange(3))
    with pytest.raises(ValueError, match="must be finite"):
        kh.plot.conditions(broken)
