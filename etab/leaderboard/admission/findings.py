"""Findings in a result: errors and remarks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_NAMED_TASKS = 4


class Verdict(StrEnum):
    """The consequence of a finding for the result."""

    REFUSED = "refused"
    """The result is put aside and is not part of the board."""

    FLAGGED = "flagged"
    """The result stands, and the board says what a reader should know about it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason to put a result aside, or to mark it.

    Attributes:
        verdict: Whether the result is put aside or only marked.
        path: The file of the result.
        task: Code of the task; empty where the file could not be read.
        backbone: Name of the backbone; empty where the file could not be read.
        reason: What was wanted and what the file holds, in one sentence.
    """

    verdict: Verdict
    path: Path
    task: str
    backbone: str
    reason: str

    def __str__(self) -> str:
        """The finding as one line of text."""
        cell = f" ({self.task} with {self.backbone})" if self.backbone else ""
        return f"{self.path}{cell}: {self.reason}"


def refused_paths(findings: Iterable[Finding]) -> set[Path]:
    """The files that at least one finding puts aside."""
    return {finding.path for finding in findings if finding.verdict is Verdict.REFUSED}


def remarks_by_backbone(findings: Iterable[Finding]) -> list[str]:
    """Word findings as sentences, one for each backbone and reason.

    Args:
        findings: Findings that mark results.

    Returns:
        The sentences, each with the tasks that it holds for.
    """
    tasks: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        tasks.setdefault((finding.backbone, finding.reason), []).append(finding.task)
    return [
        f"{backbone} ({_listed(sorted(codes))}): {reason}."
        for (backbone, reason), codes in tasks.items()
    ]


def _listed(codes: list[str]) -> str:
    """The codes of a few tasks, or the number of many."""
    return ", ".join(codes) if len(codes) <= _NAMED_TASKS else f"{len(codes)} tasks"
