"""Timings of beats and durations of states, computed once for each recording.

Splits share recordings: with five divisions into five folds every recording is in the training part
of twenty splits and in the test part of five.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from etab.sounds.semimarkov import (
    BATCH,
    HEART_RATES,
    HOMOMORPHIC,
    STATE_COUNT,
    Spreads,
    Timing,
    beat_envelope,
    duration_table,
    heart_timings,
    viterbi_of_all,
)
from etab.sounds.states import DIASTOLE, S1, S2, STATE_RATE, SYSTOLE, runs
from etab.types import FloatArray, IntArray

# Fewest durations of every state that deviations are learned from.
_FEWEST = 10
# Largest error of a period, as a share of it, with which a timing counts as right.
_RIGHT = 0.1
# Shortest expected diastole in seconds.
_SHORTEST_DIASTOLE = 0.08

Durations = Mapping[int, Sequence[float]]
"""For each state: durations, or their distance from the durations that the timing predicts."""


def stretches(states: IntArray, state: int) -> list[float]:
    """Measure every whole stretch of a state: between its two neighbours in the cycle.

    Args:
        states: (n,) states at 50 Hz.
        state: The state, 0 to 3.

    Returns:
        Durations in seconds.

    Example:
        >>> stretches(np.repeat([0, 1, 2, 3, 0], 5), 1)
        [0.1]
    """
    return _whole_stretches(runs(states), state)


def _whole_stretches(rows: IntArray, state: int) -> list[float]:
    """Durations of the whole stretches of a state, from all stretches of a recording."""
    before = (state - 1) % STATE_COUNT
    after = (state + 1) % STATE_COUNT
    inner = rows[1:-1]
    is_whole = (inner[:, 0] == state) & (rows[:-2, 0] == before) & (rows[2:, 0] == after)
    frames = inner[:, 2] - inner[:, 1] + 1
    return [float(seconds) for seconds in frames[is_whole] / STATE_RATE]


@dataclass(slots=True)
class RecordingBeats:
    """The beats of all recordings of a task.

    Attributes:
        envelopes: (n_i, k) of each recording at 50 Hz.
        states: (n_i,) of each recording, -1 where not annotated.
        candidates: Largest number of timings of a recording.
        rates: Lowest and highest heart rate in beats per minute.
        beat: Name of the envelope that heart rates are read from.
        known: Timings by recording, as far as they were needed. No label enters them.
    """

    envelopes: Sequence[FloatArray]
    states: Sequence[IntArray]
    candidates: int = 1
    rates: tuple[float, float] = HEART_RATES
    beat: str = HOMOMORPHIC
    known: MutableMapping[int, tuple[Timing, ...]] = field(default_factory=dict)
    _durations: dict[int, Durations] = field(default_factory=dict)

    def timings(self, i: int) -> tuple[Timing, ...]:
        """Find the most likely timings of a recording, the best one first.

        Args:
            i: Index of the recording.

        Raises:
            UndefinedError: Its envelope is constant or shorter than 2 s.
        """
        if i not in self.known:
            envelope = beat_envelope(self.envelopes[i], self.beat)
            self.known[i] = heart_timings(envelope, candidates=self.candidates, rates=self.rates)
        return self.known[i]

    def spreads(self, rows: Sequence[int] | IntArray) -> Spreads:
        """Learn the durations of states from some recordings.

        Args:
            rows: Indexes of the training recordings.
        """
        return _spreads([self.durations(int(i)) for i in rows])

    def durations(self, i: int) -> Durations:
        """Measure the states of a recording.

        Args:
            i: Index of the recording.

        Returns:
            Seconds of S1 and S2, the seconds by which systole from S1 onset to S2 onset is longer
            than that of the timing, and diastole over its expected length, less 1. Systole and
            diastole are empty where the timing misses the period by a tenth or more.
        """
        if i not in self._durations:
            self._durations[i] = self._measured(i)
        return self._durations[i]

    def _measured(self, i: int) -> Durations:
        rows = runs(self.states[i])
        seconds = {state: _whole_stretches(rows, state) for state in range(STATE_COUNT)}
        measured = {S1: seconds[S1], SYSTOLE: [], S2: seconds[S2], DIASTOLE: []}
        if any(not of_state for of_state in seconds.values()):
            return MappingProxyType(measured)
        timing = self.timings(i)[0]
        means = {state: float(np.mean(of_state)) for state, of_state in seconds.items()}
        period = sum(means.values())
        if abs(period - timing.period) >= _RIGHT * period:
            return MappingProxyType(measured)
        onset = means[S1]
        for length in seconds[SYSTOLE]:
            measured[SYSTOLE].append(onset + length - timing.systole)
        expected = timing.period - onset - means[SYSTOLE] - means[S2]
        for length in seconds[DIASTOLE]:
            measured[DIASTOLE].append(length / max(expected, _SHORTEST_DIASTOLE) - 1)
        return MappingProxyType(measured)

    def search(self, emissions: Mapping[int, FloatArray], spreads: Spreads) -> dict[int, IntArray]:
        """Find the best states of recordings, searched together in batches.

        Args:
            emissions: (n_i, 4) log-likelihoods of frames, by index of the recording.
            spreads: Durations learned from training.

        Returns:
            The states (n_i,) by index of the recording.

        Raises:
            UndefinedError: A recording is too short for its heart rate.
        """
        states: dict[int, IntArray] = {}
        # Recordings of a batch have about the same length, so that few frames are searched in vain.
        order = sorted(emissions, key=lambda i: len(emissions[i]))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            tables = [
                [duration_table(timing, spreads) for timing in self.timings(i)] for i in batch
            ]
            paths = viterbi_of_all([emissions[i] for i in batch], tables)
            for i, (path, _, _) in zip(batch, paths, strict=True):
                states[i] = path
        return states


def _spreads(recordings: Sequence[Durations]) -> Spreads:
    """Durations learned from the measured states of training recordings."""
    together: dict[int, list[float]] = {state: [] for state in range(STATE_COUNT)}
    for durations in recordings:
        for state, values in durations.items():
            together[state] += values
    published = Spreads()
    if min(len(values) for values in together.values()) < _FEWEST:
        return published
    diastole = _robust(together[DIASTOLE])
    return Spreads(
        s1=_mean_and_deviation(together[S1]),
        s2=_mean_and_deviation(together[S2]),
        systole=_robust(together[SYSTOLE]),
        diastole=max(published.diastole, diastole),
        offset=float(np.median(together[SYSTOLE])),
    )


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values))


def _robust(values: Sequence[float]) -> float:
    """Standard deviation from the median absolute deviation, which single errors do not move."""
    deviations = np.abs(np.asarray(values) - np.median(values))
    return float(1.4826 * np.median(deviations))
