"""States of a heart sound of 30 s: our envelopes and search beside a plain Python Viterbi.

``python -m benchmarks.perf.heart_states`` makes heart sounds of 30 s at 4000 Hz, segments each by the
fixed model of ``timing_features`` (wavelet heart rate, up to five hypotheses of the beat), searches
the same likelihoods by loops over frames, states and durations in plain Python, and checks that both
give the same states. It writes the times, of one recording and of 64 searched together, to
``benchmarks/perf/heart_states.json``: processor times of one thread, the best of several rounds.
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from etab.backbones.sound.timing import segmenter
from etab.sounds.envelopes import envelopes
from etab.sounds.semimarkov import (
    BATCH,
    STATE_COUNT,
    WAVELET,
    beat_envelope,
    duration_table,
    heart_timings,
    viterbi,
    viterbi_of_all,
)
from etab.types import FloatArray

RATE = 4000
SECONDS = 30.0
HEART_RATES = (55, 75, 110, 150)
ROUNDS = 20
LIMIT_MS = 20.0
LEAST_RATIO = 30.0
HERE = Path(__file__).parent


def heart_sound(beats_per_minute: float, seed: int) -> FloatArray:
    """A heart sound (n,) with noise: bursts at 50 Hz and 70 Hz for S1 and S2."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(SECONDS * RATE)) / RATE
    sound = rng.normal(0, 0.02, len(t))
    period = 60 / beats_per_minute
    for beat in range(int(SECONDS / period)):
        onset = beat * period + rng.normal(0, 0.01)
        for start, length, frequency, level in (
            (onset, 0.10, 50, 1.0),
            (onset + 0.25 + 0.1 * period, 0.08, 70, 0.7),
        ):
            bump = np.exp(-0.5 * ((t - start - length / 2) / (length / 5)) ** 2)
            sound += level * bump * np.sin(2 * np.pi * frequency * t)
    return np.asarray(sound, dtype=np.float32)


def plain_viterbi(emission: FloatArray, tables: Sequence[FloatArray]) -> list[int]:
    """The likeliest states by loops in plain Python, as the algorithm is written down.

    Args:
        emission: (n, 4) log-likelihoods of frames.
        tables: For each hypothesis of the beat, (4, d) log-probabilities of durations.

    Returns:
        n states of the best hypothesis.
    """
    results = [_plain_search(emission.tolist(), table.tolist()) for table in tables]
    return max(results, key=lambda result: result[0])[1]


def _plain_search(emission: list[list[float]], table: list[list[float]]) -> tuple[float, list[int]]:
    """Log-likelihood and states of one hypothesis."""
    n = len(emission)
    longest = len(table[0])
    total = [[0.0] * (n + 1) for _ in range(STATE_COUNT)]
    for s in range(STATE_COUNT):
        for t in range(n):
            total[s][t + 1] = total[s][t] + emission[t][s]
    at_least = [_at_least(row) for row in table]
    value = [[-math.inf] * (n + 1) for _ in range(STATE_COUNT)]
    back = [[0] * (n + 1) for _ in range(STATE_COUNT)]
    best = (-math.inf, 0, 0)
    for t in range(1, n + 1):
        for s in range(STATE_COUNT):
            before = value[(s - 1) % STATE_COUNT]
            if t <= longest:
                value[s][t] = at_least[s][t - 1] + total[s][t]
                back[s][t] = t
            for d in range(1, min(longest, t - 1) + 1):
                reached = before[t - d] + table[s][d - 1] + total[s][t] - total[s][t - d]
                if reached > value[s][t]:
                    value[s][t] = reached
                    back[s][t] = d
    for s in range(STATE_COUNT):
        before = value[(s - 1) % STATE_COUNT]
        for d in range(1, longest + 1):
            end = before[n - d] + at_least[s][d - 1] + total[s][n] - total[s][n - d]
            if end > best[0]:
                best = (end, s, d)
    return best[0], _traced(back, best[1], best[2], n)


