"""Processor time of the states of a heart sound of 30 s, beside a Viterbi search in plain Python."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.perf.heart_states import (
    HEART_RATES,
    LEAST_RATIO,
    RATE,
    SECONDS,
    heart_sound,
    plain_viterbi,
)
from benchmarks.perf.rows import Row, interleaved
from etab.backbones.sound.timing import segmenter
from etab.sounds.envelopes import envelopes
from etab.sounds.semimarkov import (
    WAVELET,
    beat_envelope,
    duration_table,
    heart_timings,
    viterbi_of_all,
)
from etab.types import FloatArray

RECORDINGS = 64
_ROUNDS = 5


def prepared(sound: FloatArray) -> tuple[FloatArray, list[FloatArray]]:
    """What the search needs: log-likelihoods of frames, and durations for each hypothesis.

    Args:
        sound: A heart sound (n,) at ``RATE``.
    """
    model = segmenter(WAVELET)
    series = envelopes(sound, RATE)
    timings = heart_timings(beat_envelope(series, WAVELET), candidates=model.candidates)
    tables = [duration_table(timing, model.spreads) for timing in timings]
    return model.emission(series), tables


def rows() -> Iterator[Row]:
    """Time the search of many recordings, and all steps from samples to states."""
    rates = [HEART_RATES[i % len(HEART_RATES)] for i in range(RECORDINGS)]
    sounds = [heart_sound(rate, seed=i) for i, rate in enumerate(rates)]
    needed = [prepared(sound) for sound in sounds]
    emissions = [emission for emission, _ in needed]
    tables = [table for _, table in needed]
    model = segmenter(WAVELET)

    def search() -> list[list[int]]:
        return [states.tolist() for states, *_ in viterbi_of_all(emissions, tables)]

    answers: list[list[int]] = []

    def plain() -> None:
        answers.extend(plain_viterbi(emission, table) for emission, table in needed)

    def whole() -> object:
        return [model.predict(envelopes(sound, RATE)) for sound in sounds]

    def only_envelopes() -> object:
        return [envelopes(sound, RATE) for sound in sounds]

    ours, all_steps, first_step = interleaved([search, whole, only_envelopes], rounds=_ROUNDS)
    (peer,) = interleaved([plain], rounds=1, warm=False)
    same = search() == answers
    yield Row(
        task=f"states of a recording of {SECONDS:g} s, {RECORDINGS} searched together",
        ours=ours / RECORDINGS,
        peer_name="the same search by loops in plain Python",
        peer=peer / RECORDINGS,
        wanted=LEAST_RATIO,
        agreement="the same states" if same else "OTHER STATES",
    )
    yield Row(
        task=f"a recording of {SECONDS:g} s from its samples to its states (aim: under 20 ms)",
        ours=all_steps / RECORDINGS,
        peer_name="",
        peer=None,
        limit_name="its envelopes alone",
        limit=first_step / RECORDINGS,
    )
