"""CirCor DigiScope 1.0.3 (Challenge 2022): up to four auscultation places of 942 children's examinations, 4 kHz.

A patient here is a *person*: 140 of the 942 ids point through ``Additional ID`` to another id of the same set, so that
there are 872 people. The challenge's own id of a recording is its ``meta["id"]``. Labels come from the patient's .txt and
are compared with training_data.csv where that is there. ``50782_MV_1.tsv`` is published as the single line "0 0 28":
rows of no length annotate nothing. ``50690_TV.tsv`` and ``50690_MV_2.tsv`` go back and list a stretch twice: the first
pass counts. Any other file that is out of order is refused.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

from etab.datasets.base import SOURCES, Card, SoundSource
from etab.errors import CorruptFileError, DataNotFoundError, LayoutError
from etab.readers.audio import WavInfo, check_header, read_header, read_wav, wav_info
from etab.sounds.states import (
    MURMUR,
    OUTCOME,
    OVERLAP_LIMIT,
    STATES,
    Interval,
    check_intervals,
    heart_rate,
    states_at,
)
from etab.types import Answer, FloatArray, Kind, Record, Target

RATE = 4000
PLACES = ("AV", "PV", "TV", "MV", "Phc")
_LISTED_TWICE = (  # published tsv that go back and list a stretch again, by the sha256 of their lines
    "84fcf4255a073bc14c9bb8edaad2c75d5a3acc2b4e28b98cd9034f0a88e672cd",  # 50690_TV
    "f49eb8aeb2401321b9813a149fad17b671af8b1ec50fbae74da46f1641e3f566",  # 50690_MV_2
)
_WANTED = "the folder that contains training_data/ with its .txt, .hea, .wav and .tsv files"
_ATTRIBUTES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "grade": (
        "Systolic murmur grading",
        "grade of the systolic murmur",
        ("I/VI", "II/VI", "III/VI"),
    ),
    "timing": (
        "Systolic murmur timing",
        "timing of the systolic murmur",
        ("Early-systolic", "Mid-systolic", "Late-systolic", "Holosystolic"),
    ),
    "shape": (
        "Systolic murmur shape",
        "shape of the systolic murmur",
        ("Crescendo", "Decrescendo", "Diamond", "Plateau"),
    ),
    "pitch": ("Systolic murmur pitch", "pitch of the systolic murmur", ("Low", "Medium", "High")),
    "quality": (
        "Systolic murmur quality",
        "quality of the systolic murmur",
        ("Blowing", "Harsh", "Musical"),
    ),
}

_CARD = Card(
    name="circor",
    title="CirCor DigiScope",
    code="D",
    modality="sound",
    views=PLACES,
    targets=(
        Target(
            "states",
            Kind.STATES,
            classes=STATES,
            description="state of the heart at 50 Hz, -1 where unannotated",
        ),
        Target("HR", Kind.VALUE, unit="bpm", description="heart rate from the annotated S1 onsets"),
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
            Target(name, Kind.CLASSES, classes=classes, description=f"{words}; murmur present")
            for name, (_, words, classes) in _ATTRIBUTES.items()
        ),
    ),
    licence="ODC-By 1.0",
    citation="Oliveira et al., IEEE JBHI 26(6):2524-2535, 2022, doi:10.1109/JBHI.2021.3137048",
    access="free download at PhysioNet: circor-heart-sound 1.0.3",
    fps=float(RATE),
    counts={"patients": 872, "recordings": 3163},
    last_seen_real="2026-11-21",
)


@SOURCES.register("circor")
class CircorSource(SoundSource):
    """CirCor DigiScope as published, from the folder that holds ``training_data/``."""

    card: ClassVar[Card] = _CARD

    def __init__(self, root: Path) -> None:
        """Find the layout; raises LayoutError saying which folder to pass."""
        root, self.folder = _find(Path(root))
        super().__init__(root)
        self._records: tuple[Record, ...] | None = None
        self._phantom: bool | None = None

    @property
    def phantom(self) -> bool:
        """Whether anything in the tree says phantom: the marker file, or the INFO chunk of a recording."""
        if self._phantom is None:
            marked = (self.root / "PHANTOM").is_file() or (self.folder / "PHANTOM").is_file()
            self._phantom = marked or any(
                "phantom" in self._info(r).text.lower() for r in self.records()
            )
        return self._phantom

    def records(self) -> Sequence[Record]:
        """Every recording of every .txt, by patient id. Raises LayoutError, CorruptFileError naming what is wrong."""
        if self._records is None:
            texts = sorted(self.folder.glob("*.txt"), key=lambda p: (len(p.stem), p.stem))
            patients = [read_patient(path) for path in texts if path.stem.isdigit()]
            self._check_table({p.id: p for p in patients})
            people = persons({p.id: p.facts.get("Additional ID", "nan") for p in patients})
            found = tuple(r for p in patients for r in self._of(p, people[p.id]))
            self._check_files(found)
            self._records = found
        return self._records

    def wave(self, record: Record) -> tuple[FloatArray, int]:
        """All samples (n,) float32 and 4000 Hz. Raises CorruptFileError where audio and header disagree."""
        path, header = (self.root / record.files[role] for role in ("audio", "header"))
        check_header(header, read_header(header), wav_info(path), path)
        return read_wav(path, rate=RATE)

    def n_samples(self, record: Record) -> int:
        """Samples in the file itself."""
        return self._info(record).n

    def intervals(self, record: Record) -> tuple[Interval, ...]:
        """Annotated intervals (start s, end s, state index) in order; published state 0 is left out: unannotated."""
        return read_states(self.root / record.files["states"])

    def answers(
        self, record: Record, target: Target, at: Collection[int] | None = None
    ) -> tuple[Answer, ...]:
        """What the authors say. Attributes of a murmur exist where one is present, and not for all of those."""
        if target.name in ("states", "HR"):
            intervals = self.intervals(record)
            rate = heart_rate(intervals) if target.name == "HR" else None
            if not intervals or (target.name == "HR" and rate is None):
                return ()
            return (
                Answer(
                    states_at(intervals, self.n_samples(record), RATE) if rate is None else rate
                ),
            )
        value = label_of(record, self.card.target(target.name))
        return () if value is None else (Answer(value),)

    def shared_files(self) -> Sequence[str]:
        """The table of all patients."""
        return ("training_data.csv",)

    def notes(self) -> Sequence[str]:
        """How many ids there are of how many people."""
        ids, people = ({r.meta["id"] for r in self.records()}, {r.patient for r in self.records()})
        return (
            f"{len(ids)} ids are {len(people)} people: Additional ID joins those of one person.",
        )

    def units(self) -> Mapping[str, str]:
        """Ids and the person each of them is: there is no official split, and folds are of people."""
        return {record.meta["id"]: record.patient for record in self.records()}

    def _info(self, record: Record) -> WavInfo:
        return wav_info(self.root / record.files["audio"])

    def _of(self, patient: Patient, person: str) -> list[Record]:
        """The records of one .txt."""
        below = self.folder.relative_to(self.root)
        found = []
        for place, files in patient.recordings:
            named = {role: (below / name).as_posix() for role, name in files.items()}
            named["patient"] = (below / f"{patient.id}.txt").as_posix()
            meta = {"id": patient.id, **patient.meta}
            found.append(
                Record(Path(files["audio"]).stem, person, place, "", float(RATE), named, meta)
            )
        return found

    def _check_files(self, records: Sequence[Record]) -> None:
        """Every file a .txt lists is there, and every recording that is there is listed by a .txt."""
        there = {path.name for path in self.folder.iterdir()}
        listed = {Path(file).name: r.meta["id"] for r in records for file in r.files.values()}
        absent = [name for name in listed if name not in there]
        if absent:
            raise LayoutError.of(
                f"{self.folder / absent[0]} is missing; {listed[absent[0]]}.txt lists it. Restore it.",
                [str(self.folder / name) for name in absent],
            )
        known = {Path(record.files["audio"]).name for record in records}
        stray = sorted(name for name in there if name.endswith(".wav") and name not in known)
        if stray:
            raise LayoutError(
                f"{self.folder / stray[0]} is a recording that no patient's .txt lists, with {len(stray) - 1} more: "
                f"is {stray[0].split('_')[0]}.txt missing? Restore it."
            )
        if not records:
            raise LayoutError(f"{self.folder} has no patient (ABCDE.txt). Pass {_WANTED}.")

    def _check_table(self, patients: Mapping[str, Patient]) -> None:
        """training_data.csv, where it is there, speaks of the same patients and says the same of them."""
        table = self.root / "training_data.csv"
        if not table.is_file():
            return
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = {row.get("Patient ID", ""): row for row in csv.DictReader(file)}
        unknown, unlisted = sorted(set(rows) - set(patients)), sorted(set(patients) - set(rows))
        if unknown:
            raise LayoutError(
                f"{table} has labels for {len(unknown)} patients without files, first {unknown[0]}: "
                f"{self.folder / (unknown[0] + '.txt')} is missing. Restore the files, or the table of this subset."
            )
        if unlisted:
            raise CorruptFileError(
                f"{table} has no row for {unlisted[0]}, whose .txt is there. Restore it as published."
            )
        for name, patient in patients.items():
            for key in ("Murmur", "Outcome", "Additional ID"):
                said, wrote = (rows[name].get(key) or "").strip(), patient.facts.get(key, "nan")
                if said != wrote:
                    raise CorruptFileError(
                        f"{table} says {key} {said!r} of {name}, its .txt says {wrote!r}. Restore both as published."
                    )


def label_of(record: Record, target: Target) -> int | None:
    """The class that the authors give a recording (not its states or rate); None where they give none."""
    murmur = record.meta["murmur"]
    if target.name == "murmur":
        return MURMUR.index(murmur)
    if target.name == "outcome":
        return target.classes.index(record.meta["outcome"])
    if target.name == "murmur_here":
        return None if murmur == "Unknown" else int(record.view in record.meta["murmur_locations"])
    said = record.meta.get(target.name)
    return None if said is None else target.classes.index(said)


class Patient:
    """One patient's .txt: ``id``, ``recordings`` as (place, files by role), the facts as written, and checked meta."""

    def __init__(
        self, path: Path, recordings: list[tuple[str, dict[str, str]]], facts: dict[str, str]
    ) -> None:
        """Check the labels; raises CorruptFileError naming the one that is not in the vocabulary."""
        self.id, self.recordings, self.facts = path.stem, recordings, facts
        self.meta: dict[str, Any] = {
            "murmur": _word(path, facts, "Murmur", MURMUR),
            "outcome": _word(path, facts, "Outcome", OUTCOME),
            "murmur_locations": tuple(
                p for p in facts.get("Murmur locations", "nan").split("+") if p != "nan"
            ),
        }
        for name, (key, _, classes) in _ATTRIBUTES.items():
            if facts.get(key, "nan") != "nan":
                self.meta[name] = _word(path, facts, key, classes)
        for name, key in (
            ("age", "Age"),
            ("sex", "Sex"),
            ("campaign", "Campaign"),
            ("additional_id", "Additional ID"),
            ("pregnant", "Pregnancy status"),
            ("most_audible", "Most audible location"),
        ):
            if facts.get(key, "nan") != "nan":
                self.meta[name] = facts[key]
        for name, key in (("height", "Height"), ("weight", "Weight")):
            value = _number(path, facts, key)
            if math.isfinite(value):
                self.meta[name] = value


