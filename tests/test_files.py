"""Files of every release load, on every backend and without `custom_objects`, and say the same."""

import functools
import json
import zipfile

import keras
import numpy as np
import pytest
from keras import tree

import keras_hypernet as kh
from keras_hypernet.initializers.initialization import Initialization
from tests.backend import BACKEND
from tests.continual_cases import continual
from tests.file_cases import GENERATOR_FILES, MODEL_FILES  # which registers layers of files too
from tests.generator_cases import structured
from tests.write_files import DATA, FILES, nest_of, outputs_of, write

VERSIONS = sorted(FILES.iterdir(), key=lambda folder: [int(n) for n in folder.name.split(".")])
GENERATORS = {name.replace(" ", "_"): make for name, make in GENERATOR_FILES.items()}
# Keras on NumPy says so of its int8 layers.
pytestmark = pytest.mark.filterwarnings("ignore:(?s).*`custom_gradient` for the numpy backend")
# Kernels of int8 take data that are rounded, where a last bit makes a step.
ROUNDED = {"hypernetize_int8.keras": 0.05}
TOLERANCE = 1e-5
# What JAX compiles for longest, of which a smaller file is of the same kind.
LONG = (
    "hypernetize_blocks_low_rank",
    "hypernetize_encoder_low_rank",
    "hypernetize_lstm_tagger",
    "hypernetize_residual_cnn",
    "hypernetize_residual_cnn_low_rank",
    "hypernetize_unet",
    "hypernetize_wide_resnet",
)


@pytest.fixture(scope="module")
def data():
    """`{folder: its arrays, read when they are asked for}`."""
    return {folder: np.load(folder / DATA) for folder in VERSIONS}


@functools.cache
def newer(folder):
    """Mark of tests of a set that a newer Keras wrote: an older one reads only its own."""
    with zipfile.ZipFile(next(folder.glob("*.keras"))) as file:
        version = json.loads(file.read("metadata.json"))["keras_version"]
    numbers = [[int(n) for n in v.split(".")[:2]] for v in (version, keras.__version__)]
    return pytest.mark.skipif(numbers[0] > numbers[1], reason=f"files of Keras {version}")


def marks(path):
    """JAX compiles for every file: there the further rows of a class are later."""
    first = path.with_stem(path.stem.split("_")[0])
    further = first != path and first.exists()
    later = BACKEND == "jax" and (further or path.stem in LONG)
    return [newer(path.parent), *[pytest.mark.slow, pytest.mark.later] * later]


def files(pattern):
    return pytest.mark.parametrize(
        "path",
        [
            pytest.param(path, id=f"{folder.name} {path.stem}", marks=marks(path))
            for folder in VERSIONS
            for path in sorted(folder.glob(pattern))
        ],
    )


def check(model, path, arrays):
    found = outputs_of(model, nest_of(arrays, path.stem, "inputs"))
    expected = nest_of(arrays, path.stem, "outputs")
    tolerance = ROUNDED.get(path.name, TOLERANCE)
    tree.assert_same_structure(found, expected)
    for a, b in zip(tree.flatten(found), tree.flatten(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=10 * tolerance, atol=tolerance)


@files("*.keras")
def test_a_model_is_loaded_and_gives_what_it_gave(path, data):
    check(keras.saving.load_model(path, safe_mode=True), path, data[path.parent])


@files("*.generator.npz")
def test_a_generator_is_loaded_into_its_base(path, data):
    model = GENERATORS[path.name.partition(".")[0]]()
    with np.testing.assert_raises(AssertionError):
        check(model, path, data[path.parent])
    kh.load_generator(model, path)
    check(model, path, data[path.parent])


def test_the_newest_set_has_every_class():
    """Else write a set for the version to come: `python -m tests.write_files VERSION`."""
    known = {n for n in keras.saving.get_custom_objects() if n.startswith("keras_hypernet>")}
    public = {getattr(kh, name) for name in kh.__all__}
    bases = keras.layers.Layer, Initialization
    kinds = {c for c in public if isinstance(c, type) and issubclass(c, bases)}
    assert {keras.saving.get_registered_name(kind) for kind in kinds} <= known
    configs = [zipfile.ZipFile(path).read("config.json") for path in VERSIONS[-1].glob("*.keras")]
    found = {name for config in configs for name in names_in(json.loads(config))}
    assert not known - found


def names_in(config):
    """Registered names of all that is in a config."""
    if isinstance(config, dict):
        yield config.get("registered_name")
    for entry in config.values() if isinstance(config, dict) else config:
        if isinstance(entry, (dict, list)):
            yield from names_in(entry)


def test_what_is_written_is_loaded(tmp_path):
    rows = {name: MODEL_FILES[name] for name in ("build", "hypernetize dicts")}
    write(tmp_path / "set", rows)
    arrays = np.load(tmp_path / "set" / DATA)
    for path in (tmp_path / "set").glob("*.keras"):
        check(keras.saving.load_model(path), path, arrays)
    with pytest.raises(FileExistsError):
        write(tmp_path / "set", rows)


# Configs as they were before an argument had its name or its place.


def test_a_continual_model_of_before_hold_conditions():
    model = continual(hold_conditions=False)
    for name in "ab":
        model.begin_task(name)
    config = model.get_config()
    config["hold_embeddings"] = config.pop("hold_conditions")
    config["progress"]["task_names"] = config["progress"].pop("task_sequence")
    again = kh.ContinualModel.from_config(config)
    assert again.hold_conditions is False
    assert again.task_names == ("a", "b")
    assert again.get_config().keys() == model.get_config().keys()


def test_a_perceptron_of_before_feature_scale_has_none():
    config = kh.WeightGenerator([(3, 4)], [6]).get_config()
    assert config.pop("feature_scale") != 1.0
    assert kh.WeightGenerator.from_config(config).get_config()["feature_scale"] == 1.0


def test_chunks_of_before_any_generator_have_a_perceptron_without_feature_scale():
    config = kh.ChunkedWeightGenerator([(3, 4)], 5, hidden_sizes=[6]).get_config()
    assert config.pop("generator")["config"]["feature_scale"] != 1.0
    again = kh.ChunkedWeightGenerator.from_config({**config, "hidden_sizes": [6]})
    assert again.get_config()["generator"]["config"]["feature_scale"] == 1.0


def test_kinds_of_chunks_of_before_feature_scale_have_none():
    config = structured().get_config()
    assert config["kinds"]["half"].pop("feature_scale") != 1.0
    again = kh.StructuredWeightGenerator.from_config(config).get_config()
    assert again["kinds"]["half"]["feature_scale"] == 1.0
