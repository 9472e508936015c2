"""A first description of a folder of recordings: what ``etab data init`` writes."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from etab.datasets.own.cells import csv_text
from etab.datasets.own.columns import FEW_CLASSES, fold_remarks, label_lines, quoted, roles
from etab.datasets.own.cuts import with_cuts
from etab.datasets.own.files import (
    PICTURES,
    SOUNDS,
    form_of,
    link_remarks,
    mask_values,
    name_without_suffix,
)
from etab.datasets.own.guess import Inferred, infer_from_names, without_masks
from etab.datasets.own.paths import (
    is_archive,
    is_text,
    name_of_folder,
    relative_to_file,
    several,
)
from etab.errors import DataNotFoundError, EtabError, LayoutError, UnsupportedOptionError
from etab.readers.table import read_rows
from etab.storage.atomic import write_atomically
from etab.storage.listing import visible_files
from etab.storage.text import counted

_TABLES = (".csv", ".tsv", ".txt")
_TOLD = (".csv", ".xlsx", ".xls", ".parquet", ".pq")  # tables that people keep labels in
_MOST_TOLD = 8
_LOOKED_AT = 5  # lines of a table that the one of its names is compared with
_READ_MASKS = 3  # masks from which the structures are inferred
_LOCK = "~$"  # begins the names of files that a spreadsheet leaves beside an open one


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of recordings, found or made.

    Attributes:
        path: The file.
        columns: Columns by role.
        header: Names of the columns.
        rows: Cells of each row.
        is_new: Whether the file has to be written.
        remarks: Sentences on what has to be checked.
    """

    path: Path
    columns: Mapping[str, str]
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_new: bool = False
    remarks: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Draft:
    """The files that were written, and the guesses that have to be checked by hand.

    Attributes:
        description: The description.
        table: The table, written or found.
        recordings: Number of recordings.
        patients: Number of patients that were inferred from names.
        steps: What to do next.
    """

    description: Path
    table: Path
    recordings: int
    patients: int
    steps: tuple[str, ...]

    def render(self) -> str:
        """Write it as text."""
        recordings = counted(self.recordings, "recording")
        head = f"{self.description}: {recordings} of {counted(self.patients, 'patient')}."
        return "\n".join([head, "Next:", *[f"  {step}" for step in self.steps]])


def write_draft(folder: Path, out: Path | None = None, *, sound: bool | None = None) -> Draft:
    """Describe a folder of recordings as well as names and tables allow.

    A table in the folder whose column names files of the folder is used as it is. One that names
    them without their folders or suffixes, or has one row for each patient, is copied, with a
    column of files. Otherwise a table is written from the names: patients, views, parts of the
    split, classes, masks and states.

    Args:
        folder: The folder of recordings.
        out: The description to write; None for a file in the folder that is called like it.
        sound: Whether the sounds of the folder are described; None for the commonest kind of file.

    Returns:
        What was written.

    Raises:
        DataNotFoundError: There is no such folder.
        LayoutError: It holds no recording.
        UnsupportedOptionError: The description, or the table, is there already.
    """
    if not folder.is_dir():
        step = "Unpack it, and name" if is_archive(folder.name) else "Name"
        raise DataNotFoundError(f"{folder} is not a folder. {step} the folder of your recordings.")
    name = name_of_folder(folder)
    target = out or folder / f"{name}.toml"
    if target.exists():
        raise UnsupportedOptionError(f"{target} is there already. Move it away, or choose --out.")
    names, unwritable = _names(folder)
    is_sound, files, left_out = _recordings(folder, names, sound)
    recordings, masks = (files, {}) if is_sound else without_masks(files)
    beside = {"states": _states(names, recordings)} if is_sound else {"mask": masks}
    inferred = infer_from_names(recordings)
    table, unused = _table_of(
        folder, names, recordings, inferred, beside, target.with_suffix(".csv")
    )
    if table is None:
        table = _named(target.with_suffix(".csv"), recordings, beside, inferred)
    if table.is_new:
        if table.path.exists():
            raise UnsupportedOptionError(f"{table.path} is there already. Move it away.")
        write_atomically(table.path, csv_text(table.header, table.rows))
    labels = {kind: set(files.values()) for kind, files in beside.items()}
    lines, cut_remarks = _description(name, table, folder, target, is_sound, labels)
    write_atomically(target, "\n".join(lines) + "\n")
    patient = table.header.index(table.columns.get("patient", "patient"))
    patients = {row[patient] for row in table.rows}
    folds = fold_remarks(table.header, table.columns.values())
    remarks = [
        *unwritable,
        *link_remarks(folder),
        *left_out,
        *table.remarks,
        *([] if "split" in table.columns else folds),
        *cut_remarks,
        *unused,
    ]
    return Draft(target, table.path, len(table.rows), len(patients), _steps(target, lines, remarks))


