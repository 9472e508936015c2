"""Views of a site in a browser: addresses that keep them whole, exports of what is shown, narrow screens."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from etab import datasets
from etab.leaderboard.board import Board
from etab.site.examples import Example
from etab.site.write import write_site
from tests.site.conftest import open_board

pytestmark = pytest.mark.slow

_VIEW = """
() => ({
  rows: [...document.querySelectorAll('#table tbody:first-of-type tr')].map(row => row.innerText),
  heads: [...document.querySelectorAll('#table thead th')].map(head => head.innerText),
  sorted: [...document.querySelectorAll('#table [aria-sort]')].map(head => head.dataset.key),
  filters: [...document.querySelectorAll('.tools select, #q')].map(one => one.value),
  weights: [...document.querySelectorAll('#weight-list input')].map(one => one.value),
  picked: [...document.querySelectorAll('.pick:checked')].map(one => one.ariaLabel),
  tab: document.querySelector('#picture-tabs [aria-selected=true]').textContent,
  pressed: [...document.querySelectorAll('#picture [aria-pressed=true]')].map(one => one.textContent),
})
"""


def settled(page: Any) -> str:
    """The address, once it has been written."""
    page.wait_for_timeout(400)
    return str(page.evaluate("location.hash"))


def test_an_address_keeps_the_whole_view(page: Any, site: Path) -> None:
    open_board(page, site)
    page.select_option("#f-kind", "pretrained")
    page.fill("#q", "n")
    page.select_option("#values", "anchored")
    page.click("#columns summary")
    page.get_by_label("Family", exact=True).last.check()
    page.get_by_label("Licence", exact=True).last.uncheck()
    page.keyboard.press("Escape")
    page.click("#table [data-key=backbone] button")
    page.click("#weights summary")
    page.locator("#weight-list input[type=range]").nth(1).press("Home")
    page.keyboard.press("Escape")
    for pick in page.locator(".pick").all()[:2]:
        pick.check()
    page.click("#tab-subgroups")
    page.wait_for_selector("#picture .seriesdot")
    page.locator("#picture").get_by_role("button", name="age", exact=True).click()
    page.wait_for_function(
        "() => document.querySelector('#picture [aria-pressed=true]').textContent === 'age'"
    )
    address = settled(page)
    view = page.evaluate(_VIEW)
    open_board(page, site, address)
    page.locator("#picture").scroll_into_view_if_needed()
    page.wait_for_selector("#picture .seriesdot")
    assert page.evaluate(_VIEW) == view
    assert settled(page) == address
    assert page.locator("#unfit").is_hidden()
    assert len(view["picked"]) == 2
    assert view["pressed"] == ["age"]
    page.click("#reset")
    assert settled(page) == ""
    assert page.evaluate(_VIEW)["tab"] == "Scores"
    page.evaluate("address => { location.hash = address }", address)  # a link within the page
    page.locator("#picture").scroll_into_view_if_needed()  # a picture is drawn when it is seen
    page.wait_for_function(
        "() => document.querySelector('#picture [aria-pressed=true]')?.textContent === 'age'"
    )
    assert page.evaluate(_VIEW) == view


def copied_link(page: Any) -> str:
    """What the button copies, where the browser lets the page write to the clipboard or not."""
    page.evaluate(
        "() => { Object.defineProperty(navigator, 'clipboard', { configurable: true, value:"
        " { writeText: async text => { window.copied = text } } }) }"
    )
    page.click("#link")
    page.wait_for_function("() => window.copied")
    return str(page.evaluate("window.copied"))


def theme(page: Any) -> str:
    return str(page.evaluate("document.documentElement.dataset.theme ?? 'system'"))


@pytest.mark.parametrize("name", ["index.html#kind=pretrained", "compare.html#a=strong&b=twin_a"])
def test_a_copied_link_has_the_theme_that_was_chosen(page: Any, site: Path, name: str) -> None:
    start = f"{site.as_uri()}/{name}"
    page.goto(start)
    page.wait_for_selector("html[data-ready]")
    settled(page)
    assert "theme" not in copied_link(page)  # nothing was chosen: each reader has the own one
    while theme(page) != "dark":
        page.click("#theme")
    assert "theme" not in page.url  # the address bar leaves it to whoever opens it
    link = copied_link(page)
    file, _, view = page.url.partition("#")
    digest = page.evaluate("ETAB.data.board.digest")
    assert link == f"{file}?theme=dark#{view}&board={digest}"
    fresh = page.context.browser.new_context().new_page()
    fresh.goto(link)
    fresh.wait_for_selector("html[data-ready]")
    assert theme(fresh) == "dark"
    assert settled(fresh) == f"{settled(page)}&board={digest}"
    # Pages that are opened from it keep the theme, and the button changes it for good.
    fresh.locator("nav a").first.click()
    fresh.wait_for_selector("html[data-ready]")
    assert theme(fresh) == "dark"
    fresh.goto(link)
    fresh.click("#theme")
    assert "theme" not in fresh.url
    fresh.reload()
    assert theme(fresh) == "system"
    fresh.context.close()


@pytest.mark.parametrize("name", ["index.html", "compare.html"])
def test_a_link_to_other_results_says_so(page: Any, site: Path, name: str) -> None:
    note = page.locator("#other-board")
    address = f"{site.as_uri()}/{name}"
    page.goto(address)
    page.wait_for_selector("html[data-ready]")
    link = copied_link(page)
    assert note.is_hidden()
    for opened, is_told in ((link, False), (f"{address}#kind=control&board=0123456789ab", True)):
        page.goto("about:blank")
        page.goto(opened)
        page.wait_for_selector("html[data-ready]")
        assert note.is_visible() == is_told
        digest = opened.rpartition("=")[2]
        page.select_option("#f-kind" if name == "index.html" else "#b", index=1)
        assert f"board={digest}" in settled(page)  # it stays while the view changes
    assert "0123456789ab" in note.inner_text()
    if name == "index.html":
        page.click("#reset")
        assert note.is_hidden()


def test_what_is_cited_has_a_link_beside_it(page: Any, site: Path) -> None:
    open_board(page, site, "#kind=control")
    digest = page.evaluate("ETAB.data.board.digest")
    assert f"Results: {digest}." in page.inner_text("#citation")
    copied_link(page)  # the clipboard of the page is a variable from now on
    page.get_by_role("button", name="Copy a link to this view").click()
    page.wait_for_function("() => window.copied.includes('#')")
    assert page.evaluate("window.copied").endswith(f"#kind=control&board={digest}")


def names_of(page: Any) -> list[str]:
    return page.locator("#table tbody:first-of-type .names a").all_inner_texts()


def test_a_column_is_chosen_by_its_words(page: Any, site: Path, site_board: Board) -> None:
    """A reader who knows no code sorts by a task, and is told who is first on it and how sure."""
    code = "b0-A4-C"
    open_board(page, site, f"#columns=-{code}")
    leader = page.locator("#leader")
    assert leader.is_hidden()
    page.get_by_role("combobox", name="Sort by").select_option(
        label=f"ejection fraction, A4C ({code})"
    )
    head = page.locator(f"#table thead [data-key={code}]")
    assert head.get_attribute("aria-sort") == "ascending"  # a hidden column comes back
    ranked = {row.backbone: row.cells[code].value for row in site_board.rows if row.ranked}
    best = min(ranked, key=lambda name: ranked[name])
    text = leader.inner_text()
    assert f"{best} has the best value, {ranked[best]:.2f} % points (" in text
    pairs = page.evaluate(
        """code => { const noise = ETAB.data.noise, board = ETAB.data.board;
        const ranking = new ETAB.Ranker(board, noise).rank(Object.fromEntries(board.tasks.map(t => [t.code, Number(t.code === code)])));
        return ranking.order.map((name, k) => [name, k > 0 && !ETAB.pair(ranking, 0, k).apart]) }""",
        code,
    )
    assert pairs[0][0] == best
    alike = [name for name, is_alike in pairs if is_alike]
    assert alike == [] or f"Not told apart from it on this task: {alike[0]}" in text
    page.get_by_role("combobox", name="Kind").select_option("control")
    assert "pixel_pca has the best value" in leader.inner_text()  # of the rows that are shown
    page.get_by_role("combobox", name="Kind").select_option("")
    page.get_by_role("combobox", name="Sort by").select_option(label="Name")
    assert names_of(page) == sorted(names_of(page), key=str.lower)
    assert leader.is_hidden()
    assert page.get_attribute("#table [data-key=backbone]", "aria-sort") == "ascending"


@pytest.mark.parametrize("width", [420, 700, 1000, 1120, 1280])
def test_no_field_stands_alone_in_a_row(page: Any, site: Path, width: int) -> None:
    """The search may: it is as wide as its row."""
    page.set_viewport_size({"width": width, "height": 900})
    open_board(page, site)
    tops = page.locator("[role=search] .field").evaluate_all(
        "all => all.map(field => Math.round(field.getBoundingClientRect().bottom))"
    )
    counts = [tops.count(top) for top in sorted(set(tops[1:]))]
    assert min(counts) > 1, counts
    assert len(counts) == 1 or width < 1000, counts


@pytest.mark.parametrize("width", [420, 1400])
def test_a_head_states_the_unit_and_keeps_its_code_whole(page: Any, site: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    open_board(page, site)
    head = page.locator("#table thead [data-key=b0-A4-C] button")
    assert "mae, % points ↓" in head.inner_text()
    boxes = head.locator(".code").evaluate("code => code.getClientRects().length")
    assert boxes == 1
    with page.expect_download() as waiting:
        page.click("#export summary")
        page.click("[data-export=csv]")
    assert ',"b0-A4-C mae, % points",' in waiting.value.path().read_text().splitlines()[0]


@pytest.mark.parametrize("width", [420, 1400])
def test_ticked_rows_can_be_compared_from_anywhere_in_the_table(
    page: Any, site: Path, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 420})
    open_board(page, site)
    for pick in page.locator(".pick").all()[-2:]:
        pick.check()
    assert page.evaluate("scrollY") > 300  # the rows are far below the buttons
    box = page.get_by_role("link", name="Compare the two").bounding_box()
    assert 0 <= box["y"] <= 420 - box["height"]
    page.get_by_role("link", name="Compare the two").click()
    page.wait_for_url("**/compare.html**")


def test_only_ticked_rows_are_shown_linked_and_left_again(page: Any, site: Path) -> None:
    open_board(page, site)
    assert not page.is_visible("#only")
    for name in ("strong", "twin_a", "pixel_pca"):
        page.get_by_label(f"Choose {name} for a comparison", exact=True).check()
    assert "tick two to compare" in page.inner_text("#count")
    page.click("#only")
    rows = page.locator("#table tbody:first-of-type .names a")
    assert sorted(rows.all_inner_texts()) == ["pixel_pca", "strong", "twin_a"]
    address = settled(page)
    open_board(page, site, address)
    assert rows.count() == 3
    assert page.get_attribute("#only", "aria-pressed") == "true"
    page.get_by_label("Choose strong for a comparison", exact=True).press("Space")
    assert rows.count() == 2
    assert page.evaluate("document.activeElement.className") == "pick"  # keys go on
    assert page.get_by_role("link", name="Compare the two").count() == 1
    for _ in range(2):
        page.locator(".pick:checked").first.press("Space")
    assert rows.count() == 11
    assert not page.is_visible("#only")


def shown(page: Any) -> list[list[str]]:
    """Names, and the texts of the cells of tasks, as the table shows them."""
    return page.evaluate(
        """() => [...document.querySelectorAll('#table tbody:first-of-type tr')].map(row =>
        [row.querySelector('.names a').textContent, ...[...row.cells].slice(-3).map(cell => cell.firstChild.textContent)])"""
    )


def exported(page: Any, ending: str) -> str:
    with page.expect_download() as download:
        page.click(f"[data-export={ending}]")
    return Path(download.value.path()).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "address", ["", "#sort=b0-A4-C.up&values=anchored&kind=pretrained", "#weights=a:0"]
)
def test_exports_hold_what_is_shown(page: Any, site: Path, address: str) -> None:
    open_board(page, site, address)
    wanted = shown(page)
    scores = page.locator("#table td.strong").all_inner_texts()
    page.click("#export summary")
    table = list(csv.DictReader(io.StringIO(exported(page, "csv"))))
    objects = json.loads(exported(page, "json"))["rows"]
    tasks = [head for head in table[0] if "-A" in head][-3:]
    assert len(table) == len(objects) == len(wanted)
    for line, item, (_, *cells), score in zip(table, objects, wanted, scores, strict=True):
        for head, cell in zip(tasks, cells, strict=True):
            value = item[head]
            assert float(line[head]) == value
            assert f"{value:.2f}" if abs(value) >= 2 else f"{value:.3f}" == cell
        assert (score == "–") == (item["ETAB"] is None)
        if item["ETAB"] is not None:
            assert score == f"{item['ETAB']:.3f}"
    rows = [line for line in exported(page, "md").splitlines() if line.startswith("| ")][2:]
    assert [
        row.split(" | ")[-3:] == [*cells[:2], f"{cells[2]} |"]
        for row, (_, *cells) in zip(rows, wanted, strict=True)
    ] == [True] * len(wanted)


def test_an_interval_is_exported_by_any_column_that_shows_it(page: Any, site: Path) -> None:
    heads = {}
    for columns in ("", "-interval,+probes", "-interval,+encoder", "+probes,+encoder", "-interval"):
        open_board(page, site, f"#columns={columns}" if columns else "")
        page.click("#export summary")
        heads[columns] = [
            head
            for head in exported(page, "csv").splitlines()[0].split(",")
            if head.endswith(("_low", "_high"))
        ][2:]
    probes, encoder = ["etab_low", "etab_high"], ["encoder_low", "encoder_high"]
    assert heads == {
        "": probes + encoder,
        "-interval,+probes": probes,
        "-interval,+encoder": encoder,
        "+probes,+encoder": probes + encoder,
        "-interval": [],
    }


_BEYOND = """
() => [...document.querySelectorAll('table.plain th, table.plain td, figure svg, h1, .chips li, dd, pre')]
  .filter(one => one.checkVisibility() && !one.closest('thead'))
  .filter(one => one.getBoundingClientRect().right > innerWidth + 1 && one.tagName !== 'svg' ||
                 one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0 && one.tagName === 'TD')
  .map(one => one.outerHTML.slice(0, 120))
