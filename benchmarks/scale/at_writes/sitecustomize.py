"""Stops a process in the middle of writing: at its n-th file that is synced, renamed or removed.

The process names itself in a file and stops there, until the campaign of kills, which reads that
file, kills it or lets it go on. It also notes what a run begins and finishes: every folder of
unfinished files, and every name that a file or folder is given when it is complete.

Python imports this module at the start of every process whose PYTHONPATH names its folder. It does
nothing unless the environment says at which write, or where to count, and below which folder.
"""

from __future__ import annotations

import functools
import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

NUMBER = "ETAB_STOP_AT_WRITE"
"""Environment variable: the number of the write of a process, from 1."""

FOLDER = "ETAB_STOP_BELOW"
"""Environment variable: the folder whose files count."""

STOPPED = "ETAB_STOP_FILE"
"""Environment variable: the file that names the process that has stopped. Only one stops at once."""

COUNTS = "ETAB_STOP_NOTES"
"""Environment variable: the file to which the names of folders begun and files finished go."""

_CALLS = ("fsync", "rename", "replace", "link", "unlink")


def install() -> None:
    """Count the writes of this process from now on, and stop it at the one that is named."""
    # A worker process imports this file twice: by itself, and with the main program of its parent.
    if hasattr(os.rename, "__wrapped__"):
        return
    if os.environ.get(COUNTS):
        for name in ("rename", "replace"):
            setattr(os, name, _noted(getattr(os, name), os.environ[FOLDER], os.environ[COUNTS]))
        os.mkdir = _noted_folder(os.mkdir, os.environ[FOLDER], os.environ[COUNTS])
    number = int(os.environ.get(NUMBER, "0"))
    if not number:
        return
    counter = itertools.count(1)
    for name in _CALLS:
        setattr(os, name, _counted(getattr(os, name), number, os.environ[FOLDER], counter))


def _noted(call: Callable[..., Any], folder: str, counts: str) -> Callable[..., Any]:
    """Add the new name to a file, after each call that gives one below the folder."""

    @functools.wraps(call)
    def wrapped(source: Any, target: Any, **more: Any) -> Any:
        value = call(source, target, **more)
        name = str(Path(target).absolute())
        if name.startswith(folder):
            _note(counts, name)
        return value

    return wrapped


def _noted_folder(call: Callable[..., Any], folder: str, counts: str) -> Callable[..., Any]:
    """Add the name of a folder of unfinished files to a file, once it is made."""

    @functools.wraps(call)
    def wrapped(target: Any, *rest: Any, **more: Any) -> Any:
        value = call(target, *rest, **more)
        name = str(Path(target).absolute())
        if name.startswith(folder) and name.endswith(".part"):
            _note(counts, name)
        return value

    return wrapped


def _note(counts: str, name: str) -> None:
    number = os.open(counts, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
    os.write(number, f"{name}\n".encode())
    os.close(number)


def _counted(
    call: Callable[..., Any], number: int, folder: str, counter: itertools.count[int]
) -> Callable[..., Any]:
    @functools.wraps(call)
    def wrapped(target: Any, *rest: Any, **more: Any) -> Any:
        is_last = _path(target).startswith(folder) and next(counter) == number
        # Every second stop comes before the call, every other one after it.
        if is_last and number % 2:
            _stop()
        value = call(target, *rest, **more)
        if is_last and not number % 2:
            _stop()
        return value

    return wrapped


def _path(target: Any) -> str:
    """The path of a call, which names a file or has it open."""
    if not isinstance(target, int):
        return str(Path(target).absolute())
    try:
        return str(Path(f"/proc/self/fd/{target}").readlink())
    except OSError:
        return ""


def _stop() -> None:
    """Name this process and stop it, unless another one has stopped."""
    try:
        number = os.open(os.environ[STOPPED], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return
    os.write(number, f"{os.getpid()}\n".encode())
    os.close(number)
    os.kill(os.getpid(), signal.SIGSTOP)


install()
