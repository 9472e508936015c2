"""The row groups that the footer of a Parquet file lists, read with every length checked.

pyarrow ends the process where it is asked for the parts of a footer that contradicts itself. Only
what limits need is read here, so that pyarrow is asked for tables alone, whose errors it reports.

Source: Apache Parquet 2.11, parquet.thrift; Apache Thrift, compact protocol.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

LARGEST_FOOTER = 16 << 20
"""Bytes of a footer beyond which it is refused: it is read in Python, about 2 MB a second."""

_MARK = b"PAR1"
_ENCRYPTED = b"PARE"
_TAIL = 8  # bytes behind the footer: its length, and the mark
_DEEPEST = 32

# Kinds of values in the compact protocol.
_STOP = 0
_BOOLEANS = (1, 2)
_BYTE = 3
_INTEGERS = (4, 5, 6)
_INT32 = 5
_INT64 = 6
_DOUBLE = 7
_BINARY = 8
_LISTS = (9, 10)
_LIST = 9
_MAP = 11
_STRUCT = 12
_LONGEST_VARINT = 10  # bytes

_TEXT_TYPES = (6, 7)  # BYTE_ARRAY and FIXED_LEN_BYTE_ARRAY


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """One column of a row group.

    Attributes:
        path: Name of the column; of one inside another, the names with dots between them.
        holds_texts: Whether values are texts or bytes, of any length each.
        n_values: Number of values, absent ones included.
        n_bytes: Bytes of all pages, unpacked. A value that occurs often may be stored once.
    """

    path: str
    holds_texts: bool
    n_values: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Some rows of a file, which are stored together.

    Attributes:
        n_rows: Number of rows.
        columns: Its columns.
    """

    n_rows: int
    columns: tuple[ColumnChunk, ...]


def read_row_groups(file: BinaryIO, size: int) -> tuple[RowGroup, ...]:
    """Read the row groups of a Parquet file from its footer.

    Args:
        file: The file, open for reading.
        size: Its size in bytes.

    Returns:
        The row groups in order.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not a Parquet file, or its footer is damaged, encrypted or too large.
    """
    least = len(_MARK) + _TAIL
    if size < least:
        raise ValueError(f"it has {size} bytes, and the shortest one has {least}")
    file.seek(size - _TAIL)
    tail = file.read(_TAIL)
    if tail[4:] == _ENCRYPTED:
        raise ValueError("it is encrypted")
    if tail[4:] != _MARK:
        raise ValueError(f"it does not end with {_MARK.decode()}")
    length = int.from_bytes(tail[:4], "little")
    if length > min(LARGEST_FOOTER, size - least):
        raise ValueError(f"its footer claims {length:,} bytes")
    file.seek(size - _TAIL - length)
    return _row_groups(file.read(length))


def _row_groups(footer: bytes) -> tuple[RowGroup, ...]:
    values = _Values(footer)
    groups: tuple[RowGroup, ...] | None = None
    for number, kind in values.fields():
        if number == 4:
            groups = tuple(_row_group(values) for _ in values.structs(kind))
        else:
            values.skip(kind)
    if groups is None:
        raise ValueError("its footer lists no row groups")
    return groups


def _row_group(values: _Values) -> RowGroup:
    columns: tuple[ColumnChunk, ...] = ()
    n_rows = -1
    for number, kind in values.fields():
        if number == 1:
            columns = tuple(_column(values) for _ in values.structs(kind))
        elif number == 3:
            n_rows = values.count(kind)
        else:
            values.skip(kind)
    if n_rows < 0:
        raise ValueError("a row group has no number of rows")
    return RowGroup(n_rows, columns)


def _column(values: _Values) -> ColumnChunk:
    column: ColumnChunk | None = None
    for number, kind in values.fields():
        if number == 3 and kind == _STRUCT:
            column = _facts(values)
        elif number == 1:
            raise ValueError("a column lies in another file")
        else:
            values.skip(kind)
    if column is None:
        raise ValueError("a column has no facts, or they are encrypted")
    return column


