"""A folder of DICOM ultrasound studies as recordings: every 2-D object of every study, masked.

Personal data stay in the files. Patient, study and object become keyed digests, no other personal
tag is read, and frames are cut to the ultrasound sector, with zeros outside it. Set ETAB_DICOM_KEY
to a secret of your own: it keys the digests, and without it anybody with a list of patient numbers
can match digests to patients.

A ``labels.csv`` in the folder may add labels: the column ``file`` (relative to the folder) and any
of ``view``, ``patient``, ``split`` (train, val, test) and ``EF``. Without it every view is
"unknown" and no target has reference values.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import ClassVar

from etab.datasets.base import SOURCES, Card, Fault
from etab.datasets.objects import ObjectSource, tissue_planes
from etab.echo.views import CANONICAL, canonical
from etab.errors import CorruptFileError, DataNotFoundError, EtabError, LayoutError
from etab.readers.dicom import DicomInfo, dicom_info, is_dicom
from etab.readers.table import is_blank, parse_number, plain_identifier, read_table
from etab.splits import SPLIT_PARTS, check_leaks
from etab.storage.listing import visible_files
from etab.types import Answer, Kind, Record, Target

_UNKNOWN = "unknown"
_NAMED = tuple(view for view in CANONICAL if view != _UNKNOWN)
_LABELS = "labels.csv"
_COLUMNS = ("file", "view", "patient", "split", "EF")
_SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")
_NAMED_FILES = 5

_CARD = Card(
    name="dicom",
    title="DICOM ultrasound studies of your own",
    code="F",
    modality="echo",
    views=(*_NAMED, _UNKNOWN),
    targets=(
        Target(
            "view",
            Kind.CLASSES,
            classes=_NAMED,
            description="view, where labels.csv names it",
        ),
        Target(
            "EF",
            Kind.VALUE,
            unit="%",
            description="ejection fraction, where labels.csv gives it",
        ),
    ),
    licence="whatever governs your own files; nothing leaves the machine",
    citation="your own",
    access="a folder of DICOM files, one object a file, in any arrangement of folders",
)


@SOURCES.register("dicom")
class DicomSource(ObjectSource):
    """Every ultrasound object under a folder that shows a 2-D picture.

    ``skipped`` lists (file, reason) of what is left out: other files, other modalities, spectra and
    M-mode alone.
    """

    card: ClassVar[Card] = _CARD

    def __init__(self, root: Path) -> None:
        """Name the folder; raises DataNotFoundError where it is none."""
        if not Path(root).is_dir():
            raise DataNotFoundError(
                f"{root} is not a folder. Pass the folder that holds the DICOM studies."
            )
        super().__init__(Path(root))
        self._left_out: list[tuple[str, str]] = []
        self._records: tuple[Record, ...] | None = None

    @property
    def phantom(self) -> bool:
        """Whether the marker file, a patient's name or a comment in an object marks a phantom."""
        return self._is_phantom()

    def records(self) -> Sequence[Record]:
        """One recording an object, by file name.

        Raises:
            LayoutError: No ultrasound is there, or an object that the labels list is not.
            CorruptFileError: An object, a file that is called like one, or a label cannot be read.
            SplitError: A patient is in two splits.
        """
        if self._records is None:
            paths = visible_files(self.root)
            names = [path.relative_to(self.root).as_posix() for path in paths]
            objects = [name for name in names if is_dicom(self.root / name)]
            labels = _labels(
                self.root / _LABELS, set(objects), None if self.faults is None else self._absent
            )
            self._left_out = []
            self._note_others(names, set(objects))
            records = self._objects(objects, labels)
            if not records:
                raise LayoutError(
                    f"{self.root} holds no ultrasound: {len(names)} files, {len(objects)} of them "
                    "DICOM. "
                    f"Pass the folder that holds the studies.{_first(self._left_out)}"
                )
            _check_unique(self.root, records)
            check_leaks(records)
            self._records = tuple(records)
        return self._records

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """Each file that is not a recording, and why."""
        self.records()
        return tuple(self._left_out)

    def remarks(self) -> Sequence[str]:
        """The files that are not recordings, counted and named, by reason."""
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.skipped:
            by_reason.setdefault(reason, []).append(name)
        return [
            f"{len(names)} {'file' if len(names) == 1 else 'files'} left out, {reason}: "
            f"{_some_names(names)}"
            for reason, names in by_reason.items()
        ]

    def _note_others(self, names: Sequence[str], objects: Collection[str]) -> None:
        """Note the files that are not DICOM; one that is called like an object is a fault."""
        for name in names:
            if name in objects or name in (_LABELS, "PHANTOM"):
                continue
            if PurePosixPath(name).suffix.lower() in _SUFFIXES:
                reason = (
                    f"{self.root / name} is named like a DICOM file but does not begin like one."
                )
                why = f"{reason} Export it again, or leave it out."
                self._give_up(Fault(name, why), CorruptFileError(why))
            self._left_out.append((name, "not a DICOM file"))

    def _objects(
        self, objects: Sequence[str], labels: Mapping[str, Mapping[str, str]]
    ) -> list[Record]:
        """List the objects that hold a two-dimensional picture; the others are noted."""
        records = []
        for name in objects:
            label = labels.get(name, {})
            try:
                info = dicom_info(self.root / name)
            except CorruptFileError as error:
                known = (
                    label.get("patient", ""),
                    label.get("view", ""),
                    label.get("split", ""),
                )
                self._give_up(Fault(name, str(error), *known), error)
                continue
            reason = _unfit(info)
            if reason:
                self._left_out.append((name, reason))
                continue
            self._infos[name] = info
            records.append(_record(name, info, label))
        return records

    def _absent(self, name: str, label: Mapping[str, str]) -> None:
        """Note an object that the labels list and that is not there, or no DICOM."""
        known = (
            label.get("patient", ""),
            label.get("view", ""),
            label.get("split", ""),
        )
        why = f"{self.root / name} is missing, or no DICOM; {_LABELS} lists it."
        self._give_up(Fault(name, why, *known), LayoutError(why))

    def answers(
        self,
        record: Record,
        target: Target,
        at: Collection[int] | None = None,
    ) -> tuple[Answer, ...]:
        """Return the reference values of labels.csv.

        Args:
            record: A recording of this source.
            target: A target of the card.
            at: Frame numbers, from 0; values of other frames are left out. None takes all.

        Returns:
            The values in frame order; empty if the table has none.
        """
        self.card.target(target.name)
        if target.name == "view":
            return () if record.view == _UNKNOWN else (Answer(_NAMED.index(record.view)),)
        return (Answer(float(record.meta["EF"])),) if "EF" in record.meta else ()

    def shared_files(self) -> Sequence[str]:
        """The labels, where there are any."""
        return (_LABELS,) if (self.root / _LABELS).is_file() else ()


