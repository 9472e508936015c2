"""Reports of runs while they are at work, also from worker processes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etab.errors import EtabWarning
from etab.results import Result


@dataclass(frozen=True, slots=True)
class Event:
    """A report of a run at work.

    Attributes:
        kind: "frames" for progress of the features, "cell" for a finished cell, "failed"; between
            processes also "warning".
        backbone: Name of the backbone.
        done: Number of frames done ("frames").
        total: Number of frames in all ("frames").
        result: The finished cell ("cell"), as ``etab.runs.record.brief`` makes it.
        error: Why the backbone or cell failed ("failed"), or the text of a warning.
        runs: Number of cells that failed ("failed").
        cells: Those cells, where they are known, by the paths that their records would have.
    """

    kind: str
    backbone: str
    done: int = 0
    total: int = 0
    result: Result | None = None
    error: str = ""
    runs: int = 0
    cells: tuple[Path, ...] = ()


Listener = Callable[[Event], None]


def send_warnings(queue: Any) -> None:
    """Send the warnings of etab in this process to the parent, which shows each once.

    Args:
        queue: Where this process sends events.
    """
    before = warnings.showwarning

    def send(message: Warning | str, category: type[Warning], *more: Any, **named: Any) -> None:
        if issubclass(category, EtabWarning):
            queue.put(Event("warning", "", error=str(message)))
        else:
            before(message, category, *more, **named)

    warnings.showwarning = send


def pass_on(queue: Any, listen: Listener) -> None:
    """Pass events of the workers on until the end mark, each cell and each warning once.

    A group whose worker was ended is run again: it reads the cells that it had finished, and tries
    those again that had failed.

    Args:
        queue: Where the workers send events; None ends them.
        listen: Called with every event that is not a warning.
    """
    named: set[Path | str] = set()
    failed: set[Path] = set()
    while (event := _next_event(queue)) is not None:
        is_warning = event.kind == "warning"
        if is_warning or event.result is not None:
            name = event.error if event.result is None else event.result.path(Path())
            if name in named:
                continue
            named.add(name)
        if event.cells:
            new = tuple(path for path in event.cells if path not in failed)
            if not new:
                continue
            failed.update(new)
            event = replace(event, cells=new, runs=len(new))
        if is_warning:
            warnings.showwarning(EtabWarning(event.error), EtabWarning, "etab", 0)
        else:
            listen(event)


def _next_event(queue: Any) -> Event | None:
    """Wait for an event; None at the end mark, and where the process of the queue has ended."""
    try:
        event: Event | None = queue.get()
    except (EOFError, OSError):
        return None
    return event
