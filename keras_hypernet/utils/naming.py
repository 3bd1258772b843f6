"""Names: of layers, of variables' paths, and of variables inside a layer.

PyTorch keeps parameters by their path: two variables of one path train wrongly in one graph, in
silence. So every variable of this package lies in a sublayer, or under a path, that is numbered
per process. A number is no part of a config: a loaded or cloned layer gets a new one.

`keras.utils.clear_session` starts the numbers of models and inputs again, which are in no path, but
not those of paths: a model from before it may be put into one graph with one from after it.
"""

import collections
import itertools
import re
import weakref

import keras

from keras_hypernet.utils import backend, keras_internals

HYPER = "hyper_"  # before the name of the model that `hypernetize` is given

_numbers = collections.defaultdict(itertools.count)
_checked = weakref.WeakKeyDictionary()  # model -> id of the optimizer that it had


def unique_name(stem):
    """A name that no other layer of this process has, for what is in the paths of variables."""
    return f"{stem}_{next(_numbers[stem])}"


def session_name(stem):
    """A name that nothing else has since `keras.utils.clear_session`, for what is in no path.

    The first one is the stem, as with the names that Keras gives.
    """
    before = keras.backend.get_uid(stem) - 1
    return f"{stem}_{before}" if before else stem


def give_unique_path(layer):
    """Puts a number of this process before the paths of a layer's variables, not yet made."""
    keras_internals.set_parent_path(layer, unique_name("own"))


def without_numbers(path):
    """A path without the numbers that `give_unique_path` puts into it, for messages."""
    return re.sub(r"(^|/)own_\d+/", r"\1", path)


def check_paths():
    """Raises in a model in training of which two trained variables have one path on PyTorch.

    Those of this package never do. Those of Keras do where a model is loaded twice.
    """
    if not backend.keeps_variables_by_path():
        return
    model = keras_internals.layer_in_training()
    if model is None:
        return
    optimizer = id(getattr(model, "optimizer", None))
    if _checked.get(model) == optimizer:
        return
    counts = collections.Counter(v.path for v in model.trainable_variables)
    repeated = [path for path, count in counts.items() if count > 1]
    if repeated:
        raise ValueError(
            f"The trained variables of {model.name!r} must have paths of their own on PyTorch, "
            "where Keras trains those of one path wrongly. It is so where a model is loaded twice. "
            "Give the layers of one of them other names: `other = keras.models.clone_model(model, "
            "clone_function=lambda layer: type(layer).from_config({**layer.get_config(), 'name': "
            "f'other_{layer.name}'}))`, then `other.set_weights(model.get_weights())`. "
            f"Received, more than once: {repeated}"
        )
    _checked[model] = optimizer


def free_name(name, taken):
    """The name, or the first of `name_1`, `name_2`, ... that is not taken; it is taken then."""
    free = next(n for n in _numbered(name) if n not in taken)
    taken.add(free)
    return free


def named(parts):
    """`[(name, layer or variable)]`, without the numbers that a process gives, equal ones counted.

    So they are the same in every process.
    """
    taken = set()
    return [(free_name(re.sub(r"_\d+(?=_|$)", "", part.name), taken), part) for part in parts]


def named_layers(layer, name=""):
    """`(name, layer)` of a layer and all inside it, where each name but the first ends in a slash.

    A layer stands before what is in it, and once for each place.
    """
    yield name, layer
    for inner_name, inner in named(keras_internals.sublayers(layer)):
        yield from named_layers(inner, f"{name}{inner_name}/")


def named_variables(layer):
    """`{name: variable}` of a layer's weights: names of the sublayers down to it, and its own."""
    return _by_name(named_layers(layer))


def named_variables_of(layers):
    """The same of several layers, each with its own name before."""
    places = (named_layers(layer, f"{name}/") for name, layer in named(layers))
    return _by_name(itertools.chain.from_iterable(places))


def _by_name(places):
    found = {}  # id(variable) -> (name, variable)
    for prefix, layer in places:
        for name, variable in named(keras_internals.own_variables(layer)):
            found.setdefault(id(variable), (prefix + name, variable))
    return dict(found.values())


def _numbered(name):
    yield name
    for i in itertools.count(1):
        yield f"{name}_{i}"
