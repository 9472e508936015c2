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

    An array of at most ``budget`` bytes is held in memory. A larger array is an unnamed file in
    ``folder``, or in the system's temporary folder if ``folder`` is None or cannot be written. The
    file disappears with the array, however the process ends, and is not mapped between reads.

    Attributes:
        shape: Shape of the array.
        dtype: float16.
    """

    def __init__(self, shape: tuple[int, ...], *, budget: int, folder: Path | None = None) -> None:
        """Reserve memory or disk space for all rows.

        Args:
            shape: Shape of the array.
            budget: Bytes that are held in memory at most.
            folder: Folder of the file; None is the system's temporary folder.

        Raises:
            StorageError: There is not enough space.
        """
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
        """Whether the array is in memory."""
        return self._held is not None

    def put(self, start: int, block: Array) -> None:
        """Write consecutive rows.

        Args:
            start: Index of the first row.
            block: The rows (rows, ...).

        Raises:
            StorageError: The rows cannot be written to the disk.
        """
        if self._held is not None:
            self._held[start : start + len(block)] = block
        elif self._file is not None:
            try:
                self._file.seek(start * self.dtype.itemsize * math.prod(self.shape[1:]))
                self._file.write(np.ascontiguousarray(block, np.float16).data.cast("B"))
                self._file.flush()
            except OSError as error:
                raise StorageError(
                    f"Rows that outgrew memory could not be kept on disk: {error.strerror}. "
                    "Free some space."
                ) from error

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Array:
        if self._held is not None:
            return np.asarray(self._held[rows])
        file: Any = self._file
        return np.array(np.memmap(file, np.float16, "r", shape=self.shape)[rows], subok=False)

    def widened(self, rows: IntArray, out: FloatArray) -> None:
        """Copy rows in single precision, without an intermediate copy.

        Args:
            rows: Indices of the rows.
            out: Where to write them (rows, ...), float32.
        """
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
    """Make a file of ``size`` bytes that no folder lists."""
    if folder is None or not os.access(folder, os.W_OK):
        directory = tempfile.gettempdir()
    else:
        directory = str(folder)
    free = shutil.disk_usage(directory).free
    if free < size + _SPARE:
        raise StorageError(
            f"{size / 2**30:.1f} GiB that outgrow memory would lie in {directory}, "
            f"where {free / 2**30:.1f} GiB are free. Free some space, or name another --cache."
        )
    try:
        file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115  # Spill closes it
        file.truncate(size)
    except OSError as error:
        raise StorageError(
            f"No file could be made in {directory}: {error.strerror}. Name another --cache."
        ) from error
    return file


def give_back() -> None:
    """Return unused memory to the system; does nothing without glibc.

    Fits allocate and free matrices of many sizes. glibc keeps the freed pieces, so the memory of a
    worker would grow with every backbone.
    """
    if not sys.platform.startswith("linux"):
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
