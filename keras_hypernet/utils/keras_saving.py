"""What a `.keras` file holds of a layer, moved without a file.

`saving_lib` is a private part of Keras. Its public functions write files of whole models; here
are single layers, whose state goes from one to another.
"""

import tempfile

import keras
import numpy as np
from keras.src.saving import saving_lib

from keras_hypernet.utils.keras_internals import layers_in


class _Arrays(dict):
    """What one object saves: arrays by key. A copy, for JAX frees what a variable held."""

    def __init__(self, left_out=()):
        super().__init__()
        self.left_out = left_out

    def __setitem__(self, key, value):
        if id(value) not in self.left_out:
            super().__setitem__(key, np.array(keras.ops.convert_to_numpy(value)))


class _Memory(saving_lib.NpzIOStore):
    """A file's arrays in memory: `{path of an object inside: {key: array}}`."""

    def __init__(self, contents, left_out=()):
        self.contents = contents
        self.left_out = left_out

    def make(self, path, metadata=None):
        self.contents[path] = _Arrays(self.left_out)
        return self.contents[path]

    def get(self, path):
        return self.contents.get(path, {})

    def has_path(self, path):
        return any(f"{saved}/".startswith(f"{path}/") for saved in self.contents)


def has_assets(layer):
    """Whether a layer, or one inside it, saves files beside its arrays."""
    return any(hasattr(inner, "save_assets") for inner in layers_in(layer))


def is_saved(layer):
    """Whether a file holds anything of a layer beside its config."""
    return bool(layer.weights or arrays_of(layer)) or has_assets(layer)


def arrays_of(layer, left_out=()):
    """The arrays that a `.keras` file holds of a layer: `{path of a part of it: {key: array}}`.

    Args:
        layer: The layer.
        left_out: Variables that are not wanted.
    """
    arrays = {}
    store = _Memory(arrays, {id(variable) for variable in left_out})
    saving_lib._save_state(layer, store, None, "", set())
    return {path: dict(entry) for path, entry in arrays.items() if entry}


def load_arrays(layer, arrays):
    """Gives a layer what `arrays_of` found, as loading a file does."""
    saving_lib._load_state(layer, _Memory(arrays), None, "", visited_saveables=set())


def save_assets(layer, folder):
    """Writes the files that a layer saves beside its arrays into a folder."""
    saving_lib._save_state(layer, None, saving_lib.DiskIOStore(folder, mode="r"), "", set())


def load_assets(layer, folder):
    """Gives a layer what `save_assets` has written."""
    store = saving_lib.DiskIOStore(folder, mode="r")
    saving_lib._load_state(layer, None, store, "", visited_saveables=set())


def copy_state(layer, copy, fit=None):
    """Gives a layer all that a `.keras` file would hold of another one, as loading it does.

    `fit` as in `copying.copy_values`.
    """
    arrays = arrays_of(layer)
    if fit is not None:
        for path, fresh in arrays_of(copy).items():
            arrays[path] = {key: fit(arrays[path][key], fresh[key]) for key in fresh}
    load_arrays(copy, arrays)
    if has_assets(layer):
        with tempfile.TemporaryDirectory() as folder:
            save_assets(layer, folder)
            load_assets(copy, folder)
