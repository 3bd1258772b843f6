"""`GeneratedWeights`: ids of tasks -> all weights that a functional model generates."""

import dataclasses
from collections import Counter

import keras
from keras import ops, tree

from keras_hypernet.conditioning.condition_embedding import ConditionEmbedding
from keras_hypernet.generators.generator import Generator
from keras_hypernet.models import graph_reader
from keras_hypernet.utils import keras_internals, naming
from keras_hypernet.weights.forms import materialize, pack_weights
from keras_hypernet.weights.spec import WeightSpec


class GeneratedWeights:
    """All that the generators of a model make of one condition, flat: `ids -> (rows, total)`.

    What a `Hypernetwork` is to one generator, for any functional model with one conditioning. It
    is no layer, and owns none: what it calls belongs to the model.

    Args:
        model: Functional model with generators that depend on one of its inputs.
        embedding: Layer from ids to that input; `None` where the input takes ids.
    """

    built = True

    def __init__(self, model, embedding=None):
        self.name = model.name
        self.embedding = embedding
        self.input = conditioning_of(model)
        # What makes weights, and the KerasTensors it is called with.
        self.sources = [
            (Assembled(layer), given) for layer, given, _ in graph_reader.layer_weights(model)
        ]
        self.sources += [(Plain(g), given) for g, given, _ in graph_reader.plain_generators(model)]
        self.sources += [
            (GeneratedWeights(inner), fed[conditioning_of(inner).name])
            for inner, fed in graph_reader.nested_models(model)
            if graph_reader.conditioning_inputs(inner)
        ]
        flat = tree.flatten([symbols for _, symbols in self.sources])
        self.computed = list({id(t): t for t in flat if t is not self.input}.values())
        self.graph = keras.Model(self.input, self.computed) if self.computed else None
        self.weight_spec = self._spec()
        self._read_layers()

    def _spec(self):
        """The tensors of all sources; equal names have their source's before them."""
        named = [(s.name, tensor) for s, _ in self.sources for tensor in s.weight_spec]
        counts = Counter(tensor.name for _, tensor in named)
        return WeightSpec(
            [
                tensor
                if counts[tensor.name] == 1
                else dataclasses.replace(tensor, name=f"{where}/{tensor.name}")
                for where, tensor in named
            ]
        )

    def _read_layers(self):
        """Finds the variables, once: every step of training asks for them.

        `kept` stand beside generated weights in their layers; `conditional_variables` have a row
        for every condition; `unconditional_variables` are the others, statistics too.
        """
        self.layers = [layer for layer in (self.embedding, self.graph) if layer is not None]
        self.layers += [layer for source, _ in self.sources for layer in source.layers]
        self.kept = [v for source, _ in self.sources for v in source.kept]
        inside = [inner for layer in self.layers for inner in keras_internals.layers_in(layer)]
        generators = [x for x in inside if isinstance(x, Generator)]
        embeddings = [x for x in inside if isinstance(x, ConditionEmbedding)]
        counts = [x.num_conditions for x in generators + embeddings if x.num_conditions]
        self.num_conditions = min(counts, default=None)  # `None` where nothing says it
        self.variables = _once(v for layer in self.layers for v in layer.variables)
        self.conditional_variables = _once(
            [x.table.embeddings for x in embeddings]
            + [v for x in generators for v in x.conditional_variables]
        )
        others = {id(v) for v in [*self.conditional_variables, *self.kept]}
        self.unconditional_variables = [
            v for v in self.variables if id(v) not in others and is_float(v)
        ]

    def named_variables(self):
        """`{name: variable}` of what generates weights: see `Hypernetwork.named_variables`."""
        return naming.named_variables_of(self.layers)

    def __call__(self, ids, training=None):  # (rows,) -> (rows, total)
        condition = ids if self.embedding is None else self.embedding(ids)
        values = {id(self.input): condition}
        if self.graph is not None:
            results = tree.flatten(self.graph(condition, training=training))
            values.update(zip(map(id, self.computed), results))
        pieces = []
        for source, symbols in self.sources:
            given = tree.map_structure(lambda symbol: values[id(symbol)], symbols)
            pieces.append(source(given, training=training))
        return ops.concatenate(pieces, axis=-1) if len(pieces) > 1 else pieces[0]


class Plain:
    """A generator whose weights are used as they are."""

    kept = ()

    def __init__(self, generator):
        self.name, self.generator, self.layers = generator.name, generator, [generator]
        self.weight_spec = generator.spec

    def __call__(self, conditioning, training):
        return materialize(self.generator(conditioning, training=training))


class Assembled:
    """The generated tensors of a `LayerWeights`, with what they change."""

    def __init__(self, layer):
        self.name, self.layer, self.layers = layer.name, layer, [layer]
        self.kept = list(layer.ordinary.values())
        self.weight_spec = WeightSpec([plan.tensor for plan in layer.generated])

    def __call__(self, generated, training):
        return pack_weights(self.layer.tensors(generated), self.weight_spec)


def conditioning_of(model):
    """The one input of a model that its generated weights depend on."""
    inputs = graph_reader.conditioning_inputs(model)
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
    kept = {id(v) for v in generated.kept}
    allowed = {id(v) for v in generated.variables} - kept
    shared = [v.path for v in model.trainable_variables if id(v) not in allowed]
    if shared:
        raise ValueError(
            "All trained weights of `model` must be generated: every task would change these, and "
            "forget. Generate them, or set `trainable = False` on their layers before. "
            f"Received: {shared}"
        )


def is_float(variable):
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(variable.dtype))


def _once(variables):
    return list({id(v): v for v in variables}.values())
