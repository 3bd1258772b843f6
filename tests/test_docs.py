"""The code of README and of the pages runs, and prints what they say."""

import ast
import json
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


def test_the_file_for_assistants_is_that_of_its_script():
    """After a change of a public docstring: `python docs/llms.py`."""
    made = runpy.run_path(str(ROOT / "docs" / "llms.py"))["text"]()
    assert made == (ROOT / "docs" / "llms.txt").read_text()


def test_readme_is_short_and_has_the_two_commands():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    commands = re.search(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[1].splitlines()
    assert [("pytest" in line, "examples/" in line) for line in commands] == [
        (False, True),
        (True, False),
    ]


LINK = re.compile(r"""\]\(([^)#\s]+)(?:#[^)]*)?\)|(?:src|srcset)="([^"]+)\"""")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_to_files(page):
    """Sphinx looks at those of the site."""
    links = [a or b for a, b in LINK.findall((ROOT / page).read_text())]
    assert links
    missing = [x for x in links if not x.startswith("http") and not (ROOT / x).exists()]
    assert not missing


def test_every_example_has_a_picture_and_a_thumbnail():
    for file in (ROOT / "examples").glob("[!_]*.py"):
        for folder in (ROOT / "docs", ROOT / "docs" / "thumbnails"):
            assert 1000 < (folder / f"{file.stem}.png").stat().st_size < 60_000, file


def test_notebooks_are_stored_without_what_they_print():
    notebooks = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
    assert len(notebooks) == 4
    for file in notebooks:
        for cell in json.loads(file.read_text())["cells"]:
            assert not cell.get("outputs"), file
            assert cell.get("execution_count") is None, file


def test_the_citation_has_the_version():
    assert f"version: {kh.__version__}\n" in (ROOT / "CITATION.cff").read_text()
