"""Run someone else's program under limits of time, memory, files and disk.

The limits are not a sandbox: they stop accidents (a loop, a leak, a runaway log), not malice.
Unless ``etab.challenges.sandbox`` is used, the program has the rights of whoever runs it: it may
read, change and delete whatever they may, and use the network. No shell reads any of its arguments.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from etab.challenges.sandbox import NONE, sandboxed
from etab.errors import EntryError, UnsupportedOptionError
from etab.storage.machine import signal_name
from etab.storage.pauses import pause
from etab.storage.text import counted

_ENVIRONMENT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "SYSTEMROOT",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "LM_LICENSE_FILE",
    "MLM_LICENSE_FILE",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
)
# $1 and $2 are the limits of a file and of the memory of one process, in KiB; $3 is that of all
# processes and threads of the user, which systems do not apply to root.
_WRAP = (
    'ulimit -c 0; ulimit -f "$1"; ulimit -d "$2"; ulimit -u "$3" 2>/dev/null; shift 3; exec "$@"'
)
# Seconds between two looks at the number of processes, at time and memory, and at the disk.
_COUNT_EVERY = 0.01
_LOOK_EVERY = 0.05
_DISK_LOOK_EVERY = 1.0
# Seconds in which processes that are left are looked for and killed: each look may find new ones.
_STOP_SECONDS = 5.0
# Numbers of prctl(2) that make a process the parent of orphans below it.
_SET_SUBREAPER = 36
_GET_SUBREAPER = 37
# Bubblewrap ends with this and the number of the signal that has ended its program.
_SIGNALLED = 128
# Bytes of output that are kept, and seconds to wait for the last of it.
_TAIL_BYTES = 4000
_TAIL_SECONDS = 2.0
# Bytes that a file or folder takes at least.
_SMALLEST = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one command.

    Attributes:
        seconds: Wall-clock time, 0.1 or more.
        memory: Memory in MiB, 16 or more: of all its processes together where there is /proc, and
            of each process everywhere.
        disk: Size in MiB, 1 or more, of a single file and of all that it writes into its folder.
        processes: Number of processes at once, 1 or more, where there is /proc.

    Raises:
        UnsupportedOptionError: If a limit is too small for anything to run.

    Example:
        >>> Limits(seconds=40, memory=2048).disk
        1024
    """

    seconds: float
    memory: int
    disk: int = 1024
    processes: int = 500

    def __post_init__(self) -> None:
        """Refuse limits under which nothing can run."""
        for name, least in (("seconds", 0.1), ("memory", 16), ("disk", 1), ("processes", 1)):
            value = getattr(self, name)
            if not value >= least:
                raise UnsupportedOptionError(
                    f"The limit of {name} is {value!r}; possible: {least} or more."
                )


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    Attributes:
        status: Exit status; negative for a signal.
        seconds: Wall-clock time.
        why: What went wrong in words; empty where the status is 0.
        tail: The end of its output.
    """

    status: int
    seconds: float
    why: str
    tail: str

    def explain(self) -> str:
        """The error with the end of the output, for a message."""
        return f"{self.why}: {self.tail}" if self.tail else f"{self.why} and wrote nothing"


def run_limited(
    command: Sequence[str],
    folder: Path,
    limits: Limits,
    *,
    home: Path,
    watched: Path | None = None,
    sandbox: str = NONE,
    hidden: Sequence[Path] = (),
) -> Ended:
    """Run a command and wait for its end.

    When the command ends, or is stopped, all processes that it started are killed, also those that
    left its session, as a daemon does, and those that cleared their environment: on Linux, whatever
    loses its parent becomes a child of this process meanwhile. A KeyboardInterrupt stops it and is
    raised again.

    Args:
        command: The program and its arguments.
        folder: Its working directory.
        limits: What it may take.
        home: An existing folder for HOME and TMPDIR. Of the environment, only what programs need
            in order to be found is handed on.
        watched: Folder whose growth counts against the limit of disk; ``folder`` by default.
        sandbox: Name of the sandbox, as ``sandbox_name`` gives it. Inside, only ``watched`` can be
            written to.
        hidden: Folders that the program must not see in a sandbox.

    Returns:
        How it ended.
    """
    env = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    env |= {"HOME": str(home), "TMPDIR": str(home)}
    watched = watched or folder
    if sandbox != NONE:
        command = sandboxed(command, folder, home=home, writable=watched, hidden=hidden)
    wrapped = [
        "/bin/bash",
        "-c",
        _WRAP,
        "bash",
        str(limits.disk * 1024),
        str(limits.memory * 1024),
        str(_n_tasks() + limits.processes),
        *command,
    ]
    size_before = _size(watched)
    started = time.monotonic()
    with _adopting_orphans():
        before = frozenset(_processes())
        child = subprocess.Popen(
            wrapped,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        family = _Family(child.pid, before)
        tail = _Tail(child.stdout)
        try:
            why = _wait(child, family, watched, limits, (started, size_before))
        finally:
            n_left = _stop(child, family)
            text = tail.close()
    why = why or _left_behind(n_left, (folder, home, watched), limits, _size(watched) - size_before)
    status = child.returncode
    if sandbox != NONE and status > _SIGNALLED:
        status = _SIGNALLED - status
    if not why and status < 0:
        why = f"was ended by {signal_name(-status)}"
    elif not why and status > 0:
        why = f"ended with status {status}"
    return Ended(status, time.monotonic() - started, why, text)


def _wait(
    child: subprocess.Popen[bytes],
    family: _Family,
    folder: Path,
    limits: Limits,
    before: tuple[float, float],
) -> str:
    """Wait for the end; return which limit was passed, or nothing.

    ``before`` is the time of the start, and the size of the folder then.
    """
    started, size_before = before
    last_look = last_disk_look = started
    n_tasks_before = _n_tasks()
    while True:
        try:
            child.wait(_COUNT_EVERY)
            return ""
        except subprocess.TimeoutExpired:
            now = time.monotonic()
        if _n_tasks() - n_tasks_before > limits.processes:
            # Programs that start others without end are held, or looking at them would not end.
            with _held(child):
                too_many = _too_many(len(family.memory()), limits)
                if too_many:
                    _signal_group(child, signal.SIGKILL)
                    return too_many
        if now - last_look < _LOOK_EVERY:
            continue
        last_look = now
        if now - started > limits.seconds:
            return f"was stopped after {limits.seconds:g} s"
        memory = family.memory()
        too_many = _too_many(len(memory), limits)
        if too_many:
            return too_many
        if sum(memory.values()) > limits.memory << 20:
            return f"was stopped at more than {limits.memory} MiB of memory"
        if now - last_disk_look > _DISK_LOOK_EVERY:
            last_disk_look = now
            if _size(folder) - size_before > limits.disk << 20:
                return f"was stopped after writing more than {limits.disk} MiB"


def _too_many(n_processes: int, limits: Limits) -> str:
    """Say that a command has more processes than it may; "" where it has not."""
    is_within = n_processes <= limits.processes
    return "" if is_within else f"was stopped at more than {limits.processes} processes"


def _n_tasks() -> int:
    """Number of processes and threads on the machine; 0 where it does not say."""
    try:
        words = Path("/proc/loadavg").read_text(encoding="ascii").split()
        return int(words[3].partition("/")[2])
    except (OSError, ValueError, IndexError):
        return 0


@contextmanager
def _held(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Stop the group of a command inside the ``with`` block."""
    _signal_group(child, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal_group(child, signal.SIGCONT)


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to all processes of a command that have not left its group, at once."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _stop(child: subprocess.Popen[bytes], family: _Family) -> int:
    """Kill every process that is left of a command, and wait for the child.

    All are stopped before the first is killed, so that none is left to start another one meanwhile.

    Returns: The number of processes that could not be ended.
    """
    _signal_group(child, signal.SIGKILL)
    end = time.monotonic() + _STOP_SECONDS
    left = family.memory()
    while left and time.monotonic() < end:
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in left:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        pause(0.01)
        left = family.memory()
    child.wait()
    family.bury()
    return len(left)


def _left_behind(n_left: int, folders: Sequence[Path], limits: Limits, grown: float) -> str:
    """Describe what a command must not leave behind; "" if it left nothing of the kind.

    A folder that was exchanged for a link would lead the next step, which runs outside any sandbox,
    to any place of the machine.
    """
    if n_left:
        return f"left {counted(n_left, 'process', 'processes')} that cannot be ended"
    for folder in folders:
        if folder.is_symlink() or not folder.is_dir():
            return f"removed its folder {folder.name}, or put a link in its place"
    if grown > limits.disk << 20:
        return f"wrote more than {limits.disk} MiB"
    return ""


@dataclass(frozen=True, slots=True)
class _Process:
    """A process: its parent, its session, its memory in bytes, and whether it still runs."""

    parent: int
    session: int
    memory: int
    runs: bool


def _processes() -> dict[int, _Process]:
    """Every process by its id; empty without /proc."""
    table: dict[int, _Process] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name of the program comes first, in brackets, and may hold spaces.
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
            memory = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
            process = _Process(int(fields[1]), int(fields[3]), memory, fields[0] != "Z")
        except (OSError, IndexError, ValueError):
            continue
        table[int(path.parent.name)] = process
    return table


class _Family:
    """All processes that a command has started.

    They are in the session of the command, or descend from a process that is. Whatever left the
    session and lost its parent has become a child of this process (``_adopting_orphans``), in a
    session that is not its own.
    """

    def __init__(self, child: int, before: frozenset[int]) -> None:
        """Know the first process, which leads the session, and every process from before."""
        self.child = child
        self.before = before

    def memory(self) -> dict[int, int]:
        """Bytes of memory of each running member, by process id; empty without /proc."""
        table = _processes()
        members = {pid for pid, process in table.items() if process.session == self.child}
        members |= set(self._adopted(table))
        grew = True
        while grew:
            descend = {pid for pid, process in table.items() if process.parent in members}
            grew = not descend <= members
            members |= descend
        return {pid: table[pid].memory for pid in members if table[pid].runs}

    def bury(self) -> None:
        """Take the exit status of adopted processes that ended, so that no zombie is left."""
        table = _processes()
        for pid in self._adopted(table):
            if not table[pid].runs:
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)

    def _adopted(self, table: dict[int, _Process]) -> list[int]:
        """New children of this process that it did not start itself."""
        own_session = os.getsid(0)
        known = {*self.before, self.child}
        return [
            pid
            for pid, process in table.items()
            if process.parent == os.getpid() and process.session != own_session and pid not in known
        ]


