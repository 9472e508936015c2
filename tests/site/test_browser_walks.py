"""Three walks of a reader over the published boards, by clicks alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from etab.leaderboard.board import Board
from etab.leaderboard.ranking import rank_folder
from etab.leaderboard.suites import suite_named
from tests.commands import ROOT, etab
from tests.site.conftest import open_board

pytestmark = pytest.mark.slow

SIZES = {"at most 10 M": 10e6}
EF = "b0-A4-C"


@pytest.fixture(scope="module")
def camus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("camus") / "site"
    ended = etab("leaderboard", ROOT / "benchmarks/results", "--suite", "camus", "--html", site)
    assert ended.returncode == 0, ended.stderr
    return site


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("sounds") / "site"
    folder = ROOT / "benchmarks/results_sounds_full"
    ended = etab("leaderboard", folder, "--suite", "sounds", "--html", site)
    assert ended.returncode == 0, ended.stderr
    return site


@pytest.fixture(scope="module")
def sounds_board() -> Board:
    return rank_folder(ROOT / "benchmarks/results_sounds_full", suite_named("sounds"))


def test_the_best_small_encoder_for_ef_and_its_licence(page: Any, camus: Path) -> None:
    open_board(page, camus)
    heads = page.locator("#table thead th", has_text="ejection fraction, A4C")
    assert heads.count() == 1  # a reader finds EF without knowing its code
    page.get_by_role("combobox", name="Kind").select_option("pretrained")
    page.get_by_role("combobox", name="Parameters").select_option(label="at most 10 M")
    heads.get_by_role("button").click()
    assert heads.get_attribute("aria-sort") == "ascending"  # an error: the lowest is the best
    rows = page.evaluate(
        "ETAB.data.board.rows.filter(r => r.kind === 'pretrained' && r.card.params <= 10e6)"
        f".map(r => [r.cells['{EF}'][0], r.backbone, r.card.licence]).sort((a, b) => a[0] - b[0])"
    )
    first = page.locator("#table tbody:first-of-type tr").first
    assert first.locator(".names a").inner_text() == rows[0][1]
    assert first.locator("td.card", has_text=rows[0][2]).count() == 1
    first.locator(".names a").click()
    page.wait_for_url("**/backbone/**")
    licence = page.locator("dt", has_text="Licence of the weights").locator("xpath=../dd")
    assert licence.inner_text() == rows[0][2]
    count = page.locator("dt", has_text="Parameters").locator("xpath=../dd").inner_text()
    assert int(count.replace(",", "")) <= SIZES["at most 10 M"]


@pytest.mark.parametrize("pair", [("mobilenetv2", "silero_vad"), ("mel_stats", "mobilenetv2")])
def test_whether_one_beats_the_other_on_heart_sounds(
    page: Any, sounds: Path, sounds_board: Board, pair: tuple[str, str]
) -> None:
    open_board(page, sounds)
    for name in pair:
        page.get_by_label(f"Choose {name} for a comparison", exact=True).check()
    page.get_by_role("link", name="Compare the two").click()
    page.wait_for_url("**/compare.html**")
    page.wait_for_selector("html[data-ready]")
    verdict = page.inner_text("#verdict")
    names = [row.backbone for row in sounds_board.rows if row.ranked]
    i, j = (names.index(name) for name in pair)
    etab_of = {row.backbone: row.etab for row in sounds_board.rows}
    if sounds_board.beats[i][j] or sounds_board.beats[j][i]:
        better, other = sorted(pair, key=lambda name: -etab_of[name])
        assert verdict.startswith(f"{better} is better than {other} on this board")
    else:
        assert verdict.startswith(f"{pair[0]} and {pair[1]} are not told apart on this board")
    is_bold = page.locator("#by-part tbody tr").first.locator(".strong").count() > 0
    assert is_bold == (sounds_board.beats[i][j] or sounds_board.beats[j][i])
    stated = re.search(rf"minus that of {pair[1]}: (-?[\d.]+) ± ([\d.]+)", verdict)
    assert stated is not None
    assert float(stated[1]) == pytest.approx(etab_of[pair[0]] - etab_of[pair[1]], abs=6e-4)
    assert float(stated[2]) == pytest.approx(sounds_board.encoder_half[i][j], abs=6e-4)
    parts = page.locator("#by-part tbody tr th").all_inner_texts()
    assert parts == ["ETAB", "heart-sound structure", "auscultation"]
    assert page.locator("#by-task tbody tr").count() == 5
    assert page.locator("#apart tbody tr").count() == 10  # where they disagree most
    # Of 3,240 recordings: whole numbers have commas.
    page.select_option("#agreement-task", "f0-PH-N")
    page.wait_for_selector("#closer:has-text('3,')")
    assert re.search(r"\d{4}", page.inner_text("#closer")) is None


def test_what_decided_classes_add_is_in_the_intervals_of_the_page(
    page: Any, sounds: Path, sounds_board: Board
) -> None:
    """Ranked again by the page, scores of heart sounds have the intervals of the board."""
    open_board(page, sounds)
    # At the weights of the board the page shows the numbers of the board; its own are in its ranking.
    rows = dict(page.evaluate("[...ETAB.ranking().rows]"))
    for row in sounds_board.rows:
        if row.ranked:
            now = rows[row.backbone]
            assert now["encoder_low"] == pytest.approx(row.encoder_low, abs=2e-5)
            assert now["encoder_high"] == pytest.approx(row.encoder_high, abs=2e-5)


def test_the_board_is_cited_as_of_a_version(page: Any, camus: Path, sounds: Path) -> None:
    cited = []
    for site in (camus, sounds):
        open_board(page, site)
        page.get_by_role("navigation").get_by_role("link", name="Cite").click()
        page.wait_for_function(
            "() => document.getElementById('cite').getBoundingClientRect().top < innerHeight"
        )
        text = page.inner_text("#citation")
        page.get_by_role("button", name="Copy the citation").click()
        # Where the browser lets no page write to the clipboard, the button says what to do.
        page.wait_for_function(
            "() => ['Copied', 'Copy it from the box above'].includes("
            "document.querySelector('[data-copy=citation]').textContent)"
        )
        for part in (
            r"etab \d+\.\d+",
            r"suite \w+ version \d+",
            r"protocol cv5x5, seed 0",
            r"Data: \w+ [0-9a-f]{12}",
        ):
            assert re.search(part, text), part
        digest = re.search(r"Results: ([0-9a-f]{12})\.", text)
        assert digest is not None
        cited.append(digest[1])
    assert len(set(cited)) == 2


def test_pages_of_tasks_show_what_is_published_elsewhere(page: Any, camus: Path) -> None:
    page.goto((camus / "task" / f"{EF}.html").as_uri())
    published = page.get_by_role("region", name="Published elsewhere").locator("tbody tr")
    known = page.evaluate(f"ETAB.data.board.published.filter(r => r.values['{EF}'] != null)")
    assert len(known) >= 3
    assert published.locator("th").all_inner_texts() == [row["who"] for row in known]
    page.goto((camus / "task" / "c0-AX-C.html").as_uri())
    assert page.get_by_text("Published elsewhere").count() == 0


@pytest.mark.parametrize("board", ["camus", "sounds"])
def test_every_picture_of_a_published_board_shows_its_rows(
    page: Any, camus: Path, sounds: Path, board: str
) -> None:
    site = {"camus": camus, "sounds": sounds}[board]
    open_board(page, site)
    tabs = page.locator("#picture-tabs button").evaluate_all("all => all.map(t => t.id)")
    assert len(tabs) >= 6
    for tab in tabs:
        page.click(f"#{tab}")
        page.wait_for_selector(f"#picture[aria-labelledby={tab}] svg")
        shapes = page.locator("#picture svg").locator("circle, rect, .whisker, .clique").count()
        assert shapes >= 2, tab
    # Each row has a circle for each division, also where one task has a single division.
    ranked = page.evaluate("ETAB.data.board.rows.filter(row => row.now.place != null).length")
    page.click("#tab-robustness")
    page.wait_for_selector("#picture .ring")
    assert page.locator("#picture .ring").count() == 5 * ranked
    # Lines and kinds of rows are explained where the board has them: the sounds have no random twins.
    page.click("#tab-scores")
    page.wait_for_selector("#picture[aria-labelledby=tab-scores] svg")
    for words in (page.inner_text("#picture"), page.inner_text("#legend")):
        assert "best control" in words
        assert ("random twin" in words) == (board == "camus")
