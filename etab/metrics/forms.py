"""Metrics of given rows, as functions of how much each patient counts.

A *form* is prepared once from the rows of a table. It then gives the metric for thousands of
weightings of the patients at once, from arrays with a row for each patient (not for each row of the
table):

* ``Sums``: the metric follows from weighted sums of numbers of the patients (errors, moments,
  counts of right answers). All weightings are one matrix product.
* ``Pairs`` and ``AveragePrecision``: areas under curves, for which rows are sorted once
  (``etab.metrics.areas``).
* ``Mean``: the mean of other forms, over classes, repeats or databases.
* ``RowsOnly``: a metric that is written as a function of weights of rows.

Weights are (patients, draws), 0 or more. Resamples as ``resample_weights`` draws them are small
whole numbers that take one byte each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from etab.metrics.columns import ScoredRows
from etab.metrics.shared import frozen, taken
from etab.types import Array, FloatArray, IntArray

_TILE = 256  # patients and draws that are converted to float64 at once: they stay in the cache
_DRAWS_AT_ONCE = 500


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Divide, with NaN where the denominator is not positive.

    Args:
        numerator: Numbers of any shape.
        denominator: Numbers of the same shape, or of one that broadcasts.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


def weighted_mean(values: Array, weights: FloatArray) -> FloatArray:
    """Mean of values (n,) under weights (draws, n): (draws,), NaN where all weights are 0."""
    return ratio(weights @ np.asarray(values, dtype=np.float64), weights.sum(axis=1))


def weighted_share(
    hits: Array,
    among: Array,
    weights: FloatArray,
) -> FloatArray:
    """Mean of ``hits`` (n,) over the rows ``among`` (n,) bool, under weights: (draws,)."""
    return ratio(weights @ (hits * among), weights @ among.astype(np.float64))


@dataclass(frozen=True, slots=True)
class Units:
    """The patient of each row; or each row by itself, where rows have weights of their own.

    Args:
        of_row: (n,) the index of the unit of each row.
        n: Number of units; some may have no rows.

    Example:
        >>> units = Units(np.array([0, 0, 2]), 3)
        >>> units.totals([np.array([1.0, 2.0, 5.0]), np.ones(3)]).tolist()
        [[3.0, 2.0], [0.0, 0.0], [5.0, 1.0]]
    """

    of_row: IntArray
    n: int

    @classmethod
    def single_rows(cls, n: int) -> Units:
        """Make each of n rows a unit of its own."""
        return cls(_row_numbers(n), n)

    def select(self, rows: Array) -> Units:
        """Keep some of the rows, by a boolean mask (n,) or by indexes; the units stay."""
        return Units(taken(self.of_row, rows), self.n)

    def totals(self, columns: Sequence[Array]) -> FloatArray:
        """Add up columns (n,) over the rows of each unit: (units, columns)."""
        if self.of_row is _row_numbers(self.n):
            own = np.empty((self.n, len(columns)))
            for place, column in enumerate(columns):
                own[:, place] = column
            return own
        parts = [
            np.bincount(self.of_row, weights=np.asarray(column, dtype=np.float64), minlength=self.n)
            for column in columns
        ]
        return np.stack(parts, axis=1)


@lru_cache(maxsize=256)
def _row_numbers(n: int) -> IntArray:
    """The numbers 0 to n - 1, the same array for all tables of n rows."""
    return frozen(np.arange(n))


class Form(Protocol):
    """A metric of given rows, as a function of the weights of their patients."""

    def draws(self, weights: Array) -> FloatArray:
        """Compute the metric under several weightings.

        Args:
            weights: (patients, draws), 0 or more.

        Returns:
            (draws,) values, NaN where the metric does not exist.
        """
        ...

    def value(self) -> float:
        """Compute the metric with each patient counted once; NaN where it does not exist."""
        ...

    def without_each(self) -> FloatArray:
        """Compute the metric without one patient, for each patient: (patients,)."""
        ...


MakeForm = Callable[[ScoredRows, Units], Form]
"""Prepares the form of a metric from rows and the unit of each row."""
FromTotals = Callable[[FloatArray], FloatArray]
"""Values (draws,) from weighted sums (columns, draws)."""


@dataclass(frozen=True, slots=True)
class Sums:
    """A metric that follows from weighted sums over patients.

    Args:
        values: (patients, k) numbers that are added up.
        from_totals: Gives values (draws,) from sums (k, draws), NaN where there is none.

    Example:
        >>> mean = Sums(np.array([[1.0, 1.0], [3.0, 1.0]]), lambda totals: totals[0] / totals[1])
        >>> mean.draws(np.array([[1, 2, 0], [1, 0, 2]])).tolist()
        [2.0, 1.0, 3.0]
        >>> mean.without_each().tolist()
        [3.0, 1.0]
    """

    values: FloatArray
    from_totals: FromTotals

    def draws(self, weights: Array) -> FloatArray:
        """Compute the metric under weights (patients, draws): (draws,)."""
        return self.from_totals(weighted_totals(self.values, weights))

    def value(self) -> float:
        """Compute the metric with each patient counted once; NaN where it does not exist."""
        return float(self.from_totals(self.values.sum(axis=0)[:, None])[0])

    def without_each(self) -> FloatArray:
        """Compute the metric without each patient: (patients,).

        The numbers before and after a patient are added. Subtracting the patient from the sum of
        all would leave rounding where the others add up to 0.
        """
        nothing = np.zeros((1, self.values.shape[1]))
        before = np.cumsum(np.concatenate([nothing, self.values[:-1]]), axis=0)
        after = np.cumsum(np.concatenate([nothing, self.values[:0:-1]]), axis=0)[::-1]
        return self.from_totals((before + after).T)


def weighted_totals(values: FloatArray, weights: Array) -> FloatArray:
    """Add up numbers under several weightings of the patients.

    Args:
        values: (patients, k).
        weights: (patients, draws), of any type of numbers.

    Returns:
        (k, draws) sums.
    """
    columns = np.ascontiguousarray(values.T, dtype=np.float64)
    n_patients, n_draws = weights.shape
    totals = np.zeros((len(columns), n_draws))
    for start in range(0, n_draws, _TILE):
        draws = slice(start, start + _TILE)
        for first in range(0, n_patients, _TILE):
            patients = slice(first, first + _TILE)
            totals[:, draws] += columns[:, patients] @ weights[patients, draws].astype(np.float64)
    return totals


def sums(columns: Sequence[Array], units: Units, from_totals: FromTotals) -> Sums:
    """Prepare a metric of weighted sums of columns.

    Args:
        columns: Columns (n,) of numbers.
        units: The unit of each of the n rows.
        from_totals: Gives values (draws,) from the sums of the columns (columns, draws).

    Returns:
        The form.
    """
    return Sums(units.totals(columns), from_totals)


def mean_of(values: Array, units: Units, counted: Array | None = None) -> Sums:
    """Prepare the weighted mean of a column.

    Args:
        values: (n,) numbers.
        units: The unit of each of the n rows.
        counted: (n,) how much each row counts, 0 or more; None for 1.

    Returns:
        The form; its value is NaN where nothing that counts has weight.
    """
    share = np.ones(len(values)) if counted is None else np.asarray(counted, dtype=np.float64)
    return sums([values * share, share], units, lambda totals: ratio(totals[0], totals[1]))


def combined_sums(
    forms: Sequence[Sums], combine: Callable[[Sequence[FloatArray]], FloatArray]
) -> Sums:
    """Prepare a metric that follows from several others of the same patients.

    The sums of all of them become one matrix product.

    Args:
        forms: One or more.
        combine: Gives values (draws,) from the values (draws,) of each form.

    Returns:
        The form of the combination.
    """
    ends = np.cumsum([form.values.shape[1] for form in forms])

    def from_totals(totals: FloatArray) -> FloatArray:
        parts = np.split(totals, ends[:-1])
        return combine([form.from_totals(part) for form, part in zip(forms, parts, strict=True)])

    return Sums(np.concatenate([form.values for form in forms], axis=1), from_totals)


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of several forms of the same patients.

    Args:
        forms: One or more.
        mean: Gives the mean (draws,) of the values (draws,) of each form.
    """

    forms: Sequence[Form]
    mean: Callable[[Sequence[FloatArray]], FloatArray]

    def draws(self, weights: Array) -> FloatArray:
        """Compute the mean under weights (patients, draws): (draws,)."""
        return self.mean([form.draws(weights) for form in self.forms])

    def value(self) -> float:
        """Compute the mean with each patient counted once; NaN where it does not exist."""
        return float(self.mean([np.array([form.value()]) for form in self.forms])[0])

    def without_each(self) -> FloatArray:
        """Compute the mean without each patient: (patients,)."""
        return self.mean([form.without_each() for form in self.forms])


