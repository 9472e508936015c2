"""How closely predictions approximate those of Cholesky factors, and that no choice changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from etab import heads
from etab.heads.base import Memo
from etab.heads.pooled import approximate_fits, stack
from etab.heads.pooled.approximate_fits import ApproximateParts, TrainingSet
from etab.heads.pooled.choices import PENALTIES, Choice
from etab.heads.pooled.kernel_fits import KernelFits
from etab.splits import row_splits
from etab.types import Array, Features, FloatArray, Kind, Target

N = 60
VALUE = Target("EF", Kind.VALUE)
BINARY = Target("CM", Kind.BINARY, classes=("no", "yes"))
CLASSES = Target("view", Kind.CLASSES, classes=("a", "b", "c"))


def _awkward(kind: str) -> FloatArray:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((N, 200 if kind == "wide" else 12))
    if kind == "rank-deficient":
        x = rng.standard_normal((N, 3)) @ rng.standard_normal((3, 12))
    if kind == "constant":
        x = np.ones((N, 12))
    if kind == "badly scaled":
        x *= np.logspace(-6, 6, 12)
    if kind == "far from 0":
        x += 30
    if kind == "rows twice":
        x[N // 2 :] = x[: N // 2]
    return x


def _ridge(x: FloatArray, y: FloatArray, rows: Array, others: Array, shift: float) -> FloatArray:
    """Predictions of other rows by a ridge regression with an intercept, as its formula stands."""
    mean = x[rows].mean(axis=0)
    z = x[rows] - mean
    coefficients = np.linalg.solve(
        z.T @ z + shift * np.eye(x.shape[1]), z.T @ (y[rows] - y[rows].mean())
    )
    return (x[others] - mean) @ coefficients + y[rows].mean()


@pytest.mark.parametrize("accuracy", [1e-3, 1e-4])
@pytest.mark.parametrize("penalty", [0.1, 1.0, 100.0])
@pytest.mark.parametrize(
    "kind",
    ["plain", "wide", "rank-deficient", "constant", "badly scaled", "far from 0", "rows twice"],
)
def test_they_are_near_the_ridge_regression(kind: str, penalty: float, accuracy: float) -> None:
    """Parts of one row and of many, in two splits whose subsets are partly the same."""
    x = _awkward(kind)
    x = x - x.mean(axis=0)
    x /= max(float(np.sqrt(np.square(x).sum() / N)), 1e-15)
    y = np.random.default_rng(5).normal(50, 10, (N, 2))
    first = np.arange(0, N - 10)
    second = np.arange(10, N)
    sets = [
        TrainingSet(first, [np.arange(10), np.array([30])]),
        TrainingSet(second, [np.arange(40, 50), np.array([3])]),
    ]
    approximate = ApproximateParts(x @ x.T, y, sets)
    for number, one in enumerate(sets):
        predicted = approximate.predict(number, penalty, accuracy)
        if predicted is None:
            # The steps have nothing to go on along, and rounding takes over.
            assert kind == "rank-deficient"
            assert penalty == 0.1
            continue
        for part in one.parts:
            rest = np.delete(one.train, part)
            for column in range(2):
                wanted = _ridge(x, y[:, column], rest, one.train[part], penalty)
                away = np.abs(predicted[part, column] - wanted).max()
                assert away < 100 * accuracy * y.std()


def test_solutions_that_take_too_many_steps_are_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    x = rng.standard_normal((N, N)) * np.logspace(0, -3, N)
    sets = [TrainingSet(np.arange(N), [np.arange(20)])]
    y = rng.standard_normal((N, 1))
    assert ApproximateParts(x @ x.T, y, sets).predict(0, 10.0, 1e-4) is not None
    monkeypatch.setattr(approximate_fits, "MOST", approximate_fits.FIRST)
    assert ApproximateParts(x @ x.T, y, sets).predict(0, 1e-6, 1e-4) is None


def _features(seed: int) -> Features:
    """Keys that say something, nothing, the same twice, and something that never changes."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((N, 3))
    good = truth @ rng.standard_normal((3, 90)) + rng.standard_normal((N, 90))
    noise = rng.standard_normal((N, 80))
    pooled = {
        "good/cls": good,
        "again/cls": good,
        "noise/cls": noise,
        "narrow/cls": truth + 0.5 * rng.standard_normal((N, 3)),
        "flat/cls": np.ones((N, 70)),
    }
    return Features({key: x.astype(np.float32) for key, x in pooled.items()})


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("target", [VALUE, BINARY, CLASSES])
def test_the_stack_answers_the_same_to_the_last_bit(
    target: Target, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without approximate predictions, alone and beside other splits."""
    features = _features(seed)
    y: Any = features.pooled["narrow/cls"][:, 0].astype(np.float64)
    if target is not VALUE:
        y = np.digitize(y, [0.0] if target is BINARY else [-0.5, 0.5])
    people = np.arange(N).astype(str)
    splits = row_splits(people, np.array(["train"] * N), protocol="cv", n_fold=4, seed=seed)

    def fitted(chosen: list[Any]) -> list[Any]:
        rng = np.random.default_rng(0)
        return heads.head("stack").cross_fit(
            features, y, people, chosen, target, rng=rng, memo=Memo()
        )

    exact = fitted(splits)
    monkeypatch.setattr(stack, "MANY_ROWS", 0)
    approximate = fitted(splits)
    alone = fitted(splits[2:3])
    for one, other in zip([*exact, exact[2]], [*approximate, *alone], strict=True):
        assert np.array_equal(one.predictions, other.predictions)
        assert one.choice == other.choice


@pytest.mark.parametrize("seed", range(5))
def test_the_penalty_is_that_of_the_factors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, 100)) * np.logspace(0, -1, 100)
    x -= x.mean(axis=0)
    y = x[:, :5].sum(axis=1, keepdims=True) + rng.standard_normal((N, 1)) * (1 + seed)
    parts = np.array_split(np.arange(N), 4)
    fits = KernelFits(x @ x.T, x[:0] @ x.T)
    losses = []
    for penalty in PENALTIES:
        left_out = fits.left_out(y, parts, float(penalty))
        losses.append(float(np.square(left_out - y).sum()))
    choice = Choice(lambda: fits, y, parts, np.ones(N))
    approximate = ApproximateParts(fits.train, y, [TrainingSet(np.arange(N), parts)])
    choice.search(approximate.of_set(0, fits.length))
    assert choice.penalty == PENALTIES[int(np.argmin(losses))]
    assert np.abs(choice.left_out - choice.exact()).max() < 1e-2 * y.std()


@pytest.mark.parametrize("seed", range(5))
def test_close_calls_are_decided_by_the_factors(seed: int) -> None:
    """Features that say next to nothing, and losses that are off by the accuracy up and down."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, 100))
    x -= x.mean(axis=0)
    y = 0.3 * x[:, :1] + rng.standard_normal((N, 1))
    parts = np.array_split(np.arange(N), 4)
    fits = KernelFits(x @ x.T, x[:0] @ x.T)

    def approximate(penalty: float, accuracy: float) -> FloatArray:
        sign = (-1) ** int(np.argmin(np.abs(PENALTIES - penalty)))
        return y - (1 + sign * accuracy) * (y - fits.left_out(y, parts, penalty))

    by_factors = Choice(lambda: fits, y, parts, np.ones(N))
    by_factors.search(None)
    choice = Choice(lambda: fits, y, parts, np.ones(N))
    choice.search(approximate)
    assert choice.penalty == by_factors.penalty
