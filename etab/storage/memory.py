"""Arrays that may outgrow memory: in memory up to a budget, else in a temporary file."""

from __future__ import annotations

import ctypes
import math
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from etab.errors import StorageError
from etab.types import Array, FloatArray, IntArray

_SPARE = 64 << 20


class Spill:
    """An array (n, ...) of float16, written in blocks of rows and read by rows.

    Up to ``budget`` bytes are held in memory. A larger array is an unnamed file in ``folder``, or
    in the system's temporary folder where ``folder`` is None or cannot be written. The file
    vanishes with the array, however the process ends, and is not mapped between reads.

    Raises:
        StorageError: If there is not enough room.
    """

    def __init__(self, shape: tuple[int, ...], *, budget: int, folder: Path | None = None) -> None:
        """Make room for all rows."""
        self.shape = shape
        self.dtype = np.dtype(np.float16)
        self._file: IO[bytes] | None = None
        size = self.dtype.itemsize * math.prod(shape)
        if size > budget:
            self._file = _unnamed(size, folder)
        self._held: Array | None = np.empty(shape, np.float16) if self._file is None else None

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def held(self) -> bool:
        """Whether it is in memory."""
        return self._held is not None

    def put(self, start: int, block: Array) -> None:
        """Write rows from ``start`` on; raises StorageError where the disk refuses."""
        if self._held is not None:
            self._held[start : start + len(block)] = block
        elif self._file is not None:
            try:
                self._file.seek(start * self.dtype.itemsize * math.prod(self.shape[1:]))
                self._file.write(np.ascontiguousarray(block, np.float16).data.cast("B"))
                self._file.flush()
            except OSError as error:
                raise StorageError(
                    f"Rows that outgrew memory could not be kept on disk: {error.strerror}. Free some space."
                ) from error

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Array:
        if self._held is not None:
            return np.asarray(self._held[rows])
        file: Any = self._file
        return np.array(np.memmap(file, np.float16, "r", shape=self.shape)[rows], subok=False)

    def widened(self, rows: IntArray, out: FloatArray) -> None:
        """Copy rows to ``out`` (rows, ...) in single precision, without an intermediate copy."""
        import torch

        if self._held is None:
            torch.from_numpy(out).copy_(torch.from_numpy(self[rows]))
            return
        held = torch.from_numpy(self._held)
        wide = torch.from_numpy(out)
        for target, row in zip(wide, rows, strict=True):
            target.copy_(held[int(row)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype=dtype)


def _unnamed(size: int, folder: Path | None) -> IO[bytes]:
    """A file of ``size`` bytes that no folder lists."""
    directory = (
        tempfile.gettempdir() if folder is None or not os.access(folder, os.W_OK) else str(folder)
    )
    free = shutil.disk_usage(directory).free
    if free < size + _SPARE:
        raise StorageError(
            f"{size / 2**30:.1f} GiB that outgrow memory would lie in {directory}, where {free / 2**30:.1f} GiB are free. "
            "Free some space, or name another --cache."
        )
    try:
        file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115  # it lives as long as its Spill
        file.truncate(size)
    except OSError as error:
        raise StorageError(
            f"No file could be made in {directory}: {error.strerror}. Name another --cache."
        ) from error
    return file


def give_back() -> None:
    """Return unused memory to the system; does nothing without glibc.

    Fits allocate and free matrices of many sizes. glibc keeps the freed pieces, so that a worker
    would grow with every backbone.
    """
    if not sys.platform.startswith("linux"):
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
