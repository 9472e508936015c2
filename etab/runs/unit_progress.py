"""Progress of features that are computed elsewhere: a small file of each unit, in the results."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from etab.files import read_json_file

FOLDER = ".progress"
"""Folder of these files, in a folder of results."""

_PACE = 1.0  # seconds between two writes


class FrameProgress:
    """The progress of a unit, which one process writes and another reads.

    A file that cannot be written or read is left out: no run fails for it.

    Attributes:
        path: The file; its name is random, so that runs of one plan do not meet.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     progress = FrameProgress(Path(folder), "0123456789abcdef")
        ...     progress.write(32, 64)
        ...     progress.read()
        (32, 64)
    """

    def __init__(self, results: Path, name: str) -> None:
        self.path = results / FOLDER / f"{name}.progress"
        self._next = 0.0

    def write(self, done: int, total: int) -> None:
        """Write how many rows are embedded, once a second at most, and at the end.

        Args:
            done: Rows done.
            total: Rows in all.
        """
        now = time.monotonic()
        if now < self._next and done < total:
            return
        self._next = now + _PACE
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps([done, total]))

    def read(self) -> tuple[int, int] | None:
        """Return the rows done and the rows in all; None while nothing is known."""
        try:
            done, total = read_json_file(self.path)
            return int(done), int(total)
        except (OSError, ValueError, TypeError, OverflowError):
            return None  # it is absent, being written, or damaged

    def remove(self) -> None:
        """Delete the file."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
