"""The code of README and of the pages runs, and prints what they say."""

import ast
import re
import runpy
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_hypernet as kh
from tests.backend import BACKEND

ROOT = Path(__file__).parents[1]
# `test_keras_hub.py` runs the page on backbones, where KerasHub is installed.
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.stem != "keras_hub"]
# A block of Python, which may stand in a list, and what it prints, if the next block says so.
BLOCK = re.compile(
    r"^( *)```python\n(.*?)^\1```(?:\n\n\1```\n(.*?)^\1```)?", re.DOTALL | re.MULTILINE
)
NUMBER = re.compile(r"-?\d+\.\d+")

pytestmark = pytest.mark.skipif(BACKEND != "tensorflow", reason="one backend is enough for pages")


def blocks(page):
    found = BLOCK.findall(page.read_text())
    return [
        [text.replace(f"\n{indent}", "\n").removeprefix(indent) for text in texts]
        for indent, *texts in found
    ]


def check_printed(printed, expected, code):
    """Equal, but for fractions: four in five are near, for what is not trained yet is chance."""
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", expected), code
    values = [np.array(NUMBER.findall(text), "float64") for text in (printed, expected)]
    near = np.isclose(*values, rtol=0.05, atol=0.05)
    assert near.sum() >= 0.8 * near.size, (code, *values)


PAGES = [page for page in [ROOT / "README.md", *PAGES] if blocks(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    keras.backend.clear_session()  # layers are numbered as in a new process
    names = {"__name__": page.stem}
    for code, expected in blocks(page):
        exec(compile(code, str(page), "exec"), names)
        printed = capsys.readouterr().out
        if expected:
            check_printed(printed, expected, code)


@pytest.mark.parametrize("script", ["draw_idea", "inventories"])
def test_stored_files_are_those_of_their_script(script, tmp_path):
    """Drawings and inventories, which the pages show and link by."""
    copy = shutil.copy(ROOT / "docs" / f"{script}.py", tmp_path)
    runpy.run_path(str(copy), run_name="__main__")
    made = [path for path in tmp_path.rglob("*") if path.suffix in (".svg", ".inv")]
    assert made
    for path in made:
        assert path.read_bytes() == (ROOT / "docs" / path.relative_to(tmp_path)).read_bytes()


def listed(script, table):
    """The names in a table of an extension of the site; Sphinx is not needed to read it."""
    tree = ast.parse((ROOT / "docs" / "_ext" / f"{script}.py").read_text())
    values = [x.value for x in tree.body if isinstance(x, ast.Assign) and x.targets[0].id == table]
    return sorted(name for names in ast.literal_eval(values[0]).values() for name in names)


def test_every_public_name_and_every_example_has_a_page():
    assert listed("api_pages", "FAMILIES") == sorted(kh.__all__)
    examples = [file.stem for file in (ROOT / "examples").glob("[!_]*.py")]
    assert listed("gallery", "GROUPS") == sorted(examples)
