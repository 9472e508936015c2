"""Published lists of folds: ``--protocol lists:FILE`` takes the folds of patients from a file.

A file is one of:

* CSV with the columns ``id`` and ``part`` (train, val or test), and ``fold`` if there are several;
* CSV with the columns ``exam_id`` and ``five_fold_split``, as EchoXFlow publishes its folds: each
  is tested once, and trained on otherwise;
* JSON: ``{"folds": [{"name": "1", "train": [...], "val": [...], "test": [...]}]}``;
* a folder of ``<name><number>_training.txt``, ``_validation.txt`` and ``_testing.txt``, one id a
  line, as the ten folds of CAMUS are published (``subGroup1_training.txt``, ...).

Ids are patients or recordings, whichever the data have. An id in two parts of one fold is refused.
A person whose recordings, or whose other id, are in training and test of a fold is what some
published lists have: such a list is run, and every result counts these people.

Some lists travel with etab and are named without a file, such as ``lists:leclerc``: see SHIPPED.

A result carries the name of the file and the beginning of the sha256 of its folds, as
``lists:leclerc@0a1b2c3d4e5f``, so that results by two lists are never mixed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import CorruptFileError, DataNotFoundError, SplitError
from etab.files import read_json_file
from etab.readers.table import plain_identifier, read_lines, read_table
from etab.readers.text import read_text
from etab.splits import SPLIT_PARTS, inner_parts, part_of_word
from etab.storage import resources
from etab.storage.text import counted
from etab.tasks.rows import Rows
from etab.types import Array, IntArray, RowSplit

PREFIX = "lists:"
"""Beginning of the name of a protocol that follows published lists."""

SHIPPED = ("leclerc", "walker1", "walker2", "walker3")
"""Names of the lists in ``configs/lists``; each file says where it is from and its licence."""

_KEY = re.compile(r"[A-Za-z0-9_.-]+@[0-9a-f]{12}")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")
_TEXT_FILE = re.compile(r"(.*?)_(training|validation|testing)\.txt")
_NAMED = 5
# Characters of a name or a cell that a message shows.
_SHOWN = 80
_FOLD_COLUMNS = ("exam_id", "five_fold_split")


@dataclass(frozen=True, slots=True)
class ListedFold:
    """One fold of a published list.

    Attributes:
        name: Name of the fold.
        parts: Ids of patients or recordings of "train", "val" and "test".
    """

    name: str
    parts: Mapping[str, frozenset[str]]


_read: dict[str, tuple[ListedFold, ...]] = {}


def list_key(text: str) -> str:
    """Name the list of a protocol, reading its file where a file is named.

    Args:
        text: What follows "lists:": a file, a folder, a name of SHIPPED, or the key of a list.

    Returns:
        The key: name of the file, "@" and twelve digits of the sha256 of its folds.

    Raises:
        DataNotFoundError: There is no such file.
        CorruptFileError: The file holds no folds.
        SplitError: An id lies in two parts of a fold, or a part is missing.
    """
    if not text.strip():
        raise DataNotFoundError(
            f"{PREFIX} names no list of folds. Name a file, {PREFIX}FILE, or a list of etab: "
            f"{', '.join(SHIPPED)}."
        )
    if _KEY.fullmatch(text) and not Path(text).exists():
        return text
    path = Path(text).expanduser()
    if text in SHIPPED and not path.exists():
        folds = _shipped(text)
    else:
        folds = read_lists(path)
    stem = _UNSAFE.sub("-", path.name if path.is_dir() else path.stem) or "list"
    key = f"{stem}@{_digest(folds)}"
    _read[key] = folds
    return key


def shipped_list(name: str) -> dict[str, Any]:
    """Read a list that travels with etab.

    Args:
        name: A name of SHIPPED.

    Returns:
        Its content: "dataset", "unit", "source", "licence" and "folds".
    """
    content: dict[str, Any] = json.loads(resources.text(f"configs/lists/{name}.json"))
    return content


def _shipped(name: str) -> tuple[ListedFold, ...]:
    """Read the folds of a list that travels with etab."""
    return tuple(_fold(fold["name"], fold) for fold in shipped_list(name)["folds"])


def read_lists(path: Path) -> tuple[ListedFold, ...]:
    """Read the folds of a published list.

    Args:
        path: A CSV or JSON file, or a folder of text files; see the module.

    Returns:
        The folds, in the order of the file.

    Raises:
        DataNotFoundError: There is no such file.
        CorruptFileError: The file holds no folds.
        SplitError: An id lies in two parts of a fold, or a part is missing.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "list.csv"
        ...     _ = path.write_text("id,part\\np1,train\\np2,train\\np3,test\\n")
        ...     (fold,) = read_lists(path)
        >>> sorted(fold.parts["train"])
        ['p1', 'p2']
    """
    if path.is_dir():
        folds = _from_folder(path)
    elif not path.is_file():
        raise DataNotFoundError(
            f"There is no list of folds {path}. Name a CSV or JSON file, a folder of "
            "<name>_training.txt, <name>_validation.txt and <name>_testing.txt, or a list of etab: "
            f"{', '.join(SHIPPED)}."
        )
    elif path.suffix.lower() == ".json":
        folds = _from_json(path)
    else:
        folds = _from_csv(path)
    if not folds:
        raise CorruptFileError(f"{path} holds no rows. Wanted one row for each id.")
    names = [fold.name for fold in folds]
    for fold in folds:
        # Results find the rows of a fold by its name.
        if names.count(fold.name) > 1:
            raise CorruptFileError(
                f"{path}: {names.count(fold.name)} folds are called {fold.name[:_SHOWN]!r}. Give "
                "each a name of its own."
            )
        _check(path, fold)
    return tuple(folds)


def _from_folder(path: Path) -> list[ListedFold]:
    parts_of: dict[str, dict[str, list[str]]] = {}
    for file in sorted(path.iterdir(), key=_number_in_name):
        match = _TEXT_FILE.fullmatch(file.name)
        if match is not None:
            lines = read_text(file).splitlines()
            part = part_of_word(match[2])
            parts_of.setdefault(match[1], {})[part] = [line for line in lines if line.strip()]
    if not parts_of:
        raise CorruptFileError(
            f"{path} holds no lists: wanted <name>_training.txt, <name>_validation.txt and "
            "<name>_testing.txt, with one id a line."
        )
    return [_fold(name, parts) for name, parts in parts_of.items()]


def _number_in_name(file: Path) -> tuple[int, str]:
    """Order of files: subGroup2 comes before subGroup10."""
    match = re.search(r"\d+", file.name)
    return int(match[0]) if match else 0, file.name


def _from_json(path: Path) -> list[ListedFold]:
    try:
        content = read_json_file(path)
    except (ValueError, OSError) as error:
        raise CorruptFileError(f"{path} is not a JSON file: {error}. Write it again.") from error
    folds = content.get("folds") if isinstance(content, dict) else None
    if not isinstance(folds, list) or not folds:
        raise CorruptFileError(f'{path} has no "folds"; wanted a list of folds. {_JSON_FORM}')
    out = []
    for number, fold in enumerate(folds, start=1):
        if not isinstance(fold, dict) or not all(_is_ids(fold.get(p, [])) for p in SPLIT_PARTS):
            raise CorruptFileError(f"{path}: fold {number} holds no lists of ids. {_JSON_FORM}")
        parts = {part: [str(item) for item in fold.get(part, [])] for part in SPLIT_PARTS}
        out.append(_fold(str(fold.get("name", f"fold{number}")), parts))
    return out


_JSON_FORM = 'Wanted {"folds": [{"name": "1", "train": [...], "val": [...], "test": [...]}]}.'


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str | int) for item in value)


def _from_csv(path: Path) -> list[ListedFold]:
    lines = read_lines(path, _FOLD_COLUMNS)
    if lines and set(_FOLD_COLUMNS) <= set(lines[0].cells):
        return _from_fold_of_exam(path)
    rows = read_table(path, ("id", "part"), hint="Wanted the columns id and part, and fold.")
    parts_of: dict[str, dict[str, list[str]]] = {}
    for line, row in enumerate(rows, start=2):
        if not row["id"]:
            raise CorruptFileError(f"{path}, line {line}: the id is blank. Remove the row.")
        if len(row["id"].splitlines()) > 1:
            raise CorruptFileError(
                f"{path}, line {line}: the id {row['id'][:_SHOWN]!r} has several lines. Remove the "
                "quotation mark before it, or close it behind the id."
            )
        part = part_of_word(row["part"])
        if part not in SPLIT_PARTS:
            raise CorruptFileError(
                f"{path}, line {line}: part is {row['part'][:_SHOWN]!r}; wanted train, val or test."
            )
        fold = row.get("fold", "").strip() or "list"
        parts_of.setdefault(fold, {}).setdefault(part, []).append(row["id"])
    return [_fold(name, parts) for name, parts in parts_of.items()]


def _from_fold_of_exam(path: Path) -> list[ListedFold]:
    """Read folds that are numbered for each examination."""
    fold_of_exam: dict[str, str] = {}
    for line, row in enumerate(read_table(path, _FOLD_COLUMNS), start=2):
        exam = row["exam_id"]
        fold = plain_identifier(row["five_fold_split"])
        if not exam or not fold.isdigit():
            raise CorruptFileError(
                f"{path}, line {line}: examination {exam[:80]!r} has the fold {fold[:20]!r}; "
                "wanted a whole number."
            )
        if fold_of_exam.setdefault(exam, fold) != fold:
            raise SplitError(
                f"{path}, line {line}: {exam} is in the folds {fold_of_exam[exam]} and {fold}. "
                "Keep one."
            )
    folds = []
    for name in sorted(set(fold_of_exam.values()), key=int):
        train = [exam for exam, fold in fold_of_exam.items() if fold != name]
        test = [exam for exam, fold in fold_of_exam.items() if fold == name]
        folds.append(_fold(f"fold{name}", {"train": train, "test": test}))
    return folds


def _fold(name: str, parts: Mapping[str, Iterable[str]]) -> ListedFold:
    plain = {
        part: frozenset(plain_identifier(item.strip()) for item in parts.get(part, ()))
        for part in SPLIT_PARTS
    }
    return ListedFold(name, plain)


def _check(path: Path, fold: ListedFold) -> None:
    """Refuse a fold without training or test ids, and an id in two of its parts."""
    for part in ("train", "test"):
        if not fold.parts[part]:
            raise SplitError(
                f"{path}: the fold {fold.name[:_SHOWN]} has no {part} ids. Add its list."
            )
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        both = sorted(fold.parts[first] & fold.parts[second])
        if both:
            verb = "lies" if len(both) == 1 else "lie"
            raise SplitError(
                f"{path}: {_named(both)} {verb} in {first} and in {second} of the fold "
                f"{fold.name[:_SHOWN]}. Keep each id in one part."
            )


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return f"{', '.join(ids[:_NAMED])}{more}"


def _digest(folds: Sequence[ListedFold]) -> str:
    content = [[fold.name, *(sorted(fold.parts[part]) for part in SPLIT_PARTS)] for fold in folds]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def listed_folds(key: str) -> tuple[ListedFold, ...]:
    """Look up the folds of a list that was read.

    Args:
        key: The key, as ``list_key`` returns it.

    Raises:
        DataNotFoundError: The file of this list was not named in this process, and etab has no
            such list.
    """
    name = key.partition("@")[0]
    if key not in _read and name in SHIPPED:
        list_key(name)  # a worker, or a board that is shown later
    if key not in _read:
        raise DataNotFoundError(
            f"The folds of {PREFIX}{key} are not at hand. Name the file: --protocol lists:FILE."
        )
    return _read[key]


def list_splits(key: str, rows: Rows, seed: int) -> list[RowSplit]:
    """Turn rows into fits, as a published list divides them.

    Args:
        key: The key of the list.
        rows: The rows of a task. Rows that a fold does not name are in no part of it.
        seed: Seed of the inner folds of a fold without validation ids.

    Returns:
        One split for each fold; its inner part is the validation part, where there is one.

    Raises:
        SplitError: No id of a part is among the rows, or a row is tested in two folds.
    """
    names = _names_of(key, rows)
    splits: list[RowSplit] = []
    tested: set[int] = set()
    for fold in listed_folds(key):
        chosen = {part: _rows_in(names, fold.parts[part]) for part in SPLIT_PARTS}
        for part in ("train", "test"):
            if not len(chosen[part]):
                raise SplitError(
                    f"{PREFIX}{key}: no row is in the {part} part of the fold {fold.name}, whose "
                    f"ids are like {_named(sorted(fold.parts[part])[:2])}; ids of the data are "
                    f"like {_named(sorted(set(names.tolist()))[:2])}."
                )
        again = tested & set(chosen["test"].tolist())
        if again:
            raise SplitError(
                f"{PREFIX}{key}: {names[min(again)]} is tested in two folds. Write a file for each "
                "fold, and run each of them."
            )
        tested |= set(chosen["test"].tolist())
        train = np.sort(np.concatenate([chosen["train"], chosen["val"]]))
        inner: tuple[IntArray, ...] = (chosen["val"],)
        if not len(chosen["val"]):
            inner = inner_parts(np.asarray(rows.patients, dtype=object), train, seed)
        splits.append(RowSplit(train, inner, chosen["test"], fold.name))
    return splits


def _names_of(key: str, rows: Rows) -> Array:
    """(n,) patients, recordings or published ids of the rows, whichever a list names most of."""
    wanted: set[str] = set()
    for fold in listed_folds(key):
        wanted |= set().union(*fold.parts.values())
    # Patients of CirCor are people; their recordings begin with the published id.
    begin_with = [record.partition("_")[0] for record in rows.records]
    best = np.array([], dtype=str)
    most = -1
    for form in (rows.patients.tolist(), rows.records, rows.units, begin_with):
        column = np.array([plain_identifier(str(item)) for item in form])
        count = len(wanted & set(column.tolist()))
        if count > most:
            best = column
            most = count
    return best


def _rows_in(names: Array, ids: frozenset[str]) -> IntArray:
    return np.flatnonzero(np.isin(names, sorted(ids)))


def list_notes(key: str, rows: Rows) -> tuple[str, ...]:
    """Describe what a reader of a result by a list should know.

    Args:
        key: The key of the list.
        rows: The rows of the task; their patients are people if the data identify people.

    Returns:
        A sentence on patients that the list does not name, one on ids that the data do not hold,
        and one on people who are in training and test of a fold; none where there are none.
    """
    names = _names_of(key, rows)
    folds = listed_folds(key)
    notes = []
    tested: set[str] = set()
    listed: set[str] = set()
    for fold in folds:
        tested |= fold.parts["test"]
        listed |= set().union(*fold.parts.values())
    people = {str(p) for p in rows.patients.tolist()}
    with_test = {str(p) for p, name in zip(rows.patients, names, strict=True) if name in tested}
    if people - with_test:
        notes.append(f"{len(people - with_test)} of {len(people)} patients are tested in no fold.")
    absent = listed - set(names.tolist())
    if absent:
        notes.append(f"{len(absent)} of {len(listed)} listed ids have no row.")
    divided = _divided_people(folds, names, rows)
    if divided:
        notes.append(
            f"{counted(divided, 'person is', 'people are')} in training and test of a fold, as "
            "published: scores are too good, and are not to be compared with folds of people."
        )
    return tuple(f"{PREFIX}{key}: {note}" for note in notes)


def _divided_people(folds: Sequence[ListedFold], names: Array, rows: Rows) -> int:
    """The number of people with rows in training (or validation) and in test of one fold."""
    people = np.array([str(patient) for patient in rows.patients.tolist()])
    divided: set[str] = set()
    for fold in folds:
        fitted = fold.parts["train"] | fold.parts["val"]
        in_training = set(people[_rows_in(names, fitted)].tolist())
        divided |= in_training & set(people[_rows_in(names, fold.parts["test"])].tolist())
    return len(divided)
