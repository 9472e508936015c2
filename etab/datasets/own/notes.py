"""Notes on a user's own table whose rows are all valid, such as names that are nearly alike."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

from etab.datasets.own.cells import TableCells
from etab.datasets.own.description import Description
from etab.datasets.own.files import name_without_suffix
from etab.readers.table import is_blank
from etab.storage.listing import visible_files
from etab.storage.text import counted
from etab.types import Kind

_NAMED = 3
_LEADING_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
_DATE = re.compile(
    r"\d{4}-\d\d?-\d\d?( 00:00:00)?"
    r"|\d\d?[./]\d\d?[./]\d{2,4}"
    r"|\d\d?-[A-Z][a-z]{2}"
    r"|[A-Z][a-z]{2}-\d\d"
)
_QUOTES = " '\"`´‘’‚“”„«»"
_NOBODY = (
    "",
    "?",
    "x",
    "xx",
    "xxx",
    "unknown",
    "unbekannt",
    "anonymous",
    "anonym",
    "anon",
    "missing",
)
_SHORTENED = re.compile(r"\d(\.\d+)?[eE]\+?\d+")
_FAILED_FORMULA = re.compile(r"#[A-Z]+(/0|\?)?!?")
_WITH_COMMA = re.compile(r"[-+]?\d+,\d+")
_IN_GROUPS = re.compile(r"([-+]?\d{1,3}(?:[.,' ]\d{3})+)[.,](\d+)")
_NUMBER_AND_MORE = re.compile(r"([-+]?\d+([.,]\d+)?)\s*([^\W\d]|[%°‰]).*")


def spoiled_name(text: str) -> str:
    """Say what a spreadsheet made of a name; "" where the name looks whole.

    Args:
        text: The name of a patient.

    Returns:
        A sentence, for ``1.23457E+11`` and ``#REF!``.

    Example:
        >>> spoiled_name("1.23457E+11")[:26], spoiled_name("p001")
        ('was shortened by a spreads', '')
    """
    if _SHORTENED.fullmatch(text):
        return (
            "was shortened by a spreadsheet, so that several patients may share it; save the ids "
            "as text."
        )
    if _FAILED_FORMULA.fullmatch(text) and text[-1] in "!?":
        return "is the error of a formula; write the id itself."
    return ""


def why_no_number(text: str) -> str:
    """Say what is wanted in place of a cell that holds no number.

    Args:
        text: The cell.

    Returns:
        The second half of a sentence.

    Example:
        >>> why_no_number("high"), why_no_number("46,5")
        ('wanted a number.', 'wanted a number with a decimal point, 46.5.')
    """
    if _FAILED_FORMULA.fullmatch(text):
        return "it is the error of a formula; write the value, or leave the cell blank."
    groups = _IN_GROUPS.fullmatch(text)
    if groups is not None:
        digits = re.sub(r"[.,' ]", "", groups[1])
        return f"wanted a number without signs between thousands, {digits}.{groups[2]}."
    if _WITH_COMMA.fullmatch(text):
        return f"wanted a number with a decimal point, {text.replace(',', '.')}."
    more = _NUMBER_AND_MORE.fullmatch(text)
    if more is not None:
        return (
            f"wanted a number alone, such as {more[1].replace(',', '.')}; write its unit once, as "
            "unit = ... of the label."
        )
    return "wanted a number."


def table_notes(
    description: Description, cells: TableCells, patients: Iterable[str], files: Iterable[str]
) -> tuple[str, ...]:
    """Describe what may be a slip of a table.

    Args:
        description: The description.
        cells: The cells of the table.
        patients: Patients of the rows that fit.
        files: Files of the rows that fit.

    Returns:
        A sentence on patients whose names differ in case, leading zeros or letters that are not
        seen, one on patients that are dates, one on those that stand for nobody known, one on files
        whose names differ in case, one on words and errors of formulas that count as unknown, and
        one on rows without their last cells; none where there are none.
    """
    names = sorted(set(patients))
    file_column = description.column("file")
    notes = []
    close = _alike(names, _plain_patient)
    if close:
        notes.append(
            f"patients {_listed(close)} are counted as different; correct the table where they are "
            "one person."
        )
    dates = [name for name in names if _DATE.fullmatch(name)]
    if dates:
        notes.append(
            f"{len(dates)} of {len(names)} patients are dates, such as {dates[0]}: a spreadsheet "
            "may have turned ids into dates, and two patients with one date would count as one."
        )
    notes += _stand_ins(description, cells, names)
    listed = sorted(set(files))
    same = _alike(listed, str.casefold)
    if same:
        notes.append(
            f"files {_listed(same)} differ only in upper and lower case: Windows and macOS take "
            "them for one file."
        )
    as_written = {file for file in listed if "\\" in file}  # it is a part of the name
    windows = [
        row.line
        for row in cells.rows
        if any(
            "\\" in part and part.strip() not in as_written
            for part in row.cells.get(file_column, "").split(";")
        )
    ]
    if windows:
        notes.append(
            f"{counted(len(windows), 'name of a file has', 'names of files have')} backslashes, "
            f"first line {windows[0]}, "
            "which are read as slashes."
        )
    short = [row.line for row in cells.rows if row.is_short and not row.reason]
    if short:
        notes.append(
            f"{counted(len(short), 'row is', 'rows are')} shorter than the header, first line "
            f"{short[0]}; missing "
            "cells count as blank."
        )
    return (*notes, *_unknown_words(description, cells))


def _stand_ins(description: Description, cells: TableCells, names: Sequence[str]) -> list[str]:
    """A sentence on patients whose names say that nobody knows them, in several rows."""
    column = description.column("patient")
    counts = Counter(row.cells.get(column, "").strip() for row in cells.rows)
    return [
        f"{counts[name]} recordings are of the patient {name!r} and count as one person; give each "
        "person an id."
        for name in names
        if counts[name] > 1 and _plain_patient(name).strip(".-_ ") in _NOBODY
    ]


def _plain_patient(name: str) -> str:
    seen = "".join(letter for letter in unicodedata.normalize("NFKC", name) if letter.isprintable())
    return _LEADING_ZEROS.sub("", " ".join(seen.casefold().split()))


def _alike(names: Sequence[str], plain: Callable[[str], str]) -> list[list[str]]:
    """Groups of different names that one function maps to the same text."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(plain(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _listed(groups: Sequence[Sequence[str]]) -> str:
    shown = ", ".join(" and ".join(map(_seen, group)) for group in groups[:_NAMED])
    more = len(groups) - _NAMED
    return f"{shown} and {more} more pairs" if more > 0 else shown