def _names(folder: Path) -> tuple[list[str], list[str]]:
    """The files of a folder, and a sentence on those whose names no table can hold."""
    found = [path.relative_to(folder).as_posix() for path in visible_files(folder)]
    names = [name for name in found if is_text(name)]
    if len(names) == len(found):
        return names, []
    odd = next(name for name in found if not is_text(name))
    return names, [
        f"{len(found) - len(names)} files are not in the table, as their names are not UTF-8; "
        f"rename them: {odd!a}"
    ]


def _recordings(
    folder: Path, names: Sequence[str], sound: bool | None
) -> tuple[bool, list[str], list[str]]:
    """The recordings of a folder: files of the commonest family, or of the one that is asked for.

    Returns:
        Whether they are sounds, their names, and a sentence on the files of the other family.
    """
    form = {name: form_of(folder / name) for name in names}
    sounds = [name for name in names if form[name] in SOUNDS]
    pictures = [name for name in names if form[name] in PICTURES]
    is_sound = len(sounds) > len(pictures) if sound is None else sound
    recordings, others = (sounds, pictures) if is_sound else (pictures, sounds)
    if not recordings:
        kinds = {None: (*PICTURES, *SOUNDS), True: SOUNDS, False: PICTURES}
        packed = [name for name in names if is_archive(name)]
        step = f"Unpack {packed[0]}" if packed else "Name the folder of your recordings"
        raise LayoutError(
            f"{folder} holds no recording: none of its {len(names)} files ends with "
            f"{', '.join(kinds[sound])}, or is a DICOM file. {step}."
        )
    if not others:
        return is_sound, recordings, []
    word, option = ("pictures and clips", "--no-sound") if is_sound else ("sounds", "--sound")
    command = f"etab data init {shlex.quote(str(folder))} {option} --out FILE.toml"
    left_out = f"{len(others)} {word} are not in the table; describe them, too: {command}"
    return is_sound, recordings, [left_out]


def _states(names: Sequence[str], recordings: Sequence[str]) -> dict[str, str]:
    """The file of states of each sound that has one: it is called like it and ends with .tsv."""
    there = set(names)
    states = {name: f"{name_without_suffix(name)}.tsv" for name in recordings}
    return {name: file for name, file in states.items() if file in there}


def _table_of(
    folder: Path,
    names: Sequence[str],
    recordings: Sequence[str],
    inferred: Inferred,
    beside: Mapping[str, Mapping[str, str]],
    new: Path,
) -> tuple[_Table | None, list[str]]:
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
    for name in sorted(names, key=lambda name: (name.count("/"), name)):
        suffix = Path(name).suffix.lower()
        is_lock = Path(name).name.startswith(_LOCK)
        if suffix not in (*_TABLES, *_TOLD) or is_lock or name in of_recordings:
            continue
        table = _used(folder / name, recordings, inferred, beside, new)
        if not isinstance(table, str):
            return table, unused
        if suffix in _TOLD:
            unused.append(f"{name} is not used: {table}")
    return None, unused


def _used(
    path: Path,
    recordings: Sequence[str],
    inferred: Inferred,
    beside: Mapping[str, Mapping[str, str]],
    new: Path,
) -> _Table | str:
    """A table of recordings, or a sentence that says why the file is none."""
    if path.suffix.lower() in (".parquet", ".pq"):
        return f'write table = "{path.name}" in the description if it lists the recordings'
    try:
        lines = read_rows(path)
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
    column = _file_column(header, rows, set(recordings), many=True)
    if column is not None and has_patients:
        return _Table(path, {"file": column, **roles(header, rows)}, header, rows)
    keys = _short_names(recordings)
    column = _file_column(header, rows, set(keys))
    table: _Table | str
    if column is not None:
        table = _copied(path, header, rows, column, keys, recordings, inferred, new)
    elif has_patients and _file_column(header, rows, set(inferred.patients)) is not None:
        table = _joined(path, header, rows, recordings, inferred, beside, new)
    else:
        return f"no column holds names of the recordings, such as {min(recordings)!r}"
    if odd and not isinstance(table, str):
        text = f"{odd} rows of {path.name} have another number of cells than its header"
        return replace(table, remarks=[*table.remarks, text])
    return table


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
) -> _Table:
    """A copy of a table with a column of files, and patients where it has none."""
    patient_of = dict(zip(recordings, inferred.patients, strict=True))
    place = header.index(column)
    remarks = [f"{path.name} was copied to {new.name}, with a column of files"]
    has_patients = "patient" in roles(header, rows)
    added = ["file"] if has_patients else ["file", "patient"]
    kept = [i for i, name in enumerate(header) if i != place and name != "file"]
    listed: list[list[str]] = []
    for row in rows:
        file = keys.get(row[place], "")
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
        remarks.append(f"{len(rows) - len(listed)} rows of {path.name} name no recording")
    absent = len(set(recordings) - {row[0] for row in listed})
    if absent:
        remarks.append(f"{absent} of {len(recordings)} recordings are not in {path.name}")
    columns = [*added, *(header[i] for i in kept)]
    return _Table(new, {"file": "file", **roles(columns, listed)}, columns, listed, True, remarks)


