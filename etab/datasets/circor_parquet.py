"""CirCor DigiScope as Parquet files, with the splits ``original`` and ``processed``.

A row is one contiguous annotated stretch of a recording: 3,363 rows come from 3,162 recordings.
Every sample (4 kHz in ``original``) has a state from 1 to 4. The sound is in the table as the bytes
of a WAV file, which scipy decodes. ``processed`` holds the same stretches after a band-pass and
wavelet shrinkage (``etab.sounds.denoise``).

Labels of murmur and outcome, and people, come from the official ``training_data.csv`` of CirCor 1.0.3,
which belongs beside the files. Without it the files serve heart states, heart rates and their own
column ``recording_label``, which disagrees with the official labels; the people behind the ids are
then those of etab's list of CirCor 1.0.3 (``configs/splits/circor.toml``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from etab.datasets.base import SOURCES, Card, SoundSource
from etab.datasets.circor import CircorSource, label_of
from etab.datasets.circor_layout import (
    CIRCOR_RATE,
    Patient,
    persons,
    rows_by_patient,
    unreadable_remarks,
)
from etab.datasets.integrity.canonical import load as canonical_split
from etab.errors import CorruptFileError, DataNotFoundError, LayoutError
from etab.readers.audio import WavInfo, decode_wav, scan_wav
from etab.readers.parquet import ParquetFile
from etab.readers.table import read_table
from etab.sounds.states import Interval, heart_rate, states_at
from etab.storage.listing import visible
from etab.types import Answer, Array, FloatArray, Kind, Record, Target

_TABLE = "training_data.csv"
_WITHOUT_TABLE = (
    f"{_TABLE} is not beside the files: there are no official labels of murmur and outcome. The "
    "people behind the ids are those of etab's list of CirCor 1.0.3."
)
_SOUND = "recording"
_OWN_LABEL = "recording_label"
_STATES = "heart_state_labels"
_COLUMNS = ("filename", _SOUND, _OWN_LABEL, _STATES)
_PLACES_OF_FILES = ("data", ".", "default/{part}")
_SHARD = re.compile(r"-(\d+)-of-(\d+)\.parquet$")
# 13918_AV, 13918_AV.wav; a further stretch of a recording is 39456_PV.wav_1.
_NAME = re.compile(r"^((\d+)_(AV|PV|TV|MV|Phc)(?:_\d+)*)(?:\.wav(?:_\d+)?)?$")
_WANTED = (
    f"the folder that contains {{part}}-00000-of-00001.parquet (or data/ with it) and {_TABLE} of "
    "CirCor 1.0.3"
)


def _card(name: str, title: str, code: str) -> Card:
    return replace(
        CircorSource.card,
        name=name,
        title=title,
        code=code,
        targets=(
            *CircorSource.card.targets,
            Target(
                _OWN_LABEL,
                Kind.BINARY,
                classes=("normal", "abnormal"),
                description="label of the files' own, which disagrees with the official ones",
            ),
        ),
        counts={"recordings": 3363},
        access=(
            f"Parquet files of the Hugging Face hub, with {_TABLE} of PhysioNet: "
            "circor-heart-sound 1.0.3"
        ),
        last_seen_real="",
    )


@SOURCES.register("circor_hf")
class CircorParquetSource(SoundSource):
    """The split ``original``: stretches of sound as recorded."""

    card: ClassVar[Card] = _card("circor_hf", "CirCor DigiScope (Parquet, original)", "H")
    part: ClassVar[str] = "original"

    def __init__(self, root: Path) -> None:
        """Find the data.

        Raises:
            DataNotFoundError: ``root`` is not a folder.
            LayoutError: The folder has another layout; the message names the folder to pass.
        """
        root, self.paths = _find(Path(root), self.part)
        super().__init__(root)
        self._files: tuple[ParquetFile, ...] = ()
        self._records: tuple[Record, ...] | None = None
        self._notes: tuple[str, ...] = ()
        self._unreadable: tuple[str, ...] = ()
        self._last: dict[str, tuple[tuple[int, int], Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without the row groups that were read last: a worker reads its own."""
        return {**self.__dict__, "_last": {}}

    @property
    def has_table(self) -> bool:
        """Whether the official table lies beside the files; labels and people come from it."""
        return (self.root / _TABLE).is_file()

    @property
    def phantom(self) -> bool:
        """Whether the tree is marked as a phantom.

        The mark is the marker file, the metadata of a Parquet file, or the INFO chunk of the first
        sound.
        """
        marked = (self.root / "PHANTOM").is_file()
        marked = marked or any("phantom" in file.marks.lower() for file in self._opened())
        return marked or "phantom" in self._info_of_first().text.lower()

    def records(self) -> Sequence[Record]:
        """List every row, in the order of the files.

        Raises:
            CorruptFileError: The name of a row is not one of CirCor, or the official table has no
                labels for it.
        """
        if self._records is None:
            patients = self._table() if self.has_table else {}
            people = self._people(patients)
            records: list[Record] = []
            rows_of_stem: dict[str, int] = {}
            odd = {"outcome": 0, "murmur": 0}
            for position, name, label in self._rows():
                record = self._record(position, name, patients, people, rows_of_stem, label)
                odd["outcome"] += label != int(record.meta.get("outcome") == "Abnormal")
                odd["murmur"] += label != int(record.meta.get("murmur") == "Present")
                records.append(record)
            self._unreadable = tuple(fact for p in patients.values() for fact in p.unreadable)
            self._notes = (
                "recording_label of the files differs from the official outcome in "
                f"{odd['outcome']} of {len(records)} rows, and from 'murmur present' in "
                f"{odd['murmur']}; official labels are used.",
            )
            if not self.has_table:
                self._notes = (_WITHOUT_TABLE,)
            self._records = tuple(records)
        return self._records

    def wave(self, record: Record) -> tuple[FloatArray, int]:
        """Read all samples of a recording.

        Args:
            record: A recording of this source.

        Returns:
            (samples (n,) float32 from -1 to 1, their rate in Hz).

        Raises:
            CorruptFileError: The rate is not that of the split, or sound and states differ in
                length.
        """
        samples, rate = decode_wav(self._sound(record), self._where(record))
        if rate != self._rate():
            raise CorruptFileError(
                f"{self._where(record)} is at {rate} Hz; wanted {self._rate()} Hz, as published."
            )
        if len(samples) != len(self._labels(record)):
            raise CorruptFileError(
                f"{self._where(record)} has {len(samples)} samples and {len(self._labels(record))} "
                "states. Download it again."
            )
        return samples, rate

    def n_samples(self, record: Record) -> int:
        """Count the samples, from the header of the sound.

        Args:
            record: A recording of this source.
        """
        return self._info(record).n

    def intervals(self, record: Record) -> tuple[Interval, ...]:
        """Return the annotated intervals; state 0 means unannotated and is left out.

        Args:
            record: A recording of this source.

        Returns:
            (start in s, end in s, index of the state) of each interval, in order.
        """
        labels = self._labels(record)
        changes = np.flatnonzero(np.diff(labels)) + 1
        edges = [0, *changes.tolist(), len(labels)]
        rate = self._rate()
        intervals = []
        for start, end in pairwise(edges):
            state = int(labels[start]) - 1
            if state >= 0:
                intervals.append((start / rate, end / rate, state))
        return tuple(intervals)

    def answers(
        self,
        record: Record,
        target: Target,
        at: Collection[int] | None = None,
    ) -> tuple[Answer, ...]:
        """Return the reference values; labels are the official ones.

        Args:
            record: A recording of this source.
            target: A target of the card.
            at: Frame numbers, from 0; values of other frames are left out. None takes all.

        Returns:
            The values in frame order; empty if the authors give none.

        Raises:
            UnknownNameError: The card has no such target.
            CorruptFileError: A file cannot be read, or contradicts another.
            LayoutError: A published file is missing.
        """
        if target.name in ("states", "HR"):
            intervals = self.intervals(record)
            if target.name == "states":
                return (Answer(states_at(intervals, self.n_samples(record), self._rate())),)
            beats = heart_rate(intervals)
            return () if beats is None else (Answer(beats),)
        if target.name == _OWN_LABEL:
            return (Answer(self._own_label(record)),)
        if not self.has_table:
            raise LayoutError(
                f"{self.root / _TABLE} is missing: murmur, outcome and what describes them come "
                f"from it. Copy {_TABLE} of CirCor 1.0.3 there; the files alone hold heart states, "
                f"heart rates and {_OWN_LABEL}."
            )
        value = label_of(record, self.card.target(target.name))
        return () if value is None else (Answer(value),)

    def annotated(self, record: Record, target: Target) -> tuple[int | None, ...]:
        """List the frames with a reference value; every row has states, so they are not read.

        Args:
            record: A recording of this source.
            target: A target of the card.

        Returns:
            Frame numbers, or None for a value of the whole recording; empty without a value.
        """
        return (None,) if target.name == "states" else super().annotated(record, target)

    def shared_files(self) -> Sequence[str]:
        """The official table, where it is there."""
        return (_TABLE,) if self.has_table else ()

    def notes(self) -> Sequence[str]:
        """That rows are stretches, and how far the files' own labels are from the official ones."""
        self.records()
        return (
            "A row is an annotated stretch, not a recording: several may be of one recording.",
            *self._notes,
        )

    def remarks(self) -> Sequence[str]:
        """Heights and weights that are not numbers, which are left out; no task needs them."""
        self.records()
        return unreadable_remarks(self._unreadable)

    def _rate(self) -> int:
        """Samples a second of every row."""
        return CIRCOR_RATE

    def _opened(self) -> tuple[ParquetFile, ...]:
        if not self._files:
            self._files = tuple(ParquetFile(self.root / path, _COLUMNS) for path in self.paths)
        return self._files

    def _rows(self) -> list[tuple[tuple[int, int, int], str, int]]:
        """((file, row group, row), name, its own label) of every row."""
        out = []
        for f, file in enumerate(self._opened()):
            for g in range(len(file.groups)):
                table = file.read(g, ["filename", _OWN_LABEL]).to_pydict()
                pairs = zip(table["filename"], table[_OWN_LABEL], strict=True)
                out += [((f, g, i), str(name), label) for i, (name, label) in enumerate(pairs)]
        return out

    def _record(
        self,
        position: tuple[int, int, int],
        name: str,
        patients: Mapping[str, Patient],
        people: Mapping[str, str],
        rows_of_stem: dict[str, int],
        label: object,
    ) -> Record:
        match = _NAME.match(Path(name).name)
        where = self.root / self.paths[position[0]]
        if match is None:
            raise CorruptFileError(
                f"{where}: {name!r} is not a recording such as 13918_AV. Download it again."
            )
        stem, patient, location = match.groups()
        if self.has_table and patient not in patients:
            raise CorruptFileError(
                f"{where} holds {stem}, and {_TABLE} has no row for {patient}. Take the table of "
                "942 patients as published."
            )
        rows_of_stem[stem] = rows_of_stem.get(stem, 0) + 1
        number = rows_of_stem[stem]
        facts = patients[patient].meta if self.has_table else {}
        meta = {
            "id": patient,
            **facts,
            _OWN_LABEL: label,
            "at": position,
        }
        return Record(
            stem if number == 1 else f"{stem}~{number}",
            people.get(patient, patient),
            location,
            "",
            float(self._rate()),
            {"rows": self.paths[position[0]]},
            meta,
        )

    def _own_label(self, record: Record) -> int:
        """The label of a row by the files' own column."""
        label = record.meta[_OWN_LABEL]
        if label not in (0, 1):
            raise CorruptFileError(
                f"{self._where(record)} has the {_OWN_LABEL} {label!r}; wanted 0 for normal or 1 "
                "for abnormal. Download it again."
            )
        return int(label)

    def _people(self, patients: Mapping[str, Patient]) -> Mapping[str, str]:
        """The person behind each id: by the official table, or by etab's list where it is absent."""
        if not self.has_table:
            return {} if self.phantom else canonical_split("circor").places
        return persons({name: p.facts.get("Additional ID", "nan") for name, p in patients.items()})

    def _table(self) -> dict[str, Patient]:
        path = self.root / _TABLE
        rows = read_table(
            path, ["Patient ID", "Murmur", "Outcome", "Additional ID", "Murmur locations"]
        )
        by_patient = rows_by_patient(path, rows)
        return {name: Patient(path, [], row) for name, row in by_patient.items()}

    def _cell(self, record: Record, column: str) -> Any:
        """One cell; of each column the row group that was read last is kept."""
        return self._cell_at(record.meta["at"], column)

    def _cell_at(self, position: tuple[int, int, int], column: str) -> Any:
        file, group, row = position
        cached = self._last.get(column)
        if cached is None or cached[0] != (file, group):
            cached = (
                (file, group),
                self._opened()[file].read(group, [column]).column(0),
            )
            self._last[column] = cached
        return cached[1][row]

    def _sound(self, record: Record) -> bytes:
        return _wav_bytes(self._cell(record, _SOUND), self._where(record))

    def _labels(self, record: Record) -> Array:
        values = self._cell(record, _STATES).values
        labels = np.asarray([] if values is None else values.to_numpy(zero_copy_only=False))
        if not len(labels) or not np.isin(labels, range(5)).all():
            raise CorruptFileError(
                f"{self._where(record)} has states other than 0 to 4, or none. Download it again."
            )
        return labels.astype(np.int8)

    def _info(self, record: Record) -> WavInfo:
        data = self._sound(record)
        return scan_wav(self._where(record), BytesIO(data), len(data))

    def _info_of_first(self) -> WavInfo:
        """The header of the first sound."""
        where = f"{self.root / self.paths[0]}, the first row"
        data = _wav_bytes(self._cell_at((0, 0, 0), _SOUND), where)
        return scan_wav(where, BytesIO(data), len(data))

    def _where(self, record: Record) -> str:
        return f"{self.root / record.files['rows']}, row {record.id}"


