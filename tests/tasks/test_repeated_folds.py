"""Repeated, class-stratified folds of people: the splits, the tables they give, and the runs made of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from etab.cli.main import app
from etab.errors import IncompatibleError, ResultError, SplitError
from etab.heads.base import Memo
from etab.leaderboard.frames import results_frame
from etab.leaderboard.ranking import rank
from etab.leaderboard.suites import Suite
from etab.metrics import METRICS, evaluate_rows
from etab.metrics.columns import ScoredRows
from etab.results import Predictions, load_results
from etab.runs import cell
from etab.runs.data import Data
from etab.runs.execute import execute, finished
from etab.runs.record import rng_of
from etab.runs.run import Run, Settings, plan
from etab.splits import folds
from etab.tasks.protocol_rows import splits_of
from etab.tasks.protocols import parse
from etab.tasks.strata import strata_of
from etab.types import Array, Kind

PATIENTS = np.repeat([f"p{i:02d}" for i in range(47)], 2)
PARTS = np.array(["train"] * 94)
SICK = np.repeat(np.arange(47) % 4 == 0, 2).astype(int)
PHASES = np.tile([0, 1], 47)
GRADES = np.repeat(np.arange(47) % 3, 2)
EF = np.repeat(np.linspace(20, 80, 47), 2) + PHASES
CASES = [
    (SICK, Kind.BINARY),
    (PHASES, Kind.BINARY),
    (GRADES, Kind.CLASSES),
    (np.where(PHASES, GRADES, 0), Kind.CLASSES),
    (EF, Kind.VALUE),
    ([np.ones((2, 2), dtype=bool)] * 94, Kind.MASK),
]


@pytest.mark.parametrize(("answers", "kind"), CASES)
def test_each_repeat_tests_every_row_once_and_no_person_is_on_two_sides(
    answers: Any, kind: Kind
) -> None:
    splits = parse("cv5x3").splits(PATIENTS, PARTS, answers, kind, 0)
    assert [(s.repeat, s.name) for s in splits] == [
        (r, f"fold{k}") for r in range(3) for k in range(5)
    ]
    for repeat in range(3):
        of_repeat = [s for s in splits if s.repeat == repeat]
        assert sorted(np.concatenate([s.test for s in of_repeat])) == list(range(94))
        sizes = [len(set(PATIENTS[s.test])) for s in of_repeat]
        assert max(sizes) - min(sizes) <= 1
    for split in splits:
        assert not set(PATIENTS[split.train]) & set(PATIENTS[split.test])
        assert len(split.inner) == 4
        for inner in split.inner:
            assert not set(PATIENTS[inner]) & set(PATIENTS[np.setdiff1d(split.train, inner)])
    assert len({tuple(s.test) for s in splits}) == 15


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("answers", "kind"), [CASES[0], CASES[2]])
def test_classes_are_spread_evenly(answers: Array, kind: Kind, seed: int) -> None:
    for split in parse("cv5x2").splits(PATIENTS, PARTS, answers, kind, seed):
        people, first = np.unique(PATIENTS[split.test], return_index=True)
        counts = np.bincount(answers[split.test][first], minlength=int(answers.max()) + 1)
        whole = np.bincount(answers[::2]) / 5
        assert (np.abs(counts - whole) < 1).all(), (split, people)


def test_values_are_spread_evenly() -> None:
    stratified = parse("cv5x5").splits(PATIENTS, PARTS, EF, Kind.VALUE, 0)
    plain = [
        s for seed in range(5) for s in parse("cv5").splits(PATIENTS, PARTS, EF, Kind.VALUE, seed)
    ]
    spread = [np.std([EF[s.test].mean() for s in splits]) for splits in (stratified, plain)]
    assert spread[0] < spread[1] / 2


def test_classes_and_databases_are_spread_evenly_at_once() -> None:
    groups = [f"database {i // 2 % 3}" for i in range(94)]
    strata = strata_of(PATIENTS, SICK, Kind.BINARY, groups)
    assert strata["p00"] == (1, "database 0")
    fold_of = folds(PATIENTS.tolist(), 5, 0, strata)
    for stratum in set(strata.values()):
        members = [fold_of[p] for p in strata if strata[p] == stratum]
        counts = np.bincount(members, minlength=5)
        assert counts.max() - counts.min() <= 1
    for sick in (0, 1):
        counts = np.bincount([fold_of[p] for p in strata if strata[p][0] == sick], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_folds_forget_the_order_of_rows_and_follow_the_seed() -> None:
    order = np.random.default_rng(0).permutation(94)
    one = parse("cv5x2").splits(PATIENTS, PARTS, SICK, Kind.BINARY, 3)
    other = parse("cv5x2").splits(PATIENTS[order], PARTS, SICK[order], Kind.BINARY, 3)
    for a, b in zip(one, other, strict=True):
        assert set(PATIENTS[a.test]) == set(PATIENTS[order][b.test])
    later = parse("cv5x2").splits(PATIENTS, PARTS, SICK, Kind.BINARY, 4)
    for a, b in zip(one[5:], later[:5], strict=True):
        assert (a.test == b.test).all()


def test_one_draw_is_what_it_was_and_masks_keep_its_folds() -> None:
    masks, kind = CASES[-1]
    once = parse("cv5").splits(PATIENTS, PARTS, masks, kind, 0)
    repeated = parse("cv5x2").splits(PATIENTS, PARTS, masks, kind, 0)
    assert all((a.test == b.test).all() for a, b in zip(once, repeated[:5], strict=True))
    unique = sorted(set(PATIENTS))
    order = np.random.default_rng(2).permutation(47)
    assert folds(PATIENTS.tolist(), 5, 2) == {unique[i]: k % 5 for k, i in enumerate(order)}


def test_draws_of_few_labels_stay_inside_their_fold() -> None:
    splits = parse("cv5x2-4shot-d0").splits(PATIENTS, PARTS, SICK, Kind.BINARY, 0)
    assert len(splits) == 10
    for split in splits:
        assert not set(PATIENTS[split.train]) & set(PATIENTS[split.test])
        assert len(set(PATIENTS[split.train])) == 8
    assert {s.repeat for s in splits} == {0, 1}
    assert set(splits[0].train) != set(splits[5].train)


@pytest.mark.parametrize("name", ["cv5x5", "cv3x10", "cv5x5-10pct-d0", "cv4x2-5shot-d1"])
def test_names_are_read_and_written_back(name: str) -> None:
    assert parse(name).name == name


@pytest.mark.parametrize("name", ["cv5x1", "cv5x0", "cv5x", "cv1x5", "cvx", "officialx5", "lodox2"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(IncompatibleError, match="No protocol is called"):
        parse(name)


@pytest.mark.parametrize("ending", ["finetune", "partial2", "finetune-from:a0-A4-C"])
def test_a_backbone_is_not_trained_25_times(ending: str) -> None:
    with pytest.raises(IncompatibleError, match="would train the backbone 25 times"):
        parse(f"cv5x5-{ending}")


def test_too_few_people_are_refused() -> None:
    with pytest.raises(SplitError, match="3 patients cannot make 5 folds"):
        parse("cv5x5").splits(PATIENTS[:6], PARTS[:6], SICK[:6], Kind.BINARY, 0)


def test_a_cross_dataset_cell_has_no_repeats() -> None:
    with pytest.raises(IncompatibleError, match="no repeated folds"):
        plan("b0-A4-E>C", ["image_stats"], protocols=["cv5x5"])
    with pytest.raises(IncompatibleError, match="no folds to repeat; take cv5"):
        Run("b0-A4-E>C", "image_stats", protocol="cv5x5").check()


# --- tables ---


def _table(repeats: tuple[int, ...] = (0, 0, 1, 1), **changes: Any) -> Predictions:
    facts: dict[str, Any] = {
        "kind": Kind.VALUE,
        "items": ("a", "b", "a", "b"),
        "patients": ("p", "q", "p", "q"),
        "folds": ("fold0", "fold1", "fold1", "fold0"),
        "columns": {"truth": [1.0, 2.0, 1.0, 2.0], "score": [1.0, 2.0, 2.0, 5.0]},
    }
    return Predictions(**{**facts, **changes}, repeats=repeats)


def test_a_table_with_repeats_reads_back() -> None:
    table = _table()
    text = table.to_csv()
    assert text.splitlines()[0] == "kind,item,patient,fold,repeat,truth,score"
    again = Predictions.from_csv(text)
    assert (again.items, again.folds, again.repeats) == (table.items, table.folds, (0, 0, 1, 1))
    assert again.to_csv() == text
    assert again.sha256() == table.sha256()


def test_a_table_without_repeats_has_no_such_column() -> None:
    changes = {"items": ("a", "b", "c", "d")}
    assert "repeat" not in _table((0, 0, 0, 0), **changes).to_csv()
    assert _table((), **changes).repeats == (0, 0, 0, 0)
    assert _table((), **changes).sha256() == _table((0, 0, 0, 0), **changes).sha256()


@pytest.mark.parametrize(
    ("repeats", "changes", "words"),
    [
        ((0, 0, 0, 1), {}, "lists a twice in repeat 0"),
        ((0, 0, 1, 1), {"items": ("a", "b", "a", "c")}, "lacks c"),
        ((0, 0, 1), {}, "columns of"),
        ((0, 0, -1, -1), {}, "repeat -1"),
    ],
)
def test_a_table_with_uneven_repeats_is_refused(
    repeats: tuple[int, ...], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ResultError, match=words):
        _table(repeats, **changes)


def test_a_damaged_repeat_is_refused_by_name() -> None:
    with pytest.raises(ResultError, match=r"x\.csv is damaged"):
        Predictions.from_csv("kind,item,patient,fold,repeat,dice\nmask,a,p,f,one,1\n", "x.csv")


def test_a_metric_is_the_mean_over_repeats_of_whole_tables() -> None:
    rows = ScoredRows.of(_table())
    assert METRICS["mae"].value(rows) == pytest.approx((0 + 2) / 2)
    assert METRICS["rmse"].value(rows) == pytest.approx((0 + np.sqrt(5)) / 2)
    weights = np.array([[1, 1, 1, 1], [2, 0, 2, 0]])
    assert METRICS["rmse"].draws(rows, weights) == pytest.approx([np.sqrt(5) / 2, 0.5])


# --- runs ---


@pytest.fixture(scope="module")
def done(phantom_tree: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = phantom_tree(["camus"], patients=20) / "camus"
    folder = tmp_path_factory.mktemp("repeated")
    settings = Settings(root=root, results=folder / "results", cache=folder / "cache")
    words = ["run", "--root", str(root), "--results", str(settings.results)]
    words += ["--cache", str(settings.cache), "--protocol", "cv3x2", "--workers", "1"]
    words += ["--tasks", "a0-A4-C,b0-A4-C,d0-A4-C", "--backbones", "image_stats,pixel_pca"]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    return settings


def test_a_run_keeps_every_prediction_of_every_repeat(done: Settings) -> None:
    results = load_results(done.results)
    assert len(results) == 6
    for result in results:
        table = result.predictions(done.results)
        rows = len(set(table.items))
        assert result.protocol == "cv3x2"
        assert table.repeats == (0,) * rows + (1,) * rows
        assert result.n_test == rows
        assert result.n_patients == 20
        assert [(f["repeat"], f["name"]) for f in result.folds] == [
            (r, f"fold{k}") for r in range(2) for k in range(3)
        ]
        assert sum(f["n_test"] for f in result.folds) == 2 * rows
        assert result.nested is None
        assert result.low <= result.value <= result.high
        assert result.value == evaluate_rows(ScoredRows.of(table))[result.metric]


def test_values_are_means_of_the_repeats(done: Settings) -> None:
    (result,) = [
        r for r in load_results(done.results) if (r.task, r.backbone) == ("b0-A4-C", "pixel_pca")
    ]
    table = result.predictions(done.results)
    error = np.abs(table.columns["score"] - table.columns["truth"]).reshape(2, -1)
    assert result.value == pytest.approx(error.mean(axis=1).mean(), abs=1e-12)
    assert error[0].mean() != error[1].mean()


def test_a_finished_cell_is_read_again_and_ranked(done: Settings) -> None:
    runs = plan("b0-A4-C", ["image_stats"], protocols=["cv3x2"])
    assert finished(runs[0], done, Data(done)) is not None
    before = {p: p.read_bytes() for p in done.results.rglob("*.*") if p.is_file()}
    assert len(list(execute(runs, done))) == 1
    assert before == {p: p.read_bytes() for p in done.results.rglob("*.*") if p.is_file()}
    suite = Suite(name="made", version=1, tasks=("a0-A4-C", "b0-A4-C"))
    board = rank(
        load_results(done.results), suite, folder=done.results, protocol="cv3x2", draws=100
    )
    assert len(board.rows) == 2
    assert all(row.low <= row.etab <= row.high for row in board.rows)
    assert set(results_frame(done.results)["protocol"]) == {"cv3x2"}
    assert all(
        "repeat" in json.loads(p.read_text())["folds"][0] for p in done.results.rglob("*.json")
    )


def test_a_repeat_is_the_run_of_its_seed(done: Settings, tmp_path: Path) -> None:
    """Repeat 1 of seed 0 and repeat 0 of seed 1 have the same folds, fits and predictions."""
    later = Settings(root=done.root, results=tmp_path, cache=done.cache)
    runs = plan("b0-A4-C", ["image_stats"], protocols=["cv3x2"], seed=1)
    (second,) = execute(runs, later)
    (first,) = [
        r for r in load_results(done.results) if (r.task, r.backbone) == ("b0-A4-C", "image_stats")
    ]
    of_first = first.predictions(done.results)
    of_second = second.predictions(tmp_path)
    n = first.n_test
    assert of_first.items[n:] == of_second.items[:n]
    np.testing.assert_array_equal(of_first.columns["score"][n:], of_second.columns["score"][:n])


def test_a_repeat_has_the_generator_of_its_seed() -> None:
    later = rng_of(Run("b0-A4-C", "image_stats", seed=3), 1).random(4)
    np.testing.assert_array_equal(
        rng_of(Run("b0-A4-C", "image_stats", seed=1), 1, 2).random(4), later
    )


def test_repeats_share_kernels_and_forget_bases(
    done: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    grams: list[int] = []
    from etab.heads.pooled import kernels

    gram = kernels.gram
    monkeypatch.setattr(kernels, "gram", lambda x: grams.append(1) or gram(x))
    memos: list[Memo] = []
    make = cell.Memo
    monkeypatch.setattr(cell, "Memo", lambda: memos.append(make()) or memos[-1])
    settings = Settings(root=done.root, results=tmp_path, cache=done.cache)
    runs = plan("b0-A4-C", ["image_stats"], protocols=["cv3x4"], head="ridge")
    list(execute(runs, settings))
    bases = [key for key in memos[0] if key[0] == "basis"]
    kinds = {key[0] for key in memos[0]}
    assert len(grams) == len([key for key in memos[0] if key[0] == "gram"])
    assert "gram" in kinds
    n_keys = len({key[1] for key in bases})
    assert len(bases) <= n_keys * (3 + 3)  # those of one repeat: three folds, three pairs of folds


def test_units_are_put_together_within_a_repeat(
    phantom_tree: Callable[..., Path], tmp_path: Path
) -> None:
    """A recording or patient that several rows are put together for has one row in each repeat."""
    root = phantom_tree(["circor"])
    settings = Settings(root=root / "circor", results=tmp_path / "r", cache=tmp_path / "c")
    runs = plan("f2-AL-D", ["constant"], protocols=["cv3x2"])
    (result,) = execute(runs, settings)
    table = result.predictions(settings.results)
    assert len(table.items) == 2 * len(set(table.items)) == 2 * result.n_test
    rows = Data(settings).rows(runs[0].row)
    splits = splits_of("cv3x2", 0, rows, Kind.BINARY)
    assert {s.repeat for s in splits} == {0, 1}
