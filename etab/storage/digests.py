"""Digests of published files: one sha256 for all files that a number depends on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path

from etab.errors import CorruptFileError, StorageError
from etab.files import open_regular, read_json_file
from etab.storage.atomic import write_atomically
from etab.storage.machine import allowed_cores

ABSENT = "absent"
_BLOCK = 1 << 20
_CACHE: ContextVar[Path | None] = ContextVar("cache of digests", default=None)
_WRITES: ContextVar[bool] = ContextVar("whether digests are written", default=True)
# A file that changed less than 2 s ago may change again without a new time: clocks of some file
# systems are that coarse. Its digest is not kept.
_YOUNG = 2_000_000_000  # ns
# Size, modification time, change time and inode of a file.
_Stamp = tuple[int, int, int, int]


def file_sha256(path: Path) -> str:
    """Compute the sha256 of a file, reading it in blocks.

    Args:
        path: The file.

    Returns:
        Hexadecimal digits; "absent" where there is no such file.

    Raises:
        CorruptFileError: The path cannot be read as a file (a folder, a failing disk).
    """
    h = hashlib.sha256()
    try:
        with open_regular(path) as file:
            while block := file.read(_BLOCK):
                h.update(block)
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read: {error.strerror or error}.") from error
    return h.hexdigest()


@contextlib.contextmanager
def kept_digests(cache: Path | None, *, writes: bool = True) -> Iterator[None]:
    """Let ``digests`` cache its results inside the block.

    A file is read again when its size, modification time, change time (``st_ctime``, which programs
    cannot set) or inode differs from the cached one.

    Args:
        cache: Folder of the cache; without one, nothing is cached.
        writes: Whether new digests are written to the cache; cached ones are used in any case.

    Example:
        >>> with kept_digests(None):
        ...     digests(Path("no folder"), ["a.avi"])
        {'a.avi': 'absent'}
    """
    folder = _CACHE.set(cache)
    written = _WRITES.set(writes)
    try:
        yield
    finally:
        _CACHE.reset(folder)
        _WRITES.reset(written)


class KeptDigests:
    """The digests of the files of a folder, cached by the size and times of each file.

    Attributes:
        root: The folder.

    Example:
        >>> KeptDigests(Path("no folder"), None, file_sha256).digest("a.avi")
        'absent'
    """

    def __init__(self, root: Path, cache: Path | None, compute: Callable[[Path], str]) -> None:
        """Read the cached digests of a folder.

        Args:
            root: The folder.
            cache: Folder of the cache; without one, nothing is cached.
            compute: Computes the sha256 of a file, in hexadecimal digits.
        """
        self.root = root
        self._compute = compute
        self._file: Path | None = None
        self._known: dict[str, list[int | str]] = {}
        self._new: dict[str, list[int | str]] = {}
        if cache is not None:
            name = hashlib.sha256(str(root.absolute()).encode(errors="surrogateescape"))
            self._file = cache / "digests" / f"{name.hexdigest()[:32]}.digests"
            self._known = _read_kept(self._file)

    def digest(self, name: str) -> str:
        """Return the sha256 of a file, from the cache if the file has not changed.

        Args:
            name: Path of the file, relative to the folder.

        Raises:
            Exception: Any error of ``compute``.
        """
        path = self.root / name
        stamp = None if self._file is None else _stamp(path)
        if stamp is None:
            return self._compute(path)
        known = self._known.get(name, [])
        if tuple(known[:-1]) == stamp:
            return str(known[-1])
        began = time.time_ns()
        value = self._compute(path)
        if stamp == _stamp(path) and abs(began - max(stamp[1:3])) > _YOUNG:
            self._new[name] = [*stamp, value]
        return value

    def keep(self) -> None:
        """Write new digests to the cache, if it can be written."""
        if self._file is not None and self._new and _WRITES.get():
            with contextlib.suppress(StorageError):
                text = json.dumps({**_read_kept(self._file), **self._new})
                write_atomically(self._file, text)


def _read_kept(file: Path) -> dict[str, list[int | str]]:
    """The digests in a file of the cache; none if it is absent or damaged."""
    try:
        found = read_json_file(file)
    except (OSError, ValueError):
        return {}
    rows = found.items() if isinstance(found, dict) else ()
    return {name: row for name, row in rows if _is_row(row)}


def _is_row(row: object) -> bool:
    if not isinstance(row, list) or [type(value) for value in row] != [int] * 4 + [str]:
        return False
    return len(row[4]) == 64 and set(row[4]) <= set("0123456789abcdef")


def _stamp(path: Path) -> _Stamp | None:
    """Facts that change with the content of a file; None if there is no such file."""
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return None
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino


def digests(root: Path, names: Iterable[str], *, workers: int | None = None) -> dict[str, str]:
    """Compute the sha256 of each file, in threads: hashing releases the interpreter lock.

    Inside ``kept_digests``, files that have not changed since are not read.

    Args:
        root: Folder of the files.
        names: Paths relative to ``root``.
        workers: Number of threads; None is the number of allowed cores, at most 4.

    Returns:
        Hexadecimal digits by name, sorted by name.

    Raises:
        CorruptFileError: A file cannot be read.
    """
    unique = sorted(set(names))
    kept = KeptDigests(root, _CACHE.get(), file_sha256)
    with ThreadPoolExecutor(workers or min(4, allowed_cores())) as pool:
        found = dict(zip(unique, pool.map(kept.digest, unique), strict=True))
    kept.keep()
    return found


def combine(rows: Iterable[Sequence[str]], files: Mapping[str, str]) -> str:
    """Combine rows of text and the digests of files in one sha256.

    Args:
        rows: Rows of text; their order counts.
        files: sha256 by file name; the order does not count.
    """
    h = hashlib.sha256()
    for row in rows:
        line = "\0".join(row) + "\1"
        h.update(line.encode())
    for name in sorted(files):
        h.update(f"{name}\0{files[name]}\1".encode())
    return h.hexdigest()
