"""The site in a browser: sorting, filters, weights, address, export, keyboard, accessibility."""

from __future__ import annotations

import csv
import io
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import stdtr

from etab import datasets
from etab.leaderboard.board import Board
from etab.leaderboard.curves import CurvePoint
from etab.leaderboard.pairs import _told_apart
from etab.leaderboard.ranking import rank
from etab.leaderboard.summary import sensitivity_words
from etab.site.write import write_site
from tests.site.conftest import FORMULAS, PEEKED, PROTOCOL, Made, open_board

pytestmark = pytest.mark.slow


def names(page: Any) -> list[str]:
    return list(page.locator("#table tbody:first-of-type .names a").all_inner_texts())


WEIGHTS: list[tuple[dict[str, float], dict[str, float]]] = [
    ({}, {}),
    ({}, {"a": 0.0}),
    ({}, {"b": 0.0, "d": 2.5}),
    ({"b0-A4-C": 0.0}, {"a": 0.0}),
    ({"b1-A4-C": 3.0, "d0-A4-C": 0.5}, {"a": 0.3}),
]


@pytest.mark.parametrize(("tasks", "categories"), WEIGHTS)
def test_the_page_ranks_as_the_board_does(
    page: Any,
    site: Path,
    made_results: Made,
    tasks: dict[str, float],
    categories: dict[str, float],
) -> None:
    folder, results, suite = made_results
    board = rank(
        results,
        suite,
        folder=folder,
        protocol=PROTOCOL,
        draws=2,
        task_weights=tasks,
        category_weights=categories,
    )
    open_board(page, site)
    page.evaluate(
        "([tasks, categories]) => ETAB.reweigh({ tasks, categories })", [tasks, categories]
    )
    rows = {row["backbone"]: row["now"] for row in page.evaluate("ETAB.data.board.rows")}
    ranking = page.evaluate(
        "() => { const r = ETAB.ranking(); return { tests: r.tests, pairs: r.pairs, apart: r.count,"
        " order: r.order, all: r.order.map((_, i) => r.order.map((_, j) => ETAB.pair(r, i, j))) } }"
    )
    ranked = [row for row in board.rows if row.ranked]
    assert PEEKED not in [row.backbone for row in ranked]
    for row in board.rows:
        now = rows[row.backbone]
        assert (now["rank_low"], now["rank_high"]) == (row.rank_low, row.rank_high), row.backbone
    for row in ranked:
        now = rows[row.backbone]
        assert now["etab"] == pytest.approx(row.etab, abs=1e-5)
        assert now["encoder_low"] == pytest.approx(row.encoder_low, abs=2e-4)
        assert now["encoder_high"] == pytest.approx(row.encoder_high, abs=2e-4)
    assert ranking["order"] == [row.backbone for row in ranked]
    assert ranking["pairs"] == board.separation.pairs
    assert ranking["apart"] == board.separation.told_apart
    digests = {row.cells["b0-A4-C"].weights_sha256 for row in ranked}
    assert ranking["tests"] == len(digests) * (len(digests) - 1) / 2
    for i, j in itertools.combinations(range(len(ranked)), 2):
        pair = ranking["all"][i][j]
        assert pair["p"] == pytest.approx(board.p_better[i][j], abs=2e-3)
        assert pair["encoder"] == pytest.approx(board.encoder_half[i][j], rel=5e-3)
        assert pair["probe"] == pytest.approx(board.probe_half[i][j], rel=5e-3)
        assert pair["apart"] == board.beats[i][j]


def test_copies_of_weights_take_the_place_of_their_first_entry(page: Any, site: Path) -> None:
    open_board(page, site)
    rng = np.random.default_rng(3)
    degrees = page.evaluate("Number(Object.keys(ETAB.data.noise.t)[0])")
    digests = ["a", "b", "a", "c", "d", "b", "a", "e"]
    n = len(digests)
    below = np.tril_indices(n, -1)
    for _ in range(40):
        ratios = np.abs(rng.normal(0, 3, len(below[0])))
        p = np.ones((n, n))
        p[below] = 2 * stdtr(degrees, -ratios)
        p.T[below] = p[below]
        wanted = _told_apart(p, digests)[below]
        verdicts = page.evaluate(
            "([ratios, digests]) => [...ETAB.toldApart(Float64Array.from(ratios), digests,"
            " Object.values(ETAB.data.noise.t)[0]).apart]",
            [ratios.tolist(), digests],
        )
        assert verdicts == wanted.astype(int).tolist()


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
    assert len(names(page)) == 11


