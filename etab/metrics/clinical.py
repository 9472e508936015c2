"""Clinical read-outs of stored predictions, beyond a mean error or an AUROC.

Each read-out is a number with an interval over patients. Read-outs are computed on demand and are
not part of the records of results.

Sources:
    Bland and Altman, Lancet 327:307-310 (1986): agreement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from etab.errors import UndefinedError, UnsupportedOptionError
from etab.metrics.base import METRICS
from etab.metrics.calibration import (
    brier,
    brier_of_classes,
    calibration_error,
    calibration_error_of_classes,
    calibration_intercept,
    calibration_slope,
)
from etab.metrics.columns import ScoredRows
from etab.metrics.forms import Units, ratio, weighted_share
from etab.metrics.heart_sounds import TIMING_COLUMNS, mean_over_people
from etab.metrics.masks import MASK_COLUMNS
from etab.metrics.uncertainty import percentile_interval, resample_weights
from etab.types import Array, FloatArray, Kind

# Ejection fractions in percent at which heart failure is classified.
EF_LIMITS = (40.0, 50.0)
SPECIFICITY = 0.9
_DRAWS = 2000
SMALLEST_GROUP = 50
"""Smallest number of patients of a subgroup that may be called the worst one."""

_OF_MASKS = {
    "dice": "Dice",
    "hd95": "95th percentile surface distance, mm",
    "msd": "mean surface distance, mm",
}
# Read-outs that resampling raises; see ``_around``.
_RAISED = ("ECE", "ECE of the likeliest class")
# Number of resamples that are computed at once.
_CHUNK = 500

_Weighted = Callable[[ScoredRows, FloatArray], FloatArray]


@dataclass(frozen=True, slots=True)
class Readout:
    """One clinical number.

    Attributes:
        name: Name of the number.
        value: The number; None where it does not exist for these rows.
        low: Lower end of its interval; None where there is no interval.
        high: Upper end of its interval.
        n: Number of rows that it is computed from, in one division into folds.
        unit: Unit of the number and of its interval; "" where it has none.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    unit: str = ""


class _Number(NamedTuple):
    """How a read-out is computed: its function, the rows (n,) bool that it is of, and its unit."""

    function: _Weighted
    among: Array
    unit: str = ""


