"""`save_generator` and `load_generator`: what a hypernetwork has learned, without its frozen base.

A file is NumPy's `.npz`: a JSON of metadata, and arrays under names that are the same in every
process and on every backend.
"""

from __future__ import annotations

import json
import math
import os
import sys
import warnings
import zipfile

import keras
import numpy as np
from keras import ops

from keras_hypernet.generators.generator import Generator
from keras_hypernet.layers.held_layer import HeldLayer
from keras_hypernet.layers.hidden_layer import HiddenLayer
from keras_hypernet.layers.layer_weights import LayerWeights
from keras_hypernet.utils import checks, keras_internals
from keras_hypernet.utils.files import some_of, written_whole
from keras_hypernet.utils.naming import named_layers, named_variables
from keras_hypernet.utils.trainable_flags import CompositeLayer

FORMAT = 1
METADATA = "metadata"  # the name of an entry; the others begin with one of these:
VALUES, BASES = "values/", "bases/"
SAMPLE = 8  # numbers of each frozen weight, by which a file knows it again


def save_generator(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Writes a file of all that is trained in a model, without what is frozen.

    So the file of a large frozen model with generated updates has the generator alone. It has the
    variables that are trained, and the state that moves with them: statistics of `RunningScale` and
    of batch normalization. It has not: frozen variables and the state of frozen layers; integer
    kernels of quantized layers and their scales; what is no variable, such as vocabularies; the
    optimizer, metrics and the state of random generators.

    Of frozen weights the file has eight numbers each, to know the base by.

    The file is written beside and renamed, so that there is a whole one at every moment; an old one
    is replaced. Folders around it are made.

    Args:
        model: Built Keras model: of `hypernetize`, of `build`, or wired by hand.
        path: Path of the file, with any suffix: it is a NumPy `.npz` file.

    Raises:
        ValueError: if everything in the model is frozen, it is not built, or it is one that saves
            more than its layers do (`ContinualModel`, which `ContinualCheckpoint` is for).
        TypeError: if `model` is no Keras model or `path` no path.

    Example:

    >>> import tempfile
    >>> base = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64)])
    >>> def adapted():
    ...     return kh.hypernetize(base, conditioning_size=2, mode="low_rank", freeze="all")
    >>> model, path = adapted(), tempfile.mkdtemp() + "/adapters.npz"
    >>> kh.save_generator(model, path)
    >>> other = adapted()
    >>> kh.load_generator(other, path)
    >>> inputs = [np.ones((2, 2)), np.ones((2, 64))]
    >>> bool(np.all(other.predict(inputs, verbose=0) == model.predict(inputs, verbose=0)))
    True
    """
    path = checks.path("path", path)
    places = _places(model)
    trained = _trained(model, places)
    arrays = {VALUES + name: _stored(v) for name, v in trained.items()}
    for name, generator in _generators(places).items():
        if generator.base is not None:
            arrays[BASES + name] = generator.base_sample()
    package = sys.modules[__name__.partition(".")[0]]
    frozen = {
        name: sample.tolist() for name, sample in _frozen(named_variables(model), trained).items()
    }
    metadata = json.dumps({"format": FORMAT, "version": package.__version__, "frozen": frozen})
    with written_whole(path) as partial, open(partial, "wb") as file:
        arrays[METADATA] = np.array(metadata)
        np.savez(file, **arrays)  # type: ignore[arg-type]  # an option of it has no name of these


def load_generator(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Gives a model what `save_generator` wrote of one with the same structure.

    The model is made by the same code, in any process and on any backend, or loaded from a file.
    Its frozen base must have the weights that the saved one had, which are not in the file: a
    warning names those that differ. It may have another dtype or be quantized. Everything is
    checked before anything changes. The optimizer is left as it is.

    Args:
        model: Built Keras model, in which the same is trained and frozen as in the one saved.
        path: Path of the file.

    Raises:
        ValueError: if it is no whole file of `save_generator`, or one of a model in which something
            else is trained, by name, or whose generators start from another frozen base.
        FileNotFoundError: if there is no such file.
        TypeError: if `model` is no Keras model or `path` no path.

    Example:

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/generator.npz"
    >>> kh.save_generator(kh.build(4, 2, [(2, 3)]), path)
    >>> model = kh.build(4, 2, [(2, 3)])
    >>> kh.load_generator(model, path)
    """
    path = checks.path("path", path)
    places = _places(model)
    variables, generators, known = (
        _trained(model, places),
        _generators(places),
        named_variables(model),
    )
    arrays, frozen = _read(path)
    problems = _differences(arrays, variables, generators, known)
    if problems:
        raise ValueError(
            f"`path` must be a file of a model in which the same is trained. {problems} "
            f"Received: path={str(path)!r}, model={model.name!r}"
        )
    for name, generator in generators.items():
        generator.check_base(arrays.get(BASES + name))
    _compare_frozen(model, frozen, _frozen(known, variables))
    for name, variable in variables.items():
        variable.assign(arrays[VALUES + name])
    changed = {id(variable) for variable in variables.values()}
    for _, layer in places:
        own = {id(variable) for variable in keras_internals.own_variables(layer)}
        if own & changed and hasattr(layer, "finalize_state"):
            layer.finalize_state()  # `Normalization` computes with what it made of its variables


