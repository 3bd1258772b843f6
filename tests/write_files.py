"""Writes the files that every later version must load: `python -m tests.write_files [VERSION]`.

A set is `tests/files/VERSION/`: a small `.keras` file for each row of `file_cases.py`, a few files
of `save_generator`, and one `data.npz` with inputs and outputs. `test_files.py` loads every set on
every backend. The set of a release is never written again. That of a version to come may be: remove
its folder first.
"""

import os
import pathlib
import sys
import zipfile

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
from keras import tree

import keras_hypernet as kh
from tests.test_generator_file import data as inputs_of
from tests.whole_models import predict

FILES = pathlib.Path(__file__).parent / "files"
DATA = "data.npz"


def outputs_of(model, inputs):
    """Outputs as arrays; of a `ContinualModel` those for each of its tasks."""
    if isinstance(model, kh.ContinualModel):
        return [model.predict(inputs, task=name, verbose=0) for name in model.task_names]
    return predict(model, inputs)


def flat(stem, kind, nest):
    """`{name in the data: array}` of a tensor, or of a list or dict of them."""
    entries = tree.flatten_with_path(nest)
    return {"/".join([stem, kind, *map(str, path)]): array for path, array in entries}


def nest_of(data, stem, kind):
    """What `flat` was given."""
    prefix = f"{stem}/{kind}"
    if prefix in data:
        return data[prefix]
    found = {key[len(prefix) + 1 :]: data[key] for key in data if key.startswith(f"{prefix}/")}
    if not all(key.isdigit() for key in found):
        return found
    return [found[str(i)] for i in range(len(found))]


def move(model, rng):
    """Trained variables as after some training."""
    for variable in model.trainable_variables:
        noise = 0.3 * rng.normal(size=variable.shape)
        variable.assign(keras.ops.convert_to_numpy(variable) + noise)


def write(folder, rows, generators=None):
    """Writes a set into a new folder.

    Args:
        folder: The new folder.
        rows: `{name: function of a random generator}`, which returns a model and inputs.
        generators: `{name: function}`, which returns a model whose frozen base is always the same.
    """
    folder.mkdir(parents=True)
    data = {}

    def add(path, model, inputs):
        outputs = outputs_of(model, inputs)
        for array in tree.flatten(outputs):
            assert np.isfinite(array).all(), path
            assert np.ptp(array) > 0, path
        data.update(flat(path.stem, "inputs", inputs) | flat(path.stem, "outputs", outputs))

    for name, make in rows.items():
        keras.utils.set_random_seed(7)
        model, inputs = make(np.random.default_rng(0))
        path = folder / f"{name.replace(' ', '_')}.keras"
        add(path, model, inputs)
        model.save(path)
        pack(path)
    for name, make in (generators or {}).items():
        keras.utils.set_random_seed(7)
        model = make()
        move(model, np.random.default_rng(0))
        path = folder / f"{name.replace(' ', '_')}.generator.npz"
        add(path, model, inputs_of(model))
        kh.save_generator(model, path)
    np.savez_compressed(folder / DATA, **data)


def pack(path):
    """Compresses the parts of a `.keras` file, which Keras stores as they are."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name, part in parts.items():
            file.writestr(name, part)


if __name__ == "__main__":
    from tests.file_cases import GENERATOR_FILES, MODEL_FILES

    [version] = sys.argv[1:] or [kh.__version__]
    write(FILES / version, MODEL_FILES, GENERATOR_FILES)
    sizes = [path.stat().st_size for path in (FILES / version).iterdir()]
    print(f"{len(sizes)} files of {sum(sizes):,} bytes in {FILES / version}")
