"""Areas under ROC and precision-recall curves under many weightings of the patients.

Both areas follow from cumulative weights: how much weight the negative rows below a positive row
have, or the rows above it. Rows are sorted once, before any weight is known. The cumulative weights
of all weightings are then small matrix products over blocks of consecutive rows, so that the time
grows with the number of rows and not with that of pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from etab.metrics.forms import Form, Mean, Units, ratio, values_without_each
from etab.metrics.whole_pairs import are_small, totals_of, twice_right
from etab.types import Array, FloatArray, IntArray

_BLOCK = 128  # rows whose weights are added up by one matrix product
_NUMBERS = 1 << 18  # weights of rows that are converted at once: they stay in the cache
_FEWEST_DRAWS = 64
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


@dataclass(frozen=True, slots=True)
class ComparedRows:
    """Rows of a part whose scores are compared with each other, sorted by score.

    Attributes:
        positive: (n,) bool, the rows of the class.
        score: (n,) ascending.
        unit: (n,) the unit of each row.
        lower: Negative rows with a lower score than each of the p positive rows.
        upper: Negative rows with a lower or an equal score.
    """

    positive: Array
    score: FloatArray
    unit: IntArray
    lower: IntArray
    upper: IntArray

    @property
    def positives(self) -> IntArray:
        """Units (p,) of the positive rows."""
        return self.unit[self.positive]

    @property
    def negatives(self) -> IntArray:
        """Units (m,) of the negative rows."""
        return self.unit[~self.positive]

    def twice_below(self, weights: FloatArray) -> FloatArray:
        """Twice the weight of the negative rows below each positive row, ties counted half.

        Args:
            weights: (m, draws) weights of the negative rows.

        Returns:
            (p, draws) sums.
        """
        lower = Positions.of(self.lower).cumulative(weights)
        if np.array_equal(self.lower, self.upper):
            return lower + lower
        return lower + Positions.of(self.upper).cumulative(weights)


def compared_rows(positive: Array, score: FloatArray, units: Units) -> ComparedRows:
    """Sort the rows of a part.

    Args:
        positive: (n,) bool, the rows of the class.
        score: (n,) numbers that order the rows.
        units: The unit of each of the n rows.

    Returns:
        The sorted rows.
    """
    order = np.argsort(score, kind="stable")
    is_positive = np.asarray(positive, dtype=bool)[order]
    ordered = score[order]
    high = ordered[is_positive]
    low = ordered[~is_positive]
    return ComparedRows(
        positive=is_positive,
        score=ordered,
        unit=units.of_row[order],
        lower=np.searchsorted(low, high, "left"),
        upper=np.searchsorted(low, high, "right"),
    )


def _positives_above(part: ComparedRows) -> FloatArray:
    """Positive rows above each of the m negative rows, those with an equal score counted half."""
    high = part.score[part.positive]
    low = part.score[~part.positive]
    not_above = np.searchsorted(high, low, "left") + np.searchsorted(high, low, "right")
    return np.asarray(len(high) - not_above / 2)


def _pairs_of_units(part: ComparedRows) -> tuple[FloatArray, IntArray]:
    """Right pairs (p,) and all pairs (p,) of each positive row with negative rows of its unit."""
    if int(np.bincount(part.unit).max(initial=0)) <= 1:
        no_pairs = np.zeros(len(part.lower))
        return no_pairs, no_pairs.astype(np.int64)
    _, level = np.unique(part.score, return_inverse=True)
    keys_of_unit = len(part.score) + 1
    key = part.unit * keys_of_unit + level
    negatives = np.sort(key[~part.positive])
    first = np.searchsorted(negatives, part.positives * keys_of_unit)
    past = np.searchsorted(negatives, (part.positives + 1) * keys_of_unit)
    lower = np.searchsorted(negatives, key[part.positive], "left")
    upper = np.searchsorted(negatives, key[part.positive], "right")
    return np.asarray((lower + upper) / 2 - first), past - first


@dataclass(frozen=True, slots=True)
class Pairs:
    """The area under the ROC curve: the share of pairs of rows that are in the right order.

    Args:
        parts: Rows that are compared with each other. The pairs of all parts are added.
        n: Number of units.

    Example:
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

    def draws(self, weights: Array) -> FloatArray:
        """Compute the area under weights (patients, draws): (draws,) in 0 to 1, or NaN."""
        right = np.zeros(weights.shape[1])
        pairs = np.zeros(weights.shape[1])
        for part in self.parts:
            if are_small(weights):
                of_negatives = totals_of(part.negatives, weights)
                of_part = totals_of(part.positives, weights) * of_negatives
                most = of_negatives.max(initial=0), of_part.max(initial=0)
                right += twice_right([part], weights, *most)[0] / 2
                pairs += of_part
                continue
            for chunk, high, low in _weights_of_rows(part.positives, part.negatives, weights):
                right[chunk] += _float64_sum(high * part.twice_below(low)) / 2
                pairs[chunk] += _float64_sum(high) * _float64_sum(low)
        return ratio(right, pairs)

    def value(self) -> float:
        """Compute the area with each patient counted once; NaN where there is no pair."""
        right = sum(int(part.lower.sum() + part.upper.sum()) for part in self.parts) / 2
        pairs = sum(len(part.lower) * (len(part.unit) - len(part.lower)) for part in self.parts)
        return right / pairs if pairs else float("nan")

    def without_each(self) -> FloatArray:
        """Compute the area without each patient: (patients,).

        The pairs of a patient are subtracted. Numbers of pairs are whole or half, so nothing is
        rounded.
        """
        right = np.zeros(self.n)
        pairs = np.zeros(self.n)
        for part in self.parts:
            below = (part.lower + part.upper) / 2
            own_right, own_pairs = _pairs_of_units(part)
            n_positives = _per_unit(part.positives, None, self.n)
            n_negatives = _per_unit(part.negatives, None, self.n)
            right += below.sum()
            right -= _per_unit(part.positives, below, self.n)
            right -= _per_unit(part.negatives, _positives_above(part), self.n)
            right += _per_unit(part.positives, own_right, self.n)
            pairs += len(part.positives) * len(part.negatives)
            pairs -= n_positives * len(part.negatives) + n_negatives * len(part.positives)
            pairs += _per_unit(part.positives, own_pairs, self.n)
        return ratio(right, pairs)


