"""What the columns of a table hold, by their names and cells: guesses of ``etab data init``."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from etab.datasets.own.labels import KINDS_OF_LABELS, MOST_LABELS, category_of
from etab.echo.views import aliases
from etab.readers.table import is_blank, parse_number
from etab.splits import SPLIT_PARTS, part_of_word

FEW_CLASSES = 8
"""Most classes that a column is taken to hold."""

_LEAST_NUMBERS = 10
_MOSTLY = 0.8  # part of the cells above which a column counts as one of numbers
_UNIT_OF_NAME = re.compile(r"[(\[]([^()\[\]]{1,12})[)\]]\s*$")
_UNIT_OF_CELL = re.compile(r"[-+]?[\d.]+\s*(%|[^\W\d]\S*)")
_CODE = re.compile(r"0\d+")  # a number as people write ids, and not what they measure
_LONG = re.compile(r"\d{6,}")  # as accession numbers and dates such as 20240131
_MOST_NAMED = 5
_EJECTION = ("ef", "lvef", "ejectionfraction", "lvejectionfraction")
_PATIENT = re.compile(
    r"(patient(en)?|pat|subject|participant|person|proband(en)?|case)"
    r"(id|nr|no|num|number|nummer|code|key|name)?|mrn|pid|fall(id|nr|nummer)"
)
# Names of columns in other tables, by what they hold: small letters and digits alone.
_ROLES = {
    "view": ("view", "location", "site", "position"),
    "split": ("split", "fold", "set", "partition", "subset"),
    "fps": ("fps", "framerate"),
    "spacing": ("spacing", "pixelspacing", "mmperpixel"),
    "ed": ("ed", "edframe"),
    "es": ("es", "esframe"),
    "study": ("study", "studyid", "exam", "examid"),
}
# Columns that number the rows: no labels.
_NUMBERS = ("id", "index", "unnamed0", "nr", "no", "number", "row", "")


def roles(header: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, str]:
    """Tell the columns of patients, views, parts of a split and so on.

    Args:
        header: Names of the columns.
        rows: The cells of each row.

    Returns:
        Columns by role; "patient" first where there is one. A column whose cells cannot be read as
        its role is left out.

    Example:
        >>> roles(["Patient-ID", "fold"], [["p1", "0"], ["p2", "1"]])
        {'patient': 'Patient-ID'}
    """
    found: dict[str, str] = {}
    exact = [name for name in header if name == "patient"]
    for name in [*exact, *header]:
        if _PATIENT.fullmatch(_plain(name)):
            found.setdefault("patient", name)
    for role, words in _ROLES.items():
        for index, name in enumerate(header):
            cells = [row[index] for row in rows if not is_blank(row[index])]
            if _plain(name) in words and _fits(role, cells):
                found.setdefault(role, name)
    return found


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _fits(role: str, cells: Sequence[str]) -> bool:
    """Whether every cell can be read as what a role holds."""
    if role == "view":
        known = aliases()
        return all(cell.strip().upper() in known for cell in cells)
    if role == "split":
        return all(part_of_word(cell) in SPLIT_PARTS for cell in cells)
    if role in ("fps", "ed", "es"):
        return all(parse_number(cell) is not None for cell in cells)
    return True


def fold_remarks(header: Sequence[str], taken: Collection[str]) -> list[str]:
    """Describe columns that divide the recordings in another way than into train, val and test.

    Args:
        header: Names of the columns.
        taken: Columns that have a role.

    Returns:
        A sentence for each.
    """
    return [
        f"the column {name} holds no train, val and test, and is not used; folds are run from a "
        "file: --protocol lists:FILE"
        for name in header
        if _plain(name) in _ROLES["split"] and name not in taken
    ]


def view_remarks(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Describe a column of views that cannot be used, because some of its names are not known.

    Args:
        header: Names of the columns.
        rows: The cells of each row.

    Returns:
        A sentence for each.
    """
    remarks = []
    for index, name in enumerate(header):
        words = {row[index] for row in rows if not is_blank(row[index])}
        strange = sorted(word for word in words if not _fits("view", [word]))
        if _plain(name) == "view" and 0 < len(strange) < len(words):
            shown = ", ".join(map(repr, strange[:_MOST_NAMED]))
            remarks.append(
                f"the column {name} is not used for views, as it holds names that are not known "
                f"({shown}); `etab list views` lists those that are"
            )
    return remarks


def unlabelled_remarks(cells_of: Mapping[str, Sequence[str]]) -> list[str]:
    """Name the columns that no label was made of.

    Args:
        cells_of: Cells of these columns, by name.

    Returns:
        One sentence; none where every column is blank, has one text alone, or numbers the rows.
    """
    examples: list[str] = []
    for column, cells in cells_of.items():
        distinct = {cell for cell in cells if not is_blank(cell)}
        if len(distinct) > 1 and _plain(column) not in (*_NUMBERS, *_ROLES["split"]):
            examples.append(f"{column} (such as {min(distinct)!r})")
    if not examples:
        return []
    more = f" and {len(examples) - _MOST_NAMED} more" if len(examples) > _MOST_NAMED else ""
    return [
        f"no label was made of {', '.join(examples[:_MOST_NAMED])}{more}: neither numbers nor "
        f"{FEW_CLASSES} classes at most; describe those that are labels"
    ]


