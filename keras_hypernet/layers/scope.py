"""A scope in which layers deep inside a block run on given weights.

Each such layer has a `call` of its own that looks for a function in the innermost scope of its
thread, then for one that it was given for all calls, and without one does what it ever did.
"""

import functools
import threading

_PATCHED = "_function_outside_scopes"
_local = threading.local()  # a `ContextVar` would break the graph of `torch.compile`


class Scope:
    """Within it, layers run as given functions say. Scopes nest.

    Args:
        functions: `{id(layer): function of the layer's call arguments}`; `None` hides the one of
            an outer scope.
    """

    def __init__(self, functions):
        self.functions = functions

    def __enter__(self):
        self.before = getattr(_local, "functions", None)
        _local.functions = {**(self.before or {}), **self.functions}

    def __exit__(self, *error):
        _local.functions = self.before


def make_scoped(layer):
    """Lets a layer look for its function in scopes, once however often this is called."""
    if _PATCHED in vars(layer):
        return
    outside = [None]  # the function for calls that no scope says anything of
    for name in ("call", "quantized_call"):
        plain = getattr(layer, name, None)
        if plain is not None:
            object.__setattr__(layer, name, _scoped(layer, plain, outside))
    object.__setattr__(layer, _PATCHED, outside)


def set_function(layer, function):
    """Gives a layer a function of its call arguments for all calls; `None` takes it away."""
    make_scoped(layer)
    vars(layer)[_PATCHED][0] = function


def _scoped(layer, plain, outside):
    key = id(layer)

    @functools.wraps(plain)
    def call(*args, **kwargs):
        functions = getattr(_local, "functions", None)
        function = functions.get(key, outside[0]) if functions else outside[0]
        return plain(*args, **kwargs) if function is None else function(*args, **kwargs)

    return call
