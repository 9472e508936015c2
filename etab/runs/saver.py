"""Saving small cells while the next ones are fitted."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager

from etab.results import Result

SMALL = 2.0
"""Time of a cell in s up to which it is saved while the next one is fitted."""


class Saver(AbstractContextManager["Saver"]):
    """Saves a small cell in a thread while the next one is fitted.

    The disk has to confirm a file before it is renamed. That takes many milliseconds, in which the
    processor is idle. At most one cell waits for the disk. A cell of more than ``SMALL`` seconds is
    saved at once, so that its result is reported at once.

    Leaving the context waits for the disk.

    Example:
        >>> with Saver() as saver:
        ...     saver.finished()
        []
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "saver")
        self._waiting: list[Future[Result]] = []

    def __exit__(self, *_: object) -> None:
        """Wait for the cell that is being saved."""
        self._pool.shutdown(wait=True)

    def save(self, seconds: float, save: Callable[[], Result]) -> list[Result]:
        """Save a cell, now or while the next one is fitted; ``finished`` was called before.

        Args:
            seconds: How long the cell took, in s.
            save: Saves the cell and returns it.

        Returns:
            The cell if it was saved now.

        Raises:
            StorageError: The disk refused the cell.
        """
        if seconds > SMALL:
            return [save()]
        self._waiting.append(self._pool.submit(save))
        return []

    def finished(self) -> list[Result]:
        """Wait for the cell that is being saved, if any, and return it.

        Raises:
            StorageError: The disk refused the cell.
        """
        waiting = self._waiting
        self._waiting = []
        return [future.result() for future in waiting]
