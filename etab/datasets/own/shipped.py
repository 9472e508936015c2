"""Descriptions that travel with etab, for public folders of sounds in which a folder is a class.

``etab data init FOLDER --as yaseen`` writes the description and a table of the folder's recordings.
Recordings of equal bytes are resolved by one rule: copies with one label are listed once, under the
first name; copies with different labels are all left out, because one of the labels is wrong. What
was left out is written into the notes of the description, which every result carries.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from etab.datasets.own.description import read_description
from etab.datasets.own.draft import Draft
from etab.datasets.own.files import SOUNDS, suffix_of
from etab.errors import DataNotFoundError, LayoutError, UnknownNameError, UnsupportedOptionError
from etab.registry import unknown
from etab.storage import resources
from etab.storage.atomic import write_atomically
from etab.storage.digests import digests
from etab.storage.listing import visible_files
from etab.storage.text import counted

SHIPPED = ("yaseen", "zchsound")
"""Names of the descriptions that travel with etab."""

_NAMED = 3


@dataclass(frozen=True, slots=True)
class _Listing:
    """The recordings that a table lists, and sentences on those that it does not.

    Attributes:
        classes: The class of each recording, by its file.
        notes: A sentence for each kind of recording that was left out.
    """

    classes: Mapping[str, str]
    notes: tuple[str, ...]


def refuse_shipped_name(name: str) -> None:
    """Tell how data are used that etab describes and has no source for.

    Args:
        name: What was named as data.

    Raises:
        UnknownNameError: It is a name of SHIPPED, and no file.
    """
    if name in SHIPPED and not Path(name).exists():
        raise UnknownNameError(
            f"etab describes {name} and has no source for it. Write its table: etab data init FOLDER "
            f"--as {name}. Then: etab data check FOLDER/{name}.toml, and etab run --data "
            f"FOLDER/{name}.toml."
        )


def write_shipped(name: str, folder: Path) -> Draft:
    """Write a description that travels with etab, and a table of the recordings of a folder.

    Args:
        name: One of SHIPPED.
        folder: The unpacked data: a folder for each class, whose name begins with the class.

    Returns:
        What was written.

    Raises:
        UnknownNameError: No such description travels with etab.
        DataNotFoundError: There is no such folder.
        LayoutError: A class has no recordings, or a recording is in a folder of no class.
        UnsupportedOptionError: The description or the table is there already.
    """
    if name not in SHIPPED:
        raise unknown("description that travels with etab", name, SHIPPED)
    if not folder.is_dir():
        raise DataNotFoundError(f"{folder} is not a folder. Name the folder of the unpacked data.")
    target = folder / f"{name}.toml"
    table = folder / f"{name}.csv"
    for path in (target, table):
        if path.exists():
            raise UnsupportedOptionError(f"{path} is there already. Move it away.")
    text = resources.text(f"configs/own/{name}.toml")
    write_atomically(target, text)
    try:
        label = read_description(target).labels[0]
        listing = _listing(folder, label.classes)
        write_atomically(table, _csv(listing.classes, label.column))
        write_atomically(target, _with_notes(text, listing.notes))
    except BaseException:
        # A description that was not finished would be in the way of the next attempt.
        target.unlink(missing_ok=True)
        table.unlink(missing_ok=True)
        raise
    n = len(listing.classes)
    steps = (*listing.notes, f"etab data check {target}", f"etab run --data {target}")
    return Draft(target, table, n, n, steps)


def _listing(folder: Path, classes: Sequence[str]) -> _Listing:
    """Find the class of every recording, and resolve copies."""
    names = [
        path.relative_to(folder).as_posix()
        for path in visible_files(folder)
        if suffix_of(path) in SOUNDS
    ]
    depth = _depth_of_classes(names, classes)
    class_of = {name: _class_of(name, classes, depth) for name in sorted(names)}
    strangers = [name for name, label in class_of.items() if not label]
    if strangers:
        more = len(strangers) - 1
        others = f", with {counted(more, 'more recording')}" if more else ""
        raise LayoutError(
            f"{folder / strangers[0]} is in a folder of no class{others}; "
            f"wanted folders whose names begin with {', '.join(classes)}. Move them away."
        )
    empty = [label for label in classes if label not in class_of.values()]
    if empty:
        raise LayoutError(
            f"{folder} has no recordings of {', '.join(empty)}: wanted a folder for each class, "
            f"such as {empty[0]}/. Unpack all archives into it."
        )
    return _resolved(folder, class_of)


def _depth_of_classes(names: Sequence[str], classes: Sequence[str]) -> int:
    """How many folders stand above those of the classes: archives add folders of their own.

    It is the depth at which every class has a folder; 0 where there is no such depth.
    """
    deepest = max((name.count("/") for name in names), default=0)
    for depth in range(deepest):
        if set(classes) <= {_class_of(name, classes, depth) for name in names}:
            return depth
    return 0


def _class_of(name: str, classes: Sequence[str], depth: int) -> str:
    """Return the class that a folder above a file begins with; "" if there is none."""
    folders = name.split("/")[:-1]
    word = re.split(r"[^A-Za-z]", folders[depth])[0].upper() if depth < len(folders) else ""
    return word if word in classes else ""


def _resolved(folder: Path, class_of: Mapping[str, str]) -> _Listing:
    """Leave out copies: all but the first of one label, and every one of different labels."""
    same: dict[str, list[str]] = {}
    content = digests(folder, list(class_of))
    for name in class_of:
        same.setdefault(content[name], []).append(name)
    repeated: list[str] = []
    contradictory: list[str] = []
    for copies in same.values():
        if len({class_of[name] for name in copies}) > 1:
            contradictory += copies
        else:
            repeated += copies[1:]
    left_out = {*repeated, *contradictory}
    notes = []
    if repeated:
        notes.append(
            f"Copies of a recording with the same label, left out: {len(repeated)} "
            f"({_first(repeated)})."
        )
    if contradictory:
        notes.append(
            "Recordings of equal bytes with different labels, all left out: "
            f"{len(contradictory)} ({_first(contradictory)})."
        )
    listed = {name: label for name, label in class_of.items() if name not in left_out}
    return _Listing(listed, tuple(notes))


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(sorted(names)[:_NAMED]) + more


def _csv(class_of: Mapping[str, str], column: str) -> str:
    """The table: no data set names patients, so that each recording is one of its own."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "patient", column))
    for name, label in class_of.items():
        writer.writerow((name, Path(name).with_suffix("").as_posix(), label))
    return text.getvalue()


def _with_notes(text: str, notes: Sequence[str]) -> str:
    """Add sentences to the notes of a description."""
    lines = "".join(f"  {json.dumps(note, ensure_ascii=False)},\n" for note in notes)
    before, bracket, after = text.partition("\n]\n")
    return f"{before}\n{lines.rstrip()}{bracket}{after}" if lines else text
