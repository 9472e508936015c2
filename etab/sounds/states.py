"""The states of the heart at 50 Hz, and the labels of heart sounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from etab.errors import CorruptFileError
from etab.types import Array, IntArray

STATE_RATE = 50


S1, SYSTOLE, S2, DIASTOLE, UNANNOTATED = 0, 1, 2, 3, -1


OVERLAP_LIMIT = 0.02


Interval = tuple[float, float, int]


def check_intervals(where: object, intervals: Sequence[Interval]) -> None:
    """Raise CorruptFileError naming the row that runs backwards or overlaps the one before.

    Published files overlap by up to 12 ms; more than 20 ms, a frame of states, is refused.
    """
    for number, (start, end, _) in enumerate(intervals, start=1):
        if not (0 <= start <= end and math.isfinite(end)):
            raise CorruptFileError(
                f"{where}, row {number}: from {start:g} s to {end:g} s. Restore it as published."
            )
    for number, (one, two) in enumerate(pairwise(intervals), start=2):
        if two[0] < one[1] - OVERLAP_LIMIT:
            raise CorruptFileError(
                f"{where}, row {number} starts at {two[0]:g} s, before the row above ends "
                f"({one[1]:g} s): rows are out "
                "of order or overlap. Restore it as published."
            )


def states_at(
    intervals: Sequence[Interval],
    n: int,
    rate: float,
) -> IntArray:
    """States at 0, 20, 40, ... ms of ``n`` samples at ``rate`` Hz: (k,) int8, -1 outside every
    interval.

    intervals: (start s, end s, state); where two overlap by a hair the later one counts. What lies
        beyond the sound is cut.
    """
    k = math.ceil(n * STATE_RATE / rate - 1e-9)
    out = np.full(k, UNANNOTATED, dtype=np.int8)
    for start, end, state in intervals:
        first, last = (max(0, math.ceil(t * STATE_RATE - 1e-6)) for t in (start, end))
        out[first:last] = state
    return out


def heart_rate(intervals: Sequence[Interval]) -> float | None:
    """Beats per minute from the median time between S1 onsets of whole annotated cycles; None
    without a cycle.
    """
    whole = [row for row in intervals if row[1] > row[0]]
    beats = []
    for i in range(len(whole) - 4):
        five = whole[i : i + 5]
        joined = all(abs(b[0] - a[1]) <= OVERLAP_LIMIT for a, b in pairwise(five))
        if joined and [state for _, _, state in five] == [S1, SYSTOLE, S2, DIASTOLE, S1]:
            beats.append(five[4][0] - five[0][0])
    return 60 / float(np.median(beats)) if beats else None


def choose_start(states: IntArray, k: int) -> int:
    """First of the windows of ``k`` frames that hold the most annotated frames; 0 where nothing is
    annotated.
    """
    if len(states) <= k:
        return 0
    total = np.concatenate([[0], np.cumsum(states >= 0)])
    return int((total[k:] - total[:-k]).argmax())


def cut_states(states: IntArray, start: int, k: int) -> IntArray:
    """``k`` states from frame ``start`` on; beyond the end -1, also where the sound is repeated: no
    beat counts twice.
    """
    there = states[start : start + k]
    return np.pad(there, (0, k - len(there)), constant_values=UNANNOTATED)


MURMUR = ("Present", "Unknown", "Absent")


OUTCOME = ("Abnormal", "Normal")


STATES = ("S1", "systole", "S2", "diastole")


def runs(states: Array) -> IntArray:
    """Stretches of one state: rows (state, first frame, last frame), in order."""
    states = np.asarray(states)
    edges = [0, *(np.flatnonzero(np.diff(states)) + 1).tolist(), len(states)]
    return np.array(
        [(int(states[a]), a, b - 1) for a, b in pairwise(edges) if b > a], dtype=np.int64
    ).reshape(-1, 3)
