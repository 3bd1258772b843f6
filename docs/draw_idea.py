"""Draws the idea of a hypernetwork, and the rows rule: SVG files for light and dark pages.

Each has a narrow form too, for pages on a telephone.

python docs/draw_idea.py
"""

from pathlib import Path

DOCS = Path(__file__).parent
LIGHT = {"ink": "#1f2328", "quiet": "#59636e", "paper": "#ffffff", "line": "#8c959f"}
DARK = {"ink": "#e6edf3", "quiet": "#9ca6b1", "paper": "#14181e", "line": "#7d8590"}
ROWS_TITLE = "which row of weights a sample uses"
# One colour for each condition, read on light and on dark pages.
HUES = ("#2f81f7", "#d97706", "#2da44e", "#a371f7", "#db61a2", "#0d9488")


class Drawing:
    def __init__(self, width, height, colors, title):
        self.size, self.colors, self.title, self.parts = (width, height), colors, title, []

    def box(self, x, y, width, height, hue=None, strength=0.14, round=8):
        fill = f'fill="{hue}" fill-opacity="{strength}"' if hue else 'fill="none"'
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{round}" {fill} '
            f'stroke="{hue or self.colors["line"]}" stroke-width="1.5"/>'
        )

    def text(self, x, y, text, size=15, color="ink", bold=False, anchor="middle"):
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x}" y="{y}" font-size="{size}" fill="{self.colors[color]}" '
            f'text-anchor="{anchor}"{weight}>{text}</text>'
        )

    def arrow(self, x0, y0, x1, y1, color=None):
        self.parts.append(
            f'<path d="M{x0} {y0} L{x1} {y1}" stroke="{color or self.colors["line"]}" '
            'stroke-width="1.8" fill="none" marker-end="url(#tip)"/>'
        )

    def svg(self):
        width, height = self.size
        tip = f'<path d="M0 0 L8 4 L0 8 z" fill="{self.colors["line"]}"/>'
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
                f'width="{width}" height="{height}" role="img" '
                'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">',
                f"<title>{self.title}</title>",
                '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" '
                f'orient="auto">{tip}</marker></defs>',
                f'<rect width="{width}" height="{height}" rx="10" fill="{self.colors["paper"]}"/>',
                *self.parts,
                "</svg>\n",
            ]
        )


def labelled(drawing, x, y, width, name, what, shape=None, hue=None):
    """A box with a name, what it is, and the shape of what comes out of it."""
    drawing.box(x, y, width, 74, hue)
    middle = x + width / 2
    drawing.text(middle, y + 32, name, 17, bold=True)
    drawing.text(middle, y + 55, what, 13, "quiet")
    if shape:
        drawing.text(middle, y + 95, shape, 13, "quiet")


def idea(colors):
    drawing = Drawing(820, 290, colors, "condition, generator, weights, target")
    labelled(drawing, 20, 30, 166, "condition", "angle, user, task ...", "(rows, size)", HUES[0])
    labelled(drawing, 235, 30, 166, "generator", "it is trained", None, HUES[1])
    labelled(drawing, 450, 30, 166, "weights", "kernels and biases", "(rows, total)", HUES[0])
    labelled(drawing, 20, 185, 166, "data", "images, points ...", None)
    drawing.text(103, 280, "(batch, ...)", 13, "quiet")
    labelled(drawing, 450, 185, 166, "target", "no weights of its own", None, HUES[2])
    labelled(drawing, 676, 185, 130, "output", "as of any network", None)
    drawing.text(741, 280, "(batch, ...)", 13, "quiet")
    drawing.arrow(188, 67, 233, 67)
    drawing.arrow(403, 67, 448, 67)
    drawing.arrow(533, 132, 533, 183)
    drawing.arrow(188, 222, 448, 222)
    drawing.arrow(618, 222, 674, 222)
    return drawing.svg()


def idea_narrow(colors):
    drawing = Drawing(380, 500, colors, "condition, generator, weights, target")
    labelled(drawing, 15, 15, 160, "condition", "angle, user, task ...", "(rows, size)", HUES[0])
    labelled(drawing, 15, 145, 160, "generator", "it is trained", None, HUES[1])
    labelled(drawing, 15, 275, 160, "weights", "kernels and biases", None, HUES[0])
    drawing.text(95, 370, "(rows, total)", 13, "quiet")
    labelled(drawing, 205, 15, 160, "data", "images, points ...", "(batch, ...)")
    labelled(drawing, 205, 275, 160, "target", "no weights of its own", None, HUES[2])
    labelled(drawing, 205, 400, 160, "output", "as of any network", "(batch, ...)")
    drawing.arrow(95, 116, 95, 143)
    drawing.arrow(95, 221, 95, 273)
    drawing.arrow(177, 312, 203, 312)
    drawing.arrow(285, 116, 285, 273)
    drawing.arrow(285, 351, 285, 398)
    return drawing.svg()


def rows(colors):
    """Six samples, and which of 6, 3 and 1 rows of weights each of them uses."""
    return rows_in(Drawing(820, 330, colors, ROWS_TITLE), across=272, down=0)


def rows_narrow(colors):
    return rows_in(Drawing(276, 1000, colors, ROWS_TITLE), across=0, down=335)


def rows_in(drawing, across, down):
    for panel, (count, name) in enumerate(
        [(6, "a row for each sample"), (3, "a row for 2 samples"), (1, "one row for all")]
    ):
        left, top, group = 20 + across * panel, down * panel, 6 // count
        drawing.text(left + 118, top + 28, f"rows = {count}, batch = 6", 15, bold=True)
        drawing.text(left + 118, top + 48, name, 13, "quiet")
        drawing.text(left + 40, top + 76, "weights", 13, "quiet")
        drawing.text(left + 196, top + 76, "data", 13, "quiet")
        for row in range(count):
            middle = top + 86 + 38 * (row * group + group / 2)
            hue = HUES[row]
            drawing.box(left, middle - 14, 80, 28, hue, 0.35, 5)
            drawing.text(left + 40, middle + 5, f"row {row}", 13)
            for sample in range(row * group, (row + 1) * group):
                y = top + 86 + 38 * sample
                drawing.box(left + 156, y + 5, 80, 28, hue, 0.14, 5)
                drawing.text(left + 196, y + 24, f"sample {sample}", 13)
                drawing.arrow(left + 82, middle, left + 154, y + 19)
    return drawing.svg()


DRAWINGS = {"idea": idea, "idea-narrow": idea_narrow, "rows": rows, "rows-narrow": rows_narrow}

if __name__ == "__main__":
    for name, draw in DRAWINGS.items():
        for variant, colors in {"light": LIGHT, "dark": DARK}.items():
            (DOCS / f"{name}-{variant}.svg").write_text(draw(colors))