@SOURCES.register("circor_hf_processed")
class CircorProcessedSource(CircorParquetSource):
    """The split ``processed``: the same stretches after a band-pass and wavelet shrinkage.

    Its authors also lowered the sampling rate. The rate is that of the first row, and every row
    must have it.
    """

    card: ClassVar[Card] = _card(
        "circor_hf_processed", "CirCor DigiScope (Parquet, processed)", "G"
    )
    part: ClassVar[str] = "processed"

    def __init__(self, root: Path) -> None:
        """Find the files of this split; raises LayoutError saying which folder to pass."""
        super().__init__(root)
        self._rate_of_first: int | None = None

    def _rate(self) -> int:
        """Samples a second of the first row."""
        if self._rate_of_first is None:
            self._rate_of_first = self._info_of_first().rate
        return self._rate_of_first


def _wav_bytes(cell: Any, where: str) -> bytes:
    """The WAV file in a cell of sound; raises CorruptFileError where there is none."""
    value = cell.as_py()
    data = value.get("bytes") if isinstance(value, dict) else None
    if not data:
        raise CorruptFileError(f"{where} holds no sound. Download it again.")
    return bytes(data)


def _find(root: Path, part: str) -> tuple[Path, tuple[str, ...]]:
    """(folder of the table, files of this split relative to it)."""
    wanted = _WANTED.format(part=part)
    if not root.is_dir():
        raise DataNotFoundError(f"{root} is not a folder. Pass {wanted}.")
    root = root.parent if root.name == "data" and (root.parent / _TABLE).is_file() else root
    for pattern in _PLACES_OF_FILES:
        folder = root / pattern.format(part=part)
        shards = visible(folder, "*.parquet" if "{" in pattern else f"{part}-*.parquet")
        if shards:
            _check_shards(shards)
            return root, tuple(path.relative_to(root).as_posix() for path in shards)
    raise LayoutError(f"{root} has no {part}-*.parquet. Pass {wanted}.")


def _check_shards(shards: Sequence[Path]) -> None:
    """A file named 00000-of-00002 has all its siblings."""
    match = _SHARD.search(shards[0].name)
    if match is None:
        return
    head = shards[0].name[: match.start()]
    width = len(match[1])
    total = match[2]
    for i in range(int(total)):
        path = shards[0].with_name(f"{head}-{i:0{width}d}-of-{total}.parquet")
        if path not in shards:
            raise LayoutError(f"{path} is missing, of {int(total)} files. Restore it as published.")
