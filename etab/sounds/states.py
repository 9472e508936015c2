"""The states of the heart at 50 Hz, and the labels of heart sounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from etab.errors import CorruptFileError
from etab.types import Array, IntArray

# States in a second.
STATE_RATE = 50

S1 = 0
SYSTOLE = 1
S2 = 2
DIASTOLE = 3
UNANNOTATED = -1

# Names of the states 0 to 3.
STATES = ("S1", "systole", "S2", "diastole")
MURMUR = ("Present", "Unknown", "Absent")
OUTCOME = ("Abnormal", "Normal")

# Overlap of intervals in seconds that is tolerated.
OVERLAP_LIMIT = 0.02
_CYCLE = [S1, SYSTOLE, S2, DIASTOLE, S1]

# Start and end in seconds, and the state.
Interval = tuple[float, float, int]


def check_intervals(where: object, intervals: Sequence[Interval]) -> None:
    """Check that annotated intervals are in order and do not overlap.

    Published files overlap by up to 12 ms; up to 20 ms, one frame of states, is accepted.

    Args:
        where: The file, for errors.
        intervals: (start, end, state) of each row, in seconds.

    Raises:
        CorruptFileError: A row ends before it starts, or overlaps the row before it; the message
            names the row.
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
                f"({one[1]:g} s): rows are out of order or overlap. Restore it as published."
            )


def states_at(
    intervals: Sequence[Interval],
    n: int,
    rate: float,
) -> IntArray:
    """Compute the states of a sound at 0, 20, 40, ... ms.

    Args:
        intervals: (start, end, state), in seconds. Where two overlap slightly, the later one
            counts. Intervals are cut at the end of the sound.
        n: Number of samples of the sound.
        rate: Samples per second of the sound.

    Returns:
        (ceil(50 n / rate),) int8, -1 outside every interval.

    Example:
        >>> states_at([(0.0, 0.04, 0), (0.04, 0.1, 1)], n=600, rate=4000)
        array([ 0,  0,  1,  1,  1, -1, -1, -1], dtype=int8)
    """
    k = math.ceil(n * STATE_RATE / rate - 1e-9)
    out = np.full(k, UNANNOTATED, dtype=np.int8)
    for start, end, state in intervals:
        first = _frame_at(start)
        last = _frame_at(end)
        out[first:last] = state
    return out


def _frame_at(seconds: float) -> int:
    """The first frame at or after a time."""
    frame = math.ceil(seconds * STATE_RATE - 1e-6)
    return max(0, frame)


def heart_rate(intervals: Sequence[Interval]) -> float | None:
    """Compute the heart rate from annotated intervals.

    Args:
        intervals: (start, end, state), in seconds.

    Returns:
        Beats per minute, from the median time between S1 onsets of whole annotated cycles; None
        without such a cycle.

    Example:
        >>> beat = [(0.0, 0.1, 0), (0.1, 0.3, 1), (0.3, 0.4, 2), (0.4, 0.8, 3), (0.8, 0.9, 0)]
        >>> heart_rate(beat)
        75.0
    """
    not_empty = [row for row in intervals if row[1] > row[0]]
    beats = []
    for i in range(len(not_empty) - 4):
        five = not_empty[i : i + 5]
        joined = all(abs(b[0] - a[1]) <= OVERLAP_LIMIT for a, b in pairwise(five))
        if joined and [state for _, _, state in five] == _CYCLE:
            onset = five[0][0]
            next_onset = five[4][0]
            beats.append(next_onset - onset)
    if not beats:
        return None
    return 60 / float(np.median(beats))


def choose_start(states: IntArray, k: int) -> int:
    """Find the window with the most annotated frames.

    Args:
        states: (n,) states of a recording, -1 where not annotated.
        k: Length of the window in frames.

    Returns:
        First frame of the window, the earliest of equal ones; 0 where nothing is annotated.
    """
    if len(states) <= k:
        return 0
    is_annotated = states >= 0
    total = np.concatenate([[0], np.cumsum(is_annotated)])
    in_window = total[k:] - total[:-k]
    return int(in_window.argmax())


def cut_states(states: IntArray, start: int, k: int) -> IntArray:
    """Cut the states of a window.

    Args:
        states: (n,) states of a recording.
        start: First frame of the window.
        k: Length of the window in frames.

    Returns:
        (k,) states, -1 beyond the end of the recording. That holds also where the window repeats
        the sound, so that no beat counts twice.
    """
    inside = states[start : start + k]
    return np.pad(inside, (0, k - len(inside)), constant_values=UNANNOTATED)


def runs(states: Array) -> IntArray:
    """Find the stretches of one state.

    Args:
        states: (n,) states.

    Returns:
        (stretches, 3): state, first frame and last frame of each stretch, in order.

    Example:
        >>> runs(np.array([0, 0, 1]))
        array([[0, 0, 1],
               [1, 2, 2]])
    """
    states = np.asarray(states)
    if not len(states):
        return np.zeros((0, 3), dtype=np.int64)
    before_changes = np.flatnonzero(states[1:] != states[:-1])
    first = np.concatenate([[0], before_changes + 1])
    last = np.concatenate([before_changes, [len(states) - 1]])
    return np.stack([states[first], first, last], axis=1).astype(np.int64, copy=False)
