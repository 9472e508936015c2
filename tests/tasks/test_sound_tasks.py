"""Tasks of heart sounds: rows, windows, units, metrics by hand, states by a head, boards, and what echo keeps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from etab import backbones, datasets, phantom
from etab.datasets import Cinc2016Source, CircorSource
from etab.errors import IncompatibleError, UndefinedError, UnsupportedOptionError
from etab.features import windows
from etab.leaderboard import summary
from etab.leaderboard.page import board_facts
from etab.leaderboard.ranking import rank_folder
from etab.leaderboard.render import board_markdown
from etab.leaderboard.suites import Suite, suite_named
from etab.metrics.base import METRICS
from etab.metrics.basic import evaluate, evaluate_rows
from etab.metrics.challenge2022 import cost_2022, weighted_accuracy_2022
from etab.metrics.cinc2016 import TRAINING_2016, cinc2016
from etab.metrics.columns import ScoredRows
from etab.results import load_results
from etab.runs import cell as runs
from etab.runs import execute
from etab.runs import run as runs_run
from etab.runs.data import Data
from etab.runs.sweep import backbone_names
from etab.tasks.aggregate import reduce
from etab.tasks.menu import TASKS, find
from etab.types import Kind

SOUNDS = ("e0-AL-D", "e1-AL-D", "f0-PH-N", "f1-AL-D", "f2-AL-D")
NOBODY = np.zeros(0)


@pytest.fixture(scope="module")
def made(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["circor", "cinc2016"], patients=14, seed=5)


@pytest.fixture(scope="module")
def board(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the controls on the phantom trees, five folds and lodo."""
    results = tmp_path_factory.mktemp("board")
    for name, cards in (
        ("circor", ["envelopes", "constant"]),
        ("cinc2016", ["envelopes", "constant", "database_only"]),
    ):
        settings = runs_run.Settings(root=made / name, results=results, cache=results / "cache")
        plan = runs_run.plan(name, cards, protocols=("lodo", "cv"), n_fold=3)
        assert len(list(execute.execute(plan, settings))) == len(plan)
    return results


# --- rows ---


def test_windows_cover_a_recording() -> None:
    assert windows.window_starts(3.0) == [0.0]
    assert windows.window_starts(5.0) == [0.0]
    assert windows.window_starts(7.4) == [0.0]
    assert windows.window_starts(7.6) == [0.0, pytest.approx(2.6)]
    assert windows.window_starts(12.5) == [0.0, 5.0, 7.5]
    assert windows.window_starts(15.0) == [0.0, 5.0, 10.0]


def test_rows_are_recordings_or_windows(made: Path) -> None:
    source = CircorSource(made / "circor")
    keys = windows.windows(source)
    task = TASKS["f1-AL-D"]
    whole = windows.sound_task_rows(task, source, keys)
    cut = windows.sound_task_rows(replace(task, inputs="window"), source, keys)
    assert len(whole.items) == len(source.records())
    assert len(cut.items) == len(keys) > len(whole.items)
    assert set(cut.records) == set(whole.records)
    assert set(whole.patients) == {r.patient for r in source.records()}
    assert set(whole.units) == {
        r.meta["id"] for r in source.records()
    }  # scored by id, split by person
    assert len(set(whole.units)) > len(set(whole.patients))
    assert set(whole.extras) == {"outcome"}


def test_features_of_a_recording_are_the_mean_of_its_windows(made: Path) -> None:
    from etab.types import Features

    source = CircorSource(made / "circor")
    keys = windows.windows(source)
    rows = windows.sound_task_rows(TASKS["f2-AL-D"], source, keys)
    values = np.arange(len(keys), dtype=np.float32)[:, None]
    found = windows.sound_row_features(Features({"a": values}), rows).pooled["a"][:, 0]
    for i, name in enumerate(rows.records):
        assert found[i] == pytest.approx(
            np.mean([k for k, key in enumerate(keys) if key[0].id == name])
        )


