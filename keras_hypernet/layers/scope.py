"""A scope in which layers deep inside a block run on given weights.

Each such layer has a `call` of its own that looks for a function in the innermost scope of its
thread, and without one does what it ever did.
"""

import functools
import threading

_PATCHED = "_call_without_scope"
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
    for name in ("call", "quantized_call"):
        plain = getattr(layer, name, None)
        if plain is not None:
            object.__setattr__(layer, name, _scoped(layer, plain))
    object.__setattr__(layer, _PATCHED, True)


def _scoped(layer, plain):
    key = id(layer)

    @functools.wraps(plain)
    def call(*args, **kwargs):
        functions = getattr(_local, "functions", None)
        function = functions.get(key) if functions else None
        return plain(*args, **kwargs) if function is None else function(*args, **kwargs)

    return call