def read_patient(path: Path) -> Patient:
    """Read a patient's .txt, LF or CRLF; raises CorruptFileError naming what cannot be read, LayoutError if absent."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise LayoutError(f"{path} is missing. Restore it as published.") from error
    except UnicodeDecodeError as error:
        raise CorruptFileError(f"{path} is not text: {error}. Download it again.") from error
    head = lines[0].split() if lines else []
    if len(head) != 3 or head[0] != path.stem or not head[1].isdigit() or head[2] != str(RATE):
        raise CorruptFileError(
            f"{path} starts with {' '.join(head)!r}; wanted '{path.stem} <recordings> {RATE}'. Download it again."
        )
    rows = [line.split() for line in lines[1:] if line.strip() and not line.startswith("#")]
    if len(rows) != int(head[1]) or any(len(row) != 4 or row[0] not in PLACES for row in rows):
        raise CorruptFileError(
            f"{path} promises {head[1]} recordings and lists {len(rows)}, or one of them is no place, "
            f"header, audio and states. Download it again."
        )
    facts = dict(line[1:].partition(": ")[::2] for line in lines if line.startswith("#"))
    facts = {key.rstrip(":").strip(): value.strip() or "nan" for key, value in facts.items()}
    found = [
        (row[0], dict(zip(("header", "audio", "states"), row[1:], strict=True))) for row in rows
    ]
    if len({files["audio"] for _, files in found}) < len(found):
        raise CorruptFileError(f"{path} lists a recording twice. Restore it as published.")
    return Patient(path, found, facts)


def persons(additional: Mapping[str, str]) -> dict[str, str]:
    """Each id to its person: ids that ``Additional ID`` joins, directly or through others, share the lowest of them."""
    home: dict[str, str] = {}

    def lowest(name: str) -> str:
        while home.get(name, name) != name:
            name = home[name]
        return name

    for name, other in additional.items():
        for one in (name, other) if other != "nan" else (name,):
            home.setdefault(one, one)
        a, b = lowest(name), lowest(other if other != "nan" else name)
        low, high = sorted((a, b), key=lambda i: (len(i), i))
        home[high] = low
    return {name: lowest(name) for name in additional}


def read_states(path: Path) -> tuple[Interval, ...]:
    """Read a .tsv: (start s, end s, state index) of its annotated rows.

    Raises LayoutError where it is absent, CorruptFileError for a row that is not two times and a state of 0 to 4, that
    runs backwards, or that overlaps the row above.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise LayoutError(
            f"{path} is missing. Restore it, or leave out the tasks that need states."
        ) from error
    except UnicodeDecodeError as error:
        raise CorruptFileError(f"{path} is not text: {error}. Download it again.") from error
    rows: list[Interval] = []
    for number, line in enumerate(lines, start=1):
        cells = line.split()
        try:
            start, end, state = float(cells[0]), float(cells[1]), int(cells[2])
        except (IndexError, ValueError) as error:
            raise CorruptFileError(
                f"{path}, row {number}: {line[:80]!r} is no start, end and state."
            ) from error
        if start == end:
            continue
        if state not in range(5) or len(cells) != 3:
            raise CorruptFileError(
                f"{path}, row {number}: state {cells[2:5]}; wanted 0 to 4. Restore it as published."
            )
        rows.append((start, end, state))
    if not lines:
        raise CorruptFileError(f"{path} is an empty file. Download it again.")
    if sha256("\n".join(lines).encode()).hexdigest() in _LISTED_TWICE:
        rows = _once(rows)
    check_intervals(path, rows)
    return tuple((start, end, state - 1) for start, end, state in rows if state > 0)


