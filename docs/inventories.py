"""Writes `docs/_inventories/`: the names of Python and NumPy that the pages link to, and where.

    python docs/inventories.py

A site's own inventory (`objects.inv`) has thousands of names and needs a network. These few are all
that docstrings name. A new one is a line here.
"""

import zlib
from pathlib import Path

EXCEPTIONS = [
    "AttributeError",
    "FileExistsError",
    "FileNotFoundError",
    "ImportError",
    "IndexError",
    "KeyError",
    "NotImplementedError",
    "OSError",
    "RuntimeError",
    "TypeError",
    "ValueError",
]
NAMES = {
    "python": {
        **{f"py:exception {name}": "library/exceptions.html#$" for name in EXCEPTIONS},
        **{f"py:class {name}": "library/functions.html#$" for name in ("bool", "float", "int")},
        **{f"py:class {name}": "library/stdtypes.html#$" for name in ("dict", "list", "str")},
        "py:class tuple": "library/stdtypes.html#$",
    },
    "numpy": {
        "py:class numpy.ndarray": "reference/generated/numpy.ndarray.html#$",
        "py:class numpy.random.Generator": "reference/random/generator.html#$",
    },
}


def inventory(project, names):
    head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
    head += "# The remainder of this file is compressed using zlib.\n"
    lines = []
    for name, address in sorted(names.items()):
        kind, name = name.split(" ")
        lines.append(f"{name} {kind} 1 {address} -\n")  # $ in an address is the name
    return head.encode() + zlib.compress("".join(lines).encode(), 0)


if __name__ == "__main__":
    folder = Path(__file__).parent / "_inventories"
    folder.mkdir(exist_ok=True)
    for project, names in NAMES.items():
        (folder / f"{project}.inv").write_bytes(inventory(project, names))
