"""Tables of text (CSV, TSV), as published or saved again by pandas and spreadsheets, and the cells
in them.

Programs that save a table again change how it is written and not what it says: 46 becomes ``46.0``,
``nan`` becomes an empty cell, a comma becomes a semicolon, a column of row numbers is added. The
functions here read all of these alike, so that every dataset compares numbers as numbers.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from etab.errors import CorruptFileError, LayoutError

Row = dict[str, str]

_BLANK = frozenset({"", "nan", "na", "n/a", "<na>", "#n/a", "nat", "null", "none"})
_DELIMITERS = (",", ";", "\t")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
_WHOLE_WITH_POINT = re.compile(r"(\d+)\.0*", re.ASCII)
_INDEX_NAMES = ("", "Unnamed: 0", "index")
_TOLERANCE = 1e-6


def is_blank(text: str | None) -> bool:
    """Whether a cell gives no value: it is empty, or one of the words for that (nan, NA, null,
    ...).

    Example:
        >>> is_blank(" NaN "), is_blank(""), is_blank("0")
        (True, True, False)
    """
    return (text or "").strip().lower() in _BLANK


def parse_number(text: str | None) -> float | None:
    """Read a finite decimal number.

    Args:
        text: A cell, with or without spaces around the number.

    Returns: The number, or None where the cell holds none (words, blanks, nan, inf, hexadecimal,
        digits grouped by ``_``).

    Example:
        >>> parse_number(" 46.50 "), parse_number("4.6e1"), parse_number("nan")
        (46.5, 46.0, None)
    """
    stripped = (text or "").strip()
    if _NUMBER.fullmatch(stripped) is None:
        return None
    value = float(stripped)
    return value if math.isfinite(value) else None


def parse_whole(text: str | None) -> int | None:
    """Read a whole number, also one that was saved as a decimal number.

    Args:
        text: A cell such as ``"46"``, ``" 46 "`` or ``"46.0"``.

    Returns:
        The number, or None where the cell holds none or a fraction.

    Example:
        >>> parse_whole("46.0"), parse_whole("-1"), parse_whole("46.5")
        (46, -1, None)
    """
    value = parse_number(text)
    if value is None or value != int(value):
        return None
    return int(value)


def plain_identifier(text: str | None) -> str:
    """Write an identifier as published: without spaces around it, and 16655 where ``16655.0`` was
    saved.

    Leading zeros stay; an identifier with letters is returned as it is.

    Example:
        >>> plain_identifier("16655.0"), plain_identifier(" a0001 ")
        ('16655', 'a0001')
    """
    stripped = (text or "").strip()
    match = _WHOLE_WITH_POINT.fullmatch(stripped)
    return match[1] if match else stripped


def same_cell(one: str | None, other: str | None) -> bool:
    """Whether two cells say the same: both blank, one number (to 1e-6 of it), or one word in any
    case.

    Example:
        >>> same_cell("16655.0", "16655"), same_cell("nan", ""), same_cell("TRUE", "True")
        (True, True, True)
    """
    if is_blank(one) or is_blank(other):
        return is_blank(one) and is_blank(other)
    first = parse_number(one)
    second = parse_number(other)
    if first is not None and second is not None:
        return math.isclose(first, second, rel_tol=_TOLERANCE, abs_tol=1e-9)
    return (one or "").strip().casefold() == (other or "").strip().casefold()


def read_table(path: Path, columns: Sequence[str], *, ragged: bool = False) -> list[Row]:
    """Read a table whose first line names the columns.

    Commas, semicolons or tabs may separate the cells; where semicolons do, ``46,5`` is 46.5. A
    byte-order mark, spaces around cells, quotes and lines of blank cells are removed. Columns
    beyond those wanted are kept.

    Args:
        path: The file.
        columns: Names of the columns that must be there.
        ragged: Take rows of another length than the header, as some releases have them: missing cells are empty text,
            cells without a column are left out.

    Returns:
        One dictionary a row, from column name to stripped text.

    Raises:
        LayoutError: The file is absent.
        CorruptFileError: The file is no table, lacks a column, names a wanted column twice, or (unless ``ragged``)
            has a row of another length than the header.
    """
    text, fixed = _without_declaration(_text(path))
    delimiter = fixed or _delimiter_of_header(text, columns)
    lines = _split(path, text, delimiter)
    header = lines[0] if lines else []
    _check_header(path, header, columns)
    rows = []
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cells):
            continue
        if len(cells) != len(header) and not ragged:
            raise CorruptFileError(
                f"{path}, line {number}: the row is not as long as the header. Download it again."
            )
        padded = [*cells, *[""] * len(header)]
        rows.append(dict(zip(header, padded, strict=False)))
    return rows


def read_rows(path: Path, *, lossy: bool = False) -> list[list[str]]:
    """Read a table without column names.

    The column of row numbers and the line of column numbers that pandas adds are removed where both
    are there.

    Args:
        path: The file.
        lossy: Replace bytes that are not UTF-8 instead of refusing the file.

    Returns:
        The stripped cells of each row; rows of blank cells are left out.

    Raises:
        LayoutError: The file is absent.
        CorruptFileError: The file is no table.
    """
    text, fixed = _without_declaration(_text(path, lossy=lossy))
    delimiter = fixed or _delimiter_of_cells(text)
    rows = [cells for cells in _split(path, text, delimiter) if any(cells)]
    return _without_index(rows)


def is_numbered_header(cells: Sequence[str]) -> bool:
    """Whether a row is the line 0, 1, 2, ... that pandas writes for columns without names."""
    return len(cells) > 1 and list(cells) == [str(i) for i in range(len(cells))]


def _text(path: Path, *, lossy: bool = False) -> str:
    """The characters of a file: UTF-8, or UTF-16 where its first bytes say so."""
    try:
        data = path.read_bytes()
        encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        return data.decode(encoding, errors="replace" if lossy else "strict")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise LayoutError(f"{path} is missing. Restore it as published.") from error
    except (UnicodeDecodeError, OSError) as error:
        raise CorruptFileError(f"{path} is not a table: {error}. Download it again.") from error


def _without_declaration(text: str) -> tuple[str, str]:
    """Text without the line ``sep=;`` that spreadsheets write first, and the delimiter named there
    ("" for none).
    """
    match = re.match(r"sep=([,;\t])\r?\n", text, re.IGNORECASE)
    if match is None:
        return text, ""
    return text[match.end() :], match[1]


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def _delimiter_of_header(text: str, columns: Sequence[str]) -> str:
    """The delimiter under which the first line has every wanted column; a comma where none does."""
    first = _first_line(text)
    for delimiter in _DELIMITERS:
        names = {name.strip().strip('"') for name in first.split(delimiter)}
        if names.issuperset(columns):
            return delimiter
    return ","


def _delimiter_of_cells(text: str) -> str:
    """The delimiter of a line without names: a comma, unless every comma stands inside a decimal
    number.
    """
    first = _first_line(text)
    for delimiter in (";", "\t"):
        cells = [cell.strip() for cell in first.split(delimiter)]
        if len(cells) > 1 and all("," not in c or _DECIMAL_COMMA.fullmatch(c) for c in cells):
            return delimiter
    return ","


def _split(path: Path, text: str, delimiter: str) -> list[list[str]]:
    """Stripped cells of every line that is not empty."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        rows = [[cell.strip() for cell in cells] for cells in lines if cells]
    except csv.Error as error:
        raise CorruptFileError(f"{path} is not a table: {error}. Download it again.") from error
    if delimiter == ",":
        return rows
    return [[_with_decimal_point(cell) for cell in cells] for cells in rows]


def _with_decimal_point(cell: str) -> str:
    if _DECIMAL_COMMA.fullmatch(cell) is None:
        return cell
    return cell.replace(",", ".")


def _check_header(path: Path, header: Sequence[str], columns: Iterable[str]) -> None:
    for column in columns:
        if column not in header:
            names = ", ".join(header)[:200] or "none"
            raise CorruptFileError(
                f"{path} has no column {column!r}; it has {names!r}. Download it again."
            )
        if header.count(column) > 1:
            raise CorruptFileError(f"{path} has the column {column!r} twice. Download it again.")


def _without_index(rows: list[list[str]]) -> list[list[str]]:
    """Rows without the first column where it only numbers them below an empty name, as pandas saves
    a table.
    """
    if len(rows) < 2 or rows[0][0] not in _INDEX_NAMES:
        return rows
    numbers = [parse_whole(cells[0]) for cells in rows[1:]]
    if numbers != list(range(len(numbers))):
        return rows
    names = rows[0][1:]
    below = [cells[1:] for cells in rows[1:]]
    return below if is_numbered_header(names) else [names, *below]
