"""Sphinx extension: docstrings of the package, in which code stands in single backticks, as RST."""

import re

from sphinx.util import inspect

# A code span, which may go over lines, and the letter after it, if any.
SPAN = re.compile(r"(?<![`\\\w])`([^`]+)`(?!`)(?=(\w?))")
# The first line of what is returned. Napoleon would take all before a colon for a type.
RETURNS = re.compile(r"^( *)((?:Returns|Yields):\n)( +)", re.MULTILINE)
# A backslash at the end of a line joins it with the next one, and leaves nothing behind.
JOINED = ["\\"]


def double(match):
    """Two backticks are a code span in RST; "\\ " parts it from letters."""
    return f"``{match[1]}``" + ("\\ " if match[2] else "")


def to_rst(text):
    parts = re.split(r"((?:^ *(?:>>>|\.\.\. ).*\n)+)", text, flags=re.MULTILINE)
    parts[::2] = [SPAN.sub(double, part) for part in parts[::2]]
    return RETURNS.sub(r"\1\2\3\\\n\3", "".join(parts))


def process(app, what, name, obj, options, lines):
    start = JOINED if what == "property" else []  # there, too, a type would stand before a colon
    lines[:] = start + to_rst("\n".join(lines) + "\n").split("\n")


def signature(app, what, name, obj, options, args, returned):
    """What `__init__` takes. Keras' `Layer.__new__`, which Sphinx would show, takes anything."""
    if what != "class":
        return None
    found = inspect.signature(obj.__init__, bound_method=True)
    return inspect.stringify_signature(found, show_annotation=False), None


def setup(app):
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-process-docstring", process, priority=100)  # before napoleon
    return {"parallel_read_safe": True}
