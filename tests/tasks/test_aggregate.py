"""Rows that answer for one unit together: counted by hand, and through a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from etab.errors import ResultError, UnknownNameError
from etab.runs import execute, run
from etab.tasks.aggregate import reduce
from etab.tasks.menu import TASKS

COLUMNS = {"truth": np.array([1.0, 0, 1, 1]), "score": np.array([0.2, 0.5, 0.4, 0.9])}
UNITS = ["b", "a", "b", "b"]


def test_rows_of_a_unit_are_averaged_and_units_keep_their_order() -> None:
    kept, found = reduce("mean", COLUMNS, UNITS, UNITS)
    assert kept == [0, 1]
    assert found["truth"].tolist() == [1, 0]
    assert found["score"] == pytest.approx([0.5, 0.5])


def test_recordings_count_alike_however_many_rows_they_have() -> None:
    _, found = reduce("recordings", COLUMNS, UNITS, ["r1", "r2", "r1", "r3"])
    assert found["score"] == pytest.approx([0.6, 0.5])


def test_classes_keep_their_columns() -> None:
    columns = {
        "truth": np.array([2.0, 2]),
        "score_0": np.array([0.2, 0.4]),
        "score_1": np.array([0.8, 0.6]),
    }
    _, found = reduce("mean", columns, ["a", "a"], ["r", "s"])
    assert {k: v.tolist() for k, v in found.items()} == {
        "truth": [2],
        "score_0": [pytest.approx(0.3)],
        "score_1": [0.7],
    }


def test_a_unit_with_two_truths_is_refused() -> None:
    with pytest.raises(ResultError, match="rows of a differ in their truth"):
        reduce(
            "mean",
            {"truth": np.array([1.0, 0]), "score": np.array([0.1, 0.2])},
            ["a", "a"],
            ["r", "r"],
        )


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="No aggregation is called 'median'"):
        reduce("median", COLUMNS, UNITS, UNITS)


def test_a_run_scores_units(
    tmp_path: Path, phantom_tree: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = phantom_tree(["camus"]) / "camus"
    row = replace(
        TASKS["d0-A4-C"], code="d7-AX-C", views=("A2C", "A4C"), unit="patient", aggregate="mean"
    )
    monkeypatch.setitem(TASKS._items, row.code, row)
    settings = run.Settings(root=root, results=tmp_path / "results", cache=tmp_path / "cache")
    plan = run.plan(row.code, ["image_stats"], protocols=["cv"], n_fold=3)
    result = next(iter(execute.execute(plan, settings)))
    table = result.predictions(settings.results)
    assert result.n_test == result.n_patients == len(table.items) == 12
    assert set(table.items) == set(table.patients)
