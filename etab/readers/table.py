"""CSV tables as published: rows by column name, blanks as empty text."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from etab.errors import CorruptFileError, LayoutError

Row = dict[str, str]


def read_table(path: Path, columns: Sequence[str], *, ragged: bool = False) -> list[Row]:
    """The rows of a CSV file, stripped text by column name; columns beyond ``columns`` are kept, missing ones refused.

    ``ragged`` takes rows of another length than the header, as some releases have them: what is missing is empty text,
    what is too much is left out. Raises LayoutError where the file is absent, CorruptFileError where it is no table, lacks
    a column, or has a row of another length.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, header = list(reader), [str(name) for name in reader.fieldnames or ()]
    except FileNotFoundError as error:
        raise LayoutError(f"{path} is missing. Restore it as published.") from error
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise CorruptFileError(f"{path} is not a table: {error}. Download it again.") from error
    absent = [column for column in columns if column not in header]
    if absent:
        shown = ", ".join(header)[:200] or "none"
        raise CorruptFileError(
            f"{path} has no column {absent[0]!r}; it has {shown!r}. Download it again."
        )
    for number, row in enumerate(rows, start=2):
        if not ragged and (None in row or None in row.values()):
            raise CorruptFileError(
                f"{path}, line {number}: the row is not as long as the header. Download it again."
            )
    return [{key: (row[key] or "").strip() for key in header} for row in rows]
