"""The table of a folder that lists its recordings: the one that ``etab data init`` describes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from etab.datasets.own.cells import read_table_cells
from etab.datasets.own.columns import roles
from etab.datasets.own.files import name_without_suffix
from etab.datasets.own.guess import Inferred
from etab.datasets.own.paths import listed_files
from etab.errors import EtabError
from etab.readers.table import read_rows
from etab.storage.text import counted

_PARQUET = (".parquet", ".pq")
_TABLES = (".csv", ".tsv", ".txt", *_PARQUET)
_TOLD = (".csv", ".xlsx", ".xls", *_PARQUET)  # tables that people keep labels in
_LOOKED_AT = 5  # lines of a table that the one of its names is compared with
_LOCK = "~$"  # begins the names of files that a spreadsheet leaves beside an open one


@dataclass(frozen=True, slots=True)
class FoundTable:
    """A table of recordings, found or made.

    Attributes:
        path: The file.
        columns: Columns by role.
        header: Names of the columns.
        rows: Cells of each row.
        is_new: Whether the file has to be written.
        remarks: Sentences on what has to be checked.
        inferred: What was inferred from names of folders and files, such as "patients".
    """

    path: Path
    columns: Mapping[str, str]
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_new: bool = False
    remarks: Sequence[str] = field(default_factory=list)
    inferred: Sequence[str] = ()


def find_table(
    folder: Path,
    names: Sequence[str],
    recordings: Sequence[str],
    inferred: Inferred,
    beside: Mapping[str, Mapping[str, str]],
    new: Path,
) -> tuple[FoundTable | None, list[str]]:
    """A table of the folder that lists its recordings, and why other tables are not used.

    Args:
        folder: The folder.
        names: Its files.
        recordings: Its recordings.
        inferred: What the names say about the recordings.
        beside: Masks or states of recordings, by the name of their column.
        new: Where a copy with a column of files would be written.

    Returns:
        The table, or None; and a sentence for each table that is not used.
    """
    unused: list[str] = []
    of_recordings = {file for files in beside.values() for file in files.values()}
    found: FoundTable | None = None
    found_in = Path()
    for name in sorted(names, key=lambda name: (name.count("/"), name)):
        suffix = Path(name).suffix.lower()
        is_lock = Path(name).name.startswith(_LOCK)
        if suffix not in (*_TABLES, *_TOLD) or is_lock or name in of_recordings:
            continue
        if found is not None and Path(name).parent != found_in:
            continue  # tables of other folders are many, and rarely of the same recordings
        table = _used(folder, name, recordings, inferred, beside, new)
        if isinstance(table, str):
            if suffix in _TOLD and found is None:
                unused.append(f"{name} is not used: {table}")
        elif found is None:
            found = table
            found_in = Path(name).parent
        else:
            unused.append(
                f"{name} lists recordings, too, and is not used; join the tables, or describe it by "
                "a file of its own"
            )
    return found, unused


def _used(
    folder: Path,
    name: str,
    recordings: Sequence[str],
    inferred: Inferred,
    beside: Mapping[str, Mapping[str, str]],
    new: Path,
) -> FoundTable | str:
    """A table of recordings, or a sentence that says why the file is none."""
    path = folder / name
    try:
        lines = _lines(path)
    except EtabError as error:
        return str(error)
    if len(lines) < 2:
        return "it has no rows"
    header = lines[0]
    if 2 * sum(map(bool, header)) <= max(map(len, lines[1:_LOOKED_AT])):
        return "its first line does not name every column; remove the lines above the names"
    twice = [name for name, n in Counter(header).items() if name and n > 1]
    if twice:
        return f"it has the column {twice[0]!r} twice; rename or remove one of the two"
    rows = [row for row in lines[1:] if len(row) == len(header)]
    odd = len(lines) - 1 - len(rows)
    has_patients = "patient" in roles(header, rows)
    listed = set(recordings)
    column = _file_column(header, rows, lambda cell: bool(_listed(folder, cell, listed)))
    if column is not None and has_patients:
        place = header.index(column)
        used = {file for row in rows for file in _listed(folder, row[place], listed)}
        return FoundTable(
            path,
            {"file": column, **roles(header, rows)},
            header,
            rows,
            remarks=_absent(recordings, used, path),
        )
    keys = _short_names(recordings)
    column = _file_column(header, rows, lambda cell: _meant(cell, keys) is not None)
    table: FoundTable | str
    if column is not None:
        table = _copied(path, header, rows, column, keys, recordings, inferred, new)
    elif has_patients and _file_column(header, rows, set(inferred.patients).__contains__):
        table = _joined(path, header, rows, recordings, inferred, beside, new)
    else:
        return f"no column holds names of the recordings, such as {min(recordings)!r}"
    if odd and not isinstance(table, str):
        text = f"{odd} rows of {path.name} have another number of cells than its header"
        return replace(table, remarks=[*table.remarks, text])
    return table


def _lines(path: Path) -> list[list[str]]:
    """The names of the columns and the cells of each row, as text."""
    if path.suffix.lower() not in _PARQUET:
        return read_rows(path)
    table = read_table_cells(path, "file")
    columns = [name for name in table.header if name not in table.nested]
    return [columns, *[[row.cells[name] for name in columns] for row in table.rows]]


def _listed(folder: Path, cell: str, recordings: set[str]) -> list[str]:
    """The recordings that a cell lists as ``etab data check`` reads it; none if it is of others."""
    if cell in recordings:
        return [cell]
    is_path = ";" in cell or "\\" in cell or cell.startswith("/")
    files = listed_files(folder, cell) if is_path else []
    return files if recordings.issuperset(files) else []


def _meant(cell: str, keys: Mapping[str, str]) -> str | None:
    """The recording that a cell means, also by a path of another computer.

    Args:
        cell: The text of a cell, such as "C:\\\\data\\\\p1.avi".
        keys: Recordings by their shorter names.
    """
    if cell in keys:
        return keys[cell]
    parts = cell.replace("\\", "/").split("/")
    endings = ["/".join(parts[start:]) for start in range(1, len(parts))]
    return next((keys[ending] for ending in endings if ending in keys), None)


def _absent(recordings: Sequence[str], listed: Collection[str], path: Path) -> list[str]:
    """A sentence on the recordings that a table does not list; none if it lists all of them."""
    absent = len(set(recordings) - set(listed))
    return [f"{absent} of {len(recordings)} recordings are not in {path.name}"] if absent else []


def _short_names(recordings: Sequence[str]) -> dict[str, str]:
    """The recording that each shorter name means: without folders, suffix, or both."""
    meant: dict[str, set[str]] = {}
    for recording in recordings:
        last = recording.rpartition("/")[2]
        for short in (recording, last, name_without_suffix(recording), name_without_suffix(last)):
            meant.setdefault(short, set()).add(recording)
    return {short: min(found) for short, found in meant.items() if len(found) == 1}


def _copied(
    path: Path,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    column: str,
    keys: Mapping[str, str],
    recordings: Sequence[str],
    inferred: Inferred,
    new: Path,
) -> FoundTable:
    """A copy of a table with a column of files, and patients where it has none."""
    patient_of = dict(zip(recordings, inferred.patients, strict=True))
    place = header.index(column)
    remarks = [f"{path.name} was copied to {new.name}, with a column of files"]
    has_patients = "patient" in roles(header, rows)
    added = ["file"] if has_patients else ["file", "patient"]
    kept = [i for i, name in enumerate(header) if i != place and name != "file"]
    listed: list[list[str]] = []
    for row in rows:
        file = _meant(row[place], keys)
        if file:
            patient = [] if has_patients else [patient_of[file]]
            listed.append([file, *patient, *(row[i] for i in kept)])
    if not has_patients:
        remarks += [
            f"{path.name} has no column called patient, patient_id, subject, ...; patients were "
            "inferred from names",
            *inferred.remarks,
        ]
    if len(listed) < len(rows):
        remarks.append(
            f"{counted(len(rows) - len(listed), 'row')} of {path.name} without a recording"
        )
    remarks += _absent(recordings, {row[0] for row in listed}, path)
    columns = [*added, *(header[i] for i in kept)]
    return _new_table(new, columns, listed, remarks, () if has_patients else ("patients",))


def _joined(
    path: Path,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    recordings: Sequence[str],
    inferred: Inferred,
    beside: Mapping[str, Mapping[str, str]],
    new: Path,
) -> FoundTable | str:
    """A copy of a table with one row for each patient, with the recordings of each patient."""
    place = header.index(roles(header, rows)["patient"])
    row_of = {row[place]: row for row in rows}
    if len(row_of) < len(rows):
        return (
            "no column holds names of the recordings, and several rows are of one patient; add the "
            "column file"
        )
    added = ["file"]
    if any(inferred.views) and "view" not in roles(header, rows):
        added.append("view")
    added += [column for column, files in beside.items() if files]
    kept = [i for i, name in enumerate(header) if name not in added]
    columns = [*added, *(header[i] for i in kept)]
    listed: list[list[str]] = []
    for recording, patient, view in zip(recordings, inferred.patients, inferred.views, strict=True):
        if patient in row_of:
            own = {"file": recording, "view": view}
            own |= {column: files.get(recording, "") for column, files in beside.items()}
            listed.append([*(own[name] for name in added), *(row_of[patient][i] for i in kept)])
    remarks = [f"{path.name} was copied to {new.name}, with the recordings of each patient"]
    remarks += [
        f"the column {name} of {path.name} was left out: that of {new.name} was inferred from names"
        for name in header
        if name in added
    ]
    left = len(recordings) - len(listed)
    if left:
        remarks.append(f"{left} of {len(recordings)} recordings are of no patient in {path.name}")
    absent = len(set(row_of) - set(inferred.patients))
    if absent:
        remarks.append(f"{counted(absent, 'patient')} of {path.name} without a recording")
    # Which patient a recording is of was inferred from its name.
    guessed = ("patients", "views") if "view" in added else ("patients",)
    return _new_table(new, columns, listed, remarks, guessed)


def _new_table(
    path: Path,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    remarks: Sequence[str],
    inferred: Sequence[str],
) -> FoundTable:
    """A table that has to be written, with a column of files."""
    columns = {"file": "file", **roles(header, rows)}
    return FoundTable(path, columns, header, rows, True, remarks, inferred)


def _file_column(
    header: Sequence[str], rows: Sequence[Sequence[str]], fits: Callable[[str], bool]
) -> str | None:
    """The column of which most cells fit."""
    for index, name in enumerate(header):
        matches = sum(fits(row[index]) for row in rows)
        if rows and matches > len(rows) / 2:
            return name
    return None
