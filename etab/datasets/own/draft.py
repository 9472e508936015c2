"""A first description of a folder of recordings: what ``etab data init`` writes."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from etab.datasets.own.files import PICTURES, SOUNDS, suffix_of
from etab.echo.views import aliases
from etab.errors import DataNotFoundError, EtabError, LayoutError, UnsupportedOptionError
from etab.readers.table import is_blank, parse_number, read_rows
from etab.storage.atomic import write_atomically
from etab.storage.listing import visible_files

_TABLES = (".csv", ".tsv", ".txt")
_TOLD = (".csv", ".xlsx", ".xls", ".parquet", ".pq")  # tables that people keep labels in
_MOST_TOLD = 5
_FEW_CLASSES = 8
_LEAST_NUMBERS = 10
# Names of columns in other tables, by what they hold.
_ROLES = {
    "patient": ("patient", "patient_id", "patientid", "subject", "subject_id", "case", "mrn"),
    "view": ("view", "location", "site", "position"),
    "split": ("split", "fold", "set", "partition", "subset"),
    "fps": ("fps", "framerate", "frame_rate"),
    "spacing": ("spacing", "pixel_spacing", "mm_per_pixel"),
    "ed": ("ed", "ed_frame", "edframe"),
    "es": ("es", "es_frame", "esframe"),
    "study": ("study", "study_id", "exam", "exam_id"),
}


_Table = tuple[Path, dict[str, str], list[str], list[list[str]]]


@dataclass(frozen=True, slots=True)
class Draft:
    """What was written, and what has to be checked by hand.

    Attributes:
        description: The description.
        table: The table, written or found.
        recordings: Number of recordings.
        patients: Number of patients that were told from names.
        steps: What to do next.
    """

    description: Path
    table: Path
    recordings: int
    patients: int
    steps: tuple[str, ...]

    def render(self) -> str:
        """Write it as text."""
        head = f"{self.description}: {self.recordings} recordings of {self.patients} patients."
        return "\n".join([head, "Next:", *[f"  {step}" for step in self.steps]])


def write_draft(folder: Path, out: Path | None = None) -> Draft:
    """Describe a folder of recordings as well as names and tables tell.

    A table in the folder whose column names files of the folder is used as it is. Otherwise a table
    is written: patients are told from folders or from the beginning of names, views from words in
    names.

    Args:
        folder: The folder of recordings.
        out: The description to write; None for a file in the folder that is called like it.

    Returns:
        What was written.

    Raises:
        DataNotFoundError: There is no such folder.
        LayoutError: It holds no recording.
        UnsupportedOptionError: The description, or the table, is there already.
    """
    if not folder.is_dir():
        raise DataNotFoundError(f"{folder} is not a folder. Name the folder of your recordings.")
    name = re.sub(r"[^a-z0-9_]+", "_", folder.resolve().name.lower()).strip("_") or "mine"
    name = name if name[0].isalpha() else f"d_{name}"
    target = out or folder / f"{name[:31]}.toml"
    if target.exists():
        raise UnsupportedOptionError(f"{target} is there already. Move it away, or choose --out.")
    names = [path.relative_to(folder).as_posix() for path in visible_files(folder)]
    sound, recordings = _recordings(folder, names)
    table, unused = _table_of(folder, names, recordings)
    if table is None:
        path = target.with_suffix(".csv")
        if path.exists():
            raise UnsupportedOptionError(f"{path} is there already. Move it away.")
        header, rows = _named(recordings)
        write_atomically(path, _csv_text(header, rows))
        columns = {"file": "file"}
    else:
        path, columns, header, rows = table
    lines = _description(name[:31], path, folder, target, sound, header, rows, columns)
    write_atomically(target, "\n".join(lines) + "\n")
    patients = {row[header.index(_patient_column(header, columns))] for row in rows}
    return Draft(target, path, len(rows), len(patients), _steps(target, lines, unused))


def _recordings(folder: Path, names: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether the folder is of sounds, and its recordings: files of the commonest family."""
    families = {True: SOUNDS, False: PICTURES}
    by_family = {
        sound: [name for name in names if suffix_of(Path(name)) in suffixes]
        for sound, suffixes in families.items()
    }
    sound = len(by_family[True]) > len(by_family[False])
    recordings = by_family[sound]
    if not recordings:
        wanted = ", ".join((*PICTURES, *SOUNDS))
        raise LayoutError(
            f"{folder} holds no recording: none of its {len(names)} files ends with {wanted}."
        )
    return sound, recordings


def _table_of(
    folder: Path, names: Sequence[str], recordings: Sequence[str]
) -> tuple[_Table | None, list[str]]:
    """A table of the folder that lists its recordings, and why other tables are not used.

    Returns:
        Path, columns by role, header and rows of the table, or None; and a sentence for each table
        that is not used.
    """
    known = set(recordings)
    unused: list[str] = []
    for name in names:
        suffix = Path(name).suffix.lower()
        if suffix not in (*_TABLES, *_TOLD) or "/" in name:
            continue
        table = _used(folder / name, known)
        if not isinstance(table, str):
            return table, unused
        if suffix in _TOLD:
            unused.append(f"{name} is not used: {table}")
    return None, unused


