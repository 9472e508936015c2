"""The files of a folder that may be results: regular, small, not too deep, with plain names."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from etab.results.record import LARGEST_RECORD
from etab.storage.listing import is_hidden, unlisted_reason

LARGEST_TABLE = 64 << 20
DEEPEST = 8
_MOST_RESULTS = 100_000


@dataclass(frozen=True, slots=True)
class RecordFiles:
    """The files below a folder that end in ``.json``.

    Attributes:
        records: Those that may be read, sorted.
        refused: A reason for each of the others, by path; also for folders that cannot be listed.
    """

    records: tuple[Path, ...]
    refused: dict[Path, str]


def record_files(folder: Path) -> RecordFiles:
    """List the records below a folder without following a link or opening a pipe.

    A folder that cannot be listed is refused as one, since records may lie in it.

    Args:
        folder: A folder of results; an absent one holds none.

    Returns:
        The records, and the files that are not safe to read. Hidden files are neither.
    """
    records: list[Path] = []
    refused: dict[Path, str] = {}
    for path, depth, names in _json_paths(folder, refused):
        reason = unsafe(path, LARGEST_RECORD) or _unsafe_table(path, names)
        if not reason and depth > DEEPEST:
            reason = f"it lies more than {DEEPEST} folders deep; results lie 4 deep"
        if not reason and len(records) >= _MOST_RESULTS:
            reason = f"the folder holds more than {_MOST_RESULTS} results; split it"
        if reason:
            refused[path] = reason
        else:
            records.append(path)
    return RecordFiles(tuple(records), refused)


def _json_paths(
    folder: Path, unlisted: dict[Path, str]
) -> Iterator[tuple[Path, int, Collection[str]]]:
    """Every visible path below a folder that ends in .json, sorted, whatever kind of file it is.

    Links to folders are listed too, since nothing below them is read. With each path comes how deep
    it lies, 1 for a file of the folder itself, and the names beside it. A reason for each folder
    that cannot be listed is added to ``unlisted``.
    """
    waiting = [(folder, 1)]
    while waiting:
        place, depth = waiting.pop()
        try:
            names, folders, links = _content(place)
        except (FileNotFoundError, NotADirectoryError):
            continue  # it is absent, or was removed just now
        except OSError as error:
            unlisted[place] = unlisted_reason(error)
            continue
        for name in sorted(names):
            if (name.endswith(".json") or name in links) and not is_hidden(name):
                yield place / name, depth, names
        # The last one is listed next.
        waiting += [(place / name, depth + 1) for name in sorted(folders, reverse=True)]


def _content(folder: Path) -> tuple[set[str], list[str], set[str]]:
    """The names in a folder; those of folders that are not hidden; and links to folders."""
    names: set[str] = set()
    folders: list[str] = []
    links: set[str] = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            names.add(entry.name)
            if entry.is_dir(follow_symlinks=False):
                if not is_hidden(entry.name):
                    folders.append(entry.name)
            elif entry.is_symlink() and _leads_to_folder(entry):
                links.add(entry.name)
    return names, folders, links


def _leads_to_folder(link: os.DirEntry[str]) -> bool:
    try:
        return link.is_dir()
    except OSError:
        return False  # it leads to itself, or to where nobody may look


def unsafe(path: Path, largest: int) -> str:
    """Explain why a file must not be read.

    Args:
        path: The file.
        largest: Largest allowed size in bytes.

    Returns:
        The reason; empty where the file may be read.
    """
    try:
        status = path.lstat()
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return _unsafe_status(status, largest)


def _unsafe_status(status: os.stat_result, largest: int) -> str:
    if stat.S_ISLNK(status.st_mode):
        return "it is a link; results are regular files, so copy the file that it points to"
    if not stat.S_ISREG(status.st_mode):
        return "it is a folder, pipe or device; results are regular files"
    if status.st_size > largest:
        return f"it is larger than {largest >> 20} MiB"
    return ""


def _unsafe_table(record: Path, names: Collection[str]) -> str:
    """Why the predictions beside a record must not be read; empty where they may, or are absent."""
    present: list[str] = []
    for suffix in (".csv", ".csv.gz"):
        if record.stem + suffix not in names:
            continue
        path = record.with_suffix(suffix)
        try:
            status = path.lstat()
        except OSError:
            continue  # reading the result says that its predictions are missing
        reason = _unsafe_status(status, LARGEST_TABLE)
        if reason:
            return f"its predictions {path.name} must not be read: {reason}"
        present.append(path.name)
    if len(present) > 1:
        return f"it has two tables of predictions, {present[0]} and {present[1]}; keep one"
    return ""
