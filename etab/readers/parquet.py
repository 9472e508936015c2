"""Tables of Parquet files, and rows of them a row group at a time; nothing is read before it is asked
for. Needs pyarrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from etab.errors import CorruptFileError, EtabError, MissingPackageError, reason_of
from etab.files import is_bomb, largest_unpacked, open_regular
from etab.readers.parquet_footer import RowGroup, read_row_groups
from etab.readers.regular import require_regular

# Bytes of a value in memory, at least.
_FEWEST_BYTES = 4
# Bytes that rows may take which are unpacked at once, where texts may be longer than they are stored.
_AT_ONCE = 256 << 20


class ParquetFile:
    """One file. It stays closed in between.

    Args:
        path: The file.
        columns: Columns that it must have; "recording.path" is a field of a structure.
        hint: What the user can do about a file that cannot be read; a sentence.

    Attributes:
        groups: Number of rows of each row group.
        schema: Names and types of its columns, as pyarrow gives them.
        marks: Its metadata as text.

    Raises:
        LayoutError: The file is absent.
        CorruptFileError: It is not a Parquet file, lacks a column, or claims to unpack to far more
            than it has.
        MissingPackageError: pyarrow is not installed.
    """

    def __init__(
        self, path: Path, columns: Sequence[str], *, hint: str = "Download it again."
    ) -> None:
        """Read the footer."""
        self.path = path
        self._hint = hint
        with self._opened() as (file, groups):
            self.schema = file.schema_arrow
        self.groups = [group.n_rows for group in groups]
        pairs = (self.schema.metadata or {}).items()
        self.marks = " ".join(
            f"{k.decode('utf-8', 'replace')}={v.decode('utf-8', 'replace')}" for k, v in pairs
        )
        absent = [name for name in columns if name.split(".")[0] not in self.schema.names]
        if absent:
            raise CorruptFileError(
                f"{path} has no column {absent[0]!r}; it has {', '.join(self.schema.names)}. {hint}"
            )

    def read(self, group: int, columns: Sequence[str]) -> Any:
        """Read columns of a row group.

        Args:
            group: Number of the row group.
            columns: Names of columns.

        Returns:
            A table of pyarrow.

        Raises:
            CorruptFileError: The file is damaged, or unpacks to far more than it has.
        """
        return self._read([group], columns)

    def read_all(self, columns: Sequence[str] | None = None) -> Any:
        """Read columns of all rows; all columns without names. Otherwise as ``read``."""
        return self._read(list(range(len(self.groups))), columns)

    def _read(self, numbers: Sequence[int], columns: Sequence[str] | None) -> Any:
        with self._opened() as (file, groups):
            if [group.n_rows for group in groups] != self.groups:
                raise CorruptFileError(
                    f"{self.path} has changed since it was opened. Open the data again."
                )
            wanted = [groups[number] for number in numbers]
            n_rows = self._rows_at_once(wanted, columns)
            names = None if columns is None else list(columns)
            if n_rows is None:
                table = file.read_row_groups(list(numbers), columns=names)
            else:
                table = self._in_parts(file, numbers, names, n_rows)
            table.validate(full=True)  # texts that are not UTF-8 among them
        n_promised = sum(group.n_rows for group in wanted)
        if table.num_rows != n_promised:
            raise CorruptFileError(
                f"{self.path} promises {n_promised:,} rows and holds {table.num_rows:,}. "
                f"{self._hint}"
            )
        return table

    def _rows_at_once(
        self, groups: Sequence[RowGroup], columns: Sequence[str] | None
    ) -> int | None:
        """Number of rows that are unpacked together; None where all of them can be.

        A text that occurs often may be stored once, so that a few kilobytes are gigabytes of rows.
        No text is longer than its column is stored.
        """
        largest = largest_unpacked(self.path.stat().st_size)
        n_rows: int | None = None
        for group in groups:
            texts = [one for one in group.columns if one.holds_texts and _is_in(one.path, columns)]
            if sum(one.n_bytes * one.n_values for one in texts) <= largest:
                continue
            lists = [one for one in texts if one.n_values > group.n_rows]
            if lists:
                raise self._bomb(lists[0].n_bytes * lists[0].n_values)
            longest = sum(one.n_bytes for one in texts)
            n_rows = min(n_rows or group.n_rows, max(1, _AT_ONCE // longest))
        return n_rows

    def _in_parts(
        self, file: Any, numbers: Sequence[int], columns: list[str] | None, n_rows: int
    ) -> Any:
        import pyarrow

        largest = largest_unpacked(self.path.stat().st_size)
        parts = []
        total = 0
        for part in file.iter_batches(n_rows, row_groups=list(numbers), columns=columns):
            total += part.nbytes
            if total > largest:
                raise self._bomb(total)
            parts.append(part)
        return pyarrow.Table.from_batches(parts)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, tuple[RowGroup, ...]]]:
        """The open file and its row groups; whatever pyarrow raises becomes an error of the file."""
        try:
            import pyarrow.parquet
        except ImportError as error:
            raise MissingPackageError(
                f'{self.path} needs pyarrow: pip install "etab-bench[parquet]".'
            ) from error
        size = require_regular(self.path)
        try:
            with open_regular(self.path) as stream:
                groups = read_row_groups(stream, size)
                self._refuse_bomb(groups, size)
                stream.seek(0)
                with pyarrow.parquet.ParquetFile(stream) as file:
                    yield file, groups
        except EtabError:
            raise
        except Exception as error:  # pyarrow has errors of its own, and some of Python
            raise self._unreadable(error) from error

    def _refuse_bomb(self, groups: Sequence[RowGroup], size: int) -> None:
        """Refuse a file that claims to unpack to far more than it has, long texts aside."""
        columns = [column for group in groups for column in group.columns]
        claimed = sum(max(one.n_bytes, _FEWEST_BYTES * one.n_values) for one in columns)
        if is_bomb(claimed, size):
            raise self._bomb(claimed)

    def _bomb(self, n_bytes: int) -> CorruptFileError:
        return CorruptFileError(
            f"{self.path} claims to unpack to {n_bytes:,} bytes and has "
            f"{self.path.stat().st_size:,}. {self._hint}"
        )

    def _unreadable(self, error: Exception) -> CorruptFileError:
        """The error about a file: its disk where the system names a reason, otherwise its content."""
        if isinstance(error, OSError) and error.errno:
            return CorruptFileError(
                f"{self.path} cannot be read: {error.strerror}. Check the disk it is on."
            )
        return CorruptFileError(
            f"{self.path} cannot be read as Parquet: {reason_of(error)}. {self._hint}"
        )


def _is_in(path: str, columns: Sequence[str] | None) -> bool:
    """Whether a stored column belongs to one of some columns; to any of them without names."""
    if columns is None:
        return True
    return any(path == name or path.startswith(f"{name}.") for name in columns)
