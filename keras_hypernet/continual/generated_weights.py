"""`GeneratedWeights`: ids of tasks -> all weights that a functional model generates."""

from collections import Counter

import keras
from keras import ops, tree

from keras_hypernet import _compat, graph
from keras_hypernet.conditioning.condition_embedding import ConditionEmbedding
from keras_hypernet.generators.generator import Generator
from keras_hypernet.spec import WeightSpec
from keras_hypernet.weight_tensor import fields_of
from keras_hypernet.weights import materialize


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
        assembled = graph.layer_weights(model)
        used = {id(t) for _, generated, _ in assembled for t in graph.origin(generated)}
        # What makes weights, and the KerasTensors it is called with.
        self.sources = [(Assembled(layer), generated) for layer, generated, _ in assembled]
        self.sources += [
            (Plain(generator), conditioning)
            for generator, conditioning, outputs in graph.generators(model)
            if id(outputs[0]) not in used
        ]
        self.sources += [
            (GeneratedWeights(inner), fed[conditioning_of(inner).name])
            for inner, fed in graph.nested_models(model)
            if graph.conditioning_inputs(inner)
        ]
        flat = tree.flatten([symbols for _, symbols in self.sources])
        self.computed = list({id(t): t for t in flat if t is not self.input}.values())
        self.graph = keras.Model(self.input, self.computed) if self.computed else None

    def __call__(self, ids, training=None):  # (rows,) -> (rows, total)
        condition = ids if self.embedding is None else self.embedding(ids)
        values = {id(self.input): condition}
        if self.graph is not None:
            results = self.graph(condition, training=training)
            values.update(zip(map(id, self.computed), results))
        pieces = []
        for source, symbols in self.sources:
            given = tree.map_structure(lambda symbol: values[id(symbol)], symbols)
            pieces.append(source(given, training=training))
        return ops.concatenate(pieces, axis=-1) if len(pieces) > 1 else pieces[0]

    @property
    def weight_spec(self):
        """The `WeightSpec` of what is generated; equal names have their source's before them."""
        named = [(source.name, fields) for source, _ in self.sources for fields in source.fields()]
        counts = Counter(fields["name"] for _, fields in named)
        return WeightSpec(
            [
                fields
                if counts[fields["name"]] == 1
                else {**fields, "name": f"{where}/{fields['name']}"}
                for where, fields in named
            ]
        )

    def fields(self):
        return [fields_of(tensor) for tensor in self.weight_spec]

    # What it takes from the layers of the model.

    @property
    def layers(self):
        """Layers that weights are generated with."""
        own = [layer for layer in (self.embedding, self.graph) if layer is not None]
        return own + [layer for source, _ in self.sources for layer in source.layers]

    @property
    def variables(self):
        return _once(v for layer in self.layers for v in layer.variables)

    @property
    def conditional_variables(self):
        """Variables with a row for every condition."""
        inside = [inner for layer in self.layers for inner in _compat.layers_in(layer)]
        tables = [x.table.embeddings for x in inside if isinstance(x, ConditionEmbedding)]
        own = [v for x in inside if isinstance(x, Generator) for v in x.conditional_variables]
        return _once(tables + own)

    @property
    def unconditional_variables(self):
        """The other variables that generated weights depend on, statistics too."""
        others = {id(v) for v in self.conditional_variables} | {id(v) for v in self.kept}
        return [v for v in self.variables if id(v) not in others and is_float(v)]

    @property
    def kept(self):
        """Variables that stand beside the generated weights in their layers."""
        return [v for source, _ in self.sources for v in source.kept]

    @property
    def num_conditions(self):
        """Number of conditions that there is room for; `None` where nothing says it."""
        inside = [inner for layer in self.layers for inner in _compat.layers_in(layer)]
        kinds = (Generator, ConditionEmbedding)
        counts = [x.num_conditions for x in inside if isinstance(x, kinds) and x.num_conditions]
        return min(counts, default=None)


class Plain:
    """A generator whose weights are used as they are."""

    kept = ()

    def __init__(self, generator):
        self.name, self.generator, self.layers = generator.name, generator, [generator]

    def __call__(self, conditioning, training):
        return materialize(self.generator(conditioning, training=training))

    def fields(self):
        return [fields_of(tensor) for tensor in self.generator.spec]


class Assembled:
    """The generated tensors of a `LayerWeights`, with what they change."""

    def __init__(self, layer):
        self.name, self.layer, self.layers = layer.name, layer, [layer]

    @property
    def kept(self):
        return list(self.layer.kept.values())

    def __call__(self, generated, training):
        tensors = self.layer.tensors(generated)
        flat = [ops.reshape(tensors[p.name], (-1, p.size)) for p in self.layer.generated]
        return ops.concatenate(flat, axis=-1)

    def fields(self):
        return [
            {
                "name": p.name,
                "shape": p.shape,
                "role": p.role,
                "fan_in": p.fan_in,
                "fan_out": p.fan_out,
            }
            for p in self.layer.generated
        ]


def conditioning_of(model):
    """The one input of a model that its generated weights depend on."""
    inputs = graph.conditioning_inputs(model)
    if len(inputs) != 1:
        raise ValueError(
            "`model` must generate weights from one input that stands for the task, ids or a "
            f"vector. Received: a model whose weights depend on {[x.name for x in inputs]}"
        )
    return inputs[0]


def is_float(variable):
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(variable.dtype))


def _once(variables):
    return list({id(v): v for v in variables}.values())
