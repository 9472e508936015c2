"""A metric that is added as docs/adding.md says works in a task, in a run, in intervals, in tests and on the board."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from etab.errors import UndefinedError, UnsupportedOptionError
from etab.leaderboard.ranking import rank
from etab.leaderboard.suites import Suite
from etab.metrics import METRICS, Metric, metric
from etab.metrics.base import weighted_mean
from etab.metrics.columns import ScoredRows
from etab.metrics.inference import paired_test
from etab.results import load_results
from etab.runs.execute import execute
from etab.runs.run import Settings, plan
from etab.tasks.base import Anchors
from etab.tasks.menu import TASKS
from etab.testing.metrics import check_metric, sample
from etab.types import Kind

CODE = "b0-A4-C"
CLASS_CODE = "b1-A4-C"


def _median(columns: dict[str, np.ndarray], patients: np.ndarray) -> float:
    return float(np.median(np.abs(columns["score"] - columns["truth"])))


def _mean_of_patients(columns: dict[str, np.ndarray], patients: np.ndarray) -> float:
    error = np.abs(columns["score"] - columns["truth"])
    return float(np.mean([error[patients == name].mean() for name in np.unique(patients)]))


def _plain(name: str, function: object, **change: object) -> Metric:
    facts = {"title": name, "kinds": frozenset({Kind.VALUE}), "better": -1, "best": 0.0}
    return Metric(name, worst=np.inf, function=function, **{**facts, **change})  # type: ignore[arg-type]


@pytest.fixture
def added() -> Iterator[list[str]]:
    """Two metrics of values and one of classes: with and without a weighted form."""
    known = list(METRICS)
    METRICS.add("median_error", _plain("median_error", _median))

    @metric("within_5", "within 5", (Kind.VALUE,), better=1, best=1.0, worst=0.0)
    def within_5(rows: ScoredRows, weights: np.ndarray) -> np.ndarray:
        return weighted_mean(np.abs(rows["score"] - rows["truth"]) <= 5, weights)

    @metric("brier", "Brier score", (Kind.BINARY,), better=-1, best=0.0, worst=1.0)
    def brier(rows: ScoredRows, weights: np.ndarray) -> np.ndarray:
        return weighted_mean(np.square(rows["score"] - rows["truth"]), weights)

    names = [name for name in METRICS if name not in known]
    yield names
    for name in names:
        METRICS.remove(name)


def test_the_laws(added: list[str]) -> None:
    for name in added:
        if name != "brier":
            check_metric(METRICS[name])
    check_metric(_plain("mean_of_patients", _mean_of_patients))


@pytest.mark.parametrize(
    "name",
    [
        "median_error",
        pytest.param("within_5", marks=pytest.mark.slow),
        pytest.param("brier", marks=pytest.mark.slow),
    ],
)
def test_added_metrics_work_in_runs_and_on_the_board(
    name: str,
    added: list[str],
    tmp_path: Path,
    phantom_tree: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = phantom_tree(["camus"], patients=20) / "camus"
    code = CLASS_CODE if name == "brier" else CODE
    anchors = Anchors(10.0, 0.0, "made", "made")
    row = replace(TASKS[code], metric=name, anchors=anchors)
    monkeypatch.setitem(TASKS._items, code, row)
    settings = Settings(root=root, results=tmp_path / "r", cache=tmp_path / "c")
    runs = plan(code, ["image_stats", "pixel_pca"], protocols=("cv5",))
    for result in execute(runs, settings):
        assert result.metric == name
        assert result.low <= result.value <= result.high
        assert result.low < result.high
        assert result.metrics[name] == result.value
        assert all(fold["value"] is not None for fold in result.folds)
    board = rank(
        load_results(settings.results),
        Suite("own", 1, (code,)),
        folder=settings.results,
        protocol="cv5",
        draws=200,
    )
    assert {line.backbone for line in board.rows} == {"image_stats", "pixel_pca"}
    assert all(line.low <= line.etab <= line.high for line in board.rows)


def test_a_plain_metric_is_resampled_by_patients_who_are_drawn_twice() -> None:
    item = _plain("mean_of_patients", _mean_of_patients)
    columns = {"truth": np.zeros(4), "score": np.array([1.0, 3.0, 5.0, 9.0])}
    rows = ScoredRows(Kind.VALUE, columns, np.array(["a", "a", "b", "c"]))
    draws = item.draws(rows, np.array([[1, 1, 1, 1], [2, 2, 1, 0], [0, 0, 0, 3], [0, 0, 0, 0]]))
    assert draws[:3].tolist() == [pytest.approx(16 / 3), pytest.approx(3.0), 9.0]
    assert np.isnan(draws[3])


def test_a_plain_metric_that_does_not_exist_in_a_resample_is_left_out() -> None:
    def picky(columns: dict[str, np.ndarray], patients: np.ndarray) -> float:
        if np.ptp(columns["truth"]) == 0:
            raise UndefinedError("The truth must vary.")
        return 1.0

    item = _plain("picky", picky)
    rows = ScoredRows(
        Kind.VALUE, {"truth": np.arange(2.0), "score": np.arange(2.0)}, np.array(["a", "b"])
    )
    draws = item.draws(rows, np.array([[1, 1], [2, 0]]))
    assert draws[0] == 1.0
    assert np.isnan(draws[1])


def test_plain_metrics_have_paired_tests(added: list[str]) -> None:
    better, who = sample(Kind.VALUE, np.random.default_rng(1), error=0.2)
    worse, _ = sample(Kind.VALUE, np.random.default_rng(1), error=1.5)
    test = paired_test(
        "median_error",
        ScoredRows(Kind.VALUE, better, who),
        ScoredRows(Kind.VALUE, worse, who),
    )
    assert test.p < 0.05
    assert test.difference < 0


def test_a_metric_has_one_function() -> None:
    with pytest.raises(
        UnsupportedOptionError, match="none of `function`, `weighted`, `form` and `forms`"
    ):
        _plain("none", None)
    with pytest.raises(
        UnsupportedOptionError, match="2 of `function`, `weighted`, `form` and `forms`"
    ):
        _plain("two", _median, weighted=lambda rows, weights: weights[:, 0])


def test_a_value_that_is_not_a_number_is_undefined() -> None:
    item = _plain("broken", lambda columns, patients: float("nan"))
    columns, who = sample(Kind.VALUE, np.random.default_rng(0))
    with pytest.raises(UndefinedError, match="broken does not exist for these 60 rows"):
        item(columns, who)


def test_kinds_are_told_apart_by_kind() -> None:
    columns, who = sample(Kind.CLASSES, np.random.default_rng(0))
    stray = {**columns, "score": np.zeros(len(who))}  # a column of that name makes no two classes
    for name in ("auroc", "auprc", "balanced_accuracy", "f_measure"):
        assert METRICS[name](stray, who, Kind.CLASSES) == METRICS[name](columns, who)
    with pytest.raises(
        UnsupportedOptionError, match="auroc scores binary, classes; got a table of"
    ):
        METRICS["auroc"](columns, who, Kind.VALUE)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(
        UndefinedError, match="'score', which these predictions lack; they hold truth"
    ):
        METRICS["mae"]({"truth": np.arange(3.0)}, np.array(list("abc")))


@pytest.mark.parametrize("name", ["r2", "pearson_r"])
@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (1e7, 1.0), (55.0, 1e-6), (0.1, 0.0)])
def test_a_large_mean_costs_no_digits(name: str, mean: float, scale: float) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 1, 50)
    score = truth + rng.normal(0, 0.5, 50)
    who = np.arange(50).astype(str)
    columns = {"truth": mean + scale * truth, "score": mean + scale * score}
    if scale == 0:
        with pytest.raises(UndefinedError, match="does not exist for these 50 rows"):
            METRICS[name](columns, who)
    else:
        expected = METRICS[name]({"truth": truth, "score": score}, who)
        assert METRICS[name](columns, who) == pytest.approx(expected, rel=1e-6)
