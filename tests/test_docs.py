"""Generated tables are current, the blocks of docs/adding/ run, README names what exists."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks.pages import echo, generate, published, sounds
from etab.features.base import INPUTS
from etab.metrics import METRICS
from etab.results import Predictions, Result, load_results
from etab.results.table_files import read_table_bytes, table_path
from etab.tasks.inputs import ROW_INPUTS
from etab.tasks.menu import TASKS

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", list(generate.PAGES))
def test_generated_pages_are_current(name: str) -> None:
    assert (generate.FOLDER / name).read_text() == generate.page(name), (
        "run python -m benchmarks.pages.generate"
    )


@pytest.mark.parametrize(
    ("section", "results"),
    [(section, "results_sounds") for section in sounds.SECTIONS]
    + [(section, "results") for section in echo.SECTIONS],
    ids=lambda value: value if isinstance(value, str) else f"{value.task}-{value.protocol}",
)
def test_a_board_stands_beside_what_is_published(section: published.Section, results: str) -> None:
    assert set(section.metrics) <= set(METRICS)
    assert all(set(p.values) <= set(section.metrics) for p in section.published)
    found = [result for result in _stored(results) if result.task == section.task]
    page = "\n".join(published.section_lines(section, found))
    mine = sorted(
        published.cells_of_board(section, found),
        key=lambda r: r.value,
        reverse=not section.falls,
    )
    assert len(mine) > 8
    assert {r.head for r in mine} == {TASKS[section.task].head}
    assert len({r.backbone for r in mine}) == len(mine)
    places = [page.index(f"| {r.backbone} |") for r in mine]
    assert places == sorted(places), "the best stands first"
    assert all(page.index(f"| *{p.who}* |") > max(places) for p in section.published)
    assert f"[{published.figure(mine[0].low)}, {published.figure(mine[0].high)}]" in page


@cache
def _stored(results: str) -> list[Result]:
    return load_results(ROOT / "benchmarks" / results)


def blocks(path: Path) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def test_the_page_tells_recordings_from_people() -> None:
    """The note of e0 says that people are scored, as the stored value is."""
    folder = ROOT / "benchmarks/results_sounds_full/circor/e0-AL-D/envelopes"
    path = folder / "cv5-hsmm-s0.json"
    table = Predictions.from_csv(read_table_bytes(table_path(path)).decode())
    f1 = table.columns["f1_100"]
    people = np.array(table.patients)
    by_person = np.mean([f1[people == name].mean() for name in np.unique(people)])
    stored = json.loads(path.read_text())["value"]
    assert stored == pytest.approx(by_person, abs=1e-3)
    assert stored != pytest.approx(f1.mean(), abs=1e-3)
    (section,) = [section for section in sounds.SECTIONS if section.task == "e0-AL-D"]
    assert "means over people" in section.differs


ADDING = sorted((ROOT / "docs" / "adding").glob("*.md"))


def test_everything_that_can_be_added_has_a_page() -> None:
    text = (ROOT / "docs" / "adding.md").read_text()
    assert {path.stem for path in ADDING} == set(re.findall(r"\(adding/(\w+)\.md\)", text))
    assert len(ADDING) == 6


@pytest.mark.parametrize("path", ADDING, ids=lambda path: path.stem)
def test_adding_runs(path: Path) -> None:
    code = "\n\n".join(blocks(path))
    assert code, f"{path} shows no code"
    registries = (METRICS, INPUTS, ROW_INPUTS)
    for row in list(ROW_INPUTS.values()):
        importlib.import_module(row.module)  # what it registers stays
    registered = [set(registry) for registry in registries]
    try:
        exec(compile(code, f"docs/adding/{path.name}", "exec"), {"__name__": "adding"})
    finally:
        for registry, names in zip(registries, registered, strict=True):
            for name in set(registry) - names:
                registry.remove(name)


@pytest.mark.parametrize("name", ["head", "input"])
def test_classes_of_the_pages_can_be_copied_into_the_package(name: str) -> None:
    """Methods have docstrings and types, which the lint and the type check of the package want."""
    (page,) = [path for path in ADDING if path.stem == name]
    code = ast.parse("\n\n".join(blocks(page)))
    classes = [node for node in code.body if isinstance(node, ast.ClassDef)]
    assert classes
    for node in (inner for one in classes for inner in one.body):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.args, *node.args.kwonlyargs]
            untyped = [a.arg for a in arguments if a.annotation is None and a.arg != "self"]
            assert ast.get_docstring(node), node.name
            assert node.returns is not None, node.name
            assert untyped == []


@pytest.mark.parametrize("page", [ROOT / "docs" / "adding.md", *ADDING], ids=lambda p: p.stem)
def test_adding_names_files_that_exist(page: Path) -> None:
    text = page.read_text()
    for path in re.findall(r"`((?:etab|tests|checkpoints)/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path


def test_links_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    assert len(links) > 8
    for link in links:
        assert (ROOT / link).exists(), link


PAGES = sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT / "docs")))
def test_links_of_the_pages_exist(page: Path) -> None:
    for link in re.findall(r"\]\((?!http|#)([^)#\s]+)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_concepts_fit_one_screen() -> None:
    lines = (ROOT / "docs" / "concepts.md").read_text().splitlines()
    assert len(lines) <= 45
    assert sum("![" in line for line in lines) >= 2


def test_readme_names_the_order_of_places() -> None:
    from etab.datasets import paths

    text = (ROOT / "README.md").read_text()
    order = [
        text.index(w)
        for w in (
            "`--root`",
            "`ETAB_CAMUS_DIR`",
            "`ETAB_DATA/camus`",
            "`configs/paths.toml`",
            "`./etab/data/camus`",
        )
    ]
    assert order == sorted(order)
    assert paths.__doc__


def test_titles_of_the_contents_tell_pages_apart() -> None:
    titles: dict[str, str] = {}
    text = (ROOT / "docs" / "index.md").read_text()
    entries = re.findall(r"^(?:(.+) <)?((?:\.\./)?[\w/.]+)>?$", text, re.MULTILINE)
    pages = [(title, (ROOT / "docs" / f"{name}.md").resolve()) for title, name in entries]
    for title, page in pages:
        if page.is_file():
            shown = title or page.read_text().splitlines()[0].lstrip("# ")
            assert titles.setdefault(shown, str(page)) == str(page), shown
    assert len(titles) > 30


def test_modules_that_pages_run_exist() -> None:
    named = set()
    for page in [ROOT / "README.md", *PAGES, *(ROOT / "benchmarks").glob("*.md")]:
        named |= set(re.findall(r"python -m ((?:benchmarks|etab)(?:\.\w+)*)", page.read_text()))
    assert len(named) > 20
    for name in named:
        assert importlib.util.find_spec(name) is not None, name
