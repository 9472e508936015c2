"""Scores of a board in subgroups of its patients, as pages draw them and as a file keeps them.

A kept file holds scores of groups and no facts of single patients. It can be published where the
data cannot, and names the predictions that each score was computed from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etab.errors import DataNotFoundError, ResultError
from etab.files import read_json_file
from etab.leaderboard.board import Board
from etab.metrics.clinical import Readout
from etab.storage.text import printable

FORMAT = "etab subgroups 1"
"""The marker in a kept file; a file without it is refused."""

# Read-outs of the subgroups of each cell, by backbone and task code.
Subgroups = Mapping[tuple[str, str], Sequence[Readout]]

_NUMBERS = 4

# Groups with an order of their own; all others stay as they come.
_ASCENDING = (
    *("neonate", "infant", "child", "adolescent", "young adult", "adult"),
    *("below 65", "65 or more"),
    *("below 45", "45 to 60", "above 60"),
    *("poor", "medium", "good"),
)


def subgroup_facts(board: Board, code: str, subgroups: Subgroups) -> dict[str, Any] | None:
    """Collect the scores of a task in subgroups.

    Args:
        board: The board.
        code: Code of the task.
        subgroups: Read-outs by backbone and task code, each named "sex: female".

    Returns:
        Plain values: ``groups`` (names of all groups) and ``rows`` (by backbone, for each group its
        value, the two ends of its interval and its number of patients; None where a backbone has
        no such group). None for a task without subgroups.
    """
    of_task = {row.backbone: subgroups.get((row.backbone, code), ()) for row in board.rows}
    found = dict.fromkeys(group.name for table in of_task.values() for group in table)
    factors = list(dict.fromkeys(name.partition(": ")[0] for name in found))
    names = sorted(found, key=lambda name: _place(name, factors))
    if not names:
        return None
    rows: dict[str, list[list[float | None] | None]] = {}
    for backbone, table in of_task.items():
        by_name = {group.name: _numbers(group) for group in table}
        if by_name:
            rows[backbone] = [by_name.get(name) for name in names]
    return {"groups": [printable(name) for name in names], "rows": rows}


def _place(name: str, factors: Sequence[str]) -> tuple[int, int]:
    """Where a group stands: factors as they come, ages and rates from the lowest to the highest."""
    factor, _, group = name.partition(": ")
    return factors.index(factor), _ASCENDING.index(group) if group in _ASCENDING else -1


def _numbers(group: Readout) -> list[float | None]:
    numbers = (group.value, group.low, group.high)
    return [*(_rounded(number) for number in numbers), group.n]


def _rounded(value: float | None) -> float | None:
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def kept_subgroups(board: Board, subgroups: Subgroups, notes: Sequence[str] = ()) -> str:
    """Write the scores of subgroups as a file that a later site can be made with.

    Args:
        board: The board.
        subgroups: Read-outs by backbone and task code.
        notes: What a reader must know about the data that define the groups.

    Returns:
        JSON, a line for each cell.
    """
    lines: list[str] = []
    for row in board.rows:
        for code, cell in row.cells.items():
            table = subgroups.get((row.backbone, code), ())
            if not table:
                continue
            content = {
                "backbone": row.backbone,
                "task": code,
                "predictions_sha256": cell.predictions_sha256,
                "groups": [[group.name, *_numbers(group)] for group in table],
            }
            lines.append(json.dumps(content, allow_nan=False))
    joined = ",\n".join(lines)
    listed = json.dumps(list(notes))
    return f'{{"format": "{FORMAT}", "notes": {listed}, "cells": [\n{joined}\n]}}\n'


@dataclass(frozen=True)
class KeptSubgroups:
    """The content of a file of ``kept_subgroups`` for a board.

    Attributes:
        cells: Read-outs by backbone and task code.
        notes: What a reader must know about the data that define the groups.
        n_other: Number of cells of the board that the file holds for other predictions; these are
            left out.
    """

    cells: dict[tuple[str, str], list[Readout]]
    notes: tuple[str, ...]
    n_other: int


def read_subgroups(path: Path, board: Board) -> KeptSubgroups:
    """Read a file of ``kept_subgroups``.

    Args:
        path: The file.
        board: The board whose site is made.

    Returns:
        The cells of the board that the file holds.

    Raises:
        DataNotFoundError: If the file cannot be read.
        ResultError: If it is not such a file, or damaged.
    """
    try:
        content = read_json_file(path)
    except OSError as error:
        raise DataNotFoundError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError:
        content = None
    digests = {
        (row.backbone, code): cell.predictions_sha256
        for row in board.rows
        for code, cell in row.cells.items()
    }
    subgroups: dict[tuple[str, str], list[Readout]] = {}
    n_other = 0
    for name, digest, table in _cells(content, path):
        if name not in digests:
            continue
        if digest != digests[name]:
            n_other += 1
            continue
        subgroups[name] = table
    notes = _notes(content, path)
    return KeptSubgroups(subgroups, notes if subgroups else (), n_other)


def _notes(content: Any, path: Path) -> tuple[str, ...]:
    """The notes of a file; a file of an earlier version has none."""
    notes = content.get("notes", [])
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise ResultError(f"{path} is damaged: its notes are not a list of sentences.")
    return tuple(notes)


def _cells(content: Any, path: Path) -> Iterator[tuple[tuple[str, str], str, list[Readout]]]:
    """Names, digest and read-outs of each cell of a file."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ResultError(
            f"{path} is not a file of subgroups. Give --subgroups the folder of the data, or the "
            "file data/subgroups.json of a site that was made with it."
        )
    try:
        for cell in content["cells"]:
            table = [_readout(group) for group in cell["groups"]]
            yield (str(cell["backbone"]), str(cell["task"])), cell["predictions_sha256"], table
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ResultError(
            f"{path} is damaged: a cell does not list its groups with {_NUMBERS} numbers each."
        ) from error


def _readout(group: Sequence[Any]) -> Readout:
    name, value, low, high, n = group
    for number in (value, low, high):
        if number is not None and not isinstance(number, int | float):
            raise TypeError(number)
    return Readout(str(name), value, low, high, int(n))
