"""Names of rows that the tables of all backbones share, hashed once.

What follows from the names of rows alone is computed once for all tables that have them
(``functools.lru_cache``), so each table looks its names up dozens of times. A tuple adds up the hashes
of all its names at every one of these; the tuples here remember the sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any


class RowNames(tuple[Any, ...]):
    """A tuple that remembers its hash; it equals any other tuple of the same values.

    Example:
        >>> RowNames(("p1", "p2")) == ("p1", "p2"), {("p1", "p2"): 1}[RowNames(("p1", "p2"))]
        (True, 1)
    """

    _hash: int

    def __hash__(self) -> int:
        """Hash the values, at the first call alone."""
        try:
            return self._hash
        except AttributeError:
            self._hash = super().__hash__()
            return self._hash

    def __reduce__(self) -> tuple[type, tuple[tuple[Any, ...]]]:
        """Pickle the values alone: another process hashes texts to other numbers."""
        return type(self), (tuple(self),)


@lru_cache(maxsize=512)
def _first(values: RowNames) -> RowNames:
    return values


def shared(values: Iterable[Any]) -> RowNames:
    """The first of all equal tuples that were passed.

    Args:
        values: Values of a column, such as the items of the rows.

    Returns:
        The same object for the same values.

    Example:
        >>> shared(["p1", "p2"]) is shared(("p1", "p2"))
        True
    """
    return _first(values if isinstance(values, RowNames) else RowNames(values))


@lru_cache(maxsize=512)
def n_distinct(values: tuple[Any, ...]) -> int:
    """Count the distinct values of a column, once for all tables that share it.

    Args:
        values: Values of a column, such as the patients of the rows.

    Example:
        >>> n_distinct(("p1", "p2", "p1"))
        2
    """
    return len(set(values))


@lru_cache(maxsize=64)
def all_zero(n: int) -> RowNames:
    """The number 0 for each of n rows, such as the repeat of a table without repeats."""
    return RowNames((0,) * n)
