"""Start a run of etab, find its processes, and kill them."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import etab.__main__ as entrance
from benchmarks.scale.at_writes import sitecustomize
from benchmarks.scale.forked_jobs import exit_after, fork_jobs
from etab.cli import supervised

_SET_SUBREAPER = 36  # number of prctl(2)
_FORK = multiprocessing.get_context("fork")


def adopt_orphans() -> None:
    """Become the parent of every process below this one that loses its own parent."""
    ctypes.CDLL(None).prctl(_SET_SUBREAPER, 1, 0, 0, 0)


def start(
    words: Sequence[str], environment: Mapping[str, str], output: Path, *, forks: bool = False
) -> int:
    """Start ``etab WORDS`` in a process group of its own.

    The process is a fork of this one, which has imported everything, so that the time until it is
    killed is spent on the plan. Its code, and that of its workers, is that of ``python -m etab``.

    Args:
        words: The command, from the word ``run``.
        environment: Environment variables for it.
        output: File for what it says.
        forks: Whether its workers and jobs are forks of it, and not new processes of Python.

    Returns:
        The number of the process.
    """
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    said = os.open(output, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.environ.update(environment)
    sitecustomize.install()
    sys.argv = ["etab", *words]
    sys.modules["__main__"] = entrance  # else every worker would import the benchmark
    if forks:
        multiprocessing.get_context = lambda _=None: _FORK  # type: ignore[assignment]
        fork_jobs()
    exit_after(supervised.start)


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process, if it is there.

    Args:
        pid: The number of the process.
        number: The signal.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_all(pid: int) -> None:
    """Kill a run and everything below this process, as a power cut does.

    Args:
        pid: The number of the process that ``start`` has started; it may have ended.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    while children := below(os.getpid()):
        for child in children:
            kill(child)
        bury()
        time.sleep(0.01)
    bury()


def bury() -> None:
    """Take the exit status of every process that has ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def processor_time(pid: int) -> float | None:
    """Read the processor time of a process in s; None where it has ended.

    Args:
        pid: The number of the process.
    """
    fields = _stat(pid)
    if not fields:
        return None
    return sum(int(word) for word in fields[11:13]) / os.sysconf("SC_CLK_TCK")


def below(pid: int) -> list[int]:
    """List every living process that descends from a process, by number.

    Args:
        pid: The number of the process.
    """
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*"):
        fields = _stat(int(path.name))
        if fields and fields[0] != "Z":  # Z: it has ended, and waits to be buried
            parents[int(path.name)] = int(fields[1])
    members = {pid}
    grew = True
    while grew:
        more = {child for child, parent in parents.items() if parent in members}
        grew = not more <= members
        members |= more
    return sorted(members - {pid})


def is_alive(pid: int) -> bool:
    """Whether a process is there that has not ended.

    Args:
        pid: The number of the process.
    """
    fields = _stat(pid)
    return bool(fields) and fields[0] != "Z"


def parent_of(pid: int) -> int:
    """Return the number of the parent of a process; 0 where the process has ended.

    Args:
        pid: The number of the process.
    """
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _stat(pid: int) -> list[str]:
    """What the system tells of a process, from its state on; nothing where it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def command_of(pid: int) -> str:
    """Return the command line of a process; "" where it has ended.

    Args:
        pid: The number of the process.
    """
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


class WorkClock:
    """Processor time of the processes at work, from the moment that each first held a claim.

    Starting processes and importing libraries takes longer than a small plan, and does not count.
    """

    def __init__(self) -> None:
        self._first: dict[int, float] = {}
        self._last: dict[int, float] = {}

    def read(self, holders: Sequence[int]) -> float:
        """Return the time in s.

        Args:
            holders: The processes that hold claims at this moment.
        """
        for pid in {*holders, *self._first}:
            now = processor_time(pid)
            if now is not None:
                self._first.setdefault(pid, now)
                self._last[pid] = now
        return sum(self._last[pid] - first for pid, first in self._first.items())

    def has_begun(self) -> bool:
        """Whether any process has held a claim."""
        return bool(self._first)
