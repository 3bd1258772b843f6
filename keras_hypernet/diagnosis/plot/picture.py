"""`Picture`: a figure of matplotlib, which this module alone imports, once a picture is drawn."""

import io

from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure


class Picture(Figure):
    """A figure that pyplot does not hold: it opens no window and is freed as any other object.

    Notebooks show a figure without pyplot only if it says how: `_repr_png_`.
    """

    def _repr_png_(self):
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


def colors_of_shares():
    """Colors from 0 to 1 for lines on white, for which the end of viridis is too light."""
    return ScalarMappable(
        Normalize(0, 1), ListedColormap(colormaps["viridis"].resampled(256).colors[:225])
    )