def _once(rows: Sequence[Interval]) -> list[Interval]:
    """Rows without those that go back over what the rows before them have covered."""
    kept: list[Interval] = []
    for row in rows:
        if not kept or row[0] >= kept[-1][1] - OVERLAP_LIMIT:
            kept.append(row)
    return kept


def _find(root: Path) -> tuple[Path, Path]:
    """(root of the release, folder of the recordings)."""
    if not root.is_dir():
        raise DataNotFoundError(f"{root} is not a folder. Pass {_WANTED}.")
    for base in (root, root / "circor", root / "circor-heart-sound"):
        if (base / "training_data").is_dir():
            return base, base / "training_data"
    if any(path.stem.isdigit() for path in root.glob("*.txt")):
        return (root.parent, root) if root.name == "training_data" else (root, root)
    why = (
        "it is empty"
        if next(root.iterdir(), None) is None
        else f"{root / 'training_data'} is missing"
    )
    raise LayoutError(f"{root} is not CirCor DigiScope as published: {why}. Pass {_WANTED}.")


def _word(path: Path, facts: Mapping[str, str], key: str, classes: Sequence[str]) -> str:
    said = facts.get(key, "nan")
    if said not in classes:
        raise CorruptFileError(
            f"{path} says {key} {said!r}; possible: {', '.join(classes)}. Restore it as published."
        )
    return said


def _number(path: Path, facts: Mapping[str, str], key: str) -> float:
    try:
        return float(facts.get(key, "nan"))
    except ValueError as error:
        raise CorruptFileError(
            f"{path} says {key} {facts[key]!r}; wanted a number. Restore it as published."
        ) from error
