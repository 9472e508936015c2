"""Read tables of text (CSV, TSV) as published, or as pandas and spreadsheets save them again.

A program that saves a table again may write 46 as ``46.0``, leave a ``nan`` empty, put semicolons
for commas and add a column of row numbers. The functions here read all of these alike, so that
every dataset compares numbers as numbers.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from etab.errors import CorruptFileError
from etab.files import read_file
from etab.readers.regular import require_regular

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class TableLine:
    """One row of a text table.

    Attributes:
        number: Line of the file on which the row begins, from 1.
        cells: The stripped cells.
        delimiter: What separates them.
        is_cut: Whether it is the last line of a file that does not end with a line break.
        is_open: Whether its last cell begins with a quotation mark and never ends.
    """

    number: int
    cells: list[str]
    delimiter: str
    is_cut: bool
    is_open: bool = False


_BLANK = frozenset({"", "nan", "na", "n/a", "<na>", "#n/a", "nat", "null", "none"})
_DELIMITERS = (",", ";", "\t", "|")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
_WHOLE_WITH_POINT = re.compile(r"(\d+)\.0*", re.ASCII)
_INDEX_NAMES = ("", "Unnamed: 0", "index")
_TOLERANCE = 1e-6
_HINT = "Download it again."
_LOOKED_AT = 10_000  # characters from which the delimiter of a table without names is inferred
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .xls


def is_blank(text: str | None) -> bool:
    """Whether a cell holds no value.

    Args:
        text: A cell; None counts as an empty one.

    Returns:
        True for an empty cell and for the words that stand for one: nan, NA, null, none, ...

    Example:
        >>> is_blank(" NaN "), is_blank(""), is_blank("0")
        (True, True, False)
    """
    return (text or "").strip().lower() in _BLANK


def parse_number(text: str | None) -> float | None:
    """Read a finite decimal number.

    Args:
        text: A cell, with or without spaces around the number.

    Returns:
        The number, or None where the cell holds none: words, blanks, nan, inf, hexadecimal numbers,
        digits grouped by ``_``.

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
    """Write an identifier as published: ``16655`` where ``16655.0`` was saved.

    Args:
        text: A cell.

    Returns:
        The identifier without spaces around it. Leading zeros stay, and an identifier with letters
        is not changed.

    Example:
        >>> plain_identifier("16655.0"), plain_identifier(" a0001 ")
        ('16655', 'a0001')
    """
    stripped = (text or "").strip()
    match = _WHOLE_WITH_POINT.fullmatch(stripped)
    return match[1] if match else stripped


def same_cell(one: str | None, other: str | None) -> bool:
    """Whether two cells hold the same value.

    Args:
        one: A cell.
        other: Another cell.

    Returns:
        True where both are blank, both are one number (to a relative 1e-6), or both are one text,
        upper or lower case.

    Example:
        >>> same_cell("16655.0", "16655"), same_cell("nan", ""), same_cell("TRUE", "True")
        (True, True, True)
    """
    if is_blank(one) or is_blank(other):
        return is_blank(one) and is_blank(other)
    first = parse_number(one)
    second = parse_number(other)
    if first is not None and second is not None:
        return math.isclose(
            first,
            second,
            rel_tol=_TOLERANCE,
            abs_tol=1e-9,
        )
    return (one or "").strip().casefold() == (other or "").strip().casefold()


