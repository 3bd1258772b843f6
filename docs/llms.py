"""Writes `docs/llms.txt`: the API in one file, for assistants that read no site.

    python docs/llms.py [FILE]

holds, for each public name, its signature, a line, its arguments and an example, from docstrings.
"""

import ast
import inspect
import re
import sys
from pathlib import Path

import keras_hypernet as kh

DOCS = Path(__file__).resolve().parent
KEPT = ("Args", "Call arguments", "Returns", "Example")
HEAD = """\
# keras_hypernet

> Hypernetworks for Keras 3 on TensorFlow, JAX and PyTorch. A generator maps a condition to weights,
> and a target uses these weights on data. Weights are an input of the target's call.

Below, `import numpy as np`, `import keras` and `import keras_hypernet as kh` have run.

- Which entry: `kh.build` makes a perceptron; `kh.hypernetize` takes a Keras model; `kh.Hyper` takes
  one layer; `kh.Hypernetwork` puts ids in front of a generator; `kh.ContinualModel` is for tasks
  one after another.
- The rows rule: weights have `rows` rows, data has `batch` rows, and `rows` divides `batch`. Data
  row `b` uses weight row `b // (batch // rows)`. `fit` wants arrays of equal length, or a
  `kh.GroupedDataset`.
- Models are functional Keras models: `compile`, `fit`, `save` and `keras.saving.load_model` work as
  ever.
- If it does not train, `print(kh.diagnose(model, conditions, x, y))` says where and why.
"""


def tables():
    """What `_ext/api_pages.py` assigns, which needs Sphinx to be imported: families and members."""
    tree, names = ast.parse((DOCS / "_ext" / "api_pages.py").read_text()), {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            code = compile(ast.Expression(node.value), "api_pages.py", "eval")
            names[node.targets[0].id] = eval(code, {}, names)
    return names["FAMILIES"], names["MEMBERS"]


def signature(found):
    """Arguments and defaults, without annotations."""
    function = found.__init__ if inspect.isclass(found) else found
    parameters = list(inspect.signature(function).parameters.values())
    parameters = [p.replace(annotation=p.empty) for p in parameters if p.name != "self"]
    return str(inspect.Signature(parameters))


def sections(text):
    """`{heading: text}` of a docstring; the first paragraph has none."""
    parts = re.split(r"^([A-Z][A-Za-z ]*):\n", text, flags=re.MULTILINE)
    return {"": parts[0].split("\n\n")[0].replace("\n", " ").strip()} | {
        heading: body.split("\nReference")[0].split("\nSource")[0].strip("\n")
        for heading, body in zip(parts[1::2], parts[2::2])
    }


def entry(name, found, members):
    """What the file says of a name."""
    text = sections(inspect.getdoc(found))
    lines = [f"### {name}{signature(found)}", "", text[""]]
    for heading in KEPT:
        if heading in text:
            lines += ["", f"{heading}:", text[heading]]
    lines += [""] if members else []
    for member in members:
        function = inspect.getattr_static(found, member)
        function = getattr(function, "__func__", function)
        if isinstance(function, property):
            call, function = member, function.fget
        else:
            call = f"{member}{signature(getattr(found, member))}"
        first = inspect.getdoc(function).split("\n\n")[0].replace("\n", " ")
        lines.append(f"- `.{call}`: {first}")
    return "\n".join(lines)


def text():
    parts, (families, members) = [HEAD], tables()
    for family, names in families.items():
        parts.append(f"## {family}\n")
        for name in names:
            found = getattr(kh, name)
            if inspect.ismodule(found):
                for inner, function in inspect.getmembers(found, inspect.isfunction):
                    parts.append(entry(f"kh.{name}.{inner}", function, ()) + "\n")
            else:
                parts.append(entry(f"kh.{name}", found, members.get(name, ())) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else DOCS / "llms.txt").write_text(text())
