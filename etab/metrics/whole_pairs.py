"""Numbers of pairs of rows in the right order under whole weights, in small whole numbers.

How often a resample draws a patient is a small whole number, and so are the sums of such numbers over
the rows of a fold: one or two bytes hold them, and a processor adds dozens of them at once. Nothing
is rounded.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol

import numpy as np

from etab.types import Array, FloatArray, IntArray

# Bytes of sums and products that are held at once; with fewer, calls cost more than sums.
_BYTES = 1 << 22
_FEWEST_DRAWS = 64


class SortedTables(Protocol):
    """Sorted rows of several tables with the same rows: ``etab.metrics.sorted_rows.ComparedTables``."""

    @property
    def positives(self) -> IntArray:
        """Units (tables, p) of the positive rows."""

    @property
    def negatives(self) -> IntArray:
        """Units (tables, m) of the negative rows."""

    @property
    def lower(self) -> IntArray:
        """Negative rows with a lower score than each of the positive rows (tables, p)."""

    @property
    def upper(self) -> IntArray:
        """Negative rows with a lower or an equal score (tables, p)."""


def are_small(weights: Array) -> bool:
    """Whether weights are of the type of resamples, one byte each."""
    return bool(weights.dtype == np.uint8)


def totals_of(units: IntArray, weights: Array) -> FloatArray:
    """Add up whole weights over rows.

    Args:
        units: (n,) the unit of each row.
        weights: (units, draws).

    Returns:
        (draws,) sums.
    """
    return np.asarray(weights[units].sum(axis=0), dtype=np.float64)


def twice_right(
    rows: SortedTables, weights: Array, most_negatives: float, most_pairs: float
) -> FloatArray:
    """Count the pairs of rows in the right order, twice, so that ties count one.

    Args:
        rows: The sorted rows of one part of several tables.
        weights: (units, draws), for which ``are_small`` holds.
        most_negatives: The largest weight of the negative rows of a part in a draw.
        most_pairs: The largest weight of all its pairs.

    Returns:
        (tables, draws) whole numbers.
    """
    few = np.min_scalar_type(int(2 * most_negatives))
    many = np.min_scalar_type(int(2 * most_pairs))
    positives = np.ascontiguousarray(rows.positives.T)
    negatives = np.ascontiguousarray(rows.negatives.T)
    lower = np.ascontiguousarray(rows.lower.T)
    upper = np.ascontiguousarray(rows.upper.T)
    has_ties = not np.array_equal(lower, upper)
    n_tables = positives.shape[1]
    each = np.arange(n_tables)
    counts = np.zeros((n_tables, weights.shape[1]))
    of_draw = negatives.size * few.itemsize + positives.size * (few.itemsize + 2 * many.itemsize)
    step = max(_BYTES // max(of_draw, 1), _FEWEST_DRAWS)
    for start in range(0, weights.shape[1], step):
        draws = slice(start, start + step)
        some = np.ascontiguousarray(weights[:, draws])
        below = _sums(some.astype(few, copy=False), negatives)
        of_rows = below.reshape(below.shape[0] * n_tables, -1)
        twice = np.take(of_rows, lower * n_tables + each, axis=0)
        if has_ties:
            twice += np.take(of_rows, upper * n_tables + each, axis=0)
        right = np.take(some, positives, axis=0).astype(many)
        right *= twice
        counts[:, draws] = right.sum(axis=0, dtype=many)
    return counts if has_ties else 2 * counts


def _sums(weights: Array, rows: IntArray) -> Array:
    """Sums of the weights (units, draws) of the first 0, 1, ..., m of some rows (m, tables)."""
    sums = np.zeros((len(rows) + 1, rows.shape[1], weights.shape[1]), dtype=weights.dtype)
    np.take(weights, rows, axis=0, out=sums[1:], mode="clip")
    for before, here in pairwise(sums):
        # numpy adds whole rows many times faster than it accumulates along the first axis.
        np.add(here, before, out=here)
    return sums
