"""What no check of one file can see: predictions that are copied, constant, or too good.

None of this proves anything, so results are marked and stay; only computing a cell again, with
``etab reproduce``, can tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from etab.leaderboard.admission.canonical import known_backbones
from etab.leaderboard.admission.ranges import FACT_COLUMNS
from etab.metrics import METRICS
from etab.results import Predictions, Result
from etab.tasks.base import Task
from etab.types import Array, FloatArray, Kind

COPY_CORRELATION = 0.9999
_FEWEST_ROWS = 10

Cell = tuple[str, str]
"""Backbone and task code."""


@dataclass(frozen=True, slots=True)
class AdmittedEntry:
    """A result with everything that its plausibility is judged by."""

    result: Result
    table: Predictions
    task: Task


Entries = Mapping[Cell, AdmittedEntry]


def implausible(entries: Entries) -> Iterator[tuple[Cell, str]]:
    """Find results that a reader should not take at face value.

    Args:
        entries: The results of a board by backbone and task code.

    Yields:
        The cell and the reason, one for each remarkable thing.
    """
    for cell, entry in entries.items():
        for reason in _alone(entry):
            yield cell, reason
    for code in sorted({code for _, code in entries}):
        of_task = {backbone: entry for (backbone, other), entry in entries.items() if other == code}
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
    folds = np.array(table.folds)
    predictions = _prediction_columns(table)
    if len(table.items) < _FEWEST_ROWS or table.kind in (Kind.MASK, Kind.STATES):
        return False
    return all(
        np.ptp(column[folds == fold]) == 0 for column in predictions for fold in np.unique(folds)
    )


def _prediction_columns(table: Predictions) -> list[FloatArray]:
    return [
        column
        for name, column in table.columns.items()
        if name not in FACT_COLUMNS and name != "answer"
    ]


def _vector(entry: AdmittedEntry, items: Array) -> FloatArray:
    """The predictions of an entry as one vector, in the order of ``items``."""
    index = {item: i for i, item in enumerate(entry.table.items)}
    order = np.array([index[item] for item in items])
    return np.concatenate([column[order] for column in _prediction_columns(entry.table)])


def _same_rows(entries: Mapping[str, AdmittedEntry]) -> dict[str, AdmittedEntry]:
    """Entries with the rows of the first one; others cannot be compared row by row."""
    if not entries:
        return {}
    first = set(next(iter(entries.values())).table.items)
    return {name: e for name, e in entries.items() if set(e.table.items) == first}


def _copies(code: str, entries: Mapping[str, AdmittedEntry]) -> Iterator[tuple[Cell, str]]:
    """Pairs whose predictions agree more closely than two networks ever do."""
    comparable = _same_rows(entries)
    names = sorted(comparable)
    if len(names) < 2:
        return
    items = np.array(sorted(comparable[names[0]].table.items))
    residuals = np.stack([_residual(comparable[name], items) for name in names])
    if residuals.shape[1] < _FEWEST_ROWS:
        return
    norms = np.linalg.norm(residuals, axis=1, keepdims=True)
    scaled = residuals / np.where(norms > 0, norms, np.inf)
    correlation = scaled @ scaled.T
    for i, name in enumerate(names):
        for j, other in enumerate(names[:i]):
            if correlation[i, j] > COPY_CORRELATION and not _both_controls(name, other):
                yield (
                    (name, code),
                    f"its predictions are those of {other} (correlation {correlation[i, j]:.6f})",
                )


def _both_controls(name: str, other: str) -> bool:
    """Controls that know nothing of a task agree with each other there."""
    known = known_backbones()
    return all(one in known and known[one].kind == "control" for one in (name, other))


def _residual(entry: AdmittedEntry, items: Array) -> FloatArray:
    """Predictions minus what every good backbone shares: the truth, and the mean."""
    vector = _vector(entry, items)
    truth = entry.table.columns.get("truth")
    if truth is not None and entry.table.kind is Kind.VALUE:
        index = {item: i for i, item in enumerate(entry.table.items)}
        vector = vector - truth[np.array([index[item] for item in items])]
    return np.asarray(vector - vector.mean())


def _best_of_all(code: str, entries: Mapping[str, AdmittedEntry]) -> Iterator[tuple[Cell, str]]:
    """An entry as good, row by row, as the best of all others was put together from them."""
    comparable = _same_rows(entries)
    if len(comparable) < 3:
        return
    names = sorted(comparable)
    items = np.array(sorted(comparable[names[0]].table.items))
    losses = np.stack([_row_losses(comparable[name], items) for name in names])
    for i, name in enumerate(names):
        best_of_others = np.delete(losses, i, axis=0).min(axis=0)
        never_worse = losses[i] <= best_of_others + 1e-9
        copied = np.isclose(
            np.delete(losses, i, axis=0),
            losses[i],
            rtol=0,
            atol=1e-9,
        ).any(axis=0)
        if never_worse.mean() > 0.95 and copied.mean() > 0.95 and losses.shape[1] >= _FEWEST_ROWS:
            yield (
                (name, code),
                "row by row it is the best of the other backbones' predictions",
            )


def _row_losses(entry: AdmittedEntry, items: Array) -> FloatArray:
    """A loss for each row, smaller where the prediction is better."""
    table = entry.table
    index = {item: i for i, item in enumerate(table.items)}
    order = np.array([index[item] for item in items])
    columns = {name: column[order] for name, column in table.columns.items()}
    if table.kind is Kind.MASK:
        return np.asarray(1 - columns["dice"])
    if table.kind is Kind.STATES:
        return np.asarray(1 - columns[entry.task.metric])
    if table.kind is Kind.CLASSES:
        truth = columns["truth"].astype(int)
        scores = np.stack([columns[f"score_{k}"] for k in range(truth.max() + 1)], axis=1)
        return np.asarray(1 - scores[np.arange(len(truth)), truth])
    return np.asarray(np.abs(columns["score"] - columns["truth"]))


def _mixed_settings(entries: Entries) -> Iterator[tuple[Cell, str]]:
    """One backbone with another precision or picture size in some of its tasks."""
    for name in ("precision", "size", "interpolation"):
        values: dict[str, dict[str, str]] = {}
        for (backbone, code), entry in entries.items():
            values.setdefault(backbone, {})[code] = str(entry.result.settings.get(name))
        for backbone, by_task in values.items():
            if len(set(by_task.values())) > 1:
                code = max(by_task, key=lambda c: (by_task[c] != by_task[min(by_task)], c))
                yield (
                    (backbone, code),
                    f"its {name} is {by_task[code]} here and {by_task[min(by_task)]} in other "
                    "tasks",
                )
