"""Claims on the fits of cells, so that processes that share a plan make each fit once.

A head may fit later cells together with the current one (``Memo.beside``). The claim of a cell says
which process computes the cell now. The claim of its fits says which process makes its fits, or has
already made them, together with those of another cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from etab import heads
from etab.runs.run import Run
from etab.storage.claims import Claim, take_claim

PREFIX = "fits-"
"""Beginning of the file names of these claims, in the folder of the claims of cells."""


class FitClaims(AbstractContextManager["FitClaims"]):
    """The claims of fits that this process holds. Leaving the context releases them.

    Example:
        >>> with FitClaims(lambda run: Path("results") / run.task) as fits:
        ...     fits.take(Run("b0-A4-C", "image_stats"))  # its head fits nothing beside it
        True
    """

    def __init__(self, path_of: Callable[[Run], Path]) -> None:
        """Take a function that names the claim of a cell."""
        self._path_of = path_of
        self._held: dict[Run, Claim] = {}

    def __exit__(self, *_: object) -> None:
        """Release the claims."""
        for run in list(self._held):
            self.release(run)

    def take(self, run: Run) -> bool:
        """Claim the fits of a cell.

        Args:
            run: The cell.

        Returns:
            Whether this process may compute the cell. If not, another process makes its fits
            together with those of another cell.

        Raises:
            StorageError: The claim cannot be written.
        """
        if run in self._held or not heads.head(run.head_name).fits_beside:
            return True
        path = self._path_of(run)
        claim = take_claim(path.with_name(f"{PREFIX}{path.name}"), f"fits of {run.task}")
        if claim is not None:
            self._held[run] = claim
        return claim is not None

    def beside(self, run: Run, others: Sequence[Run]) -> list[Run]:
        """Claim the fits of the cells that differ from a cell only in their task.

        Args:
            run: The cell that is computed now.
            others: Later cells.

        Returns:
            The cells whose fits were claimed, because no other process makes them.

        Raises:
            StorageError: A claim cannot be written.
        """
        if not heads.head(run.head_name).fits_beside:
            return []
        alike = [other for other in others if replace(other, task=run.task) == run]
        return [other for other in alike if self.take(other)]

    def release(self, run: Run) -> None:
        """Release the claim on the fits of a cell that was computed or has failed.

        Args:
            run: The cell.
        """
        claim = self._held.pop(run, None)
        if claim is not None:
            claim.release()
