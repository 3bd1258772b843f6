"""`output_regularizer`: what old tasks lose where their generated weights change."""

from __future__ import annotations

import functools

import keras
from keras import ops

from keras_hypernet.conditioning.ids import as_ids
from keras_hypernet.continual.generated_weights import GeneratedWeights
from keras_hypernet.generators.hypernetwork import GROUPS, Hypernetwork
from keras_hypernet.utils import checks
from keras_hypernet.utils.functional_call import replacements, run, run_in_turn
from keras_hypernet.utils.types import Perturbation, Tensor
from keras_hypernet.weights.forms import materialize


def output_regularizer(
    hypernetwork: Hypernetwork | GeneratedWeights,
    ids: Tensor,
    targets: Tensor | None = None,
    frozen: dict[str, Tensor] | None = None,
    *,
    tasks_per_step: int | None = None,
    task_coefficients: Tensor | None = None,
    importance: Tensor | None = None,
    mask: Tensor | None = None,
    perturbation: Perturbation | None = None,
    hold_conditions: bool = False,
    tasks_per_call: int | None = None,
    training: bool | None = None,
    seed: int | keras.random.SeedGenerator | None = None,
) -> Tensor:
    """Mean over old tasks of the squared change of the weights that are generated for them.

    `1/n * sum_i s_i * sum_p F_ip * M_ip * (target_ip - h(c_i; theta + d)_p)^2`, where `h` is the
    hypernetwork with its present variables `theta` and vectors of conditions `c_i`, and `targets`
    are what it generated before, or a frozen copy of it generates. Gradients reach `theta` and the
    vectors of the old tasks, not the targets.

    Args:
        hypernetwork: A built `Hypernetwork` with conditions.
        ids: Ids of the old tasks `(n,)`, `n` known.
        targets: Weights `(n, total)` to keep: what `hypernetwork(ids, training=False)` was before
            the new task. This or `frozen`.
        frozen: In their place, values of variables to generate them with: a dict by name, as
            the argument `variables` of `Hypernetwork` takes.
        tasks_per_step: Number of the old tasks that are drawn, without replacement, in every call,
            all of them where there are fewer. The mean is over those drawn.
        task_coefficients: `s (n,)`.
        importance: `F (n, total)`, such as the diagonal of the Fisher information.
        mask: `M (n, total)`, such as `head_masks` gives; of any dtype.
        perturbation: `d`, what is added to variables: a dict as for `frozen`. With the step that
            an optimizer is about to take, the regularizer looks ahead.
        hold_conditions: Whether vectors of conditions have no gradient.
        tasks_per_call: At most so many tasks go through the generator at once. Memory is that of
            one such call, for which each is computed twice in training. `None` is all at once.
        training: Whether the generator acts as in training. A frozen one never does.
        seed: Of the draw of old tasks, an integer or, where tasks are drawn more than once, a
            `keras.random.SeedGenerator`.

    Returns:
        A scalar.

    Raises:
        TypeError: if `hypernetwork` is not one, or ids are not integers.
        ValueError: if it has no conditions, there is not exactly one of `targets` and `frozen`,
            there are no ids, or arrays have other shapes.

    Example:

    >>> generator = kh.WeightGenerator([(3, 4), (4,)], hidden_sizes=[32])
    >>> hyper = kh.Hypernetwork(generator, num_conditions=10)
    >>> old = np.array([0, 1, 2])
    >>> targets = hyper(old, training=False)
    >>> keras.ops.convert_to_numpy(kh.output_regularizer(hyper, old, targets)).item()
    0.0
    >>> before = {n: keras.ops.copy(v) for n, v in hyper.named_variables().items()}
    >>> change = kh.output_regularizer(hyper, old, frozen=before)

    Reference: von Oswald et al., 2020 (https://arxiv.org/abs/1906.00695).
    """
    if (targets is None) == (frozen is None):
        raise ValueError(
            "There must be either `targets`, or `frozen` variables to generate them with. "
            f"Received: {'none' if targets is None else 'both'}"
        )
    _check(hypernetwork)
    checks.boolean("hold_conditions", hold_conditions)
    if training is not None:
        checks.boolean("training", training)
    seed = checks.seed("seed", seed, generator=True)
    total = hypernetwork.weight_spec.total
    ids = checks.array("ids", as_ids(ids))
    checks.int_tensor("ids", ids)
    checks.rank("ids", ids.shape, 1)
    count = ids.shape[0]
    if not count:
        raise ValueError(
            f"`ids` must be one or more, of a known number. Received: shape {tuple(ids.shape)}"
        )
    rows = {
        "ids": ids,
        "targets": _checked("targets", targets, (count, total)),
        "task_coefficients": _checked("task_coefficients", task_coefficients, (count,)),
        "importance": _checked("importance", importance, (count, total)),
        "mask": _checked("mask", mask, (count, total)),
    }
    rows = {name: tensor for name, tensor in rows.items() if tensor is not None}
    if tasks_per_step is not None and checks.positive_int("tasks_per_step", tasks_per_step) < count:
        _, drawn = ops.top_k(keras.random.uniform((count,), seed=seed), tasks_per_step)
        rows = {name: ops.take(tensor, drawn, axis=0) for name, tensor in rows.items()}
        count = tasks_per_step
    per_call = count
    if tasks_per_call is not None:
        per_call = min(checks.positive_int("tasks_per_call", tasks_per_call), count)

    groups = {name: getattr(hypernetwork, f"{name}_variables") for name in GROUPS}
    named = hypernetwork.named_variables()
    present = _perturbed(perturbation, groups, named)
    if hold_conditions:
        given = {id(v): tensor for v, tensor in present}
        vectors = [(v, given.get(id(v), v.value)) for v in groups["conditional"]]
        present = present + [(v, ops.stop_gradient(tensor)) for v, tensor in vectors]
    past = None if frozen is None else replacements(_values(frozen), groups, named, "frozen")

    def flat(ids, training):
        return materialize(hypernetwork(ids, training=training))

    def changes(part):  # each (tasks, ...) -> scalar
        generated = flat(part["ids"], training)
        if past is not None:
            past_weights, _ = run(hypernetwork, past, lambda: flat(part["ids"], False))
            part = {**part, "targets": ops.stop_gradient(past_weights)}
        return _weighted_changes(generated, **part)

    # Penalties of the generator are left out: they count where the target runs.
    if per_call == count:
        return run(hypernetwork, present, functools.partial(changes, rows))[0] / count
    whole = count // per_call * per_call

    def changes_of_call(i):
        return changes({name: _rows(t, i * per_call, per_call) for name, t in rows.items()})

    change = run_in_turn(hypernetwork, present, changes_of_call, count // per_call)
    if whole < count:
        rest = {name: tensor[whole:] for name, tensor in rows.items()}
        change += run(hypernetwork, present, functools.partial(changes, rest))[0]
    return change / count


def _rows(tensor, start, number):
    inner = tensor.shape[1:]
    return ops.slice(tensor, [start, *(0 for _ in inner)], (number, *inner))


def _weighted_changes(generated, ids, targets, task_coefficients=None, importance=None, mask=None):
    changes = ops.square(ops.cast(generated, "float32") - ops.cast(targets, "float32"))
    for factor in (importance, mask):
        if factor is not None:
            changes = changes * ops.cast(factor, "float32")
    if task_coefficients is not None:
        changes = changes * ops.cast(task_coefficients, "float32")[:, None]
    return ops.sum(changes)


def _values(frozen):
    """Tensors, where there may be variables, which calls in a loop must not read."""
    if not isinstance(frozen, dict):
        return frozen  # refused later
    arrays = {name: checks.array(f"frozen[{name!r}]", value) for name, value in frozen.items()}
    return {name: ops.copy(array) for name, array in arrays.items()}


def _perturbed(perturbation, groups, named):
    """`[(variable, its value plus the perturbation)]`."""
    if perturbation is None:
        return []
    pairs = replacements(perturbation, groups, named, "perturbation")
    return [(v, v.value + ops.cast(change, v.dtype)) for v, change in pairs]


def _check(hypernetwork):
    if not isinstance(hypernetwork, (Hypernetwork, GeneratedWeights)):
        raise TypeError(
            f"`hypernetwork` must be a `Hypernetwork`. Received: {type(hypernetwork).__name__}"
        )
    if hypernetwork.num_conditions is None:
        raise ValueError(
            "`hypernetwork` must have conditions: give it `num_conditions`. Received: "
            f"{hypernetwork.name}"
        )
    if not hypernetwork.built:
        raise ValueError(
            f"`hypernetwork` must be built: call it on ids first. Received: {hypernetwork.name}"
        )


def _checked(argument, value, shape):
    """A tensor of a shape, or `None`."""
    if value is None:
        return None
    tensor = checks.array(argument, value)
    if tuple(tensor.shape) != shape:
        raise ValueError(
            f"`{argument}` must have the shape {shape}. Received: shape {tuple(tensor.shape)}"
        )
    return tensor
