"""The last fit of ``logistic`` is made without axes: it equals scikit-learn's, and the one along the axes."""

from __future__ import annotations

import numpy as np
import pytest

from etab import heads
from etab.heads.pooled import probes, solved_logistic
from etab.heads.pooled.linalg import DualLogistic, basis, gram, logistic_path
from etab.splits import row_splits
from etab.types import Features, FloatArray
from tests.heads.test_exact_logistic import BINARY, COLUMNS, ROWS, THREE, Y, scaled

TRAIN = np.arange(100)
TEST = np.arange(100, ROWS)


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_logits_are_scikit_learns_and_those_along_the_axes(name: str) -> None:
    x = scaled(COLUMNS[name])
    kernel = gram(x)
    fit = basis(kernel, TRAIN)
    for classes in (Y[:, None], THREE):
        y = classes[TRAIN]
        dual = DualLogistic.fit(kernel, TRAIN, y, 0.01, iterations=5000, tolerance=1e-9)
        ours = dual.logits(kernel, TEST)
        w, b = logistic_path(fit.train, y, np.ones((100, 1)), [0.01], iterations=5000)
        along = fit.predict(kernel, TEST, w[0]) + b[0]
        assert ours == pytest.approx(along, abs=1e-4)
        if y.shape[1] == 1:
            assert ours[:, 0] == pytest.approx(_of_test(x, y[:, 0]), abs=1e-5)
        else:
            shifted = ours - ours.mean(axis=1, keepdims=True)
            assert shifted == pytest.approx(_of_test(x, y.argmax(axis=1)), abs=1e-5)


def _of_test(x: FloatArray, labels: FloatArray) -> FloatArray:
    """Logits of the test rows by scikit-learn; the penalty is on the sum of the log-losses."""
    linear = pytest.importorskip("sklearn.linear_model")
    probe = linear.LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-12, max_iter=500)
    return np.asarray(probe.fit(x[TRAIN], labels).decision_function(x[TEST]))


def test_the_head_fits_so_where_columns_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training rows that are all the same are answered by the shares of the classes."""
    rng = np.random.default_rng(0)
    patients = np.arange(60).astype(str)
    splits = row_splits(patients, np.full(60, "train"), protocol="cv", n_fold=3)
    y = np.arange(60) % 2
    columns = rng.normal(size=(60, 80)) + 0.4 * y[:, None]

    def scores(x: FloatArray) -> FloatArray:
        features = Features({"x/mean": x.astype(np.float32)})
        probe = heads.head("logistic")
        fits = probe.cross_fit(features, y, patients, splits, BINARY, rng=rng)
        return np.concatenate([fit.predictions for fit in fits])

    dual = scores(columns)
    same = scores(np.full((60, 80), 7.0))
    shares = np.concatenate([np.full(len(s.test), y[s.train].mean()) for s in splits])
    assert same == pytest.approx(shares, abs=1e-6)
    monkeypatch.setattr(probes, "_SAME", np.inf)
    assert dual == pytest.approx(scores(columns), abs=1e-6)
    assert float(np.ptp(dual)) > 0.1


@pytest.mark.parametrize(("strength", "is_solved"), [(0.2, True), (6.0, False)])
def test_penalties_are_those_that_the_steps_choose(
    strength: float, is_solved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where classes are nearly separable, the steps end before a fit is solved."""
    rng = np.random.default_rng(0)
    patients = np.arange(120).astype(str)
    splits = row_splits(patients, np.full(120, "train"), protocol="cv", n_fold=3)
    y = np.arange(120) % 2
    columns = rng.normal(size=(120, 150))
    columns[:, :5] += strength * y[:, None]
    solved: list[bool] = []
    original = solved_logistic.solved_key

    def noted(*args: object) -> solved_logistic.SolvedKey | None:
        found = original(*args)  # type: ignore[arg-type]
        solved.append(found is not None)
        return found

    def fits() -> list[heads.FoldFit]:
        features = Features({"x/mean": columns.astype(np.float32)})
        return heads.head("logistic").cross_fit(features, y, patients, splits, BINARY, rng=rng)

    monkeypatch.setattr(probes, "solved_key", noted)
    quick = fits()
    assert solved == [is_solved]
    monkeypatch.setattr(solved_logistic, "_LEAST_CURVATURE", 2.0)
    for one, other in zip(quick, fits(), strict=True):
        assert one.choice["penalty"] == other.choice["penalty"]
        assert one.predictions == pytest.approx(other.predictions, abs=1e-6)
        assert one.choice["inner_log_loss"] == pytest.approx(
            other.choice["inner_log_loss"], abs=1e-4
        )


def test_close_calls_are_left_to_the_steps() -> None:
    apart = [np.array([0.5, 0.4, 0.6]), np.array([0.7, 0.5, 0.8])]
    near = [np.array([0.9, 0.9, 0.9]), np.array([0.9, 0.50001, 0.9])]
    assert solved_logistic.close_calls({"a": apart}) == set()
    assert solved_logistic.close_calls({"a": apart, "b": near}) == {"a", "b"}
