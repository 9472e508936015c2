"""Probes with few labels beside the training median, and EF below 50 from answers for EF."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.ef_and_d0 import from_fractions
from benchmarks.few_labels import page, values_of
from etab.metrics.columns import ScoredRows
from etab.types import Kind
from tests.made import changed, predictions, result


def test_cells_worse_than_the_median_are_counted() -> None:
    errors = {("b0-A4-C", "one", 2.0): 9.0, ("b0-A4-C", "two", 2.0): 12.0}
    text = page({"stack": errors}, {("b0-A4-C", "any", 2.0): 10.0})
    assert "| 2 % | stack | 1 of 2 | -0.50 | -2.00 | +1.00 |" in text


def test_larger_areas_are_better() -> None:
    areas = {("d0-A4-C", "one", 5.0): 0.7, ("d0-A4-C", "two", 5.0): 0.5}
    text = page({"stack": areas}, {("d0-A4-C", "any", 5.0): 0.5})
    assert "| 5 % | stack | 0 of 2 | +0.10 | +0.00 | +0.20 |" in text


def test_draws_are_averaged() -> None:
    made = result(predictions("b0-A4-C", n=12), "b0-A4-C")
    cells = [
        changed(made, protocol=protocol, value=value)
        for protocol, value in (
            ("official", 7.0),
            ("official-2pct-d0", 9.0),
            ("official-2pct-d1", 10.0),
        )
    ]
    assert values_of(cells) == {("b0-A4-C", "cnn", 100.0): 7.0, ("b0-A4-C", "cnn", 2.0): 9.5}


def test_low_fractions_are_probable_below_50() -> None:
    """Within folds: the answers of the second fold lie on another scale."""
    columns = {
        "truth": np.array([30.0, 45.0, 60.0, 70.0, 40.0, 55.0]),
        "score": np.array([35.0, 52.0, 50.0, 65.0, 80.0, 90.0]),
    }
    folds = np.array(["a", "a", "a", "a", "b", "b"])
    patients = np.array([f"p{i}" for i in range(6)])
    rows = ScoredRows(Kind.VALUE, columns, patients, folds)
    assert from_fractions(rows) == pytest.approx(4 / 5)
