"""The rows of a user's table of recordings, and every reason why a row does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from etab.datasets.own.across import against_cut, duplicates, split_patients, without_outcome
from etab.datasets.own.cells import TableCells, read_table_cells
from etab.datasets.own.description import COLUMNS, Description
from etab.datasets.own.files import DICOM, PICTURES, SOUNDS, form_of, name_without_suffix
from etab.datasets.own.labels import Label
from etab.datasets.own.notes import NearNames, spoiled_name, table_notes, why_no_number
from etab.datasets.own.paths import (
    is_archive,
    listed_files,
    several,
    why_no_file,
)
from etab.datasets.own.rows import OwnTable, RowProblem, TableRow
from etab.echo.views import canonical
from etab.errors import LayoutError, UnknownNameError
from etab.files import exists
from etab.readers.table import is_blank, parse_number, parse_whole, plain_identifier
from etab.splits import SPLIT_PARTS, part_of_word
from etab.types import Kind

_SHOWN = 40  # characters of a cell in a message


class _MisfitError(Exception):
    """A row that does not fit: the reason in a few words, the whole sentence, a missing file."""

    def __init__(self, reason: str, text: str, missing: str = "") -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
        self.missing = missing


def read_own_table(description: Description) -> OwnTable:
    """Read the table of a description and check every row.

    Args:
        description: The description.

    Returns:
        The rows that fit, in the order of the table, and the problems of the others.

    Raises:
        DataNotFoundError: The table is absent.
        LayoutError: The table lacks a column that the description names.
        CorruptFileError: The file is not a table.
    """
    cells = _cells(description)
    near = NearNames(description.folder)
    rows: list[TableRow] = []
    problems: list[RowProblem] = []
    for row in cells.rows:
        known = _known(description, row.cells)
        try:
            if row.reason:
                raise _MisfitError(row.reason, row.text)
            rows.append(_row(description, row.line, row.cells))
        except _MisfitError as misfit:
            text = misfit.text + (near.hint(misfit.missing) if misfit.missing else "")
            problems.append(RowProblem(row.line, known[0], misfit.reason, text, *known[1:]))
    checks = (
        duplicates,
        split_patients,
        partial(without_outcome, description),
        partial(against_cut, description),
    )
    for check in checks:
        found = check(rows)
        problems += found
        gone = {problem.line for problem in found}
        rows = [row for row in rows if row.line not in gone]
    files = [name for row in rows for role, name in row.files.items() if "/" not in role]
    notes = table_notes(description, cells, (row.patient for row in rows), files)
    in_order = sorted(problems, key=lambda problem: problem.line)
    return OwnTable(tuple(rows), tuple(in_order), notes)


def _cells(description: Description) -> TableCells:
    """The cells of every row as text; raises LayoutError where a column is missing."""
    table = description.table
    if not table.is_file():
        raise LayoutError(
            f"{description.path} names the table {table}, which is not there. Correct table = ..."
        )
    if not description.folder.is_dir():
        raise LayoutError(
            f"{description.path} names the folder {description.folder}, which is not there. "
            "Correct folder = ..., or leave it out where the files lie beside the description."
        )
    cells = read_table_cells(table, description.column("file"))
    wanted = [description.column("file"), description.column("patient")]
    wanted += [*description.columns.values(), *description.subgroups]
    roles = [description.column(role) for role in COLUMNS]
    wanted += [column for column in roles if column in cells.header]
    for label in description.labels:
        is_view = label.name == "view" and label.column == "view"
        wanted += [description.column("view") if is_view else label.column]
        wanted += [label.frames] if label.frames else []
    cells.require(wanted, table, description.path)
    return cells


def _known(description: Description, cells: Mapping[str, str]) -> tuple[str, str, str, str]:
    """The known id, patient, view and split of a row that does not fit."""
    file = _cell(description, cells, "file")
    patient = plain_identifier(_cell(description, cells, "patient"))
    view = ""
    split = ""
    try:
        view = _view(description, cells)
        split = _split(description, cells)
    except _MisfitError:
        pass
    return _cell(description, cells, "id") or file or "?", patient, view, split


def _cell(description: Description, cells: Mapping[str, str], role: str) -> str:
    """The text of a cell; "" for a blank one or an absent column."""
    text = cells.get(description.column(role), "")
    return "" if is_blank(text) else text.strip()


def _refuse_line_breaks(description: Description, cells: Mapping[str, str]) -> None:
    """Refuse a row whose names or facts have several lines: no report could show them as one."""
    for role in COLUMNS:
        text = _cell(description, cells, role)
        if len(text.splitlines()) > 1:
            raise _MisfitError(
                "a line break in a cell",
                f"the cell in the column {description.column(role)} has several lines: {text!r}. "
                "Write it in one line; rename a file whose name has a line break.",
            )


def _row(description: Description, line: int, cells: Mapping[str, str]) -> TableRow:
    _refuse_line_breaks(description, cells)
    patient = plain_identifier(_cell(description, cells, "patient"))
    if not patient:
        raise _MisfitError(
            "no patient",
            "the patient is missing; write it in every row, also where cells were merged.",
        )
    spoiled = spoiled_name(patient)
    if spoiled:
        raise _MisfitError("a spoiled patient id", f"the patient {patient} {spoiled}")
    files = _files(description, cells)
    suffix = form_of(description.folder / files["file0"])
    phases = _phases(description, cells)
    values: dict[str, float] = {}
    frames: dict[str, tuple[int, ...]] = {}
    for label in description.labels:
        _read_label(description, label, cells, files, values, frames, phases)
    meta: dict[str, Any] = {}
    # Features call the group of a recording its database; `--protocol lodo` leaves each out.
    for role, fact in (("study", "study"), ("group", "database")):
        text = _cell(description, cells, role)
        if text:
            meta[fact] = text
    by_study = any(label.per == "study" for label in description.labels)
    if description.sound and by_study and "study" in meta:
        meta["id"] = meta["study"]  # features of sound score a patient by this fact
    return TableRow(
        line=line,
        id=_cell(description, cells, "id") or _id_of(files),
        patient=patient,
        view=_view(description, cells),
        split=_split(description, cells),
        fps=_positive(description, cells, "fps"),
        spacing=None if suffix in DICOM else _spacing(description, cells),
        files=files,
        phases=phases,
        values=values,
        frames=frames,
        meta=meta,
        subgroups={
            column: cells[column].strip()
            for column in description.subgroups
            if not is_blank(cells[column])
        },
    )


def _id_of(files: Mapping[str, str]) -> str:
    """The path of the first file without its suffix."""
    return name_without_suffix(files["file0"])


def _step_to_read(description: Description, name: str) -> str:
    """What to do with a file of another kind than the recordings of a table."""
    if is_archive(name):
        return "Unpack it"
    form = form_of(description.folder / name)
    if form in SOUNDS and not description.sound:
        return f"For a table of sounds, write sound = true in {description.path.name}"
    if form in PICTURES and description.sound:
        return f"For a table of pictures, leave sound = true out of {description.path.name}"
    return "Convert it, or remove its row"


def _files(description: Description, cells: Mapping[str, str]) -> dict[str, str]:
    """The files of a recording by role; every one of them exists."""
    names = listed_files(description.folder, _cell(description, cells, "file"))
    if not names:
        raise _MisfitError("no file", "the file is missing.")
    suffixes = SOUNDS if description.sound else PICTURES
    for name in names:
        _check_file(description, name)
        if form_of(description.folder / name) not in suffixes:
            step = _step_to_read(description, name)
            raise _MisfitError(
                "a file of another kind", f"{name} is not one of {', '.join(suffixes)}. {step}."
            )
    if description.sound and len(names) > 1:
        raise _MisfitError("several sounds", f"{len(names)} sounds in one row; wanted one.")
    return {f"file{number}": name for number, name in enumerate(names)}


def _check_file(description: Description, name: str) -> None:
    path = PurePosixPath(name)
    has_drive = bool(PureWindowsPath(name).drive) and not exists(description.folder / name)
    if path.is_absolute() or ".." in path.parts or has_drive:
        raise _MisfitError(
            "a file outside the folder",
            f"{name} is not inside {description.folder}; write paths relative to the folder, or "
            f"name the folder of all files: folder = ... in {description.path.name}.",
        )
    try:
        is_there = (description.folder / name).is_file()
    except OSError as error:
        raise _MisfitError(
            "no name of a file", f"{name[:_SHOWN]!r}... is no name of a file: {error.strerror}."
        ) from error
    if not is_there:
        raise _MisfitError("a missing file", why_no_file(description.folder / name), name)


def _view(description: Description, cells: Mapping[str, str]) -> str:
    text = _cell(description, cells, "view")
    if not text:
        return "PCG" if description.sound else "unknown"
    try:
        return canonical(text)
    except UnknownNameError:
        raise _MisfitError(
            "an unknown view",
            f"view is {text!r}; `etab list views` lists the views. Write other for one of another "
            "kind.",
        ) from None


def _split(description: Description, cells: Mapping[str, str]) -> str:
    text = _cell(description, cells, "split").lower()
    split = part_of_word(text)
    if split not in ("", *SPLIT_PARTS):
        hint = " Folds are run from a file: --protocol lists:FILE." if text.isdecimal() else ""
        raise _MisfitError(
            "an unknown part of the split",
            f"split is {text!r}; wanted {', '.join(SPLIT_PARTS)}.{hint}",
        )
    return split


def _positive(description: Description, cells: Mapping[str, str], role: str) -> float | None:
    text = _cell(description, cells, role)
    if not text:
        return None
    value = parse_number(text)
    if value is None or value <= 0:
        raise _MisfitError(
            f"{role} is not a number above 0", f"{role} is {text!r}; wanted a number above 0."
        )
    return value


def _spacing(description: Description, cells: Mapping[str, str]) -> tuple[float, float] | None:
    """Spacing in mm: one number, or two for rows and columns, separated by x or ;."""
    text = _cell(description, cells, "spacing")
    if not text:
        return None
    numbers = [parse_number(part) for part in text.lower().replace("x", ";").split(";")]
    given = [number for number in numbers if number is not None and number > 0]
    if len(given) != len(numbers) or len(given) > 2:
        raise _MisfitError(
            "spacing is not in mm",
            f"spacing is {text!r}; wanted mm a pixel, such as 0.3 or 0.3x0.2.",
        )
    return given[0], given[-1]


def _phases(description: Description, cells: Mapping[str, str]) -> tuple[int, int] | None:
    texts = [_cell(description, cells, role) for role in ("ed", "es")]
    if not any(texts):
        return None
    ed, es = (parse_whole(text) for text in texts)
    if ed is None or es is None or ed < 0 or es < 0 or ed == es:
        raise _MisfitError(
            "ED and ES are not frames",
            f"ed is {texts[0]!r} and es {texts[1]!r}; wanted two frame numbers, from 0.",
        )
    return ed, es


def _read_label(
    description: Description,
    label: Label,
    cells: Mapping[str, str],
    files: dict[str, str],
    values: dict[str, float],
    frames: dict[str, tuple[int, ...]],
    phases: tuple[int, int] | None,
) -> None:
    """Add what a row holds for one label; a blank cell adds nothing."""
    text = cells.get(label.column, "")
    if label.name == "view" and label.column == "view":
        text = _view(description, cells) if _cell(description, cells, "view") else ""
    is_unknown = is_blank(text) and text.strip() not in label.classes  # "none" may be a class
    if is_unknown or (label.views and _view(description, cells) not in label.views):
        return
    text = text.strip()
    if label.frames:
        frames[label.name] = _frame_numbers(label, cells)
    if label.kind is Kind.VALUE:
        values[label.name] = _value(label, text)
    elif label.kind in (Kind.BINARY, Kind.CLASSES):
        values[label.name] = _class_index(label, text)
    else:
        names = listed_files(description.folder, text)
        for number, name in enumerate(names):
            _check_file(description, name)
            files[f"{label.name}/{number}"] = name
        if label.kind is Kind.MASK and label.name not in frames:
            frames[label.name] = _frames_of_masks(label, names, phases)


def _frame_numbers(label: Label, cells: Mapping[str, str]) -> tuple[int, ...]:
    text = cells.get(label.frames, "")
    numbers = [parse_whole(part) for part in several(text)]
    given = tuple(number for number in numbers if number is not None and number >= 0)
    if not given or len(given) < len(numbers):
        raise _MisfitError(
            f"{label.frames} is not a frame",
            f"{label.frames} is {text!r}; wanted frame numbers from 0, separated by ;.",
        )
    if len(set(given)) < len(given):
        raise _MisfitError(
            f"a frame twice in {label.frames}",
            f"{label.frames} is {text!r}; wanted each frame once.",
        )
    return given


def _frames_of_masks(
    label: Label, names: Sequence[str], phases: tuple[int, int] | None
) -> tuple[int, ...]:
    """The frames of masks without a column of frames: the only one, or ED and ES."""
    if len(names) == 1:
        return ()  # every frame of the file, from the first on
    if len(names) == 2 and phases is not None:
        return phases
    raise _MisfitError(
        f"masks of {label.name} without frames",
        f'{len(names)} masks of {label.name}; name their frames: frames = "COLUMN".',
    )


def _value(label: Label, text: str) -> float:
    value = parse_number(text.removesuffix(label.unit))
    if value is None:
        raise _MisfitError(
            f"{label.name} is not a number", f"{label.name} is {text!r}; {why_no_number(text)}"
        )
    if label.range is not None and not min(label.range) <= value <= max(label.range):
        raise _MisfitError(
            f"{label.name} out of range",
            f"{label.name} is {text}; wanted {min(label.range):g} to {max(label.range):g}.",
        )
    return value


def _class_index(label: Label, text: str) -> int:
    plain = plain_identifier(text)
    for index, name in enumerate(label.classes):
        if plain in (name, plain_identifier(name)):
            return index
    folded = [name.casefold() for name in label.classes]
    if folded.count(plain.casefold()) == 1:
        return folded.index(plain.casefold())
    raise _MisfitError(
        f"an unknown class of {label.name}",
        f"{label.name} is {text!r}; wanted one of {', '.join(label.classes)}.",
    )
