"""Ends a process that makes no progress for too long, and notes where in the code it was.

The time is watched by a thread of ``faulthandler``, which needs nothing of Python: it ends the
process even where other code never returns to it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO

from etab.errors import StorageError
from etab.files import parse_json, read_file, record_of
from etab.storage.atomic import step_after
from etab.storage.claims import Holder
from etab.storage.pauses import pause

FOLDER = ".hung"
"""Folder of the notes, in a folder of results."""

_FIRED = "\nTimeout ("  # what faulthandler writes, after the line that names the process
_FRAME = re.compile(r'File "(.*)", line (\d+) in (.*)')
# A note is the stacks of 100 threads at most, 100 lines each.
_LONGEST_NOTE = 4 << 20

_watched: list[tuple[float, IO[str]]] = []  # of this process: seconds, and where the note goes


def note_of(results: Path, holder: Holder) -> Path:
    """Path of the note of a process.

    Args:
        results: Folder of the results.
        holder: The process, as its claims name it.
    """
    facts = (holder.host, holder.boot, holder.namespace, holder.pid, holder.started)
    return results / FOLDER / f"{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}.hung"


@contextlib.contextmanager
def ended_without_progress(results: Path, seconds: float) -> Iterator[None]:
    """End this process if, inside the block, a call of ``progressed`` is not followed by another.

    Args:
        results: Folder of the results, in which the note is left.
        seconds: The time in s, which may be infinite; 0 watches nothing.

    Raises:
        StorageError: The note cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with ended_without_progress(Path(folder), 3600.0):
        ...         progressed()
    """
    if not seconds:
        yield
        return
    holder = Holder.this_process()
    note = note_of(results, holder)
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        file = note.open("w")
        file.write(f"{json.dumps(asdict(holder))}\n")
        file.flush()
    except OSError as error:
        raise StorageError(
            f"{note} could not be written: {error.strerror}. Nothing that was finished is lost; "
            f"{step_after(error)}."
        ) from error
    with file:
        _watched[:] = [(min(seconds, threading.TIMEOUT_MAX), file)]
        try:
            yield
        finally:
            _watched.clear()
            faulthandler.cancel_dump_traceback_later()
            note.unlink(missing_ok=True)


def progressed() -> None:
    """Tell that this process has made progress: its time starts anew."""
    for seconds, file in _watched:
        faulthandler.dump_traceback_later(seconds, file=file, exit=True)


def forget_hang(results: Path, holder: Holder) -> None:
    """Delete the note of a process.

    Args:
        results: Folder of the results.
        holder: The process, as its claims name it.
    """
    with contextlib.suppress(OSError):
        note_of(results, holder).unlink(missing_ok=True)


def remove_empty_notes(results: Path) -> None:
    """Delete the notes of processes that ended otherwise.

    Args:
        results: Folder of the results.
    """
    for path in (results / FOLDER).glob("*.hung"):
        with contextlib.suppress(OSError, ValueError):  # it is being written, or is gone
            head, fired, _ = _text(path).partition(_FIRED)
            if not fired and record_of(Holder, parse_json(head)).is_dead():
                path.unlink(missing_ok=True)


def wait_for_others(seconds: float) -> None:
    """Wait for another process, which is no lack of progress of this one.

    Args:
        seconds: How long, in s.
    """
    progressed()
    pause(seconds)


def where_it_hung(results: Path, holder: Holder) -> str | None:
    """Say where a process was that made no progress.

    Args:
        results: Folder of the results.
        holder: The process, as its claims name it.

    Returns:
        The innermost function of its main thread, such as "forward (net.py line 12)"; None if it
        was not ended for that.
    """
    try:
        text = _text(note_of(results, holder))
    except OSError:
        return None
    if _FIRED not in text:
        return None
    main_thread = text.rpartition("(most recent call first):")[2]  # it is the oldest, and last
    frame = _FRAME.search(main_thread)
    if frame is None:
        return "code without Python functions"
    file_name, line, function = frame.groups()
    return f"{function.strip()} ({Path(file_name).name} line {line})"


def _text(note: Path) -> str:
    return read_file(note, _LONGEST_NOTE).decode(errors="replace")
