"""The board: order of files irrelevant, direction honoured, nothing mixed, ties shared, a page that shows only text."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import random
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import threadpoolctl

from etab import datasets
from etab.errors import (
    EtabError,
    MixedDataError,
    ResultError,
    UndefinedError,
    UnknownNameError,
    UnsupportedOptionError,
)
from etab.leaderboard import summary
from etab.leaderboard.board import Board, kind_of
from etab.leaderboard.page import board_facts, board_page
from etab.leaderboard.pairs import Comparison, compare
from etab.leaderboard.ranking import rank, rank_folder, raw2022
from etab.leaderboard.render import board_csv, board_markdown
from etab.leaderboard.suites import Suite, suite_named
from etab.leaderboard.terminal import board_table
from etab.metrics.base import METRICS
from etab.results import Predictions, Result, load_results
from etab.tasks.menu import TASKS
from etab.types import Kind
from tests import made

SKILLS = {"strong": 0.9, "twin_a": 0.7, "twin_b": 0.7, "pixel_pca": 0.3, "random/strong": 0.1}
NASTY = "<script>alert('x')</script> & \"q\" |pipe| [bold]b[/bold] {{DATA}} </table>"


def board_of(folder: Path, skills: Mapping[str, float] | None = None, **options: Any) -> Board:
    results = made.board(folder, SKILLS if skills is None else skills)
    return rank(results, made.suite(), folder=folder, **{"draws": 300, **options})


def scores(board: Board) -> dict[str, tuple[float, ...]]:
    return {r.backbone: (r.etab, r.low, r.high, r.etab2022) for r in board.rows}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("board")
    made.board(place, SKILLS)
    return place


@pytest.fixture(scope="module")
def board(folder: Path) -> Board:
    return rank(load_results(folder), made.suite(), folder=folder, draws=300)


def same(one: Board, other: Board) -> bool:
    """Whether two boards say the same; what does not exist on either (NaN) is the same too."""
    return repr(one) == repr(other)


def test_the_order_of_files_means_nothing(folder: Path, board: Board) -> None:
    results = load_results(folder)
    for seed in range(3):
        random.Random(seed).shuffle(results)
        assert same(rank(results, made.suite(), folder=folder, draws=300), board)


def test_the_headline_is_the_mean_of_category_means(tmp_path: Path) -> None:
    suite = made.suite(("a0-A4-C", "b0-A4-C", "b1-A4-C"))
    row = rank(made.board(tmp_path, {"one": 0.6}), suite, folder=tmp_path, draws=50).rows[0]
    a = TASKS["a0-A4-C"].anchored(row.cells["a0-A4-C"].value)
    worst, best = TASKS["b0-A4-C"].anchors.low, TASKS["b0-A4-C"].anchors.high
    assert worst > best, "an error: less is better"
    b = (
        (worst - row.cells["b0-A4-C"].value) / (worst - best),
        (row.cells["b1-A4-C"].value - 0.5) / 0.5,
    )
    assert row.etab == pytest.approx((a + sum(b) / 2) / 2, abs=1e-12)
    raw = (
        row.cells["a0-A4-C"].metrics["jaccard"],
        row.cells["b0-A4-C"].metrics["r2"],
        row.cells["b1-A4-C"].value,
    )
    assert row.etab2022 == pytest.approx((raw[0] + (raw[1] + raw[2]) / 2) / 2, abs=1e-12)


def test_2022_takes_r2_not_below_zero() -> None:
    table = Predictions(
        Kind.VALUE,
        ("a", "b"),
        ("p", "q"),
        ("f", "f"),
        {"truth": [50.0, 60.0], "score": [90.0, 10.0]},
    )
    cell = made.result(table, "b0-A4-C")
    assert cell.metrics["r2"] < 0
    assert raw2022(TASKS["b0-A4-C"], cell) == 0.0


def test_anchored_scores_are_not_clipped(tmp_path: Path) -> None:
    results = [
        made.save(tmp_path, "b0-A4-C", name, skill)
        for name, skill in (("beyond", 0.99), ("below", -0.5))
    ]
    rows = rank(results, made.suite(("b0-A4-C",)), folder=tmp_path, draws=50).rows
    assert rows[0].etab > 1
    assert rows[1].etab < 0


@pytest.mark.parametrize("code", made.ALL)
def test_the_direction_of_every_task_is_honoured(code: str, tmp_path: Path) -> None:
    results = [
        made.save(tmp_path, code, name, skill) for name, skill in (("poor", 0.1), ("good", 0.9))
    ]
    board = rank(results, made.suite((code,)), folder=tmp_path, draws=200)
    values = {r.backbone: r.cells[code].value for r in board.rows}
    assert (values["good"] - values["poor"]) * METRICS[TASKS[code].metric].better > 0
    assert [r.backbone for r in board.rows] == ["good", "poor"]
    assert [(r.rank_low, r.rank_high) for r in board.rows] == [(1, 1), (2, 2)]
    assert board.rows[0].low < board.rows[0].etab < board.rows[0].high


def test_a_missing_task_unranks(tmp_path: Path) -> None:
    results = made.board(tmp_path, {"whole": 0.4, "partial": 0.9})
    results = [r for r in results if (r.backbone, r.task) != ("partial", "d0-A4-C")]
    board = rank(results, made.suite(), folder=tmp_path, draws=100)
    assert [r.backbone for r in board.rows] == ["whole", "partial"]
    row = board.rows[1]
    assert row.missing == ("d0-A4-C",)
    assert (row.rank_low, row.rank_high) == (None, None)
    assert all(math.isnan(v) for v in (row.etab, row.low, row.high, row.etab2022))
    assert len(board.p_better) == 1
    assert "A backbone with a missing task has no headline rank" in " ".join(board.notes)
    for text in (
        board_markdown(board, datasets.cards()),
        board_page(board, datasets.cards()),
        board_csv(board, datasets.cards()),
        json.dumps(board_facts(board, datasets.cards())),
    ):
        assert "partial" in text
        assert "nan" not in text.lower().replace("nano", "")
    assert "no score: 1 task missing" in board_markdown(board, datasets.cards())
    last = list(csv.DictReader(io.StringIO(board_csv(board, datasets.cards()))))[-1]
    assert (last["backbone"], last["task"], last["value"], last["etab"]) == (
        "partial",
        "d0-A4-C",
        "",
        "",
    )


def test_a_task_that_weighs_nothing_need_not_be_there(tmp_path: Path) -> None:
    results = [r for r in made.board(tmp_path, {"one": 0.5}) if r.task != "d0-A4-C"]
    board = rank(results, made.suite(), folder=tmp_path, draws=50, task_weights={"d0-A4-C": 0})
    assert board.rows[0].rank_low == 1
    assert board.shares["d0-A4-C"] == 0


def test_only_unranked_backbones_make_a_board(tmp_path: Path) -> None:
    board = rank(
        [made.save(tmp_path, "a0-A4-C", "lonely")], made.suite(), folder=tmp_path, draws=50
    )
    assert board.rows[0].missing == ("b0-A4-C", "b1-A4-C", "d0-A4-C")
    assert math.isnan(board.separation.found)
    assert "lonely" in board_page(board, datasets.cards())
    assert board_facts(board, datasets.cards())["rows"][0]["etab"] is None


def test_a_worse_model_never_changes_who_beats_whom(tmp_path: Path) -> None:
    before = board_of(tmp_path)
    names = [r.backbone for r in before.rows]
    for extra in ({"worse": 0.02}, {"worse": 0.02, "worst": -0.1, "middling": 0.5, "best": 0.97}):
        after = board_of(tmp_path, {**SKILLS, **extra})
        assert [r.backbone for r in after.rows if r.backbone in names] == names
        for name in names:
            assert scores(after)[name] == scores(before)[name]
        place = {r.backbone: i for i, r in enumerate(after.rows)}
        for i, a in enumerate(names):
            for j, b in enumerate(names):
                assert after.p_better[place[a]][place[b]] == before.p_better[i][j]
                assert after.beats[place[a]][place[b]] <= before.beats[i][j], (
                    "Holm over more pairs can only be stricter"
                )


def test_ties_share_ranks(board: Board) -> None:
    rows = {r.backbone: r for r in board.rows}
    assert [(rows[n].rank_low, rows[n].rank_high) for n in ("twin_a", "twin_b")] == [(2, 3), (2, 3)]
    assert (rows["strong"].rank_low, rows["strong"].rank_high) == (1, 1)
    assert summary.rank_words(rows["twin_a"]) == "2-3"
    assert summary.rank_words(rows["strong"]) == "1"
    for i, row in enumerate(board.rows, 1):
        assert row.rank_low <= i <= row.rank_high


def test_equal_predictions_are_a_coin_toss(tmp_path: Path) -> None:
    results = [
        made.save(tmp_path, c, name, 0.6, noise=4) for c in made.SMALL for name in ("one", "other")
    ]
    board = rank(results, made.suite(), folder=tmp_path, draws=200)
    assert [(r.rank_low, r.rank_high) for r in board.rows] == [(1, 2), (1, 2)]
    assert board.p_better == ((0.5, 0.5), (0.5, 0.5))


def test_many_backbones_can_still_be_told_apart(tmp_path: Path) -> None:
    """78 pairs: p values fall as far as differences are clear, whatever the number of resamples is."""
    skills = {f"b{i:02d}": i / 13 for i in range(13)}
    results = made.board(tmp_path, skills, ("a0-A4-C",), n=40)
    board = rank(results, made.suite(("a0-A4-C",)), folder=tmp_path, draws=500)
    assert (
        [r.rank_low for r in board.rows] == [r.rank_high for r in board.rows] == list(range(1, 14))
    )


def test_one_resample_is_shared_by_all_tasks_whatever_their_patients(tmp_path: Path) -> None:
    """The same numbers under two codes, one of them without some patients, must move together."""
    whole = made.predictions("a0-A2-C", n=60)
    keep = [i for i, p in enumerate(whole.patients) if p != "patient0000"]
    part = Predictions(
        whole.kind,
        *(tuple(v[i] for i in keep) for v in (whole.items, whole.patients, whole.folds)),
        {k: v[keep] for k, v in whole.columns.items()},
    )
    results = [made.result(whole, "a0-A2-C", "one"), made.result(part, "a0-A4-C", "one")]
    for r, table in zip(results, (whole, part), strict=True):
        r.save(tmp_path, table)
    wide = {
        c: rank([r], made.suite((c,)), folder=tmp_path, draws=2000)
        for c, r in zip(("a0-A2-C", "a0-A4-C"), results, strict=True)
    }
    both = rank(results, made.suite(("a0-A2-C", "a0-A4-C")), folder=tmp_path, draws=2000)
    width = {c: (b.rows[0].high - b.rows[0].low) for c, b in wide.items()}
    assert both.rows[0].high - both.rows[0].low == pytest.approx(sum(width.values()) / 2, rel=0.06)


def test_pairs_see_the_same_patients(tmp_path: Path) -> None:
    """Two backbones that share the difficulty of each patient differ by a constant: certain, intervals or not."""
    base = made.predictions("a0-A4-C", 0.7, n=60)
    results = []
    for name, shift in (("upper", 0.004), ("lower", 0.0)):
        dice = base.columns["dice"] + shift
        shifted = {**base.columns, "dice": dice, "jaccard": dice / (2 - dice)}
        table = Predictions(base.kind, base.items, base.patients, base.folds, shifted)
        results.append(made.result(table, "a0-A4-C", name))
        results[-1].save(tmp_path, table)
    board = rank(results, made.suite(("a0-A4-C",)), folder=tmp_path, draws=200)
    assert board.rows[1].high > board.rows[0].low
    assert board.p_better[0][1] == 1.0
    assert board.beats[0][1]
    assert board.separation.found < 1e-6


def test_same_seed_same_board_and_the_seed_acts(tmp_path: Path) -> None:
    assert same(board_of(tmp_path), board_of(tmp_path))
    other = made.board(tmp_path, SKILLS)
    results = [made.changed(r, seed=1) for r in other]
    for r in results:
        r.save(
            tmp_path,
            next(o for o in other if (o.task, o.backbone) == (r.task, r.backbone)).predictions(
                tmp_path
            ),
        )
    second = rank(results, made.suite(), folder=tmp_path, draws=300, seed=1)
    assert [r.etab for r in second.rows] == [r.etab for r in board_of(tmp_path).rows]
    assert [r.low for r in second.rows] != [r.low for r in board_of(tmp_path).rows]


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ({}, (1 / 3, 1 / 6, 1 / 6, 1 / 3)),
        ({"task_weights": {"b0-A4-C": 3}}, (1 / 3, 1 / 4, 1 / 12, 1 / 3)),
        ({"category_weights": {"a": 2}}, (1 / 2, 1 / 8, 1 / 8, 1 / 4)),
        ({"category_weights": {"a": 0}}, (0, 1 / 4, 1 / 4, 1 / 2)),
        ({"task_weights": {"a0-A4-C": 0}}, (0, 1 / 4, 1 / 4, 1 / 2)),
    ],
)
def test_weights_act(
    weights: dict[str, Any], shares: tuple[float, ...], folder: Path, board: Board
) -> None:
    for suite, options in ((made.suite(), weights), (made.suite(**weights), {})):
        again = rank(load_results(folder), suite, folder=folder, draws=100, **options)
        assert tuple(again.shares.values()) == pytest.approx(shares)
        top = again.rows[0]
        assert top.etab == pytest.approx(
            sum(s * TASKS[t].anchored(top.cells[t].value) for t, s in again.shares.items())
        )
        assert bool(weights) == (top.etab != pytest.approx(board.rows[0].etab, abs=1e-9))


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"task_weights": {"b0-A4-X": 1}}, "Did you mean 'b0-A4-C'"),
        ({"category_weights": {"z": 1}}, "No category of the suite made is called 'z'"),
        ({"task_weights": {"b0-A4-C": -1}}, "0 or more"),
        ({"task_weights": {"b0-A4-C": math.nan}}, "0 or more"),
        ({"category_weights": dict.fromkeys("abd", 0)}, "nothing left to score"),
    ],
)
def test_wrong_weights_are_refused(weights: dict[str, Any], said: str, folder: Path) -> None:
    with pytest.raises(EtabError, match=said):
        rank(load_results(folder), made.suite(), folder=folder, draws=50, **weights)


GOOD = 'name = "s"\nversion = 1\ntasks = ["a0-A4-C", "b0-A4-C"]\n'


def test_a_suite_is_read_from_toml() -> None:
    suite = Suite.from_toml(
        GOOD + 'title = "T"\n[task_weights]\n"b0-A4-C" = 2\n[category_weights]\na = 0.5\n'
    )
    assert suite == Suite("s", 1, ("a0-A4-C", "b0-A4-C"), "T", {"b0-A4-C": 2}, {"a": 0.5})


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        (GOOD + "colour = 1\n", UnknownNameError, "No key of this suite is called 'colour'"),
        (GOOD.replace("b0-A4-C", "b0-A4-Z"), UnknownNameError, "No task is called 'b0-A4-Z'"),
        (GOOD.replace("b0-A4-C", "a0-A4-C"), UnsupportedOptionError, "lists a0-A4-C twice"),
        ('version = 1\ntasks = ["a0-A4-C"]\n', UnsupportedOptionError, "name is None"),
        (
            'name = "s"\nversion = "1"\ntasks = ["a0-A4-C"]\n',
            UnsupportedOptionError,
            "version is '1'",
        ),
        ('name = "s"\nversion = 1\ntasks = []\n', UnsupportedOptionError, "tasks is"),
        (GOOD + "[task_weights]\n'c0-AX-C' = 1\n", UnknownNameError, "No task of the suite s"),
        (GOOD + "[category_weights]\na = -1\n", UnsupportedOptionError, "weight of a is -1"),
        ("name = ", UnsupportedOptionError, "is not TOML"),
    ],
)
def test_a_wrong_suite_file_is_refused(text: str, error: type[EtabError], said: str) -> None:
    with pytest.raises(error, match=said):
        Suite.from_toml(text)


def _first(results: list[Result], **changes: Any) -> list[Result]:
    return [made.changed(results[0], **changes), *results[1:]]


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        (
            {"phantom": False},
            MixedDataError,
            "strong.* is phantom.*is real|is phantom, .*strong is real",
        ),
        ({"task_version": 99}, ResultError, "strong is of version 99 .*never mix"),
        ({"anchor_low": 0.1}, ResultError, "anchors 0.1 and"),
        ({"metric": "jaccard"}, ResultError, "never mix"),
        (
            {"data_digest": "00" * 32},
            ResultError,
            "a0-A4-C: results differ in data_digest: .* with strong",
        ),
        ({"head": "knn"}, ResultError, "a0-A4-C: results differ in head: .*knn with strong"),
    ],
)
def test_what_cannot_stand_together_is_refused(
    changes: dict[str, Any], error: type[EtabError], said: str, folder: Path
) -> None:
    results = sorted(load_results(folder), key=lambda r: (r.backbone != "strong", r.task))
    for order in (_first(results, **changes), _first(results, **changes)[::-1]):
        with pytest.raises(error, match=said):
            rank(order, made.suite(), folder=folder, draws=50)


def test_duplicates_are_refused(folder: Path) -> None:
    results = load_results(folder)
    with pytest.raises(ResultError, match=r"Two results for .* with .*cv5x5, seed 0"):
        rank([*results, results[3]], made.suite(), folder=folder, draws=50)


def test_other_protocols_and_seeds_stay_out(folder: Path, board: Board) -> None:
    results = load_results(folder)
    noise = [made.changed(r, protocol="official") for r in results] + [
        made.changed(r, seed=5) for r in results
    ]
    noisy = rank([*noise, *results], made.suite(), folder=folder, draws=300)
    others = [note for note in noisy.notes if note not in board.notes]
    assert len(others) == 2
    assert "not ranked: " in others[0]
    assert "not readable: " in others[1]  # these results have no predictions
    assert same(replace(noisy, notes=board.notes), board)
    with pytest.raises(
        ResultError,
        match=r"protocol cv10 and seed 0. The folder holds results with cv5x5 \(seed 0\)",
    ):
        rank(results, made.suite(), folder=folder, protocol="cv10")
    with pytest.raises(ResultError, match="holds no results of this suite"):
        rank([], made.suite(), folder=folder)


@pytest.mark.parametrize("name", ["value", "metrics"])
def test_a_polished_value_is_caught(name: str, folder: Path) -> None:
    results = load_results(folder)
    change = (
        {"value": 0.99, "high": 1.0}
        if name == "value"
        else {"metrics": {**results[0].metrics, "jaccard": 0.99}}
    )
    assert results[0].task == "a0-A4-C"
    with pytest.raises(
        ResultError, match=r"the record says (dice|jaccard) 0\.99, its predictions give"
    ):
        rank(_first(results, **change), made.suite(), folder=folder, draws=50)


def test_other_rows_are_refused(tmp_path: Path) -> None:
    results = [made.save(tmp_path, "b1-A4-C", "all"), made.save(tmp_path, "b1-A4-C", "some", n=59)]
    with pytest.raises(
        ResultError, match=r"some \(118 rows\) and all \(120 rows\) did not answer the same rows"
    ):
        rank(results, made.suite(("b1-A4-C",)), folder=tmp_path, draws=50)


def test_another_truth_is_refused(tmp_path: Path) -> None:
    first = made.predictions("b0-A4-C")
    easy = Predictions(
        first.kind,
        first.items,
        first.patients,
        first.folds,
        {**first.columns, "truth": first.columns["score"] + 0.1},
    )
    results = [made.result(first, "b0-A4-C", "honest"), made.result(easy, "b0-A4-C", "other")]
    for r, table in zip(results, (first, easy), strict=True):
        r.save(tmp_path, table)
    with pytest.raises(ResultError, match="did not answer the same rows"):
        rank(results, made.suite(("b0-A4-C",)), folder=tmp_path, draws=50)


def test_too_few_of_a_class_is_said(tmp_path: Path) -> None:
    truth = np.r_[1.0, np.zeros(29)]
    people = tuple(f"patient{i:04d}" for i in range(30))
    columns = {"truth": truth, "score": np.linspace(1, 0, 30)}
    table = Predictions(Kind.BINARY, people, people, ("fold0",) * 30, columns)
    result = made.result(table, "d0-A4-C", "one")
    result.save(tmp_path, table)
    with pytest.raises(
        UndefinedError, match=r"d0-A4-C with one: auroc does not exist in .* of 400 resamples"
    ):
        rank([result], made.suite(("d0-A4-C",)), folder=tmp_path, draws=400)


def test_kinds_and_twins(board: Board) -> None:
    assert {r.backbone: r.kind for r in board.rows} == {
        "strong": "pretrained",
        "twin_a": "pretrained",
        "twin_b": "pretrained",
        "pixel_pca": "control",
        "random/strong": "random twin",
    }
    assert {r.backbone: r.twin for r in board.rows if r.twin} == {"strong": "random/strong"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mobilenetv2@448", "pretrained"),
        ("timm/resnet18", "pretrained"),
        ("hf-hub:owner/model", "pretrained"),
        ("my encoder", "pretraining not stated"),
        ("callable/mine", "pretraining not stated"),
        ("local:w.pth@timm/resnet18", "pretraining not stated"),
        ("onnx:net.onnx", "pretraining not stated"),
        ("transformers/a_folder", "pretraining not stated"),
    ],
)
def test_nobody_is_called_pretrained_who_does_not_say_it(name: str, kind: str) -> None:
    said = made.result(made.predictions("b0-A4-C"), "b0-A4-C", name)
    silent = replace(said, provenance={})
    assert kind_of(name, [silent]) == kind_of(name, []) == kind
    assert kind_of(name, [said]) == "pretrained"


class _Page(HTMLParser):
    """Reads a page strictly: every element closed by its own end tag, no foreign element, no address outside."""

    VOID = frozenset({"meta", "input", "br"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "action", "data")]
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.setdefault(self.stack[-1] if self.stack else "", []).append(data)


def read_page(text: str) -> _Page:
    page = _Page()
    page.feed(text)
    page.close()
    assert page.stack == []
    return page


def test_the_page_is_one_whole_file(board: Board) -> None:
    text = board_page(board, datasets.cards())
    page = read_page(text)
    assert page.tags.count("script") == 2
    assert page.links == []
    assert "link" not in page.tags
    assert "img" not in page.tags
    assert not re.findall(
        r"https?://(?!www\.w3\.org/2000/svg)", text.replace(page.text["script"][0], "")
    )
    assert "@import" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text
    assert "{{" not in text.replace("{{DATA}}", "")
    assert json.loads(page.text["script"][0]) == board_facts(board, datasets.cards())
    assert len(text) < 250_000
    for row in board.rows:
        assert row.backbone in page.text["th"]


def test_every_string_of_a_result_file_is_escaped(tmp_path: Path) -> None:
    evil: dict[str, Any] = {
        "provenance": {"etab": NASTY, "commit": NASTY, "processor": NASTY},
        "settings": {"precision": NASTY, "family": "cnn"},
        "missing": [[NASTY, NASTY]],
        **dict.fromkeys(("interval", "features_key", "weights_sha256"), NASTY),
    }
    results = [made.save(tmp_path, c, NASTY, **evil) for c in made.SMALL]
    suite = made.suite(title=NASTY)
    board = rank(results, suite, folder=tmp_path, draws=50)
    text = board_page(board, datasets.cards())
    plain = read_page(
        board_page(
            rank(results, made.suite(title="T"), folder=tmp_path, draws=50), datasets.cards()
        )
    )
    page = read_page(text)
    assert page.tags == plain.tags
    assert text.count("<script") == text.count("</script>") == 2
    assert "alert('x')</" not in text
    assert page.text["th"].count(NASTY) == 1
    assert NASTY in page.text["title"][0]
    assert NASTY in page.text["h1"][0]
    found = json.loads(page.text["script"][0])
    assert found["rows"][0]["backbone"] == NASTY
    assert found["rows"][0]["weights"] == NASTY
    script = page.text["script"][1]
    for sink in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
    ):
        assert sink not in script
    row = next(
        line
        for line in board_markdown(board, datasets.cards()).splitlines()
        if line.startswith("| 1 |")
    )
    assert len(re.split(r"(?<!\\)\|", row)) == 2 + 6 + 3
    assert "<script" not in board_markdown(board, datasets.cards()).replace(board.title, "")
    assert (
        next(csv.DictReader(io.StringIO(board_csv(board, datasets.cards()))))["backbone"] == NASTY
    )


def test_phantom_is_said_on_every_form(board: Board) -> None:
    assert board.phantom
    assert board.title.startswith("PHANTOM")
    assert "PHANTOM" in board_markdown(board, datasets.cards())
    assert board_facts(board, datasets.cards())["phantom"] is True
    assert {
        r["phantom"] for r in csv.DictReader(io.StringIO(board_csv(board, datasets.cards())))
    } == {"True"}
    assert "PHANTOM" in _terminal(board)
    assert "PHANTOM" in read_page(board_page(board, datasets.cards())).text["title"][0]
    assert "phantom of" in board_markdown(board, datasets.cards())


def test_a_real_board_states_the_licence_of_its_data(tmp_path: Path) -> None:
    results = [made.save(tmp_path, c, "one", phantom=False) for c in made.SMALL]
    board = rank(results, made.suite(), folder=tmp_path, draws=50)
    assert "PHANTOM" not in board.title
    assert "CC BY-NC-SA 4.0" in board_markdown(board, datasets.cards())
    assert "CC BY-NC-SA 4.0" in board_facts(board, datasets.cards())["data"][0]["licence"]


def _terminal(board: Board, width: int = 200) -> str:
    out, chance = io.StringIO(), random.getstate()
    from rich.console import Console

    Console(file=out, width=width).print(board_table(board))
    random.setstate(chance)  # importing rich numbers its styles by chance
    return out.getvalue()


def test_a_terminal_shows_names_as_they_are(tmp_path: Path) -> None:
    results = [made.save(tmp_path, c, "[red]odd[/red]") for c in made.SMALL]
    text = _terminal(rank(results, made.suite(), folder=tmp_path, draws=50))
    assert "[red]odd[/red]" in text
    assert "cardiac structure" in text


def test_a_narrow_terminal_keeps_numbers_whole(board: Board) -> None:
    text = _terminal(board, width=80)
    for row in board.rows:
        line = next(
            t for t in text.splitlines() if t.split()[:2] == [summary.rank_words(row), row.backbone]
        )
        assert f"{row.etab:.3f}" in line
        assert f"{row.encoder_low:.3f} to {row.encoder_high:.3f}" in line


def test_markdown_holds_the_whole_board(board: Board) -> None:
    text = board_markdown(board, datasets.cards())
    for row in board.rows:
        assert f"{row.etab:.3f} [{row.low:.3f}, {row.high:.3f}]" in text
        assert f"[{row.encoder_low:.3f}, {row.encoder_high:.3f}]" in text
        for cell in row.cells.values():
            assert summary.number_words(cell.value) in text
    for note in board.notes:
        assert note in text
    widths = {line.count("|") for line in text.split("###")[0].splitlines() if line.startswith("|")}
    assert widths == {10}
    assert "0.500 (chance" in text


def test_csv_and_json_hold_every_cell(board: Board) -> None:
    rows = list(csv.DictReader(io.StringIO(board_csv(board, datasets.cards()))))
    assert len(rows) == len(SKILLS) * len(made.SMALL)
    for row in rows:
        cell = next(r for r in board.rows if r.backbone == row["backbone"]).cells[row["task"]]
        assert float(row["value"]) == cell.value
        assert float(row["anchored"]) == pytest.approx(TASKS[row["task"]].anchored(cell.value))
    found = board_facts(board, datasets.cards())
    assert [r["backbone"] for r in found["rows"]] == [r.backbone for r in board.rows]
    assert found["rows"][0]["categories"]["b"] == pytest.approx(
        summary.category_mean(board.rows[0], "b", board), rel=1e-5
    )


def _first_cell(folder: Path) -> Path:
    return next(path for path in sorted(folder.rglob("*.json")) if "twin_a" in str(path))


def _edit(path: Path, **changes: Any) -> None:
    record = json.loads(path.read_text())
    record.update(changes)
    path.write_text(json.dumps(record))


def _new_table(path: Path, data: bytes) -> None:
    """Replace the predictions and put their digest into the record, as somebody with intent would."""
    path.with_suffix(".csv").write_bytes(data)
    _edit(path, predictions_sha256=hashlib.sha256(data).hexdigest())


def _as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


HEADER = b"kind,item,patient,fold,truth,score\n"
DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut short": lambda path: path.write_text(path.read_text()[:300]),
    "empty": lambda path: path.write_text(""),
    "not text": lambda path: path.write_bytes(b"\x89PNG\xff\xfe"),
    "a list": lambda path: path.write_text("[1, 2]"),
    "nested beyond reason": lambda path: path.write_text("[" * 200_000),
    "another schema": lambda path: _edit(path, schema=99),
    "a field of another type": lambda path: _edit(path, value="high"),
    "an unknown field": lambda path: _edit(path, **{"\ud800\x1b[2J" * 100: 1}),
    "a number beyond floats": lambda path: _edit(path, value=10**400),
    "a name that no file can hold": lambda path: _edit(path, backbone="\ud800"),
    "another cell's record": lambda path: _edit(path, backbone="strong"),
    "a pipe": _as_pipe,
    "a folder": _as_folder,
    "a value nobody computed": lambda path: _edit(path, value=0.999, low=0.9, high=1.0),
    "predictions missing": lambda path: path.with_suffix(".csv").unlink(),
    "predictions a pipe": lambda path: _as_pipe(path.with_suffix(".csv")),
    "predictions changed": lambda path: path.with_suffix(".csv").write_text("kind,item\n"),
    "predictions not text": lambda path: _new_table(path, b"\xff\xfe\x00"),
    "predictions of endless fields": lambda path: _new_table(path, HEADER + b"x" * 200_000),
    "predictions of another kind": lambda path: _new_table(path, HEADER + b"value,a,p,f,1,2\n"),
    "predictions without columns": lambda path: _new_table(
        path, b"kind,item,patient,fold\nmask,a,p,f\nmask,b,q,f\n"
    ),
}


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two backbones on every task of a packaged suite."""
    parent = tmp_path_factory.mktemp("packaged")
    for name in ("strong", "twin_a"):
        for code in suite_named("camus").tasks:
            made.save(parent, code, name, SKILLS[name])
    return parent


