"""Decoded clips kept on disk as uint8, verified each time they are read, and handed out without a
copy.

A cache is a folder of part files. Each process appends to parts of its own, so that workers never
wait for each other; a record is a header (magic, key, shape, size, checksum of the pixels, checksum
of the header) and the pixels. A record that was torn by a crash ends its part; one whose pixels do
not match is struck out, said so, and decoded again.
"""

from __future__ import annotations

import mmap
import os
import secrets
import struct
import threading
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from xxhash import xxh3_64_intdigest, xxh3_128_digest

from etab.errors import EtabWarning, StorageError
from etab.types import Array

VERSION = 2
_HEAD = struct.Struct("<8s16s3I4xQQQ")
_SUMMED = _HEAD.size - 8
_MAGIC, _STRUCK = b"etabclip", b"etabgone"
_ALIGN = 64
_PART_BYTES = 1 << 30
_RELEASE_BYTES = 1 << 28
_CODECS = ("simplejpeg", "opencv-python-headless", "av", "pydicom", "nibabel", "SimpleITK")


@lru_cache(64)
def base_key(*facts: Hashable) -> bytes:
    """The part of a key that many clips share: ``facts``, this format, and the versions of what
    decodes and resizes.
    """
    return blake2b(
        repr((VERSION, facts, *map(_version, _CODECS))).encode(), digest_size=16
    ).digest()


def clip_key(base: bytes, name: str, files: Iterable[Path], numbers: Array) -> bytes:
    """16 bytes for one clip: ``base``, the recording's name, place, size and time of each of its
    files, frame numbers.
    """
    states = name
    for path in files:
        states += _state(path)
    return xxh3_128_digest(
        b"%b%b\0%b" % (base, states.encode(), np.asarray(numbers, np.int64).tobytes())
    )


