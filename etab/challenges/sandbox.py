"""Bubblewrap around someone else's program, on machines that have it.

Inside, the program sees the system, its own folder and nothing else: no data, no labels, no home of
the user, no other process and no network. Where there is no bubblewrap, programs run without a
sandbox, and the score says so.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

NONE = "none"
"""Name of the sandbox of a program that runs without one."""

BUBBLEWRAP = "bubblewrap"
"""Name of the sandbox by bubblewrap."""

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt")
_PREFIXES = ("VIRTUAL_ENV", "CONDA_PREFIX")
_PROBE_SECONDS = 20.0


def sandbox_name(wanted: bool = True) -> str:
    """Name the sandbox that programs run in on this machine.

    Args:
        wanted: Whether a sandbox is used where there is one.

    Returns:
        "bubblewrap" or "none".

    Example:
        >>> sandbox_name(wanted=False)
        'none'
    """
    return BUBBLEWRAP if wanted and _works(shutil.which("bwrap") or "") else NONE


@functools.cache
def _works(program: str) -> bool:
    """Whether bubblewrap can be used: some containers and systems forbid it."""
    if not program:
        return False
    command = [program, "--ro-bind", "/", "/", "--unshare-all", "--proc", "/proc", "true"]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=_PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.returncode == 0


def sandboxed(
    command: Sequence[str], folder: Path, *, home: Path, writable: Path, hidden: Sequence[Path] = ()
) -> list[str]:
    """Put bubblewrap before a command.

    Args:
        command: The program and its arguments.
        folder: Its working directory.
        home: Its HOME, which is also its /tmp and /dev/shm, so that all it writes is counted.
        writable: The only folder that it can write to; ``folder`` and ``home`` lie in it.
        hidden: Folders that it must not see, should they lie in a folder of the system.

    Returns:
        The words of the whole command.
    """
    words = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--die-with-parent"]
    words += ["--proc", "/proc", "--dev", "/dev"]
    for device in sorted(Path("/dev").glob("nvidia*")):
        words += ["--dev-bind-try", str(device), str(device)]
    words += ["--bind", str(home), "/tmp", "--bind", str(home), "/dev/shm"]
    # After its /tmp: an interpreter may lie there, too.
    shown = _shown(command[0])
    for path in shown:
        words += ["--ro-bind", str(path), str(path)]
    for path in hidden:
        if any(path.resolve().is_relative_to(other.resolve()) for other in shown):
            words += ["--tmpfs", str(path.resolve())]
    words += ["--bind", str(writable), str(writable)]
    words += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(folder)]
    return [*words, "--", *command]


def _shown(program: str) -> list[Path]:
    """The folders that programs are made of: the system, interpreters, and those of PATH."""
    paths = [Path(path) for path in _SYSTEM]
    paths += [Path(os.environ[name]) for name in _PREFIXES if os.environ.get(name)]
    for name in ("PATH", "LD_LIBRARY_PATH"):
        paths += [Path(path) for path in os.environ.get(name, "").split(os.pathsep) if path]
    for name in (program, "python", "python3"):
        found = shutil.which(name)
        # An interpreter of a virtual environment, and the one that it is a link to; or a script of
        # pyenv or asdf, which starts one of theirs.
        for interpreter in (Path(found or "").absolute(), Path(found or "").resolve()):
            if found and interpreter.parent.name in ("bin", "shims"):
                paths.append(interpreter.parents[1])
    shown: list[Path] = []
    for path in paths:
        is_whole_system = path.resolve() == Path("/")
        if path.is_absolute() and path.is_dir() and not is_whole_system and path not in shown:
            shown.append(path)
    return shown
