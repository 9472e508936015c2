"""Litter: temporary files that a killed process left in a folder of results or features."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from etab.storage.claims import file_system_time
from etab.storage.listing import walked

# The names that write_atomically, require_writable, claims, the progress of units and notes of
# processes that hung give to their temporary files.
_NAMES = re.compile(
    r"tmp[a-z0-9_]{8}\.part|\.[a-z0-9_]{8}\.part|\.[0-9a-f]{16}\.clock|.+\.takeover"
    r"|[0-9a-f]{16}\.(progress|hung)"
)


def remove_temporary_files(folder: Path, *, older_than: float = 86400.0) -> list[Path]:
    """Remove the temporary files that killed processes left in a folder and below it.

    Such a file is written and renamed, or deleted, within seconds. Files of any other name stay.

    Args:
        folder: Folder of results or of cached features; an absent one holds nothing.
        older_than: Age in s, by the clock of the file system, from which a temporary file is
            removed. It protects the files of living processes.

    Returns:
        The files that were removed.

    Example:
        >>> remove_temporary_files(Path("no results"))
        []
    """
    removed: list[Path] = []
    for parent, _, names in walked(folder):
        temporary = [Path(parent) / name for name in names if _NAMES.fullmatch(name)]
        if not temporary:
            continue
        with contextlib.suppress(OSError):  # the folder is read-only, or was deleted just now
            now = file_system_time(Path(parent))
            removed += _removed(temporary, now - int(older_than * 1e9))
    return removed


def _removed(paths: list[Path], before: int) -> list[Path]:
    """Remove the files that were last written before a time in ns."""
    removed: list[Path] = []
    for path in paths:
        with contextlib.suppress(OSError):  # its process removed it just now
            if path.lstat().st_mtime_ns <= before:
                path.unlink()
                removed.append(path)
    return removed
