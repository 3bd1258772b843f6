"""Sphinx extension: writes `docs/gallery/`, a page for each example, from its docstring.

Where the folder `gallery_runs` (a setting, relative to the documentation) holds what a small run of
an example wrote, `NAME.log` and `NAME.png`, its page shows both. Nothing writes that folder yet.
"""

import ast
import re
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


def parts_of(file):
    """Title, the rest of the first line, text and command of an example."""
    text = ast.get_docstring(ast.parse(file.read_text()))
    first, _, rest = text.partition("\n")
    title, _, subtitle = first.rstrip(".").partition(": ")
    body, _, command = rest.strip("\n").rpartition("\n\n")
    return title, subtitle[:1].upper() + subtitle[1:], body, command.strip()


def page(file, picture, log):
    title, subtitle, body, command = parts_of(file)
    text = re.sub(r"https://[^\s);]+", r"<\g<0>>", code_blocks(body))
    blocks = [f"# {title}", f"{subtitle}." if subtitle else "", f"```sh\n{command}\n```", text]
    if picture:
        blocks.append(f"![{title}]({picture})")
    if log:
        blocks.append(f"A small run prints:\n\n```text\n{log.read_text().strip()}\n```")
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
    runs = root / config.gallery_runs if config.gallery_runs else None
    folder = root / "gallery"
    folder.mkdir(exist_ok=True)
    index = ["# Gallery\n\nEach example is one script. It prints what it finds and may draw it."]
    for group, members in GROUPS.items():
        cards = []
        for name in members:
            file = root.parent / "examples" / f"{name}.py"
            picture, log = picture_of(root, runs, name), runs and runs / f"{name}.log"
            write_changed(folder / f"{name}.md", page(file, picture, log))
            cards.append(card(name, *parts_of(file)[:2], picture))
        toctree = ":::{toctree}\n:hidden:\n\n" + "\n".join(members) + "\n:::"
        grid = "::::{grid} 1 2 2 3\n:gutter: 3\n\n" + "\n\n".join(cards) + "\n::::"
        index.append(f"## {group}\n\n{grid}\n\n{toctree}")
    write_changed(folder / "index.md", "\n\n".join(index) + "\n")


def picture_of(root, runs, name):
    """The picture of a run, or the stored one; none where there is neither."""
    if runs and (runs / f"{name}.png").exists():
        return str(runs / f"{name}.png")
    return f"../{name}.png" if (root / f"{name}.png").exists() else None


def setup(app):
    app.add_config_value("gallery_runs", None, "env")
    app.connect("config-inited", write, priority=600)
    return {"parallel_read_safe": True}
