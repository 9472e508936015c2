"""The log of runs: a line of JSON for each start and end of a run, of features and of a cell.

Every process writes a file of its own in the hidden folder ``.log`` of the results, so that
processes of several machines never write into one file. ``docs/scale.md`` describes the lines.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import socket
import statistics
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from etab.errors import EtabWarning, StorageError
from etab.files import read_file
from etab.runs.failures import describe_failure, is_interruption
from etab.runs.meters import Meter
from etab.runs.run import Run, Settings
from etab.storage.claims import Holder

FOLDER = ".log"
"""Folder of the logs, in a folder of results."""

SCHEMA = 1
"""Version of the lines; every line holds it."""

LARGEST = 4 << 20
"""Size in bytes from which a log goes on in a new file; the file before is kept."""

BUDGET = 100 << 20
"""Size in bytes of all logs of a folder of results, above which the oldest are removed."""

_LEAST = 4096  # free bytes of the disk below which a log is refused, which would be left out
_CELL = ("task", "backbone", "head", "protocol", "seed")  # fields of a line that name its cell
_LARGEST_NUMBER = 1e18  # a second or a byte of a log beyond it is damage
_YOUNG = 86400.0  # age in s up to which no log is removed
_NAMES: dict[int, str] = {}  # the name of the log of this process, by the number of the process


def log_path(settings: Settings) -> Path:
    """Path of the log that this process writes.

    Args:
        settings: Where the results are, or a file for the log.
    """
    if settings.log is not None:
        return settings.log
    pid = os.getpid()
    if pid not in _NAMES:  # a forked child has a log of its own
        _NAMES[pid] = f"{socket.gethostname()}-{pid}-{secrets.token_hex(4)}.jsonl"
    return settings.results / FOLDER / _NAMES[pid]


def write_line(settings: Settings, event: str, **facts: Any) -> None:
    """Write a line. A log that cannot be written is left out: no run fails for it.

    The log among the results begins with the folder of results, which a refused run does not make.

    Args:
        settings: Where the log is.
        event: What has happened, such as "cell_ended".
        facts: What is known of it.
    """
    if settings.log is None and not settings.results.is_dir():
        return
    line = {
        "schema": SCHEMA,
        "time": datetime.now(UTC).isoformat(timespec="microseconds"),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "event": event,
        **facts,  # a process may log the end of another one
    }
    with contextlib.suppress(OSError):
        _append(log_path(settings), json.dumps(line, default=str) + "\n")


def _append(path: Path, line: str) -> None:
    """Append a line in one piece, and start a new file where this one has become large."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
    try:
        os.write(number, line.encode())
        facts = os.fstat(number)
    finally:
        os.close(number)
    # Another process may have renamed the file just now.
    if facts.st_size > LARGEST and path.stat().st_ino == facts.st_ino:
        path.replace(path.with_name(f"{path.name}.1"))


def require_log(settings: Settings) -> None:
    """Refuse a file for the log that cannot be written, and remove old logs.

    Args:
        settings: Where the log is.

    Raises:
        StorageError: If the file of ``--log`` cannot be written.
    """
    if settings.log is not None:
        try:
            settings.log.parent.mkdir(parents=True, exist_ok=True)
            with settings.log.open("ab"):
                pass
            if shutil.disk_usage(settings.log.parent).free < _LEAST:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise StorageError(
                f"The log {settings.log} cannot be written: {error.strerror or error}. Nothing was "
                "computed. Name another file with --log, or leave it out."
            ) from error
    with contextlib.suppress(OSError):
        _remove_old(settings.results / FOLDER)


def _remove_old(folder: Path) -> None:
    """Remove the oldest logs above the budget; a young one may have a living writer."""
    logs = [(path.stat().st_mtime, path.stat().st_size, path) for path in folder.glob("*.jsonl*")]
    total = sum(size for _, size, _ in logs)
    for changed, size, path in sorted(logs):
        if total <= BUDGET or time.time() - changed < _YOUNG:
            return
        path.unlink()
        total -= size


@contextlib.contextmanager
def logged(settings: Settings, work: str, **facts: Any) -> Iterator[dict[str, Any]]:
    """Log the start and the end of a piece of work.

    Args:
        settings: Where the log is.
        work: "run", "features" or "cell".
        facts: What distinguishes the piece of work from others.

    Yields:
        Facts of the end: "outcome" is "finished" unless the block changes it or raises.
    """
    write_line(settings, f"{work}_started", **facts)
    meter = Meter(settings.device)
    end: dict[str, Any] = {"outcome": "finished"}
    try:
        yield end
    except BaseException as error:
        note_failure(end, error)
        raise
    finally:
        write_line(settings, f"{work}_ended", **facts, **end, **meter.facts())


