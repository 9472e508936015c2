"""The tables of MIMIC-IV-ECHO, ECHOVIEW and LVVol-A4C."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from etab.datasets.traced import number_between
from etab.errors import CorruptFileError
from etab.readers.regular import require_regular
from etab.readers.table import is_blank, parse_number, plain_identifier, read_table
from etab.storage.text import counted

RECORDS = "echo-record-list.csv"
STUDIES = "echo-study-list.csv"
MEASURED = "structured-measurement.csv.gz"
VIEWS = "echoview.csv"
LVVOL = "FileList.csv"

_PATH = re.compile(r"files/p(\d+)/p(\d+)/s(\d+)/(\d+)_\d+\.dcm")
_EJECTION = "lvef"
_LONGEST_LINE = 1 << 17  # characters, as many as a cell may have
_MEASURED_COLUMNS = ("measurement_id", "measurement", "result")


@dataclass(frozen=True, slots=True)
class ListedObject:
    """A row of the record list.

    Attributes:
        path: The file, relative to the root.
        subject: The number of the patient.
        study: The number of the study.
    """

    path: str
    subject: str
    study: str

    @property
    def name(self) -> str:
        """The name of the file without its suffix."""
        return self.path.rsplit("/", 1)[-1].removesuffix(".dcm")


@dataclass(frozen=True, slots=True)
class Measured:
    """Ejection fractions of studies.

    Attributes:
        values: The value in percent by study.
        notes: Values that were left out, counted.
    """

    values: Mapping[str, float]
    notes: list[str] = field(default_factory=list)


def read_objects(table: Path) -> dict[str, ListedObject]:
    """Read the record list.

    Args:
        table: echo-record-list.csv.

    Returns:
        The objects by path, in the order of the table.

    Raises:
        LayoutError: The table is absent.
        CorruptFileError: A path is not one of the release, contradicts its row, or is there twice,
            or a study has two subjects.
    """
    objects: dict[str, ListedObject] = {}
    subject_of_study: dict[str, str] = {}
    for row in read_table(table, ("subject_id", "study_id", "dicom_filepath")):
        path = row["dicom_filepath"]
        match = _PATH.fullmatch(path)
        subject = plain_identifier(row["subject_id"])
        study = plain_identifier(row["study_id"])
        wanted = (subject[:2], subject, study, study)
        if match is None or match.groups() != wanted:
            raise CorruptFileError(
                f"{table}: subject {subject[:20]!r}, study {study[:20]!r} has the file "
                f"{path[:80]!r}; wanted files/pNN/pSUBJECT/sSTUDY/STUDY_NNNN.dcm. Download it "
                "again."
            )
        if path in objects:
            raise CorruptFileError(f"{table} lists {path} twice. Download it again.")
        if subject_of_study.setdefault(study, subject) != subject:
            raise CorruptFileError(
                f"{table}: the study {study} is of two subjects, {subject_of_study[study]} and "
                f"{subject}. Download it again."
            )
        objects[path] = ListedObject(path, subject, study)
    if not objects:
        raise CorruptFileError(f"{table} lists no object. Download it again.")
    return objects


def read_views(table: Path, objects: Mapping[str, ListedObject]) -> dict[str, str]:
    """Read the labels of ECHOVIEW.

    Args:
        table: A table with the columns dicom_filepath and view; it need not exist.
        objects: The objects of the record list, by path.

    Returns:
        The label of each object, by path.

    Raises:
        CorruptFileError: A column is absent, an object is not in the record list, a label is
            blank, or an object has two.
    """
    labels: dict[str, str] = {}
    if not table.is_file():
        return labels
    hint = "Rename its columns of paths and of views to these."
    for row in read_table(table, ("dicom_filepath", "view"), hint=hint):
        path = _listed(table, row["dicom_filepath"], objects)
        if is_blank(row["view"]):
            raise CorruptFileError(f"{table}: {path} has no view. Leave its row out.")
        if labels.setdefault(path, row["view"]) != row["view"]:
            raise CorruptFileError(
                f"{table}: {path} has two views, {labels[path]!r} and {row['view']!r}. Keep one."
            )
    return labels


def read_single_plane(table: Path, objects: Mapping[str, ListedObject]) -> dict[str, float]:
    """Read the ejection fractions of LVVol-A4C.

    Args:
        table: FileList.csv of LVVol-A4C; it need not exist.
        objects: The objects of the record list, by path.

    Returns:
        LVEF_A4C in percent, by path.

    Raises:
        CorruptFileError: A column is absent, a value is not a number from 0 to 100, a cine is there
            twice or not in the record list, or its patient is another one than there.
    """
    values: dict[str, float] = {}
    if not table.is_file():
        return values
    for row in read_table(table, ("patient_id", "parent_dicom_path", "LVEF_A4C")):
        path = _listed(table, row["parent_dicom_path"], objects)
        if path in values:
            raise CorruptFileError(f"{table} lists {path} twice. Download it again.")
        value = number_between(table, row, "LVEF_A4C", 0, 100, name="parent_dicom_path")
        subject = objects[path].subject
        patient = plain_identifier(row["patient_id"]).removeprefix("p")
        if subject != patient:
            raise CorruptFileError(
                f"{table}: {path} is of patient {patient}, and {RECORDS} says {subject}. "
                "Download both again."
            )
        values[path] = value
    return values


def _listed(table: Path, text: str, objects: Mapping[str, ListedObject]) -> str:
    """Return the path of a cell; CorruptFileError if the record list does not have it."""
    path = text.strip().replace("\\", "/")
    if path not in objects:
        raise CorruptFileError(
            f"{table} names {text[:80]!r}, which {RECORDS} does not list; wanted a dicom_filepath "
            "of the same release."
        )
    return path


def read_measured(studies: Path, measured: Path) -> Measured:
    """Read the ejection fraction that was recorded for each study.

    Args:
        studies: echo-study-list.csv, which gives studies a measurement_id; it need not exist.
        measured: structured-measurement.csv.gz; it need not exist.

    Returns:
        The values by study. A result that is not a number from 0 to 100, and results that
        contradict each other, are left out and counted.

    Raises:
        CorruptFileError: A table cannot be read, or lacks a column.
    """
    if not studies.is_file() or not measured.is_file():
        return Measured({})
    study_of_measurement: dict[str, list[str]] = {}
    for row in read_table(studies, ("study_id", "measurement_id")):
        key = plain_identifier(row["measurement_id"])
        if not is_blank(key):
            study_of_measurement.setdefault(key, []).append(plain_identifier(row["study_id"]))
    results: dict[str, set[float]] = {}
    no_number = 0
    for row in _lines(measured):
        key = plain_identifier(row["measurement_id"])
        if key not in study_of_measurement or row["measurement"].lower() != _EJECTION:
            continue
        value = parse_number(row["result"])
        if value is None or not 0 <= value <= 100:
            no_number += 1
            continue
        results.setdefault(key, set()).add(value)
    values: dict[str, float] = {}
    contradicted = 0
    for key, numbers in results.items():
        if len(numbers) > 1:
            contradicted += 1
            continue
        values |= dict.fromkeys(study_of_measurement[key], next(iter(numbers)))
    notes = []
    if no_number:
        notes.append(
            f"{counted(no_number, 'result')} of {_EJECTION} left out: no number from 0 to 100"
        )
    if contradicted:
        notes.append(
            f"{counted(contradicted, 'measurement')} left out: several values of {_EJECTION}"
        )
    return Measured(values, notes)


def _lines(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a compressed table, which is too large to be held in memory."""
    require_regular(path)
    try:
        with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(_short_lines(file))
            absent = [name for name in _MEASURED_COLUMNS if name not in (reader.fieldnames or ())]
            if absent:
                raise CorruptFileError(
                    f"{path} has no column {absent[0]!r}; wanted "
                    f"{', '.join(_MEASURED_COLUMNS)}. Download it again."
                )
            for row in reader:
                yield {name: (row[name] or "").strip() for name in _MEASURED_COLUMNS}
    except (OSError, EOFError, zlib.error, ValueError, csv.Error) as error:
        raise CorruptFileError(
            f"{path} is not a compressed table: {error}. Download it again."
        ) from error


def _short_lines(file: TextIO) -> Iterator[str]:
    """Yield the lines of a file; raises ValueError for one without end, which may be gigabytes."""
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise ValueError(f"it has a line of {_LONGEST_LINE:,} characters or more")
        yield line
