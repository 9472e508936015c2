"""What balanced classes decide, under any shares of the classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab import heads
from etab.errors import IncompatibleError, UndefinedError
from etab.heads.pooled.balanced import BalancedLogistic
from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows
from etab.metrics.forms import Form, Units, mean_of
from etab.results import Result
from etab.runs.execute import execute
from etab.runs.run import Run, Settings, plan
from etab.tasks import thresholds
from etab.tasks.base import Task
from etab.tasks.menu import TASKS
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit, Target

F0 = TASKS["f0-PH-N"]
F1 = TASKS["f1-AL-D"]


def table_of(truth: Array) -> thresholds.Table:
    def table(rows: IntArray, scores: FloatArray) -> dict[str, FloatArray]:
        return {"truth": np.asarray(truth, dtype=np.float64)[rows], "score": scores}

    return table


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
def test_the_threshold_is_the_share_in_training(share: float) -> None:
    """Test rows have no part in it, whatever their shares are."""
    n = 200
    truth = np.r_[np.arange(n) < share * n, np.ones(50)]
    split = RowSplit(np.arange(n), (), np.arange(n, n + 50), "a")
    (rule,) = thresholds.balanced(F0, [split], table_of(truth))
    assert rule.threshold == pytest.approx(share)
    assert rule.facts() == {"threshold": rule.threshold}


def test_factors_divide_by_the_shares_in_training() -> None:
    truth = np.repeat([0, 1, 2], [10, 5, 85])
    split = RowSplit(np.arange(100), (), np.arange(0), "a")
    (rule,) = thresholds.balanced(F1, [split], table_of(truth))
    assert rule.factors == pytest.approx((8.5, 17.0, 1.0))


@pytest.mark.parametrize(("task", "classes"), [(F0, 1), (F1, 2)])
def test_training_without_a_class_is_refused(task: object, classes: int) -> None:
    split = RowSplit(np.arange(40), (), np.arange(0), "a")
    with pytest.raises(UndefinedError, match="training rows of a lack class"):
        thresholds.balanced(task, [split], table_of(np.arange(40) % classes))  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.08, 0.5, 0.85])
def test_shares_of_training_and_test_do_not_move_the_decisions(share: float) -> None:
    """One signal in all databases: sensitivity and specificity stay, whoever is trained on."""
    rng = np.random.default_rng(0)
    n = 1500
    truth = np.r_[rng.random(n) < share, rng.random(n) < 0.4].astype(np.int64)
    x = rng.standard_normal((2 * n, 3)) + 1.0 * truth[:, None] * np.array([1, 0, 0])
    split = RowSplit(np.arange(n), tuple(np.array_split(np.arange(n), 3)), np.arange(n, 2 * n), "b")
    fits = heads.head("logistic").cross_fit(
        Features({"x": x.astype(np.float32)}),
        truth,
        np.arange(2 * n).astype(str),
        [split],
        Target("abnormal", Kind.BINARY, "", ("normal", "abnormal")),
        rng=np.random.default_rng(0),
    )
    (rule,) = thresholds.balanced(F0, [split], table_of(truth))
    columns = {"score": np.asarray(fits[0].predictions, dtype=np.float64)}
    answers = rule(columns)
    of_test = truth[n:]
    assert answers[of_test == 1].mean() == pytest.approx(0.69, abs=0.06)
    assert (1 - answers[of_test == 0]).mean() == pytest.approx(0.69, abs=0.06)


def test_the_option_acts_and_is_recorded(tmp_path: Path, phantom_tree: Callable[..., Path]) -> None:
    root = phantom_tree(["cinc2016"], patients=18, seed=2) / "cinc2016"
    results: dict[str, Result] = {}
    answers: dict[str, FloatArray] = {}
    for decide in (None, "balanced"):
        folder = tmp_path / str(decide)
        runs = plan("f0", ["mel_stats"], protocols=("lodo",), head="logistic", decide=decide)
        cells = list(execute(runs, Settings(root=root, results=folder)))
        results[str(decide)] = cells[0]
        answers[str(decide)] = cells[0].predictions(folder).columns["answer"]
    assert "decide" not in results["None"].settings
    assert results["balanced"].settings["decide"] == "balanced"
    for fold in results["balanced"].folds:
        table = results["balanced"].predictions(tmp_path / "balanced")
        others = np.array([name != fold["name"] for name in table.folds])
        share = table.columns["truth"][others].mean()
        assert fold["choice"]["threshold"] == pytest.approx(share)


def made_columns(task: Task, seed: int, n: int = 90) -> dict[str, FloatArray]:
    """The columns that the metric of a task reads, with few distinct scores so that values tie."""
    rng = np.random.default_rng(seed)
    columns = {
        "truth": rng.integers(0, 2, n).astype(float),
        "outcome": rng.integers(0, 2, n).astype(float),
        "group": rng.integers(0, 4, n).astype(float),
        "clean": rng.integers(-1, 2, n).astype(float),
    }
    if task.kind is Kind.BINARY:
        return {**columns, "score": rng.integers(0, 12, n) / 12}
    columns["truth"] = rng.integers(0, 3, n).astype(float)
    scores = rng.dirichlet(np.ones(3), n)
    return columns | {f"score_{k}": scores[:, k] for k in range(3)}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("task", [F0, F1, TASKS["f2-AL-D"]], ids=lambda task: task.metric)
def test_rules_are_valued_together_as_each_alone(
    task: Task, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = made_columns(task, seed)
    calls: list[int] = []
    value = thresholds._value
    monkeypatch.setattr(thresholds, "_value", lambda *a: (calls.append(1), value(*a))[1])
    together = thresholds.best_rule(task, columns)
    assert len(calls) == 2  # one to compare with, one that is recorded
    monkeypatch.setattr(thresholds, "_values_together", lambda *_: None)
    assert thresholds.best_rule(task, columns) == together
    assert len(calls) > 10


def test_a_metric_whose_rows_know_other_answers_is_valued_rule_by_rule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its numbers of a row change with the answers to others, so that no table stands for it."""

    def form(rows: ScoredRows, units: Units) -> Form:
        often = rows["answer"].mean()
        right = rows["answer"] == rows["truth"]
        return mean_of(right * often, units)

    metric = replace(METRICS["macro_macc"], name="of_all", form=form)
    columns = made_columns(F0, 5)
    answers = np.stack([columns["score"] >= level for level in (0.0, 0.3, 0.6, 2.0)]).astype(float)
    assert thresholds._values_together(metric, columns, answers, F0.kind) is None
    values = thresholds._values(metric, columns, answers, F0.kind)
    alone = [thresholds._value(metric, columns, answer, F0.kind) for answer in answers]
    assert values.tolist() == alone


