"""Metrics of the tables of many backbones under the same weightings of the patients.

What does not depend on a backbone is computed once for all of them: weights become floats once, and
the sums of all metrics are one matrix product. An area under the ROC curve within folds is the
number of right pairs over the number of pairs. Both are sums over pairs of patients of a count times
the weights of both, so that the areas of all backbones are matrix products, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from etab.metrics.areas import EXACT, ComparedRows, Pairs
from etab.metrics.forms import Form, Mean, Sums, ratio, weighted_totals
from etab.types import Array, FloatArray, IntArray

_FORMS_AT_ONCE = 64
_DRAWS_AT_ONCE = 512
_NUMBERS = 1 << 20  # products that are held at once
MOST_COUNTS = 1 << 18
"""Largest matrix of counts: areas of more patients are computed one by one, from sorted rows."""


def draws_together(forms: Sequence[Form], weights: Array) -> list[FloatArray]:
    """Compute several metrics of the same patients under the same weightings.

    Args:
        forms: One or more, of the same patients.
        weights: (patients, draws), 0 or more.

    Returns:
        For each form (draws,) values, as its own ``draws`` gives them up to rounding.

    Example:
        >>> forms = [Sums(np.array([[1.0], [3.0]]), lambda totals: totals[0]) for _ in range(2)]
        >>> [values.tolist() for values in draws_together(forms, np.array([[1, 0], [0, 2]]))]
        [[1.0, 6.0], [1.0, 6.0]]
    """
    leaves = {id(leaf): leaf for form in forms for leaf in _leaves(form)}
    values: dict[int, FloatArray] = {}
    sums = [leaf for leaf in leaves.values() if isinstance(leaf, Sums)]
    for start in range(0, len(sums), _FORMS_AT_ONCE):
        values |= _of_sums(sums[start : start + _FORMS_AT_ONCE], weights)
    pairs = [leaf for leaf in leaves.values() if isinstance(leaf, Pairs)]
    for start in range(0, len(pairs), _FORMS_AT_ONCE):
        values |= _of_pairs(pairs[start : start + _FORMS_AT_ONCE], weights)
    for key, leaf in leaves.items():
        if key not in values:
            values[key] = leaf.draws(weights)
    return [_value_of(form, values) for form in forms]


def _leaves(form: Form) -> Iterator[Form]:
    if not isinstance(form, Mean):
        yield form
        return
    for part in form.forms:
        yield from _leaves(part)


def _value_of(form: Form, values: dict[int, FloatArray]) -> FloatArray:
    if not isinstance(form, Mean):
        return values[id(form)]
    return form.mean([_value_of(part, values) for part in form.forms])


def _of_sums(forms: Sequence[Sums], weights: Array) -> dict[int, FloatArray]:
    # Columns of the truth alone are the same for many backbones: each is added up once.
    distinct: dict[bytes, int] = {}
    columns: list[Array] = []
    places: list[list[int]] = []
    for form in forms:
        of_form = np.ascontiguousarray(form.values.T)
        keys = [column.tobytes() for column in of_form]
        for key, column in zip(keys, of_form, strict=True):
            if distinct.setdefault(key, len(columns)) == len(columns):
                columns.append(column)
        places.append([distinct[key] for key in keys])
    totals = weighted_totals(np.stack(columns, axis=1), weights)
    return {id(form): form.from_totals(totals[at]) for form, at in zip(forms, places, strict=True)}


_Rows = tuple[tuple[bytes, bytes], ...]
"""For each part the sorted patients of its positive and of its negative rows, as bytes."""


def _rows_of(form: Pairs) -> _Rows:
    """What two forms have in common exactly where backbones have the same rows and truth."""
    return tuple((_sorted(part.positives), _sorted(part.negatives)) for part in form.parts)


def _sorted(patients: IntArray) -> bytes:
    return np.sort(patients).astype(np.int64, copy=False).tobytes()


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which patients have positive and negative rows; backbones with the same truth share it.

    Attributes:
        positives: (p,) patients with positive rows.
        negatives: (m,) patients with negative rows.
        high: (parts, p) how many positive rows each of them has in each part.
        low: (parts, m) how many negative rows.
    """

    positives: IntArray
    negatives: IntArray
    high: FloatArray
    low: FloatArray

    @classmethod
    def of(cls, rows: _Rows, n: int) -> _Layout:
        """Count the rows of n patients in some parts."""
        high = np.array([_counted(positives, n) for positives, _ in rows]).reshape(len(rows), n)
        low = np.array([_counted(negatives, n) for _, negatives in rows]).reshape(len(rows), n)
        positives = np.flatnonzero(high.any(axis=0))
        negatives = np.flatnonzero(low.any(axis=0))
        return cls(positives, negatives, high[:, positives], low[:, negatives])

    @property
    def n_counts(self) -> int:
        """Size of the matrix of pairs of patients."""
        return len(self.positives) * len(self.negatives)

    @property
    def n_counts_of_parts(self) -> int:
        """Sizes of the matrices of pairs of patients of one part, added up."""
        with_positives = (self.high > 0).sum(axis=1)
        with_negatives = (self.low > 0).sum(axis=1)
        return int((with_positives * with_negatives).sum())

    def right_pairs(self, parts: Sequence[ComparedRows], n: int) -> FloatArray:
        """Twice the right pairs of each patient with each other one, ties counted half: (p, m)."""
        counts = np.zeros((len(self.positives), len(self.negatives)))
        of_positive = np.zeros(n, dtype=np.int64)
        of_positive[self.positives] = np.arange(len(self.positives))
        of_negative = np.zeros(n, dtype=np.int64)
        of_negative[self.negatives] = np.arange(len(self.negatives))
        for part in parts:
            rank = np.arange(len(part.negatives))
            rows = of_positive[part.positives]
            columns = of_negative[part.negatives]
            alone = _differ(rows) and _differ(columns)
            if alone and counts.shape == (len(rows), len(columns)):
                # One row of each patient: where it stands is found without moving any pair.
                place = np.empty(len(columns), dtype=np.int64)
                place[columns] = rank
                for below in (part.lower, part.upper):
                    n_below = np.empty(len(rows), dtype=np.int64)
                    n_below[rows] = below
                    counts += place < n_below[:, None]
                continue
            twice = (rank < part.lower[:, None]).astype(np.float64)
            twice += rank < part.upper[:, None]
            if alone:
                counts[rows[:, None], columns] += twice
            else:
                np.add.at(counts, (rows[:, None], columns), twice)
        return counts