def test_states_without_a_sound_give_no_row(made: Path) -> None:
    source = CircorSource(made / "circor")
    rows = windows.sound_task_rows(TASKS["e0-AL-D"], source, windows.windows(source))
    assert len(rows.items) + len(rows.missing) == len(source.records())
    assert rows.missing  # the state file that is the one line "0 0 28"
    assert all(len(a) and np.isin(a, (0, 2)).any() for a in rows.answers)


def test_cinc_rows_know_database_and_quality(made: Path) -> None:
    source = Cinc2016Source(made / "cinc2016")
    rows = windows.sound_task_rows(TASKS["f0-PH-N"], source, windows.windows(source))
    assert {"group", "clean"} <= set(rows.extras)
    assert [r[0] for r in rows.records] == list(rows.groups)


# --- putting together ---


def test_the_gravest_recording_decides() -> None:
    columns = {
        "truth": np.zeros(2),
        "score_0": np.array([0.1, 0.6]),
        "score_1": np.array([0.5, 0.1]),
        "score_2": np.array([0.4, 0.3]),
    }
    _, found = reduce("any_present", columns, ["p", "p"], ["r", "s"])
    assert [found[f"score_{k}"][0] for k in range(3)] == pytest.approx([0.6, 0.1, 0.3])
    _, mean = reduce("recordings", columns, ["p", "p"], ["r", "s"])
    assert [mean[f"score_{k}"][0] for k in range(3)] == pytest.approx([0.35, 0.3, 0.35])
    _, two = reduce(
        "any_present", {"truth": np.ones(2), "score": np.array([0.2, 0.7])}, ["p", "p"], ["r", "s"]
    )
    assert two["score"].tolist() == [0.7]


def test_places_count_alike_however_often_they_were_heard() -> None:
    columns = {"truth": np.ones(3), "score": np.array([0.0, 0.2, 0.9])}
    _, found = reduce("locations", columns, ["p"] * 3, ["r", "s", "t"], ["MV", "MV", "AV"])
    assert found["score"] == pytest.approx([0.5])


@pytest.mark.slow
def test_another_aggregation_acts_and_is_recorded(made: Path, tmp_path: Path) -> None:
    settings = runs_run.Settings(root=made / "circor", results=tmp_path, cache=None)
    found = {}
    for name in (None, "any_present", "windows"):
        plan = runs_run.plan("f1-AL-D", ["envelopes"], protocols=("cv",), n_fold=3, aggregate=name)
        settings = replace(settings, results=tmp_path / str(name))
        found[name] = next(iter(execute.execute(plan, settings)))
    assert {name: r.settings["aggregate"] for name, r in found.items()} == {
        None: "recordings",
        "any_present": "any_present",
        "windows": "windows",
    }
    assert found["windows"].settings["rows"] == "window"
    assert found["windows"].n_train > found[None].n_train
    assert len({r.predictions_sha256 for r in found.values()}) == 3
    plan = runs_run.plan(
        "f1-AL-D", ["envelopes"], protocols=("cv",), n_fold=3, aggregate="locations"
    )
    from etab.errors import ResultError

    with pytest.raises(ResultError, match="aggregate"):
        execute.finished(plan[0], replace(settings, results=tmp_path / "None"))


def test_an_aggregation_that_cannot_act_is_refused() -> None:
    run = runs_run.Run("e1-AL-D", "mel_stats", protocol="cv", aggregate="mean")
    with pytest.raises(IncompatibleError, match="nothing to combine"):
        run.check()
    with pytest.raises(IncompatibleError, match="Nothing to run"):
        runs_run.plan("e1-AL-D", ["mel_stats"], protocols=("cv",), aggregate="mean")


# --- metrics ---


def test_metrics_of_sounds_leave_echo_alone() -> None:
    plain = {"truth": np.array([0.0, 1, 1]), "score": np.array([0.1, 0.4, 0.9])}
    assert set(evaluate(Kind.BINARY, plain, np.arange(3))) == {
        "auroc",
        "auroc_pooled",
        "auprc",
        "auprc_pooled",
        "balanced_accuracy",
    }
    with pytest.raises(UndefinedError, match="needs the column 'answer'"):
        METRICS["macc"](plain, np.arange(3))


