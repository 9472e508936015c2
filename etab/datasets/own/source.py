"""A user's table of recordings as a source, which every task, head and protocol can use."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from etab.datasets.base import Fault, SoundSource, Source
from etab.datasets.circor_layout import read_states
from etab.datasets.own.advice import in_own_words
from etab.datasets.own.description import Description
from etab.datasets.own.files import (
    VOLUMES,
    file_fps,
    file_spacing,
    files_beside,
    frame_count,
    read_frames,
    read_mask,
    read_sound,
    sound_facts,
    suffix_of,
)
from etab.datasets.own.labels import Label
from etab.datasets.own.remarks import label_remarks
from etab.datasets.own.rows import OwnTable, TableRow
from etab.datasets.own.table import read_own_table
from etab.errors import SKIP, CorruptFileError, LayoutError, UnsupportedOptionError
from etab.sounds.states import OUTCOME, states_at
from etab.storage.digests import combine
from etab.types import Answer, Array, FloatArray, Kind, Record, Target

PHASES = "ES/ED"
"""The target that columns for the frames of ED and ES make."""
# Seconds by which states may end after their recording; rounding of published ones is below.
_BEYOND_SECONDS = 1.0


def has_outcomes(description: Description) -> bool:
    """Whether a table of sounds has the outcome of the examination as CirCor has it.

    The metrics of the Challenge 2022, weighted_accuracy and cost, need the outcome of every
    recording.

    Args:
        description: The description of the table.

    Returns:
        Whether a label is called outcome and has the classes Normal and Abnormal.
    """
    wanted = ("outcome", OUTCOME[::-1])
    return description.sound and any(
        (label.name, label.classes) == wanted for label in description.labels
    )


class OwnRecordings(Source):
    """The recordings of a table, by a description; ``own_source`` makes a class for each one.

    Attributes:
        description: What the table and its labels are.
    """

    description: ClassVar[Description]

    def __init__(self, root: Path) -> None:
        """Take the folder that files in the table are relative to; nothing is read yet."""
        super().__init__(Path(root))
        self._table: OwnTable | None = None
        self._rows: dict[str, TableRow] = {}
        self._counts: dict[str, int] = {}
        self._last: tuple[Path, Array] | None = None

    @property
    def phantom(self) -> bool:
        """Whether a file PHANTOM lies beside the recordings or the table."""
        folders = (self.root, self.description.path.parent)
        return any((folder / "PHANTOM").is_file() for folder in folders)

    @property
    def table(self) -> OwnTable:
        """The table, read once."""
        if self._table is None:
            self._table = read_own_table(self.description)
            self._rows = {row.id: row for row in self._table.rows}
        return self._table

    def records(self) -> Sequence[Record]:
        """List the recordings in the order of the table.

        Returns:
            The records.

        Raises:
            LayoutError: A row does not fit and the source is not lenient; the message is a report
                of all rows that do not fit. Or no row is left.
        """
        if self._records is None:
            table = self.table
            if table.problems and self.faults is None:
                raise LayoutError(
                    f"{table.report(self.description.table)}\nCorrect the table. {SKIP}"
                )
            if self.faults is not None:
                self.faults += [
                    Fault(problem.id, problem.text, problem.patient, problem.view, problem.split)
                    for problem in table.problems
                ]
            if not table.rows:
                raise LayoutError(f"Not one row of the table fits. {table.report(self.root)}")
            self._records = tuple(self._record(row) for row in table.rows)
        return self._records

    def _record(self, row: TableRow) -> Record:
        meta: dict[str, Any] = dict(row.meta)
        if row.subgroups:
            meta["subgroups"] = row.subgroups
        if has_outcomes(self.description) and "outcome" in row.values:
            meta["outcome"] = OUTCOME[::-1][int(row.values["outcome"])]
        return Record(
            row.id, row.patient, row.view, row.split, self._fps(row), dict(row.files), meta
        )

    def _fps(self, row: TableRow) -> float | None:
        """Frames a second from the table, or else from the header of the file.

        A header that cannot be read is reported when the frames are read.
        """
        if row.fps is not None:
            return row.fps
        try:
            return file_fps(self.root / row.files["file0"])
        except (CorruptFileError, LayoutError):
            return None

    def _paths(self, record: Record) -> list[Path]:
        """The files of a recording, in order."""
        names = [name for role, name in record.files.items() if "/" not in role]
        return [self.root / name for name in names]

    def _row(self, record: Record) -> TableRow:
        return self._rows[record.id]

    def frames(self, record: Record, at: Sequence[int] | None = None) -> Array:
        """Read grey frames; the frames of several files follow each other.

        Args:
            record: A recording of this source.
            at: Frame numbers, from 0; None reads all.

        Returns:
            Frames (k, h, w) uint8.

        Raises:
            CorruptFileError: A file cannot be read, or the frames differ in size.
            UnsupportedOptionError: A frame does not exist.
        """
        paths = self._paths(record)
        if len(paths) == 1 and at is not None and len(at) == 1:
            return self._one_frame(paths[0], at)
        if len(paths) == 1:
            return read_frames(paths[0], at)
        numbers = range(self.n_frames(record)) if at is None else [int(number) for number in at]
        chosen = [self._frame_of(record, paths, number) for number in numbers]
        if len({frame.shape for frame in chosen}) > 1:
            raise CorruptFileError(f"{record.id}: the frames of its files differ in size.")
        return np.stack(chosen) if chosen else np.empty((0, 0, 0), np.uint8)

    def _one_frame(self, path: Path, at: Sequence[int]) -> Array:
        """Read one frame; the last volume stays in memory, since it is decoded as a whole."""
        if not self._is_volume(path):
            return read_frames(path, at)
        if self._last is None or self._last[0] != path:
            self._last = (path, read_frames(path))
        frames = self._last[1]
        if not 0 <= at[0] < len(frames):
            raise UnsupportedOptionError(
                f"{path} has frames 0 to {len(frames) - 1}; frame {at[0]} does not exist."
            )
        return frames[list(at)]

    def _frame_of(self, record: Record, paths: Sequence[Path], number: int) -> Array:
        """Frame ``number`` of several files."""
        before = 0
        for path in paths:
            n = frame_count(path)
            if before <= number < before + n:
                frame: Array = read_frames(path, [number - before])[0]
                return frame
            before += n
        raise UnsupportedOptionError(
            f"{record.id} has frames 0 to {before - 1}; frame {number} does not exist."
        )

    def n_frames(self, record: Record) -> int:
        """Count the frames of all files of a recording."""
        if record.id not in self._counts:
            self._counts[record.id] = sum(frame_count(path) for path in self._paths(record))
        return self._counts[record.id]

    def still(self, record: Record) -> bool:
        """Whether a recording is a single picture, or several ones."""
        return self.n_frames(record) == 1 or len(self._paths(record)) > 1

    def spacing(self, record: Record) -> tuple[float, float] | None:
        """Pixel spacing from the table, or else from the header of the first file."""
        return self._row(record).spacing or file_spacing(self._paths(record)[0])

    def answers(
        self, record: Record, target: Target, at: Collection[int] | None = None
    ) -> tuple[Answer, ...]:
        """Return the labels of a recording; a blank cell gives none.

        Args:
            record: A recording of this source.
            target: A target of the card.
            at: Frame numbers; labels of other frames are left out. None takes all.

        Returns:
            The labels in frame order.

        Raises:
            CorruptFileError: A mask cannot be read, or does not fit its frame.
        """
        row = self._row(record)
        if target.name == PHASES:
            numbers = sorted(enumerate(row.phases or ()), key=lambda pair: pair[1])
            return tuple(
                Answer(phase, frame) for phase, frame in numbers if at is None or frame in at
            )
        label = self._label(target)
        if label.kind is Kind.MASK:
            return self._masks(record, label, at)
        if label.name not in row.values:
            return ()
        value = row.values[label.name]
        plain: Any = value if label.kind is Kind.VALUE else int(value)
        frames = row.frames.get(label.name)
        if frames is None:
            return (Answer(plain),)
        return tuple(Answer(plain, frame) for frame in frames if at is None or frame in at)

    def annotated(self, record: Record, target: Target) -> tuple[int | None, ...]:
        """List the frames that have a label, without reading masks.

        Args:
            record: The recording.
            target: The target of the label.
        """
        if target.name == PHASES or target.kind is not Kind.MASK:
            return super().annotated(record, target)
        return self._mask_frames(record, self._label(target))

    def _label(self, target: Target) -> Label:
        self.card.target(target.name)
        return next(label for label in self.description.labels if label.name == target.name)

    def _mask_files(self, record: Record, label: Label) -> list[Path]:
        role = f"{label.name}/"
        return [self.root / name for key, name in record.files.items() if key.startswith(role)]

    def _mask_frames(self, record: Record, label: Label) -> tuple[int, ...]:
        """The frames that the masks of a label lie on, in the order of the masks."""
        paths = self._mask_files(record, label)
        if not paths:
            return ()
        numbers = self._row(record).frames.get(label.name, ())
        if numbers:
            return numbers
        n = 1 if not self._is_volume(paths[0]) else frame_count(paths[0])
        return tuple(range(n))

    def _is_volume(self, path: Path) -> bool:
        return suffix_of(path) in VOLUMES

    def _masks(
        self, record: Record, label: Label, at: Collection[int] | None
    ) -> tuple[Answer, ...]:
        frames = self._mask_frames(record, label)
        paths = self._mask_files(record, label)
        chosen: list[tuple[int, Array]] = []
        if len(paths) == len(frames) and len(paths) > 1:
            for path, frame in zip(paths, frames, strict=True):
                if at is None or frame in at:
                    chosen.append((frame, self._only_mask(path, label)))
        elif len(paths) == 1 and frames:
            if at is not None and not set(frames) & set(at):
                return ()
            masks = read_mask(paths[0], label.pixel)
            self._check_count(record, label, len(masks), len(frames))
            pairs = zip(frames, masks, strict=True)
            chosen = [(frame, mask) for frame, mask in pairs if at is None or frame in at]
        elif paths:
            self._check_count(record, label, len(paths), len(frames))
        for frame, mask in chosen:
            self._check_size(record, label, frame, mask)
        return tuple(Answer(mask, frame) for frame, mask in sorted(chosen, key=lambda c: c[0]))

    def _only_mask(self, path: Path, label: Label) -> Array:
        masks = read_mask(path, label.pixel)
        if len(masks) != 1:
            raise CorruptFileError(f"{path} holds {len(masks)} masks; wanted the one of a frame.")
        mask: Array = masks[0]
        return mask

    def _check_count(self, record: Record, label: Label, masks: int, frames: int) -> None:
        if masks != frames:
            raise CorruptFileError(
                f"{record.id}: {masks} masks of {label.name} for {frames} frames. Correct the "
                "column of frames, or the masks."
            )

    def _check_size(self, record: Record, label: Label, frame: int, mask: Array) -> None:
        shape = self.frames(record, [frame])[0].shape
        if mask.shape != shape:
            raise CorruptFileError(
                f"{record.id}: the mask of {label.name} has {mask.shape[0]} x {mask.shape[1]} "
                f"pixels and its frame {frame} has {shape[0]} x {shape[1]}. Draw it on the frame "
                "itself."
            )

    def check_command(self) -> str:
        """Return the command that lists the rows of the table that do not fit."""
        return f"etab data check {self.description.path}"

    def canonical(self) -> str:
        """No published split applies to a user's own data."""
        return ""

    def remarks(self) -> Sequence[str]:
        """Describe labels that few patients have, and labels that mix views."""
        self.records()
        return [*self.table.notes, *label_remarks(self.description, self.table.rows)]

    def notes(self) -> Sequence[str]:
        """The name of the table and the notes of the description, which every result carries."""
        name = f"your own data: {self.description.title} ({self.description.table.name})"
        return (name, *self.description.notes)

    def shared_files(self) -> Sequence[str]:
        """List the files of pixels beside headers, which no table names and digests have to cover."""
        listed = [self.root / name for record in self.records() for name in record.files.values()]
        beside = {file for path in listed for file in files_beside(path)}
        return sorted(file.relative_to(self.root).as_posix() for file in beside)

    def digest(self) -> str:
        """sha256 of the description's labels, the cells that are used, and every file."""
        labels = self.description.labels
        facts = [(label.name, repr(label)) for label in labels]
        facts += [(label.name, repr(label.cut)) for label in labels if label.cut is not None]
        rows = [
            (row.id, repr(row.phases), repr(row.spacing), repr(sorted(row.values.items())))
            for row in (self._row(record) for record in self.records())
        ]
        frames = [(row.id, repr(sorted(row.frames.items()))) for row in self.table.rows]
        groups = [(row.id, repr(sorted(row.meta.items()))) for row in self.table.rows if row.meta]
        return combine([*facts, *rows, *frames, *groups], {"files": super().digest()})


