"""The predictions of a task as pages draw them: a number for each row and backbone, or for classes
a number for each of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from etab.leaderboard.board import Board
from etab.results import Predictions
from etab.site.packing import packed
from etab.storage.text import printable
from etab.types import FloatArray, Kind

# Numbers of all tasks together that a site holds: 2.7 MB as text. Larger boards have no such files.
MOST_PREDICTIONS = 1_000_000

_DRAWN = {Kind.VALUE: "score", Kind.BINARY: "score", Kind.MASK: "dice"}


def has_predictions(board: Board) -> bool:
    """Whether the predictions of a board are few enough for its site."""
    numbers = sum(len(set(table.items)) * len(_drawn(table)) for table in board.tables.values())
    return numbers <= MOST_PREDICTIONS


def _drawn(table: Predictions) -> list[str]:
    """The columns that are drawn: one, or the probability of each class; empty for other kinds."""
    if table.kind is Kind.CLASSES:
        n_classes = sum(name.startswith("score_") for name in table.columns)
        return [f"score_{k}" for k in range(n_classes)]
    return [_DRAWN[table.kind]] if table.kind in _DRAWN else []


def prediction_facts(board: Board, code: str) -> dict[str, Any] | None:
    """Collect the predictions of a task.

    Args:
        board: The board, with its tables.
        code: Code of the task.

    Returns:
        Plain values: ``kind``; ``items`` (names of the rows, sorted); ``backbones``; ``values``
        (backbones, items), packed, the mean over the repeats of the folds: predicted values,
        probabilities, or Dice overlaps; and ``truth`` (items,), packed, or None for masks. For k
        classes, ``values`` are probabilities (backbones, items, k), and ``classes`` counts them.
        ``patients`` are the names of the patients and ``patient_of`` (items,) the place of that of
        each row; None where a row is a patient.
        None for a task of another kind, and without tables.
    """
    tables: dict[str, Predictions] = {}
    for row in board.rows:
        table = board.tables.get((row.backbone, code))
        if table is not None and _drawn(table):
            tables[row.backbone] = table
    if not tables:
        return None
    first = next(iter(tables.values()))
    items = np.unique(first.items)
    same = {name: table for name, table in tables.items() if set(table.items) == set(first.items)}
    columns = _drawn(first)
    values = np.stack(
        [np.stack([_by_item(table, name) for name in columns], axis=-1) for table in same.values()]
    )
    patients, patient_of = _patients_of_items(first)
    truth = _by_item(first, "truth") if "truth" in first.columns else None
    return {
        "kind": first.kind.value,
        "items": [printable(item) for item in items.tolist()],
        "backbones": list(same),
        "classes": len(columns),
        "values": packed(values.reshape(len(same), -1)),
        "truth": None if truth is None else packed(truth),
        "patients": patients,
        "patient_of": patient_of,
    }


def _patients_of_items(table: Predictions) -> tuple[list[str] | None, list[int] | None]:
    """Names of the patients, and the place of the patient of each sorted item; None where no
    patient has two items."""
    _, first_rows = np.unique(table.items, return_index=True)
    names, places = np.unique(np.asarray(table.patients)[first_rows], return_inverse=True)
    if len(names) == len(first_rows):
        return None, None
    return [printable(name) for name in names.tolist()], places.tolist()


def _by_item(table: Predictions, column: str) -> FloatArray:
    """The mean of a column over the repeats of each item, in the order of sorted items."""
    _, place = np.unique(table.items, return_inverse=True)
    sums = np.bincount(place, weights=table.columns[column])
    return np.asarray(sums / np.bincount(place))
