"""The error of files that a table lists and that are not there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from etab.errors import LayoutError
from etab.storage.text import counted


def files_absent(
    paths: Sequence[Path], thing: str, listed: str, *, scores: str = "patients"
) -> LayoutError:
    """Build the error for listed files or folders that are missing.

    Args:
        paths: What is missing, at least one path.
        thing: The word for one of them: "video".
        listed: Why they should be there, as the end of a sentence: "FileList.csv lists".
        scores: Whose scores the rest would give.

    Returns:
        The error, with all paths in ``missing``.

    Example:
        >>> print(files_absent([Path("a.avi")], "video", "FileList.csv lists"))
        a.avi is missing, which FileList.csv lists. Restore it; without it the scores are of other patients.
        >>> print(files_absent([Path("a.avi"), Path("b.avi")], "video", "FileList.csv lists"))
        a.avi is missing, with 1 more video that FileList.csv lists. Restore them; without them the scores are of other patients.
    """
    more = len(paths) - 1
    others = f"with {counted(more, f'more {thing}')} that" if more else "which"
    which = "them" if more else "it"
    return LayoutError.of(
        f"{paths[0]} is missing, {others} {listed}. Restore {which}; without {which} the scores are "
        f"of other {scores}.",
        [str(path) for path in paths],
    )
