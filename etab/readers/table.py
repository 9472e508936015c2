"""CSV tables as published: rows by column name, blanks as empty text."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from etab.errors import CorruptFileError, LayoutError

Row = dict[str, str]


def read_table(path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a CSV file, stripped text by column name; columns beyond ``columns`` are kept, missing ones refused.

    Raises LayoutError where the file is absent, CorruptFileError where it is no table, lacks a column, or has a row of
    another length than its header.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            header = reader.fieldnames or []
    except FileNotFoundError as error:
        raise LayoutError(f"{path} is missing. Restore it as published.") from error
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise CorruptFileError(f"{path} is not a table: {error}. Download it again.") from error
    absent = [column for column in columns if column not in header]
    if absent:
        raise CorruptFileError(
            f"{path} has no column {absent[0]!r}; it has {', '.join(header) or 'none'}. Download it again."
        )
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise CorruptFileError(f"{path}, line {number}: the row is not as long as the header. Download it again.")
    return [{key: value.strip() for key, value in row.items()} for row in rows]
