"""`GeneratedWeights`: ids of tasks -> all weights that a functional model generates."""

import dataclasses
import itertools

import keras
from keras import ops

from keras_hypernet.conditioning.condition_embedding import ConditionEmbedding
from keras_hypernet.generators.generator import Generator
from keras_hypernet.layers.planned_weights import PlannedWeights
from keras_hypernet.models.graph_reader import run
from keras_hypernet.models.weight_sources import unique_names, weight_sources
from keras_hypernet.utils import keras_internals, naming
from keras_hypernet.weights.spec import WeightSpec


class GeneratedWeights:
    """All that the generators of a model make of one condition, flat: `ids -> (rows, total)`.

    What a `Hypernetwork` is to one generator, for any functional model with one conditioning. It
    is no layer, and owns none: what it calls belongs to the model.

    Args:
        graph: `CallGraph` of a model with generators that depend on one of its inputs.
        embedding: Layer from ids to that input; `None` where the input takes ids.
    """

    built = True

    def __init__(self, graph, embedding=None):
        self.name = graph.model.name
        self.embedding = embedding
        ((_, self.condition),) = graph.conditioning()
        self.sources = sorted(weight_sources(graph), key=_order)
        self.calls = graph.calls_before([source.values for source in self.sources])
        self.weight_spec = self._spec()
        self._read_layers(graph)

    def _spec(self):
        """The tensors of all sources, under the names that `target_weights` gives them."""
        names = [source.spec.names for source in self.sources]
        names = unique_names([source.call for source in self.sources], names)
        tensors = itertools.chain(*(source.spec for source in self.sources))
        pairs = zip(tensors, itertools.chain(*names))
        return WeightSpec([dataclasses.replace(tensor, name=name) for tensor, name in pairs])

    def _read_layers(self, graph):
        """Finds the variables, once: every step of training asks for them.

        `ungenerated` stand beside generated weights in their layers; `conditional_variables` have a
        row for every condition; `unconditional_variables` are the others, statistics too.
        """
        self.layers = [] if self.embedding is None else [self.embedding]
        self.layers += _layers(graph, self.sources)
        inside = _once(x for layer in self.layers for x in keras_internals.layers_in(layer))
        generators = [x for x in inside if isinstance(x, Generator)]
        embeddings = [x for x in inside if isinstance(x, ConditionEmbedding)]
        assembled = [x for x in inside if isinstance(x, PlannedWeights)]
        counts = [x.num_conditions for x in generators + embeddings if x.num_conditions]
        self.num_conditions = min(counts, default=None)  # `None` where nothing says it
        self.variables = _once(v for layer in self.layers for v in layer.variables)
        self.ungenerated = [v for layer in assembled for v in layer.ungenerated]
        self.conditional_variables = _once(
            [x.table.embeddings for x in embeddings]
            + [v for x in generators for v in x.conditional_variables]
        )
        others = {id(v) for v in [*self.conditional_variables, *self.ungenerated]}
        self.unconditional_variables = [
            v for v in self.variables if id(v) not in others and is_float(v)
        ]

    def named_variables(self):
        """`{name: variable}` of what generates weights: see `Hypernetwork.named_variables`."""
        return naming.named_variables_of(self.layers)

    def __call__(self, ids, training=None):  # (rows,) -> (rows, total)
        condition = ids if self.embedding is None else self.embedding(ids)
        tensors = run(self.calls, {self.condition: condition}, training)
        flat = [source.flat(tensors) for source in self.sources]
        return ops.concatenate(flat, axis=-1) if len(flat) > 1 else flat[0]


class Encoders(keras.layers.Layer):
    """Layers that compute what the sources of one model are given, under one name."""

    def __init__(self, layers):
        super().__init__(name="functional")
        self.encoders = layers


def _order(source):
    """For each model: its `PlannedWeights`, its generators, those of the models nested in it.

    It is the order of the columns in files of stored targets.
    """
    *around, own = source.call.order
    return [*((2, *place) for place in around), (isinstance(source.layer, Generator), *own)]


def _layers(graph, sources):
    """The layers that make weights, model by model: what is before the sources, and these."""
    arounds = [source.call.around for source in sources]
    places = dict.fromkeys(around[:i] for around in arounds for i in range(len(around) + 1))
    before = {place: [] for place in places}
    for call in graph.calls_before([[s.call.args, s.call.kwargs] for s in sources]):
        depth = max(i for i in range(len(call.around) + 1) if call.around[:i] in places)
        outermost = (*call.around, call)[depth].operation
        if isinstance(outermost, keras.layers.Layer):
            before[call.around[:depth]].append(outermost)
    found = []
    for place, encoders in before.items():
        found += [Encoders(_once(encoders))] if encoders else []
        found += [source.layer for source in sources if source.call.around == place]
    return found


def conditioning_of(graph):
    """The one input of a model that its generated weights depend on."""
    inputs = [symbol for symbol, _ in graph.conditioning()]
    if len(inputs) != 1:
        raise ValueError(
            "`model` must generate weights from one input that stands for the task, ids or a "
            f"vector. Received: a model whose weights depend on {[x.name for x in inputs]}"
        )
    return inputs[0]


def check_capacity(generated, num_tasks):
    room = generated.num_conditions
    if room is not None and room < num_tasks:
        raise ValueError(
            f"`num_tasks` must not be above the number of conditions of the model ({room}). "
            f"Received: num_tasks={num_tasks}"
        )


def check_all_generated(model, generated):
    ungenerated = {id(v) for v in generated.ungenerated}
    allowed = {id(v) for v in generated.variables} - ungenerated
    shared = [v for v in model.trainable_variables if id(v) not in allowed]
    if shared:
        names = [naming.without_numbers(variable.path) for variable in shared]
        raise ValueError(
            "All trained weights of `model` must be generated: every task would change these, and "
            "forget. Generate them, too (`select` says which), or freeze them: "
            "`kh.hypernetize(..., freeze='all')`, or `trainable = False` on their layers before. "
            f"Received, trained and not generated: {names}"
        )


def is_float(variable):
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(variable.dtype))


def _once(parts):
    return list({id(part): part for part in parts}.values())