class ClipCache:
    """Clips (k, h, w) uint8 by key, in a folder that may be shared by any number of processes."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; it is made when the first clip is kept. A copy in another process opens
        it anew.
        """
        self.folder = Path(folder)
        self._start()

    def __getstate__(self) -> Path:
        return self.folder

    def __setstate__(self, folder: Path) -> None:
        self.folder = folder
        self._start()

    def get(self, key: bytes, make: Callable[[], Array]) -> Array:
        """The clip under ``key``, read-only where it was kept; ``make`` decodes it where it was
        not, or is damaged.

        Raises StorageError where it cannot be kept, and whatever ``make`` raises. Warns
        (EtabWarning) of damage.
        """
        if self._pid != os.getpid():
            self._start()
        with self._lock:
            found = self._entries.get(key) if self._parts is not None else self._find(key)
            if found is not None:
                part, entry = found
                pixels = part.view(entry)
                if pixels is not None and xxh3_64_intdigest(pixels.data) == entry.checksum:
                    self._handed += entry.size
                    if self._handed > _RELEASE_BYTES:
                        self._release()
                    return pixels
                self._strike(key, part, entry)
        clip = np.ascontiguousarray(make(), dtype=np.uint8)
        with self._lock:
            self._append(key, clip)
        return clip

    def __len__(self) -> int:
        """Clips that can be had, unverified."""
        with self._lock:
            self._open()
            return len(self._entries)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._parts: list[_Part] | None = None
        self._entries: dict[bytes, tuple[_Part, _Entry]] = {}
        self._own: _Part | None = None
        self._handed = 0

    def _open(self) -> list[_Part]:
        if self._parts is None:
            self._parts = []
            for path in sorted(self.folder.glob("*.clips")) if self.folder.is_dir() else ():
                part = _Part(path)
                self._parts.append(part)
                self._entries.update((key, (part, entry)) for key, entry in part.scan())
        return self._parts

    def _find(self, key: bytes) -> tuple[_Part, _Entry] | None:
        self._open()
        return self._entries.get(key)

    def _release(self) -> None:
        self._handed = 0
        for part in self._parts or ():
            part.release()

    def _strike(self, key: bytes, part: _Part, entry: _Entry) -> None:
        warnings.warn(
            f"A cached clip in {part.path} is damaged (its checksum differs); decoding it again.",
            EtabWarning,
            stacklevel=4,
        )
        self._entries.pop(key, None)
        part.strike(entry)

    def _append(self, key: bytes, clip: Array) -> None:
        if clip.ndim != 3 or clip.size == 0:
            raise ValueError(f"a clip is (k, h, w); got {clip.shape}")
        pixels = clip.reshape(-1).data
        checksum = xxh3_64_intdigest(pixels)
        block = _HEAD.pack(_MAGIC, key, *clip.shape, len(pixels), checksum, 0)[:_SUMMED]
        block = (block + xxh3_64_intdigest(block).to_bytes(8, "little")).ljust(_lead(), b"\0")
        try:
            part = self._writable(len(pixels))
            at = part.append(block, pixels)
        except OSError as error:
            self._own = None
            raise StorageError(
                f"A clip could not be kept in {self.folder}: {error.strerror or error}. Free some space, or name another "
                "cache."
            ) from error
        self._entries[key] = part, _Entry(at, at + _lead(), len(pixels), clip.shape, checksum)

    def _writable(self, size: int) -> _Part:
        """A part of our own with room for ``size`` bytes."""
        if self._own is None or self._own.written + size > _PART_BYTES:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._own = _Part(self.folder / f"{os.getpid():08x}-{secrets.token_hex(6)}.clips")
            self._open().append(self._own)
        return self._own


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a record and its pixels begin in a part, and what its header says of them."""

    at: int
    start: int
    size: int
    shape: tuple[int, int, int]
    checksum: int


class _Part:
    """One file of records, mapped for reading when the first of them is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = 0
        self._map: mmap.mmap | None = None
        self._mapped = 0
        self._number = -1

    def __del__(self) -> None:
        if self._number >= 0:
            os.close(self._number)

    def append(self, head: bytes, pixels: memoryview) -> int:
        """Write a record at the end and say where it begins; a record that does not fit is cut off
        again.
        """
        with self.path.open("ab") as file:
            at = file.tell()
            try:
                file.write(head)
                file.write(pixels)
                file.write(b"\0" * (-len(pixels) % _ALIGN))
                file.flush()
                self.written = file.tell()
            except OSError:
                file.truncate(at)
                raise
        return at

    def scan(self) -> Iterator[tuple[bytes, _Entry]]:
        """Keys and records by their headers; ends where a header is torn or promises more than is
        there.
        """
        at = 0
        size = self._grown(0)
        while self._map is not None and at + _lead() <= size:
            block = self._map[at : at + _HEAD.size]
            magic, key, k, h, w, n, checksum, own = _HEAD.unpack(block)
            entry = _Entry(at, at + _lead(), n, (k, h, w), checksum)
            sound = magic in (_MAGIC, _STRUCK) and k * h * w == n and entry.start + n <= size
            if not sound or own != xxh3_64_intdigest(_MAGIC + block[8:_SUMMED]):
                return
            if magic == _MAGIC:
                yield key, entry
            at = entry.start + n + -n % _ALIGN

    def view(self, entry: _Entry) -> Array | None:
        """The pixels of a record (k, h, w), read-only and still in the file; None where the file
        became shorter.
        """
        end = entry.start + entry.size
        # where the file ends is asked each time (half the time of os.fstat): a map beyond it would kill the process
        if (self._mapped < end or os.lseek(self._number, 0, os.SEEK_END) < end) and self._grown(
            end
        ) < end:
            return None
        return np.ndarray(entry.shape, np.uint8, self._map, entry.start)

    def release(self) -> None:
        """Give the memory of pages that were read back to the system; views stay good."""
        if self._map is not None and hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def strike(self, entry: _Entry) -> None:
        """Mark a record as gone, so that no other process tries it; a cache that cannot be written
        stays as it is.
        """
        try:
            with self.path.open("r+b") as file:
                file.seek(entry.at)
                file.write(_STRUCK)
        except OSError:
            pass

    def _grown(self, end: int) -> int:
        """Bytes in the file now; the map covers at least ``end`` of them where they are there."""
        try:
            if self._number < 0:
                self._number = os.open(self.path, os.O_RDONLY)
            size = os.fstat(self._number).st_size
            if size and (self._map is None or self._mapped < end <= size):
                self._map = mmap.mmap(self._number, 0, access=mmap.ACCESS_READ)
                self._mapped = len(self._map)
        except OSError:
            return 0
        return size


def _lead() -> int:
    """Bytes of a header with its padding: pixels begin aligned."""
    return _HEAD.size + -_HEAD.size % _ALIGN


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _state(path: Path) -> str:
    """Place, size and time of a file; its place alone where it is absent."""
    try:
        found = os.stat(path)  # noqa: PTH116  # a third of the time of Path.stat
    except OSError:
        return f"\0{path!s}"
    return f"\0{path!s}/{found.st_size}/{found.st_mtime_ns}"