def _counted(patients: bytes, n: int) -> FloatArray:
    """How many rows each of n patients has: (n,)."""
    return np.bincount(np.frombuffer(patients, dtype=np.int64), minlength=n).astype(np.float64)


def _differ(numbers: IntArray) -> bool:
    """Whether no number comes twice."""
    return len(numbers) == 0 or int(np.bincount(numbers).max()) == 1


@dataclass(frozen=True, slots=True)
class _Block:
    """Parts of an area whose pairs are added up in one matrix.

    Attributes:
        parts: The parts, as a piece of all parts of the form.
        layout: The layout of their rows.
    """

    parts: slice
    layout: _Layout


@lru_cache(maxsize=64)
def _blocks(rows: _Rows, n: int) -> list[_Block]:
    """All parts in one block, or each in its own where that takes much smaller matrices.

    The folds of one repeat have different patients, those of several repeats the same ones.
    """
    whole = _Layout.of(rows, n)
    if 2 * whole.n_counts_of_parts > whole.n_counts:
        return [_Block(slice(None), whole)]
    parts = [slice(number, number + 1) for number in range(len(rows))]
    return [_Block(part, _Layout.of(rows[part], n)) for part in parts]


def _of_pairs(forms: Sequence[Pairs], weights: Array) -> dict[int, FloatArray]:
    groups: dict[tuple[_Rows, int], list[Pairs]] = {}
    for form in forms:
        groups.setdefault((_rows_of(form), form.n), []).append(form)
    values: dict[int, FloatArray] = {}
    for (rows, n), members in groups.items():
        blocks = _blocks(rows, n)
        if sum(block.layout.n_counts for block in blocks) <= MOST_COUNTS:
            areas = _areas(members, blocks, weights)
            values |= {id(form): area for form, area in zip(members, areas, strict=True)}
    return values


def _areas(forms: Sequence[Pairs], blocks: Sequence[_Block], weights: Array) -> FloatArray:
    """The areas of forms that have the same rows: (forms, draws)."""
    right = np.zeros((len(forms), weights.shape[1]))
    pairs = np.zeros(weights.shape[1])
    for block in blocks:
        layout = block.layout
        of_forms = [layout.right_pairs(form.parts[block.parts], form.n) for form in forms]
        counts = np.stack(of_forms)
        exact_counts = _float32(counts)
        for start in range(0, weights.shape[1], _DRAWS_AT_ONCE):
            draws = slice(start, start + _DRAWS_AT_ONCE)
            high = weights[layout.positives, draws].astype(np.float64)
            low = weights[layout.negatives, draws].astype(np.float64)
            of_block = ((layout.high @ high) * (layout.low @ low)).sum(axis=0)
            pairs[draws] += of_block
            if weights.dtype.kind == "u" and 2 * of_block.max(initial=0) < EXACT:
                # Every sum is then a whole number that float32 holds exactly.
                exact = (exact_counts, _float32(high), _float32(low))
                right[:, draws] += _weighted_pairs(*exact)
            else:
                right[:, draws] += _weighted_pairs(counts, high, low)
    return ratio(right / 2, pairs)


def _float32(numbers: FloatArray) -> FloatArray:
    return np.asarray(numbers, dtype=np.float32)


def _weighted_pairs(counts: FloatArray, high: FloatArray, low: FloatArray) -> FloatArray:
    """Sum counts (forms, p, m) times the weights of both sides: (forms, draws) of float64."""
    n_forms, n_high, n_low = counts.shape
    totals = np.zeros((n_forms, high.shape[1]))
    step = max(_NUMBERS // max(high.size, 1), 1)
    for start in range(0, n_forms, step):
        some = counts[start : start + step]
        below = some.reshape(len(some) * n_high, n_low) @ low
        products = below.reshape(len(some), n_high, high.shape[1])
        products *= high
        totals[start : start + step] = products.sum(axis=1)
    return totals
