"""Rows of Parquet files, a row group at a time; nothing is read before it is asked for. Needs
pyarrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from etab.errors import CorruptFileError, MissingPackageError, reason_of
from etab.files import is_bomb
from etab.readers.regular import require_regular

# Bytes of a value in memory, at least.
_FEWEST_BYTES = 4


class ParquetFile:
    """One file: ``groups`` are the rows of each row group, ``marks`` its metadata as text. It stays
    closed in between.

    Raises LayoutError where the file is absent, CorruptFileError where it is no Parquet file or
    lacks a column, MissingPackageError without pyarrow.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        """Read the footer."""
        self.path = path
        with _open(path) as file:
            schema = file.schema_arrow
            self.groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            pairs = (schema.metadata or {}).items()
            self.marks = " ".join(
                f"{k.decode('utf-8', 'replace')}={v.decode('utf-8', 'replace')}" for k, v in pairs
            )
        absent = [name for name in columns if name.split(".")[0] not in schema.names]
        if absent:
            raise CorruptFileError(
                f"{path} has no column {absent[0]!r}; it has {', '.join(schema.names)}. Download "
                "it again."
            )

    def read(self, group: int, columns: Sequence[str]) -> Any:
        """Read columns of a row group as a pyarrow table; "recording.path" is a struct's field."""
        with _open(self.path) as file:
            try:
                table = file.read_row_group(group, columns=list(columns))
                table.validate(full=True)  # texts that are no UTF-8 among them
            except _errors_of_arrow() as error:
                raise _unreadable(self.path, "cannot be read", error) from error
        if table.num_rows != self.groups[group]:
            raise CorruptFileError(
                f"{self.path} has changed since it was opened. Open the data again."
            )
        return table


def _open(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingPackageError(
            f'{path} needs pyarrow: pip install "etab-bench[parquet]".'
        ) from error
    require_regular(path)
    try:
        file = pyarrow.parquet.ParquetFile(path)
        claimed = claimed_bytes(file.metadata)
    except _errors_of_arrow() as error:
        raise _unreadable(path, "is no Parquet file", error) from error
    if is_bomb(claimed, path.stat().st_size):
        file.close()
        raise CorruptFileError(
            f"{path} claims to unpack to {claimed:,} bytes and has {path.stat().st_size:,}. Download "
            "it again."
        )
    return file


def claimed_bytes(metadata: Any) -> int:
    """Bytes that a Parquet file unpacks to by its own account, without those of long texts.

    Args:
        metadata: The footer, as pyarrow reads it.
    """
    claimed = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            claimed += max(column.total_uncompressed_size, _FEWEST_BYTES * column.num_values)
    return claimed


def _errors_of_arrow() -> tuple[type[Exception], ...]:
    """What Arrow raises: its own errors, and those of Python for which it has none."""
    import pyarrow.lib

    return (
        pyarrow.lib.ArrowException,
        OSError,
        ValueError,
        KeyError,
        MemoryError,  # for sizes that a damaged file claims
        NotImplementedError,  # for a compression or a type that this release does not read
    )


def _unreadable(path: Path, words: str, error: Exception) -> CorruptFileError:
    """The error about a file: its disk where the system names a reason, otherwise its content."""
    if isinstance(error, OSError) and error.errno:
        return CorruptFileError(
            f"{path} cannot be read: {error.strerror}. Check the disk it is on."
        )
    return CorruptFileError(f"{path} {words}: {reason_of(error)}. Download it again.")
