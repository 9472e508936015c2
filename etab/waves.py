"""Windows of sound, their rate, their states at 50 Hz, and their log-mel picture: pure functions, no files, no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np

from etab.errors import CorruptFileError, UnsupportedOptionError
from etab.types import FloatArray, IntArray

STATE_RATE = 50
S1, SYSTOLE, S2, DIASTOLE, UNANNOTATED = 0, 1, 2, 3, -1
OVERLAP_LIMIT = 0.02
RATE_LIMITS = (100, 192_000)
MEL_BANDS, MEL_LOW, MEL_HIGH = 64, 25.0, 1000.0

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
                f"{where}, row {number} starts at {two[0]:g} s, before the row above ends ({one[1]:g} s): rows are out "
                "of order or overlap. Restore it as published."
            )


def states_at(intervals: Sequence[Interval], n: int, rate: float) -> IntArray:
    """States at 0, 20, 40, ... ms of ``n`` samples at ``rate`` Hz: (k,) int8, -1 outside every interval.

    intervals: (start s, end s, state); where two overlap by a hair the later one counts. What lies beyond the sound is cut.
    """
    k = math.ceil(n * STATE_RATE / rate - 1e-9)
    out = np.full(k, UNANNOTATED, dtype=np.int8)
    for start, end, state in intervals:
        first, last = (max(0, math.ceil(t * STATE_RATE - 1e-6)) for t in (start, end))
        out[first:last] = state
    return out


def heart_rate(intervals: Sequence[Interval]) -> float | None:
    """Beats per minute from the median time between S1 onsets of whole annotated cycles; None without a cycle."""
    whole = [row for row in intervals if row[1] > row[0]]
    beats = []
    for i in range(len(whole) - 4):
        five = whole[i : i + 5]
        joined = all(abs(b[0] - a[1]) <= OVERLAP_LIMIT for a, b in pairwise(five))
        if joined and [state for _, _, state in five] == [S1, SYSTOLE, S2, DIASTOLE, S1]:
            beats.append(five[4][0] - five[0][0])
    return 60 / float(np.median(beats)) if beats else None


def check_rate(fps: float | None) -> int | None:
    """The rate in whole Hz that ``fps`` asks for, None for a recording's own; raises UnsupportedOptionError."""
    low, high = RATE_LIMITS
    if fps is None:
        return None
    if (
        isinstance(fps, bool)
        or not isinstance(fps, int | float)
        or fps != int(fps)
        or not low <= fps <= high
    ):
        raise UnsupportedOptionError(
            f"fps is {fps!r}; for sound: {low} to {high} Hz, whole, or None for the own rate."
        )
    return int(fps)


def resample(samples: FloatArray, rate: int, wanted: int) -> FloatArray:
    """Sound at another rate, through a zero-phase low-pass (polyphase) filter at the lower of the two Nyquist rates."""
    if rate == wanted:
        return samples
    from scipy.signal import resample_poly

    ratio = Fraction(wanted, rate)
    made = resample_poly(samples, ratio.numerator, ratio.denominator, padtype="line")
    return np.asarray(made, dtype=np.float32)


def choose_start(states: IntArray, k: int) -> int:
    """First of the windows of ``k`` frames that hold the most annotated frames; 0 where nothing is annotated."""
    if len(states) <= k:
        return 0
    total = np.concatenate([[0], np.cumsum(states >= 0)])
    return int((total[k:] - total[:-k]).argmax())


def cut(samples: FloatArray, start: int, n: int, *, padding: bool) -> FloatArray:
    """``n`` samples from ``start`` on; beyond the end zeros (``padding``), or the recording again from its beginning."""
    there = samples[start : start + n]
    if len(there) == n:
        return there
    if padding:
        return np.pad(there, (0, n - len(there)))
    return samples[(start + np.arange(n)) % len(samples)]


def cut_states(states: IntArray, start: int, k: int) -> IntArray:
    """``k`` states from frame ``start`` on; beyond the end -1, also where the sound is repeated: no beat counts twice."""
    there = states[start : start + k]
    return np.pad(there, (0, k - len(there)), constant_values=UNANNOTATED)


def mel_bank(
    rate: int, n_fft: int, *, bands: int = MEL_BANDS, low: float = MEL_LOW, high: float = MEL_HIGH
) -> FloatArray:
    """Triangular mel filters (bands, n_fft // 2 + 1) from ``low`` to the lower of ``high`` and the Nyquist rate, in Hz."""
    top = min(high, rate / 2)
    if top <= low:
        raise UnsupportedOptionError(
            f"At {rate} Hz there is no sound above {low:g} Hz to picture; use a higher fps."
        )
    edges = 700 * (np.exp(np.linspace(np.log1p(low / 700), np.log1p(top / 700), bands + 2)) - 1)
    bins = np.fft.rfftfreq(n_fft, 1 / rate)
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    bank = np.clip(np.minimum(rise, fall), 0, None)
    for row in np.flatnonzero(
        bank.sum(axis=1) == 0
    ):  # a band narrower than a bin takes the nearest one
        bank[row, np.abs(bins - edges[row + 1]).argmin()] = 1.0
    return np.asarray(bank / bank.sum(axis=1, keepdims=True), dtype=np.float32)


def mel_power(
    samples: FloatArray,
    rate: int,
    *,
    bands: int = MEL_BANDS,
    low: float = MEL_LOW,
    high: float = MEL_HIGH,
    window: float = 0.064,
    hop: float = 0.016,
) -> FloatArray:
    """Power of a sound in mel bands, low bands first: (n,) -> (bands, ceil(n / hop)) float32.

    Hann windows of ``window`` s centred at 0, ``hop``, 2 ``hop`` ... s, zeros outside the sound; bands as ``mel_bank``.
    """
    length, step = max(8, round(window * rate)), max(1, round(hop * rate))
    n_fft = 1 << (2 * length - 1).bit_length()
    padded = np.pad(samples, (length // 2, length), mode="constant")
    starts = np.arange(0, len(samples), step)
    taper = np.hanning(length + 1)[:-1].astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(padded, length)[starts] * taper
    power = np.abs(np.fft.rfft(windows, n_fft, axis=1)) ** 2
    return np.asarray(
        (power @ mel_bank(rate, n_fft, bands=bands, low=low, high=high).T).T, dtype=np.float32
    )


def log_mel(samples: FloatArray, rate: int, *, floor_db: float = 80.0) -> FloatArray:
    """Log-mel picture (64 bands, time) in [0, 1]: windows of 64 ms every 16 ms, 25 to 1000 Hz, high bands on top.

    1 is the loudest point of the window, 0 is ``floor_db`` below it; a silent window is all 0.
    """
    mel = mel_power(samples, rate)[::-1]
    peak = float(mel.max())
    if peak <= 0:
        return np.zeros(mel.shape, dtype=np.float32)
    decibel = 10 * np.log10(np.maximum(mel / peak, 10 ** (-floor_db / 10)))
    return np.asarray(np.clip(decibel / floor_db + 1, 0, 1), dtype=np.float32)
