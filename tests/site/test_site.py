"""The folder of pages: whole, closed to the outside, and with the noise that its weights need."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from etab import backbones, datasets
from etab.backbones.computing import computing_facts
from etab.errors import UnsupportedOptionError
from etab.leaderboard.board import Board
from etab.leaderboard.page import board_facts, board_page
from etab.leaderboard.people import units_of
from etab.leaderboard.render import board_csv, board_markdown
from etab.leaderboard.suites import suite_named
from etab.leaderboard.summary import metric_words
from etab.site import write
from etab.site.adding import adding_commands
from etab.site.cards import card_facts
from etab.site.facts import _classes, _positive, site_facts
from etab.site.names import page_names
from etab.site.noise import noise_facts, reduced
from etab.site.packing import as_script, unpacked
from etab.site.predictions import has_predictions, prediction_facts
from etab.site.write import site_files, write_site
from etab.storage.atomic import write_atomically
from etab.types import Kind
from tests.made import predictions
from tests.site.conftest import NASTY

ROOT = Path(__file__).resolve().parents[2]


class Page(HTMLParser):
    """Collects addresses, and what the policy of a page would block."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.blocked: list[str] = []
        self.scripts = 0
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src"):
                self.links.append(value or "")
            if name == "style" or name.startswith("on"):
                self.blocked.append(f"{tag} {name}")
        if tag == "style" or (tag == "script" and "src" not in dict(attrs)):
            self.blocked.append(tag)
        if tag == "img":
            self.blocked.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data

    @classmethod
    def text_of(cls, path: Path) -> str:
        page = cls()
        page.feed(path.read_text(encoding="utf-8"))
        return page.text


def pages(site: Path) -> dict[Path, Page]:
    read: dict[Path, Page] = {}
    for path in sorted(site.rglob("*.html")):
        page = Page()
        page.feed(path.read_text(encoding="utf-8"))
        read[path] = page
    return read


def test_every_link_is_a_file_of_the_folder_and_nothing_is_inline(site: Path) -> None:
    read = pages(site)
    assert len(read) == 2 + 4 + 11  # board and comparison, tasks, backbones
    for path, page in read.items():
        assert page.blocked == [], path
        for link in page.links:
            target = unquote(link.split("#")[0])
            assert not re.match(r"[a-z]+:|/", target), (path, link)
            assert not target or (path.parent / target).is_file(), (path, link)
        policy = path.read_text(encoding="utf-8")
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy


def test_a_hostile_name_stays_text(site: Path) -> None:
    assert "</script" not in (site / "data/board.js").read_text(encoding="utf-8").lower()
    rows = json.loads((site / "data/board.json").read_text(encoding="utf-8"))["rows"]
    row = next(row for row in rows if row["backbone"] == NASTY)
    page = pages(site)[site / "backbone" / f"{row['file']}.html"]
    assert "<img src=x onerror=alert(1)>" in page.text
    assert "\x1b" not in page.text
    assert "\u202e" not in page.text


def test_a_page_says_what_a_control_is(site: Path) -> None:
    read = pages(site)
    title = backbones.card("pixel_pca").title
    assert title in read[site / "backbone" / "pixel_pca.html"].text
    stranger = (site / "backbone" / "strong.html").read_text(encoding="utf-8")
    assert '<p class="lead">' not in stranger


def test_the_packed_noise_gives_the_intervals_of_the_board(site_board: Board) -> None:
    facts = noise_facts(site_board)
    for group in facts["groups"]:
        parts = {name: unpacked(group[name]["coordinates"]) for name in ("mean", "spread")}
        for i, backbone in enumerate(facts["rows"]):
            for j, code in enumerate(group["tasks"]):
                if backbone not in site_board.noises:
                    continue
                lengths = {name: np.square(part[i, j]).sum() for name, part in parts.items()}
                wanted = site_board.noises[backbone][code]
                assert lengths["mean"] == pytest.approx(wanted.patient_variance, rel=2e-3)
                of_people = lengths["mean"] + lengths["spread"]
                shown = of_people + group["divisions"] * lengths["spread"]
                variance = max(group["value_factors"][i][j] * of_people, shown)
                variance += group["added"][i][j]
                assert variance == pytest.approx(wanted.encoder_variance, rel=2e-3)
    table = next(iter(facts["t"].values()))
    row = site_board.rows[0]
    noise = site_board.noises[row.backbone]["b0-A4-C"]
    half = noise.half_width / np.sqrt(noise.encoder_variance)
    assert table["half"] == pytest.approx(half, rel=1e-6)