def _used(path: Path, known: set[str]) -> _Table | str:
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
    rows = [row for row in lines[1:] if len(row) == len(header)]
    column = _file_column(header, rows, known)
    if column is None:
        example = sorted(known)[0]
        return f"no column holds names of the recordings, written as {example!r}"
    if _patient_column(header, {}) not in header:
        return f"no column is called {', '.join(_ROLES['patient'])}; rename the one of the patients"
    return path, {"file": column, **_roles(header)}, header, rows


def _file_column(
    header: Sequence[str], rows: Sequence[Sequence[str]], known: set[str]
) -> str | None:
    """The column in which most cells name a recording of the folder."""
    for index, name in enumerate(header):
        matches = sum(row[index] in known for row in rows)
        if rows and matches > len(rows) / 2:
            return name
    return None


def _roles(header: Sequence[str]) -> dict[str, str]:
    roles: dict[str, str] = {}
    for role, words in _ROLES.items():
        for name in header:
            if name.lower() in words:
                roles.setdefault(role, name)
    return roles


def _patient_column(header: Sequence[str], columns: Mapping[str, str]) -> str:
    if "patient" in columns:
        return columns["patient"]
    return _roles(header).get("patient", "patient")


def _named(recordings: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """A table of what names tell: file, patient and view."""
    tops = {name.split("/")[0] for name in recordings if "/" in name}
    by_folder = len(tops) > 1
    rows = []
    for name in recordings:
        stem = Path(name).name.removesuffix(suffix_of(Path(name)))
        patient = name.split("/")[0] if by_folder and "/" in name else re.split(r"[_\-. ]", stem)[0]
        rows.append([name, patient, _view_in(stem), ""])
    return ["file", "patient", "view", "label"], rows


def _view_in(stem: str) -> str:
    known = aliases()
    for word in re.split(r"[_\-. ]", stem.upper()):
        if word in known:
            return known[word]
    return ""


def _csv_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _description(
    name: str,
    table: Path,
    folder: Path,
    target: Path,
    sound: bool,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    columns: Mapping[str, str],
) -> list[str]:
    """The lines of the description."""
    lines = [f"name = {json.dumps(name)}", f"table = {json.dumps(_relative(table, target))}"]
    if folder.resolve() != target.parent.resolve():
        lines.append(f"folder = {json.dumps(_relative(folder, target))}")
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
        lines += [f"{role} = {json.dumps(column)}" for role, column in named.items()]
    for index, column in enumerate(header):
        if column not in columns.values() and column != _patient_column(header, columns):
            lines += _label_lines(column, [row[index] for row in rows])
    return lines


def _relative(path: Path, target: Path) -> str:
    """A path relative to the folder of the description where it lies below it."""
    try:
        return path.resolve().relative_to(target.parent.resolve()).as_posix()
    except ValueError:
        return str(path.resolve())


def _label_lines(column: str, cells: Sequence[str]) -> list[str]:
    """The section of a label that a column seems to hold; empty for a column that is no label."""
    values = [cell for cell in cells if not is_blank(cell)]
    if values and not all(parse_number(cell) is not None for cell in values):
        # Among words, "none" is a class rather than a number that is missing.
        values = [cell for cell in cells if not is_blank(cell) or cell.lower() == "none"]
    distinct = Counter(values)
    if column == "view":
        kind = [f"classes = {json.dumps(sorted(distinct))}"] if len(distinct) > 1 else []
        return ["", "[labels.view]", 'kind = "classes"', *kind] if kind else []
    are_numbers = bool(values) and all(parse_number(cell) is not None for cell in values)
    if are_numbers and len(distinct) >= _LEAST_NUMBERS:
        return ["", f"[labels.{json.dumps(column)}]", 'kind = "value"']
    if 2 <= len(distinct) <= _FEW_CLASSES:
        classes = json.dumps(sorted(distinct), ensure_ascii=False)
        return ["", f"[labels.{json.dumps(column)}]", 'kind = "classes"', f"classes = {classes}"]
    return []


def _steps(target: Path, lines: Sequence[str], unused: Sequence[str]) -> tuple[str, ...]:
    steps = list(unused[:_MOST_TOLD])
    if len(unused) > _MOST_TOLD:
        steps.append(f"{len(unused) - _MOST_TOLD} more tables are not used")
    if not any(line.startswith("[labels") for line in lines):
        steps.append(
            "fill the column label of the table, and describe it: [labels.label] with "
            'kind = "value", or kind = "classes" and classes = ["no", "yes"]'
        )
    return (
        *steps,
        "correct patients and views where names told them wrongly",
        f"etab data check {target}",
        f"etab run --data {target}",
    )
