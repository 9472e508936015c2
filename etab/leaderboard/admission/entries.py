"""The results of a board with their predictions, and what the checks across them ask of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from etab.leaderboard.admission.canonical import known_backbones, unlike_its_publication
from etab.leaderboard.admission.ranges import FACT_COLUMNS
from etab.results import Predictions, Result
from etab.tasks.base import Task
from etab.types import FloatArray, IntArray, Kind

FEWEST_ROWS = 10
"""Smallest number of rows that is compared."""

_NO_PREDICTIONS = frozenset((*FACT_COLUMNS, "answer"))

Cell = tuple[str, str]
"""Backbone and task code."""


@dataclass(frozen=True, slots=True)
class AdmittedEntry:
    """A result with its predictions and its task."""

    result: Result
    table: Predictions
    task: Task


Entries = Mapping[Cell, AdmittedEntry]
"""The results of a board by cell."""


def is_constant(table: Predictions) -> bool:
    """Whether every fold has one and the same prediction for all its rows."""
    predictions = prediction_columns(table)
    if len(table.items) < FEWEST_ROWS or table.kind in (Kind.MASK, Kind.STATES):
        return False
    folds = _rows_of_folds(table.folds)
    return all(np.ptp(column[of_fold]) == 0 for of_fold in folds for column in predictions)


@lru_cache(maxsize=256)
def _rows_of_folds(folds: tuple[str, ...]) -> list[IntArray]:
    """The rows of each fold, found once for the tables of all backbones."""
    rows: dict[str, list[int]] = {}
    for row, fold in enumerate(folds):
        rows.setdefault(fold, []).append(row)
    return [np.array(of_fold) for of_fold in rows.values()]


def prediction_columns(table: Predictions) -> list[FloatArray]:
    """The columns of a table that hold predictions."""
    return [column for name, column in table.columns.items() if name not in _NO_PREDICTIONS]


def vector_of(entry: AdmittedEntry, order: IntArray) -> FloatArray:
    """The predictions of an entry as one vector, with its rows in this order."""
    columns = [column[order] for column in prediction_columns(entry.table)]
    return np.concatenate(columns)


def order_of(entry: AdmittedEntry) -> IntArray:
    """The rows of an entry by item and repeat, in whatever order its file holds them."""
    return _order_of(entry.table.items, entry.table.repeats)


@lru_cache(maxsize=64)
def _order_of(items: tuple[str, ...], repeats: tuple[int, ...]) -> IntArray:
    """``order_of``, found once for the tables of all backbones."""
    rows = sorted(range(len(items)), key=lambda row: (items[row], repeats[row]))
    return np.array(rows)


def same_rows(entries: Mapping[str, AdmittedEntry]) -> dict[str, AdmittedEntry]:
    """Entries with the rows of the first one; others cannot be compared row by row."""
    if not entries:
        return {}
    first = next(iter(entries.values())).table
    return {
        name: entry
        for name, entry in entries.items()
        if _are_same_rows(entry.table.items, entry.table.repeats, first.items, first.repeats)
    }


@lru_cache(maxsize=256)
def _are_same_rows(
    items: tuple[str, ...],
    repeats: tuple[int, ...],
    other_items: tuple[str, ...],
    other_repeats: tuple[int, ...],
) -> bool:
    """Whether two tables have the same rows, in any order."""
    rows = set(zip(items, repeats, strict=True))
    return rows == set(zip(other_items, other_repeats, strict=True))


def is_published(result: Result) -> bool:
    """Whether a result is of a published backbone, by its name, its weights and its value.

    A name and a digest of weights are copied easily. Where the same cell was published, the result has
    to be close to it.
    """
    known = known_backbones().get(result.backbone)
    if known is None or known.weights_sha256 != result.weights_sha256:
        return False
    return not unlike_its_publication(result)


def correlations(vectors: FloatArray) -> FloatArray:
    """Correlation of every pair of vectors (n, length): (n, n); 0 for a constant one."""
    centred = vectors - vectors.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    scaled = centred / np.where(norms > 0, norms, np.inf)
    return np.asarray(scaled @ scaled.T)


def is_known_control(name: str) -> bool:
    """Whether this is the name of a control of the published boards."""
    known = known_backbones()
    return name in known and known[name].kind == "control"
