"""Areas under ROC and precision-recall curves under many weightings of the patients.

Both areas follow from cumulative weights: how much weight the negative rows below a positive row
have, or the rows above it. Rows are sorted once, before any weight is known. The cumulative weights
of all weightings are then small matrix products over blocks of consecutive rows, so that the time
grows with the number of rows and not with that of pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from etab.metrics.forms import ratio, values_without_each
from etab.metrics.sorted_rows import ComparedRows, ComparedTables, RankedRows, RankedTables
from etab.metrics.whole_pairs import are_small, totals_of, twice_right
from etab.types import Array, FloatArray, IntArray

_BLOCK = 128  # rows whose weights are added up by one matrix product
_NUMBERS = 1 << 18  # weights of rows that are converted at once: they stay in the cache
_FEWEST_DRAWS = 64
_TABLES_AT_ONCE = 8
EXACT = 1 << 24
"""Whole numbers up to here are exact in float32."""


@dataclass(frozen=True, slots=True)
class Positions:
    """How many rows of an order come before each of p rows.

    Args:
        distinct: (d,) ascending numbers of rows.
        of_row: (p,) the index of the number of each row in ``distinct``.
    """

    distinct: IntArray
    of_row: IntArray

    @classmethod
    def of(cls, counts: IntArray) -> Positions:
        """Take the ascending numbers (p,) of rows that come before each of p rows."""
        is_new = np.ones(len(counts), dtype=bool)
        np.not_equal(counts[1:], counts[:-1], out=is_new[1:])
        return cls(counts[is_new], np.cumsum(is_new) - 1)

    def cumulative(self, weights: FloatArray) -> FloatArray:
        """Add up the weights of the rows before each of p rows.

        Args:
            weights: (m, draws) weights of the rows in their order.

        Returns:
            (p, draws) sums.
        """
        sums = np.zeros((len(self.distinct), weights.shape[1]), dtype=weights.dtype)
        before = np.zeros(weights.shape[1], dtype=weights.dtype)
        for start in range(0, len(weights), _BLOCK):
            block = weights[start : start + _BLOCK]
            end = start + len(block)
            first = int(np.searchsorted(self.distinct, start, "right"))
            past = int(np.searchsorted(self.distinct, end, "right"))
            if first < past:
                steps = np.arange(start, end) < self.distinct[first:past, None]
                sums[first:past] = before + steps.astype(weights.dtype) @ block
            before = before + block.sum(axis=0)
        return sums[self.of_row]


def _twice_below(part: ComparedRows, weights: FloatArray) -> FloatArray:
    """Twice the weight of the negative rows below each positive row, ties counted half.

    Args:
        part: Sorted rows.
        weights: (m, draws) weights of the negative rows.

    Returns:
        (p, draws) sums.
    """
    lower = Positions.of(part.lower).cumulative(weights)
    if np.array_equal(part.lower, part.upper):
        return lower + lower
    return lower + Positions.of(part.upper).cumulative(weights)


@dataclass(frozen=True, slots=True)
class Pairs:
    """The area under the ROC curve: the share of pairs of rows that are in the right order.

    Args:
        parts: Rows that are compared with each other. The pairs of all parts are added.
        n: Number of units.

    Example:
        >>> from etab.metrics.forms import Units
        >>> from etab.metrics.sorted_rows import compared_rows
        >>> units = Units.single_rows(4)
        >>> score = np.array([0.1, 0.6, 0.6, 0.9])
        >>> part = compared_rows(np.array([False, False, True, True]), score, units)
        >>> Pairs([part], 4).draws(np.ones((4, 1))).tolist()
        [0.875]
        >>> Pairs([part], 4).without_each().tolist()
        [0.75, 1.0, 1.0, 0.75]
    """

    parts: Sequence[ComparedRows]
    n: int

    def _alone(self) -> PairsOfTables:
        return PairsOfTables([ComparedTables.of([part]) for part in self.parts], self.n)

    def draws(self, weights: Array) -> FloatArray:
        """Compute the area under weights (patients, draws): (draws,) in 0 to 1, or NaN."""
        if are_small(weights):
            return np.asarray(self._alone().draws(weights)[0])
        right = np.zeros(weights.shape[1])
        pairs = np.zeros(weights.shape[1])
        for part in self.parts:
            for chunk, high, low in _weights_of_rows(part.positives, part.negatives, weights):
                right[chunk] += _float64_sum(high * _twice_below(part, low)) / 2
                pairs[chunk] += _float64_sum(high) * _float64_sum(low)
        return ratio(right, pairs)

    def value(self) -> float:
        """Compute the area with each patient counted once; NaN where there is no pair."""
        return float(self._alone().values()[0])

    def without_each(self) -> FloatArray:
        """Compute the area without each patient: (patients,)."""
        return np.asarray(self._alone().without_each()[0])


@dataclass(frozen=True, slots=True)
class PairsOfTables:
    """``Pairs`` of several tables that have the same rows and classes.

    Args:
        parts: Rows that are compared with each other, in every table.
        n: Number of units.
    """

    parts: Sequence[ComparedTables]
    n: int

    def form(self, table: int) -> Pairs:
        """Return the area of one table."""
        return Pairs([part.table(table) for part in self.parts], self.n)

    def draws(self, weights: Array) -> FloatArray:
        """Compute the areas under weights (patients, draws): (tables, draws) in 0 to 1, or NaN."""
        n_tables = len(self.parts[0])
        if not are_small(weights):
            return np.stack([self.form(table).draws(weights) for table in range(n_tables)])
        right = np.zeros((n_tables, weights.shape[1]))
        pairs = np.zeros(weights.shape[1])
        for part in self.parts:
            # The rows of each class are the same in every table, so their weights are, too.
            of_negatives = totals_of(part.negatives[0], weights)
            of_part = totals_of(part.positives[0], weights) * of_negatives
            most = of_negatives.max(initial=0), of_part.max(initial=0)
            for start in range(0, n_tables, _TABLES_AT_ONCE):
                some = slice(start, start + _TABLES_AT_ONCE)
                right[some] += twice_right(part.select(some), weights, *most) / 2
            pairs += of_part
        return ratio(right, pairs)

    def values(self) -> FloatArray:
        """Compute the areas with each patient counted once: (tables,), NaN where there is no pair."""
        counts = [self._counts(part) for part in self.parts]
        right = sum(of_part for of_part, _ in counts)
        return ratio(np.asarray(right), np.asarray(float(sum(pairs for _, pairs in counts))))

    def values_of_parts(self) -> FloatArray:
        """Compute the areas of each part alone: (tables, parts)."""
        counts = [self._counts(part) for part in self.parts]
        areas = [ratio(right, np.asarray(float(pairs))) for right, pairs in counts]
        return np.stack(areas, axis=1)

    @staticmethod
    def _counts(part: ComparedTables) -> tuple[FloatArray, int]:
        """Right pairs (tables,) and all pairs of a part."""
        right = (part.lower.sum(axis=1) + part.upper.sum(axis=1)) / 2
        return right, part.positives.shape[1] * part.negatives.shape[1]

    def without_each(self) -> FloatArray:
        """Compute the areas without each patient: (tables, patients).

        The pairs of a patient are subtracted. Numbers of pairs are whole or half, so nothing is
        rounded.
        """
        right = np.zeros((len(self.parts[0]), self.n))
        pairs = np.zeros(right.shape)
        for part in self.parts:
            below = (part.lower + part.upper) / 2
            n_positives = _per_unit(part.positives, None, self.n)
            n_negatives = _per_unit(part.negatives, None, self.n)
            right += below.sum(axis=1, keepdims=True)
            right -= _per_unit(part.positives, below, self.n)
            right -= _per_unit(part.negatives, part.positives_above(), self.n)
            pairs += part.positives.shape[1] * part.negatives.shape[1]
            pairs -= n_positives * part.negatives.shape[1] + n_negatives * part.positives.shape[1]
            if int(np.bincount(part.unit[0]).max(initial=0)) > 1:
                for table in range(len(part)):
                    rows = part.table(table)
                    own_right, own_pairs = _pairs_of_units(rows)
                    right[table] += np.bincount(rows.positives, own_right, self.n)
                    pairs[table] += np.bincount(rows.positives, own_pairs, self.n)
        return ratio(right, pairs)


def _pairs_of_units(part: ComparedRows) -> tuple[FloatArray, IntArray]:
    """Right pairs (p,) and all pairs (p,) of each positive row with negative rows of its unit."""
    _, level = np.unique(part.score, return_inverse=True)
    keys_of_unit = len(part.score) + 1
    key = part.unit * keys_of_unit + level
    negatives = np.sort(key[~part.positive])
    first = np.searchsorted(negatives, part.positives * keys_of_unit)
    past = np.searchsorted(negatives, (part.positives + 1) * keys_of_unit)
    lower = np.searchsorted(negatives, key[part.positive], "left")
    upper = np.searchsorted(negatives, key[part.positive], "right")
    return np.asarray((lower + upper) / 2 - first), past - first


def _per_unit(units: IntArray, values: FloatArray | None, n: int) -> FloatArray:
    """Add up values over the units of each table (tables, rows): (tables, n); None counts rows."""
    of_table = (units + n * np.arange(len(units))[:, None]).ravel()
    weights = None if values is None else values.ravel()
    totals = np.bincount(of_table, weights=weights, minlength=n * len(units))
    return totals.astype(np.float64).reshape(len(units), n)


def _float64_sum(values: FloatArray) -> FloatArray:
    """Sum (draws,) over rows (rows, draws). Numbers of float32 are whole or half and exact."""
    return np.asarray(values.sum(axis=0), dtype=np.float64)


def _weights_of_rows(
    positives: IntArray, negatives: IntArray, weights: Array
) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
    """Weights (rows, draws) of the positive and of the negative rows, some draws at a time.

    They are float32 where every sum of products of them is a whole or half number that float32
    holds exactly.
    """
    whole = weights.dtype.kind == "u" and weights.size > 0
    largest = int(weights.max()) if whole else 0
    few_pairs = 2 * len(positives) * len(negatives) * largest**2 < EXACT
    rows = len(positives) + len(negatives)
    step = max(_NUMBERS // max(rows, 1), _FEWEST_DRAWS)
    for start in range(0, weights.shape[1], step):
        chunk = slice(start, start + step)
        high = np.take(weights[:, chunk], positives, axis=0)
        low = np.take(weights[:, chunk], negatives, axis=0)
        if whole and (few_pairs or 2 * _most_pairs(high, low) < EXACT):
            yield chunk, high.astype(np.float32), low.astype(np.float32)
        else:
            yield chunk, high.astype(np.float64), low.astype(np.float64)


def _most_pairs(high: Array, low: Array) -> int:
    """The largest weight of all pairs in a draw, and no less than that of all rows."""
    of_high = int(high.sum(axis=0).max(initial=1))
    of_low = int(low.sum(axis=0).max(initial=1))
    return max(of_high, 1) * max(of_low, 1)


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """The area under the precision-recall curve: the mean precision at the positive rows.

    Args:
        parts: Rows that are compared with each other. Precisions and positives of all parts are
            added.
        n: Number of units.
        both_classes: Whether a part counts only where negative rows have weight too. With positive
            rows alone, every order is as good.
    """

    parts: Sequence[RankedRows]
    n: int
    both_classes: bool = True

    def draws(self, weights: Array) -> FloatArray:
        """Compute the area under weights (patients, draws): (draws,) in 0 to 1, or NaN."""
        precisions = np.zeros(weights.shape[1])
        positives = np.zeros(weights.shape[1])
        for part in self.parts:
            for chunk, high, low in _weights_of_rows(part.positives, part.negatives, weights):
                right = Positions.of(part.positives_before).cumulative(high).astype(np.float64)
                rows = right + Positions.of(part.negatives_before).cumulative(low)
                # A row without weight may have no rows before it; its precision counts nothing.
                precision = right / np.maximum(rows, 1e-12)
                counted = np.ones(high.shape[1], dtype=bool)
                if self.both_classes:
                    counted = _float64_sum(low) > 0
                precisions[chunk] += np.where(counted, (high * precision).sum(axis=0), 0.0)
                positives[chunk] += np.where(counted, _float64_sum(high), 0.0)
        return ratio(precisions, positives)

    def value(self) -> float:
        """Compute the area with each patient counted once; NaN where no part counts."""
        precisions = 0.0
        positives = 0
        for part in self.parts:
            if self.both_classes and not len(part.negatives):
                continue
            rows = part.positives_before + part.negatives_before
            precisions += float((part.positives_before / rows).sum())
            positives += len(part.positives)
        return precisions / positives if positives else float("nan")

    def without_each(self) -> FloatArray:
        """Compute the area without each patient: (patients,)."""
        return values_without_each(self, self.n)


@dataclass(frozen=True, slots=True)
class PrecisionOfTables:
    """``AveragePrecision`` of several tables that have the same rows and classes.

    Args:
        parts: Rows that are compared with each other, in every table.
        n: Number of units.
    """

    parts: Sequence[RankedTables]
    n: int

    def form(self, table: int) -> AveragePrecision:
        """Return the area of one table."""
        return AveragePrecision([part.table(table) for part in self.parts], self.n)

    def draws(self, weights: Array) -> FloatArray:
        """Compute the areas under weights (patients, draws): (tables, draws) in 0 to 1, or NaN."""
        n_tables = len(self.parts[0].positives)
        return np.stack([self.form(table).draws(weights) for table in range(n_tables)])

    def values(self) -> FloatArray:
        """Compute the areas with each patient counted once: (tables,), NaN where no part counts."""
        sums = [self._sums(part) for part in self.parts]
        precisions = sum(of_part for of_part, _ in sums)
        return ratio(np.asarray(precisions), np.asarray(float(sum(count for _, count in sums))))

    def values_of_parts(self) -> FloatArray:
        """Compute the areas of each part alone: (tables, parts)."""
        sums = [self._sums(part) for part in self.parts]
        areas = [ratio(precisions, np.asarray(float(count))) for precisions, count in sums]
        return np.stack(areas, axis=1)

    @staticmethod
    def _sums(part: RankedTables) -> tuple[FloatArray, int]:
        """Sum (tables,) of the precisions at the positive rows, and how many of these count."""
        n_tables, n_positives = part.positives.shape
        if not part.negatives.shape[1]:
            return np.zeros(n_tables), 0
        rows = part.positives_before + part.negatives_before
        return (part.positives_before / rows).sum(axis=1), n_positives

    def without_each(self) -> FloatArray:
        """Compute the areas without each patient: (tables, patients)."""
        n_tables = len(self.parts[0].positives)
        return np.stack([self.form(table).without_each() for table in range(n_tables)])
