"""Which of a model's weights are generated: names and choices."""

import difflib
import fnmatch
from collections import Counter

import keras

from keras_hypernet.layers.inside import Inside
from keras_hypernet.utils import checks, keras_internals


class Parameters:
    """The parameters of a model, each with the layer of the graph that has it and its path.

    Where two variables have one path, as layers of nested models may, both are prefixed with the
    name of their nested model.

    Args:
        graph: The `CallGraph` of the model.

    `layers` is `[layer of the graph]`, nested models opened, each once. `inside(layer)` is what it
    has `Inside`, `of(layer)` `[(owner, variable)]`, each owner's together, quantized kernels that
    can be updated too.
    `path(variable)` is its name.
    """

    def __init__(self, graph):
        self._paths, self._name = {}, graph.model.name
        self._places = graph.layers()
        self.layers = [layer for layer, _ in self._places]
        self._inside = {id(layer): Inside(layer) for layer in self.layers}
        unique = {id(v): v for layer in self.layers for _, v in self.of(layer)}
        shared = Counter(v.path for v in unique.values())
        for layer, around in self._places:
            for _, v in self.of(layer):
                prefix = [call.operation.name for call in around] if shared[v.path] > 1 else []
                self._paths.setdefault(id(v), "/".join((*prefix, v.path)))
        self.variables = list(unique.values())

    def inside(self, layer):
        return self._inside[id(layer)]

    def of(self, layer):
        inside = self.inside(layer)
        found = {id(p.variable): p for p in (*inside.adapted, *inside.parameters)}
        together = {}  # by owner
        for p in found.values():
            together.setdefault(id(p.owner), []).append((p.owner, p.variable))
        return [pair for pairs in together.values() for pair in pairs]

    def path(self, variable):
        return self._paths[id(variable)]

    def selected(self, select, takes=None):
        """Ids of the variables that are selected.

        Args:
            select: `None` for what is trainable, or a glob pattern on paths, the name of a layer
                or of a nested model, a layer class, a function of a variable, or a list of these.
            takes: Function of a variable: whether the name of a layer, or its class, selects it;
                `None` is all of the layer.
        """
        if select is None:
            # A scale of float8 is trainable and yet no weight: Keras writes a value in its place.
            weights = (v for v in self.variables if not v.overwrite_with_gradient)
            found = {id(v) for v in weights if v.trainable}
            found |= {id(p.variable) for p in self._quantized() if p.owner.trainable}
            if not found:
                raise ValueError(
                    "`model` has no trainable weights, which `select=None` would select. Name "
                    "those that are to be generated: `select='*'` is all of them."
                )
            return found
        choices = list(select) if isinstance(select, (list, tuple, set)) else [select]
        found = set()
        for choice in choices:
            chosen = self._chosen(choice, takes)
            if not chosen:
                raise ValueError(self._nothing(choice))
            found |= chosen
        if not found:
            raise ValueError(self._nothing(select))
        return found

    def _chosen(self, choice, takes):
        if isinstance(choice, str):
            matching = {
                id(v)
                for v in self.variables
                if any(fnmatch.fnmatchcase(path, choice) for path in self._names(v))
            }
            return matching or self._in_layers(
                lambda layer: choice in (layer.name, layer.path), takes
            )
        if isinstance(choice, type) and issubclass(choice, keras.layers.Layer):
            return self._in_layers(lambda layer: isinstance(layer, choice), takes)
        if callable(choice) and not isinstance(choice, (type, keras.layers.Layer)):
            checks.takes("select", choice, "a variable")
            return {id(v) for v in self.variables if choice(v)}
        raise TypeError(
            "`select` must be a glob pattern on variable paths, the name of a layer, a layer "
            "class, a function of a variable, or a list of these. "
            f"Received: {choice!r} of type {type(choice).__name__}"
        )

    def _quantized(self):
        """Kernels of integers, which are trained no more."""
        every = [p for layer in self.layers for p in self.inside(layer).adapted]
        return [p for p in every if not keras.backend.is_float_dtype(p.variable.dtype)]

    def _in_layers(self, is_chosen, takes):
        """Ids of the variables in layers of a kind, layers inside others and nested models too."""
        models = [call.operation for _, around in self._places for call in around]
        inner = [found for layer in self.layers for found in keras_internals.layers_in(layer)]
        chosen = {id(v) for layer in (*models, *inner) if is_chosen(layer) for v in layer.weights}
        chosen = [v for v in self.variables if id(v) in chosen]
        # Where there is nothing of the kind, what is wrong is said of all.
        return {id(v) for v in [v for v in chosen if takes is None or takes(v)] or chosen}

    def _names(self, variable):
        """The path, and that without the name of a `Sequential`, which Keras puts before it."""
        path = self.path(variable)
        return path, path.removeprefix(f"{self._name}/")

    def _nothing(self, choice):
        paths = [self.path(v) for v in self.variables]
        nearest = difflib.get_close_matches(str(choice).strip("*/"), _parts(paths), n=1, cutoff=0.5)
        hint = f" The nearest is {nearest[0]!r}." if isinstance(choice, str) and nearest else ""
        return f"`select` selects nothing.{hint} There are: {paths}. Received: select={choice!r}"


def _parts(paths):
    """Paths, and all that a pattern may name of them."""
    parts = [path.split("/") for path in paths]
    return list(dict.fromkeys(paths + ["/".join(p[i:]) for p in parts for i in range(1, len(p))]))
