"""Arrays that may outgrow memory, and what glibc does with memory that is freed."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from etab.errors import StorageError, UnsupportedOptionError
from etab.types import Array, FloatArray, IntArray

_SPARE = 64 << 20
_TO_WORK_WITH = 100e6  # bytes beside what a process takes, below which a limit is refused
# Options of glibc's ``mallopt``: from how many free bytes at its end the heap shrinks, from which
# size a piece is mapped by itself, and how many pieces may be.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_MMAP_MAX = -4
_NEVER_TRIM = 2**31 - 1
# glibc raises both thresholds to these values by itself once a process has freed a large piece.
_USUAL = {_TRIM_THRESHOLD: 64 << 20, _MMAP_THRESHOLD: 32 << 20, _MMAP_MAX: 65536}


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Look for no cycles of objects meanwhile.

    Python looks through every object that is held, again and again while more are made. Tens of
    thousands of records, which hold no cycles, make that as long as reading them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


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
                    f"Rows that outgrew memory could not be kept on disk: {error.strerror or error}. "
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


def large_array(shape: tuple[int, ...], *, held: int) -> Array:
    """Make an array of float32 that may outgrow memory.

    Args:
        shape: Its shape.
        held: Bytes above which it lies in an unnamed file of the system's temporary folder. The file
            disappears with the array, however the process ends.

    Returns:
        The array, of any content.

    Raises:
        StorageError: There is not enough space.
    """
    size = 4 * math.prod(shape)
    if size <= held:
        return np.empty(shape, np.float32)
    with _unnamed(size, None) as file:
        return np.asarray(np.memmap(file, np.float32, "r+", shape=shape))


def _unnamed(size: int, folder: Path | None) -> IO[bytes]:
    """Make a file of ``size`` bytes that no folder lists, and reserve its space."""
    if folder is None or not os.access(folder, os.W_OK):
        directory = tempfile.gettempdir()
        step = "set TMPDIR to a folder with more space"
    else:
        directory = str(folder)
        step = "name another --cache"
    free = shutil.disk_usage(directory).free
    if free < size + _SPARE:
        raise StorageError(
            f"{size / 2**30:.1f} GiB that outgrow memory would lie in {directory}, "
            f"where {free / 2**30:.1f} GiB are free. Free some space, or {step}."
        )
    try:
        file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115  # Spill closes it
        file.truncate(size)
        _reserve(file, size)
    except OSError as error:
        raise StorageError(
            f"{size / 2**30:.1f} GiB that outgrow memory could not be reserved in {directory}: "
            f"{error.strerror or error}. Free some space, or {step}."
        ) from error
    return file


def _reserve(file: IO[bytes], size: int) -> None:
    """Reserve the space of a file, where the system can.

    A disk that others fill meanwhile would otherwise end the process (SIGBUS) at the first page of
    the mapped file that finds no space.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep what is freed for what is allocated next; does nothing without glibc.

    glibc returns every piece of more than 32 MB to the system as soon as it is freed. A network
    frees its activations with each batch, and the system fills the same pages with zeros for the
    next one, which takes up to half of the processor time. Afterwards all that is unused is
    returned.

    Yields:
        Nothing.
    """
    options = _glibc("mallopt")
    if options is None:
        yield
        return
    options(_MMAP_MAX, 0)
    options(_TRIM_THRESHOLD, _NEVER_TRIM)
    try:
        yield
    finally:
        for option, value in _USUAL.items():
            options(option, value)
        give_back()


def limit_memory(n_bytes: float) -> None:
    """Let this process fail to allocate more than so much memory, instead of filling the machine.

    Does nothing where the system does not say how much memory a process takes (Linux does).

    Args:
        n_bytes: The resident memory in bytes that it may reach. What its libraries have reserved
            and do not use is not counted.

    Raises:
        UnsupportedOptionError: If this process takes about so much already.
    """
    try:
        import resource

        pages = [int(word) for word in Path("/proc/self/statm").read_text().split()]
    except (ImportError, OSError):
        return
    resident, reserved = (pages[i] * resource.getpagesize() for i in (1, 5))
    if n_bytes < resident + _TO_WORK_WITH:
        raise UnsupportedOptionError(
            f"A limit of {n_bytes / 1e9:g} GB of memory is too small: a process takes "
            f"{resident / 1e9:.2f} GB before it computes anything, and needs some to work with. Give "
            "it more (--executor-option memory_gb=...), or leave the limit out."
        )
    limit = int(n_bytes) + max(0, reserved - resident)
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most != resource.RLIM_INFINITY:
        limit = min(limit, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def give_back() -> None:
    """Return unused memory to the system; does nothing without glibc.

    Fits allocate and free matrices of many sizes. glibc keeps the freed pieces, so the memory of a
    worker would grow with every backbone.
    """
    trim = _glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _glibc(name: str) -> Any:
    """A function of glibc's allocator; None on other systems."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), name, None)
