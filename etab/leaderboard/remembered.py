"""Boards that were computed before, for folders of results that have not changed since.

Checking a folder takes seconds, since every number is computed again. The board is kept in the
cache of the user, under a digest of everything that it was made from: the content of every file of
the folder, the choices of the user, the code of etab with its packaged files, and the versions of
Python, numpy and scipy. Any change gives another digest, and the folder is checked anew.

A folder of results cannot contain such a board: the cache must lie outside the folder, belong to
the user, and be writable by nobody else.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from etab.errors import StorageError
from etab.files import read_file, resolved
from etab.leaderboard.board import Board
from etab.storage import resources
from etab.storage.atomic import write_atomically
from etab.storage.listing import walked

_MOST_BOARDS = 32
_MOST_BYTES = 2 << 30  # a larger folder takes longer to digest than a reader waits
_FEWEST_SECONDS = 1.0  # a board that is made faster is not kept
_SUFFIX = ".board"
_SOURCES = (".py", ".json", ".toml", ".csv", ".txt")
_PACKAGE = Path(__file__).resolve().parents[1]
# What a board consists of, beside plain values; nothing else is made when a file is read.
_CLASSES = {
    "etab.leaderboard.board": ("Board", "BoardRow", "Reliability", "Sensitivity", "Separation"),
    "etab.leaderboard.suites": ("Suite",),
    "etab.results.record": ("Result",),
}


class BoardMemory:
    """The board of one folder and one choice of options, where it was computed before.

    Args:
        cache: Folder of the user's cache; boards are kept in its folder ``boards``.
        results: Folder of results.
        choices: What the user chose, as values that JSON can hold.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     memory = BoardMemory(Path(folder) / "cache", Path(folder) / "results", {})
        ...     memory.read() is None
        True
    """

    def __init__(self, cache: Path, results: Path, choices: Mapping[str, object]) -> None:
        self._folder = cache / "boards"
        self._results = results
        self._choices = repr(sorted(choices.items()))
        self._digest = self._of_now()
        self._started = time.process_time()

    def read(self) -> Board | None:
        """Read the board; None where it was not computed before, or its file is damaged."""
        if not self._digest or not _is_private(self._folder):
            return None
        path = self._folder / (self._digest + _SUFFIX)
        try:
            content = read_file(path)
            os.utime(path)
        except OSError:
            return None
        digest, _, body = content.partition(b"\n")
        if digest != hashlib.sha256(body).hexdigest().encode():
            return None
        return board_in(body)

    def keep(self, board: Board) -> None:
        """Keep a board that was computed since this object was made.

        Nothing is kept where the folder has changed meanwhile, where the board took no time, or
        where the cache cannot be written. Predictions of the cells are left out.

        Args:
            board: The board.
        """
        seconds = time.process_time() - self._started
        if not self._digest or seconds < _FEWEST_SECONDS or self._of_now() != self._digest:
            return
        body = pickle.dumps(replace(board, tables={}, noises={}), protocol=5)
        content = hashlib.sha256(body).hexdigest().encode() + b"\n" + body
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _is_private(self._folder):
                write_atomically(self._folder / (self._digest + _SUFFIX), content)
                _drop_oldest(self._folder)
        except (OSError, StorageError):
            return  # the board is shown all the same, and computed again next time

    def _of_now(self) -> str:
        """Digest of all that the board is made from; empty where a board is never kept."""
        results = resolved(self._results)
        if resolved(self._folder).is_relative_to(results):
            return ""
        of_results = _digest_of_folder(results)
        if not of_results:
            return ""
        versions = [sys.version, version("numpy"), version("scipy")]
        parts = [of_results, str(self._results), self._choices, _code_digest(), *versions]
        return hashlib.sha256("\n".join(parts).encode(errors="backslashreplace")).hexdigest()


def board_in(body: bytes) -> Board | None:
    """Make the board of the content of a file; None where it is damaged.

    Args:
        body: What follows the digest.
    """
    try:
        board = _BoardReader(io.BytesIO(body)).load()
    except Exception:  # a damaged pickle raises errors of any type
        return None
    return board if isinstance(board, Board) else None


class _BoardReader(pickle.Unpickler):
    """Makes the classes of a board and nothing else, whatever a file asks for."""

    def find_class(self, module: str, name: str) -> Any:
        if name in _CLASSES.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a board")


def _is_private(folder: Path) -> bool:
    """Whether a folder belongs to the user, and nobody else can write into it."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(status.st_mode):
        return False
    if not hasattr(os, "getuid"):
        return True
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


def _drop_oldest(folder: Path) -> None:
    """Remove the boards that were read longest ago, beyond the most that are kept."""
    boards = sorted(folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime)
    for path in boards[:-_MOST_BOARDS]:
        path.unlink(missing_ok=True)


def _digest_of_folder(folder: Path, suffixes: tuple[str, ...] = ()) -> str:
    """Digest of the names, kinds and contents of everything below a folder.

    Args:
        folder: The folder; an absent one has the digest of nothing.
        suffixes: Endings of the files that count; all of them where none is given.

    Returns:
        Hexadecimal digits; empty where the folder holds links, pipes or too many bytes.
    """
    h = hashlib.sha256()
    total = 0
    for name in _names_below(folder, suffixes):
        path = Path(f"{folder}{os.sep}{name}")
        try:
            status = path.lstat()
            content = ""
            if stat.S_ISREG(status.st_mode):
                total += status.st_size
                if total > _MOST_BYTES:
                    return ""
                content = hashlib.sha256(read_file(path, _MOST_BYTES)).hexdigest()
            elif not stat.S_ISDIR(status.st_mode):
                return ""
        except OSError:
            return ""
        encoded = os.fsencode(name)
        h.update(b"%d %b %o %b\n" % (len(encoded), encoded, status.st_mode, content.encode()))
    return h.hexdigest()


def _names_below(folder: Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Every path below a folder in a fixed order, and folders themselves where all files count.

    The paths are relative to the folder, and text, since computing with ``Path`` takes longer than
    reading a small file.
    """
    length_of_folder = len(f"{folder}{os.sep}")
    for parent, folders, files in walked(folder):
        folders.sort()
        names = [name for name in files if name.endswith(suffixes)] if suffixes else files
        entries = names if suffixes else [*names, *folders]
        for name in sorted(entries):
            yield f"{parent}{os.sep}{name}"[length_of_folder:]


def _code_digest() -> str:
    """Digest of the code of etab and of the files that it is packaged with."""
    parts = [_digest_of_folder(_PACKAGE, _SOURCES)]
    configs = resources.folder("configs")
    if configs is not None:
        parts.append(_digest_of_folder(configs, _SOURCES))
    # Without a digest of the code, no board can be kept: the time makes this one unique.
    return " ".join(parts) if all(parts) else str(time.time_ns())