def read_table(
    path: Path,
    columns: Sequence[str],
    *,
    ragged: bool = False,
    hint: str = _HINT,
) -> list[Row]:
    """Read a table whose first line names the columns.

    Commas, semicolons, tabs or | may separate the cells; where semicolons do, ``46,5`` is 46.5. A
    byte-order mark, spaces around cells, quotes and lines of blank cells are removed. Columns
    beyond the wanted ones are kept.

    Args:
        path: The file.
        columns: Names of the columns that the table must have.
        ragged: Whether rows may be shorter or longer than the header, as in some releases. Missing
            cells are empty text, and cells without a column are dropped.
        hint: What the user can do about a file that is not such a table; the last sentence of the
            error.

    Returns:
        One dictionary a row, from column name to stripped text.

    Raises:
        LayoutError: The file is absent.
        CorruptFileError: The file is not a table, lacks a column, names a wanted column twice, or
            (unless ``ragged``) has a row of another length than the header.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "table.csv"
        ...     _ = path.write_text("name;EF\\na;46,5\\n")
        ...     read_table(path, ("name", "EF"))
        [{'name': 'a', 'EF': '46.5'}]
    """
    lines = _closed(path, read_lines(path, columns, hint=hint))
    header = lines[0].cells if lines else []
    _check_header(path, header, columns, hint)
    rows = []
    for line in lines[1:]:
        if not any(line.cells):
            continue
        if len(line.cells) != len(header) and not ragged:
            raise CorruptFileError(
                f"{path}, line {line.number}: the row is not as long as the header. {hint}"
            )
        padded = [*line.cells, *[""] * len(header)]
        rows.append(dict(zip(header, padded, strict=False)))
    return rows


def read_lines(path: Path, columns: Sequence[str], *, hint: str = _HINT) -> list[TableLine]:
    """Read the lines of a table as they are: the names of the columns, then the rows.

    Args:
        path: The file.
        columns: Names of columns that identify the delimiter; they are not required.
        hint: What the user can do about a file that is not a table.

    Returns:
        The lines that are not empty, with their numbers in the file.

    Raises:
        LayoutError: The file is absent.
        CorruptFileError: The file is not a table.
    """
    text, fixed = _without_declaration(_text(path, hint))
    delimiter = fixed or _delimiter_of_header(text, columns)
    return _split(path, text, delimiter, hint, first=2 if fixed else 1)


def read_rows(path: Path, *, lossy: bool = False) -> list[list[str]]:
    """Read a table without column names.

    The column of row numbers that pandas adds is removed, and its line of column numbers with it.

    Args:
        path: The file.
        lossy: Replace bytes that are not UTF-8 instead of refusing the file.

    Returns:
        The stripped cells of each row; rows of blank cells are left out.

    Raises:
        LayoutError: The file is absent.
        CorruptFileError: The file is not a table.
    """
    text, fixed = _without_declaration(_text(path, _HINT, lossy=lossy))
    delimiter = fixed or _delimiter_of_cells(text)
    lines = _closed(path, _split(path, text, delimiter, _HINT))
    rows = [line.cells for line in lines if any(line.cells)]
    return _without_index(rows)


def is_numbered_header(cells: Sequence[str]) -> bool:
    """Whether a row is the header 0, 1, 2, ... that pandas writes for columns without names.

    Args:
        cells: The stripped cells of the row.

    Example:
        >>> is_numbered_header(["0", "1", "2"]), is_numbered_header(["a", "b"])
        (True, False)
    """
    return len(cells) > 1 and list(cells) == [str(i) for i in range(len(cells))]


def _text(path: Path, hint: str, *, lossy: bool = False) -> str:
    """Decode a file: UTF-16 where it begins with that byte-order mark, else UTF-8."""
    require_regular(path)
    try:
        data = read_file(path)
    except OSError as error:
        raise CorruptFileError(f"{path} is not a table: {error}. {hint}") from error
    if data.startswith(_WORKBOOKS):
        raise CorruptFileError(
            f"{path} is not a table of text: it is a workbook of a spreadsheet, whatever its name "
            "ends with. Save its sheet as CSV (UTF-8)."
        )
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    if encoding == "utf-8-sig" and b"\0" in data[:2]:
        raise CorruptFileError(
            f"{path} is not a table in UTF-8: each of its letters has two bytes. Save it as CSV "
            "(UTF-8)."
        )
    try:
        return data.decode(encoding, errors="replace" if lossy else "strict")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CorruptFileError(
            f"{path} is not a table in UTF-8: line {line} has the byte "
            f"0x{data[error.start]:02x}, as other encodings write letters with accents. Save it as "
            "CSV (UTF-8)."
        ) from error


