"""Claims: which process does a piece of work that several processes could do.

A claim is a file beside what is made. It is created by one process only, names that process, and is
touched every ten seconds while the process lives. Work is never wrong without claims, since every
file is written under a name of its own and renamed when it is complete. Claims only keep two
processes from doing the same work.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from etab.errors import EtabWarning, StorageError, reason_of
from etab.files import read_json_file, record_of
from etab.storage.atomic import step_after
from etab.storage.pauses import pause

HEARTBEAT = 10.0
"""Seconds between two touches of a claim."""

STALE = 60.0
"""Age in seconds, by the clock of the file system, from which a claim may be abandoned."""

WATCHED = 15.0
"""Seconds for which an old claim must stay untouched before it is taken over."""

# A claim is a line of text.
_LARGEST_CLAIM = 1 << 16
_PROC = Path("/proc")
_BOOT = _PROC / "sys/kernel/random/boot_id"


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a claim.

    Attributes:
        host: Name of the machine.
        boot: Identifier of the start of the machine; "" where the system has none.
        namespace: Namespace of process numbers, in which ``pid`` counts; "" where /proc does not
            show it.
        pid: Number of the process.
        started: When the process started, in the units of the system; "" where it has none.
        nonce: Random digits, different for each claim.
        work: What is done, for ``etab status``.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str
    nonce: str
    work: str = ""

    @staticmethod
    def this_process(work: str = "") -> Holder:
        """Describe this process.

        Args:
            work: What it is going to do.
        """
        pid = os.getpid()
        return Holder(
            socket.gethostname(),
            _boot(),
            _namespace(),
            pid,
            _started(pid),
            secrets.token_hex(8),
            work,
        )

    def is_dead(self) -> bool:
        """Whether this process is known to have ended.

        This can be known only of a process of the same machine, since the same start of the
        machine, in the same namespace of process numbers.
        """
        here = Holder.this_process()
        same_numbers = (self.boot, self.namespace) == (here.boot, here.namespace)
        if not (self.boot and self.namespace and same_numbers):
            return False
        started = _started(self.pid)
        if not started and _is_hidden(self.pid):
            return False
        return started != self.started


@functools.cache
def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    """The namespace of process numbers; "" where /proc shows the processes of another one.

    `unshare --pid` alone leaves the /proc of the parent in place, in which the numbers of this
    namespace stand for other processes.
    """
    try:
        if (_PROC / "self").readlink().name != str(os.getpid()):
            return ""
        return str((_PROC / "self/ns/pid").readlink())
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process started; "" if it has ended, also where its parent has not collected it."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    return "" if fields[0] == "Z" else fields[19]


def _is_hidden(pid: int) -> bool:
    """Whether a process of another user exists that /proc does not show (its option hidepid)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return False  # a process of this user: what /proc shows holds


class Claim:
    """A claim that this process holds.

    Attributes:
        path: The file of the claim.
        holder: This process.
    """

    def __init__(self, path: Path, holder: Holder) -> None:
        self.path = path
        self.holder = holder

    def is_held(self) -> bool:
        """Whether the file still names this claim."""
        found = read_claim(self.path)
        return found is not None and found.nonce == self.holder.nonce

    def release(self) -> None:
        """Delete the file, unless another process has taken the claim over."""
        _BEATING.pop(self.holder.nonce, None)
        if self.is_held():
            with contextlib.suppress(OSError):
                self.path.unlink()


_BEATING: dict[str, Claim] = {}
_LOCK = threading.Lock()
_THREAD: list[int] = []  # the process in which the thread runs: a forked child has none
_SEEN: dict[tuple[str, str, int], float] = {}  # when this process first saw an old claim


def _beat() -> None:
    """Touch every claim of this process, for as long as the process lives, whatever fails."""
    while True:
        for step in (_touch_all, _wait_for_next_beat):
            try:
                step()
            except Exception as error:  # a lack of memory, a clock that somebody changes
                _tell(error)


def _wait_for_next_beat() -> None:
    pause(HEARTBEAT)


def _touch_all() -> None:
    """Touch every claim; one that cannot be touched does not keep the others from it."""
    failed: Exception | None = None
    for claim in list(_BEATING.values()):
        try:
            if claim.is_held():
                os.utime(claim.path)  # the time is set by the file system
        except Exception as error:
            # A claim that was released just now is gone, as it should be.
            failed = error if claim.holder.nonce in _BEATING else failed
    if failed is not None:
        raise failed


def _tell(error: Exception) -> None:
    """Warn that claims could not be touched; a process that hears of it goes on."""
    with contextlib.suppress(Exception):
        warnings.warn(
            f"The claims of this process were not touched in time ({type(error).__name__}: "
            f"{reason_of(error)}). It goes on and tries again; after {STALE:.0f} s without success, "
            "another process may do the same work once more.",
            EtabWarning,
            stacklevel=1,
        )


def _hold(path: Path, holder: Holder) -> Claim:
    claim = Claim(path, holder)
    with _LOCK:
        if os.getpid() not in _THREAD:
            _BEATING.clear()
            _THREAD[:] = [os.getpid()]
            threading.Thread(target=_beat, name="claims", daemon=True).start()
        _BEATING[holder.nonce] = claim
    return claim


