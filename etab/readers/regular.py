"""The first check of every file that is read: that it is an ordinary file."""

from __future__ import annotations

import stat
from pathlib import Path

from etab.errors import CorruptFileError, LayoutError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def require_regular(path: Path, hint: str = "Restore it as published.") -> int:
    """Check that a path leads to an ordinary file, which can be read to its end.

    A pipe would be waited for without end, and a device may never end. Links are followed.

    Args:
        path: The file.
        hint: What the user can do about it; the last sentence of the error.

    Returns:
        Size of the file in bytes.

    Raises:
        LayoutError: There is no such file.
        CorruptFileError: The path leads to a folder, a pipe or a device, or its links lead in a
            circle.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.txt"
        ...     _ = path.write_text("four")
        ...     require_regular(path)
        4
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise LayoutError(f"{path} is missing. {hint}") from error
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CorruptFileError(f"{path} cannot be read: {reason}. {hint}") from error
    if stat.S_ISREG(status.st_mode):
        return status.st_size
    kind = next((name for test, name in _KINDS if test(status.st_mode)), "something else")
    raise CorruptFileError(f"{path} is {kind}; wanted an ordinary file. {hint}")
