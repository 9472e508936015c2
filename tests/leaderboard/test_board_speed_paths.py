"""What makes a large board fast changes no verdict: shortcuts give what the long way gives."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from etab.errors import ResultError
from etab.leaderboard.admission.files import record_files
from etab.leaderboard.pairs import ERROR
from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows
from etab.metrics.design import FoldDesign
from etab.metrics.forms import Units
from etab.metrics.inference import deciding_p, precision_of, precisions_of, two_sided_p
from etab.metrics.uncertainty import (
    OVER_PATIENTS,
    ConfidenceInterval,
    holm,
    percentile_interval,
    percentile_intervals,
    resample_weights,
    weighted,
    weighted_together,
)
from etab.results import Result
from etab.types import Kind


@pytest.mark.parametrize("degrees", [1.0, 11.0, 499.0])
@pytest.mark.parametrize("spread", [0.5, 2.0, 6.0])
def test_holm_decides_on_the_p_values_that_decide_as_on_all(degrees: float, spread: float) -> None:
    rng = np.random.default_rng(0)
    differences = np.concatenate([rng.normal(0, spread, 600), [0.0, 0.0, 1e9]])
    variances = np.concatenate([rng.uniform(0.2, 2, 600), [1.0, 0.0, 0.0]])
    every = two_sided_p(differences, variances, degrees)
    deciding = deciding_p(differences, variances, degrees, ERROR)
    for some in (slice(None), slice(0, None, 3), slice(0, 2)):
        wanted = holm(every[some].tolist()) < ERROR
        assert ((holm(deciding[some].tolist()) < ERROR) == wanted).all()


@pytest.mark.parametrize("name", ["mae", "rmse", "r2", "dice", "auroc", "balanced_accuracy"])
@pytest.mark.parametrize("n_repeats", [1, 3])
def test_the_noise_of_many_tables_is_that_of_each_to_the_last_bit(
    name: str, n_repeats: int
) -> None:
    rng = np.random.default_rng(3)
    kind = next(iter(sorted(METRICS[name].kinds)))
    n = 80 * n_repeats
    repeats = np.repeat(np.arange(n_repeats), 80)
    patients = np.array([f"p{i % 30:02d}" for i in rng.permutation(80)] * n_repeats)
    truth = np.tile(rng.integers(0, 2, 80), n_repeats).astype(float)
    folds = np.array([int(patient[1:]) % 4 for patient in patients])
    tables = []
    for _ in range(5):
        columns = {"truth": truth, "score": rng.random(n)}
        if kind is Kind.MASK:
            columns = {name: rng.random(n)}
        elif name == "balanced_accuracy":
            kind = Kind.BINARY
        tables.append(ScoredRows(kind, columns, patients, folds, repeats))
    other = rng.permutation(n)
    tables.append(tables[0].select(other))
    order = np.array(sorted({*patients.tolist(), "q", "a"}))
    designs = [FoldDesign(4, n_repeats, 0.25)] * len(tables)
    together = precisions_of(name, tables, order, designs)
    for rows, part in zip(tables, together, strict=True):
        alone = precision_of(name, rows, order, designs[0])
        assert part.people.tobytes() == alone.people.tobytes()
        assert part.patients == alone.patients == 30
        assert part.added == alone.added
        has_least = METRICS[name].of_decisions or METRICS[name].least is not None
        assert has_least or part.added == 0
    weights = resample_weights(len(order), 50, rng)
    drawn = weighted_together(name, tables, order, weights)
    for rows, values in zip(tables, drawn, strict=True):
        np.testing.assert_allclose(values, weighted(name, rows, order, weights), rtol=1e-12)


@pytest.mark.parametrize("name", ["auroc", "auprc"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_areas_of_all_folds_are_those_of_each_fold(name: str, n_classes: int) -> None:
    rng = np.random.default_rng(1)
    n = 60
    truth = rng.integers(0, n_classes, n).astype(np.float64)
    folds = np.arange(n) % 4
    truth[folds == 3] = 0.0  # a fold of one class has no area
    score = np.round(rng.random((n, n_classes)), 1)
    columns = {"truth": truth} | {f"score_{k}": score[:, k] for k in range(n_classes)}
    kind = Kind.CLASSES
    if n_classes == 2:
        columns, kind = {"truth": truth, "score": score[:, 1]}, Kind.BINARY
    repeats = np.repeat([0, 1], n // 2)
    rows = ScoredRows(kind, columns, np.arange(n), folds, repeats)
    together = METRICS[name].prepared_together([rows], Units.single_rows(n))
    assert together is not None
    values = together.values_of_parts()[0].tolist()
    assert len(values) == len(rows.of_folds()) == 8
    for value, part in zip(values, rows.of_folds(), strict=True):
        alone = METRICS[name].prepared(rows.select(part), Units.single_rows(len(part))).value()
        assert value == pytest.approx(alone, abs=1e-15, nan_ok=True)


def test_intervals_together_are_those_of_each_value() -> None:
    draws = np.random.default_rng(2).normal(size=(3, 400))
    for undefined in (0, 10, 100):
        draws[1, :undefined] = np.nan
        together = percentile_intervals([0.1, 0.2, 0.3], draws, method=OVER_PATIENTS)
        assert together[0] == percentile_interval(0.1, draws[0], method=OVER_PATIENTS)
        assert isinstance(together[1], ConfidenceInterval) == (undefined <= 20)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_record_with_a_number_that_is_none_is_refused(tmp_path: Path, number: str) -> None:
    record = next(Path("benchmarks/results").rglob("*.json"))
    text = record.read_text()
    path = tmp_path / record.name
    path.write_text(text.replace('"settings": {', f'"settings": {{"odd": {number},', 1))
    with pytest.raises(ResultError, match="settings cannot be written as JSON"):
        Result.load(path)
    path.write_text(text)
    assert math.isfinite(Result.load(path).value)


def test_hidden_and_deep_records_are_told_apart(tmp_path: Path) -> None:
    for place in ("a/b/c", ".hidden/b", "__MACOSX/b", "1/2/3/4/5/6/7/8/9"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "r.json").write_text("{}")
    (tmp_path / "a" / "._r.json").write_text("{}")
    files = record_files(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in files.records] == ["a/b/c/r.json"]
    assert [path.parent.name for path in files.refused] == ["9"]
