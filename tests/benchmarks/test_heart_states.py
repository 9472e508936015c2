"""The measurement of the search for heart states: both ways give the same states."""

from __future__ import annotations

import json

import numpy as np

from benchmarks.perf import heart_states
from etab.sounds.semimarkov import Spreads, Timing, duration_table, viterbi, viterbi_of_all


def test_the_plain_search_gives_the_same_states() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        emission = rng.normal(size=(140, 4))
        periods = rng.uniform(0.4, 1.2, 3)
        tables = [duration_table(Timing(p, 0.4 * p), Spreads()) for p in periods]
        wanted = heart_states.plain_viterbi(emission, tables)
        assert viterbi(emission, tables)[0].tolist() == wanted


def test_the_stored_measurement_says_whether_the_limits_are_kept() -> None:
    stored = json.loads((heart_states.HERE / "heart_states.json").read_text())
    fast = stored["slowest_ms"] <= heart_states.LIMIT_MS
    assert stored["kept"] == (fast and stored["ratio_of_batch"] >= heart_states.LEAST_RATIO)
    assert stored["same_answers"]
    assert fast


def test_recordings_searched_together_have_the_states_that_each_has_alone() -> None:
    rng = np.random.default_rng(1)
    emissions = []
    durations = []
    for n in (120, 400, 233, 121):
        emissions.append(rng.normal(size=(n, 4)))
        periods = rng.uniform(0.4, 1.3, int(rng.integers(1, 5)))
        durations.append([duration_table(Timing(p, 0.4 * p), Spreads()) for p in periods])
    together = viterbi_of_all(emissions, durations)
    for path, emission, tables in zip(together, emissions, durations, strict=True):
        states, score, hypothesis = viterbi(emission, tables)
        assert path[0].tolist() == states.tolist()
        assert (path[1], path[2]) == (score, hypothesis)