def _joined(
    path: Path,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    recordings: Sequence[str],
    inferred: Inferred,
    beside: Mapping[str, Mapping[str, str]],
    new: Path,
) -> _Table | str:
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
        remarks.append(f"{absent} patients of {path.name} have no recording")
    return _Table(new, {"file": "file", **roles(columns, listed)}, columns, listed, True, remarks)


def _file_column(
    header: Sequence[str], rows: Sequence[Sequence[str]], known: set[str], *, many: bool = False
) -> str | None:
    """The column in which most cells hold a known name, or with ``many`` one or several of them."""
    for index, name in enumerate(header):
        cells = [row[index] for row in rows]
        matches = sum(
            cell in known or (many and ";" in cell and known.issuperset(several(cell)))
            for cell in cells
        )
        if rows and matches > len(rows) / 2:
            return name
    return None


def _named(
    path: Path,
    recordings: Sequence[str],
    beside: Mapping[str, Mapping[str, str]],
    inferred: Inferred,
) -> _Table:
    """A table of what the names say."""
    blank = ("",) * len(recordings)
    columns = {
        "file": tuple(recordings),
        "patient": inferred.patients,
        "view": inferred.views,
        "label": inferred.classes or blank,
    }
    if inferred.splits:
        columns["split"] = inferred.splits
    for column, files in beside.items():
        if files:
            columns[column] = tuple(files.get(name, "") for name in recordings)
    if len({name_without_suffix(name) for name in recordings}) < len(recordings):
        columns["id"] = tuple(recordings)  # which are called alike without their suffixes
    rows = [list(cells) for cells in zip(*columns.values(), strict=True)]
    known: dict[str, str] = {"file": "file"}
    if "split" in columns:
        known["split"] = "split"
    return _Table(path, known, list(columns), rows, True, list(inferred.remarks))


def _description(
    name: str,
    table: _Table,
    folder: Path,
    target: Path,
    sound: bool,
    labels: Mapping[str, Collection[str]],
) -> tuple[list[str], list[str]]:
    """The lines of the description, and sentences on what was guessed.

    ``labels`` are the files of masks or states by kind.
    """
    header, columns = table.header, table.columns
    relative = relative_to_file(table.path, target)
    lines = [f"name = {quoted(name)}", f"table = {quoted(relative)}"]
    if folder.resolve() != target.parent.resolve():
        lines.append(f"folder = {quoted(relative_to_file(folder, target))}")
    if sound:
        lines.append("sound = true")
    renamed = {role: column for role, column in columns.items() if role != column}
    # Frames of ED and ES are used where the description names their columns, by any name.
    phases: dict[str, str] = {}
    for role in ("ed", "es"):
        if columns.get(role) == role:
            phases[role] = role
    if renamed or phases:
        lines += ["", "[columns]"]
        named: dict[str, str] = dict(renamed)
        named.update(phases)
        lines += [f"{role} = {quoted(column)}" for role, column in named.items()]
    taken = {*columns.values(), columns.get("patient", "patient")}
    masks = set(labels.get("mask", ()))
    cells_of = {column: [row[i] for row in table.rows] for i, column in enumerate(header)}
    sections: dict[str, list[str]] = {}
    for column, cells in cells_of.items():
        files = [cell for cell in cells if cell]
        if files and masks.issuperset(files):
            sections[column] = _mask_lines(column, [folder / cell for cell in files])
        elif column not in taken:
            sections[column] = label_lines(column, cells, labels)
    sections, remarks = with_cuts(sections, cells_of)
    for section in sections.values():
        lines += section
    return lines, remarks


def _mask_lines(column: str, masks: Sequence[Path]) -> list[str]:
    """The section of each structure of masks, by the values of the first ones."""
    values: set[int] = set()
    for path in masks[:_READ_MASKS]:
        try:
            values |= set(mask_values(path))
        except EtabError:
            continue  # `etab data check` explains what is wrong with it
    where = f"column = {quoted(column)}"
    if len(values) < 2:
        return ["", "[labels.mask]", 'kind = "mask"', *([where] if column != "mask" else [])]
    lines: list[str] = []
    for value in sorted(values)[:FEW_CLASSES]:
        lines += ["", f"[labels.mask{value}]", 'kind = "mask"', where, f"pixel = {value}"]
    return lines


def _steps(target: Path, lines: Sequence[str], remarks: Sequence[str]) -> tuple[str, ...]:
    steps = list(remarks[:_MOST_TOLD])
    if len(remarks) > _MOST_TOLD:
        steps.append(f"{len(remarks) - _MOST_TOLD} more tables are not used")
    if not any(line.startswith("[labels") for line in lines):
        steps.append(
            "fill the column label of the table, and describe it: [labels.label] with "
            'kind = "value", or kind = "classes" and classes = ["no", "yes"]'
        )
    quoted = shlex.quote(str(target))
    return (
        *steps,
        "correct patients and views that were inferred wrongly",
        f"etab data check {quoted}",
        f"etab run --data {quoted}",
    )