def _facts(values: _Values) -> ColumnChunk:
    kind_of_values = n_values = n_bytes = -1
    path: Sequence[bytes] = ()
    for number, kind in values.fields():
        if number == 1:
            kind_of_values = values.count(kind)
        elif number == 3:
            path = values.texts(kind)
        elif number == 5:
            n_values = values.count(kind)
        elif number == 6:
            n_bytes = values.count(kind)
        else:
            values.skip(kind)
    if min(kind_of_values, n_values, n_bytes) < 0:
        raise ValueError("a column has no type, number of values or size")
    name = ".".join(part.decode("utf-8", "replace") for part in path)
    return ColumnChunk(name, kind_of_values in _TEXT_TYPES, n_values, n_bytes)


class _Values:
    """Values of the compact protocol, read one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._depth = 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and kind of each field of a structure; the value is read before the next one."""
        self._enter()
        met = set[int]()
        number = 0
        while head := self._byte():
            kind = head & 15
            number = number + (head >> 4) if head >> 4 else self._integer()
            if kind == _STOP or number in met:
                raise ValueError(f"its footer holds the field {number} twice, or without a kind")
            met.add(number)
            yield number, kind
        self._depth -= 1

    def structs(self, kind: int) -> Iterator[int]:
        """The place of each structure of a list, which is read before the next one."""
        return iter(range(self._length(kind, _STRUCT)))

    def texts(self, kind: int) -> list[bytes]:
        """A list of texts."""
        return [self._text() for _ in range(self._length(kind, _BINARY))]

    def count(self, kind: int) -> int:
        """A whole number of 0 or more."""
        if kind not in (_INT32, _INT64):
            raise ValueError(f"its footer holds a value of kind {kind} for a number")
        number = self._integer()
        if not 0 <= number < 1 << 63:
            raise ValueError(f"its footer holds {number} for a number of things")
        return number

    def skip(self, kind: int) -> None:
        """Pass over a value of a field."""
        if kind in _BOOLEANS:  # the kind is the value
            return
        self._skip_item(kind)

    def _skip_item(self, kind: int) -> None:
        """Pass over a value of a list or a field."""
        if kind in _BOOLEANS or kind == _BYTE:
            self._take(1)
        elif kind in _INTEGERS:
            self._varint()
        elif kind == _DOUBLE:
            self._take(8)
        elif kind == _BINARY:
            self._text()
        elif kind == _STRUCT:
            for _, inner in self.fields():
                self.skip(inner)
        elif kind in _LISTS:
            self._skip_list()
        elif kind == _MAP:
            self._skip_map()
        else:
            raise ValueError(f"its footer holds a value of the unknown kind {kind}")

    def _skip_list(self) -> None:
        self._enter()
        length, kind = self._list_head()
        for _ in range(length):
            self._skip_item(kind)
        self._depth -= 1

    def _skip_map(self) -> None:
        self._enter()
        length = self._varint()
        kinds = self._byte() if length else 0
        self._require(length)
        for _ in range(length):
            self._skip_item(kinds >> 4)
            self._skip_item(kinds & 15)
        self._depth -= 1

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError(f"its footer is nested more than {_DEEPEST} deep")

    def _length(self, kind: int, wanted: int) -> int:
        """Number of items of a list of one kind."""
        if kind != _LIST:
            raise ValueError(f"its footer holds a value of kind {kind} for a list")
        length, found = self._list_head()
        if length and found != wanted:
            raise ValueError(f"its footer holds a list of kind {found}; wanted {wanted}")
        return length

    def _list_head(self) -> tuple[int, int]:
        head = self._byte()
        length = head >> 4
        if length == 15:
            length = self._varint()
        self._require(length)  # each item takes a byte at least
        return length, head & 15

    def _text(self) -> bytes:
        return self._take(self._varint())

    def _integer(self) -> int:
        """A signed number: 0, -1, 1, -2, ... are 0, 1, 2, 3, ..."""
        number = self._varint()
        return number >> 1 ^ -(number & 1)

    def _varint(self) -> int:
        number = 0
        for place in range(_LONGEST_VARINT):
            byte = self._byte()
            number |= (byte & 127) << 7 * place
            if byte < 128:
                return number
        raise ValueError("its footer holds a number without end")

    def _byte(self) -> int:
        return self._take(1)[0]

    def _take(self, n: int) -> bytes:
        self._require(n)
        self._at += n
        return self._data[self._at - n : self._at]

    def _require(self, n: int) -> None:
        left = len(self._data) - self._at
        if n > left:
            raise ValueError(f"its footer claims {n:,} more bytes and {left:,} are left")
