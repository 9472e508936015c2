"""Cells that failed: recorded beside the results, so that no run tries them for ever."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from etab.datasets.own.classes import is_class_file
from etab.errors import (
    DataNotFoundError,
    LayoutError,
    MissingPackageError,
    SplitError,
    UndefinedError,
    WeightsError,
)
from etab.files import read_json_file, record_of
from etab.runs.failures import describe_failure, is_lack_of_memory
from etab.runs.record import path_of_run
from etab.runs.run import Run, Settings, is_named
from etab.storage.atomic import write_atomically

MOST_ATTEMPTS = 3
"""Attempts after which a cell is not tried again."""

_FOLDER = ".failed"
# A record is a few lines of text.
_LARGEST_RECORD = 1 << 20
_CERTAIN = (UndefinedError, SplitError)
_ABSENT = (MissingPackageError, WeightsError, DataNotFoundError, LayoutError)


@dataclass(frozen=True, slots=True)
class FailedCell:
    """The record of a cell that failed.

    Attributes:
        task: Code of the task.
        backbone: Name of the backbone.
        kind: "undefined" (the same data give the same error), "absent" (a package, weights or
            data are missing; tried again in every run), "memory", "timeout" (no progress within
            the time of ``--timeout``), "killed" or "error".
        words: Why it failed.
        attempts: How often it has failed.
        facts: Digest of what decides the cell. The record holds for these facts alone.
        command: The command that tries the cell again.
    """

    task: str
    backbone: str
    kind: str
    words: str
    attempts: int
    facts: str
    command: str

    @property
    def is_given_up(self) -> bool:
        """Whether another attempt is made only when it is asked for."""
        if self.kind == "absent":
            return False
        return self.kind == "undefined" or self.attempts >= MOST_ATTEMPTS


def failure_kind(error: BaseException) -> str:
    """Name the kind of a failure.

    Args:
        error: The exception that ended a cell.

    Returns:
        "undefined", "absent", "memory" or "error".

    Example:
        >>> failure_kind(MemoryError())
        'memory'
    """
    if isinstance(error, _CERTAIN):
        return "undefined"
    if isinstance(error, _ABSENT):
        return "absent"
    if is_lack_of_memory(error):
        return "memory"
    return "error"


def record_failure(
    run: Run, settings: Settings, facts: Mapping[str, Any], kind: str, words: str
) -> None:
    """Record that a cell has failed once more.

    Args:
        run: The cell.
        settings: How the plan is run.
        facts: What decides the cell.
        kind: The kind of the failure, as ``FailedCell`` names it.
        words: Why it failed.
    """
    before = recorded_failure(run, settings, facts)
    record = FailedCell(
        run.task,
        run.backbone,
        kind,
        words,
        1 if before is None else before.attempts + 1,
        _digest(facts),
        repeat_command(run, settings),
    )
    write_atomically(_path(run, settings), json.dumps(asdict(record), indent=1) + "\n")


def recorded_failure(run: Run, settings: Settings, facts: Mapping[str, Any]) -> FailedCell | None:
    """Find the record of a cell that failed with the same facts.

    Args:
        run: The cell.
        settings: Where the results are.
        facts: What decides the cell.

    Returns:
        The record; None if there is none, or if it was made with other data or code.
    """
    record = _read(_path(run, settings))
    if record is None or record.facts != _digest(facts):
        return None
    return record


def has_record(run: Run, settings: Settings) -> bool:
    """Whether a cell has failed at all, with whatever data and code.

    Args:
        run: The cell.
        settings: Where the results are.
    """
    return _path(run, settings).exists()


def forget_failure(run: Run, settings: Settings) -> None:
    """Delete the record of a cell that is finished now.

    Args:
        run: The cell.
        settings: Where the results are.
    """
    with contextlib.suppress(OSError):
        _path(run, settings).unlink(missing_ok=True)


def failed_cells(results: Path) -> list[FailedCell]:
    """Read every record of a failed cell, sorted by backbone and task.

    Args:
        results: Folder of the results.

    Example:
        >>> failed_cells(Path("no results"))
        []
    """
    records = [_read(path) for path in (results / _FOLDER).glob("*")]
    cells = [record for record in records if record is not None]
    return sorted(cells, key=lambda cell: (cell.backbone, cell.task, cell.command))


def repeat_command(run: Run, settings: Settings) -> str:
    """Write the command that tries a cell again.

    Args:
        run: The cell.
        settings: How the plan is run.

    Returns:
        The command; empty where no name on the command line leads to the backbone: an encoder
        with a name of its own, or a Python function.
    """
    if not is_named(run):
        return ""
    words = ["etab", "run", "--tasks", run.task, "--backbones", run.backbone]
    words += ["--protocol", run.protocol_name, "--head", run.head_name, "--seed", str(run.seed)]
    options = {
        "--aggregate": run.aggregate,
        "--decide": run.decide,
        "--root": settings.root,
        "--data": settings.data,
        "--results": settings.results,
        "--cache": settings.cache,
        "--device": None if settings.device == "cpu" else settings.device,
        "--precision": None if settings.precision == "auto" else settings.precision,
        "--keep-masks": None if settings.keep_masks == "all" else settings.keep_masks,
        "--timeout": f"{settings.timeout:g}" if settings.timeout else None,
    }
    if settings.data is not None and not is_class_file(settings.data):
        options.pop("--root")  # a description names the folder itself
    for name, value in options.items():
        if value is not None:
            words += [name, str(value)]
    if settings.skip_bad:
        words.append("--skip-bad")
    return shlex.join([*words, "--retry-failed"])


def describe_kind(error: BaseException) -> tuple[str, str]:
    """Describe a failure by its kind and in words.

    Args:
        error: The exception that ended a cell.
    """
    return failure_kind(error), describe_failure(error)


def _path(run: Run, settings: Settings) -> Path:
    record = path_of_run(run, Path())
    return settings.results / _FOLDER / hashlib.sha256(str(record).encode()).hexdigest()


def _digest(facts: Mapping[str, Any]) -> str:
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path) -> FailedCell | None:
    try:
        return record_of(FailedCell, read_json_file(path, _LARGEST_RECORD))
    except (OSError, ValueError):
        return None