@contextmanager
def _adopting_orphans() -> Iterator[None]:
    """On Linux, adopt descendants that lose their parent inside the ``with`` block."""
    if not sys.platform.startswith("linux"):
        yield
        return
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    before = ctypes.c_int(0)
    prctl(_GET_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    prctl(_SET_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_SET_SUBREAPER, before.value, 0, 0, 0)


def _size(folder: Path) -> float:
    """Bytes of all files below a folder; infinite where a folder cannot be looked into.

    Files that vanish meanwhile are not counted. Each entry counts as 1 KiB at least, since it takes
    room too. Folders may be nested so deeply that no path leads to them.
    """
    total = 0
    waiting = [os.fspath(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    total += max(entry.stat(follow_symlinks=False).st_size, _SMALLEST)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return math.inf
    return total


def remove_all(folder: Path) -> None:
    """Remove a folder that someone else's program has filled, however deep and protected it is.

    Args:
        folder: The folder; it may be absent.

    Raises:
        EntryError: Something cannot be removed.
    """
    if folder.is_symlink():
        folder.unlink()
    for words in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
        if folder.exists():
            subprocess.run([*words, "--", str(folder)], capture_output=True, check=False)
    if folder.exists():
        raise EntryError(
            f"The entry left files in {folder} that cannot be removed. Change the entry so that it "
            "leaves plain files."
        )


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Make a temporary folder, and remove it at the end with whatever was put into it.

    Args:
        prefix: Beginning of its name.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    finally:
        with suppress(EntryError):
            remove_all(folder)


class _Tail:
    """Reads the output of a command as it comes and keeps the end of it."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self.stream = stream
        self.end = b""
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        if self.stream is None:
            return
        try:
            while chunk := os.read(self.stream.fileno(), 1 << 16):
                self.end = (self.end + chunk)[-_TAIL_BYTES:]
        except (OSError, ValueError):
            return

    def close(self) -> str:
        """Stop reading and return the end of the output."""
        self.thread.join(_TAIL_SECONDS)
        if self.stream is not None and not self.thread.is_alive():
            self.stream.close()
        return self.end.decode("utf-8", "replace").strip()