def mean_of_forms(forms: Sequence[Form], *, skip_undefined: bool = False) -> Form:
    """Prepare the mean of several metrics of the same patients.

    Args:
        forms: One or more.
        skip_undefined: Whether values that do not exist are left out. Otherwise the mean does not
            exist where one of them does not.

    Returns:
        The form of the mean.
    """
    mean = _mean_of_defined if skip_undefined else _mean
    of_sums = [form for form in forms if isinstance(form, Sums)]
    if len(of_sums) == len(forms):
        return combined_sums(of_sums, mean)
    return Mean(forms, mean)


class FormsOfTables(Protocol):
    """A metric of several tables with the same rows, as a function of the weights of the patients."""

    def form(self, table: int) -> Form:
        """Return the form of one table."""
        ...

    def draws(self, weights: Array) -> FloatArray:
        """Compute the metric under weights (patients, draws): (tables, draws), NaN where undefined."""
        ...

    def values(self) -> FloatArray:
        """Compute the metric with each patient counted once: (tables,), NaN where undefined."""
        ...

    def values_of_parts(self) -> FloatArray:
        """Compute the metric of each part of the rows alone: (tables, parts), NaN where undefined."""
        ...

    def without_each(self) -> FloatArray:
        """Compute the metric without each patient: (tables, patients), NaN where undefined."""
        ...


