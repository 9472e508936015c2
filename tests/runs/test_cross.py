"""Cross-dataset cells: which pairs there are, who is fitted on and who is tested, what a result and a board say of them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import etab
from etab import backbones, datasets, heads
from etab.cli.listing import TABLES
from etab.datasets.camus import CamusSource
from etab.errors import (
    IncompatibleError,
    LayoutError,
    MixedDataError,
    ResultError,
    SplitError,
    UnknownNameError,
    UnsupportedOptionError,
)
from etab.features import frames, lazy
from etab.features.frames import annotated_frames, frame_features, row_features, task_rows
from etab.leaderboard.page import board_facts
from etab.leaderboard.ranking import rank
from etab.leaderboard.render import board_csv, board_markdown
from etab.leaderboard.terminal import beside_table
from etab.results import Result, load_results
from etab.runs import cross
from etab.runs.data import Data
from etab.runs.execute import execute, finished
from etab.runs.executors import groups
from etab.runs.run import Settings, plan
from etab.tasks.menu import TASKS, find
from etab.tasks.rows import Rows
from etab.types import Features
from tests import made
from tests.commands import etab as command

CELLS = "b0-A4-C>E,a0-A4-C>E,d0-A4-C>E,b1-A4-E>P"


@pytest.fixture(scope="module")
def data(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus", "echonet", "pediatric"])


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("done")
    settings = Settings(root=data, results=folder / "results", cache=folder / "cache")
    assert len(list(execute(plan(CELLS, ["image_stats"], protocols=("cv5",)), settings))) == 4
    return settings


def one(code: str, settings: Settings, protocol: str = "cv5") -> Result:
    return next(iter(execute(plan(code, ["image_stats"], protocols=(protocol,)), settings)))


def test_classes_are_fitted_by_the_values_that_they_are_cut_from(
    done: Settings, data: Path
) -> None:
    """EF below 50 by EF, of both data sets where one is fitted on and the other tested."""
    read = Data(done)
    for code, fitted in (("d0-A4-C>E", ("camus", "echonet")), ("d0-A4-C", ("camus",))):
        task = TASKS[code]
        values = read.values_of_classes(task)
        rows = read.rows(task)
        assert values is not None
        assert ((values < 50) == rows.answers).all()
        assert len(values) == len(rows.items)
        assert task.datasets == fitted
    assert read.values_of_classes(TASKS["b1-A4-C"]) is None
    result = next(r for r in load_results(done.results) if r.task == "d0-A4-C>E")
    assert result.settings["head_version"] == 2
    assert all(fold["choice"]["fitted_on"] == "EF" for fold in result.folds)
    of_values = next(r for r in load_results(done.results) if r.task == "b0-A4-C>E")
    assert of_values.settings["head_version"] == 1


def test_a_class_without_the_value_that_it_is_cut_from_is_named(
    done: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Data(done)
    task = TASKS["d0-A4-C"]
    rows = read.rows(task)
    fewer = replace(rows, items=rows.items[1:], answers=rows.answers[1:].astype(float))
    monkeypatch.setattr(read, "rows", lambda asked: rows if asked == task else fewer)
    with pytest.raises(
        LayoutError, match=rf"{re.escape(rows.items[0])} has a class of 'CM' and no value of 'EF'"
    ):
        read.values_of_classes(task)


# --- which pairs ---


def test_a_cell_is_made_of_two_rows_of_the_menu() -> None:
    cell, tested = TASKS["b0-A4-C>P"], TASKS["b0-A4-P"]
    assert (cell.code, cell.fit_on, cell.dataset) == ("b0-A4-C>P", "camus", "pediatric")
    assert (cell.metric, cell.low, cell.high, cell.views) == (
        tested.metric,
        tested.low,
        tested.high,
        tested.views,
    )
    assert cell.parts == ("b0-A4-C", "b0-A4-P")
    assert cell.datasets == ("camus", "pediatric")
    assert "anchor of b0-A4-P" in cell.anchors.low_source
    assert find("b0-A4-C>P,b0-A4-P") == [cell, tested]
    assert "b0-A4-C>P" not in list(TASKS)


@pytest.mark.parametrize(
    ("code", "error", "said"),
    [
        ("b0-A4-C>C", UnsupportedOptionError, "names one dataset twice; its own cell is b0-A4-C"),
        ("b6-A4-C>E", UnsupportedOptionError, "b6-A4-C and b6-A4-E differ in clip"),
        ("b0-A4-C>T", UnknownNameError, "No task is called 'b0-A4-T'"),
        ("a2-A4-C>E", UnknownNameError, "No task is called 'a2-A4-E'"),
        ("b0-A4-C>Q", UnknownNameError, "No dataset code is called 'Q'"),
    ],
)
def test_other_pairs_are_refused(code: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        find(code)


def test_classes_must_be_the_same() -> None:
    with pytest.raises(IncompatibleError, match="tmed and unity differ in the classes of view"):
        plan("c2-AL-T>U", ["image_stats"])


@pytest.mark.parametrize("code", ["e0-AL-D>H", "e0-AL-H>D", "e1-AL-D>H", "e1-AL-H>D"])
def test_two_forms_of_one_release_are_no_pair(code: str) -> None:
    with pytest.raises(UnsupportedOptionError, match="hold the same patients"):
        plan(code, ["image_stats"])


def test_the_list_of_pairs() -> None:
    codes = [row[0] for row in TABLES["cross"]().rows]
    assert {"a0-A4-C>E", "b0-A4-C>P", "b1-A4-E>P", "d0-A4-P>C", "b8-A4-E>P"} < set(codes)
    assert not {"c2-AL-T>U", "b6-A4-C>E", "b0-A4-C>C"} & set(codes)
    assert len(set(codes)) == len(codes) == 36
    assert plan(codes, ["image_stats"], protocols=("cv",))


# --- who is fitted on, who is tested ---


def rows(parts: Mapping[str, int], name: str) -> Rows:
    split = [part for part, n in parts.items() for _ in range(n)]
    ids = tuple(f"{name}{i}" for i in range(len(split)))
    return Rows(
        ids,
        np.array(["p1", *ids[1:]]),
        np.array(split),
        np.arange(len(ids))[:, None],
        np.arange(len(ids), dtype=float),
        (None,) * len(ids),
        ((f"{name}x", "no EF"),),
        ids,
        ids,
    )


WHOLE = {"train": 8, "val": 3, "test": 4}


@pytest.mark.parametrize(
    ("protocol", "tested", "inner"), [("official", range(26, 30), 1), ("cv4", range(15, 30), 4)]
)
def test_splits(protocol: str, tested: range, inner: int) -> None:
    joined = cross.joined_rows(rows(WHOLE, "a"), rows(WHOLE, "b"), 100)
    (split,) = cross.splits(joined, protocol=protocol, n_fold=3, seed=0)
    assert split.train.tolist() == list(range(11))
    assert split.test.tolist() == list(tested)
    assert len(split.inner) == inner
    assert sorted(np.concatenate(split.inner)) == (
        [8, 9, 10] if protocol == "official" else list(range(11))
    )
    assert not set(joined.patients[split.train]) & set(
        joined.patients[split.test]
    )  # both have a p1
    assert joined.frames[15:, 0].tolist() == list(range(100, 115))
    assert joined.items[15:] == rows(WHOLE, "b").items
    assert joined.missing == (("fit on ax", "no EF"), ("bx", "no EF"))


def test_splits_where_a_part_is_missing() -> None:
    everybody = cross.joined_rows(rows({"": 10}, "a"), rows(WHOLE, "b"), 10)
    for protocol in ("official", "cv5"):
        (split,) = cross.splits(everybody, protocol=protocol, n_fold=5, seed=0)
        assert split.train.tolist() == list(range(10))
        assert len(split.inner) == 5
    with pytest.raises(IncompatibleError, match="has the protocols official and cv"):
        cross.splits(everybody, protocol="few5", n_fold=5, seed=0)
    for fitted, tested, said in (
        (WHOLE, {"train": 5}, "in the test part"),
        ({"test": 5}, WHOLE, "to fit on"),
    ):
        with pytest.raises(SplitError, match=said):
            cross.splits(
                cross.joined_rows(rows(fitted, "a"), rows(tested, "b"), 9),
                protocol="official",
                n_fold=5,
                seed=0,
            )


def test_joined_maps_are_one_map() -> None:
    parts = [
        np.random.default_rng(i).random((n, 3, 2, 2)).astype(np.float16)
        for i, n in enumerate((4, 6))
    ]
    joined, whole = lazy.JoinedMap(parts), np.concatenate(parts)
    assert (joined.shape, len(joined), joined.dtype) == (whole.shape, 10, whole.dtype)
    for index in (slice(2, 7), slice(0, 3), np.array([9, 0, 4, 4]), np.arange(10) % 2 == 0, 5):
        assert (joined[index] == whole[index]).all()
    assert (np.asarray(joined) == whole).all()


# --- a cell by hand ---


def test_a_cell_is_what_its_words_say(data: Path, done: Settings) -> None:
    """Features of both made apart; a stack on the 11 patients of CAMUS outside its test part, asked of EchoNet's."""
    card, pooled, found = backbones.card("image_stats"), [], []
    for name, code in (("camus", "b0-A4-C"), ("echonet", "b0-A4-E")):
        source = datasets.source(name, data / name)
        frames = annotated_frames(source)
        mine = task_rows(TASKS[code], source, frames)
        features = row_features(
            frame_features(source, frames, card, cache=None, maps=False).features, mine, maps=False
        )
        keep = (
            np.flatnonzero(mine.parts != "test")
            if name == "camus"
            else np.flatnonzero(mine.parts == "test")
        )
        pooled.append({k: v[keep] for k, v in features.pooled.items()})
        found.append((mine, keep))
    (fitted, fit), (tested, test) = found
    joined = Features({k: np.concatenate([p[k] for p in pooled]) for k in pooled[0]})
    n, part = len(fit), fitted.parts[fit]
    split = etab.types.RowSplit(
        np.arange(n), (np.flatnonzero(part == "val"),), n + np.arange(len(test)), "official"
    )
    answers = np.concatenate([fitted.answers[fit], tested.answers[test]])
    people = np.array([*fitted.patients[fit], *tested.patients[test]])
    (wanted,) = heads.head("stack").cross_fit(
        joined, answers, people, [split], source.card.target("EF"), rng=np.random.default_rng(0)
    )
    result = one("b0-A4-C>E", done, "official")
    table = result.predictions(done.results)
    assert table.items == tuple(tested.items[i] for i in test)
    assert table.columns["score"] == pytest.approx(wanted.predictions, rel=1e-3)
    assert table.columns["truth"] == pytest.approx(tested.answers[test], rel=1e-6)
    assert result.n_train == n == 11


