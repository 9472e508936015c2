"""Atomic writes, and names that are safe as parts of a path."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from etab.errors import StorageError
from etab.files import read_file

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


_LONGEST = 120


@lru_cache(maxsize=4096)
def slug(name: str) -> str:
    """A name as part of a path: every other byte becomes ``~`` and its code, so that no two names
    meet.

    Names that differ in case alone meet where the file system ignores case; ``save`` then refuses
    the second one. A name too long for a file system is cut and ends in a digest of the whole.
    """
    codes = [c if c in _SAFE else "".join(f"~{b:02x}" for b in c.encode()) for c in name]
    if codes and codes[0] == ".":
        codes[0] = "~2e"
    text = "".join(codes) or "~"
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST - 18]}~~{hashlib.sha256(name.encode()).hexdigest()[:16]}"


REFUSED_BY_DISK = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
)
"""Numbers of the errors by which a disk or a folder refuses to be written."""


def step_after(error: OSError, place: str = "name another place") -> str:
    """Say what to do next where a disk or a folder refuses to be written.

    Args:
        error: What the system said.
        place: What the user may do instead.

    Returns:
        The end of a sentence.

    Example:
        >>> step_after(OSError(errno.ENOSPC, "No space left on device"), "choose another --out")
        'free some space and run the same command again, or choose another --out'
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"free some space and run the same command again, or {place}"
    return f"check its folder and permissions, or {place}"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file completely, or leave the former file unchanged.

    Args:
        path: The file.
        content: Bytes, or text that is written as UTF-8 with its line ends unchanged.

    Raises:
        StorageError: The disk refuses.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "note.txt"
        ...     write_atomically(path, "whole")
        ...     path.read_text()
        'whole'
    """
    with _replaced(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _replaced(path: Path) -> Iterator[BinaryIO]:
    """A file with a name of its own, which gets the name of ``path`` once it is written."""
    temp: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        temp = Path(name)
        with os.fdopen(number, "wb") as file:
            yield file
        temp.chmod(0o644)
        temp.replace(path)
        temp = None
    except OSError as error:
        raise StorageError(
            f"{path} could not be written: {error.strerror or error}. Nothing that was finished is "
            f"lost; {step_after(error)}."
        ) from error
    finally:
        if temp is not None:
            temp.unlink(missing_ok=True)


def copy_atomically(source: Path, copy: Path) -> None:
    """Copy a file completely, or leave the former copy unchanged.

    The copy survives whatever ends the process, but it may be lost when the machine loses power:
    thousands of copies would take minutes if the disk had to confirm each.

    Args:
        source: An ordinary file of at most 256 MiB.
        copy: Where its content goes.

    Raises:
        OSError: The source is not such a file, or cannot be read.
        StorageError: The disk refuses.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     note = Path(folder) / "note.txt"
        ...     _ = note.write_text("whole")
        ...     copy_atomically(note, Path(folder) / "copies" / "note.txt")
        ...     (Path(folder) / "copies" / "note.txt").read_text()
        'whole'
    """
    content = read_file(source)
    with _replaced(copy) as file:
        file.write(content)


def require_writable(folder: Path) -> None:
    """Refuse a folder in which no file can be made, before anything is computed for it.

    Args:
        folder: The folder; it is made if it does not exist.

    Raises:
        StorageError: The disk refuses.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     require_writable(Path(folder) / "results")
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".part") as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        raise StorageError(
            f"Nothing can be written to {folder}: {error.strerror or error}. Nothing was computed; "
            f"{step_after(error, 'name another one')}."
        ) from error


def require_temporary_folder() -> None:
    """Refuse a machine without a folder for temporary files, before anything is computed.

    Processes that work together meet in one.

    Raises:
        StorageError: None of the usual folders can be written.

    Example:
        >>> require_temporary_folder()
    """
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise StorageError(
            f"Several processes need a folder for temporary files: {error.strerror or error}. "
            "Nothing was computed; set TMPDIR to a folder that can be written, or take --workers "
            "1."
        ) from error
