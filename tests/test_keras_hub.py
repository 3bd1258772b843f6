"""Backbones of KerasHub with an update of low rank for every row of a batch."""

import pathlib
import re

import keras
import numpy as np
import pytest
from keras import ops, tree

import keras_hypernet as kh
from keras_hypernet.utils.keras_internals import layers_in
from tests.backend import numpy_of
from tests.keras_hub_cases import FAMILIES
from tests.whole_models import SIZE, Batches, compiled, predict, settle

ROWS, RANK = 3, 2
PAGE = pathlib.Path(__file__).parents[1] / "docs" / "keras_hub.md"

# KerasHub's own: the attention of T5 takes its mask as an argument, and hands none on.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:Layer '(self|cross)_attention' \(of type T5MultiHeadAttention\) was passed an input "
    "with a mask:UserWarning"
)


@pytest.fixture(scope="module")
def keras_hub():
    reason = 'KerasHub is not installed: `pip install "keras-hypernet[keras-hub]"`'
    return pytest.importorskip("keras_hub", reason=reason, exc_type=ImportError)


@pytest.fixture
def make(keras_hub):
    def make(family):
        return getattr(keras_hub.models, f"{family.name}Backbone")(**family.arguments)

    return make


def adapted(backbone, copy):
    generator = lambda spec: kh.WeightGenerator(spec, [4], name="generator")  # noqa: E731
    options = {"mode": "low_rank", "rank": RANK, "freeze": "all", "copy": copy}
    return kh.hypernetize(backbone, SIZE, generator=generator, **options)


def values(variables):
    return [np.array(ops.convert_to_numpy(v)) for v in variables]


def merged(layer, kernel, down, up):
    """A kernel with its update. `down` has its input axes, and `up` its output axes."""
    equation = getattr(layer, "equation", None)
    if equation is None:
        return kernel + np.tensordot(down, up, 1)
    x, axes, _ = equation.replace("->", ",").split(",")
    of_x, of_y = ("".join(c for c in axes if (c in x) == inside) for inside in (True, False))
    return kernel + np.einsum(f"{of_x}Y,Y{of_y}->{axes}", down, up)


def assert_close(found, expected):
    tree.assert_same_structure(found, expected)
    for a, b in zip(tree.flatten(found), tree.flatten(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(1, np.abs(b).max()))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if f.slow else ()) for n, f in FAMILIES.items()]
)
def test_an_update_for_every_row(name, make, rng, tmp_path):
    family = FAMILIES[name]
    plain, given = settle(make(family), rng), make(family)
    base = values(plain.weights)
    given.set_weights(base)
    x = family.data(rng, ROWS)
    inputs = [rng.normal(size=(ROWS, SIZE)).astype("float32"), *tree.flatten(x)]
    expected = predict(plain, x)
    if not family.copy:
        with pytest.raises(ValueError, match=r"(?s)config.*`copy=False`"):
            adapted(make(family), copy=True)

    # All kernels are updated, and the model starts as the given one.
    hyper = adapted(given, family.copy)
    assert kh.describe(hyper).kernels == family.kernels
    assert_close(predict(hyper, inputs), expected)

    # Each row is the backbone with the kernels of that row.
    generator = hyper.get_layer("generator")
    for variable in generator.trainable_variables:
        variable.assign(0.3 * rng.normal(size=variable.shape))
    found = predict(hyper, inputs)
    factors = generator.spec.split(numpy_of(generator(inputs[0])))
    updated = {name.removesuffix(".down") for name in factors if name.endswith(".down")}
    pairs = zip(layers_in(plain), layers_in(given), strict=True)
    kernels = [
        (layer, numpy_of(layer.kernel), of_given.kernel.path)
        for layer, of_given in pairs
        if hasattr(layer, "kernel") and of_given.kernel.path in updated
    ]
    assert len(kernels) == len(updated) == family.kernels[0]
    for row in range(ROWS):
        for layer, kernel, path in kernels:
            down, up = (factors[f"{path}.{n}"][row] for n in ("down", "up"))
            layer.kernel.assign(merged(layer, kernel, down, up))
        alone = predict(plain, x)
        cut = [[y[row] for y in tree.flatten(z)] for z in (found, alone, expected)]
        assert_close(cut[0], cut[1])
        assert max(np.abs(a - b).max() for a, b in zip(cut[1], cut[2])) > 1e-2

    # All that is trained moves, and the base does not.
    trained, held = values(hyper.trainable_variables), values(given.weights)
    y = tree.map_structure(np.zeros_like, expected)
    compiled(hyper).fit(Batches(inputs, y), verbose=0)
    moved = [np.any(a != b) for a, b in zip(trained, values(hyper.trainable_variables))]
    assert all(moved)
    for a, b in zip(held, values(given.weights), strict=True):
        np.testing.assert_array_equal(a, b)

    # Files.
    after, path = predict(hyper, inputs), tmp_path / "hyper.keras"
    kh.save_generator(hyper, tmp_path / "generator")
    if family.copy:
        hyper.save(path)
        other = keras.saving.load_model(path)
        assert_close(predict(other, inputs), after)
        for variable in other.trainable_variables:
            variable.assign(np.zeros(variable.shape))
    else:
        with pytest.raises(ValueError, match=r"(?s)config.*`kh.save_generator"):
            hyper.save(path)
        assert not path.exists()
        backbone = make(family)
        backbone.set_weights(base)
        other = adapted(backbone, copy=False)
    kh.load_generator(other, tmp_path / "generator")
    assert_close(predict(other, inputs), after)


def test_the_page_has_what_works_how():
    rows = [line.split(" | ") for line in PAGE.read_text().splitlines()]
    rows = {row[0].removeprefix("| "): row[1:] for row in rows if len(row) == 5}
    for name, family in FAMILIES.items():
        backbone, kernels, copy, files = rows.pop(name)
        assert backbone == f"`{family.name}Backbone`"
        assert kernels.startswith("{} of {}".format(*family.kernels))
        assert copy.startswith("yes" if family.copy else "no")
        assert (".keras" in files) == family.copy
    assert list(rows) == ["family"]


@pytest.mark.slow
def test_the_page_runs(keras_hub, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text()
    exec("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)), {})
    assert all(line in text for line in capsys.readouterr().out.splitlines())
