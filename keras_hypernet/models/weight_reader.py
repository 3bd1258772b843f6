"""`target_weights`: what a hypernetwork generates, by name."""

from collections import Counter

import keras
from keras import ops

from keras_hypernet.generators.generator import Generator
from keras_hypernet.layers.hyper_layer import HyperLayer
from keras_hypernet.layers.layer_weights import LayerWeights
from keras_hypernet.layers.split_weights import SplitWeights
from keras_hypernet.models import graph_reader
from keras_hypernet.models.call_graph import CallGraph
from keras_hypernet.utils import checks
from keras_hypernet.weights.forms import FACTORS, split_weights


def target_weights(model, conditioning):
    """The weights that a model generates for given conditions, by name.

    Args:
        model: Functional model with generators, such as `build` returns; they may sit in nested
            models.
        conditioning: Values of the inputs that the generators depend on: an array where that is
            one input, else a list in the order of the model's inputs, or a dict by input name.

    Returns:
        Dict `{name: array (rows, *shape)}`, whatever form the weights have in the graph. Names are
        the paths of the target's variables for a model made by `hypernetize`, else those of the
        generators' specs (`layer_0/kernel`, `layer_0/bias`, ... for `build`); where two generators
        have the same ones, each is prefixed with its generator's name and the names of the nested
        models around it.

    Raises:
        ValueError: if the model is not functional, has no generators, or `conditioning` does not
            fit its inputs.

    Example:

    >>> model = kh.build(conditioning_size=2, input_size=3, target_layer_sizes=[(3, 4)])
    >>> weights = kh.target_weights(model, np.zeros((5, 2), "float32"))
    >>> {name: array.shape for name, array in weights.items()}
    {'layer_0/kernel': (5, 3, 4), 'layer_0/bias': (5, 4)}
    """
    graph_reader.check_functional(model)
    calls = CallGraph(model)
    _, names = calls.before(
        [
            [[call.args, call.kwargs] for call in calls.calls_of(Generator)],
            [_weights(hyper) for hyper in calls.calls_of(HyperLayer)],
        ]
    )
    inputs = [tensor for tensor in model.inputs if tensor.name in names]
    if not inputs:
        raise ValueError(f"`model` must have generators in its graph. Received: {model!r}")
    calls.feed(values_by_name(inputs, conditioning))
    found = list(_generated(calls))
    counts = Counter(name for _, tensors in found for name in tensors)
    return {
        name if counts[name] == 1 else f"{where}/{name}": ops.convert_to_numpy(tensor)
        for where, tensors in found
        for name, tensor in tensors.items()
    }


def _generated(calls):
    """`[(where, {name: tensor})]` of all generated weights, as they are where they are applied."""
    sources = calls.calls_of((Generator, LayerWeights))
    covered = {c for s in calls.calls_of(LayerWeights) for c in _sources(calls, s.args)[0]}
    uses = [(hyper, *_sources(calls, _weights(hyper))) for hyper in calls.calls_of(HyperLayer)]
    changed = [use for use in uses if use[2]]
    only_changed = {source for _, found, _ in changed for source in found}
    only_changed -= {source for _, found, changes in uses if not changes for source in found}
    found = [
        (source, _tensors_of_source(calls, source))
        for source in sources
        if source not in covered | only_changed
    ]
    found += [(hyper, _tensors_of_use(calls, hyper, made)) for hyper, made, _ in changed]
    counts, numbers = Counter(call.name for call, _ in found), Counter()
    for call, tensors in found:
        where = call.name
        if counts[where] > 1:  # one layer, called more than once
            where = f"{where}/{numbers[where]}"
            numbers[call.name] += 1
        yield where, tensors


def _weights(hyper):
    return hyper.argument("weights")


def _sources(calls, weights):
    """`(the calls that make weights, whether other operations change what they make)`."""
    between, _ = calls.before(weights, stop=(Generator, LayerWeights))
    sources = [call for call in between if isinstance(call.operation, (Generator, LayerWeights))]
    return sources, any(
        not isinstance(call.operation, (Generator, LayerWeights, SplitWeights)) for call in between
    )


def _tensors_of_source(calls, source):
    if isinstance(source.operation, LayerWeights):
        return source.operation.tensors(calls.tensors_of(source.argument("generated")))
    weights = calls.tensors_of(source.outputs)
    weights = dict(zip(FACTORS, weights)) if len(weights) > 1 else weights[0]
    return split_weights(weights, source.operation.spec)


def _tensors_of_use(calls, hyper, sources):
    """Under the generator's names where there is one and it makes as many weights."""
    tensors = hyper.operation.tensors_by_name(calls.tensors_of(_weights(hyper)))
    specs = [s.operation.spec for s in sources if isinstance(s.operation, Generator)]
    if len(specs) == 1 and specs[0].shapes == [tuple(t.shape)[1:] for t in tensors.values()]:
        return dict(zip(specs[0].names, tensors.values()))
    return tensors


def values_by_name(inputs, conditioning):
    """`{name of an input: its value as a tensor}`."""
    names = [tensor.name for tensor in inputs]
    if isinstance(conditioning, dict):
        given = dict(conditioning)
    else:
        values = conditioning if isinstance(conditioning, (list, tuple)) else [conditioning]
        given = dict(zip(names, values)) if len(values) == len(names) else {}
    if set(given) != set(names):
        raise ValueError(
            f"`conditioning` must have one array for each of the inputs {names}, as an array, a "
            f"list in this order or a dict. Received: {_summary(conditioning)}"
        )
    return {tensor.name: _value(tensor, given[tensor.name]) for tensor in inputs}


def _value(tensor, given):
    given = checks.array("conditioning", given)
    if keras.backend.is_int_dtype(tensor.dtype):
        checks.int_tensor(tensor.name, given)
    return ops.cast(given, tensor.dtype)


def _summary(conditioning):
    return keras.tree.map_structure(lambda x: getattr(x, "shape", type(x).__name__), conditioning)
