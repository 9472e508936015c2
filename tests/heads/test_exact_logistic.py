"""Logistic regressions that are solved to the last digits equal scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from etab import heads
from etab.heads.pooled import kernel_search, kernels
from etab.heads.pooled.inner_products import InnerProducts, Products
from etab.heads.pooled.kernel_logistic import (
    FINAL,
    Fits,
    Precision,
    Solution,
    solve,
)
from etab.heads.pooled.linalg import PENALTIES
from etab.splits import row_splits, without
from etab.types import Array, Features, FloatArray, Kind, RowSplit, Target

# So near to the solution, scikit-learn's steps may end in rounding, which hangs on the processor; it
# then converges by another solver.
pytestmark = pytest.mark.filterwarnings("ignore:Line search of Newton solver")

ROWS = 120
RNG = np.random.default_rng(3)
Y = (np.arange(ROWS) % 2).astype(np.float64)
THREE = np.eye(3)[np.arange(ROWS) % 3]
PLAIN = RNG.normal(size=(ROWS, 40)) + 0.5 * Y[:, None]
COLUMNS = {
    "plain": PLAIN,
    "rank-deficient": PLAIN[:, :5] @ RNG.normal(size=(5, 80)),
    "constant": np.column_stack([PLAIN, np.full((ROWS, 3), 7.0)]),
    "badly scaled": PLAIN * np.logspace(-4, 2, 40),
    "collinear": np.column_stack([PLAIN, PLAIN, PLAIN[:, :1] * 2]),
    "separable": np.column_stack([PLAIN, 4 * Y + RNG.normal(size=ROWS) / 9, 9.0 * THREE]),
    "wider than rows": RNG.normal(size=(ROWS, 150)) + 0.2 * Y[:, None],
}
BINARY = Target("CM", Kind.BINARY, classes=("no", "yes"))
CLASSES = Target("view", Kind.CLASSES, classes=("a", "b", "c"))


def scaled(x: FloatArray) -> FloatArray:
    """Rows centred, with a mean squared length of 1."""
    centred = x - x.mean(axis=0)
    return np.asarray(centred / np.sqrt(np.square(centred).sum() / len(x)))


def peer(x: FloatArray, labels: FloatArray, penalty: float) -> FloatArray:
    """Log-odds, or logits with a mean of 0, of scikit-learn, converged to the last digits."""
    linear = pytest.importorskip("sklearn.linear_model")
    probe = linear.LogisticRegression(
        C=1 / penalty, solver="newton-cholesky", tol=1e-12, max_iter=500
    )
    return np.asarray(probe.fit(x, labels).decision_function(x))


def solved(
    inner: InnerProducts, y: FloatArray, sets: list[Array], penalties: list[float]
) -> Solution:
    fits = Fits.of(Products.of(inner), y, sets, np.array(penalties))
    return solve(fits, fits.nothing(), FINAL)


@pytest.mark.parametrize("name", sorted(COLUMNS))
@pytest.mark.parametrize("are_rows", [True, False])
def test_logits_are_scikit_learns(name: str, are_rows: bool) -> None:
    x = scaled(COLUMNS[name])
    # Any origin gives the same fit.
    inner = InnerProducts(x + 0.3 if are_rows else (x + 0.3) @ (x + 0.3).T, are_rows)
    strengths = [1e-3, 0.1, 100.0]
    sets = [np.arange(100), np.arange(20, ROWS), np.arange(ROWS)]
    logits = solved(inner, Y[:, None], sets, strengths).logits
    for number, rows in enumerate(sets):
        wanted = peer(x[rows], Y[rows], strengths[number])
        assert logits[rows, number, 0] == pytest.approx(wanted, abs=1e-6, rel=1e-6)
    logits = solved(inner, THREE, sets, strengths).logits
    for number, rows in enumerate(sets):
        wanted = peer(x[rows], THREE[rows].argmax(axis=1), strengths[number])
        shifted = logits[rows, number] - logits[rows, number].mean(axis=1, keepdims=True)
        assert shifted == pytest.approx(wanted, abs=1e-6, rel=1e-6)


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_systems_in_single_precision_lead_to_the_same_fit(name: str) -> None:
    """Also where single precision cannot tell the penalty from rounding errors."""
    inner = InnerProducts(scaled(COLUMNS[name]), are_rows=True)
    rough = Products.of(inner.single().multiplied())
    penalties = np.array([1e-7, 1e-3, 100.0])
    fits = Fits.of(Products.of(inner), Y[:, None], [np.arange(100)] * 3, penalties)
    wanted = solve(fits, fits.nothing(), FINAL).logits
    found = solve(fits, fits.nothing(), FINAL, rough).logits
    assert found == pytest.approx(wanted, abs=1e-4, rel=1e-6)


def test_many_rows_are_fitted_without_their_inner_products_in_double_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features = Features({"x/mean": COLUMNS["wider than rows"]})
    few = fitted(features, Y, splits_of(ROWS), BINARY)
    monkeypatch.setattr(kernels, "MANY_ROWS", 0)
    monkeypatch.setattr(kernels.Kernels, "kernel", None)
    many = fitted(features, Y, splits_of(ROWS), BINARY)
    for one, other in zip(few, many, strict=True):
        assert one.choice["penalty"] == other.choice["penalty"]
        assert one.predictions == pytest.approx(other.predictions, abs=1e-8)


@pytest.mark.parametrize("level", [30.0, -30.0])
def test_a_bad_start_gives_the_same_fit(level: float) -> None:
    x = scaled(PLAIN)
    fits = Fits.of(
        Products.of(InnerProducts(x, are_rows=True)), Y[:, None], [np.arange(80)], np.array([0.1])
    )
    dual = level * np.where(Y > 0, -1.0, 1.0)[:, None, None]
    start = Solution(dual, fits.products(dual), np.array([[level]]))
    near = solve(fits, fits.nothing(), FINAL).logits
    assert solve(fits, start, FINAL).logits == pytest.approx(near, abs=1e-7)


def splits_of(n: int) -> list[RowSplit]:
    ids = np.arange(n).astype(str)
    return row_splits(ids, np.full(n, "train"), protocol="cv", n_fold=3)


def fitted(
    features: Features, answers: Array, splits: list[RowSplit], target: Target
) -> list[heads.FoldFit]:
    ids = np.arange(len(answers)).astype(str)
    rng = np.random.default_rng(0)
    return heads.head("logistic_exact").cross_fit(features, answers, ids, splits, target, rng=rng)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("separable", BINARY),
        pytest.param("plain", BINARY, marks=pytest.mark.slow),
        pytest.param("plain", CLASSES, marks=pytest.mark.slow),
        pytest.param("badly scaled", BINARY, marks=pytest.mark.slow),
        pytest.param("badly scaled", CLASSES, marks=pytest.mark.slow),
        pytest.param("wider than rows", BINARY, marks=pytest.mark.slow),
        pytest.param("wider than rows", CLASSES, marks=pytest.mark.slow),
    ],
)
def test_the_head_chooses_and_fits_as_a_loop_over_scikit_learn(name: str, target: Target) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    linear = pytest.importorskip("sklearn.linear_model")
    x = scaled(COLUMNS[name]).astype(np.float32).astype(np.float64)
    answers = Y if target is BINARY else THREE.argmax(axis=1)
    splits = splits_of(ROWS)
    fits = fitted(Features({"x/mean": x}), answers, splits, target)

    def probe(rows: Array, penalty: float) -> Any:
        length = np.square(x[rows] - x[rows].mean(axis=0)).sum() / len(rows)
        probe = linear.LogisticRegression(
            C=1 / (penalty * length), solver="newton-cholesky", tol=1e-12, max_iter=500
        )
        return probe.fit(x[rows], answers[rows])

    for split, fit in zip(splits, fits, strict=True):
        losses = []
        for penalty in PENALTIES:
            of_parts = [
                metrics.log_loss(
                    answers[part],
                    probe(without(split.train, part), penalty).predict_proba(x[part]),
                )
                for part in split.inner
            ]
            losses.append(np.average(of_parts, weights=[len(part) for part in split.inner]))
        assert fit.choice["penalty"] == PENALTIES[int(np.argmin(losses))]
        assert fit.choice["inner_log_loss"] == pytest.approx(min(losses), abs=2e-5)
        wanted = probe(split.train, fit.choice["penalty"]).predict_proba(x[split.test])
        predicted = (
            fit.predictions
            if target is CLASSES
            else np.column_stack([1 - fit.predictions, fit.predictions])
        )
        assert predicted == pytest.approx(wanted, abs=1e-7)


def test_few_labels_give_the_fit_of_their_rows_alone() -> None:
    x = COLUMNS["wider than rows"]
    few = np.arange(0, ROWS, 3)
    inside = splits_of(len(few))
    splits = [
        RowSplit(few[s.train], tuple(few[part] for part in s.inner), few[s.test], s.name)
        for s in inside
    ]
    whole = fitted(Features({"x/mean": x}), Y, splits, BINARY)
    alone = fitted(Features({"x/mean": x[few]}), Y[few], inside, BINARY)
    for one, other in zip(whole, alone, strict=True):
        assert one.choice["penalty"] == other.choice["penalty"]
        assert one.predictions == pytest.approx(other.predictions, abs=1e-8)


def test_components_are_those_of_the_training_rows() -> None:
    x = COLUMNS["wider than rows"]
    splits = splits_of(ROWS)
    features = Features({"x/pca5": x}, pca={"x/pca5": 5})
    fits = fitted(features, Y, splits, BINARY)
    for split, fit in zip(splits, fits, strict=True):
        train = x[split.train] - x[split.train].mean(axis=0)
        _, _, axes = np.linalg.svd(train, full_matrices=False)
        length = np.square(train).sum() / len(train)
        z = (x - x[split.train].mean(axis=0)) @ axes[:5].T
        linear = pytest.importorskip("sklearn.linear_model")
        probe = linear.LogisticRegression(
            C=1 / (fit.choice["penalty"] * length), solver="newton-cholesky", tol=1e-12
        ).fit(z[split.train], Y[split.train])
        wanted = probe.predict_proba(z[split.test])[:, 1]
        assert fit.predictions == pytest.approx(wanted, abs=1e-7)


def test_penalties_far_beyond_the_best_are_not_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    x = RNG.normal(size=(ROWS, 150))
    features = Features({"x/mean": x})
    short = fitted(features, Y, splits_of(ROWS), BINARY)
    steps: list[float] = []
    original = solve

    def counted(
        fits: Fits, start: Solution, precision: Precision, rough: Products | None = None
    ) -> Solution:
        steps.append(float(fits.penalties[0]))
        return original(fits, start, precision, rough)

    monkeypatch.setattr(kernel_search, "solve", counted)
    monkeypatch.setattr(kernel_search, "_WORSE", np.inf)
    whole = fitted(features, Y, splits_of(ROWS), BINARY)
    assert len(steps) == len(PENALTIES) + 2
    monkeypatch.setattr(kernel_search, "_WORSE", 1.02)
    steps.clear()
    again = fitted(features, Y, splits_of(ROWS), BINARY)
    assert len(steps) < len(PENALTIES)
    for one, other, third in zip(short, whole, again, strict=True):
        assert one.choice == other.choice == third.choice