def test_the_factor_of_a_task_is_its_own(site_board: Board) -> None:
    (group,) = noise_facts(site_board)["groups"]
    few = group["tasks"].index("a0-A4-C")
    for factors in (group["value_factors"], group["difference_factors"]):
        for of_row in factors:
            assert of_row[few] == max(of_row)
            assert of_row[few] > min(of_row)
        assert min(of_row) < max(of_row)


@pytest.mark.parametrize("shape", [(40, 15), (9, 15)])
def test_few_directions_keep_what_singular_values_keep(shape: tuple[int, int]) -> None:
    vectors = np.random.default_rng(0).standard_normal(shape) * np.geomspace(10, 0.1, shape[1])
    short = reduced(vectors, most=4)
    _, _, directions = np.linalg.svd(vectors, full_matrices=False)
    along = vectors @ directions[:4].T
    assert short.coordinates.shape == (len(vectors), 4)
    assert pdist(short.coordinates) == pytest.approx(pdist(along), rel=1e-6)
    left_out = vectors - along @ directions[:4]
    assert short.rest == pytest.approx(np.square(left_out).sum(axis=1), rel=1e-6, abs=1e-9)


def test_enough_directions_keep_every_distance() -> None:
    vectors = np.random.default_rng(1).standard_normal((30, 12))
    short = reduced(vectors, most=12)
    assert pdist(short.coordinates) == pytest.approx(pdist(vectors))
    assert short.rest == pytest.approx(np.zeros(30), abs=1e-9)


def test_a_site_replaces_itself_and_nothing_else(site_board: Board, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    write_site(site_board, datasets.cards(), folder)
    stale = folder / "backbone/gone.html"
    stale.write_text("old")
    own = folder / "thesis.txt"
    own.write_text("mine")
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    (folder / "link").symlink_to(tmp_path)
    add_to_marker(folder, "backbone/gone.html", "../outside.txt", "link/outside.txt", str(outside))
    write_site(site_board, datasets.cards(), folder)
    assert not stale.exists()
    assert own.read_text() == "mine"
    assert outside.read_text() == "mine"


def add_to_marker(folder: Path, *names: object) -> None:
    marker = json.loads((folder / "site.json").read_text())
    marker["files"] += names
    (folder / "site.json").write_text(json.dumps(marker))


MADE = '"made_by": "etab leaderboard --html"'


@pytest.mark.parametrize(
    "marker",
    [
        None,
        '{"files": ["thesis.txt"]}',
        '{"made_by": "another program", "files": ["thesis.txt"]}',
        f'{{{MADE}, "files": 3}}',
        f'{{{MADE}, "files": null}}',
        f"{{{MADE}}}",
        "[" * 100_000,
        "not json",
    ],
)
def test_a_folder_of_something_else_stays_as_it_is(
    site_board: Board, tmp_path: Path, marker: str | None
) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("mine")
    if marker is not None:
        (tmp_path / "site.json").write_text(marker)
    with pytest.raises(UnsupportedOptionError, match=r"not of a site of etab|lists no files"):
        write_site(site_board, datasets.cards(), tmp_path)
    assert thesis.read_text() == "mine"


@pytest.mark.parametrize("name", [3, None, ["a"], {"a": 1}, "a\0b", "", ".", "data"])
def test_an_odd_entry_of_a_marker_deletes_nothing(
    site_board: Board, tmp_path: Path, name: object
) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "site.json").write_text(
        json.dumps({"made_by": "etab leaderboard --html", "files": [name]})
    )
    (folder / "data").mkdir()
    write_site(site_board, datasets.cards(), folder)
    assert (folder / "index.html").is_file()


