"""MIMIC-IV-ECHO: DICOM objects of 7,243 hospital studies, with views by ECHOVIEW.

``echo-record-list.csv`` lists the objects, ``files/p10/p10002221/s94106955/94106955_0001.dcm``. A
study is copied whole or not at all: studies without any file are left out and counted, a study that
lacks some of its files is an error.

Views come from ECHOVIEW, whose labels are predictions of a classifier, checked by a cardiologist
on a sample. The ejection fraction of a study comes from ``structured-measurement.csv.gz``, through
the ``measurement_id`` of ``echo-study-list.csv``; that of a cine from the ``FileList.csv`` of
MIMIC-IV-ECHO-Ext-LVVol-A4C. The authors give no split. The part of a subject is decided by the
sha256 of its number: a tenth each is val and test.

ECHOVIEW and LVVol-A4C are releases of their own: put their tables beside the record list as
``echoview.csv`` and ``FileList.csv``. ECHOVIEW's column names are not public, so a table with the
columns ``dicom_filepath`` and ``view`` is read.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from etab.datasets.base import SOURCES, Card, Fault
from etab.datasets.mimic_tables import (
    LVVOL,
    MEASURED,
    RECORDS,
    STUDIES,
    VIEWS,
    ListedObject,
    read_measured,
    read_objects,
    read_single_plane,
    read_views,
)
from etab.datasets.objects import OBJECT, ObjectSource
from etab.datasets.paths import find_folder
from etab.echo.views import CANONICAL
from etab.errors import LayoutError
from etab.storage.text import counted
from etab.types import Answer, Kind, Record, Target

_NAMED = tuple(view for view in CANONICAL if view != "unknown")
_WANTED = f"the folder that contains {RECORDS} and files/"
_TENTHS = {0: "test", 1: "val"}
_SALT = "mimic-iv-echo"
_VIEW_OF_WORD = {view.lower(): view for view in _NAMED}
_SEPARATORS = re.compile(r"[^a-z0-9]+")

_CARD = Card(
    name="mimic_echo",
    title="MIMIC-IV-ECHO with ECHOVIEW",
    code="M",
    modality="echo",
    views=(*_NAMED, "unknown"),
    targets=(
        Target(
            "view",
            Kind.CLASSES,
            classes=_NAMED,
            description="view, predicted by the classifier of ECHOVIEW",
        ),
        Target(
            "EF",
            Kind.VALUE,
            unit="%",
            description="ejection fraction that was recorded for the study (lvef)",
        ),
        Target(
            "EF_A4C",
            Kind.VALUE,
            unit="%",
            description="single-plane ejection fraction of an A4C cine (LVVol-A4C)",
        ),
    ),
    licence="PhysioNet Credentialed Health Data License 1.5.0: no redistribution",
    citation="Gow et al., MIMIC-IV-ECHO 1.0, PhysioNet, 2026, doi:10.13026/nrjh-5r77",
    access="credentialed access at PhysioNet (training and a data use agreement): mimic-iv-echo "
    "1.0, with echoview 0.1 and mimic-iv-echo-ext-lvvol-a4c 1.0.0",
)


@dataclass(slots=True)
class _Counts:
    """Recordings that this copy lacks, for remarks."""

    absent_studies: int = 0
    absent_objects: int = 0
    unlabelled: int = 0
    notes: list[str] = field(default_factory=list)


@SOURCES.register("mimic_echo")
class MimicEchoSource(ObjectSource):
    """MIMIC-IV-ECHO as released, and the tables of ECHOVIEW and LVVol-A4C beside it.

    A recording is an object. Where ``echoview.csv`` or ``FileList.csv`` is there, only the objects
    that they list are recordings; without them all objects are, with the view "unknown".
    ``meta["study"]`` is the study.
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
        self._counts = _Counts()

    @property
    def phantom(self) -> bool:
        """Whether the marker file, or a comment in the first object, marks a phantom."""
        return self._is_phantom()

    def records(self) -> Sequence[Record]:
        """List the objects, in the order of the record list.

        Headers are read on demand, so that ``fps`` is None.

        Raises:
            LayoutError: A study lacks some of its files, or none is there at all.
            CorruptFileError: A table contradicts itself or another one.
        """
        if self._records is None:
            self._counts = _Counts()
            listed = read_objects(self.root / RECORDS)
            views = read_views(self.root / VIEWS, listed)
            single_plane = read_single_plane(self.root / LVVOL, listed)
            measured = read_measured(self.root / STUDIES, self.root / MEASURED)
            self._counts.notes += measured.notes
            self._note_empty({VIEWS: views, LVVOL: single_plane, MEASURED: measured.values})
            is_labelled = bool(views or single_plane)
            records = []
            for item in self._present(listed):
                if is_labelled and item.path not in views and item.path not in single_plane:
                    self._counts.unlabelled += 1
                    continue
                word = views.get(item.path, "A4C" if item.path in single_plane else "unknown")
                records.append(
                    _record(
                        item, word, measured.values.get(item.study), single_plane.get(item.path)
                    )
                )
            self._records = tuple(self._there(records))
        return self._records

    def answers(
        self,
        record: Record,
        target: Target,
        at: Collection[int] | None = None,
    ) -> tuple[Answer, ...]:
        """Return the reference values, which describe whole recordings.

        Args:
            record: A recording of this source.
            target: A target of the card.
            at: Not used: no value belongs to a frame.

        Returns:
            One value, or none where the tables give none.
        """
        self.card.target(target.name)
        if target.name == "view":
            return (Answer(_NAMED.index(record.view)),) if record.view in _NAMED else ()
        return (Answer(record.meta[target.name]),) if target.name in record.meta else ()

    def shared_files(self) -> Sequence[str]:
        """Name the tables that are there."""
        names = (RECORDS, STUDIES, MEASURED, VIEWS, LVVOL)
        return tuple(name for name in names if (self.root / name).is_file())

    def tally(self) -> Mapping[str, int]:
        """Count the studies, and the recordings of each view."""
        records = self.records()
        views = Counter(record.view for record in records)
        studies = {record.meta["study"] for record in records}
        return {"studies": len(studies)} | {view: views[view] for view in self.card.views}

    def remarks(self) -> Sequence[str]:
        """Count what was left out of this copy, and name tables that are absent."""
        self.records()
        remarks = list(self._counts.notes)
        if self._counts.absent_studies:
            remarks.append(
                f"not in this copy: {counted(self._counts.absent_studies, 'study', 'studies')} "
                f"with {counted(self._counts.absent_objects, 'object')} of {RECORDS}"
            )
        if self._counts.unlabelled:
            remarks.append(
                f"{counted(self._counts.unlabelled, 'object')} left out: in neither {VIEWS} nor "
                f"{LVVOL}"
            )
        for name in (VIEWS, LVVOL, STUDIES, MEASURED):
            if not (self.root / name).is_file():
                remarks.append(f"{name} is absent, so what it would say is unknown")
        return remarks

    def _note_empty(self, tables: Mapping[str, Collection[str]]) -> None:
        """Note the tables that are there but say nothing about any object or study."""
        for name, facts in tables.items():
            if (self.root / name).is_file() and not facts:
                self._counts.notes.append(f"{name} says nothing about any study: it may be empty")

    def _present(self, objects: Mapping[str, ListedObject]) -> list[ListedObject]:
        """Select the objects of the studies that are there, in the order of the record list.

        Raises:
            LayoutError: A study lacks some of its files, or no study is there.
        """
        by_study: dict[str, list[ListedObject]] = defaultdict(list)
        for item in objects.values():
            by_study[item.study].append(item)
        present: set[str] = set()
        for items in by_study.values():
            absent = [item.path for item in items if not (self.root / item.path).is_file()]
            if len(absent) == len(items):
                self._counts.absent_studies += 1
                self._counts.absent_objects += len(items)
                continue
            for path in absent:
                reason = (
                    f"{self.root / path} is missing, and other files of its study are there. "
                    "Download the study again."
                )
                item = objects[path]
                fault = Fault(item.name, reason, item.subject, "", _part(item.subject))
                self._give_up(fault, LayoutError(reason))
            present |= {item.path for item in items} - set(absent)
        if not present:
            first = next(iter(objects))
            raise LayoutError(
                f"{self.root} holds no object of {RECORDS}: the first one, {first}, is missing, "
                "and so are all others. Download the studies below files/."
            )
        return [item for path, item in objects.items() if path in present]