def test_weights_rank_again_and_stay_in_the_address(page: Any, site: Path) -> None:
    open_board(page, site)
    before = page.locator("#table td.strong").all_inner_texts()
    page.click("#weights summary")
    slider = page.locator("#weight-list input[type=range]").first
    slider.focus()
    slider.press("End")
    page.wait_for_url("**weights**")
    after = page.locator("#table td.strong").all_inner_texts()
    assert after != before
    address = page.evaluate("location.hash")
    open_board(page, site, address)
    assert page.locator("#table td.strong").all_inner_texts() == after
    assert page.is_visible("#reweighted")


def test_a_slider_shows_the_weight_of_a_link(page: Any, site: Path) -> None:
    """Also one beyond the usual end of a slider, between its steps, or near 0."""
    open_board(page, site, "#weights=a:40,b:1000,a0-A4-C:7.77,b0-A4-C:0.004")
    assert page.locator("#unfit").is_hidden()
    page.click("#weights summary")

    def slider(name: str) -> Any:
        return page.locator(f"#weight-list input[aria-label*='{name}']").first

    def label(name: str) -> str:
        return str(slider(name).locator("xpath=../output").inner_text())

    categories = page.evaluate("ETAB.data.board.categories")
    for name, value, words in (
        (categories["a"], 40, "40.00"),
        (categories["b"], 1000, "1000.00"),
        ("a0-A4-C", 7.75, "7.77"),
        ("b0-A4-C", 0, "0.004"),
    ):
        assert float(slider(name).input_value()) == pytest.approx(value), name
        assert label(name) == words
        assert slider(name).get_attribute("aria-valuetext") == words
    heights = "all => all.map(one => one.getBoundingClientRect().height)"
    assert len(set(page.locator("#weight-list output").evaluate_all(heights))) == 1  # on one line
    slider("a0-A4-C").focus()
    slider("a0-A4-C").press("ArrowLeft")
    assert label("a0-A4-C") == "7.70"  # on from where it was
    page.wait_for_url("**a0-A4-C*7.7%2C**")
    slider("b0-A4-C").focus()
    slider("b0-A4-C").press("End")
    assert label("b0-A4-C") == "3.00"


def exported(page: Any, ending: str) -> str:
    with page.expect_download() as download:
        page.click(f"[data-export={ending}]")
    return Path(download.value.path()).read_text(encoding="utf-8")


def test_an_export_holds_the_view_and_no_formula(page: Any, site: Path) -> None:
    open_board(page, site, "#weights=b:2.5")
    page.click("#export summary")
    for ending in ("csv", "json", "md", "tex"):
        text = exported(page, ending)
        assert "strong" in text
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "phantom" in text.lower()
        assert "b:2.5" in text or '"b": 2.5' in text
    rows = list(csv.reader(io.StringIO(exported(page, "csv"))))
    assert len(rows) == 12
    names = {row[0] for row in rows}
    for name in FORMULAS:
        assert f"'{name}" in names
        assert name not in names
    starts = [cell for row in rows for cell in row if cell[:1] in ("=", "@", "+")]
    assert starts == []


def test_whole_numbers_are_exported_whole(page: Any, site: Path) -> None:
    open_board(page, site)
    page.click("#export summary")
    first = next(line for line in exported(page, "md").splitlines() if line.startswith("| strong "))
    low, high = (cell.strip() for cell in first.split("|")[3:5])
    assert low.isdigit()
    assert high.isdigit()


def test_latex_sets_numbers_as_numbers(page: Any, site: Path) -> None:
    open_board(page, site, "#values=anchored")
    page.click("#export summary")
    lines = exported(page, "tex").splitlines()
    columns = re.search(r"begin{tabular}{([lr]+)}", "\n".join(lines))
    assert columns is not None
    heads = next(line for line in lines if line.startswith("backbone & ")).split(" & ")
    assert columns[1][:4] == "llrr"  # names and kinds, then ranks
    assert columns[1][heads.index("Licence")] == "l"
    cells = [cell for line in lines for cell in line.removesuffix(" \\\\").split(" & ")]
    assert [cell for cell in cells if re.fullmatch(r"\$-\$[\d.]+", cell)], (
        "below the trivial predictor"
    )
    assert not [cell for cell in cells if re.fullmatch(r"-[\d.]+", cell)]


