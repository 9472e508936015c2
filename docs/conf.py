"""How Sphinx builds the documentation: ``python -m benchmarks.pages.site OUT``."""

from __future__ import annotations

from etab import __version__

project = "etab"
author = "the authors of etab"
project_copyright = author
version = __version__
release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
root_doc = "docs/index"

# Headings are link targets, as on GitHub.
myst_heading_anchors = 4

suppress_warnings = [
    # The Markdown that `etab leaderboard` writes begins with a heading of the second level.
    "myst.header",
    # A type of a signature that two modules name alike is not a link.
    "ref.python",
]

# Notebooks are shown with their stored outputs. The tests execute them.
nb_execution_mode = "off"

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "ignore-module-all": True}
_ARRAYS = ("Array", "FloatArray", "IntArray")
autodoc_type_aliases = {name: f"etab.types.{name}" for name in _ARRAYS}
napoleon_use_ivar = True
napoleon_custom_sections = ["Source", "Sources"]

html_theme = "furo"
html_title = f"etab {__version__}"
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["docs.css"]
