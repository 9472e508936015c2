"""A first description of a folder of recordings: what ``etab data init`` writes."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from etab.datasets.own.cells import csv_text
from etab.datasets.own.columns import (
    FEW_CLASSES,
    fold_remarks,
    label_lines,
    quoted,
    unlabelled_remarks,
    view_remarks,
    within_limits,
)
from etab.datasets.own.cuts import with_cuts
from etab.datasets.own.files import (
    PICTURES,
    SOUNDS,
    form_of,
    link_remarks,
    mask_values,
    name_without_suffix,
)
from etab.datasets.own.found import FoundTable, find_table
from etab.datasets.own.guess import Inferred, infer_from_names, without_masks
from etab.datasets.own.paths import (
    is_archive,
    is_text,
    name_of_folder,
    relative_to_file,
)
from etab.errors import DataNotFoundError, EtabError, LayoutError, UnsupportedOptionError
from etab.files import resolved
from etab.storage.atomic import write_atomically
from etab.storage.listing import visible_files
from etab.storage.text import counted

_MOST_TOLD = 8
_READ_MASKS = 3  # masks from which the structures are inferred


@dataclass(frozen=True, slots=True)
class Draft:
    """The files that were written, and the guesses that have to be checked by hand.

    Attributes:
        description: The description.
        table: The table, written or found.
        recordings: Number of recordings.
        patients: Number of patients.
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
    table, unused = find_table(
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
        *([] if "view" in table.columns else view_remarks(table.header, table.rows)),
        *cut_remarks,
        *unused[:_MOST_TOLD],
    ]
    if len(unused) > _MOST_TOLD:
        remarks.append(f"{len(unused) - _MOST_TOLD} more tables are not used")
    steps = _steps(target, lines, remarks, table.inferred)
    return Draft(target, table.path, len(table.rows), len(patients), steps)


def _names(folder: Path) -> tuple[list[str], list[str]]:
    """The files of a folder, and a sentence on those whose names no table can hold."""
    found = [path.relative_to(folder).as_posix() for path in visible_files(folder)]
    names = [name for name in found if is_text(name)]
    if len(names) == len(found):
        return names, []
    odd = next(name for name in found if not is_text(name))
    return names, [
        f"{counted(len(found) - len(names), 'file is', 'files are')} left out of the table: the "
        f"name is not UTF-8; correct it: {odd!a}"
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


def _named(
    path: Path,
    recordings: Sequence[str],
    beside: Mapping[str, Mapping[str, str]],
    inferred: Inferred,
) -> FoundTable:
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
    guesses = {
        "patients": inferred.patients,
        "views": inferred.views,
        "parts of the split": inferred.splits,
        "classes": inferred.classes,
    }
    return FoundTable(
        path,
        known,
        list(columns),
        rows,
        True,
        list(inferred.remarks),
        inferred=tuple(what for what, cells in guesses.items() if any(cells)),
    )


def _description(
    name: str,
    table: FoundTable,
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
    if resolved(folder) != resolved(target.parent):
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
    unlabelled = {column: cells_of[column] for column, section in sections.items() if not section}
    sections, beyond = within_limits(sections, sound=sound)
    sections, remarks = with_cuts(sections, cells_of)
    remarks += [*unlabelled_remarks(unlabelled), *beyond]
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


def _steps(
    target: Path, lines: Sequence[str], remarks: Sequence[str], inferred: Sequence[str]
) -> tuple[str, ...]:
    """What was left out or guessed, and the next commands."""
    steps = list(remarks)
    if not any(line.startswith("[labels") for line in lines):
        steps.append(
            "fill the column label of the table, and describe it: [labels.label] with "
            'kind = "value", or kind = "classes" and classes = ["no", "yes"]'
        )
    if inferred:
        *others, last = inferred
        what = f"{', '.join(others)} and {last}" if others else last
        steps.append(f"correct the {what} that were inferred wrongly")
    quoted = shlex.quote(str(target))
    return (
        *steps,
        f"etab data check {quoted}",
        f"etab run --data {quoted}",
    )
