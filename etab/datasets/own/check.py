"""Every row of a user's own table that does not fit, and every file that cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from etab.datasets.base import SoundSource, Source
from etab.datasets.integrity.alike import Fingerprints, alike_note, compared_frames, unlisted
from etab.datasets.own.description import Description
from etab.datasets.own.registered import own_source
from etab.datasets.own.remarks import empty_mask_remarks, input_remarks, label_remarks
from etab.datasets.own.rows import OwnTable, RowProblem
from etab.datasets.own.table import read_own_table
from etab.errors import CorruptFileError, EtabError
from etab.storage.text import counted
from etab.types import Kind, Record

_Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class OwnReport:
    """The findings of ``etab data check`` in a user's own table.

    Attributes:
        name: Name of the data.
        table: The table.
        recordings: Number of rows that fit and, unless the check was quick, can be read.
        patients: Number of their patients.
        problems: Everything that is wrong, by line.
        remarks: What is not wrong and should be known: rare classes, mixed views.
    """

    name: str
    table: str
    recordings: int
    patients: int
    problems: tuple[RowProblem, ...]
    remarks: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every row fits."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON."""
        return {**asdict(self), "ok": self.ok}

    def render(self) -> str:
        """Write the report as text, one line for each problem."""
        lines = [
            f"{self.name}: {counted(self.recordings, 'recording')} of "
            f"{counted(self.patients, 'patient')} can be used."
        ]
        if self.problems:
            rows = len({problem.line for problem in self.problems})
            do_not_fit = "row does not fit" if rows == 1 else "rows do not fit"
            lines.append(f"{self.table}: {rows:,} {do_not_fit}.")
        lines += [
            f"  line {problem.line}: {problem.reason}: {problem.text}" for problem in self.problems
        ]
        lines += [f"  note: {remark}" for remark in self.remarks]
        return "\n".join(lines)


def check_own(
    description: Description, *, quick: bool = False, progress: _Progress | None = None
) -> OwnReport:
    """Check a user's own table and the files that it lists.

    Args:
        description: The description of the table.
        quick: Whether only the table is checked, and that its files exist.
        progress: Called with (done, total) after each recording.

    Returns:
        The report.

    Raises:
        LayoutError: The table is absent or lacks a column.
        CorruptFileError: The table cannot be read.
    """
    source = own_source(description)(description.folder).lenient()
    table = read_own_table(description)
    problems = list(table.problems)
    notes = [*description.notes, *table.notes]
    if not quick and table.rows:
        prints = Fingerprints(description.sound)
        masks: dict[str, list[bool]] = {}
        problems += _unreadable(source, table, prints, masks, progress)
        notes += empty_mask_remarks(description, masks)
        problems += _copies(table, prints)
        pairs = [] if source.phantom else [pair for pair in prints.pairs() if not pair.exact]
        notes += alike_note(unlisted(source, pairs))
    bad = {problem.line for problem in problems}
    rows = [row for row in table.rows if row.line not in bad]
    fitting = {row.id for row in rows}
    if not quick and rows:
        records = [record for record in source.records() if record.id in fitting]
        has_sequence = any(not source.still(record) for record in records)
        notes += input_remarks(description, rows, has_sequence)
    return OwnReport(
        name=description.name,
        table=str(description.table),
        recordings=len(rows),
        patients=len({row.patient for row in rows}),
        problems=tuple(sorted(problems, key=lambda problem: problem.line)),
        remarks=(*notes, *label_remarks(description, rows)),
    )


def _copies(table: OwnTable, prints: Fingerprints) -> list[RowProblem]:
    """Problems of recordings that are equal to one of another patient."""
    row_of = {row.id: row for row in table.rows}
    problems: list[RowProblem] = []
    for pair in prints.copies():
        for own, other in ((pair.first, pair.second), (pair.second, pair.first)):
            row = row_of[own]
            text = (
                f"{own} of patient {row.patient} equals {other} of patient {row_of[other].patient}"
                f", line {row_of[other].line}; keep the right one of the two."
            )
            problems.append(RowProblem.of(row, "a copy of another patient's recording", text))
    return problems


def _unreadable(
    source: Source,
    table: OwnTable,
    prints: Fingerprints,
    masks: dict[str, list[bool]],
    progress: _Progress | None,
) -> list[RowProblem]:
    """Read every file, note the rows whose files cannot be read, and take fingerprints."""
    problems: list[RowProblem] = []
    row_of = {row.id: row for row in table.rows}
    records = source.records()
    for done, record in enumerate(records, start=1):
        try:
            _read(source, record, prints, masks)
        except EtabError as error:
            row = row_of[record.id]
            problems.append(RowProblem.of(row, "a file that cannot be read", str(error)))
        if progress is not None:
            progress(done, len(records))
    return problems


def _read(
    source: Source, record: Record, prints: Fingerprints, masks: dict[str, list[bool]]
) -> None:
    """Read the frames or samples of a recording, and all of its labels; note which masks are empty."""
    if isinstance(source, SoundSource):
        samples, rate = source.wave(record)
        prints.add(record, samples, rate)
    else:
        pictures = source.frames(record)
        prints.add(record, pictures[compared_frames(source, record)])
    for target in source.card.targets:
        answers = source.answers(record, target)
        frames = [answer.at for answer in answers]
        if target.kind is Kind.MASK:
            empty = [not answer.value.any() for answer in answers]
            masks.setdefault(target.name, []).extend(empty)
        if not isinstance(source, SoundSource):
            _refuse_absent_frames(source, record, target.name, frames)


def _refuse_absent_frames(
    source: Source, record: Record, label: str, frames: Sequence[int | None]
) -> None:
    """Refuse a label of a frame that the recording does not have."""
    n_frames = source.n_frames(record)
    absent = [frame for frame in frames if frame is not None and frame >= n_frames]
    if absent:
        raise CorruptFileError(
            f"{record.id}: {label} is of frame {absent[0]}, and the recording has {n_frames} "
            "frames, numbered from 0. Correct the frame number in the table."
        )
