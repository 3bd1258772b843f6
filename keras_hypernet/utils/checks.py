"""Argument checks: each names the argument, the rule and what was received."""

import difflib
import inspect
import itertools
import math
import numbers
import operator
import os
import pathlib

import keras
import numpy as np

SEEDS = 2**31  # what random generators of all backends take


def require(fits, argument, rule, value, error=ValueError):
    """Raises an error that names the argument, the rule and what was received."""
    if not fits:
        raise error(
            f"`{argument}` must {rule}. "
            f"Received: {argument}={value!r} of type {type(value).__name__}"
        )


def require_kind(kinds, argument, rule, value):
    """Raises where a value is of another type; booleans are no numbers."""
    fits = isinstance(value, kinds) and not isinstance(value, bool)
    require(fits, argument, rule, value, TypeError)


def positive_int(argument, value):
    """A positive integer of any integer type (NumPy's too), as an `int`."""
    rule = "be a positive integer"
    require(isinstance(value, numbers.Integral), argument, rule, value, TypeError)
    require(value > 0 and not isinstance(value, bool), argument, rule, value)
    return operator.index(value)


def count(argument, value):
    """Zero or a positive integer, as an `int`."""
    value = integer(argument, value, "be zero or a positive integer")
    require(value >= 0, argument, "not be negative", value)
    return value


def integer(argument, value, rule="be an integer"):
    """An integer of any integer type, as an `int`."""
    require_kind(numbers.Integral, argument, rule, value)
    return operator.index(value)


def boolean(argument, value):
    """`True` or `False`, NumPy's too, as a `bool`."""
    fits = isinstance(value, (bool, np.bool_))
    require(fits, argument, "be True or False", value, TypeError)
    return bool(value)


def seed(argument, value, generator=False):
    """`None` or an integer that seeds may be; with `generator`, also a `SeedGenerator`."""
    if value is None or (generator and isinstance(value, keras.random.SeedGenerator)):
        return value
    rule = "be None or an integer from 0 to 2**31 - 1"
    if generator:
        rule = "be None, an integer from 0 to 2**31 - 1 or a `keras.random.SeedGenerator`"
    value = integer(argument, value, rule)
    require(0 <= value < SEEDS, argument, rule, value)
    return value


def next_seed(value, i):
    """The i-th of the seeds that follow one, or `None`."""
    return None if value is None else (value + i) % SEEDS


def name(argument, value):
    """A string that is not empty."""
    require_kind(str, argument, "be a non-empty string", value)
    require(value, argument, "be a non-empty string", value)
    return value


def path(argument, value):
    """A path of a file, from a string or a path, as a `pathlib.Path`."""
    require_kind((str, os.PathLike), argument, "be a path of a file", value)
    found = pathlib.Path(value)
    require(found.name and not found.is_dir(), argument, "be a path of a file, not a folder", value)
    in_folder = not any(parent.is_file() for parent in found.parents)
    require(in_folder, argument, "be a path in a folder, not in a file", value)
    return found


def names(argument, values):
    """Names, such as the keys of a dict: strings that are not empty."""
    for value in values:
        if not isinstance(value, str) or not value:
            error = ValueError if isinstance(value, str) else TypeError
            raise error(
                f"Names in `{argument}` must be non-empty strings. "
                f"Received: {value!r} of type {type(value).__name__}"
            )


def positive_ints(argument, values):
    """A list or tuple, possibly empty, of positive integers, as a tuple."""
    require_kind((list, tuple), argument, "be a list of positive integers", values)
    return tuple(positive_int(f"{argument}[{i}]", value) for i, value in enumerate(values))


def non_empty_list(argument, values):
    """A non-empty list or tuple."""
    require_kind((list, tuple), argument, "be a list", values)
    require(values, argument, "not be empty", values)
    return values


def shape(argument, value):
    """A full shape: a tuple of positive integers, `()` for a scalar."""
    return positive_ints(argument, value)


def layer_sizes(argument, values):
    """A non-empty list of `(in, out)` pairs that chain, as a tuple of pairs."""
    pairs = []
    for i, pair in enumerate(non_empty_list(argument, values)):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise ValueError(
                f"`{argument}` must be a list of pairs (in, out). "
                f"Received: {argument}[{i}]={pair!r}"
            )
        pairs.append(positive_ints(f"{argument}[{i}]", pair))
    for i, ((_, outputs), (inputs, _)) in enumerate(itertools.pairwise(pairs)):
        rule = f"chain: layer {i + 1} takes {inputs} inputs but layer {i} gives {outputs}"
        require(inputs == outputs, argument, rule, values)
    return tuple(pairs)


