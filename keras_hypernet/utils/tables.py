"""Tables of text."""


def format_table(rows):
    """Rows of strings -> indented lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]
    return "\n".join("  " + line for line in lines)


def shortened(words, separator):
    """The first words, and how many there are where these are not all."""
    if len(words) <= 4:
        return separator.join(words)
    return separator.join([*words[:3], f"... {len(words)} in all"])