def _unfit(info: DicomInfo) -> str:
    """State why an object is left out; "" if it is not."""
    if info.modality not in ("US", "IVUS"):
        return f"its modality is {info.modality or 'not given'}"
    if not info.rows:
        return "it holds no picture"
    if info.regions and not tissue_planes(info):
        return "it shows spectra or M-mode alone"
    return ""


def _some_names(names: Sequence[str]) -> str:
    """Write the first names of a list, and how many more there are."""
    first_names = ", ".join(names[:_NAMED_FILES])
    more = len(names) - _NAMED_FILES
    return f"{first_names} and {more} more" if more > 0 else first_names


def _first(skipped: Sequence[tuple[str, str]]) -> str:
    return f" First left out: {skipped[0][0]} ({skipped[0][1]})." if skipped else ""


def _digest(*parts: str) -> str:
    """12 hexadecimal digits that stand for what identifies a person, keyed by ETAB_DICOM_KEY."""
    key = blake2b(os.environ.get("ETAB_DICOM_KEY", "").encode()).digest()
    return blake2b(
        "\0".join(parts).encode(),
        key=key,
        digest_size=6,
    ).hexdigest()


def _record(
    name: str,
    info: DicomInfo,
    label: Mapping[str, str],
) -> Record:
    patient = label.get("patient") or "p" + _digest("patient", info.patient or info.study or name)
    meta: dict[str, object] = {
        "study": "s" + _digest("study", info.study or name),
        "frames": info.n_frames,
    }
    if label.get("EF"):
        meta["EF"] = float(label["EF"])
    return Record(
        "o" + _digest("object", info.instance or name),
        patient,
        label.get("view") or _UNKNOWN,
        label.get("split", ""),
        info.fps,
        {"object": name},
        meta,
    )