def read_claim(path: Path) -> Holder | None:
    """Read who holds a claim.

    Args:
        path: The file of the claim.

    Returns:
        The process; None if there is no claim, or its file is not complete.
    """
    try:
        return record_of(Holder, read_json_file(path, _LARGEST_CLAIM))
    except (OSError, ValueError):
        return None


def take_claim(path: Path, work: str = "") -> Claim | None:
    """Claim a piece of work, if no living process has claimed it.

    Args:
        path: The file of the claim. Every process that could do the work uses the same path.
        work: What is going to be done, for ``etab status``.

    Returns:
        The claim, to be released when the work is done; None while another process holds it.

    Raises:
        StorageError: The file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "cell.claim"
        ...     claim = take_claim(path)
        ...     second = take_claim(path)
        ...     claim.release()
        ...     (second, path.exists())
        (None, False)
    """
    holder = Holder.this_process(work)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if _create(path, holder):
            return _hold(path, holder)
        seen = _identity(path)
        if seen and is_abandoned(path) and _remove(path, seen) and _create(path, holder):
            return _hold(path, holder)
    except OSError as error:
        raise StorageError(
            f"The claim {path} could not be written: {error.strerror or error}. Nothing that was "
            f"finished is lost; {step_after(error, 'name another --cache or --results')}."
        ) from error
    return None


@contextlib.contextmanager
def claimed(path: Path, work: str = "") -> Iterator[bool]:
    """Hold a claim while a block runs.

    Args:
        path: The file of the claim.
        work: What is going to be done.

    Yields:
        Whether this process holds the claim. If not, another process does the work.
    """
    claim = take_claim(path, work)
    try:
        yield claim is not None
    finally:
        if claim is not None:
            claim.release()


def _create(path: Path, holder: Holder) -> bool:
    """Create the file of a claim, if there is none."""
    try:
        number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        with os.fdopen(number, "w") as file:
            file.write(json.dumps(asdict(holder)))
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return True


def is_abandoned(path: Path) -> bool:
    """Whether the process that holds a claim has ended.

    A process of this machine is looked up. Any other process has ended if the claim is older than
    ``STALE`` by the clock of the file system, and is not touched while it is watched for
    ``WATCHED``. The second condition protects a living process when a clock jumps.

    Args:
        path: The file of the claim.
    """
    try:
        touched = path.stat().st_mtime_ns
    except OSError:
        return False  # it was released just now
    holder = read_claim(path)
    if holder is not None and holder.is_dead():
        return True
    if not _is_silent(path):
        return False
    seen = (str(path), "" if holder is None else holder.nonce, touched)
    first_seen = _SEEN.setdefault(seen, time.monotonic())
    return time.monotonic() - first_seen >= WATCHED


def remove_abandoned(
    paths: Sequence[Path], *, pause: Callable[[float], None] = pause
) -> list[Path]:
    """Remove the claims of processes that have ended.

    Claims of other machines are watched for ``WATCHED`` seconds first, if any is old.

    Args:
        paths: Files of claims.
        pause: Waits for some seconds.

    Returns:
        The claims that were removed.
    """
    seen = {path: _identity(path) for path in paths}
    gone = [
        path for path in paths if seen[path] and is_abandoned(path) and _remove(path, seen[path])
    ]
    left = [path for path in paths if seen[path] and path not in gone]
    if any(_is_silent(path) for path in left):
        pause(WATCHED)
        gone += [path for path in left if is_abandoned(path) and _remove(path, seen[path])]
    return gone


def _is_silent(path: Path) -> bool:
    """Whether a claim was last touched longer ago than a living holder would wait."""
    try:
        touched = path.stat().st_mtime_ns
    except OSError:
        return False
    age = (file_system_time(path.parent) - touched) / 1e9
    return not -STALE < age < STALE


def file_system_time(folder: Path) -> int:
    """Read the clock of the file system of a folder, which may differ from that of this machine.

    Args:
        folder: The folder, in which a file is made and deleted.

    Returns:
        The time in ns.

    Raises:
        OSError: The folder cannot be written.
    """
    probe = folder / f".{secrets.token_hex(8)}.clock"
    try:
        probe.touch()
        return probe.stat().st_mtime_ns
    finally:
        probe.unlink(missing_ok=True)


def _identity(path: Path) -> str:
    """Facts that distinguish a claim from a later one of the same name; "" if there is none."""
    try:
        facts = path.stat()
    except OSError:
        return ""
    holder = read_claim(path)
    return holder.nonce if holder else f"{facts.st_ino}-{facts.st_mtime_ns}"


def _remove(path: Path, seen: str) -> bool:
    """Remove an abandoned claim, unless another process is doing so or has taken it over.

    Args:
        path: The file of the claim.
        seen: The identity of the claim before it was found to be abandoned.
    """
    guard = path.with_name(f"{path.name}.{seen}.takeover")
    try:
        os.close(os.open(guard, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        with contextlib.suppress(FileNotFoundError):  # the other process is done with it
            if (file_system_time(path.parent) - guard.stat().st_mtime_ns) / 1e9 > STALE:
                guard.unlink()  # the process ended between two lines
        return False
    try:
        if _identity(path) != seen:
            return False
        path.unlink(missing_ok=True)
        return True
    finally:
        guard.unlink(missing_ok=True)
