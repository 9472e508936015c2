"""Metrics of values: errors, agreement and correlation.

An error is ``score - truth``, in the target's unit. Each public name below is a ``Metric``: call it
with columns and patients.

Example:
    >>> import numpy as np
    >>> columns = {"truth": np.array([50.0, 60.0]), "score": np.array([52.0, 57.0])}
    >>> mae(columns, np.array(["p1", "p2"]))
    2.5
"""

from __future__ import annotations

import numpy as np

from etab.metrics import masks as masks  # before the metrics below in the list of metrics
from etab.metrics.base import metric_of_patients
from etab.metrics.columns import ScoredRows
from etab.metrics.forms import Form, Units, mean_of, ratio, sums
from etab.types import FloatArray, Kind

_VALUES = (Kind.VALUE,)

# Weighted sums of squares are rounding errors below these shares of their terms.
_ROUNDING = 1e-12
_ROUNDING_OF_VALUES = 1e-24


def _error(rows: ScoredRows) -> FloatArray:
    return np.asarray(rows["score"] - rows["truth"], dtype=np.float64)


def _centred(values: FloatArray) -> FloatArray:
    """Values minus their mean: sums of their squares then lose no digits to a large mean."""
    return np.asarray(values - values.mean(), dtype=np.float64)


def _spread_columns(values: FloatArray) -> list[FloatArray]:
    """The columns whose sums give ``_spread``."""
    centred = _centred(values)
    return [centred, np.square(centred), np.square(values)]


def _spread(totals: FloatArray, n: FloatArray) -> FloatArray:
    """Weighted sum of squared deviations from the mean, (draws,); 0 where it is rounding.

    Args:
        totals: (3, draws) sums of ``_spread_columns``.
        n: (draws,) sum of the weights.
    """
    squares = totals[1]
    total = squares - ratio(totals[0] ** 2, n)
    rounding = _ROUNDING * squares + _ROUNDING_OF_VALUES * totals[2]
    return np.where(total > rounding, total, 0.0)


@metric_of_patients(
    "mae",
    "mean absolute error",
    _VALUES,
    better=-1,
    best=0.0,
    worst=np.inf,
)
def mae(rows: ScoredRows, units: Units) -> Form:
    """Mean absolute error, in the target's unit.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    return mean_of(np.abs(_error(rows)), units)


@metric_of_patients(
    "rmse",
    "root mean squared error",
    _VALUES,
    better=-1,
    best=0.0,
    worst=np.inf,
)
def rmse(rows: ScoredRows, units: Units) -> Form:
    """Root mean squared error, in the target's unit.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    columns = [np.square(_error(rows)), np.ones(len(rows))]
    return sums(columns, units, lambda totals: np.sqrt(ratio(totals[0], totals[1])))


@metric_of_patients(
    "bias",
    "bias (Bland-Altman)",
    _VALUES,
    better=0,
    best=0.0,
    worst=np.inf,
)
def bias(rows: ScoredRows, units: Units) -> Form:
    """Mean of score minus truth (Bland and Altman, Lancet 1986).

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    return mean_of(_error(rows), units)


def _limit(rows: ScoredRows, units: Units, sign: float) -> Form:
    error = _error(rows)
    middle = error.mean()
    centred = _centred(error)

    def limit(totals: FloatArray) -> FloatArray:
        n = totals[2]
        mean = ratio(totals[0], n)
        variance = ratio(totals[1] - n * mean**2, n - 1)
        return np.asarray(middle + mean + sign * 1.96 * np.sqrt(np.maximum(variance, 0)))

    return sums([centred, np.square(centred), np.ones(len(rows))], units, limit)


@metric_of_patients(
    "loa_low",
    "lower limit of agreement",
    _VALUES,
    better=0,
    best=0.0,
    worst=-np.inf,
    condition="two rows or more",
)
def loa_low(rows: ScoredRows, units: Units) -> Form:
    """Bias minus 1.96 standard deviations of the errors (Bland and Altman, Lancet 1986).

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    return _limit(rows, units, -1.0)


@metric_of_patients(
    "loa_high",
    "upper limit of agreement",
    _VALUES,
    better=0,
    best=0.0,
    worst=np.inf,
    condition="two rows or more",
)
def loa_high(rows: ScoredRows, units: Units) -> Form:
    """Bias plus 1.96 standard deviations of the errors (Bland and Altman, Lancet 1986).

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    return _limit(rows, units, 1.0)


@metric_of_patients(
    "pearson_r",
    "Pearson correlation",
    _VALUES,
    better=1,
    best=1.0,
    worst=-1.0,
    condition="a truth and scores that both vary",
)
def pearson_r(rows: ScoredRows, units: Units) -> Form:
    """Pearson correlation of truth and score; it does not exist where either is constant.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    of_truth = _spread_columns(rows["truth"])
    of_score = _spread_columns(rows["score"])

    def correlation(totals: FloatArray) -> FloatArray:
        n = totals[0]
        covariance = totals[1] - ratio(totals[2] * totals[5], n)
        spread = _spread(totals[2:5], n) * _spread(totals[5:8], n)
        return ratio(covariance, np.sqrt(spread))

    columns = [np.ones(len(rows)), of_truth[0] * of_score[0], *of_truth, *of_score]
    return sums(columns, units, correlation)


@metric_of_patients(
    "r2",
    "coefficient of determination",
    _VALUES,
    better=1,
    best=1.0,
    worst=-np.inf,
    condition="a truth that varies",
)
def r2(rows: ScoredRows, units: Units) -> Form:
    """1 minus the residual over the total sum of squares; the truth must vary.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """

    def explained(totals: FloatArray) -> FloatArray:
        return 1.0 - ratio(totals[1], _spread(totals[2:5], totals[0]))

    columns = [np.ones(len(rows)), np.square(_error(rows)), *_spread_columns(rows["truth"])]
    return sums(columns, units, explained)
