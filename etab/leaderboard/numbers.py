"""Every number of a board without rounding, for programs that read or check it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from etab.leaderboard.board import Board, BoardRow
from etab.leaderboard.summary import (
    Cards,
    category_letters,
    category_mean,
    part_mean,
    score_parts,
    target_of,
)
from etab.tasks.menu import TASKS
from etab.tasks.words import metric_unit


def board_numbers(board: Board, cards: Cards) -> dict[str, Any]:
    """Collect every number of a board.

    Args:
        board: The board.
        cards: Cards by the name of the dataset, as ``etab.datasets.cards()`` gives them; they hold
            the units of what is predicted.

    Returns:
        Plain values for JSON, unrounded. What does not exist is None. Matrices have the order of
        ``ranked``; in ``told_apart`` the row is told apart from the column and above it.
        ``reliability`` has the letters of the categories and the codes of the tasks.

    Example:
        >>> from pathlib import Path
        >>> from etab.leaderboard import rank_folder
        >>> from etab.leaderboard.suites import Suite
        >>> suite = Suite(name="ef", version=1, tasks=("b0-A4-C",))
        >>> numbers = board_numbers(rank_folder(Path("benchmarks/results"), suite), {})
        >>> numbers["ranked"][0], numbers["p_better"][0][0]
        ('vits14_saliency', 0.5)
    """
    facts = {
        "suite": board.suite.name,
        "suite_version": board.suite.version,
        "protocol": board.protocol,
        "seed": board.seed,
        "phantom": board.phantom,
        "shares": dict(board.shares),
        "ranked": [row.backbone for row in board.rows if row.ranked],
        "rows": [_of_row(row, board, cards) for row in board.rows],
        "p_better": board.p_better,
        "told_apart": board.beats,
        "encoder_half": board.encoder_half,
        "probe_half": board.probe_half,
        "separation": asdict(board.separation),
        "reliability": {name: asdict(known) for name, known in board.reliabilities.items()},
    }
    return {name: _existing(fact) for name, fact in facts.items()}


def board_json(board: Board, cards: Cards) -> str:
    """Write ``board_numbers`` as JSON text.

    Args:
        board: The board.
        cards: Cards by the name of the dataset.

    Returns:
        The text.
    """
    return json.dumps(board_numbers(board, cards), indent=1, allow_nan=False) + "\n"


def _of_row(row: BoardRow, board: Board, cards: Cards) -> dict[str, Any]:
    return {
        "backbone": row.backbone,
        "kind": row.kind,
        "rank_low": row.rank_low,
        "rank_high": row.rank_high,
        "etab": row.etab,
        "low": row.low,
        "high": row.high,
        "encoder_low": row.encoder_low,
        "encoder_high": row.encoder_high,
        "etab_p": row.etab_p,
        "etab2022": row.etab2022,
        "categories": {
            letter: category_mean(row, letter, board) for letter in category_letters(board)
        },
        "parts": {part: part_mean(row, part, board) for part in score_parts(board)},
        "cells": {code: _of_cell(code, row, cards) for code in row.cells},
    }


def _of_cell(code: str, row: BoardRow, cards: Cards) -> dict[str, Any]:
    cell = row.cells[code]
    ends: Sequence[float | None] = row.encoder_intervals.get(code, (None, None))
    return {
        "metric": cell.metric,
        "unit": metric_unit(cell.metric, target_of(code, cards)),
        "head": cell.head,
        "protocol": cell.protocol,
        "value": cell.value,
        "low": cell.low,
        "high": cell.high,
        "encoder_low": ends[0],
        "encoder_high": ends[1],
        "anchored": TASKS[code].anchored(cell.value),
        "patients": cell.n_patients,
        "depends_on": {one.choice: one.difference for one in row.sensitivities.get(code, ())},
    }


def _existing(facts: Any) -> Any:
    """Replace numbers that are not finite by None."""
    if isinstance(facts, float):
        return facts if math.isfinite(facts) else None
    if isinstance(facts, dict):
        return {name: _existing(fact) for name, fact in facts.items()}
    if isinstance(facts, list | tuple):
        return [_existing(fact) for fact in facts]
    return facts
