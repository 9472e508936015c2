"""``etab run`` in a child process: code that ends its process ends its own cells, and not the run.

The child is a fork that is made before anything large is imported, so that it costs nothing. When
it was ended in the middle of a cell, the next child records that cell as failed and goes on.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any, NoReturn

from etab.cli.main import REPEATED, main
from etab.storage.machine import killed_for_memory, killed_with_parent, signal_name, stop_signals

_CELL = "cell "
_END = "end "
_SHOW_CURSOR = "\x1b[?25h"


@dataclass(frozen=True, slots=True)
class Ended:
    """A child that has ended.

    Attributes:
        pid: Its number.
        code: Its exit code, as multiprocessing gives it.
        memory_ran_out: Whether the system ended a process meanwhile because memory ran out.
    """

    pid: int
    code: int
    memory_ran_out: bool


def start() -> None:
    """Run the command that the words of this process name; ``etab run`` in a child process."""
    if not _is_supervised(sys.argv[1:]):
        main()
        return
    with _shared_file() as notes:
        ended = _go_on_in_child(notes)
        code: Any = 1
        try:
            main(_described(ended, notes))
        except SystemExit as end:
            code = end.code
            raise
        finally:
            _note(notes, f"{_END}{code}")


def _shared_file() -> IO[str]:
    """Open a file without a name for this process and its children; in memory where there is such."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("etab"), "w+")
    return tempfile.TemporaryFile("w+")


def _is_supervised(words: Sequence[str]) -> bool:
    """Whether a command computes cells in processes of this machine."""
    if words[:1] != ["run"] or not hasattr(os, "fork"):
        return False
    values = [word.partition("=")[2] for word in words if word.startswith("--executor=")]
    values += [b for a, b in itertools.pairwise(words) if a == "--executor"]
    return all(value == "local" for value in values)


def _go_on_in_child(notes: IO[str]) -> Ended | None:
    """Start a child, and another one whenever it is ended in the middle of its work.

    A child that was ended although the one before it was, and found no cell to blame for that, is
    the last: what ends it is not a cell, and would end every further one.

    Returns: In each child, the one before it; None in the first. This process ends with the last.
    """
    ended: Ended | None = None
    n_blamed = 0
    while True:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        n_killed = killed_for_memory()
        read_end, write_end = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(write_end)
            killed_with_parent()
            threading.Thread(target=_end_with_parent, args=(read_end,), daemon=True).start()
            return ended
        os.close(read_end)
        asked, status = _waited(pid)
        os.close(write_end)
        code = os.waitstatus_to_exitcode(status)
        lines = _lines(notes)
        if asked or any(line.startswith(_END) for line in lines):
            _end(code)
        blamed_before, n_blamed = n_blamed, sum(line.startswith(_CELL) for line in lines)
        if ended is not None and n_blamed == blamed_before:
            _tell_end(code)
            _end(code or 1)
        if sys.stderr is not None and sys.stderr.isatty():
            sys.stderr.write(_SHOW_CURSOR)  # a display of the child may have hidden it
        ended = Ended(pid, code, killed_for_memory() > n_killed)


def _end_with_parent(read_end: int) -> None:
    """End this process when its parent has ended, which then no longer holds the other end."""
    os.read(read_end, 1)
    os._exit(1)


def _waited(pid: int) -> tuple[bool, int]:
    """Wait for a child, and pass on to it what asks this process to stop.

    Returns: Whether it was asked to stop, and the status of the child.
    """
    asked: dict[int, float] = {}

    def pass_on(number: int, _: Any) -> None:
        now = time.monotonic()
        is_first = number not in asked
        if is_first or now - asked[number] > REPEATED:
            # Who asks twice wants an end at once.
            is_urgent = number == signal.SIGTERM and not is_first
            with contextlib.suppress(ProcessLookupError):  # it has ended just now
                os.kill(pid, signal.SIGKILL if is_urgent else number)
        asked[number] = now

    before: dict[int, Any] = {}
    for number in stop_signals():
        before[number] = signal.signal(number, pass_on)
    _, status = os.waitpid(pid, 0)
    for number, handler in before.items():
        signal.signal(number, handler)
    return bool(asked), status


def _tell_end(code: int) -> None:
    """Say that this command ends because its process was ended twice."""
    how = f"ended by {signal_name(-code)}" if code < 0 else f"ended with status {code}"
    if sys.stderr is not None:
        sys.stderr.write(
            f"etab: The process of this run was {how} again, and by none of its cells. Code that is "
            "loaded before them (a class of --data, an installed package) may do that. Finished "
            "cells are saved.\n"
        )


def _end(code: int) -> NoReturn:
    """End this process as its child has ended; by a signal, as a shell would say it."""
    sys.exit(code if code >= 0 else 128 - code)


def _described(ended: Ended | None, notes: IO[str]) -> Any:
    """Facts about the processes before this one, for the command; None for the first one."""
    if ended is None:
        return None
    from etab.runs.earlier_process import EarlierProcess

    names = [line.removeprefix(_CELL) for line in _lines(notes) if line.startswith(_CELL)]
    return EarlierProcess(
        ended.pid,
        ended.code,
        ended.memory_ran_out,
        frozenset(names),
        lambda name: _note(notes, f"{_CELL}{name}"),
    )


def _lines(notes: IO[str]) -> list[str]:
    notes.seek(0)
    return notes.read().splitlines()


def _note(notes: IO[str], line: str) -> None:
    notes.seek(0, os.SEEK_END)
    notes.write(f"{line}\n")
    notes.flush()
