"""Build the documentation site and its leaderboards: ``python -m benchmarks.pages.site OUT``.

The pages are the Markdown files and notebooks of the repository, at the addresses that they have
there, so that every link leads where it leads in a checkout. The API reference is made of the
docstrings, a page for each package. Sphinx builds them (extra ``docs``).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import etab
from etab.errors import MissingPackageError

ROOT = Path(__file__).resolve().parents[2]

# The modules of the documentation of 2022 hold no code of their own: docs/names2022.md.
_MOVED_MODULES = {"etab.baselines", "etab.benchmarks", "etab.scores", "etab.utils"}

_NAMES_OF_ETAB = [
    "Dataset",
    "backbone",
    "Frames",
    "Clip",
    "Sound",
    "evaluate",
    "Score",
    "Run",
    "Result",
    "results_frame",
    "rank",
    "Suite",
]

# The boards of the published results: title, and what `etab leaderboard` is called with. Subgroups
# are kept in a file, because the data are not at hand where the site is built. With the data in
# DATA, `etab leaderboard ... --subgroups DATA --html SITE` writes it as SITE/data/subgroups.json.
BOARDS = {
    "camus": (
        "CAMUS",
        [
            *("benchmarks/results", "--suite", "camus"),
            *("--variants", "benchmarks/results_heads"),
            *("--subgroups", "benchmarks/pages/subgroups/camus.json"),
            *("--curves", "benchmarks/label_efficiency.csv"),
        ],
    ),
    "heart_sounds": (
        "Heart sounds: all public recordings",
        [
            *("benchmarks/results_sounds_full", "--suite", "sounds"),
            *("--subgroups", "benchmarks/pages/subgroups/heart_sounds.json"),
        ],
    ),
    "heart_sounds_small": (
        "Heart sounds: more backbones on a part of the recordings",
        [
            *("benchmarks/results_sounds", "--suite", "sounds"),
            *("--subgroups", "benchmarks/pages/subgroups/heart_sounds_small.json"),
        ],
    ),
}

# The page in docs/reference/ that has the tables of each board.
_TABLES = {
    "camus": "leaderboard.md",
    "heart_sounds": "leaderboard_sounds.md",
    "heart_sounds_small": "leaderboard_sounds_small.md",
}

# The target of a link within the repository.
_LINK = re.compile(r"\]\((?!https?:|#)([^)]+)")

# Below it the home page links to the boards, which exist on the built site alone.
_HOME_PICTURE = "![The leaderboard of CAMUS as a site](pictures/leaderboard.png)"

# What the theme leaves out for screen readers and keys: levels of headings, names of landmarks, and
# tables and outputs of notebooks that can be scrolled by the arrow keys.
_ADDED_TO_TAGS = (
    ('<p class="caption" role="heading"', ' aria-level="2"'),
    ('<aside class="sidebar-drawer"', ' aria-label="All pages"'),
    ('<aside class="toc-drawer"', ' aria-label="On this page"'),
    ('<div class="content-icon-container"', ' role="navigation" aria-label="Tools of this page"'),
    ('<div class="table-wrapper colwidths-auto docutils container"', ' tabindex="0"'),
    ('<div class="output text_html"', ' tabindex="0"'),
)

# The page of the search has no heading of its own.
_FOUND = '<div id="search-results">'
_FOUND_BELOW_A_HEADING = f"<h1>Search</h1>\n{_FOUND}"

# The corner of a table, and the second line of heads of a data frame: they head nothing.
_EMPTY_HEAD = re.compile(r'<th(?: class="[\w -]*")?>(?:<p></p>)?</th>')

_REDIRECT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>etab</title>
<meta http-equiv="refresh" content="0; url=docs/index.html"></head>
<body><a href="docs/index.html">etab: the cardiac representation benchmark</a></body></html>
"""


