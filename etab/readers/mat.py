"""Cell arrays in MATLAB files (level 5: versions 6 and 7), read with every length checked.

The reader of scipy trusts lengths inside the file, so that a damaged one can end the process. Only
what annotations of heart sounds need is read here: cells, numbers and text. Nothing is allocated
before the file is known to hold it.

Source: MathWorks, MAT-File Format (R2024b), chapter 1, level 5.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import CorruptFileError, EtabError
from etab.files import read_file
from etab.readers.regular import require_regular
from etab.types import Array

LARGEST_MAT = 1 << 27
"""Bytes of a file, and of what it unpacks to, beyond which it is refused."""

_HEADER = 128
_MATRIX = 14
_COMPRESSED = 15
_CELL_CLASS = 1
_CHAR_CLASS = 4
_NUMBER_CLASSES = range(6, 16)
_DEEPEST = 16
_NUMBERS = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_TEXTS = {
    1: "utf-8",
    2: "utf-8",
    4: "utf-16",
    16: "utf-8",
    17: "utf-16",
    18: "utf-32",
}


class _DamagedError(ValueError):
    """An error in the bytes of a file."""


@dataclass(frozen=True, slots=True)
class _Element:
    """One tagged piece of a file: its type and bytes."""

    kind: int
    body: bytes


def read_cells(path: Path, name: str) -> Array:
    """Read one cell array of a MATLAB file.

    Args:
        path: The file, of MATLAB version 6 or 7, packed or not.
        name: The variable.

    Returns: An object array of the variable's shape. A cell is a number array of its own shape, a
        ``str`` (one row of text), or again an object array.

    Raises: LayoutError: The file is absent. CorruptFileError: The file is damaged, too large, of
        another format, or has no such cell array.
    """
    try:
        return _variable(_bytes(path), name)
    except _DamagedError as error:
        raise CorruptFileError(
            f"{path} holds no table {name!r} that can be read: {error}. Restore it as published."
        ) from error


def _bytes(path: Path) -> bytes:
    try:
        size = require_regular(path)
        if size > LARGEST_MAT:
            raise _DamagedError(f"it has {size} bytes, more than {LARGEST_MAT}")
        return read_file(path, LARGEST_MAT)
    except EtabError:
        raise
    except OSError as error:
        raise _DamagedError(f"it cannot be read ({error.strerror or error})") from error


def _variable(data: bytes, name: str) -> Array:
    order = _byte_order(data)
    for element in _elements(data[_HEADER:], order):
        if element.kind == _COMPRESSED:
            unpacked = list(_elements(_unpacked(element.body), order))
            if len(unpacked) != 1:
                raise _DamagedError("a packed variable does not hold one variable")
            element = unpacked[0]
        if element.kind != _MATRIX:
            raise _DamagedError(
                f"it has an element of type {element.kind} where a variable should be"
            )
        matrix = _Matrix.of(element.body, order)
        if matrix.name == name:
            if matrix.kind != _CELL_CLASS:
                raise _DamagedError(f"{name} is not a cell array")
            return matrix.cells(0)
    raise _DamagedError("there is no such variable")


def _byte_order(data: bytes) -> str:
    """ "<" or ">", from the last two bytes of the header."""
    if len(data) < _HEADER:
        raise _DamagedError(f"it has {len(data)} bytes, less than a header")
    mark = data[126:128]
    if mark not in (b"IM", b"MI"):
        raise _DamagedError("it is not a MATLAB file of version 6 or 7")
    order = "<" if mark == b"IM" else ">"
    version = int.from_bytes(data[124:126], "little" if order == "<" else "big")
    if version == 0x0200:
        raise _DamagedError("it is a MATLAB file of version 7.3; save it again with -v7")
    if version != 0x0100:
        raise _DamagedError(f"it is a MATLAB file of the unknown version {version:#06x}")
    return order


def _elements(data: bytes, order: str) -> Iterator[_Element]:
    """The tagged pieces that follow each other; raises _DamagedError where one ends beyond the
    data.
    """
    start = 0
    while start < len(data):
        if len(data) - start < 8:
            raise _DamagedError("it is cut short inside the tag of an element")
        first, second = np.frombuffer(data, order + "u4", 2, start).tolist()
        if first >> 16:
            # A small element: type and length share the first four bytes, the data are the next
            # four.
            kind = first & 0xFFFF
            length = first >> 16
            body_start = start + 4
            end = start + 8
            if length > 4:
                raise _DamagedError(f"a small element claims {length} bytes")
        else:
            kind = first
            length = second
            body_start = start + 8
            padding = 0 if kind == _COMPRESSED else -length % 8
            end = body_start + length + padding
        if body_start + length > len(data):
            raise _DamagedError(
                f"an element claims {length} bytes and {len(data) - body_start} are left"
            )
        yield _Element(kind, data[body_start : body_start + length])
        start = end


def _unpacked(data: bytes) -> bytes:
    """zlib data, whole and with the right checksum."""
    decoder = zlib.decompressobj()
    try:
        plain = decoder.decompress(data, LARGEST_MAT)
    except zlib.error as error:
        raise _DamagedError(f"a packed variable is damaged ({error})") from error
    if not decoder.eof:
        raise _DamagedError("a packed variable is cut short or too large")
    return plain


@dataclass(frozen=True, slots=True)
class _Matrix:
    """One variable or cell: its class, shape and name, and the elements that hold its values."""

    kind: int
    shape: tuple[int, ...]
    name: str
    values: tuple[_Element, ...]
    order: str

    @staticmethod
    def of(body: bytes, order: str) -> _Matrix:
        """Read the three pieces that every matrix begins with."""
        pieces = list(_elements(body, order))
        if len(pieces) < 3 or len(pieces[0].body) < 8:
            raise _DamagedError("a variable lacks its class, shape or name")
        flags, sizes, name = pieces[:3]
        kind = int(np.frombuffer(flags.body, order + "u4", 1)[0]) & 0xFF
        if sizes.kind != 5 or len(sizes.body) % 4 or not 8 <= len(sizes.body) <= 128:
            raise _DamagedError("a variable has no shape")
        shape = tuple(np.frombuffer(sizes.body, order + "i4").tolist())
        if min(shape) < 0:
            raise _DamagedError(f"a variable has the shape {shape}")
        return _Matrix(
            kind,
            shape,
            name.body.decode("latin-1"),
            tuple(pieces[3:]),
            order,
        )

    def cells(self, depth: int) -> Array:
        """The cells of a cell array, as an object array of its shape."""
        count = math.prod(self.shape)
        if count != len(self.values):
            raise _DamagedError(f"it claims {self.shape} cells and holds {len(self.values)}")
        if depth > _DEEPEST:
            raise _DamagedError(f"cells stand inside cells more than {_DEEPEST} deep")
        flat = np.empty(count, dtype=object)
        for i, element in enumerate(self.values):
            flat[i] = self._cell(element, depth)
        return flat.reshape(self.shape, order="F")

    def _cell(self, element: _Element, depth: int) -> Any:
        if element.kind != _MATRIX:
            raise _DamagedError(f"a cell is an element of type {element.kind}")
        if not element.body:
            return np.empty((0, 0))
        inner = _Matrix.of(element.body, self.order)
        if inner.kind == _CELL_CLASS:
            return inner.cells(depth + 1)
        if inner.kind == _CHAR_CLASS:
            return inner.text()
        if inner.kind in _NUMBER_CLASSES:
            return inner.numbers()
        raise _DamagedError(f"a cell is of class {inner.kind}, neither numbers nor text")

    def numbers(self) -> Array:
        """The real numbers of a number array, in its shape."""
        if math.prod(self.shape) == 0:
            return np.empty(self.shape)
        if not self.values or self.values[0].kind not in _NUMBERS:
            raise _DamagedError("an array of numbers has no numbers")
        dtype = np.dtype(self.order + _NUMBERS[self.values[0].kind])
        body = self.values[0].body
        if len(body) != math.prod(self.shape) * dtype.itemsize:
            raise _DamagedError(f"an array of shape {self.shape} holds {len(body)} bytes")
        return np.frombuffer(body, dtype).reshape(self.shape, order="F")

    def text(self) -> str:
        """The characters of an array of one row, or none."""
        if math.prod(self.shape) == 0:
            return ""
        if self.shape[0] != 1 or not self.values or self.values[0].kind not in _TEXTS:
            raise _DamagedError(f"text of shape {self.shape} is not a row of characters")
        codec = _TEXTS[self.values[0].kind]
        if codec != "utf-8":
            codec += "-le" if self.order == "<" else "-be"
        try:
            characters = self.values[0].body.decode(codec)
        except UnicodeDecodeError as error:
            raise _DamagedError(f"text that is not {codec}") from error
        if len(characters) != math.prod(self.shape):
            raise _DamagedError(f"text of shape {self.shape} has {len(characters)} characters")
        return characters
