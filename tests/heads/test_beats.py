"""Timings and durations of recordings: measured once, right where the timing is right, in batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from etab import heads
from etab.errors import UndefinedError
from etab.heads.base import Memo
from etab.heads.states import beats
from etab.heads.states.beats import RecordingBeats
from etab.sounds.semimarkov import Spreads, Timing, duration_table, heart_timings, viterbi
from etab.sounds.states import STATE_RATE, runs
from etab.splits import row_splits
from etab.types import Features, FloatArray, IntArray, Kind, Target

CYCLE = (0.1, 0.2, 0.1, 0.4)


def beating(cycles: int = 12) -> IntArray:
    frames = [round(seconds * STATE_RATE) for seconds in CYCLE]
    return np.tile(np.repeat(np.arange(4), frames), cycles).astype(np.int8)


def envelopes_of(states: IntArray, seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    levels = np.array([1.0, 0.1, 0.7, 0.0])[states]
    return levels[:, None] + rng.normal(0, 0.05, (len(states), 4))


def recordings(n: int) -> tuple[list[FloatArray], list[IntArray]]:
    states = [beating(12 + i) for i in range(n)]
    return [envelopes_of(s, i) for i, s in enumerate(states)], states


def test_durations_are_measured_where_the_timing_is_right() -> None:
    x, y = recordings(3)
    known: dict[int, tuple[Timing, ...]] = {
        0: (Timing(0.8, 0.28),),
        1: (Timing(0.8, 0.28),),
        2: (Timing(0.96, 0.28),),
    }
    both = RecordingBeats(x, y, known=known)
    learned = both.spreads([0, 1])
    assert learned.s1 == pytest.approx((0.1, 0.0))
    assert learned.s2 == pytest.approx((0.1, 0.0))
    assert learned.offset == pytest.approx(0.02)
    assert both.durations(1)[3] == pytest.approx(np.zeros(12))
    # The period of the last one is wrong by a fifth: its timing teaches nothing.
    assert len(both.durations(2)[0]) == 13
    assert both.durations(2)[1] == []
    assert both.spreads([2]) == Spreads()


def test_recordings_are_searched_together_as_each_alone() -> None:
    x, y = recordings(4)
    lengths = (310, 120, 400, 233)
    x = [series[:n] for series, n in zip(x, lengths, strict=True)]
    y = [states[:n] for states, n in zip(y, lengths, strict=True)]
    several = RecordingBeats(x, y, candidates=3)
    rng = np.random.default_rng(0)
    # Not in the order of their lengths, in which they are searched.
    emissions = {i: rng.normal(size=(lengths[i], 4)) for i in (2, 3, 0)}
    paths = several.search(emissions, Spreads())
    assert set(paths) == {0, 2, 3}
    for i, emission in emissions.items():
        tables = [duration_table(t, Spreads()) for t in heart_timings(x[i][:, 0], candidates=3)]
        np.testing.assert_array_equal(paths[i], viterbi(emission, tables)[0])


@pytest.mark.parametrize("layered", [False, True])
def test_a_beat_is_read_once_for_all_splits_and_repeats(
    monkeypatch: pytest.MonkeyPatch, layered: bool
) -> None:
    x, y = recordings(6)
    people = np.array([f"p{i}" for i in range(6)])
    calls: list[int] = []

    def counted(envelope: FloatArray, **options: Any) -> Any:
        calls.append(len(envelope))
        return heart_timings(envelope, **options)

    monkeypatch.setattr(beats, "heart_timings", counted)
    layers = {"levels": [series[:, :2] for series in x]} if layered else {}
    features = Features({}, sequences=layers, series=x)
    memo = Memo()
    for seed in (0, 1):
        splits = row_splits(people, people, protocol="cv", n_fold=3, seed=seed)
        heads.head("hsmm").cross_fit(
            features,
            y,
            people,
            splits,
            Target("states", Kind.STATES),
            rng=np.random.default_rng(0),
            memo=memo,
        )
    assert sorted(calls) == sorted(len(series) for series in x)


def test_a_recording_without_a_beat_is_refused() -> None:
    flat = RecordingBeats([np.zeros((200, 4))], [beating(5)])
    with pytest.raises(UndefinedError, match="no heart rate"):
        flat.timings(0)


@pytest.mark.parametrize("n", [0, 1, 2, 50])
def test_stretches_cover_a_recording(n: int) -> None:
    states = np.random.default_rng(n).integers(-1, 2, n).astype(np.int8)
    rows = runs(states)
    assert rows.shape[1] == 3
    rebuilt = np.full(n, 9)
    for state, first, last in rows:
        rebuilt[first : last + 1] = state
    np.testing.assert_array_equal(rebuilt, states)
    assert (np.diff(rows[:, 0]) != 0).all()
