"""The facts of a board that its pages show, as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from etab.leaderboard.board import VECTORS, Board, BoardRow
from etab.leaderboard.curves import CurvePoint
from etab.leaderboard.seen import seen_tasks
from etab.leaderboard.summary import Cards, data_notices, target_of
from etab.metrics import METRICS
from etab.results import Result
from etab.site.cards import card_facts
from etab.site.published import published_rows
from etab.storage.text import printable
from etab.tasks.menu import TASKS
from etab.tasks.words import input_words, protocol_words, target_words
from etab.types import Kind

# Facts of a row in ``board_facts`` that the table needs; the rest is on the page of the backbone.
_OF_ROW = (
    "backbone",
    "kind",
    "twin",
    "rank_low",
    "rank_high",
    "etab",
    "low",
    "high",
    "encoder_low",
    "encoder_high",
    "etab_p",
    "etab2022",
    "missing",
    "weights",
)
_OF_BOARD = (
    "title",
    "suite",
    "suite_version",
    "answers",
    "phantom",
    "protocol",
    "seed",
    "separation",
    "reliability",
    "precise",
    "categories",
    "parts",
    "people",
    "beside",
    "notes",
    "origins",
    "data",
)


def site_facts(
    board: Board, of_page: Mapping[str, Any], files: Mapping[str, str], cards: Cards
) -> dict[str, Any]:
    """Collect what the table and the pictures show.

    Args:
        board: The board.
        of_page: The board in plain values, as ``board_facts`` gives it.
        files: File name of the page of each backbone and task, by name or code.
        cards: Cards by the name of the dataset, as ``etab.datasets.cards()`` gives them.

    Returns:
        Plain JSON values; what does not exist is None.
    """
    facts: dict[str, Any] = {name: of_page[name] for name in _OF_BOARD}
    known = card_facts(board)
    facts["tasks"] = [
        {**_task_facts(task, board, cards), "file": files[task["code"]]}
        for task in of_page["tasks"]
    ]
    facts["metric_titles"] = _metric_titles(board)
    facts["rows"] = [
        {
            **{name: plain[name] for name in _OF_ROW},
            "cells": {code: _cell(cell) for code, cell in plain["cells"].items()},
            "card": known[row.backbone],
            "marks": _row_marks(row),
            "file": files[row.backbone],
        }
        for plain, row in zip(of_page["rows"], board.rows, strict=True)
    ]
    facts["weights"] = _default_weights(board)
    facts["published"] = published_rows(board)
    return facts


def _task_facts(task: Mapping[str, Any], board: Board, cards: Cards) -> dict[str, Any]:
    """The facts of a task that its table and its page show."""
    code = task["code"]
    protocols = _protocols(code, board)
    return {
        **task,
        "title": printable(task["title"]),
        **_task_marks(code, board),
        "protocols": protocols,
        "protocol_words": [
            protocol_words(name, task["unit"]) for name in protocols or [board.protocol]
        ],
        "metric_title": printable(task["metric_title"]),
        "metric_units": {name: printable(unit) for name, unit in task["metric_units"].items()},
        "asked": _asked(code, cards),
        "classes": _classes(code, cards),
        "positive": _positive(code, cards),
        "measured_in": _measured_in(code, cards),
        "data": _notices_of_task(code, board, cards),
    }


def _metric_titles(board: Board) -> dict[str, str]:
    """Titles of the metrics that cells of the board have; each task has its units."""
    names = {name for row in board.rows for cell in row.cells.values() for name in cell.metrics}
    return {name: METRICS[name].title for name in sorted(names) if name in METRICS}


def _cell(cell: Mapping[str, Any]) -> list[float | None]:
    """Value, interval of these probes, interval of this encoder, patients, patients left out."""
    encoder = cell["encoder"] or (None, None)
    return [
        cell["value"],
        cell["low"],
        cell["high"],
        *encoder,
        cell["patients"],
        cell["left_out"],
    ]


def _task_marks(code: str, board: Board) -> dict[str, Any]:
    """The reliability of a task, and whether it tells any two backbones apart."""
    reliability = board.reliabilities.get(code)
    if reliability is None:
        return {"reliability": None, "separates": None}
    separation = reliability.separation
    value = reliability.reliability
    return {
        "reliability": round(value, 3) if math.isfinite(value) else None,
        "separates": None if not separation.pairs else separation.told_apart > 0,
    }


def _protocols(code: str, board: Board) -> list[str]:
    """Protocols of the results of a task: some tasks count by another one than the board."""
    cells = [row.cells[code] for row in board.rows if code in row.cells]
    return sorted({cell.protocol for cell in cells})


def _measured_in(code: str, cards: Cards) -> str:
    """The unit of what a task predicts; "" where it has none."""
    target = target_of(code, cards)
    return printable(target.unit) if target else ""


def _classes(code: str, cards: Cards) -> list[str]:
    """Names of the classes of a task, in the order of its probabilities; empty for other kinds."""
    target = target_of(code, cards)
    if TASKS[code].kind is not Kind.CLASSES or target is None:
        return []
    return [printable(name) for name in target.classes]


def _positive(code: str, cards: Cards) -> str:
    """The class that the probability of a task of two classes is of; "" for other kinds."""
    target = target_of(code, cards)
    is_named = TASKS[code].kind is Kind.BINARY and target is not None and len(target.classes) == 2
    return printable(target.classes[1]) if target and is_named else ""


def _asked(code: str, cards: Cards) -> dict[str, str]:
    """The answer that a task predicts, and its input, in words."""
    task = TASKS[code]
    return {
        "target": printable(target_words(task, target_of(code, cards))),
        "input": printable(input_words(task)),
    }


def _notices_of_task(code: str, board: Board, cards: Cards) -> list[dict[str, str]]:
    """Title, licence and citation of the datasets of one task."""
    suite = replace(board.suite, tasks=(code,))
    return data_notices(replace(board, suite=suite, beside=()), cards)


def _row_marks(row: BoardRow) -> dict[str, Any]:
    """The warnings that a reader needs before comparing a row."""
    return {
        "seen": seen_tasks(row.cells),
        "vectors": row.kind == VECTORS,
        "lost": {code: _lost(cell) for code, cell in row.cells.items() if _lost(cell)},
    }


def _lost(cell: Result) -> int:
    """Recordings or patients without a prediction."""
    return len(cell.missing) + len(cell.bad.get("lost", []))


def _default_weights(board: Board) -> dict[str, dict[str, float]]:
    """Weights of tasks and categories from which the sliders start.

    The shares of a board decide them, so that weights given on the command line count too.
    """
    categories: dict[str, float] = {}
    for code, share in board.shares.items():
        categories[code[0]] = categories.get(code[0], 0.0) + share
    largest = max(categories.values())
    within: dict[str, float] = {}
    for code in board.shares:
        mates = [other for other in board.shares if other[0] == code[0]]
        top = max(board.shares[other] for other in mates)
        within[code] = round(board.shares[code] / top, 6) if top > 0 else 1.0
    return {
        "categories": {letter: round(share / largest, 6) for letter, share in categories.items()},
        "tasks": within,
    }


def curve_facts(points: Sequence[CurvePoint]) -> list[dict[str, Any]]:
    """Collect label efficiency: how values grow with the number of labelled patients.

    Args:
        points: Points of curves, as ``etab.leaderboard.curves.curve_points`` gives them.

    Returns:
        Plain JSON values of each point.
    """
    names = (
        "task",
        "backbone",
        "base",
        "labels",
        "rows",
        "metric",
        "value",
        "low",
        "high",
        "draws",
    )
    return [{name: getattr(point, name) for name in names} for point in points]


def _short(value: float | None) -> float | None:
    """A value with the decimals that a page shows, and one more."""
    return None if value is None else round(value, 4)


def backbone_facts(row: BoardRow, plain: Mapping[str, Any]) -> dict[str, Any]:
    """Collect what the page of one backbone shows beyond the table.

    Args:
        row: The row of the board.
        plain: The same row in ``board_facts``.

    Returns:
        Plain JSON values: the other metrics of each cell, and numbers of ``words`` for the head and for
        what the cell depends on. Most cells share these words.
    """
    words: list[str] = []
    cells: dict[str, Any] = {}
    for code, cell in plain["cells"].items():
        numbers = {}
        for name in ("head", "depends_on"):
            if cell[name] not in words:
                words.append(cell[name])
            numbers[name] = words.index(cell[name])
        main = row.cells[code].metric
        others = {n: _short(v) for n, v in (cell["metrics"] or {}).items() if n != main}
        cells[code] = {"metrics": others, **numbers}
    return {"backbone": row.backbone, "words": words, "cells": cells}