def exact_keys(argument, received, expected):
    """A dict with the given keys and no others."""
    require_kind(dict, argument, "be a dict", received)
    if set(received) != set(expected):
        missing = sorted(set(expected) - set(received))
        unknown = sorted(set(received) - set(expected), key=str)
        hint = nearest(unknown[0], missing) if unknown else ""
        raise ValueError(
            f"`{argument}` must have exactly the spec's names. "
            f"Missing: {missing}. Received unknown: {unknown}.{hint}"
        )


def known_keys(argument, received, known):
    """Keys of a dict, or a list of names, that are all known."""
    known = list(known)
    unknown = [key for key in received if key not in known]
    if unknown:
        raise ValueError(
            f"`{argument}` must have only the keys {known}. "
            f"Received: {unknown}.{nearest(unknown[0], known)}"
        )


def config_keys(argument, received, expected):
    """A config: a dict with these keys."""
    require_kind(dict, argument, "be a dict, as `get_config` returns it", received)
    known_keys(argument, received, expected)
    missing = [key for key in expected if key not in received]
    require(not missing, argument, f"have the keys {list(expected)}", received)


def few(entries):
    """A list, of a long one the first entries and how many more there are, for an error."""
    entries = list(entries)
    more = f" and {len(entries) - 4} more" if len(entries) > 4 else ""
    return f"{entries[:4]}{more}"


def verbose(verbose, values="0 or 1"):
    """0 or 1, or a boolean."""
    number = int(verbose) if isinstance(verbose, bool) else verbose
    if isinstance(number, str) or count("verbose", number) > 1:
        raise ValueError(f"`verbose` must be {values}. Received: verbose={verbose!r}")
    return verbose


def nearest(given, known):
    """A hint at what may have been meant, for the end of an error."""
    found = difflib.get_close_matches(str(given), [str(name) for name in known], n=1, cutoff=0.5)
    return f" The nearest is {found[0]!r}." if found else ""


def choice(argument, value, allowed):
    """One of the allowed strings, or `None` where that is allowed."""
    fits = isinstance(value, (str, type(None))) and value in allowed
    require(fits, argument, f"be one of {allowed}", value)
    return value


def fraction(argument, value):
    """A number in `[0, 1)`."""
    require(0 <= number(argument, value) < 1, argument, "be in [0, 1)", value)
    return float(value)


def number(argument, value):
    """A real number, neither infinite nor NaN."""
    require_kind(numbers.Real, argument, "be a number", value)
    require(math.isfinite(value), argument, "be finite", value)
    return float(value)


