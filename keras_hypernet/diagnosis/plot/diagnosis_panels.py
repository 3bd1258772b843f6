"""`signals`, `sensitivity`, `overview`: pictures of the figures of a diagnosis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras

from keras_hypernet.diagnosis.figures import Figures
from keras_hypernet.diagnosis.plot import canvas
from keras_hypernet.diagnosis.runs import Runs
from keras_hypernet.diagnosis.subject import Subject
from keras_hypernet.utils.types import Nest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NO_DATA = "needs data: give `inputs`"
ONE_CONDITION = "needs two different conditions"


def signals(
    model: keras.Model | Any, conditioning: Nest | None = None, inputs: Nest | None = None
) -> Figure:
    """The ladder of variances: the size of the signal behind each layer on generated weights.

    The size is the root mean square of a layer's output on a batch. A signal that shrinks or grows
    from layer to layer does so without end in a deep target. The same network on plain weights,
    as Keras would start them, is beside it.

    Args:
        model: Functional model with generated weights, or a `ContinualModel`; or what `diagnose`
            returned, without further arguments.
        conditioning: Conditions as `target_weights` takes them; of a `ContinualModel`, names of
            tasks or their ids.
        inputs: Data for the other inputs, as many rows as conditions or a multiple.

    Returns:
        A `matplotlib.figure.Figure` with one axes. Notebooks show it,
        `figure.savefig("signals.png")` writes a file.

    Raises:
        ValueError: if the model is not functional, has no generators, arguments do not fit its
            inputs, or there is no data.
        ImportError: if matplotlib is missing.

    Example:

    >>> model = kh.build(conditioning_size=2, input_size=3, target_layer_sizes=[(3, 4), (4, 1)])
    >>> c, x = np.eye(2, dtype="float32"), np.ones((2, 3), "float32")
    >>> figure = kh.plot.signals(model, c, x)
    >>> figure.axes[0].get_xlabel()
    'root mean square of the output'
    """
    figures = _figures(model, conditioning, inputs)
    if not figures["signals"]:
        raise ValueError(
            "`inputs` must have data: signals are those of a batch. Received: inputs=None"
        )
    figure, axes = canvas.grid(
        1, 1, (7, _height(len(figures["signals"]))), "Does the signal keep its size?"
    )
    _ladder(axes[0, 0], figures)
    canvas.key(figure)
    return figure


def sensitivity(model: keras.Model | Any, conditioning: Nest | None = None) -> Figure:
    """How much generated weights depend on the conditions, and on each input of these.

    A bar for each generated tensor is its variance over conditions by its second moment: 0 where
    all conditions have the same weights. A bar for each input of the conditioning is the change
    of all weights, by their size, where this input takes another condition's values.

    Args:
        model: Functional model with generated weights, or a `ContinualModel`; or what `diagnose`
            returned, without further arguments.
        conditioning: At least two different conditions as `target_weights` takes them; of a
            `ContinualModel`, names of tasks or their ids.

    Returns:
        A `matplotlib.figure.Figure` with an axes of tensors, and one of inputs. Notebooks show it,
        `figure.savefig("sensitivity.png")` writes a file.

    Raises:
        ValueError: if the model is not functional, has no generators, arguments do not fit its
            inputs, or all conditions are equal.
        ImportError: if matplotlib is missing.

    Example:

    >>> model = kh.build(conditioning_size=2, input_size=3, target_layer_sizes=[(3, 4)])
    >>> figure = kh.plot.sensitivity(model, np.eye(2, dtype="float32"))
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['layer_0/kernel', 'layer_0/bias']
    """
    figures = _figures(model, conditioning)
    if figures["conditions"]["different"] < 2:
        raise ValueError(
            "`conditioning` must have at least two different conditions. "
            f"Received: {figures['conditions']['given']}, all equal"
        )
    height = _height(len(_shown(figures["tensors"])[0]))
    title = "Do the weights depend on the conditions?"
    figure, axes = canvas.grid(1, 2, (11, height), title)
    _tensors(axes[0, 0], figures)
    _change(axes[0, 1], _inputs(figures))
    canvas.key(figure)
    return figure


def overview(diagnosis: Any) -> Figure:
    """Four pictures of a diagnosis: signals, sizes of weights, sensitivity, and gradients.

    Args:
        diagnosis: What `diagnose` returned.

    Returns:
        A `matplotlib.figure.Figure` with four axes. What was not measured, for want of data or of
        a second condition, is said there. Notebooks show it, `figure.savefig("overview.png")`
        writes a file.

    Raises:
        TypeError: if it is no diagnosis.
        ImportError: if matplotlib is missing.

    Example:

    >>> model = kh.build(conditioning_size=2, input_size=3, target_layer_sizes=[(3, 4)])
    >>> diagnosis = kh.diagnose(model, np.eye(2, dtype="float32"))
    >>> len(kh.plot.overview(diagnosis).axes)
    4
    """
    figures = _measured(diagnosis)
    if figures is None:
        raise TypeError(
            "`diagnosis` must be what `kh.diagnose` returns. "
            f"Received: diagnosis={diagnosis!r} of type {type(diagnosis).__name__}"
        )
    names = max(len(_shown(figures["tensors"])[0]), len(canvas.spread(figures["signals"])))
    size = (12, 2 * _height(names))
    name = getattr(diagnosis, "name", None)
    figure, axes = canvas.grid(2, 2, size, f"Diagnosis of {name}" if name else "Diagnosis")
    panels = (_ladder, _sizes, _tensors, _gradients)
    for each, panel in zip(axes.flat, panels):
        panel(each, figures)
    canvas.key(figure)
    return figure


def _figures(model, conditioning, inputs=None):
    """The figures of a diagnosis, or those of a model."""
    figures = _measured(model)
    if figures is None:
        subject = Subject(model, conditioning, inputs)
        return Figures(subject, Runs(subject)).as_dict()
    for name, value in (("conditioning", conditioning), ("inputs", inputs)):
        if value is not None:
            raise ValueError(
                f"`{name}` must not be given with a diagnosis, which has been measured. "
                f"Received: {name}={value!r}"
            )
    return figures


def _measured(diagnosis):
    figures = None if isinstance(diagnosis, keras.Model) else getattr(diagnosis, "figures", None)
    return figures if isinstance(figures, dict) else None


def _height(rows):
    """Inches that so many rows of names take."""
    return 2.0 + 0.2 * max(4, min(rows, canvas.LIMIT))


# One axes each.


def _ladder(axes, figures):
    rows = canvas.spread(figures["signals"])
    note = canvas.part(len(rows), len(figures["signals"]), "layers")
    title = canvas.with_notes("Signal from the first layer to the last", note)
    if rows:
        canvas.headline(axes, title, "root mean square of the output")
        _pairs(axes, [row["layer"] for row in rows], rows, "-")
    else:
        canvas.headline(axes, title)
        canvas.message(axes, NO_DATA)


def _shown(rows):
    """`(rows of tensors, a note)`."""
    tensors, note = canvas.most([(row["name"], row["role"], row) for row in rows])
    return [row for *_, row in tensors], note


def _sizes(axes, figures):
    rows, note = _shown(figures["tensors"])
    canvas.headline(axes, canvas.with_notes("Size of weights", note), "root mean square")
    _pairs(axes, [row["name"] for row in rows], rows, "")


def _pairs(axes, names, rows, line):
    """Sizes that are generated, and plain ones beside them where these are known."""
    at = range(len(rows))
    sizes, plain = [row["size"] for row in rows], [row["plain"] for row in rows]
    canvas.points_on_log_axis(axes, sizes, at, f"o{line}", canvas.GENERATED, "generated", ms=5)
    if any(size is not None for size in plain):
        # Larger and hollow, so that both are seen where they are equal.
        hollow = {"place": 0.045, "ms": 8, "mfc": "none"}
        style = f"s{2 * line}"
        canvas.points_on_log_axis(axes, plain, at, style, canvas.PLAIN, "plain start", **hollow)
    canvas.rows_of_names(axes, names)
    canvas.whole_decades(axes, sizes, plain)


def _tensors(axes, figures):
    rows, note = _shown(figures["tensors"])
    title = canvas.with_notes("Dependence of each tensor", note)
    if figures["conditions"]["different"] < 2:
        canvas.headline(axes, title)
        canvas.message(axes, ONE_CONDITION)
        return
    canvas.headline(axes, title, "variance over conditions / second moment")
    for role in dict.fromkeys(row["role"] for row in rows):
        own = [(i, row["sensitivity"]) for i, row in enumerate(rows) if row["role"] == role]
        color = canvas.ROLES.get(role, canvas.ROLES["other"])
        _bars(axes, own, color, role)
    canvas.rows_of_names(axes, [row["name"] for row in rows])
    axes.set_xlim(0, 1.15)


def _inputs(figures):
    """`[(name, change)]` of the inputs of the conditioning whose change was measured."""
    rows = [(_input_name(r), r["change"]) for r in figures["inputs"] if "change" in r]
    return rows + [(f"{name} (unused)", 0.0) for name in figures["conditions"]["unused_inputs"]]


def _input_name(row):
    return f"{row['name']} (noise)" if row["is_noise"] and row["name"] != "noise" else row["name"]


def _change(axes, rows):
    canvas.headline(axes, "Change by each input", "change of all weights / their size")
    rows = canvas.spread(rows)
    _bars(axes, [(i, change) for i, (_, change) in enumerate(rows)], canvas.GENERATED)
    canvas.rows_of_names(axes, [name for name, _ in rows], least=6)
    axes.set_xlim(
        0, 1.15 * (max([change for _, change in rows if _finite(change)], default=0) or 1)
    )


def _bars(axes, rows, color, label=None):
    """Bars of `[(position, value)]`, each with its value behind it."""
    widths = [value if _finite(value) else 0.0 for _, value in rows]
    drawn = axes.barh([i for i, _ in rows], widths, 0.7, color=color, label=label)
    words = [f"{value:.2g}" if _finite(value) else "not finite" for _, value in rows]
    axes.bar_label(drawn, words, padding=2, fontsize=canvas.SMALL - 1)


def _finite(value):
    return value is not None and math.isfinite(value)


def _gradients(axes, figures):
    roles = {}
    for generator in figures["generators"]:
        for role, size in (generator["gradients"] or {}).items():
            roles.setdefault(role, []).append(size)
    if not roles:
        canvas.headline(axes, "Gradients")
        canvas.message(axes, NO_DATA)
        return
    canvas.headline(axes, "Gradients by role, a mark for each generator", "root mean square")
    names = []
    for i, (role, sizes) in enumerate(roles.items()):
        trained = [size for size in sizes if size is not None]
        names.append(canvas.with_notes(role.replace("_", " "), "" if trained else "frozen"))
        at = [i] * len(trained)
        canvas.points_on_log_axis(axes, trained, at, "D", canvas.ROLES["other"], "gradient", ms=5)
    canvas.rows_of_names(axes, names, least=4)
    canvas.whole_decades(axes, *([s for s in sizes if s] for sizes in roles.values()))
