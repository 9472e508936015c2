"""AUROC and AUPRC within folds: equal to their definitions pair by pair, and blind to the scale of each fold."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from etab.errors import UndefinedError
from etab.legacy.task_scores import task_score
from etab.metrics import METRICS, evaluate_rows
from etab.metrics.columns import ScoredRows
from etab.tasks.menu import TASKS
from etab.types import Array, FloatArray, Kind
from tests import made

RANKED = ("auroc", "auprc")


def _rows(
    seed: int, kind: Kind = Kind.BINARY, repeats: int = 2, n: int = 60, levels: int = 12
) -> ScoredRows:
    """A table with ties, folds of different prevalence and several repeats; two rows a patient."""
    rng = np.random.default_rng(seed)
    classes = 2 if kind is Kind.BINARY else 3
    truth = np.tile(rng.integers(0, classes, n), repeats).astype(float)
    folds = np.concatenate([np.repeat(rng.permutation(n // 2) % 4, 2) for _ in range(repeats)])
    columns: dict[str, Any] = {"truth": truth}
    for k in range(classes):
        score = (truth == k) + rng.normal(0, 1, n * repeats) + 0.5 * folds
        columns[f"score_{k}"] = np.round(score * levels / 8)
    if kind is Kind.BINARY:
        columns = {"truth": truth, "score": columns["score_1"]}
    patients = np.tile(np.repeat([f"p{i}" for i in range(n // 2)], 2), repeats)
    return ScoredRows(
        kind, columns, patients, np.array([f"fold{f}" for f in folds]), np.repeat(range(repeats), n)
    )


def _classes(rows: ScoredRows) -> list[tuple[Array, FloatArray]]:
    if rows.kind is Kind.BINARY:
        return [(rows["truth"] == 1, rows["score"])]
    return [(rows["truth"] == k, rows[f"score_{k}"]) for k in range(3)]


def _pair_by_pair(rows: ScoredRows, weights: FloatArray) -> float:
    """The definition: every pair of both classes in one fold of one repeat, ties counted half."""
    assert rows.folds is not None
    assert rows.repeats is not None
    values = []
    for positive, score in _classes(rows):
        right = total = 0.0
        for i, j in product(np.flatnonzero(positive), np.flatnonzero(~positive)):
            if (rows.folds[i], rows.repeats[i]) != (rows.folds[j], rows.repeats[j]):
                continue
            pair = weights[i] * weights[j]
            total += pair
            right += pair * ((score[i] > score[j]) + 0.5 * (score[i] == score[j]))
        values.append(right / total)
    return float(np.mean(values))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", [Kind.BINARY, Kind.CLASSES])
def test_auroc_is_the_share_of_ordered_pairs_in_one_fold(kind: Kind, seed: int) -> None:
    rows = _rows(seed, kind)
    rng = np.random.default_rng(seed)
    _, person = np.unique(rows.patients, return_inverse=True)
    weights = np.concatenate([np.ones((1, 30)), rng.integers(0, 4, (3, 30))])[:, person]
    expected = [_pair_by_pair(rows, of_draw) for of_draw in weights]
    assert METRICS["auroc"].value(rows) == pytest.approx(expected[0], abs=1e-12)
    assert METRICS["auroc"].draws(rows, weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_auprc_is_the_mean_over_folds_weighted_by_positives(seed: int) -> None:
    rows = _rows(seed)
    total = weight = 0.0
    for fold in rows.of_folds():
        positive = rows["truth"][fold] == 1
        if positive.all():
            continue
        total += positive.sum() * average_precision_score(positive, rows["score"][fold])
        weight += positive.sum()
    assert METRICS["auprc"].value(rows) == pytest.approx(total / weight, abs=1e-12)


@pytest.mark.parametrize("name", RANKED)
@pytest.mark.parametrize("kind", [Kind.BINARY, Kind.CLASSES])
def test_the_scale_of_a_fold_does_not_matter_within_folds(name: str, kind: Kind) -> None:
    rows = _rows(0, kind, levels=1000)
    shifted = dict(rows.columns)
    for column in shifted:
        if column.startswith("score"):
            shifted[column] = shifted[column].copy()
            for i, fold in enumerate(rows.of_folds()):
                shifted[column][fold] = 3.0 * shifted[column][fold] - 1000.0 * i
    other = ScoredRows(kind, shifted, rows.patients, rows.folds, rows.repeats)
    assert METRICS[name].value(other) == pytest.approx(METRICS[name].value(rows), abs=1e-12)
    pooled = METRICS[f"{name}_pooled"]
    assert abs(pooled.value(other) - pooled.value(rows)) > 0.01


@pytest.mark.parametrize("name", RANKED)
@pytest.mark.parametrize("kind", [Kind.BINARY, Kind.CLASSES])
def test_in_one_fold_both_are_the_same(name: str, kind: Kind) -> None:
    rows = _rows(1, kind, repeats=1)
    plain = ScoredRows(kind, rows.columns, rows.patients)
    one = ScoredRows(kind, rows.columns, rows.patients, np.full(len(rows), "official"))
    values = {
        METRICS[name].value(plain),
        METRICS[name].value(one),
        METRICS[f"{name}_pooled"].value(rows),
        METRICS[name](rows.columns, rows.patients, kind),
    }
    assert len(values) == 1


@pytest.mark.parametrize("name", RANKED)
def test_the_pooled_value_is_the_mean_over_repeats(name: str) -> None:
    rows = _rows(2)
    pooled = METRICS[f"{name}_pooled"]
    parts = [rows.select(part) for part in rows.of_repeats()]
    assert len(parts) == 2
    expected = np.mean([pooled(part.columns, part.patients) for part in parts])
    assert pooled.value(rows) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", RANKED)
def test_repeats_are_not_averaged_before_ranking(name: str) -> None:
    """The mean score of a person over repeats ranks better than any repeat: it is another probe."""
    rng = np.random.default_rng(0)
    truth = np.repeat([0.0, 1.0], 100)
    score = np.concatenate([truth + rng.normal(0, 2, 200) for _ in range(10)])
    people = np.tile(np.arange(200).astype(str), 10)
    columns = {"truth": np.tile(truth, 10), "score": score}
    rows = ScoredRows(Kind.BINARY, columns, people, None, np.repeat(range(10), 200))
    of_mean = {"truth": truth, "score": score.reshape(10, 200).mean(axis=0)}
    metric = METRICS[name]
    single = [metric(rows.select(part).columns, people[:200]) for part in rows.of_repeats()]
    assert metric.value(rows) == pytest.approx(np.mean(single), abs=1e-12)
    assert metric.value(rows) < metric(of_mean, people[:200]) - 0.1


@pytest.mark.parametrize("name", RANKED)
def test_a_fold_of_one_class_has_no_weight(name: str) -> None:
    truth = np.array([0.0, 1, 0, 1, 1, 1, 1])
    score = np.array([0.1, 0.9, 0.3, 0.2, 0.5, 0.4, 0.6])
    folds = np.array(["a"] * 4 + ["b"] * 3)
    who = np.arange(7).astype(str)
    columns = {"truth": truth, "score": score}
    first = {column: values[:4] for column, values in columns.items()}
    value = METRICS[name](columns, who, folds=folds)
    assert value == METRICS[name](first, who[:4])
    rows = ScoredRows(Kind.BINARY, columns, who, folds)
    assert METRICS[name].draws(rows, np.ones((2, 7))) == pytest.approx([value, value])
    apart = np.where(truth == 1, "a", "b")
    with pytest.raises(UndefinedError, match="rows of every class in one fold"):
        METRICS[name](columns, who, folds=apart)
    assert name not in evaluate_rows(ScoredRows(Kind.BINARY, columns, who, apart))


def test_databases_keep_their_folds() -> None:
    rows = _rows(3)
    group = np.array([int(p[1:]) % 3 for p in rows.patients], dtype=float)
    grouped = ScoredRows(
        rows.kind, {**rows.columns, "group": group}, rows.patients, rows.folds, rows.repeats
    )
    expected = [METRICS["auroc"].value(grouped.select(group == g)) for g in range(3)]
    assert METRICS["macro_auroc"].value(grouped) == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_scores_that_know_nothing_are_worth_a_half_in_expectation(share: float) -> None:
    """Noise around the prevalence of the training rows: pooled over folds it is worse than chance."""
    rng = np.random.default_rng(0)
    within: list[float] = []
    pooled: list[float] = []
    for _ in range(300):
        truth = (rng.random(100) < share).astype(float)
        folds = rng.permutation(100) % 5
        prevalence = np.array([truth[folds != k].mean() for k in range(5)])
        columns = {"truth": truth, "score": prevalence[folds] + rng.normal(0, 0.005, 100)}
        who = np.arange(100).astype(str)
        within.append(METRICS["auroc"](columns, who, folds=folds))
        pooled.append(METRICS["auroc_pooled"](columns, who, folds=folds))
    error = np.std(within) / np.sqrt(len(within))
    assert abs(np.mean(within) - 0.5) < 4 * error
    assert np.mean(pooled) < 0.47


@pytest.mark.parametrize("code", ["d0-A4-C", "b0-A4-C", "a0-A4-C"])
def test_the_score_of_2022_is_that_of_a_board(code: str) -> None:
    table = made.predictions(code, 0.4)
    task = TASKS[code]
    folds = np.array(table.folds)
    score = task_score(task, table.columns, np.array(table.patients), folds)
    whole = METRICS[task.metric_2022].value(ScoredRows.of(table))
    assert score.value == pytest.approx(max(whole, 0.0), abs=1e-12)
    assert score.value == pytest.approx((score.low + score.high) / 2)
    assert len(score.folds) == 5
    assert abs(np.mean(score.folds) - score.value) > 1e-6 or task.kind is Kind.MASK
