"""`filters`: generated kernels of convolutions as images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import numpy as np

from keras_hypernet.diagnosis.plot import canvas
from keras_hypernet.diagnosis.runs import Runs
from keras_hypernet.diagnosis.subject import Subject
from keras_hypernet.utils import checks
from keras_hypernet.utils.types import Nest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIMIT = 12  # images beside each other


def filters(model: keras.Model, conditioning: Nest, name: str | None = None) -> Figure:
    """Generated kernels of a two-dimensional convolution as images, a row for each condition.

    An image is what a filter has for one input channel. Red weights are positive, blue ones
    negative, white ones zero, on one scale for all.

    Args:
        model: Functional model with generated weights, or a `ContinualModel`.
        conditioning: Conditions as `target_weights` takes them; of a `ContinualModel`, names of
            tasks or their ids. At most 8 different ones are shown, evenly spread.
        name: Name of a kernel, as `target_weights` gives it; `None` is the first one of a
            two-dimensional convolution.

    Returns:
        A `matplotlib.figure.Figure` with an axes for each image, at most 12 a row, evenly spread,
        and one for the scale. Notebooks show it, `figure.savefig("filters.png")` writes a file.

    Raises:
        ValueError: if the model is not functional, has no generators, `conditioning` does not fit
            its inputs, or the model generates no such kernel.
        TypeError: if `name` is not a string.
        ImportError: if matplotlib is missing.

    Example:

    >>> images = keras.Input((8, 8, 1))
    >>> target = keras.Model(images, keras.layers.Conv2D(4, 3, name="conv")(images))
    >>> model = kh.hypernetize(target, conditioning_size=2)
    >>> figure = kh.plot.filters(model, np.eye(2, dtype="float32"))
    >>> len(figure.axes)  # 2 conditions x 4 filters, and the scale
    9
    """
    name = name if name is None else checks.name("name", name)
    subject = Subject(model, conditioning)
    runs = Runs(subject, whole=True)
    weights = runs.weights()
    kernels = {
        tensor: values.reshape(-1, *runs.shapes[tensor])
        for (tensor, role, _), values in zip(runs.tensors, weights)
        if role == "kernel" and len(runs.shapes[tensor]) == 4
    }
    if not kernels:
        raise ValueError(
            "`model` must generate a kernel of a two-dimensional convolution. "
            f"Received: a model that generates {list(runs.shapes)}"
        )
    if name is not None and name not in kernels:
        raise ValueError(
            "`name` must be that of a generated kernel of a two-dimensional convolution, one of "
            f"{list(kernels)}. Received: {name!r}"
        )
    name = next(iter(kernels)) if name is None else name
    kernel = kernels[name]  # (conditions, height, width, in, out)
    conditions, height, width, *channels = kernel.shape
    pairs = list(np.ndindex(*channels))
    shown = canvas.spread(pairs, LIMIT)
    title = canvas.title_of(
        f"Kernels of {canvas.short(name)}",
        canvas.part(conditions, subject.different, "conditions"),
        canvas.part(len(shown), len(pairs), "images"),
    )
    size = (2.0 + 0.9 * len(shown), 0.9 + 0.9 * conditions * max(1, height / width))
    figure, axes = canvas.grid(conditions, len(shown), (max(size[0], 4), size[1]), title)
    finite = kernel[np.isfinite(kernel)]
    largest = float(np.abs(finite).max(initial=0.0)) or 1.0
    for row, each in enumerate(kernel):
        axes[row, 0].set_ylabel(f"condition {subject.chosen[row]}", fontsize=canvas.SMALL)
        for one, (i, j) in zip(axes[row], shown):
            image = one.imshow(each[:, :, i, j], cmap="RdBu_r", vmin=-largest, vmax=largest)
            canvas.no_ticks(one)
            if row == 0:
                one.set_title(f"{i} → {j}", fontsize=canvas.SMALL)
    figure.supxlabel("input channel → filter", fontsize=canvas.SMALL)
    canvas.scale(figure, image, "weight")
    return figure
