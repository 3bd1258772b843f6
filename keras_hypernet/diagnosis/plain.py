"""`PlainTarget`: the target of a model on plain weights, as Keras would start them."""

import numpy as np
from keras import ops

from keras_hypernet.generators.generator import Generator
from keras_hypernet.initializers import BiasHyperInit, drawing
from keras_hypernet.layers.apply_generated_weights import ApplyGeneratedWeights
from keras_hypernet.layers.hyper import Hyper
from keras_hypernet.models.calls import Value
from keras_hypernet.models.graph_reader import before, everything
from keras_hypernet.models.weight_reader import ChangedWeights
from keras_hypernet.models.weight_sources import sources_of
from keras_hypernet.weights.forms import FACTORS
from keras_hypernet.weights.spec import WeightSpec


class PlainTarget:
    """A graph in which drawn weights stand where weights are generated.

    Args:
        graph: The `CallGraph`.
        made: What `generated_weights` returns.

    `calls` are those from drawn weights to outputs, `calls_to_weights` those to the weights that
    layers take. `possible` is whether all weights come in a form that it knows.
    """

    def __init__(self, graph, made):
        self.slots = {}  # first Value -> (Values, spec)
        self.possible = True
        for each in made:
            for values, spec in _slots(each):
                if spec is None:
                    self.possible = False
                else:
                    self.slots[values[0]] = (values, spec)
        put = {value for values, _ in self.slots.values() for value in values}
        self.calls = _calls_after(graph, put, graph.output)
        self.calls_to_weights = _calls_after(graph, put, [each.values for each in made])

    def drawn(self, number):
        """Draws `(number, total)` of each piece of weights, by their own initializers."""
        return [
            # Equal specs get other draws: equal layers would multiply one direction.
            ops.convert_to_tensor(np.stack([_draw(s, 1000 * i + place) for i in range(number)]))
            for place, (_, s) in enumerate(self.slots.values())
        ]

    def put(self, flats, rows):
        """`{Value: tensor}` of flat weights `(draws, total)`, each for several of some rows."""
        tensors = {}
        for (values, _), flat in zip(self.slots.values(), flats):
            flat = ops.take(flat, np.arange(rows) % flat.shape[0], axis=0)
            if len(values) == 1:
                tensors[values[0]] = flat
            else:
                factors = {
                    "basis": flat,
                    "features": ops.eye(flat.shape[0], dtype=flat.dtype),
                    "offset": ops.zeros_like(flat[0]),
                }
                tensors.update(zip(values, (factors[name] for name in FACTORS)))
        return tensors


def _slots(made):
    """`[(Values of weights, their spec)]` behind what is generated; `None` for unknown forms."""
    if isinstance(made, ChangedWeights):
        return _of_hyper(made.call)
    calls = [made.call] if isinstance(made.call.operation, Generator) else sources_of(made.values)
    return [(tuple(call.outputs), call.operation.spec) for call in calls]


def _of_hyper(call):
    layer, weights = call.operation, call.weights
    if isinstance(layer, ApplyGeneratedWeights):
        specs = [WeightSpec(dense.tensors_to_generate()) for dense in layer.dense_layers]
        if isinstance(weights, Value):
            return [((weights,), WeightSpec([tensor for spec in specs for tensor in spec]))]
        return [_slot(own, spec) for own, spec in zip(weights, specs)]
    known = isinstance(layer, Hyper)
    return [_slot(weights, WeightSpec(layer.tensors_to_generate()) if known else None)]


def _slot(weights, spec):
    if isinstance(weights, Value):
        return (weights,), spec
    if isinstance(weights, dict) and set(weights) == set(FACTORS):
        return tuple(weights[name] for name in FACTORS), spec
    return (None,), None


def _draw(spec, seed):
    start, drawn = BiasHyperInit(), []
    for i, tensor in enumerate(spec):
        initializer = start.initializer_of(tensor)
        try:
            values = drawing.draw(tensor, i, initializer, seed)
        except ValueError:  # one that NumPy does not know
            values = ops.convert_to_numpy(initializer(tensor.shape, dtype="float32"))
        drawn.append(np.ravel(values))
    return np.concatenate(drawn).astype("float32")


def _calls_after(graph, put, wanted):
    """The calls that make values of those that are put, in order."""

    def taken(call):
        return () if put.intersection(call.outputs) else everything(call)

    made_by = {value.call for value in before(wanted, taken) - put}
    return [call for call in graph.calls if call in made_by and not put & set(call.outputs)]
