"""PhysioNet/CinC Challenge 2016: 3,153 heart sounds of six databases, normal or abnormal, 2 kHz.

Only the appendix (annotations/Online_Appendix_training_set.csv) names the subject of a recording.
Without it every recording counts as a patient, so that folds share patients; this is warned of and
noted in results. ``validation/`` holds copies of training recordings: each is listed once, with
``meta["validation"]``. 87 recordings of database e were withdrawn in July 2016 but are still in
the release: they are left out where the organisers' list or the appendix identifies them.
``meta["database"]`` is the letter that a leave-one-database-out protocol needs, because
the prevalence differs between databases.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from etab.datasets.absent import files_absent
from etab.datasets.base import SOURCES, Card
from etab.datasets.cinc2016_layout import (
    Appendix,
    Reference,
    read_appendix,
    read_reference,
    read_withdrawn,
)
from etab.datasets.cinc2016_states import CINC2016_RATE, read_state_ans
from etab.datasets.integrity.canonical import same_person_notes
from etab.datasets.wav_files import WavSource
from etab.errors import CorruptFileError, DataNotFoundError, EtabWarning, LayoutError
from etab.readers.audio import read_wav, wav_info
from etab.readers.physionet import check_header, read_dat, read_wfdb_header
from etab.sounds.states import STATES, Interval, heart_rate, states_at
from etab.storage.listing import visible
from etab.storage.text import counted
from etab.types import Answer, FloatArray, Kind, Record, Target

DATABASES = "abcdef"
WITHDRAWN = 87
ALL, ALL_E = (
    3240,
    2141,
)  # recordings of the release, the withdrawn among them, and those of database e
PLACE = "PCG"
_WANTED = "the folder that contains training-a/ to training-f/"
_APPENDIX = ("annotations/Online_Appendix_training_set.csv", "Online_Appendix_training_set.csv")
_LIST = "Recordings need to be removed in training-e.txt"

_CARD = Card(
    name="cinc2016",
    title="PhysioNet/CinC Challenge 2016",
    code="N",
    modality="sound",
    views=(PLACE,),
    targets=(
        Target(
            "abnormal",
            Kind.BINARY,
            classes=("normal", "abnormal"),
            description="abnormal heart sound",
        ),
        Target(
            "quality",
            Kind.BINARY,
            classes=("poor", "good"),
            description="signal good enough to judge",
        ),
        Target(
            "states",
            Kind.STATES,
            classes=STATES,
            description="state of the heart at 50 Hz, -1 where unannotated",
        ),
        Target("HR", Kind.VALUE, unit="bpm", description="heart rate from the annotated S1 onsets"),
    ),
    licence="ODC-By 1.0",
    citation="Liu et al., Physiol. Meas. 37(12):2181-2213, 2016, doi:10.1088/0967-3334/37/12/2181",
    access="free download at PhysioNet: challenge-2016 1.0.0",
    fps=float(CINC2016_RATE),
    counts={"recordings": 3153},
    last_seen_real="2026-11-21",
    unit="recording",
)


@SOURCES.register("cinc2016")
class Cinc2016Source(WavSource):
    """PhysioNet/CinC Challenge 2016 as published, from the folder that holds ``training-a/``."""

    card: ClassVar[Card] = _CARD

    def __init__(self, root: Path) -> None:
        """Find the data.

        Raises:
            DataNotFoundError: ``root`` is not a folder.
            LayoutError: The folder has another layout; the message names the folder to pass.
        """
        super().__init__(_find(Path(root)))
        self._records: tuple[Record, ...] | None = None
        self._notes: tuple[str, ...] = ()
        self._gone: frozenset[str] = frozenset()

    def records(self) -> Sequence[Record]:
        """List every recording once, by name.

        Returns:
            The records.

        Raises:
            LayoutError: A label has no recording, or a recording has no label.
            CorruptFileError: Tables contradict each other.

        Warns:
            EtabWarning: The appendix is missing, so that patients cannot be told apart.
        """
        if self._records is None:
            tables = {part: self._reference(part) for part in self._parts()}
            copies = self._reference("validation") if (self.root / "validation").is_dir() else {}
            appendix = next(
                (read_appendix(self.root / n) for n in _APPENDIX if (self.root / n).is_file()), None
            )
            gone = self._withdrawn(tables.get("training-e", {}), appendix)
            rows = {
                name: (part, row) for part, table in tables.items() for name, row in table.items()
            }
            self._check_copies(rows, copies)
            rows |= {name: ("validation", row) for name, row in copies.items() if name not in rows}
            records = [
                self._record(name, *rows[name], name in copies, appendix)
                for name in sorted(rows)
                if name not in gone
            ]
            self._gone = frozenset(gone)
            self._notes = self._said(records, gone, copies, appendix)
            self._records = tuple(records)
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
        path = self.root / record.files["audio"]
        if "header" in record.files:
            header = self.root / record.files["header"]
            check_header(header, read_wfdb_header(header), wav_info(path), path)
        return read_wav(path, rate=CINC2016_RATE)

    def ecg(self, record: Record) -> FloatArray | None:
        """Read the ECG, which most recordings of database a have.

        Args:
            record: A recording of this source.

        Returns:
            Samples (n,) float32 in mV at 2000 Hz, or None.

        Raises:
            CorruptFileError: The file cannot be read, or disagrees with its header.
        """
        if "ecg" not in record.files:
            return None
        return read_dat(
            self.root / record.files["ecg"],
            read_wfdb_header(self.root / record.files["header"]),
            "ECG",
        )

    def intervals(self, record: Record) -> tuple[Interval, ...]:
        """Read the annotated intervals: the hand-corrected ones if published, otherwise Springer's.

        Args:
            record: A recording of this source.

        Returns:
            (start in s, end in s, state index) in order; empty without annotations.

        Raises:
            CorruptFileError: The file cannot be read.
        """
        if "states" not in record.files:
            return ()
        return read_state_ans(self.root / record.files["states"], self.n_samples(record))

    def annotated(self, record: Record, target: Target) -> tuple[int | None, ...]:
        """List the frames with a reference value; except for heart rate, no file is read.

        Args:
            record: A recording of this source.
            target: A target of the card.

        Returns:
            Frame numbers, or None for a value of the whole recording; empty without a value.
        """
        if target.name == "states":
            return (None,) if "states" in record.files else ()
        return super().annotated(record, target)

    def answers(
        self, record: Record, target: Target, at: Collection[int] | None = None
    ) -> tuple[Answer, ...]:
        """Return the reference values.

        Quality needs REFERENCE-SQI.csv; states and heart rate need annotations/.

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
        if target.name == "abnormal":
            return (Answer(int(record.meta["abnormal"])),)
        if target.name == "quality":
            return (Answer(int(record.meta["good"])),) if "good" in record.meta else ()
        self.card.target(target.name)
        intervals = self.intervals(record)
        if target.name == "HR":
            rate = heart_rate(intervals)
            return () if rate is None else (Answer(rate),)
        return (
            (Answer(states_at(intervals, self.n_samples(record), CINC2016_RATE)),)
            if "states" in record.files
            else ()
        )

    def shared_files(self) -> Sequence[str]:
        """The tables of labels, of quality, and of patients."""
        parts = [*self._parts(), "validation"]
        tables = [
            f"{part}/{name}" for part in parts for name in ("REFERENCE.csv", "REFERENCE-SQI.csv")
        ]
        return (
            *tables,
            *(_sqi(part) for part in parts),
            *_APPENDIX,
            *(f"{w}/{_LIST}" for w in _lists()),
        )

    def published(self) -> Mapping[str, int]:
        """Published number of recordings.

        3,153 without the withdrawn ones; 3,240 if they are present and cannot be identified.
        """
        unnamed = not self._gone and self._of_e(self.records()) > ALL_E - WITHDRAWN
        return {"recordings": ALL if unnamed else ALL - WITHDRAWN}

    def tally(self) -> Mapping[str, int]:
        """Recordings of each database."""
        databases = Counter(record.meta["database"] for record in self.records())
        return {f"recordings of database {letter}": n for letter, n in sorted(databases.items())}

    def notes(self) -> Sequence[str]:
        """Recordings left out or listed once, whether patients are known, and pieces of one
        recording under several names.
        """
        self.records()
        return (*self._notes, *same_person_notes(self, apart="lodo and cv5"))

    def units(self) -> Mapping[str, str]:
        """The database of each recording; there is no official split."""
        listed = {record.id: record.meta["database"] for record in self.records()}
        return listed | {name: name[0] for name in self._gone}

    @staticmethod
    def _of_e(records: Sequence[Record]) -> int:
        return sum(record.meta["database"] == "e" for record in records)

    def _parts(self) -> list[str]:
        return [f"training-{x}" for x in DATABASES if (self.root / f"training-{x}").is_dir()]

    def _reference(self, part: str) -> dict[str, Reference]:
        """Labels of a folder with quality from whichever table gives it."""
        folder = self.root / part
        tables = [
            p
            for p in (
                folder / "REFERENCE.csv",
                folder / "REFERENCE-SQI.csv",
                self.root / _sqi(part),
            )
            if p.is_file()
        ]
        if not tables:
            raise LayoutError(
                f"{folder / 'REFERENCE.csv'} is missing: there are no labels. Restore it as "
                "published."
            )
        labels = read_reference(tables[0])
        for table in tables[1:]:
            for name, row in read_reference(table).items():
                if name in labels and labels[name].label != row.label:
                    raise CorruptFileError(
                        f"{table} says {row.label} of {name}, {tables[0].name} says "
                        f"{labels[name].label}. Restore both."
                    )
                if name in labels and row.good is not None:
                    labels[name] = row
        self._check_audio(folder, labels, copies=part == "validation")
        return labels

    def _check_audio(self, folder: Path, labels: Mapping[str, Reference], *, copies: bool) -> None:
        """Check that every label has its recording and every recording has a label.

        The copies of ``validation`` may be absent.
        """
        present = {path.stem for path in visible(folder, "*.wav")}
        absent = sorted(set(labels) - present)
        unlisted = sorted(present - set(labels))
        # Where recordings may be left out, reading them says which are not there.
        if absent and not copies and self.faults is None:
            raise files_absent(
                [folder / f"{name}.wav" for name in absent], "recording", "REFERENCE.csv labels"
            )
        if unlisted:
            more = len(unlisted) - 1
            others = f" and {counted(more, 'more recording')}" if more else ""
            raise LayoutError(
                f"{folder / 'REFERENCE.csv'} has no label for {unlisted[0]}.wav{others}. Restore it "
                "as published."
            )

    def _check_copies(
        self, rows: Mapping[str, tuple[str, Reference]], copies: Mapping[str, Reference]
    ) -> None:
        """Check that each copy in ``validation`` has the label and size of its original."""
        for name, copy in copies.items():
            path = self.root / "validation" / f"{name}.wav"
            if name not in rows:
                if not path.is_file():
                    raise LayoutError(
                        f"{path} is missing, and no training folder has {name}. Restore one of "
                        "them."
                    )
                continue
            part, row = rows[name]
            original = self.root / part / path.name
            if copy.label != row.label:
                raise CorruptFileError(
                    f"{name} is labelled {row.label} in {part} and {copy.label} in validation. "
                    "Restore both tables."
                )
            can_compare = path.is_file() and original.is_file()
            if can_compare and path.stat().st_size != original.stat().st_size:
                raise CorruptFileError(
                    f"{path} is published as a copy of {original} and differs. Restore both."
                )

    def _withdrawn(
        self, table: Mapping[str, Reference], appendix: Mapping[str, Appendix] | None
    ) -> set[str]:
        lists = [
            self.root / where / _LIST for where in _lists() if (self.root / where / _LIST).is_file()
        ]
        if lists:
            return read_withdrawn(lists[0]) & set(table)
        gone = set(table) - set(appendix) if appendix is not None else set()
        if len(gone) > WITHDRAWN:
            raise CorruptFileError(
                f"The appendix of {self.root} has no row for {len(gone)} recordings of "
                "training-e; the organisers "
                f"withdrew {WITHDRAWN}. Download {_APPENDIX[0]} again."
            )
        return gone

    def _record(
        self,
        name: str,
        part: str,
        row: Reference,
        copy: bool,
        appendix: Mapping[str, Appendix] | None,
    ) -> Record:
        files = {"audio": f"{part}/{name}.wav"}
        for role, suffix in (("header", ".hea"), ("ecg", ".dat")):
            if (self.root / part / (name + suffix)).is_file():
                files[role] = f"{part}/{name}{suffix}"
        if "ecg" in files and "header" not in files:
            raise LayoutError(
                f"{self.root / part / (name + '.hea')} is missing; {name}.dat cannot be read "
                "without it."
            )
        for way in ("hand_corrected", "springer_alg"):
            states = f"annotations/{way}/training-{name[0]}_StateAns/{name}_StateAns.mat"
            if (self.root / states).is_file():
                files.setdefault("states", states)
        meta: dict[str, Any] = {"database": name[0], "abnormal": row.label == 1, "validation": copy}
        if row.good is not None:
            meta["good"] = row.good
        known = (appendix or {}).get(name)
        if known is not None:
            if known.label not in (None, row.label):
                raise CorruptFileError(
                    f"{name} is {row.label} in {part}/REFERENCE.csv and {known.label} in "
                    f"{Path(_APPENDIX[0]).name}. Restore both as published."
                )
            meta |= dict(known.facts)
        return Record(
            name, known.patient if known else name, PLACE, "", float(CINC2016_RATE), files, meta
        )

    def _said(
        self,
        records: Sequence[Record],
        gone: set[str],
        copies: Mapping[str, Reference],
        appendix: object,
    ) -> tuple[str, ...]:
        sentences = []
        if appendix is None:
            sentences.append(
                f"Patients are unknown: {_APPENDIX[0]} is missing, and each of {len(records)} "
                "recordings counts as a patient "
                "of its own (3153 recordings are of 764 subjects). Folds share patients, and "
                "scores are too good."
            )
            warnings.warn(
                f"{self.root}: {sentences[0]} Restore the appendix.", EtabWarning, stacklevel=3
            )
        if gone:
            sentences.append(
                f"{counted(len(gone), 'recording')} of training-e that the organisers withdrew "
                f"{'is' if len(gone) == 1 else 'are'} left out."
            )
        elif self._of_e(records) == ALL_E and appendix is None:
            sentences.append(
                f"The {WITHDRAWN} recordings of training-e that the organisers withdrew are among "
                f"the {len(records)} here "
                f"({ALL - WITHDRAWN} are left without them); only the appendix or their list says "
                "which they are."
            )
        elif any(r.meta["database"] == "e" for r in records) and appendix is None:
            sentences.append(
                "Whether recordings of training-e are among the 87 withdrawn cannot be determined "
                "without the appendix."
            )
        if copies:
            sentences.append(
                f"{len(copies)} recordings of validation/ are copies of training recordings and "
                "are listed once."
            )
        return tuple(sentences)


def _lists() -> tuple[str, ...]:
    return ".", "annotations", "training-e"


def _sqi(part: str) -> str:
    return f"annotations/updated/{part}/REFERENCE_withSQI.csv"


def _find(root: Path) -> Path:
    if not root.is_dir():
        raise DataNotFoundError(f"{root} is not a folder. Pass {_WANTED}.")
    near = [root, root / "cinc2016", root / "challenge-2016"]
    near += (
        [root.absolute().parent]
        if root.name.startswith("training-") or root.name == "validation"
        else []
    )
    for base in near:
        if any(
            (base / name).is_dir() for name in (*(f"training-{x}" for x in DATABASES), "validation")
        ):
            return base
    why = "it is empty" if not visible(root) else f"{root / 'training-a'} is missing"
    raise LayoutError(f"{root} is not the CinC Challenge 2016 as published: {why}. Pass {_WANTED}.")