# --- what a result says ---


def test_results_carry_both_data(data: Path, done: Settings) -> None:
    for code in CELLS.split(","):
        cell, result = TASKS[code], one(code, done)
        assert result.dataset == cell.dataset
        assert result.phantom
        assert result.data_digest == datasets.source(cell.dataset, data / cell.dataset).digest()
        assert result.settings["fit_on"] == cell.fit_on
        assert (
            result.settings["fit_data_digest"]
            == datasets.source(cell.fit_on, data / cell.fit_on).digest()
        )
        assert [f["name"] for f in result.folds] == ["everybody"]
        assert result.nested is None
        assert set(result.predictions(done.results).patients) <= {
            r.patient for r in datasets.source(cell.dataset, data / cell.dataset).records()
        }
    assert one("a0-A4-C>E", done).value > 0.5


@pytest.mark.slow
def test_phantom_if_either_is(
    done: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CamusSource, "phantom", property(lambda self: False))
    for code in ("d0-A4-C>E", "d0-A4-E>C"):
        assert one(code, replace(done, results=tmp_path)).phantom


def test_other_data_to_fit_on_is_another_result(data: Path, done: Settings, tmp_path: Path) -> None:
    run = plan("b0-A4-C>E", ["image_stats"], protocols=("cv5",))[0]
    assert finished(run, done) is not None
    copy = tmp_path / "data"
    for name in ("camus", "echonet"):
        shutil.copytree(data / name, copy / name)
    cfg = next((copy / "camus").rglob("Info_4CH.cfg"))
    cfg.write_text(cfg.read_text().replace("Age: ", "Age: 1"))
    with pytest.raises(ResultError, match=r"different.*fit data digest"):
        finished(run, replace(done, root=copy))


