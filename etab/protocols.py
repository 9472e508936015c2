"""Which protocols there are, which a task knows, and the splits that one makes of a task's rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from etab.errors import IncompatibleError
from etab.rows import Rows
from etab.splits import folds, row_splits
from etab.tasks import Task
from etab.types import Array, RowSplit

KNOWN = ("official", "cv", "lodo")


def protocol_name(protocol: str, n_fold: int) -> str:
    """Name a protocol as results carry it: "official", "lodo", or "cv" with its number of folds ("cv5")."""
    if protocol in ("official", "lodo"):
        return protocol
    if protocol == "cv" or protocol == f"cv{n_fold}":
        return f"cv{n_fold}"
    if protocol.startswith("cv") and protocol[2:].isdigit() and int(protocol[2:]) > 1:
        return protocol
    raise IncompatibleError(
        f"No protocol is called {protocol!r}. Known: official, cv (or cv5, cv10, ...), lodo (leave one database out)."
    )


def sort_of(name: str) -> str:
    """The sort of a named protocol: "official", "cv" or "lodo"."""
    return name if name in ("official", "lodo") else "cv"


def chosen(task: Task, asked: Sequence[str] | None, n_fold: int) -> list[str]:
    """Named protocols to run a task by: its own, or those asked for that it knows.

    Raises IncompatibleError where it knows none of them: CirCor has no official split, few tasks have databases.
    """
    names = [protocol_name(p, n_fold) for p in (task.protocols if asked is None else asked)]
    kept = [name for name in names if sort_of(name) in task.protocols]
    if not kept:
        raise IncompatibleError(
            f"{task.code} has no protocol {' or '.join(names)}; it has {', '.join(task.protocols)}."
        )
    return kept


def splits_of(name: str, n_fold: int, seed: int, rows: Rows) -> list[RowSplit]:
    """The splits that a named protocol makes of these rows; raises SplitError where it cannot."""
    sort = sort_of(name)
    n = int(name[2:]) if sort == "cv" else n_fold
    return row_splits(rows.patients, rows.parts, protocol=sort, n_fold=n, seed=seed, groups=np.array(rows.groups))


def cells_of(name: str, n_fold: int, seed: int, rows: Rows) -> Array:
    """(n,) the authors' part and the fold of each row: what both protocols of this many folds are made of."""
    n = int(name[2:]) if sort_of(name) == "cv" else n_fold
    if n > rows.n_patients:
        return np.asarray(rows.parts)
    place = folds(rows.patients.tolist(), n, seed)
    return np.array(
        [f"{part} {place[patient]}" for part, patient in zip(rows.parts, rows.patients.tolist(), strict=True)]
    )


def remarks(task: Task, name: str, rows: Rows) -> tuple[str, ...]:
    """What a reader must know of this protocol on these rows."""
    if rows.groups and sort_of(name) == "cv" and len(set(rows.groups)) > 1:
        return (
            f"{task.code} ({name}): training and test share databases, which sound apart: scores are too good. "
            "Leave-one-database-out (lodo) is the primary protocol; read pooled scores beside database_only.",
        )
    return ()
