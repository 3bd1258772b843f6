"""Starting embeddings anew, and reading what belongs to one condition."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from keras_hypernet.conditioning.condition_embedding import ConditionEmbedding
from keras_hypernet.generators.chunk_set import ChunkSet
from keras_hypernet.initializers.fresh import fresh
from keras_hypernet.utils import checks, keras_internals, naming
from keras_hypernet.utils.types import InitializerLike, Tensor


def initialize_embeddings(
    layer: keras.layers.Layer,
    which: str = "conditions",
    mean: float | None = None,
    stddev: float | None = None,
    initializer: InitializerLike = None,
    function: Callable[[Tensor], Tensor] | None = None,
    conditions: Sequence[int] | None = None,
    seed: int | None = None,
) -> None:
    """Draws the embeddings of conditions, or of chunks, once more.

    Args:
        layer: A built layer with embeddings: `Hypernetwork`, `TaskWeights`, `ConditionEmbedding`,
            `ChunkedWeightGenerator`... Those of all layers inside are drawn.
        which: `"conditions"` or `"chunks"`.
        mean, stddev: Of the normal numbers that are drawn; 0 and 1 by default.
        initializer: A Keras initializer in place of these, called for each embedding's shape
            `(size,)` of a condition, or `(number, size)` of the chunks.
        function: In place of these, `function(condition)`, of a condition's id, which gives an
            array `(size,)`; or `function(chunk, condition)`, of the index of a chunk among those
            of its kind and the condition (`None` where conditions share it).
        conditions: Ids of the conditions whose embeddings are drawn; all by default.
        seed: Seed of the normal numbers.

    Raises:
        ValueError: if the layer is not built or has no such embeddings, ids are out of range, or
            a function gives arrays of another shape.

    Example:

    >>> hyper = kh.Hypernetwork(kh.WeightGenerator([(3, 4), (4,)]), num_conditions=10)
    >>> weights = hyper(np.array([0]))
    >>> kh.initialize_embeddings(hyper, stddev=0.1)
    >>> kh.initialize_embeddings(hyper, function=lambda i: np.full(8, i), conditions=[2, 3])
    """
    checks.choice("which", which, ("conditions", "chunks"))
    checks.instance("layer", layer, keras.layers.Layer)
    if conditions is not None:
        conditions = [checks.count("conditions", c) for c in _listed("conditions", conditions)]
    seed = checks.seed("seed", seed)
    _check_makers(mean, stddev, seed, initializer, function, which)
    mean = checks.number("mean", 0.0 if mean is None else mean)
    stddev = checks.not_negative("stddev", 1.0 if stddev is None else stddev)
    tables = list(_tables(layer, which))
    if not tables:
        raise ValueError(f"`layer` must be built and have embeddings of {which}. Received: {layer}")
    rng = np.random.default_rng(seed)
    draw = _drawing(mean, stddev, initializer, rng)
    new = []
    for table, conditional in tables:
        values = ops.convert_to_numpy(table).copy()
        for condition in _chosen(conditions, len(values) if conditional else None):
            place = ... if condition is None else condition
            shape = values[place].shape
            if function is None:
                values[place] = draw(shape)
            else:
                values[place] = _of_function(function, which, condition, shape)
        new.append((table, values))
    for table, values in new:
        table.assign(values)


def condition_variables(layer: keras.layers.Layer, condition: int) -> dict[str, Tensor]:
    """What belongs to one condition only.

    Args:
        layer: A built generator, such as `Hypernetwork`.
        condition: Id of the condition.

    Returns:
        Dict `{name of the variable: its row of the condition}`; empty where nothing does. Names
        are the same in every process.

    Raises:
        ValueError: if the layer has no conditions, or the id is out of range.

    Example:

    >>> hyper = kh.Hypernetwork(kh.WeightGenerator([(3, 4), (4,)]), num_conditions=10)
    >>> weights = hyper(np.array([0]))
    >>> [keras.ops.shape(row) for row in kh.condition_variables(hyper, 3).values()]
    [(8,)]
    """
    _check_generator(layer, "conditional_variables")
    if layer.num_conditions is None:
        raise ValueError(f"`layer` must have conditions. Received: {layer}")
    checks.count("condition", condition)
    if condition >= layer.num_conditions:
        raise ValueError(
            f"`condition` must be in 0 ... {layer.num_conditions - 1}. Received: {condition}"
        )
    wanted = {id(v) for v in layer.conditional_variables}
    named = naming.named_variables(layer).items()
    return {n: ops.convert_to_tensor(v)[condition] for n, v in named if id(v) in wanted}


def perturb_unconditional(
    layer: keras.layers.Layer, changes: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The unconditional variables of a hypernetwork, with something added to each.

    Args:
        layer: A built `Hypernetwork`.
        changes: Tensors to add, in the order of `layer.unconditional_variables`, or a dict by
            their names in `layer.unconditional_spec`.

    Returns:
        Dict `{name: variable + change}`, for `layer(conditioning, variables=...)`.

    Raises:
        ValueError: if there are more or fewer changes than variables, or a shape differs.

    Example:

    >>> hyper = kh.Hypernetwork(kh.WeightGenerator([(3, 4), (4,)]), num_conditions=10)
    >>> weights = hyper(np.array([0]))
    >>> changes = [0.01 * np.ones(v.shape) for v in hyper.unconditional_variables]
    >>> perturbed = hyper(np.array([0]), variables=kh.perturb_unconditional(hyper, changes))
    """
    _check_generator(layer, "unconditional_variables")
    names = {id(v): name for name, v in layer.named_variables().items()}
    variables = {names[id(v)]: v for v in layer.unconditional_variables}
    if not isinstance(changes, dict):
        changes = _listed("changes", changes)
        if len(changes) != len(variables):
            raise ValueError(
                f"`changes` must be one per unconditional variable ({len(variables)}). "
                f"Received: {len(changes)}"
            )
        changes = dict(zip(variables, changes))
    checks.exact_keys("changes", changes, variables)
    for name, change in changes.items():
        checks.tensor(f"changes[{name!r}]", change)
        if tuple(change.shape) != tuple(variables[name].shape):
            raise ValueError(
                f"`changes` must have the shapes of the variables: {name} is "
                f"{tuple(variables[name].shape)}. Received: shape {tuple(change.shape)}"
            )
    return {
        name: ops.convert_to_tensor(v) + ops.cast(changes[name], v.dtype)
        for name, v in variables.items()
    }