@contextlib.contextmanager
def logged_warnings(settings: Settings) -> Iterator[None]:
    """Log each warning of etab inside the block once; it is shown as before.

    Args:
        settings: Where the log is.

    Example:
        >>> with logged_warnings(Settings(results=Path("no results"))):
        ...     pass
    """
    before = warnings.showwarning
    warned: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *more: Any, **named: Any) -> None:
        words = str(message)
        if issubclass(category, EtabWarning) and words not in warned:
            warned.add(words)
            write_line(settings, "warning", words=words)
        before(message, category, *more, **named)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


def note_failure(end: dict[str, Any], error: BaseException) -> None:
    """Note in the facts of an end why the work was not done.

    Args:
        end: The facts.
        error: The exception that ended the work.
    """
    end["outcome"] = "stopped" if is_interruption(error) else "failed"
    end["error"] = describe_failure(error)


def write_failed_cell(
    settings: Settings, run: Run, words: str, holder: Holder | None = None
) -> None:
    """Log the end of a cell that could not do so itself: it was killed, or never began.

    Args:
        settings: Where the log is.
        run: The cell.
        words: Why it failed.
        holder: The process that was at work on it; None for this one.
    """
    process = {} if holder is None else {"host": holder.host, "pid": holder.pid}
    facts = {**cell_facts(run), **process}
    write_line(settings, "cell_ended", **facts, outcome="failed", error=words)


def cell_facts(run: Run) -> dict[str, Any]:
    """Name a cell as the lines of a log do.

    Args:
        run: The cell.

    Example:
        >>> cell_facts(Run("b0-A4-C", "image_stats"))["head"]
        'stack'
    """
    return {
        "task": run.task,
        "backbone": run.backbone,
        "head": run.head_name,
        "protocol": run.protocol_name,
        "seed": run.seed,
    }


def read_lines(results: Path, log: Path | None = None) -> list[dict[str, Any]]:
    """Read every line of the logs of a folder of results, sorted by time.

    A line that a killed process has cut is left out, and so are lines of another schema.

    Args:
        results: Folder of the results.
        log: File that runs were given with ``--log``; None for the logs of the folder.

    Example:
        >>> read_lines(Path("no results"))
        []
    """
    logs = sorted((results / FOLDER).glob("*.jsonl")) if log is None else [log]
    paths = [path for log in logs for path in (log.with_name(f"{log.name}.1"), log)]
    lines: list[dict[str, Any]] = []
    for path in paths:
        with contextlib.suppress(OSError):  # it was removed or renamed just now
            lines += _parsed(read_file(path).decode("utf-8", "replace"))
    return sorted(lines, key=lambda line: str(line.get("time")))


@dataclass(frozen=True, slots=True)
class Activity:
    """A summary of the last hour of the logs.

    Attributes:
        finished: Number of cells that were finished.
        failed: Number of cells that failed, each counted once.
        processes: Number of processes that these cells were computed in.
        seconds: Median time of a finished cell in s; 0 without any.
        peak_memory: Largest resident memory of these processes in bytes.
    """

    finished: int
    failed: int
    processes: int
    seconds: float
    peak_memory: int


def last_hour(lines: Sequence[Mapping[str, Any]]) -> Activity:
    """Sum up the cells that ended within the last hour.

    Args:
        lines: The lines of logs, as ``read_lines`` gives them.

    Example:
        >>> last_hour([]).finished
        0
    """
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat(timespec="milliseconds")
    cells = [
        line
        for line in lines
        if line.get("event") == "cell_ended" and str(line.get("time", "")) >= since
    ]
    finished = [line for line in cells if line.get("outcome") == "finished"]
    # A cell may be tried several times, and fails where its last try did.
    outcomes = {str([line.get(name) for name in _CELL]): line.get("outcome") for line in cells}
    seconds = [_number(line.get("seconds")) for line in finished]
    return Activity(
        finished=len(finished),
        failed=sum(outcome == "failed" for outcome in outcomes.values()),
        processes=len({f"{line.get('host')} {line.get('pid')}" for line in cells}),
        seconds=statistics.median(seconds) if seconds else 0.0,
        peak_memory=max((int(_number(line.get("peak_memory"))) for line in cells), default=0),
    )


def _number(value: Any) -> float:
    """A number of a log, which anybody may have written; 0 for what is none."""
    is_number = isinstance(value, int | float) and abs(value) < _LARGEST_NUMBER
    return float(value) if is_number else 0.0


def _parsed(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict) and record.get("schema") == SCHEMA:
                yield record
