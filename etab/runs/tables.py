"""From the answers of a head to the columns of a prediction table, a line for each row or unit that
is scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from etab.echo.surface import Outline
from etab.metrics import masks as metrics_masks
from etab.metrics.columns import score_columns
from etab.metrics.heart_sounds import STATE_COLUMNS, TIMING_COLUMNS
from etab.metrics.states import event_timing, frame_accuracy, segmentation
from etab.sounds.states import S1, S2
from etab.tasks.aggregate import reduce
from etab.tasks.base import Task
from etab.tasks.rows import Rows
from etab.types import Array, FloatArray, IntArray, Kind


def laid_out(
    task: Task, rows: Rows, outlines: Sequence[Outline], order: IntArray, answers: list[Any]
) -> tuple[list[int], list[str], dict[str, FloatArray]]:
    """Join the predictions of rows to the lines of a table, by the aggregation of the task.

    Args:
        task: The task.
        rows: The rows of the task.
        outlines: The true masks, prepared for scoring; empty for other kinds of tasks.
        order: The numbers of the predicted rows.
        answers: Blocks of predictions, together in this order.

    Returns:
        (positions in ``order``, items, columns) of the lines. A unit has the position of its first
        row. Columns that metrics need beside scores come from ``rows.extras``.
    """
    columns = _columns(task.kind, rows, outlines, order, answers)
    positions = list(range(len(order)))
    items = [rows.items[i] for i in order]
    if task.aggregate:
        units = [rows.units[i] for i in order]
        records = [rows.records[i] for i in order]
        places = [rows.places[i] for i in order] if rows.places else None
        positions, columns = reduce(task.aggregate, columns, units, records, places)
        items = [units[i] for i in positions]
    extras = {name: values[np.asarray(order)[positions]] for name, values in rows.extras.items()}
    return positions, items, {**columns, **extras}


def _columns(
    kind: Kind, rows: Rows, outlines: Sequence[Outline], order: IntArray, answers: list[Any]
) -> dict[str, Any]:
    if kind is Kind.MASK:
        masks = [m for part in answers for m in part]
        scores = [
            metrics_masks.mask_scores(outlines[i], m, spacing=rows.spacing[i] or (1.0, 1.0))
            for i, m in zip(order, masks, strict=True)
        ]
        return {name: np.array([s[name] for s in scores]) for name in metrics_masks.MASK_COLUMNS}
    if kind is Kind.STATES:
        predicted = [states for part in answers for states in part]
        table = [
            state_scores(rows.answers[i], states)
            for i, states in zip(order, predicted, strict=True)
        ]
        names = (*STATE_COLUMNS, *TIMING_COLUMNS)
        return {name: np.array([scores[name] for scores in table]) for name in names}
    truth = np.asarray(rows.answers)[order].astype(np.float64)
    score = np.concatenate([np.asarray(a, dtype=np.float64) for a in answers])
    return {"truth": truth, **score_columns(kind, score)}


def state_scores(truth: Array, predicted: Array) -> dict[str, float]:
    """Compute every score of the states of one recording.

    Args:
        truth: (k,) true states at 50 Hz, -1 where nothing is annotated.
        predicted: (k,) predicted states.
    """
    out = {"frame_accuracy": frame_accuracy(truth, predicted)}
    for tolerance in (60, 100):
        got = segmentation(truth, predicted, tolerance_ms=tolerance)
        out |= {f"f1_{tolerance}": got.f1, f"se_{tolerance}": got.se, f"ppv_{tolerance}": got.ppv}
    for name, state in (("s1", S1), ("s2", S2)):
        timing = event_timing(truth, predicted, state)
        out[f"{name}_found"] = float(timing.found)
        out[f"{name}_error_ms"] = timing.error_ms
        out[f"{name}_late_ms"] = timing.late_ms
    return out
