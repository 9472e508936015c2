"""What runs stand on, opened once a process: sources, what they show, the rows of tasks, and the digest of the data."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from etab import datasets
from etab.datasets.base import Source
from etab.echo.surface import Outline, outline
from etab.errors import EtabError, skippable
from etab.features import inputs
from etab.features.clips import Clips, Cut, clip_rows, clips_of
from etab.runs import cross
from etab.runs.skip_bad import lists_leniently, sift
from etab.tasks.base import Task
from etab.tasks.menu import TASKS, find
from etab.tasks.rows import Rows
from etab.types import Kind


def tasks_at(tasks: str | Iterable[str] | None, root: Path | None) -> list[str]:
    """Codes of the tasks asked for; with ``root``, the folder of one dataset, those of a prefix that it can serve.

    A prefix ("c") may name tasks of several datasets. A task asked for by its whole code is kept, and where the folder fits
    no dataset all are: opening it then says what is wrong. Raises UnknownNameError for a word that names nothing.
    """
    tasks = tasks if tasks is None or isinstance(tasks, str) else list(tasks)
    found, words = (
        find(tasks),
        ",".join([tasks] if isinstance(tasks, str) else tasks or []).replace(" ", "").split(","),
    )
    names = list(dict.fromkeys(task.dataset for task in found))
    fits = (
        names if root is None or len(names) == 1 else [name for name in names if _opens(name, root)]
    )
    return [task.code for task in found if task.dataset in (fits or names) or task.code in words]


def _opens(dataset: str, root: Path) -> bool:
    try:
        datasets.source(dataset, cross.within(root, dataset))
    except EtabError:
        return False
    return True


def lacking(names: Iterable[str], root: Path | None) -> list[str]:
    """What a person should hear of these datasets: how many published patients the data at hand do not hold."""
    return [
        said
        for name in dict.fromkeys(names)
        if (said := datasets.told(datasets.source(name, cross.within(root, name))))
    ]


@lru_cache(maxsize=4)
def source_of(
    dataset: str, root: Path | None, skip_bad: bool = False
) -> tuple[Source, tuple[Any, ...]]:
    """A source and every frame or window that its tasks show; with ``skip_bad``, without what cannot be read."""
    source = datasets.source(dataset, cross.within(root, dataset))
    if skip_bad:
        source = sift(source)
    elif lists_leniently(source):
        with skippable():
            source.records()
    return source, tuple(inputs.shown(source))


@lru_cache(maxsize=4)
def clips_at(task: Task, root: Path | None, skip_bad: bool = False) -> tuple[Clips, Cut]:
    """The clips that the family of a task on clips shows, and where those of each recording are."""
    return clips_of(task, source_of(task.dataset, root, skip_bad)[0])


@lru_cache(maxsize=64)
def rows_of(task: Task, root: Path | None, skip_bad: bool = False) -> Rows:
    """The rows of a task; raises LayoutError when the data hold none at all."""
    if task.fit_on:
        fitted, tested = (TASKS[code] for code in task.parts)
        before = (
            clips_at(fitted, root, skip_bad)[0]
            if fitted.clip
            else source_of(fitted.dataset, root, skip_bad)[1]
        )
        return cross.joined_rows(
            rows_of(fitted, root, skip_bad), rows_of(tested, root, skip_bad), len(before)
        )
    source, keys = source_of(task.dataset, root, skip_bad)
    return (
        clip_rows(task, source, *clips_at(task, root, skip_bad))
        if task.clip
        else inputs.rows_of(task, source, keys)
    )


@lru_cache(maxsize=16)
def outlines_of(task: Task, root: Path | None, skip_bad: bool = False) -> tuple[Outline, ...]:
    """The authors' masks of a task ready for scoring; none for other kinds of answers."""
    rows = rows_of(task, root, skip_bad)
    if task.kind is not Kind.MASK:
        return ()
    if task.fit_on:  # rows fitted on are never scored
        mine = outlines_of(TASKS[task.parts[1]], root, skip_bad)
        return (*mine[:1] * (len(rows.items) - len(mine)), *mine)
    return tuple(
        outline(m, s or (1.0, 1.0)) for m, s in zip(rows.answers, rows.spacing, strict=True)
    )


@lru_cache(maxsize=4)
def data_digest(dataset: str, root: Path | None, skip_bad: bool = False) -> str:
    """sha256 of the data that decide frames and answers, without what ``skip_bad`` leaves out."""
    with skippable():
        return source_of(dataset, root, skip_bad)[0].digest()


def forget() -> None:
    """Drop the sources and rows that this process holds (after the data on disk have changed)."""
    for cached in (source_of, clips_at, rows_of, outlines_of, data_digest):
        cached.cache_clear()