def _places(model):
    """`[(name, layer)]` of a model's layers, those that hyper layers hide included."""
    checks.built_model("model", model)
    places = list(_with_hidden(model))
    for _, layer in places:
        own = type(layer).save_own_variables is not keras.Model.save_own_variables
        if isinstance(layer, keras.Model) and own:
            raise ValueError(
                "`model` must be one that saves no more than its layers do. Save it as a whole, as "
                f"`.keras`. Received: {layer.name!r} of class {type(layer).__name__}, which has a "
                "`save_own_variables` of its own"
            )
    _check_not_quantized(model, places)
    return places


def _check_not_quantized(model, places):
    """Raises where a file would lack kernels of a generator, which are integers and not trained."""
    found = [
        inner.name
        for _, layer in places
        if isinstance(layer, CompositeLayer) and not isinstance(layer, (HiddenLayer, HeldLayer))
        for inner in keras_internals.layers_in(layer)
        if inner.quantization_mode
    ]
    if found:
        raise ValueError(
            "`model` must have generators that are not quantized: a file has what is trained, and "
            "quantized kernels are so no more. Save the model as a whole, as `.keras`; or save it "
            "before `quantize`, and quantize after `kh.load_generator`. "
            f"Received: {model.name!r} with {checks.few(list(dict.fromkeys(found)))}"
        )


def _with_hidden(layer, name=""):
    for place, inner in named_layers(layer, name):
        yield place, inner
        if isinstance(inner, HiddenLayer):
            yield from _with_hidden(inner.wrapped_layer(), f"{place}hidden/")


def _generators(places):
    return {name: layer for name, layer in places if isinstance(layer, Generator)}


def _trained(model, places):
    """`{name: variable}` of what a file has."""
    kept = {id(variable) for variable in model.trainable_variables}
    for _, layer in places:
        kept |= _moving_state(layer)
    variables = {name: v for name, v in named_variables(model).items() if id(v) in kept}
    if not variables:
        raise ValueError(
            "`model` must have something that is trained: a file has nothing of what is frozen. "
            f"Received: {model.name!r}, in which all is"
        )
    return variables


def _moving_state(layer):
    """Ids of the variables that a layer itself made not to be trained, and that training moves."""
    # Integer kernels belong to the base; what `LayerWeights` made so are frozen weights.
    if not layer.trainable or layer.quantization_mode or isinstance(layer, LayerWeights):
        return set()
    others = keras_internals.trained_variables(layer)
    if isinstance(layer, HiddenLayer):  # whose layer inside is asked for what it made
        others += layer.wrapped_layer().variables
    made = keras_internals.own_variables(layer)
    return {id(variable) for variable in made} - {id(variable) for variable in others}


def _frozen(known, trained):
    """`{name: some of its numbers}` of the floating variables that are not trained."""
    found = {}
    for name, variable in known.items():
        if name not in trained and keras.backend.is_float_dtype(variable.dtype):
            some = some_of(variable, min(SAMPLE, math.prod(variable.shape)))
            found[name] = ops.convert_to_numpy(ops.cast(some, "float32"))
    return found


def _compare_frozen(model, saved, present):
    """Warns of frozen weights that are not those of the saved model, beyond their rounding."""
    names = [name for name in saved if name in present and len(saved[name]) == len(present[name])]
    other = [n for n in names if not np.allclose(saved[n], present[n], rtol=0.02, atol=1e-3)]
    if other:
        warnings.warn(
            "The frozen weights of `model` should be those that the generator was trained with, "
            "for the file does not have them: give the base its trained weights before "
            f"`load_generator`. Received other values in {model.name!r}: {checks.few(other)}",
            stacklevel=3,
        )


def _differences(arrays, variables, generators, known):
    """What a file has otherwise than a model, in words."""
    values = {name.removeprefix(VALUES): x for name, x in arrays.items() if name.startswith(VALUES)}
    bases = {name.removeprefix(BASES) for name in arrays if name.startswith(BASES)}
    missing = [name for name in variables if name not in values]
    unknown = [*(name for name in values if name not in known), *sorted(bases - set(generators))]
    frozen = [name for name in values if name in known and name not in variables]
    other = [
        f"{name} is {_kind(values[name])}, here {_kind(variable)}"
        for name, variable in variables.items()
        if name in values and _kind(values[name]) != _kind(variable)
    ]
    found = {
        "It lacks": missing,
        "The model lacks": unknown,
        "Frozen in the model": frozen,
        "Other shapes": other,
    }
    hint = checks.nearest(unknown[0], missing) if unknown else ""
    return " ".join(f"{what}: {checks.few(x)}." for what, x in found.items() if x) + hint


def _kind(array):
    """Shape and kind of an array or variable, in words."""
    floating = keras.backend.is_float_dtype(keras.backend.standardize_dtype(array.dtype))
    return f"{tuple(array.shape)}{'' if floating else ' of integers'}"


def _stored(variable):
    """The value of a variable, in a dtype that NumPy has itself: it stores no bfloat16."""
    array = np.asarray(ops.convert_to_numpy(variable))
    return array if array.dtype.isbuiltin == 1 else array.astype("float32")


def _read(path):
    """The arrays of a whole file, by name, and the numbers that it knows the base by."""
    if not path.is_file():
        raise FileNotFoundError(f"`path` must be a file that exists. Received: path={str(path)!r}")
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        metadata = json.loads(str(arrays.pop(METADATA)[()]))
        found = metadata["format"]
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, EOFError) as error:
        raise ValueError(
            f"`path` must be a whole file of `kh.save_generator`. Received: path={str(path)!r}"
        ) from error
    if found != FORMAT:
        raise ValueError(
            f"`path` must have the format {FORMAT}, which this version of keras_hypernet reads. "
            f"Received: format {found} in path={str(path)!r}"
        )
    return arrays, metadata.get("frozen", {})