def _find(root: Path) -> Path:
    """Find the folder of the record list at or near ``root``."""
    near = [root, root / "1.0", root / "mimic-iv-echo" / "1.0"]
    return find_folder(
        root,
        title="MIMIC-IV-ECHO",
        wanted=_WANTED,
        near=near,
        holds=lambda path: (path / RECORDS).is_file(),
        lacks=lambda: f"{root / RECORDS} is missing",
    )


def _part(subject: str) -> str:
    """Return the part of the split of a subject: by the sha256 of its number, 8 : 1 : 1.

    Example:
        >>> _part("10002221"), _part("10000032")
        ('train', 'test')
    """
    digest = hashlib.sha256(f"{_SALT} {subject}".encode()).digest()
    return _TENTHS.get(int.from_bytes(digest[:8], "big") % 10, "train")


def _view(word: str) -> str:
    """Return the canonical view of a label: that of its first word; Doppler is "other".

    Example:
        >>> _view("A4C"), _view("PSAX-AV"), _view("A4C-Doppler"), _view("Subcostal")
        ('A4C', 'PSAX', 'other', 'other')
    """
    words = [part for part in _SEPARATORS.split(word.lower()) if part]
    if words == ["unknown"]:
        return "unknown"
    if not words or any("doppler" in part for part in words):
        return "other"
    return _VIEW_OF_WORD.get(words[0], "other")


def _record(
    item: ListedObject,
    word: str,
    ejection: float | None,
    single_plane: float | None,
) -> Record:
    """Make the record of an object."""
    meta: dict[str, object] = {"study": f"s{item.study}", "label": word}
    if ejection is not None:
        meta["EF"] = ejection
    if single_plane is not None:
        meta["EF_A4C"] = single_plane
    return Record(
        item.name,
        f"p{item.subject}",
        _view(word),
        _part(item.subject),
        None,
        {OBJECT: item.path},
        meta,
    )
