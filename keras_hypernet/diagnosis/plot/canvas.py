"""What the pictures share: an empty figure, colors, names and marks."""

import math

import numpy as np

# Colors that the colour-blind tell apart (Okabe and Ito).
GENERATED, PLAIN = "#0072B2", "#D55E00"
ROLES = {
    "kernel": "#009E73",
    "bias": "#E69F00",
    "scale": "#56B4E9",
    "offset": "#CC79A7",
    "embedding": "#F0E442",
    "other": "#7F7F7F",
}
SEVERAL = (GENERATED, PLAIN, "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#000000", "#7F7F7F")
SMALL, TEXT, TITLE = 8, 9, 11  # sizes of letters
LIMIT = 40  # bars or points below each other


def _drawing():
    """The module that needs matplotlib."""
    try:
        from keras_hypernet.diagnosis.plot import picture
    except ImportError as error:
        raise ImportError(
            'Pictures need matplotlib. Install it with `pip install "keras-hypernet[plot]"`. '
            f"Received: {error}"
        ) from error
    return picture


def grid(rows, columns, size, title):
    """`(figure, axes (rows, columns))`, of a size in inches."""
    figure = _drawing().Picture(figsize=size, layout="constrained", dpi=100)
    figure.suptitle(title, fontsize=TITLE)
    axes = figure.subplots(rows, columns, squeeze=False)
    for each in axes.flat:
        each.tick_params(labelsize=SMALL)
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def colors_of_shares():
    return _drawing().colors_of_shares()


def scale(figure, colors, label):
    """A bar with the colors of all axes of a figure, and what they mean."""
    bar = figure.colorbar(colors, ax=figure.axes, aspect=25)
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)


def key(figure):
    """One legend below all axes, with each label once."""
    found = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        for handle, label in zip(handles, labels):
            found.setdefault(label, handle)
    if found:
        figure.legend(
            found.values(),
            found.keys(),
            loc="outside lower center",
            ncols=min(len(found), 5),
            frameon=False,
            fontsize=SMALL,
        )


def headline(axes, text, of_x=None):
    axes.set_title(text, fontsize=TEXT)
    if of_x:
        axes.set_xlabel(of_x, fontsize=SMALL)


def message(axes, text):
    """Words in place of a drawing."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=TEXT, transform=axes.transAxes)


def rows_of_names(axes, names, least=1):
    """Names from top to bottom, at 0, 1, ..., with room for at least so many."""
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.set_ylim(max(len(names), least) - 0.4, -0.6)


def no_ticks(axes):
    """The frame of an image."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def short(name, length=34):
    """The end of a name, which says more than its start."""
    return name if len(name) <= length else f"…{name[1 - length :]}"


def spread(items, limit=LIMIT):
    """At most so many of a list, evenly spread."""
    if len(items) <= limit:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, limit).round().astype(int)]


def most(tensors, limit=LIMIT):
    """`(tensors, a note)`: all `(name, role, ...)`, or kernels where all are too many."""
    kernels = [tensor for tensor in tensors if tensor[1] == "kernel"]
    only = len(tensors) > limit and kernels
    shown = spread(kernels if only else tensors, limit)
    note = part(len(shown), len(tensors), "tensors")
    return shown, f"{note}: kernels" if only else note


def part(shown, every, what):
    """`"8 of 20 tensors"`, or an empty string where all are shown."""
    return "" if shown == every else f"{shown} of {every} {what}"


def with_notes(title, *notes):
    """A title, and in brackets what must be said of it."""
    notes = [note for note in notes if note]
    return f"{title} ({', '.join(notes)})" if notes else title


def title_of(text, *notes):
    """A title of a figure, with notes in a line of their own."""
    return "\n".join(line for line in (text, ", ".join(filter(None, notes))) if line)


def points_on_log_axis(axes, values, at, style, color, label, place=0.02, **options):
    """Values along a log axis; those that it has no place for are crosses at its left end."""
    values = np.array([math.nan if value is None else value for value in values], "float64")
    fits = np.isfinite(values) & (values > 0)
    axes.set_xscale("log")
    axes.plot(np.where(fits, values, math.nan), at, style, color=color, label=label, **options)
    if not fits.all():
        axes.plot(
            np.full((~fits).sum(), place),
            np.asarray(at)[~fits],
            "x",
            color=color,
            label="zero or not finite",
            transform=axes.get_yaxis_transform(),
            markersize=5,
        )


def whole_decades(axes, *values):
    """Limits of a log axis around values, at which it has labels."""
    known = [value for each in values for value in each if value and np.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.1, 1.0)
    axes.set_xlim(10 ** math.floor(math.log10(low) - 0.2), 10 ** math.ceil(math.log10(high) + 0.2))
    axes.grid(axis="x", color="0.9")
    axes.minorticks_off()
