"""Rows in the order of their scores, of one table or of many tables at once.

The tables of many backbones have the same rows and truth, and differ in their scores alone. They are
sorted as one matrix, with a row for each table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from etab.metrics.forms import Units
from etab.types import Array, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class _Compared:
    """Rows of a part whose scores are compared with each other, sorted by score.

    Attributes:
        positive: (..., n) bool, the rows of the class.
        score: (..., n) ascending.
        unit: (..., n) the unit of each row.
        positives: Units (..., p) of the positive rows.
        negatives: Units (..., m) of the negative rows.
        lower: (..., p) negative rows with a lower score than each positive row.
        upper: (..., p) negative rows with a lower or an equal score.
    """

    positive: Array
    score: FloatArray
    unit: IntArray
    positives: IntArray
    negatives: IntArray
    lower: IntArray
    upper: IntArray


class ComparedRows(_Compared):
    """The compared rows of one table: each array has a single axis."""

    __slots__ = ()


class ComparedTables(_Compared):
    """The compared rows of several tables with the same rows and classes, along the first axis."""

    __slots__ = ()

    @classmethod
    def of(cls, parts: Sequence[ComparedRows]) -> ComparedTables:
        """Join parts that have the same numbers of positive and of negative rows."""
        return cls(*(np.stack(arrays) for arrays in zip(*map(_arrays, parts), strict=True)))

    def __len__(self) -> int:
        """Count the tables."""
        return len(self.score)

    def table(self, number: int) -> ComparedRows:
        """Return the rows of one table."""
        return ComparedRows(*(values[number] for values in _arrays(self)))

    def select(self, tables: slice) -> ComparedTables:
        """Return some of the tables."""
        return ComparedTables(*(values[tables] for values in _arrays(self)))

    def positives_above(self) -> FloatArray:
        """Positive rows above each negative row (tables, m), those with an equal score counted half."""
        first, past = equal_runs(self.score)
        positives = _before(self.positive)
        not_above = np.take_along_axis(positives, first, axis=1)
        not_above = not_above + np.take_along_axis(positives, past, axis=1)
        of_negatives = not_above[~self.positive].reshape(len(self), -1)
        return np.asarray(self.positives.shape[1] - of_negatives / 2)


def compared_tables(positive: Array, scores: FloatArray, units: Units) -> ComparedTables:
    """Sort the rows of a part in several tables by rising score.

    Args:
        positive: (n,) bool, the rows of the class, the same in every table.
        scores: (tables, n) finite numbers that order the rows.
        units: The unit of each of the n rows.

    Returns:
        The sorted rows of each table.

    Example:
        >>> positive = np.array([True, False, False])
        >>> scores = np.array([[0.5, 0.2, 0.5], [0.1, 0.2, 0.3]])
        >>> compared = compared_tables(positive, scores, Units.single_rows(3))
        >>> compared.lower.tolist(), compared.upper.tolist(), compared.negatives.tolist()
        ([[1], [0]], [[2], [0]], [[1, 2], [1, 2]])
    """
    order = np.argsort(scores, axis=1, kind="stable")
    ordered = np.take_along_axis(scores, order, axis=1)
    is_positive = np.asarray(positive, dtype=bool)[order]
    unit = units.of_row[order]
    first, past = equal_runs(ordered)
    negatives = _before(~is_positive)
    n_tables = len(scores)
    return ComparedTables(
        positive=is_positive,
        score=ordered,
        unit=unit,
        positives=unit[is_positive].reshape(n_tables, -1),
        negatives=unit[~is_positive].reshape(n_tables, -1),
        lower=np.take_along_axis(negatives, first, axis=1)[is_positive].reshape(n_tables, -1),
        upper=np.take_along_axis(negatives, past, axis=1)[is_positive].reshape(n_tables, -1),
    )


def compared_rows(positive: Array, score: FloatArray, units: Units) -> ComparedRows:
    """Sort the rows of a part by rising score.

    Args:
        positive: (n,) bool, the rows of the class.
        score: (n,) finite numbers that order the rows.
        units: The unit of each of the n rows.

    Returns:
        The sorted rows.
    """
    return compared_tables(positive, np.asarray(score)[None], units).table(0)


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Rows of a part, sorted from the highest score to the lowest.

    Attributes:
        positives: (..., p) units of the positive rows.
        negatives: (..., m) units of the negative rows.
        positives_before: (..., p) positive rows with a higher or an equal score than each one.
        negatives_before: (..., p) negative rows with a higher or an equal score.
    """

    positives: IntArray
    negatives: IntArray
    positives_before: IntArray
    negatives_before: IntArray


