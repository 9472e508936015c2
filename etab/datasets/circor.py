"""CirCor DigiScope 1.0.3 (Challenge 2022): heart sounds of 942 examinations of children, 4 kHz.

An examination has up to four auscultation places. A patient is a *person*: 140 of the 942 ids
point through ``Additional ID`` to another id of the same set, so that there are 872 people. The
challenge's id of a recording is ``meta["id"]``. Labels come from the patient's .txt and are
compared with training_data.csv if that is present. ``50782_MV_1.tsv`` is published as the single
line "0 0 28": rows without length annotate nothing. ``50690_TV.tsv`` and ``50690_MV_2.tsv`` list a
stretch twice: the first pass counts. Any other file that is out of order is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from etab.datasets.base import SOURCES, Card, Fault
from etab.datasets.circor_layout import (
    ATTRIBUTES,
    CIRCOR_PLACES,
    CIRCOR_RATE,
    Patient,
    persons,
    read_patient,
    read_states,
    rows_by_patient,
    unreadable_remarks,
)
from etab.datasets.wav_files import WavSource
from etab.errors import CorruptFileError, DataNotFoundError, LayoutError
from etab.readers.audio import read_wav, wav_info
from etab.readers.physionet import check_header, read_wfdb_header
from etab.readers.table import read_table, same_cell
from etab.sounds.states import MURMUR, OUTCOME, STATES, Interval, heart_rate, states_at
from etab.storage.listing import visible, visible_names
from etab.types import Answer, FloatArray, Kind, Record, Target

_WANTED = "the folder that contains training_data/ with its .txt, .hea, .wav and .tsv files"

_CARD = Card(
    name="circor",
    title="CirCor DigiScope",
    code="D",
    modality="sound",
    views=CIRCOR_PLACES,
    targets=(
        Target(
            "states",
            Kind.STATES,
            classes=STATES,
            description="state of the heart at 50 Hz, -1 where unannotated",
        ),
        Target(
            "HR",
            Kind.VALUE,
            unit="bpm",
            description="heart rate from the annotated S1 onsets",
        ),
        Target(
            "murmur",
            Kind.CLASSES,
            classes=MURMUR,
            description="murmur of the patient, heard anywhere",
        ),
        Target(
            "murmur_here",
            Kind.BINARY,
            classes=("Absent", "Present"),
            description="murmur heard at this place",
        ),
        Target(
            "outcome",
            Kind.BINARY,
            classes=OUTCOME[::-1],
            description="diagnosis of the whole examination",
        ),
        *(
            Target(
                name,
                Kind.CLASSES,
                classes=classes,
                description=f"{words}; murmur present",
            )
            for name, (_, words, classes) in ATTRIBUTES.items()
        ),
    ),
    licence="ODC-By 1.0",
    citation="Oliveira et al., IEEE JBHI 26(6):2524-2535, 2022, doi:10.1109/JBHI.2021.3137048",
    access="free download at PhysioNet: circor-heart-sound 1.0.3",
    fps=float(CIRCOR_RATE),
    counts={"patients": 872, "recordings": 3163},
    last_seen_real="2026-11-21",
)


@SOURCES.register("circor")
class CircorSource(WavSource):
    """CirCor DigiScope as published, from the folder that holds ``training_data/``."""

    card: ClassVar[Card] = _CARD

    def __init__(self, root: Path) -> None:
        """Find the data.

        Raises:
            DataNotFoundError: ``root`` is not a folder.
            LayoutError: The folder has another layout; the message names the folder to pass.
        """
        root, self.folder = _find(Path(root))
        super().__init__(root)
        self._records: tuple[Record, ...] | None = None
        self._unreadable: tuple[str, ...] = ()

    def records(self) -> Sequence[Record]:
        """List every recording of every .txt, by patient id.

        Returns:
            The records.

        Raises:
            LayoutError: A file is missing, or a recording is not listed.
            CorruptFileError: A table or .txt cannot be read, or they disagree.
        """
        if self._records is None:
            patients = self._patients()
            self._check_table({p.id: p for p in patients})
            self._unreadable = tuple(fact for p in patients for fact in p.unreadable)
            people = persons({p.id: p.facts.get("Additional ID", "nan") for p in patients})
            records = tuple(r for p in patients for r in self._of(p, people[p.id]))
            self._check_files(records)
            self._records = records
        return self._records

    def wave(self, record: Record) -> tuple[FloatArray, int]:
        """Read all samples of a recording.

        Args:
            record: A recording of this source.

        Returns:
            Samples (n,) float32 with full scale at 1, and their rate in Hz.

        Raises:
            LayoutError: A file is missing.
            CorruptFileError: The file cannot be read, or disagrees with its header.
        """
        path, header = (self.root / record.files[role] for role in ("audio", "header"))
        check_header(
            header,
            read_wfdb_header(header),
            wav_info(path),
            path,
        )
        return read_wav(path, rate=CIRCOR_RATE)

    def intervals(self, record: Record) -> tuple[Interval, ...]:
        """Read the annotated intervals; published state 0 means unannotated and is left out.

        Args:
            record: A recording of this source.

        Returns:
            (start in s, end in s, state index) in order.

        Raises:
            LayoutError: The file of states is missing.
            CorruptFileError: The file cannot be read.
        """
        return read_states(self.root / record.files["states"])

    def answers(
        self,
        record: Record,
        target: Target,
        at: Collection[int] | None = None,
    ) -> tuple[Answer, ...]:
        """Return the reference values; attributes exist for most patients with a murmur.

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
            rate = heart_rate(intervals) if target.name == "HR" else None
            if not intervals or (target.name == "HR" and rate is None):
                return ()
            return (
                Answer(
                    states_at(intervals, self.n_samples(record), CIRCOR_RATE)
                    if rate is None
                    else rate
                ),
            )
        value = label_of(record, self.card.target(target.name))
        return () if value is None else (Answer(value),)

    def shared_files(self) -> Sequence[str]:
        """The table of all patients."""
        return ("training_data.csv",)

    def notes(self) -> Sequence[str]:
        """The number of ids and of people."""
        ids = {r.meta["id"] for r in self.records()}
        people = {r.patient for r in self.records()}
        return (
            f"{len(ids)} ids are {len(people)} people: Additional ID joins those of one person.",
        )

    def remarks(self) -> Sequence[str]:
        """Heights and weights that are not numbers, which are left out; no task needs them."""
        self.records()
        return unreadable_remarks(self._unreadable)

    def units(self) -> Mapping[str, str]:
        """The person of each id: there is no official split, and folds are folds of people."""
        return {record.meta["id"]: record.patient for record in self.records()}

    def _marked_folders(self) -> tuple[Path, ...]:
        return (self.root, self.folder)

    def _of(self, patient: Patient, person: str) -> list[Record]:
        """The records of one .txt."""
        below = self.folder.relative_to(self.root)
        records = []
        for location, files in patient.recordings:
            named = {role: (below / name).as_posix() for role, name in files.items()}
            named["patient"] = (below / f"{patient.id}.txt").as_posix()
            meta = {"id": patient.id, **patient.meta}
            records.append(
                Record(
                    Path(files["audio"]).stem, person, location, "", float(CIRCOR_RATE), named, meta
                )
            )
        return records

    def _patients(self) -> list[Patient]:
        """Read every .txt of a patient, by id.

        A lenient source leaves out those that cannot be read.
        """
        texts = [path for path in visible(self.folder, "*.txt") if path.stem.isdigit()]
        patients = []
        for path in sorted(texts, key=lambda p: (len(p.stem), p.stem)):
            try:
                patients.append(read_patient(path))
            except (CorruptFileError, LayoutError) as error:
                self._give_up(Fault(path.stem, str(error), path.stem), error)
        return patients

    def _check_files(self, records: Sequence[Record]) -> None:
        """Check that every listed audio file and header exists, and that all audio is listed.

        If the source is lenient, missing files are found when recordings are read. Files of
        states are looked for by the tasks that need them.
        """
        files = visible_names(self.folder)
        listed = {
            Path(r.files[role]).name: r.meta["id"] for r in records for role in ("audio", "header")
        }
        absent = [name for name in listed if name not in files]
        if absent and self.faults is None:
            raise LayoutError.of(
                f"{self.folder / absent[0]} is missing; {listed[absent[0]]}.txt lists it. Restore "
                "it.",
                [str(self.folder / name) for name in absent],
            )
        known = {Path(record.files["audio"]).name for record in records}
        stray = sorted(name for name in files if name.endswith(".wav") and name not in known)
        if stray and not self.faults:
            more = f", with {len(stray) - 1} more" if len(stray) > 1 else ""
            raise LayoutError(
                f"{self.folder / stray[0]} is a recording that no patient's .txt lists{more}: "
                f"is {stray[0].split('_')[0]}.txt missing? Restore it."
            )
        if not records:
            raise LayoutError(f"{self.folder} has no patient (ABCDE.txt). Pass {_WANTED}.")

    def _check_table(self, patients: Mapping[str, Patient]) -> None:
        """Check that training_data.csv, if present, has the same patients and labels."""
        table = self.root / "training_data.csv"
        if not table.is_file():
            return
        rows = rows_by_patient(table, read_table(table, ["Patient ID"], ragged=True))
        left_out = {fault.id for fault in self.faults or ()}
        unknown = sorted(set(rows) - set(patients) - left_out)
        unlisted = sorted(set(patients) - set(rows))
        if unknown:
            raise LayoutError(
                f"{table} has labels for {len(unknown)} patients without files, first "
                f"{unknown[0]}: "
                f"{self.folder / (unknown[0] + '.txt')} is missing. Restore the files, or the "
                "table of this subset."
            )
        if unlisted:
            raise CorruptFileError(
                f"{table} has no row for {unlisted[0]}, whose .txt is there. Restore it as "
                "published."
            )
        for name, patient in patients.items():
            for key in ("Murmur", "Outcome", "Additional ID"):
                if key not in rows[name]:
                    continue
                in_table = rows[name][key]
                in_text = patient.facts.get(key, "nan")
                if not same_cell(in_table, in_text):
                    raise CorruptFileError(
                        f"{table} says {key} {in_table!r} of {name}, its .txt says {in_text!r}. "
                        "Restore both as published."
                    )


