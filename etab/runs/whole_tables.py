"""Tables of predictions that are those of their records: a table that is cut or altered is none."""

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
    """Let ``has_its_table`` read a table of these results only where it has changed since.

    Args:
        settings: Where the results are, and the cache that keeps the digests of their tables.
        writes: Whether new digests are kept; those of the cache are used either way.

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
    """Whether the predictions beside a record are there, and are those that it was made from.

    A table that is cut or altered is told in a warning.

    Args:
        path: The file of the record.
        result: What it holds.

    Raises:
        UnreadableResultError: Something else, such as a folder, lies in the place of the table.
    """
    table = table_path(path)
    if not table.exists():
        return False
    if not table.is_file():
        raise UnreadableResultError(
            f"{table} is no file, but the predictions of {path.name} belong there. Move it away and "
            "run the cell again."
        )
    if _digest(table) == result.predictions_sha256:
        return True
    warnings.warn(
        f"{table} is not the table its record was made from: it is cut or altered. The cell counts "
        "as missing; computing it writes the table again.",
        EtabWarning,
        stacklevel=2,
    )
    return False


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
