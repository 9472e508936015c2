"""The files that a cell of a user's own table names."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path, PurePosixPath

from etab.files import exists, resolved


def several(text: str) -> list[str]:
    """Split a cell into texts that are separated by semicolons.

    Args:
        text: The text of a cell.

    Returns:
        The texts, without spaces around them and without blank ones.

    Example:
        >>> several("a.png; b.png;")
        ['a.png', 'b.png']
    """
    return [part.strip() for part in text.split(";") if part.strip()]


def listed_files(folder: Path, text: str) -> list[str]:
    """Read the names of files in a cell.

    Args:
        folder: The folder of the files.
        text: One name, or several ones separated by semicolons. A name of a file that is there
            may have a semicolon itself.

    Returns:
        The names, each as ``plain_path`` writes it.
    """
    whole = plain_path(folder, text.strip())
    if ";" in text and exists(folder / whole):
        return [whole]
    return [plain_path(folder, name) for name in several(text)]


def plain_path(folder: Path, name: str) -> str:
    """Write a path relative to a folder, without "./" and "//", so that one file has one name.

    Args:
        folder: The folder of the files.
        name: The path as a table has it. Backslashes are read as slashes, unless a file has one in
            its name; letters with accents are those of the file, which may be stored as one
            character (Windows, Linux) or as two (macOS).

    Returns:
        The path; an absolute one where it is not inside the folder.
    """
    path = _as_stored(folder, PurePosixPath(name))
    if "\\" in name and not exists(folder / path):
        path = _as_stored(folder, PurePosixPath(name.replace("\\", "/")))
    if path.is_absolute():
        for parent in (folder.absolute(), resolved(folder)):
            if path.is_relative_to(parent.as_posix()):
                return path.relative_to(parent.as_posix()).as_posix()
    return path.as_posix()


def _as_stored(folder: Path, path: PurePosixPath) -> PurePosixPath:
    """The path with letters as the file system stores them; as written where no file is there."""
    if path.as_posix().isascii() or exists(folder / path):
        return path
    for form in ("NFC", "NFD"):
        other = PurePosixPath(unicodedata.normalize(form, path.as_posix()))
        if exists(folder / other):
            return other
    return path


def is_text(name: str) -> bool:
    """Whether a name of a file is UTF-8; others come from older systems, and no table holds them.

    Example:
        >>> is_text("é.png"), is_text(b"\\xe9.png".decode("utf-8", "surrogateescape"))
        (True, False)
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def name_of_folder(folder: Path) -> str:
    """A name for the data of a folder: its name in small letters without accents.

    Example:
        >>> name_of_folder(Path("/data/Ward 3 (Übung)"))
        'ward_3_ubung'
    """
    plain = unicodedata.normalize("NFKD", resolved(folder).name)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    name = re.sub(r"[^a-z0-9_]+", "_", plain.lower()).strip("_") or "mine"
    return (name if name[0].isalpha() else f"d_{name}")[:31]


def relative_to_file(path: Path, file: Path) -> str:
    """A path relative to the folder of a file where it lies below it; else an absolute one."""
    try:
        return resolved(path).relative_to(resolved(file.parent)).as_posix()
    except ValueError:
        return str(resolved(path))


_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def is_archive(name: str) -> bool:
    """Whether a file is packed and has to be unpacked before it can be listed.

    Example:
        >>> is_archive("study.ZIP"), is_archive("clip.nii.gz")
        (True, False)
    """
    lower = name.lower()
    return lower.endswith(_ARCHIVES) and not lower.endswith(".nii.gz")


def why_no_file(path: Path) -> str:
    """Say why a path is not that of a file.

    Args:
        path: A path at which there is no regular file.
    """
    if path.is_dir():
        return f"{path} is a folder; name the files in it, separated by ;."
    if path.exists():
        return f"{path} is not a regular file."
    if "," in path.name:
        return f"{path} is missing; separate several files by ; and not by commas."
    return f"{path} is missing."
