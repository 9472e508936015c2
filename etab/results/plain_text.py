"""Fast reading of the text that ``Predictions.to_csv`` writes.

Tables of one task hold the same names and the same truth, whatever the backbone, so these are read
once. A text that differs in any way from what
``to_csv`` writes (quotes, blanks, unequal rows, numbers such as ``nan``) is left to the general
reader of CSV, which reads it or says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from etab.types import FloatArray

_SIGNS_OF_NUMBERS = b"0123456789+-.eE,"


@dataclass(frozen=True, slots=True)
class PlainTable:
    """The fields of a table.

    Attributes:
        names: One tuple for each column of names, such as those of the items.
        numbers: Name and values of each column of numbers; the values are read-only.
    """

    names: tuple[tuple[str, ...], ...]
    numbers: dict[str, FloatArray]


def plain_table(text: str, n_names: int) -> PlainTable | None:
    """Read a table without quotes whose last columns are numbers.

    Args:
        text: CSV text with a first line of column names.
        n_names: Number of columns at the left that hold names.

    Returns:
        The table; None for a text that needs the general reader.

    Example:
        >>> table = plain_table("item,score\\na,0.5\\nb,1\\n", 1)
        >>> table.names, table.numbers["score"].tolist()
        ((('a', 'b'),), [0.5, 1.0])
        >>> plain_table("item,score\\na,nan\\n", 1) is None
        True
    """
    header, _, body = text.partition("\n")
    columns = header.split(",")
    is_plain = text.isascii() and not any(sign in text for sign in '"\r\0')
    if not is_plain or len(columns) <= n_names or len(set(columns)) < len(columns):
        return None
    by_column = _by_column(body, len(columns))
    if by_column is None:
        return None
    names = tuple(_names(",".join(column)) for column in by_column[:n_names])
    numbers: dict[str, FloatArray] = {}
    for name, column in zip(columns[n_names:], by_column[n_names:], strict=True):
        values = _numbers(",".join(column))
        if values is None:
            return None
        numbers[name] = values
    return PlainTable(names, numbers)


def _by_column(body: str, n_columns: int) -> list[Sequence[str]] | None:
    """The fields of each column; None where a row has more or fewer of them."""
    # Each line break becomes a field, which stands in the same place of every row.
    fields = body.replace("\n", ",\n,").split(",")
    rest = fields.pop()
    width = n_columns + 1
    n_rows = len(fields) // width
    is_even = not rest and n_rows > 0 and len(fields) == n_rows * width
    if not is_even or body.count("\n") != n_rows or set(fields[n_columns::width]) != {"\n"}:
        return None
    return [fields[column::width] for column in range(n_columns)]


@lru_cache(maxsize=16)
def _numbers(text: str) -> FloatArray | None:
    """Numbers between commas; None where one is not plain and finite.

    The column of the truth is read once for the tables of all backbones.
    """
    if text.encode("ascii").translate(None, _SIGNS_OF_NUMBERS):
        return None
    try:
        values = np.array(list(map(float, text.split(","))))
    except ValueError:
        return None
    if not np.isfinite(values).all():
        return None
    values.setflags(write=False)
    return values


@lru_cache(maxsize=256)
def _names(text: str) -> tuple[str, ...]:
    """Names between commas, read once for the tables of all backbones."""
    return tuple(text.split(","))
