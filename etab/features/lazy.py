"""Arrays that stay on disk until their rows are read."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import CorruptFileError
from etab.types import Array, IntArray


class JoinedMap:
    """Feature maps (n, c, h, w) joined along their rows; rows are read when they are indexed."""

    def __init__(self, parts: Sequence[Any]) -> None:
        """Take maps of one shape but for their length."""
        self.parts = tuple(parts)
        self.edges = np.cumsum([0, *map(len, self.parts)])
        self.shape = (int(self.edges[-1]), *self.parts[0].shape[1:])
        self.dtype = self.parts[0].dtype

    @property
    def path(self) -> Path | None:
        """Where the first map lies; None where it is in memory."""
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

    A slice is another StoredMap; a list of rows is read.

    Nothing stays mapped between reads, so that a run over large maps keeps its memory small.
    """

    def __init__(self, path: Path) -> None:
        """Point at an .npy file."""
        whole = np.load(path, mmap_mode="r")
        self.path, self.start, self._offset = path, 0, int(whole.offset)
        self.shape, self.dtype = whole.shape, whole.dtype

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

    def _rows(self, index: IntArray) -> Array:
        """Read rows, those that lie side by side at once."""
        out = np.empty((len(index), *self.shape[1:]), self.dtype)
        ends = [0, *(np.flatnonzero(np.diff(index) != 1) + 1), len(index)] if len(index) else [0]
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        with self.path.open("rb", buffering=0) as file:
            for a, b in itertools.pairwise(ends):
                file.seek(self._offset + (self.start + int(index[a])) * size)
                left = out[a:b].data.cast("B")
                while len(left):
                    read = file.readinto(left)
                    if not read:
                        raise CorruptFileError(
                            f"{self.path} ends early: it changed while it was read. Run again."
                        )
                    left = left[read:]
        return out


class PickedMap:
    """A lazy view of selected rows of a map, in any order; rows are read when they are indexed."""

    def __init__(self, whole: Any, rows: IntArray) -> None:
        """Take a map (n, ...) and the numbers of rows of it."""
        self.whole, self.rows = whole, np.asarray(rows)
        self.shape, self.dtype = (len(self.rows), *whole.shape[1:]), whole.dtype

    @property
    def path(self) -> Path | None:
        """Where the map lies; None where it is in memory."""
        return getattr(self.whole, "path", None)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, some: Any) -> Array:
        return np.asarray(self.whole[self.rows[some]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype=dtype)
