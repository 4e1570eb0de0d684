"""Settings of Sphinx for these pages, which `make docs` builds."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "jaxflow"
author = "The jaxflow authors"
copyright = "The jaxflow authors"
release = metadata.version("jaxflow")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "plain_docstrings",
    "results_pages",
]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

highlight_language = "none"  # a block is code of Python where it says so

html_theme = "furo"
html_title = f"jaxflow {release}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False

# A word between single backticks in a docstring is code, and a link where a name of the package is meant.
default_role = "py:obj"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
copybutton_exclude = ".linenos, .gp, .go"