def _seen(name: str) -> str:
    """A name as it is written, with codes for letters that look like others or like nothing."""
    return name if name.isprintable() and unicodedata.is_normalized("NFKC", name) else ascii(name)


def _unknown_words(description: Description, cells: TableCells) -> list[str]:
    """Notes on words in columns of classes that count as blank, such as none."""
    notes = []
    for label in description.labels:
        has_classes = label.kind in (Kind.BINARY, Kind.CLASSES)
        texts = [row.cells.get(label.column, "").strip() for row in cells.rows]
        blanks = Counter(text for text in texts if text and is_blank(text))
        for word, count in blanks.items():
            if word.startswith("#"):
                notes.append(
                    f"{label.name}: the error of a formula, {word!r}, counts as unknown in "
                    f"{counted(count, 'cell')}."
                )
            elif has_classes and word not in label.classes:
                notes.append(
                    f"{label.name}: {counted(count, 'cell')} {word!r} counted as unknown; add "
                    "the word to "
                    "classes if it is a class."
                )
    return notes


class NearNames:
    """Files of a folder by their names in small letters, to suggest names for a missing file."""

    def __init__(self, folder: Path) -> None:
        """Take the folder; it is read when a file is missing."""
        self.folder = folder
        self._names: dict[Path, dict[str, str]] = {}
        self._below: dict[str, str] | None = None

    def hint(self, name: str) -> str:
        """A sentence on a file whose name is nearly the same; "" where there is none.

        Args:
            name: The name of the file that is missing.
        """
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            return ""
        near = self._in_folder(self.folder / path.parent).get(_plain_file(path.name))
        found = (path.parent / near).as_posix() if near else self._anywhere(path.name)
        return f" There is {found!r}: write the name so." if found else ""

    def _in_folder(self, folder: Path) -> dict[str, str]:
        if folder not in self._names:
            try:
                files = [path.name for path in folder.iterdir() if path.is_file()]
            except OSError:
                files = []
            self._names[folder] = _by_plain_name(files)
        return self._names[folder]

    def _anywhere(self, name: str) -> str:
        """The only file of that name in all folders; "" where there is none, or several."""
        if self._below is None:
            files = [path.relative_to(self.folder) for path in visible_files(self.folder)]
            self._below = _by_plain_name([path.as_posix() for path in files])
        return self._below.get(_plain_file(name), "")


def _by_plain_name(files: Sequence[str]) -> dict[str, str]:
    """Files by their last names in small letters, with and without suffix, where one file has it."""
    meant: dict[str, set[str]] = {}
    for file in files:
        last = PurePosixPath(file).name
        for name in (last, name_without_suffix(last)):
            meant.setdefault(_plain_file(name), set()).add(file)
    return {name: min(found) for name, found in meant.items() if len(found) == 1}


def _plain_file(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().strip(_QUOTES)
