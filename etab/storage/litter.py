"""Litter: temporary files that a killed process left in a folder of results or features."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

# The names that write_atomically, require_writable and claims give to their temporary files.
_NAMES = re.compile(
    r"tmp[a-z0-9_]{8}\.part|\.[a-z0-9_]{8}\.part|\.[0-9a-f]{16}\.clock|.+\.takeover"
)


def remove_temporary_files(folder: Path, *, older_than: float = 86400.0) -> list[Path]:
    """Remove the temporary files that killed processes left in a folder and below it.

    Such a file is written and renamed, or deleted, within seconds. Files of any other name stay.

    Args:
        folder: Folder of results or of cached features; an absent one holds nothing.
        older_than: Age in s from which a temporary file is removed. It protects the files of
            living processes.

    Returns:
        The files that were removed.

    Example:
        >>> remove_temporary_files(Path("no results"))
        []
    """
    removed: list[Path] = []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent) / name
            if not _NAMES.fullmatch(name):
                continue
            with contextlib.suppress(OSError):  # its process removed it just now
                if time.time() - path.lstat().st_mtime >= older_than:
                    path.unlink()
                    removed.append(path)
    return removed
