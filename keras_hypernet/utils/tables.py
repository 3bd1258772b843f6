"""Tables: as text in a terminal, as HTML in a notebook."""

import html
import io

import rich.console
import rich.padding
import rich.table
import rich.text


class Table:
    """Rows of strings under a heading, with a line before and one after them.

    Args:
        rows: The heading and the rows, each a sequence of strings.
        title, footer: The lines; empty for none.
        styles: `{number of a row: style of rich}` of the rows below the heading.
        width: Of the text, whose long cells are folded; as wide as cells are by default.
    """

    def __init__(self, rows, title="", footer="", styles=None, width=100_000):
        self.heading, *self.rows = [tuple(map(str, row)) for row in rows]
        self.title, self.footer = title, footer
        self.styles = styles or {}
        self.width = width

    def rich(self):
        """What `rich` prints."""
        table = rich.table.Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for name in self.heading:
            table.add_column(name, overflow="fold")
        for i, row in enumerate(self.rows):
            style = self.styles.get(i, "")
            cells = [rich.text.Text(cell, style if not j else "") for j, cell in enumerate(row)]
            table.add_row(*cells)
        lines = [rich.text.Text(line) if line else None for line in (self.title, self.footer)]
        parts = [lines[0], rich.padding.Padding(table, (0, 0, 0, 2)), lines[1]]
        return rich.console.Group(*(part for part in parts if part is not None))

    def text(self):
        """Lines without colours, with aligned columns."""
        file = io.StringIO()
        console = rich.console.Console(
            file=file, width=self.width, color_system=None, highlight=False, force_jupyter=False
        )
        console.print(self.rich())
        return "\n".join(line.rstrip() for line in file.getvalue().splitlines())

    def html(self):
        """An HTML table."""

        def row(tag, cells):
            cells = (html.escape(cell).replace("\n", "<br>") for cell in cells)
            style = ' style="text-align:left; vertical-align:top"'
            return "<tr>" + "".join(f"<{tag}{style}>{cell}</{tag}>" for cell in cells) + "</tr>"

        lines = "".join(row("td", cells) for cells in self.rows)
        heading = row("th", self.heading)
        parts = [
            f"<p>{html.escape(self.title)}</p>" if self.title else "",
            f"<table><thead>{heading}</thead><tbody>{lines}</tbody></table>",
            f"<p>{html.escape(self.footer)}</p>" if self.footer else "",
        ]
        return "".join(parts)


class Tabular:
    """The base of what shows itself as a table, whose `_table` makes it."""

    def _table(self):
        raise NotImplementedError

    def __repr__(self):
        return self._table().text()

    def __str__(self):
        return repr(self)

    def __rich__(self):
        return self._table().rich()

    def _repr_html_(self):
        return self._table().html()


def shortened(words, separator):
    """The first words, and how many there are where these are not all."""
    if len(words) <= 4:
        return separator.join(words)
    return separator.join([*words[:3], f"... {len(words)} in all"])