def _without_declaration(text: str) -> tuple[str, str]:
    """Remove the line ``sep=;`` that spreadsheets write first.

    Returns:
        The rest of the text, and the delimiter that the line names ("" for none).
    """
    match = re.match(r"sep=([,;\t|])\r?\n", text, re.IGNORECASE)
    if match is None:
        return text, ""
    return text[match.end() :], match[1]


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def _delimiter_of_header(text: str, columns: Sequence[str]) -> str:
    """Find the delimiter that gives the first line every wanted column, or separates the names."""
    first = _first_line(text)
    for delimiter in _DELIMITERS:
        names = {name.strip().strip('"') for name in first.split(delimiter)}
        if names.issuperset(columns):
            return delimiter
    return _delimiter_of_cells(text)


def _delimiter_of_cells(text: str) -> str:
    """Find the delimiter of a table without names.

    It is a semicolon, tab or | that leaves commas inside decimal numbers only, or else the one that
    divides the lines evenly; a comma where none does.
    """
    first = _first_line(text)
    for delimiter in _DELIMITERS[1:]:
        cells = [cell.strip() for cell in first.split(delimiter)]
        if len(cells) > 1 and all("," not in c or _DECIMAL_COMMA.fullmatch(c) for c in cells):
            return delimiter
    return _even_delimiter(text)


def _even_delimiter(text: str) -> str:
    """The delimiter that divides the first lines into equally many cells; a comma where none does."""
    lines = [line for line in text[:_LOOKED_AT].splitlines()[:-1] if line.strip()]
    for delimiter in _DELIMITERS:
        counts = {line.count(delimiter) for line in lines}
        if len(lines) > 1 and len(counts) == 1 and 0 not in counts:
            return delimiter
    return ","


def _split(
    path: Path,
    text: str,
    delimiter: str,
    hint: str,
    *,
    first: int = 1,
) -> list[TableLine]:
    """Split every line that is not empty into stripped cells; ``first`` numbers the first line."""
    lines = io.StringIO(text, newline="")
    is_over = False

    def until_over() -> Iterator[str]:
        nonlocal is_over
        yield from lines
        is_over = True

    reader = csv.reader(until_over(), delimiter=delimiter, skipinitialspace=True)
    rows: list[TableLine] = []
    number = first
    try:
        for cells in reader:
            if cells:
                stripped = [cell.strip() for cell in cells]
                if delimiter != ",":
                    stripped = [_with_decimal_point(cell) for cell in stripped]
                # Where the last cell never ends, the reader looked for its end behind the last line.
                rows.append(TableLine(number, stripped, delimiter, False, is_open=is_over))
            number = first + reader.line_num
    except csv.Error as error:
        raise CorruptFileError(f"{path} is not a table: {error}. {hint}") from error
    if rows and not text.endswith(("\n", "\r")):
        rows[-1] = replace(rows[-1], is_cut=True)
    return rows


def _closed(path: Path, lines: list[TableLine]) -> list[TableLine]:
    """The lines of a table; a cell that never ends, which takes in all lines below it, is an error."""
    if lines and lines[-1].is_open:
        raise CorruptFileError(
            f"{path}, line {lines[-1].number}: a quotation mark opens a cell that never ends, so "
            "that all lines below it would be part of the cell. Remove it, or close the cell."
        )
    return lines


def _with_decimal_point(cell: str) -> str:
    if _DECIMAL_COMMA.fullmatch(cell) is None:
        return cell
    return cell.replace(",", ".")


def _check_header(
    path: Path,
    header: Sequence[str],
    columns: Sequence[str],
    hint: str,
) -> None:
    if columns and not any(header):
        raise CorruptFileError(f"{path} is empty: it has no line of column names. {hint}")
    for column in columns:
        if column not in header:
            names = ", ".join(header)[:200]
            raise CorruptFileError(f"{path} has no column {column!r}; it has {names!r}. {hint}")
        if header.count(column) > 1:
            raise CorruptFileError(f"{path} has the column {column!r} twice. {hint}")


def _without_index(rows: list[list[str]]) -> list[list[str]]:
    """Remove the first column where it only numbers the rows below an empty name, as in pandas."""
    if len(rows) < 2 or rows[0][0] not in _INDEX_NAMES:
        return rows
    numbers = [parse_whole(cells[0]) for cells in rows[1:]]
    if numbers != list(range(len(numbers))):
        return rows
    names = rows[0][1:]
    below = [cells[1:] for cells in rows[1:]]
    return below if is_numbered_header(names) else [names, *below]
