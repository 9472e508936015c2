"""Fast reading of the text that ``Predictions.to_csv`` writes.

Tables of one task begin with the same names in every row, whatever the backbone, so the names are
read once. The numbers of all rows are read together. A text that differs in any way from what
``to_csv`` writes (quotes, blanks, unequal rows, numbers such as ``nan``) is left to the general
reader of CSV, which reads it or says what is wrong.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from etab.types import Array, FloatArray, IntArray

_COMMA = ord(",")
_NEWLINE = ord("\n")
_NUMBER = np.zeros(256, dtype=bool)
_NUMBER[np.frombuffer(b"0123456789+-.eE", dtype=np.uint8)] = True


@dataclass(frozen=True, slots=True)
class PlainTable:
    """The fields of a table.

    Attributes:
        names: One tuple for each column of names, such as those of the items.
        numbers: Name and values of each column of numbers.
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
    if not is_plain or not body.endswith("\n") or len(set(columns)) < len(columns):
        return None
    content = np.frombuffer(body.encode("ascii"), dtype=np.uint8)
    ends = np.flatnonzero(content == _NEWLINE)
    commas = _commas_of_rows(content, ends, len(columns) - 1)
    if commas is None or len(columns) <= n_names:
        return None
    is_number = _between(len(content), commas[:, n_names - 1] + 1, ends + 1)
    values = _values(content[is_number])
    n_numbers = len(columns) - n_names
    if values is None or len(values) != len(ends) * n_numbers:
        return None
    names = _names(content[~is_number].tobytes(), n_names)
    by_column = np.ascontiguousarray(values.reshape(len(ends), n_numbers).T)
    return PlainTable(names, dict(zip(columns[n_names:], by_column, strict=True)))


def _commas_of_rows(content: Array, ends: IntArray, n_commas: int) -> IntArray | None:
    """Where the commas of each row are, (rows, n_commas); None where rows hold other numbers."""
    places = np.flatnonzero(content == _COMMA)
    if n_commas == 0 or len(places) != len(ends) * n_commas:
        return None
    commas = places.reshape(len(ends), n_commas)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (commas[:, 0] < starts).any() or (commas[:, -1] > ends).any():
        return None
    return commas


def _between(n: int, starts: IntArray, ends: IntArray) -> Array:
    """Which of n bytes lie from a start to before the end of the same row: (n,) bool."""
    steps = np.zeros(n + 1, dtype=np.int8)
    steps[starts] = 1
    steps[ends] -= 1
    return np.cumsum(steps[:-1], dtype=np.int8).astype(bool)


def _values(fields: Array) -> FloatArray | None:
    """Numbers that a comma or the end of a line follows; None where one is not plain and finite."""
    is_number = _NUMBER[fields]
    separators = np.flatnonzero(~is_number)
    is_separator = (fields == _COMMA) | (fields == _NEWLINE)
    if not (is_number | is_separator).all() or (np.diff(separators, prepend=-1) == 1).any():
        return None
    joined = np.where(is_number, fields, _COMMA).astype(np.uint8)
    try:
        with warnings.catch_warnings():
            # Before numpy 2.3, a text that cannot be read to its end gave fewer numbers.
            warnings.simplefilter("ignore", DeprecationWarning)
            values = np.fromstring(joined[:-1].tobytes().decode("ascii"), sep=",")
    except ValueError:
        return None
    if len(values) != len(separators) or not np.isfinite(values).all():
        return None
    return values


@lru_cache(maxsize=256)
def _names(text: bytes, n_names: int) -> tuple[tuple[str, ...], ...]:
    """The columns of names, read once for the tables of all backbones."""
    fields = text.decode("ascii").split(",")[:-1]
    return tuple(tuple(fields[column::n_names]) for column in range(n_names))