def build(out: Path, boards: bool = True) -> None:
    """Build the whole site.

    Args:
        out: An empty or new folder.
        boards: Also build the leaderboards of the published results; takes about a minute.

    Raises:
        FileExistsError: If the folder holds anything.
        MissingPackageError: If Sphinx is not installed.
        subprocess.CalledProcessError: If a page has a fault; Sphinx has printed it.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty. Name a new folder, or empty this one.")
    _require_sphinx()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        _copy_pages(source)
        _write_reference(source / "docs" / "api")
        _sphinx(source, out, Path(folder) / "doctrees")
    for page in out.rglob("*.html"):
        page.write_text(accessible(page.read_text()))
    (out / "index.html").write_text(_REDIRECT)
    # GitHub Pages leaves out folders that begin with an underscore unless this file is there.
    (out / ".nojekyll").touch()
    if boards:
        for name, (_, arguments) in BOARDS.items():
            _board(arguments, out / "boards" / name)


def accessible(page: str) -> str:
    """Complete the tags of a page of the theme for screen readers and keys.

    Example:
        >>> accessible('<p class="caption" role="heading">First steps</p>')
        '<p class="caption" role="heading" aria-level="2">First steps</p>'
    """
    for tag, added in _ADDED_TO_TAGS:
        page = page.replace(f"{tag}>", f"{tag}{added}>")
    page = page.replace(_FOUND, _FOUND_BELOW_A_HEADING)
    return _EMPTY_HEAD.sub("<td></td>", page)


def packages() -> list[str]:
    """Names of the packages and root modules of etab that have a page of reference.

    Returns:
        Dotted names, sorted; the import paths of 2022 are left out.

    Example:
        >>> "etab.metrics" in packages(), "etab.scores" in packages()
        (True, False)
    """
    names = []
    for module in pkgutil.walk_packages(etab.__path__, "etab."):
        is_root_module = module.name.count(".") == 1
        is_private = any(part.startswith("_") for part in module.name.split("."))
        is_moved = any(f"{module.name}.".startswith(f"{moved}.") for moved in _MOVED_MODULES)
        if (module.ispkg or is_root_module) and not is_private and not is_moved:
            names.append(module.name)
    return sorted(names)


def _require_sphinx() -> None:
    for name in ("sphinx", "furo", "myst_nb"):
        if importlib.util.find_spec(name) is None:
            raise MissingPackageError(
                f'The documentation site needs {name}: pip install "etab-bench[docs]".'
            )


def _copy_pages(source: Path) -> None:
    """Copy every page that links lead to, at the address that it has in the repository."""
    shutil.copytree(ROOT / "docs", source / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    (source / "benchmarks").mkdir()
    for page in [*ROOT.glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]:
        if page.name != "README.md" or page.parent != ROOT:
            shutil.copy(page, source / page.relative_to(ROOT))
    (source / "docs" / "quickstart.md").write_text(_quick_start())
    links = "".join(f"* {_board_link(name, title)}\n" for name, (title, _) in BOARDS.items())
    with (source / "docs" / "boards.md").open("a") as boards:
        boards.write(f"\n{links}")
    for name, tables in _TABLES.items():
        _link_to_board(source / "docs" / "reference" / tables, name)
    home = source / "docs" / "index.md"
    text = home.read_text()
    assert _HOME_PICTURE in text, f"{home} does not show {_HOME_PICTURE}"
    picture = f"{_HOME_PICTURE}\n\nOpen a leaderboard:\n\n{links}"
    home.write_text(text.replace(_HOME_PICTURE, picture))


def _board_link(name: str, title: str) -> str:
    """A link in HTML, which Sphinx leaves as it is: it knows no page of a board."""
    return f'<a href="../boards/{name}/index.html">{title}</a>'


def _link_to_board(page: Path, name: str) -> None:
    """Say below the title of a page of tables that the board is a site as well."""
    title, text = page.read_text().split("\n", 1)
    link = f'<a href="../../boards/{name}/index.html">site</a>'
    words = f"The same board is a {link}: sort it, weigh its tasks, compare two backbones."
    page.write_text(f"{title}\n\n{words}\n{text}")


def _quick_start() -> str:
    """The README from its two commands on, as a page in docs/."""
    text = (ROOT / "README.md").read_text()
    first = text.index("## Two commands")
    last = text.index("## Where things are")
    return "# Quick start\n\n" + _LINK.sub(r"](../\1", text[first:last])


def _write_reference(folder: Path) -> None:
    """Write a page for the names of etab itself, and one for each package."""
    folder.mkdir()
    names = packages()
    for name in names:
        (folder / f"{name}.rst").write_text(_package_page(name))
    entries = "\n".join(f"   {name}" for name in names)
    members = ", ".join(_NAMES_OF_ETAB)
    page = f"""API
===

.. toctree::
   :maxdepth: 1

{entries}

The names of etab
-----------------

.. automodule:: etab
   :members: {members}
   :imported-members:
   :no-index:
"""
    (folder / "index.rst").write_text(page)


def _package_page(name: str) -> str:
    """Reference of one package: its own names, then those of each of its modules."""
    package = importlib.import_module(name)
    parts = [_heading(name, "="), f".. automodule:: {name}\n"]
    for module in _modules(package):
        parts += [_heading(module, "-"), f".. automodule:: {module}\n"]
    return "\n".join(parts)


def _modules(package: ModuleType) -> list[str]:
    """Modules of a package, without its sub-packages, which have pages of their own."""
    if not hasattr(package, "__path__"):
        return []
    members = pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    return sorted(
        member.name
        for member in members
        if not member.ispkg and not member.name.rpartition(".")[2].startswith("_")
    )


def _heading(text: str, rule: str) -> str:
    return f"{text}\n{rule * len(text)}\n"


def _sphinx(source: Path, out: Path, doctrees: Path) -> None:
    """Run Sphinx; every warning is a fault."""
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going"]
    folders = ["-c", str(source / "docs"), "-d", str(doctrees), str(source), str(out)]
    subprocess.run([*command, *folders], check=True)


def _board(arguments: list[str], out: Path) -> None:
    command = [sys.executable, "-m", "etab", "leaderboard", *arguments, "--html", str(out)]
    out.parent.mkdir(exist_ok=True)
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def main() -> None:
    """Read the command line, and build."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--without-boards", action="store_true", help="the pages alone")
    options = parser.parse_args()
    build(options.out.resolve(), boards=not options.without_boards)


if __name__ == "__main__":
    main()
