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
from keras_hypernet.diagnosis.subject import Subject
from keras_hypernet.utils import checks
from keras_hypernet.utils.types import Nest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS, LIMIT, COLUMNS = 40, 16, 4


def weights(model: keras.Model, conditioning: Nest, names: Sequence[str] | None = None) -> Figure:
    """Histograms of generated tensors, beside those of the same network on plain weights.

    Each pair of histograms has a common height, because one of a much narrower distribution would
    hide the other. The plain weights are drawn as Keras would start them.

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
    generated, (_, plain, _) = runs.weights(), runs.plain_step()
    known = [name for name, *_ in runs.tensors]
    chosen = _most(runs.tensors) if names is None else _chosen(names, known)
    columns = min(COLUMNS, len(chosen))
    rows = math.ceil(len(chosen) / columns)
    conditions = len(next(iter(subject.conditions.values())))
    title = canvas.title_of(
        "Generated weights over conditions",
        canvas.part(conditions, subject.different, "different conditions"),
        canvas.part(len(chosen), len(known), "tensors"),
    )
    figure, axes = canvas.grid(rows, columns, (max(5, 3 * columns), 0.8 + 2.2 * rows), title)
    for each in axes.flat[len(chosen) :]:
        each.remove()
    for each, name in zip(axes.flat, chosen):
        i = known.index(name)
        notes = [f"size {measures.size(generated[i]):.2g}"]
        _histogram(each, generated[i], canvas.GENERATED, "generated", notes, fill=True)
        if plain is not None:
            notes.append(f"plain {measures.size(plain[i]):.2g}")
            _histogram(each, plain[i], canvas.PLAIN, "plain start", notes, fill=False)
        canvas.headline(each, f"{canvas.short(name)}\n{', '.join(notes)}", "weight")
        each.set_yticks([])
        each.locator_params(axis="x", nbins=4)
    for row in axes:
        row[0].set_ylabel("how many (peak = 1)", fontsize=canvas.SMALL)
    canvas.key(figure)
    return figure


def _most(tensors):
    """Names of all tensors, or where these are too many, of kernels."""
    kernels = [name for name, role, _ in tensors if role == "kernel"]
    every = [name for name, *_ in tensors]
    return canvas.spread(kernels if kernels and len(every) > LIMIT else every, LIMIT)


def _chosen(names, known):
    checks.require_kind((list, tuple), "names", "be a list of names of tensors", names)
    checks.names("names", names)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ValueError(
            f"`names` must be of generated tensors, of which there are {known}. Received: {names}"
        )
    return list(names)


def _histogram(axes, values, color, label, notes, fill):
    finite = values[np.isfinite(values)]
    if finite.size < values.size:
        notes.append(f"{values.size - finite.size} not finite")
    if not finite.size or finite.min() == finite.max():
        for value in finite[:1]:
            axes.axvline(value, color=color, linestyle="-" if fill else "--", label=label)
        return
    counts, edges = np.histogram(finite, BINS if finite.size > 10 * BINS else 12)
    # The line is seen where the histogram is too narrow.
    look = {"facecolor": f"{color}80", "edgecolor": color} if fill else {"edgecolor": color}
    axes.stairs(counts / counts.max(), edges, fill=fill, label=label, **look)