def test_challenge_2022_is_the_official_score() -> None:
    truth, answer = np.array([0, 0, 1, 2, 2, 2.0]), np.array([0, 2, 1, 2, 0, 1.0])
    outcome = np.array([1, 1, 0, 0, 1, 0.0])
    columns = {
        "truth": truth,
        "answer": answer,
        "outcome": outcome,
        **{f"score_{k}": np.eye(3)[answer.astype(int)][:, k] for k in range(3)},
    }
    got = evaluate(Kind.CLASSES, columns, np.arange(6))
    hot = np.eye(3)
    assert got["weighted_accuracy"] == pytest.approx(
        weighted_accuracy_2022(hot[truth.astype(int)], hot[answer.astype(int)], (5, 3, 1)),
        abs=1e-12,
    )
    assert got["cost"] == pytest.approx(cost_2022(outcome == 1, answer != 2), abs=1e-9)
    two = {"truth": outcome, "answer": 1 - outcome, "score": 1 - outcome, "outcome": outcome}
    assert METRICS["cost"](two, np.arange(6)) == pytest.approx(
        cost_2022(outcome == 1, outcome == 0), abs=1e-9
    )
    labels = np.stack([outcome == 1, outcome == 0], axis=1)
    assert (
        METRICS["weighted_accuracy"](two, np.arange(6))
        == weighted_accuracy_2022(labels, ~labels, (5, 1))
        == 0
    )


def test_constant_answers_have_the_published_golden_values() -> None:
    murmur = np.repeat([0.0, 1.0, 2.0], [179, 68, 695])
    sick = np.concatenate([np.arange(179) < 150, np.arange(68) < 43, np.arange(695) < 263]).astype(
        float
    )
    table = {
        "truth": murmur,
        "answer": np.zeros(942),
        "outcome": sick,
        **{f"score_{k}": np.full(942, 1 / 3) for k in range(3)},
    }
    assert METRICS["weighted_accuracy"](table, murmur) == pytest.approx(0.4989, abs=5e-5)
    assert METRICS["f_measure"](table, murmur) == pytest.approx(0.1065, abs=5e-5)
    assert (
        METRICS["cost"](table, murmur)
        == pytest.approx(14850.7643, abs=5e-5)
        == TASKS["f2-AL-D"].low
    )
    assert METRICS["cost"]({**table, "answer": np.full(942, 2.0)}, murmur) == pytest.approx(
        24238.8217, abs=5e-5
    )
    right = {"truth": sick, "answer": sick, "score": sick, "outcome": sick}
    assert METRICS["cost"](right, sick) == pytest.approx(TASKS["f2-AL-D"].high, abs=5e-5)


def test_recordings_without_a_mark_of_quality_are_in_no_official_score() -> None:
    """The organisers withdrew them; the plain scores count them."""
    columns = {
        "truth": np.array([1.0, 1.0, 0.0, 0.0, 0.0]),
        "answer": np.array([1.0, 0.0, 0.0, 0.0, 1.0]),
        "clean": np.array([1.0, 1.0, 1.0, 0.0, -1.0]),
    }
    columns["score"] = columns["answer"]
    values = evaluate(Kind.BINARY, columns, np.arange(5))
    assert values["sp_2016"] == 1.0
    assert values["se_2016"] == 0.5
    assert values["sp"] == pytest.approx(2 / 3)