def _at_least(row: list[float]) -> list[float]:
    """Log-probabilities that a state lasts 1, 2, ... frames or more."""
    left = [sum(math.exp(p) for p in row[d:]) for d in range(len(row))]
    return [math.log(p) if p > 0 else -math.inf for p in left]


def _traced(back: list[list[int]], state: int, length: int, n: int) -> list[int]:
    """The states, from the end to the beginning."""
    states = [0] * n
    end = n
    while True:
        for t in range(end - length, end):
            states[t] = state
        end -= length
        if end == 0:
            return states
        state = (state - 1) % STATE_COUNT
        length = back[state][end]


def milliseconds(work: Callable[[], Any], rounds: int) -> float:
    """Best processor time of several rounds."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return 1000 * min(times)


def measure(beats_per_minute: float, rounds: int = ROUNDS) -> dict[str, float]:
    """Times of one recording, after a check that both ways give the same states.

    Args:
        beats_per_minute: Heart rate of the recording.
        rounds: Rounds of our way; the plain way runs once.

    Returns:
        Milliseconds by name, and the ratio of the two searches.

    Raises:
        SystemExit: If the two ways give different states.
    """
    sound = heart_sound(beats_per_minute, seed=int(beats_per_minute))
    model = segmenter(WAVELET)
    series = envelopes(sound, RATE)
    timings = heart_timings(beat_envelope(series, WAVELET), candidates=model.candidates)
    tables = [duration_table(timing, model.spreads) for timing in timings]
    emission = model.emission(series)
    if viterbi(emission, tables)[0].tolist() != plain_viterbi(emission, tables):
        raise SystemExit(f"The two searches differ at {beats_per_minute} beats per minute.")
    ours = milliseconds(lambda: viterbi(emission, tables), rounds)
    plain = milliseconds(lambda: plain_viterbi(emission, tables), 1)
    return {
        "beats_per_minute": beats_per_minute,
        "hypotheses": len(tables),
        "envelopes_and_states_ms": milliseconds(
            lambda: model.predict(envelopes(sound, RATE)), rounds
        ),
        "search_ms": ours,
        "plain_python_ms": plain,
        "ratio": plain / ours,
    }


def measure_batch(rounds: int = 5) -> dict[str, float]:
    """Times a recording where many are searched together, after the same check."""
    model = segmenter(WAVELET)
    emissions = []
    tables = []
    for i in range(BATCH):
        series = envelopes(heart_sound(HEART_RATES[i % len(HEART_RATES)], seed=i), RATE)
        timings = heart_timings(beat_envelope(series, WAVELET), candidates=model.candidates)
        tables.append([duration_table(timing, model.spreads) for timing in timings])
        emissions.append(model.emission(series))

    def plain() -> list[list[int]]:
        return [plain_viterbi(e, t) for e, t in zip(emissions, tables, strict=True)]

    together = viterbi_of_all(emissions, tables)
    if [path[0].tolist() for path in together] != plain():
        raise SystemExit("The search of a batch gives other states.")
    ours = milliseconds(lambda: viterbi_of_all(emissions, tables), rounds) / BATCH
    slow = milliseconds(plain, 1) / BATCH
    return {"recordings": BATCH, "search_ms": ours, "plain_python_ms": slow, "ratio": slow / ours}


def main() -> None:
    """Measure and write the file."""
    rows = [measure(rate) for rate in HEART_RATES]
    batch = measure_batch()
    worst = max(row["envelopes_and_states_ms"] for row in rows)
    ratio = batch["ratio"]
    result = {
        "what": f"a heart sound of {SECONDS:g} s at {RATE} Hz, one thread, processor time",
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "rows": [{name: round(value, 3) for name, value in row.items()} for row in rows],
        "slowest_ms": round(worst, 3),
        "limit_ms": LIMIT_MS,
        "batch": {name: round(value, 3) for name, value in batch.items()},
        "ratio_of_batch": round(ratio, 1),
        "least_ratio": LEAST_RATIO,
        "same_answers": True,
        "kept": bool(worst <= LIMIT_MS and ratio >= LEAST_RATIO),
    }
    text = json.dumps(result, indent=1)
    (HERE / "heart_states.json").write_text(f"{text}\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