def test_cells_are_as_fresh_as_the_weights(page: Any, site: Path) -> None:
    state = "() => [...document.querySelectorAll('#table tbody:first-of-type td')].map(cell =>"
    state += " [cell.className.trim().split(/ +/), cell.textContent, cell.dataset.heat, cell.style.cssText])"
    open_board(page, site)
    before = page.evaluate(state)
    weights = page.evaluate("ETAB.defaultWeights(ETAB.data.board)")
    none = {"tasks": {}, "categories": dict.fromkeys(weights["categories"], 0)}
    page.evaluate("weights => ETAB.reweigh(weights)", none)
    empty = page.evaluate(state)
    assert "none" in {name for cell in empty for name in cell[0]}
    page.evaluate("weights => ETAB.reweigh(weights)", weights)
    assert page.evaluate(state) == before


def test_many_rows_are_shown_on_demand(page: Any, site: Path) -> None:
    open_board(page, site)
    assert not page.is_visible("#more")
    page.evaluate("ETAB.mostRows = 6")
    page.select_option("#f-kind", "pretrained")
    assert len(names(page)) == 6
    assert "the first 6" in page.inner_text("#count")
    page.click("#more button")
    assert len(names(page)) == 9
    assert not page.is_visible("#more")


def test_the_table_is_printed_whole(page: Any, site: Path) -> None:
    page.set_viewport_size({"width": 1054, "height": 760})  # A4, landscape, without its margins
    open_board(page, site)
    page.evaluate(
        "() => { for (const column of ETAB.columns(ETAB.data.board, ETAB.state))"
        " ETAB.state.columns.add(column.key); document.getElementById('values').onchange("
        "{ target: { value: 'raw' } }); }"
    )
    page.emulate_media(media="print")
    right = page.evaluate("document.getElementById('table').getBoundingClientRect().right")
    assert right <= 1054


_STEPPED = """
() => {
  const board = ETAB.data.board;
  const first = ETAB.defaultWeights(board);
  const [letter, other] = Object.keys(board.categories);
  const code = board.tasks[0].code;
  const moves = [0.1, 0.15, 0.7, 3, 0.1].map(value => ["categories", letter, value]);
  moves.push(...[0.2, 0.25, 2, 0].map(value => ["categories", other, value]));
  moves.push(...[0.5, 0.55, 3, 0, 1].map(value => ["tasks", code, value]));
  const stepped = new ETAB.Ranker(board, ETAB.data.noise);
  return moves.map(([kind, name, value]) => {
    first[kind][name] = value;
    const shares = ETAB.shares(board.tasks, first);
    const [mine, fresh] = [stepped, new ETAB.Ranker(board, ETAB.data.noise)].map(one => one.rank(shares));
    const largest = Math.max(...fresh.variances);
    const far = Math.max(...fresh.variances.map((value, k) => Math.abs(value - mine.variances[k])));
    return [far / largest, JSON.stringify([...fresh.rows]) === JSON.stringify([...mine.rows])];
  });
}
"""


def test_steps_of_sliders_end_where_a_new_ranking_does(page: Any, site: Path) -> None:
    """Steps of one slider are put together from its first ones, also when another one moves."""
    page.goto((site / "index.html").as_uri())
    page.wait_for_selector("html[data-loaded]")
    steps = page.evaluate(_STEPPED)
    assert len(steps) == 14
    assert max(far for far, _ in steps) < 1e-9
    assert all(same for _, same in steps)


