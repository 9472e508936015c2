"""Claims of fits that are made together, so that runs that share a plan make each of them once.

A head may fit cells that come next at the same time (``Memo.beside``). The claim of a cell says which
process computes it now; the claim of its fits says which process makes them, or has made them, for
a cell that comes next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from etab import heads
from etab.runs.run import Run
from etab.storage.claims import Claim, take_claim

PREFIX = "fits-"
"""How the names of these claims begin, in the folder of the claims of cells."""


class FitClaims:
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

    def __enter__(self) -> FitClaims:
        """Return this object."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the claims."""
        for run in list(self._held):
            self.release(run)

    def take(self, run: Run) -> bool:
        """Claim the fits of a cell.

        Args:
            run: The cell.

        Returns:
            Whether this process may compute the cell. If not, another one makes its fits beside
            those of another cell.

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
        """Claim the fits of those cells that differ from a cell in their task alone.

        Args:
            run: The cell, which is computed now.
            others: The cells that come next.

        Returns:
            The cells whose fits no other process makes.

        Raises:
            StorageError: A claim cannot be written.
        """
        if not heads.head(run.head_name).fits_beside:
            return []
        alike = [other for other in others if replace(other, task=run.task) == run]
        return [other for other in alike if self.take(other)]

    def release(self, run: Run) -> None:
        """Release the claim of the fits of a cell, which is computed or has failed.

        Args:
            run: The cell.
        """
        claim = self._held.pop(run, None)
        if claim is not None:
            claim.release()
