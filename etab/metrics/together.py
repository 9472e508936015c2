"""Metrics of the tables of many backbones under the same weightings of the patients.

What does not depend on a backbone is computed once for all of them: weights become floats once, and
the sums of all metrics are one matrix product. An area under the ROC curve within folds is the
number of right pairs over the number of pairs. The first is counted for several backbones at once
(``etab.metrics.whole_pairs``), the second once for all that have the same truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from etab.metrics.areas import Pairs, PairsOfTables
from etab.metrics.forms import Form, Mean, Sums, weighted_totals
from etab.metrics.sorted_rows import ComparedTables
from etab.metrics.whole_pairs import are_small
from etab.types import Array, FloatArray, IntArray

_FORMS_AT_ONCE = 64


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
    if are_small(weights):
        values |= _of_pairs(pairs, weights)
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
    """A key that two forms share exactly if their backbones have the same rows and truth."""
    return tuple((_sorted(part.positives), _sorted(part.negatives)) for part in form.parts)


def _sorted(patients: IntArray) -> bytes:
    return np.sort(patients).astype(np.int64, copy=False).tobytes()


def _of_pairs(forms: Sequence[Pairs], weights: Array) -> dict[int, FloatArray]:
    groups: dict[tuple[_Rows, int], list[Pairs]] = {}
    for form in forms:
        groups.setdefault((_rows_of(form), form.n), []).append(form)
    values: dict[int, FloatArray] = {}
    for (rows, _), members in groups.items():
        areas = _areas(members, len(rows)).draws(weights)
        values |= {id(form): area for form, area in zip(members, areas, strict=True)}
    return values


def _areas(forms: Sequence[Pairs], n_parts: int) -> PairsOfTables:
    """The areas of forms whose parts have the same rows."""
    parts = [ComparedTables.of([form.parts[k] for form in forms]) for k in range(n_parts)]
    return PairsOfTables(parts, forms[0].n)
