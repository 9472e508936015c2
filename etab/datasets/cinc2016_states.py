"""The states of the heart in CinC 2016: marks in ``*_StateAns.mat``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import CorruptFileError, LayoutError
from etab.readers.mat import read_cells
from etab.sounds.states import STATES, Interval, check_intervals

CINC2016_RATE = 2000


_NOISE = ("N", "S", "")


def read_state_ans(path: Path, n: int) -> tuple[Interval, ...]:
    """Read a ``*_StateAns.mat``.

    The marks are 1-based samples at 2 kHz with the name of a state. A state lasts until the next
    mark or the end. Names in brackets are noise and annotate nothing.

    Args:
        path: The file.
        n: Number of samples of the recording.

    Returns:
        (start in s, end in s, state index) in order.

    Raises:
        LayoutError: The file is missing.
        CorruptFileError: The file has another form, its marks run backwards, or a state is
            unknown.
    """
    if not path.is_file():
        raise LayoutError(
            f"{path} is missing. Restore it, or leave out the tasks that need states."
        )
    marks = _marks(path)
    out: list[Interval] = []
    for i, (sample, word) in enumerate(marks):
        end = marks[i + 1][0] if i + 1 < len(marks) else n + 1
        if word not in (*STATES, *_NOISE):
            raise CorruptFileError(
                f"{path}, mark {i + 1}: state {word!r}; possible: {', '.join(STATES)}, or N for "
                "noise."
            )
        if sample < 1 or end < sample:
            raise CorruptFileError(
                f"{path}, mark {i + 1}: from sample {sample} to {end}, out of order. Restore it."
            )
        if word in STATES:
            out.append(
                (
                    (sample - 1) / CINC2016_RATE,
                    (end - 1) / CINC2016_RATE,
                    STATES.index(word),
                )
            )
    check_intervals(path, out)
    return tuple(out)


def _marks(path: Path) -> list[tuple[int, str]]:
    """(1-based sample, word) of each row of 'state_ans'."""
    cells = read_cells(path, "state_ans")
    if cells.ndim != 2 or cells.shape[1] < 2:
        raise CorruptFileError(
            f"{path} holds no table 'state_ans' of samples and states: its shape is {cells.shape}. "
            "Restore it as published."
        )
    marks = []
    for number, row in enumerate(cells, start=1):
        sample = _single(row[0])
        # Beyond 2**53 a double no longer distinguishes one sample from the next.
        if not isinstance(sample, int | float) or not 0 <= sample < 2**53 or sample != int(sample):
            raise CorruptFileError(
                f"{path}, mark {number}: sample {str(sample)[:40]!r}; wanted a whole number. "
                "Restore it as published."
            )
        marks.append((int(sample), str(_single(row[1])).strip().strip("()")))
    return marks


def _single(cell: Any) -> Any:
    """The one number or word inside nested cells; "" where they are empty."""
    while isinstance(cell, np.ndarray):
        cell = cell.ravel()[0] if cell.size else ""
    return cell.item() if isinstance(cell, np.generic) else cell