def _check_unique(root: Path, records: Sequence[Record]) -> None:
    name_of_object: dict[str, str] = {}
    for record in records:
        name = record.files["object"]
        if record.id in name_of_object:
            raise CorruptFileError(
                f"{root / name} is the same object as {name_of_object[record.id]}. Keep one of "
                "them."
            )
        name_of_object[record.id] = name


def _labels(
    path: Path,
    objects: Collection[str],
    note_absent: Callable[[str, Mapping[str, str]], None] | None = None,
) -> dict[str, dict[str, str]]:
    """Read labels.csv and check every row.

    Args:
        path: The table; it need not exist.
        objects: Names of the DICOM files, relative to the folder.
        note_absent: Called with the name and labels of a row whose file is not among ``objects``;
            None makes such a row an error.

    Returns:
        Labels by file name; empty where there is no table or it has no rows.

    Raises:
        CorruptFileError: A row names no file of the folder or one that has a row already, or a
            label is not what it should be.
        LayoutError: A row names a file that is absent.
    """
    if not path.is_file() or path.stat().st_size == 0:
        return {}
    rows = read_table(
        path,
        ("file",),
        ragged=True,
        hint=f"Its columns are {', '.join(_COLUMNS)}; all but file may be absent.",
    )
    for name in rows[0] if rows else ():
        meant = next((known for known in _COLUMNS if known.lower() == name.lower()), name)
        if meant != name:
            raise CorruptFileError(f"{path} has the column {name!r}; wanted {meant!r}. Rename it.")
    labels: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, start=2):
        label = {key: "" if is_blank(value) else value for key, value in row.items()}
        name = label["file"].replace("\\", "/")
        if not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise CorruptFileError(
                f"{path}, line {number}: file is {name!r}; wanted a name inside the folder."
            )
        if name in labels:
            raise CorruptFileError(
                f"{path}, line {number}: {name} is listed twice. Keep one row of it."
            )
        if name in objects:
            labels[name] = _checked(path, number, label)
        elif note_absent is not None:
            note_absent(name, label)
        else:
            raise LayoutError(
                f"{path.parent / name} is missing; {path}, line {number}, lists it. "
                "Restore it, or drop the row."
            )
    return labels


def _checked(
    path: Path,
    number: int,
    label: dict[str, str],
) -> dict[str, str]:
    """Check the labels of one row; the view and the patient are returned as etab names them."""
    where = f"{path}, line {number}"
    label["patient"] = plain_identifier(label.get("patient"))
    try:
        label["view"] = canonical(label["view"]) if label.get("view") else ""
    except EtabError as error:
        raise CorruptFileError(f"{where}: {error}") from error
    if label.get("split", "") not in (*SPLIT_PARTS, ""):
        raise CorruptFileError(
            f"{where}: split is {label['split']!r}; wanted {', '.join(SPLIT_PARTS)}."
        )
    if label.get("EF"):
        value = parse_number(label["EF"])
        if value is None or not 0 <= value <= 100:
            raise CorruptFileError(
                f"{where}: EF is {label['EF']!r}; wanted a number from 0 to 100."
            )
    return label