def test_cells_share_features_with_the_datasets_own(
    done: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(
        frames, "frame_features", lambda *a, **k: seen.append(out := frame_features(*a, **k)) or out
    )
    one("d0-A4-P>E", done)
    assert [f.from_cache for f in seen] == [True, True]
    own, both = (
        plan(codes, ["image_stats", "pixel_pca"], protocols=("cv5",))
        for codes in ("b0-A4-C,b0-A4-E", "b0-A4-C,b0-A4-C>E")
    )
    assert (len(groups(own)), len(groups(both))) == (4, 2)


# --- Python, the command, the board ---


def test_from_python(data: Path, done: Settings) -> None:
    score = etab.evaluate(
        "image_stats", tasks="b1-A4-E>P", root=data, results=done.results, cache=done.cache
    )
    assert [row["task"] for row in score.tasks] == ["b1-A4-E>P"]
    assert score.phantom
    assert score.tasks[0]["value"] == one("b1-A4-E>P", done).value


def test_from_the_command(data: Path, done: Settings) -> None:
    words = (
        "run",
        "--tasks",
        "b0-A4-C>E",
        "--backbones",
        "image_stats",
        "--protocol",
        "cv",
        "--results",
        done.results,
    )
    said = command(*words, "--root", data, "--cache", done.cache, "--workers", 1)
    assert said.stdout.startswith("0 cells computed, 1 already finished"), said.stderr
    said = command(*words, "--cache", done.cache, "--workers", 1, ETAB_DATA=str(data))
    assert said.stdout.startswith("0 cells computed, 1 already finished"), said.stderr
    said = command("run", "--tasks", "b0-A4-C>C", "--backbones", "image_stats")
    assert said.returncode == 2
    assert "names one dataset twice" in said.stderr


def test_a_board_shows_cells_beside_its_score(tmp_path: Path) -> None:
    skills = {"strong": 0.9, "weak": 0.4}
    results = made.board(tmp_path, skills)
    alone = rank(results, made.suite(), folder=tmp_path, draws=200)
    assert alone.beside == ()
    assert "Beside the score" not in board_markdown(alone, datasets.cards())
    fit = {"family": "cnn", "fit_on": "echonet", "fit_data_digest": "12" * 32}
    cells = [
        made.save(tmp_path, "b0-A4-E>C", name, skill, noise=7, settings=fit)
        for name, skill in skills.items()
    ]
    cells.append(made.save(tmp_path, "b6-A4-C", "strong", 0.7, noise=8))
    board = rank([*results, *cells], made.suite(), folder=tmp_path, draws=200)
    assert [(r.task, r.backbone) for r in board.beside] == [
        ("b0-A4-E>C", "strong"),
        ("b0-A4-E>C", "weak"),
        ("b6-A4-C", "strong"),
    ]
    assert [(r.backbone, r.etab, r.low, r.high, r.cells.keys()) for r in board.rows] == [
        (r.backbone, r.etab, r.low, r.high, r.cells.keys()) for r in alone.rows
    ]
    assert "| b0-A4-E>C | ejection fraction, A4C, fitted on echonet | strong |" in board_markdown(
        board, datasets.cards()
    )
    assert (
        board_csv(board, datasets.cards())
        .splitlines()[-1]
        .startswith("strong,pretrained,,,,,,,,,,b6-A4-C,mae,")
    )
    assert len(board_facts(board, datasets.cards())["beside"]["rows"]) == 3
    assert beside_table(board, datasets.cards()).row_count == 3
    other = made.changed(cells[1], settings={**fit, "fit_data_digest": "34" * 32})
    with pytest.raises(ResultError, match="differ in fit_data_digest"):
        rank([*results, cells[0], other], made.suite(), folder=tmp_path, draws=200)
    with pytest.raises(MixedDataError, match="Phantom and real"):
        rank(
            [*results, made.changed(cells[0], phantom=False)],
            made.suite(),
            folder=tmp_path,
            draws=200,
        )