"""


_ROLES = """
() => [...new Set([...document.querySelectorAll('table.plain :is(tr, td, th)')]
  .map(one => one.getAttribute('role')))].sort()
"""


@pytest.mark.parametrize(
    "name", ["index.html", "compare.html", "task/b0-A4-C.html", "backbone/strong.html"]
)
def test_a_narrow_screen_shows_every_cell_of_a_plain_table(
    page: Any, site: Path, name: str
) -> None:
    page.set_viewport_size({"width": 420, "height": 900})
    page.goto((site / name).as_uri())
    page.wait_for_load_state("load")
    page.wait_for_timeout(300)
    assert page.evaluate(_BEYOND) == []
    labels = page.evaluate(
        "() => [...document.querySelectorAll('table.plain tbody td')].filter(c => c.checkVisibility())"
        ".map(c => getComputedStyle(c, '::before').content)"
    )
    assert labels
    assert not {"none", "normal", '""'} & set(labels)
    roles = page.evaluate(_ROLES)
    assert roles == ["cell", "columnheader", "row", "rowheader"]


@pytest.mark.parametrize("picture", ["ranks", "difference", "wins", "subgroups"])
def test_no_picture_goes_on_beyond_a_narrow_screen(page: Any, site: Path, picture: str) -> None:
    page.set_viewport_size({"width": 420, "height": 900})
    open_board(page, site, f"#picture={picture}")
    page.evaluate("document.getElementById('picture').scrollIntoView()")
    page.wait_for_selector(f"#picture[aria-labelledby=tab-{picture}] svg")
    ends = page.evaluate("""() => {
        const right = document.getElementById('picture').getBoundingClientRect().right;
        return [...document.querySelectorAll('#picture :is(text, p, caption, td, tbody th)')]
            .map(one => one.getBoundingClientRect().right - right);
    }""")
    assert ends
    assert max(ends) <= 0


@pytest.mark.parametrize("name", ["compare.html", "task/b0-A4-C.html", "backbone/strong.html"])
def test_a_wide_screen_shows_every_column(page: Any, site: Path, name: str) -> None:
    page.goto((site / name).as_uri())
    page.wait_for_load_state("load")
    page.wait_for_timeout(300)
    assert page.locator(".wrap.goes-on").count() == 0


def test_a_table_that_goes_on_says_so_at_its_edge(page: Any, site: Path) -> None:
    page.set_viewport_size({"width": 420, "height": 900})
    open_board(page, site)
    wrap = page.locator(".wrap", has=page.locator("#table"))
    page.wait_for_function(
        "() => document.querySelector('#table').parentElement.classList.contains('goes-on')"
    )
    # Name, rank, score and its intervals are on the screen without a scroll.
    bar = page.locator("#table tbody svg").first.bounding_box()
    assert bar["x"] + bar["width"] <= 420
    wrap.evaluate("wrap => { wrap.scrollLeft = wrap.scrollWidth }")
    page.wait_for_function(
        "() => !document.querySelector('#table').parentElement.classList.contains('goes-on')"
    )


def test_the_heads_of_a_long_board_stay_while_its_rows_scroll(page: Any, site: Path) -> None:
    page.set_viewport_size({"width": 1000, "height": 600})
    open_board(page, site)
    wrap = page.locator(".wrap", has=page.locator("#table"))
    assert wrap.evaluate("wrap => wrap.scrollHeight > wrap.clientHeight + 40")
    head = page.locator("#table thead")
    before = head.bounding_box()["y"] - wrap.bounding_box()["y"]
    wrap.evaluate("wrap => { wrap.scrollTop = wrap.scrollHeight }")
    assert wrap.evaluate("wrap => wrap.scrollTop") > 40
    after = head.bounding_box()["y"] - wrap.bounding_box()["y"]
    assert after == pytest.approx(before, abs=1)


def test_clips_that_nobody_came_to_are_printed(
    page: Any, site_board: Board, tmp_path: Path
) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 300), "white").save(buffer, "webp")
    clips = [
        Example(code, case, "one", 0.5, buffer.getvalue(), (300, 40), False, False, (0,))
        for code in site_board.suite.tasks
        for case in ("best", "median", "worst")
    ]
    write_site(site_board, datasets.cards(), tmp_path, examples={"strong": clips})
    page.set_viewport_size({"width": 420, "height": 400})
    page.goto((tmp_path / "backbone" / "strong.html").as_uri())
    page.wait_for_load_state("load")
    page.wait_for_timeout(500)
    drawn = "() => [...document.images].filter(one => one.complete && one.naturalWidth).length"
    assert page.evaluate(drawn) < len(clips)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(drawn) == len(clips)
