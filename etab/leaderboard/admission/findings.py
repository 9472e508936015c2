"""What is wrong, or remarkable, about a result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Verdict(StrEnum):
    """What a finding means for the result."""

    REFUSED = "refused"
    """The result is put aside and is no part of the board."""

    FLAGGED = "flagged"
    """The result stands, and the board says what a reader should know about it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason to put a result aside, or to mark it.

    Attributes:
        verdict: Whether the result is put aside or only marked.
        path: The file of the result.
        cell: The task and the backbone in words; empty where the file could not be read.
        reason: What was wanted and what the file holds, in one sentence.
    """

    verdict: Verdict
    path: Path
    cell: str
    reason: str

    def __str__(self) -> str:
        """The finding as one line of text."""
        subject = f"{self.path} ({self.cell})" if self.cell else str(self.path)
        return f"{subject}: {self.reason}"


def refused_paths(findings: Iterable[Finding]) -> set[Path]:
    """The files that at least one finding puts aside."""
    return {finding.path for finding in findings if finding.verdict is Verdict.REFUSED}
