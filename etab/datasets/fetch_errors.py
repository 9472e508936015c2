"""Errors of fetching data, and checksums of the fetched files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

_NAMED = 3
_LONGEST = 160
_NETWORK = (ConnectionError, TimeoutError)


class Unfinished(Exception):  # noqa: N818 - no error of etab: it never leaves etab.datasets.fetch
    """An attempt that did not give every file; the next one goes on."""


class Absent(Unfinished):
    """The server has no such file."""


def is_of_storage(error: BaseException) -> bool:
    """Whether an error is of the disk: full, read-only, or a file where a folder is wanted.

    Errors of network clients are OSErrors, too, but of classes of their own, or without a number.

    Example:
        >>> is_of_storage(OSError(28, "No space left on device")), is_of_storage(TimeoutError())
        (True, False)
    """
    is_plain = type(error).__module__ == "builtins" and isinstance(error, OSError)
    if not is_plain or isinstance(error, _NETWORK):
        return False
    return getattr(error, "errno", None) is not None


def failed_files(named: Sequence[tuple[str, str]]) -> str:
    """A sentence on files that failed, the first ones by name.

    Args:
        named: Files and reasons.

    Example:
        >>> failed_files([("a.wav", "404")])
        '1 file failed: a.wav (404).'
    """
    shown = ", ".join(f"{path[:_LONGEST]} ({reason})" for path, reason in named[:_NAMED])
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return f"{len(named)} file{'s' if len(named) > 1 else ''} failed: {shown}{more}."


def is_inside(path: str) -> bool:
    """Whether a path that a server names stays below the folder of the release.

    Example:
        >>> is_inside("training_data/1_AV.wav"), is_inside("../x"), is_inside("/etc/x")
        (True, False, False)
        >>> is_inside("..\\\\x"), is_inside("C:x")
        (False, False)
    """
    parts = PurePosixPath(path).parts
    return (
        bool(parts) and ".." not in parts and not path.startswith("/") and not set(path) & {*"\\:"}
    )
