"""Weighted ridge fits of the stacked probe against scikit-learn, and what they are for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from etab import heads
from etab.heads.base import Memo
from etab.heads.pooled import stack
from etab.heads.pooled.weighted_fits import WeightedFits, WeightedKernelFits
from etab.metrics import binary_auroc
from etab.splits import row_splits
from etab.types import Array, Features, FloatArray, Kind, RowSplit, Target

TARGET = Target("abnormal", Kind.BINARY, classes=("normal", "abnormal"))
WAYS = ("moments", "kernel")


def made(way: str, rng: np.random.Generator) -> tuple[Any, FloatArray, FloatArray, FloatArray]:
    """Fits of 40 training rows, with their columns, those of 7 test rows, and the weights."""
    x = rng.normal(size=(47, 12)) * rng.uniform(0.1, 3, 12) + rng.normal(size=12)
    weights = rng.uniform(0.2, 3, 40)
    weights /= weights.mean()
    train = np.arange(40)
    test = np.arange(40, 47)
    away = x - x[train].mean(axis=0)
    if way == "moments":
        return WeightedFits(x[train], x[test], weights), x[train], x[test], weights
    products = away @ away.T
    kernel = WeightedKernelFits(products[:40, :40], products[40:, :40], weights)
    return kernel, away[train], away[test], weights


def of_sklearn(
    x: FloatArray, y: FloatArray, weights: FloatArray, penalty: float, rows: FloatArray
) -> FloatArray:
    """Predictions of scikit-learn's ridge regression with sample weights."""
    ridge = pytest.importorskip("sklearn.linear_model").Ridge(alpha=penalty, tol=1e-12)
    return np.asarray(ridge.fit(x, y, sample_weight=weights).predict(rows))


def absolute(x: FloatArray, weights: FloatArray, penalty: float) -> float:
    """The penalty of scikit-learn that a relative penalty stands for."""
    mean = weights @ x / weights.sum()
    return float(penalty * (weights @ np.square(x - mean).sum(axis=1)) / weights.sum())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("penalty", [0.01, 1.0, 100.0])
def test_it_is_the_weighted_ridge_of_scikit_learn(way: str, penalty: float) -> None:
    rng = np.random.default_rng(0)
    fits, x, others, weights = made(way, rng)
    y = rng.normal(size=(40, 2))
    alpha = absolute(x, weights, penalty)
    wanted = of_sklearn(x, y, weights, alpha, others)
    np.testing.assert_allclose(fits.predict(y, penalty), wanted, atol=1e-8)
    parts = [np.arange(0, 9), np.arange(9, 30), np.arange(33, 40)]
    left_out = fits.search(y, parts)(penalty)
    for part in parts:
        rest = np.setdiff1d(np.arange(40), part)
        wanted = of_sklearn(x[rest], y[rest], weights[rest], alpha, x[part])
        np.testing.assert_allclose(left_out[part], wanted, atol=2e-3)
    assert (left_out[30:33] == 0).all()


def databases(seed: int, width: int = 1) -> tuple[Features, Array, Array, list[RowSplit]]:
    """Four databases whose share of the sick and whose marks go together.

    The first column is a weak sign of the disease in all databases; the second one marks the
    database by its share, and says nothing within it.
    """
    rng = np.random.default_rng(seed)
    shares = (0.05, 0.2, 0.8, 0.95)
    names = np.repeat(["a", "b", "c", "d"], 200)
    share = np.repeat(shares, 200)
    sick = (rng.random(800) < share).astype(int)
    sign = sick + rng.normal(0, 1.0, 800)
    mark = 4 * share + rng.normal(0, 0.3, 800)
    x = np.stack([sign, mark], axis=1)
    if width > 1:
        x = np.concatenate([x, rng.normal(0, 0.01, (800, width - 2))], axis=1)
    people = np.arange(800).astype(str)
    splits = row_splits(people, people, protocol="lodo", seed=seed, groups=names)
    return Features({"last/mean": x}), sick, names, splits


def within_databases(width: int, *, balanced: bool) -> float:
    """Mean AUROC within the databases that are left out one at a time."""
    features, sick, names, splits = databases(3, width)
    memo = Memo()
    memo.balanced = balanced
    memo.groups = names
    fits = heads.head("stack").cross_fit(
        features,
        sick,
        np.arange(len(sick)).astype(str),
        splits,
        TARGET,
        rng=np.random.default_rng(0),
        memo=memo,
    )
    values = []
    for fit, split in zip(fits, splits, strict=True):
        values.append(binary_auroc(sick[split.test], fit.predictions))
    return float(np.mean(values))


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 700])
def test_what_marks_a_database_is_not_learned_as_disease(width: int) -> None:
    """The sign alone has an AUROC of .76; unweighted candidates lean on the mark."""
    assert within_databases(width, balanced=True) > 0.70
    assert within_databases(width, balanced=True) > within_databases(width, balanced=False) + 0.03


def test_one_database_and_other_metrics_keep_the_fits_that_tasks_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("weighted fits were made")

    monkeypatch.setattr(stack, "weighted_fits", refuse)
    within_databases(1, balanced=False)
    features, sick, _, splits = databases(0)
    memo = Memo()
    memo.balanced = True
    memo.groups = np.full(len(sick), "a")
    heads.head("stack").cross_fit(
        features,
        sick,
        np.arange(len(sick)).astype(str),
        splits[:1],
        TARGET,
        rng=np.random.default_rng(0),
        memo=memo,
    )


def test_what_only_marks_a_database_gives_one_score() -> None:
    """Scores that differ by rounding alone would be told apart by a threshold, and not when read."""
    _, sick, names, splits = databases(0)
    letters = np.eye(4)[np.unique(names, return_inverse=True)[1]]
    memo = Memo()
    memo.balanced = True
    memo.groups = names
    fits = heads.head("stack").cross_fit(
        Features({"letter": letters}),
        sick,
        np.arange(len(sick)).astype(str),
        splits,
        TARGET,
        rng=np.random.default_rng(0),
        memo=memo,
    )
    for fit in fits:
        assert (fit.predictions == 0.5).all()


def test_without_columns_the_answer_is_the_weighted_mean() -> None:
    weights = np.array([0.5, 1.5, 1.0])
    y = np.array([[1.0], [0.0], [1.0]])
    fits = WeightedFits(np.zeros((3, 0)), np.zeros((2, 0)), weights)
    assert fits.predict(y, 1.0) == pytest.approx(np.full((2, 1), 0.5))
    left_out = fits.search(y, [np.array([0])])(1.0)
    assert left_out[0, 0] == pytest.approx(0.4)
