"""Penalties chosen by leaving patients out: the closed form equals fits that are made without them."""

from __future__ import annotations

import numpy as np
import pytest

from etab import heads
from etab.errors import UnsupportedOptionError
from etab.heads.pooled import large
from etab.heads.pooled.large import Wide, partition
from etab.heads.pooled.left_out import left_out
from etab.heads.pooled.linalg import PENALTIES, basis, gram
from etab.splits import row_splits
from etab.types import Features, FloatArray, Kind, Target
from tests.heads.test_exact_logistic import COLUMNS, ROWS, scaled

# A patient has one row, two, or five.
PATIENTS = np.sort(np.r_[np.arange(ROWS - 50), np.repeat(np.arange(200, 220), 2), [300] * 10])
Y = 50 + 5 * np.random.default_rng(5).normal(size=ROWS)


# Patients who are compared, of each number of rows.
COMPARED = [0, 1, 50, 69, 200, 207, 219, 300]


def loop(x: FloatArray, penalty: float, patients: FloatArray) -> FloatArray:
    """Predictions of scikit-learn for the patients who are compared, fitted again without each."""
    linear = pytest.importorskip("sklearn.linear_model")
    out = np.zeros(len(x))
    for patient in COMPARED:
        rest = patients != patient
        fit = linear.Ridge(alpha=penalty * len(x), solver="svd").fit(x[rest], Y[rest])
        out[~rest] = fit.predict(x[~rest])
    return out


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_predictions_are_of_fits_without_the_patient(name: str) -> None:
    x = scaled(COLUMNS[name])
    found = left_out(basis(gram(x), np.arange(ROWS)), Y, PATIENTS)
    compared = np.isin(PATIENTS, COMPARED)
    for k in (0, 4, 9):
        # The rows have a mean squared length of 1.
        wanted = loop(x, PENALTIES[k] / ROWS, PATIENTS)
        # Axes are left out whose squared length is a billionth of the longest one's.
        same = pytest.approx(wanted[compared], abs=1e-3 if name == "badly scaled" else 1e-6)
        assert found[compared, k] == same


def test_moments_of_many_rows_give_the_same() -> None:
    x = scaled(COLUMNS["plain"])
    wanted = left_out(basis(gram(x), np.arange(ROWS)), Y, PATIENTS)
    found = left_out(Wide(x, np.zeros(ROWS, dtype=int)).basis(np.arange(ROWS)), Y, PATIENTS)
    assert found == pytest.approx(wanted, abs=1e-8)


@pytest.mark.parametrize("limit", [large.LIMIT, 50])
def test_the_head_takes_the_penalty_of_the_smallest_error(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "LIMIT", limit)
    x = COLUMNS["plain"]
    splits = row_splits(PATIENTS.astype(str), np.full(ROWS, "train"), protocol="cv", n_fold=3)
    target = Target("EF", Kind.VALUE)
    fits = heads.head("ridge_loo").cross_fit(
        Features({"x/mean": x}), Y, PATIENTS, splits, target, rng=np.random.default_rng(0)
    )
    train = splits[0].train
    axes = Wide(x, partition(splits, ROWS)).basis(train)
    errors = np.abs(left_out(axes, Y[train], PATIENTS[train]) - Y[train, None]).mean(axis=0)
    assert fits[0].choice["penalty"] == PENALTIES[int(errors.argmin())]
    assert fits[0].choice["inner_mae"] == pytest.approx(errors.min(), rel=1e-4)
    assert fits[0].predictions.shape == splits[0].test.shape


def test_one_patient_cannot_be_left_out() -> None:
    fit = basis(gram(COLUMNS["plain"]), np.arange(ROWS))
    with pytest.raises(UnsupportedOptionError, match="at least two patients"):
        left_out(fit, Y, np.zeros(ROWS))
