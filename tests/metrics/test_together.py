"""Metrics of many tables at once are those of each table; shared facts are shared by equal arrays only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from etab.metrics import METRICS, by_table
from etab.metrics.by_table import values_by_table
from etab.metrics.columns import ScoredRows
from etab.metrics.forms import Units
from etab.metrics.shared import distinct, frozen, is_constant, once, positions, taken
from etab.metrics.together import draws_together
from etab.metrics.uncertainty import resample_weights, weighted, weighted_together
from etab.types import Kind
from tests.metrics.test_forms import CASES, DIVIDED, divided_rows


def shifted(rows: ScoredRows, number: int) -> ScoredRows:
    """The table of another backbone: the same rows and truth, other predictions."""
    columns = {
        name: np.roll(values, number) if name not in ("truth", "group", "outcome") else values
        for name, values in rows.columns.items()
    }
    return replace(rows, columns=columns)


@pytest.mark.parametrize(("repeats", "ties"), DIVIDED)
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_tables_together_have_the_values_of_each(
    name: str, kind: Kind, repeats: int, ties: bool
) -> None:
    first = divided_rows(kind, repeats, ties=ties)
    tables = [shifted(first, number) for number in range(3)]
    order = np.unique(first.patients)
    counts = resample_weights(len(order), 40, np.random.default_rng(1))
    alone = [weighted(name, rows, order, counts) for rows in tables]
    for values, wanted in zip(weighted_together(name, tables, order, counts), alone, strict=True):
        assert values == pytest.approx(wanted, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("n_parts", [1, 5])
@pytest.mark.parametrize("largest", [1, 255])
@pytest.mark.parametrize("rows_of_each", [1, 2])
def test_areas_together_are_exact(n_parts: int, largest: int, rows_of_each: int) -> None:
    """Weights of 255 make more pairs than float32 counts exactly; parts differ in their truth."""
    rng = np.random.default_rng(0)
    n = 400
    people = np.arange(n) // rows_of_each
    parts = frozen(people % n_parts)
    forms = []
    for number in range(4):
        truth = (np.arange(n) % (3 + number // 2) == 0).astype(np.float64)
        score = np.round(truth + rng.normal(0, 1.5, n), 2)
        rows = ScoredRows(Kind.BINARY, {"truth": truth, "score": score}, people, parts)
        forms.append(METRICS["auroc"].prepared(rows, Units(people, n // rows_of_each)))
    counts = rng.integers(0, largest + 1, (n // rows_of_each, 30)).astype(np.uint8)
    for form, values in zip(forms, draws_together(forms, counts), strict=True):
        assert values == pytest.approx(form.draws(counts.astype(np.float64)), abs=1e-14)


TOGETHER = sorted(name for name, item in METRICS.items() if item.by_row or item.forms)


@pytest.mark.parametrize("name", TOGETHER)
@pytest.mark.parametrize(("repeats", "ties"), DIVIDED)
def test_values_by_table_are_those_of_each_table_and_fold(
    name: str, repeats: int, ties: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kind,) = sorted(METRICS[name].kinds)[:1]
    first = divided_rows(kind, repeats, ties=ties)
    tables = [shifted(first, number) for number in range(5)]
    monkeypatch.setattr(by_table, "_ROWS_AT_ONCE", 2 * len(first))
    computed = values_by_table([name, "unknown"], tables)
    for rows, values in zip(tables, computed, strict=True):
        found = values[name]
        assert found.whole == pytest.approx(METRICS[name].value(rows), rel=1e-9)
        if METRICS[name].forms and not METRICS[name].within_folds:
            assert not found.of_folds
            continue
        parts = rows.of_folds()
        assert list(found.of_folds) == [part[0] for part in parts]
        wanted = [METRICS[name].value(rows.select(part)) for part in parts]
        assert list(found.of_folds.values()) == pytest.approx(wanted, rel=1e-9)


def test_values_by_table_leave_other_metrics_to_each_table() -> None:
    rows = divided_rows(Kind.BINARY, 1, ties=False)
    (values,) = values_by_table(["macro_auroc", "mae", "balanced_accuracy"], [rows])
    assert list(values) == ["balanced_accuracy"]


def test_shared_facts_follow_the_array_and_not_its_name() -> None:
    one = frozen(np.array(["b", "a", "b"]))
    same = frozen(np.array(["b", "a", "b"]))
    assert distinct(one)[0] is distinct(one)[0]
    assert distinct(one)[0] is not distinct(same)[0]
    assert distinct(one)[2].tolist() == [1, 2]
    assert positions(frozen(np.array(["a", "b"])), one).tolist() == [1, 0, 1]


def test_facts_of_arrays_that_change_are_not_shared() -> None:
    values = np.array([1, 2, 3])
    view = values[:]
    view.setflags(write=False)
    rows = frozen(np.array([0, 2]))
    assert not is_constant(values)
    assert not is_constant(view)
    for array in (values, view):
        before = taken(array, rows).tolist()
        values[0] += 1
        assert taken(array, rows).tolist() == [before[0] + 1, before[1]]


def test_a_fact_is_computed_once() -> None:
    calls = []

    @once
    def length(values: np.ndarray) -> int:
        calls.append(len(values))
        return len(values)

    constant = frozen(np.arange(3))
    assert [length(constant), length(constant), length(np.arange(4))] == [3, 3, 4]
    assert calls == [3, 4]
