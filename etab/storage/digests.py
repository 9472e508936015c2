"""Digests of files as published: what decides a number can be named by one sha256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from etab.errors import CorruptFileError
from etab.storage.machine import allowed_cores

ABSENT = "absent"
_BLOCK = 1 << 20


def file_sha256(path: Path) -> str:
    """Sha256 of a file's bytes in hex, read in blocks; "absent" where there is no such file.

    Raises CorruptFileError for what cannot be read as a file (a folder in its place, a failing
    disk).
    """
    h = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                h.update(block)
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read: {error.strerror or error}.") from error
    return h.hexdigest()


def digests(root: Path, names: Iterable[str], *, workers: int | None = None) -> dict[str, str]:
    """Sha256 of each file, by its name relative to ``root``; hashing runs outside the interpreter
    lock.
    """
    unique = sorted(set(names))
    with ThreadPoolExecutor(workers or min(4, allowed_cores())) as pool:
        return dict(
            zip(unique, pool.map(lambda name: file_sha256(root / name), unique), strict=True)
        )


def combine(rows: Iterable[Sequence[str]], files: Mapping[str, str]) -> str:
    """One sha256 over rows of text and over {file name: sha256}, whatever the order of the mapping."""
    h = hashlib.sha256()
    for row in rows:
        h.update(("\0".join(row) + "\1").encode())
    for name in sorted(files):
        h.update(f"{name}\0{files[name]}\1".encode())
    return h.hexdigest()