MakeForms = Callable[[Sequence[ScoredRows], Units], FormsOfTables]
"""Prepares the forms of a metric from tables with the same rows, and the unit of each row."""


@dataclass(frozen=True, slots=True)
class MeanOfTables:
    """The mean of several metrics of each of several tables; it exists where all of them do.

    Args:
        forms: One or more, of the same tables.
    """

    forms: Sequence[FormsOfTables]

    def form(self, table: int) -> Form:
        """Return the mean of one table."""
        return mean_of_forms([form.form(table) for form in self.forms])

    def draws(self, weights: Array) -> FloatArray:
        """Compute the means under weights (patients, draws): (tables, draws)."""
        return _mean([form.draws(weights) for form in self.forms])

    def values(self) -> FloatArray:
        """Compute the means with each patient counted once: (tables,)."""
        return _mean([form.values() for form in self.forms])

    def values_of_parts(self) -> FloatArray:
        """Compute the means of each part of the rows alone: (tables, parts)."""
        return _mean([form.values_of_parts() for form in self.forms])

    def without_each(self) -> FloatArray:
        """Compute the means without each patient: (tables, patients)."""
        return _mean([form.without_each() for form in self.forms])


def mean_of_tables(forms: Sequence[FormsOfTables]) -> FormsOfTables:
    """Prepare the mean of several metrics of the same tables.

    Args:
        forms: One or more.
    """
    return forms[0] if len(forms) == 1 else MeanOfTables(forms)


def _mean(values: Sequence[FloatArray]) -> FloatArray:
    return np.asarray(np.mean(values, axis=0))


def _mean_of_defined(values: Sequence[FloatArray]) -> FloatArray:
    defined = np.isfinite(values)
    return ratio(np.nan_to_num(values).sum(axis=0), defined.sum(axis=0).astype(np.float64))


@dataclass(frozen=True, slots=True)
class RowsOnly:
    """A metric that is computed from weights of rows, whatever patients they are of.

    Args:
        function: ``function(weights)`` gives values (draws,) for weights (draws, rows).
        units: The unit of each row.
    """

    function: Callable[[FloatArray], FloatArray]
    units: Units

    def draws(self, weights: Array) -> FloatArray:
        """Compute the metric under weights (patients, draws): (draws,)."""
        parts = []
        for start in range(0, weights.shape[1], _DRAWS_AT_ONCE):
            of_patients = weights[:, start : start + _DRAWS_AT_ONCE]
            parts.append(self.function(of_patients[self.units.of_row].T))
        return np.concatenate(parts)

    def value(self) -> float:
        """Compute the metric with each patient counted once; NaN where it does not exist."""
        return float(self.function(np.ones((1, len(self.units.of_row))))[0])

    def without_each(self) -> FloatArray:
        """Compute the metric without each patient: (patients,)."""
        return values_without_each(self, self.units.n)


def values_without_each(form: Form, n: int) -> FloatArray:
    """Compute a form without each of n patients, by weights of 0 and 1: (n,)."""
    parts = []
    for start in range(0, n, _DRAWS_AT_ONCE):
        left_out = np.arange(start, min(start + _DRAWS_AT_ONCE, n))
        weights = np.arange(n)[:, None] != left_out[None, :]
        parts.append(form.draws(weights.astype(np.uint8)))
    return np.concatenate(parts)