def _per_unit(units: IntArray, values: Array | None, n: int) -> FloatArray:
    """Add up values over units: (n,); None counts rows."""
    return np.bincount(units, weights=values, minlength=n).astype(np.float64)


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
class RankedRows:
    """Rows of a part, sorted from the highest score to the lowest.

    Attributes:
        positives: (p,) units of the positive rows.
        negatives: (m,) units of the negative rows.
        positives_before: Positive rows with a higher or an equal score than each positive row.
        negatives_before: Negative rows with a higher or an equal score.
    """

    positives: IntArray
    negatives: IntArray
    positives_before: IntArray
    negatives_before: IntArray


def ranked_rows(positive: Array, score: FloatArray, units: Units) -> RankedRows:
    """Sort the rows of a part by falling score.

    Args:
        positive: (n,) bool, the rows of the class.
        score: (n,) numbers that order the rows.
        units: The unit of each of the n rows.
    """
    order = np.argsort(-score, kind="stable")
    is_positive = np.asarray(positive, dtype=bool)[order]
    descending = -score[order]
    unit = units.of_row[order]
    high = descending[is_positive]
    low = descending[~is_positive]
    return RankedRows(
        positives=unit[is_positive],
        negatives=unit[~is_positive],
        positives_before=np.searchsorted(high, high, "right"),
        negatives_before=np.searchsorted(low, high, "right"),
    )


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


def value_of_each_part(form: Form) -> list[float] | None:
    """Compute the area of each part alone.

    Args:
        form: An area, or the mean of the areas of some classes.

    Returns:
        A value for each part, NaN where the part has none; None for any other form.
    """
    if isinstance(form, Pairs):
        return [Pairs([part], form.n).value() for part in form.parts]
    if isinstance(form, AveragePrecision):
        ranked = [replace(form, parts=[part]) for part in form.parts]
        return [of_part.value() for of_part in ranked]
    if not isinstance(form, Mean):
        return None
    of_classes = [value_of_each_part(each) for each in form.forms]
    known = [values for values in of_classes if values is not None]
    if len(known) < len(of_classes):
        return None
    means: list[float] = form.mean([np.array(values) for values in known]).tolist()
    return means


def areas(
    kind: type[Pairs] | type[AveragePrecision],
    classes: Sequence[tuple[Array, FloatArray]],
    parts: Sequence[IntArray],
    units: Units,
) -> list[Form]:
    """Prepare an area for each class.

    Args:
        kind: ``Pairs`` for the area under the ROC curve, or ``AveragePrecision``.
        classes: For each class, which rows (n,) are of it, and their scores (n,) for it.
        parts: Indexes of the rows that are compared with each other.
        units: The unit of each of the n rows.

    Returns:
        A form for each class.
    """
    forms: list[Form] = []
    for positive, score in classes:
        selected = [(positive[rows], score[rows], units.select(rows)) for rows in parts]
        if kind is Pairs:
            forms.append(Pairs([compared_rows(*part) for part in selected], units.n))
        else:
            forms.append(AveragePrecision([ranked_rows(*part) for part in selected], units.n))
    return forms
