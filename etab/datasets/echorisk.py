"""EchoRisk (MICCAI 2026): apical cines of patients under treatment that can harm the heart.

A row of ``manifest.csv`` is an examination of a patient at one of up to five times, T1 to T5, with
the paths of its four- and two-chamber views below ``videos/``. An empty path means that the view
was not recorded. The organisers strip the label columns from the manifest of the test part.

The layout of a manifest and of ``videos/`` is public (github.com/EchoRisk-MICCAI/
echorisk-benchmark, docs/HARNESS_SPEC.md). How the released parts lie beside each other is not:
a folder with ``manifest.csv`` is read as it is, and a folder with ``train/``, ``val/`` or ``test/``
takes each of these as a part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from etab.datasets.base import SOURCES, Card
from etab.datasets.objects import OBJECT, ObjectSource, check_objects, check_once, object_path
from etab.datasets.paths import find_folder
from etab.datasets.traced import number_between
from etab.errors import CorruptFileError, LayoutError
from etab.readers.table import is_blank, plain_identifier, read_table
from etab.splits import check_leaks
from etab.storage.text import counted
from etab.types import Answer, Kind, Record, Target

MANIFEST = "manifest.csv"
TIMES = ("T1", "T2", "T3", "T4", "T5")
_COLUMNS = ("patient_id", "timepoint", "video_a4c", "video_a2c")
_VIEW_OF_COLUMN = {"video_a4c": "A4C", "video_a2c": "A2C"}
_PARTS = ("train", "val", "test")
_WANTED = f"the folder that contains {MANIFEST} and videos/"
_BINARY = ("lv_dysfunction", "cardiotoxicity")

_CARD = Card(
    name="echorisk",
    title="EchoRisk (MICCAI 2026)",
    code="R",
    modality="echo",
    views=("A2C", "A4C"),
    targets=(
        Target(
            "EF",
            Kind.VALUE,
            unit="%",
            description="ejection fraction of the left ventricle, of the examination",
        ),
        Target(
            "dysfunction",
            Kind.BINARY,
            classes=("GLS < -16 %", "GLS >= -16 %"),
            description="dysfunction of the left ventricle by global longitudinal strain",
        ),
        Target(
            "cardiotoxicity",
            Kind.BINARY,
            classes=("no cardiotoxicity", "cardiotoxicity"),
            description="cardiotoxicity within 12 months; of the first examination only (T1)",
        ),
        Target(
            "view",
            Kind.CLASSES,
            classes=("A2C", "A4C"),
            description="apical 2- or 4-chamber view",
        ),
    ),
    licence="terms of the challenge, signed at registration (not public); its code is MIT",
    citation="EchoRisk-MICCAI 2026 Challenge, doi:10.5281/zenodo.19727928; arXiv:2607.01039",
    access="registration at echorisk-miccai.github.io",
)
_COLUMN_OF_TARGET = {
    "EF": "lvef",
    "dysfunction": "lv_dysfunction",
    "cardiotoxicity": "cardiotoxicity",
}


@SOURCES.register("echorisk")
class EchoRiskSource(ObjectSource):
    """EchoRisk as released: a manifest and the DICOM cines that it lists.

    A recording is a cine. ``meta["study"]`` is its examination, ``meta["timepoint"]`` T1 to T5.
    """

    card: ClassVar[Card] = _CARD

    def __init__(self, root: Path) -> None:
        """Find the data.

        Raises:
            DataNotFoundError: ``root`` is not a folder.
            LayoutError: The folder has another layout; the message names the folder to pass.
        """
        super().__init__(_find(Path(root)))
        self._manifests = _manifests(self.root)
        _require_manifests(self.root, self._manifests)
        self._records: tuple[Record, ...] | None = None
        self._without_video: list[str] = []

    @property
    def phantom(self) -> bool:
        """Whether the marker file, or a comment in an object, marks a phantom."""
        return self._is_phantom()

    def records(self) -> Sequence[Record]:
        """List every cine, in the order of the manifests.

        Raises:
            LayoutError: A listed cine is missing; the message names the first one.
            CorruptFileError: A row or a cine cannot be read.
            SplitError: A patient is in two parts.
        """
        if self._records is None:
            self._without_video = []
            listed = [record for part in self._manifests for record in self._of_part(part)]
            check_leaks(listed)
            self._records = tuple(self._with_rates(listed))
        return self._records

    def answers(
        self,
        record: Record,
        target: Target,
        at: Collection[int] | None = None,
    ) -> tuple[Answer, ...]:
        """Return the reference values, which describe whole examinations.

        Args:
            record: A recording of this source.
            target: A target of the card.
            at: Not used: no value belongs to a frame.

        Returns:
            One value; none where the manifest has none, or for cardiotoxicity after T1.
        """
        self.card.target(target.name)
        if target.name == "view":
            return (Answer(self.card.views.index(record.view)),)
        column = _COLUMN_OF_TARGET[target.name]
        if column not in record.meta:
            return ()
        if target.name == "cardiotoxicity" and record.meta["timepoint"] != TIMES[0]:
            return ()
        value = record.meta[column]
        return (Answer(float(value) if target.kind is Kind.VALUE else int(value)),)

    def shared_files(self) -> Sequence[str]:
        """Name the manifests."""
        return tuple(f"{folder}{MANIFEST}" for _, folder in self._manifests)

    def tally(self) -> Mapping[str, int]:
        """Count the examinations, and the recordings of each view."""
        records = self.records()
        views = Counter(record.view for record in records)
        exams = {record.meta["study"] for record in records}
        return {"examinations": len(exams)} | {view: views[view] for view in self.card.views}

    def remarks(self) -> Sequence[str]:
        """Count the examinations without any cine, and name labels that this copy lacks."""
        records = self.records()
        remarks = []
        if self._without_video:
            remarks.append(
                f"{counted(len(self._without_video), 'examination has', 'examinations have')} no "
                f"cine of either view, first {self._without_video[0]}: an entry of the challenge must predict them, too"
            )
        for column in _COLUMN_OF_TARGET.values():
            if not any(column in record.meta for record in records):
                remarks.append(f"no examination has {column} in this copy")
        return remarks

    def _of_part(self, part: tuple[str, str]) -> Iterator[Record]:
        """List the cines of a manifest, with the labels of their examinations."""
        split, folder = part
        table = self.root / folder / MANIFEST
        exams_of_video: dict[str, list[str]] = {}
        exams: set[str] = set()
        for row in read_table(table, _COLUMNS):
            exam, meta = _exam(table, row)
            if exam in exams:
                raise CorruptFileError(f"{table} lists {exam} twice. Restore it as published.")
            exams.add(exam)
            paths = {
                view: f"{folder}videos/{object_path(table, exam, row[column])}"
                for column, view in _VIEW_OF_COLUMN.items()
                if row[column]
            }
            if not paths:
                self._without_video.append(exam)
            for view, path in paths.items():
                exams_of_video.setdefault(path, []).append(exam)
                name = f"{exam}_{view}"
                patient = plain_identifier(row["patient_id"])
                yield Record(name, patient, view, split, None, {OBJECT: path}, meta)
        if not exams:
            raise CorruptFileError(f"{table} lists no examination. Restore it as published.")
        check_once(table, exams_of_video)
        if self.faults is None:
            check_objects(table, self.root, list(exams_of_video))


def _find(root: Path) -> Path:
    """Find the folder of the manifest, or of the parts, at or near ``root``."""
    return find_folder(
        root,
        title="EchoRisk",
        wanted=_WANTED,
        near=[root, root / "input"],
        holds=lambda path: bool(_manifests(path)),
        lacks=lambda: f"{root / MANIFEST} is missing",
    )


def _manifests(root: Path) -> tuple[tuple[str, str], ...]:
    """List the manifests as (part of the split, folder with a slash); the root has no part."""
    if (root / MANIFEST).is_file():
        return (("", ""),)
    return tuple((part, f"{part}/") for part in _PARTS if (root / part / MANIFEST).is_file())


def _require_manifests(root: Path, manifests: Sequence[tuple[str, str]]) -> None:
    """Refuse a folder in which a part has cines and no manifest: the part would be lost."""
    for part in _PARTS:
        has_videos = (root / part / "videos").is_dir()
        if has_videos and not any(folder == f"{part}/" for _, folder in manifests):
            raise LayoutError(
                f"{root / part / MANIFEST} is missing, and {root / part / 'videos'} is there. "
                "Restore it as published, or move the part away."
            )


def _exam(table: Path, row: Mapping[str, str]) -> tuple[str, dict[str, object]]:
    """Read the key and the facts of an examination.

    Raises:
        CorruptFileError: The patient is blank, the time is none of T1 to T5, or a label is not
            what it should be.
    """
    patient = plain_identifier(row["patient_id"])
    time = row["timepoint"]
    if not patient or time not in TIMES:
        raise CorruptFileError(
            f"{table}: a row has the patient_id {patient[:80]!r} and the timepoint {time[:80]!r}; "
            f"wanted an identifier and one of {', '.join(TIMES)}. Restore it as published."
        )
    exam = f"{patient}_{time}"
    meta: dict[str, object] = {"study": exam, "timepoint": time}
    if not is_blank(row.get("lvef")):
        meta["lvef"] = number_between(table, row, "lvef", 0, 100, name="patient_id")
    for column in _BINARY:
        if is_blank(row.get(column)):
            continue
        value = number_between(table, row, column, 0, 1, name="patient_id")
        if value not in (0, 1):
            raise CorruptFileError(
                f"{table}: {exam} has {column} {row[column][:80]!r}; wanted 0 or 1."
            )
        meta[column] = int(value)
    return exam, meta