def error_slope(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Slope of the error on the truth: 0 without shrinkage, -1 for constant predictions.

    Args:
        rows: The prediction table.
        weights: (draws, n) weights of the rows, 0 or more.

    Returns:
        (draws,) values, NaN where the number does not exist.
    """
    error = rows["score"] - rows["truth"]
    truth = rows["truth"] - rows["truth"].mean()
    n = weights.sum(axis=1)
    of_truth = weights @ truth
    of_error = weights @ error
    covariance = weights @ (truth * error) - ratio(of_truth * of_error, n)
    spread = weights @ np.square(truth) - ratio(np.square(of_truth), n)
    return ratio(covariance, spread)


def sensitivity_at_specificity(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Highest sensitivity of a threshold whose specificity is 0.9 or more.

    Args:
        rows: The prediction table.
        weights: (draws, n) weights of the rows, 0 or more.

    Returns:
        (draws,) values, NaN where the number does not exist.
    """
    order = np.argsort(-rows["score"], kind="stable")
    score = rows["score"][order]
    positive = (rows["truth"] == 1)[order]
    ordered = weights[:, order]
    n_positive = ordered @ positive
    n_negative = ordered @ ~positive
    hits = np.cumsum(ordered * positive, axis=1)
    alarms = np.cumsum(ordered * ~positive, axis=1)
    sensitivity = ratio(hits.T, n_positive).T
    false_alarms = ratio(alarms.T, n_negative).T
    # Equal scores pass a threshold together.
    ends = np.append(np.diff(score) != 0, True)
    allowed = ends & (false_alarms <= 1 - SPECIFICITY + 1e-12)
    best = np.where(allowed, sensitivity, 0.0).max(axis=1)
    exists = (n_positive > 0) & (n_negative > 0)
    return np.where(exists, best, np.nan)


def readouts(
    rows: ScoredRows,
    *,
    ejection: bool = True,
    unit: str = "",
    seed: int = 0,
    draws: int = _DRAWS,
) -> list[Readout]:
    """Compute the clinical read-outs of the predictions of a cell.

    Args:
        rows: The table.
        ejection: Whether truth and score of a table of values are ejection fractions in percent;
            other values have no ranges and no limits of 40 and 50.
        unit: Unit of the errors of a table of values, as ``etab.tasks.words.metric_unit`` gives it.
        seed: Seed of the resamples.
        draws: Number of resamples of patients.

    Returns:
        The read-outs with 95 % intervals.

    Raises:
        UnsupportedOptionError: The table lacks the columns of any read-out.

    Example:
        >>> import numpy as np
        >>> columns = {"truth": np.array([35.0, 45.0, 60.0]), "score": np.array([42.0, 46.0, 55.0])}
        >>> table = ScoredRows(Kind.VALUE, columns, np.array(["p1", "p2", "p3"]))
        >>> [(r.name, r.value) for r in readouts(table)][:2]
        [('bias, EF < 40', 7.0), ('bias, EF 40 to 50', 1.0)]
    """
    numbers = _numbers(rows, ejection, unit)
    names, of_row = np.unique(rows.patients, return_inverse=True)
    counts = resample_weights(len(names), draws, np.random.default_rng(seed))
    table = []
    for name, number in numbers.items():
        weights = counts[:, of_row[number.among]]
        readout = _readout(name, number.function, rows.select(number.among), weights)
        table.append(replace(readout, unit=number.unit))
    return table


def _numbers(rows: ScoredRows, ejection: bool, unit: str) -> dict[str, _Number]:
    """The read-outs of a kind by name."""
    every_row = np.ones(len(rows), dtype=bool)
    if rows.kind is Kind.BINARY:
        return {
            "sensitivity at 90 % specificity": _Number(sensitivity_at_specificity, every_row),
            "ECE": _Number(calibration_error, every_row),
            "Brier": _Number(brier, every_row),
            "calibration slope": _Number(calibration_slope, every_row),
            "calibration intercept": _Number(calibration_intercept, every_row),
        }
    if rows.kind is Kind.STATES and set(TIMING_COLUMNS) <= set(rows.columns):
        return _of_timing(every_row)
    if rows.kind is Kind.MASK and set(MASK_COLUMNS) <= set(rows.columns):
        return {
            title: _Number(METRICS[name].draws, every_row, METRICS[name].unit)
            for name, title in _OF_MASKS.items()
        }
    if rows.kind is Kind.CLASSES:
        return {
            "Brier over all classes": _Number(brier_of_classes, every_row),
            "ECE of the likeliest class": _Number(calibration_error_of_classes, every_row),
        }
    if rows.kind is not Kind.VALUE:
        raise UnsupportedOptionError(
            "Clinical read-outs are of values, of classes, of masks with their distances, and of "
            f"heart states with their timing; got a table of {rows.kind} with the columns "
            f"{', '.join(sorted(rows.columns))}."
        )
    return _of_values(rows, every_row, ejection, unit)


def _of_values(
    rows: ScoredRows,
    every_row: Array,
    ejection: bool,
    unit: str,
) -> dict[str, _Number]:
    """Agreement of values; for ejection fractions also the bias by range, and reclassification."""
    bias = METRICS["bias"].draws
    agreement: dict[str, _Number] = {
        "lower limit of agreement": _Number(METRICS["loa_low"].draws, every_row, unit),
        "upper limit of agreement": _Number(METRICS["loa_high"].draws, every_row, unit),
        "slope of error on truth": _Number(error_slope, every_row),
    }
    if not ejection:
        return {"bias": _Number(bias, every_row, unit), **agreement}
    low, high = EF_LIMITS
    truth = rows["truth"]
    numbers: dict[str, _Number] = {
        "bias, EF < 40": _Number(bias, truth < low, unit),
        "bias, EF 40 to 50": _Number(bias, (truth >= low) & (truth <= high), unit),
        "bias, EF > 50": _Number(bias, truth > high, unit),
        **agreement,
    }
    for limit in EF_LIMITS:
        below = truth < limit
        numbers[f"EF < {limit:g} called so"] = _Number(_called_below(limit), below)
        numbers[f"EF >= {limit:g} called lower"] = _Number(_called_below(limit), ~below)
    return numbers


def _of_timing(every_row: Array) -> dict[str, _Number]:
    """Timing of S1 and S2 that were detected within 100 ms, and the sounds that were not.

    The error of a person is the mean over their recordings; its median and 95th percentile are over
    people.
    """
    numbers: dict[str, _Number] = {}
    for sound in ("s1", "s2"):
        for column, title in (("error_ms", "timing error"), ("late_ms", "mean lateness")):
            function = _mean_of_found(f"{sound}_{column}", f"{sound}_found")
            numbers[f"{title} of {sound.upper()}, ms"] = _Number(function, every_row, "ms")
        for share, title in ((0.5, "median"), (0.95, "95th percentile")):
            function = _quantile_of_found(f"{sound}_error_ms", f"{sound}_found", share)
            numbers[f"{title} of the timing error of {sound.upper()}, ms"] = _Number(
                function, every_row, "ms"
            )
    for tolerance in (60, 100):
        missed = _one_less(f"se_{tolerance}")
        surplus = _one_less(f"ppv_{tolerance}")
        numbers[f"S1 and S2 missed at {tolerance} ms"] = _Number(missed, every_row)
        numbers[f"surplus S1 and S2 at {tolerance} ms"] = _Number(surplus, every_row)
    return numbers


def _mean_of_found(name: str, found: str) -> _Weighted:
    """Mean over patients of a column, over the recordings in which a sound was detected."""

    def mean(rows: ScoredRows, weights: FloatArray) -> FloatArray:
        recordings = Units.single_rows(len(rows))
        form = mean_over_people(rows, name, rows[found] > 0, recordings)
        return form.draws(weights.T)

    return mean


def _quantile_of_found(name: str, found: str, share: float) -> _Weighted:
    """Quantile over people of their mean of a column, over recordings in which a sound was detected.

    It is the smallest value that a share of the people, or more, does not exceed.
    """

    def quantile(rows: ScoredRows, weights: FloatArray) -> FloatArray:
        people, first, person = np.unique(rows.patients, return_index=True, return_inverse=True)
        among = rows[found] > 0
        counts = np.bincount(person, weights=among, minlength=len(people))
        totals = np.bincount(person, weights=among * rows[name], minlength=len(people))
        known = np.flatnonzero(counts)
        values = totals[known] / counts[known]
        order = np.argsort(values, kind="stable")
        # All rows of a person have the same weight.
        reached = np.cumsum(weights[:, first[known[order]]], axis=1)
        if not len(known):
            return np.full(len(weights), np.nan)
        wanted = share * reached[:, -1:]
        places = (reached < wanted - 1e-9).sum(axis=1)
        return np.where(
            reached[:, -1] > 0, values[order][np.minimum(places, len(known) - 1)], np.nan
        )

    return quantile


def _one_less(name: str) -> _Weighted:
    """1 less a metric: the share that it leaves."""

    def rest(rows: ScoredRows, weights: FloatArray) -> FloatArray:
        return np.asarray(1 - METRICS[name].draws(rows, weights))

    return rest


def _called_below(limit: float) -> _Weighted:
    """Share of the rows whose prediction is below a limit."""

    def share(rows: ScoredRows, weights: FloatArray) -> FloatArray:
        return weighted_share(rows["score"] < limit, np.ones(len(rows), dtype=bool), weights)

    return share


def _readout(
    name: str,
    function: _Weighted,
    rows: ScoredRows,
    weights: Array,
) -> Readout:
    """A read-out with its interval; values None where it does not exist."""
    if len(rows) == 0:
        return Readout(name, None, None, None, 0)
    n_rows = len(rows) // len(rows.of_repeats())
    equal_weights = np.ones((1, len(rows)))
    value = float(_over_repeats(function, rows, equal_weights)[0])
    if np.isnan(value):
        return Readout(name, None, None, None, n_rows)
    parts = []
    for start in range(0, len(weights), _CHUNK):
        part = np.asarray(weights[start : start + _CHUNK], dtype=np.float64)
        parts.append(_over_repeats(function, rows, part))
    draws = np.concatenate(parts)
    if name in _RAISED:
        draws = _around(value, draws)
    try:
        interval = percentile_interval(value, draws, method="patients")
    except UndefinedError:
        return Readout(name, value, None, None, n_rows)
    return Readout(name, value, interval.low, interval.high, n_rows)


def _around(value: float, draws: FloatArray) -> FloatArray:
    """Draws of a read-out that is never negative, moved so that their mean is the value.

    A gap between mean score and frequency counts whatever its sign. The repeated patients of a
    resample add noise to each gap, so that nearly all resamples lie above the value.
    """
    if not np.isfinite(draws).any():
        return draws
    return np.maximum(draws - np.nanmean(draws) + value, 0.0)


def _over_repeats(
    function: _Weighted,
    rows: ScoredRows,
    weights: FloatArray,
) -> FloatArray:
    """The mean of a read-out over the repeats of the folds."""
    values = []
    for part in rows.of_repeats():
        values.append(function(rows.select(part), weights[:, part]))
    return np.asarray(np.mean(values, axis=0))


def subgroups(
    metric: str,
    rows: ScoredRows,
    group_of: Mapping[str, str],
    *,
    family: int | None = None,
    seed: int = 0,
    draws: int = _DRAWS,
) -> list[Readout]:
    """Compute a metric in each subgroup of patients, with simultaneous 95 % intervals.

    The intervals are percentile intervals of level 1 - 0.05 / k for k subgroups (Bonferroni), so
    that all of them hold together in 95 % of cases.

    Args:
        metric: Name of the metric in ``METRICS``.
        rows: The table.
        group_of: The subgroup of each patient; patients without one are left out.
        family: Number k of subgroups that are compared together; None for those of ``group_of``.
        seed: Seed of the resamples.
        draws: Number of resamples of the patients of each subgroup.

    Returns:
        One read-out for each subgroup, with its number of patients as ``n``.
    """
    names = sorted(set(group_of.values()))
    level = 1 - 0.05 / max(family or len(names), 1)
    groups = np.array([group_of.get(str(patient), "") for patient in rows.patients])
    table = []
    for i, name in enumerate(names):
        part = rows.select(groups == name)
        people, of_row = np.unique(part.patients, return_inverse=True)
        try:
            value = METRICS[metric].value(part)
            rng = np.random.default_rng([seed, i])
            counts = resample_weights(len(people), draws, rng)
            values = METRICS[metric].draws(part, counts[:, of_row])
            ends = percentile_interval(
                value,
                values,
                level=level,
                method="patients",
            )
        except UndefinedError:
            table.append(Readout(name, None, None, None, len(people)))
            continue
        table.append(Readout(name, value, ends.low, ends.high, len(people)))
    return table


def worst_subgroup(metric: str, table: list[Readout]) -> Readout | None:
    """Find the subgroup with the worst value among those of 50 or more patients.

    Args:
        metric: Name of the metric in ``METRICS``.
        table: The subgroups, from ``subgroups``.

    Returns:
        The worst subgroup; None where no subgroup is large enough and has a value.
    """
    large = [row for row in table if row.n >= SMALLEST_GROUP and row.value is not None]
    better = METRICS[metric].better or 1
    return min(
        large,
        key=lambda row: better * (row.value or 0.0),
        default=None,
    )
