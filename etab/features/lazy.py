"""Arrays that stay on disk until their rows are read."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import CorruptFileError, FeaturesLostError
from etab.types import Array, IntArray


class JoinedMap:
    """Feature maps (n, c, h, w) joined along their rows; rows are read when they are indexed.

    Attributes:
        parts: The maps.
        edges: First row of each map, and the number of rows in all.
        shape: Shape of the joined map.
        dtype: Type of the values.
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        """Join maps that differ in their number of rows only."""
        self.parts = tuple(parts)
        self.edges = np.cumsum([0, *map(len, self.parts)])
        self.shape = (int(self.edges[-1]), *self.parts[0].shape[1:])
        self.dtype = self.parts[0].dtype

    @property
    def path(self) -> Path | None:
        """The file of the first map; None if it is in memory."""
        return getattr(self.parts[0], "path", None)

    def __len__(self) -> int:
        return int(self.edges[-1])

    def __getitem__(self, rows: Any) -> Array:
        index = np.arange(len(self))[rows]
        flat = np.atleast_1d(index)
        out = np.empty((len(flat), *self.shape[1:]), dtype=self.dtype)
        for part, first, last in zip(self.parts, self.edges[:-1], self.edges[1:], strict=True):
            inside = (flat >= first) & (flat < last)
            if inside.any():
                out[inside] = np.asarray(part[flat[inside] - first])
        return out if index.ndim else out[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype=dtype)


class StoredMap:
    """A feature map (n, c, h, w) or a sequence (n, T, d) on disk, float16.

    Indexing by a slice gives another StoredMap; indexing by a list of rows reads them. The file is
    not mapped between reads, so that a run over large maps needs little memory.

    Attributes:
        path: The .npy file.
        start: First row of the file that belongs to this map.
        shape: Shape of the map.
        dtype: Type of the values.
    """

    def __init__(self, path: Path) -> None:
        """Read the header of an .npy file."""
        whole = np.load(path, mmap_mode="r")
        self.path = path
        self.start = 0
        self.shape = whole.shape
        self.dtype = whole.dtype
        self._offset = int(whole.offset)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                part = copy.copy(self)
                part.start, part.shape = self.start + start, (max(stop - start, 0), *self.shape[1:])
                return part
            rows = np.arange(start, stop, step)
        index = np.arange(len(self))[rows]
        return self._rows(np.ravel(index)).reshape(*index.shape, *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self._rows(np.arange(len(self))), dtype=dtype)

    def _opened(self) -> FileIO:
        try:
            return self.path.open("rb", buffering=0)
        except FileNotFoundError as error:
            raise FeaturesLostError(
                f"{self.path} was deleted while it was in use. Run the same command again: the "
                "features are computed again."
            ) from error

    def _rows(self, index: IntArray) -> Array:
        """Read rows; neighbouring rows are read at once."""
        out = np.empty((len(index), *self.shape[1:]), self.dtype)
        if not len(index):
            return out
        ends = [0, *(np.flatnonzero(np.diff(index) != 1) + 1), len(index)]
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        with self._opened() as file:
            for a, b in itertools.pairwise(ends):
                file.seek(self._offset + (self.start + int(index[a])) * size)
                unread = out[a:b].data.cast("B")
                while len(unread):
                    read = file.readinto(unread)
                    if not read:
                        raise CorruptFileError(
                            f"{self.path} ends early: it changed while it was read. Run again."
                        )
                    unread = unread[read:]
        return out


class PickedMap:
    """A lazy view of selected rows of a map, in any order; rows are read when they are indexed."""

    def __init__(self, whole: Any, rows: IntArray) -> None:
        """Take a map (n, ...) and the numbers of its rows to view."""
        self.whole = whole
        self.rows = np.asarray(rows)
        self.shape = (len(self.rows), *whole.shape[1:])
        self.dtype = whole.dtype

    @property
    def path(self) -> Path | None:
        """The file of the map; None if it is in memory."""
        return getattr(self.whole, "path", None)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, selection: Any) -> Array:
        return np.asarray(self.whole[self.rows[selection]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype=dtype)
