"""Uncertainty over patients: bootstrap, Holm's correction and rank intervals.

The unit is always the patient: rows of one patient are resampled or left out together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etab.errors import UndefinedError
from etab.metrics.base import METRICS
from etab.metrics.by_table import sums_by_table, tables_alike
from etab.metrics.columns import Columns, ScoredRows
from etab.metrics.forms import Form, Units
from etab.metrics.shared import distinct, positions
from etab.metrics.together import draws_together
from etab.types import Array, FloatArray, IntArray, Kind

OVER_PATIENTS = "bootstrap over patients"
"""Name of the intervals by resampling patients."""


@dataclass(frozen=True, slots=True)
class ConfidenceInterval:
    """A value with its interval; ``method`` says which noise the interval covers."""

    value: float
    low: float
    high: float
    method: str


def resample_weights(
    n_patients: int,
    n: int,
    rng: np.random.Generator,
) -> IntArray:
    """Draw bootstrap resamples of patients.

    Args:
        n_patients: Number of patients, two or more.
        n: Number of resamples.
        rng: Generator of the draws.

    Returns:
        (n, n_patients) how often each patient is drawn. Use one array for all scores that are
        compared, so that they are paired. The numbers have the smallest unsigned type that holds
        them, and those of one patient are next to each other in memory.

    Raises:
        UndefinedError: For fewer than two patients.

    Example:
        >>> import numpy as np
        >>> resample_weights(5, 3, np.random.default_rng(0)).sum(axis=1).tolist()
        [5, 5, 5]
    """
    if n_patients < 2:
        raise UndefinedError(
            f"Only {n_patients} test patient: an interval needs at least 2. Add test patients, or "
            "take folds: --protocol cv5."
        )
    counts = rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=n)
    smallest = np.min_scalar_type(counts.max(initial=0))
    return np.asarray(counts.astype(smallest), order="F")


def weighted(
    metric: str,
    rows: ScoredRows,
    order: Array,
    weights: IntArray,
) -> FloatArray:
    """Compute a metric under several weightings of the patients.

    Args:
        metric: Its name in ``METRICS``.
        rows: The prediction table with its patients, folds and repeats.
        order: The sorted names of the patients that the weights are of. Those without rows weigh
            nothing.
        weights: (draws, patients), how often each patient was drawn.

    Returns:
        (draws,) values, NaN where the metric does not exist in that resample.
    """
    units = Units(positions(order, rows.patients), len(order))
    return METRICS[metric].prepared(rows, units).draws(np.asarray(weights).T)


def weighted_together(
    metric: str,
    tables: Sequence[ScoredRows],
    order: Array,
    weights: IntArray,
) -> list[FloatArray]:
    """Compute ``weighted`` for the tables of several backbones at once.

    Args:
        metric: Its name in ``METRICS``.
        tables: Prediction tables of the same patients.
        order: The sorted names of the patients that the weights are of.
        weights: (draws, patients), how often each patient was drawn.

    Returns:
        (draws,) values of each table.
    """
    counts = np.asarray(weights).T
    draws: dict[int, FloatArray] = {}
    forms: dict[int, Form] = {}
    for places in tables_alike(tables):
        alike = [tables[place] for place in places]
        units = Units(positions(order, alike[0].patients), len(order))
        together = METRICS[metric].prepared_together(alike, units)
        if together is not None:
            draws |= dict(zip(places, together.draws(counts), strict=True))
        else:
            forms |= dict(zip(places, _forms(metric, alike, order, units), strict=True))
    if forms:
        draws |= dict(zip(forms, draws_together(list(forms.values()), counts), strict=True))
    return [draws[place] for place in range(len(tables))]


def _forms(metric: str, tables: Sequence[ScoredRows], order: Array, units: Units) -> Sequence[Form]:
    """The forms of tables of the same patients, prepared together where the metric allows it."""
    repeats = tables[0].of_repeats()
    together = sums_by_table(metric, tables, order, repeats[0]) if len(repeats) == 1 else None
    if together is not None:
        return together
    return [METRICS[metric].prepared(rows, units) for rows in tables]


def percentile_interval(
    value: float,
    draws: FloatArray,
    *,
    level: float = 0.95,
    method: str,
) -> ConfidenceInterval:
    """Percentile interval of bootstrap draws.

    Args:
        value: The value on all patients.
        draws: (n,) values of resamples. NaN, where the metric does not exist, is left out.
        level: Coverage, 0 to 1.
        method: Name of the interval.

    Raises:
        UndefinedError: Where more than 5 % of the draws do not exist.
    """
    defined = draws[np.isfinite(draws)]
    if len(defined) < 0.95 * len(draws):
        raise UndefinedError(
            f"The metric does not exist in {len(draws) - len(defined)} of {len(draws)} resamples "
            "of patients: too few patients of one class for an interval."
        )
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return ConfidenceInterval(float(value), float(low), float(high), method)


def percentile_intervals(
    values: Sequence[float], draws: FloatArray, *, level: float = 0.95, method: str
) -> list[ConfidenceInterval | UndefinedError]:
    """Compute ``percentile_interval`` for several values at once.

    Args:
        values: n values on all patients.
        draws: (n, draws) resamples of each; the other arguments are those of one interval.

    Returns:
        The interval of each value, or why there is none.
    """
    if np.isfinite(draws).all():
        lows, highs = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=1).tolist()
        ends = zip(values, lows, highs, strict=True)
        return [ConfidenceInterval(float(value), low, high, method) for value, low, high in ends]
    intervals: list[ConfidenceInterval | UndefinedError] = []
    for value, of_value in zip(values, draws, strict=True):
        try:
            intervals.append(percentile_interval(value, of_value, level=level, method=method))
        except UndefinedError as error:
            intervals.append(error)
    return intervals


def bootstrap(
    metric: str,
    kind: Kind,
    columns: Columns,
    patients: Array,
    *,
    rng: np.random.Generator,
    n: int = 2000,
    level: float = 0.95,
    folds: Array | None = None,
    repeats: Array | None = None,
) -> ConfidenceInterval:
    """Interval of a metric by resampling patients with all their rows.

    Args:
        metric: Its name in ``METRICS``.
        kind: What the scores mean.
        columns: The prediction table, arrays (rows,) by name.
        patients: (rows,) names.
        rng: Generator of the resamples.
        n: Number of resamples.
        level: Coverage, 0 to 1.
        folds: (rows,) the split that tested each row; None for one fold.
        repeats: (rows,) the division into folds of each row; None for one.

    Returns:
        The value with its percentile interval.

    Raises:
        UndefinedError: Where the metric does not exist, or not in 5 % of the resamples.

    Example:
        >>> import numpy as np
        >>> columns = {"truth": np.zeros(20), "score": np.arange(20.0)}
        >>> names = np.arange(20).astype(str)
        >>> rng = np.random.default_rng(0)
        >>> bootstrap("mae", Kind.VALUE, columns, names, rng=rng).value
        9.5
    """
    weights = resample_weights(len(np.unique(patients)), n, rng)
    rows = ScoredRows(kind, columns, patients, folds, repeats)
    return resampled(metric, rows, weights, level=level)


def resampled(
    metric: str,
    rows: ScoredRows,
    weights: IntArray,
    *,
    level: float = 0.95,
) -> ConfidenceInterval:
    """Compute the interval of ``bootstrap`` from given resamples.

    Args:
        metric: Name of the metric in ``METRICS``.
        rows: The prediction table.
        weights: (n, patients) resamples, as ``resample_weights`` draws them.
        level: Level of the interval, 0 to 1.
    """
    value = METRICS[metric].value(rows)
    order, _, _ = distinct(rows.patients)
    draws = weighted(metric, rows, order, weights)
    return percentile_interval(
        value,
        draws,
        level=level,
        method=OVER_PATIENTS,
    )


def holm(p: Sequence[float]) -> FloatArray:
    """Holm's step-down correction: adjusted p values in the order given."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)
    steps = np.maximum.accumulate((len(values) - np.arange(len(values))) * values[order])
    out = np.empty_like(values)
    out[order] = np.minimum(steps, 1.0)
    return out


def rank_intervals(beats: Array) -> list[tuple[int, int]]:
    """Best and worst rank: 1 + those that certainly beat it, k - those it certainly beats.

    ``beats`` (k, k) boolean: row certainly beats column. Whoever cannot be told apart shares ranks.
    """
    wins = beats.sum(axis=1)
    losses = beats.sum(axis=0)
    return [(int(1 + lost), int(len(beats) - won)) for won, lost in zip(wins, losses, strict=True)]
