"""`Parts`: the generators of a graph, and which of their variables are what."""

import math

import keras

from keras_hypernet.conditioning.condition_embedding import ConditionEmbedding
from keras_hypernet.generators.blocks.hidden_layer import HiddenLayer
from keras_hypernet.generators.chunk_set import ChunkSet
from keras_hypernet.generators.generator import Generator
from keras_hypernet.generators.layerwise_weight_generator import LayerwiseWeightGenerator
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.layers.planned_weights import PlannedWeights
from keras_hypernet.models.calls import ModelCall, values_in
from keras_hypernet.models.graph_reader import before
from keras_hypernet.models.weight_sources import weight_sources
from keras_hypernet.utils import keras_internals

BOUNDED = ("relu", "sigmoid", "hard_sigmoid", "tanh", "softmax", "relu6", "hard_tanh")
ROLES = ("head", "head_bias", "trunk", "embeddings")  # of a generator's variables
_EMBEDDINGS = (ConditionEmbedding, keras.layers.Embedding, ChunkSet, LayerwiseWeightGenerator)


class Group:
    """A generator, or layers of one's own in front of weights.

    `roles` is `{"head", "head_bias", "trunk" or "embeddings": [variables]}`.
    """

    def __init__(self, name, layers, heads, generator=None):
        self.name, self.layers, self.generator = name, layers, generator
        inside = [inner for layer in layers for inner in keras_internals.layers_in(layer)]
        self.ids = {id(layer) for layer in inside}
        hidden = [layer for layer in inside if isinstance(layer, HiddenLayer)]
        chunked = any(isinstance(layer, ChunkSet) for layer in inside)
        self.normalizes = not chunked and any(layer.batch_normalization for layer in hidden)
        self.features = hidden[-1].units if hidden else None
        self.roles = {}
        heads = {id(inner) for head in heads for inner in keras_internals.layers_in(head)}
        for layer in layers:
            for owner, variable in keras_internals.parameters(layer):
                role = _role(owner, variable, id(owner) in heads)
                self.roles.setdefault(role, []).append(variable)

    @property
    def variables(self):
        return [variable for own in self.roles.values() for variable in own]

    def frozen_roles(self):
        """The roles that have no trained variable."""
        return [
            role
            for role, variables in self.roles.items()
            if variables and not any(v.trainable for v in variables)
        ]


class Parts:
    """Reads a `CallGraph`.

    `groups` has a `Group` for each generator, and one for all layers of one's own in front of
    weights. `shapes` is `{name of a generated kernel: (inputs, outputs)}`.
    """

    def __init__(self, graph):
        self.graph = graph
        calls = graph.calls_of(Generator)
        self.groups = []
        for call in calls:
            if not any(call.operation is group.generator for group in self.groups):
                layer = call.operation
                self.groups.append(Group(call.name, [layer], heads_of(layer), layer))
        own = self._own_layers()
        if own:
            # Of weights that no generator makes, the last layer is the head.
            heads = [] if calls else own[-1:]
            self.groups.append(Group(own[-1].name, own, heads))
        self.bounds = self._bounds()
        self.shapes = {}
        for made in weight_sources(graph):
            for tensor in made.spec:
                if tensor.is_matrix and tensor.output_axes == (-1,):
                    outputs = math.prod(tensor.shape[axis] for axis in tensor.output_axes)
                    self.shapes[tensor.name] = (tensor.size // outputs, outputs)

    def _own_layers(self):
        """Layers with variables that make weights or conditions, and are no generators."""
        taken = [[call.args, call.kwargs] for call in self.graph.calls_of(Generator)]
        taken += [call.weights for call in self.graph.calls_of(HyperLayer)]
        kinds = (Generator, PlannedWeights, HyperLayer)
        found = {}
        for call in self.graph.calls_before(taken):
            layer = call.operation
            skipped = isinstance(layer, kinds) or isinstance(call, ModelCall)
            if not skipped and isinstance(layer, keras.layers.Layer) and layer.weights:
                found[id(layer)] = layer
        return [layer for layer in found.values() if keras_internals.parameters(layer)]

    def _bounds(self):
        """`(activation, name of the layer)` between heads and layers that take weights, or `()`."""
        stop = (Generator, PlannedWeights, HyperLayer)
        calls = self.graph.calls_before(
            [call.weights for call in self.graph.calls_of(HyperLayer)], *stop
        )
        for call in calls:
            layer = call.operation
            if isinstance(layer, keras.layers.ReLU):
                return "relu", layer.name
            function = getattr(getattr(layer, "activation", None), "__name__", None)
            is_last = isinstance(layer, keras.layers.Activation) or layer is self._last_own(calls)
            if is_last and function in BOUNDED:
                return function, layer.name
        return ()

    def _last_own(self, calls):
        layers = [c.operation for c in calls if isinstance(c.operation, keras.layers.Dense)]
        return layers[-1] if layers else None

    def group_of(self, layer):
        """The group that a layer is in, or `None`."""
        return next((group for group in self.groups if id(layer) in group.ids), None)

    def is_noise(self, value, name):
        """Whether an input is noise: by its name, or by what a generator calls it."""
        if "noise" in name:
            return True
        for call in self.graph.calls_of(Generator):
            given = call.args[0] if call.args else None
            if isinstance(given, dict) and value in before(values_in(given.get("noise"))):
                return True
        return False


def heads_of(generator):
    """The layers inside a generator that put weights out."""
    found = []
    for layer in keras_internals.layers_in(generator):
        if hasattr(layer, "head"):
            found.append(layer.head)
        elif hasattr(layer, "convs"):
            found.append(layer.convs[-1])
    return found


def _role(owner, variable, is_head):
    if is_head:
        return "head" if len(variable.shape) > 1 else "head_bias"
    own = isinstance(owner, _EMBEDDINGS)
    return "embeddings" if own else "trunk"
