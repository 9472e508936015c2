"""Digests of published files: one sha256 for all files that a number depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from etab.errors import CorruptFileError
from etab.files import open_regular
from etab.storage.machine import allowed_cores

ABSENT = "absent"
_BLOCK = 1 << 20


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


def digests(root: Path, names: Iterable[str], *, workers: int | None = None) -> dict[str, str]:
    """Compute the sha256 of each file, in threads: hashing releases the interpreter lock.

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
    with ThreadPoolExecutor(workers or min(4, allowed_cores())) as pool:
        hashes = pool.map(lambda name: file_sha256(root / name), unique)
        return dict(zip(unique, hashes, strict=True))


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