def label_of(record: Record, target: Target) -> int | None:
    """Return the class of a recording for a target other than states and heart rate.

    Args:
        record: A recording of CirCor.
        target: A target of the card.

    Returns:
        The index of the class; None if the authors give none.

    Raises:
        CorruptFileError: The label is not in the vocabulary.
    """
    murmur = record.meta["murmur"]
    if target.name == "murmur":
        return MURMUR.index(murmur)
    if target.name == "outcome":
        return target.classes.index(record.meta["outcome"])
    if target.name == "murmur_here":
        return None if murmur == "Unknown" else int(record.view in record.meta["murmur_locations"])
    word = record.meta.get(target.name)
    if word is None:
        return None
    if word not in target.classes:
        raise CorruptFileError(
            f"{record.files.get('patient', record.id)}: patient {record.meta['id']} has the "
            f"{target.description} {word!r}; possible: {', '.join(target.classes)}. Restore the "
            "labels as published."
        )
    return target.classes.index(word)


def _find(root: Path) -> tuple[Path, Path]:
    """(root of the release, folder of the recordings)."""
    if not root.is_dir():
        raise DataNotFoundError(f"{root} is not a folder. Pass {_WANTED}.")
    for base in (root, root / "circor", root / "circor-heart-sound"):
        if (base / "training_data").is_dir():
            return base, base / "training_data"
    if any(path.stem.isdigit() for path in visible(root, "*.txt")):
        return (root.parent, root) if root.name == "training_data" else (root, root)
    why = "it is empty" if not visible(root) else f"{root / 'training_data'} is missing"
    raise LayoutError(f"{root} is not CirCor DigiScope as published: {why}. Pass {_WANTED}.")
