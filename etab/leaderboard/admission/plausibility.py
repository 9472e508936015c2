"""Checks across the results of a board: predictions that are copied, constant, or too good.

None of these checks proves a fault, so results are marked and stay on the board. Only computing a
cell again, with ``etab reproduce``, gives proof.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from etab.leaderboard.admission.canonical import known_backbones
from etab.leaderboard.admission.ranges import FACT_COLUMNS
from etab.metrics import METRICS
from etab.results import Predictions, Result
from etab.tasks.base import Task
from etab.types import FloatArray, IntArray, Kind

# Correlation of residuals above which predictions count as copied.
COPY_CORRELATION = 0.9999
# Share of rows with exactly the same prediction above which predictions count as copied.
COPIED_SHARE = 0.5
# Anchored value of predicted numbers below which they are of another unit, or of other rows.
_OTHER_UNIT = -1.0
# Smallest number of rows that is compared.
_FEWEST_ROWS = 10

Cell = tuple[str, str]
"""Backbone and task code."""


@dataclass(frozen=True, slots=True)
class AdmittedEntry:
    """A result with its predictions and its task."""

    result: Result
    table: Predictions
    task: Task


Entries = Mapping[Cell, AdmittedEntry]


def implausible(entries: Entries) -> Iterator[tuple[Cell, str]]:
    """Find results that a reader should check before relying on them.

    Args:
        entries: The results of a board by backbone and task code.

    Yields:
        The cell and the reason, one pair for each remark.
    """
    for cell, entry in entries.items():
        for reason in _alone(entry):
            yield cell, reason
    by_task: dict[str, dict[str, AdmittedEntry]] = {}
    for (backbone, code), entry in entries.items():
        by_task.setdefault(code, {})[backbone] = entry
    for code in sorted(by_task):
        of_task = by_task[code]
        yield from _copies(code, of_task)
        yield from _best_of_all(code, of_task)
    yield from _mixed_settings(entries)


def _alone(entry: AdmittedEntry) -> Iterator[str]:
    result = entry.result
    if result.settings.get("family") != "control" and _is_constant(entry.table):
        yield (
            "its predictions are the same for every row of a fold: nothing of the input is in them"
        )
    anchored = entry.task.anchored(result.value)
    best = METRICS[result.metric].best
    if METRICS[result.metric].reached and abs(result.value - best) < 1e-6:
        yield f"{result.metric} is {result.value:g}, which is perfect: too good to be true"
    elif anchored > 1:
        yield (
            f"{result.metric} {result.value:.4g} is better than the reference of the task "
            f"({entry.task.high:g}): too good to be believed before it is computed again"
        )
    elif entry.table.kind is Kind.VALUE and anchored < _OTHER_UNIT:
        yield (
            f"{result.metric} {result.value:.4g} is far worse than that of one value for everybody "
            f"({entry.task.low:g}): its predictions may have another unit, or belong to other rows"
        )
    yield from _other_identity(result)
    if result.provenance.get("dirty"):
        yield "it was computed by a copy of etab with changes that are in no commit"


def _other_identity(result: Result) -> Iterator[str]:
    """Weights that belong to another name, and claims about the kind of a backbone."""
    if result.phantom:
        return
    known = known_backbones()
    same_name = known.get(result.backbone)
    if same_name and same_name.weights_sha256 != result.weights_sha256:
        yield (
            f"its weights_sha256 begins with {result.weights_sha256[:12]}; that of the published "
            f"{result.backbone} begins with {same_name.weights_sha256[:12]}"
        )
    for name, other in known.items():
        if other.weights_sha256 == result.weights_sha256 and name != result.backbone:
            yield f"its weights are those of {name}"
    if same_name is None and result.settings.get("family") == "control":
        yield "it says that it is a control; etab knows no control of this name"


def _is_constant(table: Predictions) -> bool:
    predictions = _prediction_columns(table)
    if len(table.items) < _FEWEST_ROWS or table.kind in (Kind.MASK, Kind.STATES):
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


def _prediction_columns(table: Predictions) -> list[FloatArray]:
    """The columns of a table that hold predictions."""
    others = {*FACT_COLUMNS, "answer"}
    return [column for name, column in table.columns.items() if name not in others]


def _vector(entry: AdmittedEntry, items: tuple[str, ...]) -> FloatArray:
    """The predictions of an entry as one vector, in the order of ``items``."""
    order = _order_of(entry.table.items, items)
    columns = [column[order] for column in _prediction_columns(entry.table)]
    return np.concatenate(columns)


@lru_cache(maxsize=64)
def _order_of(items: tuple[str, ...], wanted: tuple[str, ...]) -> IntArray:
    """The index of each wanted item, found once for the tables of all backbones."""
    index = {item: i for i, item in enumerate(items)}
    return np.array([index[item] for item in wanted])


def _same_rows(entries: Mapping[str, AdmittedEntry]) -> dict[str, AdmittedEntry]:
    """Entries with the rows of the first one; others cannot be compared row by row."""
    if not entries:
        return {}
    first = next(iter(entries.values())).table.items
    names = set(first)
    return {
        name: entry
        for name, entry in entries.items()
        if entry.table.items is first or set(entry.table.items) == names
    }


def _copies(code: str, entries: Mapping[str, AdmittedEntry]) -> Iterator[tuple[Cell, str]]:
    """Pairs whose predictions agree more closely than those of two networks do."""
    comparable = _same_rows(entries)
    names = sorted(comparable)
    if len(names) < 2:
        return
    items = tuple(sorted(comparable[names[0]].table.items))
    residuals = np.stack([_residual(comparable[name], items) for name in names])
    if residuals.shape[1] < _FEWEST_ROWS:
        return
    correlation = _correlations(residuals)
    vectors = np.stack([_vector(comparable[name], items) for name in names])
    if comparable[names[0]].table.kind is Kind.VALUE:
        # The same predictions on another scale differ from the truth in another way.
        correlation = np.maximum(correlation, _correlations(vectors))
    shares = _equal_shares(np.stack([_without_repeated(vector) for vector in vectors]))
    for i, j in np.argwhere(np.tril(correlation > COPY_CORRELATION, -1)).tolist():
        shares.pop((i, j), None)
        if not _both_controls(names[i], names[j]):
            yield (
                (names[i], code),
                f"its predictions are those of {names[j]} (correlation {correlation[i, j]:.6f})",
            )
    for (i, j), share in sorted(shares.items()):
        is_constant = _is_constant(comparable[names[i]].table)
        if not is_constant and not _both_controls(names[i], names[j]):
            yield (
                (names[i], code),
                f"{share:.0%} of its predictions are those of {names[j]} to the last digit",
            )


def _correlations(vectors: FloatArray) -> FloatArray:
    """Correlation of every pair of vectors (n, length): (n, n); 0 for a constant one."""
    centred = vectors - vectors.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    scaled = centred / np.where(norms > 0, norms, np.inf)
    return np.asarray(scaled @ scaled.T)


def _without_repeated(vector: FloatArray) -> FloatArray:
    """The vector with NaN for each value that it holds more than once.

    Probes that learn nothing from some folds predict the share of the classes there, and honest
    backbones then agree to the last digit. NaN equals nothing.
    """
    _, value, count = np.unique(vector, return_inverse=True, return_counts=True)
    return np.where(count[value] > 1, np.nan, vector)


def _equal_shares(vectors: FloatArray) -> dict[tuple[int, int], float]:
    """Share of equal predictions of each pair (later, earlier) that shares more than half.

    Pairs are compared only among vectors whose predictions are mostly found in others too, which
    sorting shows for all of them at once.
    """
    order = np.argsort(vectors, axis=0, kind="stable")
    ordered = np.take_along_axis(vectors, order, axis=0)
    is_next = ordered[1:] == ordered[:-1]
    in_others = np.zeros(vectors.shape, dtype=bool)
    columns = np.broadcast_to(np.arange(vectors.shape[1]), is_next.shape)
    in_others[order[1:][is_next], columns[is_next]] = True
    in_others[order[:-1][is_next], columns[is_next]] = True
    suspects = np.flatnonzero(in_others.mean(axis=1) > COPIED_SHARE).tolist()
    shares: dict[tuple[int, int], float] = {}
    for place, i in enumerate(suspects):
        for j in suspects[:place]:
            share = float((vectors[i] == vectors[j]).mean())
            if share > COPIED_SHARE:
                shares[i, j] = share
    return shares


def _both_controls(name: str, other: str) -> bool:
    """Whether both are controls: they may agree where they cannot predict a task."""
    known = known_backbones()
    return all(one in known and known[one].kind == "control" for one in (name, other))


def _residual(entry: AdmittedEntry, items: tuple[str, ...]) -> FloatArray:
    """Predictions minus the truth and the mean, which all good backbones share."""
    vector = _vector(entry, items)
    truth = entry.table.columns.get("truth")
    if truth is not None and entry.table.kind is Kind.VALUE:
        vector = vector - truth[_order_of(entry.table.items, items)]
    return np.asarray(vector - vector.mean())


def _best_of_all(code: str, entries: Mapping[str, AdmittedEntry]) -> Iterator[tuple[Cell, str]]:
    """Entries whose predictions equal, row by row, the best prediction of the others."""
    comparable = _same_rows(entries)
    if len(comparable) < 3:
        return
    names = sorted(comparable)
    items = tuple(sorted(comparable[names[0]].table.items))
    losses = np.stack([_row_losses(comparable[name], items) for name in names])
    if losses.shape[1] < _FEWEST_ROWS:
        return
    best, second = np.partition(losses, 1, axis=0)[:2]
    for i, name in enumerate(names):
        best_of_others = np.where(losses[i] == best, second, best)
        never_worse = losses[i] <= best_of_others + 1e-9
        if never_worse.mean() <= 0.95:
            continue
        others = np.delete(losses, i, axis=0)
        copied = np.isclose(others, losses[i], rtol=0, atol=1e-9).any(axis=0)
        if copied.mean() > 0.95:
            yield (
                (name, code),
                "row by row it is the best of the other backbones' predictions",
            )


def _row_losses(entry: AdmittedEntry, items: tuple[str, ...]) -> FloatArray:
    """A loss for each row, smaller where the prediction is better."""
    table = entry.table
    order = _order_of(table.items, items)
    columns = {name: column[order] for name, column in table.columns.items()}
    if table.kind is Kind.MASK:
        return np.asarray(1 - columns["dice"])
    if table.kind is Kind.STATES:
        return np.asarray(1 - columns[entry.task.metric])
    if table.kind is Kind.CLASSES:
        truth = columns["truth"].astype(int)
        of_classes = [columns[f"score_{k}"] for k in range(truth.max() + 1)]
        scores = np.stack(of_classes, axis=1)
        of_truth = scores[np.arange(len(truth)), truth]
        return np.asarray(1 - of_truth)
    errors = columns["score"] - columns["truth"]
    return np.asarray(np.abs(errors))


def _mixed_settings(entries: Entries) -> Iterator[tuple[Cell, str]]:
    """One backbone with another precision or picture size in some of its tasks."""
    for name in ("precision", "size", "interpolation"):
        values: dict[str, dict[str, str]] = {}
        for (backbone, code), entry in entries.items():
            values.setdefault(backbone, {})[code] = str(entry.result.settings.get(name))
        for backbone, by_task in values.items():
            first = by_task[min(by_task)]
            others = [code for code, value in by_task.items() if value != first]
            if others:
                code = max(others)
                reason = f"its {name} is {by_task[code]} here and {first} in other tasks"
                yield (backbone, code), reason
