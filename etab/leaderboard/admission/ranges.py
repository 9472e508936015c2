"""The columns and the ranges that a table of predictions may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from etab.metrics.columns import class_scores
from etab.metrics.heart_sounds import STATE_COLUMNS, TIMING_COLUMNS
from etab.metrics.masks import MASK_COLUMNS
from etab.results import Predictions
from etab.types import FloatArray, Kind

FACT_COLUMNS = ("truth", "group", "outcome", "clean", "used")
"""Columns that hold facts of the data, which no backbone can change."""

_SHARES = {"dice", "jaccard", "frame_accuracy"}
_LARGEST_VALUE = 1e6
_TIMING_RANGES = {
    "found": (0, np.inf),
    "error_ms": (0, 100),
    "late_ms": (-100, 100),
}
_ROUNDING = 1e-5  # tables are written with 7 significant digits

_Check = Callable[[Predictions], str]


def out_of_range(table: Predictions) -> str:
    """Say which numbers of a table cannot be.

    Args:
        table: The predictions of a cell.

    Returns:
        The first thing that is wrong: an unknown or missing column, a number outside the range of
        its column, or columns that contradict each other. Empty where nothing is.
    """
    return _wrong_columns(table) or _RANGES[table.kind](table)


def _wrong_columns(table: Predictions) -> str:
    wanted = _columns_of(table)
    absent = [name for name in wanted if name not in table.columns]
    if absent:
        return f"its predictions lack the column {absent[0]!r}"
    allowed = {*wanted, *FACT_COLUMNS} - ({"truth"} - set(wanted))
    if table.kind in (Kind.BINARY, Kind.CLASSES):
        allowed.add("answer")
    if table.kind is Kind.STATES:
        allowed |= set(TIMING_COLUMNS)
    unknown = [name for name in table.columns if name not in allowed]
    if unknown:
        return (
            f"its predictions hold the column {unknown[0][:40]!r}; a table of {table.kind} holds "
            f"{', '.join(sorted(allowed))}"
        )
    return ""


def _columns_of(table: Predictions) -> tuple[str, ...]:
    if table.kind is Kind.MASK:
        return tuple(MASK_COLUMNS)
    if table.kind is Kind.STATES:
        return tuple(STATE_COLUMNS)
    if table.kind is Kind.CLASSES:
        n_scores = sum(name.startswith("score_") for name in table.columns)
        return ("truth", *(f"score_{k}" for k in range(max(n_scores, 2))))
    return ("truth", "score")


def _masks(table: Predictions) -> str:
    columns = table.columns
    dice = columns["dice"]
    reason = _outside("dice", dice, 0, 1) or _outside("jaccard", columns["jaccard"], 0, 1)
    if reason:
        return reason
    different = np.abs(columns["jaccard"] - dice / (2 - dice)) > _ROUNDING
    if different.any():
        row = int(np.argmax(different))
        return (
            f"dice {dice[row]:g} and jaccard {columns['jaccard'][row]:g} of {table.items[row]} "
            "contradict each other: jaccard is dice / (2 - dice)"
        )
    return _outside("hd95", columns["hd95"], 0, np.inf) or _outside(
        "msd", columns["msd"], 0, np.inf
    )


def _states(table: Predictions) -> str:
    for name in STATE_COLUMNS:
        reason = _outside(name, table.columns[name], 0, 1)
        if reason:
            return reason
    for name in TIMING_COLUMNS:
        if name in table.columns:
            low, high = _TIMING_RANGES[name.partition("_")[2]]
            reason = _outside(name, table.columns[name], low, high)
            if reason:
                return reason
    return ""


def _values(table: Predictions) -> str:
    return _outside("score", table.columns["score"], -_LARGEST_VALUE, _LARGEST_VALUE)


def _classes(table: Predictions) -> str:
    scores = class_scores(table.kind, table.columns)
    for k in range(scores.shape[1]):
        reason = _outside("the probability of a class", scores[:, k], 0, 1)
        if reason:
            return reason
    uneven = np.abs(scores.sum(axis=1) - 1) > _ROUNDING
    if uneven.any():
        row = int(np.argmax(uneven))
        return f"the probabilities of {table.items[row]} sum to {scores[row].sum():g}; wanted 1"
    return _decided_classes(table, scores.shape[1])


def _decided_classes(table: Predictions, n_classes: int) -> str:
    answer = table.columns.get("answer")
    if answer is None or np.isin(answer, range(n_classes)).all():
        return ""
    return f"the column 'answer' holds classes other than 0 to {n_classes - 1}"


_RANGES: Mapping[Kind, _Check] = {
    Kind.MASK: _masks,
    Kind.STATES: _states,
    Kind.VALUE: _values,
    Kind.BINARY: _classes,
    Kind.CLASSES: _classes,
}


def _outside(
    name: str,
    values: FloatArray,
    low: float,
    high: float,
) -> str:
    wrong = (values < low - 1e-9) | (values > high + 1e-9)
    if not wrong.any():
        return ""
    limits = f"{low:g} or more" if np.isinf(high) else f"{low:g} to {high:g}"
    return f"{name} is {values[int(np.argmax(wrong))]:g} in a row; wanted {limits}"