class OwnSounds(OwnRecordings, SoundSource):
    """The sounds of a user's own table."""

    frames = SoundSource.frames
    n_frames = SoundSource.n_frames

    def _fps(self, row: TableRow) -> float | None:
        """The sampling rate of the file; None where it cannot be read."""
        try:
            return float(sound_facts(self.root / row.files["file0"])[1])
        except (CorruptFileError, LayoutError):
            return None

    def wave(self, record: Record) -> tuple[FloatArray, int]:
        """Read all samples of a sound.

        Args:
            record: A recording of this source.

        Returns:
            Samples (n,) float32 with full scale at 1, and their rate in Hz.

        Raises:
            CorruptFileError: The file cannot be read.
        """
        return read_sound(self._paths(record)[0])

    def n_samples(self, record: Record) -> int:
        """Count the samples of a sound."""
        return sound_facts(self._paths(record)[0])[0]

    def answers(
        self, record: Record, target: Target, at: Collection[int] | None = None
    ) -> tuple[Answer, ...]:
        """Return the labels of a sound; states are read from their own file.

        Args:
            record: A recording of this source.
            target: A target of the card.
            at: Has no effect: a sound has no frames.

        Returns:
            The label, or nothing for a blank cell.

        Raises:
            CorruptFileError: A file of states cannot be read.
        """
        label = self._label(target)
        if label.kind is not Kind.STATES:
            return super().answers(record, target)
        paths = self._mask_files(record, label)
        if not paths:
            return ()
        n, rate = sound_facts(self._paths(record)[0])
        intervals = in_own_words(read_states)(paths[0])
        end = max((interval[1] for interval in intervals), default=0.0)
        if end > n / rate + _BEYOND_SECONDS:
            raise CorruptFileError(
                f"{paths[0]}: its states end at {end:g} s, and the recording {record.id} lasts "
                f"{n / rate:g} s. Name the states of this recording, with times in seconds."
            )
        return (Answer(states_at(intervals, n, rate)),)

    def still(self, record: Record) -> bool:
        """A sound is never a picture."""
        return False

    def spacing(self, record: Record) -> tuple[float, float] | None:
        """A sound has no pixels."""
        return None
