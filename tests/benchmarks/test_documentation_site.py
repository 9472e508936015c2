"""The documentation site is built from the pages and docstrings of the repository."""

from __future__ import annotations

import html
import importlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import etab
from benchmarks.pages import site
from etab.storage.atomic import slug


class Addresses(HTMLParser):
    """Collects the links, the anchors and the loaded files of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("id"):
            self.anchors.add(str(values["id"]))
        if tag == "a" and values.get("href"):
            self.links.append(str(values["href"]))
        if tag in ("img", "script", "source", "audio", "video") and values.get("src"):
            self.loaded.append(str(values["src"]))
        if tag == "link" and values.get("rel") == "stylesheet":
            self.loaded.append(str(values["href"]))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("sphinx", "furo", "myst_nb"):
        pytest.importorskip(package, reason=f"the documentation site needs {package}")
    out = tmp_path_factory.mktemp("site") / "site"
    site.build(out, boards=False)
    return out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_link_of_the_site_leads_somewhere(built: Path) -> None:
    pages = {path: Addresses(path.read_text()) for path in built.rglob("*.html")}
    n_links = 0
    for path, page in pages.items():
        for link in page.links:
            address, _, anchor = unquote(link).partition("#")
            if re.match(r"(https?|mailto):", address) or "boards/" in address:
                continue
            target = (path.parent / address).resolve() if address else path
            assert target.exists(), f"{path.relative_to(built)}: {link}"
            if anchor and target in pages:
                assert anchor in pages[target].anchors, f"{path.relative_to(built)}: {link}"
            n_links += 1
    assert n_links > 5_000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_site_loads_nothing_from_another_server(built: Path) -> None:
    loaded = []
    for path in built.rglob("*.html"):
        loaded += Addresses(path.read_text()).loaded
    assert len(loaded) > 500
    assert [address for address in loaded if re.match(r"(https?:)?//", address)] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_the_pages(built: Path, browser: Any, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = browser.new_context(bypass_csp=True, color_scheme=theme).new_page()
    names = (
        "index",
        "quickstart",
        "reference/tasks",
        "notebooks/4_heart_sounds",
        "notebooks/7_my_image_encoder",  # data frames, wider than the page
        "methods",  # a table with an empty corner
        "api/etab.metrics",
        "../search",
    )
    for name in names:
        page.goto((built / "docs" / f"{name}.html").as_uri())
        report = axe.Axe().run(page).response["violations"]
        assert [(v["id"], [n["html"][:160] for n in v["nodes"]][:3]) for v in report] == [], name
    page.context.close()


def test_empty_heads_and_outputs_of_notebooks_are_made_accessible() -> None:
    frame = '<div class="output text_html"><table><tr><th></th><th>kind</th></tr></table></div>'
    assert site.accessible(frame) == (
        '<div class="output text_html" tabindex="0">'
        "<table><tr><td></td><th>kind</th></tr></table></div>"
    )
    assert site.accessible('<th class="head"><p></p></th>') == "<td></td>"
    kept = '<th class="head"><p>value</p></th>'
    assert site.accessible(kept) == kept


_SIGNATURE = re.compile(r'<dt class="sig .*?</dt>', re.DOTALL)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_signatures_are_code_and_no_constant_fills_a_page(built: Path) -> None:
    n_signatures = 0
    for page in (built / "docs" / "api").glob("*.html"):
        for signature in _SIGNATURE.findall(page.read_text()):
            text = html.unescape(re.sub(r"<[^>]+>", "", signature))
            n_signatures += 1
            for sign in ("<factory>", "<function", " at 0x", "ForwardRef", "~collections"):
                assert sign not in text, f"{page.name}: {text[:300]}"
            if "(" not in text.partition("=")[0]:  # a constant, not a function
                assert len(text) < 400, f"{page.name}: {text[:300]}"
    assert n_signatures > 1_000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_reference_notebooks_and_pages_are_on_the_site(built: Path) -> None:
    api = (built / "docs" / "api" / "index.html").read_text()
    for name in set(etab.__all__) - {"__version__", "ETAB_dataset"}:
        assert f'<span class="pre">{name}</span>' in api, name
    assert 'id="etab.metrics.inference.paired_test"' in (
        built / "docs" / "api" / "etab.metrics.html"
    ).read_text().replace("&quot;", '"')
    notebooks = sorted((built / "docs" / "notebooks").glob("*.html"))
    assert len(notebooks) == len(list((site.ROOT / "docs" / "notebooks").glob("*.ipynb")))
    assert "<img" in (built / "docs" / "notebooks" / "4_heart_sounds.html").read_text()
    assert "pip install . &amp;&amp; etab demo" in re.sub(
        r"<[^>]+>", "", (built / "docs" / "quickstart.html").read_text()
    )
    redirect = (built / "index.html").read_text()
    assert "docs/index.html" in redirect


def test_every_package_has_a_page_of_reference() -> None:
    names = site.packages()
    folders = {path.parent for path in (site.ROOT / "etab").rglob("__init__.py")}
    moved = ("etab.baselines", "etab.utils", "etab.benchmarks", "etab.scores")
    for folder in folders:
        name = ".".join(folder.relative_to(site.ROOT).parts)
        assert (name in names) != (name == "etab" or name.startswith(moved)), name
    for name in names:
        importlib.import_module(name)


def test_a_site_is_not_written_over_other_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty"):
        site.build(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_boards_are_of_published_results() -> None:
    for _, arguments in site.BOARDS.values():
        assert (site.ROOT / arguments[0]).is_dir()


def test_each_board_names_its_own_subgroups() -> None:
    for name, (_, arguments) in site.BOARDS.items():
        kept = arguments[arguments.index("--subgroups") + 1]
        assert Path(kept).name == f"{name}.json"


@pytest.mark.parametrize(
    ("name", "folder", "count"),
    [
        ("camus", "results", 156),
        ("heart_sounds", "results_sounds_full", 54),
        ("heart_sounds_small", "results_sounds", 119),
    ],
)
def test_kept_subgroups_are_of_the_published_predictions(
    name: str, folder: str, count: int
) -> None:
    root = site.ROOT / "benchmarks"
    kept = json.loads((root / f"pages/subgroups/{name}.json").read_text())["cells"]
    assert len(kept) == count
    for cell in kept:
        (of_cell,) = (root / folder).glob(f"*/{cell['task']}/{slug(cell['backbone'])}")
        stated = (f'"predictions_sha256": "{cell["predictions_sha256"]}"').encode()
        assert any(stated in record.read_bytes() for record in of_cell.glob("*.json")), of_cell


def test_a_page_of_tables_leads_to_its_board(tmp_path: Path) -> None:
    site._copy_pages(tmp_path / "source")
    pages = tmp_path / "source" / "docs" / "reference"
    linked = {
        name
        for page in pages.glob("leaderboard*.md")
        for name in re.findall(r'href="\.\./\.\./boards/(\w+)/index\.html"', page.read_text())
    }
    assert linked == set(site.BOARDS)
