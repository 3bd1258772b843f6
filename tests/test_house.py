"""The layout: which folder may import which, and that folders show what they have."""

import ast
import importlib
import inspect
import pathlib
import pkgutil
import re

import pytest

import keras_hypernet as kh

ROOT = pathlib.Path(kh.__file__).parent
# {folder: {folder that it may import: why}}. Folders above a line are never imported below it.
MAY_IMPORT = {
    "utils": {},
    "weights": {
        "utils": "checks, tables, what an activation asks of the weights before it",
    },
    "conditioning": {
        "utils": "checks, names",
    },
    "targets": {
        "utils": "checks",
    },
    "initializers": {
        "weights": "the roles, fans and initializers of a target's tensors",
        "utils": "checks, names",
    },
    "chunking": {
        "weights": "the spec of the target and of each kind of chunk",
        "targets": "how a residual network names its layers",
        "utils": "checks, tables",
    },
    "ops": {
        "weights": "the three forms of weights",
        "utils": "checks, and what runs another way on one backend",
    },
    "generators": {
        "chunking": "the plan of a structured generator, the assembly of a composed one",
        "conditioning": "inputs, ids and learned vectors",
        "initializers": "how a generator starts",
        "weights": "the spec of what is generated, and its forms",
        "utils": "checks, names, functional calls",
    },
    "layers": {
        "ops": "what a layer does with weights per row",
        "conditioning": "the numbers of conditions that tables are looked up by",
        "weights": "the spec of what a layer takes, and its forms",
        "utils": "checks, names, copies of layers, functional calls",
    },
    "models": {
        "generators": "what makes the weights",
        "layers": "what takes the weights",
        "conditioning": "the scale in front of generators, more conditions",
        "initializers": "the start that a model is asked for",
        "ops": "the cheapest contraction",
        "weights": "specs of whole targets",
        "utils": "checks, names, copies of layers",
    },
    "continual": {
        "models": "reading and specializing the model that learns",
        "generators": "variables of a hypernetwork",
        "layers": "what stands beside generated weights in a layer",
        "conditioning": "one vector per task",
        "weights": "the spec of all that is generated",
        "utils": "checks, names, functional calls",
    },
    "diagnosis": {
        "continual": "which task is active",
        "models": "reading and running a model's graph",
        "generators": "which variables are heads, trunks and embeddings",
        "layers": "what takes the weights, and the updates of low rank",
        "initializers": "the plain start of a target",
        "conditioning": "scales that no batch was seen by",
        "weights": "the three forms, and the roles of tensors",
        "utils": "checks, tables, gradients, functional calls",
    },
}


def sources(folder=""):
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path):
    """`(folder, module)` of what a file of the package imports of the package."""
    for node in ast.walk(ast.parse(path.read_text())):
        found = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        for name in found:
            package, *parts = name.split(".")
            if package == "keras_hypernet":
                yield parts[0], parts


def test_the_table_has_every_folder():
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert folders == set(MAY_IMPORT)
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py"}


def test_no_circle():
    """Each folder stands below those that import it, so that the table has no way back up."""
    order = list(MAY_IMPORT)
    for folder, others in MAY_IMPORT.items():
        assert all(order.index(other) < order.index(folder) for other in others)


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_run_downwards(folder):
    found = {other for path in sources(folder) for other, _ in imports(path)} - {folder}
    assert found == set(MAY_IMPORT[folder])  # no more, and no reason for what is not done


def test_modules_have_the_names_that_they_are_imported_by():
    for path in set(sources()) - set(ROOT.rglob("__init__.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("keras_hypernet"):
                assert not [alias.asname for alias in node.names if alias.asname], path


def test_only_utils_touch_a_backend_or_private_keras():
    private = re.compile(r"keras\.src|^\s*(import|from) (tensorflow|jax|torch)\b", re.MULTILINE)
    found = {path for path in sources() if private.search(path.read_text())}
    assert {path.relative_to(ROOT).parts[0] for path in found} == {"utils"}


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_hands_on_its_public_names(folder):
    module = importlib.import_module(f"keras_hypernet.{folder}")
    own = {
        name: value
        for name in kh.__all__
        if inspect.getmodule(value := getattr(kh, name)).__name__.startswith(f"{module.__name__}.")
    }
    for name, value in own.items():
        assert getattr(module, name) is value


def test_no_public_name_hides_a_module():
    modules = [found.name for found in pkgutil.walk_packages([ROOT], "keras_hypernet.")]
    for name in modules:
        package, _, attribute = name.rpartition(".")
        importlib.import_module(name)
        assert inspect.ismodule(getattr(importlib.import_module(package), attribute)), name


def test_contributing_draws_every_folder():
    drawing = (ROOT.parent / "CONTRIBUTING.md").read_text().split("```")[1]
    assert set(re.findall(r"(\w+)/", drawing)) == set(MAY_IMPORT)