class RankedRows(_Ranked):
    """The ranked rows of one table: each array has a single axis."""

    __slots__ = ()


class RankedTables(_Ranked):
    """The ranked rows of several tables with the same rows and classes, along the first axis."""

    __slots__ = ()

    def table(self, number: int) -> RankedRows:
        """Return the rows of one table."""
        return RankedRows(*(values[number] for values in _arrays(self)))


def ranked_tables(positive: Array, scores: FloatArray, units: Units) -> RankedTables:
    """Sort the rows of a part in several tables by falling score.

    Args:
        positive: (n,) bool, the rows of the class, the same in every table.
        scores: (tables, n) finite numbers that order the rows.
        units: The unit of each of the n rows.

    Returns:
        The sorted rows of each table.
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    descending = np.take_along_axis(-scores, order, axis=1)
    is_positive = np.asarray(positive, dtype=bool)[order]
    unit = units.of_row[order]
    _, past = equal_runs(descending)
    n_tables = len(scores)
    before = [
        np.take_along_axis(_before(rows), past, axis=1)[is_positive].reshape(n_tables, -1)
        for rows in (is_positive, ~is_positive)
    ]
    return RankedTables(
        positives=unit[is_positive].reshape(n_tables, -1),
        negatives=unit[~is_positive].reshape(n_tables, -1),
        positives_before=before[0],
        negatives_before=before[1],
    )


def ranked_rows(positive: Array, score: FloatArray, units: Units) -> RankedRows:
    """Sort the rows of a part by falling score.

    Args:
        positive: (n,) bool, the rows of the class.
        score: (n,) finite numbers that order the rows.
        units: The unit of each of the n rows.

    Returns:
        The sorted rows.
    """
    return ranked_tables(positive, np.asarray(score)[None], units).table(0)


def _arrays(rows: _Compared | _Ranked) -> tuple[Array, ...]:
    """The arrays of sorted rows, in the order of their fields."""
    return tuple(getattr(rows, field.name) for field in fields(rows))


def _before(rows: Array) -> IntArray:
    """How many of some rows (tables, n) are among the first 0, 1, ..., n: (tables, n + 1)."""
    counts = np.zeros((rows.shape[0], rows.shape[1] + 1), dtype=np.int64)
    np.cumsum(rows, axis=1, out=counts[:, 1:])
    return counts


def equal_runs(ordered: FloatArray) -> tuple[IntArray, IntArray]:
    """Find the numbers that equal each number of ascending rows.

    Args:
        ordered: (tables, n) numbers, ascending along each row.

    Returns:
        Where the equal numbers begin, and the place after the last of them: (tables, n) each.

    Example:
        >>> first, past = equal_runs(np.array([[1.0, 2.0, 2.0]]))
        >>> first.tolist(), past.tolist()
        ([[0, 1, 1]], [[1, 3, 3]])
    """
    n_tables, n = ordered.shape
    places = np.broadcast_to(np.arange(n), (n_tables, n))
    is_new = ordered[:, 1:] != ordered[:, :-1]
    if is_new.all():
        return places, places + 1
    edge = np.ones((n_tables, 1), dtype=bool)
    begins = np.concatenate([edge, is_new], axis=1)
    ends = np.concatenate([is_new, edge], axis=1)
    first = np.maximum.accumulate(np.where(begins, places, 0), axis=1)
    past = np.minimum.accumulate(np.where(ends, places + 1, n)[:, ::-1], axis=1)[:, ::-1]
    return first, past
