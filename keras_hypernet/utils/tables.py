"""Tables of text."""


def format_table(rows):
    """Rows of strings -> indented lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]
    return "\n".join("  " + line for line in lines)
