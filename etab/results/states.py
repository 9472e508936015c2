"""The predicted heart states of a few recordings of a cell, in one file beside its record.

A table of predictions holds the scores of states, not the states. The file keeps the states of the
recordings that a page shows, as CSV text of three columns:

* ``item`` and ``repeat`` name a row of the table of predictions;
* ``states`` lists the runs of equal states at 50 Hz, ``STATE:LENGTH`` with spaces between them.

No score follows from the file alone: who shows it compares it with the scores of the table.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

import numpy as np

from etab.errors import ResultError
from etab.files import read_text_file
from etab.results.masks import SAMPLE, sample_rows
from etab.results.predictions import Predictions
from etab.types import Array

SHOWN_SCORE = "f1_100"
"""Column by which the best, the median and the worst recording are chosen."""

LARGEST_STATES = 4 << 20
"""Largest size in bytes of a file of states."""

_HEADER = ["item", "repeat", "states"]
# A recording of an hour has so many states at 50 Hz.
_MOST_STATES = 3600 * 50
# Rows that a run keeps: the stated sample and three cases. A line of 20 bytes can hold an hour of states.
_MOST_ROWS = SAMPLE + 3


def states_path(record: Path) -> Path:
    """Make the path of the states beside a record.

    Args:
        record: Path of the record.

    Returns:
        The path, which ends in ``.states.csv``.
    """
    return record.with_suffix(".states.csv")


def shown_cases(table: Predictions) -> dict[str, str]:
    """Choose the best, the median and the worst recording of a cell of states.

    Recordings are sorted by their F1 of S1 and S2 within 100 ms, the mean over the repeats of the
    folds; ties go by name.

    Args:
        table: The predictions of the cell.

    Returns:
        Names of recordings by "best", "median" and "worst".
    """
    items, rows = np.unique(table.items, return_inverse=True)
    scores = np.bincount(rows, weights=table.columns[SHOWN_SCORE]) / np.bincount(rows)
    order = np.lexsort((items, -scores))
    positions = {"best": 0, "median": (len(order) - 1) // 2, "worst": len(order) - 1}
    return {case: str(items[order[position]]) for case, position in positions.items()}


def rows_with_states(table: Predictions) -> list[int]:
    """List the rows of a table whose states are kept.

    Args:
        table: The predictions of a cell of states.

    Returns:
        The indexes, ascending: the stated sample of 20 rows, which nobody can choose, and the
        recordings of ``shown_cases`` in the first repeat.
    """
    first_repeat = min(table.repeats)
    shown = set(shown_cases(table).values())
    rows = set(sample_rows(table.items, table.repeats))
    for row, item in enumerate(table.items):
        if item in shown and table.repeats[row] == first_repeat:
            rows.add(row)
    return sorted(rows)


def states_text(table: Predictions) -> str:
    """Write the states of the kept rows as CSV text.

    Args:
        table: Predictions that were just computed, with the states of every row.

    Returns:
        The text of the file.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_HEADER)
    for row in rows_with_states(table):
        writer.writerow([table.items[row], table.repeats[row], _runs_text(table.states[row])])
    return out.getvalue()


def _runs_text(states: Array) -> str:
    runs = [(state, len(list(same))) for state, same in groupby(states.tolist())]
    return " ".join(f"{state}:{length}" for state, length in runs)


def read_kept_states(path: Path) -> Mapping[tuple[str, int], Array]:
    """Read a file of states.

    Args:
        path: The file.

    Returns:
        States (k,) at 50 Hz by the name of the recording and the number of the repeat.

    Raises:
        ResultError: If the file cannot be read, is too large, or holds something else.
    """
    if path.is_symlink() or not path.is_file():
        raise ResultError(f"{path.name} is not an ordinary file.")
    if path.stat().st_size > LARGEST_STATES:
        raise ResultError(f"{path.name} is larger than {LARGEST_STATES >> 20} MiB.")
    kept: dict[tuple[str, int], Array] = {}
    try:
        lines = list(csv.reader(io.StringIO(read_text_file(path, LARGEST_STATES))))
        if lines[:1] != [_HEADER]:
            raise ValueError(f"its first line is not {','.join(_HEADER)}")
        if len(lines) > 1 + _MOST_ROWS:
            raise ValueError(f"it holds {len(lines) - 1} rows; a run keeps at most {_MOST_ROWS}")
        for item, repeat, runs in lines[1:]:
            kept[item, int(repeat)] = _states_of(runs)
    except (OSError, ValueError, csv.Error) as error:
        reason = str(error)[:200]
        raise ResultError(
            f"{path.name} is not a file of states, or is damaged: {reason}."
        ) from error
    return kept


def _states_of(runs: str) -> Array:
    """States from the text of their runs."""
    parts: list[Array] = []
    total = 0
    for run in runs.split():
        state, _, length = run.partition(":")
        count = int(length)
        total += count
        if int(state) not in range(-1, 4) or not 0 < count <= _MOST_STATES or total > _MOST_STATES:
            raise ValueError(f"a run is {run[:20]!r}; wanted STATE:LENGTH")
        parts.append(np.full(count, int(state), dtype=np.int8))
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int8)
