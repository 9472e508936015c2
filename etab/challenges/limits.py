"""A command of somebody else's, run under limits of time, memory, files and disk. It is no sandbox.

The command has the rights of whoever runs it: it may read, change and delete whatever they may, and use the network.
The limits stop accidents (a loop, a leak, a runaway log), not malice. No shell reads any of its arguments.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from etab.errors import UnsupportedOptionError

_KEPT = (
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
_WRAP = 'ulimit -c 0; ulimit -f "$1"; ulimit -d "$2"; shift 2; exec "$@"'
_LOOK, _DISK_LOOK = 0.05, 1.0
_TAIL = 4000
_GRACE = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one command may take: ``seconds`` of the clock, ``memory`` and ``disk`` in MiB.

    Memory is that of all its processes together, where /proc tells it, and of each of them everywhere. A single file
    may have ``disk`` MiB, and so may all that it writes into its folder.
    """

    seconds: float
    memory: int
    disk: int = 1024

    def __post_init__(self) -> None:
        """Refuse limits under which nothing can run."""
        for name, least in (("seconds", 0.1), ("memory", 16), ("disk", 1)):
            value = getattr(self, name)
            if not value >= least:
                raise UnsupportedOptionError(
                    f"The limit of {name} is {value!r}; possible: {least} or more."
                )


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended. ``why`` is "" where it left with status 0, else what went wrong in words."""

    status: int
    seconds: float
    why: str
    tail: str

    def said(self) -> str:
        """What went wrong with the last of what it wrote, for a message."""
        return f"{self.why}{': ' + self.tail if self.tail else ' and wrote nothing'}"


def run(
    command: Sequence[str], folder: Path, limits: Limits, *, home: Path, watched: Path | None = None
) -> Ended:
    """Run ``command`` in ``folder`` and wait; when it ends, or is stopped, all of its process group is.

    home: an existing folder for HOME and TMPDIR; of the environment only what programs need to be found is handed on.
    watched: where what it writes is counted, ``folder`` if None. A KeyboardInterrupt stops the command and is raised again.
    """
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    env |= {"HOME": str(home), "TMPDIR": str(home)}
    wrapped = [
        "/bin/bash",
        "-c",
        _WRAP,
        "bash",
        str(limits.disk * 1024),
        str(limits.memory * 1024),
        *command,
    ]
    started = time.monotonic()
    child = subprocess.Popen(
        wrapped,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    tail = _Tail(child.stdout)
    try:
        why = _wait(child, watched or folder, limits, started)
    finally:
        _stop(child)
        text = tail.close()
    status = child.returncode
    if not why and status:
        why = (
            f"was ended by {_signal_name(-status)}" if status < 0 else f"ended with status {status}"
        )
    return Ended(status, time.monotonic() - started, why, text)


def _wait(child: subprocess.Popen[bytes], folder: Path, limits: Limits, started: float) -> str:
    """Wait for the end, or say which limit was passed."""
    before, looked, pause = _size(folder), started, _LOOK / 10
    while True:
        try:
            child.wait(pause)
            return ""
        except subprocess.TimeoutExpired:
            pause = min(2 * pause, _LOOK)
        now = time.monotonic()
        if now - started > limits.seconds:
            return f"was stopped after {limits.seconds:g} s"
        if sum(_members(child.pid).values()) > limits.memory << 20:
            return f"was stopped at more than {limits.memory} MiB of memory"
        if now - looked > _DISK_LOOK:
            looked = now
            if _size(folder) - before > limits.disk << 20:
                return f"was stopped after writing more than {limits.disk} MiB"


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the session, and wait for the child."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    for pid in _members(child.pid):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    child.wait()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _members(session: int) -> dict[int, int]:
    """Bytes of memory of each process of a session, by its id; empty where /proc does not say."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            cells = path.read_text(errors="replace").rpartition(")")[2].split()
            if int(cells[3]) == session:
                found[int(path.parent.name)] = int(cells[21]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError, ValueError):
            continue
    return found


def _size(folder: Path) -> int:
    """Bytes of all files below; those that go away meanwhile are not counted."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:
            continue
    return total


class _Tail:
    """Reads what a command writes as fast as it comes, and keeps the end of it."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self.stream, self.kept = stream, b""
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        if self.stream is None:
            return
        try:
            while chunk := os.read(self.stream.fileno(), 1 << 16):
                self.kept = (self.kept + chunk)[-_TAIL:]
        except (OSError, ValueError):
            return

    def close(self) -> str:
        """The last of what was written, in one line each."""
        self.thread.join(_GRACE)
        if self.stream is not None and not self.thread.is_alive():
            self.stream.close()
        return self.kept.decode("utf-8", "replace").strip()
