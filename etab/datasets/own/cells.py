"""The cells of a user's own table, CSV or Parquet: every row with its line and its faults."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from etab.errors import CorruptFileError, LayoutError, reason_of
from etab.readers.parquet import ParquetFile
from etab.readers.table import TableLine, read_lines

_HINT = "Save the table as CSV (UTF-8), with one row for each recording."
_SHOWN = 40  # characters of a cell in a message
_LOOKED_AT = 20  # rows in which the names of the columns are looked for


@dataclass(frozen=True, slots=True)
class CellRow:
    """The cells of one row.

    Attributes:
        line: Line of the table; the header is line 1.
        cells: Text by column.
        reason: Why the row is not one row of the table, in a few words; "" where it is.
        text: The whole sentence.
        is_short: Whether cells at its end are missing, which count as blank.
    """

    line: int
    cells: Mapping[str, str]
    reason: str = ""
    text: str = ""
    is_short: bool = False


@dataclass(frozen=True, slots=True)
class TableCells:
    """A table as text.

    Attributes:
        header: Names of the columns, in order.
        rows: The rows.
        nested: Type of each column whose cells hold several values (Parquet).
    """

    header: tuple[str, ...]
    rows: tuple[CellRow, ...]
    nested: Mapping[str, str] = field(default_factory=dict)

    def require(self, columns: list[str], table: Path, description: Path) -> None:
        """Check that columns are there, once each, with one value in a cell.

        Args:
            columns: Names of columns.
            table: The table, for the message.
            description: The description, for the message.

        Raises:
            LayoutError: A column is missing, occurs twice, or holds lists.
        """
        for column in columns:
            if column not in self.header:
                named = ", ".join(name for name in self.header if name)
                raise LayoutError(
                    f"{table} has no column {column!r}; it has {named}.{self._hint(column)} "
                    f"Name the column in {description}, or add it to the table."
                )
            if self.header.count(column) > 1:
                raise LayoutError(
                    f"{table} has the column {column!r} twice. Rename or remove one of the two."
                )
            if column in self.nested:
                raise LayoutError(
                    f"{table}: a cell of the column {column!r} is a {self.nested[column]}; wanted "
                    "text or a number. Write several files in one text, separated by ;."
                )

    def _hint(self, column: str) -> str:
        """A sentence on a column that is not there; "" where nothing is known of it."""
        near = [name for name in self.header if _letters(name) == _letters(column)]
        if near and near[0].isprintable():
            return f" {near[0]!r} is written in another way."
        if near:
            return f" {near[0]!a} has letters that are not seen."
        below = [row.line for row in self.rows[:_LOOKED_AT] if column in row.cells.values()]
        if below:
            return f" Line {below[0]} has it: remove the lines above, which name no columns."
        several = [name for name in self.header if name.casefold().startswith(column.casefold())]
        if len(several) > 1:
            return f" Write one row for each recording, in place of {' and '.join(several)}."
        if len(self.header) == 1:
            return (
                " The first line with text names the columns, separated by commas, semicolons, "
                "tabs or |."
            )
        return ""


def _letters(name: str) -> str:
    """The letters and digits of a name, in small letters."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def read_table_cells(table: Path, file_column: str) -> TableCells:
    """Read a table as text.

    Args:
        table: A CSV or Parquet file.
        file_column: Name of the column of files, which identifies the delimiter of a CSV file.

    Returns:
        The cells; rows of blank cells are left out.

    Raises:
        CorruptFileError: The file is not a table.
        LayoutError: The table has no rows.
        MissingPackageError: A Parquet file without pyarrow.
    """
    is_parquet = table.suffix.lower() in (".parquet", ".pq")
    cells = _parquet_cells(table) if is_parquet else _text_cells(table, file_column)
    if not cells.rows:
        raise LayoutError(f"{table} has no rows. {_HINT}")
    return cells


def _text_cells(table: Path, file_column: str) -> TableCells:
    lines = read_lines(table, (file_column,), hint=_HINT)
    if not lines:
        raise LayoutError(f"{table} is empty. {_HINT}")
    header = lines[0].cells
    rows = [_cell_row(header, line) for line in lines[1:] if any(line.cells)]
    return TableCells(tuple(header), tuple(rows))


def _cell_row(header: list[str], line: TableLine) -> CellRow:
    reason = ""
    text = ""
    surplus = [cell for cell in line.cells[len(header) :] if cell]
    swallowed = _swallowed(header, line)
    if line.cells[: len(header)] == header:
        reason = "the names of the columns again"
        text = "the line names the columns, as the first one does; remove it."
    elif swallowed:
        reason = "a quote that is not closed"
        begin = swallowed.splitlines()[0][:_SHOWN]
        n_lines = len(swallowed.splitlines()) - 1
        text = f"the cell {begin!r} takes in the next {n_lines} lines; close its quote."
    elif surplus:
        reason = "more cells than columns"
        text = (
            f"the row has {len(line.cells)} cells for {len(header)} columns; put a text or number "
            "with a comma in quotes."
        )
    elif line.is_cut and len(line.cells) < len(header):
        reason = "a row that is cut"
        text = "the file ends within this row; write the table again."
    padded = [*line.cells, *[""] * len(header)]
    is_short = len(line.cells) < len(header)
    return CellRow(line.number, dict(zip(header, padded, strict=False)), reason, text, is_short)


def _swallowed(header: list[str], line: TableLine) -> str:
    """A cell that holds whole rows of the table; "" where none does."""
    for cell in line.cells:
        for inner in cell.splitlines()[1:]:
            if inner.count(line.delimiter) == len(header) - 1:
                return cell
    return ""


def _parquet_cells(table: Path) -> TableCells:
    file = ParquetFile(table, (), hint="Write it again.")
    import pyarrow

    nested = {
        column.name: str(column.type)
        for column in file.schema
        if pyarrow.types.is_nested(column.type)
    }
    plain = [name for name in file.schema.names if name not in nested]
    try:
        content = file.read_all(plain if nested else None)
        columns = [[_text(value) for value in column.to_pylist()] for column in content.columns]
    except (ArithmeticError, ValueError, MemoryError, pyarrow.ArrowException) as error:
        # Moments beyond the years of Python, zones that it does not know.
        raise CorruptFileError(
            f"{table} cannot be read: {reason_of(error)}. Write it again."
        ) from error
    rows = [
        CellRow(line, dict(zip(content.column_names, values, strict=True)))
        for line, values in enumerate(zip(*columns, strict=True), start=2)
    ]
    return TableCells(tuple(file.schema.names), tuple(rows), nested)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)


def csv_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table as CSV.

    Args:
        header: Names of the columns.
        rows: The cells of each row.

    Returns:
        The text, with a comma between cells and ``\\n`` behind each line.

    Example:
        >>> csv_text(["file", "EF"], [["a;b.png", "55"]])
        'file,EF\\na;b.png,55\\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