def test_what_has_nothing_to_decide_is_left_out_or_refused() -> None:
    runs = plan("circor", ["mel_stats"], protocols=None, decide="balanced")
    assert {run.task for run in runs} == {"f1-AL-D", "f2-AL-D"}
    run = Run("e1-AL-D", "mel_stats", decide="balanced")
    with pytest.raises(IncompatibleError, match="mae is computed from scores"):
        run.check()
    with pytest.raises(IncompatibleError, match="possible: metric, balanced"):
        replace(run, task="f2-AL-D", decide="half").check()


@pytest.mark.slow
def test_a_run_tells_the_head_the_databases(
    tmp_path: Path, phantom_tree: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = phantom_tree(["cinc2016"], patients=18, seed=2) / "cinc2016"
    seen: list[set[str]] = []
    original = BalancedLogistic.cross_fit

    def watched(self: BalancedLogistic, *args: Any, **options: Any) -> Any:
        seen.append(set(options["memo"].groups.tolist()))
        return original(self, *args, **options)

    monkeypatch.setattr(BalancedLogistic, "cross_fit", watched)
    runs = plan(
        "f0", ["mel_stats"], protocols=("lodo",), head="logistic_balanced", decide="balanced"
    )
    settings = Settings(root=root, results=tmp_path / "results")
    (cell,) = execute(runs, settings)
    assert seen == [set("abcdef")]
    assert {fold["choice"]["threshold"] for fold in cell.folds} == {0.5}
