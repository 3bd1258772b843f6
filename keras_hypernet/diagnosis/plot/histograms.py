"""`weights`: histograms of generated tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np

from keras_hypernet.diagnosis import measures
from keras_hypernet.diagnosis.plot import canvas
from keras_hypernet.diagnosis.runs import Runs
from keras_hypernet.diagnosis.steps import Steps
from keras_hypernet.diagnosis.subject import Subject
from keras_hypernet.utils import checks
from keras_hypernet.utils.types import Nest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS, FEW_BINS, LIMIT, COLUMNS = 40, 12, 16, 4
LABELS = ("generated", "plain start")


def weights(model: keras.Model, conditioning: Nest, names: Sequence[str] | None = None) -> Figure:
    """Histograms of generated tensors, beside those of the same network on plain weights.

    Each pair of histograms has a common height, because one of a much narrower distribution would
    hide the other. The plain weights are drawn as Keras would start them. Where a model scales its
    conditions by batches that it has seen, and has seen none, these conditions are the first batch.

    Args:
        model: Functional model with generated weights, or a `ContinualModel`.
        conditioning: Conditions as `target_weights` takes them; of a `ContinualModel`, names of
            tasks or their ids. At most 8 different ones are used, evenly spread.
        names: Names of tensors, as `target_weights` gives them. `None` is all of them; of more
            than 16, the kernels, at most 16 of these, evenly spread.

    Returns:
        A `matplotlib.figure.Figure` with one axes for each tensor. Notebooks show it,
        `figure.savefig("weights.png")` writes a file.

    Raises:
        ValueError: if the model is not functional, has no generators, `conditioning` does not fit
            its inputs, or the model generates no tensor of a name.
        TypeError: if `names` is not a list of strings.
        ImportError: if matplotlib is missing.

    Example:

    >>> model = kh.build(conditioning_size=2, input_size=3, target_layer_sizes=[(3, 4)])
    >>> figure = kh.plot.weights(model, np.eye(2, dtype="float32"))
    >>> [axes.get_title().split()[0] for axes in figure.axes]
    ['layer_0/kernel', 'layer_0/bias']
    """
    subject = Subject(model, conditioning)
    runs = Runs(subject)
    generated, (_, plain, _) = runs.weights(), Steps(subject, runs).plain_step()
    known = [name for name, *_ in runs.tensors]
    if names is None:
        tensors, note = canvas.most(runs.tensors, LIMIT)
        chosen = [name for name, *_ in tensors]
    else:
        chosen = _chosen(names, known)
        note = canvas.part(len(chosen), len(known), "tensors")
    columns = min(COLUMNS, len(chosen))
    rows = math.ceil(len(chosen) / columns)
    conditions = len(next(iter(subject.conditions.values())))
    title = canvas.title_of(
        "Generated weights over conditions",
        canvas.part(conditions, subject.different, "different conditions"),
        note,
    )
    figure, axes = canvas.grid(rows, columns, (max(5, 3 * columns), 0.8 + 2.2 * rows), title)
    for each in axes.flat[len(chosen) :]:
        each.remove()
    for each, name in zip(axes.flat, chosen):
        i = known.index(name)
        drawn = [generated[i]] if plain is None else [generated[i], plain[i]]
        notes = [f"size {measures.size(generated[i]):.2g}"]
        if plain is not None:
            notes.append(f"plain {measures.size(plain[i]):.2g}")
        notes += _histograms(each, drawn)
        canvas.headline(each, f"{canvas.short(name)}\n{', '.join(notes)}", "weight")
        each.set_yticks([])
        each.locator_params(axis="x", nbins=4)
    for row in axes:
        row[0].set_ylabel("how many (peak = 1)", fontsize=canvas.SMALL)
    canvas.key(figure)
    return figure


def _chosen(names, known):
    checks.require_kind((list, tuple), "names", "be a list of names of tensors", names)
    checks.names("names", names)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ValueError(
            f"`names` must be of generated tensors, of which there are {known}. Received: {names}"
        )
    return list(names)


def _histograms(axes, drawn):
    """Those of generated values and of plain ones where there are any, and what to note."""
    kept = [values[np.isfinite(values)].astype("float64") for values in drawn]
    every = np.concatenate(kept)
    bins = BINS if every.size > 10 * BINS else FEW_BINS
    for values, color, label in zip(kept, (canvas.GENERATED, canvas.PLAIN), LABELS):
        plain = label == LABELS[1]
        if not values.size:
            continue
        if values.min() == values.max():
            axes.axvline(values[0], color=color, linestyle="--" if plain else "-", label=label)
            continue
        counts, edges = np.histogram(values, bins, (every.min(), every.max()))
        look = {"edgecolor": color} if plain else {"color": f"{color}99", "fill": True}
        axes.stairs(counts / counts.max(), edges, label=label, **look)
    missing = sum(values.size for values in drawn) - every.size
    return [f"{missing} not finite"] if missing else []
