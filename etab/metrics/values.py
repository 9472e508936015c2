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

from dataclasses import dataclass

import numpy as np

from etab.metrics import masks as masks  # before the metrics below in the list of metrics
from etab.metrics.base import METRICS, OF_TARGET, metric_of_patients
from etab.metrics.columns import ScoredRows
from etab.metrics.forms import Form, Units, mean_of, ratio, sums
from etab.metrics.shared import distinct
from etab.types import FloatArray, Kind

_VALUES = (Kind.VALUE,)

# Weighted sums of squares are rounding errors below these shares of their terms.
_ROUNDING = 1e-12
_ROUNDING_OF_VALUES = 1e-24


def _error(rows: ScoredRows) -> FloatArray:
    return np.asarray(rows["score"] - rows["truth"], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Spread:
    """The weighted sum of squared deviations of values from their weighted mean.

    Attributes:
        mean: Mean of all values with weight 1, which is subtracted first: sums of squares then lose
            no digits to a large mean.
        centred: (n,) values minus the mean.
    """

    mean: float
    centred: FloatArray

    @classmethod
    def of(cls, values: FloatArray) -> _Spread:
        """Prepare values (n,)."""
        mean = float(values.mean())
        return cls(mean, np.asarray(values - mean, dtype=np.float64))

    @property
    def columns(self) -> list[FloatArray]:
        """The two columns whose sums ``of_totals`` takes."""
        return [self.centred, np.square(self.centred)]

    def of_totals(self, totals: FloatArray, n: FloatArray) -> FloatArray:
        """Compute the spread, (draws,); 0 where it is rounding.

        Args:
            totals: (2, draws) sums of ``columns``.
            n: (draws,) sum of the weights.
        """
        squares = totals[1]
        of_values = squares + 2 * self.mean * totals[0] + self.mean**2 * n
        total = squares - ratio(totals[0] ** 2, n)
        rounding = _ROUNDING * squares + _ROUNDING_OF_VALUES * of_values
        return np.where(total > rounding, total, 0.0)


@metric_of_patients(
    "mae",
    "mean absolute error",
    _VALUES,
    better=-1,
    best=0.0,
    worst=np.inf,
    unit=OF_TARGET,
    by_row=True,
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
    unit=OF_TARGET,
    by_row=True,
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
    unit=OF_TARGET,
    by_row=True,
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
    centred = np.asarray(error - middle, dtype=np.float64)

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
    unit=OF_TARGET,
    condition="two rows or more",
    by_row=True,
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
    unit=OF_TARGET,
    condition="two rows or more",
    by_row=True,
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
    by_row=True,
)
def pearson_r(rows: ScoredRows, units: Units) -> Form:
    """Pearson correlation of truth and score; it does not exist where either is constant.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    of_truth = _Spread.of(rows["truth"])
    of_score = _Spread.of(rows["score"])

    def correlation(totals: FloatArray) -> FloatArray:
        n = totals[0]
        covariance = totals[1] - ratio(totals[2] * totals[4], n)
        spread = of_truth.of_totals(totals[2:4], n) * of_score.of_totals(totals[4:6], n)
        return ratio(covariance, np.sqrt(spread))

    products = of_truth.centred * of_score.centred
    columns = [np.ones(len(rows)), products, *of_truth.columns, *of_score.columns]
    return sums(columns, units, correlation)


def _least_variance_of_r2(rows: ScoredRows) -> float:
    """(1 - R2)² / n patients.

    The variance of R2 over patients is about 4 R2 (1 - R2)² / n: none for a constant. The least is
    that of a fit which explains a quarter.
    """
    return float((1 - METRICS["r2"].value(rows)) ** 2 / len(distinct(rows.patients)[0]))


@metric_of_patients(
    "r2",
    "coefficient of determination",
    _VALUES,
    better=1,
    best=1.0,
    worst=-np.inf,
    condition="a truth that varies",
    by_row=True,
    least=_least_variance_of_r2,
)
def r2(rows: ScoredRows, units: Units) -> Form:
    """1 minus the residual over the total sum of squares; the truth must vary.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    of_truth = _Spread.of(rows["truth"])

    def explained(totals: FloatArray) -> FloatArray:
        return 1.0 - ratio(totals[1], of_truth.of_totals(totals[2:4], totals[0]))

    columns = [np.ones(len(rows)), np.square(_error(rows)), *of_truth.columns]
    return sums(columns, units, explained)
