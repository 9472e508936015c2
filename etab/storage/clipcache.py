"""A cache of decoded clips on disk: uint8, verified at each read, and mapped instead of copied.

A cache is a folder of part files. Each process appends to its own parts, so that workers never wait
for each other. A record is a header (magic, key, shape, size, checksum of the pixels, checksum of
the header) followed by the pixels. A record that a crash cut short ends its part. A record whose
pixels do not match their checksum is marked as gone and decoded again, with a warning.
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

_VERSION = 2
_HEAD = struct.Struct("<8s16s3I4xQQQ")
_SUMMED = _HEAD.size - 8
_MAGIC = b"etabclip"
_STRUCK = b"etabgone"
_ALIGN = 64
_PART_BYTES = 1 << 30
_RELEASE_BYTES = 1 << 28
_CODECS = ("simplejpeg", "opencv-python-headless", "av", "pydicom", "nibabel", "SimpleITK")


@lru_cache(64)
def base_key(*facts: Hashable) -> bytes:
    """Compute the part of a key that many clips share.

    It covers ``facts``, the format of the cache, and the versions of the libraries that decode and
    resize.

    Args:
        facts: Facts that decide the clips; their ``repr`` enters the key.

    Returns:
        16 bytes.
    """
    text = repr((_VERSION, facts, *map(_version, _CODECS)))
    return blake2b(text.encode(), digest_size=16).digest()


def clip_key(base: bytes, name: str, files: Iterable[Path], numbers: Array) -> bytes:
    """Compute the key of one clip.

    Args:
        base: The shared part of the key, from ``base_key``.
        name: Name of the recording.
        files: Its files; their paths, sizes and times of change enter the key.
        numbers: Frame numbers of the clip.

    Returns:
        16 bytes.
    """
    states = name
    for path in files:
        states += _state(path)
    return xxh3_128_digest(
        b"%b%b\0%b" % (base, states.encode(), np.asarray(numbers, np.int64).tobytes())
    )


class ClipCache:
    """Clips (k, h, w), uint8, by key, in a folder that any number of processes can share.

    Attributes:
        folder: The folder of the cache.
    """

    def __init__(self, folder: Path) -> None:
        """Name the folder, which is made when the first clip is stored.

        A pickled copy in another process opens the folder anew.
        """
        self.folder = Path(folder)
        self._start()

    def __getstate__(self) -> Path:
        return self.folder

    def __setstate__(self, folder: Path) -> None:
        self.folder = folder
        self._start()

    def get(self, key: bytes, make: Callable[[], Array]) -> Array:
        """Read a clip, or decode and store it.

        Warns (EtabWarning) if the stored clip is damaged; it is then decoded again.

        Args:
            key: Key of the clip, from ``clip_key``.
            make: Decodes the clip; its errors are raised.

        Returns:
            The clip (k, h, w), uint8; read-only if it was stored.

        Raises:
            StorageError: The clip cannot be stored.
        """
        if self._pid != os.getpid():
            self._start()
        with self._lock:
            stored = self._entries.get(key) if self._parts is not None else self._find(key)
            if stored is not None:
                part, entry = stored
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
        """Number of stored clips; they are not verified."""
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
            offset = part.append(block, pixels)
        except OSError as error:
            self._own = None
            raise StorageError(
                f"A clip could not be kept in {self.folder}: {error.strerror or error}. "
                "Free some space, or name another cache."
            ) from error
        self._entries[key] = (
            part,
            _Entry(offset, offset + _lead(), len(pixels), clip.shape, checksum),
        )

    def _writable(self, size: int) -> _Part:
        """Return a part of this process with room for ``size`` bytes."""
        if self._own is None or self._own.written + size > _PART_BYTES:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._own = _Part(self.folder / f"{os.getpid():08x}-{secrets.token_hex(6)}.clips")
            self._open().append(self._own)
        return self._own


@dataclass(frozen=True, slots=True)
class _Entry:
    """A record in a part, as its header describes it.

    Attributes:
        at: Offset of the record in bytes.
        start: Offset of its pixels in bytes.
        size: Number of bytes of the pixels.
        shape: Shape of the clip (k, h, w).
        checksum: Checksum of the pixels.
    """

    at: int
    start: int
    size: int
    shape: tuple[int, int, int]
    checksum: int


class _Part:
    """One file of records, mapped when its first record is read."""

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
        """Append a record and return its offset; on failure, remove what was written of it."""
        with self.path.open("ab") as file:
            offset = file.tell()
            try:
                file.write(head)
                file.write(pixels)
                file.write(b"\0" * (-len(pixels) % _ALIGN))
                file.flush()
                self.written = file.tell()
            except OSError:
                file.truncate(offset)
                raise
        return offset

    def scan(self) -> Iterator[tuple[bytes, _Entry]]:
        """Yield keys and records from the headers.

        Scanning ends at a header that is damaged, or whose pixels would exceed the file.
        """
        offset = 0
        size = self._grown(0)
        while self._map is not None and offset + _lead() <= size:
            block = self._map[offset : offset + _HEAD.size]
            magic, key, k, h, w, n, checksum, header_checksum = _HEAD.unpack(block)
            entry = _Entry(offset, offset + _lead(), n, (k, h, w), checksum)
            is_sound = magic in (_MAGIC, _STRUCK) and k * h * w == n and entry.start + n <= size
            if not is_sound or header_checksum != xxh3_64_intdigest(_MAGIC + block[8:_SUMMED]):
                return
            if magic == _MAGIC:
                yield key, entry
            offset = entry.start + n + -n % _ALIGN

    def view(self, entry: _Entry) -> Array | None:
        """Map the pixels of a record (k, h, w), read-only; None if the file became shorter."""
        end = entry.start + entry.size
        # Reading a map beyond the end of the file would kill the process, so the length of the file
        # is checked each time. os.lseek takes half the time of os.fstat.
        is_short = self._mapped < end or os.lseek(self._number, 0, os.SEEK_END) < end
        if is_short and self._grown(end) < end:
            return None
        return np.ndarray(entry.shape, np.uint8, self._map, entry.start)

    def release(self) -> None:
        """Return the memory of pages that were read to the system; views stay valid."""
        if self._map is not None and hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def strike(self, entry: _Entry) -> None:
        """Mark a record as gone, so that no process reads it again.

        A cache that cannot be written stays as it is.
        """
        try:
            with self.path.open("r+b") as file:
                file.seek(entry.at)
                file.write(_STRUCK)
        except OSError:
            pass

    def _grown(self, end: int) -> int:
        """Return the current size of the file; map at least ``end`` bytes if it has as many."""
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
    """Return the bytes of a header with its padding, which aligns the pixels."""
    return _HEAD.size + -_HEAD.size % _ALIGN


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _state(path: Path) -> str:
    """Describe a file by path, size and time of change, or by its path alone if it is absent."""
    try:
        status = os.stat(path)  # noqa: PTH116  # a third of the time of Path.stat
    except OSError:
        return f"\0{path!s}"
    return f"\0{path!s}/{status.st_size}/{status.st_mtime_ns}"
