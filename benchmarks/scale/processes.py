"""Start a run of etab, and kill it with everything that it has started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.scale.at_writes import sitecustomize
from etab.cli.main import main as main_command

_SET_SUBREAPER = 36  # number of prctl(2)


def adopt_orphans() -> None:
    """Become the parent of every process below this one that loses its own parent."""
    ctypes.CDLL(None).prctl(_SET_SUBREAPER, 1, 0, 0, 0)


def start(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Start ``etab WORDS`` in a process group of its own.

    The process is a fork of this one, which has imported everything, so that the time until it is
    killed is spent on the plan. Its code is that of ``etab``.

    Args:
        words: The command, from the word ``run``.
        environment: Environment variables for it.

    Returns:
        The number of the process.
    """
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.environ.update(environment)
    os.environ[sitecustomize.GROUP] = str(os.getpid())
    sitecustomize.install()
    sys.argv = ["etab", *words]
    code = 1
    try:
        main_command()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        os._exit(code)


def kill_all(pid: int) -> None:
    """Kill a run and everything below this process, as a power cut does.

    Args:
        pid: The number of the process that ``start`` has started; it may have ended.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    while children := below(os.getpid()):
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        _bury()
        time.sleep(0.01)


def _bury() -> None:
    """Take the exit status of every process that has ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def processor_time(pids: Sequence[int]) -> float:
    """Add up the processor time in s of processes and of their children that have ended.

    Args:
        pids: The numbers of the processes; those that have ended add nothing.
    """
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError):
            text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
            ticks += sum(int(word) for word in text.rpartition(")")[2].split()[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def below(pid: int) -> list[int]:
    """List every process that descends from a process, by number.

    Args:
        pid: The number of the process.
    """
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
            parents[int(path.parent.name)] = int(fields[1])
    members = {pid}
    grew = True
    while grew:
        more = {child for child, parent in parents.items() if parent in members}
        grew = not more <= members
        members |= more
    return sorted(members - {pid})
