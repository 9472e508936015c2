"""Which processes of a run a campaign kills."""

from __future__ import annotations

import random
import signal
from pathlib import Path

from benchmarks.scale.processes import below, command_of, parent_of

VICTIMS = {
    "local": ("run", "worker", "parent", "child", "asked", "interrupted", "hung up"),
    "ray": (
        *("run", "worker", "parent", "asked", "interrupted", "hung up"),
        *("driver", "raylet", "head"),
    ),
    "slurm": ("run", "worker", "parent", "asked", "interrupted", "hung up"),
}
"""For each executor: what can be killed.

* ``run``: the whole run at once, as a power cut does
* ``worker``: a process that computes features or cells; the run goes on
* ``parent``: the command ``etab run`` alone
* ``child``: the process that the command has started, which computes or starts workers; the command
  starts another one
* ``asked``, ``interrupted``, ``hung up``: the command ``etab run``, by SIGTERM, SIGINT (Ctrl-C) and
  SIGHUP (its terminal closes): it must end by itself, and leave nothing behind
* ``driver``: the process of ``etab run`` that is connected to the cluster of Ray
* ``raylet``, ``head``: the process of Ray's node, and the one that knows of all nodes
"""

REQUESTS = {
    "asked": signal.SIGTERM,
    "interrupted": signal.SIGINT,
    "hung up": signal.SIGHUP,
}
"""Victims that are asked to end, and by which signal."""

GOES_ON = ("worker", "child", "driver", "raylet", "head")
"""Victims after which the run itself goes on, and may be killed again."""


def find_victim(kind: str, parent: int, holders: list[int], chance: random.Random) -> int | None:
    """Find a process to kill.

    Args:
        kind: One of ``VICTIMS`` other than "run".
        parent: The number of the command ``etab run``.
        holders: The processes that hold claims.
        chance: Chooses one of several.

    Returns:
        Its number; None if there is none at the moment.
    """
    if kind == "parent" or kind in REQUESTS:
        return parent
    if kind == "worker":
        found = [pid for pid in holders if is_worker(pid, parent)]
    elif kind == "child":
        found = [pid for pid in below(parent) if parent_of(pid) == parent]
    elif kind == "driver":
        found = [pid for pid in below(parent) if _is_driver(pid, parent)]
    else:
        wanted = {"raylet": "raylet", "head": "gcs_server"}[kind]
        found = [pid for pid in below(parent) if _program(pid) == wanted]
    return chance.choice(found) if found else None


def is_worker(pid: int, parent: int) -> bool:
    """Whether a process holds claims as a worker, and is not the command or its child.

    Args:
        pid: The process.
        parent: The number of the command ``etab run``.
    """
    return parent not in (pid, parent_of(pid))


def _is_driver(pid: int, parent: int) -> bool:
    return parent_of(pid) == parent and "spawn_main" in command_of(pid)


def _program(pid: int) -> str:
    words = command_of(pid).split()
    return Path(words[0]).name if words else ""
