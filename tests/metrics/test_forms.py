"""Metrics of patients' weights: equal to those of rows, and no larger in memory than patients are."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from etab.errors import UndefinedError
from etab.metrics import METRICS, binary_auprc, binary_auroc
from etab.metrics.columns import ScoredRows
from etab.metrics.forms import Units
from etab.metrics.uncertainty import resample_weights, weighted
from etab.testing.metrics import sample
from etab.types import Kind

CASES = [(name, kind) for name, item in METRICS.items() for kind in sorted(item.kinds)]
DIVIDED = [(1, False), (2, True)]


def divided_rows(kind: Kind, repeats: int, *, ties: bool) -> ScoredRows:
    """Rows of 60 patients, 3 of each in a repeat, in four folds; patients are in one fold."""
    n = 180
    tables = [sample(kind, np.random.default_rng(repeat), n)[0] for repeat in range(repeats)]
    columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    if ties:
        columns = {
            name: np.round(values, 1) if name.startswith("score") else values
            for name, values in columns.items()
        }
    person = np.tile(np.arange(n) // 3, repeats)
    repeat = np.repeat(np.arange(repeats), n)
    folds = np.array([f"fold{(i * 7 + r) % 4}" for i, r in zip(person, repeat, strict=True)])
    names = np.array([f"p{i:02d}" for i in person])
    return ScoredRows(kind, columns, names, folds, repeat)


@pytest.mark.parametrize(("repeats", "ties"), DIVIDED)
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_patient_weighs_like_their_rows(name: str, kind: Kind, repeats: int, ties: bool) -> None:
    rows = divided_rows(kind, repeats, ties=ties)
    order, of_row = np.unique(rows.patients, return_inverse=True)
    counts = resample_weights(len(order), 40, np.random.default_rng(1))
    by_patient = weighted(name, rows, order, counts)
    by_row = METRICS[name].draws(rows, counts[:, of_row].astype(np.float64))
    assert by_patient == pytest.approx(by_row, abs=1e-12, nan_ok=True)
    assert np.isfinite(by_patient).any()


@pytest.mark.parametrize(("repeats", "ties"), DIVIDED)
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_leaving_out_a_patient_is_leaving_out_their_rows(
    name: str, kind: Kind, repeats: int, ties: bool
) -> None:
    rows = divided_rows(kind, repeats, ties=ties)
    order, of_row = np.unique(rows.patients, return_inverse=True)
    without = METRICS[name].prepared(rows, Units(of_row, len(order))).without_each()
    assert without.shape == (60,)
    for person in (0, 17, 59):
        others = rows.select(of_row != person)
        assert without[person] == pytest.approx(METRICS[name].value(others), abs=1e-12)


def area_by_pairs(name: str, truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> float:
    """An area from every pair of rows, one weighting at a time."""
    positive = truth == 1
    gap = score[positive][:, None] - score[None, :]
    if name == "auroc":
        order = ((gap > 0) + (gap == 0) / 2)[:, ~positive]
        pairs = np.outer(weights[positive], weights[~positive])
        return float((order * pairs).sum() / pairs.sum())
    before = (gap <= 0) * weights
    precision = before[:, positive].sum(axis=1) / np.maximum(before.sum(axis=1), 1)
    return float(precision @ weights[positive] / weights[positive].sum())


@pytest.mark.parametrize("largest", [1, 40, 255])
@pytest.mark.parametrize("name", ["auroc", "auprc"])
def test_areas_of_many_pairs_are_exact(name: str, largest: int) -> None:
    """Weights of 255 make more pairs than float32 counts exactly."""
    rng = np.random.default_rng(0)
    n = 700
    truth = (np.arange(n) % 3 == 0).astype(np.float64)
    score = np.round(truth + rng.normal(0, 1.5, n), 2)
    rows = ScoredRows(Kind.BINARY, {"truth": truth, "score": score}, np.arange(n).astype(str))
    counts = rng.integers(0, largest + 1, (20, n)).astype(np.uint8)
    whole = METRICS[name].prepared(rows, Units.single_rows(n)).draws(counts.T)
    floats = METRICS[name].prepared(rows, Units.single_rows(n)).draws(counts.T.astype(np.float64))
    assert whole == pytest.approx(floats, abs=1e-14)
    for drawn, value in zip(counts[:3].astype(np.float64), whole, strict=False):
        assert value == pytest.approx(area_by_pairs(name, truth, score, drawn), abs=1e-12)


def test_areas_equal_the_sums_over_pairs() -> None:
    rng = np.random.default_rng(2)
    for n in (2, 40, 400):
        truth = np.arange(n) % 2
        score = np.round(rng.normal(truth, 1), 1)
        gap = score[truth == 1][:, None] - score[truth == 0][None, :]
        assert binary_auroc(truth, score) == pytest.approx(((gap > 0) + (gap == 0) / 2).mean())
        precisions = [(truth[score >= s]).mean() for s in score[truth == 1]]
        assert binary_auprc(truth, score) == pytest.approx(np.mean(precisions))


@pytest.mark.parametrize("name", ["r2", "pearson_r"])
def test_a_truth_that_varies_by_one_patient_is_constant_without_them(name: str) -> None:
    truth = np.full(50, 0.1)
    truth[7] = 1e6
    score = truth + np.random.default_rng(0).normal(0, 1, 50)
    rows = ScoredRows(Kind.VALUE, {"truth": truth, "score": score}, np.arange(50).astype(str))
    without = METRICS[name].prepared(rows, Units.single_rows(50)).without_each()
    assert np.flatnonzero(np.isnan(without)).tolist() == [7]
    with pytest.raises(UndefinedError, match="a truth"):
        METRICS[name].value(rows.select(np.arange(50) != 7))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("mae", Kind.VALUE), ("dice", Kind.MASK), ("auroc", Kind.BINARY), ("auprc", Kind.BINARY)],
)
def test_resamples_of_many_rows_take_the_memory_of_patients(name: str, kind: Kind) -> None:
    patients = 100
    rows_each = 60
    draws = 2000
    columns, _ = sample(kind, np.random.default_rng(0), patients * rows_each)
    names = np.repeat(np.arange(patients), rows_each).astype(str)
    rows = ScoredRows(kind, columns, names)
    order = np.unique(names)
    counts = resample_weights(patients, draws, np.random.default_rng(0))
    weighted(name, rows, order, counts[:10])
    tracemalloc.start()
    weighted(name, rows, order, counts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # One byte for each row of each draw would be 12 MB, one float64 96 MB.
    assert peak < draws * patients * rows_each


def test_resamples_are_small_numbers_in_the_order_of_patients() -> None:
    counts = resample_weights(300, 50, np.random.default_rng(0))
    plain = np.random.default_rng(0).multinomial(300, np.full(300, 1 / 300), size=50)
    assert (counts == plain).all()
    assert counts.dtype == np.uint8
    assert counts.T.flags.c_contiguous