def ends(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 2 else f"{value:.3f}"[:-1]


def test_two_backbones_agree_as_their_tables_do(page: Any, site: Path, site_board: Board) -> None:
    page.goto(f"{(site / 'compare.html').as_uri()}#a=strong&b=pixel_pca")
    page.wait_for_selector("#agreement-picture svg")
    page.select_option("#agreement-task", "b0-A4-C")
    page.wait_for_selector("#agreement-picture .small")
    first, second = (
        site_board.tables[name, "b0-A4-C"].columns["score"] for name in ("strong", "pixel_pca")
    )
    differences = first - second
    text = page.text_content("#agreement-picture svg")
    assert f"bias {ends(differences.mean())}" in text
    top = page.locator("#apart tbody tr").first.locator("td").all_inner_texts()
    assert abs(float(top[3])) == pytest.approx(np.abs(differences).max(), abs=0.02)
    # The address keeps both backbones and the task.
    assert page.evaluate("location.hash") == "#a=strong&b=pixel_pca&task=b0-A4-C"
    page.reload()
    page.wait_for_selector("#agreement-picture .small")
    assert page.input_value("#agreement-task") == "b0-A4-C"


def test_two_backbones_are_compared_patient_by_patient(
    page: Any, site: Path, site_board: Board
) -> None:
    page.goto(f"{(site / 'compare.html').as_uri()}#a=strong&b=pixel_pca&task=a0-A4-C")
    page.wait_for_function("() => document.getElementById('closer').textContent.includes('strong')")
    rows = page.locator("#apart tbody th").all_inner_texts()
    assert len({row.partition("_")[0] for row in rows}) == len(rows) == 10
    mine, other = (site_board.tables[name, "a0-A4-C"] for name in ("strong", "pixel_pca"))
    assert mine.items == other.items
    gains = mine.columns["dice"] - other.columns["dice"]
    patients = np.array(mine.patients)
    means = np.array([gains[patients == name].mean() for name in np.unique(patients)])
    words = page.text_content("#closer")
    assert (
        f"strong is closer to the truth for {(means > 0).sum()} of {len(means)} patients" in words
    )
    assert f"pixel_pca for {(means < 0).sum()}" in words


def test_a_page_of_a_backbone_words_each_cell(page: Any, site: Path, site_board: Board) -> None:
    page.goto((site / "backbone/strong.html").as_uri())
    (row,) = [row for row in site_board.rows if row.backbone == "strong"]
    for code, cell in row.cells.items():
        cells = page.locator(f"#cells tr[data-task='{code}'] td").all_inner_texts()
        assert cells[5] == cell.head
        words = sensitivity_words(row.sensitivities.get(code, ()))
        assert cells[6].splitlines() == words.split("; ")


def test_the_worst_case_of_a_backbone_is_its_largest_error(
    page: Any, site: Path, site_board: Board
) -> None:
    page.goto((site / "backbone/strong.html").as_uri())
    page.wait_for_selector("#cases td")
    page.select_option("#prediction-task", "b0-A4-C")
    page.wait_for_selector("#prediction-picture .small")
    table = site_board.tables["strong", "b0-A4-C"]
    errors = np.abs(table.columns["score"] - table.columns["truth"])
    rows = page.locator("#cases tbody tr")
    assert rows.last.locator("th").inner_text() == table.items[int(errors.argmax())]
    assert rows.first.locator("th").inner_text() == table.items[int(errors.argmin())]
    assert page.locator("#frame-note").is_visible()  # such as p1#0
    heads = page.locator("#cases thead th").all_inner_texts()
    assert heads == ["Row", "Case", "Truth", "Predicted value", "Absolute error"]
    page.select_option("#prediction-task", "d0-A4-C")
    page.wait_for_selector("#prediction-picture line.reach", state="attached")


def test_label_efficiency_is_drawn_where_there_is_some(
    browser: Any, site: Path, site_board: Board, tmp_path: Path
) -> None:
    def point(backbone: str, rows: float, value: float) -> CurvePoint:
        facts: dict[str, Any] = {
            "base": "cv5",
            "percent": 0.0,
            "shots": 5,
            "draws": 3,
            "metric": "mae",
        }
        return CurvePoint(
            task="b0-A4-C",
            backbone=backbone,
            labels=f"{rows:g} rows",
            rows=rows,
            value=value,
            low=value - 1,
            high=value + 1,
            phantom=True,
            kind="pretrained",
            **facts,
        )

    points = [point(name, rows, 9 - rows / 50) for name in ("strong", "=1+1") for rows in (10, 100)]
    write_site(site_board, datasets.cards(), tmp_path / "site", curves=points)
    page = browser.new_page()
    page.goto(f"{(tmp_path / 'site/index.html').as_uri()}#picture=curves")
    page.wait_for_selector("html[data-loaded]")
    page.locator("#picture").scroll_into_view_if_needed()
    page.wait_for_selector("#picture .seriesdot")
    assert page.locator("#picture .seriesdot").count() == 4
    page.fill("#q", "strong")
    page.wait_for_function("() => document.querySelectorAll('#picture .seriesdot').length === 2")
    page.goto((site / "index.html").as_uri())
    assert page.locator("#tab-curves").count() == 0
    page.close()


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
