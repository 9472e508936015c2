"""The site as readers use it: pictures, keys alone, hostile names, and a second look at each page."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from etab import datasets
from etab.leaderboard.board import Board
from etab.leaderboard.page import board_page
from etab.metrics.clinical import worst_subgroup
from etab.site.write import write_site
from etab.storage.text import printable
from etab.tasks.menu import TASKS
from tests.site.conftest import made_subgroups, open_board
from tests.site.hostile import ALL, IDS, hostile_board, is_harmless

pytestmark = pytest.mark.slow

TABS = ("scores", "ranks", "wins", "difference", "size", "robustness", "subgroups")


@pytest.fixture(scope="module", params=ALL, ids=IDS)
def hostile(
    site_board: Board, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    board = hostile_board(site_board, request.param)
    names = list(request.param.values())
    holders = {row.backbone: tuple(names[:3]) for row in board.rows}
    write_site(board, datasets.cards(), folder, folders=holders, subgroups=made_subgroups(board))
    return folder


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_picture_is_drawn_and_axe_finds_nothing(
    browser: Any, hostile: Path, theme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = browser.new_context(bypass_csp=True).new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(f"{(hostile / 'index.html').as_uri()}?theme={theme}")
    page.wait_for_selector("html[data-loaded]")
    tabs = page.locator("#picture-tabs button").evaluate_all("all => all.map(t => t.id)")
    assert tabs == [f"tab-{name}" for name in TABS]
    for tab in tabs:
        page.click(f"#{tab}")
        page.wait_for_selector(f"#picture[aria-labelledby={tab}] svg")
        report = axe.Axe().run(page, context="#pictures").response["violations"]
        assert [(v["id"], [n["html"][:160] for n in v["nodes"]][:3]) for v in report] == [], tab
    assert faults == []
    page.context.close()


def test_subgroups_are_chosen_by_task_and_fact(page: Any, site: Path, site_board: Board) -> None:
    open_board(page, site, "#picture=subgroups")
    page.locator("#picture").scroll_into_view_if_needed()
    page.wait_for_selector("#picture .seriesdot")
    assert (
        page.locator("#picture .seriesdot").count() == 2 * 10
    )  # the row without a rank is left out
    assert "male, 55 patients" in page.inner_text("#picture .key")
    page.get_by_role("button", name="age", exact=True).click()
    cells = page.locator("#worst-groups tbody tr").first.locator("td").all_inner_texts()
    worst = worst_subgroup("mae", made_subgroups(site_board)["strong", "b0-A4-C"])
    assert worst is not None
    assert cells == [worst.name, "7.00", "6.00 to 8.00", "55"]  # the worse ones have fewer than 50
    page.wait_for_function("() => document.querySelectorAll('#picture .seriesdot').length === 10")
    assert page.locator("#picture .seriesline").count() == 0


_FOCUSED = """
() => {
  const e = document.activeElement;
  const style = getComputedStyle(e);
  const box = e.getBoundingClientRect();
  return { page: e === document.body, box: [box.width, box.height],
           ring: style.outlineStyle !== 'none', what: e.outerHTML.slice(0, 120) };
}
"""
# What a reader can act on: shown, not closed away, and not one of a group that arrows walk.
_ACTED_ON = """
() => [...document.querySelectorAll('a[href], button, input, select, summary')].filter(e =>
  e.checkVisibility({ contentVisibilityAuto: true, visibilityProperty: true }) && e.tabIndex >= 0 &&
  (e.tagName === 'SUMMARY' || !e.closest('details:not([open])'))).map(e => e.outerHTML.slice(0, 120))
