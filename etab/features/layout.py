"""Where each array of an entry lies in its files, so that rows can be written in any order."""

from __future__ import annotations

import io
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from etab.types import Array, Features, IntArray

POOLED = "pooled.safetensors"


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array (n, ...) in a file, in C order.

    Attributes:
        file: Name of the file.
        offset: Byte of the file at which the array begins.
        shape: Shape of the array.
        dtype: Type of the values, as numpy writes it: "<f4", "<f2".
    """

    file: str
    offset: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize

    @property
    def end(self) -> int:
        """Byte of the file behind the last one of the array."""
        return self.offset + self.shape[0] * self.row_bytes

    def write(self, file: FileIO, rows: IntArray, block: Array) -> None:
        """Write rows into the file.

        Args:
            file: The file, opened for reading and writing.
            rows: Row number of each item of ``block``.
            block: The rows (rows, ...).
        """
        values = np.ascontiguousarray(block, self.dtype)
        for first, last in _runs(rows):
            file.seek(self.offset + int(rows[first]) * self.row_bytes)
            unwritten = _bytes_of(values[first:last])
            while len(unwritten):
                unwritten = unwritten[file.write(unwritten) :]

    def read(self, file: FileIO, rows: IntArray) -> Array:
        """Read rows from the file.

        Args:
            file: The file, opened for reading.
            rows: Row numbers.

        Raises:
            EOFError: The file ends early.
        """
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for first, last in _runs(rows):
            file.seek(self.offset + int(rows[first]) * self.row_bytes)
            unread = _bytes_of(values[first:last])
            while len(unread):
                size = file.readinto(unread)
                if not size:
                    raise EOFError(f"{self.file} ends early")
                unread = unread[size:]
        return values


def _bytes_of(values: Array) -> memoryview:
    """View the bytes of an array in C order, which may be empty."""
    return values.reshape(-1).view(np.uint8).data


def _runs(rows: IntArray) -> list[tuple[int, int]]:
    """Divide a list of rows into runs of neighbours: first and last item (exclusive) of each."""
    if not len(rows):
        return []
    ends = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    return list(itertools.pairwise(ends))


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of an entry of ``n`` rows, before any row is known.

    Attributes:
        headers: The first bytes of each file.
        arrays: The arrays, by distinct names.
        facts: What ``entry.json`` holds beside checksums.
    """

    headers: Mapping[str, bytes]
    arrays: Mapping[str, StoredArray]
    facts: Mapping[str, Any]

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        sizes = {name: len(header) for name, header in self.headers.items()}
        for array in self.arrays.values():
            sizes[array.file] = max(sizes[array.file], array.end)
        return sizes


def layout_of(features: Features, n: int) -> Layout:
    """Lay out the files of an entry from the features of some of its rows.

    Args:
        features: Features of some rows, as ``load_batches`` reads them.
        n: Number of rows of the entry.

    Returns:
        The layout: the same files as ``Batches`` writes for all rows at once.
    """
    shapes = {name: (n, *values.shape[1:]) for name, values in features.pooled.items()}
    header = safetensors_header(shapes)
    headers = {POOLED: header}
    arrays: dict[str, StoredArray] = {}
    offset = len(header)
    for name in sorted(shapes, key=str.encode):
        arrays[f"pooled {name}"] = StoredArray(POOLED, offset, shapes[name], "<f4")
        offset = arrays[f"pooled {name}"].end
    wide = {f"map{i}.npy": values for i, values in enumerate(features.maps)}
    for i, values in enumerate(features.sequences.values()):
        wide[f"sequence{i}.npy"] = values
    for file, values in wide.items():
        shape = (n, *values.shape[1:])
        headers[file] = npy_header(shape)
        arrays[file] = StoredArray(file, len(headers[file]), shape, "<f2")
    facts: dict[str, Any] = {"order": list(features.pooled), "pca": dict(features.pca)}
    if features.sequences:
        facts["sequences"] = list(features.sequences)
    return Layout(headers, arrays, facts)


def arrays_of(features: Features) -> dict[str, Any]:
    """Name the arrays of features as ``Layout.arrays`` names them.

    Args:
        features: The features of some rows.
    """
    arrays: dict[str, Any] = {f"pooled {name}": values for name, values in features.pooled.items()}
    arrays |= {f"map{i}.npy": values for i, values in enumerate(features.maps)}
    for i, values in enumerate(features.sequences.values()):
        arrays[f"sequence{i}.npy"] = values
    return arrays


def npy_header(shape: tuple[int, ...]) -> bytes:
    """Make the header of an .npy file of float16.

    Args:
        shape: Shape of the array.
    """
    header = io.BytesIO()
    facts = {"descr": "<f2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, facts)
    return header.getvalue()


def safetensors_header(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """Make the header of a safetensors file of float32, as the library writes it.

    Args:
        shapes: Shape of each array, by its name. Arrays lie in the order of the bytes of names.

    Source:
        https://huggingface.co/docs/safetensors/index#format
    """
    facts: dict[str, Any] = {}
    start = 0
    for name in sorted(shapes, key=str.encode):
        end = start + 4 * math.prod(shapes[name])
        facts[name] = {"dtype": "F32", "shape": list(shapes[name]), "data_offsets": [start, end]}
        start = end
    text = json.dumps(facts, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write_pooled(path: Path, pooled: Mapping[str, Array]) -> None:
    """Write a safetensors file of float32 without a copy in memory.

    Args:
        path: The file.
        pooled: Arrays by name.

    Raises:
        OSError: The disk refuses. (The library raises an error of its own there.)
    """
    arrays = {name: np.ascontiguousarray(values, "<f4") for name, values in pooled.items()}
    with path.open("wb") as file:
        file.write(safetensors_header({name: values.shape for name, values in arrays.items()}))
        for name in sorted(arrays, key=str.encode):
            file.write(_bytes_of(arrays[name]))


def in_c_order(maps: Array) -> Array:
    """Convert feature maps to float16 in C order.

    Args:
        maps: (n, c, h, w); networks in channels-last layout return them with c as the innermost
            axis in memory.

    Returns:
        The same values, float16 and contiguous.

    Example:
        >>> in_c_order(np.ones((2, 3, 4, 5)).transpose(0, 3, 1, 2)).shape
        (2, 5, 3, 4)
    """
    is_plain = maps.ndim != 4 or maps.dtype != np.float16 or maps.flags.c_contiguous
    if is_plain or not maps.transpose(0, 2, 3, 1).flags.c_contiguous:
        return np.ascontiguousarray(maps, np.float16)
    import cv2

    n, c, h, w = maps.shape
    # OpenCV transposes matrices several times faster than numpy; it knows no float16.
    rows = maps.transpose(0, 2, 3, 1).reshape(n, h * w, c).view(np.uint16)
    ordered = np.empty((n, c, h * w), np.uint16)
    for i in range(n):
        cv2.transpose(rows[i], ordered[i])
    return ordered.view(np.float16).reshape(maps.shape)
