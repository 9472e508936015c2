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
from etab.features.base import input_of
from etab.runs import cross
from etab.runs.skip_bad import leave_unneeded, lists_leniently, sift
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
    dataset: str, root: Path | None, skip_bad: bool = False, codes: tuple[str, ...] = ()
) -> Source:
    """The source of a dataset, listing the recordings that a run reads.

    Args:
        dataset: Its name.
        root: Its folder, or the folder above it.
        skip_bad: Whether recordings that cannot be read are left out.
        codes: The tasks whose files are needed; empty stands for every task of the data set.
    """
    source = datasets.source(dataset, cross.within(root, dataset))
    tasks = [task for task in TASKS.values() if task.dataset == dataset]
    tasks = [task for task in tasks if task.code in codes] or tasks
    if skip_bad:
        source = sift(source, tasks)
    else:
        if lists_leniently(source):
            with skippable():
                source.records()
        leave_unneeded(source, tasks)
    return source


def keys_of(
    task: Task, root: Path | None, skip_bad: bool = False, codes: tuple[str, ...] = ()
) -> Any:
    """What is embedded for the tasks of a family: frames, clips or windows, in the order of the features."""
    input_of(task).check(task, source_of(task.dataset, root, skip_bad, codes).card)
    # Tasks of one family differ in much that has no part in this; the first of the menu stands for them.
    family = (task.dataset, task.family, task.reader)
    for other in TASKS.values():
        if (other.dataset, other.family, other.reader) == family:
            return _keys_of(other, root, skip_bad, codes)
    return _keys_of(task, root, skip_bad, codes)


@lru_cache(maxsize=4)
def _keys_of(task: Task, root: Path | None, skip_bad: bool, codes: tuple[str, ...]) -> Any:
    return input_of(task).keys(task, source_of(task.dataset, root, skip_bad, codes))


@lru_cache(maxsize=64)
def rows_of(
    task: Task, root: Path | None, skip_bad: bool = False, codes: tuple[str, ...] = ()
) -> Rows:
    """The rows of a task; raises LayoutError when the data hold none at all."""
    if task.fit_on:
        fitted, tested = (TASKS[code] for code in task.parts)
        return cross.joined_rows(
            rows_of(fitted, root, skip_bad, codes),
            rows_of(tested, root, skip_bad, codes),
            len(keys_of(fitted, root, skip_bad, codes)),
        )
    source = source_of(task.dataset, root, skip_bad, codes)
    return input_of(task).rows(task, source, keys_of(task, root, skip_bad, codes))


@lru_cache(maxsize=16)
def outlines_of(
    task: Task, root: Path | None, skip_bad: bool = False, codes: tuple[str, ...] = ()
) -> tuple[Outline, ...]:
    """The authors' masks of a task ready for scoring; none for other kinds of answers."""
    rows = rows_of(task, root, skip_bad, codes)
    if task.kind is not Kind.MASK:
        return ()
    if task.fit_on:  # rows fitted on are never scored
        mine = outlines_of(TASKS[task.parts[1]], root, skip_bad, codes)
        return (*mine[:1] * (len(rows.items) - len(mine)), *mine)
    return tuple(
        outline(m, s or (1.0, 1.0)) for m, s in zip(rows.answers, rows.spacing, strict=True)
    )


@lru_cache(maxsize=4)
def data_digest(
    dataset: str, root: Path | None, skip_bad: bool = False, codes: tuple[str, ...] = ()
) -> str:
    """sha256 of the data that decide frames and answers, without what ``skip_bad`` leaves out."""
    with skippable():
        return source_of(dataset, root, skip_bad, codes).digest()


def forget() -> None:
    """Drop the sources and rows that this process holds (after the data on disk have changed)."""
    for cached in (source_of, _keys_of, rows_of, outlines_of, data_digest):
        cached.cache_clear()
