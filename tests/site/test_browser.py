"""The site in a real browser: sorting, filters, weights, address, export, keyboard, accessibility."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from etab.leaderboard.board import Board

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        reason = "needs playwright and a chromium on PATH (Debian: apt install chromium)"
        if os.environ.get("ETAB_BROWSER_REQUIRED"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, site: Path) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1400, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    faults: list[str] = []
    opened.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else 0)
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on(
        "request",
        lambda r: None if r.url.startswith((site.as_uri(), "blob:")) else faults.append(r.url),
    )
    yield opened
    context.close()
    assert faults == []


def open_board(page: Any, site: Path, address: str = "") -> None:
    page.goto("about:blank")
    page.goto(f"{(site / 'index.html').as_uri()}{address}")
    page.wait_for_selector("html[data-loaded]")


def names(page: Any) -> list[str]:
    return list(page.locator("#table tbody:first-of-type .names a").all_inner_texts())


def test_the_page_ranks_as_the_board_does(page: Any, site: Path, site_board: Board) -> None:
    open_board(page, site)
    found = page.evaluate(
        "() => { const r = ETAB.ranking(); return ETAB.data.noise.rows.map(n => r.rows.get(n)); }"
    )
    for row, now in zip(site_board.rows, found, strict=True):
        assert (now["rank_low"], now["rank_high"]) == (row.rank_low, row.rank_high)
        assert now["etab"] == pytest.approx(row.etab, abs=1e-5)
        assert now["encoder_low"] == pytest.approx(row.encoder_low, abs=1e-3)


def test_sorting_and_filters(page: Any, site: Path) -> None:
    open_board(page, site)
    page.click("#table [data-key=backbone] button")
    assert page.get_attribute("#table [data-key=backbone]", "aria-sort") == "ascending"
    assert names(page) == sorted(names(page), key=str.lower)
    page.select_option("#f-kind", "control")
    assert names(page) == ["pixel_pca"]
    page.fill("#q", "no such name")
    assert names(page) == []
    page.click("#reset")
    assert len(names(page)) == 5


def test_weights_rank_again_and_stay_in_the_address(page: Any, site: Path) -> None:
    open_board(page, site)
    before = page.locator("#table td.strong").all_inner_texts()
    page.click("#weights summary")
    slider = page.locator("#weight-list input[type=range]").first
    slider.focus()
    slider.press("End")
    page.wait_for_function("location.hash.includes('weights')")
    after = page.locator("#table td.strong").all_inner_texts()
    assert after != before
    address = page.evaluate("location.hash")
    open_board(page, site, address)
    assert page.locator("#table td.strong").all_inner_texts() == after
    assert page.is_visible("#reweighted")


def test_an_export_holds_the_view_and_no_formula(page: Any, site: Path) -> None:
    open_board(page, site)
    page.click("#export summary")
    for ending in ("csv", "json", "md", "tex"):
        with page.expect_download() as download:
            page.click(f"[data-export={ending}]")
        text = Path(download.value.path()).read_text(encoding="utf-8")
        assert "strong" in text
        assert "\x1b" not in text
        assert "\u202e" not in text
        if ending == "csv":
            rows = list(csv.reader(io.StringIO(text)))
            assert len(rows) == 6
            assert not [cell for row in rows for cell in row if cell[:1] in ("=", "@", "+")]


def test_the_keyboard_reaches_the_table(page: Any, site: Path) -> None:
    open_board(page, site)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.click("#columns summary")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.parentElement.id") == "columns"
    assert not page.evaluate("document.getElementById('columns').open")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(browser: Any, site: Path, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    # axe itself writes inline styles, which the policy of the pages forbids.
    page = browser.new_context(bypass_csp=True).new_page()
    inner = [
        sorted((site / folder).glob("*.html"))[0].relative_to(site)
        for folder in ("task", "backbone")
    ]
    for name in ("index.html", "compare.html", *map(str, inner)):
        page.goto("about:blank")
        page.goto(f"{(site / name).as_uri()}?theme={theme}")
        page.wait_for_load_state("load")
        report = axe.Axe().run(page).response["violations"]
        assert [(v["id"], [n["html"][:160] for n in v["nodes"]][:3]) for v in report] == [], name
    page.context.close()


@pytest.mark.parametrize("width", [420, 1400])
def test_nothing_is_cut(page: Any, site: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for path in sorted(site.rglob("*.html")):
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