def test_a_release_with_some_marks_says_which_recordings_have_none(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Cinc2016Source(made / "cinc2016")
    first, *others = source.records()
    meta = {name: value for name, value in first.meta.items() if name != "good"}
    records = [replace(first, meta=meta), *others]
    monkeypatch.setattr(source, "records", lambda: records)
    rows = windows.sound_task_rows(TASKS["f0-PH-N"], source, windows.windows(source))
    clean = dict(zip(rows.items, rows.extras["clean"].tolist(), strict=True))
    assert clean[first.id] == -1
    assert {0.0, 1.0} <= set(clean.values())


def test_both_rules_of_2016() -> None:
    rng = np.random.default_rng(0)
    truth, clean = (rng.random(80) < 0.5).astype(float), (rng.random(80) < 0.8).astype(float)
    answer = rng.choice([0.0, 0.5, 1.0], 80)
    columns = {"truth": truth, "score": answer, "answer": answer, "clean": clean}
    official = cinc2016(2 * truth - 1, 2 * answer - 1, clean, TRAINING_2016)
    got = evaluate(Kind.BINARY, columns, np.arange(80))
    assert [got[k] for k in ("se_2016", "sp_2016", "macc_2016")] == pytest.approx(
        [official.se, official.sp, official.macc], abs=1e-12
    )
    assert got["se"] == pytest.approx(np.where(answer == 0.5, 0.5, answer)[truth == 1].mean())


def test_databases_count_alike() -> None:
    columns = {
        "truth": np.array([1.0, 0, 1, 1, 0, 0, 1, 1]),
        "answer": np.array([1.0, 0, 0, 0, 1, 1, 1, 1]),
        "score": np.zeros(8),
        "group": np.array([0, 0, 1, 1, 1, 1, 2, 2.0]),
    }
    assert (
        METRICS["macro_macc"](columns, np.arange(8)) == 0.5
    )  # 1 and 0; the third has one class only
    assert METRICS["macc"](columns, np.arange(8)) == pytest.approx((3 / 5 + 1 / 3) / 2)


# --- runs ---


@pytest.mark.slow
def test_every_task_runs(board: Path) -> None:
    found = {(r.task, r.protocol, r.backbone): r for r in load_results(board)}
    assert {task for task, _, _ in found} == set(SOUNDS)
    assert {p for t, p, _ in found if t == "f0-PH-N"} == {"lodo", "cv3"}
    states = found["e0-AL-D", "cv3", "envelopes"]
    assert states.head == "hsmm_wavelet"
    assert states.value > 0.8
    assert set(states.metrics) >= {"f1_60", "se_100", "ppv_100", "frame_accuracy"}
    assert found["e1-AL-D", "cv3", "envelopes"].value < found["e1-AL-D", "cv3", "constant"].value
    assert {"se", "sp", "macc", "macc_2016", "macro_auroc"} <= set(
        found["f0-PH-N", "lodo", "envelopes"].metrics
    )
    assert {"cost", "auroc", "auprc", "f_measure"} <= set(
        found["f1-AL-D", "cv3", "envelopes"].metrics
    )
    murmur = found["f1-AL-D", "cv3", "envelopes"]
    assert murmur.n_test == 14 > murmur.n_patients == 12
    assert all("factors" in fold["choice"] for fold in murmur.folds)


def test_a_constant_answer_is_worth_what_it_is(board: Path) -> None:
    cells = {(r.task, r.protocol): r for r in load_results(board) if r.backbone == "constant"}
    assert cells["f0-PH-N", "lodo"].value == pytest.approx(0.5, abs=0.05)
    table = cells["f2-AL-D", "cv3"].predictions(board).columns
    assert set(table["answer"]) == {1.0}
    assert cells["f2-AL-D", "cv3"].value == pytest.approx(
        cost_2022(table["outcome"] == 1, table["answer"] == 1)
    )


def test_results_say_what_the_source_says(board: Path) -> None:
    cells = {(r.task, r.protocol): r for r in load_results(board)}
    assert any("Additional ID" in note for note in cells["f1-AL-D", "cv3"].settings["notes"])
    assert any("share databases" in note for note in cells["f0-PH-N", "cv3"].settings["notes"])
    assert not any("share databases" in note for note in cells["f0-PH-N", "lodo"].settings["notes"])


def test_a_second_run_reads_what_is_done(board: Path, made: Path) -> None:
    settings = runs_run.Settings(root=made / "circor", results=board, cache=board / "cache")
    for run in runs_run.plan("circor", ["constant"], protocols=("lodo", "cv"), n_fold=3):
        assert execute.finished(run, settings) is not None


def test_states_are_left_to_backbones_with_time() -> None:
    some = {"e1-AL-D", "f1-AL-D", "f2-AL-D"}
    assert {r.task for r in runs_run.plan("circor", ["timing_features"], protocols=None)} == some
    assert {r.task for r in runs_run.plan("circor", ["mel_stats"], protocols=None)} == some | {
        "e0-AL-D"
    }
    with pytest.raises(IncompatibleError, match="has no layers over time"):
        runs_run.Run("e0-AL-D", "timing_features", protocol="cv").check()


def test_controls_of_sound_do_not_see_pictures() -> None:
    with pytest.raises(IncompatibleError, match="camus holds pictures"):
        runs_run.Run("b0-A4-C", "constant", protocol="cv").check()
    with pytest.raises(UnsupportedOptionError, match="no random twin"):
        backbones.card("random/demographics")


def test_demographics_hear_nothing(made: Path) -> None:
    source = CircorSource(made / "circor")
    keys = windows.windows(source)
    found = backbones.card("demographics").load().describe(source, keys).pooled["facts/all"]
    assert found.shape[0] == len(keys)
    assert np.isfinite(found).all()
    of = {record.meta["id"]: row for (record, _, _), row in zip(keys, found.tolist(), strict=True)}
    for (record, _, _), row in zip(keys, found.tolist(), strict=True):
        assert row == of[record.meta["id"]]


# --- suites and boards ---


def test_suites_of_the_three_scores() -> None:
    echo, sounds, both = (suite_named(n) for n in ("echo", "sounds", "all"))
    assert echo.tasks == suite_named("camus").tasks
    assert sounds.tasks == SOUNDS
    assert both.tasks == echo.tasks + sounds.tasks
    assert {t[0] for t in echo.tasks} == set("abcd")
    assert both.protocols == sounds.protocols == {"f0-PH-N": "lodo"}
    shares = dict(zip(both.tasks, both.weights({}, {}), strict=True))
    assert shares["e0-AL-D"] == shares["e1-AL-D"] == pytest.approx(1 / 12)
    with pytest.raises(UnsupportedOptionError, match="protocols has"):
        Suite.from_toml(
            'name = "x"\nversion = 1\ntasks = ["f1-AL-D"]\n[protocols]\nf0-PH-N = "lodo"\n'
        )


def test_the_board_takes_f0_by_lodo_and_says_so(board: Path) -> None:
    found = rank_folder(board, "sounds", protocol="cv3")
    rows = {r.backbone: r for r in found.rows}
    assert rows["envelopes"].cells["f0-PH-N"].protocol == "lodo"
    assert rows["envelopes"].rank_low is not None
    assert rows["database_only"].rank_low is None
    text = board_markdown(found, datasets.cards())
    assert "by another one: f0-PH-N (lodo)" in text
    assert "Shown and not counted" not in text
    idle = rank_folder(board, "sounds", protocol="cv3", task_weights={"e0-AL-D": 0})
    assert "Shown and not counted: e0-AL-D" in board_markdown(idle, datasets.cards())
    assert "Additional ID" in text
    want = np.mean(
        [
            np.mean(
                [
                    TASKS[t].anchored(rows["envelopes"].cells[t].value)
                    for t in ("e0-AL-D", "e1-AL-D")
                ]
            ),
            np.mean(
                [
                    TASKS[t].anchored(rows["envelopes"].cells[t].value)
                    for t in ("f0-PH-N", "f1-AL-D", "f2-AL-D")
                ]
            ),
        ]
    )
    assert rows["envelopes"].etab == pytest.approx(want)


def test_pooled_folds_stand_beside_database_only(board: Path) -> None:
    found = rank_folder(board, "sounds-pooled", protocol="cv3")
    assert any(
        note.startswith("f0-PH-N (cv3), pooled over databases: database_only has AUROC")
        for note in found.notes
    )
    assert any("share databases" in note for note in found.notes)


def test_the_parts_are_shown_where_there_are_two(board: Path) -> None:
    found = rank_folder(board, "all", protocol="cv3")
    assert summary.score_parts(found) == ["echo", "heart sounds"]
    row = next(r for r in found.rows if r.backbone == "envelopes")
    assert row.rank_low is None  # echo is missing
    alone = rank_folder(board, "sounds", protocol="cv3")
    assert summary.part_mean(row, "heart sounds", found) == pytest.approx(
        next(r for r in alone.rows if r.backbone == "envelopes").etab
    )
    assert summary.part_mean(row, "echo", found) is None
    assert "ETAB of heart sounds" in board_markdown(found, datasets.cards())
    assert "heart sounds" in board_facts(found, datasets.cards())["parts"]
    assert summary.score_parts(alone) == []


def test_find_keeps_echo_the_default() -> None:
    assert {t.dataset for t in find(None)} == {"camus"}
    assert {t.code for t in find("circor")} >= {"e0-AL-D", "e1-AL-D", "f1-AL-D", "f2-AL-D"}
    assert math.isclose(TASKS["e1-AL-D"].low, 16.212)


def test_committed_results_are_those_of_today() -> None:
    folder = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
    results = [r for r in load_results(folder) if r.task in ("b0-A4-C", "d0-A2-C", "c0-AX-C")]
    assert len(results) > 20
    for r in results[:12]:
        table = r.predictions(folder)
        scored = evaluate_rows(ScoredRows.of(table))
        assert scored == pytest.approx(dict(r.metrics), rel=1e-12)
        run = runs_run.Run(r.task, r.backbone, protocol=r.protocol)
        now = runs.settings_of(run, r.settings["precision"], Data(runs_run.Settings()))
        assert {k: r.settings.get(k) for k in now} == now


@pytest.mark.real
@pytest.mark.slow
def test_real_states_reach_the_target(real_data: Path, tmp_path: Path) -> None:
    settings = runs_run.Settings(root=real_data / "circor", results=tmp_path)
    found = next(
        iter(execute.execute(runs_run.plan("e0-AL-D", ["envelopes"], protocols=None), settings))
    )
    assert found.value > 0.80


def test_all_backbones_of_a_sound_task_hear() -> None:
    heard, seen = backbone_names(["all"], ["f1-AL-D"]), backbone_names(["all"], ["a0-A4-C"])
    assert set(seen) < set(heard)
    assert {"resemblyzer", "random/resemblyzer", "mel_stats", "demographics"} <= set(heard) - set(
        seen
    )
    assert backbone_names(["all"], ["f1-AL-D", "a0-A4-C"]) == seen


@pytest.mark.slow
def test_the_murmur_of_a_place_is_a_task_beside_the_boards(tmp_path: Path) -> None:
    """A row is a recording: whether its place is among those where the murmur was noted."""
    phantom.write(tmp_path, patients=14, seed=2, names=["circor"])
    root = tmp_path / "circor"
    source = CircorSource(root)
    task = TASKS["f3-AL-D"]
    assert task.extra
    assert task not in find("circor")
    runs = runs_run.plan("f3", ["mel_stats"], protocols=("cv",))
    (cell,) = execute.execute(runs, runs_run.Settings(root=root, results=tmp_path / "results"))
    table = cell.predictions(tmp_path / "results")
    truth = dict(zip(table.items, table.columns["truth"].tolist(), strict=True))
    wanted = {
        record.id: float(record.view in record.meta["murmur_locations"])
        for record in source.records()
        if record.meta["murmur"] != "Unknown"
    }
    assert truth == wanted
    assert 0 < sum(wanted.values()) < len(wanted)
