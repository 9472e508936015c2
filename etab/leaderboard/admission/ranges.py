"""The columns and the ranges that a table of predictions may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from etab.errors import ResultError
from etab.metrics.columns import class_scores
from etab.metrics.heart_sounds import STATE_COLUMNS, TIMING_COLUMNS
from etab.metrics.masks import MASK_COLUMNS
from etab.results import Predictions, Result
from etab.types import FloatArray, Kind

FACT_COLUMNS = ("truth", "group", "outcome", "clean", "used")
"""Columns that hold facts of the data, which no backbone can change."""

_SHARES = {"dice", "jaccard", "frame_accuracy"}
_LARGEST_VALUE = 1e6
# Distances of outlines in mm, or in pixels where a data set has no spacing: no frame is so large.
_LONGEST_DISTANCE = 10_000.0
_TIMING_RANGES = {
    "found": (0, np.inf),
    "error_ms": (0, 100),
    "late_ms": (-100, 100),
}
_ROUNDING = 1e-5  # tables are written with 7 significant digits
_TOLERANCES_MS = (60, 100)

_Check = Callable[[Predictions], str]


def scorable_predictions(result: Result, folder: Path) -> Predictions:
    """Read the predictions of a result and make sure that every metric of their kind can read them.

    Args:
        result: The record.
        folder: The folder of results.

    Returns:
        The table, with the columns of its kind and every number in its range.

    Raises:
        ResultError: The table is missing, damaged, not the one of this record, or holds what
            ``out_of_range`` names.
    """
    table = result.predictions(folder)
    reason = out_of_range(table)
    if reason:
        raise ResultError(
            f"{result.task} with {result.backbone}: {reason}. Move {result.path(folder)} away and "
            "run the cell again."
        )
    return table


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
    return (
        _outside("hd95", columns["hd95"], 0, _LONGEST_DISTANCE)
        or _outside("msd", columns["msd"], 0, _LONGEST_DISTANCE)
        or _distances_of_other_masks(table)
    )


def _distances_of_other_masks(table: Predictions) -> str:
    """Distances that contradict the overlap: only equal masks have a Dice of 1 and no distance."""
    columns = table.columns
    are_equal = columns["dice"] == 1
    touch = columns["msd"] == 0
    wrong = (are_equal & (columns["hd95"] > 0)) | (are_equal != touch)
    if not wrong.any():
        return ""
    row = int(np.argmax(wrong))
    return (
        f"dice {columns['dice'][row]:g}, hd95 {columns['hd95'][row]:g} and msd "
        f"{columns['msd'][row]:g} of {table.items[row]} contradict each other"
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
    return _detections(table) or _timing(table)


def _detections(table: Predictions) -> str:
    """F1 is of its sensitivity and predictive value, and a wider tolerance finds no fewer sounds."""
    columns = table.columns
    for tolerance in _TOLERANCES_MS:
        se, ppv, f1 = (columns[f"{name}_{tolerance}"] for name in ("se", "ppv", "f1"))
        either = np.where(se + ppv > 0, se + ppv, 1.0)
        different = np.abs(f1 - 2 * se * ppv / either) > _ROUNDING
        if different.any():
            row = int(np.argmax(different))
            return (
                f"f1_{tolerance} is {f1[row]:g} for {table.items[row]}, whose sensitivity is "
                f"{se[row]:g} and predictive value {ppv[row]:g}: f1 is 2 se ppv / (se + ppv)"
            )
    narrow, wide = _TOLERANCES_MS
    for name in ("se", "ppv"):
        fewer = columns[f"{name}_{wide}"] < columns[f"{name}_{narrow}"] - _ROUNDING
        if fewer.any():
            row = int(np.argmax(fewer))
            return (
                f"{name}_{wide} is {columns[f'{name}_{wide}'][row]:g} for {table.items[row]}, and "
                f"{name}_{narrow} is {columns[f'{name}_{narrow}'][row]:g}: a wider tolerance finds "
                "no fewer sounds"
            )
    return ""


def _timing(table: Predictions) -> str:
    """Sounds that were found are counted, and are not later than their error."""
    columns = table.columns
    if not set(TIMING_COLUMNS) <= set(columns):
        return ""
    found = columns["s1_found"] + columns["s2_found"]
    wrong = (found % 1 != 0) | ((found > 0) != (columns["se_100"] > 0))
    for sound in ("s1", "s2"):
        late = np.abs(columns[f"{sound}_late_ms"])
        wrong |= columns[f"{sound}_found"] % 1 != 0
        wrong |= late > columns[f"{sound}_error_ms"] * (1 + _ROUNDING) + _ROUNDING
    if not wrong.any():
        return ""
    return (
        f"the timing of {table.items[int(np.argmax(wrong))]} cannot be: sounds that were found are "
        "whole numbers, none where se_100 is 0, and |late_ms| is at most error_ms"
    )


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
