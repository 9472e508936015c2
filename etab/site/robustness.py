"""How the scores of a board move under choices that have little to do with an encoder.

What is drawn is what the results hold: the value of each division of the patients into folds, and
the differences of other results of the same cells (``etab.leaderboard.sensitivity``).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from etab.errors import EtabError
from etab.leaderboard.board import Board
from etab.leaderboard.variants import DATA, FOLD_SEED, HEAD, PRECISION
from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows
from etab.results import Predictions

# Choices whose effect is a difference from the value of another result.
_OF_OTHER_RESULTS = (HEAD, PRECISION, DATA)


def robustness_facts(board: Board) -> dict[str, Any]:
    """Collect how the values of a board move.

    Args:
        board: The board, with its tables.

    Returns:
        Plain values by choice. ``"fold seed"``: by backbone and task code, the value of each
        division into folds. ``"head"``, ``"precision"`` and ``"data"``: by backbone and task code,
        what the other result is in words, and its value minus that of the board. A choice of which
        no result shows anything is absent.
    """
    facts: dict[str, Any] = {}
    repeated = {row.backbone: _values_of_repeats(board, row.backbone) for row in board.rows}
    repeated = {backbone: values for backbone, values in repeated.items() if values}
    if repeated:
        facts[FOLD_SEED] = repeated
    for choice in _OF_OTHER_RESULTS:
        differences = _differences(board, choice)
        if differences:
            facts[choice] = differences
    return facts


def _values_of_repeats(board: Board, backbone: str) -> dict[str, list[float]]:
    """The values of each division into folds, by task code."""
    values: dict[str, list[float]] = {}
    for code in board.suite.tasks:
        table = board.tables.get((backbone, code))
        if table is None or len(set(table.repeats)) < 2:
            continue
        of_repeats = _of_repeats(_metric_of(board, backbone, code), table)
        if np.isfinite(of_repeats).all():
            values[code] = [float(f"{value:.6g}") for value in of_repeats]
    return values


def _metric_of(board: Board, backbone: str, code: str) -> str:
    row = next(row for row in board.rows if row.backbone == backbone)
    return row.cells[code].metric


def _of_repeats(metric: str, table: Predictions) -> list[float]:
    rows = ScoredRows.of(table)
    values: list[float] = []
    for part in rows.of_repeats():
        try:
            values.append(METRICS[metric].value(rows.select(part)))
        except EtabError:
            values.append(float("nan"))
    return values


def _differences(board: Board, choice: str) -> dict[str, dict[str, list[Any]]]:
    """Words and difference of the other result of each cell, where there is one."""
    differences: dict[str, dict[str, list[Any]]] = {}
    for row in board.rows:
        for code, known in row.sensitivities.items():
            for one in known:
                if one.choice == choice and one.difference is not None:
                    of_row = differences.setdefault(row.backbone, {})
                    of_row[code] = [one.words, float(f"{one.difference:.6g}")]
    return differences