@pytest.fixture
def stopped_when_it_waits() -> Iterator[None]:
    """Fail a test that waits for a pipe, in place of waiting for ever."""

    def stop(number: int, frame: object) -> None:
        raise AssertionError("it waits for something that never comes")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("stopped_when_it_waits")
@pytest.mark.parametrize("damage", DAMAGE)
def test_one_bad_file_is_set_aside_and_the_board_stands(
    damage: str, packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etab.leaderboard.ranking.DRAWS", 50)
    shutil.copytree(packaged, tmp_path, dirs_exist_ok=True)
    path = _first_cell(tmp_path)
    DAMAGE[damage](path)
    board = rank_folder(tmp_path, "camus")
    assert board.notes[0].startswith("SET ASIDE: 1 result file is not part of this board: ")
    assert path.stem in board.notes[0] or path.parent.name in board.notes[0]
    assert "\x1b" not in board.notes[0]
    rows = {row.backbone: row for row in board.rows}
    assert rows["strong"].ranked
    assert rows["twin_a"].missing == (path.parts[-3],)
    assert "SET ASIDE" in board_markdown(board, datasets.cards())


def test_a_folder_of_nothing_but_bad_files_is_an_error(tmp_path: Path) -> None:
    path = made.save(tmp_path, "a0-A4-C", "one", 0.5).path(tmp_path)
    path.write_text("{}")
    with pytest.raises(ResultError, match=r"No result of .* can be ranked\. SET ASIDE: 1 result"):
        rank_folder(tmp_path, "camus")
    with pytest.raises(ResultError, match="1 of 1 files"):
        load_results(tmp_path)


def test_text_of_results_cannot_steer_a_terminal(tmp_path: Path) -> None:
    notes = {"notes": ["\x1b[2Jcleared", "\ud800"], "family": "cnn"}
    cell = made.save(tmp_path, "b0-A4-C", "one", 0.5, settings=notes)
    board = rank([cell], made.suite(("b0-A4-C",)), folder=tmp_path, draws=50)
    assert "\ufffd[2Jcleared" in board.notes
    assert board_markdown(board, datasets.cards()).encode()


def test_products_of_a_board_wait_for_no_other_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads of OpenBLAS take a fifth more processor time for a board of 9,000 cells."""
    seen: set[int] = set()

    def compare_seen(*inputs: Any) -> Comparison:
        libraries = threadpoolctl.threadpool_info()
        seen.update(of["num_threads"] for of in libraries if of["user_api"] == "blas")
        return compare(*inputs)

    monkeypatch.setattr("etab.leaderboard.ranking.compare", compare_seen)
    monkeypatch.setattr("etab.leaderboard.ranking.DRAWS", 50)
    cell = made.save(tmp_path, "b0-A4-C", "one", 0.5)
    suite = made.suite(("b0-A4-C",))
    with threadpoolctl.threadpool_limits(limits=2, user_api="blas"):
        rank([cell], suite, folder=tmp_path, draws=50)
        assert seen == {1}
        seen.clear()
        rank_folder(tmp_path, suite)
        assert seen == {1}


@pytest.mark.parametrize("notes", [3, {"a": 1}, None, "text"])
def test_notes_of_another_type_are_no_notes(notes: object, tmp_path: Path) -> None:
    cell = made.save(tmp_path, "b0-A4-C", "one", 0.5, settings={"notes": notes})
    assert rank([cell], made.suite(("b0-A4-C",)), folder=tmp_path, draws=50).rows


def test_a_dataset_without_a_card_is_named(tmp_path: Path) -> None:
    board = board_of(tmp_path)
    cards = datasets.cards()
    cards.pop("camus")
    assert [notice["title"] for notice in board_facts(board, cards)["data"]] == ["phantom of camus"]
