"""The check that the table of predictions beside a record is the one that it was made from."""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from etab.errors import EtabWarning, UnreadableResultError
from etab.results import Result
from etab.results.table_files import read_table_bytes, table_path
from etab.runs.run import Settings
from etab.storage.digests import KeptDigests

_KEPT: ContextVar[KeptDigests | None] = ContextVar("digests of tables", default=None)


@contextlib.contextmanager
def kept_tables(settings: Settings, *, writes: bool = True) -> Iterator[None]:
    """Let ``has_its_table`` reuse digests of tables that have not changed since the last run.

    Args:
        settings: The folders of the results and of the cache, which keeps the digests.
        writes: Whether new digests are written to the cache; old ones are used in any case.

    Example:
        >>> with kept_tables(Settings(results=Path("no results"))):
        ...     pass
    """
    kept = KeptDigests(settings.results, settings.cache, _table_sha256)
    token = _KEPT.set(kept)
    try:
        yield
    finally:
        _KEPT.reset(token)
        if writes:
            kept.keep()


def has_its_table(path: Path, result: Result) -> bool:
    """Whether the table of predictions exists and is the one that a record was made from.

    Warns if a table exists and is another one.

    Args:
        path: The file of the record.
        result: The record.

    Raises:
        UnreadableResultError: The path of the table is that of a folder or another special file.
    """
    fault = table_fault(path, result)
    if fault and table_path(path).exists():
        warnings.warn(fault, EtabWarning, stacklevel=2)
    return not fault


def table_fault(path: Path, result: Result) -> str:
    """Say why a cell does not count as finished although it has a record.

    Args:
        path: The file of the record.
        result: The record.

    Returns:
        What is wrong with the table of predictions; "" if it is the one that the record was made
        from.

    Raises:
        UnreadableResultError: The path of the table is that of a folder or another special file.
    """
    table = table_path(path)
    if not table.exists():
        wrong = f"{table} is missing: predictions belong beside their record."
    elif not table.is_file():
        raise UnreadableResultError(
            f"{table} is not a file, but the predictions of {path.name} belong there. Move it away "
            "and run the cell again."
        )
    elif _digest(table) == result.predictions_sha256:
        return ""
    else:
        wrong = f"{table} is not the table its record was made from: it is cut or altered."
    return f"{wrong} The cell counts as missing; computing it writes the table again."


def _digest(table: Path) -> str:
    """The sha256 of the text of a table; "" where it cannot be read."""
    kept = _KEPT.get()
    try:
        if kept is not None and table.is_relative_to(kept.root):
            return kept.digest(str(table.relative_to(kept.root)))
        return _table_sha256(table)
    except OSError:
        return ""


def _table_sha256(table: Path) -> str:
    return hashlib.sha256(read_table_bytes(table)).hexdigest()
