"""Sphinx extension: writes `docs/gallery/`, a page for each example, from its docstring.

Its picture is that of a longer run, `docs/NAME.png`, which the repository holds. Where the
setting `gallery_runs` names a folder, the page also shows what a small run printed and drew:
`NAME.log` and `NAME.png`, which `docs/run_examples.py` writes there.
"""

import ast
import re
import shutil
from pathlib import Path

from api_pages import write_changed

GROUPS = {
    "First steps": [
        "target_mlp_from_latent",
        "rotated_digits",
        "compose_image_conditioned",
        "why_it_does_not_train",
    ],
    "Conditional models": ["conditioned_cnn", "image_functions"],
    "Families of solutions": ["amortised_regularisation", "pareto_front"],
    "Fewer parameters": ["compress_cnn", "shared_templates", "hyper_mnist"],
    "Tasks one after another": ["continual_regression", "continual_digits", "continual_mnist"],
    "Adapters": ["lora_adapters", "lora_from_description", "adapter_per_user"],
}

# How a stored picture was drawn, where it was not by the command of the page.
DRAWN = {
    "continual_mnist": "`--epochs 5` drew this, with scikit-learn's digits in place of MNIST:",
    "hyper_mnist": "`--epochs 8` drew this, with scikit-learn's digits in place of MNIST:",
}


def parts_of(file):
    """Title, the rest of the first line, text and command of an example."""
    text = ast.get_docstring(ast.parse(file.read_text()))
    first, _, rest = text.partition("\n")
    title, _, subtitle = first.rstrip(".").partition(": ")
    body, _, command = rest.strip("\n").rpartition("\n\n")
    return title, subtitle[:1].upper() + subtitle[1:], body, command.strip()


def page(file, picture, run):
    title, subtitle, body, command = parts_of(file)
    text = re.sub(r"https://[^\s);]+", r"<\g<0>>", code_blocks(body))
    blocks = [f"# {title}", f"{subtitle}." if subtitle else "", f"```sh\n{command}\n```", text]
    if picture:
        blocks += [DRAWN.get(file.stem, ""), f"![{title}]({picture})"]
    blocks += run
    source = f":::{{literalinclude}} ../../examples/{file.name}\n:language: python\n:::"
    blocks.append(f"## The whole script\n\n`examples/{file.name}`\n\n{source}")
    return "\n\n".join(blocks) + "\n"


def code_blocks(text):
    """Indented blocks as fences, which are never taken for the lines of a list."""
    return re.sub(
        r"(?:^    .*\n?(?:\n(?=    ))?)+",
        lambda m: "```text\n" + re.sub(r"^    ", "", m[0], flags=re.MULTILINE).rstrip() + "\n```\n",
        text,
        flags=re.MULTILINE,
    )


def card(name, title, subtitle, picture):
    top = f":img-top: {picture}\n" if picture else ""
    return f":::{{grid-item-card}} {title}\n:link: {name}\n:link-type: doc\n{top}\n{subtitle}\n:::"


def write(app, config):
    root, names = Path(app.srcdir), list(config.gallery_names)
    listed = [name for group in GROUPS.values() for name in group]
    if sorted(listed) != sorted(names):
        differing = sorted(set(listed) ^ set(names))
        raise ValueError(f"GROUPS in {__file__} must list every example: {differing}")
    runs = config.gallery_runs and Path(config.gallery_runs)
    folder = root / "gallery"
    folder.mkdir(exist_ok=True)
    index = [
        "# Gallery\n\nEach example is one script. It prints what it finds and draws it. "
        "[Notebooks](../notebooks/index.md) tell step by step."
    ]
    for group, members in GROUPS.items():
        cards = []
        for name in members:
            file = root.parent / "examples" / f"{name}.py"
            picture = f"../{name}.png" if (root / f"{name}.png").exists() else None
            thumbnail = picture and f"../thumbnails/{name}.png"
            write_changed(folder / f"{name}.md", page(file, picture, small_run(runs, name, folder)))
            cards.append(card(name, *parts_of(file)[:2], thumbnail))
        toctree = ":::{toctree}\n:hidden:\n\n" + "\n".join(members) + "\n:::"
        grid = "::::{grid} 1 2 2 3\n:gutter: 3\n\n" + "\n\n".join(cards) + "\n::::"
        index.append(f"## {group}\n\n{grid}\n\n{toctree}")
    write_changed(folder / "index.md", "\n\n".join(index) + "\n")


def small_run(runs, name, folder):
    """Blocks of a page: what a run of one epoch printed and drew."""
    if not runs:
        return []
    printed = (runs / f"{name}.log").read_text().strip()
    blocks = [f"## A small run\n\n```text\n{printed}\n```"]
    if (runs / f"{name}.png").exists():
        shutil.copy(runs / f"{name}.png", folder / f"{name}_run.png")
        blocks.append(f"It draws:\n\n![A small run of {name}]({name}_run.png)")
    return blocks


def setup(app):
    app.add_config_value("gallery_runs", None, "env")
    app.connect("config-inited", write, priority=600)
    return {"parallel_read_safe": True}