def _check_generator(layer, attribute):
    """A built layer that tells which variables belong to conditions."""
    if not hasattr(type(layer), attribute):
        raise TypeError(f"`layer` must be a `Hypernetwork`. Received: {type(layer).__name__}")
    if not layer.built:
        raise ValueError(f"`layer` must be built: call it on data first. Received: {layer}")


def _listed(argument, values):
    if not isinstance(values, (list, tuple, range)):
        raise TypeError(f"`{argument}` must be a list. Received: {argument}={values!r}")
    return values


def _tables(layer, which):
    """`(variable, whether it has a row per condition)` of all embeddings inside a layer."""
    for inside in keras_internals.layers_in(layer):
        if which == "conditions" and isinstance(inside, ConditionEmbedding) and inside.built:
            yield inside.table.embeddings, True
        if which == "chunks" and isinstance(inside, ChunkSet) and inside.embeddings is not None:
            yield inside.embeddings, inside.chunk_embeddings == "conditional"


def _chosen(conditions, count):
    """Ids of conditions, checked; `None` stands for what all of them share."""
    if count is None:
        if conditions is not None:
            raise ValueError(
                "`conditions` must be None for embeddings that all conditions share. "
                f"Received: conditions={conditions}"
            )
        return [None]
    if conditions is None:
        return range(count)
    for condition in conditions:
        if not 0 <= condition < count:
            raise ValueError(f"`conditions` must be in 0 ... {count - 1}. Received: {condition}")
    return conditions


def _check_makers(mean, stddev, seed, initializer, function, which):
    """One of three ways to make embeddings."""
    if initializer is not None and function is not None:
        raise ValueError("Either `initializer` or `function` makes embeddings: give one of them.")
    if function is not None:
        fits = callable(function) and not isinstance(function, (type, keras.layers.Layer))
        rule = "be a function of the ids that gives an array"
        checks.require(fits, "function", rule, function, TypeError)
        given = ["the id of a condition"] if which == "conditions" else ["a chunk", "a condition"]
        checks.takes("function", function, *given)
    if initializer is None and function is None:
        return
    maker = "function" if initializer is None else "initializer"
    for name, value in (("mean", mean), ("stddev", stddev), ("seed", seed)):
        if value is not None:
            raise ValueError(
                f"Either `{name}`, of normal numbers, or `{maker}` makes embeddings: give one of "
                f"them. Received: {name}={value!r}"
            )


def _drawing(mean, stddev, initializer, rng):
    if initializer is None:
        return lambda shape: rng.normal(mean, stddev, shape)
    initializer = checks.initializer("initializer", initializer)
    return lambda shape: ops.convert_to_numpy(fresh(initializer)(shape, dtype="float32"))


def _of_function(function, which, condition, shape):
    if which == "conditions":
        made = _numbers(function(condition))
    else:
        made = np.stack([_numbers(function(chunk, condition)) for chunk in range(shape[0])])
    if made.shape != shape:
        raise ValueError(
            f"`function` must give embeddings of the shape {shape[-1:]}. "
            f"Received: shape {made.shape}"
        )
    if not np.isfinite(made).all():
        raise ValueError(f"`function` must give finite embeddings. Received: {made!r}")
    return made


def _numbers(made):
    try:
        return np.asarray(made, "float64")
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"`function` must give arrays of numbers. Received: {type(made).__name__}, {error}"
        ) from error
