"""Clinical read-outs of stored predictions: what a mean error or an AUROC does not show.

Each read-out is a number with an interval over patients. The read-outs are computed on demand, so
that they add nothing to the records of results. Reference: Bland and Altman, Lancet 1986, for
agreement; Van Calster et al., BMC Medicine 17:230, 2019, for calibration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from etab.errors import UndefinedError, UnsupportedOptionError
from etab.metrics.base import METRICS, ratio, weighted_mean, weighted_share
from etab.metrics.columns import ScoredRows, class_scores
from etab.metrics.forms import Units
from etab.metrics.heart_sounds import TIMING_COLUMNS, mean_over_people
from etab.metrics.masks import MASK_COLUMNS
from etab.metrics.uncertainty import percentile_interval, resample_weights
from etab.types import Array, FloatArray, Kind

EF_LIMITS = (40.0, 50.0)
SPECIFICITY = 0.9
_DRAWS = 2000
SMALLEST_GROUP = 50
"""Patients that a subgroup needs before it may be called the worst one."""

_OF_MASKS = {
    "dice": "Dice",
    "hd95": "95th percentile surface distance, mm",
    "msd": "mean surface distance, mm",
}
_BINS = 10
_STEPS = 25  # of Newton's method; it settles in fewer than ten
_SETTLED = 1e-6  # a last step that is larger belongs to a sum without a maximum
_CHUNK = 500  # resamples that are computed at once
_CLOSEST = 1e-6  # to 0 and 1: the logarithm of the odds stays finite

_Weighted = Callable[[ScoredRows, FloatArray], FloatArray]


@dataclass(frozen=True, slots=True)
class Readout:
    """One clinical number.

    Attributes:
        name: What it is.
        value: The number; None where it does not exist for these rows.
        low: Lower end of its interval; None where there is no interval.
        high: Upper end of its interval.
        n: Rows of one division into folds that it is computed from.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int


