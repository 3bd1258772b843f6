"""Sphinx: how the site is built.

    pip install ".[tensorflow,docs]"
    python -m sphinx -W docs build/site

The build needs no network. Any backend will do.
"""

import os
import sys
from pathlib import Path

DOCS = Path(__file__).parent
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS.parent)]

import keras_hypernet as kh  # noqa: E402

project = "keras_hypernet"
version = release = kh.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "myst_nb",
    "sphinx_design",
    "sphinx_copybutton",
    "docstrings",
    "links",
    "api_pages",
    "gallery",
]
exclude_patterns = ["_ext", "_inventories", "_static"]

smartquotes_action = "D"  # "--" between a name and what it is; quotes are those of code
myst_enable_extensions = ["attrs_inline", "colon_fence"]
myst_heading_anchors = 3

# Notebooks run in each build: a page shows what the code of today prints.
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_output_stderr = "remove"  # backends write there which processor they found

highlight_language = "text"  # a block without a language is what code prints
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # Keras' own docstrings are on keras.io, and in Markdown
# Types stand in the code, and docstrings say shapes: signatures of unions are hard to read.
autodoc_typehints = "none"
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Call arguments", "params_style")]

# Stored inventories: the build needs no network. `python docs/inventories.py` writes them.
intersphinx_mapping = {
    name: (url, str(DOCS / "_inventories" / f"{name}.inv"))
    for name, url in {
        "python": "https://docs.python.org/3/",
        "numpy": "https://numpy.org/doc/stable/",
    }.items()
}
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"

# What `docs/run_examples.py` wrote: the pages of the gallery show it.
gallery_runs = os.environ.get("GALLERY_RUNS")

html_theme = "pydata_sphinx_theme"
html_title = "keras_hypernet"
html_use_index = False  # the API's own page lists all names
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = html_show_copyright = False
html_theme_options = {
    "show_prev_next": True,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "header_links_before_dropdown": 6,
}
ALONE = ("index", "changelog", "recipes", "troubleshooting", "search")  # pages without others below
html_sidebars = {page: [] for page in ALONE}