def number_or_numbers(argument, value):
    """A number, or a tuple of numbers from a list or an array with one for each entry."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        return number(argument, value)
    return tuple(
        number(f"{argument}[{i}]", x) for i, x in enumerate(non_empty_list(argument, value))
    )


def positive_number(argument, value):
    """A number above zero."""
    require(number(argument, value) > 0, argument, "be above zero", value)
    return float(value)


def not_negative(argument, value):
    """A number of zero or above."""
    require(number(argument, value) >= 0, argument, "not be negative", value)
    return float(value)


def instance(argument, value, kind):
    """An object of a class."""
    require_kind(kind, argument, f"be a {kind.__name__}", value)
    return value


def built_model(argument, value):
    """A Keras model that is built."""
    instance(argument, value, keras.Model)
    if not value.built:
        raise ValueError(
            f"`{argument}` must be built: give it a `keras.Input` or call it on data first. "
            f"Received: {argument}={value!r}"
        )
    return value


def numbers_by_name(argument, value):
    """A dict of names to numbers, or `None` for an empty one."""
    return _by_name(argument, value, "numbers by name or role", number)


def flags(argument, value):
    """A dict of booleans by name, or `None` for an empty one."""
    return _by_name(argument, value, "booleans by name", boolean)


def configs(argument, value):
    """A dict of configs by name, or `None` for an empty one."""
    return _by_name(argument, value, "configs by name", _config)


def _config(argument, value):
    require_kind(dict, argument, "be a dict", value)
    return value


def _by_name(argument, value, what, check):
    if value is None:
        return {}
    require_kind(dict, argument, f"be a dict of {what}", value)
    names(argument, value)
    return {key: check(f"{argument}[{key!r}]", entry) for key, entry in value.items()}


def activation(argument, value):
    """A Keras activation from its name, a callable or `None`."""
    rule = "be a Keras activation's name, a callable that is no class, or None"
    require(not isinstance(value, type), argument, rule, value, TypeError)
    try:
        found = keras.activations.get(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"`{argument}` must {rule}. Received: {argument}={value!r}") from error
    takes(argument, found, "a tensor")
    return found


def initializer(argument, value):
    """A Keras initializer from its name, config or itself; `None` stays."""
    return _from_keras(argument, value, keras.initializers, "a shape", dtype="float32")


def regularizer(argument, value):
    """A Keras regularizer from its name, config or itself; `None` stays."""
    return _from_keras(argument, value, keras.regularizers, "a tensor")


def from_keras(**arguments):
    """Keras initializers and regularizers, by the arguments that they are given as."""
    kinds = {"initializer": initializer, "regularizer": regularizer}
    return {name: kinds[name.rpartition("_")[2]](name, x) for name, x in arguments.items()}


def _from_keras(argument, value, module, *given, **named):
    kind = module.__name__.rpartition(".")[2].removesuffix("s")
    rule = f"be a Keras {kind}, its name or its config"
    try:
        found = module.get(value)
    except (ValueError, TypeError) as error:
        raise type(error)(f"`{argument}` must {rule}. Received: {argument}={value!r}") from error
    # Keras takes all that can be called, and an object of every class.
    if found is not None:
        fits = callable(found) and not isinstance(found, keras.layers.Layer)
        require(fits, argument, rule, value, TypeError)
        takes(argument, found, *given, **named)
    return found


def takes(argument, function, *given, **named):
    """A function that can be called with these arguments, of which words say the ones by place."""
    try:
        inspect.signature(function).bind(*given, **named)
    except TypeError as error:
        words = " and ".join([*given, *(f"`{name}`" for name in named)])
        raise TypeError(
            f"`{argument}` must be a function of {words}. "
            f"Received: {argument}={function!r}, {error}"
        ) from error
    except ValueError:  # some that are built in do not say it
        pass


def array(argument, value):
    """A tensor of the backend from numbers in any form; a KerasTensor stays."""
    if keras.utils.is_keras_tensor(value):
        return value
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError("It is a string.")  # of which JAX warns besides
        found = keras.ops.convert_to_tensor(value)
        made = not keras.ops.is_tensor(value)
        if made and keras.backend.standardize_dtype(found.dtype) == "string":  # on TensorFlow
            raise TypeError("The array has strings.")
    except (ValueError, TypeError) as error:
        raise TypeError(
            f"`{argument}` must be a tensor or an array of numbers. "
            f"Received: {type(value).__name__}"
        ) from error
    return found


def numpy_array(argument, value):
    """A NumPy array of numbers or strings, from an array in any form."""
    try:
        found = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise type(error)(
            f"`{argument}` must be an array. Received: {type(value).__name__}, {error}"
        ) from error
    strings = found.dtype != object or all(isinstance(x, (str, bytes)) for x in found.flat)
    require(strings, argument, "be an array of numbers or strings", value, TypeError)
    return found


def tensor(argument, value, hint=""):
    """Something with a shape and a dtype."""
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        raise TypeError(
            f"`{argument}` must be a tensor or a NumPy array{hint}. "
            f"Received: {type(value).__name__}"
        )


def float_tensor(argument, tensor, hint=""):
    """A tensor (or array) of a floating dtype."""
    dtype = dtype_of(argument, tensor)
    if not keras.backend.is_float_dtype(dtype):
        raise TypeError(f"`{argument}` must have a floating dtype. Received: dtype={dtype}.{hint}")


def int_tensor(argument, tensor):
    """A tensor (or array) of an integer dtype."""
    dtype = dtype_of(argument, tensor)
    if not keras.backend.is_int_dtype(dtype):
        raise TypeError(f"`{argument}` must have an integer dtype. Received: dtype={dtype}")


def dtype_of(argument, tensor):
    """The dtype of a tensor (or array), in words."""
    if isinstance(tensor, np.ndarray) and tensor.dtype.kind in "OSUMm":  # which Keras has not
        raise TypeError(
            f"`{argument}` must have a dtype of numbers. Received: dtype={tensor.dtype}"
        )
    return keras.backend.standardize_dtype(tensor.dtype)


def rank(argument, received, expected, hint=""):
    """A shape of a given rank."""
    if len(received) != expected:
        raise ValueError(
            f"`{argument}` must have {expected} ax{'i' if expected == 1 else 'e'}s. "
            f"Received: shape {tuple(received)}.{hint}"
        )


def data_axes(argument, received, hint=""):
    """A shape of data: rows first, and features last."""
    if len(received) < 2:
        raise ValueError(
            f"`{argument}` must have two or more axes, (rows, ..., size){hint}. "
            f"Received: shape {tuple(received)}"
        )


def fits(shape, expected):
    """Whether a shape is that of an input, in which unknown sizes and the first one are any."""
    sizes = zip(shape[1:], expected[1:])
    return len(shape) == len(expected) and all(e in (None, n) for n, e in sizes)


def last_axis(argument, received, expected):
    """A shape whose last entry is `expected`, as far as both are known."""
    if None not in (received[-1], expected) and received[-1] != expected:
        raise ValueError(
            f"`{argument}` must have {expected} entries on its last axis. "
            f"Received: shape {tuple(received)}"
        )


def known_last_axis(argument, received):
    """A shape whose last entry is known."""
    if received[-1] is None:
        raise ValueError(
            f"The last axis of `{argument}` must be known. Received: shape {tuple(received)}"
        )