def label_lines(
    column: str, cells: Sequence[str], files: Mapping[str, Collection[str]]
) -> list[str]:
    """Write the section of the label that a column seems to hold.

    Args:
        column: Name of the column.
        cells: Its cells.
        files: Files of labels in the folder, by the kind of the label; such as states.

    Returns:
        Lines of TOML; empty for a column that is not a label.
    """
    values = [cell for cell in cells if not is_blank(cell)]
    for kind, names in files.items():
        if values and set(values) <= set(names):
            return _section(column, kind)
    if _plain(column) in (*_NUMBERS, *_ROLES["split"]):
        return []
    if values and not all(parse_number(cell) is not None for cell in values):
        # Among words, "none" is a class rather than a number that is missing.
        values = [cell for cell in cells if not is_blank(cell) or cell.lower() == "none"]
    distinct = Counter(values)
    unit = _unit(column, values)
    # The check reports a decimal comma, row by row.
    plain = [cell.removesuffix(unit).replace(",", ".") for cell in values]
    numbers = [cell for cell in plain if parse_number(cell) is not None]
    if column == "view":
        kind_lines = [f"classes = {list_of(sorted(distinct))}"] if len(distinct) > 1 else []
        return ["", "[labels.view]", 'kind = "classes"', *kind_lines] if kind_lines else []
    # Some cells may be slips, which `etab data check` lists.
    is_measured = bool(unit) or any((parse_number(cell) or 0.0) % 1 for cell in numbers)
    is_many = len(set(numbers)) >= _LEAST_NUMBERS
    is_code = any(map(_CODE.fullmatch, values)) or all(map(_LONG.fullmatch, values))
    if (is_measured or is_many) and not is_code and len(numbers) > _MOSTLY * len(values):
        return [*_section(column, "value"), *_unit_lines(column, unit)]
    if 2 <= len(distinct) <= FEW_CLASSES:
        return [*_section(column, "classes"), f"classes = {list_of(sorted(distinct))}"]
    return []


def within_limits(
    sections: Mapping[str, list[str]], *, sound: bool
) -> tuple[dict[str, list[str]], list[str]]:
    """Leave out labels of which a description has too many: at most ten of a category.

    Args:
        sections: Lines of TOML of the label of each column.
        sound: Whether the recordings are sounds.

    Returns:
        (sections, remarks): the first sections of each category, and a sentence on the others.
    """
    kept: dict[str, list[str]] = {}
    beyond: list[str] = []
    counts: Counter[str] = Counter()
    for column, lines in sections.items():
        words = [line.split('"')[1] for line in lines if line.startswith('kind = "')]
        letters = [category_of(KINDS_OF_LABELS[word], column, sound=sound) for word in words]
        if letters and counts[letters[0]] + len(letters) > MOST_LABELS:
            beyond.append(column)
        else:
            counts.update(letters)
            kept[column] = lines
    if not beyond:
        return kept, []
    return kept, [
        f"{len(beyond)} more columns seem to be labels, and a description has {MOST_LABELS} of a "
        f"category at most; describe those in a second file: {', '.join(beyond)}"
    ]


def column_numbers(column: str, cells: Sequence[str]) -> list[float | None]:
    """Read the numbers of a column of values, with or without their unit.

    Args:
        column: Name of the column.
        cells: Its cells.

    Returns:
        (n,) numbers; None for cells that hold none.
    """
    unit = _unit(column, [cell for cell in cells if not is_blank(cell)])
    return [parse_number(cell.strip().removesuffix(unit)) for cell in cells]


def _unit(column: str, values: Sequence[str]) -> str:
    """The unit of a column: in brackets behind its name, or behind the numbers of its cells."""
    if _plain(_UNIT_OF_NAME.sub("", column)) in _EJECTION:
        return "%"
    of_name = _UNIT_OF_NAME.search(column)
    if of_name is not None:
        return of_name[1].strip()
    units = Counter(match[1] for match in map(_UNIT_OF_CELL.fullmatch, values) if match)
    (unit, count) = units.most_common(1)[0] if units else ("", 0)
    return unit if count > _MOSTLY * len(values) else ""


def _unit_lines(column: str, unit: str) -> list[str]:
    """The unit, the title without it, and the range of an ejection fraction."""
    title = _UNIT_OF_NAME.sub("", column).strip()
    lines = [f"title = {quoted(title)}"] if title != column else []
    lines += [f"unit = {quoted(unit)}"] if unit else []
    return [*lines, "range = [0, 100]"] if _plain(title) in _EJECTION else lines


def _section(column: str, kind: str) -> list[str]:
    """The section of a label, whose name has no slash; that of its column may have one."""
    name = label_name(column)
    where = [] if name == column else [f"column = {quoted(column)}"]
    return ["", f"[labels.{quoted(name)}]", f'kind = "{kind}"', *where]


def label_name(column: str) -> str:
    """The name of the label of a column: names of labels have no slash.

    Example:
        >>> label_name("LV/endo")
        'LV_endo'
    """
    return column.replace("/", "_")


def quoted(text: str) -> str:
    """Write a text as TOML does.

    Example:
        >>> print(quoted('a "b"'))
        "a \\"b\\""
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def list_of(texts: Sequence[str]) -> str:
    """Write a list of texts as TOML does.

    Example:
        >>> print(list_of(["no", "yes"]))
        ["no", "yes"]
    """
    return f"[{', '.join(map(quoted, texts))}]"
