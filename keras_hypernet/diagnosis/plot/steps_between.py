"""`interpolation`: the output of a model between two conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import numpy as np
from keras import ops, tree

from keras_hypernet.diagnosis.plot import canvas
from keras_hypernet.diagnosis.runs import tensors_of
from keras_hypernet.diagnosis.subject import Subject
from keras_hypernet.models.graph_reader import run
from keras_hypernet.utils import checks
from keras_hypernet.utils.functional_call import outputs_with
from keras_hypernet.utils.types import Nest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS, LINES = 4, 8  # at most so many rows of data, and lines in one axes
SHARE = "share of the second condition"


def interpolation(
    model: keras.Model, first: Nest, second: Nest, inputs: Nest, steps: int = 7
) -> Figure:
    """The output of a model along the straight line between two conditions.

    Images `(rows, height, width, channels)`, or matrices `(rows, height, width)`, are images, a
    row for each row of data. Vectors that belong to one-dimensional data are curves over this
    data, in an axes for each entry. Other vectors are lines over the way from one condition to the
    other: numbers in one axes with a line for each row of data, longer vectors in an axes for each
    row with a line for each entry.

    Args:
        model: Functional model with generated weights and one output, or a `ContinualModel` with
            vectors for its tasks.
        first: A single condition as `target_weights` takes it, of vectors, not ids; of a
            `ContinualModel`, the name of a task or its id.
        second: Another one.
        inputs: Data for the other inputs. Of images and longer vectors, 4 rows are shown, of
            numbers 8, evenly spread.
        steps: Number of conditions on the line, with both ends.

    Returns:
        A `matplotlib.figure.Figure`. Notebooks show it, `figure.savefig("interpolation.png")`
        writes a file.

    Raises:
        ValueError: if the model is not functional, has no generators or several outputs, a
            condition does not fit its inputs, is not a single one or consists of ids, `inputs` do
            not fit, or `steps` is below 2.
        TypeError: if `steps` is not an integer.
        ImportError: if matplotlib is missing.

    Example:

    >>> model = kh.build(conditioning_size=2, input_size=1, target_layer_sizes=[(1, 8), (8, 1)])
    >>> x = np.linspace(-1, 1, 50)[:, None].astype("float32")
    >>> figure = kh.plot.interpolation(model, [0.0, 0.0], [1.0, 1.0], x, steps=5)
    >>> len(figure.axes[0].get_lines())
    5
    """
    steps = checks.positive_int("steps", steps)
    checks.require(steps > 1, "steps", "be at least 2, the two ends", steps)
    subject, other = _end("first", model, first), _end("second", model, second)
    data = subject.data(inputs)
    if len(tree.flatten(subject.graph.output)) != 1:
        names = list(subject.network.output_names)
        raise ValueError(f"`model` must have one output. Received: a model with {names}")
    ends = list(zip(subject.conditions.values(), other.conditions.values()))
    shares = np.linspace(0, 1, steps)
    outputs = np.stack([_output(subject, ends, data, share) for share in shares])
    if outputs.ndim == 2:  # (steps, rows)
        outputs = outputs[..., None]
    arrays = list(data.values())
    if outputs.ndim == 3:
        line = len(arrays) == 1 and arrays[0].size == len(arrays[0]) > 1
        return _curves(outputs, arrays[0].ravel(), shares) if line else _lines(outputs, shares)
    if outputs.ndim == 4 or (outputs.ndim == 5 and outputs.shape[-1] in (1, 3)):
        return _images(outputs, shares)
    raise ValueError(
        "`model` must put out vectors, matrices, or images of 1 or 3 channels. "
        f"Received: a model with outputs of shape {outputs.shape[1:]}"
    )


def _end(argument, model, condition):
    if isinstance(condition, np.ndarray) and condition.ndim == 1 and condition.dtype.kind == "f":
        condition = condition[None]  # a row of an array of conditions
    try:
        subject = Subject(model, condition)
    except (TypeError, ValueError) as error:
        raise type(error)(f"`{argument}` does not fit as the condition. {error}") from error
    if subject.number != 1:
        raise ValueError(
            f"`{argument}` must be a single condition. Received: {subject.number} conditions"
        )
    if any(array.dtype.kind != "f" for array in subject.conditions.values()):
        raise ValueError(
            f"`{argument}` must consist of vectors: nothing is between two ids. "
            f"Received: {condition!r}"
        )
    return subject


def _output(subject, ends, data, share):
    """The output `(rows, ...)` of one condition."""
    given = tensors_of(data)
    for value, (start, end) in zip(subject.conditions, ends):
        array = (start + share * (end - start)).astype(start.dtype)
        rows = subject.static_rows(value) or 1
        given[value] = ops.convert_to_tensor(np.repeat(array, rows, axis=0))

    def function():
        graph = subject.graph
        tensors = run(graph.calls_before([graph.output]), given, training=False)
        output = tensors[tree.flatten(graph.output)[0]]
        if subject.tasks:
            output = subject.tasks.own_outputs(output, subject.ids)
        return ops.cast(output, "float32")

    return ops.convert_to_numpy(outputs_with([], function))


def _curves(outputs, x, shares):
    """An axes for each entry `(steps, rows, entries)`, with a curve for each step."""
    order = np.argsort(x, kind="stable")
    entries = canvas.spread(range(outputs.shape[2]), ROWS)
    note = canvas.part(len(entries), outputs.shape[2], "outputs")
    title = canvas.title_of("Output between two conditions", note)
    figure, axes = canvas.grid(1, len(entries), (2.5 + 3.5 * len(entries), 4), title)
    colors = canvas.colors_of_shares()
    for each, entry in zip(axes.flat, entries):
        for values, share in zip(outputs, shares):
            each.plot(x[order], values[order, entry], color=colors.to_rgba(share), linewidth=1.5)
        each.locator_params(axis="x", nbins=6)
        each.set_xlabel("input", fontsize=canvas.SMALL)
        each.set_ylabel(_output_name(entry, outputs), fontsize=canvas.SMALL)
    canvas.scale(figure, colors, SHARE)
    return figure


def _output_name(entry, outputs):
    return "output" if outputs.shape[2] == 1 else f"output {entry}"


def _lines(outputs, shares):
    """Lines over the steps: of rows in one axes, or of entries in one for each row."""
    _, number, entries = outputs.shape
    rows = canvas.spread(range(number), LINES if entries == 1 else ROWS)
    columns = canvas.spread(range(entries), LINES)
    title = canvas.title_of(
        "Output between two conditions",
        canvas.part(len(rows), number, "rows of data"),
        canvas.part(len(columns), entries, "outputs"),
    )
    wide = 1 if entries == 1 else len(rows)
    figure, axes = canvas.grid(1, wide, (2.5 + 2.8 * wide, 3.6), title)
    for line, row in enumerate(rows):
        each = axes[0, 0 if entries == 1 else line]
        for i, column in enumerate(columns):
            color = canvas.SEVERAL[line if entries == 1 else i]
            label = f"row {row}" if entries == 1 else f"output {column}"
            each.plot(shares, outputs[:, row, column], "o-", color=color, label=label, ms=3)
        each.set_xlabel(SHARE, fontsize=canvas.SMALL)
        if entries > 1:
            canvas.headline(each, f"row {row}", SHARE)
    axes[0, 0].set_ylabel("output", fontsize=canvas.SMALL)
    canvas.key(figure)
    return figure


def _images(outputs, shares):
    """A row of images for each row of data."""
    rows = canvas.spread(range(outputs.shape[1]), ROWS)
    note = canvas.part(len(rows), outputs.shape[1], "rows of data")
    shown = outputs[:, rows]
    finite = shown[np.isfinite(shown)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    color = shown.ndim == 5 and shown.shape[-1] == 3
    if color and (low < 0 or high > 1):
        shown, scaled = (shown - low) / (high - low), f"{low:.2g} is black, {high:.2g} white"
    else:
        scaled = ""
    if shown.ndim == 5 and not color:
        shown = shown[..., 0]
    title = canvas.title_of("Output between two conditions", note, scaled)
    size = (max(4, 1.5 + 1.2 * len(shares)), 1.2 + 1.2 * len(rows))
    figure, axes = canvas.grid(len(rows), len(shares), size, title)
    for i, row in enumerate(rows):
        axes[i, 0].set_ylabel(f"row {row}", fontsize=canvas.SMALL)
        for j, share in enumerate(shares):
            each = axes[i, j]
            image = each.imshow(shown[j, i], cmap="cividis", vmin=low, vmax=high)
            canvas.no_ticks(each)
            if i == 0:
                each.set_title(f"{share:.2f}", fontsize=canvas.SMALL)
    figure.supxlabel(SHARE, fontsize=canvas.SMALL)
    if not color:
        canvas.scale(figure, image, "output")
    return figure
