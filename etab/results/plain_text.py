"""Fast reading of the text that ``Predictions.to_csv`` writes.

Tables of one task hold the same names and the same truth, whatever the backbone, so these are read
once: where each row begins as the same row of an earlier table does, only the rest of it is read. A
text that differs in any way from what ``to_csv`` writes (quotes, blanks, unequal rows, numbers such
as ``nan``) is left to the general reader of CSV, which reads it or says what is wrong.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from etab.results.row_names import shared
from etab.types import FloatArray

_SIGNS_OF_NUMBERS = b"0123456789+-.eE,\n"
_MOST_BEGINNINGS = 64


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
    has_truth = columns[n_names] == "truth" and len(columns) > n_names + 1
    n_alike = n_names + has_truth
    key = header, ",".join(body.partition("\n")[0].split(",")[:n_alike])
    known = _BEGINNINGS.get(key)
    table = None if known is None else known.table_of(body, columns[n_alike:])
    if table is not None:
        return table
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
    of_rows = [f"{','.join(row)}," for row in zip(*by_column[:n_alike], strict=True)]
    alike = dict(list(numbers.items())[:has_truth])
    _BEGINNINGS[key] = _Beginnings(tuple(of_rows), sum(map(len, of_rows)), names, alike)
    if len(_BEGINNINGS) > _MOST_BEGINNINGS:
        _BEGINNINGS.popitem(last=False)
    return PlainTable(names, numbers)


@dataclass(frozen=True, slots=True)
class _Beginnings:
    """The beginnings of the rows of an earlier table: their names and their truth.

    Attributes:
        of_rows: The beginning of each row, with the comma that ends it.
        length: Number of characters of all of them.
        names: The columns of names.
        numbers: The truth where it is among them, otherwise nothing.
    """

    of_rows: tuple[str, ...]
    length: int
    names: tuple[tuple[str, ...], ...]
    numbers: dict[str, FloatArray]

    def table_of(self, body: str, others: Sequence[str]) -> PlainTable | None:
        """Read a table whose rows begin in this way.

        Args:
            body: The text below the header.
            others: Names of the other columns, which hold numbers.

        Returns:
            The table; None where a row begins in another way, or the rest of it is not plain.
        """
        lines = body.split("\n")
        if lines.pop() or len(lines) != len(self.of_rows):
            return None
        rests = list(map(str.removeprefix, lines, self.of_rows))
        text = "\n".join(rests)
        is_alike = len(body) - len(text) - 1 == self.length
        if not is_alike or not _has_columns(text, len(rests), len(others)):
            return None
        values = _plain_numbers(text)
        if values is None:
            return None
        by_row = values.reshape(len(rests), len(others))
        numbers = dict(self.numbers)
        for place, name in enumerate(others):
            numbers[name] = by_row[:, place].copy()
            numbers[name].setflags(write=False)
        return PlainTable(self.names, numbers)


# By the header of a table, and what its first row begins with.
_BEGINNINGS: OrderedDict[tuple[str, str], _Beginnings] = OrderedDict()


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
    values = _plain_numbers(text)
    if values is not None:
        values.setflags(write=False)
    return values


def _has_columns(text: str, n_rows: int, n_columns: int) -> bool:
    """Whether each of the rows of a text has so many fields."""
    if n_columns == 1:
        return "," not in text
    signs = np.frombuffer(f"{text}\n".encode("ascii"), dtype=np.uint8)
    separators = signs[(signs == ord(",")) | (signs == ord("\n"))]
    if len(separators) != n_rows * n_columns:
        return False
    return bool((separators[n_columns - 1 :: n_columns] == ord("\n")).all())


def _plain_numbers(text: str) -> FloatArray | None:
    """The numbers in the fields of a text; None where one is not plain and finite."""
    if text.encode("ascii").translate(None, _SIGNS_OF_NUMBERS):
        return None
    try:
        values = np.array(list(map(float, text.replace("\n", ",").split(","))))
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


@lru_cache(maxsize=256)
def _names(text: str) -> tuple[str, ...]:
    """Names between commas, read once for the tables of all backbones."""
    return shared(text.split(","))
