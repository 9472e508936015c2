"""File names of pages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from etab.storage.atomic import slug


def page_names(names: Iterable[str]) -> dict[str, str]:
    """Choose a file name for each backbone or task.

    Args:
        names: Names, each once; they may hold any character.

    Returns:
        File names without an ending, by name. They are different also where the file system ignores
        case, and need no escape in an address.

    Example:
        >>> page_names(["vits14", "random/vits14", "ViTs14"])
        {'vits14': 'vits14', 'random/vits14': 'random~2fvits14', 'ViTs14': 'ViTs14-d655f601'}
    """
    files: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        file = slug(name)
        if file.lower() in taken:
            file = f"{file}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        taken.add(file.lower())
        files[name] = file
    return files
