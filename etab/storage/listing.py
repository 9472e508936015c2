"""Listing folders of data without the files that operating systems add to them.

macOS writes ``._name`` and ``.DS_Store`` beside files on foreign disks and ``__MACOSX`` into
archives; Windows writes ``Thumbs.db`` and ``desktop.ini``; network storage adds folders such as
``@eaDir``. None of them is ever data, even where its name ends like a data file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

from etab.files import exists

_SYSTEM_NAMES = frozenset(
    {
        "__macosx",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "icon\r",
        "@eadir",
        "$recycle.bin",
        "system volume information",
        "lost+found",
    }
)


def is_hidden(name: str | PurePath) -> bool:
    """Whether a file or folder is never data, because its name or a parent's name is hidden.

    Args:
        name: A name, or a path relative to the folder of data. All parts of an absolute path would
            be checked too.

    Returns:
        True for names that begin with a dot and for the names that operating systems use.

    Example:
        >>> is_hidden("._a0001.wav"), is_hidden("__MACOSX/a0001.wav"), is_hidden("a0001.wav")
        (True, True, False)
    """
    return any(_is_hidden_part(part) for part in PurePath(name).parts)


def _is_hidden_part(part: str) -> bool:
    if part in (".", ".."):
        return False
    return part.startswith(".") or part.lower() in _SYSTEM_NAMES


def unlisted_reason(error: OSError) -> str:
    """Say of a folder that it cannot be listed, and what that means.

    Args:
        error: Why the system refused to list it.

    Example:
        >>> unlisted_reason(PermissionError(13, "Permission denied"))
        'it cannot be listed (Permission denied), so nothing in it was read'
    """
    return f"it cannot be listed ({error.strerror or error}), so nothing in it was read"


def walked(
    folder: Path, unlisted: list[str] | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk through a folder from above, however deep it is.

    ``os.walk`` of Python 3.11 calls itself for each level, and ends in an error where there are many.

    Args:
        folder: The folder; an absent one holds nothing.
        unlisted: A sentence for each folder that cannot be listed is added to it; None for no note.

    Yields:
        A folder, and the names of the folders and files in it. Folders that are removed from the list
        are not entered. Links to folders are listed as folders, and never followed.
    """
    waiting = [str(folder)]
    while waiting:
        place = waiting.pop()
        folders: list[str] = []
        files: list[str] = []
        links: set[str] = set()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    (folders if _is_folder(entry) else files).append(entry.name)
                    if entry.is_symlink():
                        links.add(entry.name)
        except (FileNotFoundError, NotADirectoryError):
            continue  # it was removed just now, or was never there
        except OSError as error:
            if unlisted is not None:
                unlisted.append(f"{place}: {unlisted_reason(error)}.")
            continue
        yield place, folders, files
        # The last one is entered next.
        waiting += [f"{place}{os.sep}{name}" for name in reversed(folders) if name not in links]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link that leads to itself


def visible(folder: Path, pattern: str = "*") -> list[Path]:
    """List the content of a folder, sorted by name, without hidden files and folders.

    Args:
        folder: The folder; an absent one gives an empty list.
        pattern: A glob pattern; ``"patient*/*.mhd"`` looks one folder further down.

    Returns:
        The paths, files and folders alike.
    """
    if not (exists(folder) and folder.is_dir()):
        return []
    return _without_hidden(folder, folder.glob(pattern))


def visible_files(folder: Path, suffix: str = "") -> list[Path]:
    """List every file below a folder, sorted by path, without hidden files and folders.

    Args:
        folder: The folder; an absent one gives an empty list.
        suffix: The end of the names to list, for example ``".json"``; empty lists every file.

    Returns:
        The paths of regular files. Links to folders are not followed.
    """
    paths: list[Path] = []
    for parent, folders, names in walked(folder):
        folders[:] = [name for name in folders if not _is_hidden_part(name)]
        for name in names:
            if name.endswith(suffix) and not _is_hidden_part(name):
                paths.append(Path(parent) / name)
    return sorted(path for path in paths if path.is_file())


def unread_links(folder: Path) -> list[Path]:
    """List the links below a folder that ``visible_files`` leaves out.

    Args:
        folder: The folder.

    Returns:
        Links to folders and links to nothing, sorted by path; hidden ones are not among them.
    """
    links: list[Path] = []
    for parent, folders, names in walked(folder):
        folders[:] = [name for name in folders if not _is_hidden_part(name)]
        paths = [Path(parent) / name for name in (*folders, *names) if not _is_hidden_part(name)]
        links += [path for path in paths if path.is_symlink() and not path.is_file()]
    return sorted(links)


def visible_names(folder: Path) -> frozenset[str]:
    """List the names in a folder, without hidden files and folders.

    Args:
        folder: The folder; an absent one has no names.
    """
    if not (exists(folder) and folder.is_dir()):
        return frozenset()
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except PermissionError:  # as ``visible``, which finds nothing there
        return frozenset()
    return frozenset(name for name in names if not _is_hidden_part(name))


def _without_hidden(folder: Path, paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if not is_hidden(path.relative_to(folder)))
