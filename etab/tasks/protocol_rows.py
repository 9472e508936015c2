"""Protocols applied to the rows of a task: their splits, their cells, and remarks for readers."""

from __future__ import annotations

import numpy as np

from etab.splits import folds
from etab.tasks.base import Task
from etab.tasks.lists import list_notes, list_splits
from etab.tasks.protocols import parse
from etab.tasks.rows import Rows, absent_note, undefined_note
from etab.types import Array, Kind, RowSplit


def splits_of(
    name: str,
    seed: int,
    rows: Rows,
    kind: Kind,
) -> list[RowSplit]:
    """Split rows by a protocol.

    Args:
        name: The name of the protocol, as in results.
        seed: The seed of folds and draws.
        rows: The rows of the task.
        kind: The kind of the target; draws contain every class.

    Raises:
        SplitError: A part is missing or empty.
        UndefinedError: The rows do not suffice for the protocol.
    """
    protocol = parse(name)
    if protocol.listed:
        listed = list_splits(protocol.listed, rows, seed)
        return protocol.narrowed(listed, rows.patients, rows.answers, kind, seed)
    return protocol.splits(rows.patients, rows.parts, rows.answers, kind, seed, rows.groups)


def cells_of(
    name: str,
    n_fold: int,
    seed: int,
    rows: Rows,
) -> Array | None:
    """Label the rows by the authors' part and the fold.

    Protocols with ``n_fold`` folds are made of rows with these labels.

    Args:
        name: The name of the protocol, as in results.
        n_fold: The number of folds.
        seed: The seed of the folds.
        rows: The rows of the task.

    Returns:
        (n,) labels; None for draws, repeated folds and lists, which share no parts with other
        protocols.
    """
    how = parse(name)
    if how.few or how.repeats > 1 or how.listed:
        return None
    n = how.n_fold or n_fold
    if n > rows.n_patients:
        return np.asarray(rows.parts)
    place = folds(rows.patients.tolist(), n, seed)
    return np.array(
        [
            f"{part} {place[patient]}"
            for part, patient in zip(rows.parts, rows.patients.tolist(), strict=True)
        ]
    )


def remarks(task: Task, name: str, rows: Rows) -> tuple[str, ...]:
    """Return remarks on a protocol for readers of a result.

    Args:
        task: The task.
        name: The name of the protocol, as in results.
        rows: The rows of the task.
    """
    undefined = undefined_note(task.code, rows.missing)
    notes = tuple(note for note in (undefined, absent_note(task.code, rows)) if note)
    listed = parse(name).listed
    if listed:
        return (*notes, *list_notes(listed, rows))
    if rows.groups and parse(name).sort == "cv" and len(set(rows.groups)) > 1:
        return (
            *notes,
            f"{task.code} ({name}): training and test share databases, which sound apart: scores "
            "are too good. "
            "Leave-one-database-out (lodo) is the primary protocol; read pooled scores beside "
            "database_only.",
        )
    return notes
