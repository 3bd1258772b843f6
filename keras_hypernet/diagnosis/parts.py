"""`Parts`: the generators of a graph, and which of their variables are what."""

import keras

from keras_hypernet.conditioning.condition_embedding import ConditionEmbedding
from keras_hypernet.diagnosis.runs import matrix_shape
from keras_hypernet.generators.blocks.hidden_layer import HiddenLayer
from keras_hypernet.generators.chunk_set import ChunkSet
from keras_hypernet.generators.generator import Generator
from keras_hypernet.generators.layerwise_weight_generator import LayerwiseWeightGenerator
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.layers.planned_weights import PlannedWeights
from keras_hypernet.models.calls import ModelCall, values_in
from keras_hypernet.models.graph_reader import before
from keras_hypernet.models.weight_sources import SOURCES, weight_sources
from keras_hypernet.utils import keras_internals

BOUNDED = ("relu", "sigmoid", "hard_sigmoid", "tanh", "softmax", "relu6", "hard_tanh")
ROLES = ("head", "head_bias", "trunk", "embeddings")  # of a generator's variables
EMBEDDINGS = (ConditionEmbedding, keras.layers.Embedding, ChunkSet, LayerwiseWeightGenerator)


class Group:
    """A generator, or a layer of one's own that makes weights or conditions.

    `roles` is `{"head", "head_bias", "trunk" or "embeddings": [variables]}`.

    Args:
        name: Its name in the graph.
        layer: The layer.
        heads: The layers inside that put weights out, or itself.
        in_front: Whether it makes no weights itself.
    """

    def __init__(self, name, layer, heads, in_front=False):
        self.name, self.layer, self.in_front = name, layer, in_front
        self.generator = layer if isinstance(layer, Generator) else None
        inside = keras_internals.layers_in(layer)
        self.ids = {id(inner) for inner in inside}
        hidden = [inner for inner in inside if isinstance(inner, HiddenLayer)]
        chunked = any(isinstance(inner, ChunkSet) for inner in inside)
        of_batch = any(inner.batch_normalization for inner in hidden)
        of_batch = of_batch or isinstance(layer, keras.layers.BatchNormalization)
        self.normalizes = of_batch and not chunked
        self.features = hidden[-1].units if hidden else None
        self.roles = {}
        heads = {id(inner) for head in heads for inner in keras_internals.layers_in(head)}
        self.is_head = id(layer) in heads
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

    `groups` has a `Group` for each generator, and for each layer of one's own that makes weights or
    conditions. `shapes` is `{name of a generated kernel: (inputs, outputs)}`.
    """

    def __init__(self, graph):
        self.graph = graph
        calls = graph.calls_of(Generator)
        self.groups = []
        for call in calls:
            if not any(call.operation is group.generator for group in self.groups):
                self.groups.append(Group(call.name, call.operation, heads_of(call.operation)))
        heads = self._own_heads()
        for call in self.own_calls():
            own = [call.operation] if id(call.operation) in heads else []
            self.groups.append(Group(call.name, call.operation, own, in_front=not own))
        self.bounds = self._bounds()
        self.shapes = {}
        for made in weight_sources(graph):
            for tensor in made.spec:
                if tensor.is_matrix and tensor.output_axes == (-1,):
                    self.shapes[tensor.name] = matrix_shape(tensor.shape)

    def own_calls(self, nest=None):
        """The first calls of layers with parameters that are no generators, before weights.

        Args:
            nest: What they make, in place of all weights and conditions.
        """
        if nest is None:
            nest = [[call.args, call.kwargs] for call in self.graph.calls_of(Generator)]
            nest += [call.weights for call in self.graph.calls_of(HyperLayer)]
        kinds = (Generator, PlannedWeights, HyperLayer)
        found = {}
        for call in self.graph.calls_before(nest):
            layer = call.operation
            skipped = isinstance(layer, kinds) or isinstance(call, ModelCall)
            if not skipped and isinstance(layer, keras.layers.Layer) and layer.weights:
                found.setdefault(id(layer), call)
        return [c for c in found.values() if keras_internals.parameters(c.operation)]

    def _own_heads(self):
        """Ids of the last layers before weights that no generator makes."""
        found = set()
        for call in self.graph.calls_of(HyperLayer):
            for weights in values_in(call.weights):
                own = self.own_calls(weights)
                makers = self.graph.calls_before(weights)
                if own and not any(isinstance(maker.operation, SOURCES) for maker in makers):
                    found.add(id(own[-1].operation))
        return found

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
            group = self.group_of(layer)
            is_last = isinstance(layer, keras.layers.Activation) or (group and group.is_head)
            if is_last and function in BOUNDED:
                return function, layer.name
        return ()

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
    own = isinstance(owner, EMBEDDINGS)
    return "embeddings" if own else "trunk"