def error_slope(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Slope of the error on the truth: 0 for honest predictions, -1 for a constant."""
    error = rows["score"] - rows["truth"]
    truth = rows["truth"] - rows["truth"].mean()
    n = weights.sum(axis=1)
    covariance = weights @ (truth * error) - ratio((weights @ truth) * (weights @ error), n)
    spread = weights @ np.square(truth) - ratio(np.square(weights @ truth), n)
    return ratio(covariance, spread)


def brier(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Mean squared difference of probability and class."""
    return weighted_mean(np.square(rows["score"] - rows["truth"]), weights)


def calibration_error(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Expected calibration error: mean distance of probability and share over ten equal bins."""
    bins = np.minimum((rows["score"] * _BINS).astype(np.int64), _BINS - 1)
    surplus = rows["score"] - rows["truth"]
    distances = [np.abs(weights @ (surplus * (bins == k))) for k in range(_BINS)]
    return ratio(np.sum(distances, axis=0), weights.sum(axis=1))


def brier_of_classes(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Mean over rows of the sum over classes of the squared difference of probability and class."""
    scores = class_scores(rows.kind, rows.columns)
    truth = np.arange(scores.shape[1]) == rows["truth"].astype(np.int64)[:, None]
    return weighted_mean(np.square(scores - truth).sum(axis=1), weights)


def calibration_error_of_classes(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Expected calibration error of the likeliest class: its probability against how often it is
    the true one.
    """
    scores = class_scores(rows.kind, rows.columns)
    is_right = scores.argmax(axis=1) == rows["truth"].astype(np.int64)
    columns = {
        "score": scores.max(axis=1),
        "truth": is_right.astype(np.float64),
    }
    return calibration_error(ScoredRows(Kind.BINARY, columns, rows.patients), weights)


def calibration_slope(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Slope of a logistic regression on the log-odds: below 1 for probabilities too extreme.

    It does not exist where the log-odds separate the classes.
    """
    odds = _log_odds(rows["score"])
    intercept = np.zeros(len(weights))
    slope = np.ones(len(weights))
    step = np.full(len(weights), np.inf)
    for _ in range(_STEPS):
        p = expit(intercept[:, None] + slope[:, None] * odds)
        missing = weights * (rows["truth"] - p)
        variance = weights * p * (1 - p)
        a = variance.sum(axis=1)
        b = variance @ odds
        c = variance @ np.square(odds)
        gradient_0 = missing.sum(axis=1)
        gradient_1 = missing @ odds
        determinant = a * c - b * b
        intercept = intercept + _limited(ratio(c * gradient_0 - b * gradient_1, determinant))
        step = _limited(ratio(a * gradient_1 - b * gradient_0, determinant))
        slope = slope + step
    return np.where(np.abs(step) < _SETTLED, slope, np.nan)


def calibration_intercept(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Calibration in the large: the constant that the log-odds lack, with their slope left at 1.

    It does not exist for rows of one class.
    """
    odds = _log_odds(rows["score"])
    intercept = np.zeros(len(weights))
    step = np.full(len(weights), np.inf)
    for _ in range(_STEPS):
        p = expit(intercept[:, None] + odds)
        variance = (weights * p * (1 - p)).sum(axis=1)
        step = _limited(ratio((weights * (rows["truth"] - p)).sum(axis=1), variance))
        intercept = intercept + step
    return np.where(np.abs(step) < _SETTLED, intercept, np.nan)


def _limited(step: FloatArray) -> FloatArray:
    """A step of Newton's method, at most 1: far from the solution a whole step goes too far."""
    return np.asarray(np.clip(step, -1.0, 1.0))


def sensitivity_at_specificity(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """The highest sensitivity of a threshold whose specificity is 0.9 or more."""
    order = np.argsort(-rows["score"], kind="stable")
    score = rows["score"][order]
    positive = (rows["truth"] == 1)[order]
    ordered = weights[:, order]
    sensitivity = ratio(np.cumsum(ordered * positive, axis=1).T, (ordered @ positive)).T
    false_alarms = ratio(np.cumsum(ordered * ~positive, axis=1).T, (ordered @ ~positive)).T
    ends = np.append(np.diff(score) != 0, True)  # equal scores pass a threshold together
    allowed = ends & (false_alarms <= 1 - SPECIFICITY + 1e-12)
    best = np.where(allowed, sensitivity, 0.0).max(axis=1)
    exists = ((ordered @ positive) > 0) & ((ordered @ ~positive) > 0)
    return np.where(exists, best, np.nan)


def reliability_curve(rows: ScoredRows) -> list[tuple[float, float, int]]:
    """Mean probability, share of the class and number of rows of each tenth that has rows."""
    bins = np.minimum((rows["score"] * _BINS).astype(np.int64), _BINS - 1)
    curve = []
    for k in np.unique(bins):
        of_bin = bins == k
        mean = float(rows["score"][of_bin].mean())
        curve.append((mean, float(rows["truth"][of_bin].mean()), int(of_bin.sum())))
    return curve


def readouts(
    rows: ScoredRows,
    *,
    ejection: bool = True,
    seed: int = 0,
    draws: int = _DRAWS,
) -> list[Readout]:
    """Compute the clinical read-outs of the predictions of a cell.

    Args:
        rows: The table.
        ejection: Whether truth and score of a table of values are ejection fractions in percent;
            other values have no ranges and no limits of 40 and 50.
        seed: Seed of the resamples.
        draws: Number of resamples of patients.

    Returns:
        The read-outs with 95 % intervals.

    Raises:
        UnsupportedOptionError: For a table without the columns that read-outs are made from.

    Example:
        >>> import numpy as np
        >>> columns = {"truth": np.array([35.0, 45.0, 60.0]), "score": np.array([42.0, 46.0, 55.0])}
        >>> table = ScoredRows(Kind.VALUE, columns, np.array(["p1", "p2", "p3"]))
        >>> [(r.name, r.value) for r in readouts(table)][:2]
        [('bias, EF < 40', 7.0), ('bias, EF 40 to 50', 1.0)]
    """
    functions = _functions(rows, ejection)
    names, of_row = np.unique(rows.patients, return_inverse=True)
    counts = resample_weights(len(names), draws, np.random.default_rng(seed))
    return [
        _readout(name, function, rows.select(among), counts[:, of_row[among]])
        for name, (function, among) in functions.items()
    ]


def _functions(rows: ScoredRows, ejection: bool = True) -> dict[str, tuple[_Weighted, Array]]:
    """The read-outs of a kind by name, each with the rows (n,) bool that it is computed from."""
    every_row = np.ones(len(rows), dtype=bool)
    if rows.kind is Kind.BINARY:
        return {
            "sensitivity at 90 % specificity": (sensitivity_at_specificity, every_row),
            "ECE": (calibration_error, every_row),
            "Brier": (brier, every_row),
            "calibration slope": (calibration_slope, every_row),
            "calibration intercept": (calibration_intercept, every_row),
        }
    if rows.kind is Kind.STATES and set(TIMING_COLUMNS) <= set(rows.columns):
        return _of_timing(every_row)
    if rows.kind is Kind.MASK and set(MASK_COLUMNS) <= set(rows.columns):
        return {title: (METRICS[name].draws, every_row) for name, title in _OF_MASKS.items()}
    if rows.kind is Kind.CLASSES:
        return {
            "Brier over all classes": (brier_of_classes, every_row),
            "ECE of the likeliest class": (calibration_error_of_classes, every_row),
        }
    if rows.kind is not Kind.VALUE:
        raise UnsupportedOptionError(
            "Clinical read-outs are of values, of classes, of masks with their distances, and of "
            f"heart states with their timing; got a table of {rows.kind} with the columns "
            f"{', '.join(sorted(rows.columns))}."
        )
    return _of_values(rows, every_row, ejection)


def _of_values(
    rows: ScoredRows,
    every_row: Array,
    ejection: bool,
) -> dict[str, tuple[_Weighted, Array]]:
    """Agreement of values; for ejection fractions also the bias by range, and reclassification."""
    bias = METRICS["bias"].draws
    agreement: dict[str, tuple[_Weighted, Array]] = {
        "lower limit of agreement": (METRICS["loa_low"].draws, every_row),
        "upper limit of agreement": (METRICS["loa_high"].draws, every_row),
        "slope of error on truth": (error_slope, every_row),
    }
    if not ejection:
        return {"bias": (bias, every_row), **agreement}
    low, high = EF_LIMITS
    truth = rows["truth"]
    functions: dict[str, tuple[_Weighted, Array]] = {
        "bias, EF < 40": (bias, truth < low),
        "bias, EF 40 to 50": (bias, (truth >= low) & (truth <= high)),
        "bias, EF > 50": (bias, truth > high),
        **agreement,
    }
    for limit in EF_LIMITS:
        below = truth < limit
        functions[f"EF < {limit:g} called so"] = (_called_below(limit), below)
        functions[f"EF >= {limit:g} called lower"] = (_called_below(limit), ~below)
    return functions


def _of_timing(every_row: Array) -> dict[str, tuple[_Weighted, Array]]:
    """Timing of S1 and S2: means over people, of the sounds that were found within 100 ms."""
    functions: dict[str, tuple[_Weighted, Array]] = {}
    for sound in ("s1", "s2"):
        for column, title in (("error_ms", "timing error"), ("late_ms", "mean lateness")):
            function = _mean_of_found(f"{sound}_{column}", f"{sound}_found")
            functions[f"{title} of {sound.upper()}, ms"] = (function, every_row)
    return functions


def _mean_of_found(name: str, found: str) -> _Weighted:
    """Mean over people of a column over the recordings in which a sound was found."""

    def mean(rows: ScoredRows, weights: FloatArray) -> FloatArray:
        recordings = Units.single_rows(len(rows))
        form = mean_over_people(rows, name, rows[found] > 0, recordings)
        return form.draws(weights.T)

    return mean


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
    value = float(_over_repeats(function, rows, np.ones((1, len(rows))))[0])
    if np.isnan(value):
        return Readout(name, None, None, None, n_rows)
    parts = []
    for start in range(0, len(weights), _CHUNK):
        part = np.asarray(weights[start : start + _CHUNK], dtype=np.float64)
        parts.append(_over_repeats(function, rows, part))
    try:
        interval = percentile_interval(value, np.concatenate(parts), method="patients")
    except UndefinedError:
        return Readout(name, value, None, None, n_rows)
    return Readout(name, value, interval.low, interval.high, n_rows)


def _over_repeats(
    function: _Weighted,
    rows: ScoredRows,
    weights: FloatArray,
) -> FloatArray:
    """The mean of a read-out over the repeats of the folds."""
    values = [function(rows.select(part), weights[:, part]) for part in rows.of_repeats()]
    return np.asarray(np.mean(values, axis=0))


def _log_odds(score: FloatArray) -> FloatArray:
    p = np.clip(score, _CLOSEST, 1 - _CLOSEST)
    return np.asarray(np.log(p / (1 - p)))


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
        metric: Its name in ``METRICS``.
        rows: The table.
        group_of: The subgroup of each patient; patients without one are left out.
        family: How many subgroups are looked at together, k; None for those of ``group_of``.
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
    """The subgroup with the worst value among those of 50 or more patients; None without any."""
    large = [row for row in table if row.n >= SMALLEST_GROUP and row.value is not None]
    better = METRICS[metric].better or 1
    return min(
        large,
        key=lambda row: better * (row.value or 0.0),
        default=None,
    )
