"""Files that are written whole or not at all, and numbers that they know tensors by."""

import contextlib
import math
import os
import zipfile
import zlib

import numpy as np
from keras import ops


@contextlib.contextmanager
def written_whole(path):
    """The path of a file beside, which takes the place of `path` once the block has written it.

    So there is a whole file at every moment, and one that failed leaves the old one. Folders around
    it are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    try:
        yield partial
        with open(partial, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def is_whole_zip(path, entry):
    """Whether a file is a zip archive with an entry of a name, and no entry is damaged."""
    try:
        with zipfile.ZipFile(path) as file:
            return entry in file.namelist() and file.testzip() is None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError):
        return False


def some_of(tensor, number):
    """So many numbers of a tensor, evenly from the first to the last, to know it again by.

    They are chosen before they are read: a tensor may be large, and on another device.
    """
    places = np.linspace(0, math.prod(tensor.shape) - 1, number).astype("int32")
    return ops.take(ops.reshape(tensor, (-1,)), places)
