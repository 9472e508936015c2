"""How Sphinx builds the documentation: ``python -m benchmarks.pages.site OUT``."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

from docutils import nodes
from sphinx import addnodes

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


# A value that is longer than this is left out: the page says what it holds.
_LONGEST_VALUE = 120

_FUNCTION = re.compile(r"<function (?:[\w.]+\.)?(\w+)(?: at 0x[0-9a-f]+)?>")
_ALIAS = re.compile(r"TypeAliasForwardRef\('([\w.]+)'\)")


def _plain_signature(
    _app: Any,
    _what: str,
    _name: str,
    member: Any,
    _options: Any,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """Write default values and types of a signature as code, and not as Python shows objects."""
    for default in _made_defaults(member):
        signature = signature.replace("<factory>", default, 1) if signature else signature
    return tuple(
        _ALIAS.sub(r"~\1", _FUNCTION.sub(r"\1", text)) if text else text
        for text in (signature, returned)
    )


def _made_defaults(member: Any) -> list[str]:
    """What makes the default values of a data class, in the order of its fields."""
    if not (inspect.isclass(member) and dataclasses.is_dataclass(member)):
        return []
    literals = {dict: "{}", list: "[]", tuple: "()"}
    made = [
        field.default_factory
        for field in dataclasses.fields(member)
        if field.init and field.default_factory is not dataclasses.MISSING
    ]
    return [literals.get(make, f"{getattr(make, '__name__', 'made')}()") for make in made]


def _plain_annotations(_app: Any, doctree: nodes.document) -> None:
    """Leave out the values of constants that fill a page; write types of properties as code."""
    for signature in doctree.findall(addnodes.desc_signature):
        for part in list(signature.findall(addnodes.desc_annotation)):
            text = part.astext()
            if text.lstrip().startswith("=") and len(text) > _LONGEST_VALUE:
                part.parent.remove(part)
            elif _ALIAS.search(text):
                # Types of properties do not pass through autodoc-process-signature.
                plain = _ALIAS.sub(lambda found: found[1].rpartition(".")[2], text)
                part.children = [nodes.Text(plain)]


def setup(app: Any) -> None:
    """Connect what Sphinx calls while it reads the docstrings."""
    app.connect("autodoc-skip-member", _skip_commands)
    app.connect("autodoc-process-signature", _plain_signature)
    app.connect("doctree-read", _plain_annotations)
