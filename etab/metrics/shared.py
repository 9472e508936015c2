"""Facts of rows that the tables of all backbones share, computed once.

Tables of one task have the same patients, folds and repeats. ``ScoredRows.of`` gives all of them
the same read-only arrays, so that a fact that follows from such an array alone (which rows are of a
fold, which patients there are) is kept beside it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from etab.types import Array, IntArray

_MOST_FACTS = 20_000
_MOST_NUMBERS = 100_000  # facts of longer arrays are computed each time, to save memory

Fact = TypeVar("Fact")
# The arrays of a fact are kept with it, so that no other array can get their addresses.
_FACTS: OrderedDict[tuple[Any, ...], tuple[tuple[Array, ...], Any]] = OrderedDict()


def is_constant(array: Array) -> bool:
    """Whether nobody can change an array: it is read-only and no view of another one."""
    return not array.flags.writeable and array.base is None


def frozen(array: Array) -> Array:
    """Return an array that nobody can change, a copy where it is a view of another one."""
    constant = array if array.base is None else array.copy()
    constant.setflags(write=False)
    return constant


def once(function: Callable[..., Fact]) -> Callable[..., Fact]:
    """Compute a function of arrays once for the same constant arrays.

    Args:
        function: A function of arrays alone. What it returns must not be changed.

    Returns:
        The function; arrays that somebody can change are computed each time.
    """

    def computed(*arrays: Array) -> Fact:
        if not all(is_constant(array) and len(array) <= _MOST_NUMBERS for array in arrays):
            return function(*arrays)
        key = (function, *map(id, arrays))
        known = _FACTS.get(key)
        if known is not None:
            fact: Fact = known[1]
            return fact
        fact = function(*arrays)
        _FACTS[key] = (arrays, fact)
        if len(_FACTS) > _MOST_FACTS:
            _FACTS.popitem(last=False)
        return fact

    return computed


@once
def taken(values: Array, rows: Array) -> Array:
    """Values (n,) at some rows."""
    return frozen(values[rows])


@once
def distinct(values: Array) -> tuple[Array, IntArray, IntArray]:
    """Distinct values in order, the index of each value among them, and how often each comes."""
    names, of_row, counts = np.unique(values, return_inverse=True, return_counts=True)
    return frozen(names), frozen(of_row), frozen(counts)


@once
def positions(order: Array, values: Array) -> IntArray:
    """The index of each value (n,) in a sorted array that holds them all."""
    return frozen(np.searchsorted(order, values))


@once
def parts_of(values: Array) -> list[IntArray]:
    """The rows of each distinct value, in the order of the values."""
    if (values == values[:1]).all():
        return [frozen(np.arange(len(values)))]
    return [frozen(np.flatnonzero(values == value)) for value in np.unique(values)]


@once
def parts_of_both(outer: Array, inner: Array) -> list[IntArray]:
    """The rows of each distinct inner value within each distinct outer value."""
    parts = []
    for of_outer in parts_of(outer):
        names, of_row = np.unique(inner[of_outer], return_inverse=True)
        parts += [frozen(of_outer[of_row == number]) for number in range(len(names))]
    return parts
