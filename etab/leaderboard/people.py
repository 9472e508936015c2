"""The unit that a board counts: patients, or recordings or examinations of unknown patients."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from etab.leaderboard.board import Board
from etab.leaderboard.summary import PATIENT, Cards
from etab.tasks.codes import parse_code
from etab.types import Array

RECORDING = "recording"


def units_of(board: Board, cards: Cards) -> dict[str, str]:
    """Find the unit that the patient ids of each test dataset stand for.

    A release may not name the patients of its recordings, and another file may, as the appendix of
    CinC 2016 does. With that file the unit is the patient.

    Args:
        board: The board, with the tables of predictions that are known.
        cards: Cards by the name of the dataset, as ``etab.datasets.cards()`` returns them.

    Returns:
        "patient", "recording" or "examination", by the name of the dataset; "patient" for a
        dataset without a card.
    """
    codes = (*board.suite.tasks, *(cell.task for cell in board.beside))
    units: dict[str, str] = {}
    for dataset in dict.fromkeys(parse_code(code).test_dataset for code in codes):
        unit = cards[dataset].unit if dataset in cards else PATIENT
        is_named = unit == RECORDING and _has_named_patients(board, dataset)
        units[dataset] = PATIENT if is_named else unit
    return units


def _has_named_patients(board: Board, dataset: str) -> bool:
    """Whether the patients of a dataset have other names than their recordings."""
    seen: set[str] = set()
    for (_, code), table in board.tables.items():
        # All backbones of a task have the same rows: the first table is enough.
        if code in seen or parse_code(code).test_dataset != dataset:
            continue
        seen.add(code)
        # The name of a row is that of its recording, followed by a window or frame. Pieces of one
        # recording count as one patient, who has the name of the first piece.
        recordings = {re.split("[@#]", item, maxsplit=1)[0] for item in table.items}
        patients = set(table.patients)
        if 2 * len(patients & recordings) < len(patients):
            return True
    return False


def patients_of(board: Board) -> dict[str, Array]:
    """List the test patients of a board.

    Args:
        board: The board, with its tables.

    Returns:
        Sorted names by dataset, over all tasks and backbones.
    """
    codes = {code for _, code in board.tables}
    dataset_of = {code: parse_code(code).test_dataset for code in codes}
    patients: dict[str, set[str]] = {}
    for (_, code), table in board.tables.items():
        patients.setdefault(dataset_of[code], set()).update(table.patients)
    return {dataset: np.array(sorted(names)) for dataset, names in patients.items()}


def plural_of(units: Iterable[str]) -> str:
    """Name the units that a whole board counts.

    Args:
        units: The units of its tasks; a unit may occur several times.

    Returns:
        The units in the plural, joined by "and".

    Example:
        >>> plural_of(["patient", "patient", "recording"])
        'patients and recordings'
    """
    return " and ".join(f"{unit}s" for unit in dict.fromkeys(units))
