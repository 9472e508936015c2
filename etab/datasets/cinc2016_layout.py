"""The tables of the CinC Challenge 2016: labels, the appendix of patients, withdrawn records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from etab.errors import CorruptFileError
from etab.readers.table import (
    is_blank,
    is_numbered_header,
    parse_whole,
    plain_identifier,
    read_rows,
)

_NAME = re.compile(r"^[a-i]\d{4,5}$")
_NAMES_OF_RECORDS = frozenset(
    {"record", "record name", "record_name", "recording", "name", "file", "filename", "id"}
)


# The columns of the appendix by the names under which their values are kept.
_FACTS = {
    "diagnosis": "diagnosis",
    "site": "transducer site",
    "murmurs": "murmurs",
    "state": "recording state",
}


@dataclass(frozen=True, slots=True)
class Reference:
    """A row of REFERENCE*.csv.

    Attributes:
        label: 1 abnormal, -1 normal.
        good: Whether the signal is good; None where the table does not give it.
    """

    label: int
    good: bool | None = None


@dataclass(frozen=True, slots=True)
class Appendix:
    """A row of the appendix: the patient, the class (None where not given) and facts by name."""

    patient: str
    label: int | None
    facts: Mapping[str, str] = field(default_factory=dict)


def rows_of(path: Path) -> list[list[str]]:
    """Read the stripped cells of a table, without blank rows.

    A first row of column names, which other programs add, is left out.

    Args:
        path: The table.
    """
    rows = read_rows(path, lossy=True)
    if rows and (is_numbered_header(rows[0]) or rows[0][0].casefold() in _NAMES_OF_RECORDS):
        return rows[1:]
    return rows


def read_reference(path: Path) -> dict[str, Reference]:
    """Read the labels by record.

    Args:
        path: A table with the name and the label in the first two columns. The third column, if
            there is one, is the quality: 1 good, 0 unsure.

    Returns:
        The rows by the name of the record.

    Raises:
        CorruptFileError: A name is not one of the challenge, a label is neither 1 nor -1, a quality
            is neither 0 nor 1, a record is listed twice, or the table is empty. The message names
            the line.
    """
    labels: dict[str, Reference] = {}
    for number, row in enumerate(rows_of(path), start=1):
        name = row[0]
        label = parse_whole(row[1]) if len(row) > 1 else None
        quality = row[2] if len(row) > 2 else ""
        good = parse_whole(quality)
        known = is_blank(quality) or good in (0, 1)
        if not _NAME.match(name) or label not in (1, -1) or not known:
            raise CorruptFileError(
                f"{path}, line {number}: {','.join(row)[:80]!r}; wanted 'a0001,1' (1 abnormal, -1 "
                "normal), and a quality of 0 or 1 if there is a third column. Restore it as "
                "published."
            )
        if name in labels:
            raise CorruptFileError(
                f"{path} lists {name} twice, on line {number} again. Restore it as published."
            )
        labels[name] = Reference(label, None if good is None else good == 1)
    if not labels:
        raise CorruptFileError(f"{path} is empty: there are no labels. Download it again.")
    return labels


def read_withdrawn(path: Path) -> set[str]:
    """Read the names of the records that the organisers withdrew.

    Args:
        path: Their list, one name a line.
    """
    names = {row[0].removesuffix(".wav") for row in rows_of(path)}
    return {name for name in names if _NAME.match(name)}


def read_appendix(path: Path) -> dict[str, Appendix]:
    """Read the patients and facts by record.

    Args:
        path: The appendix. Its column names are in the first row that has a cell 'Challenge record
            name'; rows above it are not read.

    Returns:
        The rows by the name of the record.

    Raises:
        CorruptFileError: There is no such column, or a record is listed twice.
    """
    keys, rows = _named_columns(path)
    patients: dict[str, Appendix] = {}
    for cells in rows:
        row = dict(zip(keys, cells, strict=False))
        name = row["challenge record name"]
        if name in patients:
            raise CorruptFileError(f"{path} lists {name} twice. Restore it as published.")
        classes = [value for key, value in row.items() if key.startswith("class")]
        label = parse_whole(classes[0]) if classes else None
        if label not in (1, -1):
            label = None
        facts: dict[str, str] = {}
        for fact, key in _FACTS.items():
            value = _get(row, key)
            if not is_blank(value):
                facts[fact] = plain_identifier(value)
        patients[name] = Appendix(person(name, row), label, facts)
    return patients


def _named_columns(path: Path) -> tuple[list[str], list[list[str]]]:
    """Read the column names of the appendix, and the rows below them."""
    rows = read_rows(path, lossy=True)
    for i, row in enumerate(rows):
        keys = [_key(cell) for cell in row]
        if "challenge record name" in keys:
            return keys, rows[i + 1 :]
    raise CorruptFileError(f"{path} has no column 'Challenge record name'. Download it again.")


def person(name: str, row: Mapping[str, str]) -> str:
    """Identify the subject of a recording by its database.

    Database a uses the case number C of 'C12S3', b the column 'Subject ID', c the number of
    'id7', e the column '# Raw record' within its cohort: normal names are 'e123', names of the
    CAD cohort are plain numbers, and both count from 1. Databases d and f do not identify
    subjects, so each recording is a subject.

    Args:
        name: Name of the recording.
        row: Row of the appendix, by column name in lower case.

    Returns:
        A name that is unique over all databases.
    """
    original = _get(row, "original record name")
    letter = name[:1]
    if letter == "a" and (match := re.match(r"^C(\d+)S\d+", original)):
        return f"a-C{match.group(1)}"
    if letter == "b":
        subject = plain_identifier(_get(row, "subject id"))
        match = re.match(r"^S(\d+)f\d+", original)
        if not is_blank(subject):
            return f"b-{subject}"
        if match:
            return f"b-{match.group(1)}"
    if letter == "c" and (match := re.match(r"^id(\d+)", original)):
        return f"c-{match.group(1)}"
    raw = plain_identifier(_get(row, "# raw record"))
    if letter == "e" and not is_blank(raw):
        return f"e-{'normal' if original.lower().startswith('e') else 'cad'}-{raw}"
    return name


def _key(cell: str) -> str:
    return " ".join(cell.lower().split())


def _get(row: Mapping[str, str], start: str) -> str:
    """The cell whose column starts with these words; '' where there is none."""
    return next((value for key, value in row.items() if key.startswith(start)), "")