"""


@pytest.mark.parametrize("name", ["index.html", "compare.html", "backbone/strong.html"])
def test_tab_reaches_everything_and_shows_where_it_is(page: Any, site: Path, name: str) -> None:
    page.goto((site / name).as_uri())
    page.wait_for_load_state("load")
    page.wait_for_timeout(300)
    wanted = page.evaluate(_ACTED_ON)
    reached: list[str] = []
    for _ in range(2 * len(wanted) + 40):
        page.keyboard.press("Tab")
        focused = page.evaluate(_FOCUSED)
        if focused["page"]:
            break
        assert min(focused["box"]) > 0, focused["what"]
        assert focused["ring"], focused["what"]
        reached.append(focused["what"])
    assert sorted(set(wanted) - set(reached)) == []


def test_a_board_is_read_with_keys_alone(page: Any, site: Path) -> None:
    open_board(page, site)
    # Of the tabs, Tab reaches one and arrows the others, also before their picture is drawn.
    reached = page.locator("#picture-tabs button").evaluate_all(
        "all => all.filter(tab => tab.tabIndex === 0).length"
    )
    assert reached == 1
    page.focus("#table [data-key=backbone] button")
    page.keyboard.press("Enter")
    assert page.get_attribute("#table [data-key=backbone]", "aria-sort") == "ascending"
    assert page.evaluate("document.activeElement.closest('[data-key]').dataset.key") == "backbone"
    page.focus("#weights summary")
    page.keyboard.press("Enter")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.type") == "range":
            break
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**weights**")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.parentElement.id") == "weights"
    page.focus("#tab-scores")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#tab-ranks", "aria-selected") == "true"
    page.focus("#table tbody .names a")
    page.keyboard.press("Enter")
    page.wait_for_url("**/backbone/**")


def test_a_preset_of_weights_leaves_its_sheet_open(page: Any, site: Path) -> None:
    open_board(page, site)
    page.click("#weights summary")
    page.get_by_role("button", name="Only cardiac function").click()
    assert page.evaluate("document.getElementById('weights').open")
    assert page.evaluate("document.activeElement.textContent") == "Only cardiac function"
    page.click("h1")
    assert not page.evaluate("document.getElementById('weights').open")


def test_hostile_names_do_nothing_on_any_page(page: Any, hostile: Path) -> None:
    page.set_viewport_size({"width": 420, "height": 900})
    for path in sorted(hostile.rglob("*.html")):
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        page.wait_for_timeout(50)
        assert page.evaluate("window.pwned") is None, path
        assert page.locator("img[src=x], svg[onload], [onerror]").count() == 0, path
        assert page.evaluate("document.documentElement.scrollWidth") <= 420, path
        text = page.evaluate("document.title + document.body.innerText")
        assert is_harmless(text.replace("\n", " ").replace("\t", " ")), path


# Commands that an export may hold, and signs that pdfLaTeX sets without a package.
_COMMANDS = (
    r"begin\{tabular\}|end\{tabular\}|multicolumn|textbf|hline|textbackslash|textasciicircum|"
    r"textasciitilde|textless|textgreater|textbar|ldots"
)
_PLAIN = re.compile(r"[ -~\n\u00a1-\u00ff–—‘’“”…]*")
_UNKNOWN_TO_OT1 = set("«»ÐÞðþ")


def latex_faults(text: str) -> list[str]:
    """Reasons for which LaTeX would not set a table, or would read a name as something else."""
    faults = []
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    for line in lines:
        plain = re.sub(rf"\\(?:{_COMMANDS})(?![a-z])|\\[{{}}$&#%_]|\\\\$|\$-\$(?=[\d.])", "", line)
        depth = 0
        for sign in plain:
            depth += {"{": 1, "}": -1}.get(sign, 0)
            if depth < 0:
                break
        if depth or re.search(r"[\\$#%_^~<>|]", plain):
            faults.append(line)
        if not _PLAIN.fullmatch(line) or _UNKNOWN_TO_OT1 & set(line) or len(line) > 20_000:
            faults.append(line)
    rows = [line for line in lines if line.endswith("\\\\") and "multicolumn" not in line]
    if len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) != 1:
        faults.append("rows of different lengths")
    return faults


def compiled(text: str, folder: Path) -> int:
    """How pdfLaTeX ends on a table."""
    (folder / "leaderboard.tex").write_text(text, encoding="utf-8")
    (folder / "page.tex").write_text(
        "\\documentclass{article}\\usepackage{graphicx}\\begin{document}"
        "\\resizebox{\\linewidth}{!}{\\input{leaderboard}}\\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True).returncode


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_of_hostile_names_compiles(page: Any, hostile: Path, tmp_path: Path) -> None:
    open_board(page, hostile)
    page.click("#export summary")
    with page.expect_download() as download:
        page.click("[data-export=tex]")
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert compiled(text, tmp_path) == 0
    broken = text.replace("\\_", "_").replace("\\hline", "\\hlime", 1)
    assert compiled(broken, tmp_path) != 0
    assert latex_faults(broken) != []


def test_exports_of_hostile_names_are_harmless(page: Any, hostile: Path) -> None:
    open_board(page, hostile)
    page.click("#export summary")
    for ending in ("csv", "json", "md", "tex"):
        with page.expect_download() as download:
            page.click(f"[data-export={ending}]")
        text = Path(download.value.path()).read_text(encoding="utf-8")
        assert is_harmless(text.replace("\n", " ")), ending
        if ending == "md":
            assert "<script" not in text
            assert "<img" not in text
            assert "](javascript" not in text
        if ending == "tex":
            assert "\\input{" not in text
            assert not re.search(r"\\\\\s*[\[*]", text)  # options of the end of a row
            assert latex_faults(text) == []
        if ending == "csv":
            assert not re.search(r"[;,\n]\s*[=+@]", text)


def test_names_are_cleaned_as_everywhere_else(page: Any, site: Path) -> None:
    page.goto((site / "index.html").as_uri())
    names = [name for names in ALL for name in names.values()]
    cleaned = page.evaluate("names => names.map(name => ETAB.clean(name))", names)
    assert cleaned == [printable(name) for name in names]


def test_names_of_what_every_object_has_are_names_like_others(
    page: Any, site_board: Board, tmp_path: Path
) -> None:
    names = [
        "__proto__",
        "constructor",
        "hasOwnProperty",
        "toString",
        "valueOf",
        "__defineGetter__",
        "__lookupGetter__",
        "isPrototypeOf",
        "propertyIsEnumerable",
    ]
    board = hostile_board(site_board, {name: name for name in names})
    folder = tmp_path / "site"
    write_site(board, datasets.cards(), folder, subgroups=made_subgroups(board))
    open_board(page, folder)
    ranked = page.evaluate("ETAB.data.board.rows.filter(row => row.now.place != null).length")
    for tab, mark in (("robustness", ".dot, .ring"), ("subgroups", ".seriesdot")):
        page.click(f"#tab-{tab}")
        page.wait_for_selector(f"#picture[aria-labelledby=tab-{tab}] svg")
        assert page.locator("#picture svg").locator(mark).count() >= ranked, tab
    groups = page.evaluate("Object.keys(ETAB.data['subgroups/b0-A4-C'].rows)")
    assert set(names) <= {*groups, *(row.backbone for row in board.rows)}
    assert "__proto__" in groups


def test_merged_folders_are_named_searched_and_shown_as_a_column(
    page: Any, site_board: Board, tmp_path: Path
) -> None:
    holders = {row.backbone: ("mine",) for row in site_board.rows}
    holders["strong"] = ("mine", "theirs")
    folder = tmp_path / "merged"
    write_site(replace(site_board), datasets.cards(), folder, folders=holders)
    open_board(page, folder)
    assert page.locator("#table thead [data-key=folder]").count() == 1
    page.fill("#q", "theirs")
    assert page.locator("#table tbody:first-of-type tr").count() == 1
    assert "mine, theirs" in page.inner_text("#table tbody:first-of-type tr")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_the_single_page(
    browser: Any, site_board: Board, tmp_path: Path, theme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    path = tmp_path / "page.html"
    path.write_text(board_page(site_board, datasets.cards()), encoding="utf-8")
    page = browser.new_context(bypass_csp=True, color_scheme=theme).new_page()
    page.goto(path.as_uri())
    report = axe.Axe().run(page).response["violations"]
    assert [(v["id"], [n["html"][:160] for n in v["nodes"]]) for v in report] == []
    page.context.close()


@pytest.mark.parametrize("width", [420, 1400])
def test_the_single_page_answers_a_reader_in_words(
    page: Any, site_board: Board, tmp_path: Path, width: int
) -> None:
    file = tmp_path / "board.html"
    file.write_text(board_page(site_board, datasets.cards()))
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(file.as_uri())
    first, *others = page.locator("#answers dd").all_inner_texts()
    assert first.startswith("strong")
    assert len(others) == 3
    for code in site_board.suite.tasks:
        head = page.locator(f'#board th[data-key="{code}"]').inner_text()
        assert TASKS[code].title in " ".join(head.split())
    lines = [" ".join(text.split()) for text in page.locator("#reliability th").all_inner_texts()]
    assert {f"{code} {TASKS[code].title}" for code in site_board.suite.tasks} <= set(lines)
    # Commands are set as such, and no mark is left.
    assert page.locator("#tasks code").count() > 0
    assert "`" not in page.locator("#tasks").inner_text()
    is_broken = page.locator(".name wbr").first.evaluate("mark => getComputedStyle(mark).display")
    assert is_broken == ("inline" if width == 420 else "none")
    assert page.evaluate("() => document.documentElement.scrollWidth") == width
