"""`specialize`: one condition baked into a plain Keras model."""

from functools import partial

import keras
from keras import tree

from keras_hypernet.layers.held_layer import layer_inside
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.layers.layer_weights import LayerWeights
from keras_hypernet.models import graph_reader
from keras_hypernet.models.graph_walk import first_argument, input_like, walk
from keras_hypernet.models.weight_reader import values_by_name
from keras_hypernet.utils import keras_internals
from keras_hypernet.utils.copying import assign_parts, copy_of, copy_values


def specialize(model, conditioning):
    """Bakes one condition into a plain Keras model: same outputs, no hypernetwork left.

    Args:
        model: Functional model with generated weights, such as `hypernetize` or `build` returns;
            hyper layers may sit in nested models.
        conditioning: Values of the inputs that the generated weights depend on, each with one
            row: an array where that is one input, else a list in the order of the model's inputs,
            or a dict by input name.

    Returns:
        A functional model of Keras' own layers with the inputs that remain, the model's outputs
        and the layers' names. It needs this package neither to load nor to export.

    Raises:
        ValueError: if the model is not functional, has no generated weights, or `conditioning` does
            not fit its inputs or has more than one row.

    Example:

    >>> model = kh.build(conditioning_size=2, input_size=3, target_layer_sizes=[(3, 4)])
    >>> plain = kh.specialize(model, np.zeros((1, 2), "float32"))
    >>> plain.count_params()
    16
    """
    graph_reader.check_functional(model)
    inputs = graph_reader.conditioning_inputs(model)
    if not inputs:
        raise ValueError(f"`model` must have generated weights in its graph. Received: {model!r}")
    values = values_by_name(inputs, conditioning)
    for name, value in values.items():
        if len(value.shape) == 0 or value.shape[0] != 1:
            raise ValueError(
                "`conditioning` must have one row, for one condition is baked in. "
                f"Received: {name} of shape {tuple(value.shape)}"
            )
    return _plain(model, values, model.name)[0]


def _plain(model, values, name, flags=None):
    """`(plain model, [the inputs of the model that remain])`."""
    baker = Baker(values, {operation.name for operation in model.operations}, flags or {})
    needed = data_tensors(model)
    inputs = [tensor for tensor in model.inputs if id(tensor) in needed]
    new = [input_like(tensor) for tensor in inputs]
    tensors = {id(old): tensor for old, tensor in zip(inputs, new)}
    outputs = walk(model, tensors, baker.call, needed)
    baker.copy_values()
    plain = keras.Model(new[0] if len(new) == 1 else new, outputs, name=name)
    return plain, inputs


def data_tensors(model):
    """Ids of the KerasTensors that outputs are made of, generated weights left out."""
    needed = {id(tensor) for tensor in model.outputs}
    for operation, args, kwargs, outputs in reversed(keras_internals.nodes(model)):
        if not any(id(tensor) in needed for tensor in outputs):
            continue
        if isinstance(operation, HyperLayer):
            first, others = first_argument(operation, args, kwargs)
            del others["weights"]
            used = [first, others]
        elif keras_internals.functional(operation) is not None:
            fed = graph_reader.fed_to(operation, args, kwargs)
            inside = data_tensors(operation)
            used = [fed[tensor.name] for tensor in operation.inputs if id(tensor) in inside]
            used += [first_argument(operation, args, kwargs)[1]]  # such as a mask
        else:
            used = [args, kwargs]
        needed |= {id(x) for x in tree.flatten(used) if keras.utils.is_keras_tensor(x)}
    return needed


class Baker:
    """Calls the operations of a graph with plain layers in place of hyper layers.

    Args:
        values: `{name: value}` of the model's inputs that generated weights depend on.
        taken: Names of the model's operations.
        flags: `{name: flags}` of the inputs that weights come in by: which ones are trained.
    """

    def __init__(self, values, taken, flags):
        self.values = values
        self.flags = flags
        self.taken = taken
        self.made = {}  # what it was made of -> plain layer
        self.pending = []  # functions that give layers, once built, their values
        self.names = set()  # of what was made for generated weights

    def call(self, operation, args, kwargs, new):
        if isinstance(operation, HyperLayer):
            x, others = first_argument(operation, args, kwargs)
            weights = others.pop("weights")
            x, others = new((x, others))
            for layer in self._plain_layers(operation, weights):
                x = layer(x, **others)
            return x
        if keras_internals.functional(operation) is not None and graph_reader.has_hyper_layers(
            operation
        ):
            return self._call_nested(operation, args, kwargs, new)
        args, kwargs = new((args, kwargs))
        return self._copy(operation)(*args, **kwargs)

    def copy_values(self):
        """Gives the plain layers their values."""
        for give in self.pending:
            give()

    def _copy(self, operation):
        key = id(operation)
        if key not in self.made:
            operation = layer_inside(operation)
            copy = self.made[key] = copy_of(operation)
            if isinstance(operation, keras.layers.Layer):
                self.pending.append(partial(copy_values, operation, copy))
        return self.made[key]

    def _plain_layers(self, hyper, weights):
        key = (id(hyper), *map(id, tree.flatten(weights)))
        if key not in self.made:
            plain = hyper.plain_layers(graph_reader.evaluate(weights, self.values))
            for layer, *values in plain:
                layer.name = self._free(layer.name)
                self.pending.append(partial(assign_parts, layer, *values, self._flags(weights)))
            self.made[key] = [layer for layer, *_ in plain]
        return self.made[key]

    def _flags(self, weights):
        """Which of a layer's weights the given model trained, where that is known; else `()`."""
        first = tree.flatten(weights)[0]
        operation, *_ = keras_internals.call_of(first)
        if isinstance(operation, LayerWeights):
            return operation.trainable_flags
        return self.flags.get(first.name, ())

    def _call_nested(self, model, args, kwargs, new):
        _, others = first_argument(model, args, kwargs)
        fed = graph_reader.fed_to(model, args, kwargs)
        names = [tensor.name for tensor in graph_reader.conditioning_inputs(model)]
        key = (id(model), *(id(fed[name]) for name in names))
        if key not in self.made:
            values = {name: graph_reader.evaluate(fed[name], self.values) for name in names}
            flags = {name: self._flags(fed[name]) for name in names}
            self.made[key] = _plain(model, values, self._free(model.name), flags)
        plain, inputs = self.made[key]
        data = [new(fed[tensor.name]) for tensor in inputs]
        return plain(data if len(data) > 1 else data[0], **new(others))

    def _free(self, name):
        """The name, or where it was given away, one that no layer of the plain model has."""
        free, i = name, 1
        while free in self.names or (free != name and free in self.taken):
            free, i = f"{name}_{i}", i + 1
        self.names.add(free)
        return free
