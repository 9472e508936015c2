"""The rows of a user's own table, the problems of rows that do not fit, and both together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from etab.storage.text import counted

_NAMED_ROWS = 20


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of a table: a recording.

    Attributes:
        line: Line of the table; the header is line 1.
        id: Name of the recording, unique in the table.
        patient: The patient.
        view: The view, or place of auscultation.
        split: "train", "val", "test" or "".
        fps: Frames a second; None where the table does not give them.
        spacing: Pixel spacing (row, column) in mm; None where the table does not give it.
        files: Files of the recording by role: "file0", "file1", ..., and "<label>/<number>".
        phases: Frames of end-diastole and end-systole; None where the table does not give both.
        values: Numbers and class indexes by label.
        frames: Frames that a label describes, by label.
        meta: Study and group, where the table gives them.
        subgroups: Groups of the patient, by the columns that the description names.
    """

    line: int
    id: str
    patient: str
    view: str
    split: str
    fps: float | None
    spacing: tuple[float, float] | None
    files: Mapping[str, str]
    phases: tuple[int, int] | None
    values: Mapping[str, float]
    frames: Mapping[str, tuple[int, ...]]
    meta: Mapping[str, Any] = field(default_factory=dict)
    subgroups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RowProblem:
    """The reason why a row does not fit.

    Attributes:
        line: Line of the table; the header is line 1.
        id: Name of the recording.
        reason: The kind of problem, in a few words; reports count the problems of each kind.
        text: The problem in a sentence, with the value in the table.
        patient: The patient; "" if unknown.
        view: The view; "" if unknown.
        split: The part of the split; "" if unknown.
    """

    line: int
    id: str
    reason: str
    text: str
    patient: str = ""
    view: str = ""
    split: str = ""

    @classmethod
    def of(cls, row: TableRow, reason: str, text: str) -> RowProblem:
        """Make the problem of a row that was read.

        Args:
            row: The row.
            reason: The kind of problem, in a few words.
            text: The problem in a sentence.
        """
        return cls(row.line, row.id, reason, text, row.patient, row.view, row.split)


@dataclass(frozen=True, slots=True)
class OwnTable:
    """A table of recordings, sorted into the rows that fit and those that do not.

    Attributes:
        rows: The rows that fit, in the order of the table.
        problems: Why the other rows do not fit.
        notes: What is not wrong and may be a slip, such as two patients with nearly one name.
    """

    rows: tuple[TableRow, ...]
    problems: tuple[RowProblem, ...]
    notes: tuple[str, ...] = ()

    def report(self, table: Path) -> str:
        """Describe every kind of problem with its number, and the first rows one by one.

        Args:
            table: The table, for the message.

        Returns:
            The report; "" where every row fits.
        """
        if not self.problems:
            return ""
        lines = {problem.line for problem in self.problems}
        total = len({row.line for row in self.rows} | lines)
        counts = Counter(problem.reason for problem in self.problems)
        kinds = [f"  {number} x {reason}" for reason, number in counts.most_common()]
        listed = [
            f"  line {problem.line}: {problem.text}" for problem in self.problems[:_NAMED_ROWS]
        ]
        more = len(self.problems) - len(listed)
        if more > 0:
            listed.append(f"  ... and {more} more; `etab data check` lists all of them.")
        do_not_fit = "does not fit" if len(lines) == 1 else "do not fit"
        head = f"{table}: {len(lines):,} of {counted(total, 'row')} {do_not_fit}."
        return "\n".join([head, *kinds, *listed])