def test_an_interrupted_first_run_can_be_repeated(
    site_board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site"

    def stopped(path: Path, content: str | bytes) -> None:
        if path.name == "compare.html":
            raise KeyboardInterrupt
        write_atomically(path, content)

    monkeypatch.setattr(write, "write_atomically", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_site(site_board, datasets.cards(), folder)
    monkeypatch.undo()
    write_site(site_board, datasets.cards(), folder)
    assert (folder / "compare.html").is_file()


def test_a_page_of_a_task_states_its_own_protocol_and_data(site_board: Board) -> None:
    row = site_board.rows[0]
    cells = {**row.cells, "d0-A4-C": replace(row.cells["d0-A4-C"], protocol="lodo")}
    rows = [replace(row, cells=cells), *site_board.rows[1:]]
    suite = replace(site_board.suite, tasks=("a0-A4-C", "d0-A4-C"))
    board = replace(site_board, rows=tuple(rows), suite=suite)
    cards = datasets.cards()
    names = page_names([*suite.tasks, *(row.backbone for row in rows)])
    tasks = site_facts(board, board_facts(board, cards), names, cards)["tasks"]
    assert [task["protocols"] for task in tasks] == [["official"], ["lodo", "official"]]
    assert all(len(task["data"]) == 1 for task in tasks)
    left_out, official = tasks[1]["protocol_words"]
    assert left_out.startswith("one database is left out at a time")
    assert official == "the authors' own division of the patients"
    assert tasks[0]["asked"] == {
        "target": "the outline of the left ventricular cavity",
        "input": "every ED or ES frame; apical four-chamber view (A4C)",
    }


@pytest.mark.parametrize("code", ["a0-A4-C", "b0-A4-C", "d0-A4-C"])
def test_predictions_are_means_over_repeats_of_each_row(site_board: Board, code: str) -> None:
    table = site_board.tables["strong", code]
    column = "dice" if code.startswith("a") else "score"
    values = table.columns[column]
    twice = replace(
        table,
        items=table.items * 2,
        patients=table.patients * 2,
        folds=table.folds * 2,
        repeats=(0,) * len(table.items) + (1,) * len(table.items),
        columns={
            name: np.concatenate([numbers, numbers + (name == column) * 0.01])
            for name, numbers in table.columns.items()
        },
    )
    board = replace(site_board, tables={**site_board.tables, ("strong", code): twice})
    facts = prediction_facts(board, code)
    assert facts is not None
    order = np.argsort(table.items)
    assert facts["items"] == [table.items[i] for i in order]
    row = unpacked(facts["values"])[facts["backbones"].index("strong")]
    assert row == pytest.approx(values[order] + 0.005, rel=1e-3, abs=1e-4)
    if code.startswith("a"):
        assert facts["truth"] is None
    else:
        truth = table.columns["truth"][order]
        assert unpacked(facts["truth"]) == pytest.approx(truth, rel=1e-3)


def test_a_large_board_has_no_predictions(
    site_board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "data/predictions/b0-A4-C.js" in write.site_files(site_board, datasets.cards())
    monkeypatch.setattr("etab.site.predictions.MOST_PREDICTIONS", 100)
    files = write.site_files(site_board, datasets.cards())
    assert not [name for name in files if name.startswith("data/predictions")]
    assert '"predictions":false' in str(files["data/board.json"])


def test_results_of_unknown_origin_have_a_site(site_board: Board) -> None:
    row = site_board.rows[0]
    cells = {code: replace(cell, provenance={}) for code, cell in row.cells.items()}
    board = replace(site_board, rows=(replace(row, cells=cells),))
    assert "etab not stated" in str(write.site_files(board, datasets.cards())["index.html"])


def test_numbers_have_no_exponent(site: Path) -> None:
    for path in (*site.glob("task/*.html"), *site.glob("backbone/*.html")):
        assert not re.search(r"\de[+-]\d", Page.text_of(path)), path


def test_a_script_of_data_cannot_end_early() -> None:
    script = as_script("a", {"</script>": "\u2028"})
    assert "<" not in script
    assert "\u2028" not in script


def test_what_a_card_states_of_computing_is_what_was_measured() -> None:
    measured = json.loads((ROOT / "benchmarks" / "perf" / "zoo.json").read_text())
    of_pages = computing_facts()
    assert of_pages
    for name, facts in of_pages.items():
        assert facts["gmacs"] == measured["backbones"][name]["gmacs"]
        assert facts["per_second"] == measured["backbones"][name].get("per_second")
        assert measured["setup"]["processor"] in facts["machine"]


def test_a_twin_computes_as_much_and_an_unknown_backbone_states_nothing(site_board: Board) -> None:
    names = ["mobilenetv2", "random/mobilenetv2", "nobody_knows"]
    rows = tuple(replace(site_board.rows[0], backbone=name) for name in names)
    facts = card_facts(replace(site_board, rows=rows))
    assert facts["mobilenetv2"]["gmacs"] == facts["random/mobilenetv2"]["gmacs"] == 0.279
    assert facts["nobody_knows"]["gmacs"] is None
    assert facts["nobody_knows"]["per_second"] is None


def test_predictions_of_classes_are_probabilities_of_each(
    site_board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve classes: "score_10" follows "score_9"."""
    table = site_board.tables["strong", "b0-A4-C"]
    n = len(table.items)
    shares = np.random.default_rng(0).dirichlet(np.ones(12), n)
    columns = {"truth": np.arange(n) % 12, **{f"score_{k}": shares[:, k] for k in range(12)}}
    classes = replace(table, kind=Kind.CLASSES, columns=columns)
    tables = {("strong", "b0-A4-C"): classes}
    board = replace(site_board, tables=tables)
    monkeypatch.setattr("etab.site.predictions.MOST_PREDICTIONS", 12 * n)
    assert has_predictions(board)
    monkeypatch.setattr("etab.site.predictions.MOST_PREDICTIONS", 12 * n - 1)
    assert not has_predictions(board)  # each class is a number
    facts = prediction_facts(board, "b0-A4-C")
    assert facts is not None
    assert facts["classes"] == 12
    order = np.argsort(table.items)
    shown = unpacked(facts["values"]).reshape(n, 12)
    assert shown == pytest.approx(shares[order], rel=1e-3, abs=1e-4)
    assert unpacked(facts["truth"]).round() == pytest.approx(order % 12)


def test_rows_of_predictions_know_their_patients(site_board: Board) -> None:
    facts = prediction_facts(site_board, "a0-A4-C")
    assert facts is not None
    whose = [facts["patients"][place] for place in facts["patient_of"]]
    assert [item.partition("_")[0] for item in facts["items"]] == whose
    assert len(facts["patients"]) < len(facts["items"])  # two frames each


@pytest.mark.parametrize(
    ("code", "items", "patients", "units"),
    [
        ("f0-PH-N", ("a0001", "a0002"), ("a0001", "a0002"), {"cinc2016": "recording"}),
        ("f0-PH-N", ("a0001@0", "a0001@1"), ("a0001", "a0001"), {"cinc2016": "recording"}),
        # Pieces of one recording are one patient, and still nobody knows the patients.
        (
            "f0-PH-N",
            ("a0001", "a0002", "a0003"),
            ("a0001", "a0001", "a0003"),
            {"cinc2016": "recording"},
        ),
        ("f0-PH-N", ("a0001", "a0002"), ("a-C12", "a-C12"), {"cinc2016": "patient"}),  # appendix
        ("a0-A4-X", ("r1#0", "r1#9"), ("exam1", "exam1"), {"echoxflow": "examination"}),
        ("b0-A4-E", ("0X1A", "0X1B"), ("0X1A", "0X1B"), {"echonet": "patient"}),  # a video each
    ],
)
def test_the_data_say_whether_their_ids_are_people(
    site_board: Board,
    code: str,
    items: tuple[str, ...],
    patients: tuple[str, ...],
    units: dict[str, str],
) -> None:
    table = replace(
        site_board.tables["strong", "b0-A4-C"],
        items=items,
        patients=patients,
        folds=("1",) * len(items),
        repeats=(0,) * len(items),
        columns={"truth": np.zeros(len(items)), "score": np.zeros(len(items))},
    )
    suite = replace(site_board.suite, tasks=(code,))
    board = replace(site_board, suite=suite, tables={("strong", code): table})
    assert units_of(board, datasets.cards()) == units


def test_people_are_counted_by_the_unit_of_their_data(site_board: Board) -> None:
    """A board of recordings has no patients on any page; one of both has both."""
    code = "f0-PH-N"
    one = site_board.rows[0].cells["d0-A4-C"]
    cell = replace(one, backbone="alone", task=code, dataset="cinc2016", n_patients=1)
    table = replace(predictions("d0-A4-C", n=1), items=("a0001",), patients=("a0001",))
    row = replace(site_board.rows[-1], backbone="alone", cells={code: cell}, missing=(code,))
    suite = replace(site_board.suite, tasks=(code,))
    board = replace(
        site_board, suite=suite, shares={code: 1.0}, rows=(row,), tables={("alone", code): table}
    )
    board = replace(board, noises={}, reliabilities={}, beside=(cell,), notes=())
    files = site_files(board, datasets.cards())
    facts = json.loads(str(files["data/board.json"]))
    assert facts["people"] == "recordings"
    assert facts["tasks"][0]["unit"] == "recording"
    assert "<td>1 recording</td>" in str(files["backbone/alone.html"])
    assert '<th scope="col">Recordings</th>' in str(files[f"task/{code}.html"])
    assert facts["beside"]["rows"][0][-1] == "1 recording"
    for name in ("compare.html", f"task/{code}.html", "backbone/alone.html"):
        # Licences, and sources of anchors, are texts of their own.
        page = re.sub(
            "<d[dt]>[^<]*(predictor|Data:).*?</d[dt]>(<dd>.*?</dd>)?", "", str(files[name])
        )
        assert "patient" not in page.partition("<main")[2].partition("<footer")[0], name
    both = replace(
        board, suite=replace(suite, tasks=(code, "d0-A4-C")), shares={code: 1.0, "d0-A4-C": 0.0}
    )
    assert json.loads(str(site_files(both, datasets.cards())["data/board.json"]))["people"] == (
        "recordings and patients"
    )


def test_the_commands_that_add_a_row_name_the_tasks(site_board: Board, site: Path) -> None:
    tasks = ",".join(site_board.suite.tasks)
    lines = adding_commands(site_board)
    assert lines == [
        f"etab run --tasks {tasks} --root DATA --backbones NAME --protocol official --results MINE",
        "etab leaderboard RESULTS MINE --html SITE",
    ]
    shown = (site / "index.html").read_text().partition('<pre id="commands" tabindex="0">')[2]
    assert shown.partition("</pre>")[0].splitlines() == lines
    camus = suite_named("camus")
    board = replace(site_board, suite=camus, phantom=False, protocol="cv5x5")
    assert adding_commands(board)[1:] == [
        "etab leaderboard RESULTS MINE --suite camus --html SITE",
        "etab submit check MINE --suite camus",
    ]


def test_classes_of_a_task_have_their_names() -> None:
    assert _classes("f1-AL-D", datasets.cards()) == ["Present", "Unknown", "Absent"]
    assert _classes("b0-A4-C", datasets.cards()) == []
    assert _positive("f0-PH-N", datasets.cards()) == "abnormal"
    assert _positive("b0-A4-C", datasets.cards()) == _positive("f1-AL-D", datasets.cards()) == ""


def test_errors_have_the_unit_of_what_is_predicted() -> None:
    cards = datasets.cards()
    assert metric_words("mae", "b0-A4-C", cards) == "mae, % points"
    assert metric_words("rmse", "e1-AL-D", cards) == "rmse, bpm"
    assert metric_words("r2", "b0-A4-P", cards) == "r2"
    assert metric_words("hd95", "a0-A4-C", {}) == "hd95, mm"
    assert metric_words("mae", "b0-A4-C", {}) == "mae"


def test_every_form_of_a_board_states_the_unit_of_its_values(site_board: Board, site: Path) -> None:
    cards = datasets.cards()
    assert "b0-A4-C mae, % points ↓ |" in board_markdown(site_board, cards)
    lines = list(csv.DictReader(io.StringIO(board_csv(site_board, cards))))
    assert {line["unit"] for line in lines if line["task"] == "b0-A4-C"} == {"% points"}
    assert {line["unit"] for line in lines if line["metric"] == "auroc"} == {""}
    assert '"metric_title": "mean absolute error, % points"' in board_page(site_board, cards)
    for page in ("index.html", "backbone/strong.html", "task/b0-A4-C.html"):
        assert "mean absolute error, % points ↓" in (site / page).read_text(), page


def test_a_browser_without_scripts_sees_the_ranks_and_no_empty_headings(site: Path) -> None:
    static = (
        (site / "index.html").read_text().partition("<noscript>")[2].partition("</noscript>")[0]
    )
    assert 'href="backbone/strong.html"' in static
    page = (site / "backbone/strong.html").read_text()
    assert re.search(r"<h2 [^>]*class=\"scripted\">Strengths", page)
    assert re.findall(r"<th scope=\"col\" class=\"scripted\">([\w ]+)</th>", page) == [
        "Head",
        "Depends on",
        "Other metrics",
    ]
