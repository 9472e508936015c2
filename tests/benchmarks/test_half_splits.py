"""Kendall's tau between halves of the patients, as ``benchmarks/half_splits.py`` prints it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import half_splits
from etab.metrics.columns import ScoredRows
from etab.types import Kind

CODE = "b0-A4-C"
PATIENTS = np.array([f"p{i:03d}" for i in range(60)])


def table(error: float, seed: int) -> ScoredRows:
    """Predictions that are off by ``error`` on average."""
    truth = np.linspace(20, 80, 60)
    scores = truth + error * np.random.default_rng(seed).choice([-1.0, 1.0], 60)
    return ScoredRows(
        Kind.VALUE, {"truth": truth, "score": scores}, PATIENTS, PATIENTS, np.zeros(60)
    )


def test_backbones_that_differ_for_everybody_keep_their_order() -> None:
    tables = {CODE: {f"b{i}": table(1.0 + i, i) for i in range(5)}}
    found = half_splits.taus(tables, [{CODE: 1.0}, {CODE: 0.5}], 4)
    assert found.shape == (4, 2)
    assert found == pytest.approx(1)


def test_backbones_that_are_alike_have_no_order() -> None:
    truth = np.linspace(20, 80, 60)
    tables = {CODE: {}}
    for i in range(6):
        scores = truth + np.random.default_rng(i).normal(0, 5, 60)
        columns = {"truth": truth, "score": scores}
        tables[CODE][f"b{i}"] = ScoredRows(Kind.VALUE, columns, PATIENTS, PATIENTS, np.zeros(60))
    assert half_splits.taus(tables, [{CODE: 1.0}], 30).mean() == pytest.approx(0, abs=0.3)
