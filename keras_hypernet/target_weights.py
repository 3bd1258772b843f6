"""`target_weights`: what a hypernetwork generates, by name."""

from collections import Counter

import keras
from keras import ops

from keras_hypernet import checks, graph
from keras_hypernet.weights import split_weights


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
    graph.check_functional(model)
    inputs = graph.conditioning_inputs(model)
    if not inputs:
        raise ValueError(f"`model` must have generators in its graph. Received: {model!r}")
    found = _generated(model, values_by_name(inputs, conditioning))
    counts = Counter(name for _, tensors in found for name in tensors)
    return {
        name if counts[name] == 1 else f"{where}/{name}": ops.convert_to_numpy(tensor)
        for where, tensors in found
        for name, tensor in tensors.items()
    }


def _generated(model, values, path=""):
    """`[(where, {name: tensor})]` for every generator of a model."""
    found = []
    for layer, generated, _ in graph.layer_weights(model):
        value = graph.evaluate(generated, values)
        found.append((path + layer.name, layer.tensors(value)))
    calls = graph.plain_generators(model)
    counts = Counter(generator.name for generator, _, _ in calls)
    for i, (generator, conditioning, _) in enumerate(calls):
        weights = generator(graph.evaluate(conditioning, values), training=False)
        where = path + generator.name + (f"/{i}" if counts[generator.name] > 1 else "")
        found.append((where, split_weights(weights, generator.spec)))
    for nested, fed in graph.nested_models(model):
        needed = graph.conditioning_inputs(nested)
        inner = {tensor.name: graph.evaluate(fed[tensor.name], values) for tensor in needed}
        found += _generated(nested, inner, f"{path}{nested.name}/")
    return found


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
