"""`LoadedRows`: changes of a plain layer's weights, a row for each group of data, in its calls."""

import keras
from keras import ops, tree

from keras_hypernet.layers.hyper_layer import Untracked, check_row_counts
from keras_hypernet.layers.inside import Inside, run_leaf
from keras_hypernet.layers.scope import set_function
from keras_hypernet.utils import keras_internals


class LoadedRows:
    """Lets a layer of a plain model add what is given for each row, until it is taken out.

    `W[b] = W + change[b]` with the layer's own `W`, by the rows rule.

    Args:
        layer: A built Keras layer with a rule.
        changes: `{id(variable of the layer): (rows, *shape), or factors of an update}`.
    """

    def __init__(self, layer, changes):
        self.layer, self.inside = layer, Inside(layer)
        if len(self.inside.leaves) != 1:
            raise ValueError(
                f"`target` must have a layer {layer.name!r} that takes weights per row, as that of "
                f"`model` does. Received: one of class {type(layer).__name__}"
            )
        (self.leaf,) = self.inside.leaves
        self.rows = RowsOfWeights(changes)

    def put_in(self):
        """Changes the calls of the layer; of all models that have it, the variables."""
        keras_internals.attach(self.layer, self.rows)
        set_function(self.layer, self._call)

    def take_out(self):
        set_function(self.layer, None)
        keras_internals.detach(self.layer, self.rows)

    def _call(self, *args, **kwargs):
        tensors, counts = {}, set()
        for p in self.inside.of_leaf[id(self.leaf)]:
            change = self.rows.change_of(p.variable)
            counts |= {x.shape[0] for x in tree.flatten(change) if x is not None}
            entry = self._over_adapted(p, change) if p.leaf.adapted else self._entry(p, change)
            if entry is not None:
                tensors[p.local] = entry
        check_row_counts(self.leaf.data_of(args, kwargs).shape[0], counts)
        return run_leaf(self.leaf, tensors, *args, **kwargs)

    def _entry(self, p, change):
        if change is None:
            return p.own()
        if isinstance(change, dict):
            return {"base": p.variable.value, **change}
        return p.own() + ops.cast(change, p.variable.dtype)

    def _over_adapted(self, p, change):
        """What is added to what the leaf makes itself, its own bias included."""
        if not p.is_adapted:
            return change
        added = change if isinstance(change, dict) else {"change": change}
        return {"base": p.leaf.base(), **({} if change is None else added)}


class RowsOfWeights(keras.layers.Layer):
    """Tensors that compiled functions take as state, and that are no weights: in no file.

    Args:
        changes: As in `LoadedRows`.
    """

    def __init__(self, changes):
        super().__init__()
        # As state of a random generator is, they are among the variables and not the weights.
        self.states = Untracked(tree.map_structure(_State, changes))
        self.tracked = tree.flatten(self.states.value)
        self.built = True

    def change_of(self, variable):
        """The change of a variable, or `None`."""
        found = self.states.value.get(id(variable))
        return found and tree.map_structure(lambda x: ops.convert_to_tensor(x.state), found)

    def assign(self, changes):
        """Other changes of the same shapes."""
        for state, value in zip(self.tracked, tree.flatten(changes), strict=True):
            state.state.assign(value)


class _State(keras.random.SeedGenerator):
    def __init__(self, tensor):
        super().__init__(0)
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        self.state = keras.Variable(tensor, dtype=dtype, trainable=False, autocast=False)
