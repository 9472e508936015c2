"""BMD-HS: heart sounds of 108 adults with and without valve disease, eight recordings each, 4 kHz.

As published: ``train/<NAME>.wav``, ``train.csv`` (patient_id, AS, AR, MR, MS, N, recording_1 to
recording_8) and ``additional_metadata.csv`` (Age, Gender, Smoker, Lives). A name ends in posture
(sup, sit) and place (Mit, Tri, Pul, Aor). The authors' README describes a column MD in the words of
N and states 59 patients; the table of the release has no such column and 108 patients. Several
diseases are therefore counted from the four valve columns. One file has a longer name than its row
(``MD_085_sit_Tri6_06.wav`` for ``MD_085_sit_Tri``), and eight files belong to a person without a
row (``MD_022``): the former is read, the latter are left out; both are reported. Five recordings are
byte for byte another recording of the same person, so that the place of one of the two is wrong:
each is listed once, under its first name.

The people without disease are 20 to 24 years old and their recordings are louder: age or loudness
alone separates them from the others (``python -m benchmarks.valves``). The four diseases are
therefore answered for people with some valve disease only, and "disease" should not be read as a
diagnosis.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from etab.datasets.absent import files_absent
from etab.datasets.base import SOURCES, Card
from etab.datasets.paths import find_folder
from etab.datasets.wav_files import WavSource
from etab.errors import CorruptFileError
from etab.files import is_file
from etab.readers.audio import read_wav
from etab.readers.table import is_blank, parse_whole, read_table
from etab.storage.listing import visible
from etab.storage.text import counted
from etab.types import Answer, FloatArray, Kind, Record, Target

BMDHS_RATE = 4000
"""Samples per second of every recording."""

VALVE_DISEASES = ("AS", "AR", "MR", "MS")
"""Columns of diseases: aortic stenosis and regurgitation, mitral regurgitation and stenosis."""

DIAGNOSES = ("N", *VALVE_DISEASES, "MD")
"""Exclusive classes: none, one of the four diseases alone, or several (MD)."""

_WORDS = {
    "AS": "aortic stenosis",
    "AR": "aortic regurgitation",
    "MR": "mitral regurgitation",
    "MS": "mitral stenosis",
}
_POSTURES = {"sup": "supine", "sit": "sitting"}
_PLACES = {"Mit": "MV", "Tri": "TV", "Pul": "PV", "Aor": "AV"}
_RECORDINGS = tuple(f"recording_{number}" for number in range(1, 9))
_LABELS = (*VALVE_DISEASES, "N")
# The recordings that the release holds twice: the second name, and the first one.
_TWICE = {
    "MD_001_sit_Pul": "MD_001_sit_Tri",
    "MS_012_sit_Tri": "MS_012_sup_Aor",
    "MD_021_sup_Aor": "MD_021_sup_Pul",
    "MS_047_sit_Tri": "MS_047_sit_Mit",
    "MS_062_sit_Pul": "MS_062_sup_Tri",
}
_LISTED = 864
_TABLE = "train.csv"
_FACTS = "additional_metadata.csv"
_FACTS_OF_PERSON = {
    "Age": "age",
    "Gender": "sex",
    "Smoker": "smoker",
    "Lives": "lives",
}
_WANTED = f"the folder that contains train/ and {_TABLE}"

_CARD = Card(
    name="bmdhs",
    title="BMD-HS",
    code="B",
    modality="sound",
    views=("AV", "PV", "TV", "MV"),
    targets=(
        Target(
            "disease",
            Kind.BINARY,
            classes=("none", "valve disease"),
            description="any of the four valve diseases",
        ),
        Target(
            "diagnosis",
            Kind.CLASSES,
            classes=DIAGNOSES,
            description="no disease (N), one alone, or several (MD)",
        ),
        *(
            Target(
                name,
                Kind.BINARY,
                classes=("absent", "present"),
                description=f"{words}, alone or with others, of people with a valve disease",
            )
            for name, words in _WORDS.items()
        ),
    ),
    licence="none stated in the repository: ask the authors before you redistribute anything",
    citation="Ali et al., arXiv:2409.00724, 2024",
    access="free download at github.com/mHealthBuet/BMD-HS-Dataset",
    fps=float(BMDHS_RATE),
    counts={"patients": 108, "recordings": _LISTED - len(_TWICE)},
    last_seen_real="2026-11-29",
)


@SOURCES.register("bmdhs")
class BmdhsSource(WavSource):
    """BMD-HS as published, from the folder that holds ``train/`` and ``train.csv``.

    Example:
        >>> import tempfile
        >>> from etab.phantom import write
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(Path(folder), patients=12, names=["bmdhs"])
        ...     source = BmdhsSource(Path(folder) / "bmdhs")
        ...     (len(source.records()), len({record.patient for record in source.records()}))
        (95, 12)
    """

    card: ClassVar[Card] = _CARD

    def __init__(self, root: Path) -> None:
        """Find the data.

        Raises:
            DataNotFoundError: ``root`` is not a folder.
            LayoutError: The folder has another layout; the message names the folder to pass.
        """
        super().__init__(_find(Path(root)))
        self._records: tuple[Record, ...] | None = None
        self._renamed: dict[str, str] = {}
        self._stray: list[str] = []
        self._repeated: tuple[str, ...] = ()

    def records(self) -> Sequence[Record]:
        """List the recordings of every person, in the order of ``train.csv``.

        Returns:
            The records.

        Raises:
            LayoutError: A recording that the table lists is missing.
            CorruptFileError: A table cannot be read or contradicts itself.
        """
        if self._records is None:
            table = self.root / _TABLE
            rows = read_table(table, ["patient_id", *_LABELS, *_RECORDINGS])
            _check_rows(table, rows)
            self._match_files(rows)
            facts = self._facts()
            records = [record for row in rows for record in self._of(row, facts)]
            records = self._there(records)
            self._check_present(records)
            self._repeated = self._copies(records)
            self._records = tuple(r for r in records if r.id not in self._repeated)
        return self._records

    def wave(self, record: Record) -> tuple[FloatArray, int]:
        """Read all samples of a recording.

        Args:
            record: A recording of this source.

        Returns:
            Samples (n,) float32 with full scale at 1, and their rate in Hz.

        Raises:
            LayoutError: The file is missing.
            CorruptFileError: The file cannot be read, or has another rate.
        """
        return read_wav(self.root / record.files["audio"], rate=BMDHS_RATE)

    def answers(
        self,
        record: Record,
        target: Target,
        at: Collection[int] | None = None,
    ) -> tuple[Answer, ...]:
        """Return the label of the person, which every one of their recordings carries.

        Args:
            record: A recording of this source.
            target: A target of the card.
            at: Frame numbers; not used, as labels describe the person.

        Returns:
            One value: an index of the target's classes. None for one of the four diseases if the
            person has no valve disease.

        Raises:
            UnknownNameError: The card has no such target.
        """
        self.card.target(target.name)
        diseases = record.meta["diseases"]
        if target.name == "disease":
            return (Answer(int(bool(diseases))),)
        if target.name == "diagnosis":
            return (Answer(DIAGNOSES.index(_diagnosis(diseases))),)
        return (Answer(int(target.name in diseases)),) if diseases else ()

    def shared_files(self) -> Sequence[str]:
        """The table of labels."""
        return (_TABLE,)

    def published(self) -> Mapping[str, int]:
        """Published numbers of people and of different recordings."""
        self.records()
        return {
            "patients": self.card.counts["patients"],
            "recordings": _LISTED - len(self._repeated),
        }

    def notes(self) -> Sequence[str]:
        """The recordings that no row lists, and those that are copies of another."""
        self.records()
        sentences = []
        if self._stray:
            sentences.append(
                f"Recordings of nobody in {_TABLE}, left out: {len(self._stray)}, first "
                f"{self._stray[0]}."
            )
        if self._repeated:
            sentences.append(
                "Copies of another recording of the same person, left out: "
                f"{', '.join(self._repeated)}."
            )
        sentences += self._ages()
        return tuple(sentences)

    def remarks(self) -> Sequence[str]:
        """The files that are read under the name of their row."""
        people = {record.patient for record in self.records()}
        remarks = [
            f"{file}.wav is read as {name}, which {_TABLE} lists"
            for name, file in sorted(self._renamed.items())
        ]
        if not (self.root / _FACTS).is_file():
            return (*remarks, f"{_FACTS} is absent: age, sex, smoking and home are unknown")
        described = set(self._facts())
        for one, several, words, names in (
            ("person", "people", f"without a row in {_FACTS}", people - described),
            ("row", "rows", f"of {_FACTS} about nobody in {_TABLE}", described - people),
        ):
            if names:
                remarks.append(f"{counted(len(names), one, several)} {words}, first {min(names)}")
        return tuple(remarks)

    def _match_files(self, rows: Sequence[Mapping[str, str]]) -> None:
        """Find the files that have another name than their row, and those of nobody.

        A listed recording without a file takes the only unlisted file that begins with its name.
        """
        files = {path.stem for path in visible(self.root / "train", "*.wav")}
        listed = {row[column].strip() for row in rows for column in _RECORDINGS}
        unlisted = files - listed
        for name in sorted(listed - files):
            alike = [file for file in unlisted if file.startswith(name)]
            if len(alike) == 1:
                self._renamed[name] = alike[0]
        self._stray = sorted(unlisted - set(self._renamed.values()))

    def _copies(self, records: Sequence[Record]) -> tuple[str, ...]:
        """Name the recordings that the release is known to repeat, and that this copy repeats."""
        paths = {record.id: self._paths(record)[0] for record in records}
        copies = []
        for second, first in _TWICE.items():
            if first not in paths or second not in paths:
                continue
            if paths[first].read_bytes() == paths[second].read_bytes():
                copies.append(second)
        return tuple(copies)

    def _ages(self) -> list[str]:
        """Compare the ages of people with and without disease, if the table of ages is there."""
        ages: dict[bool, list[int]] = {False: [], True: []}
        for record in self.records():
            age = parse_whole(record.meta.get("age"))
            if age is not None:
                ages[bool(record.meta["diseases"])].append(age)
        if not ages[False] or not ages[True]:
            return []
        return [
            f"People without disease are {min(ages[False])} to {max(ages[False])} years old, "
            f"people with a disease {min(ages[True])} to {max(ages[True])}: the task `disease` is "
            "not free of age."
        ]

    def _facts(self) -> dict[str, dict[str, str]]:
        """Read age, sex, smoking and home of each person; the table may be absent."""
        table = self.root / _FACTS
        if not table.is_file():
            return {}
        facts = {}
        for row in read_table(table, ["patient_id", *_FACTS_OF_PERSON]):
            known = {
                name: row[column].strip()
                for column, name in _FACTS_OF_PERSON.items()
                if not is_blank(row[column])
            }
            facts[row["patient_id"].strip()] = known
        return facts

    def _of(
        self,
        row: Mapping[str, str],
        facts: Mapping[str, Mapping[str, str]],
    ) -> list[Record]:
        """Make the records of a row."""
        person = row["patient_id"].strip()
        diseases = [name for name in VALVE_DISEASES if parse_whole(row[name]) == 1]
        records = []
        for column in _RECORDINGS:
            name = row[column].strip()
            posture, place = _where(self.root / _TABLE, name)
            file = self._renamed.get(name, name)
            meta: dict[str, Any] = {
                "diseases": tuple(diseases),
                "posture": posture,
                **facts.get(person, {}),
            }
            files = {"audio": f"train/{file}.wav"}
            records.append(Record(name, person, place, "", float(BMDHS_RATE), files, meta))
        return records

    def _check_present(self, records: Sequence[Record]) -> None:
        """Raise LayoutError if a listed file is missing; a lenient source has left it out."""
        missing = [record for record in records if not is_file(self._paths(record)[0])]
        if missing:
            raise files_absent(
                [self.root / record.files["audio"] for record in missing],
                "recording",
                f"{_TABLE} lists",
                scores="recordings",
            )


def _diagnosis(diseases: Sequence[str]) -> str:
    """Return the exclusive class of a person."""
    if not diseases:
        return "N"
    return diseases[0] if len(diseases) == 1 else "MD"


def _where(table: Path, name: str) -> tuple[str, str]:
    """Return (posture, place) from the name of a recording."""
    posture, _, place = name.rpartition("_")
    posture = posture.rpartition("_")[2]
    if posture not in _POSTURES or place not in _PLACES:
        raise CorruptFileError(
            f"{table} lists the recording {name!r}; wanted a name that ends in a posture "
            f"({', '.join(_POSTURES)}) and a place ({', '.join(_PLACES)}), such as "
            "AS_005_sup_Mit. Restore the table as published."
        )
    return _POSTURES[posture], _PLACES[place]


def _check_rows(table: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Check labels, and that no person and no recording is listed twice.

    Raises:
        CorruptFileError: A label is not 0 or 1, N contradicts the diseases, or a name is repeated.
    """
    people: set[str] = set()
    owners: dict[str, str] = {}
    for row in rows:
        person = row["patient_id"].strip()
        if person in people:
            raise CorruptFileError(f"{table} lists {person} twice. Restore it as published.")
        people.add(person)
        values = {name: parse_whole(row[name]) for name in _LABELS}
        for name, value in values.items():
            if value not in (0, 1):
                raise CorruptFileError(
                    f"{table}: {person} has {name} {row[name]!r}; wanted 0 or 1. Restore it as "
                    "published."
                )
        diseased = any(values[name] for name in VALVE_DISEASES)
        if diseased == bool(values["N"]):
            wanted = "a disease or N, and not both"
            raise CorruptFileError(
                f"{table}: {person} has N {row['N']!r} and "
                f"{sum(bool(values[name]) for name in VALVE_DISEASES)} diseases; wanted {wanted}. "
                "Restore it as published."
            )
        for column in _RECORDINGS:
            name = row[column].strip()
            if name in owners:
                raise CorruptFileError(
                    f"{table} lists the recording {name!r} of {owners[name]} again for {person}. "
                    "Restore it as published."
                )
            owners[name] = person


def _find(root: Path) -> Path:
    """Find the folder of the table at or near ``root``."""
    near = [root, root / "BMD-HS-Dataset", root / "BMD-HS-Dataset-main"]
    if root.name == "train":
        near.append(root.absolute().parent)
    return find_folder(
        root,
        title="BMD-HS",
        wanted=_WANTED,
        near=near,
        holds=lambda path: (path / _TABLE).is_file() and (path / "train").is_dir(),
        lacks=lambda: f"{root / _TABLE} or {root / 'train'} is missing",
    )
