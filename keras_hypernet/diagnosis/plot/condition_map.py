"""`conditions`: learned vectors of conditions in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
from keras import ops

from keras_hypernet.conditioning import ConditionEmbedding
from keras_hypernet.continual.model_of_tasks import ModelOfTasks
from keras_hypernet.diagnosis.plot import canvas
from keras_hypernet.utils import checks, keras_internals
from keras_hypernet.utils.functional_call import outputs_with

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED = 60  # at most so many points have names
# Where the name of a point may stand, as (x, y, horizontal, vertical), in points.
PLACES = (
    (5, 3, "left", "bottom"),
    (5, -3, "left", "top"),
    (-5, 3, "right", "bottom"),
    (-5, -3, "right", "top"),
    (0, 6, "center", "bottom"),
    (0, -6, "center", "top"),
)


def conditions(model: keras.layers.Layer, names: Sequence[str] | None = None) -> Figure:
    """Learned vectors of conditions, in the two directions in which they differ most.

    The directions are the first two principal components. Both axes have one scale, so that
    distances can be compared.

    Args:
        model: A `ConditionEmbedding`, or a layer or model with one inside, such as
            `Hypernetwork`; or a `ContinualModel`, whose tasks so far are shown.
        names: A name for each condition. `None` is the names of tasks, else the ids.

    Returns:
        A `matplotlib.figure.Figure` with one axes. Names that have no room, and those of more
        than 60 conditions, are left out. Notebooks show it, `figure.savefig("conditions.png")`
        writes a file.

    Raises:
        ValueError: if there are no learned vectors or several tables of them, they are not built
            or not finite, there is only one, or `names` has another length.
        TypeError: if `model` is not a layer or `names` not a list of strings.
        ImportError: if matplotlib is missing.

    Example:

    >>> embedding = kh.ConditionEmbedding(num_conditions=3, size=8)
    >>> vectors = embedding(np.arange(3))
    >>> figure = kh.plot.conditions(embedding, names=["red", "green", "blue"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['red', 'green', 'blue']
    """
    checks.require_kind(keras.layers.Layer, "model", "be a layer or a model", model)
    embedding, number, known = _embedding(model)
    if names is not None:
        checks.require_kind((list, tuple), "names", "be a list of strings", names)
        checks.names("names", names)
        rule = f"have a name for each of the {number} conditions"
        checks.require(len(names) == number, "names", rule, names)
    vectors = outputs_with([], lambda: embedding(np.arange(number, dtype="int32")))
    vectors = ops.convert_to_numpy(ops.cast(vectors, "float32")).astype("float64")
    if not np.isfinite(vectors).all():
        raise ValueError("The vectors of `model` must be finite. Received: NaN or infinity")
    points, shares = _principal(vectors)
    title = f"Learned vectors of {number} conditions"
    figure, axes = canvas.grid(1, 1, (6.5, 5.5), title)
    axes = axes[0, 0]
    axes.scatter(*points.T, s=22, color=canvas.GENERATED)
    for direction, label, share in zip("xy", ("first", "second"), shares):
        words = f"{label} principal component ({share:.0%} of the variance)"
        getattr(axes, f"set_{direction}label")(words, fontsize=canvas.SMALL)
    axes.margins(0.12)
    axes.set_aspect("equal", "datalim")
    if number <= NAMED:
        left_out = _name(figure, axes, points, known if names is None else names)
        note = f"{left_out} names left out" if left_out else ""
    else:
        note = "too many for names"
    figure.suptitle(canvas.title_of(title, note), fontsize=canvas.TITLE)
    return figure


def _embedding(model):
    """`(the embedding, number of conditions, their names)`."""
    if isinstance(model, ModelOfTasks):
        embedding, names = model.embedding, list(model.task_names)
        if embedding is None:
            raise ValueError(
                "`model` must have learned vectors of its tasks. Received: a `ContinualModel` "
                "without an embedding: give the `Hypernetwork` inside it"
            )
    else:
        inside = keras_internals.layers_in(model)
        found = {id(e): e for e in inside if isinstance(e, ConditionEmbedding)}
        if len(found) != 1:
            raise ValueError(
                "`model` must have one `ConditionEmbedding`: give the one whose vectors are "
                f"wanted. Received: {model.name!r} with {[e.name for e in found.values()]}"
            )
        (embedding,) = found.values()
        names = [str(i) for i in range(embedding.num_conditions)]
    if not embedding.built:
        raise ValueError(
            "`model` must be built, or it has no vectors: call it once. "
            f"Received: {model.name!r}, which is not built"
        )
    if len(names) < 2:
        raise ValueError(
            "`model` must have vectors of at least two conditions. "
            f"Received: {model.name!r} with {len(names)}"
        )
    return embedding, len(names), names


def _principal(vectors):
    """`(points (rows, 2), shares of the variance)` of the first two principal components."""
    centered = vectors - vectors.mean(axis=0)
    u, s, _ = np.linalg.svd(centered, full_matrices=False)
    points, variances = np.zeros((len(vectors), 2)), np.zeros(2)
    kept = min(2, len(s))
    points[:, :kept], variances[:kept] = (u * s)[:, :2], np.square(s[:2])
    total = np.sum(np.square(s))
    return points, variances / total if total else variances


def _name(figure, axes, points, names):
    """Writes names beside points, over no other name or point; returns how many had no room."""
    figure.draw_without_rendering()  # sets the limits of the axes
    dots = axes.transData.transform(points)
    frame, taken, left_out = axes.get_window_extent(), [], 0
    for point, name in zip(points, names):
        for x, y, horizontal, vertical in PLACES:
            text = axes.annotate(
                canvas.short(name),
                point,
                (x, y),
                textcoords="offset points",
                ha=horizontal,
                va=vertical,
                fontsize=canvas.SMALL,
                in_layout=False,
            )
            box = text.get_window_extent()
            inside = frame.x0 < box.x0 and box.x1 < frame.x1
            if inside and not box.padded(4).count_contains(dots) and not box.count_overlaps(taken):
                taken.append(box)
                break
            text.remove()
        else:
            left_out += 1
    return left_out
