"""How Sphinx builds the documentation: ``python -m benchmarks.pages.site OUT``."""

from __future__ import annotations

from typing import Any

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
# Default values as the code writes them, not objects with their addresses.
autodoc_preserve_defaults = True
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


def _skip_commands(
    _app: Any, _what: str, _name: str, member: Any, _skip: bool, _options: Any
) -> bool | None:
    """Leave out the commands: their options are in ``etab COMMAND --help``, not in a signature."""
    annotations = getattr(member, "__annotations__", None)
    is_described = isinstance(annotations, dict) and getattr(member, "__module__", "").startswith(
        "etab.cli"
    )
    if is_described and any("typer." in str(annotation) for annotation in annotations.values()):
        return True
    return None


def setup(app: Any) -> None:
    """Connect what Sphinx calls while it reads the docstrings."""
    app.connect("autodoc-skip-member", _skip_commands)
